//! What every place for large results has to do: one suite, run for each.

use std::{
    fs::File,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_runner::store::{Artifacts, Blobs, ContentHash, FileBlobs, MemoryStore, RedisStore, StoreBlobs};
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{redis::Redis, stage::Stage};

const HOUR: Duration = Duration::from_secs(3600);
const LARGEST: usize = 16 << 20;

/// A place under test.
enum Place {
    Memory,
    Redis(Redis),
    Files(TempDir),
    #[cfg(feature = "object-store")]
    S3(crate::support::s3::S3Server),
}

struct Rig {
    blobs: Arc<dyn Blobs>,
    artifacts: Artifacts,
    place: Place,
}

impl Rig {
    fn memory() -> Self {
        let store = MemoryStore::new(64 << 20);
        let blobs = Arc::new(StoreBlobs::new(store.clone(), HOUR));
        Self { blobs, artifacts: Artifacts::new(store, HOUR), place: Place::Memory }
    }

    fn redis() -> Self {
        let redis = Redis::start();
        let store = RedisStore::connect(&redis.settings()).unwrap();
        let blobs = Arc::new(StoreBlobs::new(store.clone(), HOUR));
        Self { blobs, artifacts: Artifacts::new(store, HOUR), place: Place::Redis(redis) }
    }

    fn files() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(FileBlobs::new(dir.path().join("made/when/needed"), LARGEST));
        Self::elsewhere(blobs, Place::Files(dir))
    }

    #[cfg(feature = "object-store")]
    async fn s3() -> Self {
        let server = crate::support::s3::S3Server::start().await;
        let blobs = agent_runner::store::S3Blobs::new(&server.settings(), "bucket", "a/b", LARGEST).unwrap();
        Self::elsewhere(Arc::new(blobs), Place::S3(server))
    }

    fn elsewhere(blobs: Arc<dyn Blobs>, place: Place) -> Self {
        let artifacts = Artifacts::new(MemoryStore::new(1 << 20), HOUR).kept_in(blobs.clone());
        Self { blobs, artifacts, place }
    }

    fn path(&self, hash: &ContentHash) -> PathBuf {
        let Place::Files(dir) = &self.place else { unreachable!() };
        dir.path().join("made/when/needed/sha256").join(hash.part()).join(hash.hex())
    }

    /// Changes what is kept at `hash`, behind everybody's back. False where nobody could.
    async fn damage(&self, hash: &ContentHash) -> bool {
        match &self.place {
            Place::Memory => return false,
            Place::Redis(redis) => {
                let key = format!("agent:artifacts:sha256:{}", hash.hex());
                let _: i64 = redis.run(&["SETRANGE", &key, "0", "x"]).await;
            }
            Place::Files(_) => std::fs::write(self.path(hash), "x").unwrap(),
            #[cfg(feature = "object-store")]
            Place::S3(server) => server.damage(hash.hex()),
        }
        true
    }

    /// Makes what is kept at `hash` older. False where the place forgets by itself.
    fn age(&self, hash: &ContentHash, by: Duration) -> bool {
        match &self.place {
            Place::Memory | Place::Redis(_) => return false,
            Place::Files(_) => {
                let file = File::options().write(true).open(self.path(hash)).unwrap();
                file.set_modified(SystemTime::now() - by).unwrap();
            }
            #[cfg(feature = "object-store")]
            Place::S3(server) => server.age(hash.hex(), by.as_secs() as i64),
        }
        true
    }
}

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() { super::$name(super::Rig::memory()).await; })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() { super::$name(super::Rig::redis()).await; })*
        }
        mod files {
            $(#[tokio::test]
            async fn $name() { super::$name(super::Rig::files()).await; })*
        }
        #[cfg(feature = "object-store")]
        mod s3 {
            $(#[tokio::test]
            async fn $name() { super::$name(super::Rig::s3().await).await; })*
        }
    };
}

suite! {
    the_same_bytes_have_one_address,
    what_is_damaged_is_not_given_out,
    readers_see_all_of_it_or_nothing,
    old_ones_go_and_those_put_anew_stay,
    what_is_too_large_is_refused,
}

