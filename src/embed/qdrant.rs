//! Agents in a collection of a Qdrant server, over its REST interface.
//!
//! A point is an agent: its vector is the mean of the agent's texts, its payload the agent's entry as it would stand in
//! the agents file, and beside it, as `_embedder`, who made the vector: vectors of others are never compared.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    job::{ErrorCode, JobError},
    llm::CallContext,
    net::{self, Client},
    settings::{Secret, Settings},
};

/// The member of a payload that says who made the vector.
const EMBEDDER: &str = "_embedder";
/// Longest request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer, in bytes: the entries of the nearest agents.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Tags that are asked for at most.
const MAX_TAGS: usize = 1000;
/// Characters of a server's message that are shown.
const MESSAGE_CHARS: usize = 300;

/// A collection of agents.
pub struct Collection {
    client: Client,
    url: String,
    key: Option<Secret>,
    limit: usize,
}

/// An agent of the collection that is near.
#[derive(Debug, Clone, Deserialize)]
pub struct Hit {
    /// Its cosine with the prompt.
    pub score: f64,
    /// Its entry.
    #[serde(rename = "payload")]
    pub entry: Value,
}

/// An agent to be put in.
pub struct Point<'a> {
    /// Its id.
    pub id: &'a str,
    /// The vector that stands for it.
    pub vector: &'a [f32],
    /// Its entry.
    pub entry: &'a Value,
}

/// Every answer of the server has its content there.
#[derive(Deserialize)]
struct Answer<T> {
    result: T,
}

#[derive(Deserialize)]
struct Points {
    points: Vec<Hit>,
}

#[derive(Deserialize)]
struct Facet {
    hits: Vec<FacetHit>,
}

#[derive(Deserialize)]
struct FacetHit {
    value: Value,
}

impl Collection {
    /// The collection that `routing.qdrant` names, if it does.
    #[must_use]
    pub fn from_settings(settings: &Settings, client: &Client) -> Option<Self> {
        let own = &settings.routing.qdrant;
        let base = own.url.as_deref()?.trim_end_matches('/');
        let name = percent_encoding::utf8_percent_encode(&own.collection, percent_encoding::NON_ALPHANUMERIC);
        Some(Self {
            client: client.clone(),
            url: format!("{base}/collections/{name}"),
            key: own.api_key.clone(),
            limit: own.limit,
        })
    }

    /// The agents nearest to `unit` whose vectors are `embedder`'s; with `tags`, of those that own any of them.
    ///
    /// # Errors
    /// `handoff_failed`, worth another attempt where the server cannot be reached or is busy; `cancelled`, `timeout`.
    pub async fn nearest(
        &self,
        embedder: &str,
        unit: &[f32],
        tags: &[String],
        context: &CallContext<'_>,
    ) -> Result<Vec<Hit>, JobError> {
        let mut must = vec![json!({"key": EMBEDDER, "match": {"value": embedder}})];
        if !tags.is_empty() {
            must.push(json!({"key": "tags", "match": {"any": tags}}));
        }
        let body = json!({"query": unit, "limit": self.limit, "with_payload": true, "filter": {"must": must}});
        let found: Points = self.asked(Method::POST, "/points/query", &body, Some(context)).await?;
        let without_ours = |mut hit: Hit| {
            if let Value::Object(members) = &mut hit.entry {
                members.shift_remove(EMBEDDER);
            }
            hit
        };
        Ok(found.points.into_iter().map(without_ours).collect())
    }

    /// The tags of its agents, most frequent first.
    ///
    /// # Errors
    /// As [`Collection::nearest`].
    pub async fn tags(&self, context: &CallContext<'_>) -> Result<Vec<String>, JobError> {
        let body = json!({"key": "tags", "limit": MAX_TAGS});
        let found: Facet = self.asked(Method::POST, "/facet", &body, Some(context)).await?;
        let text = |hit: FacetHit| hit.value.as_str().map(str::to_owned);
        Ok(found.hits.into_iter().filter_map(text).collect())
    }

