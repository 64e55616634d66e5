//! Kills, cuts and failovers in full: `make chaos`. The shorter round is part of the ordinary tests.
//!
//! Names of rows as arguments run only those; a number is how many faults a row that counts them is to have.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../it/lease_model.rs"]
#[expect(dead_code, reason = "its short rows are those of the ordinary tests")]
mod lease_model;
mod rows;
#[path = "../it/support/mod.rs"]
#[expect(unused_imports, reason = "most of it is for the ordinary tests")]
mod support;

use std::process::ExitCode;

use rows::{cuts, failpoints, handoffs, primary_kills, redis_restarts, stopped_worker, worker_kills};

/// Some millions of states.
const DEEP: [lease_model::Row; 4] = [
    lease_model::row(1, 1, 1, 0, 1),
    lease_model::row(1, 2, 2, 0, 1),
    lease_model::row(2, 0, 1, 1, 1),
    lease_model::row(2, 1, 1, 0, 1),
];

#[tokio::main]
async fn main() -> ExitCode {
    let (numbers, wanted): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).partition(|arg| arg.parse::<usize>().is_ok());
    let faults_of = |usual: usize| numbers.first().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|one| name.contains(one.as_str()));
    let mut faults = Vec::new();
    println!("{}", rows::HEADER);
    macro_rules! row {
        ($name:literal, $run:expr) => {
            if runs($name) {
                let row = $run.await;
                println!("{}", row.line($name));
                faults.extend(row.faults_found().map(|fault| format!("{}: {fault}", $name)));
            }
        };
    }
    row!("worker-kills", worker_kills::run(&worker_kills::FULL));
    row!("failpoints", failpoints::run(faults_of(50)));
    row!("handoffs", handoffs::run(faults_of(5)));
    row!("redis-restarts", redis_restarts::run(faults_of(50)));
    row!("cut-claim", cuts::run(cuts::Place::Claim, 0..=64));
    row!("cut-renew", cuts::run(cuts::Place::Renew, 0..=64));
    row!("cut-finish", cuts::run(cuts::Place::Finish, 0..=64));
    row!("stopped-worker", stopped_worker::run(std::time::Duration::from_secs(25)));
    row!("primary-kills", primary_kills::run(faults_of(20)));
    if runs("lease-model") {
        for row in &DEEP {
            match lease_model::explore(row) {
                Ok(states) => println!("lease-model     {states} states of {row:?}: all hold"),
                Err(fault) => faults.push(format!("lease-model: {fault}")),
            }
        }
    }
    for fault in &faults {
        println!("does not hold: {fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
