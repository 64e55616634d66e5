//! Time: what silence becomes, and that a cancelled job hangs up.

use std::time::Duration;

use agent_runner::{
    job::{Budget, ErrorCode},
    llm::OpenAi,
    settings::Settings,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    llm::{Outcome, call, call_with, request, settings},
    model::{Gate, ModelServer, Reply},
};

/// One call against one reply, without retries.
async fn against(reply: Reply, adjust: impl Fn(&mut Settings)) -> (Outcome, ModelServer) {
    let server = ModelServer::start([reply]);
    let mut settings = settings(&server);
    settings.llm.max_retries = 0;
    adjust(&mut settings);
    let client = OpenAi::new(&settings).unwrap();
    let outcome = call(&client, &request()).await;
    (outcome, server)
}

#[track_caller]
fn silent(outcome: &Outcome, key: &str) {
    assert_eq!(outcome.brief(), "!llm_unavailable?");
    assert!(outcome.error().message.contains(key), "{}", outcome.error().message);
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let (outcome, server) =
        against(Reply::text("late").hang_at(0), |settings| settings.llm.first_token_timeout_secs = 1).await;
    silent(&outcome, "llm.first_token_timeout_secs");
    server.client_left().await;
}

#[tokio::test]
async fn keep_alives_are_no_first_token() {
    let reply = Reply::text("late").pulse_at(0, ": ping\n\n");
    let (outcome, server) = against(reply, |settings| settings.llm.first_token_timeout_secs = 1).await;
    silent(&outcome, "llm.first_token_timeout_secs");
    server.client_left().await;
}

#[tokio::test]
async fn empty_chunks_are_no_first_token() {
    let empty = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let reply = Reply::text("late").pulse_at(0, empty);
    let (outcome, server) = against(reply, |settings| settings.llm.first_token_timeout_secs = 1).await;
    silent(&outcome, "llm.first_token_timeout_secs");
    server.client_left().await;
}

#[tokio::test]
async fn silence_amid_an_answer_is_given_up_however_often_the_server_pings() {
    let silence = async |pulse: Option<&str>| {
        let reply = Reply::text("hello");
        let at = reply.first_event();
        let reply = match pulse {
            Some(pulse) => reply.pulse_at(at, pulse),
            None => reply.hang_at(at),
        };
        let (outcome, server) = against(reply, |settings| settings.llm.idle_timeout_secs = 1).await;
        silent(&outcome, "llm.idle_timeout_secs");
        server.client_left().await;
    };
    tokio::join!(
        silence(None),
        silence(Some(": ping\n\n")),
        silence(Some("data: {\"choices\":[]}\n\n")),
        silence(Some("event: ping\ndata: {}\n\n")),
    );
}

#[tokio::test]
async fn thoughts_are_a_sign_of_life_until_the_total_runs_out() {
    let thought = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n";
    let (outcome, server) = against(Reply::text("late").pulse_at(0, thought), |settings| {
        // Far enough apart for a busy machine.
        settings.llm.first_token_timeout_secs = 4;
        settings.llm.idle_timeout_secs = 4;
        settings.llm.timeout_secs = 6;
    })
    .await;
    silent(&outcome, "llm.timeout_secs");
    server.client_left().await;
}

#[tokio::test]
async fn an_error_answer_that_does_not_end_is_still_that_error() {
    let reply = Reply::error(401, "invalid_api_key", "no").hang_at(10);
    let (outcome, server) = against(reply, |settings| settings.llm.idle_timeout_secs = 1).await;
    assert_eq!(outcome.brief(), "!llm_auth");
    server.client_left().await;
}

#[tokio::test]
async fn the_jobs_own_time_is_a_timeout() {
    let server = ModelServer::start([Reply::text("late").hang_at(0)]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let cancel = CancellationToken::new();
    let outcome = call_with(&client, &request(), Budget::default(), Duration::from_millis(300), &cancel).await;
    assert_eq!((outcome.brief().as_str(), outcome.spend.llm_calls), ("!timeout", 1));
    server.client_left().await;
}

#[tokio::test]
async fn a_cancelled_job_hangs_up_wherever_the_answer_stands() {
    for at in [0, 70] {
        let gate = Gate::new();
        let server = ModelServer::start([Reply::text("hello").gate_at(at, &gate)]);
        let client = OpenAi::new(&settings(&server)).unwrap();
        let cancel = CancellationToken::new();
        let request = request();
        let task = call_with(&client, &request, Budget::default(), Duration::from_secs(60), &cancel);
        let canceller = async {
            gate.reached().await;
            cancel.cancel();
        };
        let (outcome, ()) = tokio::join!(task, canceller);
        assert_eq!((outcome.brief().as_str(), outcome.spend.llm_calls), ("!cancelled", 1));
        server.client_left().await;
    }
}

#[tokio::test]
async fn a_dropped_call_hangs_up() {
    let gate = Gate::new();
    let server = ModelServer::start([Reply::text("hello").gate_at(0, &gate)]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let request = request();
    tokio::select! {
        _ = call(&client, &request) => panic!("the call should not have ended"),
        () = gate.reached() => {}
    }
    server.client_left().await;
}

#[tokio::test]
async fn a_job_cancelled_between_two_requests_sends_no_other() {
    let server = ModelServer::start([Reply::error(429, "rate_limit_exceeded", "slow").header("retry-after", "50")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let cancel = CancellationToken::new();
    let request = request();
    let task = call_with(&client, &request, Budget::default(), Duration::from_secs(60), &cancel);
    let canceller = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(task, canceller);
    assert_eq!((outcome.brief().as_str(), outcome.spend.llm_calls), ("!cancelled", 1));
}

#[tokio::test]
async fn a_job_that_is_over_sends_nothing() {
    let server = ModelServer::start([]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let outcome = call_with(&client, &request(), Budget::default(), Duration::from_secs(60), &cancel).await;
    assert_eq!(outcome.error().code, ErrorCode::Cancelled);
    let fresh = CancellationToken::new();
    let outcome = call_with(&client, &request(), Budget::default(), Duration::ZERO, &fresh).await;
    assert_eq!(outcome.error().code, ErrorCode::Timeout);
    assert!(server.requests().is_empty());
}
