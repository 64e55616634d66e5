//! Tokens with owners: each sees and does what is its owner's, and cannot tell what else there is.

use std::sync::Arc;

use agent_runner::{
    http::router,
    job::RawJson,
    queue::{End, MemoryQueue, RedisQueue, SharedQueue},
    settings::{Settings, section},
    store::{Artifacts, MemoryStore, SharedStore},
};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{
    api::{Answer, agents, app, request, send},
    redis::{Redis, quick},
    rig::{done, failed, finish, job},
};

/// A server with an admin, two who submit, and one who only looks.
struct House {
    queue: SharedQueue,
    store: SharedStore,
    api: Router,
    _redis: Option<Redis>,
}

fn settings(mut settings: Settings) -> Settings {
    settings.http = section(json!({"token": "root", "tokens": [
        {"token": "other-root", "role": "admin"},
        {"token": "ann", "owner": "Ann & Co", "role": "submit"},
        {"token": "ann-looks", "owner": "Ann & Co", "role": "read"},
        {"token": "bob", "owner": "bob", "role": "submit"},
    ]}))
    .unwrap();
    settings
}

impl House {
    fn over(queue: SharedQueue, base: Settings, redis: Option<Redis>) -> Self {
        let store = MemoryStore::new(1 << 20);
        let mut app = app(queue.clone(), settings(base));
        app.kept.store = store.clone();
        let artifacts = Artifacts::new(store.clone(), std::time::Duration::from_secs(60));
        app.kept.artifacts = Arc::new(move |reference| {
            let artifacts = artifacts.clone();
            Box::pin(async move { artifacts.get(&reference).await.map_err(|error| error.to_string()) })
        });
        let file = std::fs::read_to_string("examples/agents.yaml").unwrap();
        app.agents = agents(&file, store.clone());
        Self { queue, store, api: router(app), _redis: redis }
    }

    fn memory() -> Self {
        Self::over(MemoryQueue::new(&quick()), quick(), None)
    }

