//! The HTTP side in process: requests go straight to the router, or over a socket where the socket matters.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use agent_runner::{
    agents::{LiveRegistry, Registry, RouteOptions, Router as AgentRouter, TrailStore},
    embed::Lexical,
    http::{AgentsApi, App, Check, Checks, Kept, router, serve},
    job::{ErrorCode, Job, JobError, JobResult, Lane, Metadata, RawJson, Status},
    queue::SharedQueue,
    settings::Settings,
    store::{MemoryStore, SharedStore},
    telemetry,
};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The one artifact that the store of these tests keeps.
pub const ARTIFACT: (&str, &[u8]) = ("artifact://0198-big", b"[{\"id\":9007199254740993,\"price\":1.10}]");

/// An app over `queue` whose in-process runs echo the prompt (and fail for the prompt `fail`).
pub fn app(queue: SharedQueue, settings: Settings) -> App {
    let always = |check: Check| -> Arc<dyn Fn() -> Check + Send + Sync> { Arc::new(move || check) };
    App::new(
        Arc::new(settings),
        queue,
        Kept { artifacts: Arc::new(artifact), store: MemoryStore::new(1 << 20) },
        Arc::new(|job: Job| Box::pin(async move { echo(&job) })),
        agents("agents: []", MemoryStore::new(1 << 20)),
        telemetry::install(),
        Checks { llm: always(Check::Rules), orchestrator: always(Check::NotConfigured), records: None },
    )
}

fn artifact(reference: String) -> BoxFuture<'static, Result<Option<Bytes>, String>> {
    Box::pin(async move {
        match reference.as_str() {
            known if known == ARTIFACT.0 => Ok(Some(Bytes::from_static(ARTIFACT.1))),
            "artifact://broken" => Err("store at secret-host refused".to_owned()),
            _ => Ok(None),
        }
    })
}

/// The agents of an agents file, chosen by words, with their trails in `store`.
pub fn agents(file: &str, store: SharedStore) -> AgentsApi {
    let registry = Registry::parse(file, &Vec::new()).unwrap();
    AgentsApi {
        registry: LiveRegistry::new(Path::new("no-such-file.yaml"), &Vec::new(), registry),
        router: Arc::new(AgentRouter::new(Arc::new(Lexical), None, RouteOptions::from(&Settings::default()))),
        trails: TrailStore::new(store, Duration::from_secs(60)),
    }
}

/// What running `job` gives here.
fn echo(job: &Job) -> JobResult {
    let fail = job.prompt_text() == "fail";
    JobResult {
        version: JobResult::VERSION,
        job_id: job.job_id.clone(),
        run_id: job.run_id.clone(),
        node_id: None,
        status: if fail { Status::Failed } else { Status::Completed },
        lane: (!fail).then_some(Lane::Answer),
        result_ref: None,
        result: (!fail).then(|| RawJson::of(&json!({"type": "text_response", "message": job.prompt_text()}))),
        result_preview: None,
        error: fail.then(|| JobError::new(ErrorCode::PlannerCannot, "cannot do that: ask for rows")),
        metadata: Metadata::default(),
        completed_at: "2026-01-01T00:00:00Z".into(),
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.body))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `code` of a problem document, after a look at its shape.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let value = self.json();
        assert_eq!(value["status"], self.status.as_u16(), "{value}");
        assert_eq!(value["type"], format!("urn:agent-runner:problem:{}", value["code"].as_str().unwrap()));
        assert!(value["title"].is_string() && value["detail"].is_string(), "{value}");
        value["code"].as_str().unwrap().to_owned()
    }
}

/// A request to `127.0.0.1:8082`, JSON where there is a body.
pub fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "127.0.0.1:8082")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

/// Sends `request` and reads the whole answer.
pub async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

/// Shorthand for a request without a body.
pub async fn call(router: &Router, method: &str, path: &str) -> Answer {
    send(router, request(method, path, Body::empty())).await
}

/// The router over `queue` with default settings.
pub fn routes(queue: SharedQueue) -> Router {
    router(app(queue, Settings::default()))
}

/// A server on a free port; it stops when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Server {
    pub async fn start(app: App) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(app, listener, shutdown.clone()));
        Self { address, shutdown, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.task.abort();
    }
}
