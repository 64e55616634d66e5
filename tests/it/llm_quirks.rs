//! Fields that a server does not take: each is dropped once, remembered, and the call still succeeds.

use agent_runner::llm::{ChatRequest, OpenAi, ResponseFormat, ToolChoice};
use serde_json::{Value, json};

use crate::support::{
    llm::{call, request, settings},
    model::{ModelServer, Reply},
};

/// A request that uses every field.
fn full() -> ChatRequest {
    let mut request = request();
    request.tools[0].strict = true;
    request.tool_choice = ToolChoice::Required;
    request.temperature = Some(0.3);
    request.max_tokens = Some(77);
    request.prompt_cache_key = Some("workflow-1".into());
    request.response_format = Some(ResponseFormat { name: "answer".into(), schema: json!({"type": "object"}) });
    request
}

fn refuse(status: u16, body: Value) -> Reply {
    Reply::json(status, &body)
}

/// The server answers the first request with `refusal` and takes the next two. Gives the three bodies.
async fn after(name: &str, refusal: Reply) -> [Value; 3] {
    let server = ModelServer::start([refusal, Reply::text("ok"), Reply::text("ok")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let first = call(&client, &full()).await;
    assert_eq!((first.brief().as_str(), first.spend.llm_calls), ("\"ok\"", 2), "{name}: {:?}", first.result);
    let second = call(&client, &full()).await;
    assert_eq!((second.brief().as_str(), second.spend.llm_calls), ("\"ok\"", 1), "{name}: remembered");
    let bodies: Vec<Value> = server.requests().iter().map(|seen| seen.json()).collect();
    bodies.try_into().unwrap()
}

#[tokio::test]
async fn a_refused_field_is_dropped_and_remembered() {
    let openai = |param: &str, message: &str| {
        refuse(
            400,
            json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_parameter"}}),
        )
    };
    let rows = [
        (
            "/temperature",
            openai(
                "temperature",
                "Unsupported value: 'temperature' does not support 0.3 with this model. Only the default (1) value is supported.",
            ),
        ),
        (
            "/temperature",
            refuse(422, json!({"detail": [{"loc": ["body", "temperature"], "msg": "extra fields not permitted"}]})),
        ),
        (
            "/max_tokens",
            openai(
                "max_tokens",
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            ),
        ),
        ("/max_tokens", refuse(400, json!({"error": "max_tokens is too large: 77. This model supports at most 50"}))),
        ("/tool_choice", refuse(400, json!({"message": "tool_choice 'required' is not supported"}))),
        (
            "/tools/0/function/strict",
            openai("tools[0].function.strict", "Unknown parameter: 'tools[0].function.strict'."),
        ),
        (
            "/tools/0/function/strict",
            refuse(
                400,
                json!({"error": {"message": "Invalid schema for function 'run': 'required' is required", "code": "invalid_function_parameters", "param": "tools[0].function.parameters"}}),
            ),
        ),
        (
            "/stream_options",
            refuse(400, json!({"error": {"message": "Unrecognized request argument supplied: stream_options"}})),
        ),
        (
            "/stream_options",
            refuse(
                422,
                json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}),
            ),
        ),
        (
            "/prompt_cache_key",
            refuse(400, json!({"error": {"message": "Unknown name \"prompt_cache_key\": Cannot find field."}})),
        ),
        ("/prompt_cache_key", refuse(500, json!({"error": "prompt_cache_key is not supported"}))),
    ];
    for (pointer, refusal) in rows {
        let [first, second, third] = after(pointer, refusal).await;
        assert!(first.pointer(pointer).is_some(), "{pointer} was sent: {first}");
        assert!(second.pointer(pointer).is_none(), "{pointer} was dropped: {second}");
        assert_eq!(second, third, "{pointer} stays dropped");
    }
}

#[tokio::test]
async fn some_fields_have_a_second_best() {
    let [_, second, _] = after("bound", refuse(400, json!({"error": "Unsupported parameter: 'max_tokens'"}))).await;
    assert_eq!(second["max_completion_tokens"], 77);

    let [first, second, _] = after(
        "format",
        refuse(400, json!({"error": {"message": "response_format of type json_schema is not supported"}})),
    )
    .await;
    assert_eq!(
        (&first["response_format"]["type"], &second["response_format"]["type"]),
        (&json!("json_schema"), &json!("json_object"))
    );

    let schema = refuse(
        400,
        json!({"error": {"message": "Invalid schema for response_format 'answer': 'additionalProperties' is required", "param": "response_format"}}),
    );
    let word = refuse(
        400,
        json!({"error": {"message": "'messages' must contain the word 'json' to use 'response_format' of type 'json_object'.", "param": "messages"}}),
    );
    let server = ModelServer::start([schema.clone(), schema, word, Reply::text("ok")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    assert_eq!(call(&client, &full()).await.brief(), "\"ok\"");
    let sent: Vec<Value> = server.requests().iter().map(|seen| seen.json()["response_format"].clone()).collect();
    assert_eq!(sent[0]["json_schema"]["strict"], true);
    assert_eq!(
        sent[1],
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}})
    );
    assert_eq!((&sent[2], &sent[3]), (&json!({"type": "json_object"}), &Value::Null));

    let server = ModelServer::start([
        refuse(400, json!({"error": {"message": "streaming is not supported for this model"}})),
        refuse(200, json!({"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]})),
    ]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    assert_eq!(call(&client, &full()).await.brief(), "\"ok\"");
    assert_eq!(server.requests()[1].json()["stream"], false);
}

#[tokio::test]
async fn several_fields_are_dropped_one_after_the_other() {
    let refusal = |field: &str| refuse(400, json!({"error": {"message": format!("unknown field `{field}`")}}));
    let fields = [
        "temperature",
        "max_tokens",
        "max_completion_tokens",
        "response_format",
        "response_format",
        "tool_choice",
        "strict",
        "stream_options",
    ];
    let replies = fields.iter().map(|field| refusal(field)).chain([Reply::text("ok")]);
    let server = ModelServer::start(replies);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let outcome = call(&client, &full()).await;
    assert_eq!((outcome.brief().as_str(), outcome.spend.llm_calls), ("\"ok\"", 9));
    let last = server.requests()[8].json();
    let left: Vec<&str> = last.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(left, ["model", "stream", "tools", "messages", "prompt_cache_key"]);
}

#[tokio::test]
async fn a_field_that_was_not_sent_cannot_be_dropped() {
    let refusal = refuse(400, json!({"error": {"message": "temperature is not supported"}}));
    let server = ModelServer::start([refusal.clone(), refusal]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let outcome = call(&client, &full()).await;
    assert_eq!((outcome.brief().as_str(), outcome.spend.llm_calls), ("!llm_refused", 2));
    assert!(outcome.error().message.contains("temperature is not supported"));
}

#[tokio::test]
async fn what_one_model_refuses_another_still_gets() {
    let refusal = refuse(400, json!({"error": {"message": "temperature is not supported"}}));
    let server = ModelServer::start([refusal, Reply::text("ok"), Reply::text("ok")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    call(&client, &full()).await.result.unwrap();
    let other = ChatRequest { model: Some("other".into()), ..full() };
    call(&client, &other).await.result.unwrap();
    let sent = server.requests();
    assert!(sent[1].json().get("temperature").is_none());
    assert_eq!((sent[2].json()["temperature"].as_f64(), sent[2].json()["model"].as_str()), (Some(0.3), Some("other")));
}