fn many(size: usize) -> Bytes {
    (0..size).map(|i| i.to_le_bytes()[i % 3]).collect::<Vec<u8>>().into()
}

async fn the_same_bytes_have_one_address(rig: Rig) {
    let bytes = Bytes::from_static(b"[1.10,\"\xc3\xa9\"]");
    rig.artifacts.probe().await.unwrap();
    assert_eq!(rig.artifacts.get(&ContentHash::of(&bytes).to_string()).await.unwrap(), None);
    let reference = rig.artifacts.put(bytes.clone()).await.unwrap();
    assert_eq!(reference, format!("cas://sha256:{}", ContentHash::of(&bytes).hex()));
    assert_eq!(rig.artifacts.put(bytes.clone()).await.unwrap(), reference);
    for form in [&reference[..], reference.strip_prefix("cas://").unwrap()] {
        assert_eq!(rig.artifacts.get(form).await.unwrap().unwrap(), bytes, "{form}");
    }
    let empty = rig.artifacts.put(Bytes::new()).await.unwrap();
    assert_eq!(rig.artifacts.get(&empty).await.unwrap().unwrap(), "");
    for unknown in ["cas://sha256:ab", "artifact://nobody", "../../etc/passwd", "cas://sha256:../x"] {
        assert_eq!(rig.artifacts.get(unknown).await.unwrap(), None, "{unknown}");
    }
}

async fn what_is_damaged_is_not_given_out(rig: Rig) {
    let bytes = Bytes::from_static(b"[1,2,3]");
    let reference = rig.artifacts.put(bytes.clone()).await.unwrap();
    if !rig.damage(&ContentHash::of(&bytes)).await {
        return;
    }
    let error = rig.artifacts.get(&reference).await.unwrap_err();
    assert!(error.to_string().contains("damaged") && !error.is_away(), "{error}");
    rig.artifacts.put(bytes.clone()).await.unwrap();
    assert_eq!(rig.artifacts.get(&reference).await.unwrap().unwrap(), bytes, "written anew it is whole");
}

async fn readers_see_all_of_it_or_nothing(rig: Rig) {
    let bytes = many((9 << 20) + 3);
    let reference = ContentHash::of(&bytes).to_string();
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (artifacts, bytes) = (rig.artifacts.clone(), bytes.clone());
            tokio::spawn(async move { artifacts.put(bytes).await.unwrap() })
        })
        .collect();
    // A part of it would be an error: its hash is another.
    while rig.artifacts.get(&reference).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    for writer in writers {
        assert_eq!(writer.await.unwrap(), reference);
    }
    assert!(rig.artifacts.get(&reference).await.unwrap().unwrap() == bytes, "other bytes came back");
    if let Place::Redis(redis) = &rig.place {
        let keys: Vec<String> = redis.run(&["KEYS", "*"]).await;
        assert_eq!(keys.len(), 1, "drafts are left: {keys:?}");
        let left: i64 = redis.run(&["PTTL", &keys[0]]).await;
        assert!(left > 0, "it never ends");
    }
}

async fn old_ones_go_and_those_put_anew_stay(rig: Rig) {
    // Several of one part, so that a listing has several pages.
    let part = ContentHash::of(b"0").part().to_owned();
    let values = (0..5000).map(|i| Bytes::from(i.to_string())).filter(|value| ContentHash::of(value).part() == part);
    let values: Vec<Bytes> = values.take(5).collect();
    assert_eq!(values.len(), 5);
    let mut ages = false;
    for value in &values {
        rig.artifacts.put(value.clone()).await.unwrap();
        ages = rig.age(&ContentHash::of(value), 2 * HOUR);
    }
    assert_eq!(rig.blobs.needs_sweeping(), ages);
    rig.artifacts.put(values[1].clone()).await.unwrap();
    let gone = if ages { 4 } else { 0 };
    assert_eq!(rig.blobs.sweep(&part, HOUR).await.unwrap(), gone);
    assert_eq!(rig.blobs.sweep(&part, HOUR).await.unwrap(), 0);
    assert_eq!(rig.blobs.sweep("zz", HOUR).await.unwrap(), 0);
    for (i, value) in values.iter().enumerate() {
        let there = rig.blobs.get(&ContentHash::of(value)).await.unwrap().is_some();
        assert_eq!(there, i == 1 || !ages, "{value:?}");
    }
}

