//! From bytes to rows: a scanner that validates and builds nothing, fields found in passing, CSV.

mod block;
mod csv;
mod document;
mod escape;
mod field;
mod lead;
mod scan;
mod template;

pub(super) use csv::{about_short, from_csv, to_csv, to_ndjson};
pub(super) use document::{Document, Shape, Source, found_at, malformed, utf8};
pub(super) use escape::{push_string, quoted};
pub(super) use field::{Field, FieldSlot, Layout, Path, Slots};
pub(super) use scan::{Malformed, Scanner, Text};
pub(super) use template::Template;
