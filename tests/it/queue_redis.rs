//! What the queue does in Redis beyond what every driver does: names and shapes that producers rely on,
//! dead workers, lost leases, an absent server.

use std::{collections::HashMap, sync::Arc, time::Duration};

use agent_runner::{
    job::{Event, EventKind, JobId, RawJson, Status},
    queue::{End, Finished, JobState, Lease, LeaseEnd, Queue, RedisQueue, RetryOutcome, Standing, Submission},
    settings::{ListIntake, PopSide, ResultKind, Settings},
};
use futures::StreamExt;
use serde_json::json;

use crate::support::redis::Redis;

async fn connect(settings: &Settings) -> Arc<RedisQueue> {
    RedisQueue::connect(settings).await.unwrap()
}

async fn push_job(redis: &Redis, id: &str) {
    redis.push(json!({"job_id": id, "prompt": "p"}).to_string().as_bytes()).await;
}

async fn one(queue: &RedisQueue) -> Lease {
    for _ in 0..30 {
        if let Some(lease) = queue.claim(1).await.unwrap().pop() {
            return lease;
        }
    }
    panic!("no job came");
}

fn id_of(lease: &Lease) -> &str {
    lease.delivery.job.as_ref().map(|job| job.job_id.as_str()).unwrap()
}

fn done(text: &str) -> End {
    End::Result {
        result: RawJson::from_trusted(text.as_bytes().to_vec()),
        status: Status::Completed,
        lane: None,
        event: Event::new(EventKind::Completed),
        signal: Some(RawJson::from_trusted(format!(r#"{{"signal":{text}}}"#).into_bytes())),
        dead: None,
    }
}

/// Waits until everything that ended is acknowledged.
async fn settled(queue: &RedisQueue) {
    while queue.stats().await.unwrap().in_flight > 0 {
        tokio::task::yield_now().await;
    }
}

async fn events(redis: &Redis, id: &str) -> Vec<String> {
    let entries: Vec<(String, HashMap<String, String>)> =
        redis.run(&["XRANGE", &format!("agent:events:{id}"), "-", "+"]).await;
    entries.into_iter().map(|(_, fields)| fields["event"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_both_believe_to_have_a_job_close_its_events_once() {
    let redis = Redis::start();
    let queue = connect(&redis.settings()).await;
    push_job(&redis, "a").await;
    let first = one(&queue).await;
    // As after a restart of Redis that lost the claim: the job is there again.
    for key in ["{agent:jobs}:leases", "{agent:jobs}:bodies", "{agent:jobs}:jobs"] {
        redis.run::<i64>(&["DEL", key]).await;
    }
    push_job(&redis, "a").await;
    let second = one(&queue).await;
    assert!(!first.claim().stands().await.unwrap() && second.claim().stands().await.unwrap());
    let id = JobId::parse("a").unwrap();
    queue.emit(&id, Event::new(EventKind::Started));
    assert_eq!(first.finish(done("1")).await.unwrap(), Finished::Done);
    queue.emit(&id, Event::new(EventKind::ToolFinished));
    // With its end it would go unwritten.
    while events(&redis, "a").await.len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(second.finish(done("2")).await.unwrap(), Finished::Superseded);
    settled(&queue).await;
    assert_eq!(events(&redis, "a").await, ["started", "completed", "tool_finished"]);
    assert_eq!(redis.run::<Vec<String>>(&["LRANGE", "agent:results:a", "0", "-1"]).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_one_entry_with_a_ttl_and_a_message_on_its_channel() {
    let redis = Redis::start();
    let queue = connect(&redis.settings()).await;
    let mut listener = redis::Client::open(redis.url()).unwrap().get_async_pubsub().await.unwrap();
    listener.subscribe("agent:results:a").await.unwrap();
    push_job(&redis, "a").await;
    let text = r#"{"id":9007199254740993,"price":1.10}"#;
    assert_eq!(one(&queue).await.finish(done(text)).await.unwrap(), Finished::Done);
    settled(&queue).await;

    assert_eq!(redis.run::<Vec<String>>(&["LRANGE", "agent:results:a", "0", "-1"]).await, [text]);
    for key in ["agent:results:a", "{agent:results:a}:done", "agent:events:a"] {
        let ttl: i64 = redis.run(&["TTL", key]).await;
        assert!((86_000..=86_400).contains(&ttl), "{key} lives {ttl} s");
    }
    let message = listener.on_message().next().await.unwrap();
    assert_eq!(message.get_payload::<String>().unwrap(), text);
    assert_eq!(redis.run::<Vec<String>>(&["LRANGE", "completion_signals", "0", "-1"]).await.len(), 1);

    let _: (String, String) = redis.run(&["BLPOP", "agent:results:a", "1"]).await;
    let id = JobId::parse("a").unwrap();
    assert_eq!(queue.result(&id, Duration::ZERO).await.unwrap().unwrap().as_str(), text);
    let left: Vec<String> = redis.run(&["KEYS", "{agent:jobs}:*"]).await;
    assert_eq!(left, ["{agent:jobs}:recent"], "nothing else is left of a job that ended");
}

/// Tells of a job's whole life and ends it, all within one tick.
async fn live(queue: &RedisQueue, texts: &[&str]) {
    let lease = one(queue).await;
    let id = lease.delivery.job.as_ref().unwrap().job_id.clone();
    queue.emit(&id, Event::new(EventKind::Started));
    for text in texts {
        queue.emit(&id, Event::new(EventKind::StepFinished).with("text", *text));
    }
    assert_eq!(lease.finish(done("1")).await.unwrap(), Finished::Done);
    settled(queue).await;
}

// Events that go out together are restored as one stream: from few bytes to many, onto nothing and onto a stream
// that is there, and one by one where the server does not let us.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_quick_job_are_a_stream_like_any_other() {
    let texts = ["", &"a".repeat(30), &"\u{fc}".repeat(1000), &"b".repeat(5000), &"c".repeat(20_000)];
    let (few, all) = (&texts[..2], &texts[..]);
    for refused in [false, true] {
        let redis = Redis::with(&["--sanitize-dump-payload", "yes"]);
        if refused {
            let _: () = redis.run(&["ACL", "SETUSER", "default", "-restore"]).await;
        }
        let queue = connect(&redis.settings()).await;
        for (id, texts) in [("few", few), ("all", all), ("few", all)] {
            let before = events(&redis, id).await.len();
            // As if the first life were long ago, but for its events.
            let marks = [format!("{{agent:results:{id}}}:done"), format!("{{completion_signals}}:sent:{id}")];
            let _: i64 = redis.run(&["DEL", &marks[0], &marks[1], &format!("agent:results:{id}")]).await;
            push_job(&redis, id).await;
            live(&queue, texts).await;
            let entries: Vec<(String, HashMap<String, String>)> =
                redis.run(&["XRANGE", &format!("agent:events:{id}"), "-", "+"]).await;
            let told: Vec<serde_json::Value> =
                entries[before..].iter().map(|(_, fields)| serde_json::from_str(&fields["data"]).unwrap()).collect();
            assert_eq!(told.len(), texts.len() + 2, "{id} {refused}");
            assert!(told.iter().all(|data| data["job_id"] == id));
            assert!(told[1..=texts.len()].iter().zip(texts).all(|(data, text)| data["text"] == *text));
            let names: Vec<&str> = entries[before..].iter().map(|(_, fields)| fields["event"].as_str()).collect();
            assert_eq!((names[0], names[names.len() - 1]), ("started", "completed"));
            assert!(redis.run::<i64>(&["TTL", &format!("agent:events:{id}")]).await > 86_000);
            // A stream that was restored takes further entries.
            let _: String = redis.run(&["XADD", &format!("agent:events:{id}"), "*", "event", "x", "data", "{}"]).await;
            let _: String = redis.run(&["XADD", &format!("agent:events:{id}"), "*", "event", "x", "data", "{}"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_may_be_a_plain_string() {
    let redis = Redis::start();
    let mut settings = redis.settings();
    settings.results.kind = ResultKind::String;
    let queue = connect(&settings).await;
    push_job(&redis, "a").await;
    one(&queue).await.finish(done("1")).await.unwrap();
    assert_eq!(redis.run::<String>(&["GET", "agent:results:a"]).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_dead_worker_runs_elsewhere_and_the_crash_is_counted_apart() {
    let redis = Redis::start();
    let (dying, other) = (connect(&redis.settings()).await, connect(&redis.settings()).await);
    push_job(&redis, "a").await;
    let lost = one(&dying).await;
    drop(dying);
    let lease = one(&other).await;
    assert_eq!((id_of(&lease), lease.delivery.attempt, lease.delivery.crashes), ("a", 1, 1));
    assert_eq!(lease.delivery.standing, Standing::Runnable);
    lease.finish(done("1")).await.unwrap();
    drop(lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_second_publishes_nothing() {
    let redis = Redis::start();
    let (first, second) = (connect(&redis.settings()).await, connect(&redis.settings()).await);
    push_job(&redis, "a").await;
    let slow = one(&first).await;
    // As a failover does it: the lease is gone, and the job is back in the list.
    let _: i64 = redis.run(&["DEL", "{agent:jobs}:leases", "{agent:jobs}:bodies", "{agent:jobs}:jobs"]).await;
    push_job(&redis, "a").await;
    let quick = one(&second).await;
    assert_eq!(quick.delivery.standing, Standing::Runnable);
    assert_eq!(quick.finish(done("1")).await.unwrap(), Finished::Done);
    let told = slow.finish(done("2")).await.unwrap();
    assert!(matches!(told, Finished::Superseded | Finished::Lost), "{told:?}");
    settled(&second).await;
    assert_eq!(redis.run::<Vec<String>>(&["LRANGE", "agent:results:a", "0", "-1"]).await, ["1"]);
    assert_eq!(redis.run::<Vec<String>>(&["LRANGE", "completion_signals", "0", "-1"]).await, [r#"{"signal":1}"#]);
    assert_eq!(events(&redis, "a").await, ["completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_lease_is_gone_is_told_and_cannot_publish() {
    let redis = Redis::start();
    let queue = connect(&redis.settings()).await;
    push_job(&redis, "a").await;
    let lease = one(&queue).await;
    let _: i64 = redis.run(&["DEL", "{agent:jobs}:leases"]).await;
    lease.stop().cancelled().await;
    assert_eq!(lease.ended(), Some(LeaseEnd::Lost));
    assert_eq!(lease.finish(done("1")).await.unwrap(), Finished::Lost);
    assert_eq!(redis.run::<i64>(&["EXISTS", "agent:results:a"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_left_undone_after_the_result_is_completed_by_the_next() {
    let redis = Redis::start();
    let queue = connect(&redis.settings()).await;
    push_job(&redis, "a").await;
    one(&queue).await.finish(done("1")).await.unwrap();
    settled(&queue).await;
    // As if the worker had died between the result and its announcement.
    let _: i64 = redis.run(&["DEL", "completion_signals", "{completion_signals}:sent:a", "agent:events:a"]).await;
    push_job(&redis, "a").await;
    let again = one(&queue).await;
    assert_eq!(again.delivery.standing, Standing::Duplicate);
    again.finish(End::Duplicate).await.unwrap();
    assert_eq!(redis.run::<i64>(&["LLEN", "completion_signals"]).await, 1);
    assert_eq!(events(&redis, "a").await, ["completed"]);
    assert_eq!(redis.run::<i64>(&["LLEN", "agent:results:a"]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_result_is_held_while_redis_is_away() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = connect(&redis.settings()).await;
    push_job(&redis, "a").await;
    push_job(&redis, "b").await;
    let lease = one(&queue).await;
    redis.kill();
    let finishing = tokio::spawn(lease.finish(done("1")));
    redis.start_again();
    assert_eq!(finishing.await.unwrap().unwrap(), Finished::Done);
    let lease = one(&queue).await;
    assert_eq!(id_of(&lease), "b");
    assert_eq!(lease.finish(done("2")).await.unwrap(), Finished::Done);
    for (id, text) in [("a", "1"), ("b", "2")] {
        assert_eq!(redis.run::<Vec<String>>(&["LRANGE", &format!("agent:results:{id}"), "0", "-1"]).await, [text]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_server_gets_everything_twice_and_does_it_once() {
    let redis = Redis::start();
    let mut settings = redis.settings();
    settings.redis.response_timeout_secs = 1;
    settings.queue.lease_secs = 30;
    settings.queue.renew_secs = 10;
    let queue = connect(&settings).await;
    push_job(&redis, "a").await;
    let lease = one(&queue).await;
    redis.signal("STOP");
    queue.emit(&JobId::parse("a").unwrap(), Event::new(EventKind::Started));
    let finishing = tokio::spawn(lease.finish(done("1")));
    assert!(queue.ping().await.is_err(), "no answer comes in time");
    redis.signal("CONT");
    assert_eq!(finishing.await.unwrap().unwrap(), Finished::Done);
    settled(&queue).await;
    assert_eq!(redis.run::<Vec<String>>(&["LRANGE", "agent:results:a", "0", "-1"]).await, ["1"]);
    assert_eq!(redis.run::<i64>(&["LLEN", "completion_signals"]).await, 1);
    assert_eq!(events(&redis, "a").await, ["started", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_the_scripts_is_taught_again() {
    let redis = Redis::start();
    let queue = connect(&redis.settings()).await;
    push_job(&redis, "a").await;
    let lease = one(&queue).await;
    let _: () = redis.run(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(lease.finish(done("1")).await.unwrap(), Finished::Done);
    push_job(&redis, "b").await;
    assert_eq!(id_of(&one(&queue).await), "b");
}

// One thread: what the claim starts cannot run before the test gives it the thread.
#[tokio::test]
async fn a_claim_that_nobody_waits_for_any_more_goes_back() {
    let redis = Redis::start();
    let queue = connect(&redis.settings()).await;
    push_job(&redis, "a").await;
    // Polled once, so that the request is on its way, and dropped.
    let mut claim = Box::pin(queue.claim(1));
    assert!(futures::poll!(&mut claim).is_pending());
    drop(claim);
    let lease = one(&queue).await;
    assert_eq!((id_of(&lease), lease.delivery.attempt, lease.delivery.crashes), ("a", 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_jobs_that_are_due_at_once_are_all_taken() {
    let redis = Redis::start();
    let queue = connect(&redis.settings()).await;
    queue.set_paused(true).await.unwrap();
    let submit = |n: usize| {
        let queue = queue.clone();
        async move {
            let job_id = JobId::parse(&format!("j{n}")).unwrap();
            let raw = json!({"job_id": job_id.as_str(), "prompt": "p"}).to_string().into();
            let priority = agent_runner::job::Priority::Normal;
            queue
                .submit(Submission { job_id, raw, priority, run_at_ms: None, delay_ms: Some(1), owner: None })
                .await
                .unwrap();
        }
    };
    futures::stream::iter(0..10_000).for_each_concurrent(200, submit).await;
    queue.set_paused(false).await.unwrap();
    let mut taken = 0;
    while taken < 10_000 {
        let leases = queue.claim(64).await.unwrap();
        taken += leases.len();
        futures::future::join_all(leases.into_iter().map(|lease| lease.finish(done("1")))).await;
    }
    settled(&queue).await;
    assert_eq!(queue.stats().await.unwrap().scheduled, 0);
    assert_eq!(redis.run::<i64>(&["HLEN", "{agent:jobs}:jobs"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_that_push_left_are_served_from_the_right() {
    let redis = Redis::start();
    let mut settings = redis.settings();
    settings.queue.pop_side = PopSide::Right;
    let queue = connect(&settings).await;
    for id in ["a", "b", "c"] {
        let message = json!({"job_id": id, "prompt": "p"}).to_string();
        let _: i64 = redis.run(&["LPUSH", "agent:jobs", &message]).await;
    }
    let leases = queue.claim(8).await.unwrap();
    assert_eq!(leases.iter().map(id_of).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_lists_are_served_and_each_wakes_an_idle_claimer() {
    let redis = Redis::start();
    let mut settings = redis.settings();
    settings.queue.lists = ["first", "second{x}"].map(|name| ListIntake { name: name.into(), weight: 3 }).to_vec();
    let queue = connect(&settings).await;
    for name in ["second{x}", "first"] {
        let waiting = queue.clone();
        let claim = tokio::spawn(async move { one(&waiting).await });
        let message = json!({"job_id": name.replace(['{', '}'], ""), "prompt": "p"}).to_string();
        let _: i64 = redis.run(&["RPUSH", name, &message]).await;
        let lease = claim.await.unwrap();
        assert_eq!(lease.delivery.source, agent_runner::queue::Source::List(name.into()));
        lease.finish(done("1")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_capped() {
    let redis = Redis::start();
    let mut settings = redis.settings();
    settings.queue.max_dead = 3;
    let queue = connect(&settings).await;
    for n in 0..5 {
        redis.push(format!("bad {n}").as_bytes()).await;
    }
    let mut ended = 0;
    while ended < 5 {
        for lease in queue.claim(8).await.unwrap() {
            let error = lease.delivery.job.clone().unwrap_err().error;
            lease.finish(End::Dead { error }).await.unwrap();
            ended += 1;
        }
    }
    let raws: Vec<_> = queue.dead(0, 10).await.unwrap().into_iter().map(|letter| letter.raw.unwrap()).collect();
    assert_eq!(raws.len(), 3);
    assert!(raws.contains(&"bad 4".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_queue_refuses_a_forgetful_server() {
    let redis = Redis::start();
    let mut settings = redis.settings();
    settings.queue.durable = true;
    let error = RedisQueue::connect(&settings).await.err().unwrap();
    assert!(error.0.contains("appendonly"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_queue_does_not_wait_for_replicas_that_never_were() {
    let redis = Redis::with(&["--appendonly", "yes", "--maxmemory-policy", "noeviction"]);
    let mut settings = redis.settings();
    settings.queue.durable = true;
    let queue = RedisQueue::connect(&settings).await.unwrap();
    push_job(&redis, "a").await;
    assert_eq!(one(&queue).await.finish(done("1")).await.unwrap(), Finished::Done);
    assert!(queue.result(&JobId::parse("a").unwrap(), Duration::ZERO).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nothing_listens_is_an_error() {
    let mut settings = Settings::default();
    settings.redis.url = format!("redis://127.0.0.1:{}", crate::support::redis::free_port()).into();
    assert!(RedisQueue::connect(&settings).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_started_afresh_before_its_claim_is_acknowledged_is_known() {
    let redis = Redis::start();
    let queue = connect(&redis.settings()).await;
    push_job(&redis, "a").await;
    let lease = one(&queue).await;
    let record: String = redis.run(&["HGET", "{agent:jobs}:jobs", "a"]).await;
    assert_eq!(lease.finish(done("1")).await.unwrap(), Finished::Done);
    settled(&queue).await;
    // The result is there a moment before the acknowledgement takes the record away.
    let _: i64 = redis.run(&["HSET", "{agent:jobs}:jobs", "a", &record]).await;
    let id = JobId::parse("a").unwrap();
    assert_eq!(queue.retry(&id).await.unwrap(), RetryOutcome::Accepted);
    assert_eq!(queue.job(&id).await.unwrap().map(|view| view.state), Some(JobState::Queued));
    assert_eq!(one(&queue).await.delivery.standing, Standing::Runnable);
}
