//! Following the columns through a plan before anything is fetched or read.

use indexmap::IndexSet;

use super::Step;
use crate::table::{
    TableError,
    columns::{keys_of_rows, keys_of_sample},
    error::absent,
    read::{Document, Field, Source},
};

/// What is known about the columns at one place of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Columns {
    /// Nothing.
    Unknown,
    /// These were seen; other rows may have others.
    Sampled(Vec<String>),
    /// These and no others.
    Certain(Vec<String>),
}

impl Columns {
    /// The names, where any are known.
    pub(crate) fn names(&self) -> Option<&[String]> {
        match self {
            Self::Unknown => None,
            Self::Sampled(names) | Self::Certain(names) => Some(names),
        }
    }

    /// The same certainty about other names.
    pub(crate) fn map(self, change: impl FnOnce(Vec<String>) -> Vec<String>) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::Sampled(names) => Self::Sampled(change(names)),
            Self::Certain(names) => Self::Certain(change(names)),
        }
    }

    /// With one more.
    pub(crate) fn with(self, name: &str) -> Self {
        self.map(|mut names| {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
            names
        })
    }

    fn has(&self, field: &Field) -> bool {
        self.names().is_none_or(|names| {
            names.iter().any(|name| name == field.name() || field.head().is_some_and(|head| head == name))
        })
    }
}

/// State while a plan is checked.
#[derive(Default)]
pub(crate) struct Checker<'c> {
    /// Looks at a few rows only: what is found there is found in all of them.
    brief: bool,
    warnings: Vec<String>,
    step: usize,
    name: &'c str,
}

/// Largest document that is looked at whole.
const WHOLE_BYTES: usize = 4 << 20;

/// Rows looked at in larger ones.
const SAMPLE_ROWS: usize = 1000;

/// Rows that a brief look takes.
const FIRST_ROWS: usize = 4;

impl Checker<'_> {
    /// A check that looks at the first rows only. More rows can have more columns, never fewer: a plan that
    /// finds all its columns there needs no look at the rest.
    pub(super) fn brief() -> Self {
        Self { brief: true, ..Self::default() }
    }

    /// Takes the columns through all steps.
    pub(super) fn steps(&mut self, steps: &[Step], mut columns: Columns) -> Result<Columns, TableError> {
        for (i, step) in steps.iter().enumerate() {
            let warnings = std::mem::take(&mut self.warnings);
            let mut inner = Checker { warnings, step: i, name: step.name, brief: self.brief };
            let after = step.operation.columns(columns, &mut inner);
            self.warnings = inner.warnings;
            columns = after.map_err(|error| match error.step_number {
                Some(_) => error,
                None => error.at_step(i + 1, step.name),
            })?;
        }
        Ok(columns)
    }

    /// Checks a pipeline within a step.
    pub(crate) fn nested(&mut self, steps: &[Step]) -> Result<Columns, TableError> {
        let (step, name) = (self.step, self.name);
        self.steps(steps, Columns::Unknown).map_err(|error| error.at_step(step + 1, name))
    }

    /// The columns of rows that stand in the plan.
    pub(crate) fn scan(&mut self, rows: &bytes::Bytes) -> Result<Columns, TableError> {
        self.document(&Document::of_rows(rows.clone(), Source::given("the literal")))
    }

    /// The columns of a document: all of a small one, a sample of a large one.
    pub(super) fn document(&mut self, document: &Document) -> Result<Columns, TableError> {
        let whole = document.bytes.len() <= WHOLE_BYTES && !self.brief;
        let mut names = IndexSet::new();
        let rows = match whole {
            true => keys_of_rows(document, &mut names)?,
            false => keys_of_sample(document, if self.brief { FIRST_ROWS } else { SAMPLE_ROWS }, &mut names),
        };
        let names = names.into_iter().collect();
        Ok(match rows {
            None | Some(0) => Columns::Unknown,
            Some(_) if whole => Columns::Certain(names),
            Some(_) => Columns::Sampled(names),
        })
    }

    /// Refuses a field that no row can have.
    pub(crate) fn require(&mut self, columns: &Columns, field: &Field) -> Result<(), TableError> {
        self.require_of("", columns, field)
    }

    /// The same of columns that `whose` tells apart from those of the table that flows.
    pub(crate) fn require_of(&mut self, whose: &str, columns: &Columns, field: &Field) -> Result<(), TableError> {
        if columns.has(field) {
            return Ok(());
        }
        let names = columns.names().unwrap_or_default();
        let message = format!("{whose}{}", absent(field.name(), names));
        if matches!(columns, Columns::Certain(_)) {
            return Err(TableError::invalid(message).with_field(field.name()).with_found(names.join(", ")));
        }
        self.warn(&format!("{message} (in the first {SAMPLE_ROWS} rows)"));
        Ok(())
    }

    /// Warns of a field that no row seems to have, where a missing one has a meaning.
    pub(crate) fn expect(&mut self, columns: &Columns, field: &Field) {
        if !columns.has(field) {
            self.warn(&absent(field.name(), columns.names().unwrap_or_default()));
        }
    }

    fn warn(&mut self, message: &str) {
        self.warnings.push(format!("step {} {}: {message}", self.step + 1, self.name));
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }
}
