//! Every secret setting holds a word that nobody else uses; after jobs of every kind, at the loudest logging, that
//! word must be nowhere.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    embeddings::{EmbeddingsServer, vectors},
    model::{ModelServer, Reply},
    orchestrator::StubOrchestrator,
    qdrant::{KEY, QdrantServer},
    redis::Redis,
    service::{PATIENCE, Service, command},
    site::{Site, reply},
};

/// In every secret of this test.
const CANARY: &str = "kanarienvogel";

const OPENAPI: &str = "openapi: 3.1.0\nservers: [{url: ../api}]\npaths:\n  /pets:\n    get: {operationId: listPets}\n";

/// Everything the service talks to, and its configuration.
struct Scene {
    redis: Redis,
    model: ModelServer,
    orchestrator: StubOrchestrator,
    site: Site,
    _embeddings: EmbeddingsServer,
    _qdrant: QdrantServer,
    folder: TempDir,
}

impl Scene {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let acl = folder.path().join("users");
        let users = format!("user default on nopass ~* &* +@all\nuser runner on >redis-{CANARY} ~* &* +@all\n");
        std::fs::write(&acl, users).unwrap();
        let redis = Redis::with(&["--aclfile", acl.to_str().unwrap()]);
        let site = Site::start(|visit| match visit.path() {
            "/docs/openapi.yaml" => reply(200, &[("content-type", "application/yaml")], OPENAPI),
            "/api/pets" => reply(200, &[("content-type", "application/json")], r#"[{"name":"Rex"}]"#),
            _ => reply(404, &[], "no such thing"),
        })
        .await;
        let call =
            json!({"openapi_url": site.url("/docs/openapi.yaml"), "operation_id": "listPets", "auth_profile": "pets"});
        let model = ModelServer::always(Reply::error(503, "overloaded", "come back later"));
        let script = [
            Reply::text("Said.").on("speak well"),
            Reply::error(401, "invalid_api_key", &format!("Incorrect API key provided: llm-{CANARY}"))
                .on("speak badly"),
            Reply::error(400, "bad", &format!("refused: Authorization: Bearer llm-{CANARY}")).on("speak worse"),
            Reply::call("openapi_action", &call).on("list the pets"),
            Reply::text("There is Rex.").on("list the pets"),
        ];
        script.into_iter().for_each(|reply| model.push(reply));
        let embeddings = EmbeddingsServer::start(vectors).await;
        let (qdrant, orchestrator) = (QdrantServer::start().await, StubOrchestrator::start().await);
        let agents = json!({"agents": [{"id": "keeper", "description": "lists pets", "tools": ["openapi_action"]}]});
        let agents_file = folder.path().join("agents.yaml");
        std::fs::write(&agents_file, agents.to_string()).unwrap();
        let redis_url = format!("redis://runner:redis-{CANARY}@127.0.0.1:{}", redis.port);
        let config = json!({
            "http": {"token": format!("http-{CANARY}"), "tokens": [
                {"token": format!("admin-{CANARY}"), "role": "admin"},
                {"token": format!("ann-{CANARY}"), "owner": "ann", "role": "submit"},
            ]},
            "redis": {"url": redis_url, "sentinel_password": format!("sentinel-{CANARY}")},
            "store": {"url": redis_url},
            "llm": {"base_url": model.base_url(), "api_key": format!("llm-{CANARY}"), "max_retries": 1},
            "embeddings": {"base_url": embeddings.base_url(), "api_key": format!("embeddings-{CANARY}")},
            "routing": {"threshold": -1, "qdrant": {"url": qdrant.url(), "api_key": KEY}},
            "orchestrator": {"api_url": orchestrator.url(), "headers": {"X-Internal": format!("orchestrator-{CANARY}")}},
            "egress": {"allow": [site.address().to_string()], "auth_profiles": {"pets": {
                "hosts": [format!("http://{}", site.address())], "bearer": format!("profile-{CANARY}")}}},
            "agents": {"file": agents_file},
            "retry": {"max_attempts": 2, "base_ms": 1},
            "breaker": {"failures": 1000},
        });
        std::fs::write(folder.path().join("config.yaml"), config.to_string()).unwrap();
        Self { redis, model, orchestrator, site, _embeddings: embeddings, _qdrant: qdrant, folder }
    }

    fn config(&self) -> String {
        self.folder.path().join("config.yaml").to_str().unwrap().to_owned()
    }

    /// Everything in Redis as text, by key.
    async fn kept(&self) -> BTreeMap<String, String> {
        let keys: Vec<String> = self.redis.run(&["KEYS", "*"]).await;
        let mut kept = BTreeMap::new();
        for key in keys {
            let kind: String = self.redis.run(&["TYPE", &key]).await;
            let words: &[&str] = match kind.as_str() {
                "string" => &["GET", &key],
                "list" => &["LRANGE", &key, "0", "-1"],
                "hash" => &["HGETALL", &key],
                "zset" => &["ZRANGE", &key, "0", "-1"],
                "stream" => &["XRANGE", &key, "-", "+"],
                "set" => &["SMEMBERS", &key],
                _ => continue,
            };
            let value: redis::Value = self.redis.run(words).await;
            kept.insert(key, texts(&value));
        }
        kept
    }
}

/// All texts in an answer of Redis.
fn texts(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Array(items) => items.iter().map(texts).collect::<Vec<_>>().join("\n"),
        other => format!("{other:?}"),
    }
}

fn clean(place: &str, text: &str) {
    for secret in [CANARY, KEY] {
        if let Some(at) = text.find(secret) {
            let around: String = text[text.floor_char_boundary(at.saturating_sub(200))..].chars().take(400).collect();
            panic!("a secret is in {place}: …{around}…");
        }
    }
}

