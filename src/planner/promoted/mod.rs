//! Pipelines that worked twice, as named tools: what they are called, what they take, and which sentences mean them.
//!
//! Everything here is worked out from the runs of one owner, so it needs no state and cannot disagree with itself.
//! `docs/adr/006-promoted-tools.md` says what makes two runs the same and why a sentence is, or is not, a known one.

mod shape;
#[cfg(test)]
mod tests;
mod wording;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Brief, Exchange, Planner, Turn};
use crate::{
    embed,
    job::{ErrorCode, JobError, RawJson},
    llm::{CallContext, ToolCall},
    store::Run,
    table::{Column, Limits, NeedKind, Plan},
};
use shape::{Literal, Shape, canonical, plain_name};
use wording::{Said, Wording};

/// Longest plan that is promoted, in bytes of its normal form.
const MAX_PLAN_BYTES: usize = 2048;
/// Longest prompt that is kept.
const MAX_PROMPT_BYTES: usize = 500;
/// Runs of one shape that wordings are made from, latest first: pairs grow with the square.
const RUNS_COMPARED: usize = 12;
/// Tools that a search gives.
const FOUND: usize = 5;
/// What a search must at least have in common with a tool.
const LEAST_LIKENESS: f64 = 0.05;

/// A run worth remembering: the normal form of a pipeline that only reads and can be asked for again. Nothing for any
/// other call.
#[must_use]
pub fn lesson(job_id: &str, prompt: &str, columns: &str, arguments: &RawJson, limits: &Limits) -> Option<Run> {
    let members = arguments.to_value().ok()?;
    let steps = members.get("pipeline").or_else(|| members.get("steps"))?;
    if members.get("input_ref").is_some_and(|reference| !reference.is_null() && reference != "") {
        return None;
    }
    let plan = Plan::parse(&RawJson::of(steps), limits).ok()?;
    let repeatable = plan.needs().iter().all(|need| match &need.kind {
        NeedKind::Http(request) => request.headers.is_empty() && request.body.is_none(),
        NeedKind::InputRef(_) => false,
    });
    let steps = plan.steps_json();
    let prompt = prompt.trim();
    let fits = !prompt.is_empty() && prompt.len() <= MAX_PROMPT_BYTES && steps.len() <= MAX_PLAN_BYTES;
    (repeatable && plan.only_reads() && fits).then(|| Run {
        job_id: job_id.to_owned(),
        prompt: prompt.to_owned(),
        steps,
        columns: columns.to_owned(),
    })
}

/// Names and kinds of columns, in one text whatever their order; nothing where there is no data.
#[must_use]
pub fn signature(columns: Option<&[Column]>) -> String {
    let mut columns: Vec<String> =
        columns.unwrap_or_default().iter().map(|column| format!("{}:{}", column.name, column.kind)).collect();
    columns.sort_unstable();
    columns.iter().fold(String::new(), |text, column| text + column + "\n")
}

/// What a tool takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// JSON Schema of its values.
    pub schema: Value,
    /// The value of the latest run.
    pub example: Value,
}

/// A pipeline that worked twice.
#[derive(Debug, Clone, Serialize)]
pub struct Promoted {
    /// `[a-z0-9_]{1,64}`; the same wherever the shape is seen.
    pub name: String,
    /// What it does, and how it was last asked for.
    pub description: String,
    /// What varied between the runs.
    pub parameters: Vec<Parameter>,
    /// Sentences that run it without a model, their holes as `[number]`.
    pub wordings: Vec<String>,
    /// Whether it may be used.
    pub enabled: bool,
    /// Runs it was made from.
    pub runs: usize,
    /// The steps of the latest run.
    pub steps: Value,
    #[serde(skip)]
    shape: Shape,
    /// For each parameter the literal of the shape that it fills.
    #[serde(skip)]
    fills: Vec<usize>,
    #[serde(skip)]
    known: Vec<Wording>,
}

/// A plan taken from a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The tool.
    pub tool: String,
    /// What fills its parameters.
    pub arguments: Map<String, Value>,
    /// The steps.
    pub steps: RawJson,
}

/// What a sentence means.
#[derive(Debug, Clone, PartialEq)]
pub enum Match {
    /// Nothing that is known.
    Nothing,
    /// Exactly this.
    One(Found),
    /// More than one plan.
    Several,
}

/// The tools of one owner.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    tools: Vec<Promoted>,
}

