//! Plays rows on the real handoff lane, with a scripted model and tools that only tell.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agent_runner::{
    agents::{
        Conversations, LiveRegistry, Pools, Registry, RouteOptions, Router, RunBounds, Scope, TrailEntry, TrailStore,
    },
    embed::Lexical,
    job::{ErrorCode, Event, EventKind, Job, JobError, JobLimits, Lane, Meter, Preview, RawJson},
    lanes::{HandoffOptions, Handoffs, LaneEnd, Record, handoff::Surroundings},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest, Message, ToolSpec},
    store::{Draw, Held, Hold, Journal, MemoryStore, SharedStore, Store, StoreError, Visit, Write},
    tools::{Effect, Tool, ToolContext, ToolEnd, ToolOutput},
};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::read::{Part, Row, reply};

const HOUR: Duration = Duration::from_secs(3600);

/// What a row came to, as text.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Played {
    /// Requests, tool calls and ends, in order.
    pub lines: Vec<String>,
    /// Model calls that were made.
    pub asked: usize,
    /// Tool calls that were made.
    pub called: usize,
}

type Log = Arc<Mutex<Vec<String>>>;

struct Scripted {
    replies: Mutex<std::collections::VecDeque<String>>,
    log: Log,
}

#[async_trait]
impl ChatModel for Scripted {
    async fn chat(&self, request: &ChatRequest, context: &CallContext<'_>) -> Result<ChatReply, JobError> {
        context.meter.begin_request()?;
        self.log.lock().unwrap().push(asked(request));
        let next = self.replies.lock().unwrap().pop_front();
        if next.as_deref() == Some("(silence)") {
            std::future::pending::<()>().await;
        }
        let reply = reply(&next.unwrap_or_else(|| panic!("no reply is left for\n{}", asked(request))));
        if let (Ok(reply), Some(tell)) = (&reply, context.on_text) {
            tell(&reply.text);
        }
        if let Ok(reply) = &reply {
            context.meter.add("m", reply.tokens, 0.5);
        }
        reply
    }
}

/// A request as text: everything but what is the same in all of them.
fn asked(request: &ChatRequest) -> String {
    let tools: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    let mut text = format!("ask [{}]", tools.join(" "));
    let extras = [
        request.model.as_ref().map(|model| format!("model={model}")),
        request.temperature.map(|t| format!("temperature={t}")),
        request.max_tokens.map(|t| format!("max_tokens={t}")),
        request.response_format.as_ref().map(|format| format!("format={}", format.name)),
    ];
    for extra in extras.into_iter().flatten() {
        text.push_str(&format!(" {extra}"));
    }
    for message in &request.messages {
        let line = match message {
            Message::System(text) => format!("S {text}"),
            Message::User(text) => format!("U {text}"),
            Message::Assistant { text, calls } => {
                let calls: Vec<String> =
                    calls.iter().map(|call| format!("{}{}", call.name, call.arguments.as_str())).collect();
                format!("A {text} {}", calls.join(" ")).trim_end().to_owned()
            }
            Message::Tool { name, content, .. } => format!("T {name}: {content}"),
        };
        text.push_str(&format!("\n  {}", line.replace('\n', "\\n")));
    }
    text
}

/// A tool that tells what it was given. `{"fail": code}` fails.
struct Teller {
    spec: ToolSpec,
    log: Log,
}

#[async_trait]
impl Tool for Teller {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self, _: &RawJson) -> Effect {
        Effect::Repeatable
    }

    async fn call(&self, arguments: &RawJson, _: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        self.log.lock().unwrap().push(format!("tool {} {}", self.spec.name, arguments.as_str()));
        let value = arguments.to_value().unwrap();
        if let Some(code) = value.get("fail") {
            let code: ErrorCode = serde_json::from_value(code.clone()).unwrap();
            return Err(JobError::new(code, "the tool failed").with_retryable(value["retry"] == true));
        }
        if value.get("park").is_some() {
            return Ok(ToolEnd::Park(arguments.clone()));
        }
        let summary = format!("done {}", arguments.as_str());
        let (result, preview) = (RawJson::of(&summary), Preview::text(&summary));
        Ok(ToolEnd::Done(ToolOutput { result, lane: Lane::Execute, preview, summary, warnings: Vec::new() }))
    }
}

