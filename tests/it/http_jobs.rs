//! Jobs over HTTP, on the in-memory queue, with a worker played by hand.

use std::time::Duration;

use agent_runner::{
    http::router,
    job::{ErrorCode, Event, EventKind, JobError, JobId, Lane, RawJson, Status},
    queue::{Decision, End, Lease, LeaseEnd, MemoryQueue, SharedQueue, immediate},
    settings::Settings,
};
use axum::{Router, body::Body, http::StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::api::{ARTIFACT, Answer, app, call, request, routes, send};

fn queue() -> SharedQueue {
    MemoryQueue::new(&Settings::default())
}

async fn post(router: &Router, path: &str, body: &Value) -> Answer {
    send(router, request("POST", path, body.to_string())).await
}

/// Takes the next job.
async fn claim(queue: &SharedQueue) -> Lease {
    loop {
        if let Some(lease) = queue.claim(1).await.unwrap().pop() {
            return lease;
        }
    }
}

/// Ends a job with this result.
async fn finish(lease: Lease, status: Status, result: &Value) {
    let kind = match status {
        Status::Completed => EventKind::Completed,
        Status::Failed => EventKind::Failed,
        Status::Cancelled => EventKind::Cancelled,
    };
    let end = End::Result {
        result: RawJson::of(result),
        status,
        lane: Some(Lane::Execute),
        event: Event::new(kind),
        signal: None,
        dead: None,
    };
    lease.finish(end).await.unwrap();
}

fn id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

/// The (event, id) pairs and the data of a finished event stream.
fn events(body: &[u8]) -> Vec<(String, String, Value)> {
    let text = std::str::from_utf8(body).unwrap();
    let frames = text.split("\n\n").filter(|frame| frame.contains("event: "));
    let field =
        |frame: &str, name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    frames
        .map(|frame| {
            let data = serde_json::from_str(&field(frame, "data: ")).unwrap();
            (field(frame, "event: "), field(frame, "id: "), data)
        })
        .collect()
}

#[tokio::test]
async fn a_job_goes_in_runs_and_shows_its_result() {
    let queue = queue();
    let router = routes(queue.clone());
    let answer = post(&router, "/v1/jobs", &json!({"job_id": "a/1", "prompt": "x", "n": 1})).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::ACCEPTED, json!({"job_id": "a/1"})));
    let location = answer.header("location").to_owned();
    assert_eq!(location, "/v1/jobs/a%2F1");
    let shown = call(&router, "GET", &location).await.json();
    assert_eq!((&shown["job_id"], &shown["state"]), (&"a/1".into(), &"queued".into()));

    let lease = claim(&queue).await;
    assert_eq!(lease.delivery.raw, json!({"job_id": "a/1", "prompt": "x", "n": 1}).to_string());
    assert_eq!(call(&router, "GET", &location).await.json()["state"], "running");
    let result = json!({"job_id": "a/1", "status": "completed", "result": {"rows": [1.10]}});
    finish(lease, Status::Completed, &result).await;
    let shown = call(&router, "GET", &location).await.json();
    assert_eq!(
        (&shown["state"], &shown["lane"], &shown["attempts"]),
        (&"completed".into(), &"execute".into(), &1.into())
    );
    assert_eq!(shown["result"], result);
    assert!(shown["created_at"].is_string() && shown["completed_at"].is_string(), "{shown}");

    let list = call(&router, "GET", "/v1/jobs?status=completed&limit=5").await.json();
    assert_eq!(list["jobs"].as_array().unwrap().len(), 1);
    assert_eq!((&list["jobs"][0]["job_id"], list["jobs"][0].get("result")), (&"a/1".into(), None));
    assert_eq!(call(&router, "GET", "/v1/jobs?status=failed").await.json(), json!({"jobs": []}));
}

