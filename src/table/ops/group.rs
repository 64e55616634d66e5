//! `group_by` and `aggregate`.

use std::{collections::HashMap, hash::BuildHasher};

use rustc_hash::FxBuildHasher;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Operation,
    aggregate::{Aggregate, AggregateSpec, Value},
};
use crate::table::{
    TableError,
    plan::{Checker, Columns, Compiler, Spec, one_or_many},
    read::{Field, FieldSlot, Layout, Slots},
    run::{Cx, Row, Sink, Table, Writer},
    value::canonical,
};

/// One row per group, in order of first appearance, with the aggregates over its rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupSpec {
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "Vec<String>")]
    by: Option<Vec<String>>,
    #[serde(default)]
    aggregates: Vec<AggregateSpec>,
}

/// One row with the aggregates over all rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AggregateAllSpec {
    aggregates: Vec<AggregateSpec>,
}

impl Spec for GroupSpec {
    const NAME: &'static str = "group_by";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let by = self.by.unwrap_or_default();
        if by.is_empty() {
            let message = "by must name at least one column; aggregate makes one row of everything";
            return Err(TableError::invalid(message).with_field("by"));
        }
        if let Some(twice) = by.iter().enumerate().find(|(i, name)| by[..*i].contains(name)).map(|(_, name)| name) {
            return Err(TableError::invalid(format!("by names '{twice}' twice")).with_field("by"));
        }
        let aggregates = Aggregate::compile(self.aggregates, &by)?;
        Ok(Box::new(Group { by: by.iter().map(|name| Field::new(name)).collect(), aggregates }))
    }
}

impl Spec for AggregateAllSpec {
    const NAME: &'static str = "aggregate";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        if self.aggregates.is_empty() {
            return Err(TableError::invalid("aggregates must hold at least one").with_field("aggregates"));
        }
        Ok(Box::new(Group { by: Vec::new(), aggregates: Aggregate::compile(self.aggregates, &[])? }))
    }
}

struct Group {
    by: Vec<Field>,
    aggregates: Vec<Aggregate>,
}

impl Operation for Group {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        let fields = self.by.iter().chain(self.aggregates.iter().filter_map(|aggregate| aggregate.field.as_ref()));
        for field in fields {
            checker.require(&before, field)?;
        }
        let names = self.by.iter().map(Field::name).chain(self.aggregates.iter().map(|one| one.name.as_str()));
        Ok(Columns::Certain(names.map(str::to_owned).collect()))
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut layout = Layout::default();
        let by: Vec<FieldSlot> = self.by.iter().map(|field| layout.field(field)).collect();
        let over: Vec<Option<FieldSlot>> =
            self.aggregates.iter().map(|one| one.field.as_ref().map(|field| layout.field(field))).collect();
        let make = || Groups {
            step: self,
            by: &by,
            over: &over,
            index: HashMap::new(),
            keys: Vec::new(),
            values: Vec::new(),
            skipped: vec![0; self.aggregates.len()],
            key: Vec::new(),
            recent: Recent::default(),
        };
        let mut groups = cx.pass(&table, layout, make)?;
        if self.by.is_empty() && groups.index.is_empty() {
            groups.group_of(&[])?;
        }
        self.write(groups, cx)
    }
}

impl Group {
    fn write(&self, groups: Groups<'_, '_>, cx: &Cx<'_>) -> Result<Table, TableError> {
        let mut rows = Writer::new(cx.limits);
        let mut skipped = groups.skipped;
        let mut keys = groups.keys.into_iter();
        let mut values = groups.values.into_iter();
        for _ in 0..groups.index.len() {
            for (field, key) in self.by.iter().zip(&mut keys) {
                rows.member(field.name(), key.unwrap_or("null"));
            }
            for (i, (aggregate, value)) in self.aggregates.iter().zip(&mut values).enumerate() {
                let (text, other_types) = value.finish();
                skipped[i] += other_types;
                rows.member(&aggregate.name, &text);
            }
            rows.end_object()?;
        }
        for (aggregate, count) in self.aggregates.iter().zip(skipped) {
            if let Some(field) = &aggregate.field {
                cx.warn_skipped(field.name(), count, aggregate.needed());
            }
        }
        Ok(rows.finish().into())
    }
}

