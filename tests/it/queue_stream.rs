//! The second intake: tokens of an orchestrator's stream, and one completion signal for each.

use std::{sync::Arc, time::Duration};

use agent_runner::{
    job::{ErrorCode, Event, EventKind, PatchTarget, RawJson, Status},
    queue::{End, Finished, Lease, LetterRetry, Queue, RedisQueue, Source, Standing},
    settings::{Intake, Settings},
};
use serde_json::{Value, json};

use crate::support::{
    redis::Redis,
    rig::{id_of, job},
};

const STREAM: &str = "wf.tasks.agent";

fn settings(redis: &Redis) -> Settings {
    let mut settings = redis.settings();
    settings.queue.intake = vec![Intake::List, Intake::Stream];
    settings
}

async fn connect(redis: &Redis) -> Arc<RedisQueue> {
    RedisQueue::connect(&settings(redis)).await.unwrap()
}

fn token(id: &str, more: Value) -> Value {
    let mut token = json!({"id": id, "run_id": "r1", "from_node": "fetch", "to_node": "agent",
        "created_at": "2026-01-01T00:00:00Z", "metadata": {"task": "top 10"}});
    let Value::Object(more) = more else { unreachable!() };
    token.as_object_mut().unwrap().extend(more);
    token
}

async fn add(redis: &Redis, token: &Value) {
    redis.add_token(token.to_string().as_bytes()).await;
}

async fn one(queue: &RedisQueue) -> Lease {
    for _ in 0..30 {
        if let Some(lease) = queue.claim(1).await.unwrap().pop() {
            return lease;
        }
    }
    panic!("no token came");
}

