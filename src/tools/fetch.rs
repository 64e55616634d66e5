//! Fetches what a plan needs, page by page, through the egress policy.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use super::ToolContext;

use crate::{
    job::{ErrorCode, JobError, RawJson},
    net::{Egress, Method, Request, Response},
    table::{Body, Format, HttpNeed, Limits, NextPage},
};

/// Carries out `http_request`.
pub(super) struct Fetcher {
    egress: Arc<Egress>,
    limits: Limits,
}

impl Fetcher {
    pub(super) fn new(egress: Arc<Egress>, limits: Limits) -> Self {
        Self { egress, limits }
    }

    /// The pages of a request: those on record, or else as they are fetched now, which goes on record with their
    /// content. So a redelivered job does not send a POST twice, and a job that has ended can be replayed.
    pub(super) async fn recorded(
        &self,
        need: &HttpNeed,
        deadline: Instant,
        context: &ToolContext<'_>,
    ) -> Result<Vec<Body>, JobError> {
        let journal = context.journal;
        let step = format!("{}fetch:{}", context.step, fingerprint(need));
        let mut fresh = None;
        let fetch = async {
            let pages = self.pages(need, deadline).await?;
            let mut kept = Vec::with_capacity(pages.len());
            for page in &pages {
                kept.push(Kept {
                    hash: journal.keep(&page.bytes).await?,
                    bytes: page.bytes.len(),
                    format: page.format,
                });
            }
            fresh = Some(pages);
            Ok(kept)
        };
        let kept: Vec<Kept> = journal.step(&step, context.meter, fetch).await?;
        if let Some(pages) = fresh {
            return Ok(pages);
        }
        let mut pages = Vec::with_capacity(kept.len());
        for page in kept {
            let bytes = match &page.hash {
                Some(hash) => journal.kept(hash).await?,
                None => None,
            };
            match bytes {
                Some(bytes) => pages.push(Body { bytes, format: page.format }),
                None if journal.replays() => return Err(not_kept(&page)),
                None => return self.pages(need, deadline).await,
            }
        }
        Ok(pages)
    }

    /// Every page of a request, in order. All of them together stay within the limit for one response.
    async fn pages(&self, need: &HttpNeed, deadline: Instant) -> Result<Vec<Body>, JobError> {
        let mut request = self.first(need)?;
        let max_pages = need.paginate.as_ref().map_or(1, |paginate| paginate.max_pages);
        let mut pages = Vec::new();
        for _ in 0..max_pages {
            // The caller ends everything at the deadline and knows whose it is, so the request's own limit lies behind it.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(1);
            request.timeout = need.timeout_ms.map_or(left, |ms| left.min(Duration::from_millis(ms)));
            let response = self.one(need, &request).await?;
            request.max_bytes -= response.body.len().min(request.max_bytes);
            let next = need.paginate.as_ref().and_then(|p| p.next(&response.body, response.header("link")));
            match next {
                Some(NextPage::Url(url)) => {
                    request.url = joined(&response.final_url, &url)?;
                    request.params.clear();
                }
                Some(NextPage::Query(name, value)) => {
                    request.params.retain(|(key, _)| *key != name);
                    request.params.push((name, value));
                }
                None => {
                    pages.push(body(need.format, response));
                    return Ok(pages);
                }
            }
            pages.push(body(need.format, response));
        }
        Ok(pages)
    }

    async fn one(&self, need: &HttpNeed, request: &Request) -> Result<Response, JobError> {
        let answer = self.egress.fetch(request).await.and_then(Response::success);
        // Whether it may be sent again decides about the job's next attempt.
        answer.map_err(|error| {
            let safe = need.method.is_idempotent();
            let retryable = error.retryable && safe;
            error.with_retryable(retryable)
        })
    }

    fn first(&self, need: &HttpNeed) -> Result<Request, JobError> {
        let method = Method::parse(need.method.as_str())
            .ok_or_else(|| JobError::new(ErrorCode::InvalidPipeline, "the method is not known"))?;
        let in_query = matches!(method, Method::Get | Method::Head);
        let mut headers = need.headers.clone();
        let mut body = need.body.clone();
        if !in_query && body.is_none() && !need.params.is_empty() {
            body = Some(RawJson::of(&need.params).bytes().clone());
        }
        let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if body.is_some() && !typed {
            headers.push(("content-type".into(), "application/json".into()));
        }
        Ok(Request {
            method,
            url: need.url.clone(),
            params: if in_query { query(need) } else { Vec::new() },
            headers,
            body,
            timeout: Duration::ZERO,
            max_bytes: self.limits.max_response_bytes,
        })
    }
}

/// One page on record.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of the content; nothing where it was too large to keep.
    hash: Option<String>,
    bytes: usize,
    format: Format,
}

/// Tells the requests of one job apart in its journal.
fn fingerprint(need: &HttpNeed) -> String {
    Sha256::digest(format!("{need:?}")).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn not_kept(page: &Kept) -> JobError {
    let message = format!(
        "what was fetched ({} bytes) is not kept any more, or was too large to keep (results.keep_job_max_bytes)",
        page.bytes
    );
    JobError::new(ErrorCode::Internal, message).with_retryable(false)
}

/// Parameters as they stand in a query; a list repeats its name.
fn query(need: &HttpNeed) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in &need.params {
        match value {
            Value::Array(items) => pairs.extend(items.iter().map(|item| (name.clone(), text(item)))),
            Value::Null => {}
            value => pairs.push((name.clone(), text(value))),
        }
    }
    pairs
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A `204` and an empty body are an empty table.
fn body(format: Format, response: Response) -> Body {
    let announced = response.content_type.as_deref().map_or(Format::Auto, Format::of_content_type);
    let format = if format == Format::Auto { announced } else { format };
    let bytes = if response.body.is_empty() { Bytes::from_static(b"[]") } else { response.body };
    Body { bytes, format }
}

fn joined(base: &Url, next: &str) -> Result<String, JobError> {
    base.join(next).map(String::from).map_err(|e| {
        JobError::new(ErrorCode::HttpFailed, format!("the server's link to the next page is no address: {e}"))
    })
}
