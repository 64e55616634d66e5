//! `table_select`, `rename` and `drop`: which columns, in which order, under which names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Operation;
use crate::table::{
    TableError,
    plan::{Checker, Columns, Compiler, Spec, one_or_many},
    read::{Field, FieldSlot, Layout, Text},
    run::{Cx, Row, Sink, Table, Writer, members},
};

/// Keeps these columns, in this order; a missing one becomes null.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelectSpec {
    /// Names, or `{field, as}` to rename.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<PickSchema>")]
    fields: Option<Vec<Pick>>,
}

/// One column of the result.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pick {
    field: String,
    #[serde(rename = "as")]
    name: Option<String>,
}

/// How a pick may be written.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum PickSchema {
    Name(String),
    Renamed {
        field: String,
        #[schemars(rename = "as")]
        name: Option<String>,
    },
}

impl From<String> for Pick {
    fn from(field: String) -> Self {
        Self { field, name: None }
    }
}

impl Spec for SelectSpec {
    const NAME: &'static str = "table_select";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let picks = self.fields.unwrap_or_default();
        if picks.is_empty() {
            return Err(TableError::invalid("fields must name at least one column").with_field("fields"));
        }
        let mut columns: Vec<(Field, String)> = Vec::with_capacity(picks.len());
        for pick in picks {
            let name = pick.name.unwrap_or_else(|| pick.field.clone());
            if columns.iter().any(|(_, known)| *known == name) {
                let message = format!("the result would have two columns '{name}': name one of them with as");
                return Err(TableError::invalid(message).with_field("fields").with_found(name));
            }
            columns.push((Field::new(&pick.field), name));
        }
        Ok(Box::new(Selected { columns }))
    }
}

struct Selected {
    columns: Vec<(Field, String)>,
}

impl Operation for Selected {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        self.columns.iter().for_each(|(field, _)| checker.expect(&before, field));
        Ok(Columns::Certain(self.columns.iter().map(|(_, name)| name.clone()).collect()))
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let limits = cx.limits;
        let keys: Vec<String> = self.columns.iter().map(|(_, name)| crate::table::read::quoted(name)).collect();
        let mut layout = Layout::default();
        let slots: Vec<FieldSlot> = self.columns.iter().map(|(field, _)| layout.field(field)).collect();
        let sink = cx.pass(&table, layout, || Picked { keys: &keys, slots: &slots, rows: Writer::new(limits) })?;
        Ok(sink.rows.finish().into())
    }
}

struct Picked<'k> {
    keys: &'k [String],
    slots: &'k [FieldSlot],
    rows: Writer,
}

impl<'a> Sink<'a> for Picked<'_> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let out = self.rows.out();
        for (i, (key, slot)) in self.keys.iter().zip(self.slots).enumerate() {
            out.push(if i == 0 { b'{' } else { b',' });
            out.extend_from_slice(key.as_bytes());
            out.push(b':');
            out.extend_from_slice(slot.of(row.slots).unwrap_or("null").as_bytes());
        }
        out.push(b'}');
        self.rows.end_row()
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.rows.absorb(later.rows);
        Ok(())
    }
}

/// Renames columns; one that had the new name before is replaced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenameSpec {
    /// Old names to new ones.
    columns: BTreeMap<String, String>,
}

/// Leaves columns out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DropSpec {
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    fields: Option<Vec<String>>,
}

impl Spec for RenameSpec {
    const NAME: &'static str = "rename";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        if self.columns.is_empty() {
            return Err(TableError::invalid("columns must name at least one").with_field("columns"));
        }
        let mut new: Vec<&String> = self.columns.values().collect();
        new.sort();
        if let Some(pair) = new.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("two columns would be named '{}'", pair[0]);
            return Err(TableError::invalid(message).with_field("columns"));
        }
        Ok(Box::new(Renamed(self.columns)))
    }
}

impl Spec for DropSpec {
    const NAME: &'static str = "drop";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let fields = self.fields.unwrap_or_default();
        if fields.is_empty() {
            return Err(TableError::invalid("fields must name at least one column").with_field("fields"));
        }
        Ok(Box::new(Dropped(fields)))
    }
}

struct Renamed(BTreeMap<String, String>);

struct Dropped(Vec<String>);

impl Operation for Renamed {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        self.0.keys().try_for_each(|old| checker.require(&before, &Field::literal(old)))?;
        Ok(before.map(|names| {
            let stays = |name: &String| self.0.contains_key(name) || !self.0.values().any(|new| new == name);
            names.into_iter().filter(stays).map(|name| self.0.get(&name).cloned().unwrap_or(name)).collect()
        }))
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        rewrite(&table, cx, &|row, rows| {
            let members = members(row);
            let new_name = |key: &Text<'_>| self.0.get(key.decode().as_ref());
            let taken: Vec<&String> = members.iter().filter_map(|(key, _)| new_name(key)).collect();
            for (key, value) in &members {
                match new_name(key) {
                    Some(new) => rows.member(new, value),
                    None if taken.iter().any(|name| key.is(name)) => {}
                    None => rows.raw_member(key.raw, value),
                }
            }
        })
    }
}

impl Operation for Dropped {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        self.0.iter().for_each(|name| checker.expect(&before, &Field::literal(name)));
        Ok(before.map(|names| names.into_iter().filter(|name| !self.0.contains(name)).collect()))
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        rewrite(&table, cx, &|row, rows| {
            for (key, value) in members(row) {
                if !self.0.iter().any(|name| key.is(name)) {
                    rows.raw_member(key.raw, value);
                }
            }
        })
    }
}

/// Writes every row anew, member by member.
fn rewrite(table: &Table, cx: &mut Cx<'_>, change: &(impl Fn(&str, &mut Writer) + Sync)) -> Result<Table, TableError> {
    let limits = cx.limits;
    let sink = cx.pass(table, Layout::default(), || Rewritten { change, rows: Writer::new(limits) })?;
    Ok(sink.rows.finish().into())
}

struct Rewritten<'c, F> {
    change: &'c F,
    rows: Writer,
}

impl<'a, F: Fn(&str, &mut Writer) + Sync> Sink<'a> for Rewritten<'_, F> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        (self.change)(row.text, &mut self.rows);
        self.rows.end_object()
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.rows.absorb(later.rows);
        Ok(())
    }
}
