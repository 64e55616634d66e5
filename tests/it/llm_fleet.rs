//! What all processes share: rate limits, allowances of owners, kept answers.

use std::time::{Duration, Instant};

use agent_runner::{
    job::{ErrorCode, Job, JobError, JobLimits, Meter},
    llm::{CallContext, ChatModel, OpenAi, RateGate, RateLimits, StoreGate},
    store::{MemoryStore, RedisStore, SharedStore},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    llm,
    model::{Gate, ModelServer, Reply},
    redis::Redis,
    stage::Stage,
};

/// Two stores as two processes have them, over one Redis, and one in this process twice.
fn pairs(redis: &Redis) -> [[SharedStore; 2]; 2] {
    let connect = || RedisStore::connect(&redis.settings()).unwrap() as SharedStore;
    let memory: SharedStore = MemoryStore::new(1 << 20);
    [[connect(), connect()], [memory.clone(), memory]]
}

#[tokio::test]
async fn two_processes_respect_one_limit() {
    let redis = Redis::start();
    for stores in pairs(&redis) {
        let gates = stores.map(StoreGate::new);
        let limits = RateLimits { requests: 5, tokens: 1000 };
        let asked =
            futures::future::join_all((0..20).map(|i| gates[i % 2].reserve("m@host:1", limits, 100, None))).await;
        assert_eq!(asked.iter().filter(|answer| answer.is_ok()).count(), 5);
        let longest = asked.into_iter().filter_map(Result::err).max().unwrap();
        // A busy machine may have let some of it pass already.
        assert!(longest <= Duration::from_secs(12) && longest > Duration::ZERO, "{longest:?}");
        assert!(gates[0].reserve("other@host:1", limits, 100, None).await.is_ok(), "another model has its own");
    }
}

#[tokio::test]
async fn tokens_that_were_not_used_come_back_to_all() {
    let redis = Redis::start();
    for stores in pairs(&redis) {
        let [one, other] = stores.map(StoreGate::new);
        let limits = RateLimits { requests: 0, tokens: 1_000_000 };
        one.reserve("m", limits, 5_000_000, None).await.unwrap();
        assert!(other.reserve("m", limits, 900_000, None).await.is_err());
        one.settle("m", limits, 5_000_000, 10).await;
        other.reserve("m", limits, 900_000, None).await.unwrap();
        other.settle("m", limits, 900_000, 5_000_000).await;
        let owed = one.reserve("m", limits, 1, None).await.unwrap_err();
        assert!(owed > Duration::from_secs(200), "what was used beyond the minute is owed: {owed:?}");
    }
}

#[tokio::test]
async fn a_limit_that_cannot_be_held_lets_requests_pass() {
    let mut redis = Redis::start();
    let gate = StoreGate::new(RedisStore::connect(&redis.settings()).unwrap());
    redis.kill();
    let limits = RateLimits { requests: 1, tokens: 1 };
    for _ in 0..3 {
        assert_eq!(gate.reserve("m", limits, 1, None).await, Ok(()));
    }
}

fn meter_of(owner: &str) -> Meter {
    let limits = JobLimits { max_job_bytes: 1000, max_prompt_bytes: 1000 };
    let job = json!({"job_id": "j", "prompt": "p", "workflow_owner": owner}).to_string();
    Meter::of(&Job::parse(&Bytes::from(job), &limits).unwrap())
}

async fn ask_for(client: &OpenAi, owner: &str) -> Result<(), JobError> {
    let meter = meter_of(owner);
    let cancel = CancellationToken::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let asked = client.chat(&llm::request(), &context).await;
    assert_eq!(meter.spend().llm_calls, u32::from(asked.is_ok()), "a refused request is not sent");
    asked.map(drop)
}

#[tokio::test]
async fn an_owner_has_one_allowance_for_the_day_in_all_processes() {
    let redis = Redis::start();
    for stores in pairs(&redis) {
        let server = ModelServer::start((0..3).map(|_| Reply::text("ok")));
        let mut settings = llm::settings(&server);
        // An answer costs 110.
        settings.llm.owner_daily_tokens = 219;
        let [one, other] = stores.map(|store| OpenAi::new(&settings).unwrap().with_store(store, &settings.llm));
        ask_for(&one, "ann").await.unwrap();
        ask_for(&other, "ann").await.unwrap();
        let bound = server.requests()[1].json()["max_tokens"].as_u64().unwrap();
        assert!(bound < 109, "{bound}: no more of an answer than the day has left");
        for client in [&one, &other] {
            let refused = ask_for(client, "ann").await.unwrap_err();
            assert_eq!((refused.code, refused.retryable), (ErrorCode::BudgetExceeded, false));
            assert!(refused.message.contains("220 of 219 tokens"), "{}", refused.message);
        }
        ask_for(&other, "bob").await.unwrap();
    }
}