fn done() -> End {
    End::Result {
        result: RawJson::from_trusted(&b"1"[..]),
        status: Status::Completed,
        lane: None,
        event: Event::new(EventKind::Completed),
        signal: Some(RawJson::from_trusted(&br#"{"signal":1}"#[..])),
        dead: None,
    }
}

/// Entries of the group that nobody acknowledged.
async fn pending(redis: &Redis) -> Vec<(String, String, u64, u64)> {
    redis.run(&["XPENDING", STREAM, "agent_workers", "-", "+", "100"]).await
}

async fn signals(redis: &Redis) -> Vec<String> {
    redis.run(&["LRANGE", "completion_signals", "0", "-1"]).await
}

async fn letters(redis: &Redis) -> Vec<Value> {
    let texts: Vec<String> = redis.run(&["LRANGE", "{agent:jobs}:dead", "0", "-1"]).await;
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

async fn settled(queue: &RedisQueue) {
    while queue.stats().await.unwrap().in_flight > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_pending_while_it_runs_and_signals_once() {
    let redis = Redis::start();
    add(&redis, &token("t1", json!({}))).await;
    let queue = connect(&redis).await;
    let lease = one(&queue).await;
    assert_eq!(lease.delivery.source, Source::Stream);
    let job = lease.delivery.job.clone().unwrap();
    assert_eq!((job.job_id.as_str(), job.run_id.as_deref(), job.node_id.as_deref()), ("t1", Some("r1"), Some("agent")));
    assert_eq!((job.prompt_text(), job.patch_target), ("top 10", Some(PatchTarget::Run)));
    assert_eq!(pending(&redis).await.len(), 1);

    add(&redis, &token("t1", json!({}))).await;
    let twin = one(&queue).await;
    assert_eq!(twin.delivery.standing, Standing::Duplicate);
    twin.finish(End::Duplicate).await.unwrap();
    assert_eq!(lease.finish(done()).await.unwrap(), Finished::Done);
    add(&redis, &token("t1", json!({}))).await;
    one(&queue).await.finish(End::Duplicate).await.unwrap();
    settled(&queue).await;
    assert_eq!(signals(&redis).await, [r#"{"signal":1}"#]);
    assert_eq!(redis.run::<Vec<String>>(&["LRANGE", "agent:results:t1", "0", "-1"]).await, ["1"]);
    assert!(pending(&redis).await.is_empty());
    let left: Vec<String> = redis.run(&["KEYS", "{wf.tasks.agent}:*"]).await;
    assert_eq!(left, ["{wf.tasks.agent}:recent"], "nothing else is left of a token that ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_names_is_fetched() {
    let redis = Redis::start();
    let _: () = redis.run(&["SET", "cas:sha256:1", r#"[{"price":1.10}]"#]).await;
    let _: () = redis.run(&["SET", "cas:cas://sha256:2", r#"{"status":"success","data":[2]}"#]).await;
    let _: i64 = redis.run(&["HSET", "context:r1", "fetch:output", r#""cas://sha256:2""#]).await;
    let ir = json!({"metadata": {"username": "ann", "tag": "main"},
        "nodes": {"fetch": {"id": "fetch", "type": "http", "dependents": ["agent"]}, "agent": {"type": "agent"}}});
    let _: () = redis.run(&["SET", "ir:r1", &ir.to_string()]).await;
    let _: i64 = redis.run(&["HSET", "ir:r2", "a", "b"]).await;
    let queue = connect(&redis).await;

    let rows = [
        (
            token("by-ref", json!({"payload_ref": "cas://sha256:1"})),
            Some((Some("cas://sha256:1"), Some(r#"[{"price":1.10}]"#))),
        ),
        (token("by-context", json!({})), Some((Some("cas://sha256:2"), Some("[2]")))),
        (token("gone", json!({"payload_ref": "sha256:0", "from_node": "x"})), Some((Some("sha256:0"), None))),
        (token("bare", json!({"run_id": "r2", "metadata": {"task": "t", "workflow_tag": "own"}})), None),
    ];
    for (token, want) in rows {
        add(&redis, &token).await;
        let lease = one(&queue).await;
        let job = lease.delivery.job.clone().unwrap();
        let previous = job.context.previous_results.last();
        let found = previous.map(|one| (one.result_ref.as_deref(), one.data.as_ref().map(RawJson::as_str)));
        assert_eq!(found, want, "{}", job.job_id);
        if job.run_id.as_deref() == Some("r1") {
            assert_eq!((job.workflow_owner.as_deref(), job.workflow_tag.as_deref()), (Some("ann"), Some("main")));
            let workflow = job.current_workflow.unwrap().to_value().unwrap();
            assert_eq!(workflow["edges"], json!([{"from": "fetch", "to": "agent"}]));
        } else {
            assert_eq!((job.workflow_owner, job.workflow_tag.as_deref()), (None, Some("own")));
        }
        lease.finish(done()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_becomes_a_dead_letter_with_the_reason() {
    let redis = Redis::start();
    let queue = connect(&redis).await;
    let nowhere = json!({"id": "t9", "metadata": {"task": "x"}});
    add(&redis, &nowhere).await;
    redis.add_token(b"\xffnot json").await;
    let _: String = redis.run(&["XADD", STREAM, "*", "job", "1", "b", "2"]).await;
    for _ in 0..3 {
        let lease = one(&queue).await;
        let error = lease.delivery.job.clone().unwrap_err();
        assert!(error.job_id.is_none());
        lease.finish(End::Dead { error: error.error }).await.unwrap();
    }
    settled(&queue).await;
    let letters = letters(&redis).await;
    for (letter, word) in letters.iter().rev().zip(["run_id", "UTF-8", "`token`"]) {
        assert!(letter["error"]["message"].as_str().unwrap().contains(word), "{letter}");
        assert_eq!((&letter["error"]["type"], &letter["source"]), (&json!("invalid_job"), &json!(STREAM)));
    }
    assert_eq!((&letters[2]["raw"], &letters[2]["job_id"]), (&json!(nowhere.to_string()), &json!("t9")));
    assert_eq!(letters[0]["raw"], "job 1 b 2");
    assert!(pending(&redis).await.is_empty());
    assert_eq!(queue.stats().await.unwrap().dead, 3);
    // It can be found and tried again, as the token it was.
    assert_eq!(queue.retry_dead("t9").await.unwrap(), LetterRetry::Accepted(Some(job("t9"))));
    assert_eq!(one(&queue).await.delivery.source, Source::Stream);
    assert_eq!(queue.discard_dead(None).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_task_is_rejected_and_not_dropped() {
    let redis = Redis::start();
    let queue = connect(&redis).await;
    add(&redis, &token("t1", json!({"metadata": {}}))).await;
    let rejected = one(&queue).await.delivery.job.unwrap_err();
    assert_eq!((rejected.job_id.unwrap().as_str(), rejected.run_id.as_deref()), ("t1", Some("r1")));
    assert_eq!((rejected.node_id.as_deref(), rejected.error.code), (Some("agent"), ErrorCode::InvalidJob));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_another_consumer_left_behind_are_taken_over() {
    let redis = Redis::start();
    let _: () = redis.run(&["XGROUP", "CREATE", STREAM, "agent_workers", "0", "MKSTREAM"]).await;
    add(&redis, &token("left", json!({}))).await;
    add(&redis, &token("trimmed", json!({}))).await;
    let _: redis::Value = redis.run(&["XREADGROUP", "GROUP", "agent_workers", "gone", "STREAMS", STREAM, ">"]).await;
    let entries = pending(&redis).await;
    let _: i64 = redis.run(&["XDEL", STREAM, &entries[1].0]).await;
    let queue = connect(&redis).await;
    let lease = one(&queue).await;
    assert_eq!((id_of(&lease), lease.delivery.standing), ("left", Standing::Runnable));
    lease.finish(done()).await.unwrap();
    while !pending(&redis).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(signals(&redis).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_token_stays_young_in_the_pending_list() {
    let redis = Redis::start();
    let queue = connect(&redis).await;
    add(&redis, &token("t1", json!({}))).await;
    let lease = one(&queue).await;
    let seen = std::time::Instant::now();
    // Older than a whole lease, and never left alone for one.
    while seen.elapsed() < Duration::from_secs(3) {
        let entries = pending(&redis).await;
        assert!(entries[0].2 < 2000, "left alone for {} ms", entries[0].2);
        assert_eq!(entries[0].3, 1, "nobody has taken it again");
        tokio::task::yield_now().await;
    }
    assert!(lease.ended().is_none());
    assert_eq!(lease.finish(done()).await.unwrap(), Finished::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_kills_its_workers_fails_with_a_signal() {
    let redis = Redis::start();
    let queue = connect(&redis).await;
    add(&redis, &token("killer", json!({}))).await;
    for crashes in 0..3 {
        let lease = one(&queue).await;
        assert_eq!((lease.delivery.crashes, lease.delivery.attempt), (crashes, 1));
    }
    while signals(&redis).await.is_empty() {
        assert!(queue.claim(1).await.unwrap().is_empty());
    }
    settled(&queue).await;
    let signal: Value = serde_json::from_str(&signals(&redis).await[0]).unwrap();
    assert_eq!(
        (&signal["job_id"], &signal["run_id"], &signal["node_id"]),
        (&json!("killer"), &json!("r1"), &json!("agent"))
    );
    assert_eq!((&signal["status"], &signal["result_data"]["status"]), (&json!("failed"), &json!("failed")));
    assert_eq!(signal["metadata"]["error_type"], "internal");
    assert_eq!((letters(&redis).await.len(), pending(&redis).await.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_left_after_the_result_is_completed_and_acknowledged() {
    let redis = Redis::start();
    let queue = connect(&redis).await;
    add(&redis, &token("t1", json!({}))).await;
    one(&queue).await.finish(done()).await.unwrap();
    settled(&queue).await;
    // As if the worker had died between the result and its announcement: the token is still pending.
    let _: i64 = redis.run(&["DEL", "completion_signals", "{completion_signals}:sent:t1"]).await;
    let _: () = redis.run(&["XGROUP", "SETID", STREAM, "agent_workers", "0"]).await;
    let again = one(&queue).await;
    assert_eq!(again.delivery.standing, Standing::Duplicate);
    again.finish(End::Duplicate).await.unwrap();
    assert_eq!((signals(&redis).await.len(), pending(&redis).await.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_intakes_are_paused_and_served_together() {
    let redis = Redis::start();
    let queue = connect(&redis).await;
    queue.set_paused(true).await.unwrap();
    add(&redis, &token("t1", json!({}))).await;
    redis.push(br#"{"job_id":"j1","prompt":"p"}"#).await;
    assert!(queue.claim(8).await.unwrap().is_empty());
    let stats = queue.stats().await.unwrap();
    assert!(stats.paused && stats.pending == 2, "{stats:?}");
    queue.set_paused(false).await.unwrap();
    let mut ids = Vec::new();
    while ids.len() < 2 {
        for lease in queue.claim(8).await.unwrap() {
            ids.push(id_of(&lease).to_owned());
            lease.finish(done()).await.unwrap();
        }
    }
    ids.sort();
    assert_eq!(ids, ["j1", "t1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_vanished_is_made_again() {
    let redis = Redis::start();
    let queue = connect(&redis).await;
    add(&redis, &token("t1", json!({}))).await;
    one(&queue).await.finish(done()).await.unwrap();
    settled(&queue).await;
    let _: () = redis.run(&["FLUSHALL"]).await;
    add(&redis, &token("t2", json!({}))).await;
    assert_eq!(id_of(&one(&queue).await), "t2");
}
