//! Clients that mean harm, against the real program: it goes on answering, and its memory does not grow.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::service::{PATIENCE, Service};

/// What one attack may cost, in KiB.
const MOST_MEMORY: u64 = 16 << 10;

const LIVE: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// What an attacker sends after the head, until the server closes or answers.
enum Body {
    None,
    /// The same bytes again and again.
    Endless(Vec<u8>),
    /// A byte now and then.
    Trickle,
}

/// Sends `head` and `body` while reading, until the server has closed the connection; what it answered.
async fn attack(service: &Service, head: &[u8], body: &Body) -> String {
    let (mut read, mut write) = TcpStream::connect(service.http).await.unwrap().into_split();
    let send = async {
        // Where the server closes first, the rest is nobody's.
        if write.write_all(head).await.is_err() {
            return;
        }
        match body {
            Body::None => {}
            Body::Endless(bytes) => while write.write_all(bytes).await.is_ok() {},
            Body::Trickle => {
                let mut now_and_then = tokio::time::interval(Duration::from_millis(20));
                loop {
                    now_and_then.tick().await;
                    if write.write_all(b" ").await.is_err() {
                        return;
                    }
                }
            }
        }
        // The connection stays open from this side.
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let receive = async {
        let mut piece = [0; 4096];
        loop {
            match read.read(&mut piece).await {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&piece[..read]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    break;
                }
            }
        }
    };
    let race = async {
        tokio::select! {
            () = receive => {}
            () = async { send.await; std::future::pending::<()>().await } => {}
        }
    };
    tokio::time::timeout(PATIENCE, race).await.expect("the server lets the attacker go on for ever");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn is_well(service: &Service) {
    let answer = attack(service, LIVE.as_bytes(), &Body::None).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("\r\nserver:"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_sockets_beyond_the_descriptors_do_not_silence_it() {
    let service = Service::start_with_files(256, &["--memory"], &[]);
    is_well(&service).await;
    let mut half_open = Vec::new();
    for i in 0..300 {
        let mut socket = TcpStream::connect(service.http).await.unwrap();
        if i % 2 == 0 {
            let _closed_already = socket.write_all(b"GET /health HTTP/1.1\r\nx: ").await;
        }
        half_open.push(socket);
    }
    is_well(&service).await;
    drop(half_open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_and_not_kept() {
    let env = [("AGENT_RUNNER__HTTP__BODY_TIMEOUT_SECS", "1"), ("AGENT_RUNNER__HTTP__HEADER_TIMEOUT_SECS", "1")];
    let service = Service::start(&["--memory"], &env);
    is_well(&service).await;
    let post = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let chunk = [b"10000\r\n", &[b' '; 0x10000][..], b"\r\n"].concat();
    let rows: [(&str, String, Body, &[&str]); 9] = [
        ("announced", format!("{post}content-length: 104857600\r\n\r\n"), Body::Endless(vec![b' '; 1 << 16]), &["413"]),
        ("chunked", format!("{post}transfer-encoding: chunked\r\n\r\n"), Body::Endless(chunk), &["413"]),
        (
            "gzip bomb",
            format!("{post}content-encoding: gzip\r\ncontent-length: 1000000\r\n\r\n"),
            Body::Endless(vec![0; 1000]),
            &["415"],
        ),
        (
            "many headers",
            format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(100_000)),
            Body::None,
            &["431"],
        ),
        (
            "long header",
            format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}", "y".repeat(10 << 20)),
            Body::None,
            &["431"],
        ),
        (
            "long line",
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(10 << 20)),
            Body::None,
            &["414", "431"],
        ),
        ("slow body", format!("{post}content-length: 100000\r\n\r\n"), Body::Trickle, &["408"]),
        ("slow head", "GET /health HTTP/1.1\r\nx: ".to_owned(), Body::Trickle, &[""]),
        ("idle", "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), Body::None, &["200"]),
    ];
    for (name, head, body, expected) in rows {
        let before = service.peak_memory_kib();
        let answer = attack(&service, head.as_bytes(), &body).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        // A reset can overtake the answer when the client is still sending.
        assert!(expected.contains(&status) || status.is_empty(), "{name}: {answer}");
        // The kernel counts in steps: a peak may seem to sink a little.
        let grown = service.peak_memory_kib().saturating_sub(before);
        assert!(grown <= MOST_MEMORY, "{name}: {grown} KiB");
        is_well(&service).await;
    }
}
