//! Answers kept for requests that are the same in every byte. Off unless `llm.cache` is on.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{CallContext, ChatModel, ChatReply, ChatRequest};
use crate::{
    job::{JobError, Tokens},
    settings::Settings,
    store::SharedStore,
};

/// Where kept answers lie. A store that cannot be reached has nothing and keeps nothing.
#[async_trait]
pub trait ReplyStore: Send + Sync {
    /// The answer kept under `key`, unless its time is over.
    async fn get(&self, key: &str) -> Option<Bytes>;

    /// Keeps `reply` under `key` for `ttl`, or not, as space allows.
    async fn put(&self, key: &str, reply: Bytes, ttl: Duration);
}

/// A model that answers from kept answers where it can.
pub struct Cached {
    inner: Arc<dyn ChatModel>,
    store: Arc<dyn ReplyStore>,
    ttl: Duration,
    model: String,
    temperature: f64,
}

impl Cached {
    /// `inner` as the settings want it: as it is, or behind a cache in `store` (this process, where none is given).
    #[must_use]
    pub fn wrap(
        inner: Arc<dyn ChatModel>,
        settings: &Settings,
        store: Option<Arc<dyn ReplyStore>>,
    ) -> Arc<dyn ChatModel> {
        let llm = &settings.llm;
        if !llm.cache {
            return inner;
        }
        Arc::new(Self {
            inner,
            store: store.unwrap_or_else(|| Arc::new(ProcessReplies::new(llm.cache_max_bytes))),
            ttl: Duration::from_secs(llm.cache_ttl_secs),
            model: llm.models.first().map_or(&llm.model, |first| &first.model).clone(),
            temperature: llm.temperature,
        })
    }

    /// The key of a request; none where chance is wanted in the answer.
    fn key(&self, request: &ChatRequest) -> Option<String> {
        if request.temperature.unwrap_or(self.temperature) != 0.0 {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update(request.model.as_ref().unwrap_or(&self.model));
        hash.update([0]);
        hash.update(serde_json::to_vec(request).ok()?);
        Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[async_trait]
impl ChatModel for Cached {
    async fn chat(&self, request: &ChatRequest, context: &CallContext<'_>) -> Result<ChatReply, JobError> {
        let Some(key) = self.key(request) else { return self.inner.chat(request, context).await };
        let kept = self.store.get(&key).await;
        if let Some(reply) = kept.and_then(|bytes| serde_json::from_slice::<ChatReply>(&bytes).ok()) {
            context.meter.note_cache_hit();
            if let Some(on_text) = context.on_text.filter(|_| !reply.text.is_empty()) {
                on_text(&reply.text);
            }
            return Ok(reply);
        }
        let reply = self.inner.chat(request, context).await?;
        // What has to be mended is no answer to the next one who asks.
        if !reply.is_sound() {
            return Ok(reply);
        }
        // Told again, it costs nothing.
        let kept = ChatReply { tokens: Tokens::default(), ..reply.clone() };
        if let Ok(bytes) = serde_json::to_vec(&kept) {
            self.store.put(&key, bytes.into(), self.ttl).await;
        }
        Ok(reply)
    }
}

/// Largest answer kept in a store that others share: a plan with many literal rows is asked for again.
const MAX_SHARED_BYTES: usize = 1 << 20;

/// Answers kept in a store, so that a fleet shares them.
pub struct StoreReplies(SharedStore);

impl StoreReplies {
    /// Answers in `store`.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self(store)
    }
}

#[async_trait]
impl ReplyStore for StoreReplies {
    async fn get(&self, key: &str) -> Option<Bytes> {
        self.0.get(&format!("replies:{key}")).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the response cache cannot be read now; the model is asked");
            None
        })
    }

    async fn put(&self, key: &str, reply: Bytes, ttl: Duration) {
        if reply.len() > MAX_SHARED_BYTES || ttl.is_zero() {
            return;
        }
        if let Err(error) = self.0.put(&format!("replies:{key}"), reply, ttl).await {
            tracing::warn!(%error, "an answer could not be put into the response cache");
        }
    }
}

/// Answers kept in this process, the oldest dropped first.
#[derive(Debug)]
pub struct ProcessReplies {
    max_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    replies: HashMap<String, (Bytes, Instant)>,
    /// Keys in the order they came.
    order: VecDeque<String>,
    bytes: usize,
}

impl ProcessReplies {
    /// Room for `max_bytes` of answers with their keys.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, kept: Mutex::default() }
    }
}

impl Kept {
    fn remove(&mut self, key: &str) {
        if let Some((reply, _)) = self.replies.remove(key) {
            self.bytes -= reply.len() + key.len();
            self.order.retain(|known| known != key);
        }
    }
}

#[async_trait]
impl ReplyStore for ProcessReplies {
    async fn get(&self, key: &str) -> Option<Bytes> {
        let kept = self.kept.lock();
        let (reply, until) = kept.replies.get(key)?;
        (*until > Instant::now()).then(|| reply.clone())
    }

