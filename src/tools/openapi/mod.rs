//! `openapi_action`: calls one operation that an OpenAPI document describes.

mod document;
mod encode;
mod operation;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use url::Url;

use super::{Effect, SearchSource, Tool, ToolBounds, ToolContext, ToolEnd, ToolHit, ToolOutput, Watch};
use crate::{
    job::{ErrorCode, Job, JobError, Lane, Owner, Preview, RawJson},
    llm::ToolSpec,
    net::{Credentials, Egress, Method, Request, Response},
};
use document::Document;
use operation::Ready;

const NAME: &str = "openapi_action";
/// Bytes of a document.
const MAX_DOCUMENT_BYTES: usize = 8 << 20;
/// Bytes of an answer.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Bytes of an answer that a model is told.
const RESULT_BYTES: usize = 64 << 10;
/// Time for the document, and for the call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Documents that are kept, and for how long.
const MAX_DOCUMENTS: usize = 32;
/// Owners that are remembered of one document.
const MAX_OWNERS: usize = 100;
const DOCUMENT_TTL: Duration = Duration::from_secs(300);

/// A document with the address it was asked for at, and by whom.
struct Kept {
    url: String,
    profile: Option<String>,
    /// Whose jobs asked for it.
    owners: Vec<Option<Owner>>,
    read: Instant,
    document: Arc<Document>,
}

/// The documents of this process.
#[derive(Default)]
struct Documents(Mutex<VecDeque<Kept>>);

impl Documents {
    fn get(&self, url: &str, profile: Option<&str>, owner: Option<&Owner>) -> Option<Arc<Document>> {
        let mut kept = self.0.lock();
        kept.retain(|one| one.read.elapsed() < DOCUMENT_TTL);
        let one = kept.iter_mut().find(|one| one.url == url && one.profile.as_deref() == profile)?;
        if one.owners.len() < MAX_OWNERS && !one.owners.iter().any(|known| known.as_ref() == owner) {
            one.owners.push(owner.cloned());
        }
        Some(one.document.clone())
    }

    /// Those that jobs of this owner have read without a credential.
    fn open_to(&self, owner: Option<&Owner>) -> Vec<(String, Arc<Document>)> {
        let kept = self.0.lock();
        let open = kept.iter().filter(|one| one.profile.is_none());
        let own = open.filter(|one| one.owners.iter().any(|known| known.as_ref() == owner));
        own.map(|one| (one.url.clone(), one.document.clone())).collect()
    }

    fn put(&self, url: &str, profile: Option<&str>, owner: Option<&Owner>, document: Arc<Document>) {
        let mut kept = self.0.lock();
        if kept.len() >= MAX_DOCUMENTS {
            kept.pop_front();
        }
        let (url, profile) = (url.to_owned(), profile.map(str::to_owned));
        kept.push_back(Kept { url, profile, owners: vec![owner.cloned()], read: Instant::now(), document });
    }
}

/// The operations of the documents that have been read, for a search.
#[derive(Clone)]
pub struct KnownOperations(Arc<Documents>);

#[async_trait]
impl SearchSource for KnownOperations {
    fn called_with(&self) -> Option<&str> {
        Some(NAME)
    }

    /// Documents that were read with a credential, or for another owner, are not for everybody: an address may hold a
    /// credential too.
    async fn tools(&self, job: &Job) -> Result<Vec<ToolHit>, String> {
        let documents = self.0.open_to(job.owner().as_ref());
        let mut hits = Vec::new();
        for (url, document) in &documents {
            hits.extend(document.operations().map(|found| ToolHit {
                name: found.id.to_owned(),
                description: format!("{} {}: {}", found.method.to_uppercase(), found.path, found.summary()),
                kind: "openapi".into(),
                call: json!({"tool": NAME, "arguments": {"openapi_url": url, "operation_id": found.id}}),
            }));
        }
        Ok(hits)
    }

    /// Whoever wrote a document wrote its descriptions.
    fn outside(&self, job: &Job) -> Option<String> {
        let (url, _) = self.0.open_to(job.owner().as_ref()).pop()?;
        let host = Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        Some(format!("{NAME} {host}").trim_end().to_owned())
    }
}

