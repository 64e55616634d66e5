//! A client for scripted model servers, and what a call came to.

use std::time::{Duration, Instant};

use agent_runner::{
    job::{Budget, JobError, Meter, Spend},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest, Message, OpenAi, ToolSpec},
    settings::Settings,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::model::{ModelServer, Reply};

/// A key that must never show.
pub const KEY: &str = "sk-canary-0123456789";

/// Settings for `server`, with waits short enough for tests.
pub fn settings(server: &ModelServer) -> Settings {
    let mut settings = Settings::default();
    settings.llm.base_url = Some(server.base_url());
    settings.llm.api_key = Some(KEY.into());
    settings.llm.model = "gpt-4o-mini".into();
    settings.llm.retry_base_ms = 1;
    settings
}

/// A request with one tool, `run`.
pub fn request() -> ChatRequest {
    let run = ToolSpec {
        name: "run".into(),
        description: "runs".into(),
        parameters: json!({"type": "object", "properties": {"k": {"type": "integer"}}}),
        strict: false,
    };
    ChatRequest {
        messages: vec![Message::System("be brief".into()), Message::User("go".into())],
        tools: vec![run],
        ..ChatRequest::default()
    }
}

/// What one call came to.
pub struct Outcome {
    pub result: Result<ChatReply, JobError>,
    pub spend: Spend,
    /// The text that was told piece by piece.
    pub told: String,
}

impl Outcome {
    /// `"text" name{arguments} …`, or `!code` with `?` where another attempt may help.
    pub fn brief(&self) -> String {
        match &self.result {
            Err(error) => format!("!{}{}", error.code.as_str(), if error.retryable { "?" } else { "" }),
            Ok(reply) => {
                let text = (!reply.text.is_empty()).then(|| format!("{:?}", reply.text));
                let calls = reply.calls.iter().map(|call| format!("{}{}", call.name, call.arguments.as_str()));
                text.into_iter().chain(calls).collect::<Vec<_>>().join(" ")
            }
        }
    }

    pub fn error(&self) -> &JobError {
        self.result.as_ref().expect_err("the call should have failed")
    }
}

/// Calls with a minute of time and no budget.
pub async fn call(client: &OpenAi, request: &ChatRequest) -> Outcome {
    call_with(client, request, Budget::default(), Duration::from_secs(60), &CancellationToken::new()).await
}

pub async fn call_with(
    client: &OpenAi,
    request: &ChatRequest,
    budget: Budget,
    time: Duration,
    cancel: &CancellationToken,
) -> Outcome {
    let meter = Meter::new(budget);
    let told = std::sync::Mutex::new(String::new());
    let on_text = |text: &str| told.lock().unwrap().push_str(text);
    let context = CallContext { meter: &meter, deadline: Instant::now() + time, cancel, on_text: Some(&on_text) };
    let result = client.chat(request, &context).await;
    let told = told.lock().unwrap().clone();
    Outcome { result, spend: meter.spend(), told }
}

/// One row of server behaviour: the replies that are sent, all of which must be used, and what comes of it.
pub struct Row<'a> {
    pub name: &'a str,
    pub replies: Vec<Reply>,
    /// As [`Outcome::brief`] writes it.
    pub want: &'a str,
}

/// Runs each row on a server of its own with the settings that `adjust` makes.
pub async fn check_rows(rows: Vec<Row<'_>>, adjust: impl Fn(&mut Settings)) {
    for row in rows {
        let sent = row.replies.len();
        let server = ModelServer::start(row.replies);
        let mut settings = settings(&server);
        adjust(&mut settings);
        let client = OpenAi::new(&settings).unwrap();
        let outcome = call(&client, &request()).await;
        assert_eq!(outcome.brief(), row.want, "{}: {:?}", row.name, outcome.result);
        assert_eq!(outcome.spend.llm_calls as usize, sent, "{}: requests that were counted", row.name);
        assert_eq!(server.requests().len(), sent, "{}: requests that were sent", row.name);
        if let Err(error) = &outcome.result {
            let shown = format!("{error:?}");
            assert!(!shown.contains("canary"), "{}: the key shows in {shown}", row.name);
            assert!(!shown.contains("http://"), "{}: an address shows in {shown}", row.name);
        }
    }
}
