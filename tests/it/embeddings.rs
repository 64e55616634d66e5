//! Vectors from a server: batches, refusals, keys, and what a route costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agent_runner::{
    agents::{Registry, RouteOptions, RouteRequest, Router},
    embed::{self, Encoder, OpenAiEncoder},
    job::{ErrorCode, JobError, JobId, Meter, Tokens},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest},
    settings::Settings,
    store::{Journal, MemoryStore},
};
use async_trait::async_trait;
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

use crate::support::embeddings::{EmbeddingsServer, vector, vectors};

fn settings(server: &EmbeddingsServer) -> Settings {
    let mut settings = Settings::default();
    settings.embeddings.base_url = Some(server.base_url());
    settings.embeddings.api_key = Some("sk-own".into());
    settings.embeddings.batch = 4;
    settings
}

#[expect(clippy::disallowed_methods, reason = "a client for a server of the test's own")]
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("text {}", char::from(b'a' + u8::try_from(i % 26).unwrap()))).collect()
}

type Encoded = Result<Vec<Result<Vec<f32>, JobError>>, JobError>;

async fn encode(settings: &Settings, texts: &[String], meter: &Meter) -> Encoded {
    let cancel = CancellationToken::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter, deadline, cancel: &cancel, on_text: None };
    OpenAiEncoder::new(client(), settings).encode(texts, &context).await
}

#[tokio::test]
async fn texts_go_in_batches_and_vectors_come_back_in_order() {
    let server = EmbeddingsServer::start(vectors).await;
    let (texts, meter) = (texts(10), Meter::default());
    let found = encode(&settings(&server), &texts, &meter).await.unwrap();
    for (text, found) in texts.iter().zip(&found) {
        assert_eq!(found.as_ref().unwrap(), &vector(text));
    }
    let requests = server.requests();
    assert_eq!(requests.iter().map(|(texts, _)| texts.len()).collect::<Vec<_>>(), [4, 4, 2]);
    assert!(requests.iter().all(|(_, key)| key.as_deref() == Some("bearer sk-own")));
    assert_eq!((meter.spend().llm_calls, meter.spend().tokens.prompt), (3, 30));
}