#[tokio::test]
async fn a_job_without_an_id_gets_one_and_keeps_every_byte() {
    let queue = queue();
    let router = routes(queue.clone());
    let answer = send(&router, request("POST", "/v1/jobs", r#"{"prompt":"x", "price": 1.10 }"#)).await;
    let given = answer.json()["job_id"].as_str().unwrap().to_owned();
    let lease = claim(&queue).await;
    assert_eq!(lease.delivery.raw, format!(r#"{{"prompt":"x", "price": 1.10,"job_id":"{given}"}}"#));
    assert_eq!(lease.delivery.job.as_ref().unwrap().job_id.as_str(), given);
}

#[tokio::test]
async fn waiting_gives_the_result_or_the_id() {
    let queue = queue();
    let router = routes(queue.clone());
    let worker = async {
        let lease = claim(&queue).await;
        finish(lease, Status::Failed, &json!({"job_id": "w", "status": "failed", "big": 9_007_199_254_740_993_u64}))
            .await;
    };
    let body = json!({"job_id": "w", "prompt": "x"});
    let (answer, ()) = tokio::join!(post(&router, "/v1/jobs?wait=60", &body), worker);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["status"], "failed");
    assert!(String::from_utf8_lossy(&answer.body).contains("9007199254740993"));
    // Seen again, it is not run again: the result that stands is the answer.
    let again = post(&router, "/v1/jobs?wait=60", &body).await;
    assert_eq!(again.body, answer.body);
    let unanswered = post(&router, "/v1/jobs?wait=1", &json!({"job_id": "v", "prompt": "x"})).await;
    assert_eq!((unanswered.status, unanswered.json()), (StatusCode::ACCEPTED, json!({"job_id": "v"})));
}

#[tokio::test]
async fn waiting_ends_when_the_server_stops() {
    let app = app(queue(), Settings::default());
    let closing = app.closing.clone();
    let router = router(app);
    let body = json!({"job_id": "w", "prompt": "x"});
    let stop = async { closing.cancel() };
    let (answer, ()) = tokio::join!(post(&router, "/v1/jobs?wait=300", &body), stop);
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn priority_and_delay_hold() {
    let queue = queue();
    let router = routes(queue.clone());
    post(&router, "/v1/jobs", &json!({"job_id": "low", "prompt": "x", "priority": "low"})).await;
    post(&router, "/v1/jobs", &json!({"job_id": "normal", "prompt": "x"})).await;
    post(&router, "/v1/jobs", &json!({"job_id": "high", "prompt": "x", "priority": "high"})).await;
    post(&router, "/v1/jobs", &json!({"job_id": "later", "prompt": "x", "delay_ms": 3_600_000})).await;
    let leases = [claim(&queue).await, claim(&queue).await, claim(&queue).await];
    let order = leases.each_ref().map(|lease| lease.delivery.job.as_ref().unwrap().job_id.as_str());
    assert_eq!(order, ["high", "normal", "low"]);
    let later = call(&router, "GET", "/v1/jobs/later").await.json();
    assert_eq!((&later["state"], later["due_at"].is_string()), (&"queued".into(), true), "{later}");
    let waiting = call(&router, "GET", "/v1/jobs?status=scheduled").await.json();
    assert_eq!((&waiting["jobs"][0], waiting["jobs"].as_array().unwrap().len()), (&later, 1));
    let queued = call(&router, "GET", "/v1/jobs?status=queued").await.json();
    assert_eq!(queued["jobs"], waiting["jobs"], "the others are in somebody's hands");
}

#[tokio::test]
async fn cancelling_reaches_waiting_and_running_jobs() {
    let queue = queue();
    let router = routes(queue.clone());
    assert_eq!(call(&router, "DELETE", "/v1/jobs/nobody").await.problem(), "not_found");
    post(&router, "/v1/jobs", &json!({"job_id": "c", "prompt": "x"})).await;
    let lease = claim(&queue).await;
    let answer = call(&router, "DELETE", "/v1/jobs/c").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::ACCEPTED, json!({"job_id": "c"})));
    lease.stop().cancelled().await;
    assert_eq!(lease.ended(), Some(LeaseEnd::Cancelled));
    finish(lease, Status::Cancelled, &json!({"job_id": "c", "status": "cancelled"})).await;
    let again = call(&router, "DELETE", "/v1/jobs/c").await;
    assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "conflict"));
    assert_eq!(call(&router, "GET", "/v1/jobs/c").await.json()["state"], "cancelled");
}

