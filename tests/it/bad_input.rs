//! Whatever arrives on the list gets its answer and leaves its neighbours alone.

use serde_json::{Value, json};

use crate::support::stage::Stage;

#[tokio::test]
async fn a_bad_job_with_an_id_gets_its_error_and_its_neighbour_its_result() {
    let stage = Stage::set().await;
    let _service = stage.serve();
    let long = "x".repeat(1 << 20);
    let rows = [
        ("v2", json!({"version": "2.0", "prompt": "x"}), "unsupported_version"),
        ("nothing", json!({"version": "1.0"}), "invalid_job"),
        ("timeout", json!({"prompt": "x", "timeout_sec": "soon"}), "invalid_job"),
        ("lane", json!({"prompt": "x", "lane": "fast"}), "invalid_job"),
        ("long", json!({"prompt": long}), "invalid_job"),
        ("vague", json!({"prompt": "process the data", "data": [{"a": 1}]}), "intent_unclear"),
        ("column", json!({"prompt": "sort by colour", "data": [{"price": 1}]}), "planner_cannot"),
        ("step", json!({"pipeline": [{"step": "table_srot", "field": "a"}], "data": [{"a": 1}]}), "invalid_pipeline"),
        ("nodata", json!({"pipeline": [{"step": "table_sort", "field": "a"}]}), "invalid_pipeline"),
        ("numbers", json!({"pipeline": [{"step": "table_sort", "field": "a"}], "data": [1, 2]}), "pipeline_failed"),
        ("gone", json!({"pipeline": [{"step": "top_k", "k": 1}], "input_ref": "artifact://gone"}), "invalid_pipeline"),
        ("loop", json!({"pipeline": [{"step": "http_request", "url": "http://127.0.0.1:1/"}]}), "http_blocked"),
        ("flow", json!({"patch_spec": {"operations": []}, "current_workflow": 7}), "invalid_job"),
        (
            "ops",
            json!({"patch_spec": {"operations": 7}, "current_workflow": {"nodes": [], "edges": []}}),
            "invalid_patch",
        ),
    ];
    for (id, job, _) in &rows {
        let mut job = job.clone();
        job["job_id"] = json!(id);
        stage.push(&job).await;
    }
    let good =
        stage.run(json!({"job_id": "good", "prompt": "sort by price", "data": [{"price": 2}, {"price": 1}]})).await;
    assert_eq!(good["result"]["data"], json!([{"price": 1}, {"price": 2}]), "{good}");
    for (id, _, code) in rows {
        let result = stage.result(id).await;
        assert_eq!(result["status"], "failed", "{id}");
        assert_eq!(result["error"]["type"], code, "{id}: {result}");
        assert_eq!(result["error"]["retryable"], false, "{id}");
        assert!(result["error"]["message"].as_str().unwrap().len() > 10, "{id}");
        assert!(result.get("result").is_none(), "{id}");
    }
    assert!(stage.dead(0).await.is_empty(), "an error that is not retryable makes no dead letter");
}

/// A value nested `levels` deep.
fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// What is out of bounds, members of the job that is, and the error.
type Row = (&'static str, String, &'static str);

