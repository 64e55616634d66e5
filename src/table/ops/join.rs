//! `join`: a hash join on exact values.

use std::collections::HashMap;

use indexmap::IndexSet;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Operation,
    right::{Right, RightSchema},
};
use crate::table::{
    TableError,
    plan::{Checker, Columns, Compiler, Spec, one_or_many},
    read::{Field, FieldSlot, Layout, Scanner, Slots, Text, push_string},
    run::{Collect, Cx, Row, Rows, Sink, Table, Writer},
    value::canonical,
};

/// Joins with other rows where the keys are equal; null keys never match.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinSpec {
    /// The other rows.
    #[schemars(with = "RightSchema")]
    right: Box<RawValue>,
    /// Key columns that both sides have; the result has them once.
    #[serde(default, deserialize_with = "one_or_many")]
    on: Option<Vec<String>>,
    /// Key columns on the left, with `right_on`; the result has both.
    #[serde(default, deserialize_with = "one_or_many")]
    left_on: Option<Vec<String>>,
    #[serde(default, deserialize_with = "one_or_many")]
    right_on: Option<Vec<String>>,
    #[serde(default)]
    how: How,
    /// Put behind a column of the right that the left has too; `_right` unless given.
    suffix: Option<String>,
}

/// Which rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum How {
    #[default]
    Inner,
    Left,
    Right,
    #[serde(alias = "outer")]
    Full,
    Semi,
    Anti,
}

impl Spec for JoinSpec {
    const NAME: &'static str = "join";

    fn compile(self, compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let wrong = |message: &str| Err(TableError::invalid(message).with_field("on"));
        let (left, right_on, shared) = match (self.on, self.left_on, self.right_on) {
            (Some(on), None, None) => (on.clone(), on, true),
            (None, Some(left), Some(right)) if left.len() == right.len() => (left, right, false),
            (None, Some(_), Some(_)) => return wrong("left_on and right_on must name as many columns"),
            _ => return wrong("name the key columns: on, or left_on and right_on together"),
        };
        if left.is_empty() {
            return wrong("name at least one key column");
        }
        let fields = |names: &[String]| names.iter().map(|name| Field::new(name)).collect();
        Ok(Box::new(Join {
            right: Right::compile(self.right, "right", compiler)?,
            left_on: fields(&left),
            right_on: fields(&right_on),
            shared,
            how: self.how,
            suffix: self.suffix.unwrap_or_else(|| "_right".into()),
        }))
    }
}

struct Join {
    right: Right,
    left_on: Vec<Field>,
    right_on: Vec<Field>,
    /// Whether both sides call the keys the same and the result has them once.
    shared: bool,
    how: How,
    suffix: String,
}

impl Operation for Join {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        let right = self.right.columns(checker)?;
        self.left_on.iter().try_for_each(|field| checker.require(&before, field))?;
        self.right_on.iter().try_for_each(|field| checker.require_of("on the right, ", &right, field))?;
        if matches!(self.how, How::Semi | How::Anti) {
            return Ok(before);
        }
        let (Some(left), Some(names)) = (before.names(), right.names()) else { return Ok(Columns::Unknown) };
        let new: Vec<String> = self.right_names(left, names).into_iter().flatten().collect();
        let certain = matches!((&before, &right), (Columns::Certain(_), Columns::Certain(_)));
        let all = left.iter().cloned().chain(new).collect();
        Ok(if certain { Columns::Certain(all) } else { Columns::Sampled(all) })
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        if matches!(self.how, How::Semi | How::Anti) {
            return self.filter(&table, cx);
        }
        let left_names = names(&table, cx)?;
        let right: Table = self.right.load(cx)?.into();
        let right_names: Vec<String> = names(&right, cx)?.into_iter().collect();
        let left_names: Vec<String> = left_names.into_iter().collect();
        let new_names = self.right_names(&left_names, &right_names);
        let right = self.index(&right, &right_names, &new_names, cx)?;
        let limits = cx.limits;
        let mut layout = Layout::default();
        let keys: Vec<FieldSlot> = self.left_on.iter().map(|field| layout.field(field)).collect();
        let make = || Emit {
            keep_left: matches!(self.how, How::Left | How::Full),
            keys: &keys,
            right: &right,
            matched: if self.keeps_right() { vec![false; right.cells.len()] } else { Vec::new() },
            rows: Writer::new(limits),
            key: Vec::new(),
        };
        let mut sink = cx.pass(&table, layout, make)?;
        if self.keeps_right() {
            let unmatched = sink.matched.iter().enumerate().filter(|(_, matched)| !**matched).map(|(i, _)| i);
            for i in unmatched {
                self.write_unmatched(&left_names, &right, i, &mut sink.rows)?;
            }
        }
        Ok(sink.rows.finish().into())
    }
}

