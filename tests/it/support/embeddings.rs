//! An embeddings server on a free port of the loopback that answers as it is told.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinHandle,
};

/// What the server does with a list of texts: a status, extra header lines and a body.
pub type Answer = dyn Fn(&[String]) -> (u16, String, String) + Send + Sync;

/// What one request asked for: the texts, and its authorization header.
type Asked = (Vec<String>, Option<String>);

pub struct EmbeddingsServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl EmbeddingsServer {
    pub async fn start(answer: impl Fn(&[String]) -> (u16, String, String) + Send + Sync + 'static) -> Self {
        Self::start_with(Arc::new(answer), None).await
    }

    /// A server that answers nobody until as many requests wait as the barrier wants.
    pub async fn start_with(answer: Arc<Answer>, barrier: Option<Arc<Barrier>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), barrier.clone(), seen.clone()));
            }
        });
        Self { address, requests, task }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The texts and the `Authorization` of every request so far.
    pub fn requests(&self) -> Vec<(Vec<String>, Option<String>)> {
        self.requests.lock().clone()
    }
}

impl Drop for EmbeddingsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The usual answer: a vector per text, in reverse order, told apart by their index.
pub fn vectors(texts: &[String]) -> (u16, String, String) {
    let item = |(index, text): (usize, &String)| json!({"index": index, "embedding": vector(text)});
    let data: Vec<Value> = texts.iter().enumerate().map(item).rev().collect();
    (200, String::new(), json!({"data": data, "usage": {"prompt_tokens": 3 * texts.len()}}).to_string())
}

/// Letters counted: enough to tell texts apart.
pub fn vector(text: &str) -> Vec<f32> {
    let mut counts = vec![0.0; 26];
    for byte in text.bytes().filter(u8::is_ascii_alphabetic) {
        counts[usize::from(byte.to_ascii_lowercase() - b'a')] += 1.0;
    }
    counts
}

type Seen = Arc<Mutex<Vec<(Vec<String>, Option<String>)>>>;

async fn serve(mut stream: TcpStream, answer: Arc<Answer>, barrier: Option<Arc<Barrier>>, seen: Seen) {
    let mut bytes = Vec::new();
    loop {
        let Some((head, body)) = read_request(&mut stream, &mut bytes).await else { return };
        let request: Value = serde_json::from_slice(&body).unwrap();
        let texts: Vec<String> = serde_json::from_value(request["input"].clone()).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
        seen.lock().push((texts.clone(), key));
        if let Some(barrier) = &barrier {
            barrier.wait().await;
        }
        let (status, headers, body) = answer(&texts);
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..end + 4 + length].to_vec();
                bytes.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
