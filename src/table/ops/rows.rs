//! Steps over whole rows: `distinct`, `slice`, `count`, `explode`, `extract`.

use indexmap::{IndexMap, map::Entry};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Operation, source::part};
use crate::table::{
    TableError,
    plan::{Checker, Columns, Compiler, Spec, maybe_whole, one_or_many, whole},
    read::{Field, FieldSlot, Layout, Path, Scanner, Shape, found_at},
    run::{Cx, Data, Row, RowRef, Rows, Sink, Table, Writer, any_rows},
    value::{Kind, canonical},
};

/// Keeps the first row of each kind: equal in these fields, or in the whole row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DistinctSpec {
    #[serde(default, deserialize_with = "one_or_many")]
    fields: Option<Vec<String>>,
}

/// Rows from an offset on, at most `limit` of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SliceSpec {
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "u64")]
    offset: u64,
    #[serde(default, deserialize_with = "maybe_whole")]
    #[schemars(with = "Option<u64>")]
    limit: Option<u64>,
}

/// One row with the number of rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountSpec {
    /// The column's name, `count` unless given.
    #[serde(rename = "as")]
    name: Option<String>,
}

/// One row per element of a list. An empty or null list drops its row, or keeps it with null.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplodeSpec {
    field: String,
    #[serde(default)]
    keep_empty: bool,
}

/// Takes the value at a path: of a document its array becomes the rows; of rows, the lists found there are
/// put together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtractSpec {
    /// Like `data.items` or `legs[0].stops`.
    path: String,
}

impl Spec for DistinctSpec {
    const NAME: &'static str = "distinct";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let fields = self.fields.unwrap_or_default();
        Ok(Box::new(Distinct { fields: fields.iter().map(|name| Field::new(name)).collect() }))
    }
}

impl Spec for SliceSpec {
    const NAME: &'static str = "slice";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let rows = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Box::new(Slice { offset: rows(self.offset), limit: self.limit.map(rows) }))
    }
}

impl Spec for CountSpec {
    const NAME: &'static str = "count";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        Ok(Box::new(Count { name: self.name.unwrap_or_else(|| "count".into()) }))
    }
}

impl Spec for ExplodeSpec {
    const NAME: &'static str = "explode";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        Ok(Box::new(Explode { field: Field::new(&self.field), keep_empty: self.keep_empty }))
    }
}

impl Spec for ExtractSpec {
    const NAME: &'static str = "extract";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        if self.path.is_empty() {
            return Err(TableError::invalid("path must name where to look, like data.items").with_field("path"));
        }
        Ok(Box::new(Extract { path: self.path }))
    }
}

struct Distinct {
    fields: Vec<Field>,
}

impl Operation for Distinct {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        self.fields.iter().try_for_each(|field| checker.require(&before, field))?;
        Ok(before)
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut layout = Layout::default();
        let slots: Vec<FieldSlot> = self.fields.iter().map(|field| layout.field(field)).collect();
        let make = || Firsts { slots: &slots, seen: IndexMap::new(), key: Vec::new() };
        let refs = cx.pass(&table, layout, make)?.seen.into_values().collect();
        Ok(Rows { buffers: table.buffers(), refs }.into())
    }
}

/// The first row with each key, in order.
struct Firsts<'s> {
    slots: &'s [FieldSlot],
    seen: IndexMap<Box<[u8]>, RowRef>,
    key: Vec<u8>,
}

impl<'a> Sink<'a> for Firsts<'_> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        self.key.clear();
        if self.slots.is_empty() {
            canonical::push(Some(row.text), &mut self.key);
        }
        self.slots.iter().for_each(|slot| canonical::push(slot.of(row.slots), &mut self.key));
        if !self.seen.contains_key(self.key.as_slice()) {
            self.seen.insert(self.key.as_slice().into(), row.at);
        }
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        for (key, at) in later.seen {
            if let Entry::Vacant(entry) = self.seen.entry(key) {
                entry.insert(at);
            }
        }
        Ok(())
    }
}

struct Slice {
    offset: usize,
    limit: Option<usize>,
}

impl Operation for Slice {
    fn columns(&self, before: Columns, _checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        Ok(before)
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut rows = table.into_rows(cx)?;
        rows.refs.drain(..self.offset.min(rows.refs.len()));
        rows.refs.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(rows.into())
    }