async fn what_is_too_large_is_refused(rig: Rig) {
    let (fits, large) = (many(100), many(101));
    let artifacts = rig.artifacts.clone().at_most(100);
    artifacts.put(fits).await.unwrap();
    let error = artifacts.put(large.clone()).await.unwrap_err();
    assert!(error.to_string().contains("store.artifact_max_bytes (100)") && !error.is_away(), "{error}");
    assert_eq!(rig.blobs.get(&ContentHash::of(&large)).await.unwrap(), None);
    // What another program put there is not read beyond the bound either.
    if rig.blobs.needs_sweeping() {
        let huge = many(LARGEST + 1);
        rig.blobs.put(&ContentHash::of(&huge), huge.clone()).await.unwrap();
        let error = rig.blobs.get(&ContentHash::of(&huge)).await.unwrap_err();
        assert!(error.to_string().contains("store.artifact_max_bytes"), "{error}");
    }
}

#[tokio::test]
async fn a_writer_that_died_leaves_a_draft_which_goes() {
    let rig = Rig::files();
    rig.artifacts.put(Bytes::from_static(b"1")).await.unwrap();
    let Place::Files(dir) = &rig.place else { unreachable!() };
    let drafts = dir.path().join("made/when/needed/tmp");
    let (old, fresh) = (drafts.join("old"), drafts.join("fresh"));
    for draft in [&old, &fresh] {
        std::fs::write(draft, "half of i").unwrap();
    }
    File::options().write(true).open(&old).unwrap().set_modified(SystemTime::now() - 2 * HOUR).unwrap();
    rig.blobs.sweep("00", HOUR).await.unwrap();
    assert!(!old.exists() && fresh.exists(), "a fresh one may be somebody's who lives");
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = FileBlobs::new(dir.path().join("file/under"), 1).probe().await.unwrap_err();
    assert!(error.to_string().contains("store.artifacts") && !error.is_away(), "{error}");
}

/// A large result goes to its place, comes back over HTTP, and is the first data of another job.
async fn a_large_result_is_kept_and_used(stage: Stage) {
    let stage = stage.with("AGENT_RUNNER__RESULTS__INLINE_MAX_BYTES", "300");
    let service = stage.serve();
    let rows: Vec<Value> = (0..50).map(|i| json!({"a": i})).collect();
    let pipeline = json!([{"step": "table_sort", "field": "a", "order": "desc"}]);
    let large = stage.run(json!({"job_id": "large", "pipeline": pipeline, "data": rows})).await;
    assert_eq!(large["status"], "completed", "{large}");
    let reference = large["result_ref"].as_str().unwrap();
    assert!(large["result"].is_null() && reference.starts_with("cas://sha256:"), "{large}");
    let client = agent_runner::net::operator_client(HOUR).unwrap();
    let kept = client.get(service.url(&format!("/v1/artifacts/{reference}"))).send().await.unwrap();
    let kept: Value = serde_json::from_slice(&kept.bytes().await.unwrap()).unwrap();
    assert_eq!(kept["data"][0]["a"], 49);
    let next = stage.run(json!({"job_id": "next", "pipeline": [{"step": "count"}], "input_ref": reference})).await;
    assert_eq!(next["result"]["data"][0]["count"], 50, "{next}");
}

