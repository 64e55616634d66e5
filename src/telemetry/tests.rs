use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

use super::{
    install,
    logs::Escaping,
    names::{self, Kind},
};
use crate::settings::Telemetry;

/// A writer whose content a test can read.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Buffer;

    fn make_writer(&'a self) -> Buffer {
        self.clone()
    }
}

fn logged(ansi: bool, write: impl FnOnce()) -> String {
    let buffer = Buffer::default();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(ansi)
        .without_time()
        .with_writer(Escaping { ansi, inner: buffer.clone() });
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), write);
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_value_can_neither_start_a_line_nor_steer_a_terminal() {
    let hostile = "a\r\nERROR forged \u{1b}[2J\u{7}\u{9b}31m\u{0}\u{2028}\u{202e}end";
    for ansi in [false, true] {
        let text = logged(ansi, || tracing::info!(job_id = hostile, "took {hostile}"));
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.ends_with('\n') && text.contains("forged") && text.contains("end"), "{text:?}");
        assert!(!text.contains("\u{1b}[2J"), "{text:?}");
        assert!(!text.contains(['\r', '\u{7}', '\u{9b}', '\0', '\u{2028}', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn colours_come_only_when_asked_for() {
    assert!(!logged(false, || tracing::warn!("plain")).contains('\u{1b}'));
    assert!(logged(true, || tracing::warn!("bright")).contains('\u{1b}'));
}

#[test]
fn a_bad_filter_names_the_key() {
    let settings = Telemetry { log: "agent_runner=loudest".into(), ..Telemetry::default() };
    let error = super::init(&settings, None).unwrap_err().to_string();
    assert!(error.starts_with("telemetry.log: "), "{error}");
}

#[test]
fn metrics_are_there_before_anything_happened_and_installing_twice_keeps_them() {
    let first = install();
    metrics::counter!(names::DUPLICATES_TOTAL).increment(3);
    let second = install();
    second.upkeep();
    let text = second.render();
    for series in [
        r#"agent_runner_jobs_total{lane="execute",status="failed"} "#,
        r#"agent_runner_retries_total{error="internal"} "#,
        r#"agent_runner_circuit_state{target="llm"} "#,
        "agent_runner_job_panics_total ",
        "agent_runner_queue_wait_seconds_bucket{le=\"3600\"} ",
        r#"agent_runner_build_info{version=""#,
    ] {
        assert!(text.contains(series), "{series} is missing in:\n{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("agent_runner_duplicates_total ") && !line.ends_with(" 0")));
    assert_eq!(first.render().is_empty(), second.render().is_empty());
}

#[test]
fn every_metric_has_the_prefix_the_suffix_of_its_kind_and_a_page_in_the_manual() {
    let manual = include_str!("../../docs/metrics.md");
    let mut seen = std::collections::BTreeSet::new();
    for metric in names::ALL {
        assert!(seen.insert(metric.name), "{} stands twice", metric.name);
        // Names of a convention are that convention's.
        let foreign = metric.name.starts_with("gen_ai_");
        assert!(foreign || metric.name.starts_with("agent_runner_"), "{}", metric.name);
        match metric.kind {
            Kind::Counter | Kind::Dollars => assert!(metric.name.ends_with("_total"), "{}", metric.name),
            Kind::Histogram(buckets) => {
                let unit = if buckets == names::Buckets::Share { "_ratio" } else { "_seconds" };
                assert!(foreign || metric.name.ends_with(unit), "{}", metric.name);
                assert!(buckets.bounds().is_sorted());
            }
            Kind::Gauge => {}
        }
        let short = metric.name.trim_start_matches("agent_runner_");
        assert!(manual.contains(&format!("`{short}")), "docs/metrics.md says nothing about {short}");
    }
}

#[test]
fn dollars_are_shown_as_counters_and_keep_their_parts() {
    let shown = install();
    metrics::gauge!(names::LLM_COST_USD_TOTAL, "model" => "# TYPE agent_runner_llm_cost_usd_total gauge")
        .increment(0.000_25);
    metrics::gauge!(names::LLM_COST_USD_TOTAL, "model" => "one").increment(0.5);
    metrics::gauge!(names::LLM_COST_USD_TOTAL, "model" => "one").increment(0.000_000_25);
    let text = shown.render();
    let kinds: Vec<&str> =
        text.lines().filter(|line| line.starts_with("# TYPE agent_runner_llm_cost_usd_total ")).collect();
    assert_eq!(kinds, ["# TYPE agent_runner_llm_cost_usd_total counter"]);
    assert!(text.contains("agent_runner_llm_cost_usd_total{model=\"one\"} 0.50000025\n"), "{text}");
}
