use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    agents::{registry::LiveRegistry, trail::TrailKind},
    job::{Meter, Tokens},
    llm::{ChatReply, Message},
};

const AGENTS: &str = "
agents:
  - {id: a, name: Ann, tags: [sql, charts]}
  - {id: b, tags: [sql], threshold: 0.9}
  - {id: c, tags: [mail]}
  - {id: d}
";

/// Gives the same scores for every text, and counts.
#[derive(Default)]
struct Fixed {
    scores: Vec<f64>,
    asked: AtomicUsize,
    learned: AtomicUsize,
    fails: AtomicBool,
}

struct FixedFit(Arc<Fixed>);

#[async_trait]
impl Embedder for Arc<Fixed> {
    fn name(&self) -> &'static str {
        "fixed"
    }

    async fn fit(&self, _: &[Profile]) -> Result<Arc<dyn Fitted>, JobError> {
        self.learned.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(JobError::new(ErrorCode::LlmUnavailable, "503"));
        }
        Ok(Arc::new(FixedFit(self.clone())))
    }
}

#[async_trait]
impl Fitted for FixedFit {
    fn default_threshold(&self) -> f64 {
        0.5
    }

    async fn question(&self, text: &str, _: &CallContext<'_>) -> Result<Question, JobError> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        Ok(Question::of_words(text))
    }

    fn scores(&self, _: &Question, among: Option<&[usize]>) -> Vec<(usize, f64)> {
        let all = self.0.scores.iter().copied().enumerate();
        all.filter(|(place, _)| among.is_none_or(|among| among.contains(place))).collect()
    }
}

/// Answers from a list; what it was asked is kept.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<&'static str, ErrorCode>>>,
    asked: Mutex<Vec<ChatRequest>>,
}

#[async_trait]
impl ChatModel for Scripted {
    async fn chat(&self, request: &ChatRequest, _: &CallContext<'_>) -> Result<ChatReply, JobError> {
        self.asked.lock().push(request.clone());
        let answer = self.answers.lock().pop_front().expect("an answer is left");
        let text = answer.map_err(|code| JobError::new(code, "no"))?.to_owned();
        Ok(ChatReply { text, calls: Vec::new(), tokens: Tokens::default(), model: "m".into() })
    }
}

struct Bench {
    fixed: Arc<Fixed>,
    model: Arc<Scripted>,
    router: Router,
    registry: Arc<Registry>,
}

