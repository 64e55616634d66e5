//! Several models in order, circuit breakers, rate limits and budgets.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent_runner::{
    job::{Budget, ErrorCode, Meter},
    llm::{CallContext, ChatModel, ChatRequest, Circuit, Line, OpenAi, RateGate, RateLimits},
    settings::{LlmModel, Price, Settings},
};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::support::{
    llm::{KEY, Outcome, call, call_with, request, settings},
    model::{Gate, ModelServer, Reply},
};

/// Settings for `first` (model `a`) and then `second` (model `b`, with a key of its own).
fn two(first: &ModelServer, second: &ModelServer) -> Settings {
    let mut settings = settings(first);
    settings.llm.max_retries = 1;
    let model = |name: &str, server: &ModelServer, key: Option<&str>| LlmModel {
        model: name.into(),
        base_url: Some(server.base_url()),
        api_key: key.map(Into::into),
        ..LlmModel::default()
    };
    settings.llm.models = vec![model("a", first, None), model("b", second, Some("key-of-b"))];
    settings
}

fn answered_by(outcome: &Outcome) -> &str {
    outcome.result.as_ref().map_or("nobody", |reply| reply.model.as_str())
}

#[tokio::test]
async fn the_next_model_is_asked_where_that_can_help() {
    let good = || vec![Reply::text("from b")];
    let limited = || Reply::error(429, "rate_limit_exceeded", "slow").header("retry-after", "30");
    let bad_output = || Reply::events(&["[DONE]"]);
    let rows: Vec<(&str, Vec<Reply>, Vec<Reply>, &str)> = vec![
        ("first is well", vec![Reply::text("from a")], vec![], "\"from a\""),
        ("rate limit, at once", vec![limited()], good(), "\"from b\""),
        ("quota", vec![Reply::error(429, "insufficient_quota", "")], good(), "\"from b\""),
        ("too long", vec![Reply::error(400, "context_length_exceeded", "")], good(), "\"from b\""),
        ("outage, after its retries", vec![Reply::error(503, "x", ""), Reply::hang_up()], good(), "\"from b\""),
        ("wrong key", vec![Reply::error(401, "invalid_api_key", "")], good(), "\"from b\""),
        ("no such model", vec![Reply::error(404, "model_not_found", "")], good(), "\"from b\""),
        ("broken off", vec![Reply::text("x").drop_at(70), Reply::text("x").drop_at(70)], good(), "\"from b\""),
        ("bad output", vec![bad_output(), bad_output()], good(), "\"from b\""),
        ("refused", vec![Reply::error(400, "x", "no")], vec![], "!llm_refused"),
        ("filtered", vec![Reply::error(400, "content_filter", "no")], vec![], "!llm_refused"),
        ("both limited", vec![limited()], vec![limited()], "!llm_rate_limited?"),
        ("limited, then a wrong key", vec![limited()], vec![Reply::error(401, "x", "")], "!llm_rate_limited?"),
        ("quota, then a wrong key", vec![Reply::error(402, "x", "")], vec![Reply::error(401, "x", "")], "!llm_auth"),
    ];
    for (name, first, second, want) in rows {
        let (first, second) = (ModelServer::start(first), ModelServer::start(second));
        let client = OpenAi::new(&two(&first, &second)).unwrap();
        // Less time than the servers ask to be left alone.
        let (time, cancel) = (Duration::from_secs(20), CancellationToken::new());
        let outcome = call_with(&client, &request(), Budget::default(), time, &cancel).await;
        assert_eq!(outcome.brief(), want, "{name}: {:?}", outcome.result);
        assert_eq!(outcome.spend.llm_calls as usize, first.requests().len() + second.requests().len(), "{name}");
    }
}

#[tokio::test]
async fn a_failure_everywhere_names_every_model() {
    let first = ModelServer::start([Reply::error(402, "x", "broke")]);
    let second = ModelServer::start([Reply::error(401, "x", "")]);
    let client = OpenAi::new(&two(&first, &second)).unwrap();
    let outcome = call(&client, &request()).await;
    let models = &outcome.error().details["models"];
    assert_eq!((models[0]["model"].as_str(), models[0]["type"].as_str()), (Some("a"), Some("llm_quota")));
    assert_eq!((models[1]["model"].as_str(), models[1]["type"].as_str()), (Some("b"), Some("llm_auth")));
}

