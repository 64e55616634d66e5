//! Waits: where they are sat out, who hears of them, and that they end with the job's time.

use std::time::{Duration, Instant};

use agent_runner::{
    job::{ErrorCode, Job, JobError, JobLimits, Meter},
    llm::{CallContext, ChatModel, OpenAi, RateGate, RateLimits, StoreGate},
    settings::Settings,
    store::{RedisStore, SharedStore},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    llm::{request, settings},
    model::{ModelServer, Reply},
    redis::Redis,
    site::{Site, reply},
    stage::Stage,
};

fn limited(retry_after: &str) -> Reply {
    Reply::error(429, "rate_limit_exceeded", "slow down").header("retry-after", retry_after)
}

fn plan() -> Reply {
    Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "k": 1}]}))
}

/// Asks as the job `id` with `secs` of time. None where it was answered.
async fn ask(client: &OpenAi, id: &str, secs: u64) -> Option<JobError> {
    let limits = JobLimits { max_job_bytes: 1000, max_prompt_bytes: 1000 };
    let job = Job::parse(&Bytes::from(json!({"job_id": id, "prompt": "p"}).to_string()), &limits).unwrap();
    let (meter, cancel) = (Meter::of(&job), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(secs);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    client.chat(&request(), &context).await.err()
}

#[tokio::test]
async fn a_stated_wait_puts_the_job_back_or_ends_it() {
    let down = |header: &str, value: &str| Reply::error(503, "x", "").header(header, value);
    let rows: Vec<(&str, Reply, u64, ErrorCode, bool)> = vec![
        ("within the job's time", limited("300"), 600, ErrorCode::LlmRateLimited, true),
        ("beyond it", limited("300"), 60, ErrorCode::LlmRateLimited, false),
        (
            "not for the job's sake",
            limited("300").header("x-should-retry", "false"),
            600,
            ErrorCode::LlmRateLimited,
            false,
        ),
        ("a server that will be back", down("retry-after", "300"), 600, ErrorCode::LlmUnavailable, true),
        (
            "a quota",
            Reply::error(429, "insufficient_quota", "").header("retry-after", "300"),
            600,
            ErrorCode::LlmQuota,
            false,
        ),
    ];
    for (name, reply, secs, code, deferred) in rows {
        let server = ModelServer::start([reply]);
        let error = ask(&OpenAi::new(&settings(&server)).unwrap(), "j", secs).await.unwrap();
        assert_eq!((error.code, error.deferred), (code, deferred), "{name}: {error:?}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(300)), "{name}");
    }
}

#[tokio::test]
async fn a_short_wait_is_sat_out() {
    let server = ModelServer::start([limited("1"), Reply::text("ok")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let asked = Instant::now();
    assert_eq!(ask(&client, "j", 60).await, None);
    assert!(asked.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn what_one_job_was_told_holds_for_all() {
    let server = ModelServer::start([limited("300")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let first = ask(&client, "first", 600).await.unwrap();
    let second = ask(&client, "second", 600).await.unwrap();
    assert!(first.deferred && second.deferred, "{second:?}");
    assert!(second.message.contains("slow down"), "the true reason: {second}");
    let wait = second.retry_after.unwrap();
    assert!(wait <= Duration::from_secs(300) && wait > Duration::from_secs(280), "{wait:?}");
    let hurried = ask(&client, "hurried", 30).await.unwrap();
    assert_eq!((hurried.code, hurried.deferred), (ErrorCode::LlmRateLimited, false));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_one_process_was_told_holds_for_the_fleet() {
    let redis = Redis::start();
    let server = ModelServer::start([limited("300")]);
    let mut settings = settings(&server);
    settings.llm.requests_per_minute = 1000;
    let client = |settings: &Settings| {
        let store: SharedStore = RedisStore::connect(&redis.settings()).unwrap();
        OpenAi::new(settings).unwrap().with_store(store, &settings.llm)
    };
    let (one, other) = (client(&settings), client(&settings));
    assert!(ask(&one, "first", 600).await.unwrap().deferred);
    let second = ask(&other, "second", 600).await.unwrap();
    assert_eq!((second.code, second.deferred), (ErrorCode::LlmRateLimited, true), "{second:?}");
    assert!(second.retry_after.unwrap() > Duration::from_secs(280), "{second:?}");
}

#[tokio::test]
async fn an_open_circuit_costs_no_attempt() {
    let server = ModelServer::start([Reply::error(503, "x", "")]);
    let mut settings = settings(&server);
    settings.llm.max_retries = 0;
    settings.breaker.failures = 1;
    settings.breaker.cooldown_secs = 100;
    let client = OpenAi::new(&settings).unwrap();
    let failed = ask(&client, "first", 600).await.unwrap();
    assert_eq!((failed.code, failed.deferred), (ErrorCode::LlmUnavailable, false), "it was sent, and failed");
    let put_off = ask(&client, "second", 600).await.unwrap();
    assert_eq!((put_off.code, put_off.deferred), (ErrorCode::LlmUnavailable, true));
    assert!(put_off.retry_after.unwrap() > Duration::from_secs(90), "{put_off:?}");
    assert!(!ask(&client, "third", 60).await.unwrap().deferred, "beyond its time");
}

/// A stage with one slot and a scripted model.
async fn one_slot(model: &ModelServer) -> Stage {
    Stage::set()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("OPENAI_MODEL", "gpt-4o-mini")
        .with("AGENT_RUNNER__WORKER__CONCURRENCY", "1")
}

fn job(id: &str, timeout_sec: u64) -> Value {
    let data = json!([{"a": 1}, {"a": 2}]);
    json!({"job_id": id, "prompt": format!("first row for {id}"), "lane": "execute", "data": data, "timeout_sec": timeout_sec})
}

#[tokio::test]
async fn a_job_that_a_server_puts_off_holds_no_slot_and_loses_no_attempt() {
    let model = ModelServer::start([limited("4"), plan()]);
    let stage = one_slot(&model).await.with("AGENT_RUNNER__RETRY__MAX_MS", "1");
    let _service = stage.serve();
    stage.push(&job("waits", 60)).await;
    stage.wait_for_event("waits", "started").await;
    let ready = json!({"job_id": "quick", "pipeline": [{"step": "top_k", "k": 1}], "data": [{"a": 1}]});
    assert_eq!(stage.run(ready).await["status"], "completed");
    assert_eq!(model.requests().len(), 1, "the first job still waits");
    let done = stage.result("waits").await;
    let metadata = &done["metadata"];
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!((&metadata["attempt"], &metadata["llm_calls"]), (&json!(1), &json!(2)));
    let waited = metadata["waited_ms"].as_u64().unwrap();
    assert!((4000..5000).contains(&waited), "{metadata}");
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_waits_keeps_its_bill() {
    let model = ModelServer::start([limited("3")]);
    let stage = one_slot(&model).await;
    let _service = stage.serve();
    stage.push(&job("waits", 60)).await;
    stage.wait_for_event("waits", "started").await;
    // There is one slot: when another job is done, the first is back in the queue.
    let ready = json!({"job_id": "quick", "pipeline": [{"step": "top_k", "k": 1}], "data": [{"a": 1}]});
    assert_eq!(stage.run(ready).await["status"], "completed");
    assert!(stage.command(&["jobs", "cancel", "waits"]).status.success());
    let done = stage.result("waits").await;
    assert_eq!((&done["status"], &done["metadata"]["llm_calls"]), (&json!("cancelled"), &json!(1)), "{done}");
    assert!(done["error"]["message"].as_str().unwrap().contains("while it waited"), "{done}");
}

#[tokio::test]
async fn a_job_without_the_time_fails_at_once_and_says_when_it_could_have_gone_on() {
    let model = ModelServer::start([limited("300")]);
    let stage = one_slot(&model).await;
    let _service = stage.serve();
    let failed = stage.run(job("j", 30)).await;
    let error = &failed["error"];
    assert_eq!((error["type"].as_str(), &error["retryable"]), (Some("llm_rate_limited"), &json!(true)), "{failed}");
    assert_eq!(error["details"]["retry_after_secs"], 300.0);
    assert!(error["message"].as_str().unwrap().contains("raise timeout_sec"), "{error}");
    assert_eq!((&failed["metadata"]["attempt"], &failed["metadata"]["llm_calls"]), (&json!(1), &json!(1)));
    assert!(failed["metadata"]["execution_time_ms"].as_u64().unwrap() < 20_000, "{failed}");
    assert_eq!(stage.dead(1).await[0]["job_id"], "j");
}

#[tokio::test]
async fn a_job_takes_its_clock_along() {
    // Six seconds, twice: the second time there are not as many left.
    let model = ModelServer::start([limited("6"), limited("6")]);
    let stage = one_slot(&model).await;
    let _service = stage.serve();
    let failed = stage.run(job("j", 11)).await;
    assert_eq!(failed["error"]["type"], "llm_rate_limited", "{failed}");
    assert_eq!(failed["error"]["details"]["retry_after_secs"], 6.0, "{failed}");
    assert_eq!(failed["metadata"]["waited_ms"], 6000);
    assert_eq!(failed["metadata"]["attempt"], 1);
}

#[tokio::test]
async fn another_attempt_has_no_more_time_than_the_first() {
    // Each request hangs until the server is given up; the job's time ends with the second.
    let model = ModelServer::start([Reply::text("x").hang_at(0), Reply::text("x").hang_at(0)]);
    let stage = one_slot(&model)
        .await
        .with("AGENT_RUNNER__LLM__FIRST_TOKEN_TIMEOUT_SECS", "4")
        .with("AGENT_RUNNER__LLM__MAX_RETRIES", "0");
    let _service = stage.serve();
    let failed = stage.run(job("j", 7)).await;
    assert_eq!((&failed["error"]["type"], &failed["metadata"]["attempt"]), (&json!("timeout"), &json!(2)), "{failed}");
}

#[tokio::test]
async fn any_stated_wait_beyond_the_jobs_time_ends_it_at_once() {
    let site = Site::start(|_| reply(503, &[("retry-after", "120")], "later")).await;
    let model = ModelServer::start([]);
    let stage = one_slot(&model).await.with("AGENT_RUNNER__EGRESS__ALLOW", site.address().to_string());
    let _service = stage.serve();
    let fetch = json!([{"step": "http_request", "url": site.url("/rows")}]);
    let failed = stage.run(json!({"job_id": "j", "pipeline": fetch, "timeout_sec": 60})).await;
    assert_eq!(
        (&failed["error"]["type"], &failed["metadata"]["attempt"]),
        (&json!("http_failed"), &json!(1)),
        "{failed}"
    );
    assert_eq!(failed["error"]["details"]["retry_after_secs"], 120.0, "{failed}");
    assert_eq!(site.visits().len(), 1);
}

#[tokio::test]
async fn jobs_come_back_in_the_order_they_came() {
    let names = ["a", "b", "c"];
    let model = ModelServer::start(names.map(|_| plan()));
    // One request in three seconds, once the first twenty are gone.
    let stage = one_slot(&model).await.with("AGENT_RUNNER__LLM__REQUESTS_PER_MINUTE", "20");
    let gate = StoreGate::new(RedisStore::connect(&stage.redis.settings()).unwrap());
    let (key, limits) = (format!("gpt-4o-mini@{}", model.address()), RateLimits { requests: 20, tokens: 0 });
    let _service = stage.serve();
    while gate.reserve(&key, limits, 1, None).await.is_ok() {}
    for name in names {
        stage.push(&job(name, 60)).await;
        stage.wait_for_event(name, "started").await;
    }
    let mut waited = 0;
    for name in names {
        let done = stage.result(name).await;
        assert_eq!((&done["status"], &done["metadata"]["attempt"]), (&json!("completed"), &json!(1)), "{done}");
        waited = done["metadata"]["waited_ms"].as_u64().unwrap();
    }
    assert!(waited > 2000, "the last one was put back: {waited}");
    let asked: Vec<String> = model.requests().iter().map(|seen| seen.json()["messages"].to_string()).collect();
    for (name, messages) in names.iter().zip(&asked) {
        assert!(messages.contains(&format!("first row for {name}")), "{name}: {messages}");
    }
}
