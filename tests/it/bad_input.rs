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
