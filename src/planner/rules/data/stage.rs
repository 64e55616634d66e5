//! One stage of a request, and the pipeline steps it becomes.

use serde_json::{Map, Value as Json, json};

use super::{
    columns::Columns,
    logic::{self, Condition},
    resolve::Resolver,
};
use crate::planner::rules::cursor::Problem;

/// A column and a direction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) by: By,
    /// None where nothing was said.
    pub(super) descending: Option<bool>,
}

/// What is sorted, ranked or grouped by.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum By {
    Column(String),
    Aggregate(Aggregate),
}

/// An aggregate; `count` needs no field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Aggregate {
    pub(super) op: &'static str,
    pub(super) field: Option<String>,
}

impl Aggregate {
    /// The column it makes.
    pub(super) fn name(&self) -> String {
        match &self.field {
            Some(field) => format!("{}_{field}", self.op),
            None => self.op.to_owned(),
        }
    }

    fn json(&self, columns: &Columns) -> Json {
        let mut json = Map::new();
        json.insert("op".into(), self.op.into());
        if let Some(field) = &self.field {
            json.insert("field".into(), field.as_str().into());
            let numeric = matches!(self.op, "sum" | "avg" | "min" | "max" | "median");
            if numeric && columns.get(field).is_some_and(super::columns::Known::numeric_text) {
                json.insert("cast".into(), "number".into());
            }
        }
        Json::Object(json)
    }
}

/// Which end of the rows is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// top, best: the largest, or the first of what is sorted.
    Top,
    /// first: in the order the rows have.
    First,
    /// bottom.
    Bottom,
    /// last: in the order the rows have.
    Last,
}

/// Everything one stage asks for. Its order of steps is fixed: fetch, filter, group, sort, take, shape.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) url: Option<(String, Option<&'static str>)>,
    pub(super) filters: Vec<Condition>,
    pub(super) derive: Vec<(String, String)>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) group: Vec<String>,
    /// Rows without repeats, by these fields or as a whole.
    pub(super) distinct: Option<Vec<String>>,
    /// "distinct airlines": these columns alone, without repeats.
    pub(super) unique: Vec<String>,
    pub(super) sort: Vec<Key>,
    /// A superlative: the column, and whether the largest come first.
    pub(super) rank: Option<Key>,
    pub(super) take: Option<(u64, End)>,
    /// "the cheapest flight": one.
    pub(super) single: bool,
    /// "by X", where nothing said yet what for.
    pub(super) by: Vec<Key>,
    pub(super) offset: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) rename: Vec<(String, String)>,
    /// Columns to show, with new names where given.
    pub(super) select: Vec<(String, Option<String>)>,
    pub(super) drop: Vec<String>,
    /// "all rows": nothing else is needed.
    pub(super) everything: bool,
}

impl Stage {
    pub(super) fn is_empty(&self) -> bool {
        self.url.is_none() && self.shapes_nothing() && !self.everything
    }

    /// Nothing but where the data comes from.
    fn shapes_nothing(&self) -> bool {
        self.filters.is_empty()
            && self.derive.is_empty()
            && self.aggregates.is_empty()
            && self.group.is_empty()
            && self.distinct.is_none()
            && self.unique.is_empty()
            && self.sort.is_empty()
            && self.rank.is_none()
            && self.take.is_none()
            && self.by.is_empty()
            && self.offset.is_none()
            && self.limit.is_none()
            && self.rename.is_empty()
            && self.select.is_empty()
            && self.drop.is_empty()
    }

