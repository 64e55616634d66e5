//! Patches against an orchestrator over real HTTP: what is sent, and what happens when answers get lost.

use std::time::{Duration, Instant};

use agent_runner::{
    job::{Budget, ErrorCode, Job, JobError, Meter, RawJson},
    settings::{Orchestrator, RunPatchMode, Settings, WorkflowPatchMode},
    store::{Before, Journal, MemoryStore, SharedStore},
    tools::{Commit, PatchWorkflow, Pending, Tool, ToolContext, ToolEnd, ToolOutput},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::orchestrator::{Next, StubOrchestrator};

pub fn workflow() -> Value {
    json!({
        "nodes": [
            {"id": "fetch", "type": "http", "config": {"url": "https://a.example", "retry": {"max_attempts": 2}}},
            {"id": "store", "type": "function"}
        ],
        "edges": [{"from": "fetch", "to": "store"}],
        "metadata": {"name": "prices"}
    })
}

pub fn add_email() -> Value {
    json!({
        "operations": [
            {"op": "add", "path": "/nodes/-", "value": {"id": "email", "type": "function", "config": {"to": "ops"}}},
            {"op": "add", "path": "/edges/-", "value": {"from": "fetch", "to": "email", "condition": "output.price < 500"}}
        ],
        "description": "tell ops"
    })
}

pub fn job(overrides: Value) -> Job {
    let mut job = json!({
        "job_id": "job-1", "run_id": "run-1", "node_id": "me", "workflow_tag": "main", "workflow_owner": "ada",
        "prompt": "tell ops"
    });
    for (key, value) in overrides.as_object().unwrap() {
        job[key] = value.clone();
    }
    Job::parse(&job.to_string().into(), &Settings::default().job_limits()).unwrap()
}

pub fn tool(stub: &StubOrchestrator, change: impl FnOnce(&mut Orchestrator)) -> PatchWorkflow {
    let mut settings = Settings::default();
    settings.orchestrator.api_url = Some(stub.url());
    settings.orchestrator.timeout_secs = 20;
    change(&mut settings.orchestrator);
    PatchWorkflow::new(&settings).unwrap()
}

/// What outlives a worker: the store with the journals.
pub fn store() -> SharedStore {
    MemoryStore::new(1 << 20)
}

/// Runs `$body` with a context for `$job`, as a worker that shares `$store` would.
macro_rules! with_context {
    ($job:expr, $store:expr, |$context:ident| $body:expr) => {{
        let cancel = CancellationToken::new();
        let journal = Journal::new($store.clone(), &$job.job_id, Duration::from_secs(60), 1 << 20);
        let $context = ToolContext {
            job: $job,
            data: None,
            journal: &journal,
            step: "",
            meter: &Meter::new(Budget::default()),
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: &cancel,
            emit: &|_| {},
            watch: None,
        };
        $body
    }};
}

pub async fn call_end(
    tool: &PatchWorkflow,
    job: &Job,
    arguments: &Value,
    store: &SharedStore,
) -> Result<ToolEnd, JobError> {
    with_context!(job, store, |context| tool.call(&RawJson::of(arguments), &context).await)
}

pub async fn call(tool: &PatchWorkflow, job: &Job, spec: &Value) -> Result<ToolOutput, JobError> {
    match call_end(tool, job, &json!({ "patch_spec": spec }), &store()).await? {
        ToolEnd::Done(output) => Ok(output),
        ToolEnd::Park(pending) => panic!("parked: {}", pending.as_str()),
        ToolEnd::Told(text) => panic!("told: {text}"),
    }
}

pub async fn resume(
    tool: &PatchWorkflow,
    job: &Job,
    pending: &RawJson,
    store: &SharedStore,
) -> Result<ToolOutput, JobError> {
    with_context!(job, store, |context| tool.resume(pending, &context).await)
}

async fn prepared(tool: &PatchWorkflow, job: &Job, spec: &Value) -> Pending {
    let pending = with_context!(job, store(), |context| tool.prepare_for(&RawJson::of(spec), &context).await).unwrap();
    // What waits for an approval or in a journal is text.
    serde_json::from_str(&serde_json::to_string(&pending).unwrap()).unwrap()
}

async fn commit(tool: &PatchWorkflow, job: &Job, pending: &Pending, how: Commit) -> Result<ToolOutput, JobError> {
    with_context!(job, store(), |context| tool.commit(pending, how, &context).await)
}

pub fn result(output: &ToolOutput) -> Value {
    output.result.to_value().unwrap()
}

pub async fn stub() -> StubOrchestrator {
    let stub = StubOrchestrator::start().await;
    stub.put_workflow("ada", "main", workflow());
    stub
}

#[tokio::test]
async fn a_workflow_patch_goes_out_with_the_jobs_owner_and_comes_back_whole() {
    let stub = stub().await;
    let tool = tool(&stub, |settings| settings.api_url = Some(format!("{}/api/v1/", stub.url())));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let output = agent_runner::net::traced(Some(trace), call(&tool, &job(json!({})), &add_email())).await.unwrap();

    let requests = stub.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].path.as_str(), requests[0].query.as_str()), ("/api/v1/workflows/main", "materialize=true"));
    assert_eq!(requests[0].header("x-user-id"), Some("ada"));
    let patch = &requests[1];
    assert_eq!((patch.method.as_str(), patch.path.as_str()), ("PATCH", "/api/v1/workflows/main/patch"));
    assert_eq!(patch.body, add_email());
    assert_eq!(patch.header("x-user-id"), Some("ada"));
    assert_eq!(patch.header("idempotency-key"), Some("job-1"));
    assert_eq!(patch.header("content-type"), Some("application/json"));
    assert!(patch.header("traceparent") == Some(trace));

    let result = result(&output);
    assert_eq!(result["status"], "success");
    assert_eq!(result["target"], "workflow");
    assert_eq!(result["artifact_id"], "artifact-1");
    assert_eq!(result["diff"]["nodes_added"], json!(["email"]));
    assert_eq!(result["diff"]["edges_added"], json!(["fetch->email"]));
    assert!(result["mermaid"].as_str().unwrap().starts_with("flowchart "));

    // The inverse, sent back as a patch, undoes it.
    let undo = json!({ "operations": result["inverse"], "description": "undo" });
    call(&tool, &job(json!({ "job_id": "job-2" })), &undo).await.unwrap();
    assert_eq!(stub.workflow("ada", "main"), workflow());
}