impl Catalogue {
    /// Works the tools out from an owner's runs, oldest first; `disabled` are switched off.
    #[must_use]
    pub fn of(runs: &[Run], disabled: &BTreeSet<String>) -> Self {
        let taken: Vec<Taken<'_>> = runs.iter().filter_map(Taken::of).collect();
        let mut shapes: BTreeMap<&str, Vec<&Taken<'_>>> = BTreeMap::new();
        for run in &taken {
            shapes.entry(&run.shape.fixed).or_default().push(run);
        }
        let repeated = shapes.into_values().filter(|same| same.len() > 1);
        let mut tools: Vec<Promoted> = repeated.map(|same| Promoted::of(&same, &taken, disabled)).collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Self { tools }
    }

    /// All tools, by name.
    #[must_use]
    pub fn tools(&self) -> &[Promoted] {
        &self.tools
    }

    /// The tool of that name, switched off or not.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Promoted> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The tools that may be used.
    pub fn enabled(&self) -> impl Iterator<Item = &Promoted> {
        self.tools.iter().filter(|tool| tool.enabled)
    }

    /// The plan that `prompt` means over data with these columns.
    #[must_use]
    pub fn find(&self, prompt: &str, columns: &str) -> Match {
        let mut plans: BTreeMap<String, Found> = BTreeMap::new();
        for tool in self.enabled() {
            for values in tool.known.iter().filter_map(|wording| wording.read(prompt, columns)) {
                if let Some(found) = tool.with(&values) {
                    plans.insert(found.steps.as_str().to_owned(), found);
                }
            }
        }
        let one = plans.pop_first();
        match one {
            _ if !plans.is_empty() => Match::Several,
            Some((_, found)) => Match::One(found),
            None => Match::Nothing,
        }
    }

    /// The tools that have most in common with a query, best first.
    #[must_use]
    pub fn search(&self, query: &str) -> Vec<&Promoted> {
        let tools: Vec<&Promoted> = self.enabled().collect();
        let texts: Vec<String> = tools
            .iter()
            .map(|tool| format!("{} {} {}", tool.name.replace('_', " "), tool.description, tool.wordings.join(" ")))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let scores = embed::likeness(query, &texts);
        let mut scored: Vec<(f64, &Promoted)> =
            scores.into_iter().zip(tools).filter(|(score, _)| *score > LEAST_LIKENESS).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(FOUND).map(|(_, tool)| tool).collect()
    }
}

/// A run with its pipeline apart.
struct Taken<'a> {
    run: &'a Run,
    steps: Value,
    shape: Shape,
}

impl<'a> Taken<'a> {
    fn of(run: &'a Run) -> Option<Self> {
        let steps = run.steps.to_value().ok()?;
        let shape = Shape::of(&steps);
        Some(Self { run, steps, shape })
    }

    fn said(&self) -> Said<'_> {
        Said { prompt: &self.run.prompt, columns: &self.run.columns, shape: &self.shape }
    }
}

impl Promoted {
    /// A tool of runs with the same shape, oldest first; `all` may speak against its wordings.
    fn of(same: &[&Taken<'_>], all: &[Taken<'_>], disabled: &BTreeSet<String>) -> Self {
        let latest = same[same.len() - 1];
        let literals = &latest.shape.literals;
        let varied = |at: &usize| same.iter().any(|run| run.shape.literals[*at].value != literals[*at].value);
        let fills: Vec<usize> = (0..literals.len()).filter(varied).collect();
        let name = name_of(latest);
        let mut tool = Self {
            enabled: !disabled.contains(&name),
            description: format!("{}; last asked for as: {}", summary(&latest.steps), latest.run.prompt),
            parameters: parameters(literals, &fills),
            wordings: Vec::new(),
            runs: same.len(),
            steps: latest.steps.clone(),
            shape: latest.shape.clone(),
            fills,
            known: Vec::new(),
            name,
        };
        tool.learn(same, all);
        tool
    }

    fn learn(&mut self, same: &[&Taken<'_>], all: &[Taken<'_>]) {
        let recent = &same[same.len().saturating_sub(RUNS_COMPARED)..];
        for (i, one) in recent.iter().enumerate() {
            for other in &recent[i + 1..] {
                let Some(wording) = Wording::of(&one.said(), &other.said()) else { continue };
                if !self.known.contains(&wording) && !all.iter().any(|run| self.contradicted(&wording, run)) {
                    self.known.push(wording);
                }
            }
        }
        self.wordings = self.known.iter().map(Wording::shown).collect();
        self.wordings.sort_unstable();
        self.wordings.dedup();
    }

    /// Whether the sentence of `run` is this one, and its plan another.
    fn contradicted(&self, wording: &Wording, run: &Taken<'_>) -> bool {
        let Some(values) = wording.read(&run.run.prompt, &run.run.columns) else { return false };
        self.filled(&values).is_none_or(|steps| canonical(&steps) != canonical(&run.steps))
    }