    /// The steps, and the columns after them.
    pub(super) fn compile(mut self, columns: &Columns, steps: &mut Vec<Json>) -> Result<Columns, Problem> {
        let mut columns = columns.clone();
        if let Some((url, format)) = self.url.take() {
            let mut step = json!({"step": "http_request", "url": url});
            if let Some(format) = format {
                step["format"] = format.into();
            }
            steps.push(step);
            columns = Columns::default();
        } else if self.shapes_nothing() && self.everything {
            steps.push(json!({"step": "slice", "offset": 0}));
        }
        self.settle_by()?;
        self.filter(&columns, steps)?;
        for (name, expr) in &self.derive {
            steps.push(json!({"step": "derive", "as": name, "expr": expr}));
        }
        let derived: Vec<String> = self.derive.iter().map(|(name, _)| name.clone()).collect();
        if !derived.is_empty() {
            let names: Vec<String> = columns.names().into_iter().map(str::to_owned).chain(derived).collect();
            columns = columns.keep(&names, "mixed");
        }
        if self.one_of_each()? {
            let (group, rank) = (std::mem::take(&mut self.group), self.rank.take());
            // The first of each group after sorting.
            sort_step(rank.as_slice(), &columns, steps);
            steps.push(json!({"step": "distinct", "fields": group}));
            (self.single, self.take) = (false, None);
        }
        if let Some(fields) = &self.distinct {
            steps.push(if fields.is_empty() {
                json!({"step": "distinct"})
            } else {
                json!({"step": "distinct", "fields": fields})
            });
        }
        columns = self.aggregate(columns, steps)?;
        if !self.unique.is_empty() {
            columns = self.only_unique(&columns, steps)?;
        }
        self.order(&columns, steps)?;
        Ok(self.shape(columns, steps))
    }

    /// "the cheapest flight of each airline".
    fn one_of_each(&self) -> Result<bool, Problem> {
        let column = matches!(&self.rank, Some(Key { by: By::Column(_), .. }));
        if self.group.is_empty() || !self.aggregates.is_empty() || !column {
            return Ok(false);
        }
        match self.take {
            None if self.single => Ok(true),
            Some((1, _)) => Ok(true),
            _ => Err(format!(
                "several rows for each {}; one for each works (\"the cheapest for each …\")",
                self.group.join(", ")
            )),
        }
    }

    /// Sorting comes first: the column that is sorted by may not be among those shown.
    fn only_unique(&mut self, columns: &Columns, steps: &mut Vec<Json>) -> Result<Columns, Problem> {
        if self.rank.is_some() || !self.aggregates.is_empty() || !self.select.is_empty() {
            return Err("distinct values together with a ranking, an aggregate or other columns".into());
        }
        sort_step(&std::mem::take(&mut self.sort), columns, steps);
        steps.push(json!({"step": "table_select", "fields": self.unique}));
        steps.push(json!({"step": "distinct"}));
        Ok(columns.keep(&self.unique, "mixed"))
    }

    /// "by X" ranks after "top", groups after an aggregate, and sorts otherwise.
    fn settle_by(&mut self) -> Result<(), Problem> {
        let by = std::mem::take(&mut self.by);
        if by.is_empty() {
            return Ok(());
        }
        let plain: Option<Vec<String>> = by
            .iter()
            .map(|key| match &key.by {
                By::Column(name) if key.descending.is_none() => Some(name.clone()),
                _ => None,
            })
            .collect();
        if !self.aggregates.is_empty() {
            match plain {
                Some(names) => self.group.extend(names),
                None => return Err("an order after \"by\" here (say \"sorted by\")".into()),
            }
        } else if self.take.is_some() || self.single {
            if self.rank.is_some() || by.len() > 1 {
                return Err("more than one order for the rows to take (say \"sorted by a, then by b\")".into());
            }
            self.rank_by(by.into_iter().next());
        } else if self.rank.is_some() {
            return Err("\"by\" after a superlative (say \"for each\" to get one for each group)".into());
        } else {
            self.sort.extend(by);
        }
        Ok(())
    }

    fn rank_by(&mut self, key: Option<Key>) {
        let Some(key) = key else { return };
        let bottom = matches!(self.take, Some((_, End::Bottom)));
        let first = matches!(self.take, Some((_, End::First)));
        // "top 5 by price" are the largest, "bottom 5" the smallest; "first" and "last" are ends of the rising order.
        let descending = key.descending.unwrap_or(!(bottom || first));
        self.rank = Some(Key { by: key.by, descending: Some(descending) });
    }