    /// Makes the collection for vectors of `dimension` numbers, where it is not there, and what its queries need.
    ///
    /// # Errors
    /// As [`Collection::nearest`].
    pub async fn create(&self, dimension: usize) -> Result<(), JobError> {
        let (status, _) = self.send(Method::GET, "", None, None).await?;
        if status == StatusCode::NOT_FOUND {
            let body = json!({"vectors": {"size": dimension, "distance": "Cosine"}});
            let _: Value = self.asked(Method::PUT, "", &body, None).await?;
        }
        for field in ["tags", EMBEDDER] {
            let body = json!({"field_name": field, "field_schema": "keyword"});
            let _: Value = self.asked(Method::PUT, "/index?wait=true", &body, None).await?;
        }
        Ok(())
    }

    /// Puts agents in, each in the place of an earlier one with its id.
    ///
    /// # Errors
    /// As [`Collection::nearest`].
    pub async fn put(&self, embedder: &str, points: &[Point<'_>]) -> Result<(), JobError> {
        let point = |point: &Point<'_>| {
            let mut entry = point.entry.clone();
            if let Value::Object(members) = &mut entry {
                members.insert(EMBEDDER.into(), embedder.into());
            }
            json!({"id": point_id(point.id), "vector": point.vector, "payload": entry})
        };
        let body = json!({"points": points.iter().map(point).collect::<Vec<_>>()});
        let _: Value = self.asked(Method::PUT, "/points?wait=true", &body, None).await?;
        Ok(())
    }

    /// Takes every agent out that is none of `ids`.
    ///
    /// # Errors
    /// As [`Collection::nearest`].
    pub async fn keep_only(&self, ids: &[&str]) -> Result<(), JobError> {
        let kept: Vec<String> = ids.iter().map(|id| point_id(id)).collect();
        let body = json!({"filter": {"must_not": [{"has_id": kept}]}});
        let _: Value = self.asked(Method::POST, "/points/delete?wait=true", &body, None).await?;
        Ok(())
    }

    async fn asked<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        context: Option<&CallContext<'_>>,
    ) -> Result<T, JobError> {
        let (status, text) = self.send(method, path, Some(body), context).await?;
        if !status.is_success() {
            let retryable = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
            return Err(failed(&format!("answered {}: {}", status.as_u16(), self.said(&text)), retryable));
        }
        let answer: Result<Answer<T>, _> = serde_json::from_slice(&text);
        answer
            .map(|answer| answer.result)
            .map_err(|e| failed(&format!("gave an answer that cannot be read: {e}"), true))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        context: Option<&CallContext<'_>>,
    ) -> Result<(StatusCode, Vec<u8>), JobError> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).headers(net::trace_headers());
        if let Some(key) = &self.key {
            request = request.header("api-key", key.expose_secret().trim());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let broke = |error: reqwest::Error| failed(&format!("cannot be reached: {}", error.without_url()), true);
        let work = async {
            let mut response = request.send().await.map_err(broke)?;
            let mut text = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(broke)? {
                if text.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Err(failed("gave an answer that is too long; lower routing.qdrant.limit", false));
                }
                text.extend_from_slice(&chunk);
            }
            Ok((response.status(), text))
        };
        let slow = || failed("gave no answer in time", true);
        let Some(context) = context else {
            return tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(slow()));
        };
        let left = context.deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            () = context.cancel.cancelled() => Err(JobError::new(ErrorCode::Cancelled, "the job was cancelled")),
            done = tokio::time::timeout(left.min(TIMEOUT), work) => match done {
                Ok(done) => done,
                Err(_) if left <= TIMEOUT => {
                    Err(JobError::new(ErrorCode::Timeout, "the job's time was over before the agents were found"))
                }
                Err(_) => Err(slow()),
            },
        }
    }

    /// The server's own words.
    fn said(&self, text: &[u8]) -> String {
        let value: Value = serde_json::from_slice(text).unwrap_or_default();
        let said =
            value["status"]["error"].as_str().map_or_else(|| String::from_utf8_lossy(text).into_owned(), str::to_owned);
        let said: String = said.chars().take(MESSAGE_CHARS).collect();
        match &self.key {
            Some(key) => said.replace(key.expose_secret().trim(), "[key]"),
            None => said,
        }
    }
}

fn failed(what: &str, retryable: bool) -> JobError {
    let message = format!("the agents' collection (routing.qdrant) {what}");
    JobError::new(ErrorCode::HandoffFailed, message).with_retryable(retryable)
}

/// Points are called by numbers or UUIDs: this one is made of the agent's id.
fn point_id(agent: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(agent.as_bytes()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}