fn bench(scores: &[f64], answers: &[Result<&'static str, ErrorCode>], options: RouteOptions) -> Bench {
    let fixed = Arc::new(Fixed { scores: scores.to_vec(), ..Fixed::default() });
    let model = Arc::new(Scripted { answers: Mutex::new(answers.iter().copied().collect()), ..Scripted::default() });
    let asked: Option<Arc<dyn ChatModel>> = if answers.is_empty() { None } else { Some(model.clone()) };
    let options = RouteOptions { show_top_n: 3, ..options };
    let router = Router::new(Arc::new(fixed.clone()), asked, options);
    let registry = Arc::new(Registry::parse(AGENTS, &Vec::new()).unwrap());
    Bench { fixed, model, router, registry }
}

impl Bench {
    async fn route(&self, prompt: &str, request: RouteRequest) -> Result<Decision, JobError> {
        let (meter, cancel) = (Meter::default(), CancellationToken::new());
        let deadline = Instant::now() + Duration::from_secs(60);
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
        self.router.route(&self.registry, prompt, &request, &context, None).await
    }
}

fn with(threshold: f64) -> RouteRequest {
    RouteRequest { threshold: Some(threshold), show_top_n: None }
}

#[tokio::test]
async fn tags_narrow_scores_decide_and_thresholds_refuse() {
    let none = RouteRequest::default();
    let configured = RouteOptions { threshold: Some(0.7), ..RouteOptions::default() };
    let plain = RouteOptions::default;
    // (scores, options, prompt, request, candidates, winner)
    type Row<'a> = (&'a [f64], RouteOptions, &'a str, RouteRequest, &'a [&'a str], Option<&'a str>);
    let rows: &[Row<'_>] = &[
        (&[0.6, 0.2, 0.8, 0.7], plain(), "hello", none, &["a", "b", "c", "d"], Some("c")),
        (&[0.6, 0.2, 0.8, 0.7], plain(), "some sql", none, &["a", "b"], Some("a")),
        (&[0.6, 0.2, 0.8, 0.7], plain(), "sql by mail", none, &["a", "b", "c"], Some("c")),
        // Ties keep the order of the registry.
        (&[0.6, 0.6, 0.6, 0.6], plain(), "hello", none, &["a", "b", "c", "d"], Some("a")),
        // The best misses its own threshold; the next reaches its.
        (&[0.6, 0.8, 0.2, 0.2], plain(), "hello", none, &["a", "b", "c", "d"], Some("a")),
        // The request's threshold comes before the agent's, that before the configuration's.
        (&[0.6, 0.8, 0.2, 0.2], plain(), "hello", with(0.75), &["a", "b", "c", "d"], Some("b")),
        (&[0.6, 0.95, 0.2, 0.2], configured.clone(), "hello", none, &["a", "b", "c", "d"], Some("b")),
        (&[0.6, 0.8, 0.2, 0.2], configured, "hello", none, &["a", "b", "c", "d"], None),
        (&[0.4, 0.4, 0.4, 0.4], plain(), "hello", none, &["a", "b", "c", "d"], None),
        (&[-0.4, -1.0, -0.9, -1.0], plain(), "hello", with(-1.0), &["a", "b", "c", "d"], Some("a")),
        (&[0.5, 0.0, 0.0, 0.0], plain(), "hello", none, &["a", "b", "c", "d"], Some("a")),
    ];
    for (scores, options, prompt, request, candidates, winner) in rows {
        let decision = bench(scores, &[], options.clone()).route(prompt, *request).await.unwrap();
        let ids: Vec<_> = decision.record.candidates.iter().map(|c| &*c.agent_id).collect();
        assert_eq!((ids.as_slice(), decision.winner()), (*candidates, *winner), "{prompt} {scores:?}");
        assert_eq!(decision.record.replay(), decision.record.choice);
        let kept: RouteRecord = serde_json::from_str(&serde_json::to_string(&decision.record).unwrap()).unwrap();
        assert_eq!(kept.replay(), decision.record.choice, "a record can be replayed after it was stored");
    }
}

#[tokio::test]
async fn the_result_and_the_refusal_say_all() {
    let decision = bench(&[0.6, 0.6, 0.1, 0.7], &[], RouteOptions::default())
        .route("charts", RouteRequest { threshold: Some(0.55), show_top_n: Some(2) })
        .await
        .unwrap();
    let mut result = serde_json::to_value(decision.result(Some("42".into()))).unwrap();
    result["execution_id"] = "x".into();
    assert_eq!(
        result,
        serde_json::json!({
            "mode": "route", "execution_id": "x", "extracted_tags": ["charts"], "filtered_count": 1,
            "all_scores": [{"agent_id": "a", "name": "Ann", "score": 0.6}],
            "selected_agent": {"id": "a", "name": "Ann"}, "handoff_successful": true, "embedder": "fixed",
            "threshold": 0.55, "reason": "0.600 reaches 0.550 (the request's threshold)", "answer": "42",
        })
    );
    let nobody = bench(&[0.3, 0.2, 0.4, 0.1], &[], RouteOptions::default());
    let decision = nobody.route("hello", RouteRequest::default()).await.unwrap();
    assert!(!decision.result(None).handoff_successful);
    let error = decision.refusal();
    assert_eq!((error.code, error.retryable), (ErrorCode::NoAgent, false));
    assert_eq!(error.details["candidates"].as_array().unwrap().len(), 3);
    assert_eq!(error.details["candidates"][0]["agent_id"], "c");
    assert!(error.message.contains("c 0.400"), "{}", error.message);
    let kinds: Vec<_> = decision.trail().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [TrailKind::Tag, TrailKind::Score, TrailKind::Select]);
}

