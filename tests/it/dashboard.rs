//! The dashboard's pages: what they show, what their forms do, and that nothing from outside becomes markup.

use std::sync::Arc;

use agent_runner::{
    http::router,
    job::{Event, EventKind, JobId, RawJson},
    queue::{End, JobState, MemoryQueue, Queue},
    settings::Settings,
    store::MemoryStore,
};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use serde_json::json;

use crate::support::{
    api::{Answer, agents, app, call, send},
    redis::quick,
    rig::{done, failed, job},
};

struct Desk {
    queue: Arc<MemoryQueue>,
    pages: Router,
}

impl Desk {
    fn with(settings: Settings) -> Self {
        let queue = MemoryQueue::new(&quick());
        let mut app = app(queue.clone(), settings);
        let file = std::fs::read_to_string("examples/agents.yaml").unwrap();
        app.agents = agents(&file, MemoryStore::new(1 << 20));
        Self { queue, pages: router(app) }
    }

    fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Puts a job in and ends it so.
    async fn ended(&self, id: &str, prompt: &str, end: End) {
        self.queue.push(json!({"job_id": id, "prompt": prompt}).to_string().into_bytes()).unwrap();
        let lease = self.queue.claim(1).await.unwrap().pop().unwrap();
        lease.finish(end).await.unwrap();
    }

    async fn get(&self, path: &str) -> Answer {
        call(&self.pages, "GET", path).await
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        answer.text()
    }

    async fn post(&self, path: &str, form: &str) -> Answer {
        let request = Request::post(path)
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        send(&self.pages, request.body(Body::from(form.to_owned())).unwrap()).await
    }

    async fn state(&self, id: &str) -> JobState {
        self.queue.job(&job(id)).await.unwrap().unwrap().state
    }
}