/// A process that dies after so many entries of the journal.
#[derive(Default)]
pub struct Deaths {
    after: AtomicUsize,
    dead: Notify,
}

/// A store that stops answering when its process has died.
struct Mortal {
    inner: Arc<MemoryStore>,
    deaths: Arc<Deaths>,
}

#[async_trait]
impl Store for Mortal {
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.inner.put(key, value, ttl).await
    }
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key).await
    }
    async fn append(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        // What failed or had only been begun is done again by whoever comes next: nothing is gained by dying there.
        let line = String::from_utf8_lossy(&value).into_owned();
        let done_again = line.contains("\"line\":{\"Failed\"") || line.contains("\"line\":{\"Asked\"");
        let counts = key.starts_with("journal:") && !done_again;
        self.inner.append(key, value, ttl).await?;
        if counts && self.deaths.after.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.deaths.dead.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
    async fn list(&self, key: &str) -> Result<Vec<Bytes>, StoreError> {
        self.inner.list(key).await
    }
    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }
    async fn trim(&self, key: &str, keep: usize) -> Result<(), StoreError> {
        self.inner.trim(key, keep).await
    }
    async fn count(&self, key: &str, deltas: &[(&str, i64)], ttl: Duration) -> Result<Vec<i64>, StoreError> {
        self.inner.count(key, deltas, ttl).await
    }
    async fn sums(&self, keys: &[String]) -> Result<Vec<Vec<(String, i64)>>, StoreError> {
        self.inner.sums(keys).await
    }
    async fn draw(&self, key: &str, draws: &[Draw], visit: Visit<'_>) -> Result<Duration, StoreError> {
        self.inner.draw(key, draws, visit).await
    }

    async fn hold(&self, hold: &Hold<'_>, limits: [u64; 2], ttl: Duration) -> Result<Held, StoreError> {
        self.inner.hold(hold, limits, ttl).await
    }

    async fn settle(&self, hold: &Hold<'_>, ttl: Duration) -> Result<(), StoreError> {
        self.inner.settle(hold, ttl).await
    }
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.inner.write(writes).await
    }
    async fn borrow(&self, key: &str, among: &[&str], holder: &str, ttl: Duration) -> Result<usize, StoreError> {
        self.inner.borrow(key, among, holder, ttl).await
    }
    async fn give_back(&self, key: &str, holder: &str) -> Result<(), StoreError> {
        self.inner.give_back(key, holder).await
    }
    async fn may_have_forgotten(&self) -> Result<bool, StoreError> {
        self.inner.may_have_forgotten().await
    }
    async fn foreign(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.foreign(key).await
    }
}

/// Plays a row once.
pub async fn play(row: &Row) -> Played {
    play_dying(row, usize::MAX).await
}

/// Plays a row; its process dies after each `every` entries of a journal, and another one goes on.
pub async fn play_dying(row: &Row, every: usize) -> Played {
    let store = MemoryStore::new(8 << 20);
    let log: Log = Log::default();
    for (i, part) in row.parts.iter().enumerate() {
        play_part(row, i, part, &store, &log, every).await;
    }
    let lines = log.lock().unwrap().clone();
    let count = |prefix: &str| lines.iter().filter(|line| line.starts_with(prefix)).count();
    Played { asked: count("ask "), called: count("tool "), lines: lines.clone() }
}

