//! What agents cost beside their model: a transfer, and a thousand runs at the same time.
//!
//! `cargo bench --bench handoff`. The model is scripted and answers at once, or after a time that is taken off. With
//! redis-server on the path, the same with the journal and the trail in Redis.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark stops at the first surprise")]

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agent_runner::{
    agents::{
        Conversations, LiveRegistry, Pools, Registry, RouteOptions, Router, RunBounds, Scope, Toolbox, TrailStore,
    },
    embed::Lexical,
    job::{Event, Job, JobError, JobLimits, Meter, RawJson, Tokens},
    lanes::{HandoffOptions, Handoffs, LaneEnd, Record, handoff::Surroundings},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest, ToolCall},
    net::{Credentials, Egress},
    settings::{Settings, TaintedEffects},
    store::{Journal, MemoryStore, RedisStore, SharedStore},
    tools::{ToolContext, mcp::Servers},
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3600);
/// Transfers of one run: as many as are allowed by default.
const TRANSFERS: usize = 10;
const RUNS: usize = 500;
const CONCURRENT: usize = 1000;

/// Three agents in a ring, each with some words.
fn agents() -> String {
    let words = "Answer carefully and in full sentences. ".repeat(20);
    let agent = |id: &str, next: &str| {
        format!("- {{id: {id}, description: does {id}, instructions: \"{words}\", handoffs: [{next}]}}\n")
    };
    format!("agents:\n{}{}{}", agent("a", "b"), agent("b", "c"), agent("c", "a"))
}

/// Passes on for as many times as there are transfers, then answers.
struct Model {
    takes: Duration,
    transfers: usize,
    asked: AtomicUsize,
}

#[async_trait]
impl ChatModel for Model {
    async fn chat(&self, request: &ChatRequest, _: &CallContext<'_>) -> Result<ChatReply, JobError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        let made = request.messages.iter().filter(|m| matches!(m, agent_runner::llm::Message::Tool { .. })).count();
        let calls = match request.tools.first() {
            Some(tool) if made < self.transfers => vec![ToolCall {
                id: format!("call_{made}"),
                name: tool.name.clone(),
                arguments: RawJson::from_trusted(format!("{{\"reason\":\"step {made}\",\"message\":\"go on\"}}")),
            }],
            _ => Vec::new(),
        };
        let text = if calls.is_empty() { "done".to_owned() } else { String::new() };
        Ok(ChatReply { text, calls, tokens: Tokens { prompt: 100, completion: 10, cached: 0 }, model: "m".into() })
    }
}

fn lane(store: &SharedStore, model: Arc<Model>) -> Handoffs {
    let registry = Registry::parse(&agents(), &Vec::new()).unwrap();
    let settings = Settings::default();
    let egress = Arc::new(Egress::new(&settings.egress, &[]).unwrap());
    let servers = Servers::new(egress, Credentials::new(&settings.egress));
    Handoffs {
        registry: LiveRegistry::new(Path::new("no-such-file.yaml"), &Vec::new(), registry),
        router: Arc::new(Router::new(Arc::new(Lexical), None, RouteOptions::default())),
        trail: TrailStore::new(store.clone(), HOUR),
        model: Some(model),
        tools: Vec::new(),
        toolbox: Arc::new(Toolbox { servers, sources: Vec::new(), tainted: TaintedEffects::Approve }),
        pools: Arc::new(Pools::new(store.clone(), Duration::from_secs(15))),
        conversations: Conversations::new(store.clone(), HOUR),
        options: HandoffOptions {
            agent: RunBounds::of_agent(6, 20, 3),
            network: RunBounds {
                scope: Scope::Network,
                max_turns: 20,
                max_in_all: 20,
                max_handoffs: 10,
                max_repeats: 3,
            },
            network_timeout_secs: 300,
            sticky: true,
            num_tiers: 3,
            skip_to_required: false,
        },
    }
}

