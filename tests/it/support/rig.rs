//! A queue under test, whatever drives it.

use std::{io::Write, sync::Arc, time::Duration};

use agent_runner::{
    job::{ErrorCode, Event, EventKind, JobError, JobId, Priority, RawJson, Status},
    queue::{End, Finished, JobState, Lease, MemoryQueue, Queue, RedisQueue, Submission},
    settings::Intake,
};
use serde_json::{Value, json};

use super::{
    fleet::Cluster,
    redis::{Redis, quick},
};

/// A test of `$story` for each of the drivers.
macro_rules! for_each_driver {
    ($story:ident: $($driver:ident),*) => {
        mod $story {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $driver() { super::$story(super::Rig::$driver().await).await; })*
        }
    };
}
pub(crate) use for_each_driver;

/// A driver under test.
pub struct Rig {
    pub queue: Arc<dyn Queue>,
    memory: Option<Arc<MemoryQueue>>,
    pub redis: Option<Redis>,
    /// Whether the server must not have refused anything when the test is over.
    limited: bool,
    cluster: Option<Cluster>,
    /// Raw messages go into the stream.
    pub tokens: bool,
}

impl Rig {
    pub async fn memory() -> Self {
        let queue = MemoryQueue::new(&quick());
        Self { queue: queue.clone(), memory: Some(queue), redis: None, cluster: None, tokens: false, limited: false }
    }

    pub async fn redis() -> Self {
        let redis = Redis::start();
        let queue = RedisQueue::connect(&redis.settings()).await.unwrap();
        Self { queue, memory: None, redis: Some(redis), cluster: None, tokens: false, limited: false }
    }

    /// Both intakes, as the user of the operator's guide.
    pub async fn limited() -> Self {
        let guide = include_str!("../../../docs/queue.md");
        let user = guide.lines().find(|line| line.starts_with("user agent-runner ")).unwrap();
        let mut acl = tempfile::NamedTempFile::new().unwrap();
        write!(acl, "user default on nopass ~* &* +@all\n{user}\n").unwrap();
        let redis = Redis::with(&["--aclfile", acl.path().to_str().unwrap()]);
        let mut settings = redis.settings();
        settings.redis.url = format!("redis://agent-runner:change-me@127.0.0.1:{}", redis.port).into();
        settings.queue.intake = vec![Intake::List, Intake::Stream];
        let queue = RedisQueue::connect(&settings).await.unwrap();
        Self { queue, memory: None, redis: Some(redis), cluster: None, tokens: true, limited: true }
    }

    /// Three servers.
    pub async fn cluster() -> Self {
        let cluster = Cluster::start().await;
        let queue = RedisQueue::connect(&cluster.settings()).await.unwrap();
        Self { queue, memory: None, redis: None, cluster: Some(cluster), tokens: false, limited: false }
    }

    /// Both intakes on three servers, fed through the stream.
    pub async fn cluster_stream() -> Self {
        let cluster = Cluster::start().await;
        let mut settings = cluster.settings();
        settings.queue.intake = vec![Intake::List, Intake::Stream];
        let queue = RedisQueue::connect(&settings).await.unwrap();
        Self { queue, memory: None, redis: None, cluster: Some(cluster), tokens: true, limited: false }
    }

    /// Both intakes, fed through the stream.
    pub async fn stream() -> Self {
        let redis = Redis::start();
        let mut settings = redis.settings();
        settings.queue.intake = vec![Intake::List, Intake::Stream];
        let queue = RedisQueue::connect(&settings).await.unwrap();
        Self { queue, memory: None, redis: Some(redis), cluster: None, tokens: true, limited: false }
    }

    /// Pushes as a producer does.
    pub async fn push(&self, message: impl AsRef<[u8]>) {
        match (&self.memory, &self.redis) {
            (Some(queue), _) => queue.push(message.as_ref().to_vec()).unwrap(),
            (_, Some(redis)) if self.tokens => redis.add_token(&on_a_run(message.as_ref())).await,
            (_, Some(redis)) => redis.push(message.as_ref()).await,
            _ => self.push_to_cluster(message.as_ref()).await,
        }
    }

