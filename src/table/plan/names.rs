//! The vocabulary: every step's name, with how it is read and described.

use schemars::{Schema, SchemaGenerator};

use super::{Compiler, Spec, parse::read_spec};
use crate::table::{
    TableError,
    ops::{self, Operation},
};

/// Reads the text of a step's parameters and compiles it.
type Compile = fn(&str, &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError>;

/// One kind of step.
pub(super) struct StepType {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    pub(super) compile: Compile,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

const fn kind<S: Spec>() -> StepType {
    aliased::<S>(&[])
}

const fn aliased<S: Spec>(aliases: &'static [&'static str]) -> StepType {
    StepType {
        name: S::NAME,
        aliases,
        compile: |parameters, compiler| read_spec::<S>(parameters)?.compile(compiler),
        schema: |generator| S::json_schema(generator),
    }
}

/// All steps, in the order in which they are described.
pub(super) const STEP_TYPES: &[StepType] = &[
    kind::<ops::HttpSpec>(),
    kind::<ops::LiteralSpec>(),
    kind::<ops::FilterSpec>(),
    kind::<ops::SortSpec>(),
    kind::<ops::SelectSpec>(),
    kind::<ops::TopKSpec>(),
    aliased::<ops::GroupSpec>(&["groupby"]),
    kind::<ops::AggregateAllSpec>(),
    kind::<ops::JoinSpec>(),
    kind::<ops::DeriveSpec>(),
    kind::<ops::DistinctSpec>(),
    kind::<ops::SliceSpec>(),
    kind::<ops::RenameSpec>(),
    kind::<ops::DropSpec>(),
    kind::<ops::ExplodeSpec>(),
    kind::<ops::UnionSpec>(),
    kind::<ops::CountSpec>(),
    kind::<ops::ExtractSpec>(),
    kind::<ops::ParseDateSpec>(),
    kind::<ops::RegexSpec>(),
    kind::<ops::JqSpec>(),
];

/// The kind of step with this name.
pub(super) fn step_type(name: &str) -> Option<&'static StepType> {
    STEP_TYPES.iter().find(|kind| kind.name == name || kind.aliases.contains(&name))
}
