//! Lists of jobs and of dead letters, page by page, while jobs come and go.

use agent_runner::{
    job::{Event, EventKind, JobId, Owner, Priority},
    queue::{
        Cursor, End, JobFilter, JobPlace, JobState, LetterFilter, LetterPlace, LetterRetry, Queue, RedisQueue,
        RetryOutcome, Standing, Submission,
    },
};
use serde_json::json;

use crate::support::{
    redis::Redis,
    rig::{Rig, done, failed, finish, for_each_driver, id_of, job},
};

for_each_driver!(pages_follow_each_other_while_jobs_come_and_start_afresh: memory, redis, cluster);
for_each_driver!(every_state_is_read_page_by_page: memory, redis, stream, cluster);
for_each_driver!(letters_are_read_page_by_page_while_they_come_and_go: memory, redis, cluster, cluster_stream);
for_each_driver!(a_duplicate_of_an_ended_job_changes_nothing_of_it: memory, redis, limited, cluster);
for_each_driver!(a_letter_is_chosen_by_its_own_id: memory, redis, stream, limited, cluster);

type At<P> = Option<Cursor<P>>;

/// The ids of a page in its order, and where its neighbours begin.
async fn jobs(rig: &Rig, filter: &JobFilter, from: At<JobPlace>) -> (Vec<String>, At<JobPlace>, At<JobPlace>) {
    let page = rig.queue.jobs(&JobFilter { from, ..filter.clone() }).await.unwrap();
    (page.items.into_iter().map(|view| view.job_id.to_string()).collect(), page.older, page.newer)
}

async fn letters(rig: &Rig, limit: usize, from: At<LetterPlace>) -> (Vec<String>, At<LetterPlace>, At<LetterPlace>) {
    let page = rig.queue.letters(&LetterFilter { from, limit, ..LetterFilter::default() }).await.unwrap();
    (page.items.into_iter().filter_map(|letter| letter.job_id).collect(), page.older, page.newer)
}

/// Everything from the latest on, page by page; `between` is done after each page.
async fn all(rig: &Rig, filter: &JobFilter, between: impl AsyncFn(usize)) -> Vec<String> {
    let (mut seen, mut from) = (Vec::new(), None);
    for n in 1.. {
        let (ids, older, newer) = jobs(rig, filter, from.clone()).await;
        assert!(ids.len() <= filter.limit && newer.is_some() == (from.is_some() && !ids.is_empty()), "{ids:?}");
        seen.extend(ids);
        between(n).await;
        if older.is_none() {
            break;
        }
        from = older;
    }
    seen
}

async fn pages_follow_each_other_while_jobs_come_and_start_afresh(rig: Rig) {
    for n in 0..9 {
        rig.submit(&format!("j{n}"), Priority::Normal, None).await;
        finish(rig.one().await, done("1")).await;
    }
    let filter = JobFilter { limit: 2, ..JobFilter::default() };
    let still = all(&rig, &filter, async |_| {}).await;
    assert_eq!(all(&rig, &JobFilter { limit: 100, ..JobFilter::default() }, async |_| {}).await, still);
    let mut sorted = still.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["j0", "j1", "j2", "j3", "j4", "j5", "j6", "j7", "j8"], "each once");
    // A job that came is on no later page, and one that was seen and starts afresh is not seen again.
    let seen = all(&rig, &filter, async |n| {
        rig.submit(&format!("new{n}"), Priority::Normal, None).await;
        if n == 2 {
            assert_eq!(rig.queue.retry(&job(&still[0])).await.unwrap(), RetryOutcome::Accepted);
            assert_eq!(rig.queue.retry(&job(&still[3])).await.unwrap(), RetryOutcome::Accepted);
        }
    })
    .await;
    assert_eq!(seen, still);

    let (first, second, _) = jobs(&rig, &filter, None).await;
    assert!(first.iter().all(|id| !still[1..].contains(id)), "the latest are those that came meanwhile: {first:?}");
    let (page, third, newer) = jobs(&rig, &filter, second.clone()).await;
    assert_eq!(jobs(&rig, &filter, newer).await, (first, second, None), "and back");
    let (_, _, back) = jobs(&rig, &filter, third.clone()).await;
    let (again, older, newer) = jobs(&rig, &filter, back).await;
    assert_eq!((again, older, newer.is_some()), (page, third, true));
}

