//! From a prompt to an agent, and from the agent to an answer: the example registry, measured and used.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent_runner::{
    agents::{
        self, Agent, Cast, DelegateToAgent, Kit, Loans, Made, Pools, Registry, RouteOptions, RouteRecord, RouteRequest,
        Router, RunBounds, Trail, eval, eval::RoutingReport,
    },
    embed::Lexical,
    job::{ErrorCode, Event, EventKind, Job, JobError, JobLimits, Lane, Meter, Preview, RawJson, Tokens, ToolStatus},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest, Message, ToolCall, ToolSpec},
    store::{Journal, MemoryStore, SharedStore},
    tools::{Tool, ToolContext, ToolEnd, ToolOutput},
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::support::service::command;

fn example() -> Registry {
    Registry::load(Path::new("examples/agents.yaml"), &Vec::new()).unwrap()
}

fn lexical() -> Router {
    Router::new(Arc::new(Lexical), None, RouteOptions { show_top_n: 5, ..RouteOptions::default() })
}

async fn measure(registry: Registry, file: &str) -> RoutingReport {
    let text = std::fs::read_to_string(Path::new("tests/data").join(file)).unwrap();
    let cases = eval::cases(&text, &registry).unwrap();
    eval::evaluate(&lexical(), &Arc::new(registry), &cases, &|| ()).await.unwrap()
}

#[test]
fn the_example_agents_are_ten_and_can_be_told_apart() {
    let registry = example();
    assert_eq!(registry.agents.len(), 10);
    assert_eq!(agents::overlaps(&registry), []);
    assert!(registry.agents.iter().all(|agent| !agent.instructions.is_empty() && agent.examples.len() >= 10));
    let listing = serde_json::to_value(agents::listing(&registry)).unwrap();
    assert_eq!(listing["agents"][0]["id"], "data-analyst");
    assert!(listing["agents"][0].get("instructions").is_none());
}

#[test]
fn copies_of_an_agent_are_reported_as_a_coin_toss() {
    let text = "agents:\n\
        - {id: refunds, description: Gives customers their money back, examples: [I want my money back please]}\n\
        - {id: returns, description: Gives customers their money back., examples: [please I want my money back]}\n\
        - {id: shipping, description: Sends parcels}\n- {id: silent}\n\
        - {id: post, examples: [sends parcels]}\n";
    let found = agents::overlaps(&Registry::parse(text, &Vec::new()).unwrap());
    let pairs: Vec<_> = found.iter().map(|o| (o.agents.0.as_str(), o.agents.1.as_deref())).collect();
    assert_eq!(
        pairs,
        [
            ("silent", None),
            ("refunds", Some("returns")),
            ("refunds", Some("returns")),
            // What one says of itself is what another has as an example.
            ("shipping", Some("post")),
        ],
        "{found:?}"
    );
}

#[tokio::test]
async fn everyday_questions_find_their_agent_without_any_model() {
    // (file, least accuracy at 1, at 5, decided rightly)
    for (file, first, five, decided) in [
        ("routing.jsonl", 0.8, 0.92, 0.78),
        ("routing-unseen.jsonl", 0.58, 0.88, 0.55),
        ("routing-everyday.jsonl", 0.66, 0.88, 0.66),
    ] {
        let report = measure(example(), file).await;
        assert!(report.accuracy >= first, "{file} {}", report.accuracy);
        assert!(report.accuracy_at_5 >= five, "{file} {}", report.accuracy_at_5);
        assert!(report.decided_right >= decided, "{file} {}", report.decided_right);
        assert!(report.refused_right * 10 >= report.out_of_scope * 8, "{file} {}", report.refused_right);
    }
}

#[tokio::test]
async fn descriptions_alone_do_worse_and_still_well() {
    let mut registry = example();
    registry.agents.iter_mut().for_each(|agent| agent.examples.clear());
    for (file, least) in [("routing.jsonl", 0.7), ("routing-unseen.jsonl", 0.55), ("routing-everyday.jsonl", 0.63)] {
        let report = measure(registry.clone(), file).await;
        assert!(report.accuracy >= least, "{file} {}", report.accuracy);
    }
}

