//! Rows of server behaviour: the bytes of a body, and exactly what comes of it.

use super::*;
use crate::llm::fault::{Fault, Kind};

const OFFERED: &[&str] = &["run", "patch"];

/// Reads `pieces` as one body that then ends. Gives the outcome in short, and the text that was shown.
fn read(pieces: &[&[u8]]) -> (String, String) {
    let mut shown = String::new();
    let mut show = |text: &str| shown.push_str(text);
    let mut reader = Reader::new("m", "host", 100_000);
    let mut outcome = None;
    for piece in pieces {
        if reader.is_done() {
            break;
        }
        if let Err(fault) = reader.push(piece, &mut show) {
            outcome = Some(Err(fault));
            break;
        }
    }
    let outcome = outcome.unwrap_or_else(|| reader.finish(OFFERED, &mut show));
    (brief(outcome), shown)
}

/// `"text" name{arguments} … prompt+completion/cached`, or `!code`.
fn brief(outcome: Result<Assembled, Fault>) -> String {
    let assembled = match outcome {
        Err(fault) => return format!("!{} {:?}", fault.code().as_str(), fault.kind),
        Ok(assembled) => assembled,
    };
    let mut parts = Vec::new();
    if !assembled.text.is_empty() {
        parts.push(format!("{:?}", assembled.text));
    }
    for call in &assembled.calls {
        let id = if call.id.len() > 30 { "ours" } else { &call.id };
        parts.push(format!("{id}={}{}", call.name, call.arguments.as_str()));
    }
    if let Some(usage) = assembled.usage {
        parts.push(format!("{}+{}/{}", usage.prompt, usage.completion, usage.cached));
    }
    parts.join(" ")
}

/// Server-sent events with each of `chunks` as one event.
fn events(chunks: &[&str]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

/// The events of one choice with these deltas, properly ended.
fn deltas(deltas: &[&str]) -> String {
    let chunks: Vec<String> =
        deltas.iter().map(|delta| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#)).collect();
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    events(&chunks) + &events(&[r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#, "[DONE]"])
}

#[track_caller]
fn check(body: &str, want: &str) {
    let (whole, shown) = read(&[body.as_bytes()]);
    assert_eq!(whole, want, "of\n{body}");
    let single: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(read(&single), (whole, shown), "byte by byte, of\n{body}");
}

#[test]
fn parts_of_tool_calls_find_each_other() {
    let c = |deltas_of: &[&str], want: &str| check(&deltas(deltas_of), want);
    // As documented.
    c(
        &[
            r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"run","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"k\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
        ],
        r#"a=run{"k":1}"#,
    );
    // Two at once, their parts mixed.
    c(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{"}},{"index":1,"id":"b","function":{"name":"run","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"arguments":"\"k\":2}"}},{"index":0,"function":{"arguments":"\"k\":1}"}}]}"#,
        ],
        r#"a=run{"k":1} b=run{"k":2}"#,
    );
    // No index; the whole call in one chunk, one chunk after the other.
    c(
        &[
            r#"{"tool_calls":[{"id":"a","function":{"name":"run","arguments":"{}"}}]}"#,
            r#"{"tool_calls":[{"id":"b","function":{"name":"run","arguments":"{}"}}]}"#,
        ],
        "a=run{} b=run{}",
    );
    // Neither index nor id.
    c(
        &[
            r#"{"tool_calls":[{"function":{"name":"run","arguments":"{\"k\":1}"}}]}"#,
            r#"{"tool_calls":[{"function":{"name":"run","arguments":"{\"k\":2}"}}]}"#,
            r#"{"tool_calls":[{"function":{"name":"patch","arguments":"{}"}}]}"#,
        ],
        r#"ours=run{"k":1} ours=run{"k":2} ours=patch{}"#,
    );
    // Neither index nor id, in parts.
    c(
        &[
            r#"{"tool_calls":[{"function":{"name":"run","arguments":"{\"k\""}}]}"#,
            r#"{"tool_calls":[{"function":{"arguments":":1}"}}]}"#,
        ],
        r#"ours=run{"k":1}"#,
    );
    // Neither index nor id, the parts of two by position.
    c(
        &[
            r#"{"tool_calls":[{"function":{"name":"run","arguments":"{\"a\""}},{"function":{"name":"patch","arguments":"{\"b\""}}]}"#,
            r#"{"tool_calls":[{"function":{"arguments":":1}"}},{"function":{"arguments":":2}"}}]}"#,
        ],
        r#"ours=run{"a":1} ours=patch{"b":2}"#,
    );
}