impl Join {
    fn keeps_right(&self) -> bool {
        matches!(self.how, How::Right | How::Full)
    }

    /// What each column of the right is called in the result; none for a shared key.
    fn right_names(&self, left: &[String], right: &[String]) -> Vec<Option<String>> {
        let mut taken: IndexSet<String> = left.iter().cloned().collect();
        let is_key = |name: &String| self.shared && self.right_on.iter().any(|field| field.name() == name);
        right
            .iter()
            .map(|name| {
                if is_key(name) {
                    return None;
                }
                let mut new = name.clone();
                // An empty suffix would never make a name new.
                let suffix = if self.suffix.is_empty() { "_right" } else { &self.suffix };
                while !taken.insert(new.clone()) {
                    new.push_str(suffix);
                }
                Some(new)
            })
            .collect()
    }

    /// `semi` and `anti`: the left rows with, or without, a match.
    fn filter(&self, table: &Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut layout = Layout::default();
        let keys: Vec<FieldSlot> = self.left_on.iter().map(|field| layout.field(field)).collect();
        let right: Table = self.right.load(cx)?.into();
        let right = self.index(&right, &[], &[], cx)?;
        let wanted = self.how == How::Semi;
        let make = || Matching { wanted, keys: &keys, right: &right, rows: Collect::default(), key: Vec::new() };
        let refs = cx.pass(table, layout, make)?.rows.refs;
        Ok(Rows { buffers: table.buffers(), refs }.into())
    }

    /// Reads the right side into memory: by key, and ready to be written behind a left row.
    fn index(
        &self,
        right: &Table,
        names: &[String],
        new_names: &[Option<String>],
        cx: &mut Cx<'_>,
    ) -> Result<RightSide, TableError> {
        let mut layout = Layout::default();
        let keys: Vec<FieldSlot> = self.right_on.iter().map(|field| layout.field(field)).collect();
        let columns: Vec<(usize, Vec<u8>)> = names
            .iter()
            .zip(new_names)
            .filter_map(|(name, new)| {
                let mut quoted = Vec::new();
                push_string(&mut quoted, new.as_ref()?);
                quoted.push(b':');
                Some((layout.key(name), quoted))
            })
            .collect();
        let make = || Index { keys: &keys, columns: &columns, side: RightSide::default(), key: Vec::new() };
        let mut side = cx.side_pass(right, layout, make)?.side;
        side.nulls =
            columns.iter().map(|(_, name)| [name, b"null".as_slice()].concat()).collect::<Vec<_>>().join(&b',');
        Ok(side)
    }

    /// A row of the right that no left row matched: null in the left's columns, but for shared keys.
    fn write_unmatched(
        &self,
        left: &[String],
        right: &RightSide,
        row: usize,
        rows: &mut Writer,
    ) -> Result<(), TableError> {
        let key = |name: &String| {
            let place = self.left_on.iter().position(|field| self.shared && field.name() == name)?;
            right.key_cells[row].get(place).map(String::as_str)
        };
        for name in left {
            rows.member(name, key(name).unwrap_or("null"));
        }
        for field in self.left_on.iter().filter(|field| self.shared && !left.iter().any(|name| name == field.name())) {
            rows.member(field.name(), key(&field.name().to_owned()).unwrap_or("null"));
        }
        rows.raw_members(&right.cells[row]);
        rows.end_object()
    }
}

/// The right side of a join.
#[derive(Default)]
struct RightSide {
    /// Rows by key; those with a null in their key are in no list.
    by_key: HashMap<Box<[u8]>, Vec<u32>>,
    /// `"name":value,…` of each row, under the names of the result.
    cells: Vec<Box<[u8]>>,
    /// The key as written, of each row.
    key_cells: Vec<Vec<String>>,
    /// The same as `cells` with null everywhere.
    nulls: Vec<u8>,
}