#[tokio::test]
async fn the_obvious_goes_where_it_belongs() {
    let registry = Arc::new(example());
    let router = lexical();
    let rows = [
        ("Analyze our sales data and create a chart", Some("data-analyst")),
        ("Review this pull request for bugs", Some("code-reviewer")),
        ("Write documentation for the new command line tool", Some("documentation")),
        ("Train a neural network to classify images", Some("ml-engineer")),
        ("Deploy the service to Kubernetes", Some("devops")),
        ("Check our login for security vulnerabilities", Some("security-auditor")),
        ("Design a REST API for orders", Some("api-designer")),
        ("I want a refund for my order", Some("customer-support")),
        ("Build an ETL pipeline from Kafka to Snowflake", Some("data-pipeline")),
        ("Build a React component with dark mode", Some("frontend")),
        ("Who wrote Hamlet?", None),
        ("", None),
        ("🦀", None),
    ];
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    for (prompt, expected) in rows {
        let decision = router.route(&registry, prompt, &RouteRequest::default(), &context, None).await.unwrap();
        assert_eq!(decision.winner(), expected, "{prompt}: {:?}", decision.result(None).all_scores);
    }
    assert_eq!(meter.spend().llm_calls, 0);
}

/// A model that says what the script says, and keeps what it was asked.
#[derive(Default)]
struct Scripted {
    replies: Mutex<VecDeque<Result<ChatReply, JobError>>>,
    asked: Mutex<Vec<ChatRequest>>,
}

impl Scripted {
    fn new(replies: impl IntoIterator<Item = Result<ChatReply, JobError>>) -> Self {
        Self { replies: Mutex::new(replies.into_iter().collect()), asked: Mutex::default() }
    }
}

#[async_trait]
impl ChatModel for Scripted {
    async fn chat(&self, request: &ChatRequest, context: &CallContext<'_>) -> Result<ChatReply, JobError> {
        context.meter.begin_request()?;
        self.asked.lock().unwrap().push(request.clone());
        self.replies.lock().unwrap().pop_front().expect("a reply is left")
    }
}

fn says(text: &str) -> Result<ChatReply, JobError> {
    Ok(ChatReply { text: text.into(), calls: Vec::new(), tokens: Tokens::default(), model: "m".into() })
}

fn calls(names: &[&str]) -> Result<ChatReply, JobError> {
    let call = |name: &&str| ToolCall {
        id: format!("call-{name}"),
        name: (*name).to_owned(),
        arguments: RawJson::from_trusted("{\"n\":1.10}"),
    };
    let calls = names.iter().map(call).collect();
    Ok(ChatReply { text: String::new(), calls, tokens: Tokens::default(), model: "m".into() })
}

/// A tool that counts its calls.
struct Counting {
    spec: ToolSpec,
    called: Mutex<u32>,
}

#[async_trait]
impl Tool for Counting {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, arguments: &RawJson, _: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        *self.called.lock().unwrap() += 1;
        let (result, preview) = (arguments.clone(), Preview::text("x"));
        let (summary, warnings) = ("7 rows".into(), vec!["one row is odd".into()]);
        Ok(ToolEnd::Done(ToolOutput { result, lane: Lane::Execute, preview, summary, warnings }))
    }
}

/// Everything around an answer.
struct Stage {
    job: Job,
    store: SharedStore,
    tool: Arc<Counting>,
    events: Mutex<Vec<EventKind>>,
    cancel: CancellationToken,
}