    async fn push_to_cluster(&self, message: &[u8]) {
        let cluster = self.cluster.as_ref().unwrap();
        if self.tokens {
            let token = on_a_run(message);
            let _: String = cluster.run(&[b"XADD", b"wf.tasks.agent", b"*", b"token", &token]).await;
        } else {
            let _: i64 = cluster.run(&[b"RPUSH", b"agent:jobs", message]).await;
        }
    }

    pub async fn push_job(&self, id: &str) {
        self.push(json!({"job_id": id, "prompt": "p"}).to_string()).await;
    }

    pub async fn submit(&self, id: &str, priority: Priority, delay_ms: Option<u64>) {
        let raw = json!({"job_id": id, "prompt": "p"}).to_string().into();
        self.queue
            .submit(Submission { job_id: job(id), raw, priority, run_at_ms: None, delay_ms, owner: None })
            .await
            .unwrap();
    }

    /// Claims until a job comes.
    pub async fn one(&self) -> Lease {
        self.some(1).await.remove(0)
    }

    /// Claims until jobs come.
    pub async fn some(&self, max: usize) -> Vec<Lease> {
        for _ in 0..30 {
            let leases = self.queue.claim(max).await.unwrap();
            if !leases.is_empty() {
                return leases;
            }
        }
        panic!("no job came");
    }

    pub async fn state(&self, id: &str) -> Option<JobState> {
        self.queue.job(&job(id)).await.unwrap().map(|view| view.state)
    }

    pub async fn result(&self, id: &str) -> Option<String> {
        let result = self.queue.result(&job(id), Duration::ZERO).await.unwrap();
        result.map(|result| result.as_str().to_owned())
    }

    pub async fn event_names(&self, id: &str) -> Vec<String> {
        self.events_until_end(id).await.into_iter().map(|event| event.event).collect()
    }

    /// All events of a job that has ended.
    pub async fn events_until_end(&self, id: &str) -> Vec<agent_runner::queue::StoredEvent> {
        let mut all: Vec<agent_runner::queue::StoredEvent> = Vec::new();
        for _ in 0..30 {
            let after = all.last().map(|event| event.id.clone());
            all.extend(self.queue.events(&job(id), after.as_deref(), Duration::from_secs(1)).await.unwrap());
            if all.last().is_some_and(|event| matches!(event.event.as_str(), "completed" | "failed" | "cancelled")) {
                return all;
            }
        }
        panic!("the events do not end: {all:?}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let (true, false, Some(redis)) = (self.limited, std::thread::panicking(), &self.redis) {
            let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
            let refused: redis::Value = redis::cmd("ACL").arg("LOG").query(&mut connection).unwrap();
            assert_eq!(refused, redis::Value::Array(Vec::new()), "docs/queue.md lacks a right");
        }
    }
}

pub fn job(id: &str) -> JobId {
    JobId::parse(id).unwrap()
}

pub fn id_of(lease: &Lease) -> &str {
    lease.delivery.job.as_ref().map(|job| job.job_id.as_str()).unwrap()
}

pub fn done(text: &str) -> End {
    End::Result {
        result: RawJson::from_trusted(text.as_bytes().to_vec()),
        status: Status::Completed,
        lane: Some(agent_runner::job::Lane::Execute),
        event: Event::new(EventKind::Completed),
        signal: None,
        dead: None,
    }
}

pub fn failed(text: &str, dead: bool) -> End {
    let error = JobError::new(ErrorCode::Internal, "broken");
    End::Result {
        result: RawJson::from_trusted(text.as_bytes().to_vec()),
        status: Status::Failed,
        lane: None,
        event: Event::new(EventKind::Failed),
        signal: None,
        dead: dead.then_some(error),
    }
}

pub async fn finish(lease: Lease, end: End) {
    assert_eq!(lease.finish(end).await.unwrap(), Finished::Done);
}

/// A job document with a run, as a token has one; anything else as it is.
fn on_a_run(message: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(message) {
        Ok(Value::Object(mut job)) if job.contains_key("job_id") => {
            job.insert("run_id".into(), "r".into());
            serde_json::to_vec(&job).unwrap()
        }
        _ => message.to_vec(),
    }
}
