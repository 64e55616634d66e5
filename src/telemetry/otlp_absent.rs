//! In place of the exporter where the program was built without it (`--no-default-features`).

use tokio_util::sync::CancellationToken;
use tracing::{Span, Subscriber};
use tracing_subscriber::{Layer, layer::Identity};

use super::Metrics;
use crate::settings::{Service, Telemetry};

/// The way out to a collector, which this program has not.
#[derive(Debug)]
pub enum Export {}

impl Export {
    /// Nothing, as long as nobody asks for more.
    ///
    /// # Errors
    /// Where `telemetry.otlp_endpoint` is set.
    pub fn prepare(settings: &Telemetry, _service: &Service) -> Result<Option<Self>, String> {
        match settings.otlp_endpoint {
            None => Ok(None),
            Some(_) => Err("telemetry.otlp_endpoint: this program was built without the feature `otlp`".into()),
        }
    }

    pub(super) fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        Identity::new()
    }

    /// Never runs.
    pub async fn run(self, _metrics: Metrics, _closing: CancellationToken) {
        match self {}
    }
}

pub(super) fn is_on() -> bool {
    false
}

pub(super) fn continue_from(_span: &Span, _traceparent: &str) {}

pub(super) fn attribute(_span: &Span, _name: &'static str, _value: String) {}

pub(super) fn trace_id(_span: &Span) -> Option<String> {
    None
}
