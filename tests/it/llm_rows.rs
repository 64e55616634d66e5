//! Good answers in every shape that servers give them, over a real connection: one request, one outcome.

use crate::support::{
    llm::{Row, check_rows},
    model::Reply,
};

/// A stream of deltas of the first choice, ended as documented.
fn deltas<'a>(name: &'a str, deltas: &[&str], want: &'a str) -> Row<'a> {
    let chunk = |delta: &&str| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned();
    let chunks: Vec<String> = deltas.iter().map(chunk).chain([end, "[DONE]".to_owned()]).collect();
    chunks_as(name, &chunks.iter().map(String::as_str).collect::<Vec<_>>(), want)
}

fn chunks_as<'a>(name: &'a str, chunks: &[&str], want: &'a str) -> Row<'a> {
    Row { name, replies: vec![Reply::events(chunks)], want }
}

fn body<'a>(name: &'a str, body: &str, want: &'a str) -> Row<'a> {
    Row { name, replies: vec![Reply::stream(body)], want }
}

/// Tool calls: name, deltas, outcome.
const CALLS: &[(&str, &[&str], &str)] = &[
    (
        "as documented",
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"run","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"k\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
        ],
        ONE,
    ),
    (
        "two at once, mixed",
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{"}},{"index":1,"id":"b","function":{"name":"run","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"arguments":"\"k\":2}"}},{"index":0,"function":{"arguments":"\"k\":1}"}}]}"#,
        ],
        TWO,
    ),
    (
        "no index",
        &[
            r#"{"tool_calls":[{"id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}]}"#,
            r#"{"tool_calls":[{"id":"b","function":{"name":"run","arguments":"{\"k\":2}"}}]}"#,
        ],
        TWO,
    ),
    (
        "neither index nor id",
        &[
            r#"{"tool_calls":[{"function":{"name":"run","arguments":"{\"k\":1}"}}]}"#,
            r#"{"tool_calls":[{"function":{"name":"run","arguments":"{\"k\":2}"}}]}"#,
        ],
        TWO,
    ),
    (
        "neither, in parts",
        &[
            r#"{"tool_calls":[{"function":{"name":"run","arguments":"{\"k\""}}]}"#,
            r#"{"tool_calls":[{"function":{"arguments":":1}"}}]}"#,
        ],
        ONE,
    ),
    (
        "index from 1",
        &[r#"{"tool_calls":[{"index":1,"id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}]}"#],
        ONE,
    ),
    (
        "index as text",
        &[r#"{"tool_calls":[{"index":"0","id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}]}"#],
        ONE,
    ),
    (
        "index null",
        &[r#"{"tool_calls":[{"index":null,"id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}]}"#],
        ONE,
    ),
    (
        "one index, two ids",
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"run","arguments":"{\"k\":2}"}}]}"#,
        ],
        TWO,
    ),
    (
        "id in every part",
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"k\""}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"arguments":":1}"}}]}"#,
        ],
        ONE,
    ),
    (
        "id, then name, then arguments",
        &[
            r#"{"tool_calls":[{"index":0,"id":"a"}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"run"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"k\":1}"}}]}"#,
        ],
        ONE,
    ),
    (
        "arguments before the name",
        &[
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"k\""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"run"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"arguments":":1}"}}]}"#,
        ],
        ONE,
    ),
    (
        "function null in the middle",
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"k\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":null}]}"#,
            r#"{"tool_calls":null}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
        ],
        ONE,
    ),
    (
        "one id for two calls",
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"a","function":{"name":"run","arguments":"{\"k\":2}"}}]}"#,
        ],
        TWO,
    ),
    (
        "an object in place of the list",
        &[r#"{"tool_calls":{"id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}}"#],
        ONE,
    ),
    ("no wrapper", &[r#"{"tool_calls":[{"id":"a","name":"run","arguments":"{\"k\":1}"}]}"#], ONE),
    (
        "function_call of old",
        &[r#"{"function_call":{"name":"run","arguments":"{\"k\""}}"#, r#"{"function_call":{"arguments":":1}"}}"#],
        ONE,
    ),
    (
        "words beside it",
        &[r#"{"content":"hm"}"#, r#"{"tool_calls":[{"index":0,"function":{"name":"run","arguments":"{\"k\":1}"}}]}"#],
        r#""hm" run{"k":1}"#,
    ),
];
const ONE: &str = r#"run{"k":1}"#;
const TWO: &str = r#"run{"k":1} run{"k":2}"#;

/// Which part of a tool call belongs to which.
fn calls() -> Vec<Row<'static>> {
    CALLS.iter().map(|(name, parts, want)| deltas(name, parts, want)).collect()
}

/// Arguments that are no plain text of JSON.
fn arguments() -> Vec<Row<'static>> {
    let c = |name, arguments: &str, want| {
        deltas(
            name,
            &[&format!(
                r#"{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"run","arguments":{arguments}}}}}]}}"#
            )],
            want,
        )
    };
    vec![
        c("empty", r#""""#, "run{}"),
        c("null", "null", "run{}"),
        c("the word null", r#""null""#, "run{}"),
        c("an object", r#"{"k":1.10}"#, r#"run{"k":1.10}"#),
        c("digits kept", r#""{\"k\":12345678901234567890}""#, r#"run{"k":12345678901234567890}"#),
        c("words behind it", r#""{\"k\":1} and that is it""#, r#"run{"k":1}"#),
        c("a placeholder first", r#""{}{\"k\":1}""#, r#"run{"k":1}"#),
        c("JSON within text", r#""\"{\\\"k\\\":1}\"""#, r#"run{"k":1}"#),
        c("a list", r#""[1]""#, "run[1]"),
        deltas("absent", &[r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run"}}]}"#], "run{}"),
        deltas("printed as text", &[r#"{"content":"{\"name\":\"run\",\"arguments\":{\"k\":1}}"}"#], r#"run{"k":1}"#),
        deltas(
            "printed in a tag",
            &[r#"{"content":"<tool_call>{\"name\":\"run\",\"arguments\":{}}</tool_call>"}"#],
            "run{}",
        ),
    ]
}

/// How answers end, and what stands around them.
fn frames() -> Vec<Row<'static>> {
    const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"content":"hi"}}]}"#;
    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const CALLS: &str = r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#;
    const RUN: &str =
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{}"}}]}}]}"#;
    let hi = r#""hi""#;
    vec![
        chunks_as("stop with a call", &[RUN, STOP, "[DONE]"], "run{}"),
        chunks_as("tool_calls without any", &[TEXT, CALLS, "[DONE]"], hi),
        chunks_as("finish null", &[TEXT, r#"{"choices":[{"delta":{},"finish_reason":null}]}"#, "[DONE]"], hi),
        chunks_as("finish empty", &[TEXT, r#"{"choices":[{"delta":{},"finish_reason":""}]}"#, "[DONE]"], hi),
        chunks_as("finish twice", &[TEXT, STOP, STOP, "[DONE]"], hi),
        chunks_as("finish unheard of", &[TEXT, r#"{"choices":[{"delta":{},"finish_reason":"eos_token"}]}"#], hi),
        chunks_as("empty choices first", &[r#"{"choices":[],"prompt_filter_results":[{}]}"#, TEXT, STOP, "[DONE]"], hi),
        chunks_as(
            "choices null, no delta",
            &[r#"{"choices":null}"#, r#"{"choices":[{}]}"#, r#"{"choices":[{"delta":null}]}"#, TEXT, STOP],
            hi,
        ),
        chunks_as(
            "two choices",
            &[
                r#"{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}"#,
            ],
            hi,
        ),
        chunks_as(
            "a message in place of a delta",
            &[r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#],
            hi,
        ),
        chunks_as("text completions", &[r#"{"choices":[{"index":0,"text":"hi","finish_reason":"stop"}]}"#], hi),
        deltas("content in parts", &[r#"{"content":[{"type":"text","text":"hi"}]}"#], hi),
        deltas("U+2028 inside", &[r#"{"content":"a\u2028b"}"#], r#""a\u{2028}b""#),
        deltas("thoughts beside it", &[r#"{"reasoning_content":"hm"}"#, r#"{"content":"hi"}"#], hi),
        deltas("thoughts in the text", &[r#"{"content":"<thi"}"#, r#"{"content":"nk>hm</think>hi"}"#], hi),
        body(
            "comments and events",
            &format!(": ping\n\nevent: ping\ndata: {{}}\n\ndata: {TEXT}\n\ndata: {STOP}\n\n"),
            hi,
        ),
        body("no space after data:", &format!("data:{TEXT}\n\ndata:{STOP}\n\ndata:[DONE]\n\n"), hi),
        body("CRLF", &format!("data: {TEXT}\r\n\r\ndata: {STOP}\r\n\r\n"), hi),
        body("no blank line at the end", &format!("data: {TEXT}\n\ndata: {STOP}"), hi),
        body("one line feed between", &format!("data: {TEXT}\ndata: {STOP}\n\n"), hi),
        body("a status in words", &format!("event: status\ndata: loading\n\ndata: {TEXT}\n\ndata: {STOP}\n\n"), hi),
        body("JSON lines", &format!("{TEXT}\n{STOP}\n"), hi),
        body(
            "JSON and white space",
            "\n {\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]} \n",
            hi,
        ),
    ]
}

#[tokio::test]
async fn every_shape_of_a_good_answer_is_read_with_one_request() {
    let tables = [calls(), arguments(), frames()];
    let rows: usize = tables.iter().map(Vec::len).sum();
    let errors = crate::llm_errors::all();
    assert!(rows + errors >= 120, "{rows} good answers and {errors} errors, the streams cut at every byte aside");
    for rows in tables {
        check_rows(rows, |settings| settings.llm.max_retries = 0).await;
    }
}