    fn wants_first(&self) -> Option<usize> {
        self.limit.map(|limit| limit.saturating_add(self.offset)).filter(|rows| *rows > 0)
    }
}

struct Count {
    name: String,
}

impl Operation for Count {
    fn columns(&self, _before: Columns, _checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        Ok(Columns::Certain(vec![self.name.clone()]))
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let count = match table.known_count() {
            Some(count) => count,
            None => cx.pass(&table, Layout::default(), Counter::default)?.0,
        };
        let mut rows = Writer::new(cx.limits);
        rows.member(&self.name, &count.to_string());
        rows.end_object()?;
        Ok(rows.finish().into())
    }
}

#[derive(Default)]
struct Counter(usize);

impl<'a> Sink<'a> for Counter {
    fn row(&mut self, _row: &Row<'a, '_>) -> Result<(), TableError> {
        self.0 += 1;
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.0 += later.0;
        Ok(())
    }
}

struct Explode {
    field: Field,
    keep_empty: bool,
}

impl Operation for Explode {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        checker.require(&before, &self.field)?;
        Ok(before.with(self.field.name()))
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut layout = Layout::default();
        let slot = layout.field(&self.field);
        let present = layout.key(self.field.name());
        let limits = cx.limits;
        let make = || Exploded { step: self, slot: &slot, present, rows: Writer::new(limits) };
        let sink = cx.pass(&table, layout, make)?;
        Ok(sink.rows.finish().into())
    }
}

struct Exploded<'s> {
    step: &'s Explode,
    slot: &'s FieldSlot,
    present: usize,
    rows: Writer,
}

impl<'a> Sink<'a> for Exploded<'_> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let present = row.slots[self.present].is_some();
        let mut set = |value: &str| self.rows.set_member(row.text, present, self.step.field.name(), value);
        let value = self.slot.of(row.slots).unwrap_or("null");
        match Kind::of(value) {
            Kind::Array => {
                let mut elements = Vec::new();
                let _ = Scanner::new(value).array(|element| elements.push(element));
                if elements.is_empty() && self.step.keep_empty {
                    return set("null");
                }
                elements.into_iter().try_for_each(set)
            }
            Kind::Null if self.step.keep_empty => set("null"),
            Kind::Null => Ok(()),
            _ => set(value),
        }
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.rows.absorb(later.rows);
        Ok(())
    }
}

struct Extract {
    path: String,
}

impl Operation for Extract {
    fn columns(&self, _before: Columns, _checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        Ok(Columns::Unknown)
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let from_root = Path::parse(self.path.trim_start_matches('$')).is_some_and(|path| path.head().is_none());
        if let Some(document) = table.single_document()
            && (document.shape == Shape::Single || document.shape == Shape::Array && from_root)
        {
            return Ok(vec![part(document, &self.path, "path")?].into());
        }
        let rows = match &table.data {
            Data::Documents(documents) if table.filters.is_empty() => {
                let mut rows = Rows::default();
                for document in documents {
                    rows.append(any_rows(document, cx)?);
                }
                rows
            }
            _ => table.into_rows(cx)?,
        };
        let mut found = Rows { buffers: rows.buffers.clone(), refs: Vec::new() };
        let mut ticker = cx.ticker();
        for at in &rows.refs {
            ticker.tick()?;
            elements_at(&rows, *at, &self.path, &mut found.refs);
        }
        if found.refs.is_empty() && !rows.refs.is_empty() {
            cx.warn(format!("no row has a list at {:?}", self.path));
        }
        Ok(found.into())
    }
}

/// The elements of the list in one row; a value that is no list counts as its own only element.
fn elements_at(rows: &Rows, at: RowRef, path: &str, found: &mut Vec<RowRef>) {
    let text = rows.text(at);
    let Some(value) = found_at(text, path) else { return };
    let mut push = |element: &str| {
        let offset = element.as_ptr() as usize - text.as_ptr() as usize;
        let length = u32::try_from(element.len()).unwrap_or(u32::MAX);
        found.push(RowRef { start: at.start + offset, length, buffer: at.buffer });
    };
    match Kind::of(value) {
        Kind::Array => {
            let _ = Scanner::new(value).array(push);
        }
        Kind::Null => {}
        _ => push(value),
    }
}
