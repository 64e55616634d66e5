//! A result document as people read it: what was understood, what was done, what it cost, and what came of it.

use serde_json::Value;

use super::{
    graph::{Edge, Graph, Node, draw},
    page::{count, duration, encoded},
    shown::{Shown, pretty, shown},
};
use crate::{
    job::EventKind,
    queue::StoredEvent,
    workflow::{Limits, Operation, Workflow, apply},
};

/// Width of the waterfall of steps, in units of its drawing.
const WIDTH: f64 = 300.0;

/// A result document.
pub(super) struct Outcome {
    pub(super) status: String,
    pub(super) error: Option<Failure>,
    /// Number and name of the pipeline's step that failed.
    pub(super) failed_step: Option<(u64, String)>,
    /// What was understood, how sure, why, and by whom.
    pub(super) intent: Option<(String, String, String, String)>,
    /// Name and value.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) warnings: Vec<String>,
    pub(super) tools: Vec<ToolCall>,
    pub(super) steps: Vec<Step>,
    pub(super) patch: Option<PatchView>,
    pub(super) handoff: Option<Handoff>,
    pub(super) result: Option<Shown>,
    /// The result of a handoff, whose answer stands above.
    pub(super) facts_of_handoff: Option<Shown>,
    /// Path of the whole result.
    pub(super) artifact: Option<String>,
}

/// Why it failed.
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) message: String,
    /// Whether another attempt might help.
    pub(super) retryable: bool,
    /// Path of the trail of the handoff that failed.
    pub(super) trail: Option<String>,
}

pub(super) struct ToolCall {
    pub(super) tool: String,
    pub(super) status: String,
    pub(super) took: String,
    pub(super) args: String,
    pub(super) error: String,
}

/// A step of a pipeline and its bar in the waterfall.
pub(super) struct Step {
    /// From 1.
    pub(super) number: u64,
    pub(super) failed: bool,
    pub(super) name: String,
    pub(super) rows: String,
    pub(super) took: String,
    pub(super) x: String,
    pub(super) width: String,
}

/// What a patch does.
pub(super) struct PatchView {
    pub(super) description: String,
    pub(super) dry_run: bool,
    pub(super) before: Option<Graph>,
    pub(super) after: Option<Graph>,
    pub(super) operations: String,
    pub(super) inverse: String,
    /// Where it was not possible to draw it.
    pub(super) mermaid: String,
}

/// Where a prompt went.
pub(super) struct Handoff {
    pub(super) execution_id: String,
    pub(super) path: String,
    pub(super) agent: String,
    pub(super) answer: String,
}

fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl Outcome {
    /// Reads a result document; `workflow` is what the job was about, where that is known.
    pub(super) fn of(document: &Value, workflow: Option<&Value>) -> Self {
        let known = |pointer| document.pointer(pointer).filter(|value| !value.is_null());
        let result = known("/result");
        let patch = result.and_then(|result| patch_view(result, workflow));
        let handoff = result.and_then(handoff);
        let rows = result.map(|result| result.get("data").unwrap_or(result));
        Self {
            status: text(document, "/status"),
            error: known("/error").map(failure),
            failed_step: known("/error").and_then(|error| {
                let number = error.pointer("/details/step_number")?.as_u64()?;
                Some((number, text(error, "/step")))
            }),
            intent: known("/metadata/intent").map(|intent| {
                let sure = intent.get("confidence").and_then(Value::as_f64).unwrap_or_default();
                let percent = format!("{:.0} %", sure * 100.0);
                (text(intent, "/intent"), percent, text(intent, "/reasoning"), text(intent, "/source"))
            }),
            facts: facts(document),
            warnings: list(document, "/metadata/warnings").iter().map(|warning| text(warning, "")).collect(),
            tools: list(document, "/metadata/tool_calls").iter().map(tool).collect(),
            steps: result.map(|result| steps(list(result, "/steps"))).unwrap_or_default(),
            result: rows.filter(|_| patch.is_none() && handoff.is_none()).map(|rows| {
                match text(rows, "/type").as_str() {
                    "text_response" => shown(&Value::String(text(rows, "/message"))),
                    _ => shown(rows),
                }
            }),
            facts_of_handoff: result.filter(|_| handoff.is_some()).map(shown),
            artifact: known("/result_ref").map(|_| artifact(&text(document, "/result_ref"))),
            patch,
            handoff,
        }
    }
}

fn failure(error: &Value) -> Failure {
    let trail = text(error, "/details/execution_id");
    Failure {
        code: text(error, "/type"),
        message: text(error, "/message"),
        retryable: error.get("retryable").and_then(Value::as_bool).unwrap_or_default(),
        trail: (!trail.is_empty()).then(|| trail_path(&trail)),
    }
}

fn trail_path(execution_id: &str) -> String {
    format!("/ui/handoffs/{}", encoded(execution_id))
}

fn artifact(reference: &str) -> String {
    format!("/v1/artifacts/{}", encoded(reference))
}

fn facts(document: &Value) -> Vec<(&'static str, String)> {
    let number = |pointer: &str| document.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let mut facts = vec![
        ("Waited", duration(number("/metadata/queue_time_ms") + number("/metadata/waited_ms"))),
        ("Took", duration(number("/metadata/execution_time_ms"))),
        ("Model calls", number("/metadata/llm_calls").to_string()),
    ];
    if number("/metadata/llm_calls") > 0 {
        facts.push(("Model", text(document, "/metadata/llm_model")));
        let tokens = ["prompt", "completion", "cached"]
            .map(|kind| format!("{} {kind}", count(number(&format!("/metadata/tokens/{kind}")))));
        facts.push(("Tokens", tokens.join(", ")));
        let cost = document.pointer("/metadata/cost_usd").and_then(Value::as_f64).unwrap_or_default();
        facts.push(("Cost", format!("${cost:.6}")));
    }
    facts
}