    fn filter(&self, columns: &Columns, steps: &mut Vec<Json>) -> Result<(), Problem> {
        let key = self.sort.first().or(self.rank.as_ref());
        let sorted = key.and_then(|key| match &key.by {
            By::Column(name) => Some(name.as_str()),
            By::Aggregate(_) => None,
        });
        if let Some(problem) = logic::contradiction(&self.filters) {
            return Err(problem);
        }
        let resolver = Resolver { columns, sorted };
        let mut all = self.filters.iter().map(|filter| resolver.json(filter)).collect::<Result<Vec<_>, _>>()?;
        match all.len() {
            0 => {}
            1 => steps.push(json!({"step": "table_filter", "condition": all.remove(0)})),
            _ => {
                // {"and":[…]} of {"and":[…]} reads badly: one list.
                let flat: Vec<Json> = all
                    .into_iter()
                    .flat_map(|one| match one {
                        Json::Object(mut map) if map.len() == 1 && map.get("and").is_some_and(Json::is_array) => {
                            match map.remove("and") {
                                Some(Json::Array(inner)) => inner,
                                _ => Vec::new(),
                            }
                        }
                        one => vec![one],
                    })
                    .collect();
                steps.push(json!({"step": "table_filter", "condition": {"and": flat}}));
            }
        }
        Ok(())
    }

    fn aggregate(&mut self, columns: Columns, steps: &mut Vec<Json>) -> Result<Columns, Problem> {
        // "top 3 airlines by average price" orders by an aggregate that nobody asked to see by itself.
        if let ([aggregate], Some((_, End::Top)), None, []) = (&*self.aggregates, self.take, &self.rank, &*self.sort)
            && !self.group.is_empty()
        {
            // "average price per airline, top 3"
            self.rank = Some(Key { by: By::Aggregate(aggregate.clone()), descending: Some(true) });
        }
        let keys = self.sort.iter().chain(self.rank.as_ref());
        for key in keys {
            if let By::Aggregate(aggregate) = &key.by
                && !self.aggregates.contains(aggregate)
            {
                if self.group.is_empty() {
                    return Err(format!("an order by {} without groups (say \"per <column>\")", aggregate.name()));
                }
                self.aggregates.push(aggregate.clone());
            }
        }
        if self.aggregates.is_empty() && self.group.is_empty() {
            return Ok(columns);
        }
        if self.aggregates.is_empty() {
            return Err(format!("what to compute for each {} (as in \"count by {0}\")", self.group.join(", ")));
        }
        let list: Vec<Json> = self.aggregates.iter().map(|aggregate| aggregate.json(&columns)).collect();
        let mut names = self.group.clone();
        if self.group.is_empty() {
            let count = [Aggregate { op: "count", field: None }];
            if self.aggregates == count {
                steps.push(json!({"step": "count"}));
            } else {
                steps.push(json!({"step": "aggregate", "aggregates": list}));
            }
        } else {
            steps.push(json!({"step": "group_by", "by": self.group, "aggregates": list}));
        }
        names.extend(self.aggregates.iter().map(Aggregate::name));
        Ok(columns.keep(&names, "number"))
    }

    /// Sorting, skipping and taking.
    fn order(&mut self, columns: &Columns, steps: &mut Vec<Json>) -> Result<(), Problem> {
        let take = self.take.or(self.single.then_some((1, End::Top)).filter(|_| self.rank.is_some()));
        if let (Some(key), Some((k, _))) = (&self.rank, take) {
            return self.ranked(key, k, columns, steps);
        }
        if let Some(key) = self.rank.take() {
            self.sort.insert(0, key);
        }
        sort_step(&self.sort, columns, steps);
        if let Some(offset) = self.offset {
            steps.push(match self.limit.take() {
                Some(limit) => json!({"step": "slice", "offset": offset, "limit": limit}),
                None => json!({"step": "slice", "offset": offset}),
            });
        }
        match take {
            Some((_, End::Bottom | End::Last)) => {
                return Err("what the last rows are ordered by (as in \"last 5 by date\")".into());
            }
            Some((k, _)) => steps.push(json!({"step": "top_k", "k": k})),
            None => {}
        }
        if let Some(limit) = self.limit {
            steps.push(json!({"step": "top_k", "k": limit}));
        }
        Ok(())
    }

