//! Reading events and results, with waiting.

use std::{sync::Arc, time::Duration};

use ::redis::{RedisError, cmd, from_redis_value};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    claim::read,
    connect::{Conn, Connector},
    core::Core,
    link::pipeline,
};
use crate::{
    job::{JobId, RawJson},
    queue::{QueueError, StoredEvent},
};

/// Longest wait of one blocking read; whoever waits longer asks again.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Blocking reads at a time.
const MAX_READERS: usize = 64;
/// How often a waiting reader of a result looks by itself, should no message reach it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Events in one answer.
const PAGE: usize = 1000;

/// Connections for blocking reads, kept for the next reader. One is only kept after a whole answer: a read
/// that was cut off still blocks on the server's side.
pub(super) struct Readers {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Conn>>,
    permits: Semaphore,
}

type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

impl Readers {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, idle: Mutex::default(), permits: Semaphore::new(MAX_READERS) }
    }

    /// Waits for events after `after`.
    async fn wait(&self, key: &str, after: &str, wait: Duration) -> Result<Entries, QueueError> {
        let Ok(Ok(_permit)) = tokio::time::timeout(wait, self.permits.acquire()).await else { return Ok(Vec::new()) };
        let idle = self.idle.lock().pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => self.connector.open(MAX_WAIT + Duration::from_secs(5)).await?,
        };
        let block = u64::try_from(wait.min(MAX_WAIT).as_millis()).unwrap_or(1).max(1);
        let mut call = cmd("XREAD");
        call.arg("COUNT").arg(PAGE).arg("BLOCK").arg(block).arg("STREAMS").arg(key).arg(after);
        let answer = conn.run(&pipeline([call])).await?.pop();
        let streams: Option<Vec<(String, Entries)>> = read(answer)?;
        self.idle.lock().push(conn);
        Ok(streams.into_iter().flatten().next().map(|(_, entries)| entries).unwrap_or_default())
    }
}

impl Core {
    /// The events of a job after `after`.
    pub(super) async fn events(
        &self,
        job_id: &JobId,
        after: Option<&str>,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, QueueError> {
        let key = self.names.events(job_id);
        let after = after.filter(|id| is_id(id)).unwrap_or("0-0");
        let mut range = cmd("XRANGE");
        range.arg(&key).arg(format!("({after}")).arg("+").arg("COUNT").arg(PAGE);
        let mut entries: Entries = from_redis_value(self.work.one(range).await?).map_err(RedisError::from)?;
        if entries.is_empty() && !wait.is_zero() {
            entries = self.readers.wait(&key, after, wait).await?;
        }
        Ok(entries.into_iter().filter_map(stored).collect())
    }

    /// The result of a job.
    pub(super) async fn result(&self, job_id: &JobId, wait: Duration) -> Result<Option<RawJson>, QueueError> {
        let deadline = Instant::now() + wait;
        let watch = (!wait.is_zero()).then(|| self.bell.watch(self.names.result(job_id)));
        loop {
            let heard = watch.as_ref().map(|watch| watch.heard.notified());
            let closing = self.closing(self.names.closing(job_id)).await?;
            let (Some(heard), None, true) = (heard, &closing, Instant::now() < deadline) else {
                return Ok(closing.map(|closing| closing.result));
            };
            tokio::select! {
                () = heard => {}
                () = tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)) => {}
            }
        }
    }
}

fn stored((id, fields): (String, Vec<(String, Vec<u8>)>)) -> Option<StoredEvent> {
    let mut event = None;
    let mut data = None;
    for (name, value) in fields {
        match name.as_str() {
            "event" => event = String::from_utf8(value).ok(),
            "data" => data = RawJson::parse(value.into()).ok(),
            _ => {}
        }
    }
    Some(StoredEvent { id, event: event?, data: data? })
}

/// `123-4`, as Redis gives them. What comes from outside may be anything.
fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(ms, seq)| ms.parse::<u64>().is_ok() && seq.parse::<u64>().is_ok())
}
