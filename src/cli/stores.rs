//! Builds what `store` in the configuration describes.

use std::{sync::Arc, time::Duration};

use super::Failure;
use crate::{
    queue::SharedQueue,
    settings::{ArtifactPlace, Settings, StoreBackend},
    store::{
        Artifacts, Blobs, FileBlobs, Keeping, MemoryStore, Recorder, Records, RedisStore, Scribe, SharedStore,
        StoreError,
    },
};

/// The store that `store.backend` names. Databases of records and object stores stand beside Redis, not in its place.
pub(super) fn store(settings: &Settings) -> Result<SharedStore, Failure> {
    Ok(match settings.store.backend {
        StoreBackend::Memory => MemoryStore::new(settings.store.memory_max_bytes),
        StoreBackend::Redis | StoreBackend::Postgres | StoreBackend::S3 => redis(settings)?,
    })
}

/// Large results, where `store.artifacts` says. Nothing is dialled.
pub(super) fn artifacts(settings: &Settings, store: SharedStore) -> Result<Artifacts, Failure> {
    let max_bytes = settings.store.artifact_max_bytes;
    let artifacts = Artifacts::new(store, Duration::from_secs(settings.results.artifact_ttl_secs)).at_most(max_bytes);
    Ok(match settings.store.artifact_place().map_err(Failure::Usage)? {
        ArtifactPlace::Store => artifacts,
        ArtifactPlace::Files(root) => artifacts.kept_in(Arc::new(FileBlobs::new(root, max_bytes))),
        ArtifactPlace::S3 { bucket, prefix } => artifacts.kept_in(objects(settings, &bucket, &prefix)?),
    })
}

#[cfg(feature = "object-store")]
fn objects(settings: &Settings, bucket: &str, prefix: &str) -> Result<Arc<dyn Blobs>, Failure> {
    let (s3, most) = (&settings.store.s3, settings.store.artifact_max_bytes);
    Ok(Arc::new(crate::store::S3Blobs::new(s3, bucket, prefix, most).map_err(usage)?))
}

#[cfg(not(feature = "object-store"))]
fn objects(_settings: &Settings, _bucket: &str, _prefix: &str) -> Result<Arc<dyn Blobs>, Failure> {
    Err(Failure::Usage("store.backend: this program was built without the feature object-store".into()))
}

/// The database of records, where there is one. Nothing is dialled.
pub(super) fn records(settings: &Settings) -> Result<Option<Arc<dyn Records>>, Failure> {
    if settings.store.backend == StoreBackend::Postgres { database(settings).map(Some) } else { Ok(None) }
}

#[cfg(feature = "postgres")]
fn database(settings: &Settings) -> Result<Arc<dyn Records>, Failure> {
    use secrecy::ExposeSecret;

    let url = settings.store.url.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
    Ok(Arc::new(crate::store::PostgresRecords::new(url).map_err(usage)?))
}

#[cfg(not(feature = "postgres"))]
fn database(_settings: &Settings) -> Result<Arc<dyn Records>, Failure> {
    Err(Failure::Usage("store.backend: this program was built without the feature postgres".into()))
}

/// What writes records, where there is a database for them.
pub(super) async fn recorder(settings: &Settings, queue: &SharedQueue) -> Result<Option<(Recorder, Scribe)>, Failure> {
    let Some(records) = records(settings)? else { return Ok(None) };
    there("store.url", records.ready().await)?;
    let keeping = Keeping { days: settings.store.retention_days, prompts: settings.telemetry.capture_content };
    Ok(Some(Recorder::new(redis(settings)?, records, queue.clone(), keeping)))
}

/// A place that refuses us stops the start; one that is away may come back, and is no reason not to work.
pub(super) fn there(key: &str, answer: Result<(), StoreError>) -> Result<(), Failure> {
    match answer {
        Err(error) if error.is_away() => {
            tracing::warn!(%error, "{key} cannot be reached now");
            Ok(())
        }
        answer => answer.map_err(|error| Failure::Failed(format!("{key}: {error}"))),
    }
}

fn redis(settings: &Settings) -> Result<Arc<RedisStore>, Failure> {
    RedisStore::connect(settings).map_err(|e| Failure::Failed(e.to_string()))
}

#[cfg(any(feature = "postgres", feature = "object-store"))]
fn usage(error: StoreError) -> Failure {
    Failure::Usage(error.to_string())
}