    /// The k largest or smallest; of each group, where groups stand beside a superlative.
    fn ranked(&self, key: &Key, k: u64, columns: &Columns, steps: &mut Vec<Json>) -> Result<(), Problem> {
        let name = key.by.name();
        let descending = key.descending.unwrap_or(true);
        let cast = columns.get(&name).is_some_and(super::columns::Known::numeric_text);
        if !self.sort.is_empty() && self.sort != [key.clone()] {
            // "the 5 cheapest, sorted by name": taken first, sorted afterwards.
            top_step(&name, descending, cast, k, steps);
            sort_step(&self.sort, columns, steps);
            return Ok(());
        }
        if let Some(offset) = self.offset {
            sort_step(std::slice::from_ref(key), columns, steps);
            steps.push(json!({"step": "slice", "offset": offset, "limit": k}));
            return Ok(());
        }
        top_step(&name, descending, cast, k, steps);
        Ok(())
    }

    /// Renaming, choosing and dropping columns.
    fn shape(&self, mut columns: Columns, steps: &mut Vec<Json>) -> Columns {
        if !self.rename.is_empty() {
            let map: Map<String, Json> =
                self.rename.iter().map(|(old, new)| (old.clone(), new.as_str().into())).collect();
            steps.push(json!({"step": "rename", "columns": map}));
            let renamed = |name: &str| {
                self.rename.iter().find(|(old, _)| old == name).map_or_else(|| name.to_owned(), |(_, new)| new.clone())
            };
            let names: Vec<String> = columns.names().into_iter().map(renamed).collect();
            columns = columns.keep(&names, "mixed");
        }
        if !self.drop.is_empty() {
            steps.push(json!({"step": "drop", "fields": self.drop}));
            let names: Vec<String> = columns
                .names()
                .into_iter()
                .filter(|name| !self.drop.iter().any(|drop| drop == name))
                .map(str::to_owned)
                .collect();
            columns = columns.keep(&names, "mixed");
        }
        if !self.select.is_empty() {
            let fields: Vec<Json> = self
                .select
                .iter()
                .map(|(field, new)| new.as_ref().map_or_else(|| json!(field), |new| json!({"field": field, "as": new})))
                .collect();
            steps.push(json!({"step": "table_select", "fields": fields}));
            let names: Vec<String> =
                self.select.iter().map(|(field, new)| new.clone().unwrap_or_else(|| field.clone())).collect();
            columns = columns.keep(&names, "mixed");
        }
        columns
    }
}

impl By {
    /// The column that is looked at.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Column(name) => name.clone(),
            Self::Aggregate(aggregate) => aggregate.name(),
        }
    }
}

fn top_step(name: &str, descending: bool, cast: bool, k: u64, steps: &mut Vec<Json>) {
    if cast {
        let order = if descending { "desc" } else { "asc" };
        steps.push(json!({"step": "table_sort", "by": [{"field": name, "order": order, "cast": "number"}]}));
        steps.push(json!({"step": "top_k", "k": k}));
    } else if descending {
        steps.push(json!({"step": "top_k", "k": k, "by": name}));
    } else {
        steps.push(json!({"step": "top_k", "k": k, "by": name, "order": "asc"}));
    }
}

fn sort_step(keys: &[Key], columns: &Columns, steps: &mut Vec<Json>) {
    let order = |key: &Key| if key.descending == Some(true) { "desc" } else { "asc" };
    let cast = |key: &Key| columns.get(&key.by.name()).is_some_and(super::columns::Known::numeric_text);
    match keys {
        [] => {}
        [key] if !cast(key) => steps.push(json!({"step": "table_sort", "field": key.by.name(), "order": order(key)})),
        keys => {
            let by: Vec<Json> = keys
                .iter()
                .map(|key| {
                    let mut by = json!({"field": key.by.name(), "order": order(key)});
                    if cast(key) {
                        by["cast"] = "number".into();
                    }
                    by
                })
                .collect();
            steps.push(json!({"step": "table_sort", "by": by}));
        }
    }
}
