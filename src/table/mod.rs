//! The table pipeline: rows in, rows out, every digit kept.
//!
//! Pure and synchronous: no I/O, no async. A caller parses a [`Plan`], checks it, fetches what
//! [`Plan::needs`] names, and hands the bytes to [`run`]. Rows stay slices of those bytes: each pass reads
//! only the fields that its steps need, and the rows that are left are copied out as they came.
//!
//! | part | what it does |
//! |---|---|
//! | `read` | a validating scanner over JSON text, fields, documents, CSV |
//! | `value` | cells, exact numbers, canonical keys |
//! | `plan` | from JSON to steps; column check; the schema for models |
//! | `ops` | the steps, one file a family |
//! | `run` | passes over rows, in parts on several threads where the data is large |

mod columns;
mod error;
mod limits;
mod ops;
mod output;
mod plan;
mod read;
mod run;
#[cfg(test)]
mod tests;
mod value;

use bytes::Bytes;

pub use columns::{Column, columns, columns_of};
pub use error::TableError;
pub use limits::{Control, Limits};
pub use output::{Body, Inputs, Output, StepStat, preview};
pub use plan::{
    Format, HttpNeed, Method, Need, NeedKind, NextPage, Paginate, Plan, parameters_schema, step_docs, step_names,
};
pub use run::run;

use crate::job::RawJson;

/// Rows of objects from CSV with a header line. Cells are text, unless every cell of the column is a plain
/// number without leading zeros; empty cells are null. Beside them a warning, where rows are shorter than the header.
///
/// # Errors
/// `pipeline_failed` with the line that cannot be read.
pub fn from_csv(bytes: &[u8]) -> Result<(RawJson, Option<String>), TableError> {
    let read = read::from_csv(bytes).map_err(|error| TableError::failed(format!("csv: {error}")))?;
    Ok((RawJson::from_trusted(read.rows), read::about_short(read.short)))
}

/// CSV with a header line from rows of objects.
///
/// # Errors
/// `pipeline_failed` when a row is no object.
pub fn to_csv(rows: &RawJson) -> Result<Bytes, TableError> {
    read::to_csv(rows.as_str()).map(Bytes::from).map_err(|error| TableError::failed(format!("csv: {error}")))
}

/// One array from JSON values that stand one after another.
///
/// # Errors
/// `pipeline_failed` with the place that is not JSON.
pub fn from_ndjson(bytes: &Bytes) -> Result<RawJson, TableError> {
    let body = Body { bytes: bytes.clone(), format: Format::Ndjson };
    run::rows_of(&body)
}

/// One row a line from an array; anything else is one line.
///
/// # Errors
/// `pipeline_failed` with the place that is not JSON.
pub fn to_ndjson(rows: &RawJson) -> Result<Bytes, TableError> {
    read::to_ndjson(rows.as_str()).map(Bytes::from).map_err(|error| TableError::failed(format!("ndjson: {error}")))
}
