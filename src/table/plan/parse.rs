//! From JSON to steps: names are told apart by hand, parameters are read by each step's own type.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Need, Step, names::step_type};
use crate::{
    job::in_plain_words,
    table::{Limits, TableError, error::did_you_mean, ops::Operation},
};

/// What a step may say in a plan, and how it becomes an operation. The same type is the model's schema.
pub(crate) trait Spec: DeserializeOwned + JsonSchema {
    /// The step's name.
    const NAME: &'static str;

    /// Checks what types cannot say, and compiles.
    fn compile(self, compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError>;
}

/// State while a plan is read.
pub(crate) struct Compiler<'l> {
    pub(crate) limits: &'l Limits,
    pub(crate) needs: Vec<Need>,
    /// Number and name of the outer step that is being read.
    pub(crate) at: (usize, &'static str),
    steps: usize,
    depth: usize,
}

/// Pipelines within pipelines.
const MAX_DEPTH: usize = 8;

type Members = IndexMap<String, Box<RawValue>>;

impl<'l> Compiler<'l> {
    pub(crate) fn new(limits: &'l Limits) -> Self {
        Self { limits, needs: Vec::new(), at: (0, ""), steps: 0, depth: 0 }
    }

    /// Reads a list of steps.
    pub(crate) fn pipeline(&mut self, text: &str) -> Result<Vec<Step>, TableError> {
        let raw = steps_of(text)?;
        if raw.is_empty() {
            return Err(TableError::invalid("the pipeline has no steps: give at least one"));
        }
        self.steps += raw.len();
        if self.steps > self.limits.max_steps {
            return Err(TableError::limit(format!(
                "the pipeline has {} steps, at most {} are allowed (pipeline.max_steps)",
                self.steps, self.limits.max_steps
            )));
        }
        let mut steps = Vec::with_capacity(raw.len());
        for (i, step) in raw.iter().enumerate() {
            steps.push(self.step(i + 1, step.get())?);
        }
        fuse(&mut steps);
        Ok(steps)
    }