async fn every_state_is_read_page_by_page(rig: Rig) {
    for n in 0..4 {
        for (what, end) in [("done", done("1")), ("broken", failed(r#"{"error":{"message":"dry"}}"#, false))] {
            rig.push_job(&format!("{what}{n}")).await;
            finish(rig.one().await, end).await;
        }
        rig.submit(&format!("later{n}"), Priority::Normal, Some(3_600_000)).await;
    }
    let mut leases = Vec::new();
    for n in 0..3 {
        rig.push_job(&format!("held{n}")).await;
        leases.push(rig.one().await);
    }
    let two = |status: &str| JobFilter { limit: 2, ..JobFilter::default() }.of_status(status).unwrap();
    let ids = async |filter: &JobFilter| {
        let mut ids = all(&rig, filter, async |_| {}).await;
        ids.sort_unstable();
        ids.join(" ")
    };
    while ids(&two("failed")).await != "broken0 broken1 broken2 broken3" {
        // Noted after its result is there.
        tokio::task::yield_now().await;
    }
    assert_eq!(ids(&two("completed")).await, "done0 done1 done2 done3");
    assert_eq!(ids(&two("running")).await, "held0 held1 held2");
    for status in ["queued", "scheduled"] {
        assert_eq!(ids(&two(status)).await, "later0 later1 later2 later3", "{status}");
    }
    assert_eq!(ids(&two("cancelled")).await, "");
    let with = |text: &str| JobFilter { text: text.into(), limit: 2, ..JobFilter::default() };
    assert_eq!(ids(&with("2")).await, "broken2 done2 held2 later2");
    assert_eq!(ids(&with("dry")).await, "broken0 broken1 broken2 broken3", "a part of an error");
}

async fn bury(rig: &Rig, id: &str) {
    rig.push_job(id).await;
    finish(rig.one().await, failed("1", true)).await;
    while rig.queue.dead_owners(id).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

async fn letters_are_read_page_by_page_while_they_come_and_go(rig: Rig) {
    for n in 0..7 {
        bury(&rig, &format!("d{n}")).await;
    }
    let (page, older, newer) = letters(&rig, 3, None).await;
    assert_eq!((page, newer), (vec!["d6".to_owned(), "d5".into(), "d4".into()], None));
    bury(&rig, "new").await;
    // The whole page is dealt with: the next one begins where it would have.
    assert_eq!(rig.queue.discard_dead(Some(&["d6".into(), "d5".into(), "d4".into()])).await.unwrap(), 3);
    let (page, older, newer) = letters(&rig, 3, older).await;
    assert_eq!(page, ["d3", "d2", "d1"]);
    assert_eq!(letters(&rig, 3, newer).await.0, ["new"]);
    assert_eq!(rig.queue.discard_dead(Some(&["d0".into()])).await.unwrap(), 1);
    assert_eq!(letters(&rig, 3, older).await, (vec![], None, None));
}

async fn a_duplicate_of_an_ended_job_changes_nothing_of_it(rig: Rig) {
    for id in ["a", "b"] {
        rig.submit(id, Priority::Normal, None).await;
        finish(rig.one().await, done("1")).await;
    }
    assert_eq!(rig.event_names("a").await, ["queued", "completed"]);
    let filter = JobFilter { limit: 10, ..JobFilter::default() };
    let before = jobs(&rig, &filter, None).await;
    assert_eq!(before.0.len(), 2);
    for by_hand in [false, true] {
        if by_hand {
            rig.push_job("a").await;
        } else {
            rig.submit("a", Priority::Normal, None).await;
        }
        assert_eq!(rig.state("a").await, Some(JobState::Completed));
        assert_eq!(jobs(&rig, &filter, None).await, before, "while it waits");
        let lease = rig.one().await;
        assert_eq!(lease.delivery.standing, Standing::Duplicate);
        finish(lease, End::Duplicate).await;
        while rig.queue.stats().await.unwrap().in_flight > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(jobs(&rig, &filter, None).await, before);
        assert_eq!(rig.event_names("a").await, ["queued", "completed"]);
    }
    // A second submission of one that runs is no second beginning either.
    rig.submit("c", Priority::Normal, None).await;
    let lease = rig.one().await;
    rig.queue.emit(&job("c"), Event::new(EventKind::Started));
    rig.submit("c", Priority::Normal, None).await;
    finish(lease, done("1")).await;
    assert_eq!(rig.event_names("c").await, ["queued", "started", "completed"]);
}

async fn a_letter_is_chosen_by_its_own_id(rig: Rig) {
    let unreadable = async |lease: agent_runner::queue::Lease| {
        let error = lease.delivery.job.as_ref().unwrap_err().error.clone();
        finish(lease, End::Dead { error }).await;
    };
    for text in ["no json 1", "no json 2", "no json 3"] {
        rig.push(text).await;
        unreadable(rig.one().await).await;
    }
    let found = rig.queue.dead(0, 10).await.unwrap();
    assert!(found.iter().all(|letter| letter.job_id.is_none()), "{found:?}");
    let [third, second, first] = &found[..] else { panic!("{found:?}") };
    let one = |letter: &agent_runner::queue::DeadLetter| [letter.letter_id.clone()];
    assert_eq!(rig.queue.discard_dead(Some(&one(second))).await.unwrap(), 1);
    assert_eq!(rig.queue.discard_dead(Some(&one(second))).await.unwrap(), 0);
    assert_eq!(rig.queue.retry_dead(&second.letter_id).await.unwrap(), LetterRetry::Unknown);
    assert_eq!(rig.queue.retry_dead(&first.letter_id).await.unwrap(), LetterRetry::Accepted(None));
    assert_eq!(rig.queue.dead(0, 10).await.unwrap(), std::slice::from_ref(third), "the others stay as they are");
    let again = rig.one().await;
    assert_eq!(&again.delivery.raw[..], b"no json 1");
    assert_eq!(jobs(&rig, &JobFilter { limit: 10, ..JobFilter::default() }, None).await.0, Vec::<String>::new());
    unreadable(again).await;

    // A job may have several letters, each of which can be chosen.
    bury(&rig, "a").await;
    assert_eq!(rig.queue.retry(&job("a")).await.unwrap(), RetryOutcome::Accepted);
    finish(rig.one().await, failed("2", true)).await;
    let of_a = async || -> Vec<_> {
        rig.queue.dead(0, 10).await.unwrap().into_iter().filter(|letter| letter.is("a")).collect()
    };
    while of_a().await.len() < 2 {
        tokio::task::yield_now().await;
    }
    let both = of_a().await;
    assert_ne!(both[0].letter_id, both[1].letter_id);
    assert_eq!(rig.queue.discard_dead(Some(&one(&both[0]))).await.unwrap(), 1);
    assert_eq!(rig.queue.retry_dead(&both[1].letter_id).await.unwrap(), LetterRetry::Accepted(Some(job("a"))));
    assert_eq!(id_of(&rig.one().await), "a");
}

/// Jobs of which only the entry is left, from `from` milliseconds back in time.
async fn long_gone(redis: &Redis, from: u64, count: u64) {
    let entries: Vec<String> = (0..count).map(|n| format!("{} gone-{n}", from - n)).collect();
    let mut push = vec!["RPUSH", "{agent:jobs}:recent"];
    push.extend(entries.iter().map(String::as_str));
    let _: i64 = redis.run(&push).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_would_cost_too_much_is_short_and_its_cursor_names_nobody() {
    let redis = Redis::start();
    let queue = RedisQueue::connect(&redis.settings()).await.unwrap();
    let raw = json!({"job_id": "bobs", "prompt": "p", "workflow_owner": "bob"}).to_string().into();
    let id = JobId::parse("bobs").unwrap();
    let owner = Owner::of("bob");
    let submission = Submission { job_id: id, raw, priority: Priority::Normal, run_at_ms: None, delay_ms: None, owner };
    queue.submit(submission).await.unwrap();
    // Everything else came later, and none of it is bob's.
    let [entry]: [String; 1] =
        redis.run::<Vec<String>>(&["LRANGE", "{agent:jobs}:recent", "0", "-1"]).await.try_into().unwrap();
    let came: u64 = entry.split_once(' ').unwrap().0.parse().unwrap();
    let _: i64 = redis.run(&["DEL", "{agent:jobs}:recent"]).await;
    long_gone(&redis, came + 5_000, 4_100).await;
    let _: i64 = redis.run(&["RPUSH", "{agent:jobs}:recent", &entry]).await;
    let mut filter = JobFilter { limit: 5, owner: Owner::of("bob"), ..JobFilter::default() };
    let mut empty = 0;
    let found = loop {
        let page = queue.jobs(&filter).await.unwrap();
        if !page.items.is_empty() {
            break page;
        }
        let next = page.older.unwrap();
        assert_eq!(next.place.id, None, "whose job it was that was looked at last is nobody's business");
        (filter.from, empty) = (Some(next), empty + 1);
    };
    assert_eq!((found.items[0].job_id.as_str(), found.older, empty), ("bobs", None, 2));
    let page = queue.jobs(&JobFilter { from: found.newer, ..filter }).await.unwrap();
    assert_eq!((page.items.len(), page.older, page.newer.unwrap().place.id), (0, None, None));
    queue.close().await;
}
