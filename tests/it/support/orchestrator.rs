//! An orchestrator over real HTTP: stored workflows and run patches, scripted to misbehave.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    /// Path without the query, as it was sent.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// `null` where there was none.
    pub body: Value,
}

impl Recorded {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What happens to the next request of a method, instead of the usual.
#[derive(Debug, Clone)]
pub enum Next {
    /// This answer, and nothing is done.
    Answer { status: u16, retry_after: Option<&'static str>, body: Value },
    /// It is done, and the connection breaks before the answer.
    DoneButLost,
    /// It is done, and the answer says otherwise.
    DoneBut(u16),
    /// The connection breaks and nothing is done.
    Lost,
    /// No answer ever, and nothing is done.
    Hang,
    /// No answer ever, and it is done once so many more requests have come.
    Late(usize),
    /// What would happen anyway.
    Usual,
}

impl Next {
    pub fn status(status: u16) -> Self {
        Self::Answer { status, retry_after: None, body: json!({ "error": "scripted" }) }
    }

    pub fn too_many(retry_after: &'static str) -> Self {
        Self::Answer { status: 429, retry_after: Some(retry_after), body: json!({ "error": "slow down" }) }
    }
}

#[derive(Default)]
struct State {
    workflows: BTreeMap<(String, String), Value>,
    runs: BTreeMap<String, Vec<Value>>,
    script: HashMap<String, VecDeque<Next>>,
    requests: Vec<Recorded>,
    applied: usize,
    /// Answers as the common coordinator does: 500 for errors, wrapped workflows, only appends on runs.
    reference: bool,
}

/// A running orchestrator; it stops when it is dropped.
pub struct StubOrchestrator {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for StubOrchestrator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StubOrchestrator {
    /// Starts on a free port without workflows.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    // A broken connection is part of the play.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, state, task }
    }

