//! The real program on both intakes.

use serde_json::{Value, json};

use crate::support::{redis::Redis, service::Service};

async fn next(redis: &Redis, list: &str) -> Value {
    let (_, text): (String, String) = redis.run(&["BLPOP", list, "60"]).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_jobs_end_with_their_results_and_signals() {
    let redis = Redis::start();
    let url = redis.url();
    let env = [("REDIS_URL", url.as_str()), ("AGENT_RUNNER__QUEUE__INTAKE", "list,stream")];
    let _service = Service::start(&[], &env);
    let token = r#"{"id":"t1","run_id":"r1","to_node":"agent","metadata":{"task":"top 1 by price"},
        "config":{"pipeline":[{"step":"top_k","k":1,"by":"price"}],"data":[{"price":1.10},{"price":2.50}]}}"#;
    redis.add_token(token.as_bytes()).await;
    let signal = next(&redis, "completion_signals").await;
    assert_eq!(
        (&signal["job_id"], &signal["run_id"], &signal["status"]),
        (&json!("t1"), &json!("r1"), &json!("completed"))
    );
    assert_eq!(signal["result_data"]["data"].to_string(), r#"[{"price":2.50}]"#);
    assert_eq!(signal["metadata"]["tool_calls"], json!(["execute_pipeline"]));
    assert_eq!(next(&redis, "agent:results:t1").await["status"], "completed");

    // A token whose job is wrong is answered too: its run must not wait for ever.
    let wrong = json!({"id": "t2", "run_id": "r1", "to_node": "agent"});
    redis.add_token(wrong.to_string().as_bytes()).await;
    let signal = next(&redis, "completion_signals").await;
    assert_eq!((&signal["job_id"], &signal["status"]), (&json!("t2"), &json!("failed")));
    assert_eq!((&signal["node_id"], &signal["metadata"]["error_type"]), (&json!("agent"), &json!("invalid_job")));

    redis.push(br#"{"job_id":"j1","prompt":"p","pipeline":[{"step":"literal","rows":[{"a":1}]}]}"#).await;
    assert_eq!(next(&redis, "agent:results:j1").await["status"], "completed");
    assert_eq!(redis.run::<i64>(&["LLEN", "completion_signals"]).await, 0, "a list job sends none");
}
