//! Who may ask, from where, with what body; and what every answer carries.

use agent_runner::{
    http::router,
    settings::{Settings, section},
};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use serde_json::json;

use crate::support::{
    api::{app, call, request, routes, send},
    broken_queue::broken_queue,
};

fn with_http(settings: serde_json::Value) -> Router {
    let settings = Settings { http: section(settings).unwrap(), ..Settings::default() };
    router(app(broken_queue(), settings))
}

fn get(path: &str) -> axum::http::request::Builder {
    Request::get(path).header(header::HOST, "127.0.0.1:8082")
}

#[tokio::test]
async fn with_a_token_everything_but_health_and_metrics_needs_it() {
    let router = with_http(json!({"token": "s3cret"}));
    for path in agent_runner::http::paths() {
        let path = path.replace("{job_id}", "x").replace("{*reference}", "x");
        let open = path.starts_with("/health") || path == "/metrics";
        let status = call(&router, "GET", &path).await.status;
        assert_eq!(status == StatusCode::UNAUTHORIZED, !open, "{path}: {status}");
    }
    // Also where there is nothing: paths are not for strangers to try out.
    assert_eq!(call(&router, "GET", "/nothing").await.status, StatusCode::UNAUTHORIZED);
    for (value, status) in [
        ("Bearer s3cret", StatusCode::OK),
        ("bearer s3cret", StatusCode::OK),
        ("Bearer s3cre", StatusCode::UNAUTHORIZED),
        ("Bearer s3cretx", StatusCode::UNAUTHORIZED),
        ("Bearer ", StatusCode::UNAUTHORIZED),
        ("Basic s3cret", StatusCode::UNAUTHORIZED),
        ("s3cret", StatusCode::UNAUTHORIZED),
    ] {
        let request = get("/openapi.json").header(header::AUTHORIZATION, value).body(Body::empty()).unwrap();
        let answer = send(&router, request).await;
        assert_eq!(answer.status, status, "{value}");
        if status == StatusCode::UNAUTHORIZED {
            assert_eq!(answer.problem(), "unauthorized");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{value}");
        }
    }
}

