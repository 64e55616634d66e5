//! Streamable HTTP through the egress policy.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use http::{HeaderName, HeaderValue};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage},
    transport::streamable_http_client::{
        AuthRequiredError, SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    },
};
use secrecy::ExposeSecret;
use sse_stream::{Sse, SseStream};

use super::{MAX_MESSAGE_BYTES, blocks::readable};
use crate::{
    job::JobError,
    net::{Egress, Method, Request, Streamed},
    settings::Secret,
};

const SESSION: &str = "mcp-session-id";
const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
/// Time for the head of a stream on which the server may speak first.
const STREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one stream: a server that says more begins a new one.
const MAX_STREAM_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// Bytes of an answer with an error status.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// What went wrong with a request, without its address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct HttpFault(String);

type Fault = StreamableHttpError<HttpFault>;
type Headers = HashMap<HeaderName, HeaderValue>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

impl From<JobError> for HttpFault {
    fn from(error: JobError) -> Self {
        Self(error.to_string())
    }
}

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::Client(HttpFault(error.to_string()))
}

/// Sends the requests of one server.
#[derive(Clone)]
pub(super) struct HttpClient {
    egress: Arc<Egress>,
    /// Of every request: the operator's.
    headers: Arc<Vec<(String, Secret)>>,
    timeout: Duration,
}

impl HttpClient {
    pub(super) fn new(egress: Arc<Egress>, headers: Vec<(String, Secret)>, timeout: Duration) -> Self {
        Self { egress, headers: Arc::new(headers), timeout }
    }

    fn request(&self, method: Method, url: &str, accept: &str, session: Option<&str>, further: &Headers) -> Request {
        let own = self.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
        let further =
            further.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let mut headers: Vec<(String, String)> = vec![("accept".into(), accept.into())];
        headers.extend(session.map(|id| (SESSION.to_owned(), id.to_owned())));
        headers.extend(own.chain(further));
        Request { method, headers, ..Request::get(url, self.timeout, MAX_STREAM_BYTES) }
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = HttpFault;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _: Option<String>,
        custom_headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        let session = session_id.as_deref();
        let accept = format!("{JSON}, {EVENTS}");
        let mut request = self.request(Method::Post, &uri, &accept, session, &custom_headers);
        request.headers.push(("content-type".into(), JSON.into()));
        request.body = Some(Bytes::from(serde_json::to_vec(&message)?));
        let answer = self.egress.open(&request).await.map_err(fault)?;
        match answer.status {
            202 | 204 => Ok(StreamableHttpPostResponse::Accepted),
            404 if session.is_some() => Err(Fault::SessionExpired),
            200..=299 => answered(&message, answer).await,
            _ => refused(&message, session.is_some(), answer).await,
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _: Option<String>,
        custom_headers: Headers,
    ) -> Result<(), Fault> {
        let request = self.request(Method::Delete, &uri, JSON, Some(&session_id), &custom_headers);
        let answer = self.egress.fetch(&request).await.map_err(fault)?;
        match answer.status {
            // The server keeps its sessions itself.
            200..=299 | 404 | 405 => Ok(()),
            status => Err(fault(format_args!("the server answered {status} to the end of the session"))),
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _: Option<String>,
        custom_headers: Headers,
    ) -> Result<Events, Fault> {
        let mut request = self.request(Method::Get, &uri, EVENTS, session_id.as_deref(), &custom_headers);
        request.headers.extend(last_event_id.map(|id| ("last-event-id".to_owned(), id)));
        request.timeout = STREAM_TIMEOUT;
        let answer = self.egress.open(&request).await.map_err(fault)?;
        match answer.status {
            200..=299 if is(&answer, EVENTS) => Ok(events(answer)),
            404 if session_id.is_some() => Err(Fault::SessionExpired),
            // Servers that never speak first have many ways of saying so.
            _ => Err(Fault::ServerDoesNotSupportSse),
        }
    }
}

fn is(answer: &Streamed, kind: &str) -> bool {
    answer.header("content-type").is_some_and(|found| found.trim().to_ascii_lowercase().starts_with(kind))
}

fn events(answer: Streamed) -> Events {
    SseStream::from_bytes_stream(answer.body).map(|event| event.map(mended)).boxed()
}

/// The event with a message that the library can read; it does that itself.
fn mended(mut event: Sse) -> Sse {
    if let Some(data) = &event.data
        && let Cow::Owned(readable) = readable(data.as_bytes())
    {
        event.data = String::from_utf8(readable).ok();
    }
    event
}

/// An answer that is no error: a message, or a stream of them.
async fn answered(message: &ClientJsonRpcMessage, answer: Streamed) -> Result<StreamableHttpPostResponse, Fault> {
    let session = answer.header(SESSION).map(str::to_owned);
    if is(&answer, EVENTS) {
        return Ok(StreamableHttpPostResponse::Sse(events(answer), session));
    }
    if !matches!(message, ClientJsonRpcMessage::Request(_)) {
        return Ok(StreamableHttpPostResponse::Accepted);
    }
    if !is(&answer, JSON) {
        return Err(Fault::UnexpectedContentType(answer.header("content-type").map(str::to_owned)));
    }
    let body = answer.whole().await.map_err(fault)?;
    Ok(StreamableHttpPostResponse::Json(serde_json::from_slice(&readable(&body))?, session))
}

/// An error status. A server of an earlier version refuses the question which versions it speaks: that is an answer.
async fn refused(
    message: &ClientJsonRpcMessage,
    in_session: bool,
    answer: Streamed,
) -> Result<StreamableHttpPostResponse, Fault> {
    let status = answer.status;
    if let (401 | 403, Some(challenge)) = (status, answer.header("www-authenticate")) {
        return Err(Fault::AuthRequired(AuthRequiredError::new(challenge.to_owned())));
    }
    let mut body = answer.whole().await.unwrap_or_default();
    body.truncate(MAX_ERROR_BYTES);
    let said = match serde_json::from_slice::<ServerJsonRpcMessage>(&body) {
        Ok(ServerJsonRpcMessage::Error(error)) => Some(error.error),
        _ => None,
    };
    if let ClientJsonRpcMessage::Request(request) = message
        && matches!(request.request, ClientRequest::DiscoverRequest(_))
        && !in_session
        && (400..500).contains(&status)
        && !matches!(status, 401 | 403)
    {
        let error = said.unwrap_or_else(|| ErrorData::invalid_request(format!("HTTP {status}"), None));
        return Ok(StreamableHttpPostResponse::Json(
            ServerJsonRpcMessage::error(error, Some(request.id.clone())),
            None,
        ));
    }
    let said = said.map(|error| format!(": {}", error.message)).unwrap_or_default();
    Err(fault(format_args!("the server answered {status}{said}")))
}
