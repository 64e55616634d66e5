//! What a job may spend: reserved before a request, also by requests side by side, and counted where nobody counts.

use std::time::{Duration, Instant};

use agent_runner::{
    job::{Budget, ErrorCode, JobError, Meter},
    llm::{CallContext, ChatModel, ChatReply, OpenAi},
    settings::{LlmModel, Price, Settings},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{
    llm::{call, call_with, request, settings},
    model::{Gate, ModelServer, Reply, Seen},
    stage::Stage,
};

/// A dollar per hundred tokens of a prompt, and per ten of an answer.
fn priced(server: &ModelServer) -> Settings {
    let mut settings = settings(server);
    settings.llm.prices.insert("gpt-4o-mini".into(), Price { prompt: 10_000.0, completion: 100_000.0, cached: None });
    settings
}

/// Words without a count of tokens.
fn uncounted(text: &str) -> Reply {
    Reply::events(&[&json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}).to_string(), "[DONE]"])
}

async fn ask(client: &OpenAi, meter: &Meter) -> Result<ChatReply, JobError> {
    let cancel = CancellationToken::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    client.chat(&request(), &CallContext { meter, deadline, cancel: &cancel, on_text: None }).await
}

/// The estimate of a prompt, and the bound of the answer, of a request as it was sent.
fn reserved(seen: &Seen, field: &str) -> (u64, u64) {
    ((seen.body.len() as u64).div_ceil(4), seen.json()[field].as_u64().unwrap())
}

#[tokio::test]
async fn an_answer_is_no_longer_than_the_budget_allows() {
    let budgets = [
        (Budget { max_tokens: None, max_cost_usd: None }, 4096, 4096),
        (Budget { max_tokens: Some(100_000), max_cost_usd: Some(1e6) }, 4096, 4096),
        (Budget { max_tokens: Some(400), max_cost_usd: None }, 0, 0),
        (Budget { max_tokens: None, max_cost_usd: Some(20.0) }, 0, 0),
    ];
    let server = ModelServer::start(budgets.iter().map(|_| Reply::text("ok")));
    let client = OpenAi::new(&priced(&server)).unwrap();
    for (i, (budget, least, most)) in budgets.into_iter().enumerate() {
        ask(&client, &Meter::new(budget)).await.unwrap();
        let (prompt, answer) = reserved(&server.requests()[i], "max_tokens");
        // The bound itself is a part of the prompt, and may be a digit shorter than the one that was estimated.
        let (least, most) = match budget {
            Budget { max_tokens: Some(400), .. } => (400 - prompt - 1, 400 - prompt),
            Budget { max_cost_usd: Some(20.0), .. } => (200 - prompt / 10 - 2, 200 - prompt / 10),
            _ => (least, most),
        };
        assert!((least..=most).contains(&answer), "{budget:?}: {answer} is not {least} to {most}");
    }
}

