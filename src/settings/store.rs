//! Where what outlives a job is kept.

#![expect(missing_docs, reason = "config.yaml documents every key")]

use std::path::PathBuf;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{secret::Secret, sections::section};

/// Where artifacts, sessions, vectors and records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreBackend {
    /// In the process; gone with it.
    Memory,
    /// In Redis, beside the queue.
    Redis,
    /// As `redis`, and a record of every ended job in PostgreSQL.
    Postgres,
    /// As `redis`, and large results in an S3-compatible object store.
    S3,
}

section! {
    /// The store.
    Store {
        backend: StoreBackend = StoreBackend::Redis,
        url: Option<Secret> = None,
        memory_max_bytes: usize = 512 << 20,
        /// `redis`, `file:///path` or `s3://bucket/prefix`; left out, with the rest of the store.
        artifacts: Option<String> = None,
        artifact_max_bytes: usize = 512 << 20,
        /// Records older than this are deleted from PostgreSQL; 0: never.
        retention_days: u32 = 90,
        s3: S3 = S3::default(),
    }
}

section! {
    /// How the object store is reached.
    S3 {
        /// Another server than Amazon's.
        endpoint: Option<String> = None,
        region: String = "us-east-1".into(),
        /// Without keys those of the machine's role are used.
        access_key_id: Option<String> = None,
        secret_access_key: Option<Secret> = None,
        session_token: Option<Secret> = None,
        allow_http: bool = false,
    }
}

/// Where large results are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactPlace {
    /// With the rest of the store.
    Store,
    /// Under a directory that all workers share.
    Files(PathBuf),
    /// In a bucket, under a prefix that may be empty.
    S3 {
        /// The bucket.
        bucket: String,
        /// Without slashes around it.
        prefix: String,
    },
}

impl Store {
    /// `store.url`, where it names a Redis.
    #[must_use]
    pub fn redis_url(&self) -> Option<&Secret> {
        self.url.as_ref().filter(|_| self.backend == StoreBackend::Redis)
    }

    /// Where large results are kept.
    ///
    /// # Errors
    /// A line that names the key.
    pub fn artifact_place(&self) -> Result<ArtifactPlace, String> {
        match (&self.artifacts, self.backend, &self.url) {
            (Some(place), ..) => read_place(place).ok_or_else(|| {
                format!("store.artifacts: must be redis, file:///path or s3://bucket/prefix, found {place:?}")
            }),
            (None, StoreBackend::S3, url) => url
                .as_ref()
                .and_then(|url| read_place(url.expose_secret()))
                .filter(|place| matches!(place, ArtifactPlace::S3 { .. }))
                .ok_or_else(|| "store.url: must be like s3://bucket/prefix with store.backend: s3".into()),
            (None, ..) => Ok(ArtifactPlace::Store),
        }
    }

    /// What is wrong with this section, beyond a Redis address.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.artifact_max_bytes == 0 {
            faults.push("store.artifact_max_bytes: must be at least 1".into());
        }
        if self.backend == StoreBackend::Postgres {
            faults.extend(self.postgres_fault());
        }
        match self.artifact_place() {
            Ok(ArtifactPlace::S3 { .. }) if !cfg!(feature = "object-store") => {
                let key = if self.artifacts.is_some() { "store.artifacts" } else { "store.backend" };
                faults.push(format!("{key}: this program was built without the feature object-store, which s3 needs"));
            }
            Ok(ArtifactPlace::S3 { .. }) => faults.extend(self.s3.faults()),
            Ok(_) => {}
            Err(fault) => faults.push(fault),
        }
        faults
    }

    fn postgres_fault(&self) -> Option<String> {
        if !cfg!(feature = "postgres") {
            return Some("store.backend: this program was built without the feature postgres".into());
        }
        let address = self.url.as_ref().and_then(|url| url::Url::parse(url.expose_secret()).ok());
        let fits = address.is_some_and(|url| matches!(url.scheme(), "postgres" | "postgresql"));
        (!fits).then(|| {
            "store.url: must be like postgres://user:password@host:5432/database with store.backend: postgres".into()
        })
    }
}