/// The tool.
pub struct OpenApiAction {
    spec: ToolSpec,
    egress: Arc<Egress>,
    credentials: Credentials,
    documents: Arc<Documents>,
}

struct Arguments {
    openapi_url: String,
    operation_id: String,
    params: Map<String, Value>,
    body: Option<RawJson>,
    auth_profile: Option<String>,
}

impl OpenApiAction {
    /// The tool; what a document or a model says goes out through `egress`.
    #[must_use]
    pub fn new(egress: Arc<Egress>, credentials: Credentials) -> Self {
        Self { spec: spec(), egress, credentials, documents: Arc::default() }
    }

    /// What it has read so far, for a search.
    #[must_use]
    pub fn known(&self) -> KnownOperations {
        KnownOperations(self.documents.clone())
    }

    async fn document(&self, arguments: &Arguments, job: &Job) -> Result<Arc<Document>, JobError> {
        let (url, profile) = (arguments.openapi_url.as_str(), arguments.auth_profile.as_deref());
        // The document may lie elsewhere than the API: there nobody is told who asks.
        let header = profile.and_then(|profile| self.credentials.header(profile, url).ok());
        let profile = profile.filter(|_| header.is_some());
        let owner = job.owner();
        if let Some(document) = self.documents.get(url, profile, owner.as_ref()) {
            return Ok(document);
        }
        let headers = header.map(|(name, value)| (name, value.expose_secret().to_owned())).into_iter().collect();
        let request = Request { headers, ..Request::get(url, TIMEOUT, MAX_DOCUMENT_BYTES) };
        let answer = self.egress.fetch(&request).await.and_then(Response::success).map_err(mendable)?;
        let base = answer.final_url.clone();
        let body = answer.body.clone();
        let read = tokio::task::spawn_blocking(move || Document::read(&body, base)).await;
        let read = read.map_err(|_| told("the document could not be read: it hit a defect of the runner"))?;
        let document = Arc::new(read.map_err(|why| told(format!("the document at {url}: {why}")))?);
        self.documents.put(url, profile, owner.as_ref(), document.clone());
        Ok(document)
    }

    async fn send(&self, ready: Ready, profile: Option<&str>, context: &ToolContext<'_>) -> Result<Response, JobError> {
        let mut headers = ready.headers;
        if let Some(profile) = profile {
            let (name, value) = self.credentials.header(profile, &ready.url)?;
            headers.push((name, value.expose_secret().to_owned()));
        }
        let safe = is_safe(ready.method);
        // The document may be read again between the judgement and the call.
        if !safe && context.watch.is_some_and(Watch::reads_only) {
            return Err(told("the document has just changed: what only read has consequences now; call it again"));
        }
        if !safe && context.journal.mark(&format!("{}request", context.step), context.meter).await? {
            let why = "this call was under way when its worker stopped: whether it took effect is not known, and it is \
                       not made again";
            return Err(told(why).with_detail("reason", "outcome_unknown"));
        }
        let request = Request {
            method: ready.method,
            headers,
            body: ready.body.map(Bytes::from),
            ..Request::get(ready.url, TIMEOUT, MAX_ANSWER_BYTES)
        };
        self.egress.fetch(&request).await.and_then(Response::success).map_err(mendable)
    }
}

#[async_trait]
impl Tool for OpenApiAction {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn bounds(&self) -> ToolBounds {
        ToolBounds { time: 2 * TIMEOUT, result_bytes: RESULT_BYTES + 256 }
    }

    /// Which calls change something only the document knows: the tool keeps its own record.
    fn effect(&self, _: &RawJson) -> Effect {
        Effect::Repeatable
    }

    fn outside(&self, arguments: &RawJson, _: &ToolContext<'_>) -> Option<String> {
        let url = Arguments::read(arguments).ok().and_then(|read| Url::parse(&read.openapi_url).ok());
        Some(format!("{NAME} {}", url.as_ref().and_then(Url::host_str).unwrap_or_default()).trim_end().to_owned())
    }

