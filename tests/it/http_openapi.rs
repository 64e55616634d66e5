//! The API's description: it names what there is, and what there is keeps to it.

use std::collections::BTreeSet;

use agent_runner::http::paths;
use axum::{
    body::Body,
    http::{StatusCode, header},
};
use serde_json::Value;

use crate::support::{
    api::{Answer, call, request, routes, send},
    broken_queue::broken_queue,
    described::{closed, described, fits},
};

/// Every `$ref` in `value`.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member.as_str() {
                    Some(target) if key == "$ref" => found.push(target),
                    _ => references(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_description_names_every_route_and_no_other() {
    let router = routes(broken_queue());
    let document = call(&router, "GET", "/openapi.json").await.json();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let routed: BTreeSet<String> = paths().into_iter().map(|path| path.replace("{*", "{")).collect();
    assert_eq!(described, routed);
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let concrete = path.replace("{job_id}", "x").replace("{execution_id}", "x").replace("{reference}", "x");
        let refused = send(&router, request("PATCH", &concrete, "")).await;
        let allowed: BTreeSet<String> = refused
            .header("allow")
            .split(',')
            .map(|method| method.trim().to_ascii_lowercase())
            .filter(|method| method != "head")
            .collect();
        let described: BTreeSet<String> = methods.as_object().unwrap().keys().cloned().collect();
        assert_eq!(described, allowed, "{path}");
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(operations.insert(id.to_owned()), "{id} stands twice");
        }
    }
    let mut targets = Vec::new();
    references(&document, &mut targets);
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
}

/// Follows a `$ref`.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(target) => document.pointer(target.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// Values of a query parameter that are allowed, values that are not, and what its error has to say.
fn values(schema: &Value) -> (Vec<String>, Vec<String>, Vec<String>) {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| word.as_str().unwrap().to_owned()).collect();
        return (words.clone(), ["zzz", "", "Failed"].map(str::to_owned).into(), words);
    }
    if schema["format"] == "cursor" {
        return (Vec::new(), ["a b", "", "abc"].map(str::to_owned).into(), Vec::new());
    }
    let (Some(least), Some(most)) = (schema["minimum"].as_i64(), schema["maximum"].as_i64()) else {
        return (vec!["a b".to_owned()], Vec::new(), Vec::new());
    };
    let bounds = vec![least.to_string(), most.to_string()];
    let mut bad = ["abc", "", "1.5", "99999999999999999999"].map(str::to_owned).to_vec();
    bad.extend([(least - 1).to_string(), (most + 1).to_string()]);
    (bounds.clone(), bad, bounds)
}