    /// A pipeline within a step; it must bring its own data.
    pub(crate) fn nested(&mut self, text: &str) -> Result<Vec<Step>, TableError> {
        if self.depth == MAX_DEPTH {
            return Err(TableError::invalid(format!("pipelines within pipelines go at most {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let steps = self.pipeline(text)?;
        self.depth -= 1;
        match steps.first() {
            Some(first) if !first.operation.is_source() => Err(TableError::invalid(
                "a pipeline within a step must start with http_request or literal: it has no other data",
            )
            .at_step(1, first.name)),
            _ => Ok(steps),
        }
    }

    fn step(&mut self, number: usize, text: &str) -> Result<Step, TableError> {
        let (name, parameters) = name_and_parameters(text).map_err(|error| error.at_step(number, "?"))?;
        let Some(kind) = step_type(&name) else {
            let hint = did_you_mean(&name, super::step_names());
            let known: Vec<&str> = super::step_names().collect();
            return Err(TableError::invalid(format!("unknown step '{name}'{hint}; known are {}", known.join(", ")))
                .with_field("step")
                .with_found(name.clone())
                .at_step(number, &name));
        };
        if self.depth == 0 {
            self.at = (number, kind.name);
        }
        let operation = (kind.compile)(&parameters, self).map_err(|error| error.at_step(number, kind.name))?;
        if number > 1 && operation.is_source() {
            return Err(TableError::invalid(format!(
                "{} brings its own data and must be the first step; use union or join to bring in more",
                kind.name
            ))
            .at_step(number, kind.name));
        }
        Ok(Step { name: kind.name, parameters, operation })
    }
}

/// Sorting before a step that only wants the first rows need not sort the rest.
fn fuse(steps: &mut [Step]) {
    for i in 1..steps.len() {
        if let Some(rows) = steps[i].operation.wants_first() {
            steps[i - 1].operation.only_first(rows);
        }
    }
}

/// The elements of the list, which may stand under `pipeline` or `steps`, or within a string.
fn steps_of(text: &str) -> Result<Vec<Box<RawValue>>, TableError> {
    let wrong = |found: &str| {
        let shown: String = found.chars().take(40).collect();
        TableError::invalid(
            "the pipeline must be a list of steps like {\"step\": \"table_sort\", \"field\": \"price\"}",
        )
        .with_field("pipeline")
        .with_found(shown)
    };
    let text = text.trim_ascii();
    if text.starts_with('"') {
        let inner: String = serde_json::from_str(text).map_err(|_| wrong(text))?;
        return serde_json::from_str(&inner).map_err(|_| wrong(&inner));
    }
    if text.starts_with('{') {
        let mut members: Members = serde_json::from_str(text).map_err(|_| wrong(text))?;
        let list = members.swap_remove("pipeline").or_else(|| members.swap_remove("steps"));
        let list = list.ok_or_else(|| wrong(text))?;
        return serde_json::from_str(list.get()).map_err(|_| wrong(list.get()));
    }
    serde_json::from_str(text).map_err(|_| wrong(text))
}

/// A step's name, and its parameters as the text of one object.
fn name_and_parameters(text: &str) -> Result<(String, String), TableError> {
    const EXAMPLE: &str = "a step is an object like {\"step\": \"table_sort\", \"field\": \"price\"}";
    if text.starts_with('"') {
        let name: String = serde_json::from_str(text).map_err(|_| TableError::invalid(EXAMPLE))?;
        return Ok((name, "{}".into()));
    }
    let mut members: Members = serde_json::from_str(text).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        TableError::invalid(EXAMPLE).with_found(shown)
    })?;
    if let Some((key, name)) = named(&members) {
        members.shift_remove(key);
        let members = unwrapped(members, &name)?;
        return Ok((name, object_text(&members)));
    }
    match members.first() {
        Some((name, value)) if members.len() == 1 && (value.get().starts_with('{') || step_type(name).is_some()) => {
            let parameters = if value.get().starts_with('{') { value.get() } else { "{}" };
            let members: Members = serde_json::from_str(parameters).map_err(|_| TableError::invalid(EXAMPLE))?;
            Ok((name.clone(), object_text(&members)))
        }
        _ => Err(TableError::invalid(format!("the step has no name: {EXAMPLE}")).with_field("step")),
    }
}

/// The key that holds the name, and the name.
fn named(members: &Members) -> Option<(&'static str, String)> {
    let text = |key: &str| members.get(key).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    if let Some(name) = text("step") {
        return Some(("step", name));
    }
    ["op", "type", "name", "tool", "action"].into_iter().find_map(|key| Some((key, text(key)?)))
}

/// Parameters that stand in an object of their own are taken out of it.
fn unwrapped(members: Members, name: &str) -> Result<Members, TableError> {
    let wrapper = match members.first() {
        Some((key, value)) if members.len() == 1 && value.get().starts_with('{') => {
            match key.as_str() {
                "args" | "arguments" | "parameters" | "config" => Some(value),
                // An http_request has params of its own; the wrapper is the one that holds the url.
                "params" if name != "http_request" || value.get().contains("\"url\"") => Some(value),
                _ => None,
            }
        }
        _ => None,
    };
    match wrapper {
        None => Ok(members),
        Some(value) => serde_json::from_str(value.get())
            .map_err(|_| TableError::invalid("the parameters must be an object").with_field("params")),
    }
}

fn object_text(members: &Members) -> String {
    let members: Vec<String> =
        members.iter().map(|(key, value)| format!("{}:{}", crate::table::read::quoted(key), value.get())).collect();
    format!("{{{}}}", members.join(","))
}

/// Reads parameters into a step's spec, and says in a plan's terms what does not fit.
pub(super) fn read_spec<S: Spec>(parameters: &str) -> Result<S, TableError> {
    let mut deserializer = serde_json::Deserializer::from_str(parameters);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        explain(&path, &plain(&error.into_inner().to_string()))
    })
}

/// A serde message without the position in a text that nobody sees.
pub(super) fn plain(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(before, _)| before).to_owned()
}

fn explain(path: &str, message: &str) -> TableError {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let unknown = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.collect();
        let hint = did_you_mean(unknown, known.iter().copied());
        let takes = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
        return TableError::invalid(format!("unknown parameter '{unknown}'{hint}; it takes {takes}"))
            .with_field(unknown);
    }
    if message.starts_with("missing field") {
        let missing = quoted.next().unwrap_or_default();
        return TableError::invalid(format!("the parameter '{missing}' is missing")).with_field(missing);
    }
    let message = in_plain_words(message);
    if path == "." || path.is_empty() {
        return TableError::invalid(message);
    }
    TableError::invalid(format!("{path}: {message}")).with_field(path)
}
