//! Agents that live in a collection: put there by the program, found by meaning, and at work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    agents::{Decision, Registry, RouteOptions, RouteRequest, Router},
    embed::{self, Collection},
    job::{ErrorCode, JobError, Meter},
    llm::CallContext,
    settings::{EmbeddingsProvider, Settings},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    embeddings::{EmbeddingsServer, vector, vectors},
    qdrant::{KEY, QdrantServer},
    service::command,
};

/// Meaning here is letters: see the embeddings server of the tests.
const FILE: &str = "agents:\n\
    - {id: abc, description: aabbcc, tags: [letters], instructions: Speak of abc., model: special}\n\
    - {id: pqr, description: ppqqrr, tags: [letters, late], threshold: 0.9}\n\
    - {id: xyz, description: xxyyzz, tags: [late], examples: [zyx, xyzzy]}\n";

struct Scene {
    qdrant: QdrantServer,
    embeddings: EmbeddingsServer,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Self {
        let (qdrant, embeddings) = (QdrantServer::start().await, EmbeddingsServer::start(vectors).await);
        let scene = Self { qdrant, embeddings, folder: tempfile::tempdir().unwrap() };
        scene.push(FILE, &[]);
        scene
    }

    fn env(&self) -> Vec<(String, String)> {
        let rows = [
            ("EMBEDDINGS__PROVIDER", "openai".to_owned()),
            ("EMBEDDINGS__BASE_URL", self.embeddings.base_url()),
            ("ROUTING__QDRANT__URL", self.qdrant.url()),
            ("ROUTING__QDRANT__API_KEY", KEY.to_owned()),
        ];
        rows.into_iter().map(|(key, value)| (format!("AGENT_RUNNER__{key}"), value)).collect()
    }