fn tool(call: &Value) -> ToolCall {
    ToolCall {
        tool: text(call, "/tool"),
        status: text(call, "/status"),
        took: duration(call.get("duration_ms").and_then(Value::as_u64).unwrap_or_default()),
        args: call.get("args").map(pretty).unwrap_or_default(),
        error: text(call, "/error"),
    }
}

/// Steps one after the other, each bar beginning where the one before ended.
fn steps(steps: &[Value]) -> Vec<Step> {
    let time = |step: &Value| step.get("duration_ms").and_then(Value::as_f64).unwrap_or_default();
    let whole: f64 = steps.iter().map(time).sum();
    let scale = if whole > 0.0 { WIDTH / whole } else { 0.0 };
    let mut from = 0.0;
    let rows = |step: &Value| match step.get("rows_out") {
        Some(_) if step.get("rows_in").is_none() => format!("? → {}", text(step, "/rows_out")),
        Some(_) => format!("{} → {}", text(step, "/rows_in"), text(step, "/rows_out")),
        None => String::new(),
    };
    let bar = |(number, step): (u64, &Value)| {
        let (x, width) = (from * scale, (time(step) * scale).max(1.0));
        from += time(step);
        Step {
            number,
            failed: false,
            name: text(step, "/step"),
            rows: rows(step),
            took: format!("{:.3} ms", time(step)),
            x: format!("{x:.1}"),
            width: format!("{width:.1}"),
        }
    };
    (1..).zip(steps).map(bar).collect()
}

/// The steps of the last pipeline among the events of a job that failed, and the one that failed.
pub(super) fn until_it_failed(events: &[StoredEvent], failed: Option<&(u64, String)>) -> Vec<Step> {
    // An earlier attempt or plan may have come further.
    let begun = |event: &StoredEvent| matches!(event.event.as_str(), "started" | "tool_started");
    let last = events.iter().rposition(begun).map_or(events, |at| &events[at..]);
    let done = last.iter().filter(|event| event.event == EventKind::StepFinished.as_str());
    let done: Vec<Value> = done.filter_map(|event| event.data.to_value().ok()).collect();
    let mut steps = steps(&done);
    if let Some((number, name)) = failed {
        let x = steps.last().map_or_else(|| "0.0".to_owned(), |_| format!("{WIDTH:.1}"));
        let (rows, took, width) = (String::new(), String::new(), "1.0".to_owned());
        steps.push(Step { number: *number, failed: true, name: name.clone(), rows, took, x, width });
    }
    steps
}

fn handoff(result: &Value) -> Option<Handoff> {
    let execution_id = text(result, "/execution_id");
    if execution_id.is_empty() {
        return None;
    }
    let agent = ["/selected_agent/name", "/final_agent"].map(|at| text(result, at));
    let answer = ["/answer", "/result"].map(|at| text(result, at));
    Some(Handoff {
        path: trail_path(&execution_id),
        execution_id,
        agent: agent.into_iter().find(|name| !name.is_empty()).unwrap_or_default(),
        answer: answer.into_iter().find(|text| !text.is_empty()).unwrap_or_default(),
    })
}

/// A patch, drawn where the workflow is known; nothing where the value is none.
pub(super) fn patch_view(result: &Value, workflow: Option<&Value>) -> Option<PatchView> {
    let operations = result.get("operations")?;
    let diff = result.get("diff")?;
    let (before, after) = workflow.and_then(|workflow| graphs(workflow, operations, diff)).unwrap_or_default();
    Some(PatchView {
        description: text(result, "/description"),
        dry_run: result.get("dry_run").and_then(Value::as_bool).unwrap_or_default(),
        mermaid: if after.is_none() { text(result, "/mermaid") } else { String::new() },
        before,
        after,
        operations: pretty(operations),
        inverse: result.get("inverse").map(pretty).unwrap_or_default(),
    })
}

fn graphs(workflow: &Value, operations: &Value, diff: &Value) -> Option<(Option<Graph>, Option<Graph>)> {
    const LIMITS: Limits = Limits { max_operations: 10_000, max_result_bytes: 8 << 20 };
    let workflow = Workflow::from_value(workflow.clone()).ok()?;
    let operations: Vec<Operation> = serde_json::from_value(operations.clone()).ok()?;
    let after = apply(workflow.document(), &operations, &LIMITS).ok()?.document;
    let marks = |pairs: [(&'static str, &'static str); 2]| {
        move |kind: &str, id: &str| {
            let listed = |section: &str| list(diff, &format!("/{kind}_{section}")).iter().any(|known| known == id);
            pairs.iter().find(|(section, _)| listed(section)).map_or("", |(_, class)| class)
        }
    };
    let before = graph("Before", workflow.document(), marks([("removed", "removed"), ("changed", "changed")]));
    Some((before, graph("After", &after, marks([("added", "added"), ("changed", "changed")]))))
}

fn graph(title: &'static str, document: &Value, mark: impl Fn(&str, &str) -> &'static str) -> Option<Graph> {
    let nodes = list(document, "/nodes").iter().map(|node| {
        let id = text(node, "/id");
        Node { kind: text(node, "/type"), class: mark("nodes", &id), id }
    });
    let edges = list(document, "/edges").iter().map(|edge| {
        let (from, to) = (text(edge, "/from"), text(edge, "/to"));
        let class = mark("edges", &format!("{from}->{to}"));
        Edge { from, to, label: text(edge, "/condition"), class }
    });
    draw(title, nodes.collect(), &edges.collect::<Vec<_>>())
}
