//! Running a plan: step after step over one table, with counts, warnings and bounds.

mod pass;
mod sinks;
mod table;

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

pub(super) use pass::{Row, Sink};
pub(super) use sinks::{Collect, Writer, members};
pub(super) use table::{Data, Left, Pending, RowRef, Rows, Table, any_rows};

use super::{
    Body, Control, Inputs, Limits, Output, Plan, StepStat, TableError,
    limits::Ticker,
    plan::Step,
    read::{Document, Source},
};
use crate::{
    job::{ErrorCode, RawJson},
    settings::limits::MAX_WARNINGS,
};

/// Runs a plan. `input` is the first data of a plan that does not bring its own; `fetched` holds what
/// [`Plan::needs`] asked for.
///
/// # Errors
/// `pipeline_failed`, `http_failed` or `limit_exceeded` with the step, or `timeout` or `cancelled`.
pub fn run(
    plan: &Plan,
    input: Option<&Body>,
    fetched: &Inputs,
    limits: &Limits,
    control: &Control<'_>,
) -> Result<Output, TableError> {
    let table = match input {
        Some(body) if plan.needs_input() => first_table(body)?,
        None if plan.needs_input() => {
            return Err(TableError::invalid("there is no data: give an input, or start with http_request or literal"));
        }
        _ => Vec::new().into(),
    };
    let warnings = RefCell::new(Vec::new());
    let mut cx =
        Cx { limits, control, fetched, warnings: &warnings, step: 0, name: "", stats: Vec::new(), outer: true };
    let left = cx.steps(plan.steps(), table).and_then(|table| cx.left(table)).inspect_err(|_| cx.failed(plan))?;
    cx.finish(left.count());
    let steps = cx.stats.iter().map(Running::stat).collect();
    Ok(Output::new(left, steps, warnings.into_inner()))
}

fn first_table(body: &Body) -> Result<Table, TableError> {
    Ok(vec![Document::open(body, Source::input())?].into())
}

/// All rows of a body as one array, checked.
pub(super) fn rows_of(body: &Body) -> Result<RawJson, TableError> {
    let limits = Limits { max_rows: usize::MAX, ..Limits::default() };
    let (inputs, warnings, control) = (Inputs::default(), RefCell::default(), Control::default());
    let mut cx = Cx {
        limits: &limits,
        control: &control,
        fetched: &inputs,
        warnings: &warnings,
        step: 0,
        name: "",
        stats: Vec::new(),
        outer: false,
    };
    Ok(first_table(body)?.into_left(&mut cx)?.into_json())
}

/// What surrounds a running step.
pub(super) struct Cx<'c> {
    pub(super) limits: &'c Limits,
    pub(super) control: &'c Control<'c>,
    pub(super) fetched: &'c Inputs,
    warnings: &'c RefCell<Vec<String>>,
    /// Index of the step that runs.
    step: usize,
    name: &'static str,
    stats: Vec<Running>,
    /// Whether this is the plan itself, not a pipeline within it.
    outer: bool,
}

/// A step's figures while they come in: a filter's come with the pass that applies it, and those of a body
/// with the pass that reads it.
struct Running {
    name: &'static str,
    rows_in: Option<usize>,
    rows_out: Option<usize>,
    duration_ms: f64,
}

impl Running {
    fn stat(&self) -> StepStat {
        StepStat { step: self.name, rows_in: self.rows_in, rows_out: self.rows_out, duration_ms: self.duration_ms }
    }
}