#[tokio::test]
async fn the_bound_holds_under_the_other_name_too() {
    let refusal = Reply::error(400, "unsupported_parameter", "max_tokens is not supported");
    let server = ModelServer::start([refusal, Reply::text("ok")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    ask(&client, &Meter::new(Budget { max_tokens: Some(400), max_cost_usd: None })).await.unwrap();
    let (prompt, answer) = reserved(&server.requests()[1], "max_completion_tokens");
    assert!(answer + prompt <= 402 && answer > 100, "{prompt} and {answer}");
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_not_sent() {
    let server = ModelServer::start([]);
    let client = OpenAi::new(&priced(&server)).unwrap();
    for budget in
        [Budget { max_tokens: Some(20), max_cost_usd: None }, Budget { max_tokens: None, max_cost_usd: Some(0.1) }]
    {
        let meter = Meter::new(budget);
        let error = ask(&client, &meter).await.unwrap_err();
        assert_eq!((error.code, error.retryable, error.deferred), (ErrorCode::BudgetExceeded, false, false));
        assert!(error.message.contains("the next prompt takes about"), "{error}");
        assert_eq!(meter.spend().llm_calls, 0);
    }
}

#[tokio::test]
async fn an_answer_that_the_budget_cut_off_is_a_matter_of_the_budget() {
    let cut = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"length"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;
    let server = ModelServer::start([Reply::events(&[cut, "[DONE]"]), Reply::events(&[cut, "[DONE]"])]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let rows = [(400, ErrorCode::BudgetExceeded, false), (40_000, ErrorCode::LlmTruncated, true)];
    for (max_tokens, code, retryable) in rows {
        let meter = Meter::new(Budget { max_tokens: Some(max_tokens), max_cost_usd: None });
        let error = ask(&client, &meter).await.unwrap_err();
        assert_eq!((error.code, error.retryable), (code, retryable));
        assert_eq!(meter.spend().tokens.total(), 10, "it is paid for all the same");
    }
}

#[tokio::test]
async fn requests_side_by_side_share_what_is_left() {
    let gate = Gate::new();
    let server = ModelServer::start([Reply::text("1").gate_at(0, &gate), Reply::text("2"), Reply::text("3")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    // Each answer costs 110.
    let meter = Meter::new(Budget { max_tokens: Some(400), max_cost_usd: None });
    let opener = async {
        gate.reached().await;
        gate.open();
    };
    let (one, other, ()) = tokio::join!(ask(&client, &meter), ask(&client, &meter), opener);
    one.unwrap();
    other.unwrap();
    ask(&client, &meter).await.unwrap();
    let bounds: Vec<u64> = server.requests().iter().map(|seen| reserved(seen, "max_tokens").1).collect();
    assert_eq!((bounds[0] - bounds[1], bounds[1] - bounds[2]), (110, 110), "{bounds:?}");
    assert_eq!(meter.spend().tokens.total(), 330);
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_others_hold_its_budget_ends() {
    let gate = Gate::new();
    let server = ModelServer::start([Reply::text("1").gate_at(0, &gate)]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let meter = Meter::new(Budget { max_tokens: Some(400), max_cost_usd: None });
    let (request, cancel) = (request(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let canceller = async {
        gate.reached().await;
        cancel.cancel();
    };
    let (one, other, ()) = tokio::join!(client.chat(&request, &context), client.chat(&request, &context), canceller);
    assert_eq!([one, other].map(|end| end.unwrap_err().code), [ErrorCode::Cancelled; 2]);
    let spend = meter.spend();
    assert_eq!((spend.llm_calls, spend.tokens.completion), (1, 0));
    server.client_left().await;
}

#[tokio::test]
async fn a_request_that_was_dropped_has_cost_its_prompt() {
    let gate = Gate::new();
    let server = ModelServer::start([Reply::text("1").gate_at(0, &gate)]);
    let client = OpenAi::new(&priced(&server)).unwrap();
    let meter = Meter::default();
    tokio::select! {
        _ = ask(&client, &meter) => panic!("the call should not have ended"),
        () = gate.reached() => {}
    }
    let (prompt, spend) = (reserved(&server.requests()[0], "max_tokens").0, meter.spend());
    assert_eq!((spend.tokens.prompt, spend.estimated, spend.cost_usd), (prompt, 1, prompt as f64 / 100.0));
    server.client_left().await;
}

#[tokio::test]
async fn what_nobody_counts_is_estimated_and_bites() {
    let server = ModelServer::start([uncounted("12345678"), uncounted("x")]);
    let client = OpenAi::new(&priced(&server)).unwrap();
    let meter = Meter::new(Budget { max_tokens: Some(200), max_cost_usd: None });
    let reply = ask(&client, &meter).await.unwrap();
    let prompt = reserved(&server.requests()[0], "max_tokens").0;
    let spend = meter.spend();
    // The request was estimated with a bound that was a digit longer.
    assert!(spend.tokens.prompt - prompt <= 1 && spend.tokens.completion == 2, "{spend:?}");
    assert_eq!((reply.tokens, spend.estimated), (spend.tokens, 1));
    assert!((spend.cost_usd - (spend.tokens.prompt as f64 / 100.0 + 0.2)).abs() < 1e-9, "{spend:?}");
    assert!(spend.caveat().unwrap().contains("1 of 1 model requests"));
    ask(&client, &meter).await.unwrap();
    let over = ask(&client, &meter).await.unwrap_err();
    assert_eq!(over.code, ErrorCode::BudgetExceeded, "{over}");
}

#[tokio::test]
async fn a_failed_request_costs_what_was_said_of_it() {
    let rows: Vec<(&str, Reply, bool)> = vec![
        ("refused", Reply::error(400, "x", "no"), false),
        ("limited", Reply::error(429, "rate_limit_exceeded", "").header("retry-after", "300"), false),
        ("an error in a good answer", Reply::events(&[r#"{"error":{"message":"no"}}"#]), false),
        ("no answer", Reply::hang_up(), false),
        ("broken off", Reply::text("hello").drop_at(70), true),
    ];
    for (name, reply, costs) in rows {
        let server = ModelServer::start([reply]);
        let mut settings = settings(&server);
        settings.llm.max_retries = 0;
        let outcome = call(&OpenAi::new(&settings).unwrap(), &request()).await;
        assert!(outcome.result.is_err(), "{name}");
        assert_eq!(outcome.spend.tokens.prompt > 0, costs, "{name}: {:?}", outcome.spend);
        assert_eq!(outcome.spend.estimated, u32::from(costs), "{name}");
    }
}

#[tokio::test]
async fn dollars_are_not_spent_where_nobody_knows_the_price() {
    let (first, second) = (ModelServer::start([]), ModelServer::start([Reply::text("ok")]));
    let mut settings = settings(&first);
    settings.llm.model = "homemade".into();
    let budget = Budget { max_tokens: None, max_cost_usd: Some(5.0) };
    let outcome = async |settings: &Settings| {
        let (time, cancel) = (Duration::from_secs(60), CancellationToken::new());
        call_with(&OpenAi::new(settings).unwrap(), &request(), budget, time, &cancel).await
    };
    let refused = outcome(&settings).await;
    assert_eq!((refused.brief().as_str(), refused.spend.llm_calls), ("!budget_exceeded", 0));
    assert!(refused.error().message.contains("homemade has no price: set llm.prices"), "{}", refused.error());

    let model = |name: &str, server: &ModelServer| LlmModel {
        model: name.into(),
        base_url: Some(server.base_url()),
        ..LlmModel::default()
    };
    settings.llm.models = vec![model("homemade", &first), model("gpt-4o-mini", &second)];
    assert_eq!(outcome(&settings).await.brief(), "\"ok\"", "another model has a price");

    settings.llm.models.truncate(1);
    settings.llm.prices.insert("homemade".into(), Price::default());
    first.push(Reply::text("free"));
    assert_eq!(outcome(&settings).await.brief(), "\"free\"");
}

#[tokio::test]
async fn a_result_says_once_what_was_guessed_and_what_to_set() {
    let plan = json!({"pipeline": [{"step": "top_k", "k": 1}]}).to_string();
    let call = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function":
        {"name": "execute_pipeline", "arguments": plan}}]}, "finish_reason": "tool_calls"}]});
    let model = ModelServer::start([Reply::events(&[&call.to_string(), "[DONE]"])]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url()).with("OPENAI_MODEL", "homemade");
    let _service = stage.serve();
    let data = json!([{"a": 1}, {"a": 2}]);
    let done = stage.run(json!({"job_id": "j", "prompt": "first row", "lane": "execute", "data": data})).await;
    assert_eq!(done["status"], "completed", "{done}");
    let warnings = done["metadata"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for part in ["1 of 1 model requests are an estimate", "homemade is not known", "set llm.prices"] {
        assert!(warnings[0].as_str().unwrap().contains(part), "{warnings:?}");
    }
    assert!(done["metadata"]["tokens_used"].as_u64().unwrap() > 100, "{done}");
}