#[tokio::test]
async fn a_run_patch_is_posted_with_the_node_that_asks() {
    let stub = stub().await;
    let tool = tool(&stub, |_| {});
    let job = job(json!({ "patch_target": "run", "current_workflow": workflow() }));
    let output = call(&tool, &job, &add_email()).await.unwrap();
    let [post] = stub.sent("POST").try_into().unwrap();
    assert_eq!((post.method.as_str(), post.path.as_str()), ("POST", "/api/v1/runs/run-1/patches"));
    assert_eq!(post.body["node_id"], "me");
    assert_eq!(post.body["operations"], add_email()["operations"]);
    assert_eq!(
        (result(&output)["target"].clone(), result(&output)["artifact_id"].clone()),
        (json!("run"), json!("sha256:0001"))
    );
}

#[tokio::test]
async fn neither_owner_nor_workflow_come_from_the_model() {
    let stub = stub().await;
    let tool = tool(&stub, |_| {});
    let arguments =
        json!({ "patch_spec": add_email(), "workflow_tag": "other", "workflow_owner": "eve", "owner": "eve" });
    let own = job(json!({}));
    let error = call_end(&tool, &own, &arguments, &store()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidPatch);

    let tagless = job(json!({ "workflow_tag": null, "current_workflow": workflow() }));
    stub.put_workflow("ada", "other", workflow());
    call_end(&tool, &tagless, &arguments, &store()).await.unwrap();
    let sent = stub.sent("PATCH");
    assert_eq!((sent[0].path.as_str(), sent[0].header("x-user-id")), ("/api/v1/workflows/other/patch", Some("ada")));

    let ownerless = job(json!({ "workflow_owner": null, "current_workflow": workflow() }));
    let error = call(&tool, &ownerless, &add_email()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidJob);
    assert!(error.message.contains("workflow_owner"), "{error}");
    assert_eq!(stub.applied(), 1);
}

#[tokio::test]
async fn a_tag_is_one_segment_whatever_it_holds() {
    let stub = stub().await;
    let tool = tool(&stub, |_| {});
    stub.put_workflow("ada", "team/main?x#1 %2e", workflow());
    call(&tool, &job(json!({ "workflow_tag": "team/main?x#1 %2e" })), &add_email()).await.unwrap();
    for climbing in ["..", "."] {
        let error = call(&tool, &job(json!({ "workflow_tag": climbing })), &add_email()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidJob, "{climbing}");
    }
    assert_eq!(stub.applied(), 1);
}