/// The key of a row; none when part of it is null.
fn key_of(keys: &[FieldSlot], slots: &Slots<'_>, key: &mut Vec<u8>) -> bool {
    key.clear();
    keys.iter().all(|slot| {
        let value = slot.of(slots).filter(|value| *value != "null");
        canonical::push(value, key);
        value.is_some()
    })
}

struct Index<'s> {
    keys: &'s [FieldSlot],
    columns: &'s [(usize, Vec<u8>)],
    side: RightSide,
    key: Vec<u8>,
}

impl<'a> Sink<'a> for Index<'_> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let number = u32::try_from(self.side.cells.len()).unwrap_or(u32::MAX);
        if key_of(self.keys, row.slots, &mut self.key) {
            match self.side.by_key.get_mut(self.key.as_slice()) {
                Some(rows) => rows.push(number),
                None => {
                    self.side.by_key.insert(self.key.as_slice().into(), vec![number]);
                }
            }
        }
        let mut cells = Vec::new();
        for (i, (slot, name)) in self.columns.iter().enumerate() {
            if i > 0 {
                cells.push(b',');
            }
            cells.extend_from_slice(name);
            cells.extend_from_slice(row.slots[*slot].unwrap_or("null").as_bytes());
        }
        self.side.cells.push(cells.into());
        let written = |slot: &FieldSlot| slot.of(row.slots).unwrap_or("null").to_owned();
        self.side.key_cells.push(self.keys.iter().map(written).collect());
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        let shift = u32::try_from(self.side.cells.len()).unwrap_or(u32::MAX);
        for (key, rows) in later.side.by_key {
            self.side.by_key.entry(key).or_default().extend(rows.into_iter().map(|row| row + shift));
        }
        self.side.cells.extend(later.side.cells);
        self.side.key_cells.extend(later.side.key_cells);
        Ok(())
    }
}

/// Writes left rows with their matches.
struct Emit<'s> {
    keep_left: bool,
    keys: &'s [FieldSlot],
    right: &'s RightSide,
    /// Which rows of the right had a match, where that matters.
    matched: Vec<bool>,
    rows: Writer,
    key: Vec<u8>,
}

impl<'a> Sink<'a> for Emit<'_> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let found = key_of(self.keys, row.slots, &mut self.key).then(|| self.right.by_key.get(self.key.as_slice()));
        let Some(matches) = found.flatten() else {
            if self.keep_left {
                self.rows.copy_open(row.text);
                self.rows.raw_members(&self.right.nulls);
                self.rows.end_object()?;
            }
            return Ok(());
        };
        for number in matches {
            if let Some(matched) = self.matched.get_mut(*number as usize) {
                *matched = true;
            }
            self.rows.copy_open(row.text);
            self.rows.raw_members(&self.right.cells[*number as usize]);
            self.rows.end_object()?;
        }
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.rows.absorb(later.rows);
        self.matched.iter_mut().zip(later.matched).for_each(|(matched, more)| *matched |= more);
        Ok(())
    }
}

/// Keeps left rows that have a match, or those that have none.
struct Matching<'s> {
    wanted: bool,
    keys: &'s [FieldSlot],
    right: &'s RightSide,
    rows: Collect,
    key: Vec<u8>,
}

impl<'a> Sink<'a> for Matching<'_> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let found = key_of(self.keys, row.slots, &mut self.key) && self.right.by_key.contains_key(self.key.as_slice());
        if found == self.wanted { self.rows.row(row) } else { Ok(()) }
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.rows.absorb(later.rows)
    }
}

/// All names of columns, in order of first appearance.
fn names(table: &Table, cx: &mut Cx<'_>) -> Result<IndexSet<String>, TableError> {
    Ok(cx.side_pass(table, Layout::default(), Names::default)?.0)
}

#[derive(Default)]
struct Names(IndexSet<String>);

impl<'a> Sink<'a> for Names {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let note = |key: Text<'_>, _: &str| {
            if key.escaped || !self.0.contains(key.raw) {
                self.0.insert(key.decode().into_owned());
            }
        };
        // A row in a pass is well formed.
        let _ = Scanner::new(row.text).object(note);
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.0.extend(later.0);
        Ok(())
    }
}
