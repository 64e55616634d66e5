//! Blobs as objects: `<prefix>/sha256/<two digits>/<hash>` in a bucket.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{HttpClient, HttpConnector},
    path::Path,
};
use secrecy::ExposeSecret;

use super::Blobs;
use crate::{
    net,
    settings::S3,
    store::{StoreError, artifacts::ContentHash},
};

/// What any request may take besides its bytes, retries included.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection slower than this for a whole blob is taken for a broken one.
const SLOWEST_BYTES_PER_SEC: u64 = 1 << 20;
const CONNECT: Duration = Duration::from_secs(5);
const MAX_RETRIES: usize = 2;
/// Characters of a server's answer that stand in an error.
const TOLD_CHARS: usize = 300;

/// Blobs in a bucket of an S3-compatible server. A put is one request, which the server carries out whole or not at all.
pub struct S3Blobs {
    bucket: AmazonS3,
    name: String,
    prefix: Path,
    max_bytes: usize,
}

/// Requests go through a client of this house: no redirects, no proxies and no certificates but the system's.
struct OurClient(net::Client);

impl fmt::Debug for OurClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OurClient")
    }
}

impl HttpConnector for OurClient {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl S3Blobs {
    /// Blobs in `bucket` under `prefix`. What is read is at most `max_bytes` large. Nothing is dialled.
    ///
    /// # Errors
    /// The settings do not fit together.
    pub fn new(s3: &S3, bucket: &str, prefix: &str, max_bytes: usize) -> Result<Self, StoreError> {
        let client = net::storage_client(CONNECT).map_err(StoreError::refused)?;
        let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() };
        let encrypted = s3.endpoint.as_ref().is_none_or(|endpoint| endpoint.starts_with("https://"));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&s3.region)
            .with_allow_http(s3.allow_http)
            // Over TLS nobody can change the bytes, and the hash is proved when they are read.
            .with_unsigned_payload(encrypted)
            .with_disable_bulk_delete(true)
            .with_http_connector(OurClient(client))
            .with_retry(RetryConfig { backoff, max_retries: MAX_RETRIES, retry_timeout: PATIENCE });
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let (Some(id), Some(secret)) = (&s3.access_key_id, &s3.secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose_secret());
        }
        if let Some(token) = &s3.session_token {
            builder = builder.with_token(token.expose_secret());
        }
        let bucket_store = builder.build().map_err(|e| StoreError::refused(format!("s3: {}", told(&e))))?;
        let prefix = Path::parse(prefix).map_err(|e| StoreError::refused(format!("s3: {e}")))?;
        Ok(Self { bucket: bucket_store, name: bucket.to_owned(), prefix, max_bytes })
    }

    fn folder(&self, part: &str) -> Path {
        self.prefix.clone().join("sha256").join(part)
    }

    fn path(&self, hash: &ContentHash) -> Path {
        self.folder(hash.part()).join(hash.hex())
    }

    async fn within<T>(
        &self,
        bytes: usize,
        work: impl Future<Output = object_store::Result<T>> + Send,
    ) -> Result<T, StoreError> {
        let time = PATIENCE + Duration::from_secs(bytes as u64 / SLOWEST_BYTES_PER_SEC);
        match tokio::time::timeout(time, work).await {
            Ok(done) => done.map_err(|e| self.failed(&e)),
            Err(_) => Err(StoreError::away(format!("s3: the bucket {} did not answer within {time:?}", self.name))),
        }
    }

    fn failed(&self, error: &Error) -> StoreError {
        let name = &self.name;
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreError::refused(format!(
                "s3: the bucket {name} refused the credentials: check store.s3, and the rights to get, put, delete and list"
            )),
            Error::NotFound { .. } => StoreError::refused(format!("s3: there is no bucket {name}")),
            // A listing has no error of its own for that.
            Error::Generic { .. } if told(error).contains("404 Not Found") => {
                StoreError::refused(format!("s3: there is no bucket {name}"))
            }
            Error::Generic { .. } | Error::JoinError { .. } => {
                StoreError::away(format!("s3: bucket {name}: {}", told(error)))
            }
            _ => StoreError::refused(format!("s3: bucket {name}: {}", told(error))),
        }
    }
}

/// The beginning of an error: servers answer with whole documents.
fn told(error: &Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().chars().take(TOLD_CHARS).collect()
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn probe(&self) -> Result<(), StoreError> {
        let folder = self.folder("00");
        let first = async { self.bucket.list(Some(&folder)).try_next().await };
        self.within(0, first).await.map(drop)
    }

    async fn put(&self, hash: &ContentHash, bytes: Bytes) -> Result<(), StoreError> {
        let (size, path) = (bytes.len(), self.path(hash));
        self.within(size, self.bucket.put(&path, PutPayload::from(bytes))).await.map(drop)
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<Bytes>, StoreError> {
        let path = self.path(hash);
        let got = async {
            let found = self.bucket.get(&path).await?;
            if found.meta.size > self.max_bytes as u64 {
                return Ok(Err(found.meta.size));
            }
            found.bytes().await.map(Ok)
        };
        // How large it is, its server says only then: the whole bound is allowed for.
        let time = PATIENCE + Duration::from_secs(self.max_bytes as u64 / SLOWEST_BYTES_PER_SEC);
        match tokio::time::timeout(time, got).await {
            Ok(Ok(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Ok(Err(size))) => Err(StoreError::refused(format!(
                "s3: {hash} has {size} bytes, more than store.artifact_max_bytes ({})",
                self.max_bytes
            ))),
            Ok(Err(Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(StoreError::away(format!("s3: the bucket {} did not send {hash} in time", self.name))),
        }
    }

    async fn sweep(&self, part: &str, ttl: Duration) -> Result<u64, StoreError> {
        let folder = self.folder(part);
        let is_old = |at: i64| {
            let age = jiff::Timestamp::now().as_second().saturating_sub(at);
            u64::try_from(age).is_ok_and(|age| age > ttl.as_secs())
        };
        let mut old = Vec::new();
        let mut listed = self.bucket.list(Some(&folder));
        while let Some(object) = self.within(0, listed.try_next()).await? {
            if is_old(object.last_modified.timestamp()) {
                old.push(object.location);
            }
        }
        let mut gone = 0;
        for path in old {
            // It may have been put anew since it was listed.
            let now = self.within(0, self.bucket.head(&path)).await;
            if now.is_ok_and(|now| is_old(now.last_modified.timestamp())) {
                self.within(0, self.bucket.delete(&path)).await?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}