async fn play_part(row: &Row, number: usize, part: &Part, store: &Arc<MemoryStore>, log: &Log, every: usize) {
    let mut document = part.job.clone();
    document["job_id"] = format!("job-{number}").into();
    let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
    let job = match Job::parse(&Bytes::from(document.to_string()), &limits) {
        Ok(job) => job,
        // It does not come as far as the lane.
        Err(rejected) => {
            log.lock().unwrap().extend([end(&Err(rejected.error)), told(&[])]);
            return;
        }
    };
    let model = Arc::new(Scripted { replies: Mutex::new(part.replies.clone().into()), log: log.clone() });
    let ends = loop {
        let deaths = Arc::new(Deaths { after: AtomicUsize::new(every), dead: Notify::new() });
        let mortal: SharedStore = Arc::new(Mortal { inner: store.clone(), deaths: deaths.clone() });
        let offline = row.settings.contains_key("offline");
        let lane = lane(row, mortal.clone(), (!offline).then(|| model.clone() as Arc<dyn ChatModel>), log);
        let events = Mutex::new(Vec::new());
        let lived = tokio::select! {
            biased;
            () = deaths.dead.notified() => None,
            ended = live(&job, &lane, mortal, &events) => Some(ended),
        };
        if let Some(ended) = lived {
            let trail = trail_of(&lane, &ended).await;
            break [vec![end(&ended)], trail, vec![told(&events.into_inner().unwrap())]].concat();
        }
    };
    let left: Vec<String> = model.replies.lock().unwrap().drain(..).collect();
    assert!(left.is_empty(), "{}: replies were not used: {left:?}", row.name);
    log.lock().unwrap().extend(ends);
}