#[tokio::test]
async fn what_is_only_reserved_puts_an_owners_next_request_off_and_does_not_refuse_it() {
    let gate = Gate::new();
    let server = ModelServer::start([Reply::text("ok").gate_at(0, &gate)]);
    let mut settings = llm::settings(&server);
    settings.llm.owner_daily_tokens = 110;
    let client = OpenAi::new(&settings).unwrap().with_store(MemoryStore::new(1 << 20), &settings.llm);
    let first = ask_for(&client, "ann");
    let second = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        let put_off = ask_for(&client, "ann").await.unwrap_err();
        gate.open();
        put_off
    };
    let (first, put_off) = tokio::join!(first, second);
    first.unwrap();
    assert_eq!((put_off.code, put_off.deferred), (ErrorCode::BudgetExceeded, true), "{put_off}");
    assert!(put_off.retry_after.is_some() && put_off.message.contains("under way"), "{put_off}");
    let used_up = ask_for(&client, "ann").await.unwrap_err();
    assert!(!used_up.deferred && used_up.message.contains("110 of 110 tokens"), "{used_up}");
}

#[tokio::test]
async fn a_request_that_was_cut_short_costs_its_owner_the_prompt_however_it_was() {
    for end in ["cancelled", "timeout", "dropped"] {
        let gate = Gate::new();
        let server = ModelServer::start([Reply::text("1").gate_at(0, &gate), Reply::text("2")]);
        let mut settings = llm::settings(&server);
        settings.llm.owner_daily_tokens = 4200;
        let client = OpenAi::new(&settings).unwrap().with_store(MemoryStore::new(1 << 20), &settings.llm);
        let (meter, cancel) = (meter_of("ann"), CancellationToken::new());
        let time = Duration::from_secs(if end == "timeout" { 1 } else { 60 });
        let deadline = Instant::now() + time;
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
        let request = llm::request();
        let mut call = Box::pin(client.chat(&request, &context));
        tokio::select! {
            _ = &mut call => panic!("the call should not have ended"),
            () = gate.reached() => {}
        }
        match end {
            "dropped" => drop(call),
            _ => {
                if end == "cancelled" {
                    cancel.cancel();
                }
                assert_eq!(call.await.unwrap_err().code.as_str(), end);
            }
        }
        let (spend, body) = (meter.spend(), server.requests()[0].body.len() as u64);
        let prompt = body.div_ceil(4);
        assert_eq!((spend.tokens.prompt, spend.tokens.completion, spend.estimated), (prompt, 0, 1), "{end}");
        // It is settled at the side.
        while ask_for(&client, "ann").await.is_err_and(|error| error.deferred) {
            tokio::task::yield_now().await;
        }
        let seen = server.requests();
        assert_eq!(seen[1].json()["max_tokens"], json!(4200 - 2 * prompt), "{end}: the day has counted the first");
        server.client_left().await;
    }
}

#[tokio::test]
async fn a_job_goes_on_when_another_of_its_owner_was_cancelled_during_its_call() {
    let gate = Gate::new();
    let plan = Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "k": 1}]}));
    let model = ModelServer::start([plan.clone().gate_at(0, &gate), plan]);
    let stage = Stage::set()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__LLM__OWNER_DAILY_TOKENS", "12000");
    let _service = stage.serve();
    let job = |id: &str| json!({"job_id": id, "prompt": "first row", "lane": "execute", "workflow_owner": "ann", "data": [{"a": 1}]});
    stage.push(&job("gone")).await;
    gate.reached().await;
    assert!(stage.command(&["jobs", "cancel", "gone"]).status.success());
    let gone = stage.result("gone").await;
    // Were its part still held, there would not be room for another.
    let cost = gone["metadata"]["tokens_used"].as_u64().unwrap();
    assert!(2 * cost + 4096 > 12_000 - 4096 && 2 * cost < 12_000, "{gone}");
    let done = stage.run(job("next")).await;
    assert_eq!(done["status"], "completed", "{done}");
}

/// A stage whose model's minute another process has used up.
async fn used_up(model: &ModelServer, per_minute: u32) -> Stage {
    let stage = Stage::set()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("OPENAI_MODEL", "gpt-4o-mini")
        .with("AGENT_RUNNER__WORKER__CONCURRENCY", "1")
        .with("AGENT_RUNNER__LLM__REQUESTS_PER_MINUTE", per_minute.to_string());
    let gate = StoreGate::new(RedisStore::connect(&stage.redis.settings()).unwrap());
    let (key, limits) = (format!("gpt-4o-mini@{}", model.address()), RateLimits { requests: per_minute, tokens: 0 });
    while gate.reserve(&key, limits, 1, None).await.is_ok() {}
    stage
}

