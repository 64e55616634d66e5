//! The sentence encoder in the process, with real weights where `make test-local` has fetched them.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    agents::{Registry, RouteOptions, Router, eval, eval::RoutingReport},
    embed::{Dense, Encoder, LocalEncoder},
    job::Meter,
    llm::CallContext,
    settings::Aggregation,
};
use tokio_util::sync::CancellationToken;

const DIRECTORY: &str = "target/models/minilm";

/// The encoder, or none with a loud word.
fn encoder() -> Option<Arc<LocalEncoder>> {
    let directory = Path::new(DIRECTORY);
    if !directory.exists() {
        eprintln!("SKIPPED: {DIRECTORY} is not there; run `make test-local`, which fetches it");
        return None;
    }
    Some(Arc::new(LocalEncoder::load(directory).unwrap()))
}

async fn encode(encoder: &LocalEncoder, texts: &[&str]) -> Vec<Vec<f32>> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(600);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    encoder.encode(&texts, &context).await.unwrap().into_iter().map(Result::unwrap).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test]
async fn meaning_is_near_and_padding_changes_nothing() {
    let Some(encoder) = encoder() else { return };
    let texts = ["A man is eating food.", "Somebody has a meal.", "The stock market fell sharply on Monday, again."];
    let together = encode(&encoder, &texts).await;
    assert!(together.iter().all(|vector| vector.len() == 768));
    assert!(cosine(&together[0], &together[1]) > 0.55);
    assert!(cosine(&together[0], &together[2]) < 0.2);
    for (text, vector) in texts.iter().zip(&together) {
        let alone = encode(&encoder, &[text]).await;
        assert!(cosine(&alone[0], vector) > 0.9999, "{text}");
    }
    // Longer than the model reads, and nothing at all: still vectors.
    let odd = encode(&encoder, &[&"word ".repeat(5000), ""]).await;
    assert!(odd.iter().flatten().all(|value| value.is_finite()));
}

async fn measure(encoder: &Arc<LocalEncoder>, file: &str, descriptions_only: bool) -> RoutingReport {
    let mut registry = Registry::load(Path::new("examples/agents.yaml"), &Vec::new()).unwrap();
    if descriptions_only {
        registry.agents.iter_mut().for_each(|agent| agent.examples.clear());
    }
    let text = std::fs::read_to_string(Path::new("tests/data").join(file)).unwrap();
    let cases = eval::cases(&text, &registry).unwrap();
    let embedder = Arc::new(Dense::new(encoder.clone(), Aggregation::Auto, None));
    let router = Router::new(embedder, None, RouteOptions { show_top_n: 5, ..RouteOptions::default() });
    eval::evaluate(&router, &Arc::new(registry), &cases, &|| ()).await.unwrap()
}

#[tokio::test]
async fn everyday_questions_find_their_agent_by_meaning() {
    let Some(encoder) = encoder() else { return };
    for (file, descriptions_only, least) in [
        ("routing.jsonl", false, 0.86),
        ("routing.jsonl", true, 0.8),
        ("routing-unseen.jsonl", false, 0.74),
        ("routing-unseen.jsonl", true, 0.6),
        ("routing-everyday.jsonl", false, 0.8),
        ("routing-everyday.jsonl", true, 0.72),
    ] {
        let report = measure(&encoder, file, descriptions_only).await;
        eprintln!(
            "{file} descriptions_only={descriptions_only}: {:.3} first, {:.3} in five, {:.3} decided rightly, \
             calibrated {:.2}, {:.0} us",
            report.accuracy, report.accuracy_at_5, report.decided_right, report.calibrated_threshold, report.median_us
        );
        assert!(report.accuracy >= least, "{file} {descriptions_only} {}", report.accuracy);
    }
}

#[test]
fn a_directory_that_holds_no_model_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = LocalEncoder::load(empty.path()).err().unwrap();
    assert!(error.contains("embeddings.directory") && error.contains("config.json"), "{error}");
}