/// Members beyond the bounds of the envelope.
fn envelopes() -> Vec<Row> {
    let (digits, long, many) = ("9".repeat(1_000_000), "x".repeat(2000), "{},".repeat(10_001));
    let members: String = (0..10_001).map(|n| format!("\"k{n}\":0,")).collect();
    vec![
        ("job bytes", format!(r#""prompt":"x","data":"{}""#, "x".repeat(5 << 20)), "invalid_job"),
        ("job members", format!(r#"{members}"prompt":"x""#), "invalid_job"),
        ("members behind", format!(r#""prompt":"x",{members}"run_id":"r""#), "invalid_job"),
        ("context members", format!(r#""prompt":"x","context":{{{members}"a":1}}"#), "invalid_job"),
        ("earlier results", format!(r#""prompt":"x","context":{{"previous_results":[{many}{{}}]}}"#), "invalid_job"),
        ("names", format!(r#""prompt":"x","workflow_tag":"{long}""#), "invalid_job"),
        ("handoff names", format!(r#""prompt":"x","handoff":{{"mode":"{long}"}}"#), "invalid_job"),
        ("agent name", format!(r#""prompt":"x","handoff":{{"agent":"{long}"}}"#), "invalid_job"),
        (
            "words of tiers",
            format!(r#""prompt":"x","handoff":{{"mode":"tiers","context":"{}"}}"#, long.repeat(100)),
            "invalid_job",
        ),
        ("exponent of time", r#""prompt":"x","timeout_sec":1e999999999"#.into(), "invalid_job"),
        ("digits of time", format!(r#""prompt":"x","timeout_sec":{digits}"#), "invalid_job"),
        ("exponent of dollars", r#""prompt":"x","budget":{"max_cost_usd":-1e999999999}"#.into(), "invalid_job"),
        ("digits of retries", format!(r#""prompt":"x","retry_count":{digits}"#), "invalid_job"),
        ("digits of a delay", format!(r#""prompt":"x","delay_ms":{digits}"#), "invalid_job"),
        ("version", format!(r#""prompt":"x","version":"{digits}""#), "unsupported_version"),
    ]
}

/// Plans and patches beyond theirs.
fn plans() -> Vec<Row> {
    let digits = "9".repeat(1_000_000);
    let literal = |number: &str| {
        format!(
            r#""pipeline":[{{"step":"literal","rows":[{{"a":{number}}}]}},{{"step":"aggregate","aggregates":[{{"op":"sum","field":"a"}}]}}]"#
        )
    };
    let header = |value: &str| {
        format!(r#""pipeline":[{{"step":"http_request","url":"http://a.example/","headers":{{"x":"{value}"}}}}]"#)
    };
    let steps = vec![r#"{"step":"count"}"#; 60_000].join(",");
    let operations = vec![r#"{"op":"remove","path":"/nodes/0"}"#; 20_000].join(",");
    let flow = r#""current_workflow":{"nodes":[],"edges":[]}"#;
    vec![
        ("depth of context", format!(r#""prompt":"x","context":{}"#, deep(500_000)), "invalid_job"),
        (
            "depth of a workflow",
            format!(
                r#""patch_spec":{{"operations":[{{"op":"remove","path":"/nodes/0"}}]}},"current_workflow":{}"#,
                deep(500_000)
            ),
            "invalid_job",
        ),
        ("depth of a patch", format!(r#""patch_spec":{},{flow}"#, deep(500_000)), "invalid_patch"),
        (
            "depth of a value",
            format!(
                r#""patch_spec":{{"operations":[{{"op":"add","path":"/nodes/-","value":{}}}]}},{flow}"#,
                deep(500_000)
            ),
            "invalid_patch",
        ),
        (
            "depth of a plan",
            format!(r#""pipeline":[{{"step":"table_filter","condition":{}}}],"data":[{{"a":1}}]"#, deep(500_000)),
            "invalid_pipeline",
        ),
        (
            "conditions in conditions",
            format!(
                r#""pipeline":[{{"step":"table_filter","condition":{}{{"field":"a","op":"==","value":1}}{}}}],"data":[{{"a":1}}]"#,
                r#"{"not":"#.repeat(50_000),
                "}".repeat(50_000)
            ),
            "invalid_pipeline",
        ),
        ("steps", format!(r#""pipeline":[{steps}],"data":[{{"a":1}}]"#), "limit_exceeded"),
        ("operations", format!(r#""patch_spec":{{"operations":[{operations}]}},{flow}"#), "invalid_patch"),
        ("bytes of headers", header(&"x".repeat(70_000)), "http_blocked"),
        (
            "an address",
            format!(r#""pipeline":[{{"step":"http_request","url":"http://a.example/{}"}}]"#, "x".repeat(9000)),
            "http_blocked",
        ),
        ("digits of a sum", literal(&digits), "pipeline_failed"),
        ("exponent of a sum", literal("1e999999999"), "pipeline_failed"),
    ]
}

#[tokio::test]
async fn every_bound_has_its_answer_and_none_takes_the_worker_along() {
    let stage = Stage::set().await.with("AGENT_RUNNER__WORKER__MAX_JOB_BYTES", "4194304");
    let _service = stage.serve();
    let rows = [envelopes(), plans()].concat();
    for (n, (_, members, _)) in rows.iter().enumerate() {
        stage.redis.push(format!(r#"{{"job_id":"b{n}",{members}}}"#).as_bytes()).await;
    }
    for (n, (what, _, code)) in rows.iter().enumerate() {
        let text = stage.result_text(&format!("b{n}")).await;
        let result: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(result["error"]["type"], *code, "{what}: {}", &text[..text.len().min(2000)]);
        assert!(text.len() < 16 << 10, "{what}: an answer does not repeat the job: {} bytes", text.len());
    }
    // What is within them: a row keeps its million digits, and a value in data may be as deep as it likes.
    let digits = "9".repeat(1_000_000);
    let rows = format!(
        r#"{{"job_id":"good","pipeline":[{{"step":"count"}}],"data":[{{"a":{digits}}},{{"a":{}}}]}}"#,
        deep(100)
    );
    stage.redis.push(rows.as_bytes()).await;
    assert_eq!(stage.result("good").await["result"]["data"], json!([{"count": 2}]));
    assert!(stage.dead(0).await.is_empty());
}

#[tokio::test]
async fn what_has_no_usable_id_goes_to_the_dead_letters_with_the_reason() {
    let stage = Stage::set().await;
    let _service = stage.serve();
    let messages: [(&[u8], &str); 6] = [
        (b"not json", "not a JSON object"),
        (b"", "not a JSON object"),
        (b"{\"prompt\":\"x\"}", "no job_id"),
        (b"{\"job_id\":7,\"prompt\":\"x\"}", "must be text"),
        (b"{\"job_id\":\"a b\",\"prompt\":\"x\"}", "space"),
        (b"{\"job_id\":\"u\",\"prompt\":\"\xff\xfe\"}", "UTF-8"),
    ];
    for (message, _) in messages {
        stage.redis.push(message).await;
    }
    let good = stage.run(json!({"job_id": "good", "prompt": "count rows", "data": [{"a": 2}]})).await;
    assert_eq!(good["status"], "completed");
    let letters = stage.dead(messages.len()).await;
    for (message, reason) in messages {
        let letter =
            letters.iter().find(|letter| raw(letter) == message).unwrap_or_else(|| panic!("{message:?} is lost"));
        assert!(letter["error"]["message"].as_str().unwrap().contains(reason), "{letter}");
        assert_eq!(letter["error"]["type"], "invalid_job");
        assert!(letter["failed_at"].is_string());
    }
}

fn raw(letter: &Value) -> Vec<u8> {
    use base64::Engine as _;
    match (&letter["raw"], &letter["raw_base64"]) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (_, Value::String(text)) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        _ => panic!("neither raw nor raw_base64: {letter}"),
    }
}
