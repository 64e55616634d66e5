//! A scripted model server: real HTTP and server-sent events on a free port of the loopback.
//!
//! Each request takes the next reply of the script (or the first one meant for it). When the server is
//! dropped, every reply must have been taken and no request may have been without one.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
};

/// A place in a reply where the server waits for the test, and the test can wait for the server.
#[derive(Clone)]
pub struct Gate(Arc<(Semaphore, Semaphore)>);

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new((Semaphore::new(0), Semaphore::new(0))))
    }

    /// Waits until the server has come here (once per reply that holds this gate).
    pub async fn reached(&self) {
        self.0.0.acquire().await.unwrap().forget();
    }

    /// Lets one reply go on.
    pub fn open(&self) {
        self.0.1.add_permits(1);
    }

    async fn pass(&self) {
        self.0.0.add_permits(1);
        self.0.1.acquire().await.unwrap().forget();
    }
}

#[derive(Clone)]
enum Part {
    Bytes(Vec<u8>),
    Gate(Gate),
    /// Ends the connection without ending the answer.
    Drop,
    /// Sends nothing more until the client goes away.
    Hang,
    /// Sends this again and again until the client goes away.
    Pulse(Vec<u8>),
}

/// One reply.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    /// The body goes out in chunks, as streams do, or with its length.
    chunked: bool,
    /// The connection ends before any of the answer.
    silent: bool,
    body: Vec<u8>,
    /// What happens at which byte of the body.
    marks: Vec<(usize, Part)>,
    on: Option<String>,
}

impl Reply {
    /// Any body with any status.
    pub fn body(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), content_type.into())],
            chunked: false,
            silent: false,
            body: body.into(),
            marks: Vec::new(),
            on: None,
        }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::body(status, "application/json", body.to_string())
    }

    /// An error as OpenAI writes it.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &json!({"error": {"message": message, "type": code, "param": null, "code": code}}))
    }

    /// A stream with exactly these bytes.
    pub fn stream(body: impl Into<Vec<u8>>) -> Self {
        Self { chunked: true, ..Self::body(200, "text/event-stream", body) }
    }

    /// A stream with each of `data` as an event.
    pub fn events(data: &[&str]) -> Self {
        Self::stream(data.iter().map(|data| format!("data: {data}\n\n")).collect::<String>())
    }

    /// Words, streamed in two pieces, with 100 prompt and 10 completion tokens.
    pub fn text(text: &str) -> Self {
        let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        let delta = |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        Self::chunks(&[delta(&text[..middle]), delta(&text[middle..])], "stop")
    }

    /// One tool call, streamed.
    pub fn call(name: &str, arguments: &Value) -> Self {
        Self::calls(&[(name, arguments.clone())])
    }

    /// Several tool calls, streamed, each in two pieces.
    pub fn calls(calls: &[(&str, Value)]) -> Self {
        let delta = |call: Value| json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
        let mut chunks = Vec::new();
        for (index, (name, arguments)) in calls.iter().enumerate() {
            let id = format!("call_{}", index + 1);
            let function = json!({"name": name, "arguments": ""});
            chunks.push(delta(json!({"index": index, "id": id, "type": "function", "function": function})));
            chunks.push(delta(json!({"index": index, "function": {"arguments": arguments.to_string()}})));
        }
        Self::chunks(&chunks, "tool_calls")
    }

    fn chunks(chunks: &[Value], finish: &str) -> Self {
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
        let usage =
            json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}});
        let mut data: Vec<String> = chunks.iter().chain([&end, &usage]).map(Value::to_string).collect();
        data.push("[DONE]".into());
        Self::events(&data.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Reads the request and closes the connection without a word.
    pub fn hang_up() -> Self {
        Self { silent: true, ..Self::stream("") }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends the body in two writes, cut at byte `at`.
    pub fn cut_at(self, at: usize) -> Self {
        self.mark(at, Part::Bytes(Vec::new()))
    }

    /// Ends the connection after `at` bytes of the body.
    pub fn drop_at(self, at: usize) -> Self {
        self.mark(at, Part::Drop)
    }

    /// Sends nothing after `at` bytes of the body, until the client goes away.
    pub fn hang_at(self, at: usize) -> Self {
        self.mark(at, Part::Hang)
    }

    /// Sends `bytes` every few milliseconds after `at` bytes of the body, until the client goes away.
    pub fn pulse_at(self, at: usize, bytes: &str) -> Self {
        self.mark(at, Part::Pulse(bytes.into()))
    }

    /// Leaves the answer open after its last byte.
    pub fn stay_open(self) -> Self {
        let end = self.body.len();
        self.mark(end, Part::Hang)
    }

    /// Waits at byte `at` of the body until the test opens `gate`.
    pub fn gate_at(self, at: usize, gate: &Gate) -> Self {
        self.mark(at, Part::Gate(gate.clone()))
    }

    /// Only for a request whose body contains `text`.
    pub fn on(mut self, text: &str) -> Self {
        self.on = Some(text.into());
        self
    }

    /// Where the first event of the body ends.
    pub fn first_event(&self) -> usize {
        self.body.windows(2).position(|window| window == b"\n\n").map_or(0, |at| at + 2)
    }

    /// The body's length in bytes.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    fn mark(mut self, at: usize, part: Part) -> Self {
        self.marks.push((at.min(self.body.len()), part));
        self
    }

    fn parts(&self) -> Vec<Part> {
        let mut marks = self.marks.clone();
        marks.sort_by_key(|(at, _)| *at);
        let (mut parts, mut from) = (Vec::new(), 0);
        for (at, part) in marks {
            parts.extend([Part::Bytes(self.body[from..at].to_vec()), part]);
            from = at;
        }
        parts.push(Part::Bytes(self.body[from..].to_vec()));
        parts
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<Reply>,
    always: Option<Reply>,
    seen: Vec<Seen>,
    extra: usize,
    connections: usize,
}

impl State {
    fn take(&mut self, request: Seen) -> Option<Reply> {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        self.seen.push(request);
        let fits = |reply: &Reply| reply.on.as_ref().is_none_or(|part| text.contains(part));
        let reply = self.script.iter().position(fits).and_then(|at| self.script.remove(at));
        let reply = reply.or_else(|| self.always.clone());
        self.extra += usize::from(reply.is_none());
        reply
    }
}

/// The server. Ends with its connections when dropped.
pub struct ModelServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    left: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl ModelServer {
    /// Answers each request with the next reply of `script`.
    pub fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::run(State { script: script.into_iter().collect(), ..State::default() })
    }

    /// Answers every request with `reply`.
    pub fn always(reply: Reply) -> Self {
        Self::run(State { always: Some(reply), ..State::default() })
    }

    fn run(state: State) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(state));
        let left = Arc::new(Semaphore::new(0));
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::spawn({
            let (state, left) = (state.clone(), left.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    loop {
                        tokio::select! {
                            _ = stopped.changed() => return,
                            accepted = listener.accept() => {
                                let (stream, _) = accepted.unwrap();
                                lock(&state).connections += 1;
                                tokio::spawn(serve(stream, state.clone(), left.clone()));
                            }
                        }
                    }
                });
            }
        });
        Self { address, state, left, stop, thread: Some(thread) }
    }

    /// What to configure as `llm.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// Connections opened so far.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// Adds a reply to the script.
    pub fn push(&self, reply: Reply) {
        lock(&self.state).script.push_back(reply);
    }

    /// Waits until a client has gone away in the middle of an answer.
    pub async fn client_left(&self) {
        self.left.acquire().await.unwrap().forget();
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        let ended = self.thread.take().map(JoinHandle::join);
        if std::thread::panicking() {
            return;
        }
        assert!(matches!(ended, Some(Ok(()))), "the model server panicked");
        let state = lock(&self.state);
        assert_eq!(state.script.len(), 0, "replies of the model server were not used");
        assert_eq!(state.extra, 0, "requests came to the model server that the script does not know");
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, for as many requests as it brings.
async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, left: Arc<Semaphore>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let reply = lock(&state).take(request);
        let reply = reply.unwrap_or_else(|| Reply::error(500, "script", "no reply is left in the script"));
        if reply.silent || !answer(&mut stream, &reply, &left).await {
            return;
        }
    }
}