#[tokio::test]
async fn refused_patches_and_dry_runs_send_nothing() {
    let stub = stub().await;
    let tool = tool(&stub, |_| {});
    let dangling =
        json!({ "operations": [{"op": "add", "path": "/edges/-", "value": {"from": "fetch", "to": "nobody"}}] });
    let error = call(&tool, &job(json!({})), &dangling).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidPatch);
    assert_eq!(error.details["reasons"][0]["operation"], 1);

    let dry = call(&tool, &job(json!({ "dry_run": true })), &add_email()).await.unwrap();
    let real = call(&tool, &job(json!({})), &add_email()).await.unwrap();
    let (mut dry, mut real) = (result(&dry), result(&real));
    assert_eq!(dry["dry_run"], true);
    for name in ["dry_run", "artifact_id"] {
        dry.as_object_mut().unwrap().shift_remove(name);
        real.as_object_mut().unwrap().shift_remove(name);
    }
    assert_eq!(dry, real);

    let nothing = call(&tool, &job(json!({ "job_id": "job-3" })), &json!({ "operations": [] })).await.unwrap();
    assert_eq!(result(&nothing)["no_op"], true);
    assert_eq!((stub.sent("PATCH").len(), stub.applied()), (1, 1));
}

#[tokio::test]
async fn a_job_that_needs_approval_parks_and_goes_on_after_a_restart() {
    let (stub, store) = (stub().await, store());
    let job = job(json!({ "require_approval": true }));
    let end = call_end(&tool(&stub, |_| {}), &job, &json!({ "patch_spec": add_email() }), &store).await.unwrap();
    let ToolEnd::Park(pending) = end else { panic!("not parked") };
    assert_eq!(stub.applied(), 0);
    assert_eq!(pending.to_value().unwrap()["prepared"]["diff"]["nodes_added"], json!(["email"]));

    // Approved; the worker that goes on is another one, and dies after the patch was taken.
    stub.next("PATCH", Next::DoneButLost);
    stub.next("GET", Next::status(503));
    let tool = tool(&stub, |_| {});
    stub.next("GET", Next::status(503));
    let first = with_context!(&job, store, |context| tool.resume(&pending, &context).await).unwrap_err();
    assert!(first.retryable, "{first}");
    let second = with_context!(&job, store, |context| tool.resume(&pending, &context).await).unwrap_err();
    assert!(second.retryable, "{second}");
    for _ in 0..2 {
        with_context!(&job, store, |context| tool.resume(&pending, &context).await).unwrap();
    }
    assert_eq!(stub.applied(), 1);
}

#[tokio::test]
async fn a_worker_killed_at_any_point_leaves_one_patch() {
    for target in ["workflow", "run"] {
        let method = if target == "run" { "POST" } else { "PATCH" };
        for fate in [Next::Lost, Next::DoneButLost, Next::DoneBut(500), Next::status(500)] {
            let (stub, store) = (stub().await, store());
            let tool = tool(&stub, |_| {});
            let job = job(json!({ "patch_target": target, "current_workflow": workflow() }));
            let arguments = json!({ "patch_spec": add_email() });
            // The look after the lost answer fails too: all that is left is the journal.
            stub.next(method, fate.clone());
            if target == "run" {
                stub.next("GET", Next::Usual);
            }
            stub.next("GET", Next::Lost);
            call_end(&tool, &job, &arguments, &store).await.unwrap_err();
            for _ in 0..3 {
                let end = call_end(&tool, &job, &arguments, &store).await.unwrap();
                let ToolEnd::Done(output) = end else { panic!("parked") };
                assert_eq!(result(&output)["diff"]["nodes_added"], json!(["email"]));
            }
            assert_eq!(stub.applied(), 1, "{target} {fate:?}");
        }
    }
}

