//! Any server that speaks the Embeddings protocol.
//!
//! Texts go in batches. A batch that is refused is halved until it passes or one text is found to be the reason,
//! so that neither a low limit nor one bad text loses the others.

mod wire;

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use secrecy::ExposeSecret;
use serde_json::json;

use super::dense::Encoder;
use crate::{
    job::{ErrorCode, JobError, Tokens},
    llm::CallContext,
    net::{self, Client},
    settings::{Aggregation, Secret, Settings},
};

/// Where requests go when nobody says otherwise.
const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
/// First wait between two tries; it doubles, with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait that is worth it, also when the server asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Texts refused one by one, before any was accepted, after which the server is taken to refuse all.
const HOPELESS: usize = 3;
/// Characters of a server's message that are shown.
const MESSAGE_CHARS: usize = 300;

/// Vectors from a server.
pub struct OpenAiEncoder {
    client: Client,
    url: String,
    key: Option<Secret>,
    model: String,
    name: String,
    batch: usize,
    max_retries: u32,
    timeout: Duration,
    max_response_bytes: usize,
}

/// A failed request, and what may help.
struct Fault {
    error: JobError,
    /// The same request may pass later.
    retry: bool,
    /// A smaller one may pass.
    halve: bool,
}

impl OpenAiEncoder {
    /// An encoder as `embeddings.*` and `llm.*` describe it, over `client`.
    ///
    /// The key of `llm` goes along only where the address is that of `llm`.
    #[must_use]
    pub fn new(client: Client, settings: &Settings) -> Self {
        let (own, shared) = (&settings.embeddings, &settings.llm);
        let base = own.base_url.as_ref().or(shared.base_url.as_ref()).map_or(DEFAULT_BASE_URL, String::as_str);
        let same_server = own.base_url.is_none() || own.base_url == shared.base_url;
        let key = own.api_key.clone().or_else(|| shared.api_key.clone().filter(|_| same_server));
        Self {
            client,
            url: format!("{}/embeddings", base.trim_end_matches('/')),
            key,
            model: own.model.clone(),
            name: format!("openai/{}", own.model),
            batch: own.batch.max(1),
            max_retries: shared.max_retries,
            timeout: Duration::from_secs(shared.timeout_secs),
            max_response_bytes: shared.max_response_bytes,
        }
    }

    /// One batch, tried again where that makes sense.
    async fn batch(&self, texts: &[String], context: &CallContext<'_>) -> Result<Vec<Vec<f32>>, Fault> {
        let mut tries = 0;
        loop {
            let fault = match self.once(texts, context).await {
                Ok(vectors) => return Ok(vectors),
                Err(fault) => fault,
            };
            let asked = fault.error.retry_after.unwrap_or_default();
            let wait = asked.max(FIRST_WAIT.mul_f64(f64::from(1_u32 << tries.min(8)) * rand::random_range(0.5..1.0)));
            let too_late = wait > LONGEST_WAIT || Instant::now() + wait >= context.deadline;
            if !fault.retry || tries >= self.max_retries || too_late {
                return Err(fault);
            }
            tries += 1;
            tokio::select! {
                () = context.cancel.cancelled() => return Err(cancelled()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn once(&self, texts: &[String], context: &CallContext<'_>) -> Result<Vec<Vec<f32>>, Fault> {
        let stays = |error| Fault { error, retry: false, halve: false };
        context.meter.begin_request().map_err(stays)?;
        let left = context.deadline.saturating_duration_since(Instant::now()).min(self.timeout);
        let work = async {
            let response = self.send(texts).await?;
            let status = response.status();
            let wait = wait_asked_for(&response);
            let body = self.read(response).await?;
            if status.is_success() {
                self.understand(&body, texts.len())
            } else {
                Err(self.refused(status, &body, wait, texts))
            }
        };
        let (vectors, tokens) = tokio::select! {
            () = context.cancel.cancelled() => return Err(cancelled()),
            done = tokio::time::timeout(left, work) => match done {
                Ok(done) => done?,
                Err(_) if Instant::now() >= context.deadline => {
                    return Err(stays(JobError::new(ErrorCode::Timeout, "the job's time was over before the embedding was there")));
                }
                Err(_) => return Err(self.unavailable("gave no answer in time (llm.timeout_secs)")),
            },
        };
        context.meter.add(&self.model, Tokens { prompt: tokens, ..Tokens::default() }, 0.0);
        Ok(vectors)
    }

    async fn send(&self, texts: &[String]) -> Result<Response, Fault> {
        let body = json!({"model": self.model, "input": texts, "encoding_format": "float"});
        let mut request = self.client.post(&self.url).headers(net::trace_headers());
        request = request.header("content-type", "application/json").body(body.to_string());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret().trim());
        }
        request.send().await.map_err(|error| self.unavailable(&format!("cannot be reached: {}", error.without_url())))
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.max_response_bytes => {
                    let message = format!("the embeddings are longer than {} bytes", self.max_response_bytes);
                    return Err(Fault { error: bad_output(message), retry: false, halve: true });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) => return Err(self.unavailable(&format!("broke off: {}", error.without_url()))),
            }
        }
    }

