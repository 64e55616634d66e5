//! What every driver of the queue has to do: one suite, run for each.

use std::time::Duration;

use agent_runner::{
    job::{ErrorCode, Event, EventKind, JobError, Lane, Priority, RawJson, Status},
    queue::{
        CancelOutcome, Decision, DecisionOutcome, End, JobFilter, JobState, LeaseEnd, LetterRetry, RetryOutcome,
        Standing, immediate,
    },
};
use serde_json::{Value, json};

use crate::support::rig::{Rig, done, failed, finish, id_of, job};

macro_rules! suite {
    ($driver:ident: $($name:ident),* $(,)?) => {
        mod $driver {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Rig::$driver().await).await; })*
        }
    };
}

macro_rules! suite_for {
    ($($driver:ident),*) => {
        $(suite! {
            $driver:
            a_job_is_taken_and_ended_once,
            an_idle_claimer_is_woken,
            order_is_first_in_first_out_within_a_priority,
            bad_messages_are_set_aside_and_delay_nobody,
            a_duplicate_is_not_run,
            a_retry_comes_back_with_the_next_attempt,
            a_job_that_is_handed_back_comes_first_and_counts_nothing,
            a_dropped_lease_is_delivered_again_and_ends_in_the_dead_letters,
            a_parked_job_waits_for_a_decision,
            a_waiting_job_is_cancelled_when_it_is_taken,
            a_running_job_is_told_that_it_was_cancelled,
            an_ended_job_starts_afresh,
            dead_letters_are_retried_and_discarded,
            a_pause_stops_the_taking,
            jobs_wait_until_they_are_due,
            readers_wait_for_events_and_results,
            a_waiting_claim_returns_when_the_process_stops,
            numbers_and_lists_tell_what_is_there,
            lists_are_narrowed_and_a_live_job_can_be_read,
        })*
    };
}

suite_for!(memory, redis, stream, limited, cluster);

async fn a_job_is_taken_and_ended_once(rig: Rig) {
    rig.push_job("a").await;
    let lease = rig.one().await;
    assert_eq!((id_of(&lease), lease.delivery.attempt, lease.delivery.crashes), ("a", 1, 0));
    let claim = lease.claim();
    assert!(claim.stands().await.unwrap());
    assert_eq!(lease.delivery.standing, Standing::Runnable);
    assert_eq!(rig.state("a").await, Some(JobState::Running));
    rig.queue.emit(&job("a"), Event::new(EventKind::Started).with("n", 1));
    finish(lease, done(r#"{"price":1.10}"#)).await;
    while claim.stands().await.unwrap() {
        // It is acknowledged after its result is there.
        tokio::task::yield_now().await;
    }

    assert_eq!(rig.result("a").await.unwrap(), r#"{"price":1.10}"#);
    let events = rig.events_until_end("a").await;
    let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names, ["started", "completed"]);
    let data: Value = events[0].data.to_value().unwrap();
    assert_eq!((data["job_id"].as_str(), &data["n"]), (Some("a"), &json!(1)));
    assert!(data["at"].as_str().unwrap().ends_with('Z'));

    let view = rig.queue.job(&job("a")).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempts, view.lane.as_deref()), (JobState::Completed, 1, Some("execute")));
    assert!(view.created_at.is_some() && view.started_at.is_some() && view.completed_at.is_some());
    assert!(rig.queue.claim(1).await.unwrap().is_empty());
    assert_eq!(rig.state("nobody").await, None);
}

async fn an_idle_claimer_is_woken(rig: Rig) {
    let queue = rig.queue.clone();
    let waiting = tokio::spawn(async move {
        loop {
            let leases = queue.claim(8).await.unwrap();
            if !leases.is_empty() {
                return leases;
            }
        }
    });
    rig.push_job("a").await;
    let mut leases = waiting.await.unwrap();
    assert_eq!(id_of(&leases[0]), "a");
    finish(leases.remove(0), done("1")).await;
}

