//! The loop between a planner and its tools: calls side by side, what is recorded of them, and what traces show.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent_runner::{
    job::{
        Event, Intent, IntentKind, IntentSource, Job, JobError, JobLimits, Lane, Meter, Preview, RawJson, ToolStatus,
    },
    lanes::{Bounds, Drive, LaneEnd, Record},
    llm::{CallContext, OpenAi, ToolSpec},
    planner::{Brief, ModelPlanner, Reference},
    settings::Settings,
    store::{Journal, MemoryStore, SharedStore},
    tools::{Tool, ToolContext, ToolEnd, ToolOutput},
};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::{Layer, layer::SubscriberExt, registry::LookupSpan};

use crate::support::{
    llm,
    model::{ModelServer, Reply},
    site::{Site, reply},
    stage::Stage,
};

/// A tool whose calls wait for each other at the barrier, where it has one, and are counted.
struct Waiting {
    spec: ToolSpec,
    reads: bool,
    barrier: Option<Barrier>,
    made: Mutex<Vec<String>>,
}

impl Waiting {
    fn new(name: &str, reads: bool, together: Option<usize>) -> Arc<Self> {
        let spec = ToolSpec { name: name.into(), description: "x".into(), parameters: json!({}), strict: false };
        Arc::new(Self { spec, reads, barrier: together.map(Barrier::new), made: Mutex::default() })
    }

    fn made(&self) -> Vec<String> {
        self.made.lock().unwrap().clone()
    }
}

#[async_trait]
impl Tool for Waiting {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn only_reads(&self, _: &RawJson) -> bool {
        self.reads
    }

    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        if let Some(barrier) = &self.barrier {
            barrier.wait().await;
        }
        let asked = arguments.as_str().to_owned();
        // A step of the same name in every call, as fetches have it.
        let work = async { Ok(asked.clone()) };
        let kept: String = context.journal.step("inner", context.meter, work).await?;
        assert_eq!(kept, asked, "each call has its own record");
        self.made.lock().unwrap().push(asked.clone());
        if asked.contains("bad") {
            return Err(JobError::new(agent_runner::job::ErrorCode::InvalidPipeline, format!("refused {asked}")));
        }
        Ok(ToolEnd::Done(ToolOutput {
            result: arguments.clone(),
            lane: Lane::Execute,
            preview: Preview::text("x"),
            summary: format!("did {asked}"),
            warnings: Vec::new(),
        }))
    }
}

fn limits() -> JobLimits {
    JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 }
}

