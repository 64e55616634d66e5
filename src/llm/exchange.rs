//! One request and its answer, bounded in time and size.

use std::{
    future::Future,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::FutureExt;
use reqwest::{Response, header};

use super::{
    CallContext,
    classify::{ErrorBody, classify},
    endpoint::Endpoint,
    fault::{Fault, Kind},
    hints,
    stream::{Assembled, Reader},
    usage::Heard,
};
use crate::net;

/// Bytes of an error answer that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// How long counts of tokens are waited for once the model is done.
const AFTER_FINISH: Duration = Duration::from_secs(2);

/// The limits of one request in time and size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) first_token: Duration,
    pub(super) idle: Duration,
    pub(super) total: Duration,
    pub(super) max_bytes: usize,
}

/// One request, ready to be sent.
pub(super) struct Exchange<'a> {
    pub(super) client: &'a net::Client,
    pub(super) endpoint: &'a Endpoint,
    pub(super) model: &'a str,
    pub(super) body: Bytes,
    /// Whether an answer in pieces was asked for.
    pub(super) stream: bool,
    /// Names of the tools that the model may call.
    pub(super) offered: &'a [&'a str],
    /// Whether faults of the reply are for whoever asked.
    pub(super) mends: bool,
    pub(super) bounds: Bounds,
}

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    FirstToken,
    Idle,
    Total,
    Job,
    Finished,
}

/// The clock of one request.
struct Clock {
    total: Instant,
    job: Instant,
    next_content: (Instant, Limit),
    /// One of the limits, or the job's end, was there before the answer's.
    expired: bool,
}

impl Clock {
    fn nearest(&self) -> (Instant, Limit) {
        let limits = [self.next_content, (self.total, Limit::Total), (self.job, Limit::Job)];
        limits.into_iter().min_by_key(|(at, _)| *at).unwrap_or((self.job, Limit::Job))
    }
}

