//! The listener itself, over sockets: slow clients, many clients, hostile heads, an orderly end.

use std::{sync::Arc, time::Duration};

use agent_runner::settings::{Settings, section};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::support::{
    api::{Server, app},
    broken_queue::broken_queue,
};

fn settings(http: serde_json::Value) -> Settings {
    Settings { http: section(http).unwrap(), ..Settings::default() }
}

/// Sends `head` and reads until the server closes the connection.
async fn exchange(server: &Server, head: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _reset = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn half_open_connections_do_not_keep_others_out() {
    let server =
        Server::start(app(broken_queue(), settings(json!({"header_timeout_secs": 1, "max_connections": 16})))).await;
    let mut half_open = Vec::new();
    for i in 0..16 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if i % 2 == 0 {
            stream.write_all(b"GET /health/live HTTP/1.1\r\nx: ").await.unwrap();
        }
        half_open.push(stream);
    }
    // All places are taken: a client that asks now waits for one to be given up, and gets it.
    assert!(exchange(&server, LIVE).await.starts_with("HTTP/1.1 200"));
    for mut stream in half_open {
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let server = Server::start(app(broken_queue(), Settings::default())).await;
    let many: String = (0..101).map(|i| format!("x-{i}: y\r\n")).collect();
    let answer = exchange(&server, &format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = "y".repeat(100 << 10);
    let answer = exchange(&server, &format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let endless = "x: y\r\n".repeat(100_000);
    let answer = exchange(&server, &format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\n{endless}")).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    let huge = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 104857600\r\n\r\n{";
    let answer = exchange(&server, huge).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let answer = exchange(&server, "\x16\x03\x01\x02 nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{answer}");
    assert!(exchange(&server, LIVE).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_answer_under_way_is_finished_and_new_clients_are_turned_away() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut app = app(broken_queue(), Settings::default());
    let echo = app.run.clone();
    let (signal, gate) = (begun.clone(), go.clone());
    app.run = Arc::new(move |job| {
        let (signal, gate, echo) = (signal.clone(), gate.clone(), echo.clone());
        Box::pin(async move {
            signal.notify_one();
            gate.notified().await;
            echo(job).await
        })
    });
    let mut server = Server::start(app).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /test/chat?prompt=x HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    begun.notified().await;
    server.shutdown.cancel();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    // The job would outlive the server: its client is told at once, and whole.
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"), "{answer}");
    (&mut server.task).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn requests_that_stay_open_leave_room_for_others() {
    let begun = Arc::new(Notify::new());
    let mut app = app(broken_queue(), settings(json!({"max_connections": 4})));
    let signal = begun.clone();
    app.run = Arc::new(move |_| {
        signal.notify_one();
        Box::pin(std::future::pending())
    });
    let server = Server::start(app).await;
    let chat = b"POST /test/chat?prompt=x HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(chat).await.unwrap();
        begun.notified().await;
        waiting.push(stream);
    }
    let refused =
        exchange(&server, "POST /test/chat?prompt=x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("too_many_waiting"), "{refused}");
    assert!(exchange(&server, LIVE).await.starts_with("HTTP/1.1 200"));
    drop(waiting.pop());
    // Its place comes free as soon as the server sees that the client is gone.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            stream.write_all(chat).await.unwrap();
            let mut buffer = [0_u8; 4096];
            tokio::select! {
                () = begun.notified() => break,
                read = stream.read(&mut buffer) => assert!(read.unwrap() > 0),
            }
        }
    })
    .await
    .expect("the place of a client that left is given to another");
}

#[tokio::test]
async fn an_address_that_asks_too_much_waits_and_probes_do_not() {
    let settings = settings(json!({"requests_per_minute": 3, "token": "s3cret"}));
    let server = Server::start(app(broken_queue(), settings)).await;
    let guess = "GET /openapi.json HTTP/1.1\r\nhost: x\r\nauthorization: Bearer guess\r\nconnection: close\r\n\r\n";
    for _ in 0..3 {
        assert!(exchange(&server, guess).await.starts_with("HTTP/1.1 401"));
    }
    let refused = exchange(&server, guess).await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("too_many_requests"), "{refused}");
    assert!(exchange(&server, LIVE).await.starts_with("HTTP/1.1 200"));
}
