//! A plan: read with limits, checked whole, compiled once.

mod check;
mod names;
mod need;
mod parse;
mod schema;
mod shared;

pub(super) use check::{Checker, Columns};
pub use need::{Format, HttpNeed, Method, Need, NeedKind, NextPage, Paginate};
pub(super) use parse::{Compiler, Spec};
pub use schema::{parameters_schema, step_docs, step_names};
pub(super) use shared::{Cast, Direction, Nulls, maybe_whole, one_or_many, whole};

use super::{Body, Limits, TableError, ops::Operation, read::Document, read::Source};
use crate::job::RawJson;

/// One step, ready to run.
pub(crate) struct Step {
    pub(super) name: &'static str,
    /// Its parameters as they were given, without the name.
    parameters: String,
    pub(super) operation: Box<dyn Operation>,
}

/// A pipeline whose names, types and limits have been checked. Compiled once, it can run many times.
pub struct Plan {
    steps: Vec<Step>,
    needs: Vec<Need>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.name)).finish()
    }
}

impl Plan {
    /// Reads a list of steps. Besides `{"step": name, …}` it takes the shapes that models write instead:
    /// `{name: {…}}`, `op`, `type` or `name` for the name, and `params` or `args` around the parameters.
    ///
    /// # Errors
    /// `invalid_pipeline` with the step and the field, or `limit_exceeded` for too many steps.
    pub fn parse(steps: &RawJson, limits: &Limits) -> Result<Self, TableError> {
        let mut compiler = Compiler::new(limits);
        let steps = compiler.pipeline(steps.as_str())?;
        Ok(Self { steps, needs: compiler.needs })
    }

    /// What must be fetched before [`super::run`], nested pipelines included. Nothing may be fetched before
    /// [`Plan::check`] has passed.
    #[must_use]
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// Whether first data must be handed in: the first step is no source.
    #[must_use]
    pub fn needs_input(&self) -> bool {
        self.steps.first().is_some_and(|step| !step.operation.is_source())
    }

    /// Whether carrying it out changes nothing anywhere: every request of it only asks.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.needs.iter().all(|need| match &need.kind {
            NeedKind::Http(request) => matches!(request.method, Method::Get | Method::Head),
            NeedKind::InputRef(_) => true,
        })
    }

    /// The steps' names, in order.
    pub fn step_names(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(|step| step.name)
    }

    /// Follows the columns through the whole plan. A name that no row can have is refused; one that the rows
    /// looked at do not have is a warning. The first rows are enough where they have every name; else all of a
    /// small input and a sample of a large one are looked at.
    ///
    /// # Errors
    /// `invalid_pipeline` with the step, the field and a suggestion; `pipeline_failed` for an input that is
    /// not JSON, as far as it was looked at: the run checks the rest.
    pub fn check(&self, input: Option<&RawJson>) -> Result<Vec<String>, TableError> {
        let body = input.map(|raw| Body::from(raw.clone()));
        self.check_body(body.as_ref())
    }

    /// The same for data that may be CSV or NDJSON.
    ///
    /// # Errors
    /// As [`Plan::check`].
    pub fn check_body(&self, input: Option<&Body>) -> Result<Vec<String>, TableError> {
        let document = match input {
            Some(body) if self.needs_input() => Some(Document::open(body, Source::input())?),
            _ => None,
        };
        match self.check_with(Checker::brief(), document.as_ref()) {
            Ok(warnings) if warnings.is_empty() => Ok(warnings),
            _ => self.check_with(Checker::default(), document.as_ref()),
        }
    }

    fn check_with(&self, mut checker: Checker<'_>, document: Option<&Document>) -> Result<Vec<String>, TableError> {
        let columns = match document {
            Some(document) => checker.document(document)?,
            None => Columns::Unknown,
        };
        checker.steps(&self.steps, columns)?;
        Ok(checker.into_warnings())
    }

    /// The plan in its normal form, `[{"step": name, …}]`: what a dry run shows.
    #[must_use]
    pub fn steps_json(&self) -> RawJson {
        let steps: Vec<String> = self.steps.iter().map(Step::json).collect();
        RawJson::from_trusted(format!("[{}]", steps.join(",")))
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl Step {
    fn json(&self) -> String {
        let rest = self.parameters.strip_prefix('{').unwrap_or("}");
        let comma = if rest.starts_with('}') { "" } else { "," };
        format!("{{\"step\":\"{}\"{comma}{rest}", self.name)
    }
}