/// Reads one request. None at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Some(Seen { path, headers, body })
}

/// Sends one reply. False where the connection is at its end.
async fn answer(stream: &mut TcpStream, reply: &Reply, left: &Semaphore) -> bool {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if reply.chunked {
        head.push_str("transfer-encoding: chunked\r\n\r\n");
    } else {
        head.push_str(&format!("content-length: {}\r\n\r\n", reply.body.len()));
    }
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    for part in reply.parts() {
        let going_on = match part {
            Part::Bytes(bytes) if bytes.is_empty() => true,
            Part::Bytes(bytes) => send(stream, &bytes, reply.chunked).await,
            Part::Drop => return false,
            Part::Hang => !until_left(stream, std::future::pending(), left).await,
            Part::Pulse(bytes) => !pulse(stream, &bytes, reply.chunked, left).await,
            Part::Gate(gate) => !until_left(stream, gate.pass(), left).await,
        };
        if !going_on {
            return false;
        }
    }
    !reply.chunked || stream.write_all(b"0\r\n\r\n").await.is_ok()
}

async fn send(stream: &mut TcpStream, bytes: &[u8], chunked: bool) -> bool {
    let mut framed = Vec::new();
    if chunked {
        framed.extend(format!("{:x}\r\n", bytes.len()).as_bytes());
        framed.extend(bytes);
        framed.extend(b"\r\n");
    } else {
        framed.extend(bytes);
    }
    stream.write_all(&framed).await.is_ok() && stream.flush().await.is_ok()
}

/// Sends `bytes` every 20 ms. True once the client went away.
async fn pulse(stream: &mut TcpStream, bytes: &[u8], chunked: bool, left: &Semaphore) -> bool {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        let tick = async {
            ticks.tick().await;
        };
        if until_left(stream, tick, left).await {
            return true;
        }
        if !send(stream, bytes, chunked).await {
            left.add_permits(1);
            return true;
        }
    }
}

/// Waits for `future`. True where the client went away first.
async fn until_left(stream: &mut TcpStream, future: impl Future<Output = ()>, left: &Semaphore) -> bool {
    let mut byte = [0];
    tokio::select! {
        () = future => false,
        _ = stream.read(&mut byte) => {
            left.add_permits(1);
            true
        }
    }
}
