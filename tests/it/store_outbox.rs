//! Notes of jobs whose record is owed, and the scribe that writes records from what the queue tells.

use std::{sync::Arc, time::Duration};

use agent_runner::{
    job::JobId,
    queue::{Page, SharedQueue},
    store::{Keeping, Noted, Outbox, Query, Record, RecordPlace, Recorded, Recorder, Records, RedisStore, StoreError},
};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::{
    redis::Redis,
    rig::{Rig, done, finish, job},
};

const HOUR: Duration = Duration::from_secs(3600);

fn outbox(redis: &Redis, look_again: Duration) -> Outbox {
    Outbox::new(RedisStore::connect(&redis.settings()).unwrap(), look_again)
}

fn names(notes: &[Noted]) -> Vec<&str> {
    notes.iter().map(|note| note.job_id.as_str()).collect()
}

#[tokio::test]
async fn a_note_comes_when_it_is_due_to_one_at_a_time_until_it_is_settled() {
    let redis = Redis::start();
    let (early, later) = (outbox(&redis, Duration::ZERO), outbox(&redis, HOUR));
    early.note(&job("a"), Some("ann b")).await.unwrap();
    early.note(&job("b"), None).await.unwrap();
    later.note(&job("c"), None).await.unwrap();
    assert_eq!(names(&later.due(1).await.unwrap()), ["a"]);
    let second = later.due(10).await.unwrap();
    assert_eq!(names(&second), ["b"], "the first is somebody's now, and the third not due");
    assert_eq!(second[0].owner, None);
    assert!(later.due(10).await.unwrap().is_empty());
    early.settled(&second).await.unwrap();
    assert_eq!(early.owed().await.unwrap(), 2);
}