async fn order_is_first_in_first_out_within_a_priority(rig: Rig) {
    rig.submit("low", Priority::Low, None).await;
    for id in ["a", "b"] {
        rig.push_job(id).await;
    }
    rig.push(r#"{"job_id":"urgent","prompt":"p","priority":"high"}"#).await;
    rig.submit("high", Priority::High, None).await;
    let mut order = Vec::new();
    while order.len() < 5 {
        order.extend(rig.some(8).await);
    }
    // Raw jobs are ordered by their own priority within a batch, jobs of the API by the list they went to.
    let ids: Vec<&str> = order.iter().map(id_of).collect();
    if rig.tokens {
        // Tokens come in their order, and jobs of the API in theirs.
        let of_the_stream: Vec<&str> = ids.iter().copied().filter(|id| !["high", "low"].contains(id)).collect();
        assert_eq!(of_the_stream, ["urgent", "a", "b"]);
        assert!(ids.iter().position(|id| *id == "high") < ids.iter().position(|id| *id == "low"));
    } else {
        assert_eq!(ids, ["urgent", "high", "a", "b", "low"]);
    }
}

async fn bad_messages_are_set_aside_and_delay_nobody(rig: Rig) {
    let bad: [&[u8]; 4] = [b"not json", b"\xff\xfe", br#"{"prompt":"no id"}"#, br#"{"job_id":"v2","version":"2.0"}"#];
    for message in bad {
        rig.push(message).await;
    }
    rig.push_job("good").await;
    let mut leases = Vec::new();
    while leases.len() < 5 {
        leases.extend(rig.some(8).await);
    }
    for lease in leases {
        match lease.delivery.job.clone() {
            Ok(job) => {
                assert_eq!(job.job_id.as_str(), "good");
                finish(lease, done("1")).await;
            }
            Err(rejected) if rejected.job_id.is_some() => {
                assert_eq!(rejected.error.code, ErrorCode::UnsupportedVersion);
                finish(lease, failed("2", false)).await;
            }
            Err(rejected) => finish(lease, End::Dead { error: rejected.error }).await,
        }
    }
    assert_eq!((rig.result("good").await.as_deref(), rig.result("v2").await.as_deref()), (Some("1"), Some("2")));
    let letters = rig.queue.dead(0, 10).await.unwrap();
    assert_eq!(letters.len(), 3);
    let messages: Vec<_> = letters.iter().map(|letter| letter.message()).collect();
    for message in &bad[..3] {
        assert!(messages.iter().any(|found| found == message));
    }
    let binary = letters.iter().find(|letter| letter.raw.is_none()).unwrap();
    assert!(binary.raw_base64.is_some() && binary.error.message.contains("UTF-8"));
    assert_eq!(rig.queue.dead(1, 1).await.unwrap(), letters[1..2]);
}

async fn a_duplicate_is_not_run(rig: Rig) {
    rig.push_job("a").await;
    let first = rig.one().await;
    rig.push_job("a").await;
    let second = rig.one().await;
    assert_eq!(second.delivery.standing, Standing::Duplicate, "it is running");
    finish(second, End::Duplicate).await;
    assert_eq!(rig.state("a").await, Some(JobState::Running));
    finish(first, done("1")).await;
    rig.push_job("a").await;
    let third = rig.one().await;
    assert_eq!(third.delivery.standing, Standing::Duplicate, "its result stands");
    finish(third, End::Duplicate).await;
    assert_eq!(rig.result("a").await.as_deref(), Some("1"));
    assert_eq!(rig.event_names("a").await, ["completed"]);
    assert_eq!(rig.queue.stats().await.unwrap().in_flight, 0);
}

async fn a_retry_comes_back_with_the_next_attempt(rig: Rig) {
    rig.push_job("a").await;
    for attempt in 1..=3 {
        let lease = rig.one().await;
        assert_eq!((lease.delivery.attempt, lease.delivery.crashes), (attempt, 0));
        assert_eq!(lease.delivery.standing, Standing::Runnable);
        let error = JobError::new(ErrorCode::Internal, "later");
        finish(lease, End::Retry { after: Duration::from_millis(300), error }).await;
        let view = rig.queue.job(&job("a")).await.unwrap().unwrap();
        assert_eq!(view.state, JobState::Queued);
        assert!(view.due_at.is_some() && view.due_at > view.created_at, "{view:?}");
    }
    finish(rig.one().await, done("1")).await;
    assert_eq!(rig.queue.job(&job("a")).await.unwrap().unwrap().attempts, 4);
}

async fn a_job_that_is_handed_back_comes_first_and_counts_nothing(rig: Rig) {
    rig.push_job("a").await;
    rig.push_job("b").await;
    let lease = rig.one().await;
    assert_eq!(id_of(&lease), "a");
    finish(lease, End::HandBack).await;
    assert_eq!(rig.state("a").await, Some(JobState::Queued));
    let again = rig.one().await;
    assert_eq!((id_of(&again), again.delivery.attempt, again.delivery.crashes), ("a", 1, 0));
    assert_eq!(again.delivery.standing, Standing::Runnable);
    finish(again, done("1")).await;
    assert_eq!(id_of(&rig.one().await), "b");
}

async fn a_dropped_lease_is_delivered_again_and_ends_in_the_dead_letters(rig: Rig) {
    rig.push_job("killer").await;
    for crashes in 0..3 {
        let lease = rig.one().await;
        assert_eq!((lease.delivery.attempt, lease.delivery.crashes), (1, crashes));
        assert_eq!(lease.delivery.standing, Standing::Runnable);
        drop(lease);
    }
    while rig.result("killer").await.is_none() {
        assert!(rig.queue.claim(1).await.unwrap().is_empty());
    }
    let result: Value = serde_json::from_str(&rig.result("killer").await.unwrap()).unwrap();
    assert_eq!((&result["status"], &result["error"]["type"]), (&json!("failed"), &json!("internal")));
    assert!(result["error"]["message"].as_str().unwrap().contains("3 times"));
    assert_eq!(rig.event_names("killer").await, ["failed"]);
    while rig.queue.stats().await.unwrap().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    let letters = rig.queue.dead(0, 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].crashes, letters[0].job_id.as_deref()), (1, 3, Some("killer")));
    assert_eq!(rig.state("killer").await, Some(JobState::Failed));
}