#[tokio::test]
async fn why_not_the_next_is_on_record() {
    let rows: &[(&[f64], &str)] = &[
        (&[0.6, 0.1, 0.6, 0.1], "the same score, but later in the registry"),
        (&[0.6, 0.8, 0.1, 0.1], "0.800 is below its threshold of 0.900 (the agent's threshold)"),
        (&[0.75, 0.1, 0.5, 0.1], "0.500 is 0.250 less"),
    ];
    for (scores, expected) in rows {
        let bench = bench(scores, &[], RouteOptions::default());
        let choice = bench.route("hello", RouteRequest::default()).await.unwrap().record.choice;
        assert_eq!(choice.runner_up.unwrap().why_not, *expected);
        assert_eq!(choice.tied_with.is_empty(), !expected.starts_with("the same"));
    }
}

#[tokio::test]
async fn the_model_names_tags_and_its_failure_is_no_failure_of_the_route() {
    let scores = &[0.6, 0.2, 0.8, 0.7];
    let bench_ok = bench(scores, &[Ok(r#"{"tags":["charts","unknown"]}"#)], RouteOptions::default());
    let decision = bench_ok.route("draw something", RouteRequest::default()).await.unwrap();
    assert_eq!((decision.winner(), decision.record.tags.source), (Some("a"), TagSource::Model));
    let asked = bench_ok.model.asked.lock().clone();
    assert!(matches!(&asked[0].messages[0], Message::System(text) if text.contains("sql, charts, mail")));
    assert!(asked[0].response_format.is_some());

    let failing = bench(scores, &[Err(ErrorCode::LlmUnavailable), Ok("mail")], RouteOptions::default());
    let decision = failing.route("sql please", RouteRequest::default()).await.unwrap();
    assert_eq!((decision.winner(), decision.record.tags.source), (Some("a"), TagSource::Lexical));
    assert!(decision.record.tags.fallback.as_deref().unwrap().contains("llm_unavailable"));
    // A decision made without the model's help is not remembered.
    let decision = failing.route("sql please", RouteRequest::default()).await.unwrap();
    assert_eq!((decision.winner(), decision.cached), (Some("c"), false));

    for code in [ErrorCode::Cancelled, ErrorCode::BudgetExceeded, ErrorCode::Timeout] {
        let ended = bench(scores, &[Err(code)], RouteOptions::default());
        assert_eq!(ended.route("sql", RouteRequest::default()).await.unwrap_err().code, code);
    }
}

#[tokio::test]
async fn a_model_may_pick_from_the_five_best_in_one_call() {
    let pick = RouteOptions { llm_pick: true, ..RouteOptions::default() };
    // (answer, request, winner)
    let rows = [
        (Ok(r#"{"agent":"d"}"#), RouteRequest::default(), Some("d")),
        (Ok(r#"{"agent":"none"}"#), RouteRequest::default(), None),
        // The embedder's default is not asked of a pick; a threshold somebody set is.
        (Ok(r#"{"agent":"d"}"#), with(0.5), None),
        // A model that cannot pick leaves the choice to the scores.
        (Ok("whoever"), RouteRequest::default(), Some("c")),
        (Err(ErrorCode::LlmUnavailable), RouteRequest::default(), Some("c")),
    ];
    for (answer, request, winner) in rows {
        let bench = bench(&[0.6, 0.2, 0.8, 0.1], &[answer], pick.clone());
        let decision = bench.route("hello", request).await.unwrap();
        assert_eq!(decision.winner(), winner, "{answer:?}");
        assert_eq!(bench.model.asked.lock().len(), 1);
        assert_eq!(decision.record.replay(), decision.record.choice);
    }
}

#[tokio::test]
async fn the_same_question_costs_nothing_until_the_registry_changes() {
    let mut bench = bench(&[0.6, 0.2, 0.8, 0.7], &[Ok("mail"), Ok("mail"), Ok("mail")], RouteOptions::default());
    let first = bench.route("hello", RouteRequest::default()).await.unwrap();
    let again = bench.route("hello", RouteRequest::default()).await.unwrap();
    assert!(again.cached && !first.cached);
    assert_ne!(again.record.execution_id, first.record.execution_id);
    assert_eq!(again.record.choice, first.record.choice);
    assert_eq!((bench.model.asked.lock().len(), bench.fixed.asked.load(Ordering::Relaxed)), (1, 1));
    // Another threshold is another question.
    bench.route("hello", with(0.9)).await.unwrap();
    assert_eq!(bench.fixed.asked.load(Ordering::Relaxed), 2);
    bench.registry = Arc::new(Registry::parse(&format!("{AGENTS}\n# changed"), &Vec::new()).unwrap());
    assert!(!bench.route("hello", RouteRequest::default()).await.unwrap().cached);
    assert_eq!(bench.fixed.learned.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn odd_requests_are_answered_sensibly() {
    let bench = bench(&[0.6, 0.2, 0.8, 0.7], &[], RouteOptions::default());
    for threshold in [1.1, -1.1, f64::NAN] {
        assert_eq!(bench.route("x", with(threshold)).await.unwrap_err().code, ErrorCode::InvalidJob);
    }
    let all = RouteRequest { threshold: None, show_top_n: Some(usize::MAX) };
    assert_eq!(bench.route("x", all).await.unwrap().result(None).all_scores.len(), 4);
    let none = RouteRequest { threshold: None, show_top_n: Some(0) };
    assert!(bench.route("x", none).await.unwrap().result(None).all_scores.is_empty());
    let empty = Bench { registry: Arc::new(Registry::parse("agents: []", &Vec::new()).unwrap()), ..bench };
    let decision = empty.route("x", RouteRequest::default()).await.unwrap();
    assert!(decision.refusal().message.contains("there are no agents"), "{}", decision.refusal().message);
}

#[tokio::test]
async fn agents_are_learned_before_anybody_asks_and_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agents.yaml");
    std::fs::write(&file, AGENTS).unwrap();
    let live = LiveRegistry::start(&file, &Vec::new()).unwrap();
    let Bench { fixed, router, .. } = bench(&[0.6, 0.2, 0.8, 0.7], &[], RouteOptions::default());
    let (router, stop) = (Arc::new(router), CancellationToken::new());
    let task = tokio::spawn(crate::agents::learn_ahead(router.clone(), live.clone(), stop.clone()));
    let learned = async |times: usize| {
        while fixed.learned.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    };
    learned(1).await;
    // A state that cannot be learned is no end of it.
    fixed.fails.store(true, Ordering::SeqCst);
    for (times, change) in [(2, "# one"), (3, "# two")] {
        std::fs::write(&file, format!("{AGENTS}\n{change}")).unwrap();
        assert!(live.reload().unwrap());
        learned(times).await;
    }
    fixed.fails.store(false, Ordering::SeqCst);
    stop.cancel();
    task.await.unwrap();
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    router.route(&live.current(), "hello", &RouteRequest::default(), &context, None).await.unwrap();
    assert_eq!(fixed.learned.load(Ordering::SeqCst), 4, "the prompt tries again what could not be learned");
}

#[tokio::test]
async fn a_prompt_waits_for_the_learning_of_others_within_its_own_time() {
    let bench = bench(&[0.6, 0.2, 0.8, 0.7], &[], RouteOptions::default());
    let _busy = bench.router.learning.lock().await;
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    for (deadline, code) in [(Duration::ZERO, ErrorCode::Timeout), (Duration::from_secs(60), ErrorCode::Cancelled)] {
        if code == ErrorCode::Cancelled {
            cancel.cancel();
        }
        let context =
            CallContext { meter: &meter, deadline: Instant::now() + deadline, cancel: &cancel, on_text: None };
        let ended = bench.router.route(&bench.registry, "hello", &RouteRequest::default(), &context, None).await;
        assert_eq!(ended.unwrap_err().code, code);
    }
}

#[test]
fn of_very_many_scores_the_best_stay_in_their_order() {
    let few: Vec<(usize, f64)> = (0..MAX_CANDIDATES).map(|place| (place, 0.5)).collect();
    assert_eq!(best(few.clone()), few);
    let many: Vec<(usize, f64)> = (0..5000).map(|place| (place, if place % 5 == 3 { 0.9 } else { 0.1 })).collect();
    let kept = best(many);
    assert_eq!(kept.len(), MAX_CANDIDATES);
    assert!(kept.iter().all(|(place, _)| place % 5 == 3) && kept.is_sorted_by_key(|(place, _)| *place));
}