impl S3 {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(endpoint) = &self.endpoint {
            match url::Url::parse(endpoint) {
                Ok(url) if url.scheme() == "https" && url.has_host() => {}
                Ok(url) if url.scheme() == "http" && url.has_host() && self.allow_http => {}
                Ok(url) if url.scheme() == "http" => faults.push(
                    "store.s3.endpoint: http:// sends results unencrypted: use https://, or store.s3.allow_http: true"
                        .into(),
                ),
                _ => faults.push(format!("store.s3.endpoint: must be an https:// address, found {endpoint:?}")),
            }
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            faults.push("store.s3.access_key_id: goes with store.s3.secret_access_key: give both or none".into());
        }
        faults
    }
}

fn read_place(text: &str) -> Option<ArtifactPlace> {
    if text == "redis" {
        return Some(ArtifactPlace::Store);
    }
    let url = url::Url::parse(text).ok()?;
    match url.scheme() {
        "file" => url.to_file_path().ok().filter(|path| path.parent().is_some()).map(ArtifactPlace::Files),
        "s3" => {
            let bucket = url.host_str().filter(|bucket| !bucket.is_empty())?.to_owned();
            let plain = url.query().is_none() && url.username().is_empty() && url.port().is_none();
            plain.then(|| ArtifactPlace::S3 { bucket, prefix: url.path().trim_matches('/').to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(backend: StoreBackend, url: Option<&str>, artifacts: Option<&str>) -> Store {
        Store { backend, url: url.map(Into::into), artifacts: artifacts.map(Into::into), ..Store::default() }
    }

    #[test]
    fn large_results_go_where_the_section_says() {
        use StoreBackend::{Memory, Postgres, Redis, S3 as S3Backend};
        let s3 = |prefix: &str| ArtifactPlace::S3 { bucket: "b".into(), prefix: prefix.into() };
        for (backend, url, artifacts, place) in [
            (Redis, Some("redis://h"), None, Some(ArtifactPlace::Store)),
            (Memory, None, Some("file:///var/lib/x"), Some(ArtifactPlace::Files("/var/lib/x".into()))),
            (Postgres, Some("postgres://h/d"), Some("s3://b/a/c/"), Some(s3("a/c"))),
            (S3Backend, Some("s3://b"), None, Some(s3(""))),
            (S3Backend, Some("s3://other"), Some("redis"), Some(ArtifactPlace::Store)),
            (S3Backend, Some("redis://h"), None, None),
            (S3Backend, None, None, None),
            (Redis, None, Some("/var/lib/x"), None),
            (Redis, None, Some("file:///"), None),
            (Redis, None, Some("file://host/x"), None),
            (Redis, None, Some("s3:///x"), None),
            (Redis, None, Some("s3://user@b/x"), None),
        ] {
            assert_eq!(store(backend, url, artifacts).artifact_place().ok(), place, "{url:?} {artifacts:?}");
        }
    }

    #[test]
    fn what_this_program_cannot_do_stops_the_start_with_one_line() {
        let rows = [
            (
                store(StoreBackend::Postgres, Some("postgres://h/d"), None),
                cfg!(feature = "postgres"),
                "store.backend: ",
            ),
            (store(StoreBackend::Postgres, Some("redis://h"), None), false, "store."),
            (store(StoreBackend::S3, Some("s3://b/p"), None), cfg!(feature = "object-store"), "store.backend: "),
            (store(StoreBackend::Redis, None, Some("s3://b")), cfg!(feature = "object-store"), "store.artifacts: "),
            (store(StoreBackend::S3, None, None), false, "store.url: "),
            (Store { artifact_max_bytes: 0, ..Store::default() }, false, "store.artifact_max_bytes: "),
        ];
        for (store, good, key) in rows {
            match &store.faults()[..] {
                [] => assert!(good, "{store:?}"),
                [fault] => assert!(!good && fault.starts_with(key), "{fault}"),
                more => panic!("{more:?}"),
            }
        }
    }

    #[test]
    fn plain_http_is_used_only_where_it_is_asked_for() {
        let of = |endpoint: &str, allow_http| S3 { endpoint: Some(endpoint.into()), allow_http, ..S3::default() };
        for (s3, good) in [
            (of("https://minio:9000", false), true),
            (of("http://minio:9000", false), false),
            (of("http://minio:9000", true), true),
            (of("minio:9000", true), false),
            (S3 { access_key_id: Some("a".into()), ..S3::default() }, false),
        ] {
            assert_eq!(s3.faults().is_empty(), good, "{s3:?}");
        }
    }
}