#[tokio::test]
async fn statuses_become_the_contracts_errors() {
    for (status, code, retryable) in [
        (400, ErrorCode::OrchestratorFailed, false),
        (401, ErrorCode::OrchestratorFailed, false),
        (404, ErrorCode::OrchestratorFailed, false),
        (409, ErrorCode::PatchConflict, false),
        (412, ErrorCode::PatchConflict, false),
        (500, ErrorCode::OrchestratorFailed, true),
        (503, ErrorCode::OrchestratorFailed, true),
    ] {
        let stub = stub().await;
        let tool = tool(&stub, |_| {});
        stub.next("PATCH", Next::status(status));
        let error = call(&tool, &job(json!({})), &add_email()).await.unwrap_err();
        assert_eq!((error.code, error.retryable), (code, retryable), "{status}: {error}");
        assert_eq!(error.details["status"], status);
        assert_eq!(stub.sent("PATCH").len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_429_is_waited_out_within_reason() {
    let stub = stub().await;
    let tool = tool(&stub, |settings| settings.max_retries = 2);
    stub.next("PATCH", Next::too_many("0"));
    stub.next("PATCH", Next::too_many("0.01"));
    call(&tool, &job(json!({})), &add_email()).await.unwrap();
    assert_eq!((stub.sent("PATCH").len(), stub.applied()), (3, 1));

    // Too long for one attempt: the job waits in the queue instead.
    stub.next("GET", Next::too_many("3600"));
    let error = call(&tool, &job(json!({ "job_id": "job-2" })), &add_email()).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::OrchestratorFailed, true));
    assert_eq!(error.retry_after, Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_before_anything_else() {
    for done in [Next::DoneButLost, Next::DoneBut(500), Next::DoneBut(502)] {
        for target in ["workflow", "run"] {
            let stub = stub().await;
            let tool = tool(&stub, |_| {});
            stub.next(if target == "run" { "POST" } else { "PATCH" }, done.clone());
            let output = call(&tool, &job(json!({ "patch_target": target })), &add_email()).await.unwrap();
            assert_eq!(stub.applied(), 1, "{done:?} {target}");
            assert!(output.summary.starts_with("already there"), "{}", output.summary);
        }
    }
}

#[tokio::test]
async fn a_redelivered_job_looks_and_posts_once() {
    for target in ["workflow", "run"] {
        let stub = stub().await;
        let tool = tool(&stub, |_| {});
        let job = job(json!({ "patch_target": target }));
        let pending = prepared(&tool, &job, &add_email()).await;
        let again = Commit { sent: Before::Noted, ..Commit::default() };
        // It was journalled and never sent: it is sent now.
        commit(&tool, &job, &pending, again).await.unwrap();
        // It was sent, and the worker died: it is found.
        for _ in 0..3 {
            commit(&tool, &job, &pending, again).await.unwrap();
        }
        assert_eq!(stub.applied(), 1, "{target}");
    }
}

#[tokio::test]
async fn a_lost_patch_that_never_arrived_is_the_jobs_to_try_again() {
    let stub = stub().await;
    let tool = tool(&stub, |_| {});
    let job = job(json!({}));
    let pending = prepared(&tool, &job, &add_email()).await;
    stub.next("PATCH", Next::Lost);
    let error = commit(&tool, &job, &pending, Commit::default()).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::OrchestratorFailed, true));
    assert_eq!(stub.applied(), 0);
    commit(&tool, &job, &pending, Commit { sent: Before::Noted, recheck: false }).await.unwrap();
    assert_eq!(stub.applied(), 1);
}

#[tokio::test]
async fn somebody_elses_change_meanwhile_is_a_conflict() {
    let stub = stub().await;
    let tool = tool(&stub, |_| {});
    let job = job(json!({}));
    let spec = json!({ "operations": [{"op": "replace", "path": "/nodes/id:fetch/config/url", "value": "https://b.example"}] });
    let pending = prepared(&tool, &job, &spec).await;
    let mut other = workflow();
    other["nodes"][0]["config"]["url"] = json!("https://c.example");
    stub.put_workflow("ada", "main", other);
    let error = commit(&tool, &job, &pending, Commit { sent: Before::Noted, recheck: false }).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PatchConflict);
    assert_eq!(stub.applied(), 0);
}

#[tokio::test]
async fn an_approved_patch_is_checked_against_the_workflow_of_that_moment() {
    let approved = Commit { recheck: true, sent: Before::Never };
    let rename = json!({ "operations": [{"op": "add", "path": "/nodes/1/config", "value": {"function": "save"}}] });
    // (what happened meanwhile, spec, whether it still goes out)
    let mut moved = workflow();
    moved["nodes"].as_array_mut().unwrap().insert(0, json!({"id": "start", "type": "function"}));
    let mut email_there = workflow();
    email_there["nodes"].as_array_mut().unwrap().push(json!({"id": "email", "type": "function"}));
    let mut fetch_gone = workflow();
    fetch_gone["nodes"].as_array_mut().unwrap().remove(0);
    fetch_gone["edges"] = json!([]);
    for (name, meanwhile, spec, goes) in [
        ("nothing", workflow(), add_email(), true),
        ("unrelated", moved.clone(), add_email(), true),
        ("number means another node", moved, rename, false),
        ("id taken", email_there, add_email(), false),
        ("anchor gone", fetch_gone, add_email(), false),
    ] {
        let stub = stub().await;
        let tool = tool(&stub, |_| {});
        let job = job(json!({ "require_approval": true, "current_workflow": workflow() }));
        let pending = prepared(&tool, &job, &spec).await;
        stub.put_workflow("ada", "main", meanwhile);
        match commit(&tool, &job, &pending, approved).await {
            Ok(_) => assert!(goes, "{name}"),
            Err(error) => {
                assert!(!goes, "{name}: {error}");
                assert_eq!(error.code, ErrorCode::PatchConflict, "{name}");
            }
        }
        assert_eq!(stub.applied(), usize::from(goes), "{name}");
    }
}

