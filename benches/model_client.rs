//! What the model client costs: time per call on top of a bare request, and memory for many streams at once.
#![allow(missing_docs, dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

#[path = "../tests/it/support"]
mod support {
    pub mod llm;
    pub mod model;
}

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use agent_runner::llm::OpenAi;
use serde_json::json;
use support::{
    llm,
    model::{Gate, ModelServer, Reply},
};

/// Rounds of calls through the client and bare, in turns: the best of each counts, since everything else on the
/// machine can only make a round slower. Many short ones, so that one of them has the processor to itself.
const ROUNDS: usize = 300;
const CALLS: u32 = 20;
const STREAMS: usize = 2000;

/// What must hold.
const MOST_OVERHEAD: Duration = Duration::from_micros(300);
const MOST_PER_STREAM: usize = 100 << 10;
const MOST_IN_ALL: usize = 300 << 20;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let good = runtime.block_on(async { overhead().await & memory().await });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Sequential calls through the client, and the same requests sent bare.
async fn overhead() -> bool {
    let server = ModelServer::always(Reply::call("run", &json!({"k": 1, "text": "x".repeat(500)})));
    let client = OpenAi::new(&llm::settings(&server)).unwrap();
    let request = llm::request();
    llm::call(&client, &request).await.result.unwrap();
    let body = server.requests()[0].body.clone();
    let bare = agent_runner::net::operator_client(Duration::from_secs(5)).unwrap();
    let url = format!("{}/chat/completions", server.base_url());
    let (mut through, mut alone) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            llm::call(&client, &request).await.result.unwrap();
        }
        through = through.min(started.elapsed() / CALLS);
        let started = Instant::now();
        for _ in 0..CALLS {
            bare.post(&url).body(body.clone()).send().await.unwrap().bytes().await.unwrap();
        }
        alone = alone.min(started.elapsed() / CALLS);
    }
    let overhead = through.saturating_sub(alone);
    println!(
        "per call: {through:?} through the client, {alone:?} bare, overhead {overhead:?} (at most {MOST_OVERHEAD:?})"
    );
    overhead <= MOST_OVERHEAD
}

/// Streams that are all under way at once.
async fn memory() -> bool {
    let gate = Gate::new();
    let reply = Reply::text(&"words ".repeat(100));
    let middle = reply.len() / 2;
    let server = ModelServer::always(reply.gate_at(middle, &gate));
    let client = std::sync::Arc::new(OpenAi::new(&llm::settings(&server)).unwrap());
    let before = resident();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..STREAMS {
        let client = client.clone();
        calls.spawn(async move { llm::call(&client, &llm::request()).await.result.unwrap() });
    }
    for _ in 0..STREAMS {
        gate.reached().await;
    }
    let during = resident();
    (0..STREAMS).for_each(|_| gate.open());
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    let each = during.saturating_sub(before) / STREAMS;
    println!(
        "{STREAMS} streams at once, the server's side included: {} KiB each (at most {}), {} MiB in all (at most {})",
        each >> 10,
        MOST_PER_STREAM >> 10,
        during >> 20,
        MOST_IN_ALL >> 20
    );
    each <= MOST_PER_STREAM && during <= MOST_IN_ALL
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