    /// Runs the program to its end: exit code, output, complaints.
    fn program(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let env = self.env();
        let env: Vec<(&str, &str)> = env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let output = command(args, "", &env);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn push(&self, agents: &str, further: &[&str]) {
        let path = self.file("pushed.yaml", agents);
        let (code, _, stderr) = self.program(&[&["agents", "push", "--agents", &path], further].concat());
        assert_eq!(code, Some(0), "{stderr}");
    }

    fn router(&self) -> Router {
        let mut settings = Settings::default();
        settings.embeddings.provider = EmbeddingsProvider::Openai;
        settings.embeddings.base_url = Some(self.embeddings.base_url());
        settings.routing.qdrant.url = Some(self.qdrant.url());
        settings.routing.qdrant.api_key = Some(KEY.into());
        settings.routing.qdrant.limit = 10;
        let client = agent_runner::net::operator_client(Duration::from_secs(10)).unwrap();
        let collection = Collection::from_settings(&settings, &client).map(Arc::new);
        let embedder = embed::from_settings(&settings, &client, None).unwrap();
        Router::new(embedder, None, RouteOptions { show_top_n: 5, ..RouteOptions::default() })
            .with_collection(collection)
    }
}

async fn route(router: &Router, file: &str, prompt: &str) -> Result<Decision, JobError> {
    let registry = Arc::new(Registry::parse(file, &Vec::new()).unwrap());
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    router.route(&registry, prompt, &RouteRequest::default(), &context, None).await
}

fn ids(decision: &Decision) -> Vec<&str> {
    decision.record.candidates.iter().map(|c| &*c.agent_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_a_collection_are_found_beside_those_of_the_file() {
    let scene = Scene::set().await;
    let router = scene.router();
    let here = "agents:\n- {id: mno, description: mmnnoo, tags: [middle]}\n";
    // (agents file, prompt, candidates, winner)
    let rows: [(&str, &str, &[&str], Option<&str>); 7] = [
        (here, "a b c a", &["mno", "abc", "pqr", "xyz"], Some("abc")),
        (here, "mnomno", &["mno", "abc", "pqr", "xyz"], Some("mno")),
        // The file may be empty.
        ("agents: []", "zzyx", &["xyz", "abc", "pqr"], Some("xyz")),
        // Tags narrow, here and there.
        (here, "late xyz", &["xyz", "pqr"], Some("xyz")),
        (here, "middle mno", &["mno"], Some("mno")),
        // Its own threshold counts, as in a file.
        (here, "pqt pqu", &["mno", "pqr", "abc", "xyz"], None),
        // An agent of the file comes before one of the collection with its id.
        ("agents:\n- {id: abc, description: kkk}\n", "kkk", &["abc", "pqr", "xyz"], Some("abc")),
    ];
    for (file, prompt, candidates, winner) in rows {
        let decision = route(&router, file, prompt).await.unwrap();
        let mut found = ids(&decision);
        let mut wanted = candidates.to_vec();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!((found, decision.winner()), (wanted, winner), "{prompt}");
        assert_eq!(decision.record.replay(), decision.record.choice);
        assert!(!decision.cached);
        // What goes on record is enough to go on with the same agent.
        let there = winner.is_some_and(|id| !file.contains(id));
        assert_eq!(
            decision.entry.as_ref().map(|entry| &entry["id"]),
            there.then(|| json!(winner)).as_ref(),
            "{prompt}"
        );
    }
    let entry = route(&router, here, "abcabc").await.unwrap().entry.unwrap();
    assert_eq!((&entry["instructions"], entry.get("_embedder")), (&json!("Speak of abc."), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_replaces_and_prunes() {
    let scene = Scene::set().await;
    let pushed = scene.qdrant.payloads("agents");
    assert_eq!(pushed.len(), 3);
    assert!(pushed.iter().all(|payload| payload["_embedder"] == "openai/text-embedding-3-small"), "{pushed:?}");
    assert_eq!(scene.qdrant.requests()[..2], ["GET /collections/agents", "PUT /collections/agents"]);
    scene.push("agents:\n- {id: abc, description: ddeeff}\n- {id: new, description: gghh}\n", &[]);
    assert_eq!(scene.qdrant.payloads("agents").len(), 4);
    assert_eq!(route(&scene.router(), "agents: []", "ddeeff").await.unwrap().winner(), Some("abc"));
    scene.push("agents:\n- {id: new, description: gghh}\n", &["--prune"]);
    assert_eq!(scene.qdrant.payloads("agents").iter().map(|p| &p["id"]).collect::<Vec<_>>(), ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_serve_here_is_not_chosen() {
    let scene = Scene::set().await;
    let near: Vec<f64> = vector("kkk").into_iter().map(f64::from).collect();
    let (embedder, uuid) = ("openai/text-embedding-3-small", uuid::Uuid::from_u128);
    let rows = [
        json!({"id": "Bad Id", "_embedder": embedder}),
        json!({"id": "no-such-server", "tools": ["mcp:db"], "_embedder": embedder}),
        json!({"id": "other-embedder", "_embedder": "local/x"}),
        json!({"id": "unknown-key", "colour": "red", "_embedder": embedder}),
    ];
    for (i, payload) in (0..).zip(rows) {
        scene.qdrant.put("agents", &uuid(i).to_string(), &near, payload);
    }
    let router = scene.router();
    assert_eq!(route(&router, "agents: []", "kkk").await.unwrap().winner(), None);
    scene.qdrant.put("agents", &uuid(9).to_string(), &near, json!({"id": "good", "_embedder": embedder}));
    scene.qdrant.put(
        "agents",
        &uuid(8).to_string(),
        &near,
        json!({"id": "good-too", "handoffs": ["nobody"], "_embedder": embedder}),
    );
    let winner = route(&router, "agents: []", "kkk").await.unwrap().winner().map(str::to_owned);
    assert!(winner.is_some(), "entries that are good are found beside those that are not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_fails_is_an_error_and_no_choice() {
    let scene = Scene::set().await;
    for (status, retryable) in [(500, true), (503, true), (429, true), (400, false), (403, false)] {
        // Tags are not known either, which is no failure by itself.
        let router = scene.router();
        scene.qdrant.fail_with(Some(status));
        let error = route(&router, "agents: []", "abc").await.unwrap_err();
        assert_eq!((error.code, error.retryable), (ErrorCode::HandoffFailed, retryable), "{status}: {error}");
        assert!(error.message.contains("routing.qdrant") && !error.message.contains(KEY), "{error}");
        scene.qdrant.fail_with(None);
        assert_eq!(route(&router, "agents: []", "abc").await.unwrap().winner(), Some("abc"));
    }
    let mut settings = Settings::default();
    settings.routing.qdrant.url = Some("http://127.0.0.1:1".into());
    let client = agent_runner::net::operator_client(Duration::from_secs(10)).unwrap();
    let gone = Collection::from_settings(&settings, &client).unwrap();
    let error = gone.create(3).await.unwrap_err();
    assert!(error.retryable && error.message.contains("cannot be reached"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_and_the_lane_use_the_collection() {
    let scene = Scene::set().await;
    let empty = scene.file("agents.yaml", "agents: []\n");
    let (code, stdout, stderr) = scene.program(&["agents", "route", "abcab", "--agents", &empty, "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&result["selected_agent"]["id"], &result["filtered_count"]), (&json!("abc"), &json!(3)));

    let job = scene.file("job.json", r#"{"job_id": "e1", "prompt": "abcab", "handoff": {"mode": "route"}}"#);
    let replies = scene.file("replies.jsonl", "{\"text\": \"{\\\"tags\\\": []}\"}\n{\"text\": \"It is abc.\"}\n");
    let (code, stdout, stderr) = scene.program(&["run", &job, "--agents", &empty, "--replies", &replies]);
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result["result"]["answer"], "It is abc.");
    assert_eq!(result["result"]["selected_agent"]["id"], "abc");

    // Without vectors there is nothing to compare with a collection.
    let url = scene.qdrant.url();
    let output = command(&["config", "check"], "", &[("AGENT_RUNNER__ROUTING__QDRANT__URL", &url)]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains("routing.qdrant.url"), "{stderr}");
}
