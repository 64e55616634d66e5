//! HTTP to the collector, for the SDK's threads and for ourselves.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use opentelemetry_http::{HttpClient, HttpError};
use secrecy::ExposeSecret;
use tokio::runtime::Handle;

use crate::{net, settings::Secret};

/// Longest answer that is read: collectors say little.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The collector. Cheap to clone.
#[derive(Clone)]
pub(super) struct Collector {
    client: net::Client,
    base: String,
    headers: HeaderMap,
    timeout: Duration,
    /// The SDK calls from a thread of its own, where no runtime is.
    runtime: Handle,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Collector {
    pub(super) fn new(base: &str, headers: &BTreeMap<String, Secret>, timeout: Duration) -> Result<Self, String> {
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            let fault = |what| format!("telemetry.otlp_headers.{name}: the {what} cannot be sent");
            let header = name.parse::<HeaderName>().map_err(|_| fault("name"))?;
            let mut value = HeaderValue::from_str(value.expose_secret().trim()).map_err(|_| fault("value"))?;
            value.set_sensitive(true);
            sent.insert(header, value);
        }
        let client = net::operator_client(timeout)?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { client, base, headers: sent, timeout, runtime: Handle::current() })
    }

    /// Where `signal` is taken: the endpoint with `/v1/<signal>`.
    pub(super) fn url(&self, signal: &str) -> String {
        format!("{}/v1/{signal}", self.base)
    }

    /// Sends one message.
    pub(super) async fn post(&self, signal: &str, body: Bytes) -> Result<(), String> {
        let (status, answer) = self.exchange(self.url(signal), HeaderMap::new(), body).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(format!("the collector answered {status}: {}", String::from_utf8_lossy(&answer)))
    }

    async fn exchange(&self, url: String, headers: HeaderMap, body: Bytes) -> Result<(StatusCode, Bytes), String> {
        let request = self
            .client
            .post(url)
            .headers(headers)
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .timeout(self.timeout)
            .body(body);
        let broke = |error: reqwest::Error| error.without_url().to_string();
        let mut response = request.send().await.map_err(broke)?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broke)? {
            answer.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER_BYTES - answer.len())]);
            if answer.len() == MAX_ANSWER_BYTES {
                break;
            }
        }
        Ok((response.status(), answer.into()))
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (this, url) = (self.clone(), parts.uri.to_string());
        let mut headers = parts.headers;
        headers.remove(CONTENT_TYPE);
        let sent = self.runtime.spawn(async move { this.exchange(url, headers, body).await });
        let (status, answer) = sent.await??;
        Ok(Response::builder().status(status).body(answer)?)
    }
}