#[tokio::test]
async fn a_job_over_the_limit_waits_in_the_queue_and_not_in_a_slot() {
    // There is room again in a minute.
    let model = ModelServer::start([]);
    let stage = used_up(&model, 1).await;
    let _service = stage.serve();
    let data = json!([{"a": 1}, {"a": 2}]);
    stage.push(&json!({"job_id": "waits", "prompt": "first row", "lane": "execute", "data": data})).await;
    stage.wait_for_event("waits", "started").await;
    let quick = stage.run(json!({"job_id": "quick", "pipeline": [{"step": "top_k", "k": 1}], "data": data})).await;
    assert_eq!(quick["status"], "completed", "the only slot is free while the first job waits: {quick}");
    let shown = stage.command(&["jobs", "show", "waits"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["state"], &shown["attempts"]), (&json!("queued"), &json!(0)), "{shown}");
    assert!(shown["due_at"].as_str().is_some_and(|due| due > shown["created_at"].as_str().unwrap()), "{shown}");
}

#[tokio::test]
async fn a_job_that_waited_for_the_limit_has_lost_no_attempt() {
    // There is room again in five seconds.
    let model =
        ModelServer::start([Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "k": 1}]}))]);
    let stage = used_up(&model, 12).await;
    let _service = stage.serve();
    let job = json!({"job_id": "waits", "prompt": "first row", "lane": "execute", "data": [{"a": 1}, {"a": 2}]});
    let waited = stage.run(job).await;
    assert_eq!(waited["status"], "completed", "{waited}");
    assert_eq!((&waited["metadata"]["attempt"], &waited["metadata"]["llm_calls"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn an_answer_that_one_process_got_is_there_for_all() {
    let model =
        ModelServer::start([Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "k": 1}]}))]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url()).with("AGENT_RUNNER__LLM__CACHE", "true");
    let job = |id: &str| json!({"job_id": id, "prompt": "first row", "lane": "execute", "data": [{"a": 1}, {"a": 2}]});
    let mut first = stage.serve();
    let paid = stage.run(job("paid")).await;
    assert_eq!((&paid["metadata"]["llm_calls"], &paid["metadata"]["cache_hit"]), (&json!(1), &json!(false)), "{paid}");
    first.signal("TERM");
    first.wait();
    let _second = stage.serve();
    let kept = stage.run(job("kept")).await;
    assert_eq!((&kept["metadata"]["llm_calls"], &kept["metadata"]["cache_hit"]), (&json!(0), &json!(true)), "{kept}");
    assert_eq!((&kept["metadata"]["tokens_used"], &kept["metadata"]["cost_usd"]), (&json!(0), &json!(0.0)));
    assert_eq!(kept["result"]["data"], paid["result"]["data"]);
    let source = |result: &serde_json::Value| result["metadata"]["plan"]["source"].clone();
    assert_eq!((source(&paid), source(&kept)), (json!("model"), json!("cache")));
    assert!(stage.command(&["replay", "kept"]).status.success());
}

#[tokio::test]
async fn what_a_killed_worker_had_reserved_is_neither_counted_nor_in_the_way() {
    let gate = Gate::new();
    let plan = || Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "k": 1}]}));
    let model = ModelServer::start([plan().gate_at(0, &gate), plan()]);
    let stage = Stage::set()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("OPENAI_MODEL", "gpt-4o-mini")
        .with("AGENT_RUNNER__LLM__OWNER_DAILY_TOKENS", "100000")
        .with("AGENT_RUNNER__LLM__TOKENS_PER_MINUTE", "100000");
    let mut first = stage.serve();
    let job = json!({"job_id": "k", "prompt": "first row", "lane": "execute", "workflow_owner": "ann",
                     "budget": {"max_tokens": 5000}, "data": [{"a": 1}, {"a": 2}]});
    stage.push(&job).await;
    gate.reached().await;
    first.signal("KILL");
    first.wait();
    let _second = stage.serve();
    let done = stage.result("k").await;
    assert_eq!(done["status"], "completed", "{done}");
    // The request that was cut off counts as a call; what it cost, nobody can tell.
    assert_eq!((&done["metadata"]["tokens_used"], &done["metadata"]["llm_calls"]), (&json!(110), &json!(2)));
    // The day may have changed meanwhile.
    let days: Vec<String> = stage.redis.run(&["KEYS", "agent:{spend:ann}:2*"]).await;
    let mut used = 0;
    for day in days {
        used += stage.redis.run::<i64>(&["HGET", &day, "tokens"]).await;
    }
    assert_eq!(used, 110, "one answer was paid for");
    let held: Vec<String> = stage.redis.run(&["HVALS", "agent:{spend:ann}:held"]).await;
    assert_eq!(held.len(), 1, "of the dead worker alone, until its time is over: {held:?}");
}