impl Stage {
    fn new() -> Self {
        let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
        let text = Bytes::from_static(br#"{"job_id":"a","prompt":"how many rows?"}"#);
        let name = "execute_pipeline".to_owned();
        let spec = ToolSpec { name, description: "x".into(), parameters: serde_json::json!({}), strict: false };
        Self {
            job: Job::parse(&text, &limits).unwrap(),
            store: MemoryStore::new(1 << 20),
            tool: Arc::new(Counting { spec, called: Mutex::default() }),
            events: Mutex::default(),
            cancel: CancellationToken::new(),
        }
    }

    async fn answer(&self, agent: &str, model: &Scripted) -> Result<Answer, JobError> {
        self.answer_with(example().agent(agent).unwrap(), model, vec![self.tool.clone()], Made::default()).await
    }

    async fn answer_with(
        &self,
        agent: &Agent,
        model: &Scripted,
        tools: Vec<Arc<dyn Tool>>,
        mut made: Made,
    ) -> Result<Answer, JobError> {
        let meter = Meter::default();
        let journal = Journal::new(self.store.clone(), &self.job.job_id, Duration::from_secs(60), 1 << 20);
        let deadline = Instant::now() + Duration::from_secs(60);
        let emit = |event: Event| {
            assert!(event.facts().contains(r#""agent_id":""#), "{event:?}");
            self.events.lock().unwrap().push(event.event);
        };
        let registry = Registry::default();
        let pools = Pools::new(self.store.clone(), Duration::from_secs(60));
        let quiet = CallContext { meter: &meter, deadline, cancel: &self.cancel, on_text: None };
        let stage = agents::Stage {
            cast: Cast { registry: &registry, pools: &pools, job: &self.job, model: None, quiet },
            model,
            tools: &Kit::of(tools),
            context: ToolContext {
                job: &self.job,
                data: None,
                journal: &journal,
                step: "",
                meter: &meter,
                deadline,
                cancel: &self.cancel,
                emit: &emit,
                watch: None,
            },
            scope: "route",
            wall_clock: None,
            loans: Loans::default(),
            is_backed: false,
        };
        let mut trail = Trail::new("x", "now");
        let text = agents::solo(&stage, bounds(), agent, "how many rows?", &mut trail, &mut made).await?;
        Ok(Answer { text, made })
    }
}

/// What an agent said, and what it did for it.
#[derive(Debug)]
struct Answer {
    text: String,
    made: Made,
}

fn bounds() -> RunBounds {
    RunBounds::of_agent(4, 20, 3)
}

#[tokio::test]
async fn the_chosen_agent_answers_with_its_instructions_and_tools() {
    let stage = Stage::new();
    let model = Scripted::new([calls(&["execute_pipeline"]), says("7 rows, as counted")]);
    let answer = stage.answer("data-analyst", &model).await.unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.made.model_calls, answer.made.tool_calls.len()),
        ("7 rows, as counted", 2, 1)
    );
    assert_eq!((answer.made.tool_calls[0].status, answer.made.warnings.len()), (ToolStatus::Ok, 1));
    let asked = model.asked.lock().unwrap();
    assert!(
        matches!(&asked[0].messages[0], Message::System(text) if text.starts_with("You are a careful data analyst"))
    );
    assert_eq!(asked[0].tools.len(), 1);
    assert!(matches!(&asked[1].messages[3], Message::Tool { content, .. } if content == "7 rows"));
    let events = stage.events.lock().unwrap().clone();
    use EventKind::{AgentCompleted, AgentStarted, ToolFinished, ToolStarted};
    assert_eq!(events, [AgentStarted, ToolStarted, ToolFinished, AgentCompleted]);
}

#[tokio::test]
async fn an_agent_is_not_offered_what_it_does_not_name() {
    let stage = Stage::new();
    let model = Scripted::new([calls(&["execute_pipeline"]), says("I cannot")]);
    let answer = stage.answer("documentation", &model).await.unwrap();
    assert_eq!(answer.made.tool_calls[0].status, ToolStatus::Error);
    assert_eq!(*stage.tool.called.lock().unwrap(), 0);
    assert!(model.asked.lock().unwrap()[0].tools.is_empty());
}

#[tokio::test]
async fn a_job_delivered_again_pays_for_no_reply_and_repeats_no_tool() {
    let stage = Stage::new();
    let gone = JobError::new(ErrorCode::LlmUnavailable, "503");
    let first = Scripted::new([calls(&["execute_pipeline"]), Err(gone)]);
    assert_eq!(stage.answer("data-analyst", &first).await.unwrap_err().code, ErrorCode::LlmUnavailable);
    let second = Scripted::new([says("7 rows")]);
    let answer = stage.answer("data-analyst", &second).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.made.model_calls), ("7 rows", 2));
    assert_eq!(*stage.tool.called.lock().unwrap(), 1);
    assert_eq!(second.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_agent_delegates_and_the_other_one_answers() {
    let text = "agents:\n- {id: lead, tools: [delegate_to_agent]}\n\
                - {id: data-team, name: Data, instructions: Count., tools: [execute_pipeline, delegate_to_agent]}\n";
    let registry = Arc::new(Registry::parse(text, &Vec::new()).unwrap());
    let delegate = |agent: &str| {
        let arguments = RawJson::of(&serde_json::json!({"agent": agent, "task": "count the rows"}));
        let call = ToolCall { id: "d".into(), name: "delegate_to_agent".into(), arguments };
        Ok(ChatReply { text: String::new(), calls: vec![call], tokens: Tokens::default(), model: "m".into() })
    };
    let replies = [delegate("nobody"), delegate("Data_Team"), calls(&["execute_pipeline"]), says("7"), says("it is 7")];
    let (stage, model) = (Stage::new(), Arc::new(Scripted::new(replies)));
    let pools = Arc::new(Pools::new(stage.store.clone(), Duration::from_secs(60)));
    let (made, tools) = (Made::default(), Kit::of(vec![stage.tool.clone()]));
    let tool = DelegateToAgent::new(registry.clone(), model.clone(), tools, pools, bounds(), made.errands());
    let lead = registry.agent("lead").unwrap();
    let answer = stage.answer_with(lead, &model, vec![Arc::new(tool)], made).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.made.model_calls), ("it is 7", 5));
    let made: Vec<_> = answer.made.tool_calls.iter().map(|call| (call.tool.as_str(), call.status)).collect();
    let [delegate, pipeline] = ["delegate_to_agent", "execute_pipeline"];
    assert_eq!(made, [(delegate, ToolStatus::Error), (pipeline, ToolStatus::Ok), (delegate, ToolStatus::Ok)]);
    let asked = model.asked.lock().unwrap();
    // The other agent sees the task and its own instructions and tools, and nothing of the conversation.
    assert_eq!(asked[2].messages, [Message::System("Count.".into()), Message::User("count the rows".into())]);
    let offered: Vec<_> = asked[2].tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(offered, ["execute_pipeline", "delegate_to_agent"]);
    assert!(matches!(asked[4].messages.last(), Some(Message::Tool { content, .. }) if content == "7"));
}

