//! Lists page by page, as programs, people and commands read them; single dead letters; jobs that are refused at the door.

use std::sync::Arc;

use agent_runner::{
    job::{ErrorCode, JobError},
    queue::{End, MemoryQueue, Queue, RedisQueue, SharedQueue},
    settings::Settings,
};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use serde_json::{Value, json};

use crate::support::{
    api::{Answer, call, request, routes, send},
    redis::Redis,
    rig::{done, failed, job},
    service::command,
};

struct Desk {
    queue: Arc<MemoryQueue>,
    router: Router,
}

impl Desk {
    fn new() -> Self {
        let queue = MemoryQueue::new(&Settings::default());
        Self { queue: queue.clone(), router: routes(queue) }
    }

    /// Puts a message in and ends it so.
    async fn ended(&self, message: &str, end: End) {
        self.queue.push(message.to_owned()).unwrap();
        self.queue.claim(1).await.unwrap().pop().unwrap().finish(end).await.unwrap();
    }

    async fn job(&self, id: &str, end: End) {
        self.ended(&json!({"job_id": id, "prompt": "p"}).to_string(), end).await;
    }

    /// A message that no job can be read from.
    async fn unreadable(&self, text: &str) {
        self.ended(text, End::Dead { error: JobError::new(ErrorCode::InvalidJob, "not JSON") }).await;
    }

    async fn get(&self, path: &str) -> Answer {
        call(&self.router, "GET", path).await
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        answer.text()
    }

