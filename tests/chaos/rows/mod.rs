//! One file per kind of fault. Every row counts the same things, so that they can be read side by side.
#![allow(dead_code, reason = "the short round runs some of them")]

pub mod cuts;
pub mod failpoints;
pub mod handoffs;
pub mod primary_kills;
pub mod redis_restarts;
pub mod stopped_worker;
pub mod worker_kills;

mod fleet;

use std::{collections::HashMap, time::Duration};

use redis::{Value, aio::ConnectionLike};

/// What a row found.
#[derive(Debug, Default)]
pub struct Row {
    pub faults: usize,
    pub jobs: usize,
    pub done: usize,
    pub failed: usize,
    pub dead: usize,
    pub lost: usize,
    /// Jobs with more than one result, signal or closing event.
    pub second_results: usize,
    /// Runs that were patched more than once.
    pub second_patches: usize,
    /// From a death until the job ran again.
    pub hand_overs: Vec<Duration>,
    /// From a server that is ready again until the first job was taken.
    pub first_claims: Vec<Duration>,
    pub longest_hand_over: Duration,
    pub longest_first_claim: Duration,
}

pub const HEADER: &str = "row             faults   jobs   done failed dead lost 2nd-results 2nd-patches hand-over p50/p99/max      first claim p50/max";

impl Row {
    /// The row as a line of the table.
    pub fn line(&self, name: &str) -> String {
        let hand_overs = match self.hand_overs.is_empty() {
            true => "-".to_owned(),
            false => format!(
                "{:.1}/{:.1}/{:.1} s ({})",
                at(&self.hand_overs, 0.5).as_secs_f64(),
                at(&self.hand_overs, 0.99).as_secs_f64(),
                at(&self.hand_overs, 1.0).as_secs_f64(),
                self.hand_overs.len(),
            ),
        };
        let first = match self.first_claims.is_empty() {
            true => "-".to_owned(),
            false => format!(
                "{:.2}/{:.2} s",
                at(&self.first_claims, 0.5).as_secs_f64(),
                at(&self.first_claims, 1.0).as_secs_f64()
            ),
        };
        format!(
            "{name:<15} {:>6} {:>6} {:>6} {:>6} {:>4} {:>4} {:>11} {:>11} {hand_overs:<28} {first}",
            self.faults,
            self.jobs,
            self.done,
            self.failed,
            self.dead,
            self.lost,
            self.second_results,
            self.second_patches
        )
    }

    /// What must hold and does not.
    pub fn faults_found(&self) -> impl Iterator<Item = String> + '_ {
        let zero = [
            ("jobs lost", self.lost),
            ("jobs with a second result", self.second_results),
            ("runs patched twice", self.second_patches),
        ];
        let slow = [
            ("hand-over p99", &self.hand_overs, 0.99, self.longest_hand_over),
            ("first claim", &self.first_claims, 1.0, self.longest_first_claim),
        ];
        zero.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")).chain(
            slow.into_iter()
                .filter(|(_, times, p, limit)| !times.is_empty() && !limit.is_zero() && at(times, *p) > *limit)
                .map(|(what, times, p, limit)| format!("{what} is {:?}, more than {limit:?}", at(times, p))),
        )
    }

    /// Fails the test when something does not hold.
    pub fn must_hold(&self) {
        let faults: Vec<String> = self.faults_found().collect();
        assert!(faults.is_empty() && self.done + self.failed == self.jobs, "{faults:?} in {self:?}");
    }
}

/// The time below which this part of all lies.
fn at(times: &[Duration], part: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1]
}

/// Looks at everything that is left in Redis about these jobs and adds it to `row`.
pub async fn audit(connection: &mut impl ConnectionLike, ids: &[String], row: &mut Row) {
    row.jobs = ids.len();
    let signals: Vec<String> =
        redis::cmd("LRANGE").arg("completion_signals").arg(0).arg(-1).query_async(connection).await.unwrap();
    let mut signalled: HashMap<String, usize> = HashMap::new();
    for signal in &signals {
        let signal: serde_json::Value = serde_json::from_str(signal).unwrap();
        *signalled.entry(signal["job_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    for id in ids {
        let mut asks = redis::pipe();
        asks.cmd("GETRANGE").arg(format!("{{agent:results:{id}}}:done")).arg(0).arg(300);
        asks.cmd("LLEN").arg(format!("agent:results:{id}"));
        asks.cmd("XRANGE").arg(format!("agent:events:{id}")).arg("-").arg("+");
        let (closing, results, events): (String, usize, Vec<(String, Vec<String>)>) =
            asks.query_async(connection).await.unwrap();
        let last = |event: &[String]| matches!(event[1].as_str(), "completed" | "failed" | "cancelled");
        let ends = events.iter().filter(|(_, event)| last(event)).count();
        match closing.split(' ').nth(7) {
            Some("completed") => row.done += 1,
            Some(_) => row.failed += 1,
            None => row.lost += 1,
        }
        row.second_results += usize::from(results > 1 || ends > 1 || signalled.get(id).is_some_and(|n| *n > 1));
    }
    row.dead = redis::cmd("LLEN").arg("{agent:jobs}:dead").query_async(connection).await.unwrap();
    let left: Value = redis::cmd("ZCARD").arg("{agent:jobs}:leases").query_async(connection).await.unwrap();
    assert_eq!(left, Value::Int(0), "leases are left behind");
}