#[tokio::test]
async fn a_batch_that_is_refused_is_halved_and_one_bad_text_loses_no_other() {
    for status in [400, 413, 422, 500] {
        let server = EmbeddingsServer::start(move |texts| match texts {
            [_, _, _, ..] => (status, String::new(), r#"{"error":{"message":"too many"}}"#.into()),
            [only] if only == "text b" => (400, String::new(), r#"{"detail":"bad text"}"#.into()),
            texts if texts.iter().any(|text| text == "text b") => (400, String::new(), "{}".into()),
            texts => vectors(texts),
        })
        .await;
        let found = encode(&settings(&server), &texts(8), &Meter::default()).await.unwrap();
        let bad: Vec<usize> = (0..8).filter(|i| found[*i].is_err()).collect();
        assert_eq!(bad, [1], "{status}");
        assert!(found[1].as_ref().unwrap_err().message.contains("bad text"));
        assert_eq!(found[7].as_ref().unwrap(), &vector("text h"));
    }
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_not_asked_for_every_text() {
    let refuse = |_: &[String]| (400, String::new(), r#"{"error":"no such model"}"#.to_owned());
    let server = EmbeddingsServer::start(refuse).await;
    let mut settings = settings(&server);
    settings.embeddings.batch = 64;
    let error = encode(&settings, &texts(200), &Meter::default()).await.unwrap_err();
    assert!(error.message.contains("no such model") && !error.retryable, "{error}");
    assert!(server.requests().len() < 15, "{}", server.requests().len());
}

#[tokio::test]
async fn errors_have_their_codes_and_the_key_shows_nowhere() {
    // (status, body, code, retryable, requests)
    let rows = [
        (401, r#"{"error":{"message":"bad key sk-own"}}"#, ErrorCode::LlmAuth, false, 1),
        (404, "no", ErrorCode::LlmUnavailable, false, 1),
        (429, r#"{"error":{"message":"slow down"}}"#, ErrorCode::LlmRateLimited, true, 3),
        (429, r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, ErrorCode::LlmQuota, false, 1),
        (503, "<html>", ErrorCode::LlmUnavailable, true, 3),
        (200, r#"{"data":[]}"#, ErrorCode::LlmBadOutput, true, 3),
        (200, r#"{"data":[{"index":4,"embedding":[1]}]}"#, ErrorCode::LlmBadOutput, true, 3),
    ];
    for (status, body, code, retryable, requests) in rows {
        let answer = move |_: &[String]| (status, "retry-after-ms: 1\r\n".to_owned(), body.to_owned());
        let server = EmbeddingsServer::start(answer).await;
        let mut settings = settings(&server);
        settings.llm.max_retries = 2;
        let error = encode(&settings, &texts(1), &Meter::default()).await.unwrap_err();
        assert_eq!((error.code, error.retryable, server.requests().len()), (code, retryable, requests), "{body}");
        assert!(!error.message.contains("sk-own"), "{error}");
    }
}

#[tokio::test]
async fn the_models_key_goes_to_the_models_server_only() {
    let server = EmbeddingsServer::start(vectors).await;
    let mut settings = Settings::default();
    settings.llm.api_key = Some("sk-model".into());
    settings.llm.base_url = Some("http://127.0.0.1:1/v1".into());
    settings.embeddings.base_url = Some(server.base_url());
    encode(&settings, &texts(1), &Meter::default()).await.unwrap().remove(0).unwrap();
    settings.llm.base_url = Some(server.base_url());
    settings.embeddings.base_url = None;
    encode(&settings, &texts(1), &Meter::default()).await.unwrap().remove(0).unwrap();
    let keys: Vec<_> = server.requests().into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, [None, Some("bearer sk-model".into())]);
}

#[tokio::test]
async fn cancelling_and_the_end_of_time_reach_the_request() {
    let server = EmbeddingsServer::start_with(Arc::new(vectors), Some(Arc::new(Barrier::new(99)))).await;
    let encoder = OpenAiEncoder::new(client(), &settings(&server));
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let context = |deadline| CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let soon = context(Instant::now() + Duration::from_millis(50));
    assert_eq!(encoder.encode(&texts(1), &soon).await.unwrap_err().code, ErrorCode::Timeout);
    let later = context(Instant::now() + Duration::from_secs(60));
    // The first may have been given up before it reached the server.
    let seen = server.requests().len();
    let one = texts(1);
    let (done, ()) = tokio::join!(encoder.encode(&one, &later), async {
        while server.requests().len() <= seen {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(done.unwrap_err().code, ErrorCode::Cancelled);
}

const AGENTS: &str =
    "agents:\n- {id: abc, description: aabbcc, examples: [abc, cab]}\n- {id: xyz, description: xxyyzz}\n";

#[tokio::test]
async fn a_route_costs_one_embedding_call_and_agents_are_embedded_once_over_restarts() {
    let server = EmbeddingsServer::start(vectors).await;
    let (store, settings) = (MemoryStore::new(1 << 20), settings(&server));
    let registry = Arc::new(Registry::parse(AGENTS, &Vec::new()).unwrap());
    for (start, prompt) in ["a b c a", "z y x"].into_iter().enumerate() {
        let embedder = embed::from_settings(&settings, &client(), Some(store.clone())).unwrap();
        let router = Router::new(embedder, None, RouteOptions::from(&settings));
        router.prepare(&registry).await.unwrap();
        assert_eq!(server.requests().len(), 1 + start, "the agents' texts are embedded at the first start only");
        let (meter, cancel) = (Meter::default(), CancellationToken::new());
        let deadline = Instant::now() + Duration::from_secs(60);
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
        for _ in 0..3 {
            let decision = router.route(&registry, prompt, &RouteRequest::default(), &context, None).await.unwrap();
            assert_eq!(decision.winner(), Some(["abc", "xyz"][start]));
            assert_eq!(decision.record.embedder, "openai/text-embedding-3-small");
        }
        assert_eq!(meter.spend().llm_calls, 1, "the same question is answered from memory");
    }
}

#[tokio::test]
async fn parallel_routes_wait_side_by_side() {
    // The server answers nobody before ten prompts wait: one after the other they would wait for ever.
    let server = EmbeddingsServer::start(vectors).await;
    let waiting = EmbeddingsServer::start_with(Arc::new(vectors), Some(Arc::new(Barrier::new(10)))).await;
    let store = MemoryStore::new(1 << 20);
    let registry = Arc::new(Registry::parse(AGENTS, &Vec::new()).unwrap());
    let first = embed::from_settings(&settings(&server), &client(), Some(store.clone())).unwrap();
    Router::new(first, None, RouteOptions::default()).prepare(&registry).await.unwrap();
    let embedder = embed::from_settings(&settings(&waiting), &client(), Some(store)).unwrap();
    let router = Router::new(embedder, None, RouteOptions::default());
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let prompts: Vec<String> = (0..10).map(|i| format!("prompt {}", "a".repeat(i + 1))).collect();
    let request = RouteRequest::default();
    let routes = prompts.iter().map(|prompt| router.route(&registry, prompt, &request, &context, None));
    assert!(futures::future::join_all(routes).await.iter().all(Result::is_ok));
    assert_eq!(meter.spend().llm_calls, 10);
}

/// Routes by the settings of somebody who only named a model server.
async fn route_by(
    router: &Router,
    registry: &Arc<Registry>,
    prompt: &str,
) -> Result<(String, Option<String>, u32), JobError> {
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let decision = router.route(registry, prompt, &RouteRequest::default(), &context, None).await?;
    let record = decision.record;
    Ok((record.embedder, record.embedder_fallback, meter.spend().llm_calls))
}

#[tokio::test]
async fn a_model_server_without_embeddings_is_asked_once_and_then_left_alone() {
    let registry = Arc::new(Registry::parse(AGENTS, &Vec::new()).unwrap());
    // (status, body, what routing by `auto` does then)
    let rows = [
        (404, r#"{"error":"404 page not found"}"#, Some("lexical")),
        (404, r#"{"error":{"message":"model \"text-embedding-3-small\" not found"}}"#, Some("lexical")),
        (405, "", Some("lexical")),
        (501, r#"{"error":{"message":"this server does not support embeddings"}}"#, Some("lexical")),
        (400, r#"{"error":{"message":"The model does not support Embeddings API"}}"#, Some("lexical")),
        (200, r#"{"choices":[]}"#, Some("lexical")),
        (401, r#"{"error":{"message":"bad key"}}"#, None),
        (503, "", None),
    ];
    for (status, body, want) in rows {
        let answer = move |_: &[String]| (status, "retry-after-ms: 1\r\n".to_owned(), body.to_owned());
        let server = EmbeddingsServer::start(answer).await;
        let mut auto = Settings::default();
        auto.llm.base_url = Some(server.base_url());
        auto.llm.max_retries = 0;
        let router_of = |settings: &Settings| {
            Router::new(embed::from_settings(settings, &client(), None).unwrap(), None, RouteOptions::default())
        };
        let router = router_of(&auto);
        let Some(want) = want else {
            assert!(route_by(&router, &registry, "a b c a").await.is_err(), "{status}");
            continue;
        };
        let mut asked = Vec::new();
        for prompt in ["a b c a", "aabbcc", "xyz"] {
            let (embedder, warning, _) = route_by(&router, &registry, prompt).await.unwrap();
            assert_eq!(embedder, want, "{status} {body}");
            assert!(warning.unwrap().contains("has no embeddings"), "{status}");
            asked.push(server.requests().len());
        }
        assert!(asked[0] > 0 && asked[0] == asked[2], "{status}: it is remembered: {asked:?}");
        // Who names the provider is told.
        auto.embeddings.provider = agent_runner::settings::EmbeddingsProvider::Openai;
        assert!(route_by(&router_of(&auto), &registry, "a b c a").await.is_err(), "{status}");
    }
}

#[tokio::test]
async fn a_server_that_loses_its_embeddings_is_noticed_at_a_prompt() {
    let registry = Arc::new(Registry::parse(AGENTS, &Vec::new()).unwrap());
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let now = gone.clone();
    let server = EmbeddingsServer::start(move |texts| match now.load(std::sync::atomic::Ordering::SeqCst) {
        true => (404, String::new(), "no".into()),
        false => vectors(texts),
    })
    .await;
    let mut auto = Settings::default();
    auto.llm.base_url = Some(server.base_url());
    let router = Router::new(embed::from_settings(&auto, &client(), None).unwrap(), None, RouteOptions::default());
    let (embedder, warning, _) = route_by(&router, &registry, "a b c a").await.unwrap();
    assert_eq!((embedder.as_str(), warning), ("openai/text-embedding-3-small", None));
    gone.store(true, std::sync::atomic::Ordering::SeqCst);
    for calls in [1, 0] {
        let (embedder, warning, sent) = route_by(&router, &registry, &format!("c b a {calls}")).await.unwrap();
        assert_eq!((embedder.as_str(), warning.is_some(), sent), ("lexical", true, calls));
    }
}

/// Names one tag, and counts how often it was asked.
struct Tagger(AtomicUsize);

#[async_trait]
impl ChatModel for Tagger {
    async fn chat(&self, _: &ChatRequest, _: &CallContext<'_>) -> Result<ChatReply, JobError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let text = r#"{"tags":["letters"]}"#.into();
        Ok(ChatReply { text, calls: Vec::new(), tokens: Tokens::default(), model: "m".into() })
    }
}

#[tokio::test]
async fn the_tags_are_paid_for_once_however_often_the_route_fails() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // The agents' texts, then the prompt, which fails once.
    let server = EmbeddingsServer::start(move |texts: &[String]| match count.fetch_add(1, Ordering::SeqCst) {
        1 => (401, String::new(), "{}".to_owned()),
        _ => vectors(texts),
    })
    .await;
    let agents = "agents: [{id: abc, description: aabbcc, tags: [letters], instructions: i}]";
    let registry = Arc::new(Registry::parse(agents, &Vec::new()).unwrap());
    let embedder = embed::from_settings(&settings(&server), &client(), None).unwrap();
    let model = Arc::new(Tagger(AtomicUsize::new(0)));
    let router = Router::new(embedder, Some(model.clone()), RouteOptions::default());
    let (meter, cancel, store) = (Meter::default(), CancellationToken::new(), MemoryStore::new(1 << 20));
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let id = JobId::try_from("r".to_owned()).unwrap();
    let mut ended = Vec::new();
    for _ in 0..2 {
        // Of two deliveries each reads the journal anew.
        let journal = Journal::new(store.clone(), &id, Duration::from_secs(60), 0);
        let request = RouteRequest::default();
        ended.push(router.route(&registry, "a b c a", &request, &context, Some(&journal)).await);
    }
    assert_eq!(ended.remove(0).unwrap_err().code, ErrorCode::LlmAuth);
    assert_eq!(ended.remove(0).unwrap().winner(), Some("abc"));
    assert_eq!(model.0.load(Ordering::SeqCst), 1);
}