    fn understand(&self, body: &[u8], expected: usize) -> Result<(Vec<Vec<f32>>, u64), Fault> {
        wire::read(body, expected).map_err(|why| {
            let error = bad_output(format!("the answer of the embeddings server cannot be used: {why}"));
            Fault { error, retry: true, halve: false }
        })
    }

    fn refused(&self, status: StatusCode, body: &[u8], wait: Option<Duration>, texts: &[String]) -> Fault {
        let said = wire::message(body);
        let mut said: String = said.chars().take(MESSAGE_CHARS).collect();
        if let Some(key) = &self.key {
            said = said.replace(key.expose_secret().trim(), "[key]");
        }
        let (code, retry, halve) = match status.as_u16() {
            401 | 403 => (ErrorCode::LlmAuth, false, false),
            404 | 405 | 501 => (ErrorCode::LlmUnavailable, false, false),
            429 if said.contains("quota") => (ErrorCode::LlmQuota, false, false),
            429 => (ErrorCode::LlmRateLimited, true, false),
            // Some servers answer 500 to a batch that is too long for them.
            500 if texts.len() > 1 => (ErrorCode::LlmUnavailable, false, true),
            408 | 500..=599 => (ErrorCode::LlmUnavailable, true, false),
            _ => (ErrorCode::LlmRefused, false, true),
        };
        let message = format!(
            "the embeddings server answered {} to {} texts for {:?}: {said}; see embeddings.* in the configuration",
            status.as_u16(),
            texts.len(),
            self.model
        );
        let error = JobError::new(code, message).with_retryable(retry).with_retry_after(wait);
        Fault { error, retry, halve }
    }

    fn unavailable(&self, why: &str) -> Fault {
        let host =
            url::Url::parse(&self.url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let error = JobError::new(ErrorCode::LlmUnavailable, format!("the embeddings server {host} {why}"));
        Fault { error, retry: true, halve: false }
    }
}

#[async_trait]
impl Encoder for OpenAiEncoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_threshold(&self, _: bool) -> f64 {
        // Cosines of the ada generation crowd between 0.7 and 0.9; later models use the whole range.
        if self.model.contains("ada-002") { 0.78 } else { 0.3 }
    }

    fn default_aggregation(&self) -> Aggregation {
        Aggregation::MaxCentroid
    }

    async fn encode(
        &self,
        texts: &[String],
        context: &CallContext<'_>,
    ) -> Result<Vec<Result<Vec<f32>, JobError>>, JobError> {
        let mut found: Vec<Option<Result<Vec<f32>, JobError>>> = vec![None; texts.len()];
        let starts = (0..texts.len()).step_by(self.batch).rev();
        let mut waiting: Vec<Range<usize>> = starts.map(|at| at..(at + self.batch).min(texts.len())).collect();
        let (mut passed, mut refused) = (0, 0);
        while let Some(range) = waiting.pop() {
            match self.batch(&texts[range.clone()], context).await {
                Ok(vectors) => {
                    passed += range.len();
                    for (slot, vector) in found[range].iter_mut().zip(vectors) {
                        *slot = Some(Ok(vector));
                    }
                }
                Err(fault) if fault.halve && range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    waiting.push(middle..range.end);
                    waiting.push(range.start..middle);
                }
                Err(fault) if fault.halve && texts.len() > 1 => {
                    refused += 1;
                    if passed == 0 && refused >= HOPELESS.min(texts.len()) {
                        return Err(fault.error);
                    }
                    found[range.start] = Some(Err(fault.error));
                }
                Err(fault) => return Err(fault.error),
            }
        }
        let missing = || bad_output("the embeddings server left out a text".into());
        Ok(found.into_iter().map(|slot| slot.unwrap_or_else(|| Err(missing()))).collect())
    }
}

/// `retry-after-ms`, or `retry-after` in seconds.
fn wait_asked_for(response: &Response) -> Option<Duration> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = header("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| header(RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn cancelled() -> Fault {
    Fault { error: JobError::new(ErrorCode::Cancelled, "the job was cancelled"), retry: false, halve: false }
}

fn bad_output(message: String) -> JobError {
    JobError::new(ErrorCode::LlmBadOutput, message)
}
