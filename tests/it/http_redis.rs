//! The API over a queue on a real Redis, over sockets, through an outage.

use agent_runner::{
    job::{Event, EventKind, JobId, Lane, RawJson, Status},
    queue::{End, RedisQueue, SharedQueue},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    api::{Server, app},
    redis::Redis,
};

/// One request on a connection of its own: status line and body.
async fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Runs the next job to a result, with an event on the way.
async fn work(queue: &SharedQueue) {
    let lease = loop {
        if let Some(lease) = queue.claim(1).await.unwrap().pop() {
            break lease;
        }
    };
    let job_id = lease.delivery.job.as_ref().unwrap().job_id.clone();
    queue.emit(&job_id, Event::new(EventKind::Plan).with("text", "one step"));
    let end = End::Result {
        result: RawJson::of(&json!({"job_id": job_id, "status": "completed", "result": {"rows": 1}})),
        status: Status::Completed,
        lane: Some(Lane::Execute),
        event: Event::new(EventKind::Completed),
        signal: None,
        dead: None,
    };
    lease.finish(end).await.unwrap();
}

#[tokio::test]
async fn a_job_is_submitted_awaited_and_followed() {
    let redis = Redis::start();
    let settings = redis.settings();
    let queue: SharedQueue = RedisQueue::connect(&settings).await.unwrap();
    let server = Server::start(app(queue.clone(), settings)).await;
    let body = r#"{"job_id":"a/1","prompt":"x"}"#;
    let ((status, answer), ()) = tokio::join!(ask(&server, "POST", "/v1/jobs?wait=60", "", body), work(&queue));
    let result: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &result["result"]), (200, &json!({"rows": 1})));

    let (status, stream) = ask(&server, "GET", "/v1/jobs/a%2F1/events", "", "").await;
    assert_eq!(status, 200);
    let ids: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let words: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((words.last(), ids.len()), (Some(&"completed"), words.len()), "{stream}");
    let place = words.iter().position(|word| *word == "plan").unwrap();
    let after = format!("last-event-id: {}\r\n", ids[place]);
    let (_, rest) = ask(&server, "GET", "/v1/jobs/a%2F1/events", &after, "").await;
    assert!(rest.contains("event: completed") && !rest.contains("event: plan"), "{rest}");
    let end = format!("last-event-id: {}\r\n", ids.last().unwrap());
    assert_eq!(ask(&server, "GET", "/v1/jobs/a%2F1/events", &end, "").await.0, 204);
    let (status, artifact) = ask(&server, "GET", "/v1/artifacts/artifact:%2F%2Fa%2F1", "", "").await;
    assert_eq!((status, artifact.contains("\"rows\":1")), (200, true), "{artifact}");
    queue.close().await;
}

#[tokio::test]
async fn an_outage_shows_and_passes() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let settings = redis.settings();
    let queue: SharedQueue = RedisQueue::connect(&settings).await.unwrap();
    let server = Server::start(app(queue.clone(), settings)).await;
    assert_eq!(ask(&server, "GET", "/health", "", "").await.0, 200);
    let (status, _) = ask(&server, "POST", "/v1/jobs", "", r#"{"job_id":"kept","prompt":"x"}"#).await;
    assert_eq!(status, 202);
    redis.kill();
    for path in ["/health", "/health/ready", "/v1/jobs"] {
        assert_eq!(ask(&server, "GET", path, "", "").await.0, 503, "{path}");
    }
    for path in ["/health/live", "/metrics"] {
        assert_eq!(ask(&server, "GET", path, "", "").await.0, 200, "{path}");
    }
    redis.start_again();
    while ask(&server, "GET", "/health/ready", "", "").await.0 != 200 {
        tokio::task::yield_now().await;
    }
    let kept = queue.job(&JobId::parse("kept").unwrap()).await.unwrap();
    assert!(kept.is_some());
    queue.close().await;
}