#[test]
fn an_index_is_only_a_hint() {
    let c = |deltas_of: &[&str], want: &str| check(&deltas(deltas_of), want);
    // Index from 1, as text, null.
    c(&[r#"{"tool_calls":[{"index":1,"id":"a","function":{"name":"run","arguments":"{}"}}]}"#], "a=run{}");
    c(&[r#"{"tool_calls":[{"index":"0","id":"a","function":{"name":"run","arguments":"{}"}}]}"#], "a=run{}");
    c(&[r#"{"tool_calls":[{"index":null,"id":"a","function":{"name":"run","arguments":"{}"}}]}"#], "a=run{}");
    // One index for all, with ids and without.
    c(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"run","arguments":"{\"k\""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":":2}"}}]}"#,
        ],
        r#"a=run{"k":1} b=run{"k":2}"#,
    );
    c(
        &[
            r#"{"tool_calls":[{"index":0,"function":{"name":"run","arguments":"{\"k\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"patch","arguments":"{}"}}]}"#,
        ],
        r#"ours=run{"k":1} ours=patch{}"#,
    );
}

#[test]
fn the_parts_of_a_call_come_in_any_order_and_shape() {
    let c = |deltas_of: &[&str], want: &str| check(&deltas(deltas_of), want);
    // Id and name in every delta.
    c(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"k\""}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":":1}"}}]}"#,
        ],
        r#"a=run{"k":1}"#,
    );
    // Id, name and arguments in any order.
    c(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a"}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"run"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#,
        ],
        "a=run{}",
    );
    c(
        &[
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"k\""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"run"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"arguments":":1}"}}]}"#,
        ],
        r#"a=run{"k":1}"#,
    );
    // Null in the middle, empty parts, text beside it.
    c(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":null,"function":null}]}"#,
            r#"{"tool_calls":null,"content":"hm"}"#,
            r#"{"tool_calls":[]}"#,
            r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"","arguments":"}"}}]}"#,
        ],
        r#""hm" a=run{}"#,
    );
    // One id for two calls; an endless id.
    c(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"k\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"a","function":{"name":"patch","arguments":"{}"}}]}"#,
        ],
        r#"a=run{"k":1} ours=patch{}"#,
    );
    let long =
        format!(r#"{{"tool_calls":[{{"id":"{}","function":{{"name":"run","arguments":"{{}}"}}}}]}}"#, "x".repeat(99));
    c(&[&long], "ours=run{}");
    // An object in place of the list, no wrapper, the function calling of old.
    c(&[r#"{"tool_calls":{"id":"a","function":{"name":"run","arguments":"{}"}}}"#], "a=run{}");
    c(&[r#"{"tool_calls":[{"id":"a","name":"run","arguments":"{}"}]}"#], "a=run{}");
    c(
        &[r#"{"function_call":{"name":"run","arguments":"{\"k\""}}"#, r#"{"function_call":{"arguments":":1}"}}"#],
        r#"ours=run{"k":1}"#,
    );
    // More calls than any plan has.
    let many: Vec<String> =
        (0..40).map(|i| format!(r#"{{"tool_calls":[{{"index":{i},"function":{{"name":"run"}}}}]}}"#)).collect();
    c(&many.iter().map(String::as_str).collect::<Vec<_>>(), "!llm_bad_output BadOutput");
}

#[test]
fn arguments_become_json_or_the_reply_is_bad() {
    let c = |arguments: &str, want: &str| {
        let delta =
            format!(r#"{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"run","arguments":{arguments}}}}}]}}"#);
        check(&deltas(&[&delta]), want);
    };
    c(r#""""#, "a=run{}");
    c("null", "a=run{}");
    c(r#"" ""#, "a=run{}");
    c(r#""null""#, "a=run{}");
    c(r#"{"k":1.10}"#, r#"a=run{"k":1.10}"#);
    c(r#""{\"k\":12345678901234567890}""#, r#"a=run{"k":12345678901234567890}"#);
    c(r#""{\"k\":1} and that is it""#, r#"a=run{"k":1}"#);
    c(r#""{}{\"k\":1}""#, r#"a=run{"k":1}"#);
    c(r#""{\"k\":1}{\"k\":1}""#, r#"a=run{"k":1}"#);
    c(r#""\"{\\\"k\\\":1}\"""#, r#"a=run{"k":1}"#);
    c(r#""[1]""#, "a=run[1]");
    c(r#""{\"k\":""#, "!llm_bad_output BadOutput");
    c(r#""k=1""#, "!llm_bad_output BadOutput");
    check(&deltas(&[r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run"}}]}"#]), "a=run{}");
    check(&deltas(&[r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#]), "!llm_bad_output BadOutput");
    check(&deltas(&[r#"{"content":"hi","tool_calls":[{"index":0,"id":"a"}]}"#]), r#""hi""#);
}

/// Whoever asks mends it: what is wrong with the reply of a whole server comes as it is.
#[test]
fn faults_of_the_model_come_as_they_are_where_they_are_mended() {
    let read = |body: &str| {
        let mut reader = Reader::new("m", "host", 100_000).mending(true);
        let pushed = reader.push(body.as_bytes(), &mut |_| {});
        pushed.and_then(|_| reader.finish(OFFERED, &mut |_| {}))
    };
    let calls_of = |parts: &[&str]| -> Vec<(String, String)> {
        let reply = read(&deltas(parts)).unwrap();
        reply.calls.iter().map(|call| (call.name.clone(), call.arguments.as_str().to_owned())).collect()
    };
    let part = |index: usize, name: &str, arguments: &str| {
        let function = serde_json::json!({"name": name, "arguments": arguments});
        serde_json::json!({"tool_calls": [{"index": index, "function": function}]}).to_string()
    };
    let pair = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
    // A call that cannot be read leaves its neighbours alone.
    let mixed = [part(0, "run", "{\"k\":1}"), part(1, "run", "{\"k\":"), part(2, "", "{\"k\":3}")];
    assert_eq!(
        calls_of(&mixed.each_ref().map(String::as_str)),
        [pair("run", "{\"k\":1}"), pair("run", "\"{\\\"k\\\":\""), pair("unnamed", "{\"k\":3}")]
    );
    let many: Vec<String> = (0..300).map(|n| part(n, "run", "{}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(calls_of(&many[..40]).len(), 40);
    let fault = read(&deltas(&many)).unwrap_err();
    assert_eq!((fault.kind, fault.retries()), (Kind::TooLarge, false), "an end even so");
    let empty = read(&deltas(&[r#"{"content":" "}"#])).unwrap();
    assert!(empty.text.trim().is_empty() && empty.calls.is_empty());
    // What the server did is its fault all the same.
    for (body, kind) in [
        (events(&[r#"{"choices":[{"delta":{"content":"hi"}}]}"#]), Kind::Cut),
        (deltas(&[r#"{"refusal":"no"}"#]), Kind::Refused),
        (
            events(&[
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"run","arguments":"{\"k"}}]},"finish_reason":"length"}]}"#,
                "[DONE]",
            ]),
            Kind::OutOfTokens,
        ),
    ] {
        assert_eq!(read(&body).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn the_end_is_judged_by_content() {
    let call =
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{}"}}]}}]}"#;
    let cut_call =
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"k"}}]}}]}"#;
    let text = r#"{"choices":[{"delta":{"content":"hi"}}]}"#;
    let none = r#"{"choices":[{"delta":{}}]}"#;
    let end = |reason: &str| format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":{reason}}}]}}"#);
    let c = |chunks: &[&str], want: &str| check(&events(chunks), want);
    c(&[call, &end("\"stop\""), "[DONE]"], "a=run{}");
    c(&[call, &end("\"tool_calls\"")], "a=run{}");
    c(&[call, &end("\"function_call\""), "[DONE]"], "a=run{}");
    c(&[call, &end("null"), "[DONE]"], "a=run{}");
    c(&[call, &end("\"\""), "[DONE]"], "a=run{}");
    c(&[text, &end("\"tool_calls\""), "[DONE]"], r#""hi""#);
    c(&[text, &end("\"stop\""), &end("\"stop\""), "[DONE]"], r#""hi""#);
    c(&[text, &end("\"eos_token\""), "[DONE]"], r#""hi""#);
    c(&[text, "[DONE]"], r#""hi""#);
    c(&[text, &end("\"stop\"")], r#""hi""#);
    c(&[text, "[DONE]", "{broken"], r#""hi""#);
    // Cut, by the connection or by the limit: never a success.
    c(&[text], "!llm_truncated Cut");
    c(&[call], "!llm_truncated Cut");
    c(&[text, &end("null")], "!llm_truncated Cut");
    c(&[none], "!llm_truncated Cut");
    c(&[text, &end("\"length\""), "[DONE]"], "!llm_truncated OutOfTokens");
    c(&[cut_call, &end("\"length\""), "[DONE]"], "!llm_truncated OutOfTokens");
    c(&[call, &end("\"length\""), "[DONE]"], "!llm_truncated OutOfTokens");
    c(&[text, &end("\"MAX_TOKENS\""), "[DONE]"], "!llm_truncated OutOfTokens");
    // Nothing, refused, filtered, failed.
    c(&[&end("\"stop\""), "[DONE]"], "!llm_bad_output BadOutput");
    c(&["[DONE]"], "!llm_bad_output BadOutput");
    c(&[r#"{"choices":[{"delta":{"content":" \n"}}]}"#, &end("\"stop\"")], "!llm_bad_output BadOutput");
    c(&[r#"{"choices":[{"delta":{"refusal":"I will not"}}]}"#, &end("\"stop\""), "[DONE]"], "!llm_refused Refused");
    c(&[text, &end("\"content_filter\""), "[DONE]"], "!llm_refused Refused");
    c(&[text, &end("\"error\""), "[DONE]"], "!llm_unavailable Unavailable");
}

#[test]
fn text_comes_through_and_thoughts_do_not() {
    let c = |deltas_of: &[&str], want: &str| check(&deltas(deltas_of), want);
    c(&[r#"{"role":"assistant","content":""}"#, r#"{"content":"a"}"#, r#"{"content":"b"}"#], r#""ab""#);
    c(&[r#"{"content":null}"#, r#"{"content":"a\u2028b"}"#], r#""a\u{2028}b""#);
    c(&[r#"{"content":"é漢🙂"}"#], r#""é漢🙂""#);
    c(&[r#"{"content":[{"type":"thinking","thinking":[]},{"type":"text","text":"a"}]}"#], r#""a""#);
    c(&[r#"{"reasoning_content":"hm"}"#, r#"{"reasoning":"hm"}"#, r#"{"content":"a"}"#], r#""a""#);
    c(&[r#"{"reasoning_content":"only thoughts"}"#], "!llm_bad_output BadOutput");
    c(&[r#"{"content":"<thi"}"#, r#"{"content":"nk>hm</think>a"}"#], r#""a""#);
    c(&[r#"{"content":"<think>never ends"}"#], "!llm_bad_output BadOutput");
    c(&[r#"{"content":"{\"name\":\"run\",\"arguments\":{\"k\":1}}"}"#], r#"ours=run{"k":1}"#);
    c(&[r#"{"content":"<think>x</think><tool_call>{\"name\":\"run\",\"arguments\":{}}</tool_call>"}"#], "ours=run{}");
    c(&[r#"{"content":"{\"name\":\"other\",\"arguments\":{}}"}"#], r#""{\"name\":\"other\",\"arguments\":{}}""#);
}

#[test]
fn chunks_are_read_whatever_stands_around() {
    let good = r#"{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    let c = |body: &str, want: &str| check(body, want);
    let sse = |chunks: &[&str]| events(chunks);
    c(&sse(&[r#"{"choices":[],"prompt_filter_results":[{}]}"#, good, usage, "[DONE]"]), r#""hi" 10+2/4"#);
    c(&sse(&[r#"{"choices":null}"#, r#"{"choices":[{}]}"#, r#"{"choices":[{"delta":null}]}"#, good]), r#""hi""#);
    c(
        &sse(&[
            r#"{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"yes"},"finish_reason":"stop"}]}"#,
        ]),
        r#""yes""#,
    );
    c(
        &sse(&[
            r#"{"choices":[{"delta":{"content":"hi","extra":{"deep":[1]}},"logprobs":null,"finish_reason":"stop"}],"new":1}"#,
        ]),
        r#""hi""#,
    );
    c(&sse(&[r#"{"choices":[{"index":0,"text":"hi","finish_reason":"stop"}]}"#]), r#""hi""#);
    c(&sse(&[r#"{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#]), r#""hi""#);
    c(&format!(": ping\n\nevent: ping\ndata: {{}}\n\n{}", sse(&[good])), r#""hi""#);
    c(&format!("event: status\ndata: loading model\n\n{}", sse(&[good])), r#""hi""#);
    c(&format!("data: \n\n{}", sse(&[good])), r#""hi""#);
    c(&format!("data: {good}\ndata: [DONE]\n\n"), r#""hi""#);
    c(&format!("data: {good}\ndata: {usage}\n\n"), r#""hi" 10+2/4"#);
    c(&format!("data:{good}\r\n\r\ndata:[DONE]\r\n\r\n"), r#""hi""#);
    c(&format!("\n\n  \ndata: {good}"), r#""hi""#);
    c(&sse(&["{broken", good]), "!llm_bad_output BadOutput");
    c(&sse(&["hello", good]), "!llm_bad_output BadOutput");
    // Counts in any shape, the last ones win.
    let with = |usage: &str| sse(&[good, &format!(r#"{{"usage":{usage}}}"#)]);
    c(&with(r#"{"prompt_tokens":"7","completion_tokens":3.0,"total_tokens":10}"#), r#""hi" 7+3/0"#);
    c(&with(r#"{"total_tokens":10}"#), r#""hi" 10+0/0"#);
    c(&with(r#"{"prompt_tokens":7,"total_tokens":10}"#), r#""hi" 7+3/0"#);
    c(&with(r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_cache_hit_tokens":5}"#), r#""hi" 7+3/5"#);
    c(&with(r#"{"input_tokens":7,"output_tokens":3,"cached_tokens":99}"#), r#""hi" 7+3/7"#);
    c(&with("{}"), r#""hi""#);
    c(&with("null"), r#""hi""#);
    c(&sse(&[r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#, good, usage]), r#""hi" 10+2/4"#);
}

#[test]
fn bodies_that_are_no_stream_are_told_apart() {
    let whole = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let calls = r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"run","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"run","arguments":{"k":1}}}]}}]}"#;
    check(whole, r#""hi" 1+2/0"#);
    check(&format!("\n {whole} \n"), r#""hi" 1+2/0"#);
    check(calls, r#"a=run{} b=run{"k":1}"#);
    check(&whole[..whole.len() - 9], "!llm_truncated Cut");
    check(r#"{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}"#, "!llm_bad_output BadOutput");
    check(r#"{"choices":[{"message":{"content":"h"},"finish_reason":"length"}]}"#, "!llm_truncated OutOfTokens");
    check(
        r#"{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}]}"#,
        "!llm_refused Refused",
    );
    check(r#"{"choices":[]}"#, "!llm_truncated Cut");
    check("{\"hello\":\"world\"}", "!llm_bad_output BadOutput");
    check("{broken}", "!llm_bad_output BadOutput");
    check("[]", "!llm_bad_output BadOutput");
    let lines = "{\"choices\":[{\"delta\":{\"content\":\"h\"}}]}\n{\"choices\":[{\"delta\":{\"content\":\"i\"},\"finish_reason\":\"stop\"}]}\n";
    check(lines, r#""hi""#);
    check(&lines[..lines.find('\n').unwrap()], "!llm_truncated Cut");
    check("", "!llm_unavailable Unavailable");
    check(" \n\n ", "!llm_unavailable Unavailable");
    check("<html><body>502 Bad Gateway</body></html>", "!llm_unavailable Unavailable");
    check("<!DOCTYPE html>", "!llm_unavailable Unavailable");
    check("upstream connect error", "!llm_truncated Cut");
}

#[test]
fn errors_inside_a_good_answer_are_errors() {
    let text = r#"{"choices":[{"delta":{"content":"hi"}}]}"#;
    let c = |error: &str, want: &str| check(&events(&[text, error]), want);
    c(r#"{"error":{"message":"overloaded","type":"server_error","code":null}}"#, "!llm_unavailable Unavailable");
    c(r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#, "!llm_rate_limited RateLimited");
    c(r#"{"error":{"message":"slow down","code":429}}"#, "!llm_rate_limited RateLimited");
    c(r#"{"error":{"message":"down","code":502}}"#, "!llm_unavailable Unavailable");
    c(r#"{"error":{"message":"quota","code":"insufficient_quota"}}"#, "!llm_quota Quota");
    c(r#"{"error":"something broke"}"#, "!llm_unavailable Unavailable");
    c(r#"{"object":"error","message":"maximum context length is 4096","code":400}"#, "!limit_exceeded ContextTooLong");
    c(r#"{"detail":"model not found"}"#, "!llm_unavailable Misconfigured");
    check("event: error\ndata: {\"message\":\"broke\"}\n\n", "!llm_unavailable Unavailable");
    check("event: error\ndata: broke\n\n", "!llm_unavailable Unavailable");
    check(r#"{"error":{"message":"no such key","code":"invalid_api_key"}}"#, "!llm_auth Auth");
    check(
        r#"[{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}]"#,
        "!llm_rate_limited RateLimited",
    );
    check(&events(&[r#"{"error":null,"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}"#]), r#""hi""#);
}

#[test]
fn a_recorded_stream_cut_at_every_byte_is_never_taken_for_whole() {
    let body = include_str!("recorded.sse");
    let want = r#""Sorting. " call_1=run{"pipeline":[{"step":"top_k","k":3,"by":"é"}]} 812+31/768"#;
    assert_eq!(read(&[body.as_bytes()]).0, want);
    let finish = body.find(r#""finish_reason":"tool_calls""#).unwrap();
    let finish = finish + body[finish..].find('\n').unwrap();
    let usage = body.find(r#""usage":{"#).unwrap();
    for cut in 0..=body.len() {
        let (head, tail) = body.as_bytes().split_at(cut);
        assert_eq!(read(&[head, tail]).0, want, "cut in two at {cut}");
        let got = read(&[head]).0;
        let ended = match cut {
            0 => "!llm_unavailable Unavailable",
            cut if cut < finish => "!llm_truncated Cut",
            cut if cut < usage + body[usage..].find('\n').unwrap() => want.rsplit_once(' ').unwrap().0,
            _ => want,
        };
        assert_eq!(got, ended, "ended at {cut}");
    }
}

#[test]
fn an_endless_answer_is_stopped() {
    let mut reader = Reader::new("m", "host", 1000);
    let line = events(&[r#"{"choices":[{"delta":{"content":"hihihihihihi"}}]}"#]);
    let fault = (0..100).find_map(|_| reader.push(line.as_bytes(), &mut |_| {}).err()).unwrap();
    assert_eq!(fault.kind, crate::llm::fault::Kind::TooLarge);
    assert!(!fault.retries());
}

#[test]
fn an_answer_is_read_without_a_server() {
    let whole = br#"data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":"stop"}]}

data: [DONE]

"#;
    for at in 0..whole.len() {
        let mut shown = String::new();
        let (first, second) = whole.split_at(at);
        let (text, calls) = decode(&[first, second], OFFERED, 1000, &mut |text| shown.push_str(text)).unwrap();
        assert_eq!((text.as_str(), calls.len(), shown.as_str()), ("hello", 0, "hello"), "{at}");
    }
    let error = decode(&[whole], OFFERED, 10, &mut |_| {}).unwrap_err();
    assert!(error.message.contains("llm.max_response_bytes") && !error.retryable, "{error}");
}
