//! The Prometheus recorder: installed once, read by the scrape.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::names::{self, Kind};

/// The process has one recorder, because the `metrics` macros write to one.
static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();

/// How the process reads its own metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All metrics in the Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        for metric in names::ALL.iter().filter(|metric| metric.kind == Kind::Dollars) {
            // A line break in a label is escaped: this can only be the line that says the kind.
            let kept = format!("# TYPE {} gauge\n", metric.name);
            if let Some(at) = text.find(&kept) {
                text.replace_range(at..at + kept.len(), &format!("# TYPE {} counter\n", metric.name));
            }
        }
        text
    }

    /// Folds observations into their buckets. A scrape does it too; where nobody scrapes, someone has to call
    /// this every few seconds, or observations pile up.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Installs the recorder, describes every metric and sets the countable ones to 0. Later calls give the
/// recorder that is there.
///
/// A foreign recorder that was installed first keeps the writes; ours then shows only descriptions.
pub fn install() -> Metrics {
    let handle = INSTALLED.get_or_init(|| {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed already: /metrics stays empty");
        }
        describe();
        start_at_zero();
        handle
    });
    Metrics(handle.clone())
}

#[expect(clippy::expect_used, reason = "it fails only on an empty list of bounds, and none is empty")]
fn builder() -> PrometheusBuilder {
    names::ALL.iter().fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(buckets) => builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets.bounds())
            .expect("bounds are not empty"),
        Kind::Counter | Kind::Gauge | Kind::Dollars => builder,
    })
}

fn describe() {
    for metric in names::ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge | Kind::Dollars => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// A counter that is missing until its first event hides that first event from `rate()`: every series whose
/// labels are known beforehand exists from the start.
fn start_at_zero() {
    for name in [names::JOB_PANICS_TOTAL, names::DEAD_LETTERS_TOTAL, names::RECLAIMED_TOTAL, names::DUPLICATES_TOTAL] {
        metrics::counter!(name).absolute(0);
    }
    for name in [names::QUEUE_WAIT_SECONDS, names::REDIS_ROUNDTRIP_SECONDS] {
        let _registered = metrics::histogram!(name);
    }
    for lane in ["execute", "patch", "handoff", "answer", "none"] {
        let _registered = metrics::histogram!(names::JOB_DURATION_SECONDS, "lane" => lane);
        for status in ["completed", "failed", "cancelled"] {
            metrics::counter!(names::JOBS_TOTAL, "lane" => lane, "status" => status).absolute(0);
        }
    }
    for error in [
        "llm_rate_limited",
        "llm_unavailable",
        "llm_truncated",
        "llm_bad_output",
        "http_failed",
        "orchestrator_failed",
        "internal",
    ] {
        metrics::counter!(names::RETRIES_TOTAL, "error" => error).absolute(0);
    }
    for reason in ["lost", "cancelled"] {
        metrics::counter!(names::LEASES_LOST_TOTAL, "reason" => reason).absolute(0);
    }
    for state in ["busy", "free"] {
        metrics::gauge!(names::WORKER_SLOTS, "state" => state).set(0.0);
    }
    metrics::gauge!(names::JOBS_IN_FLIGHT).set(0.0);
    for target in ["llm", "orchestrator"] {
        metrics::gauge!(names::CIRCUIT_STATE, "target" => target).set(0.0);
    }
    for tool in ["execute_pipeline", "patch_workflow"] {
        for outcome in ["ok", "error", "refused", "skipped"] {
            metrics::counter!(names::TOOL_CALLS_TOTAL, "tool" => tool, "outcome" => outcome).absolute(0);
        }
    }
    for mode in ["route", "tiers", "network", "pool"] {
        metrics::counter!(names::HANDOFFS_TOTAL, "mode" => mode, "outcome" => "ok").absolute(0);
    }
    metrics::gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
