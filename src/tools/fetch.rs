//! Fetches what a plan needs, page by page, through the egress policy.

use std::{
    collections::HashSet,
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
    ) -> Result<Pages, JobError> {
        let journal = context.journal;
        let step = format!("{}fetch:{}", context.step, fingerprint(need));
        let mut fresh = None;
        let fetch = async {
            let pages = self.pages(need, deadline).await?;
            let mut kept = Vec::with_capacity(pages.bodies.len());
            for page in &pages.bodies {
                let (hash, bytes) = (journal.keep(&page.bytes).await?, page.bytes.len());
                kept.push(Kept { hash, bytes, format: page.format, warning: None });
            }
            if let Some(last) = kept.last_mut() {
                last.warning.clone_from(&pages.warning);
            }
            fresh = Some(pages);
            Ok(kept)
        };
        let kept: Vec<Kept> = journal.step(&step, context.meter, fetch).await?;
        if let Some(pages) = fresh {
            return Ok(pages);
        }
        let mut pages = Pages::default();
        for page in kept {
            let bytes = match &page.hash {
                Some(hash) => journal.kept(hash).await?,
                None => None,
            };
            match bytes {
                Some(bytes) => {
                    pages.bodies.push(Body { bytes, format: page.format });
                    pages.warning = page.warning;
                }
                None if journal.replays() => return Err(not_kept(&page)),
                None => return self.pages(need, deadline).await,
            }
        }
        Ok(pages)
    }

    /// Every page of a request, in order. All of them together stay within the limit for one response.
    async fn pages(&self, need: &HttpNeed, deadline: Instant) -> Result<Pages, JobError> {
        let mut request = self.first(need)?;
        let mut asked = HashSet::new();
        let mut pages = Pages::default();
        loop {
            asked.insert(address(&request));
            // The caller ends everything at the deadline and knows whose it is, so the request's own limit lies behind it.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(1);
            request.timeout = need.timeout_ms.map_or(left, |ms| left.min(Duration::from_millis(ms)));
            let response = self.one(need, &request).await?;
            request.max_bytes -= response.body.len().min(request.max_bytes);
            let next = need.paginate.as_ref().and_then(|p| Some((p, p.next(&response.body, response.header("link"))?)));
            let final_url = response.final_url.clone();
            pages.bodies.push(body(need.format, response));
            let Some((paginate, next)) = next else { return Ok(pages) };
            match next {
                NextPage::Url(url) => request.follow(&final_url, &url)?,
                NextPage::Query(name, value) => {
                    request.params.retain(|(key, _)| *key != name);
                    request.params.push((name, value));
                }
            }
            pages.warning = stops(asked.contains(&address(&request)), pages.bodies.len(), paginate.max_pages);
            if pages.warning.is_some() {
                return Ok(pages);
            }
        }
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

/// The pages of a request, and what is to be said about them.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) bodies: Vec<Body>,
    pub(super) warning: Option<String>,
}

/// Why reading stops although a page after these is named.
fn stops(repeats: bool, read: usize, max_pages: u32) -> Option<String> {
    let pages = if read == 1 { "page" } else { "pages" };
    if repeats {
        return Some(format!("the next page is named as one that was read already: stopped after {read} {pages}"));
    }
    let full = u32::try_from(read).is_ok_and(|read| read >= max_pages);
    full.then(|| format!("there are more pages than were read: stopped after {read} {pages} (paginate.max_pages)"))
}

/// Where a request goes, as it tells pages apart.
fn address(request: &Request) -> String {
    Url::parse(&request.url).map_or_else(
        |_| request.url.clone(),
        |mut url| {
            if !request.params.is_empty() {
                url.query_pairs_mut().extend_pairs(&request.params);
            }
            url.into()
        },
    )
}

/// One page on record.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of the content; nothing where it was too large to keep.
    hash: Option<String>,
    bytes: usize,
    format: Format,
    /// What is to be said about all of them; on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
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
