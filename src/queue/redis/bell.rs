//! Being woken: the control channel, results that someone waits for, and the doorbells of the lists.
//!
//! Nothing depends on a message arriving: whoever waits looks again after a while.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::redis::{aio::PubSubSink, cmd};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::{
    core::Core,
    keys::Intake,
    link::{Backoff, Link},
    stream,
};
use crate::{
    queue::{LeaseEnd, QueueError, count},
    settings::PopSide,
};

/// Wakes whoever waits.
pub(super) struct Bell {
    /// There may be something to claim.
    pub(super) jobs: Notify,
    /// One per intake: a claimer found nothing and waits.
    idle: Vec<Notify>,
    waiting: AtomicUsize,
    watched: Mutex<HashMap<String, Watched>>,
    changes: Mutex<Option<mpsc::UnboundedSender<Change>>>,
}

struct Watched {
    watchers: usize,
    heard: Arc<Notify>,
}

enum Change {
    Subscribe(String),
    Unsubscribe(String),
}

/// Someone who waits for a message on one channel.
pub(super) struct Watch<'a> {
    bell: &'a Bell,
    channel: String,
    pub(super) heard: Arc<Notify>,
}

/// A claimer that waits.
pub(super) struct Waiting<'a>(&'a Bell);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Bell {
    /// A bell for so many intakes.
    pub(super) fn new(intakes: usize) -> Self {
        Self {
            jobs: Notify::new(),
            idle: (0..intakes).map(|_| Notify::new()).collect(),
            waiting: AtomicUsize::new(0),
            watched: Mutex::default(),
            changes: Mutex::default(),
        }
    }

    /// Listens to `channel` until dropped.
    pub(super) fn watch(&self, channel: String) -> Watch<'_> {
        let mut watched = self.watched.lock();
        let entry =
            watched.entry(channel.clone()).or_insert_with(|| Watched { watchers: 0, heard: Arc::new(Notify::new()) });
        entry.watchers += 1;
        if entry.watchers == 1 {
            self.change(Change::Subscribe(channel.clone()));
        }
        Watch { bell: self, channel, heard: entry.heard.clone() }
    }

    /// Lets the doorbells ring for as long as the answer lives.
    pub(super) fn arm(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        for idle in &self.idle {
            idle.notify_one();
        }
        Waiting(self)
    }

    fn anyone_waits(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    fn change(&self, change: Change) {
        if let Some(changes) = &*self.changes.lock() {
            // Without a listener there is nothing to change: a new one subscribes to all that is watched.
            let _ = changes.send(change);
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut watched = self.bell.watched.lock();
        if let Some(entry) = watched.get_mut(&self.channel) {
            entry.watchers -= 1;
            if entry.watchers == 0 {
                watched.remove(&self.channel);
                self.bell.change(Change::Unsubscribe(self.channel.clone()));
            }
        }
    }
}

/// Listens to the channels until the queue closes.
pub(super) async fn listen(core: Arc<Core>) {
    let mut backoff = Backoff::default();
    while !core.stop.is_cancelled() {
        let heard = tokio::select! {
            () = core.stop.cancelled() => return,
            heard = listen_once(&core, &mut backoff) => heard,
        };
        if let Err(error) = heard {
            tracing::debug!(%error, "the control channel is away");
        }
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

async fn listen_once(core: &Core, backoff: &mut Backoff) -> ::redis::RedisResult<()> {
    let (mut sink, mut messages) = core.connector.pubsub().await?.split();
    let (changes, mut changed) = mpsc::unbounded_channel();
    sink.subscribe(&core.names.control).await?;
    let watched: Vec<String> = {
        let watched = core.bell.watched.lock();
        *core.bell.changes.lock() = Some(changes);
        watched.keys().cloned().collect()
    };
    for channel in watched {
        sink.subscribe(channel).await?;
    }
    backoff.reset();
    // What was said while nobody listened is made good by looking once.
    core.bell.jobs.notify_waiters();
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => heard(core, message.get_channel_name(), message.get_payload_bytes()),
                None => return Ok(()),
            },
            change = changed.recv() => follow(&mut sink, change).await?,
        }
    }
}

async fn follow(sink: &mut PubSubSink, change: Option<Change>) -> ::redis::RedisResult<()> {
    match change {
        Some(Change::Subscribe(channel)) => sink.subscribe(channel).await,
        Some(Change::Unsubscribe(channel)) => sink.unsubscribe(channel).await,
        None => Ok(()),
    }
}

fn heard(core: &Core, channel: &str, message: &[u8]) {
    if channel != core.names.control {
        if let Some(watched) = core.bell.watched.lock().get(channel) {
            watched.heard.notify_waiters();
        }
    } else if let Some(job_id) = message.strip_prefix(b"cancel ").and_then(|id| std::str::from_utf8(id).ok()) {
        for lease in core.table.of_job(job_id) {
            if lease.end(LeaseEnd::Cancelled) {
                count::lost("cancelled");
            }
        }
    } else {
        core.bell.jobs.notify_waiters();
    }
}

/// Waits at one list while someone is idle. `BLMOVE` puts what comes into a shared list that every claim
/// empties, so nothing hangs on the answer reaching us.
pub(super) async fn doorbell(core: Arc<Core>, intake: usize) {
    let keys = &core.names.intakes[intake];
    // The answer may come just before the block ends: the connection waits longer than the server.
    let link = Link::waiting(core.connector.clone(), core.config.block + Duration::from_secs(5));
    let mut backoff = Backoff::default();
    loop {
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = core.bell.idle[intake].notified() => {}
        }
        if !core.bell.anyone_waits() {
            continue;
        }
        let rung = tokio::select! {
            () = core.stop.cancelled() => return,
            rung = ring(&core, keys, &link) => rung,
        };
        match rung {
            Ok(came) => {
                backoff.reset();
                if came {
                    core.bell.jobs.notify_waiters();
                    if !core.bell.anyone_waits() {
                        // Our claimers are busy by now; another process may be idle.
                        let _ = core.work.one(cmd("PUBLISH").arg(&core.names.control).arg("wake").take()).await;
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, name = %keys.name, "the doorbell is away");
                tokio::select! {
                    () = core.stop.cancelled() => return,
                    () = tokio::time::sleep(backoff.next()) => {}
                }
            }
        }
    }
}

/// Waits for one message; says whether any came.
async fn ring(core: &Core, keys: &Intake, link: &Link) -> Result<bool, QueueError> {
    if let Some(stream) = &keys.stream {
        return stream::wait_for_entry(link, keys, stream, core.config.block).await;
    }
    let from = match core.config.pop_side {
        PopSide::Left => "LEFT",
        PopSide::Right => "RIGHT",
    };
    let mut wait = cmd("BLMOVE");
    wait.arg(&*keys.name).arg(&keys.inbox).arg(from).arg("RIGHT").arg(core.config.block.as_secs_f64());
    Ok(link.one(wait).await? != ::redis::Value::Nil)
}