fn result(document: serde_json::Value) -> End {
    match done("1") {
        End::Result { status, lane, event, signal, dead, .. } => {
            End::Result { result: RawJson::of(&document), status, lane, event, signal, dead }
        }
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn every_page_is_html_that_loads_nothing_from_elsewhere() {
    let desk = Desk::new();
    desk.ended("a", "top 5", done("1")).await;
    for path in ["/", "/?range=day", "/ui/jobs", "/ui/jobs/a", "/ui/dead", "/ui/agents", "/ui/playground", "/ui/login"]
    {
        let answer = desk.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"), "{path}");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        // A browser would send forms with `Origin: null` otherwise, and be refused.
        assert_eq!(answer.headers[header::REFERRER_POLICY], "same-origin", "{path}");
        let text = answer.text();
        for foreign in ["src=\"http", "href=\"http", "style=", "onclick", "<style"] {
            assert!(!text.contains(foreign), "{path}: {foreign}");
        }
    }
    for name in ["app.css", "app.js", "icon.svg"] {
        assert_eq!(desk.get(&format!("/assets/{name}")).await.status, StatusCode::OK);
    }
    assert_eq!(desk.get("/assets/other").await.status, StatusCode::NOT_FOUND);
    let missing = desk.get("/ui/jobs/nobody").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.text().contains("no job nobody is known"), "{}", missing.text());
}

#[tokio::test]
async fn what_came_from_outside_is_text_and_never_markup() {
    const EVIL: &str = "</script><script>alert(1)</script>\"'><img src=x>";
    let desk = Desk::new();
    let document = json!({
        "status": "completed", "error": {"type": EVIL, "message": EVIL}, "result": {"data": [{EVIL: EVIL}]},
        "metadata": {"intent": {"intent": EVIL, "reasoning": EVIL}, "warnings": [EVIL],
            "tool_calls": [{"tool": EVIL, "status": EVIL, "args": {EVIL: EVIL}, "error": EVIL}]},
    });
    desk.ended("a", EVIL, result(document)).await;
    desk.queue.push(format!("{EVIL} no json").into_bytes()).unwrap();
    let lease = desk.queue.claim(1).await.unwrap().pop().unwrap();
    let error = lease.delivery.job.as_ref().unwrap_err().error.clone();
    lease.finish(End::Dead { error }).await.unwrap();
    for path in ["/ui/jobs/a", "/ui/jobs?q=%3Cscript%3E", "/ui/dead", "/ui/login?next=%22%3E%3Cscript%3E"] {
        let text = desk.text(path).await;
        assert!(!text.contains("<script>") && !text.contains("<img"), "{path}: {text}");
    }
    assert!(desk.text("/ui/jobs/a").await.contains("&#60;img src=x&#62;"));
    let page = desk.post("/ui/playground", "prompt=%3Cimg%20src%3Dx%3E").await.text();
    assert!(page.contains("&#60;img") && !page.contains("<img"));
}

#[tokio::test]
async fn a_job_page_shows_what_was_understood_done_and_paid() {
    let desk = Desk::new();
    let document = json!({
        "status": "completed", "lane": "execute", "result_ref": "artifact://a",
        "result": {"data": [{"airline": "Aurora", "price": 1.5}], "steps": [
            {"step": "table_sort", "rows_in": 9, "rows_out": 9, "duration_ms": 3.0},
            {"step": "top_k", "rows_in": 9, "rows_out": 1, "duration_ms": 1.0}]},
        "metadata": {"intent": {"intent": "execute", "confidence": 0.97, "reasoning": "a superlative", "source": "rules"},
            "tool_calls": [{"tool": "execute_pipeline", "status": "ok", "args": {"k": 1}, "duration_ms": 4}],
            "llm_calls": 1, "llm_model": "small", "cost_usd": 0.0125, "tokens": {"prompt": 900, "completion": 20, "cached": 0},
            "execution_time_ms": 1234, "warnings": ["two rows had no price"]},
    });
    desk.ended("a", "the cheapest flight", result(document)).await;
    let text = desk.text("/ui/jobs/a").await;
    for shown in [
        "the cheapest flight",
        "97 % sure (rules): a superlative",
        "execute_pipeline",
        "9 → 1",
        "<rect x=\"225.0\"",
        "1.2 s",
        "$0.012500",
        "900 prompt",
        "two rows had no price",
        "<th scope=\"col\">airline</th><th scope=\"col\" class=\"number\">price</th>",
        "/v1/artifacts/artifact%3A%2F%2Fa",
        "data-events=\"/v1/jobs/a/events\"",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[tokio::test]
async fn a_job_that_failed_shows_how_far_it_came() {
    let desk = Desk::new();
    let message = json!({"job_id": "f", "prompt": "top 5", "run_id": "run-7", "node_id": "node-3", "workflow_owner": "acme",
        "workflow_tag": "tag-1", "data": [{"a": 1}], "input_ref": "artifact://a?token=abcdefgh"});
    desk.queue.push(message.to_string().into_bytes()).unwrap();
    let lease = desk.queue.claim(1).await.unwrap().pop().unwrap();
    let step = |name: &str, number: usize, rows: usize| {
        let event = Event::new(EventKind::StepFinished).with("step", name).with("step_number", number);
        event.with("rows_in", rows).with("rows_out", rows).with("duration_ms", 20_000.5)
    };
    for event in [
        Event::new(EventKind::Started),
        step("literal", 1, 77),
        Event::new(EventKind::ToolStarted).with("tool", "execute_pipeline"),
        step("http_request", 1, 5),
    ] {
        desk.queue.emit(&job("f"), event);
    }
    let error = json!({"type": "handoff_failed", "message": "no", "retryable": true, "step": "aggregate",
        "details": {"step_number": 2, "execution_id": "exec-1"}});
    lease.finish(result(json!({"status": "failed", "error": error}))).await.unwrap();
    let text = desk.text("/ui/jobs/f").await;
    for shown in [
        "1 http_request</td><td>5 → 5</td><td class=\"number\">20000.500 ms",
        "2 aggregate <span class=\"state failed\">",
        "run-7",
        "node-3",
        "acme",
        "tag-1",
        "Retryable",
        "href=\"/ui/dead\"",
        "href=\"/ui/handoffs/exec%2D1\"",
        "<summary>The job</summary>",
        "role=\"log\"",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("77 → 77"), "of an earlier attempt: {text}");
    assert!(!text.contains("abcdefgh"), "credentials are hidden: {text}");
}

#[tokio::test]
async fn a_job_that_waits_for_approval_has_its_lane() {
    let desk = Desk::new();
    for (id, pending) in [
        ("patch", json!({"operations": [], "diff": {}})),
        ("call", json!({"kind": "tool_call", "tool": "mail", "arguments": {}, "step": "1"})),
    ] {
        desk.queue.push(json!({"job_id": id, "prompt": "p"}).to_string().into_bytes()).unwrap();
        let lease = desk.queue.claim(1).await.unwrap().pop().unwrap();
        let event = Event::new(EventKind::Approval);
        lease.finish(End::Park { pending: RawJson::of(&pending), event }).await.unwrap();
    }
    for (lane, there, away) in [("patch", "patch", "call"), ("handoff", "call", "patch")] {
        for status in ["", "&status=awaiting_approval"] {
            let text = desk.text(&format!("/ui/jobs?lane={lane}{status}")).await;
            assert!(text.contains(&format!("/ui/jobs/{there}\"")), "{lane}: {text}");
            assert!(!text.contains(&format!("/ui/jobs/{away}\"")), "{lane}: {text}");
        }
    }
}

#[tokio::test]
async fn only_a_change_of_a_workflow_is_only_shown() {
    let mut app = app(MemoryQueue::new(&quick()), Settings::default());
    let run = app.run.clone();
    app.run = Arc::new(move |mut job| {
        job.prompt = Some(format!("dry: {}", job.dry_run).into());
        run(job)
    });
    let pages = router(app);
    for (form, said) in [
        ("prompt=p&data=%5B%5D&dry_run=on", "dry: false"),
        ("prompt=p&workflow=%7B%22nodes%22%3A%5B%5D%7D&dry_run=on", "dry: true"),
        ("prompt=p&workflow=%7B%22nodes%22%3A%5B%5D%7D", "dry: false"),
    ] {
        let request = Request::post("/ui/playground")
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let page = send(&pages, request.body(Body::from(form)).unwrap()).await.text();
        assert!(page.contains(said), "{form}: {page}");
    }
}

#[tokio::test]
async fn a_patch_is_drawn_before_and_after() {
    let desk = Desk::new();
    let workflow = json!({"nodes": [{"id": "a", "type": "http"}, {"id": "b", "type": "function"}], "edges": [{"from": "a", "to": "b"}]});
    let message = json!({"job_id": "p", "prompt": "remove b", "current_workflow": workflow});
    desk.queue.push(message.to_string().into_bytes()).unwrap();
    let lease = desk.queue.claim(1).await.unwrap().pop().unwrap();
    let patch = json!({"operations": [{"op": "remove", "path": "/edges/0"}, {"op": "remove", "path": "/nodes/1"}], "inverse": [],
        "diff": {"nodes_removed": ["b"], "edges_removed": ["a->b"]}, "description": "b goes"});
    lease.finish(result(json!({"status": "completed", "lane": "patch", "result": patch}))).await.unwrap();
    let text = desk.text("/ui/jobs/p").await;
    assert!(text.contains("aria-label=\"Before: a, b (removed); a to b (removed)\""), "{text}");
    assert!(text.contains("aria-label=\"After: a; \""), "{text}");
}

#[tokio::test]
async fn forms_do_what_their_buttons_say_and_lead_back() {
    let desk = Desk::new();
    desk.ended("dead", "p", failed("1", true)).await;
    desk.ended("gone", "p", failed("1", true)).await;
    assert!(desk.text("/ui/dead").await.contains("2 in all"));
    let done = desk.post("/ui/dead", "action=discard&id=gone").await;
    assert_eq!(
        (done.status, &done.headers[header::LOCATION]),
        (StatusCode::SEE_OTHER, &"/ui/dead?discarded=1".parse().unwrap())
    );
    desk.post("/ui/dead", "action=retry&id=dead").await;
    assert_eq!(desk.queue.stats().await.unwrap().dead, 0);
    assert_eq!(desk.state("dead").await, JobState::Queued);
    assert_eq!(desk.post("/ui/jobs/dead", "action=cancel").await.status, StatusCode::SEE_OTHER);
    assert_eq!(desk.post("/ui/jobs/dead", "action=approve").await.status, StatusCode::CONFLICT);
    assert_eq!(desk.post("/ui/jobs/dead", "action=explode").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(desk.post("/ui/jobs/nobody", "action=cancel").await.status, StatusCode::NOT_FOUND);
    desk.post("/ui/queue", "action=pause").await;
    assert!(desk.text("/").await.contains("The queue is paused"));
    desk.post("/ui/queue", "action=resume").await;
    assert!(!desk.queue.stats().await.unwrap().paused);
    let foreign =
        Request::post("/ui/queue").header(header::HOST, "127.0.0.1").header(header::ORIGIN, "http://evil.example");
    let refused = send(&desk.pages, foreign.body(Body::from("action=pause")).unwrap()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!desk.queue.stats().await.unwrap().paused);
}

#[tokio::test]
async fn jobs_are_found_by_id_and_narrowed_by_state() {
    let desk = Desk::new();
    desk.ended("alpha", "p", done("1")).await;
    desk.ended("beta", "p", failed("1", false)).await;
    let failed = desk.text("/ui/jobs?status=failed").await;
    assert!(failed.contains(">beta</a>") && !failed.contains(">alpha</a>"));
    let part = desk.text("/ui/jobs?q=alp").await;
    assert!(part.contains(">alpha</a>") && !part.contains(">beta</a>"));
    let whole = desk.get("/ui/jobs?q=alpha").await;
    assert_eq!(
        (whole.status, &whole.headers[header::LOCATION]),
        (StatusCode::SEE_OTHER, &"/ui/jobs/alpha".parse().unwrap())
    );
    assert!(JobId::parse("alpha").is_ok());
}

#[tokio::test]
async fn a_filter_that_nobody_knows_is_told_and_not_ignored() {
    let desk = Desk::new();
    for (path, name, allowed) in [
        ("/ui/jobs?status=zzz", "status", "awaiting_approval"),
        ("/ui/jobs?lane=zzz", "lane", "handoff"),
        ("/ui/jobs?limit=abc", "limit", "200"),
        ("/ui/jobs?limit=7", "limit", "1000"),
        ("/?range=zzz", "range", "day"),
    ] {
        let answer = desk.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        let page = answer.text();
        assert!(page.starts_with("<!doctype html>"), "{path}: {page}");
        assert!(page.contains(&format!("`{name}` must be")) && page.contains(allowed), "{path}: {page}");
    }
    assert_eq!(desk.get("/ui/dead?cursor=abc").await.status, StatusCode::BAD_REQUEST);
    // What a form left blank asks for nothing.
    desk.ended("alpha", "p", done("1")).await;
    for path in ["/ui/jobs?status=&lane=&q=&limit=50", "/?range=hour"] {
        desk.text(path).await;
    }
    assert!(desk.text("/ui/jobs?status=&lane=&q=&limit=").await.contains(">alpha</a>"));
}

#[tokio::test]
async fn a_sentence_is_tried_and_its_trail_shown() {
    let desk = Desk::new();
    let page = desk.post("/ui/agents", "prompt=write+a+SQL+query+for+the+average+order+value").await.text();
    assert!(page.contains("<strong>Data Analyst</strong> takes it"), "{page}");
    let trail = page.split("href=\"/ui/handoffs/").nth(1).unwrap().split('"').next().unwrap();
    let timeline = desk.text(&format!("/ui/handoffs/{trail}")).await;
    assert!(timeline.contains("<strong>select</strong> data-analyst"), "{timeline}");
    assert!(timeline.contains("<th scope=\"col\" class=\"number\">Needed</th>"), "{timeline}");
    assert!(timeline.contains("<td>Data Analyst</td><td class=\"number\">"), "{timeline}");
    assert_eq!(desk.get("/ui/handoffs/nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_is_traded_for_a_cookie_that_pages_take() {
    let mut settings = Settings::default();
    settings.http.token = Some("s3cret".into());
    let desk = Desk::with(settings);
    let away = desk.get("/ui/jobs?status=failed").await;
    assert_eq!(away.status, StatusCode::SEE_OTHER);
    assert_eq!(away.headers[header::LOCATION], "/ui/login?next=%2Fui%2Fjobs%3Fstatus%3Dfailed");
    assert_eq!(desk.get("/v1/jobs").await.status, StatusCode::UNAUTHORIZED, "programs are told");
    assert_eq!(desk.get("/ui/login").await.status, StatusCode::OK);
    assert_eq!(desk.get("/assets/app.css").await.status, StatusCode::OK);
    let wrong = desk.post("/ui/login", "token=guess&next=%2Fui%2Fjobs").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.headers.get(header::SET_COOKIE).is_none() && wrong.text().contains("not the token"));
    let right = desk.post("/ui/login", "token=s3cret&next=%2Fui%2Fjobs").await;
    assert_eq!((right.status, &right.headers[header::LOCATION]), (StatusCode::SEE_OTHER, &"/ui/jobs".parse().unwrap()));
    let cookie = right.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains("s3cret"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    for (path, status) in [("/", StatusCode::OK), ("/v1/jobs", StatusCode::OK)] {
        let request = Request::get(path)
            .header(header::HOST, "127.0.0.1")
            .header(header::COOKIE, pair)
            .body(Body::empty())
            .unwrap();
        let answer = send(&desk.pages, request).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.text().contains("action=\"/ui/logout\""), path == "/", "{path}");
    }
    assert!(!Desk::new().text("/").await.contains("/ui/logout"), "nobody signed in where there are no tokens");
    let elsewhere = desk.post("/ui/login", "token=s3cret&next=%2F%2Fevil.example").await;
    assert_eq!(elsewhere.headers[header::LOCATION], "/");
}