#[tokio::test]
async fn approval_is_given_once_and_only_to_a_job_that_waits() {
    let queue = queue();
    let router = routes(queue.clone());
    for path in ["/v1/jobs/nobody/approve", "/v1/jobs/nobody/reject", "/v1/jobs/nobody/retry"] {
        assert_eq!(call(&router, "POST", path).await.problem(), "not_found", "{path}");
    }
    for (name, decision) in [("approve", Decision::Approve), ("reject", Decision::Reject)] {
        post(&router, "/v1/jobs", &json!({"job_id": name, "prompt": "x"})).await;
        let lease = claim(&queue).await;
        assert_eq!(call(&router, "POST", &format!("/v1/jobs/{name}/{name}")).await.problem(), "conflict");
        let pending = RawJson::of(&json!({"operations": [1]}));
        lease.finish(End::Park { pending, event: Event::new(EventKind::Approval) }).await.unwrap();
        let shown = call(&router, "GET", &format!("/v1/jobs/{name}")).await.json();
        assert_eq!((&shown["state"], &shown["pending"]), (&"awaiting_approval".into(), &json!({"operations": [1]})));
        let answer = call(&router, "POST", &format!("/v1/jobs/{name}/{name}")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{name}");
        let lease = claim(&queue).await;
        assert_eq!(lease.delivery.approval.as_ref().unwrap().approved, decision == Decision::Approve);
        finish(lease, Status::Completed, &json!({"job_id": name, "status": "completed"})).await;
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_put_back() {
    let queue = queue();
    let router = routes(queue.clone());
    assert_eq!(call(&router, "GET", "/v1/dead").await.json(), json!({"dead": []}));
    assert_eq!(call(&router, "POST", "/v1/dead/nobody/retry").await.problem(), "not_found");
    let raw = r#"{"job_id":"d","prompt":"x","n":1.10}"#;
    queue.submit(immediate(id("d"), raw.into())).await.unwrap();
    let error = JobError::new(ErrorCode::LlmUnavailable, "the model is down");
    let dead = End::Result {
        result: RawJson::of(&json!({"job_id": "d", "status": "failed"})),
        status: Status::Failed,
        lane: None,
        event: Event::new(EventKind::Failed),
        signal: None,
        dead: Some(error),
    };
    claim(&queue).await.finish(dead).await.unwrap();
    let letters = call(&router, "GET", "/v1/dead?offset=0&limit=10").await.json();
    let letter = &letters["dead"][0];
    assert_eq!((&letter["raw"], &letter["job_id"]), (&raw.into(), &"d".into()));
    assert_eq!(letter["error"]["type"], "llm_unavailable");
    assert_eq!(call(&router, "GET", "/v1/dead?offset=1").await.json(), json!({"dead": []}));
    assert_eq!(call(&router, "POST", "/v1/dead/d/retry").await.status, StatusCode::ACCEPTED);
    assert_eq!(claim(&queue).await.delivery.raw, raw);
    assert_eq!(call(&router, "GET", "/v1/dead").await.json(), json!({"dead": []}));
}

#[tokio::test]
async fn an_ended_job_starts_afresh_and_the_queue_can_be_held() {
    let queue = queue();
    let router = routes(queue.clone());
    post(&router, "/v1/jobs", &json!({"job_id": "r", "prompt": "x"})).await;
    assert_eq!(call(&router, "POST", "/v1/jobs/r/retry").await.problem(), "conflict");
    finish(claim(&queue).await, Status::Completed, &json!({"job_id": "r", "status": "completed"})).await;
    assert_eq!(call(&router, "POST", "/v1/queue/pause").await.json(), json!({"paused": true}));
    assert_eq!(call(&router, "POST", "/v1/jobs/r/retry").await.status, StatusCode::ACCEPTED);
    assert!(queue.claim(1).await.unwrap().is_empty());
    assert_eq!(call(&router, "POST", "/v1/queue/resume").await.json(), json!({"paused": false}));
    assert_eq!(claim(&queue).await.delivery.job.unwrap().job_id, id("r"));
}

#[tokio::test]
async fn events_start_with_what_happened_and_end_with_the_job() {
    let queue = queue();
    let router = routes(queue.clone());
    assert_eq!(call(&router, "GET", "/v1/jobs/nobody/events").await.problem(), "not_found");
    post(&router, "/v1/jobs", &json!({"job_id": "e", "prompt": "x"})).await;
    let lease = claim(&queue).await;
    queue.emit(&id("e"), Event::new(EventKind::Plan).with("text", "line\nbreak"));
    let response = router.clone().oneshot(request("GET", "/v1/jobs/e/events", Body::empty())).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    // The stream is open while the job ends.
    let result = json!({"job_id": "e", "status": "completed"});
    let (body, ()) = tokio::join!(response.into_body().collect(), finish(lease, Status::Completed, &result));
    let seen = events(&body.unwrap().to_bytes());
    let words: Vec<&str> = seen.iter().map(|(word, _, _)| word.as_str()).collect();
    assert!(words.contains(&"plan"), "{words:?}");
    assert_eq!(words.last(), Some(&"completed"));
    for (word, _, data) in &seen {
        assert_eq!(data["job_id"], "e", "{word}: {data}");
        assert!(data["at"].is_string(), "{word}: {data}");
    }
    let plan = seen.iter().find(|(word, _, _)| word == "plan").unwrap();
    assert_eq!(plan.2["text"], "line\nbreak");

    // A client that comes back gets what it missed, and nothing twice.
    let after = |last: &str| {
        let mut request = request("GET", "/v1/jobs/e/events", Body::empty());
        request.headers_mut().insert("last-event-id", last.parse().unwrap());
        request
    };
    let rest = events(&send(&router, after(&plan.1)).await.body);
    let place = seen.iter().position(|event| event == plan).unwrap();
    assert_eq!(rest, seen[place + 1..]);
    let end = send(&router, after(&seen.last().unwrap().1)).await;
    assert_eq!((end.status, end.body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(send(&router, after("nonsense")).await.problem(), "bad_request");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_an_ended_job_ends_at_once_whatever_stands_behind_its_end() {
    let queue = queue();
    let router = routes(queue.clone());
    let job = json!({"job_id": "d", "prompt": "x"});
    post(&router, "/v1/jobs", &job).await;
    finish(claim(&queue).await, Status::Completed, &json!({"job_id": "d", "status": "completed"})).await;
    post(&router, "/v1/jobs", &job).await;
    claim(&queue).await.finish(End::Duplicate).await.unwrap();
    let words = async || -> Vec<String> {
        let seen = events(&call(&router, "GET", "/v1/jobs/d/events").await.body);
        seen.into_iter().map(|(word, ..)| word).collect()
    };
    // The clock moves by itself only where somebody waits.
    let began = tokio::time::Instant::now();
    assert_eq!(words().await, ["queued", "completed"]);
    // Of a worker that did not know yet.
    queue.emit(&id("d"), Event::new(EventKind::Token));
    assert_eq!(words().await, ["queued", "completed", "token"]);
    assert_eq!(began.elapsed(), Duration::ZERO);
    // One that starts afresh behind its end is followed to the new one.
    call(&router, "POST", "/v1/jobs/d/retry").await;
    let lease = claim(&queue).await;
    let result = json!({"job_id": "d", "status": "failed"});
    let (seen, ()) = tokio::join!(words(), finish(lease, Status::Failed, &result));
    assert_eq!(seen, ["queued", "failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_kept_alive_and_ends_when_the_server_stops() {
    let app = app(queue(), Settings::default());
    let closing = app.closing.clone();
    let router = router(app);
    post(&router, "/v1/jobs", &json!({"job_id": "q", "prompt": "x"})).await;
    let response = router.oneshot(request("GET", "/v1/jobs/q/events", Body::empty())).await.unwrap();
    let mut body = response.into_body();
    let mut text = String::new();
    while !text.contains(": keep-alive\n\n") {
        text.push_str(std::str::from_utf8(&body.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap());
    }
    assert!(text.starts_with("retry: 2000\n\n"), "{text}");
    closing.cancel();
    assert!(tokio::time::timeout(Duration::from_secs(1), body.frame()).await.unwrap().is_none());
}

#[tokio::test]
async fn artifacts_come_by_every_form_of_their_reference() {
    let queue = queue();
    let router = routes(queue.clone());
    for path in ["artifact%3A%2F%2F0198-big", "artifact://0198-big", "0198-big"] {
        let answer = call(&router, "GET", &format!("/v1/artifacts/{path}")).await;
        assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::OK, ARTIFACT.1), "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        let mut again = request("GET", &format!("/v1/artifacts/{path}"), Body::empty());
        again.headers_mut().insert("if-none-match", answer.header("etag").parse().unwrap());
        assert_eq!(send(&router, again).await.status, StatusCode::NOT_MODIFIED);
    }
    for path in ["nothing", "http:%2F%2Fa.b", "a%20b"] {
        assert_eq!(call(&router, "GET", &format!("/v1/artifacts/{path}")).await.problem(), "not_found", "{path}");
    }
    // A small result stands in its document alone; its reference is the job's id.
    post(&router, "/v1/jobs", &json!({"job_id": "small", "prompt": "x"})).await;
    finish(claim(&queue).await, Status::Completed, &json!({"job_id": "small", "result": {"data": [1]}})).await;
    let answer = call(&router, "GET", "/v1/artifacts/artifact%3A%2F%2Fsmall").await;
    assert_eq!(answer.json(), json!({"data": [1]}));
}

#[tokio::test]
async fn health_and_metrics_see_the_queue() {
    let queue = queue();
    let router = routes(queue.clone());
    let health = call(&router, "GET", "/health").await;
    assert_eq!((health.status, &health.json()["status"]), (StatusCode::OK, &"ok".into()));
    assert_eq!(call(&router, "GET", "/health/ready").await.status, StatusCode::OK);
    queue.submit(immediate(id("m"), r#"{"job_id":"m","prompt":"x"}"#.into())).await.unwrap();
    // Tests share the process and its gauges: only that they are numbers can be known here.
    let text = call(&router, "GET", "/metrics").await.body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains(r#"agent_runner_queue_depth{state="dead"}"#), "{text}");
    assert!(text.contains("agent_runner_queue_oldest_age_seconds"), "{text}");
}