async fn a_parked_job_waits_for_a_decision(rig: Rig) {
    for (id, decision, approved) in [("yes", Decision::Approve, true), ("no", Decision::Reject, false)] {
        rig.push_job(id).await;
        let lease = rig.one().await;
        assert!(lease.delivery.approval.is_none());
        assert_eq!(rig.queue.decide(&job(id), decision).await.unwrap(), DecisionOutcome::NotWaiting);
        let pending = RawJson::from_trusted(&br#"{"ops":[1.10]}"#[..]);
        let event = Event::new(EventKind::Approval);
        finish(lease, End::Park { pending: pending.clone(), event }).await;
        let view = rig.queue.job(&job(id)).await.unwrap().unwrap();
        assert_eq!((view.state, view.pending), (JobState::AwaitingApproval, Some(pending.clone())));
        assert_eq!(rig.queue.stats().await.unwrap().awaiting_approval, 1);

        assert_eq!(rig.queue.decide(&job(id), decision).await.unwrap(), DecisionOutcome::Accepted);
        let lease = rig.one().await;
        let approval = lease.delivery.approval.clone().unwrap();
        assert_eq!((approval.approved, approval.pending), (approved, pending));
        assert_eq!((lease.delivery.standing, id_of(&lease)), (Standing::Runnable, id));
        finish(lease, done("1")).await;
        assert_eq!(rig.event_names(id).await, ["approval", "completed"]);
        assert_eq!(rig.queue.decide(&job(id), decision).await.unwrap(), DecisionOutcome::NotWaiting);
    }
    assert_eq!(rig.queue.decide(&job("x"), Decision::Approve).await.unwrap(), DecisionOutcome::Unknown);
}

async fn a_waiting_job_is_cancelled_when_it_is_taken(rig: Rig) {
    rig.submit("now", Priority::Normal, None).await;
    rig.submit("later", Priority::Normal, Some(3_600_000)).await;
    rig.push_job("parked").await;
    let mut leases = rig.some(8).await;
    while leases.len() < 2 {
        leases.extend(rig.some(8).await);
    }
    for lease in leases {
        let end = if id_of(&lease) == "parked" {
            End::Park { pending: RawJson::from_trusted(&b"1"[..]), event: Event::new(EventKind::Approval) }
        } else {
            End::HandBack
        };
        finish(lease, end).await;
    }
    for id in ["now", "later", "parked"] {
        assert_eq!(rig.queue.cancel(&job(id)).await.unwrap(), CancelOutcome::Accepted, "{id}");
    }
    let mut cancelled = Vec::new();
    while cancelled.len() < 3 {
        cancelled.extend(rig.some(8).await);
    }
    for lease in cancelled {
        assert_eq!(lease.delivery.standing, Standing::Cancelled, "{}", id_of(&lease));
        finish(lease, done("1")).await;
    }
    assert_eq!(rig.queue.cancel(&job("now")).await.unwrap(), CancelOutcome::AlreadyEnded);
    assert_eq!(rig.queue.cancel(&job("nobody")).await.unwrap(), CancelOutcome::Unknown);
}

async fn a_running_job_is_told_that_it_was_cancelled(rig: Rig) {
    rig.push_job("a").await;
    let lease = rig.one().await;
    assert!(lease.ended().is_none() && !lease.stop().is_cancelled());
    assert_eq!(rig.queue.cancel(&job("a")).await.unwrap(), CancelOutcome::Accepted);
    lease.stop().cancelled().await;
    assert_eq!(lease.ended(), Some(LeaseEnd::Cancelled));
    finish(lease, done("1")).await;
    assert_eq!(rig.result("a").await.as_deref(), Some("1"));
}

async fn an_ended_job_starts_afresh(rig: Rig) {
    assert_eq!(rig.queue.retry(&job("a")).await.unwrap(), RetryOutcome::Unknown);
    rig.push_job("a").await;
    let lease = rig.one().await;
    assert_eq!(rig.queue.retry(&job("a")).await.unwrap(), RetryOutcome::NotEnded);
    finish(lease, failed("1", false)).await;
    assert_eq!(rig.event_names("a").await, ["failed"]);
    assert_eq!(rig.queue.retry(&job("a")).await.unwrap(), RetryOutcome::Accepted);
    assert_eq!((rig.result("a").await, rig.state("a").await), (None, Some(JobState::Queued)));
    let lease = rig.one().await;
    assert_eq!((lease.delivery.standing, lease.delivery.attempt), (Standing::Runnable, 1));
    finish(lease, done("2")).await;
    assert_eq!(rig.result("a").await.as_deref(), Some("2"));
    assert_eq!(rig.event_names("a").await, ["queued", "completed"]);
}

async fn dead_letters_are_retried_and_discarded(rig: Rig) {
    for id in ["a", "b", "c"] {
        rig.push_job(id).await;
        finish(rig.one().await, failed("1", true)).await;
    }
    let all = || async { rig.queue.dead(0, 10).await.unwrap().len() };
    while all().await < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.queue.retry_dead("b").await.unwrap(), LetterRetry::Accepted(Some(job("b"))));
    assert_eq!(rig.queue.retry_dead("nobody").await.unwrap(), LetterRetry::Unknown);
    let lease = rig.one().await;
    assert_eq!((id_of(&lease), lease.delivery.standing, lease.delivery.attempt), ("b", Standing::Runnable, 1));
    finish(lease, done("2")).await;
    assert_eq!(rig.result("b").await.as_deref(), Some("2"));
    assert_eq!(all().await, 2);
    assert_eq!(rig.queue.discard_dead(Some(&["a".into()])).await.unwrap(), 1);
    assert_eq!(rig.queue.discard_dead(None).await.unwrap(), 1);
    assert_eq!(all().await, 0);
}