#[tokio::test]
async fn a_key_goes_to_its_own_server_only() {
    let down = || Reply::error(404, "model_not_found", "");
    let servers: Vec<ModelServer> =
        [vec![down(), down()], vec![down()], vec![Reply::text("ok")]].into_iter().map(ModelServer::start).collect();
    let mut settings = two(&servers[0], &servers[1]);
    let same = LlmModel { model: "a2".into(), ..LlmModel::default() };
    let stranger = LlmModel { model: "c".into(), base_url: Some(servers[2].base_url()), ..LlmModel::default() };
    settings.llm.models.extend([same, stranger]);
    let client = OpenAi::new(&settings).unwrap();
    assert_eq!(call(&client, &request()).await.brief(), "\"ok\"");
    let sent = |i: usize, n: usize| servers[i].requests()[n].headers.get("authorization").cloned();
    assert_eq!(sent(0, 0), Some(format!("Bearer {KEY}")));
    assert_eq!(sent(0, 1), Some(format!("Bearer {KEY}")), "another model at the same server");
    assert_eq!(sent(1, 0).as_deref(), Some("Bearer key-of-b"));
    assert_eq!(sent(2, 0), None, "a server that no key was given for");
}

#[tokio::test]
async fn a_limited_server_is_left_alone_by_later_calls() {
    let first = ModelServer::start([Reply::error(429, "rate_limit_exceeded", "").header("retry-after", "300")]);
    let second = ModelServer::start([Reply::text("1"), Reply::text("2")]);
    let client = OpenAi::new(&two(&first, &second)).unwrap();
    for _ in 0..2 {
        assert_eq!(answered_by(&call(&client, &request()).await), "b");
    }
}

#[tokio::test]
async fn a_model_asked_for_by_name_is_asked_first() {
    let first = ModelServer::start([Reply::text("c").on("\"model\":\"c\"")]);
    let second = ModelServer::start([Reply::text("b").on("\"model\":\"b\"")]);
    let client = OpenAi::new(&two(&first, &second)).unwrap();
    for model in ["b", "c"] {
        let request = ChatRequest { model: Some(model.into()), ..request() };
        assert_eq!(answered_by(&call(&client, &request).await), model);
    }
}