#[tokio::test]
async fn the_token_is_looked_at_before_the_body() {
    let router = with_http(json!({"token": "s3cret"}));
    let endless = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let answer = send(&router, request("POST", "/v1/jobs", endless)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_page_of_another_origin_sends_nothing() {
    let router = routes(broken_queue());
    for (name, value, refused) in [
        ("origin", "http://evil.example", true),
        ("origin", "null", true),
        ("origin", "http://127.0.0.1:9999", true),
        ("origin", "http://127.0.0.1:8082", false),
        ("sec-fetch-site", "cross-site", true),
        ("sec-fetch-site", "same-site", true),
        ("sec-fetch-site", "same-origin", false),
        ("sec-fetch-site", "none", false),
    ] {
        for (method, path) in [("POST", "/test/chat"), ("POST", "/v1/jobs"), ("DELETE", "/v1/jobs/x")] {
            let mut request = request(method, path, r#"{"prompt":"hello"}"#);
            request.headers_mut().insert(name, value.parse().unwrap());
            let answer = send(&router, request).await;
            assert_eq!(answer.status == StatusCode::FORBIDDEN, refused, "{name}: {value} {path} {answer:?}");
            if refused {
                assert_eq!(answer.problem(), "foreign_origin");
            }
        }
    }
}

#[tokio::test]
async fn without_a_token_a_name_that_is_not_ours_is_refused() {
    let local = with_http(json!({}));
    let named = with_http(json!({"allowed_hosts": ["runner.internal"]}));
    let open = with_http(json!({"allow_anonymous": true}));
    for (router, host, good) in [
        (&local, "127.0.0.1:8082", true),
        (&local, "[::1]:8082", true),
        (&local, "LocalHost", true),
        (&local, "rebound.evil.example:8082", false),
        (&local, "localhost.evil.example", false),
        (&local, "", false),
        (&named, "runner.internal:8082", true),
        (&named, "other.internal:8082", false),
        (&open, "anything.example", true),
    ] {
        let request = Request::get("/openapi.json").header(header::HOST, host).body(Body::empty()).unwrap();
        let answer = send(router, request).await;
        assert_eq!(answer.status == StatusCode::OK, good, "{host}: {answer:?}");
        if !good {
            assert_eq!(answer.problem(), "forbidden_host");
        }
    }
    for twice in [
        Request::get("/openapi.json").header(header::HOST, "localhost").header(header::HOST, "evil.example"),
        Request::get("http://evil.example/openapi.json").header(header::HOST, "localhost"),
    ] {
        let answer = send(&local, twice.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    }
    // Probes and scrapers call by whatever name they have.
    let probe = Request::get("/health/live").header(header::HOST, "pod-7.cluster").body(Body::empty()).unwrap();
    assert_eq!(send(&local, probe).await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_browsers_out() {
    let router = routes(broken_queue());
    for (method, path) in [("GET", "/health"), ("GET", "/nothing"), ("POST", "/health"), ("GET", "/v1/jobs")] {
        let answer = call(&router, method, path).await;
        for (name, part) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert!(answer.header(name).contains(part), "{method} {path}: {name}");
        }
        assert_eq!(answer.header("server"), "");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_taken_are_problems() {
    let router = routes(broken_queue());
    let answer = call(&router, "GET", "/v2/jobs").await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    let answer = call(&router, "PUT", "/v1/jobs").await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    for path in ["/v1/jobs/%FF", "/v1/artifacts/%FF"] {
        assert_eq!(call(&router, "GET", path).await.problem(), "bad_request", "{path}");
    }
    for path in ["/v1/jobs/a%20b", "/v1/jobs/%00", &format!("/v1/jobs/{}", "x".repeat(201))] {
        assert_eq!(call(&router, "GET", path).await.problem(), "not_found", "{path}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_before_they_are_parsed() {
    let router = with_http(json!({"max_body_bytes": 1000}));
    let announced = {
        let endless = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        let mut request = request("POST", "/v1/jobs", endless);
        request.headers_mut().insert(header::CONTENT_LENGTH, "1001".parse().unwrap());
        request
    };
    let chunked = {
        let chunk = || Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b' '; 300]));
        let endless = futures::stream::repeat_with(chunk);
        request("POST", "/v1/jobs", Body::from_stream(endless))
    };
    let plain = request("POST", "/test/chat", format!("{{\"prompt\":\"{}\"}}", "x".repeat(1000)));
    for request in [announced, chunked, plain] {
        let answer = send(&router, request).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let router = routes(broken_queue());
    let endless = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let answer = send(&router, request("POST", "/v1/jobs", endless)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::REQUEST_TIMEOUT, "body_timeout"));
}

#[tokio::test]
async fn a_bad_job_is_told_what_is_wrong_with_it_at_once() {
    let router = routes(broken_queue());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let rows: &[(&str, &str, u16)] = &[
        ("", "invalid_job", 400),
        ("{", "invalid_job", 400),
        ("[]", "invalid_job", 400),
        ("null", "invalid_job", 400),
        (&deep, "invalid_job", 400),
        (r#"{"job_id":"a"}"#, "invalid_job", 400),
        (r#"{"job_id":"a b","prompt":"x"}"#, "invalid_job", 400),
        (r#"{"job_id":7,"prompt":"x"}"#, "invalid_job", 400),
        (r#"{"job_id":"a","prompt":"x","version":"2.0"}"#, "unsupported_version", 400),
        (r#"{"prompt":"x","priority":"urgent"}"#, "invalid_job", 400),
        (r#"{"prompt":"x"}"#, "queue_unavailable", 503),
    ];
    for (body, code, status) in rows {
        let answer = send(&router, request("POST", "/v1/jobs", (*body).to_owned())).await;
        assert_eq!((answer.problem().as_str(), answer.status.as_u16()), (*code, *status), "{body:.60}");
    }
    let answer = send(&router, request("POST", "/v1/jobs", vec![b'{', 0xff, b'}'])).await;
    assert_eq!(answer.problem(), "invalid_job");
    let mut packed = request("POST", "/v1/jobs", r#"{"prompt":"x"}"#);
    packed.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(send(&router, packed).await.problem(), "unsupported_media_type");
    for media in ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"] {
        let mut request = request("POST", "/v1/jobs", r#"{"prompt":"x"}"#);
        request.headers_mut().insert(header::CONTENT_TYPE, media.parse().unwrap());
        assert_eq!(send(&router, request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{media}");
    }
}

#[tokio::test]
async fn numbers_in_a_query_are_checked() {
    let router = routes(broken_queue());
    for path in
        ["/v1/jobs?limit=0", "/v1/jobs?limit=1001", "/v1/jobs?limit=ten", "/v1/jobs?status=done", "/v1/dead?offset=-1"]
    {
        assert_eq!(call(&router, "GET", path).await.problem(), "bad_request", "{path}");
    }
    for path in ["/v1/jobs?wait=301", "/v1/jobs?wait=1.5"] {
        let answer = send(&router, request("POST", path, r#"{"prompt":"x"}"#)).await;
        assert_eq!(answer.problem(), "bad_request", "{path}");
    }
}
