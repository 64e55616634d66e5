//! Blobs as files: `<root>/sha256/<two digits>/<hash>`.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{fs, io::AsyncWriteExt};

use super::Blobs;
use crate::store::{StoreError, artifacts::ContentHash};

/// Drafts older than this were left behind by a process that died.
const STALE_DRAFT: Duration = Duration::from_secs(3600);

/// Blobs under a directory. A fleet shares it over the network, or each machine keeps its own jobs' results.
pub struct FileBlobs {
    root: PathBuf,
    max_bytes: usize,
}

impl FileBlobs {
    /// Blobs under `root`, which is made when it is needed. What is read is at most `max_bytes` large.
    #[must_use]
    pub fn new(root: PathBuf, max_bytes: usize) -> Self {
        Self { root, max_bytes }
    }

    fn path(&self, hash: &ContentHash) -> PathBuf {
        self.root.join("sha256").join(hash.part()).join(hash.hex())
    }

    fn drafts(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A file with these bytes that the disk has, under a name that nobody knows.
    async fn write_draft(&self, bytes: &Bytes) -> io::Result<PathBuf> {
        fs::create_dir_all(self.drafts()).await?;
        let draft = self.drafts().join(uuid::Uuid::now_v7().to_string());
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&draft).await?;
        let written = async {
            file.write_all(bytes).await?;
            file.sync_all().await
        };
        match written.await {
            Ok(()) => Ok(draft),
            Err(error) => {
                let _ = fs::remove_file(&draft).await;
                Err(error)
            }
        }
    }

    async fn publish(&self, draft: &Path, hash: &ContentHash) -> io::Result<()> {
        let path = self.path(hash);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).await?;
        fs::rename(draft, &path).await?;
        fs::File::open(folder).await?.sync_all().await
    }

    /// Takes an old blob away. One that was put anew at this very moment goes back.
    async fn remove_old(&self, path: &Path, ttl: Duration) -> io::Result<bool> {
        let aside = self.drafts().join(uuid::Uuid::now_v7().to_string());
        fs::create_dir_all(self.drafts()).await?;
        fs::rename(path, &aside).await?;
        if is_older(&fs::metadata(&aside).await?, ttl) {
            fs::remove_file(&aside).await?;
            return Ok(true);
        }
        fs::rename(&aside, path).await?;
        Ok(false)
    }

    /// The files of a folder that are older than `age`; none where there is no folder.
    async fn old_ones(folder: &Path, age: Duration) -> io::Result<Vec<PathBuf>> {
        let mut entries = match fs::read_dir(folder).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut old = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            match entry.metadata().await {
                Ok(metadata) if metadata.is_file() && is_older(&metadata, age) => old.push(entry.path()),
                // Another process may sweep beside us.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(old)
    }
}

fn is_older(metadata: &std::fs::Metadata, age: Duration) -> bool {
    let modified = metadata.modified().unwrap_or(SystemTime::now());
    SystemTime::now().duration_since(modified).is_ok_and(|since| since > age)
}

/// A full or broken disk may be mended: jobs wait for that as for any backend that is away.
fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::away(format!("{}: {error}", path.display()))
}

fn refused(path: &Path, error: &io::Error) -> StoreError {
    StoreError::refused(format!("{}: {error} (store.artifacts)", path.display()))
}

#[async_trait]
impl Blobs for FileBlobs {
    async fn probe(&self) -> Result<(), StoreError> {
        let draft = self.write_draft(&Bytes::new()).await.map_err(|e| refused(&self.root, &e))?;
        fs::remove_file(&draft).await.map_err(|e| refused(&draft, &e))
    }

    async fn put(&self, hash: &ContentHash, bytes: Bytes) -> Result<(), StoreError> {
        let draft = self.write_draft(&bytes).await.map_err(|e| failed(&self.root, &e))?;
        match self.publish(&draft, hash).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let _ = fs::remove_file(&draft).await;
                Err(failed(&self.root, &error))
            }
        }
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<Bytes>, StoreError> {
        let path = self.path(hash);
        match fs::metadata(&path).await {
            Ok(metadata) if metadata.len() > self.max_bytes as u64 => Err(StoreError::refused(format!(
                "{}: {} bytes are more than store.artifact_max_bytes ({})",
                path.display(),
                metadata.len(),
                self.max_bytes
            ))),
            Ok(_) => fs::read(&path).await.map(|bytes| Some(bytes.into())).or_else(|e| absent(&path, &e)),
            Err(error) => absent(&path, &error),
        }
    }

    async fn sweep(&self, part: &str, ttl: Duration) -> Result<u64, StoreError> {
        let folder = self.root.join("sha256").join(part);
        let mut gone = 0;
        for path in Self::old_ones(&folder, ttl).await.map_err(|e| failed(&folder, &e))? {
            match self.remove_old(&path, ttl).await {
                Ok(removed) => gone += u64::from(removed),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path, &error)),
            }
        }
        for draft in Self::old_ones(&self.drafts(), STALE_DRAFT).await.map_err(|e| failed(&self.root, &e))? {
            let _ = fs::remove_file(draft).await;
        }
        Ok(gone)
    }
}

fn absent(path: &Path, error: &io::Error) -> Result<Option<Bytes>, StoreError> {
    if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(failed(path, error)) }
}
