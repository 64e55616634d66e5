//! The steps, one file a family. Each has a spec (what a plan may say, and the schema a model sees) and an
//! operation (what is done).

mod aggregate;
mod cel_value;
mod columns;
mod condition;
mod date;
mod expression;
mod filter;
mod group;
mod join;
mod jq;
mod jq_budget;
mod jq_natives;
mod jq_program;
mod jq_rewrite;
mod right;
mod rows;
mod set;
mod sort;
mod source;

pub(super) use columns::{DropSpec, RenameSpec, SelectSpec};
pub(super) use condition::{BoundFilter, Skipped};
pub(super) use filter::{Filter, FilterSpec};
pub(super) use group::{AggregateAllSpec, GroupSpec};
pub(super) use join::JoinSpec;
pub(super) use jq::JqSpec;
pub(super) use right::UnionSpec;
pub(super) use rows::{CountSpec, DistinctSpec, ExplodeSpec, ExtractSpec, SliceSpec};
pub(super) use set::{DeriveSpec, ParseDateSpec, RegexSpec};
pub(super) use sort::{SortSpec, TopKSpec};
pub(super) use source::{HttpSpec, LiteralSpec};

use super::{
    TableError,
    plan::{Checker, Columns},
    run::{Cx, Table},
};

/// A step, ready to run.
pub(super) trait Operation: Send + Sync {
    /// Whether it brings its own data.
    fn is_source(&self) -> bool {
        false
    }

    /// The columns after it, given those before. Names that no row can have are refused here.
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError>;

    /// Does it.
    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError>;

    /// How many rows it looks at when it only wants the first ones.
    fn wants_first(&self) -> Option<usize> {
        None
    }

    /// Told that only the first rows of what it gives will be looked at.
    fn only_first(&mut self, _rows: usize) {}
}