/// Drives `tools` by the model with a journal in `store`.
async fn drive(
    settings: &Settings,
    store: &SharedStore,
    tools: &[Arc<dyn Tool>],
) -> (Result<RawJson, JobError>, Record) {
    let job = Job::parse(&Bytes::from_static(br#"{"job_id":"a","prompt":"do it"}"#), &limits()).unwrap();
    let journal = Journal::new(store.clone(), &job.job_id, Duration::from_secs(600), 1 << 20);
    let planner = ModelPlanner::new(Arc::new(OpenAi::new(settings).unwrap()), Reference::default());
    let (meter, cancel, mut record) = (Meter::default(), CancellationToken::new(), Record::default());
    let deadline = Instant::now() + Duration::from_secs(60);
    let emit = |_: Event| {};
    let specs: Vec<ToolSpec> = tools.iter().map(|tool| tool.spec().clone()).collect();
    let intent =
        Intent { intent: IntentKind::Execute, confidence: 1.0, reasoning: "x".into(), source: IntentSource::Rules };
    let drive = Drive {
        planner: &planner,
        on_record: true,
        tools,
        brief: Brief {
            job: &job,
            intent: &intent,
            tools: &specs,
            columns: None,
            row_count: None,
            workflow: None,
            session: None,
        },
        tool_context: ToolContext {
            job: &job,
            data: None,
            journal: &journal,
            step: "",
            meter: &meter,
            deadline,
            cancel: &cancel,
            emit: &emit,
            watch: None,
        },
        call_context: CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None },
        bounds: Bounds { max_turns: 3, max_patch_tries: 3, max_repeats: 2, mends: true },
        capture_content: settings.telemetry.capture_content,
    };
    let end =
        tokio::time::timeout(Duration::from_secs(30), drive.run(&mut record)).await.expect("calls wait for each other");
    let end = end.map(|end| match end {
        LaneEnd::Done { result, .. } => result,
        LaneEnd::Parked(_) => panic!("parked"),
    });
    (end, record)
}

fn memory() -> SharedStore {
    MemoryStore::new(1 << 20)
}

#[tokio::test]
async fn calls_that_only_read_run_together_and_are_told_in_order() {
    let ask = |n: u32| ("look", json!({"n": n}));
    let bad = ("look", json!({"bad": 1}));
    let model = ModelServer::start([
        Reply::calls(&[ask(1), bad, ask(3)]),
        Reply::calls(&[ask(4), ask(5), ask(6)]).on("refused"),
    ]);
    let tool = Waiting::new("look", true, Some(3));
    let tools = [tool.clone() as Arc<dyn Tool>];
    let store = memory();
    let (end, record) = drive(&llm::settings(&model), &store, &tools).await;
    assert_eq!(end.unwrap().as_str(), r#"{"n":6}"#, "the last call of the turn is the result");
    let recorded: Vec<_> = record.tool_calls.iter().map(|call| (call.args.as_str(), call.status)).collect();
    let (ok, error) = (ToolStatus::Ok, ToolStatus::Error);
    assert_eq!(
        recorded,
        [
            (r#"{"n":1}"#, ok),
            (r#"{"bad":1}"#, error),
            (r#"{"n":3}"#, ok),
            (r#"{"n":4}"#, ok),
            (r#"{"n":5}"#, ok),
            (r#"{"n":6}"#, ok)
        ]
    );
    let messages = model.requests()[1].json()["messages"].clone();
    let told: Vec<_> =
        messages.as_array().unwrap()[3..].iter().map(|m| m["content"].as_str().unwrap().to_owned()).collect();
    assert!(
        told[0].contains("did {\"n\":1}") && told[1].starts_with("error: ") && told[2].contains("did {\"n\":3}"),
        "{told:?}"
    );

    // Once more from the journal: nothing is asked, and every call finds its own record.
    drop(model);
    let nobody = ModelServer::start([]);
    let alone = Waiting::new("look", true, None);
    let tools = [alone.clone() as Arc<dyn Tool>];
    let (again, record) = drive(&llm::settings(&nobody), &store, &tools).await;
    assert_eq!((again.unwrap().as_str(), record.tool_calls.len()), (r#"{"n":6}"#, 6));
    assert_eq!((tool.made().len(), alone.made().len()), (6, 5), "a refused call is not made again");
}

#[tokio::test]
async fn a_change_never_runs_beside_anything() {
    let (look, write) = (Waiting::new("look", true, Some(2)), Waiting::new("write", false, None));
    let ask = |name: &'static str, n: u32| (name, json!({"n": n}));
    let model = ModelServer::start([Reply::calls(&[ask("look", 1), ask("look", 2), ask("write", 3), ask("write", 4)])]);
    let (end, record) = drive(&llm::settings(&model), &memory(), &[look.clone(), write.clone()]).await;
    assert_eq!(end.unwrap().as_str(), r#"{"n":4}"#);
    assert_eq!(write.made(), [r#"{"n":3}"#, r#"{"n":4}"#]);
    assert_eq!(record.tool_calls.len(), 4);
}

#[tokio::test]
async fn two_fetches_of_one_address_are_each_replayed_with_their_own_answer() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let site = Site::start(move |_| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        reply(200, &[("content-type", "application/json")], format!("[{{\"n\":{n}}}]"))
    })
    .await;
    let fetch = || ("execute_pipeline", json!({"pipeline": [{"step": "http_request", "url": site.url("/rows")}]}));
    let model = ModelServer::start([Reply::calls(&[fetch(), fetch(), fetch()])]);
    let stage = Stage::set()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__EGRESS__ALLOW", site.address().to_string());
    let service = stage.serve();
    let result = stage.run(json!({"job_id": "f", "prompt": "fetch the rows", "lane": "execute"})).await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!((result["metadata"]["tool_calls"].as_array().unwrap().len(), site.visits().len()), (3, 3));
    drop((site, model, service));
    for _ in 0..2 {
        let replayed = stage.command(&["replay", "f"]);
        assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    }
}

#[tokio::test]
async fn a_call_that_could_not_be_read_is_on_record_and_replayed() {
    let unreadable = || {
        Reply::events(&[
            r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"execute_pipeline","arguments":"{\"pipeline\": oops"}}]}}]}"#,
            "[DONE]",
        ])
    };
    let good = Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "k": 1}]}));
    let replies = [unreadable(), good].into_iter().chain((0..3).map(|_| unreadable()));
    let model = ModelServer::start(replies);
    let stage = Stage::set()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__LLM__MAX_RETRIES", "2")
        .with("AGENT_RUNNER__LLM__RETRY_BASE_MS", "1")
        .with("AGENT_RUNNER__RETRY__MAX_ATTEMPTS", "1");
    let service = stage.serve();
    let job = |id: &str| json!({"job_id": id, "prompt": "first row", "lane": "execute", "data": [{"a": 1}, {"a": 2}]});
    let mended = stage.run(job("mended")).await;
    let failed = stage.run(job("failed")).await;
    assert_eq!((&mended["status"], &failed["error"]["type"]), (&json!("completed"), &json!("llm_bad_output")));
    let statuses = |result: &Value| {
        let calls = result["metadata"]["tool_calls"].as_array().unwrap().clone();
        calls.into_iter().map(|call| call["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&mended), ["error", "ok"]);
    assert_eq!(statuses(&failed), ["error", "error", "error"]);
    let call = &failed["metadata"]["tool_calls"][0];
    assert_eq!((&call["tool"], &call["args"]), (&json!("execute_pipeline"), &json!("{\"pipeline\": oops")));
    assert!(call["error"].as_str().unwrap().contains("not JSON"), "{call}");
    drop((service, model));
    for id in ["mended", "failed"] {
        let replayed = stage.command(&["replay", id]);
        assert_eq!(replayed.status.code(), Some(0), "{id}: {}", String::from_utf8_lossy(&replayed.stderr));
    }
}

/// Keeps every span with its attributes.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>);

/// A span's id and its attributes.
type Seen = (u64, serde_json::Map<String, Value>);

struct Attributes<'a>(&'a mut serde_json::Map<String, Value>);

impl Visit for Attributes<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        let mut seen = serde_json::Map::new();
        attributes.record(&mut Attributes(&mut seen));
        self.0.lock().unwrap().push((id.into_u64(), seen));
    }

    fn on_record(
        &self,
        id: &tracing::span::Id,
        values: &tracing::span::Record<'_>,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        let mut all = self.0.lock().unwrap();
        let span = all.iter_mut().rev().find(|(known, _)| *known == id.into_u64());
        values.record(&mut Attributes(&mut span.unwrap().1));
    }
}

