//! A short round of what `make chaos` does in full.

use std::time::Duration;

use crate::chaos_rows::{cuts, handoffs, stopped_worker, worker_kills};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_lose_nothing_and_do_nothing_twice() {
    let size = worker_kills::Size {
        kills: 8,
        jobs: 160,
        workers: 2,
        lease_secs: 3,
        every: Duration::from_millis(150),
        takes: Duration::from_millis(60),
        hand_over: Duration::ZERO,
    };
    worker_kills::run(&size).await.must_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_inside_a_reply_leaves_the_state_before_or_after() {
    for place in [cuts::Place::Claim, cuts::Place::Renew, cuts::Place::Finish] {
        let row = cuts::run(place, 0..=3).await;
        assert_eq!(row.faults, 4);
        row.must_hold();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wakes_up_after_its_lease_publishes_nothing() {
    stopped_worker::run(Duration::from_secs(5)).await.must_hold();
}

/// The second request is sent when a transfer was taken, the third one when a tool was made and a task delegated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_handoff_repeats_nothing_that_was_answered() {
    handoffs::killed_while_asking(&[2, 3]).await.must_hold();
}