#[tokio::test]
async fn a_note_that_was_made_anew_outlives_what_settles_the_old_one() {
    let redis = Redis::start();
    let outbox = outbox(&redis, Duration::ZERO);
    let first = outbox.note(&job("a"), Some("ann b")).await.unwrap();
    let second = outbox.note(&job("a"), Some("ann b")).await.unwrap();
    assert!(second.mark > first.mark);
    outbox.settled(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(outbox.due(10).await.unwrap(), std::slice::from_ref(&second));
    outbox.settled(&[second]).await.unwrap();
    assert_eq!(outbox.owed().await.unwrap(), 0);
    let keys: Vec<String> = redis.run(&["KEYS", "*records*"]).await;
    assert!(keys.is_empty(), "{keys:?}");
}

/// A database that is away, works, or refuses one job for good.
struct Shelf {
    away: Mutex<bool>,
    refused: Option<JobId>,
    written: Mutex<Vec<Record>>,
    tries: watch::Sender<u32>,
}

impl Shelf {
    fn new(refused: Option<JobId>) -> Arc<Self> {
        Arc::new(Self { away: Mutex::new(false), refused, written: Mutex::default(), tries: watch::Sender::new(0) })
    }
}

#[async_trait]
impl Records for Shelf {
    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write(&self, records: &[Record]) -> Result<Vec<(JobId, String)>, StoreError> {
        if *self.away.lock() {
            self.tries.send_modify(|tries| *tries += 1);
            return Err(StoreError::away("gone"));
        }
        let mut refused = Vec::new();
        for record in records {
            if Some(&record.job_id) == self.refused.as_ref() {
                refused.push((record.job_id.clone(), "never".to_owned()));
            } else {
                self.written.lock().push(record.clone());
            }
        }
        self.tries.send_modify(|tries| *tries += 1);
        Ok(refused)
    }

    async fn search(&self, _query: &Query) -> Result<Page<Recorded, RecordPlace>, StoreError> {
        Ok(Page { items: Vec::new(), older: None, newer: None })
    }

    async fn prune(&self, _days: u32, _most: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// A queue with a scribe beside it.
struct Office {
    rig: Rig,
    recorder: Recorder,
    shelf: Arc<Shelf>,
    closing: CancellationToken,
    scribe: tokio::task::JoinHandle<()>,
}

impl Office {
    async fn open(shelf: Arc<Shelf>, prompts: bool) -> Self {
        let rig = Rig::redis().await;
        let queue: SharedQueue = rig.queue.clone();
        let store = RedisStore::connect(&rig.redis.as_ref().unwrap().settings()).unwrap();
        let (recorder, scribe) = Recorder::new(store, shelf.clone(), queue, Keeping { days: 0, prompts });
        let closing = CancellationToken::new();
        let scribe = tokio::spawn(scribe.run(closing.clone()));
        Self { rig, recorder, shelf, closing, scribe }
    }

    /// A job from its message to its end, as a worker does it.
    async fn live(&self, id: &str, result: &str) {
        self.rig.push(json!({"job_id": id, "prompt": "what?"}).to_string()).await;
        let lease = self.rig.one().await;
        let noted = self.recorder.note(&job(id), Some("ann")).await.unwrap();
        finish(lease, done(result)).await;
        self.recorder.ended(noted);
    }

    async fn owed(&self) -> i64 {
        self.rig.redis.as_ref().unwrap().run(&["ZCARD", "agent:{records}:times"]).await
    }

    async fn close(self) {
        self.closing.cancel();
        self.scribe.await.unwrap();
        self.rig.queue.close().await;
    }
}

#[tokio::test]
async fn an_ended_job_is_written_down_as_the_queue_tells_of_it() {
    for prompts in [false, true] {
        let office = Office::open(Shelf::new(None), prompts).await;
        office.live("a", r#"{"run_id":"r","metadata":{"cost_usd":0.10}}"#).await;
        while office.owed().await > 0 {
            tokio::task::yield_now().await;
        }
        let written = office.shelf.written.lock().clone();
        let [record] = &written[..] else { panic!("{written:?}") };
        assert_eq!(record.document.as_str(), r#"{"run_id":"r","metadata":{"cost_usd":0.10}}"#);
        assert_eq!((record.owner.as_deref(), record.run_id.as_deref()), (Some("ann"), Some("r")));
        assert_eq!(record.prompt.as_deref(), prompts.then_some("what?"), "only where content may be kept");
        assert!(record.finished_at.is_some() && record.attempts == 1, "{record:?}");
        office.close().await;
    }
}

#[tokio::test]
async fn a_database_that_is_away_delays_records_and_loses_none() {
    let office = Office::open(Shelf::new(None), false).await;
    *office.shelf.away.lock() = true;
    let mut tries = office.shelf.tries.subscribe();
    for id in ["a", "b", "c"] {
        office.live(id, "{}").await;
    }
    tries.wait_for(|tries| *tries > 0).await.unwrap();
    assert_eq!(office.owed().await, 3);
    *office.shelf.away.lock() = false;
    while office.owed().await > 0 {
        tokio::task::yield_now().await;
    }
    let mut written: Vec<String> = office.shelf.written.lock().iter().map(|r| r.job_id.to_string()).collect();
    written.sort();
    assert_eq!(written, ["a", "b", "c"], "each once");
    office.close().await;
}

#[tokio::test]
async fn one_refused_record_holds_up_no_other() {
    let office = Office::open(Shelf::new(Some(job("b"))), false).await;
    for id in ["a", "b", "c"] {
        office.live(id, "{}").await;
    }
    while office.owed().await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(office.shelf.written.lock().len(), 2);
    office.close().await;
}

#[tokio::test]
async fn a_running_job_keeps_its_note_and_a_forgotten_one_does_not() {
    let office = Office::open(Shelf::new(None), false).await;
    office.rig.push_job("runs").await;
    let lease = office.rig.one().await;
    for id in ["runs", "forgotten"] {
        let noted = office.recorder.note(&job(id), None).await.unwrap();
        // Too early, or too late.
        office.recorder.ended(noted);
    }
    while office.owed().await > 1 {
        tokio::task::yield_now().await;
    }
    finish(lease, done("{}")).await;
    while office.owed().await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(office.shelf.written.lock().len(), 1, "nobody said that it had ended");
    office.close().await;
}

#[tokio::test]
async fn what_has_ended_here_is_written_before_the_process_goes() {
    let office = Office::open(Shelf::new(None), false).await;
    office.live("a", "{}").await;
    let shelf = office.shelf.clone();
    office.close().await;
    assert_eq!(shelf.written.lock().len(), 1);
}
