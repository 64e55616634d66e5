//! Where a job's trace goes: on to the servers that are asked for it, and to a collector.

use agent_runner::net;
use serde_json::{Value, json};

use crate::support::{
    model::{ModelServer, Reply},
    service::{PATIENCE, Service},
    site::{Site, reply},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDER: &str = "b7ad6b7169203331";

fn job() -> Value {
    json!({
        "job_id": "traced", "prompt": "who are you?",
        "handoff": {"mode": "route", "threshold": -1}, "traceparent": format!("00-{TRACE}-{SENDER}-01"),
    })
}

async fn run(service: &Service, job: &Value) -> Value {
    let client = net::operator_client(PATIENCE).unwrap();
    let request = client.post(service.url("/v1/jobs?wait=30")).header("content-type", "application/json");
    let text = request.body(job.to_string()).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

fn serve(model: &ModelServer, agents: &str, more: &[(&str, &str)]) -> Service {
    let base = model.base_url();
    let mut env = vec![
        ("OPENAI_BASE_URL", base.as_str()),
        ("AGENT_RUNNER__AGENTS__FILE", agents),
        ("AGENT_RUNNER__EMBEDDINGS__PROVIDER", "lexical"),
    ];
    env.extend(more);
    Service::start(&["--memory"], &env)
}

fn agents() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let agents = json!({"agents": [{"id": "clerk", "description": "answers questions", "instructions": "be brief"}]});
    std::fs::write(file.path(), agents.to_string()).unwrap();
    file
}

#[tokio::test]
async fn the_model_hears_the_jobs_own_trace_where_nothing_is_exported() {
    let model = ModelServer::always(Reply::text("a clerk"));
    let file = agents();
    let service = serve(&model, file.path().to_str().unwrap(), &[]);
    let result = run(&service, &job()).await;
    assert_eq!(result["status"], "completed", "{result}");
    let told: Vec<_> = model.requests().iter().map(|seen| seen.headers.get("traceparent").cloned()).collect();
    assert!(!told.is_empty());
    assert!(told.iter().all(|told| told.as_deref() == Some(&format!("00-{TRACE}-{SENDER}-01"))), "{told:?}");

    let mut other = job();
    other["job_id"] = json!("untraced");
    other["traceparent"] = json!("00-not-a-trace");
    let before = model.requests().len();
    assert_eq!(run(&service, &other).await["status"], "completed");
    assert!(model.requests()[before..].iter().all(|seen| !seen.headers.contains_key("traceparent")));
}

#[cfg(feature = "otlp")]
mod exported {
    use opentelemetry_proto::tonic::{
        collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
        common::v1::any_value,
        trace::v1::{Span, span::SpanKind},
    };
    use prost::Message;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn text<'s>(span: &'s Span, name: &str) -> Option<&'s str> {
        let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
        match found.value.as_ref()?.value.as_ref()? {
            any_value::Value::StringValue(text) => Some(text),
            _ => None,
        }
    }

    /// Every span that reached the collector.
    fn spans(collector: &Site) -> Vec<Span> {
        let visits = collector.visits();
        let bodies = visits.iter().filter(|visit| visit.path() == "/v1/traces").map(|visit| visit.body.clone());
        let read = bodies.flat_map(|body| ExportTraceServiceRequest::decode(body).unwrap().resource_spans);
        read.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    // The collector answers while the test waits for the process to end.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_collector_gets_the_job_under_its_senders_span_and_the_same_metrics_as_a_scrape() {
        let collector = Site::start(|_| reply(200, &[], "")).await;
        let model = ModelServer::always(Reply::text("a clerk"));
        let file = agents();
        let endpoint = collector.url("");
        let mut service = serve(
            &model,
            file.path().to_str().unwrap(),
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.trim_end_matches('/')),
                ("AGENT_RUNNER__TELEMETRY__OTLP_HEADERS__X_KEY", "sesame"),
                ("RUST_LOG", "error,agent_runner::cli=info"),
            ],
        );
        assert_eq!(run(&service, &job()).await["status"], "completed");
        // What is left goes out before the process ends.
        service.signal("TERM");
        assert!(service.wait().success());

        let spans = spans(&collector);
        let process = spans.iter().find(|span| span.name == "process job").unwrap_or_else(|| panic!("{spans:?}"));
        assert_eq!((hex(&process.trace_id), hex(&process.parent_span_id)), (TRACE.into(), SENDER.into()));
        assert_eq!(process.kind(), SpanKind::Consumer);
        assert_eq!(text(process, "messaging.message.id"), Some("traced"));
        let chat = spans.iter().find(|span| span.name.starts_with("chat ")).unwrap_or_else(|| panic!("{spans:?}"));
        assert_eq!(hex(&chat.trace_id), TRACE);
        // The model's server is told the span of the call, not that of the job's sender.
        let requests = model.requests();
        let told = requests.last().unwrap().headers["traceparent"].clone();
        assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&chat.span_id)));

        let visits = collector.visits();
        let metrics = visits.iter().rfind(|visit| visit.path() == "/v1/metrics").unwrap();
        assert_eq!(metrics.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(metrics.header("x_key"), Some("sesame"));
        let message = ExportMetricsServiceRequest::decode(metrics.body.clone()).unwrap();
        let named: Vec<_> =
            message.resource_metrics[0].scope_metrics[0].metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert!(named.contains(&"agent_runner_jobs_total"), "{named:?}");
    }

    #[tokio::test]
    async fn a_collector_that_is_away_costs_no_job() {
        let model = ModelServer::always(Reply::text("a clerk"));
        let file = agents();
        // Nobody listens there: the port is that of a listener that is gone.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = format!("http://{gone}");
        let mut service =
            serve(&model, file.path().to_str().unwrap(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]);
        assert_eq!(run(&service, &job()).await["status"], "completed");
        service.signal("TERM");
        assert!(service.wait().success());
    }
}