#[tokio::test]
async fn a_query_value_is_taken_as_described_or_refused_by_name() {
    let (document, router) = described().await;
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let all = operation["parameters"].as_array().into_iter().flatten();
            for parameter in all.filter(|parameter| parameter["in"] == "query") {
                let name = parameter["name"].as_str().unwrap();
                let (good, bad, told) = values(resolved(&document, &parameter["schema"]));
                let ask = async |value: &str| {
                    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
                    let body = if method == "post" { r#"{"prompt":"x"}"# } else { "" };
                    send(&router, request(&method.to_uppercase(), &format!("{path}?{query}"), body)).await
                };
                // Good values are for questions: one of a submission would be waited for.
                for value in good.iter().filter(|_| method == "get") {
                    assert_eq!(ask(value).await.status, StatusCode::OK, "{path}?{name}={value}");
                }
                for value in &bad {
                    let answer = ask(value).await;
                    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}?{name}={value}");
                    assert_eq!(answer.problem(), "bad_request");
                    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                    assert!(detail.contains(&format!("`{name}`")), "{detail}");
                    assert!(told.iter().all(|allowed| detail.contains(allowed)), "{detail}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 20, "{checked} values were refused");
}

/// Refuses an answer that the document does not allow for this operation.
fn allowed(document: &Value, method: &str, path: &str, answer: &Answer) {
    let operation = &document["paths"][path][method.to_ascii_lowercase()];
    let described = resolved(document, &operation["responses"][answer.status.as_str()]);
    assert!(described["description"].is_string(), "{method} {path}: {} is not described", answer.status);
    let media = answer.header("content-type").split(';').next().unwrap().to_owned();
    let Some(content) = described["content"].as_object() else {
        assert!(answer.body.is_empty(), "{method} {path}: {answer:?}");
        return;
    };
    let schema = &content[&media]["schema"];
    if let Some(target) = schema["$ref"].as_str() {
        fits(document, target.rsplit('/').next().unwrap(), &answer.json());
    }
}

#[tokio::test]
async fn answers_are_what_is_described() {
    let (document, router) = described().await;
    let document = closed(document);
    let route = r#"{"prompt":"write a SQL query","show_top_n":2.0}"#;
    let held = r#"{"job_id":"a","prompt":"x","delay_ms":60000}"#;
    for (method, path, given, body, status) in [
        ("GET", "/health", "", "", 200),
        ("GET", "/health/live", "", "", 200),
        ("GET", "/health/ready", "", "", 200),
        ("GET", "/metrics", "", "", 200),
        ("GET", "/openapi.json", "", "", 200),
        ("POST", "/v1/jobs", "", held, 202),
        ("POST", "/v1/jobs", "?wait=x", held, 400),
        ("POST", "/v1/jobs", "", "{}", 400),
        ("GET", "/v1/jobs", "", "", 200),
        ("GET", "/v1/jobs/{job_id}", "a", "", 200),
        ("GET", "/v1/jobs/{job_id}", "b", "", 404),
        ("POST", "/v1/jobs/{job_id}/approve", "a", "", 409),
        ("POST", "/v1/jobs/{job_id}/retry", "a", "", 409),
        ("DELETE", "/v1/jobs/{job_id}", "a", "", 202),
        ("GET", "/v1/jobs/{job_id}/events", "b", "", 404),
        ("GET", "/v1/dead", "", "", 200),
        ("POST", "/v1/dead/{job_id}/retry", "b", "", 404),
        ("POST", "/v1/queue/pause", "", "", 200),
        ("POST", "/v1/queue/resume", "", "", 200),
        ("POST", "/test/chat", "", r#"{"prompt":"x"}"#, 200),
        ("POST", "/test/chat", "?prompt=x", "", 200),
        ("POST", "/test/chat", "", "", 400),
        ("GET", "/v1/agents", "", "", 200),
        ("POST", "/v1/agents/route", "", route, 200),
        ("POST", "/v1/agents/route", "", "[\"x\"]", 400),
        ("GET", "/v1/handoffs", "", "", 200),
        ("GET", "/v1/handoffs/{execution_id}", "b", "", 404),
        ("GET", "/v1/artifacts/{reference}", "0198-big", "", 200),
        ("GET", "/v1/artifacts/{reference}", "b", "", 404),
    ] {
        let concrete = match path.find('{') {
            Some(at) => path.replace(&path[at..=path.find('}').unwrap()], given),
            None => format!("{path}{given}"),
        };
        let answer = send(&router, request(method, &concrete, body)).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {concrete}: {}", answer.text());
        allowed(&document, method, path, &answer);
    }
    for example in document["components"]["schemas"]["Job"]["examples"].as_array().unwrap() {
        let answer = send(&router, request("POST", "/v1/jobs", example.to_string())).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{example}: {}", answer.text());
    }
    let handoffs = call(&router, "GET", "/v1/handoffs").await.json();
    let id = handoffs["handoffs"][0]["execution_id"].as_str().unwrap();
    let trail = call(&router, "GET", &format!("/v1/handoffs/{id}")).await;
    allowed(&document, "GET", "/v1/handoffs/{execution_id}", &trail);
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let (_, router) = described().await;
    for path in ["/openapi.json", "/v1/agents", "/v1/artifacts/0198-big", "/assets/app.css", "/assets/app.js"] {
        let answer = call(&router, "GET", path).await;
        let tag = answer.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.len() == 66, "{path}: {tag}");
        for (held, status) in [(tag.as_str(), StatusCode::NOT_MODIFIED), ("\"other\"", StatusCode::OK)] {
            let mut again = request("GET", path, Body::empty());
            again.headers_mut().insert(header::IF_NONE_MATCH, held.parse().unwrap());
            let again = send(&router, again).await;
            assert_eq!((again.status, again.header("etag")), (status, tag.as_str()), "{path}");
            assert_eq!(again.body.is_empty(), status == StatusCode::NOT_MODIFIED, "{path}");
        }
    }
}