async fn ask(service: &Service, token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
    let client = agent_runner::net::operator_client(PATIENCE).unwrap();
    let request = client.request(method.parse().unwrap(), service.url(path));
    let mut request = request.header("authorization", format!("Bearer {token}-{CANARY}"));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let headers = format!("{:?}", answer.headers());
    (status, headers + &answer.text().await.unwrap())
}

/// Jobs of every kind, those that fail among them; their ids, with how each ends.
fn jobs(site: &Site) -> Vec<(&'static str, &'static str, Value)> {
    let spec = json!({"operations": [{"op": "add", "path": "/nodes/-",
        "value": {"id": "b", "type": "function", "config": {}}},
        {"op": "add", "path": "/edges/-", "value": {"from": "a", "to": "b"}}], "description": "d"});
    let patch = |tag: &str| json!({"workflow_owner": "ann", "workflow_tag": tag, "patch_spec": spec});
    let agent = json!({"prompt": "list the pets", "handoff": {"mode": "route", "threshold": -1}});
    let fetch = |path: &str| json!({"pipeline": [{"step": "http_request", "url": site.url(path)}]});
    vec![
        ("rows", "completed", json!({"pipeline": [{"step": "literal", "rows": [{"a": 1}]}], "workflow_owner": "ann"})),
        ("fetched", "completed", fetch("/api/pets")),
        ("gone", "failed", fetch("/nothing")),
        ("blocked", "failed", json!({"pipeline": [{"step": "http_request", "url": "http://169.254.169.254/"}]})),
        ("said", "completed", json!({"prompt": "speak well", "lane": "execute"})),
        ("unauthorized", "failed", json!({"prompt": "speak badly", "lane": "execute"})),
        ("refused", "failed", json!({"prompt": "speak worse", "lane": "execute"})),
        ("patched", "completed", patch("main")),
        ("unpatched", "failed", patch("missing")),
        ("asked", "completed", agent),
        ("nothing", "failed", json!({"prompt": "speak of nothing", "lane": "execute"})),
        ("wrong", "failed", json!({"pipeline": [{"step": "no_such_step"}]})),
    ]
}

/// Every page, as everybody who may ask, and everything in Redis.
async fn look_around(scene: &Scene, service: &Service) {
    let ids = jobs(&scene.site).into_iter().map(|(id, ..)| id);
    let pages =
        ids.flat_map(|id| [format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/events"), format!("/ui/jobs/{id}")]);
    let fixed = [
        "/v1/jobs",
        "/v1/dead",
        "/v1/agents",
        "/v1/handoffs",
        "/openapi.json",
        "/",
        "/ui/jobs",
        "/ui/dead",
        "/ui/agents",
        "/ui/playground",
        "/ui/login",
        "/metrics",
        "/health",
        "/health/ready",
        "/v1/nothing",
    ];
    for path in pages.chain(fixed.map(str::to_owned)) {
        for token in ["http", "admin", "ann"] {
            clean(&path, &ask(service, token, "GET", &path, None).await.1);
        }
    }
    for (key, text) in scene.kept().await {
        clean(&key, &text);
        clean("the name of a key", &key);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_the_configuration_is_anywhere_afterwards() {
    let scene = Scene::set().await;
    scene.orchestrator.put_workflow("ann", "main", json!({"nodes": [{"id": "a", "type": "function"}], "edges": []}));
    let config = scene.config();
    let env = [("AGENT_RUNNER_CONFIG", config.as_str()), ("RUST_LOG", "agent_runner=trace")];
    let agents = scene.folder.path().join("agents.yaml");
    let pushed = command(&["agents", "push", "--agents", agents.to_str().unwrap()], "", &env);
    let told = format!("{}{}", String::from_utf8_lossy(&pushed.stdout), String::from_utf8_lossy(&pushed.stderr));
    assert!(pushed.status.success(), "{told}");
    clean("agents push", &told);
    let mut service = Service::start(&[], &env);
    for (id, status, mut job) in jobs(&scene.site) {
        job["job_id"] = id.into();
        let (_, text) = ask(&service, "http", "POST", "/v1/jobs?wait=120", Some(&job)).await;
        assert!(text.contains(&format!("\"status\":\"{status}\"")), "{id}: {text}");
        clean(id, &text);
    }
    scene.redis.push(b"no json").await;
    scene.redis.push(br#"{"job_id":"pushed","prompt":"speak of nothing","lane":"execute"}"#).await;
    let _: (String, String) = scene.redis.run(&["BLPOP", "agent:results:pushed", "60"]).await;
    let (status, _) = ask(&service, "wrong", "GET", "/v1/jobs", None).await;
    assert_eq!(status, 401);

    look_around(&scene, &service).await;
    let shown = command(&["config", "show", "--config", &config], "", &[]);
    assert!(shown.status.success());
    let shown = format!("{}{}", String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.contains("\"***\""));
    clean("config show", &shown);
    service.signal("TERM");
    service.wait();
    let said = service.said();
    assert!(said.contains("\"level\":\"TRACE\"") || said.contains("\"level\":\"DEBUG\""), "it logged nothing: {said}");
    clean("the log", &said);

    // That the secrets were used at all.
    let heard = scene.model.requests();
    assert!(heard.iter().any(|seen| seen.headers["authorization"].ends_with(CANARY)));
    assert!(
        scene.site.visits().iter().any(|visit| visit.header("authorization").is_some_and(|key| key.ends_with(CANARY)))
    );
    assert!(
        scene
            .orchestrator
            .requests()
            .iter()
            .any(|seen| seen.header("x-internal").is_some_and(|key| key.ends_with(CANARY)))
    );
}