    async fn redis() -> Self {
        let redis = Redis::start();
        let settings = redis.settings();
        Self::over(RedisQueue::connect(&settings).await.unwrap(), settings, Some(redis))
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let mut request = request(method, path, body.to_owned());
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        send(&self.api, request).await
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, "GET", path, "").await
    }

    async fn submit(&self, token: &str, id: &str) {
        let answer = self.ask(token, "POST", "/v1/jobs", &json!({"job_id": id, "prompt": "p"}).to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }

    async fn end(&self, end: End) {
        let lease = loop {
            if let Some(lease) = self.queue.claim(1).await.unwrap().pop() {
                break lease;
            }
        };
        finish(lease, end).await;
    }

    /// The ids that a token sees in the list of jobs.
    async fn listed(&self, token: &str) -> Vec<String> {
        let list = self.get(token, "/v1/jobs").await.json();
        let mut ids: Vec<String> =
            list["jobs"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }
}

async fn everybody_sees_their_own(house: House) {
    house.submit("ann", "a").await;
    house.end(done(r#"{"status":"completed","result":[1]}"#)).await;
    house.submit("bob", "b").await;
    house.end(done(r#"{"status":"completed","result":[2]}"#)).await;
    house.submit("root", "nobodys").await;
    let on_behalf = json!({"job_id": "a2", "prompt": "p", "workflow_owner": "Ann & Co"}).to_string();
    assert_eq!(house.ask("root", "POST", "/v1/jobs", &on_behalf).await.status, StatusCode::ACCEPTED);

    for (token, ids) in [
        ("root", &["a", "a2", "b", "nobodys"][..]),
        ("other-root", &["a", "a2", "b", "nobodys"]),
        ("ann", &["a", "a2"]),
        ("ann-looks", &["a", "a2"]),
        ("bob", &["b"]),
    ] {
        assert_eq!(house.listed(token).await, ids, "{token}");
    }
    assert_eq!(house.get("ann", "/v1/jobs/a").await.json()["result"]["result"], json!([1]));
    assert_eq!(house.get("ann", "/v1/artifacts/a").await.json(), json!([1]));
    assert!(house.get("ann-looks", "/v1/jobs/a/events").await.text().contains("event: completed"));
}

#[tokio::test]
async fn everybody_sees_their_own_in_process() {
    everybody_sees_their_own(House::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_their_own_on_redis() {
    everybody_sees_their_own(House::redis().await).await;
}

/// What a stranger is told about a thing must be what is told about nothing at all, but for the id.
async fn same_as_nothing(house: &House, method: &str, path: &str, id: &str) {
    let there = house.ask("bob", method, path, "").await;
    let nothing = house.ask("bob", method, &path.replace(id, "nowhere"), "").await;
    assert_eq!(there.status, StatusCode::NOT_FOUND, "{method} {path}: {there:?}");
    assert_eq!(there.status, nothing.status, "{method} {path}");
    assert_eq!(there.text().replace(id, "nowhere"), nothing.text(), "{method} {path}");
    let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&there), names(&nothing));
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there() {
    let house = House::memory();
    house.submit("ann", "ann-1").await;
    house.end(done(r#"{"status":"completed","result":[1]}"#)).await;
    house.submit("ann", "ann-dead").await;
    house.end(failed("1", true)).await;
    let artifacts = Artifacts::new(house.store.clone(), std::time::Duration::from_secs(60));
    let kept = artifacts.put_for(agent_runner::job::Owner::of("Ann & Co").as_ref(), Bytes::from_static(b"[7]")).await;
    let kept = kept.unwrap().replace("cas://", "");
    assert_eq!(house.get("ann", &format!("/v1/artifacts/{kept}")).await.json(), json!([7]));
    let route = house.ask("ann", "POST", "/v1/agents/route", r#"{"prompt":"review my pull request"}"#).await.json();
    let execution = route["execution_id"].as_str().unwrap();
    assert_eq!(house.get("ann-looks", &format!("/v1/handoffs/{execution}")).await.status, StatusCode::OK);
    assert_eq!(house.get("ann", "/v1/handoffs").await.json()["analytics"]["executions"], 1);
    assert_eq!(house.get("bob", "/v1/handoffs").await.json()["analytics"]["executions"], 0);
    for (who, shown) in [("ann", true), ("bob", false)] {
        assert_eq!(house.get(who, "/ui/agents").await.text().contains(execution), shown, "{who}");
    }

    for (method, path) in [
        ("GET", "/v1/jobs/ann-1"),
        ("GET", "/v1/jobs/ann-1/events"),
        ("DELETE", "/v1/jobs/ann-1"),
        ("POST", "/v1/jobs/ann-1/approve"),
        ("POST", "/v1/jobs/ann-1/reject"),
        ("POST", "/v1/jobs/ann-1/retry"),
        ("GET", "/v1/artifacts/ann-1"),
        ("GET", "/v1/artifacts/artifact:%2F%2Fann-1"),
        ("GET", "/ui/jobs/ann-1"),
        ("POST", "/v1/dead/ann-1/retry"),
    ] {
        same_as_nothing(&house, method, path, "ann-1").await;
    }
    same_as_nothing(&house, "POST", "/v1/dead/ann-dead/retry", "ann-dead").await;
    let hash = kept.trim_start_matches("sha256:");
    same_as_nothing(&house, "GET", &format!("/v1/artifacts/{kept}"), hash).await;
    same_as_nothing(&house, "GET", &format!("/v1/handoffs/{execution}"), execution).await;
    same_as_nothing(&house, "GET", &format!("/ui/handoffs/{execution}"), execution).await;
    assert_eq!(house.get("bob", "/v1/artifacts/cas:%2F%2Fsha256:00").await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.get("bob", "/v1/dead").await.json(), json!({"dead": []}));
    assert_eq!(house.get("ann", "/v1/dead").await.json()["dead"][0]["job_id"], "ann-dead");
    assert_eq!(house.ask("ann", "POST", "/v1/dead/ann-dead/retry", "").await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn nobody_works_in_another_name() {
    let house = House::memory();
    for body in [
        json!({"prompt": "p", "workflow_owner": "bob"}).to_string(),
        r#"{"prompt":"p","workflow_owner":"Ann & Co","workflow_owner":"bob"}"#.to_owned(),
        r#"{"prompt":"p","workflow_\u006fwner":"bob"}"#.to_owned(),
    ] {
        for path in ["/v1/jobs", "/test/chat"] {
            let answer = house.ask("ann", "POST", path, &body).await;
            assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::FORBIDDEN, "foreign_owner"), "{body}");
        }
    }
    for body in
        [r#"{"job_id":"x","prompt":"p","workflow_owner":""}"#, r#"{"job_id":"y","prompt":"p","workflow_owner":null}"#]
    {
        assert_eq!(house.ask("ann", "POST", "/v1/jobs", body).await.status, StatusCode::ACCEPTED);
        let lease = house.queue.claim(1).await.unwrap().pop().unwrap();
        assert_eq!(lease.delivery.job.as_ref().unwrap().workflow_owner.as_deref(), Some("Ann & Co"), "{body}");
    }
    // An id of somebody else would give out its result, or what is on record of it.
    house.submit("bob", "taken").await;
    house.end(done(r#"{"status":"completed","result":"canary"}"#)).await;
    let body = r#"{"job_id":"taken","prompt":"p"}"#;
    let answer = house.ask("ann", "POST", "/v1/jobs?wait=5", body).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::CONFLICT, "conflict"));
    assert_eq!(house.ask("ann", "POST", "/test/chat", body).await.problem(), "bad_request");
    assert_eq!(house.ask("ann", "POST", "/test/chat", r#"{"prompt":"hello"}"#).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_role_reaches_so_far() {
    let house = House::memory();
    house.submit("ann", "a").await;
    let job = r#"{"prompt":"p"}"#;
    for (method, path, body, ann, looks) in [
        ("GET", "/v1/jobs", "", 200, 200),
        ("GET", "/v1/agents", "", 200, 200),
        ("GET", "/openapi.json", "", 200, 200),
        ("POST", "/v1/jobs", job, 202, 403),
        ("POST", "/test/chat", job, 200, 403),
        ("POST", "/v1/agents/route", job, 200, 403),
        ("POST", "/ui/playground", "prompt=x", 200, 403),
        ("DELETE", "/v1/jobs/a", "", 202, 403),
        ("DELETE", "/v1/dead/a", "", 404, 403),
        ("POST", "/v1/queue/pause", "", 403, 403),
        ("POST", "/v1/queue/resume", "", 403, 403),
        ("POST", "/ui/queue", "action=pause", 403, 403),
        ("GET", "/v1/nothing", "", 404, 404),
    ] {
        for (token, expected) in [("ann", ann), ("ann-looks", looks)] {
            let mut request = request(method, path, body);
            if path.starts_with("/ui/") {
                let form = "application/x-www-form-urlencoded".parse().unwrap();
                request.headers_mut().insert(header::CONTENT_TYPE, form);
            }
            let authorization = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
            let answer = send(&house.api, request).await;
            assert_eq!(answer.status.as_u16(), expected, "{token} {method} {path}: {}", answer.text());
            if expected == 403 && !path.starts_with("/ui/") {
                assert_eq!(answer.problem(), "forbidden");
            }
        }
    }
    assert!(!house.queue.stats().await.unwrap().paused);
    assert_eq!(house.ask("other-root", "POST", "/v1/queue/pause", "").await.status, StatusCode::OK);
    assert!(house.queue.stats().await.unwrap().paused);
    // The role is looked at before the body.
    let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let mut request = request("POST", "/v1/jobs", endless);
    request.headers_mut().insert(header::AUTHORIZATION, "Bearer ann-looks".parse().unwrap());
    assert_eq!(send(&house.api, request).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn pages_show_what_their_token_may_see() {
    let house = House::memory();
    house.submit("ann", "ann-1").await;
    house.end(failed("1", true)).await;
    house.submit("bob", "bob-1").await;
    house.end(failed("1", true)).await;
    for (token, own, others, fleet, acts) in [
        ("root", "ann-1", "nothing-of-it", true, true),
        ("ann", "ann-1", "bob-1", false, true),
        ("ann-looks", "ann-1", "bob-1", false, false),
        ("bob", "bob-1", "ann-1", false, true),
    ] {
        let form = Request::post("/ui/login").header(header::HOST, "h").body(Body::from(format!("token={token}")));
        let answer = send(&house.api, form.unwrap()).await;
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        let page = async |path: &str| {
            let request = Request::get(path).header(header::HOST, "h").header(header::COOKIE, &cookie);
            send(&house.api, request.body(Body::empty()).unwrap()).await
        };
        for path in ["/", "/ui/jobs", "/ui/dead"] {
            let text = page(path).await.text();
            assert!(text.contains(own) && !text.contains(others), "{token} {path}: {text}");
        }
        let first = page("/").await.text();
        assert_eq!(
            (first.contains("Throughput"), first.contains("Dead letters</a></dt>")),
            (first.contains("<figure"), fleet)
        );
        assert_eq!((first.contains("action=\"/ui/queue\""), first.contains("<figure")), (fleet, fleet), "{token}");
        assert_eq!(page(&format!("/ui/jobs/{own}")).await.text().contains("Run again"), acts, "{token}");
        assert_eq!(page(&format!("/ui/jobs/{others}")).await.status, StatusCode::NOT_FOUND, "{token}");
        assert_eq!(page("/ui/dead").await.text().contains("Discard"), acts, "{token}");
        let found = page(&format!("/ui/jobs?q={others}")).await;
        assert_eq!(found.status, StatusCode::OK, "{token} is not led to a job that is not there for it");
        // The form for all letters reaches one's own only.
        let discard = Request::post("/ui/dead").header(header::HOST, "h").header(header::COOKIE, &cookie);
        let answer = send(&house.api, discard.body(Body::from(format!("action=discard&id={others}"))).unwrap()).await;
        let expected = if fleet {
            StatusCode::SEE_OTHER
        } else if acts {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(answer.status, expected, "{token}");
    }
    assert_eq!(house.queue.dead(0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_job_that_waits_is_its_owners_to_decide() {
    let house = House::memory();
    house.submit("ann", "a").await;
    let pending = RawJson::of(&json!({"ops": []}));
    let event = agent_runner::job::Event::new(agent_runner::job::EventKind::Approval);
    house.end(End::Park { pending, event }).await;
    for (token, status) in
        [("bob", StatusCode::NOT_FOUND), ("ann-looks", StatusCode::FORBIDDEN), ("ann", StatusCode::ACCEPTED)]
    {
        assert_eq!(house.ask(token, "POST", "/v1/jobs/a/approve", "").await.status, status, "{token}");
    }
    let lease = house.queue.claim(1).await.unwrap().pop().unwrap();
    assert!(lease.delivery.approval.as_ref().unwrap().approved);
    assert!(house.queue.job(&job("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn an_owner_that_starts_too_much_is_told_when_to_come_back() {
    let redis = Redis::start();
    let mut limited = settings(redis.settings());
    limited.security.quotas =
        section(json!({"default": {"jobs_per_minute": 2}, "owners": {"bob": {"jobs_per_minute": 3}}})).unwrap();
    let queue: SharedQueue = MemoryQueue::new(&quick());
    // Two processes of one fleet share the count.
    let process = || {
        let mut app = app(queue.clone(), limited.clone());
        app.kept.store = agent_runner::store::RedisStore::connect(&limited).unwrap();
        router(app)
    };
    let fleet = [process(), process()];
    let mut n = 0;
    let mut post = async |token: &str, body: Value| {
        n += 1;
        let mut request = request("POST", "/v1/jobs", body.to_string());
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        send(&fleet[n % 2], request).await
    };
    let job = || json!({"prompt": "p"});
    for (token, allowed) in [("ann", 2), ("bob", 3)] {
        for _ in 0..allowed {
            assert_eq!(post(token, job()).await.status, StatusCode::ACCEPTED);
        }
        let answer = post(token, job()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"));
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    }
    // Whoever submits in ann's name uses ann's quota; jobs of nobody have none.
    let answer = post("root", json!({"prompt": "p", "workflow_owner": "Ann & Co"})).await;
    assert_eq!(answer.problem(), "quota_exceeded");
    for _ in 0..5 {
        assert_eq!(post("root", job()).await.status, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn credentials_in_dead_letters_are_not_given_out() {
    let house = House::memory();
    let message = json!({"job_id": "a", "prompt": "p", "workflow_owner": "bob", "pipeline": [
        {"step": "http_request", "url": "https://user:canary@host/?api_key=canary", "headers": {"Authorization": "Bearer canary"}}
    ]});
    let message = message.to_string();
    assert_eq!(house.ask("bob", "POST", "/v1/jobs", &message).await.status, StatusCode::ACCEPTED);
    house.end(failed("1", true)).await;
    for token in ["root", "bob"] {
        for path in ["/v1/dead", "/ui/dead"] {
            let text = house.get(token, path).await.text();
            assert!(text.contains("http_request") && text.contains("***") && !text.contains("canary"), "{text}");
        }
    }
    let kept = house.queue.dead(0, 1).await.unwrap().remove(0);
    assert_eq!(kept.message(), message, "it can go back as it came");
}