    async fn has_consequences(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<bool, JobError> {
        let arguments = Arguments::read(arguments)?;
        let document = self.document(&arguments, context.job).await?;
        let found = document.operation(&arguments.operation_id).map_err(told)?;
        Ok(!Method::parse(found.method).is_some_and(is_safe))
    }

    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        let arguments = Arguments::read(arguments)?;
        let document = self.document(&arguments, context.job).await?;
        let found = document.operation(&arguments.operation_id).map_err(told)?;
        let ready = operation::ready(&document, &found, &arguments.params, arguments.body.as_ref())
            .map_err(|why| told(format!("{}: {why}", arguments.operation_id)))?;
        let answer = self.send(ready, arguments.auth_profile.as_deref(), context).await?;
        Ok(ToolEnd::Done(output(&answer)))
    }
}

impl Arguments {
    fn read(raw: &RawJson) -> Result<Self, JobError> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            openapi_url: Option<String>,
            operation_id: Option<String>,
            params: Option<Map<String, Value>>,
            #[serde(borrow)]
            body: Option<&'a RawValue>,
            auth_profile: Option<String>,
        }
        let read: Raw<'_> = serde_json::from_str(raw.as_str()).map_err(|error| {
            told(format!("the arguments must be {{openapi_url, operation_id, params?, body?, auth_profile?}}: {error}"))
        })?;
        let given = |value: Option<String>| value.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(Self {
            openapi_url: given(read.openapi_url).ok_or_else(|| told("openapi_url is missing"))?,
            operation_id: given(read.operation_id).ok_or_else(|| told("operation_id is missing"))?,
            params: read.params.unwrap_or_default(),
            body: read.body.map(|body| RawJson::slice_of(raw.bytes(), body)),
            auth_profile: given(read.auth_profile),
        })
    }
}

fn is_safe(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head)
}

/// An answer as a model is told it.
fn output(answer: &Response) -> ToolOutput {
    let kind = answer.content_type.as_deref().unwrap_or_default();
    let text = match std::str::from_utf8(&answer.body) {
        Ok("") => "(no content)".to_owned(),
        Ok(text) => text.to_owned(),
        Err(_) => format!("[{kind}, {} bytes: not shown]", answer.body.len()),
    };
    let end = text.floor_char_boundary(RESULT_BYTES);
    let more = if end < text.len() { format!("… (cut off: {} bytes in all)", text.len()) } else { String::new() };
    let summary = format!("{} {kind}\n{}{more}", answer.status, &text[..end]);
    ToolOutput {
        result: RawJson::of(&json!({"type": "text_response", "status": answer.status, "message": summary})),
        lane: Lane::Handoff,
        preview: Preview::text(&summary),
        summary,
        warnings: Vec::new(),
    }
}

/// An error for the model.
fn told(why: impl Into<String>) -> JobError {
    JobError::new(ErrorCode::HandoffFailed, why).with_retryable(false).with_tool(NAME)
}

/// What a request failed with: the model may try something else, the job does not begin again for it.
fn mendable(error: JobError) -> JobError {
    error.with_retryable(false).with_tool(NAME)
}

fn spec() -> ToolSpec {
    ToolSpec {
        name: NAME.into(),
        description:
            "Calls one operation of an HTTP API that an OpenAPI 3 document describes. Parameters of path, query \
                      and header go by name into params; a wrong operation_id is answered with the nearest ones."
                .into(),
        parameters: json!({
            "type": "object",
            "properties": {
                "openapi_url": {"type": "string", "description": "Address of the document, JSON or YAML"},
                "operation_id": {"type": "string", "description": "operationId in the document"},
                "params": {"type": "object", "description": "Path, query and header parameters by name"},
                "body": {"description": "The request body, as JSON"},
                "auth_profile": {"type": "string", "description": "Name of a configured credential, where the API needs one"},
            },
            "required": ["openapi_url", "operation_id"],
            "additionalProperties": false,
        }),
        strict: false,
    }
}
