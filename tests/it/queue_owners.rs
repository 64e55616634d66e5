//! A job's owner is known from the moment it comes in until nothing is kept of it, whatever happens to it.

use std::time::Duration;

use agent_runner::{
    job::{ErrorCode, Event, EventKind, JobError, Owner, RawJson},
    queue::{Decision, End, JobFilter, LetterFilter, LetterRetry, RetryOutcome, Submission},
};
use bytes::Bytes;
use serde_json::json;

use crate::support::rig::{Rig, done, failed, finish, for_each_driver, job};

for_each_driver!(an_owner_stays_with_a_job: memory, redis, limited, cluster);
for_each_driver!(what_runs_under_an_id_says_whose_it_is: memory, redis, cluster);
for_each_driver!(letters_know_their_owner: memory, redis, cluster);

const ANN: &str = "ann and sons";

fn message(id: &str, owner: &str) -> Bytes {
    json!({"job_id": id, "prompt": "p", "workflow_owner": owner}).to_string().into()
}

async fn submit(rig: &Rig, id: &str, owner: &str, delay_ms: Option<u64>) {
    let submission = Submission {
        job_id: job(id),
        raw: message(id, owner),
        priority: agent_runner::job::Priority::Normal,
        run_at_ms: None,
        delay_ms,
        owner: Owner::of(owner),
    };
    rig.queue.submit(submission).await.unwrap();
}

/// The owner as a look at the job and as the lists tell it; both must say the same.
async fn owner(rig: &Rig, id: &str) -> Option<Owner> {
    let view = rig.queue.job(&job(id)).await.unwrap().unwrap();
    let listed = |owner: Option<Owner>| async {
        let filter = JobFilter { limit: 100, owner, ..JobFilter::default() };
        rig.queue.jobs(&filter).await.unwrap().items.into_iter().find(|view| view.job_id.as_str() == id)
    };
    assert_eq!(listed(None).await.unwrap().owner, view.owner);
    if view.owner.is_some() {
        assert!(listed(view.owner.clone()).await.is_some());
    }
    assert!(listed(Owner::of("somebody else")).await.is_none());
    view.owner
}

async fn an_owner_stays_with_a_job(rig: Rig) {
    let ann = Owner::of(ANN);
    submit(&rig, "a", ANN, None).await;
    assert_eq!(owner(&rig, "a").await, ann, "queued");
    let lease = rig.one().await;
    assert_eq!(owner(&rig, "a").await, ann, "running");
    finish(lease, End::HandBack).await;
    assert_eq!(owner(&rig, "a").await, ann, "handed back");
    let error = JobError::new(ErrorCode::Internal, "no");
    finish(rig.one().await, End::Retry { after: Duration::from_millis(1), error }).await;
    let lease = rig.one().await;
    let pending = RawJson::from_trusted(&b"1"[..]);
    finish(lease, End::Park { pending, event: Event::new(EventKind::Approval) }).await;
    assert_eq!(owner(&rig, "a").await, ann, "parked");
    rig.queue.decide(&job("a"), Decision::Approve).await.unwrap();
    assert_eq!(owner(&rig, "a").await, ann, "approved");
    finish(rig.one().await, done("1")).await;
    assert_eq!(owner(&rig, "a").await, ann, "ended");
    assert_eq!(rig.queue.retry(&job("a")).await.unwrap(), RetryOutcome::Accepted);
    assert_eq!(owner(&rig, "a").await, ann, "afresh");
    finish(rig.one().await, done("2")).await;
    assert_eq!(owner(&rig, "a").await, ann, "ended again");
    submit(&rig, "later", ANN, Some(3_600_000)).await;
    assert_eq!(owner(&rig, "later").await, ann, "scheduled");
    rig.push(message("pushed", ANN)).await;
    finish(rig.one().await, done("1")).await;
    assert_eq!(owner(&rig, "pushed").await, ann, "pushed to the list");
    rig.push_job("nobodys").await;
    finish(rig.one().await, done("1")).await;
    assert_eq!(owner(&rig, "nobodys").await, None);
    if let Some(redis) = &rig.redis {
        let fields: Vec<String> = redis.run(&["HKEYS", "{agent:jobs}:jobs"]).await;
        let mut fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["later", "later owner"], "nothing is left of ended jobs");
    }
    rig.queue.close().await;
}

async fn what_runs_under_an_id_says_whose_it_is(rig: Rig) {
    // Two producers choose the same id: who is told of the result is who owns the message that ran.
    submit(&rig, "a", "bob", None).await;
    let first = rig.one().await;
    finish(first, done("1")).await;
    rig.push(message("a", ANN)).await;
    finish(rig.one().await, End::Duplicate).await;
    assert_eq!(owner(&rig, "a").await, Owner::of("bob"));
    submit(&rig, "b", "bob", Some(3_600_000)).await;
    rig.push(json!({"job_id": "c", "prompt": "p"}).to_string()).await;
    let lease = rig.one().await;
    assert_eq!((owner(&rig, "b").await, owner(&rig, "c").await), (Owner::of("bob"), None));
    finish(lease, done("1")).await;
    rig.queue.close().await;
}

async fn letters_know_their_owner(rig: Rig) {
    for (id, owner) in [("a", ANN), ("b", "bob"), ("c", ANN), ("d", ANN)] {
        submit(&rig, id, owner, None).await;
        finish(rig.one().await, failed("1", true)).await;
    }
    rig.push("no json").await;
    let lease = rig.one().await;
    let error = lease.delivery.job.as_ref().unwrap_err().error.clone();
    finish(lease, End::Dead { error }).await;
    while rig.queue.dead(0, 10).await.unwrap().len() < 5 {
        tokio::task::yield_now().await;
    }
    let ann = Owner::of(ANN).unwrap();
    let of = |owner: &str| LetterFilter { owner: Owner::of(owner), limit: 10, ..LetterFilter::default() };
    let ids = async |filter: LetterFilter| -> Vec<String> {
        rig.queue.letters(&filter).await.unwrap().items.into_iter().filter_map(|letter| letter.job_id).collect()
    };
    assert_eq!(ids(of(ANN)).await, ["d", "c", "a"]);
    let first = rig.queue.letters(&LetterFilter { limit: 2, ..of(ANN) }).await.unwrap();
    assert_eq!(ids(LetterFilter { from: first.older, ..of(ANN) }).await, ["a"]);
    assert!(ids(of("eve")).await.is_empty());
    assert_eq!(rig.queue.dead_owners("a").await.unwrap(), [Some(ann.clone())]);
    let nobodys = rig.queue.dead(0, 1).await.unwrap().remove(0);
    assert_eq!(rig.queue.dead_owners(&nobodys.letter_id).await.unwrap(), [None]);
    assert!(rig.queue.dead_owners("x").await.unwrap().is_empty());
    assert_eq!(rig.queue.retry_dead("a").await.unwrap(), LetterRetry::Accepted(Some(job("a"))));
    assert_eq!(owner(&rig, "a").await, Some(ann));
    rig.queue.close().await;
}