/// One delivery of the job.
async fn live(
    job: &Job,
    lane: &Handoffs,
    store: SharedStore,
    events: &Mutex<Vec<Event>>,
) -> Result<(Value, Record), JobError> {
    let (meter, cancel) = (Meter::of(job), CancellationToken::new());
    let journal = Journal::new(store, &job.job_id, HOUR, 1 << 20);
    let deadline = Instant::now() + HOUR;
    let emit = |event: Event| events.lock().unwrap().push(event);
    let tool_context = ToolContext {
        job,
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
    let mut record = Record::default();
    match lane.run(job, Surroundings { tool_context, quiet }, &mut record).await? {
        LaneEnd::Done { result, .. } => Ok((result.to_value().unwrap(), record)),
        LaneEnd::Parked(pending) => panic!("parked: {pending:?}"),
    }
}

fn lane(row: &Row, store: SharedStore, model: Option<Arc<dyn ChatModel>>, log: &Log) -> Handoffs {
    let set = |key: &str, default: u64| row.settings.get(key).map_or(default, |value| value.parse().unwrap());
    let small = |key: &str, default: u64| u32::try_from(set(key, default)).unwrap();
    let registry = Registry::parse(&row.agents, &Vec::new()).unwrap_or_else(|e| panic!("{}: {e}", row.name));
    let tools = ["execute_pipeline", "patch_workflow"].map(|name| {
        let spec = ToolSpec { name: name.into(), description: name.into(), parameters: json!({}), strict: false };
        Arc::new(Teller { spec, log: log.clone() }) as Arc<dyn Tool>
    });
    Handoffs {
        registry: LiveRegistry::new(Path::new("no-such-file.yaml"), &Vec::new(), registry),
        router: Arc::new(Router::new(Arc::new(Lexical), None, RouteOptions::default())),
        trail: TrailStore::new(store.clone(), HOUR),
        model,
        tools: tools.to_vec(),
        toolbox: crate::support::tools::no_toolbox(),
        pools: Arc::new(Pools::new(store.clone(), HOUR)),
        conversations: Conversations::new(store, HOUR),
        options: HandoffOptions {
            agent: RunBounds::of_agent(small("llm.max_turns", 6), small("max_turns", 20), 3),
            network: RunBounds {
                scope: Scope::Network,
                max_turns: small("max_turns", 20),
                max_in_all: small("max_turns", 20),
                max_handoffs: small("max_handoffs", 10),
                max_repeats: 3,
            },
            network_timeout_secs: set("timeout", 300),
            sticky: set("sticky", 1) == 1,
            num_tiers: small("num_tiers", 3),
            skip_to_required: set("skip", 0) == 1,
        },
    }
}

fn end(ended: &Result<(Value, Record), JobError>) -> String {
    match ended {
        Ok((result, record)) => {
            let mut shown = result.clone();
            shown["execution_id"] = "-".into();
            shown.as_object_mut().unwrap().shift_remove("trail");
            shown.as_object_mut().unwrap().shift_remove("execution_id");
            let calls = record.tool_calls.len();
            let warned: String = record.warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect();
            let calls = if calls == 0 { String::new() } else { format!(" tool_calls={calls}") };
            format!("= {shown}{calls}{warned}")
        }
        Err(error) => {
            let reason = error.details.get("reason").and_then(Value::as_str).unwrap_or("-");
            let again = if error.retryable { " retryable" } else { "" };
            format!("= {} {reason}{again}: {}", error.code.as_str(), error.message)
        }
    }
}

/// The trail that was kept, and that it is this execution's only.
async fn trail_of(lane: &Handoffs, ended: &Result<(Value, Record), JobError>) -> Vec<String> {
    let id = match ended {
        Ok((result, _)) => result["execution_id"].as_str().unwrap().to_owned(),
        Err(error) => match error.details.get("execution_id") {
            Some(id) => id.as_str().unwrap().to_owned(),
            None => return Vec::new(),
        },
    };
    let trail = lane.trail.list(&id).await.unwrap();
    assert!(trail.iter().all(|entry| entry.execution_id == id));
    assert!(trail.is_sorted_by(|a, b| a.timestamp <= b.timestamp), "{trail:?}");
    if let Ok((result, _)) = ended
        && let Some(shown) = result.get("trail")
    {
        assert_eq!(*shown, serde_json::to_value(&trail).unwrap(), "the result shows the trail that is kept");
    }
    trail.iter().map(entry).collect()
}

fn entry(entry: &TrailEntry) -> String {
    let kind = serde_json::to_value(entry.kind).unwrap();
    let mut text = format!("  {}", kind.as_str().unwrap());
    let parts = [
        entry.tier_level.map(|level| format!("tier {level}")),
        entry.agent_id.clone(),
        entry.can_handle.map(|can| format!("can={can}")),
        entry.complexity_score.map(|score| format!("complexity={score}")),
        entry.requires_tier.map(|tier| format!("requires={tier}")),
        entry.forced.map(|forced| format!("forced={forced}")),
        entry.handoff_decision.clone(),
        entry.from.as_ref().map(|from| format!("{from}>{}", entry.to.as_deref().unwrap_or("-"))),
        entry.reasoning.as_ref().map(|words| format!("{words:?}")),
        entry.reason.as_ref().map(|words| format!("({words})")),
        entry.tokens.map(|tokens| format!("tokens={}", tokens.total())),
    ];
    for part in parts.into_iter().flatten() {
        text.push_str(&format!(" {part}"));
    }
    text
}

/// The events of the last delivery, in order. Words of one agent after the other are one.
fn told(events: &[Event]) -> String {
    let mut names: Vec<String> = Vec::new();
    for event in events {
        let text =
            |key: &str| event.data().get(key).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        let name = match event.event {
            EventKind::Handoff => format!("{}>{}", text("from").unwrap_or_default(), text("to").unwrap_or_default()),
            EventKind::Tier => format!("tier{}:{}", text("tier_level").unwrap(), text("decision").unwrap()),
            EventKind::ToolStarted => format!("+{}:{}", text("agent_id").unwrap(), text("tool").unwrap()),
            EventKind::ToolFinished => format!("-{}:{}", text("agent_id").unwrap(), text("tool").unwrap()),
            EventKind::AgentStarted => format!("+{}", text("agent_id").unwrap()),
            EventKind::AgentCompleted => format!("-{}", text("agent_id").unwrap()),
            EventKind::Token if text("text").as_deref() == Some("") => continue,
            EventKind::Token => format!("~{}", text("agent_id").unwrap()),
            other => other.as_str().to_owned(),
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    format!("  events {}", names.join(" ")).trim_end().to_owned()
}