async fn run(lane: &Handoffs, store: &SharedStore, id: usize) {
    let text = format!(
        "{{\"job_id\":\"bench-{id}\",\"prompt\":\"please pass this on\",\"handoff\":{{\"mode\":\"network\",\"agent\":\"a\"}}}}"
    );
    let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
    let job = Job::parse(&Bytes::from(text), &limits).map_err(|rejected| rejected.error).unwrap();
    let (meter, cancel) = (Meter::of(&job), CancellationToken::new());
    let journal = Journal::new(store.clone(), &job.job_id, HOUR, 1 << 20);
    let deadline = Instant::now() + HOUR;
    let emit = |_: Event| {};
    let tool_context = ToolContext {
        job: &job,
        data: None,
        journal: &journal,
        step: "",
        meter: &meter,
        deadline,
        cancel: &cancel,
        emit: &emit,
        watch: None,
    };
    let quiet = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let end = lane.run(&job, Surroundings { tool_context, quiet }, &mut Record::default()).await.unwrap();
    assert!(matches!(end, LaneEnd::Done { .. }));
}

/// Median time of a run with `transfers`, a model that answers at once.
async fn median_run(store: &SharedStore, transfers: usize, from: usize) -> Duration {
    let model = Arc::new(Model { takes: Duration::ZERO, transfers, asked: AtomicUsize::new(0) });
    let lane = lane(store, model.clone());
    let mut times = Vec::with_capacity(RUNS);
    for id in from..from + RUNS {
        let started = Instant::now();
        run(&lane, store, id).await;
        times.push(started.elapsed());
    }
    assert_eq!(model.asked.load(Ordering::Relaxed), RUNS * (transfers + 1));
    times.sort_unstable();
    times[RUNS / 2]
}

async fn transfers(name: &str, store: &SharedStore, from: usize) {
    // What a run costs anyway is in both.
    let none = median_run(store, 0, from).await;
    let all = median_run(store, TRANSFERS, from + RUNS).await;
    let each = (all.saturating_sub(none)) / u32::try_from(TRANSFERS).unwrap();
    println!(
        "{name}: a run without transfers {none:?}, with {TRANSFERS} {all:?}: {each:?} a transfer, its model call on record included"
    );
}

async fn together() {
    let store: SharedStore = MemoryStore::new(512 << 20);
    let model = Arc::new(Model { takes: Duration::from_millis(200), transfers: TRANSFERS, asked: AtomicUsize::new(0) });
    let lane = Arc::new(lane(&store, model));
    let before = memory("VmRSS");
    let started = Instant::now();
    let runs = (0..CONCURRENT).map(|id| {
        let (lane, store) = (lane.clone(), store.clone());
        tokio::spawn(async move { run(&lane, &store, id).await })
    });
    for done in futures::future::join_all(runs).await {
        done.unwrap();
    }
    println!(
        "{CONCURRENT} runs at the same time with {TRANSFERS} transfers each and a model of 200 ms: {:?} (the model alone {:?}), \
         at most {:.1} MiB resident, {:.1} MiB before; journals and trails of all runs are in it",
        started.elapsed(),
        Duration::from_millis(200) * u32::try_from(TRANSFERS + 1).unwrap(),
        memory("VmHWM"),
        before,
    );
}

/// A line of `/proc/self/status`, in MiB.
fn memory(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    value.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis of its own, where there is one.
fn redis() -> Option<(Server, SharedStore)> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to accept connections")));
    std::thread::spawn(move || lines.for_each(drop));
    let mut settings = Settings::default();
    settings.redis.url = format!("redis://127.0.0.1:{port}").into();
    Some((Server(child), RedisStore::connect(&settings).unwrap()))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // First, so that the peak is that of the runs alone.
    together().await;
    transfers("store in process", &(MemoryStore::new(512 << 20) as SharedStore), 0).await;
    match redis() {
        Some((_server, store)) => transfers("store in Redis", &store, 0).await,
        None => println!("store in Redis: no redis-server on the path"),
    }
}