    async fn put(&self, key: &str, reply: Bytes, ttl: Duration) {
        let size = reply.len() + key.len();
        if size > self.max_bytes {
            return;
        }
        let mut kept = self.kept.lock();
        kept.remove(key);
        while kept.bytes + size > self.max_bytes {
            let Some(oldest) = kept.order.pop_front() else { break };
            let gone = kept.replies.remove(&oldest).map_or(0, |(reply, _)| reply.len() + oldest.len());
            kept.bytes -= gone;
        }
        kept.bytes += size;
        kept.order.push_back(key.to_owned());
        kept.replies.insert(key.to_owned(), (reply, Instant::now() + ttl));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        job::{ErrorCode, Meter},
        llm::Message,
    };

    /// Answers with the number of the call; fails where the first message says so.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    #[async_trait]
    impl ChatModel for Counting {
        async fn chat(&self, request: &ChatRequest, _: &CallContext<'_>) -> Result<ChatReply, JobError> {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            if request.messages == [Message::User("fail".into())] {
                return Err(JobError::new(ErrorCode::LlmUnavailable, "down"));
            }
            let tokens = Tokens { prompt: 5, completion: 5, cached: 0 };
            let silent = request.messages == [Message::User("be silent".into())];
            let text = if silent { String::new() } else { n.to_string() };
            Ok(ChatReply { text, calls: vec![], tokens, model: "m".into() })
        }
    }

    fn request(prompt: &str) -> ChatRequest {
        ChatRequest { messages: vec![Message::User(prompt.into())], ..ChatRequest::default() }
    }

    /// The answer, and whether it was a kept one.
    async fn ask(model: &Arc<dyn ChatModel>, request: &ChatRequest) -> (String, bool) {
        let (meter, cancel) = (Meter::default(), CancellationToken::new());
        let told = Mutex::new(String::new());
        let on_text = |text: &str| told.lock().push_str(text);
        let deadline = Instant::now() + Duration::from_secs(60);
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: Some(&on_text) };
        let text = model.chat(request, &context).await.map_or_else(|error| error.message, |reply| reply.text);
        let hit = meter.spend().response_cache_hit;
        assert_eq!(*told.lock(), if hit { text.as_str() } else { "" });
        (text, hit)
    }

    fn cached(adjust: impl Fn(&mut Settings)) -> Arc<dyn ChatModel> {
        let mut settings = Settings::default();
        settings.llm.cache = true;
        adjust(&mut settings);
        Cached::wrap(Arc::new(Counting::default()), &settings, None)
    }

    #[tokio::test]
    async fn the_same_request_is_answered_once() {
        let model = cached(|_| {});
        assert_eq!(ask(&model, &request("a")).await, ("0".into(), false));
        assert_eq!(ask(&model, &request("a")).await, ("0".into(), true));
        let others = [
            request("b"),
            ChatRequest { model: Some("other".into()), ..request("a") },
            ChatRequest { max_tokens: Some(9), ..request("a") },
            ChatRequest { prompt_cache_key: Some("another owner".into()), ..request("a") },
        ];
        for other in others {
            assert!(!ask(&model, &other).await.1, "{other:?}");
        }
    }

    #[tokio::test]
    async fn what_has_to_be_mended_is_not_kept() {
        let model = cached(|_| {});
        let silent = ChatRequest { mends: true, ..request("be silent") };
        for _ in 0..2 {
            assert_eq!(ask(&model, &silent).await, (String::new(), false));
        }
        assert_eq!(ask(&model, &request("a")).await, ("2".into(), false));
    }

    #[tokio::test]
    async fn chance_failures_and_old_answers_are_not_kept() {
        let model = cached(|_| {});
        let warm = ChatRequest { temperature: Some(0.5), ..request("a") };
        for request in [warm, request("fail")] {
            assert!(!ask(&model, &request).await.1);
            assert!(!ask(&model, &request).await.1, "{request:?}");
        }
        for model in [cached(|settings| settings.llm.cache_ttl_secs = 0), cached(|settings| settings.llm.cache = false)]
        {
            ask(&model, &request("a")).await;
            assert!(!ask(&model, &request("a")).await.1);
        }
    }

    #[tokio::test]
    async fn space_is_bounded_and_the_oldest_goes_first() {
        let store = ProcessReplies::new(25);
        let ttl = Duration::from_secs(60);
        for key in ["a", "b", "a", "c"] {
            store.put(key, Bytes::from_static(b"123456789"), ttl).await;
        }
        let there = [store.get("a").await.is_some(), store.get("b").await.is_some(), store.get("c").await.is_some()];
        assert_eq!(there, [true, false, true]);
        store.put("d", Bytes::from(vec![0; 99]), ttl).await;
        assert_eq!((store.get("d").await, store.kept.lock().bytes), (None, 20));
    }
}