async fn a_pause_stops_the_taking(rig: Rig) {
    rig.queue.set_paused(true).await.unwrap();
    rig.push_job("a").await;
    assert!(rig.queue.claim(1).await.unwrap().is_empty());
    assert!(rig.queue.stats().await.unwrap().paused);
    rig.queue.set_paused(false).await.unwrap();
    assert_eq!(id_of(&rig.one().await), "a");
}

async fn jobs_wait_until_they_are_due(rig: Rig) {
    rig.submit("api", Priority::Normal, Some(700)).await;
    let view = rig.queue.job(&job("api")).await.unwrap().unwrap();
    assert_eq!((view.state, view.due_at.is_some()), (JobState::Queued, true));
    rig.push(r#"{"job_id":"raw","prompt":"p","delay_ms":900}"#).await;
    rig.push_job("now").await;
    let mut order = Vec::new();
    while order.len() < 3 {
        for lease in rig.some(8).await {
            assert_eq!((lease.delivery.attempt, lease.delivery.standing), (1, Standing::Runnable));
            order.push(id_of(&lease).to_owned());
            finish(lease, done("1")).await;
        }
    }
    assert_eq!(order, ["now", "api", "raw"]);
}

async fn readers_wait_for_events_and_results(rig: Rig) {
    rig.queue.submit(immediate(job("a"), r#"{"job_id":"a","prompt":"p"}"#.into())).await.unwrap();
    let lease = rig.one().await;
    let first = rig.queue.events(&job("a"), None, Duration::from_secs(30)).await.unwrap();
    let after = first.last().unwrap().id.clone();
    let (queue, reader) = (rig.queue.clone(), rig.queue.clone());
    let result = tokio::spawn(async move { queue.result(&job("a"), Duration::from_secs(30)).await.unwrap() });
    let events =
        tokio::spawn(async move { reader.events(&job("a"), Some(&after), Duration::from_secs(30)).await.unwrap() });
    tokio::task::yield_now().await;
    finish(lease, done("7")).await;
    assert_eq!(result.await.unwrap().unwrap().as_str(), "7");
    let second = events.await.unwrap();
    assert_eq!((first[0].event.as_str(), second[0].event.as_str()), ("queued", "completed"));
    assert!(rig.queue.events(&job("a"), Some(&second[0].id), Duration::ZERO).await.unwrap().is_empty());
    assert_eq!(rig.queue.events(&job("a"), Some("x; DROP"), Duration::ZERO).await.unwrap().len(), 2);
    assert!(rig.queue.result(&job("nobody"), Duration::from_millis(50)).await.unwrap().is_none());
}

async fn a_waiting_claim_returns_when_the_process_stops(rig: Rig) {
    rig.push_job("a").await;
    let lease = rig.one().await;
    let queue = rig.queue.clone();
    let waiting = tokio::spawn(async move { while !queue.claim(1).await.unwrap().is_empty() {} });
    rig.queue.stop_claiming();
    waiting.await.unwrap();
    rig.push_job("b").await;
    assert!(rig.queue.claim(1).await.unwrap().is_empty());
    finish(lease, done("1")).await;
    assert_eq!(rig.result("a").await.as_deref(), Some("1"));
}

async fn numbers_and_lists_tell_what_is_there(rig: Rig) {
    for id in ["a", "b", "c", "d"] {
        rig.submit(id, Priority::Normal, None).await;
    }
    rig.submit("later", Priority::Normal, Some(60_000)).await;
    let lease = rig.one().await;
    finish(lease, done("1")).await;
    let _running = rig.one().await;
    while rig.queue.stats().await.unwrap().in_flight != 1 {
        tokio::task::yield_now().await;
    }
    let stats = rig.queue.stats().await.unwrap();
    assert_eq!((stats.pending, stats.scheduled, stats.dead, stats.paused), (2, 1, 0, false));
    let all = || JobFilter { limit: 10, ..JobFilter::default() };
    assert_eq!(sorted(&rig, all()).await, "a b c d later");
    for (status, ids) in
        [("queued", "c d later"), ("scheduled", "later"), ("completed", "a"), ("running", "b"), ("failed", "")]
    {
        assert_eq!(sorted(&rig, all().of_status(status).unwrap()).await, ids, "{status}");
    }
    assert!(all().of_status("done").is_none());
    assert_eq!(rig.queue.jobs(&JobFilter { limit: 2, ..all() }).await.unwrap().items.len(), 2);
    rig.queue.ping().await.unwrap();
    rig.queue.close().await;
}

/// The ids of a page of jobs, in the order of the alphabet.
async fn sorted(rig: &Rig, filter: JobFilter) -> String {
    let page = rig.queue.jobs(&filter).await.unwrap();
    let mut ids: Vec<&str> = page.items.iter().map(|view| view.job_id.as_str()).collect();
    ids.sort_unstable();
    ids.join(" ")
}

async fn lists_are_narrowed_and_a_live_job_can_be_read(rig: Rig) {
    let broken = || match failed(r#"{"error":{"type":"internal","message":"the pump is dry"}}"#, false) {
        End::Result { result, event, signal, dead, .. } => {
            End::Result { result, status: Status::Failed, lane: Some(Lane::Patch), event, signal, dead }
        }
        _ => unreachable!(),
    };
    for (id, end) in [("good", done("1")), ("broken-1", broken()), ("broken-2", broken())] {
        rig.push_job(id).await;
        finish(rig.one().await, end).await;
    }
    rig.push_job("held").await;
    let _held = rig.one().await;
    let ids = async |filter: JobFilter| sorted(&rig, filter).await;
    let all = || JobFilter { limit: 10, ..JobFilter::default() };
    let failed = || JobFilter { state: Some(JobState::Failed), ..all() };
    while ids(failed()).await != "broken-1 broken-2" {
        // Noted after its result is there.
        tokio::task::yield_now().await;
    }
    assert_eq!(ids(JobFilter { limit: 1, ..failed() }).await, "broken-2");
    assert_eq!(ids(JobFilter { lane: Some("patch".into()), ..all() }).await, "broken-1 broken-2");
    assert_eq!(ids(JobFilter { text: "en-1".into(), ..all() }).await, "broken-1");
    assert_eq!(ids(JobFilter { text: "pump is".into(), ..all() }).await, "broken-1 broken-2");
    assert_eq!(ids(JobFilter { text: "pump is".into(), state: Some(JobState::Completed), ..all() }).await, "");
    assert_eq!(ids(JobFilter { state: Some(JobState::Cancelled), ..all() }).await, "");
    assert_eq!(ids(JobFilter { state: Some(JobState::Running), text: "eld".into(), ..all() }).await, "held");
    let live = rig.queue.live_job(&job("held")).await.unwrap().unwrap().unwrap();
    assert_eq!(live.job_id.as_str(), "held");
    assert!(rig.queue.live_job(&job("good")).await.unwrap().is_none());
    assert_eq!(rig.queue.retry(&job("broken-1")).await.unwrap(), RetryOutcome::Accepted);
    assert_eq!(ids(failed()).await, "broken-2", "a job that runs again has not failed");
}
