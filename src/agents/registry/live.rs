//! The registry that is in force, and its replacement while the process runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Registry, RegistryError};
use crate::settings::Env;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tells one state of a file from another without reading it: when it was written, and its length.
type Stamp = Option<(SystemTime, u64)>;

/// The registry in force. Readers hold an [`Arc`] of one state for as long as a run takes.
pub struct LiveRegistry {
    path: PathBuf,
    env: Env,
    current: ArcSwap<Registry>,
    changes: watch::Sender<()>,
    /// How the file looked before it was read: a change from then on is seen, however late the watch begins.
    first: Stamp,
    /// The text that was refused last, so that one bad state is reported once.
    refused: Mutex<Option<String>>,
}

impl LiveRegistry {
    /// Reads the file. A file that is not there is an empty registry, and may come later.
    ///
    /// # Errors
    /// Every fault of a file that is there: the start shall stop.
    pub fn start(path: &Path, env: &Env) -> Result<Arc<Self>, RegistryError> {
        let first = stamp(path);
        let registry = if path.exists() { Registry::load(path, env)? } else { Registry::default() };
        Ok(Self::with(path, env, registry, first))
    }

    /// Takes a registry that has been read already.
    #[must_use]
    pub fn new(path: &Path, env: &Env, registry: Registry) -> Arc<Self> {
        Self::with(path, env, registry, stamp(path))
    }

    fn with(path: &Path, env: &Env, registry: Registry, first: Stamp) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            env: env.clone(),
            current: ArcSwap::from_pointee(registry),
            changes: watch::Sender::default(),
            first,
            refused: Mutex::default(),
        })
    }

    /// The state in force.
    #[must_use]
    pub fn current(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Tells of every state that comes into force from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Reads the file again. True when another state is in force now.
    ///
    /// # Errors
    /// Every fault of the new file; the old state stays in force.
    pub fn reload(&self) -> Result<bool, RegistryError> {
        let registry = Registry::load(&self.path, &self.env)?;
        *self.refused.lock() = None;
        if registry.hash == self.current.load().hash {
            return Ok(false);
        }
        tracing::info!(file = %self.path.display(), agents = registry.agents.len(), hash = %&registry.hash[..12], "agents reloaded");
        self.current.store(Arc::new(registry));
        self.changes.send_replace(());
        Ok(true)
    }

    /// Follows the file, and SIGHUP, until `stop` fires. An invalid file is reported and changes nothing.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut seen = self.first;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        #[cfg(unix)]
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
        loop {
            #[cfg(unix)]
            let asked = async {
                match &mut hangup {
                    Some(signal) => {
                        signal.recv().await;
                    }
                    None => std::future::pending().await,
                }
            };
            #[cfg(not(unix))]
            let asked = std::future::pending::<()>();
            tokio::select! {
                () = stop.cancelled() => return,
                () = asked => {}
                _ = look.tick() => {
                    let now = stamp(&self.path);
                    if now == seen {
                        continue;
                    }
                    seen = now;
                }
            }
            self.reload_or_report();
        }
    }

    fn reload_or_report(&self) {
        let Err(error) = self.reload() else { return };
        let text = error.to_string();
        let mut refused = self.refused.lock();
        if refused.as_ref() != Some(&text) {
            for fault in &error.0 {
                tracing::error!(fault = %fault, "the changed agents file is refused; the earlier agents stay in force");
            }
            *refused = Some(text);
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