#[tokio::test]
async fn a_shallow_orchestrator_gets_whole_nodes() {
    let stub = stub().await.like_the_reference();
    let tool = tool(&stub, |settings| settings.workflow_patch_mode = WorkflowPatchMode::Shallow);
    let spec = json!({ "operations": [
        {"op": "replace", "path": "/nodes/id:fetch/config/retry/max_attempts", "value": 5},
        {"op": "add", "path": "/nodes/0", "value": {"id": "email", "type": "function"}},
        {"op": "add", "path": "/edges/0", "value": {"from": "store", "to": "email"}},
        {"op": "remove", "path": "/edges/id:fetch->store"},
        {"op": "add", "path": "/edges/-", "value": {"from": "fetch", "to": "store", "condition": "output.ok"}}
    ]});
    let output = call(&tool, &job(json!({})), &spec).await.unwrap();
    let now = stub.workflow("ada", "main");
    assert_eq!(now["nodes"][0]["config"]["retry"]["max_attempts"], 5);
    assert_eq!(now["nodes"][2]["id"], "email");
    assert_eq!(result(&output)["operations"], stub.sent("PATCH")[0].body["operations"]);
    let undo = json!({ "operations": result(&output)["inverse"] });
    call(&tool, &job(json!({ "job_id": "job-2" })), &undo).await.unwrap();
    assert_eq!(stub.workflow("ada", "main"), workflow());

    let metadata = json!({ "operations": [{"op": "add", "path": "/metadata/x", "value": 1}] });
    assert_eq!(call(&tool, &job(json!({})), &metadata).await.unwrap_err().code, ErrorCode::InvalidPatch);
}

#[tokio::test]
async fn an_append_only_run_takes_nothing_else() {
    let stub = stub().await;
    let tool = tool(&stub, |settings| settings.run_patch_mode = RunPatchMode::AppendOnly);
    let job = job(json!({ "patch_target": "run", "current_workflow": workflow() }));
    call(&tool, &job, &add_email()).await.unwrap();
    for path in ["/nodes/0", "/nodes/id:fetch/config/x"] {
        let spec = json!({ "operations": [{"op": "add", "path": path, "value": {"id": "n", "type": "function"}}] });
        let error = call(&tool, &job, &spec).await.unwrap_err();
        assert!(error.code == ErrorCode::InvalidPatch && error.message.contains("append_only"), "{path}: {error}");
    }
    assert_eq!(stub.applied(), 1);
}

#[tokio::test]
async fn a_cancelled_job_stops_waiting_for_the_orchestrator() {
    let stub = stub().await;
    let tool = tool(&stub, |_| {});
    stub.next("GET", Next::Hang);
    let (job, cancel) = (job(json!({})), CancellationToken::new());
    let journal = Journal::new(store(), &job.job_id, Duration::from_secs(60), 1 << 20);
    let context = ToolContext {
        job: &job,
        data: None,
        journal: &journal,
        step: "",
        meter: &Meter::new(Budget::default()),
        deadline: Instant::now() + Duration::from_secs(60),
        cancel: &cancel,
        emit: &|_| {},
        watch: None,
    };
    let arguments = RawJson::of(&add_email());
    let stop = async {
        while stub.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(tool.call(&arguments, &context), stop);
    assert_eq!(outcome.unwrap_err().code, ErrorCode::Cancelled);
}

#[tokio::test]
async fn without_an_orchestrator_a_patch_can_only_be_tried() {
    let tool = PatchWorkflow::new(&Settings::default()).unwrap();
    let with_workflow = |dry_run: bool| job(json!({ "current_workflow": workflow(), "dry_run": dry_run }));
    assert!(call(&tool, &with_workflow(true), &add_email()).await.is_ok());
    // Nor is anybody asked to approve what cannot be sent.
    let asks = job(json!({ "current_workflow": workflow(), "require_approval": true }));
    for job in [with_workflow(false), asks] {
        let error = call(&tool, &job, &add_email()).await.unwrap_err();
        assert_eq!((error.code, error.retryable), (ErrorCode::OrchestratorFailed, false));
    }
}
