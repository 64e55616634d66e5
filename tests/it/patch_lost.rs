//! Patches whose answers get lost, told apart from what others did.

use agent_runner::{job::ErrorCode, tools::ToolEnd};
use serde_json::{Value, json};

use crate::{
    patch_orchestrator::{add_email, call, call_end, job, result, resume, store, stub, tool, workflow},
    support::orchestrator::Next,
};

fn older() -> Value {
    json!({
        "cas_id": "sha256:old", "seq": 1, "node_id": "me",
        "operations": add_email()["operations"], "description": add_email()["description"],
    })
}

#[tokio::test]
async fn an_older_equal_patch_of_a_run_is_not_ours() {
    for fate in [Next::Lost, Next::status(500)] {
        let (stub, store) = (stub().await, store());
        stub.put_run_patch("run-1", older());
        let tool = tool(&stub, |_| {});
        let job = job(json!({ "patch_target": "run", "current_workflow": workflow() }));
        let arguments = json!({ "patch_spec": add_email() });
        stub.next("POST", fate);
        let error = call_end(&tool, &job, &arguments, &store).await.unwrap_err();
        assert!(error.retryable, "{error}");
        // What was there is on record: the next attempt sends, and one after a lost answer finds its own.
        stub.next("POST", Next::DoneButLost);
        stub.next("GET", Next::Lost);
        call_end(&tool, &job, &arguments, &store).await.unwrap_err();
        let ToolEnd::Done(output) = call_end(&tool, &job, &arguments, &store).await.unwrap() else {
            panic!("not done")
        };
        assert_eq!(result(&output)["artifact_id"], "sha256:0001");
        assert_eq!((stub.applied(), stub.run_patches("run-1").len()), (1, 2));
    }
}

#[tokio::test]
async fn patches_that_are_named_by_their_content_are_counted() {
    let stub = stub().await;
    let mut old = older();
    old["cas_id"] = json!("sha256:0001");
    stub.put_run_patch("run-1", old);
    let tool = tool(&stub, |_| {});
    let job = job(json!({ "patch_target": "run", "current_workflow": workflow() }));
    stub.next("POST", Next::DoneButLost);
    let output = call(&tool, &job, &add_email()).await.unwrap();
    assert!(output.summary.starts_with("already there"), "{}", output.summary);
    assert_eq!(stub.run_patches("run-1").len(), 2);
}

#[tokio::test]
async fn an_orchestrator_that_cannot_list_takes_patches_all_the_same() {
    for status in [404, 405, 500] {
        let stub = stub().await;
        let tool = tool(&stub, |_| {});
        let job = job(json!({ "patch_target": "run", "current_workflow": workflow() }));
        stub.next("GET", Next::status(status));
        call(&tool, &job, &add_email()).await.unwrap();
        assert_eq!(stub.applied(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_patch_that_is_carried_out_late_is_waited_for() {
    for target in ["workflow", "run"] {
        let stub = stub().await;
        let tool = tool(&stub, |settings| settings.timeout_secs = 1);
        stub.next(if target == "run" { "POST" } else { "PATCH" }, Next::Late(2));
        let job = job(json!({ "patch_target": target, "current_workflow": workflow() }));
        let output = call(&tool, &job, &add_email()).await.unwrap();
        assert!(output.summary.starts_with("already there"), "{}", output.summary);
        assert_eq!(stub.applied(), 1, "{target}");
    }
}

#[tokio::test]
async fn a_new_order_alone_is_found_and_not_a_conflict() {
    let spec =
        json!({ "operations": [{"op": "move", "from": "/nodes/0", "path": "/nodes/1"}], "description": "order" });
    for fate in [Next::DoneButLost, Next::DoneBut(500), Next::Lost, Next::status(503)] {
        let (stub, store) = (stub().await, store());
        let tool = tool(&stub, |_| {});
        stub.next("PATCH", fate.clone());
        let arguments = json!({ "patch_spec": spec });
        let mut last = call_end(&tool, &job(json!({})), &arguments, &store).await;
        if let Err(error) = &last {
            assert!(error.retryable, "{fate:?}: {error}");
            last = call_end(&tool, &job(json!({})), &arguments, &store).await;
        }
        last.unwrap();
        assert_eq!(stub.applied(), 1, "{fate:?}");
        assert_eq!(stub.workflow("ada", "main")["nodes"][0]["id"], "store");
    }
}

#[tokio::test]
async fn an_approved_run_patch_is_checked_against_the_workflow_of_that_moment() {
    let spec = json!({ "operations": [{"op": "replace", "path": "/nodes/id:fetch/config/url", "value": "https://b.example"}] });
    let mut changed = workflow();
    changed["nodes"][0]["config"]["url"] = json!("https://c.example");
    let patched = json!({
        "cas_id": "sha256:other", "seq": 1, "node_id": "other", "description": "",
        "operations": [{"op": "replace", "path": "/nodes/0/config/url", "value": "https://d.example"}],
    });
    // (the stored workflow, a patch of the run by then, whether it still goes out)
    for (stored, patch, goes) in [(workflow(), None, true), (changed, None, false), (workflow(), Some(patched), false)]
    {
        let (stub, store) = (stub().await, store());
        let tool = tool(&stub, |_| {});
        let job = job(json!({ "patch_target": "run", "require_approval": true, "current_workflow": workflow() }));
        let end = call_end(&tool, &job, &json!({ "patch_spec": spec }), &store).await.unwrap();
        let ToolEnd::Park(pending) = end else { panic!("not parked") };
        stub.put_workflow("ada", "main", stored);
        patch.into_iter().for_each(|patch| stub.put_run_patch("run-1", patch));
        match resume(&tool, &job, &pending, &store).await {
            Ok(_) => assert!(goes),
            Err(error) => {
                assert!(!goes, "{error}");
                assert_eq!(error.code, ErrorCode::PatchConflict);
                assert_eq!(error.details["diff"]["nodes_changed"], json!(["fetch"]));
            }
        }
        assert_eq!(stub.applied(), usize::from(goes));
    }
}