#[tokio::test]
async fn a_large_result_is_kept_in_files_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let place = format!("file://{}", dir.path().join("blobs").display());
    let stage = Stage::set().await.with("AGENT_RUNNER__STORE__ARTIFACTS", place);
    a_large_result_is_kept_and_used(stage).await;
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_result_that_is_too_large_to_keep_ends_its_job() {
    let stage = Stage::set()
        .await
        .with("AGENT_RUNNER__RESULTS__INLINE_MAX_BYTES", "10")
        .with("AGENT_RUNNER__STORE__ARTIFACT_MAX_BYTES", "100");
    let _service = stage.serve();
    let rows: Vec<Value> = (0..50).map(|i| json!({"a": i})).collect();
    let result = stage.run(json!({"job_id": "j", "pipeline": [{"step": "distinct"}], "data": rows})).await;
    assert_eq!((&result["status"], &result["error"]["type"]), (&json!("failed"), &json!("limit_exceeded")), "{result}");
    assert!(result["result_preview"].is_null() && result["result_ref"].is_null(), "{result}");
}

#[cfg(feature = "object-store")]
mod object_store {
    use super::*;
    use crate::support::s3::S3Server;
    use agent_runner::store::S3Blobs;

    #[tokio::test]
    async fn objects_stand_under_the_prefix_by_their_hash() {
        let rig = Rig::s3().await;
        rig.artifacts.put(Bytes::from_static(b"1")).await.unwrap();
        let Place::S3(server) = &rig.place else { unreachable!() };
        let hash = ContentHash::of(b"1");
        assert_eq!(server.keys(), [format!("a/b/sha256/{}/{}", hash.part(), hash.hex())]);
    }

    #[tokio::test]
    async fn a_server_that_stumbles_is_asked_again_and_one_that_falls_is_away() {
        let server = S3Server::start().await;
        let blobs = S3Blobs::new(&server.settings(), "bucket", "", LARGEST).unwrap();
        let hash = ContentHash::of(b"1");
        server.fail_with(&[503]);
        blobs.put(&hash, Bytes::from_static(b"1")).await.unwrap();
        server.fail_with(&[500, 500, 500]);
        let error = blobs.get(&hash).await.unwrap_err();
        assert!(error.is_away(), "{error}");
        assert_eq!(server.requests().len(), 5, "{:?}", server.requests());
        assert_eq!(blobs.get(&hash).await.unwrap().unwrap(), "1");
        drop(server);
        assert!(blobs.get(&hash).await.unwrap_err().is_away());
    }

    #[tokio::test]
    async fn who_is_refused_is_told_so_at_once_and_without_secrets() {
        let server = S3Server::start().await;
        let mut s3 = server.settings();
        s3.access_key_id = Some("AKWRONG".into());
        let blobs = S3Blobs::new(&s3, "bucket", "", LARGEST).unwrap();
        let refused = blobs.put(&ContentHash::of(b"1"), Bytes::from_static(b"1")).await.unwrap_err();
        assert!(refused.to_string().contains("refused the credentials") && !refused.is_away(), "{refused}");
        assert!(!refused.to_string().contains("s3-secret"), "{refused}");
        assert_eq!(server.requests().len(), 1, "nothing is asked twice");
        let nowhere = S3Blobs::new(&server.settings(), "elsewhere", "", LARGEST).unwrap().probe().await.unwrap_err();
        assert!(nowhere.to_string().contains("no bucket elsewhere") && !nowhere.is_away(), "{nowhere}");
    }

    #[tokio::test]
    async fn a_large_result_is_kept_in_a_bucket_and_used() {
        let server = S3Server::start().await;
        let s3 = server.settings();
        let stage = Stage::set()
            .await
            .with("AGENT_RUNNER__STORE__BACKEND", "s3")
            .with("AGENT_RUNNER__STORE__URL", "s3://bucket/jobs")
            .with("AGENT_RUNNER__STORE__S3__ENDPOINT", s3.endpoint.unwrap())
            .with("AGENT_RUNNER__STORE__S3__ACCESS_KEY_ID", "AKTEST")
            .with("AGENT_RUNNER__STORE__S3__SECRET_ACCESS_KEY", "s3-secret")
            .with("AGENT_RUNNER__STORE__S3__ALLOW_HTTP", "true");
        a_large_result_is_kept_and_used(stage).await;
        assert_eq!(server.keys().len(), 1, "{:?}", server.keys());
    }
}
