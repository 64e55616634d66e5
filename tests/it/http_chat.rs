//! `POST /test/chat`: a job in process, in every form a person may send it.

use std::sync::Arc;

use agent_runner::{http::router, settings::Settings};
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use crate::support::{
    api::{app, call, request, routes, send},
    broken_queue::broken_queue,
};

fn posted(path: &str, media: Option<&str>, body: &str) -> Request<Body> {
    let mut request = Request::post(path).header(header::HOST, "localhost:8082");
    if let Some(media) = media {
        request = request.header(header::CONTENT_TYPE, media);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn a_prompt_comes_as_json_as_a_form_or_in_the_query() {
    let router = routes(broken_queue());
    let form = "application/x-www-form-urlencoded";
    for (path, media, body, prompt) in [
        ("/test/chat", Some("application/json"), r#"{"prompt":"top 10 flights"}"#, "top 10 flights"),
        ("/test/chat", Some("application/json"), r#"{"task":"top 10 flights"}"#, "top 10 flights"),
        ("/test/chat", None, r#"{"prompt":"héllo"}"#, "héllo"),
        ("/test/chat", Some(form), "prompt=top+10%20flights&x=1", "top 10 flights"),
        ("/test/chat?prompt=top%2010+flights", None, "", "top 10 flights"),
        ("/test/chat?prompt=query", Some("application/json"), " ", "query"),
        ("/test/chat?prompt=query", Some(form), "", "query"),
        ("/test/chat?prompt=query", Some("application/json"), r#"{"prompt":"body"}"#, "body"),
    ] {
        let answer = send(&router, posted(path, media, body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path} {body}: {answer:?}");
        let result = answer.json();
        assert_eq!(result["result"]["message"], prompt, "{path} {body}");
        assert_eq!(result["status"], "completed");
        assert_eq!(result["job_id"].as_str().unwrap().len(), 36);
    }
}

#[tokio::test]
async fn a_job_document_keeps_its_id_and_a_failed_job_is_still_an_answer() {
    let router = routes(broken_queue());
    let body = r#"{"job_id":"mine","run_id":"r","prompt":"fail"}"#;
    let answer = send(&router, request("POST", "/test/chat", body)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let result = answer.json();
    assert_eq!((&result["job_id"], &result["run_id"]), (&"mine".into(), &"r".into()));
    assert_eq!((&result["status"], &result["error"]["type"]), (&"failed".into(), &"planner_cannot".into()));
}

#[tokio::test]
async fn without_a_prompt_the_answer_says_how_to_give_one() {
    let router = routes(broken_queue());
    let answer = call(&router, "POST", "/test/chat").await;
    assert_eq!(answer.problem(), "bad_request");
    let form = posted("/test/chat", Some("application/x-www-form-urlencoded"), "promt=x");
    assert!(send(&router, form).await.json()["detail"].as_str().unwrap().contains("prompt"));
    let answer = send(&router, posted("/test/chat", Some("application/json"), "{}")).await;
    assert_eq!(answer.problem(), "invalid_job");
    for (path, body) in [("/test/chat?prompt=%20", r#"{"prompt":"x"}"#), ("/test/chat?prompt=", "")] {
        let answer = send(&router, posted(path, None, body)).await;
        assert!(answer.json()["detail"].as_str().unwrap().contains("`prompt` is blank"), "{answer:?}");
    }
    let multipart = posted("/test/chat", Some("multipart/form-data; boundary=x"), "--x--");
    assert_eq!(send(&router, multipart).await.problem(), "unsupported_media_type");
}

#[tokio::test]
async fn a_panic_while_running_is_a_500_and_the_server_goes_on() {
    let mut broken = app(broken_queue(), Settings::default());
    broken.run = Arc::new(|_| Box::pin(async { panic!("a defect with a secret in it") }));
    let router = router(broken);
    let answer = send(&router, request("POST", "/test/chat", r#"{"prompt":"x"}"#)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    assert_eq!(call(&router, "GET", "/health/live").await.status, StatusCode::OK);
}