#[tokio::test]
async fn a_model_that_fails_or_loops_is_no_answer() {
    let unavailable = || Err(JobError::new(ErrorCode::LlmUnavailable, "503"));
    let again = || calls(&["execute_pipeline"]);
    let rows = [
        (vec![unavailable()], ErrorCode::LlmUnavailable),
        (vec![says(" "), says("")], ErrorCode::LlmBadOutput),
        (vec![again(), again(), again()], ErrorCode::LoopDetected),
    ];
    for (replies, expected) in rows {
        let model = Scripted::new(replies);
        assert_eq!(Stage::new().answer("data-analyst", &model).await.unwrap_err().code, expected);
        assert!(model.replies.lock().unwrap().is_empty());
    }
}

#[test]
fn the_queries_of_the_readme_go_where_it_says_and_the_command_says_why() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let lines = readme.lines().filter_map(|line| line.strip_prefix("$ agent-runner agents route \""));
    let rows: Vec<(&str, &str)> =
        lines.filter_map(|line| Some((line.split_once('"')?.0, line.split_once("# ")?.1))).collect();
    assert!(rows.len() >= 4, "{rows:?}");
    for (query, wanted) in rows {
        let output = command(&["agents", "route", query, "--agents", "examples/agents.yaml", "--record"], "", &[]);
        let record: RouteRecord = serde_json::from_slice(&output.stdout).unwrap();
        let nobody = wanted.starts_with("nobody");
        assert_eq!(output.status.code(), Some(i32::from(nobody)), "{query}");
        assert_eq!(record.choice.winner.as_deref(), (!nobody).then_some(wanted), "{query}");
        assert_eq!(record.replay(), record.choice, "a printed record is enough to decide again");
        assert!(record.considered == record.candidates.len() && record.tags.offered > 20);
    }
    let output =
        command(&["agents", "route", "deploy it", "--agents", "examples/agents.yaml", "--threshold", "-1"], "", &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the request's threshold") && said.contains("next: "), "{said}");
}
