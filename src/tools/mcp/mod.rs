//! MCP servers: one connection each for all jobs of the process, opened when it is first needed and closed when nobody
//! has needed it for a while.

mod blocks;
mod connection;
mod guard;
mod http;
mod listed;
mod process;
mod result;
mod stdio;
mod tool;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use guard::{guard, guard_program};
pub use listed::{Listed, ListedTool};
pub use process::Program;
pub use stdio::{Frame, frames};
pub use tool::McpTool;

use crate::{
    net::{Credentials, Egress},
    settings::Secret,
};
use connection::Connection;

/// Bytes of one message of a server: a result that large is none that a model could read.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Reach {
    /// A child process, over standard input and output.
    Program(Program),
    /// Streamable HTTP, through the egress policy.
    Http {
        /// Its address.
        url: String,
        /// Of each request.
        headers: BTreeMap<String, Secret>,
        /// One of `egress.auth_profiles`.
        auth_profile: Option<String>,
    },
}

/// One server, as the agents file has it.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// Begins the names of its tools.
    pub name: String,
    /// How it is reached.
    pub reach: Reach,
    /// For its start, and for each call.
    pub timeout: Duration,
    /// How long it stays when nobody needs it.
    pub idle: Duration,
    /// `sha256:<hex>` of its tools.
    pub pin: Option<String>,
}

impl ServerSpec {
    /// Tells one state of an entry from another; secrets are in it, hashed.
    fn identity(&self) -> String {
        let secrets = match &self.reach {
            Reach::Program(program) => &program.env,
            Reach::Http { headers, .. } => headers,
        };
        let mut hash = Sha256::new();
        hash.update(format!("{self:?}"));
        for (name, value) in secrets {
            hash.update(format!("{name:?}={:?};", value.expose_secret()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The servers of this process.
pub struct Servers {
    egress: Arc<Egress>,
    credentials: Credentials,
    /// The program that stands between this one and servers that are child processes.
    guard: Option<PathBuf>,
    slots: Mutex<FxHashMap<String, Arc<Slot>>>,
}

/// A server that somebody needs, or needed a short while ago.
struct Slot {
    spec: ServerSpec,
    identity: String,
    open: tokio::sync::Mutex<Option<Arc<Connection>>>,
    users: AtomicUsize,
    /// Changes with every user: an idle server is closed only where nobody came in between.
    generation: AtomicU64,
}

impl Servers {
    /// No server yet. Servers that are child processes end with this one unless it is killed with `kill -9`: then only
    /// their input ends.
    #[must_use]
    pub fn new(egress: Arc<Egress>, credentials: Credentials) -> Arc<Self> {
        Self::guarded(egress, credentials, None)
    }

    /// The same with a [`guard_program`]: whatever becomes of this process, they end with it.
    #[must_use]
    pub fn guarded(egress: Arc<Egress>, credentials: Credentials, guard: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { egress, credentials, guard, slots: Mutex::default() })
    }

    /// Claims a server for a run; it is started when it is first asked for something.
    #[must_use]
    pub fn lease(self: &Arc<Self>, spec: &ServerSpec) -> Arc<Lease> {
        let identity = spec.identity();
        let mut slots = self.slots.lock();
        let slot = slots.entry(identity.clone()).or_insert_with(|| {
            Arc::new(Slot {
                spec: spec.clone(),
                identity,
                open: tokio::sync::Mutex::default(),
                users: AtomicUsize::new(0),
                generation: AtomicU64::new(0),
            })
        });
        slot.users.fetch_add(1, Ordering::SeqCst);
        slot.generation.fetch_add(1, Ordering::SeqCst);
        Arc::new(Lease { servers: self.clone(), slot: slot.clone() })
    }

    /// Servers that run, or would be started when asked.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.lock().len()
    }

    /// Ends every server.
    pub async fn close(&self) {
        let slots: Vec<Arc<Slot>> = self.slots.lock().drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            slot.close().await;
        }
    }

    /// Forgets a slot that nobody uses; its connection, where there is one.
    fn forget(&self, slot: &Arc<Slot>, generation: u64) -> bool {
        let mut slots = self.slots.lock();
        let unused = slot.users.load(Ordering::SeqCst) == 0 && slot.generation.load(Ordering::SeqCst) == generation;
        if unused && slots.get(&slot.identity).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            slots.remove(&slot.identity);
        }
        unused
    }
}

impl Slot {
    async fn close(&self) {
        let connection = self.open.lock().await.take();
        if let Some(connection) = connection.and_then(Arc::into_inner) {
            connection.close().await;
        }
    }
}

/// A claim on a server. While there is one, the server stays.
pub struct Lease {
    servers: Arc<Servers>,
    slot: Arc<Slot>,
}

impl Lease {
    /// Which server.
    #[must_use]
    pub fn spec(&self) -> &ServerSpec {
        &self.slot.spec
    }

    /// The server's tools, as they are now.
    ///
    /// # Errors
    /// That the server cannot be had, lists nonsense, or lists other tools than were pinned; in a sentence.
    pub async fn list(&self) -> Result<Listed, String> {
        let spec = self.spec();
        let connection = self.connection().await?;
        let listed = tokio::time::timeout(spec.timeout, connection.list(&spec.name)).await;
        let late = |_| Err(format!("the MCP server {} lists no tools within {} s", spec.name, spec.timeout.as_secs()));
        let listed = listed.unwrap_or_else(late)?;
        listed.fits(&spec.name, spec.pin.as_deref())?;
        Ok(listed)
    }

    /// Calls one of its tools, and tells what it said.
    ///
    /// # Errors
    /// What the tool, the server or the connection failed with, in a sentence.
    pub async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<String, String> {
        let connection = self.connection().await?;
        let called = connection.call(tool, arguments, self.spec().timeout).await?;
        if called.is_error { Err(called.text) } else { Ok(called.text) }
    }

    /// The live connection; a server that has ended is started again.
    async fn connection(&self) -> Result<Arc<Connection>, String> {
        let mut open = self.slot.open.lock().await;
        if let Some(connection) = open.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let Servers { egress, credentials, guard, .. } = &*self.servers;
        let connection = Connection::open(&self.slot.spec, egress, credentials, guard.as_deref()).await?;
        Ok(open.insert(Arc::new(connection)).clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let generation = self.slot.generation.load(Ordering::SeqCst);
        if self.slot.users.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let (servers, slot) = (self.servers.clone(), self.slot.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if slot.spec.idle.is_zero() {
            // At once: nothing of it outlives the run.
            if servers.forget(&slot, generation)
                && let Ok(mut open) = slot.open.try_lock()
            {
                open.take();
            }
            return;
        }
        runtime.spawn(async move {
            tokio::time::sleep(slot.spec.idle).await;
            if servers.forget(&slot, generation) {
                slot.close().await;
            }
        });
    }
}
