//! Answers of a model server that are errors: what each becomes, and how many requests it takes.

use serde_json::{Value, json};

use crate::support::{
    llm::{KEY, Row, call, check_rows, request, settings},
    model::{ModelServer, Reply},
};

fn row<'a>(name: &'a str, reply: Reply, want: &'a str) -> Row<'a> {
    Row { name, replies: vec![reply], want }
}

/// The same error until the retries are used up.
fn each_time<'a>(name: &'a str, reply: &Reply, want: &'a str) -> Row<'a> {
    Row { name, replies: vec![reply.clone(); 3], want }
}

fn error(status: u16, body: Value) -> Reply {
    Reply::json(status, &body)
}

fn said(status: u16, code: &str, message: &str) -> Reply {
    Reply::error(status, code, message)
}

/// Every table of this file.
pub(crate) fn all() -> usize {
    let tables = [accounts(), dead_ends(), refusals(), rate_limits(), outages(), bad_answers(), passing()];
    tables.iter().map(Vec::len).sum()
}

/// Retries that cost no time.
async fn check_retries(rows: Vec<Row<'_>>) {
    check_rows(rows, |settings| {
        settings.llm.max_retries = 2;
        settings.breaker.failures = 100;
    })
    .await;
}

fn accounts() -> Vec<Row<'static>> {
    vec![
        row(
            "wrong key",
            said(401, "invalid_api_key", "Incorrect API key provided: sk-canary-0123456789."),
            "!llm_auth",
        ),
        row("wrong key in words", Reply::body(401, "text/plain", "go away"), "!llm_auth"),
        row("forbidden", said(403, "permission_denied", "not allowed"), "!llm_auth"),
        row(
            "wrong key as 400",
            error(400, json!([{"error": {"code": 400, "message": "API key not valid."}}])),
            "!llm_auth",
        ),
        row("quota", said(429, "insufficient_quota", "You exceeded your current quota"), "!llm_quota"),
        row(
            "quota in words",
            error(429, json!({"error": "You exceeded your current quota, check your plan"})),
            "!llm_quota",
        ),
        row("payment", error(402, json!({"error": {"message": "Insufficient Balance", "code": 402}})), "!llm_quota"),
        row("credits", said(400, "invalid_request_error", "Your credit balance is too low"), "!llm_quota"),
    ]
}

#[tokio::test]
async fn keys_and_money_are_not_tried_again() {
    check_rows(accounts(), |_| {}).await;
}

fn dead_ends() -> Vec<Row<'static>> {
    vec![
        row("too long, by code", said(400, "context_length_exceeded", "reduce"), "!limit_exceeded"),
        row(
            "too long, in words",
            error(
                400,
                json!({"object": "error", "message": "This model's maximum context length is 4096 tokens", "code": 400}),
            ),
            "!limit_exceeded",
        ),
        row(
            "too long, by status",
            Reply::body(413, "text/html", "<html>Request Entity Too Large</html>"),
            "!limit_exceeded",
        ),
        row(
            "too long, as 500",
            error(500, json!({"error": {"message": "the request exceeds the available context size"}})),
            "!limit_exceeded",
        ),
        row("no such model", said(404, "model_not_found", "The model `x` does not exist"), "!llm_unavailable"),
        row("no such path", Reply::body(404, "text/html", "<html>not found</html>"), "!llm_unavailable"),
        row(
            "model not pulled",
            error(404, json!({"error": "model 'x' not found, try pulling it first"})),
            "!llm_unavailable",
        ),
        row(
            "redirected",
            Reply::body(302, "text/plain", "").header("location", "http://127.0.0.1:1/"),
            "!llm_unavailable",
        ),
    ]
}

#[tokio::test]
async fn what_cannot_work_is_not_tried_again() {
    check_rows(dead_ends(), |_| {}).await;
}