impl Spans {
    /// The spans with a name of the conventions, each as its attributes.
    fn taken(&self) -> Vec<Value> {
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        all.into_iter().map(|(_, span)| Value::Object(span)).filter(|span| span["otel.name"].is_string()).collect()
    }
}

#[tokio::test]
async fn spans_carry_the_names_of_the_conventions_and_content_only_when_asked() {
    let spans = Spans::default();
    // With a single subscriber in the process, the thread that comes to a span first would decide for all of them
    // whether it is of interest, and other tests have none.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let chunk = |part: &str| format!(r#"{{"id":"chatcmpl-1","model":"gpt-4o-mini-2024-07-18",{part}}}"#);
    let stream = [
        chunk(
            r#""choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_7","function":{"name":"look","arguments":"{\"n\":1}"}}]}}]"#,
        ),
        chunk(r#""choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]"#),
        chunk(
            r#""choices":[],"usage":{"prompt_tokens":90,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":64}}"#,
        ),
        "[DONE]".to_owned(),
    ];
    let stream: Vec<&str> = stream.iter().map(String::as_str).collect();
    for capture in [false, true] {
        let model = ModelServer::start([Reply::events(&stream)]);
        let mut settings = llm::settings(&model);
        settings.telemetry.capture_content = capture;
        let tool: Arc<dyn Tool> = Waiting::new("look", true, None);
        drive(&settings, &memory(), &[tool]).await.0.unwrap();
        let seen = spans.taken();
        let (chat, tool) = (&seen[0], &seen[1]);
        assert_eq!(seen.len(), 2, "{seen:?}");
        for (name, want) in [
            ("otel.name", json!("chat gpt-4o-mini")),
            ("otel.kind", json!("client")),
            ("gen_ai.operation.name", json!("chat")),
            ("gen_ai.provider.name", json!("openai")),
            ("gen_ai.request.model", json!("gpt-4o-mini")),
            ("gen_ai.request.max_tokens", json!(4096)),
            ("gen_ai.request.temperature", json!(0.0)),
            ("gen_ai.response.model", json!("gpt-4o-mini-2024-07-18")),
            ("gen_ai.response.id", json!("chatcmpl-1")),
            ("gen_ai.response.finish_reasons", json!(r#"["tool_calls"]"#)),
            ("gen_ai.usage.input_tokens", json!(90)),
            ("gen_ai.usage.output_tokens", json!(7)),
            ("gen_ai.usage.cache_read.input_tokens", json!(64)),
            ("server.address", json!("127.0.0.1")),
            ("server.port", json!(model.address().port())),
        ] {
            assert_eq!(chat[name], want, "{name} in {chat}");
        }
        for (name, want) in [
            ("otel.name", "execute_tool look"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "look"),
            ("gen_ai.tool.type", "function"),
            ("gen_ai.tool.call.id", "call_7"),
        ] {
            assert_eq!(tool[name], want, "{name} in {tool}");
        }
        assert_eq!(chat.get("error.type").or(tool.get("error.type")), None);
        let input = chat["gen_ai.input.messages"].as_str().unwrap_or_default();
        let output = chat["gen_ai.output.messages"].as_str().unwrap_or_default();
        assert_eq!(input.contains("do it") && output.contains("tool_call"), capture, "{chat}");
        assert_eq!(tool["gen_ai.tool.call.arguments"] == r#"{"n":1}"#, capture, "{tool}");
        if !capture {
            assert!(!format!("{seen:?}").contains("do it"), "{seen:?}");
        }
    }

    let model =
        ModelServer::start([Reply::call("look", &json!({"bad": 1})), Reply::error(401, "invalid_api_key", "no")]);
    let tool: Arc<dyn Tool> = Waiting::new("look", true, None);
    drive(&llm::settings(&model), &memory(), &[tool]).await.0.unwrap_err();
    let seen = spans.taken();
    let errors: Vec<_> = seen.iter().map(|span| span["error.type"].as_str().unwrap_or("-")).collect();
    assert_eq!(errors, ["-", "invalid_pipeline", "llm_auth"], "{seen:?}");
}