impl Exchange<'_> {
    /// Sends the request and reads the whole answer. Dropping the future, and every error, closes the
    /// connection. `heard` is told what was heard, on failures too.
    pub(super) async fn run(&self, context: &CallContext<'_>, heard: &mut Heard) -> Result<Assembled, Fault> {
        let now = Instant::now();
        let total = now + self.bounds.total;
        // An answer in one piece shows nothing until it is there.
        let first =
            if self.stream { (now + self.bounds.first_token, Limit::FirstToken) } else { (total, Limit::Total) };
        let mut clock = Clock { total, job: context.deadline, next_content: first, expired: false };
        let result = self.answer(context, &mut clock, heard).await;
        heard.cut_short &= clock.expired;
        result.map_err(|fault| Fault { message: self.endpoint.redact(&fault.message), ..fault })
    }

    async fn answer(
        &self,
        context: &CallContext<'_>,
        clock: &mut Clock,
        heard: &mut Heard,
    ) -> Result<Assembled, Fault> {
        let accept = if self.stream { "text/event-stream, application/json" } else { "application/json" };
        let request = self
            .client
            .post(self.endpoint.url.clone())
            .headers(self.endpoint.headers.clone())
            .headers(net::trace_headers())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, accept)
            .body(self.body.clone());
        let sending = async {
            heard.cut_short = true;
            request.send().await
        };
        let response = match self.within(context, clock, sending).await {
            Ok(sent) => sent.map_err(|error| self.transport(&error))?,
            Err(limit) => return Err(self.expired(clock, limit)),
        };
        if !response.status().is_success() {
            return Err(self.refusal(context, clock, response).await);
        }
        self.read(context, clock, response, heard).await
    }

    async fn read(
        &self,
        context: &CallContext<'_>,
        clock: &mut Clock,
        mut response: Response,
        heard: &mut Heard,
    ) -> Result<Assembled, Fault> {
        let mut reader = Reader::new(self.model, &self.endpoint.host, self.bounds.max_bytes).mending(self.mends);
        let mut show = |text: &str| {
            if let Some(on_text) = context.on_text {
                on_text(text);
            }
        };
        let mut broken = None;
        while !reader.is_done() {
            let chunk = match self.within(context, clock, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    broken = Some(error);
                    break;
                }
                Err(Some(Limit::Finished)) => break,
                Err(limit) => return Err(self.expired(clock, limit)),
            };
            let content = reader.push(&chunk, &mut show);
            *heard = Heard { cut_short: true, ..reader.heard() };
            if content? {
                clock.next_content = if reader.is_finished() {
                    (Instant::now() + AFTER_FINISH.min(self.bounds.idle), Limit::Finished)
                } else {
                    (Instant::now() + self.bounds.idle, Limit::Idle)
                };
            }
        }
        // Where the end of the body is here already, taking it lets the connection serve again.
        if broken.is_none() {
            let _ = response.chunk().now_or_never();
        }
        // What is complete stays complete, however the connection ended.
        let assembled = reader.finish(self.offered, &mut show).map_err(|fault| match (&broken, fault.kind) {
            (Some(error), Kind::Cut | Kind::Unavailable) => self.broken(error),
            _ => fault,
        });
        *heard = Heard { cut_short: true, ..reader.heard() };
        assembled
    }

    /// Waits for `future` until the nearest limit; `Err(None)` means that the job was cancelled.
    async fn within<T>(
        &self,
        context: &CallContext<'_>,
        clock: &Clock,
        future: impl Future<Output = T>,
    ) -> Result<T, Option<Limit>> {
        let (at, limit) = clock.nearest();
        // A timer of zero length fires a moment too late, and the request would be on its way.
        if Instant::now() >= at {
            return Err(Some(limit));
        }
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(None),
            done = future => Ok(done),
            () = tokio::time::sleep_until(at.into()) => Err(Some(limit)),
        }
    }

    fn expired(&self, clock: &mut Clock, limit: Option<Limit>) -> Fault {
        clock.expired = true;
        let host = &self.endpoint.host;
        let secs = |duration: Duration| duration.as_secs_f64();
        match limit {
            None => Fault::new(Kind::Cancelled, "the job was cancelled during a model call"),
            Some(Limit::Job) => Fault::new(Kind::Timeout, "the job's time ran out during a model call"),
            Some(Limit::FirstToken) => Fault::new(
                Kind::Unavailable,
                format!(
                    "{host} sent nothing within {} s (llm.first_token_timeout_secs)",
                    secs(self.bounds.first_token)
                ),
            ),
            Some(Limit::Idle | Limit::Finished) => Fault::new(
                Kind::Unavailable,
                format!("{host} fell silent for {} s amid an answer (llm.idle_timeout_secs)", secs(self.bounds.idle)),
            ),
            Some(Limit::Total) => Fault::new(
                Kind::Unavailable,
                format!("{host} did not finish within {} s (llm.timeout_secs)", secs(self.bounds.total)),
            ),
        }
    }

    /// An answer with an error status.
    async fn refusal(&self, context: &CallContext<'_>, clock: &mut Clock, mut response: Response) -> Fault {
        let status = response.status().as_u16();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let hints = hints::read(response.headers(), now.as_secs_f64());
        clock.next_content = (Instant::now() + self.bounds.idle, Limit::Idle);
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BYTES {
            match self.within(context, clock, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                // The status says enough; only a cancelled or expired job ends here.
                Ok(_) | Err(Some(Limit::Idle | Limit::Total)) => break,
                Err(limit) => return self.expired(clock, limit),
            }
        }
        body.truncate(MAX_ERROR_BYTES);
        let error = ErrorBody::read(&String::from_utf8_lossy(&body));
        let fault = classify(status, &error, self.model, &self.endpoint.host);
        Fault { wait: hints.wait, should_retry: hints.should_retry, ..fault }
    }

    /// A request that could not be sent or was not answered.
    fn transport(&self, error: &reqwest::Error) -> Fault {
        let host = &self.endpoint.host;
        let what = if error.is_connect() { "cannot be reached" } else { "closed the connection without an answer" };
        Fault::new(Kind::Unavailable, format!("{host} {what}: {}", cause(error)))
    }

    /// A body that ended badly.
    fn broken(&self, error: &reqwest::Error) -> Fault {
        Fault::new(Kind::Cut, format!("the answer of {} broke off: {}", self.endpoint.host, cause(error)))
    }
}

/// The innermost reason, which is the one that people can act on; the outer ones repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
