//! The other table of `union` and `join`, and `union` itself.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{Operation, source::literal_rows};
use crate::table::{
    NeedKind, TableError,
    columns::first_without_columns,
    plan::{Checker, Columns, Compiler, Spec, Step},
    read::{Document, Source},
    run::{Cx, Rows, Table},
};

/// How the other table may be written: rows, `{input_ref}` or `{pipeline}`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum RightSchema {
    Rows(Vec<Map<String, Value>>),
    Ref { input_ref: String },
    Pipeline { pipeline: Vec<Map<String, Value>> },
}

/// Where the other table comes from.
pub(super) enum Right {
    Rows(Bytes),
    Need(usize),
    Steps(Vec<Step>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RightSpec {
    input_ref: Option<String>,
    pipeline: Option<Box<RawValue>>,
}

impl Right {
    /// Reads `field` of a step.
    pub(super) fn compile(raw: Box<RawValue>, field: &str, compiler: &mut Compiler<'_>) -> Result<Self, TableError> {
        if raw.get().starts_with('[') {
            let rows = literal_rows(raw, field)?;
            let document = Document::of_rows(rows.clone(), Source::given("the list of rows"));
            return match first_without_columns(&document)? {
                None => Ok(Self::Rows(rows)),
                Some((number, kind)) => {
                    let message =
                        format!("{field} must be a list of rows: row {number} is {}, not an object", kind.name());
                    Err(TableError::invalid(message).with_field(field).with_found(kind.name()))
                }
            };
        }
        let spec: Result<RightSpec, _> = serde_json::from_str(raw.get());
        match spec {
            Ok(RightSpec { input_ref: Some(reference), pipeline: None }) if !reference.is_empty() => {
                Ok(Self::Need(compiler.need(NeedKind::InputRef(reference))))
            }
            Ok(RightSpec { input_ref: None, pipeline: Some(steps) }) => Ok(Self::Steps(compiler.nested(steps.get())?)),
            _ => {
                let shown: String = raw.get().chars().take(40).collect();
                let message = format!("{field} must be a list of rows, {{input_ref}} or {{pipeline}}, found {shown}");
                Err(TableError::invalid(message).with_field(field).with_found(shown))
            }
        }
    }

    pub(super) fn columns(&self, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        match self {
            Self::Rows(rows) => checker.scan(rows),
            Self::Need(_) => Ok(Columns::Unknown),
            Self::Steps(steps) => checker.nested(steps),
        }
    }

    /// Its rows.
    pub(super) fn load(&self, cx: &Cx<'_>) -> Result<Rows, TableError> {
        let documents = match self {
            Self::Steps(steps) => return cx.nested(steps),
            Self::Rows(rows) => vec![Document::of_rows(rows.clone(), Source::given("the list of rows"))],
            Self::Need(id) => {
                let open = |body| Document::open(body, Source::given("what input_ref names"));
                cx.fetched(*id)?.iter().map(open).collect::<Result<_, _>>()?
            }
        };
        cx.rows_of(documents.into())
    }
}

/// Appends other rows; columns go by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnionSpec {
    #[schemars(with = "RightSchema")]
    with: Box<RawValue>,
}

impl Spec for UnionSpec {
    const NAME: &'static str = "union";

    fn compile(self, compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        Ok(Box::new(Union { with: Right::compile(self.with, "with", compiler)? }))
    }
}

struct Union {
    with: Right,
}

impl Operation for Union {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        let other = self.with.columns(checker)?;
        Ok(match (before, other) {
            (Columns::Certain(_), Columns::Unknown) | (Columns::Unknown, _) => Columns::Unknown,
            (Columns::Sampled(names), other) => {
                other.names().unwrap_or_default().iter().fold(Columns::Sampled(names), |all, name| all.with(name))
            }
            (certain, Columns::Sampled(names)) => {
                let seen = Columns::Sampled(certain.names().unwrap_or_default().to_vec());
                names.iter().fold(seen, |all, name| all.with(name))
            }
            (certain, Columns::Certain(names)) => names.iter().fold(certain, |all, name| all.with(name)),
        })
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut rows = table.into_rows(cx)?;
        rows.append(self.with.load(cx)?);
        Ok(rows.into())
    }
}
