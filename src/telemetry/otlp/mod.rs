//! Traces and metrics to an OpenTelemetry collector, over OTLP with protobuf on HTTP.
//!
//! Spans go through the SDK's batch processor. Metrics are what a scrape of `/metrics` would show at that moment. A
//! collector that is away costs nothing but what it would have heard: both wait in bounded queues, or not at all.

mod client;
mod metrics;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use self::client::Collector;
use super::Metrics;
use crate::{
    net,
    settings::{Service, Telemetry},
};

/// Longest time one export may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether spans leave the process.
static ON: AtomicBool = AtomicBool::new(false);

/// The way out to the collector.
pub struct Export {
    collector: Collector,
    spans: SdkTracerProvider,
    resource: Vec<(String, String)>,
    interval: Duration,
    started: SystemTime,
}

impl Export {
    /// Prepares the way to `telemetry.otlp_endpoint`; nothing where it is not set. Needs the runtime that exports.
    ///
    /// # Errors
    /// When no client can be made, or a header cannot be sent.
    pub fn prepare(settings: &Telemetry, service: &Service) -> Result<Option<Self>, String> {
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
        let collector = Collector::new(endpoint, &settings.otlp_headers, TIMEOUT)?;
        let resource: Vec<(String, String)> = vec![
            ("service.name".into(), service.name.clone()),
            ("service.version".into(), env!("CARGO_PKG_VERSION").into()),
            ("service.instance.id".into(), uuid::Uuid::new_v4().to_string()),
        ];
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(collector.url("traces"))
            .with_timeout(TIMEOUT)
            .with_http_client(collector.clone())
            .build()
            .map_err(|error| format!("telemetry.otlp_endpoint: {error}"))?;
        let told = resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let spans = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.otlp_sample_ratio))))
            .with_resource(Resource::builder().with_attributes(told).build())
            .build();
        let interval = Duration::from_secs(settings.otlp_interval_secs);
        Ok(Some(Self { collector, spans, resource, interval, started: SystemTime::now() }))
    }

    /// Takes the program's own spans, and what went wrong within them, from the log.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let ours = |metadata: &Metadata<'_>| {
            metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
                && (metadata.is_span() || *metadata.level() <= Level::WARN)
                && *metadata.level() <= Level::INFO
        };
        ON.store(true, Ordering::Relaxed);
        net::trace_with(current);
        tracing_opentelemetry::layer()
            .with_tracer(self.spans.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(ours))
    }

    /// Exports metrics until `closing` fires, then what is left of both.
    pub async fn run(self, metrics: Metrics, closing: CancellationToken) {
        let mut away = false;
        loop {
            let last = tokio::select! {
                () = closing.cancelled() => true,
                () = tokio::time::sleep(self.interval) => false,
            };
            let sent = self.send(&metrics).await;
            match &sent {
                // Said once: an exporter that fills the log of its own failure helps nobody.
                Err(error) if !away => tracing::warn!(error, "metrics could not be exported"),
                Ok(()) if away => tracing::info!("metrics are exported again"),
                _ => {}
            }
            away = sent.is_err();
            if last {
                break;
            }
        }
        let spans = self.spans;
        // Blocks until the last batch is out, or its time is over.
        let ended = tokio::task::spawn_blocking(move || spans.shutdown_with_timeout(TIMEOUT)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }

    async fn send(&self, metrics: &Metrics) -> Result<(), String> {
        let span = metrics::Span { start: nanoseconds(self.started), end: nanoseconds(SystemTime::now()) };
        let message = metrics::message(&metrics.render(), &self.resource, span);
        self.collector.post("metrics", message.encode_to_vec().into()).await
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether spans leave the process.
pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// The `traceparent` of the span that is open now.
fn current() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let named = span.span_context();
    let flags = named.trace_flags().to_u8();
    named.is_valid().then(|| format!("00-{}-{}-{flags:02x}", named.trace_id(), named.span_id()))
}

/// Puts `span` under the one that `traceparent` names.
pub(super) fn continue_from(span: &Span, traceparent: &str) {
    let Some(parent) = remote(traceparent) else { return };
    let context = opentelemetry::Context::new().with_remote_span_context(parent);
    // An error says that the span is not recorded: then there is nothing to put anywhere.
    let _ = span.set_parent(context);
}

/// An attribute that only traces show.
pub(super) fn attribute(span: &Span, name: &'static str, value: String) {
    span.set_attribute(name, value);
}

/// The id of the trace that `span` is in.
pub(super) fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let named = context.span().span_context().clone();
    named.is_valid().then(|| named.trace_id().to_string())
}

fn remote(traceparent: &str) -> Option<SpanContext> {
    if !net::is_traceparent(traceparent) {
        return None;
    }
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    Some(SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::default()))
}