/// The groups so far: their keys and values lie one group after another.
struct Groups<'a, 's> {
    step: &'s Group,
    by: &'s [FieldSlot],
    over: &'s [Option<FieldSlot>],
    /// The standard library's hasher: keyed, so that no input can aim at collisions.
    index: HashMap<Box<[u8]>, usize>,
    keys: Vec<Option<&'a str>>,
    values: Vec<Value<'a>>,
    skipped: Vec<u64>,
    key: Vec<u8>,
    recent: Recent<'a>,
}

/// Groups found lately by keys as they are written: most rows spell equal keys alike. A place holds one key,
/// so an input that aims at collisions only falls back on the index.
struct Recent<'a>(Vec<Option<(&'a str, usize)>>);

impl Default for Recent<'_> {
    fn default() -> Self {
        Self(vec![None; Self::PLACES])
    }
}

impl<'a> Recent<'a> {
    const PLACES: usize = 256;

    #[inline]
    fn place(key: &str) -> usize {
        usize::try_from(FxBuildHasher.hash_one(key) % Self::PLACES as u64).unwrap_or(0)
    }

    #[inline]
    fn get(&self, key: &str) -> Option<usize> {
        self.0[Self::place(key)].filter(|(known, _)| *known == key).map(|(_, group)| group)
    }

    fn put(&mut self, key: &'a str, group: usize) {
        self.0[Self::place(key)] = Some((key, group));
    }
}

impl<'a> Groups<'a, '_> {
    /// The number of a row's group.
    #[inline]
    fn group(&mut self, slots: &Slots<'a>) -> Result<usize, TableError> {
        let [slot] = self.by else { return self.looked_up(slots) };
        let key = slot.of(slots).unwrap_or("null");
        if let Some(group) = self.recent.get(key) {
            return Ok(group);
        }
        let group = self.looked_up(slots)?;
        self.recent.put(key, group);
        Ok(group)
    }

    fn looked_up(&mut self, slots: &Slots<'a>) -> Result<usize, TableError> {
        self.key.clear();
        for slot in self.by {
            canonical::push(slot.of(slots), &mut self.key);
        }
        if let Some(group) = self.index.get(self.key.as_slice()) {
            return Ok(*group);
        }
        let parts: Vec<Option<&'a str>> = self.by.iter().map(|slot| slot.of(slots)).collect();
        self.group_of(&parts)
    }

    /// The number of the group with the key in `self.key`; a new one gets `parts` as its key columns.
    fn group_of(&mut self, parts: &[Option<&'a str>]) -> Result<usize, TableError> {
        if let Some(group) = self.index.get(self.key.as_slice()) {
            return Ok(*group);
        }
        let group = self.index.len();
        self.index.insert(self.key.as_slice().into(), group);
        self.keys.extend_from_slice(parts);
        self.values.extend(self.step.aggregates.iter().map(Aggregate::start));
        Ok(group)
    }
}

impl<'a> Sink<'a> for Groups<'a, '_> {
    #[inline]
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let group = self.group(row.slots)?;
        let width = self.step.aggregates.len();
        let values = &mut self.values[group * width..(group + 1) * width];
        for (i, (value, aggregate)) in values.iter_mut().zip(&self.step.aggregates).enumerate() {
            let raw = self.over[i].as_ref().and_then(|slot| slot.of(row.slots));
            self.skipped[i] += u64::from(aggregate.add(value, raw)?);
        }
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        let width = self.step.aggregates.len();
        let key_width = self.by.len();
        let mut order: Vec<(usize, Box<[u8]>)> = later.index.into_iter().map(|(key, group)| (group, key)).collect();
        order.sort_unstable_by_key(|(group, _)| *group);
        let mut values = later.values.into_iter();
        for (group, key) in order {
            self.key.clear();
            self.key.extend_from_slice(&key);
            let mine = self.group_of(&later.keys[group * key_width..(group + 1) * key_width])?;
            let mine = &mut self.values[mine * width..(mine + 1) * width];
            for ((value, aggregate), more) in mine.iter_mut().zip(&self.step.aggregates).zip(&mut values) {
                aggregate.merge(value, more)?;
            }
        }
        self.skipped.iter_mut().zip(&later.skipped).for_each(|(sum, more)| *sum += more);
        Ok(())
    }
}