    /// Behaves like the common coordinator from now on.
    pub fn like_the_reference(self) -> Self {
        self.state.lock().reference = true;
        self
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn put_workflow(&self, owner: &str, tag: &str, workflow: Value) {
        self.state.lock().workflows.insert((owner.to_owned(), tag.to_owned()), workflow);
    }

    pub fn workflow(&self, owner: &str, tag: &str) -> Value {
        self.state.lock().workflows[&(owner.to_owned(), tag.to_owned())].clone()
    }

    pub fn run_patches(&self, run_id: &str) -> Vec<Value> {
        self.state.lock().runs.get(run_id).cloned().unwrap_or_default()
    }

    pub fn put_run_patch(&self, run_id: &str, patch: Value) {
        self.state.lock().runs.entry(run_id.to_owned()).or_default().push(patch);
    }

    /// Scripts the next request of `method`; several calls queue up.
    pub fn next(&self, method: &str, next: Next) {
        self.state.lock().script.entry(method.to_owned()).or_default().push_back(next);
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.state.lock().requests.clone()
    }

    /// Requests of that method.
    pub fn sent(&self, method: &str) -> Vec<Recorded> {
        self.requests().into_iter().filter(|request| request.method == method).collect()
    }

    /// Patches that took effect.
    pub fn applied(&self) -> usize {
        self.state.lock().applied
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let recorded = Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let next = {
        let mut state = state.lock();
        state.requests.push(recorded.clone());
        state.script.get_mut(&recorded.method).and_then(VecDeque::pop_front)
    };
    let lost = || Err(io::Error::other("scripted: connection broken"));
    match next {
        None | Some(Next::Usual) => Ok(state.lock().handle(&recorded)),
        Some(Next::Answer { status, retry_after, body }) => Ok(json_answer(status, retry_after, &body)),
        Some(Next::DoneButLost) => {
            let _ = state.lock().handle(&recorded);
            lost()
        }
        Some(Next::DoneBut(status)) => {
            let _ = state.lock().handle(&recorded);
            Ok(json_answer(status, None, &json!({ "error": "scripted" })))
        }
        Some(Next::Lost) => lost(),
        Some(Next::Late(more)) => {
            let wanted = state.lock().requests.len() + more;
            // Whoever asked goes away; the work goes on.
            tokio::spawn(async move {
                while state.lock().requests.len() < wanted {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let _ = state.lock().handle(&recorded);
            });
            std::future::pending().await
        }
        Some(Next::Hang) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            lost()
        }
    }
}

impl State {
    fn handle(&mut self, request: &Recorded) -> Response<Full<Bytes>> {
        let Some(path) = request.path.strip_prefix("/api/v1/") else { return self.error(404, "no such path") };
        let Some(owner) = request.header("x-user-id").map(str::to_owned) else {
            return self.error(401, "who are you?");
        };
        let segments: Vec<String> = path
            .split('/')
            .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (request.method.as_str(), segments.as_slice()) {
            ("GET", ["workflows", tag]) => match self.workflows.get(&(owner, (*tag).to_owned())) {
                Some(workflow) if self.reference => {
                    json_answer(200, None, &json!({ "tag": tag, "artifact_id": "wf-1", "workflow": workflow }))
                }
                Some(workflow) => json_answer(200, None, workflow),
                None => self.error(404, "no such workflow"),
            },
            ("PATCH", ["workflows", tag, "patch"]) => self.patch_workflow(owner, tag, &request.body),
            ("POST", ["runs", run, "patches"]) => self.patch_run(run, &request.body),
            ("GET", ["runs", run, "patches"]) => {
                let patches = self.runs.get(*run).cloned().unwrap_or_default();
                let bare = |patch: &Value| {
                    let mut patch = patch.clone();
                    patch.as_object_mut().map(|members| members.shift_remove("operations"));
                    patch
                };
                json_answer(200, None, &json!({ "patches": patches.iter().map(bare).collect::<Vec<_>>() }))
            }
            ("GET", ["runs", run, "patches", id, "operations"]) => {
                let patches = self.runs.get(*run).cloned().unwrap_or_default();
                match patches.iter().find(|patch| patch["cas_id"] == **id) {
                    Some(patch) => json_answer(200, None, &json!({ "operations": patch["operations"] })),
                    None => self.error(404, "no such patch"),
                }
            }
            _ => self.error(404, "no such path"),
        }
    }

    fn patch_workflow(&mut self, owner: String, tag: &str, body: &Value) -> Response<Full<Bytes>> {
        let Some(mut workflow) = self.workflows.get(&(owner.clone(), tag.to_owned())).cloned() else {
            return self.error(404, "no such workflow");
        };
        if self.reference && !body["operations"].as_array().is_some_and(|list| list.iter().all(is_shallow)) {
            return self.error(400, "only whole nodes and edges");
        }
        let Ok(patch) = serde_json::from_value::<json_patch::Patch>(body["operations"].clone()) else {
            return self.error(400, "no patch");
        };
        if let Err(error) = json_patch::patch(&mut workflow, &patch) {
            return self.error(400, &error.to_string());
        }
        self.workflows.insert((owner, tag.to_owned()), workflow);
        self.applied += 1;
        json_answer(200, None, &json!({ "artifact_id": format!("artifact-{}", self.applied), "op_count": patch.len() }))
    }

    fn patch_run(&mut self, run: &str, body: &Value) -> Response<Full<Bytes>> {
        self.applied += 1;
        let cas_id = format!("sha256:{:04}", self.applied);
        let patches = self.runs.entry(run.to_owned()).or_default();
        patches.push(json!({
            "cas_id": cas_id,
            "seq": patches.len() + 1,
            "node_id": body["node_id"],
            "description": body["description"],
            "operations": body["operations"],
        }));
        json_answer(201, None, &json!({ "cas_id": cas_id, "seq": patches.len() }))
    }

    fn error(&self, status: u16, message: &str) -> Response<Full<Bytes>> {
        let status = if self.reference && status != 429 { 500 } else { status };
        json_answer(status, None, &json!({ "error": message }))
    }
}

fn is_shallow(operation: &Value) -> bool {
    let path = operation["path"].as_str().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let whole = matches!(parts.as_slice(), ["nodes" | "edges", _]);
    match operation["op"].as_str() {
        Some("add") => matches!(parts.as_slice(), ["nodes" | "edges", "-"]),
        Some("remove" | "replace") => whole,
        _ => false,
    }
}

fn json_answer(status: u16, retry_after: Option<&str>, body: &Value) -> Response<Full<Bytes>> {
    let mut response =
        Response::builder().status(StatusCode::from_u16(status).unwrap()).header("content-type", "application/json");
    if let Some(after) = retry_after {
        response = response.header("retry-after", after);
    }
    response.body(Full::new(Bytes::from(body.to_string()))).unwrap()
}
