//! The Redis user of the operator's guide: enough for every lane, and nothing beyond.

use serde_json::{Value, json};

use crate::support::{
    model::{ModelServer, Reply},
    redis::Redis,
    service::{PATIENCE, Service},
};

/// The line of the guide that makes the user.
fn user() -> &'static str {
    let guide = include_str!("../../docs/queue.md");
    guide.lines().find(|line| line.starts_with("user agent-runner ")).unwrap()
}

#[test]
fn the_user_cannot_look_around_or_break_anything() {
    let rights: Vec<&str> = user().split(' ').collect();
    assert!(rights.contains(&"-@all") && rights.contains(&"resetchannels"));
    for word in [
        "keys",
        "scan",
        "config",
        "debug",
        "flushall",
        "flushdb",
        "shutdown",
        "acl",
        "module",
        "script",
        "function",
        "monitor",
        "client",
        "save",
        "bgsave",
        "replicaof",
        "slaveof",
        "migrate",
        "dump",
        "sort",
        "randomkey",
        "swapdb",
    ] {
        let given = |right: &str| right == format!("+{word}") || right.starts_with(&format!("+{word}|"));
        assert!(!rights.iter().any(|right| given(right)), "{word}");
    }
    assert!(rights.iter().all(|right| !right.starts_with("+@") && *right != "~*" && *right != "allkeys"), "{rights:?}");
}

async fn call(service: &Service, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
    let client = agent_runner::net::operator_client(PATIENCE).unwrap();
    let mut request = client.request(method.parse().unwrap(), service.url(path));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Jobs of every lane, with what people do to them.
async fn every_lane(service: &Service, redis: &Redis) {
    let waited = |job: Value| async move {
        let (status, text) = call(service, "POST", "/v1/jobs?wait=60", Some(job)).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let rows = json!([{"price": 3}, {"price": 1}]);
    let done = waited(
        json!({"job_id": "x", "prompt": "tell me about it", "lane": "execute", "data": rows, "workflow_owner": "ann",
        "context": {"session_id": "s"}}),
    )
    .await;
    assert_eq!((&done["status"], &done["lane"]), (&json!("completed"), &json!("answer")), "{done}");
    let large: Vec<Value> = (0..40_000).map(|n| json!({"n": n, "t": "padding"})).collect();
    let big =
        waited(json!({"job_id": "big", "workflow_owner": "ann", "pipeline": [{"step": "literal", "rows": large}]}))
            .await;
    assert_eq!(big["status"], "completed", "{}", big["error"]);
    let (status, _) = call(
        service,
        "GET",
        &format!("/v1/artifacts/{}", big["result_ref"].as_str().unwrap().replace("artifact://", "")),
        None,
    )
    .await;
    assert_eq!(status, 200);
    let workflow = json!({"nodes": [{"id": "a", "type": "http", "config": {}}], "edges": []});
    let spec = json!({"operations": [{"op": "add", "path": "/nodes/-",
        "value": {"id": "b", "type": "http", "config": {"url": "http://h"}}}], "description": "d"});
    let patch =
        waited(json!({"job_id": "p", "prompt": "p", "patch_spec": spec, "current_workflow": workflow, "dry_run": true,
        "workflow_owner": "ann", "workflow_tag": "main"}))
        .await;
    assert_eq!(patch["lane"], "patch", "{patch}");
    let handoff = waited(
        json!({"job_id": "h", "prompt": "review my pull request", "handoff": {"mode": "route", "threshold": -1}}),
    )
    .await;
    assert_eq!((&handoff["lane"], &handoff["status"]), (&json!("handoff"), &json!("completed")), "{handoff}");
    let failed = waited(json!({"job_id": "f", "pipeline": [{"step": "no_such_step"}]})).await;
    assert_eq!(failed["status"], "failed");
    let (status, _) =
        call(service, "POST", "/v1/jobs", Some(json!({"job_id": "later", "prompt": "x", "delay_ms": 3_600_000}))).await;
    assert_eq!(status, 202);
    let token = json!({"id": "t", "run_id": "r", "to_node": "n", "metadata": {"task": "top 1 by price"},
        "config": {"pipeline": [{"step": "literal", "rows": [{"a": 1}]}]}});
    redis.add_token(token.to_string().as_bytes()).await;
    let _: (String, String) = redis.run(&["BLPOP", "completion_signals", "60"]).await;
    redis.push(b"no json").await;
    while redis.run::<i64>(&["LLEN", "{agent:jobs}:dead"]).await == 0 {
        tokio::task::yield_now().await;
    }
}

/// What people look at and do.
async fn people(service: &Service) {
    for (method, path) in [
        ("POST", "/v1/jobs/f/retry"),
        ("DELETE", "/v1/jobs/later"),
        ("POST", "/v1/jobs/later/approve"),
        ("POST", "/v1/queue/pause"),
        ("POST", "/v1/queue/resume"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/dead"),
        ("GET", "/v1/handoffs"),
        ("GET", "/v1/jobs/x/events"),
        ("GET", "/"),
        ("GET", "/ui/jobs/x"),
        ("GET", "/metrics"),
        ("GET", "/health"),
    ] {
        let (status, text) = call(service, method, path, None).await;
        assert!(status < 500, "{method} {path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lane_works_as_the_user_of_the_guide() {
    let mut acl = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut acl, format!("user default on nopass ~* &* +@all\n{}\n", user()).as_bytes())
        .unwrap();
    let redis = Redis::with(&["--aclfile", acl.path().to_str().unwrap()]);
    let model = ModelServer::always(Reply::text("Looks good."));
    let url = format!("redis://agent-runner:change-me@127.0.0.1:{}", redis.port);
    let agents = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/agents.yaml");
    let base = model.base_url();
    let service = Service::start(
        &[],
        &[
            ("REDIS_URL", &url),
            ("OPENAI_BASE_URL", &base),
            ("AGENT_RUNNER__QUEUE__INTAKE", "list,stream"),
            ("AGENT_RUNNER__AGENTS__FILE", agents),
            ("AGENT_RUNNER__EMBEDDINGS__PROVIDER", "lexical"),
            ("AGENT_RUNNER__SECURITY__QUOTAS", r#"{"default":{"jobs_per_minute":1000}}"#),
            ("AGENT_RUNNER__LLM__REQUESTS_PER_MINUTE", "1000"),
            ("AGENT_RUNNER__LLM__OWNER_DAILY_TOKENS", "1000000"),
            ("AGENT_RUNNER__LLM__CACHE", "true"),
        ],
    );
    every_lane(&service, &redis).await;
    people(&service).await;
    service.signal("TERM");
    let mut service = service;
    assert!(service.wait().success());
    let refused: Vec<redis::Value> = redis.run(&["ACL", "LOG"]).await;
    assert!(refused.is_empty(), "docs/queue.md lacks a right: {refused:?}");
    assert!(!service.said().contains("NOPERM"), "{}", service.said());
}