impl Cx<'_> {
    /// Runs steps one after another.
    fn steps(&mut self, steps: &[Step], mut table: Table) -> Result<Table, TableError> {
        for (i, step) in steps.iter().enumerate() {
            (self.step, self.name) = (i, step.name);
            self.control.check().map_err(|error| self.placed(error))?;
            let started = Instant::now();
            let rows_in = if i == 0 { table.known_count() } else { self.stats[i - 1].rows_out };
            self.stats.push(Running { name: step.name, rows_in, rows_out: None, duration_ms: self.waited_ms(i) });
            table = step.operation.run(table, self).map_err(|error| self.placed(error))?;
            self.stats[i].duration_ms += millis(started.elapsed());
            if let Some(count) = table.known_count() {
                self.check_rows(count).map_err(|error| self.placed(error))?;
                self.stats[i].rows_out.get_or_insert(count);
            }
        }
        Ok(table)
    }

    /// What the last step left, where it is written down only now.
    fn left(&mut self, table: Table) -> Result<Left, TableError> {
        let started = Instant::now();
        let left = table.into_left(self).map_err(|error| self.placed(error))?;
        if let Some(last) = self.stats.last_mut() {
            last.duration_ms += millis(started.elapsed());
        }
        Ok(left)
    }

    /// How long was fetched for a step of the outer pipeline before the run.
    fn waited_ms(&self, step: usize) -> f64 {
        if self.outer { millis(self.fetched.time_of(step + 1)) } else { 0.0 }
    }

    /// Runs a pipeline within this one, on data of its own.
    pub(super) fn nested(&self, plan: &[Step]) -> Result<Rows, TableError> {
        let mut inner = Cx { step: 0, name: "", stats: Vec::new(), outer: false, ..*self };
        let table = inner.steps(plan, Vec::new().into())?;
        table.into_rows(&mut inner).map_err(|error| inner.placed(error))
    }

    /// All rows of a table beside the one that flows.
    pub(super) fn rows_of(&self, table: Table) -> Result<Rows, TableError> {
        let mut inner = Cx { step: 0, name: "", stats: Vec::new(), outer: false, ..*self };
        table.into_rows(&mut inner)
    }

    /// Names the running step, unless the error already knows a better place.
    fn placed(&self, error: TableError) -> TableError {
        if error.step_number.is_some() || error.of_input || self.name.is_empty() {
            error
        } else {
            error.at_step(self.step + 1, self.name)
        }
    }

    /// The step that runs, from 0.
    pub(super) fn step(&self) -> usize {
        self.step
    }

    /// The step that runs, as errors name it.
    pub(super) fn place(&self) -> (usize, String) {
        (self.step + 1, self.name.to_owned())
    }

    pub(super) fn ticker(&self) -> Ticker<'_> {
        Ticker::new(self.control)
    }

    /// Notes something that did not go as one may have thought. Bounded: past that only the first count.
    pub(super) fn warn(&self, message: impl AsRef<str>) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < MAX_WARNINGS {
            warnings.push(format!("step {} {}: {}", self.step + 1, self.name, message.as_ref()));
        }
    }

    /// Warns of `count` values of `field` that were not what the step needed.
    pub(super) fn warn_skipped(&self, field: &str, count: u64, needed: &str) {
        if count > 0 {
            let values = if count == 1 { "value" } else { "values" };
            self.warn(format!("{count} {values} of '{field}' skipped: not {needed}"));
        }
    }

    pub(super) fn check_rows(&self, count: usize) -> Result<(), TableError> {
        if count > self.limits.max_rows { Err(too_many_rows(self.limits)) } else { Ok(()) }
    }

    /// Says how many rows the running step gave, where it kept fewer than that at hand.
    pub(super) fn gave(&mut self, rows: usize) {
        self.stats[self.step].rows_out = Some(rows);
    }

    /// After a pass: the figures of the step that brought the rows, of the filters that were applied, and of
    /// the step that the pass was for.
    fn note_pass(&mut self, table: &Table, counts: &pass::Counts) {
        if self.stats.is_empty() {
            return;
        }
        let first = table.filters.first().map_or(self.step, |pending| pending.step);
        if let Some(before) = first.checked_sub(1) {
            self.stats[before].rows_out.get_or_insert(counts.rows_in);
        }
        let mut rows = counts.rows_in;
        for (pending, passed) in table.filters.iter().zip(&counts.passed) {
            let running = &mut self.stats[pending.step];
            (running.rows_in, running.rows_out) = (Some(rows), Some(*passed));
            rows = *passed;
        }
        self.stats[self.step].rows_in.get_or_insert(rows);
        let here = (self.step, self.name);
        for (pending, skipped) in table.filters.iter().zip(&counts.skipped) {
            (self.step, self.name) = (pending.step, self.stats[pending.step].name);
            pending.filter.warn(skipped, self);
        }
        (self.step, self.name) = here;
    }

    /// The end of a run: what the output counted belongs to the steps that counted nothing themselves.
    fn finish(&mut self, row_count: usize) {
        for i in 0..self.stats.len() {
            let before = if i == 0 { Some(0) } else { self.stats[i - 1].rows_out };
            let running = &mut self.stats[i];
            running.rows_out.get_or_insert(row_count);
            running.rows_in = running.rows_in.or(before);
        }
    }

    /// Tells the listener about the steps before the one that failed.
    fn failed(&self, plan: &Plan) {
        let Some(listener) = self.control.on_failure else { return };
        let mut before = if plan.needs_input() { None } else { Some(0) };
        let told = |running: &Running| {
            let rows_in = running.rows_in.or(before);
            before = running.rows_out;
            StepStat { rows_in, ..running.stat() }
        };
        listener(self.stats.iter().take(self.step).map(told).collect());
    }

    /// The body or pages that a need asked for.
    pub(super) fn fetched(&self, need: usize) -> Result<&[Body], TableError> {
        self.fetched.get(need).ok_or_else(|| {
            TableError::new(ErrorCode::Internal, format!("what need {need} asked for was never fetched"))
        })
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn too_many_rows(limits: &Limits) -> TableError {
    TableError::limit(format!("more than {} rows: filter earlier, or raise pipeline.max_rows", limits.max_rows))
}