    /// The steps with these values for the literals of the shape.
    fn filled(&self, values: &[Value]) -> Option<Value> {
        let mut steps = self.steps.clone();
        for (literal, value) in self.shape.literals.iter().zip(values) {
            if !literal.kind.takes(value) {
                return None;
            }
            *steps.pointer_mut(&literal.place)? = value.clone();
        }
        Some(steps)
    }

    fn with(&self, values: &[Value]) -> Option<Found> {
        let steps = self.filled(values)?;
        let arguments =
            self.parameters.iter().zip(&self.fills).map(|(p, at)| (p.name.clone(), values[*at].clone())).collect();
        Some(Found { tool: self.name.clone(), arguments, steps: RawJson::of(&steps) })
    }

    /// The plan for arguments by name, as a planner gives them.
    ///
    /// # Errors
    /// `invalid_pipeline` with what the tool takes, for an argument that is missing, unknown or of another kind.
    pub fn call(&self, arguments: &Map<String, Value>) -> Result<Found, JobError> {
        let refuse = |what: String| {
            let takes = self.parameters_schema();
            let message = format!("{what}; {} takes {takes}", self.name);
            JobError::new(ErrorCode::InvalidPipeline, message).with_tool(self.name.as_str())
        };
        if let Some(name) = arguments.keys().find(|name| !self.parameters.iter().any(|p| p.name == **name)) {
            return Err(refuse(format!("there is no parameter {name:?}")));
        }
        let mut values: Vec<Value> = self.shape.literals.iter().map(|literal| literal.value.clone()).collect();
        for (parameter, at) in self.parameters.iter().zip(&self.fills) {
            let name = &parameter.name;
            let given = arguments.get(name).ok_or_else(|| refuse(format!("the parameter {name:?} is missing")))?;
            if !self.shape.literals[*at].kind.takes(given) {
                return Err(refuse(format!("the parameter {name:?} does not take {given}")));
            }
            values[*at] = given.clone();
        }
        self.with(&values).ok_or_else(|| refuse("these arguments fit nowhere".to_owned()))
    }

    /// JSON Schema of the arguments.
    #[must_use]
    pub fn parameters_schema(&self) -> Value {
        let properties: Map<String, Value> =
            self.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.schema.clone())).collect();
        let required: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }
}

/// Step names, then what keeps two shapes with the same steps apart.
fn name_of(run: &Taken<'_>) -> String {
    let steps: Vec<&str> = step_names(&run.steps).map(|name| name.trim_start_matches("table_")).collect();
    let mut name = plain_name(&steps.join("_"));
    let field = run.shape.literals.iter().map(|literal| literal.name.as_str()).find(|name| !name.is_empty());
    if let Some(field) = field.filter(|field| name.len() + field.len() < 50) {
        name = format!("{name}_{field}");
    }
    format!("{name}_{}", run.shape.fingerprint())
}

fn step_names(steps: &Value) -> impl Iterator<Item = &str> {
    steps.as_array().into_iter().flatten().filter_map(|step| step["step"].as_str())
}

fn summary(steps: &Value) -> String {
    step_names(steps).collect::<Vec<_>>().join(" → ")
}

fn parameters(literals: &[Literal], fills: &[usize]) -> Vec<Parameter> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for literal in fills.iter().map(|at| &literals[*at]) {
        let taken = |name: &str| parameters.iter().any(|known| known.name == name);
        let numbered = (2..).map(|n| format!("{}_{n}", literal.name));
        let name = std::iter::once(literal.name.clone()).chain(numbered).find(|name| !taken(name));
        let name = name.unwrap_or_default();
        parameters.push(Parameter { name, schema: literal.kind.schema(), example: literal.value.clone() });
    }
    parameters
}

/// The planner that begins with a plan from a tool and leaves the rest to another.
pub struct PromotedPlanner<'a> {
    /// The plan.
    pub found: &'a Found,
    /// Who goes on where the plan is refused.
    pub then: &'a dyn Planner,
}

#[async_trait]
impl Planner for PromotedPlanner<'_> {
    fn asks(&self, transcript: &[Exchange]) -> bool {
        !transcript.is_empty() && self.then.asks(transcript)
    }

    async fn next(
        &self,
        brief: &Brief<'_>,
        transcript: &[Exchange],
        context: &CallContext<'_>,
    ) -> Result<Turn, JobError> {
        if !transcript.is_empty() {
            return self.then.next(brief, transcript, context).await;
        }
        let arguments = format!("{{\"pipeline\":{}}}", self.found.steps.as_str());
        let call = ToolCall {
            id: "call_promoted".into(),
            name: "execute_pipeline".into(),
            arguments: RawJson::from_trusted(arguments),
        };
        Ok(Turn::Calls { calls: vec![call], text: String::new() })
    }
}
