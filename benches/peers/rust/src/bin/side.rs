//! What stands beside the processes under measurement: `side proxy PORT MICROSECONDS`, a link with latency, and
//! `side model MILLISECONDS`, a model server. Each prints the port it listens on.

use std::{
    convert::Infallible,
    io::{Read, Write},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Forwards to a local port, with so much latency each way that holds up nothing that follows. On threads: the timers of
/// an async runtime count in milliseconds.
fn proxy(upstream: u16, one_way: Duration) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    for client in listener.incoming().map_while(Result::ok) {
        let server = std::net::TcpStream::connect(("127.0.0.1", upstream)).unwrap();
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || pass(from, to, one_way));
        std::thread::spawn(move || pass(server, client, one_way));
    }
}

fn pass(mut from: std::net::TcpStream, mut to: std::net::TcpStream, one_way: Duration) {
    let (send, receive) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (due, bytes) in receive {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 256 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let _ = send.send((Instant::now() + one_way, buffer[..n].to_vec()));
    }
}

/// A model that takes `delay` for every answer, always the same call of the pipeline tool. Prints its port.
async fn model(delay: Duration) -> Infallible {
    let arguments = r#"{\"pipeline\":[{\"step\":\"top_k\",\"k\":3,\"by\":\"price\"}]}"#;
    let call = format!(
        r#"{{"choices":[{{"index":0,"delta":{{"role":"assistant","tool_calls":[{{"index":0,"id":"c1","type":"function","function":{{"name":"execute_pipeline","arguments":"{arguments}"}}}}]}}}}]}}"#
    );
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":900,"completion_tokens":30,"total_tokens":930}}"#;
    let body = format!("data: {call}\n\ndata: {end}\n\ndata: [DONE]\n\n");
    let reply = Bytes::from(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let listener = listen().await;
    loop {
        let (client, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        tokio::spawn(answer(client, reply.clone(), delay));
    }
}

async fn answer(mut client: TcpStream, reply: Bytes, delay: Duration) {
    let mut request = Vec::new();
    loop {
        if client.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
        let length = text.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
        if request.len() < head + 4 + length.unwrap_or(0_usize) {
            continue;
        }
        request.clear();
        tokio::time::sleep(delay).await;
        if client.write_all(&reply).await.is_err() {
            return;
        }
    }
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    listener
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize| args[at].parse::<u64>().unwrap();
    match args[1].as_str() {
        "proxy" => proxy(number(2) as u16, Duration::from_micros(number(3))),
        _ => match model(Duration::from_millis(number(2))).await {},
    }
}