    async fn form(&self, path: &str, form: &str) -> String {
        let request = Request::post(path).header(header::HOST, "127.0.0.1");
        let answer = send(&self.router, request.body(Body::from(form.to_owned())).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        answer.header("location").to_owned()
    }
}

/// The members `name` of all entries of a list, page by page from `path` on, and how many pages there were. The link and
/// the cursor lead the same way.
async fn walk(router: &Router, path: &str, list: &str, name: &str) -> (Vec<String>, usize) {
    let (mut seen, mut path, mut pages) = (Vec::new(), path.to_owned(), 0);
    loop {
        let answer = call(router, "GET", &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        let body = answer.json();
        let entries = body[list].as_array().unwrap();
        seen.extend(entries.iter().map(|entry| entry[name].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(cursor) = body.get("next_cursor") else {
            assert_eq!(answer.header("link"), "", "{path}");
            return (seen, pages);
        };
        let link = answer.header("link").strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        let next = link.unwrap_or_else(|| panic!("{:?}", answer.headers)).to_owned();
        assert!(next.ends_with(&format!("cursor={}", cursor.as_str().unwrap())), "{next}");
        path = next;
    }
}

#[tokio::test]
async fn programs_follow_the_link_or_the_cursor_to_the_end() {
    let desk = Desk::new();
    for n in 0..5 {
        desk.job(&format!("j{n}"), done("1")).await;
        desk.job(&format!("x{n}"), failed("1", true)).await;
    }
    let (seen, pages) = walk(&desk.router, "/v1/jobs?status=completed&limit=2", "jobs", "job_id").await;
    assert_eq!((seen.len(), pages), (5, 3), "{seen:?}");
    assert!(seen.iter().all(|id| id.starts_with('j')), "the filter is kept: {seen:?}");
    assert_eq!(walk(&desk.router, "/v1/jobs?limit=5&lane=execute", "jobs", "job_id").await.1, 1, "just full");
    assert_eq!(walk(&desk.router, "/v1/jobs?limit=1000", "jobs", "job_id").await.0.len(), 10);
    let letters = walk(&desk.router, "/v1/dead?limit=2", "dead", "job_id").await;
    assert_eq!(letters, (vec!["x4".into(), "x3".into(), "x2".into(), "x1".into(), "x0".into()], 3));
    assert_eq!(walk(&desk.router, "/v1/dead?limit=2&offset=3", "dead", "job_id").await.0, ["x1", "x0"]);

    let cursor = |answer: Answer| answer.json()["next_cursor"].as_str().unwrap().to_owned();
    let of_jobs = cursor(desk.get("/v1/jobs?limit=1").await);
    let of_letters = cursor(desk.get("/v1/dead?limit=1").await);
    for path in [
        "/v1/jobs?cursor=nonsense".to_owned(),
        "/v1/jobs?cursor=".into(),
        format!("/v1/jobs?cursor={of_letters}"),
        format!("/v1/dead?cursor={of_jobs}"),
        format!("/v1/dead?cursor={of_letters}&offset=0"),
    ] {
        let answer = desk.get(&path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::BAD_REQUEST, "bad_request"), "{path}");
    }
    for path in ["/ui/jobs?cursor=nonsense", "/ui/dead?cursor=nonsense"] {
        assert_eq!(desk.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn one_dead_letter_goes_back_or_away_by_its_id() {
    let desk = Desk::new();
    desk.unreadable("no json, token=canary").await;
    desk.unreadable("nor this").await;
    desk.job("twice", failed("1", true)).await;
    let listed = desk.get("/v1/dead").await.json();
    assert!(!listed.to_string().contains("canary"));
    let id = |n: usize| listed["dead"][n]["letter_id"].as_str().unwrap().to_owned();
    assert_eq!((listed["dead"][0]["job_id"].as_str(), listed["dead"][1].get("job_id")), (Some("twice"), None));
    let back = call(&desk.router, "POST", &format!("/v1/dead/{}/retry", id(2))).await;
    assert_eq!((back.status, back.json()), (StatusCode::ACCEPTED, json!({"letter_id": id(2)})));
    assert_eq!(desk.queue.claim(1).await.unwrap()[0].delivery.raw, "no json, token=canary");
    let away = call(&desk.router, "DELETE", &format!("/v1/dead/{}", id(1))).await;
    assert_eq!((away.status, away.json()), (StatusCode::OK, json!({"discarded": 1})));
    for (method, path) in [("DELETE", format!("/v1/dead/{}", id(1))), ("POST", format!("/v1/dead/{}/retry", id(1)))] {
        assert_eq!(call(&desk.router, method, &path).await.problem(), "not_found");
    }
    let job = call(&desk.router, "POST", &format!("/v1/dead/{}/retry", id(0))).await;
    assert_eq!((job.status, job.json()), (StatusCode::ACCEPTED, json!({"job_id": "twice"})));
    assert_eq!(job.header("location"), "/v1/jobs/twice");
    assert_eq!(desk.get("/v1/dead").await.json(), json!({"dead": []}));
}

/// The address that a link of this relation has on a page.
fn link(page: &str, rel: &str) -> Option<String> {
    let anchor = page.split("<a ").find(|anchor| anchor.contains(&format!("rel=\"{rel}\"")))?;
    Some(anchor.split('"').nth(1)?.replace("&#38;", "&"))
}

fn shown(page: &str) -> Vec<String> {
    let cells = page.split("<td class=\"id\">").skip(1);
    cells
        .map(|cell| cell.split("</td>").next().unwrap().replace("</a>", "").rsplit('>').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn people_turn_pages_and_keep_what_they_looked_for() {
    let desk = Desk::new();
    for n in 0..60 {
        desk.job(&format!("a&b-{n}"), done("1")).await;
        desk.job(&format!("other-{n}"), done("1")).await;
    }
    let first = desk.text("/ui/jobs?status=completed&lane=&q=a%26b&limit=50").await;
    assert_eq!((shown(&first).len(), link(&first, "prev")), (50, None));
    let older = link(&first, "next").unwrap();
    assert!(older.starts_with("/ui/jobs?status=completed&q=a%26b&limit=50&cursor="), "{older}");
    desk.job("a&b-new", done("1")).await;
    let second = desk.text(&older).await;
    let all = [shown(&first), shown(&second)].concat();
    let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), distinct.len(), link(&second, "next")), (60, 60, None));
    assert!(
        second.contains("<option value=\"completed\" selected>") && second.contains("value=\"a&#38;b\""),
        "{second}"
    );
    let back = desk.text(&link(&second, "prev").unwrap()).await;
    assert_eq!(shown(&back), shown(&first), "and back, though one has come");
    // The one that has come has not a page for itself: it is on the first.
    let first = desk.get(&link(&back, "prev").unwrap()).await;
    assert_eq!(first.status, StatusCode::SEE_OTHER);
    assert_eq!(first.header("location"), "/ui/jobs?status=completed&q=a%26b&limit=50");
    assert_eq!(shown(&desk.text(first.header("location")).await)[0], "a&#38;b-new");
}

#[tokio::test]
async fn people_deal_with_letters_that_belong_to_no_job_on_any_page() {
    let desk = Desk::new();
    for n in 0..103 {
        desk.unreadable(&format!("no json {n}")).await;
    }
    let first = desk.text("/ui/dead").await;
    assert!(first.contains("103 in all") && shown(&first).len() == 100);
    let second = desk.text(&link(&first, "next").unwrap()).await;
    let chosen: Vec<&str> = second.split("name=\"id\" value=\"").skip(1).map(|rest| &rest[..39]).collect();
    assert_eq!((chosen.len(), link(&second, "next")), (3, None));
    let cursor = second.split("name=\"cursor\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let led = desk.form("/ui/dead", &format!("action=discard&cursor={cursor}&id={}", chosen[0])).await;
    assert_eq!(led, format!("/ui/dead?cursor={cursor}&discarded=1"));
    let page = desk.text(&led).await;
    assert!(page.contains("One letter is gone for good.") && shown(&page).len() == 2, "{page}");
    let led = desk.form("/ui/dead", &format!("action=retry&id={}&id={}", chosen[1], chosen[2])).await;
    assert_eq!(led, "/ui/dead?retried=2");
    assert_eq!(desk.queue.stats().await.unwrap().dead, 100);
    let mut back: Vec<_> = desk.queue.claim(9).await.unwrap().into_iter().map(|lease| lease.delivery.raw).collect();
    back.sort();
    assert_eq!(back, ["no json 0", "no json 1"]);
    let newer = desk.get(&link(&page, "prev").unwrap()).await;
    assert_eq!(newer.header("location"), "/ui/dead");
    assert_eq!(shown(&desk.text("/ui/dead").await).len(), 100);
}

#[tokio::test]
async fn what_can_be_seen_to_be_no_job_is_refused_at_every_door() {
    let desk = Desk::new();
    for (handoff, word) in [
        (json!({"mode": "swarm"}), "swarm"),
        (json!({"mode": "pool"}), "handoff.pool is missing"),
        (json!({"mode": "network"}), "handoff.agent is missing"),
        (json!({"mode": "tiers", "num_tiers": 101}), "from 1 to 100"),
        (json!({"threshold": -2}), "between -1 and 1"),
    ] {
        let body = json!({"job_id": "h", "prompt": "p", "handoff": handoff});
        let answer = send(&desk.router, request("POST", "/v1/jobs", body.to_string())).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::BAD_REQUEST, "invalid_job"), "{body}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{}", answer.text());
        let unnamed = json!({"prompt": "p", "handoff": handoff}).to_string();
        assert_eq!(send(&desk.router, request("POST", "/test/chat", unnamed)).await.problem(), "invalid_job");
        assert_eq!(command(&["run", "-"], &body.to_string(), &[]).status.code(), Some(2), "{body}");
        // Pushed past the doors, it is what the same check says.
        desk.queue.push(body.to_string()).unwrap();
        let lease = desk.queue.claim(1).await.unwrap().pop().unwrap();
        let rejected = lease.delivery.job.as_ref().unwrap_err();
        assert_eq!(rejected.error.code, ErrorCode::InvalidJob);
        assert_eq!(answer.json()["detail"], rejected.error.message);
        lease.finish(done("1")).await.unwrap();
        desk.queue.retry(&job("h")).await.unwrap();
        desk.queue
            .claim(1)
            .await
            .unwrap()
            .pop()
            .unwrap()
            .finish(End::Dead { error: JobError::new(ErrorCode::InvalidJob, "x") })
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_print_a_part_and_say_how_to_go_on() {
    let redis = Redis::start();
    let settings = redis.settings();
    let queue: SharedQueue = RedisQueue::connect(&settings).await.unwrap();
    for n in 0..5 {
        redis.push(json!({"job_id": format!("j{n}"), "prompt": "p"}).to_string().as_bytes()).await;
        queue.claim(1).await.unwrap().pop().unwrap().finish(failed("1", true)).await.unwrap();
    }
    redis.push(b"no json").await;
    let lease = queue.claim(1).await.unwrap().pop().unwrap();
    lease.finish(End::Dead { error: JobError::new(ErrorCode::InvalidJob, "not JSON") }).await.unwrap();
    while queue.stats().await.unwrap().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    let url = redis.url();
    let run = |args: &[&str]| {
        let output = command(args, "", &[("REDIS_URL", url.as_str())]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        let next = stderr.lines().find_map(|line| line.strip_prefix("there are more: --cursor ")).map(str::to_owned);
        (serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap_or_default(), next)
    };
    for (list, all, key) in [("jobs", 5, "job_id"), ("dead", 6, "letter_id")] {
        let (whole, none) = run(&[list, "list", "--all", "--json"]);
        assert_eq!((whole.len(), none), (all, None), "{list}");
        let (mut seen, next) = run(&[list, "list", "--limit", "4", "--json"]);
        let (rest, none) = run(&[list, "list", "--limit", "4", "--json", "--cursor", &next.unwrap()]);
        seen.extend(rest);
        assert_eq!((&seen, none), (&whole, None), "{list}");
        assert!(whole.iter().all(|entry| entry[key].is_string()), "{whole:?}");
    }
    let (letters, _) = run(&["dead", "list", "--json"]);
    let stray = letters.iter().find(|letter| letter.get("job_id").is_none()).unwrap()["letter_id"].as_str().unwrap();
    run(&["dead", "retry", stray]);
    assert_eq!(queue.claim(1).await.unwrap()[0].delivery.raw, "no json");
    run(&["dead", "discard", letters[1]["letter_id"].as_str().unwrap()]);
    assert_eq!(queue.stats().await.unwrap().dead, 4);
    assert_eq!(command(&["dead", "discard", stray], "", &[("REDIS_URL", url.as_str())]).status.code(), Some(1));
    queue.close().await;
}