#[tokio::test]
async fn without_a_list_there_is_no_other_model() {
    let server = ModelServer::start([Reply::error(404, "model_not_found", "")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let request = ChatRequest { model: Some("large".into()), ..request() };
    let outcome = call(&client, &request).await;
    assert_eq!(outcome.brief(), "!llm_unavailable");
    assert!(outcome.error().message.contains("large"), "{}", outcome.error().message);
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_left_alone_and_probed() {
    let server = ModelServer::start([Reply::error(503, "x", ""), Reply::hang_up()]);
    let mut settings = settings(&server);
    settings.llm.max_retries = 0;
    settings.breaker.failures = 2;
    let client = OpenAi::new(&settings).unwrap();
    for calls in [1, 1, 0] {
        let outcome = call(&client, &request()).await;
        assert_eq!((outcome.brief().as_str(), outcome.spend.llm_calls), ("!llm_unavailable?", calls));
        assert_eq!(outcome.error().retry_after.is_some(), calls == 0, "the wait is known once the circuit is open");
    }
    assert_eq!(client.circuit(), Circuit::Open);

    let server = ModelServer::start([Reply::error(503, "x", ""), Reply::error(401, "x", ""), Reply::text("ok")]);
    settings.llm.base_url = Some(server.base_url());
    settings.breaker.failures = 1;
    settings.breaker.cooldown_secs = 0;
    let client = OpenAi::new(&settings).unwrap();
    call(&client, &request()).await;
    assert_eq!(client.circuit(), Circuit::Open);
    call(&client, &request()).await;
    assert_eq!(client.circuit(), Circuit::Closed, "a server that says no is there");
    assert_eq!(call(&client, &request()).await.brief(), "\"ok\"");
}

#[tokio::test]
async fn an_open_circuit_sends_calls_to_the_next_model() {
    let first = ModelServer::start([Reply::error(503, "x", "")]);
    let second = ModelServer::start([Reply::text("1"), Reply::text("2")]);
    let mut settings = two(&first, &second);
    settings.llm.max_retries = 0;
    settings.breaker.failures = 1;
    let client = OpenAi::new(&settings).unwrap();
    for calls in [2, 1] {
        let outcome = call(&client, &request()).await;
        assert_eq!((answered_by(&outcome), outcome.spend.llm_calls), ("b", calls));
    }
    assert_eq!(client.circuit(), Circuit::Closed, "one of them still answers");
}

#[tokio::test]
async fn rate_limits_hold_requests_back() {
    let limits: [fn(&mut Settings); 2] =
        [|settings| settings.llm.requests_per_minute = 1, |settings| settings.llm.tokens_per_minute = 100];
    for limit in limits {
        let server = ModelServer::start([Reply::text("ok")]);
        let mut settings = settings(&server);
        limit(&mut settings);
        let client = OpenAi::new(&settings).unwrap();
        assert_eq!(call(&client, &request()).await.brief(), "\"ok\"");
        let (time, cancel) = (Duration::from_secs(2), CancellationToken::new());
        let outcome = call_with(&client, &request(), Budget::default(), time, &cancel).await;
        assert_eq!((outcome.brief().as_str(), outcome.spend.llm_calls), ("!llm_rate_limited?", 0));
        assert!(outcome.error().retry_after.is_some_and(|wait| wait > time), "{:?}", outcome.error());
    }
}

#[tokio::test]
async fn a_limited_model_gives_way_to_the_next() {
    let (first, second) = (ModelServer::start([Reply::text("1")]), ModelServer::start([Reply::text("2")]));
    let mut settings = two(&first, &second);
    settings.llm.models[0].requests_per_minute = Some(1);
    let client = OpenAi::new(&settings).unwrap();
    assert_eq!(answered_by(&call(&client, &request()).await), "a");
    assert_eq!(answered_by(&call(&client, &request()).await), "b");
}

/// A gate that lets everything pass and writes down what it was told.
#[derive(Default)]
struct Ledger(Mutex<Vec<String>>);

#[async_trait]
impl RateGate for Ledger {
    async fn reserve(&self, model: &str, limits: RateLimits, tokens: u64, _: Option<Line<'_>>) -> Result<(), Duration> {
        assert!(tokens > 50, "the longest answer counts");
        let model = model.split('@').next().unwrap();
        self.0.lock().unwrap().push(format!("reserve {model} {}/{}", limits.requests, limits.tokens));
        Ok(())
    }

    async fn settle(&self, model: &str, _: RateLimits, _: u64, actual: u64) {
        let model = model.split('@').next().unwrap();
        self.0.lock().unwrap().push(format!("settle {model} {actual}"));
    }

    async fn give_back(&self, _: &str, _: RateLimits, _: u64) {}

    async fn shut(&self, _: &str, _: RateLimits, _: Duration) {}
}

#[tokio::test]
async fn every_request_is_reserved_and_settled() {
    let server = ModelServer::start([Reply::hang_up(), Reply::text("ok")]);
    let mut settings = settings(&server);
    settings.llm.tokens_per_minute = 9000;
    settings.llm.max_tokens = 50;
    let ledger = Arc::new(Ledger::default());
    let client = OpenAi::new(&settings).unwrap().with_gate(ledger.clone());
    assert_eq!(call(&client, &request()).await.brief(), "\"ok\"");
    let told = ledger.0.lock().unwrap().clone();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!((told[0].as_str(), told[3].as_str()), ("reserve gpt-4o-mini 0/9000", "settle gpt-4o-mini 110"));
}

#[tokio::test]
async fn a_budget_ends_the_requests_of_a_job() {
    let server = ModelServer::start([Reply::text("ok")]);
    let mut settings = settings(&server);
    settings.llm.prices.insert("gpt-4o-mini".into(), Price { prompt: 10_000.0, completion: 100_000.0, cached: None });
    let client = OpenAi::new(&settings).unwrap();
    for budget in
        [Budget { max_tokens: Some(110), max_cost_usd: None }, Budget { max_tokens: None, max_cost_usd: Some(2.0) }]
    {
        let meter = Meter::new(budget);
        let cancel = CancellationToken::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
        client.chat(&request(), &context).await.unwrap();
        let error = client.chat(&request(), &context).await.unwrap_err();
        assert_eq!((error.code, error.retryable), (ErrorCode::BudgetExceeded, false));
        assert_eq!((meter.spend().llm_calls, meter.spend().cost_usd), (1, 2.0));
        server.push(Reply::text("ok"));
    }
    call(&client, &request()).await.result.unwrap();
}

#[tokio::test]
async fn what_a_failed_answer_cost_is_counted() {
    let usage = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"length"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;
    let server = ModelServer::start([
        Reply::events(&[usage, "[DONE]"]),
        Reply::events(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, "[DONE]"]),
    ]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let failed = call(&client, &request()).await;
    assert_eq!((failed.brief().as_str(), failed.spend.tokens.total()), ("!llm_truncated?", 10));
    let silent = call(&client, &request()).await;
    let sent = server.requests()[1].body.len() as u64;
    assert_eq!((silent.brief().as_str(), silent.spend.llm_calls), ("\"a\"", 1));
    assert_eq!((silent.spend.tokens.prompt, silent.spend.tokens.completion), (sent.div_ceil(4), 1), "an estimate");
}

#[tokio::test]
async fn the_metrics_tell_what_was_sent() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = ModelServer::start([Reply::error(503, "x", ""), Reply::text("ok")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    call(&client, &request()).await.result.unwrap();
    let text = handle.render();
    for line in [
        r#"agent_runner_llm_requests_total{model="gpt-4o-mini",outcome="ok"} 1"#,
        r#"agent_runner_llm_requests_total{model="gpt-4o-mini",outcome="llm_unavailable"} 1"#,
        r#"agent_runner_llm_tokens_total{model="gpt-4o-mini",kind="prompt"} 100"#,
        r#"agent_runner_llm_tokens_total{model="gpt-4o-mini",kind="completion"} 10"#,
        r#"agent_runner_llm_cost_usd_total{model="gpt-4o-mini"} 0.000021"#,
        r#"agent_runner_llm_duration_seconds_count{model="gpt-4o-mini"} 2"#,
        &format!(r#"agent_runner_circuit_state{{target="llm:{}"}} 0"#, server.address()),
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_request_that_its_job_gave_up_is_counted_once_with_the_reason() {
    for (end, outcome) in [("cancelled", "cancelled"), ("dropped", "cancelled"), ("late", "timeout")] {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let gate = Gate::new();
        let server = ModelServer::start([Reply::text("late").gate_at(0, &gate)]);
        let client = OpenAi::new(&settings(&server)).unwrap();
        let (meter, cancel) = (Meter::default(), CancellationToken::new());
        let deadline = Instant::now() + Duration::from_secs(if end == "late" { 2 } else { 60 });
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
        let request = request();
        let mut call = Box::pin(client.chat(&request, &context));
        tokio::select! {
            _ = &mut call => panic!("the call should not have ended"),
            () = gate.reached() => {}
        }
        match end {
            // As when the attempt around it is told to stop first.
            "dropped" => drop(call),
            _ => {
                if end == "cancelled" {
                    cancel.cancel();
                }
                call.await.unwrap_err();
            }
        }
        let text = handle.render();
        let counted: Vec<&str> =
            text.lines().filter(|line| line.starts_with("agent_runner_llm_requests_total{")).collect();
        let wanted = format!(r#"agent_runner_llm_requests_total{{model="gpt-4o-mini",outcome="{outcome}"}} 1"#);
        assert_eq!(counted, [wanted], "{end}");
        server.client_left().await;
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let server = ModelServer::start([]);
    let mut settings = two(&server, &server);
    settings.llm.models[0].base_url = Some("nowhere".into());
    settings.llm.models[1].api_key = Some("canary\u{7f}".into());
    let error = OpenAi::new(&settings).err().unwrap().to_string();
    assert!(error.contains("llm.models[0].base_url: ") && error.contains("llm.models[1].api_key: "), "{error}");
    assert!(!error.contains("canary"), "{error}");
}
