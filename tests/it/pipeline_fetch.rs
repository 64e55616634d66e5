//! What a pipeline fetches: pages, what travels along, and what is said when it fails.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    service::command,
    site::{Reply, Site, Visit, reply},
};

/// Runs a pipeline that may reach these sites.
async fn run(pipeline: Value, sites: &[&Site]) -> Value {
    let allow: Vec<String> = sites.iter().map(|site| site.address().to_string()).collect();
    let job = json!({"job_id": "j", "pipeline": pipeline}).to_string();
    let run = move || {
        let env = [("AGENT_RUNNER__EGRESS__ALLOW", allow.join(","))];
        command(&["run", "-", "--json"], &job, &env.each_ref().map(|(name, value)| (*name, value.as_str())))
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn page(rows: &Value, next: &str) -> Reply {
    reply(200, &[("link", &format!("<{next}>; rel=\"next\""))], rows.to_string())
}

fn end(rows: &Value) -> Reply {
    reply(200, &[], rows.to_string())
}

#[tokio::test]
async fn a_next_page_elsewhere_does_not_hear_who_asks() {
    let other = Site::start(|visit| match visit.path() {
        "/2" => page(&json!([{"n": 2}]), "/3"),
        _ => end(&json!([{"n": 3}])),
    })
    .await;
    let there = other.url("/2");
    let cursor = there.clone();
    let site = Site::start(move |visit: &Visit| match visit.target.as_str() {
        "/links" => page(&json!([{"n": 0}]), "/1"),
        "/1" => page(&json!([{"n": 1}]), &there),
        _ => end(&json!({"n": 1, "next": cursor})),
    })
    .await;
    let headers = json!({"Authorization": "Bearer s", "cookie": "s", " X-Api-Key": "s", "Accept": "application/json"});
    for (path, paginate, there) in
        [("/links", json!({}), 2), ("/cursors", json!({"cursor": "next", "param": "after"}), 1)]
    {
        let steps = json!([{"step": "http_request", "url": site.url(path), "headers": headers, "paginate": paginate}]);
        let before = other.visits().len();
        let result = run(steps, &[&site, &other]).await;
        assert_eq!(result["status"], "completed", "{result}");
        let visits = other.visits().split_off(before);
        assert_eq!(visits.len(), there, "{path}: {result}");
        for visit in visits {
            assert_eq!(visit.header("accept"), Some("application/json"), "{path}");
            for name in ["authorization", "cookie", "x-api-key"] {
                assert_eq!(visit.header(name), None, "{path} {}", visit.target);
            }
        }
    }
    assert!(site.visits().iter().all(|visit| visit.header("authorization") == Some("Bearer s")));
}

#[tokio::test]
async fn pages_that_were_left_or_come_again_are_told() {
    let site = Site::start(|visit| match visit.path() {
        "/same" => page(&json!([{"n": 1}]), "/same"),
        "/cursor" => end(&json!({"rows": [{"n": 1}], "next": "x"})),
        path => {
            let n: usize = path[1..].parse().unwrap();
            if n == 3 { end(&json!([{"n": n}])) } else { page(&json!([{"n": n}]), &format!("/{}", n + 1)) }
        }
    })
    .await;
    let again = |read: &str| format!("the next page is named as one that was read already: stopped after {read}");
    for (path, paginate, rows, warning) in [
        ("/1", json!({"max_pages": 3}), 3, None),
        (
            "/1",
            json!({"max_pages": 2}),
            2,
            Some("there are more pages than were read: stopped after 2 pages (paginate.max_pages)".to_owned()),
        ),
        ("/same", json!({}), 1, Some(again("1 page"))),
        ("/cursor", json!({"cursor": "next", "param": "after"}), 2, Some(again("2 pages"))),
    ] {
        let before = site.visits().len();
        let step = json!({"step": "http_request", "url": site.url(path), "paginate": paginate});
        let result = run(json!([step]), &[&site]).await;
        assert_eq!((result["result"]["row_count"].as_u64(), site.visits().len() - before), (Some(rows), rows as usize));
        let warnings: Vec<String> =
            warning.into_iter().map(|warning| format!("step 1 http_request: {warning}")).collect();
        assert_eq!(result["metadata"].get("warnings").cloned().unwrap_or(json!([])), json!(warnings), "{path}");
    }
}

#[tokio::test]
async fn short_rows_of_csv_are_told_once() {
    let site = Site::start(|_| reply(200, &[("content-type", "text/csv")], "a,b\n1\n2,x\n3\n")).await;
    let result = run(json!([{"step": "http_request", "url": site.url("/")}, {"step": "count"}]), &[&site]).await;
    let warning = "step 1 http_request: csv: 2 rows are shorter than the header: their missing cells are null";
    assert_eq!(result["metadata"]["warnings"], json!([warning]), "{result}");
}

#[tokio::test]
async fn an_error_of_a_request_names_its_step() {
    let site = Site::start(|_| reply(404, &[], "nothing here")).await;
    let fetch = |url: String| json!({"step": "http_request", "url": url});
    let literal = json!({"step": "literal", "rows": [{"a": 1}]});
    for (url, code) in [(site.url("/"), "http_failed"), ("http://127.0.0.1:1/".into(), "http_blocked")] {
        let union = json!({"step": "union", "with": {"pipeline": [fetch(url)]}});
        let error = run(json!([literal, union]), &[&site]).await["error"].clone();
        assert_eq!(error["type"], code);
        assert!(error["message"].as_str().unwrap().starts_with("step 2 union: "), "{error}");
        assert_eq!((&error["details"]["step_number"], &error["details"]["step"]), (&json!(2), &json!("union")));
    }
}

#[tokio::test]
async fn nothing_is_fetched_for_a_plan_that_cannot_run() {
    let site = Site::start(|_| end(&json!([{"a": 1}]))).await;
    for (step, part) in [
        (json!({"step": "derive", "as": "b", "expr": "round(a)"}), "no function 'round'"),
        (json!({"step": "union", "with": [1]}), "row 1 is number"),
        (json!({"step": "join", "right": [1], "on": "a"}), "row 1 is number"),
        (json!({"step": "union", "with": {"input_ref": "artifact://gone"}}), "step 2 union: nothing is stored at"),
        (
            json!({"step": "join", "right": {"input_ref": "artifact://gone"}, "on": "a"}),
            "step 2 join: nothing is stored",
        ),
    ] {
        let steps = json!([{"step": "http_request", "url": site.url("/")}, step]);
        let result = run(steps, &[&site]).await;
        assert_eq!(result["error"]["type"], "invalid_pipeline", "{result}");
        assert!(result["error"]["message"].as_str().unwrap().contains(part), "{result}");
    }
    assert_eq!(site.connections(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_may_be_tried_again_where_that_changes_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // It reads the request and goes, with half an answer to every other one.
            let mut buffer = [0; 4096];
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap_or(0);
            if buffer[..read].windows(5).any(|part| part == b"/half") {
                let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{\"a\":";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, half).await;
            }
        }
    });
    for (method, path, retryable) in
        [("GET", "/none", true), ("PUT", "/none", true), ("GET", "/half", true), ("POST", "/none", false)]
    {
        let steps = json!([{"step": "http_request", "url": format!("http://{address}{path}"), "method": method}]);
        let job = json!({"job_id": "j", "pipeline": steps}).to_string();
        let allow = address.clone();
        let run = move || command(&["run", "-", "--json"], &job, &[("AGENT_RUNNER__EGRESS__ALLOW", &allow)]);
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["error"]["type"], "http_failed", "{method} {path}: {result}");
        assert_eq!(result["error"]["retryable"], retryable, "{method} {path}: {result}");
    }
    server.abort();
}

// The server holds its answer back, on a thread of its own.
#[expect(clippy::disallowed_methods, reason = "the time a fetch takes is what is looked at")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_fetch_took_is_the_time_of_its_step() {
    const HELD: Duration = Duration::from_millis(40);
    let site = Site::start(|_| {
        std::thread::sleep(HELD);
        end(&json!([{"n": 2}, {"n": 1}]))
    })
    .await;
    let fetch = json!({"step": "http_request", "url": site.url("/")});
    let joined = json!({"step": "join", "on": "n", "right": {"pipeline": [fetch]}});
    let result = run(json!([fetch, joined, {"step": "table_sort", "field": "n"}]), &[&site]).await;
    let steps = result["result"]["steps"].as_array().unwrap_or_else(|| panic!("{result}"));
    let waited = |step: &Value| step["duration_ms"].as_f64().unwrap() >= HELD.as_secs_f64() * 1e3;
    assert!(waited(&steps[0]) && waited(&steps[1]), "{result}");
}