fn refusals() -> Vec<Row<'static>> {
    vec![
        row("filtered", said(400, "content_filter", "The response was filtered"), "!llm_refused"),
        row("policy", said(400, "content_policy_violation", "no"), "!llm_refused"),
        row("bad request", said(400, "invalid_request_error", "messages must alternate"), "!llm_refused"),
        row("no tools", error(400, json!({"error": {"message": "this model does not support tools"}})), "!llm_refused"),
        row(
            "unprocessable",
            error(422, json!({"detail": [{"loc": ["body", "messages"], "msg": "field required"}]})),
            "!llm_refused",
        ),
        row("told not to retry", said(503, "x", "down").header("x-should-retry", "false"), "!llm_unavailable?"),
        row(
            "wait beyond patience",
            said(429, "rate_limit_exceeded", "slow").header("retry-after", "3600"),
            "!llm_rate_limited?",
        ),
        row(
            "wait beyond the deadline",
            said(429, "rate_limit_exceeded", "slow").header("retry-after", "90"),
            "!llm_rate_limited?",
        ),
        row(
            "error in a stream: quota",
            Reply::events(&[r#"{"error":{"code":"insufficient_quota","message":"x"}}"#]),
            "!llm_quota",
        ),
        row(
            "error as 200 JSON",
            error(200, json!({"error": {"message": "bad key", "code": "invalid_api_key"}})),
            "!llm_auth",
        ),
        row(
            "refusal",
            Reply::events(&[r#"{"choices":[{"delta":{"refusal":"no"},"finish_reason":"stop"}]}"#]),
            "!llm_refused",
        ),
        row(
            "refusal in one piece",
            error(200, json!({"choices": [{"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}]})),
            "!llm_refused",
        ),
        row(
            "filtered amid the answer",
            Reply::events(&[r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"content_filter"}]}"#]),
            "!llm_refused",
        ),
        row(
            "length",
            Reply::events(&[r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"length"}]}"#]),
            "!llm_truncated?",
        ),
    ]
}

#[tokio::test]
async fn refusals_and_long_waits_are_not_tried_again() {
    check_rows(refusals(), |_| {}).await;
}

fn rate_limits() -> Vec<Row<'static>> {
    let now = |reply: Reply| reply.header("retry-after-ms", "1");
    let limited = |body: Value| now(error(429, body));
    vec![
        each_time(
            "rate limit",
            &limited(json!({"error": {"code": "rate_limit_exceeded", "message": "slow"}})),
            "!llm_rate_limited?",
        ),
        each_time("rate limit, no body", &now(Reply::body(429, "text/plain", "")), "!llm_rate_limited?"),
        each_time("rate limit, words", &now(Reply::body(429, "text/plain", "Too many requests")), "!llm_rate_limited?"),
        each_time(
            "rate limit, code a number",
            &limited(json!({"error": {"code": 429, "message": "slow"}})),
            "!llm_rate_limited?",
        ),
        each_time("rate limit, error a text", &limited(json!({"error": "slow"})), "!llm_rate_limited?"),
        each_time("rate limit, detail", &limited(json!({"detail": "slow"})), "!llm_rate_limited?"),
        each_time("rate limit, message", &limited(json!({"message": "slow"})), "!llm_rate_limited?"),
        each_time(
            "rate limit, list",
            &limited(json!([{"error": {"status": "RESOURCE_EXHAUSTED"}}])),
            "!llm_rate_limited?",
        ),
        each_time(
            "rate limit in a stream",
            &Reply::events(&[r#"{"error":{"code":429,"message":"slow"}}"#]),
            "!llm_rate_limited?",
        ),
    ]
}

#[tokio::test]
async fn rate_limits_are_tried_again_and_then_reported() {
    check_retries(rate_limits()).await;
}

fn outages() -> Vec<Row<'static>> {
    vec![
        each_time("broken", &error(500, json!({"error": {"message": "server_error"}})), "!llm_unavailable?"),
        each_time("proxy page", &Reply::body(502, "text/html", "<html>Bad Gateway</html>"), "!llm_unavailable?"),
        each_time("proxy page as 200", &Reply::body(200, "text/html", "<html>maintenance</html>"), "!llm_unavailable?"),
        each_time("down", &Reply::body(503, "text/plain", ""), "!llm_unavailable?"),
        each_time(
            "overloaded",
            &error(529, json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
            "!llm_unavailable?",
        ),
        each_time("timed out", &Reply::body(408, "text/plain", ""), "!llm_unavailable?"),
        each_time("the gateway timed out", &Reply::body(504, "text/html", "<html>"), "!llm_unavailable?"),
        each_time("the proxy timed out", &Reply::body(524, "text/plain", "error code: 524"), "!llm_unavailable?"),
        each_time("conflict", &Reply::body(409, "text/plain", ""), "!llm_unavailable?"),
        each_time(
            "loading",
            &error(503, json!({"error": {"message": "Loading model", "code": 503}})),
            "!llm_unavailable?",
        ),
        each_time("hung up", &Reply::hang_up(), "!llm_unavailable?"),
        each_time("nothing", &Reply::stream(""), "!llm_unavailable?"),
        each_time("no body", &Reply::body(200, "application/json", ""), "!llm_unavailable?"),
    ]
}

#[tokio::test]
async fn outages_are_tried_again_and_then_reported() {
    check_retries(outages()).await;
}

fn bad_answers() -> Vec<Row<'static>> {
    vec![
        each_time(
            "told to retry",
            &error(400, json!({"error": "hm"})).header("x-should-retry", "true"),
            "!llm_refused",
        ),
        each_time("broken off", &Reply::text("hello").drop_at(90), "!llm_truncated?"),
        each_time("no end", &Reply::events(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#]), "!llm_truncated?"),
        each_time("half of a JSON", &Reply::body(200, "application/json", r#"{"choices":[{"mess"#), "!llm_truncated?"),
        each_time("no JSON", &Reply::events(&["hello"]), "!llm_bad_output?"),
        each_time("neither words nor calls", &Reply::events(&["[DONE]"]), "!llm_bad_output?"),
        each_time(
            "bad arguments",
            &Reply::events(&[
                r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"run","arguments":"{k"}}]}}]}"#,
                "[DONE]",
            ]),
            "!llm_bad_output?",
        ),
    ]
}

#[tokio::test]
async fn bad_answers_are_tried_again_and_then_reported() {
    check_retries(bad_answers()).await;
}

fn passing() -> Vec<Row<'static>> {
    let good = || Reply::text("done");
    let after =
        |name, bad: Vec<Reply>| Row { name, replies: bad.into_iter().chain([good()]).collect(), want: "\"done\"" };
    vec![
        after("at once", vec![]),
        after(
            "rate limit in milliseconds",
            vec![Reply::error(429, "rate_limit_exceeded", "").header("retry-after-ms", "5")],
        ),
        after("rate limit in seconds", vec![Reply::error(429, "rate_limit_exceeded", "").header("retry-after", "0")]),
        after(
            "rate limit until a date",
            vec![Reply::error(429, "rate_limit_exceeded", "").header("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")],
        ),
        after(
            "rate limit by reset",
            vec![
                Reply::error(429, "rate_limit_exceeded", "")
                    .header("x-ratelimit-remaining-tokens", "0")
                    .header("x-ratelimit-reset-tokens", "6ms"),
            ],
        ),
        after("rate limit without a word", vec![Reply::body(429, "text/plain", "")]),
        after("down twice", vec![Reply::body(503, "text/plain", ""), Reply::body(502, "text/html", "<html>")]),
        after("hung up", vec![Reply::hang_up()]),
        after("broken off amid words", vec![Reply::text("done").drop_at(90)]),
        after("told to retry", vec![Reply::error(400, "x", "hm").header("x-should-retry", "true")]),
        after("three kinds", vec![Reply::hang_up(), Reply::stream(""), Reply::error(500, "x", "")]),
    ]
}

#[tokio::test]
async fn what_passes_is_forgotten() {
    check_rows(passing(), |_| {}).await;
}

#[tokio::test]
async fn messages_say_what_to_do_and_hold_no_key() {
    for (reply, parts) in [
        (
            Reply::error(401, "invalid_api_key", &format!("Incorrect API key: {KEY}")),
            vec!["answered 401", "llm.api_key"],
        ),
        (Reply::error(400, "x", &format!("odd key {KEY} or sk-abc***def")), vec!["odd key *** or [key]"]),
        (Reply::error(404, "model_not_found", "no"), vec!["llm.base_url", "gpt-4o-mini"]),
        (Reply::error(429, "insufficient_quota", "broke"), vec!["quota", "broke", "add credit"]),
        (Reply::body(404, "text/html", "<!DOCTYPE html><html>secret page</html>"), vec!["an HTML page"]),
    ] {
        let server = ModelServer::start([reply]);
        let client = agent_runner::llm::OpenAi::new(&settings(&server)).unwrap();
        let outcome = call(&client, &request()).await;
        let message = &outcome.error().message;
        for part in parts {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        assert!(!message.contains("canary") && !message.contains("secret page"), "{message}");
        assert_eq!(server.requests()[0].headers["authorization"], format!("Bearer {KEY}"));
    }
}

#[tokio::test]
async fn the_wait_that_a_server_asked_for_is_handed_on() {
    let server = ModelServer::start([Reply::error(429, "rate_limit_exceeded", "slow").header("retry-after", "600")]);
    let client = agent_runner::llm::OpenAi::new(&settings(&server)).unwrap();
    let outcome = call(&client, &request()).await;
    assert_eq!(outcome.error().retry_after, Some(std::time::Duration::from_secs(600)));
}

#[tokio::test]
async fn nobody_there_is_an_outage() {
    let server = ModelServer::start([]);
    let mut settings = settings(&server);
    drop(server);
    settings.llm.max_retries = 1;
    let client = agent_runner::llm::OpenAi::new(&settings).unwrap();
    let outcome = call(&client, &request()).await;
    assert_eq!((outcome.brief().as_str(), outcome.spend.llm_calls), ("!llm_unavailable?", 2));
    assert!(outcome.error().message.contains("cannot be reached"), "{}", outcome.error().message);
}
