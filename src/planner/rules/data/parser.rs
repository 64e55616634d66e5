//! The sentence: every token is taken by some part of the grammar, or the request is refused.

use serde_json::Value as Json;

use super::{
    aggregate,
    columns::Columns,
    condition::Conditions,
    derive, order, rank, remove, route, select, slice,
    stage::{Aggregate, By, End, Key, Stage},
    vocabulary::{ANALYSES, FILLER_PHRASES, LOOSE},
};
use crate::planner::rules::cursor::{Cursor, Problem};
use crate::planner::rules::{lex::Token, names};

/// What was not understood of a request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Misunderstood {
    /// Words nobody took, and parts that lack something.
    pub(crate) parts: Vec<String>,
}

/// The pipeline a request asks for.
pub(super) fn pipeline(tokens: &[Token], columns: &Columns) -> Result<Vec<Json>, Misunderstood> {
    let mut parser = Parser::new(tokens, columns.clone());
    let done = parser.run();
    if let Err(problem) = done {
        parser.misunderstood.push(problem);
    }
    if !parser.misunderstood.is_empty() {
        return Err(Misunderstood { parts: parser.misunderstood });
    }
    if parser.steps.is_empty() {
        return Err(Misunderstood { parts: vec!["what to do with the rows".into()] });
    }
    Ok(parser.steps)
}

/// What may follow a verb of a date: "created after".
pub(super) const DATED: &[&str] = &["after", "before", "since", "until", "on", "in", "between"];

pub(super) struct Parser<'a> {
    pub(super) at: Cursor<'a>,
    pub(super) columns: Columns,
    pub(super) stage: Stage,
    pub(super) steps: Vec<Json>,
    pub(super) misunderstood: Vec<String>,
    /// What the rows are called, once said: "flights".
    pub(super) rows: Option<String>,
    /// A noun for the rows may stand here.
    pub(super) noun_fits: bool,
    /// "which flight …": a superlative has to pick one row.
    pub(super) asked_one: Option<String>,
    /// The column that the noun for the rows is also the name of: "cities" of `city`.
    pub(super) noun_column: Option<String>,
}

impl<'a> Parser<'a> {
    fn new(tokens: &'a [Token], columns: Columns) -> Self {
        Self {
            at: Cursor::new(tokens),
            columns,
            stage: Stage::default(),
            steps: Vec::new(),
            misunderstood: Vec::new(),
            rows: None,
            noun_fits: true,
            noun_column: None,
            asked_one: None,
        }
    }

    fn run(&mut self) -> Result<(), Problem> {
        while !self.at.done() {
            if self.next_stage()? || self.part()? || self.joined()? || self.loose() {
                continue;
            }
            self.give_up_on_word();
        }
        if let Some(word) = self.asked_one.take() {
            return Err(format!("which {word} is asked for"));
        }
        self.finish_stage()
    }

    /// Ends a stage at "then" or at the end of a sentence.
    fn next_stage(&mut self) -> Result<bool, Problem> {
        #[rustfmt::skip]
        const ENDS: &[&str] = &[
            ", and then", "and then", ", then", ". then", "; then", "then", "after that ,", "after that",
            "afterwards ,", "afterwards", "finally ,", "finally", ", finally", "and finally", ". finally ,",
            ". finally", "next ,", "lastly ,", ";", ".", ". after that ,", ". next ,", "and afterwards", "->",
        ];
        if self.at.eat_longest(ENDS).is_none() {
            return Ok(false);
        }
        self.finish_stage()?;
        self.noun_fits = true;
        Ok(true)
    }

    fn finish_stage(&mut self) -> Result<(), Problem> {
        let mut stage = std::mem::take(&mut self.stage);
        self.settle_noun(&mut stage)?;
        if stage.is_empty() || !self.misunderstood.is_empty() {
            return Ok(());
        }
        self.columns = stage.compile(&self.columns, &mut self.steps)?;
        Ok(())
    }

    /// One part of the grammar.
    fn part(&mut self) -> Result<bool, Problem> {
        #[rustfmt::skip]
        const PART_WORDS: &[&str] = &[
            "everything", "all rows", "all the rows", "all of the rows", "all data", "all the data",
            "all records", "all entries",
        ];
        let start = self.at.at;
        let found = self.kept_workflow()
            || self.at.eat_any(PART_WORDS).is_some_and(|_| {
                self.stage.everything = true;
                true
            })
            || slice::address(&mut self.at, &mut self.stage)?
            || self.subject()?
            || remove::distinct(&mut self.at, &self.columns, &mut self.stage)?
            || self.new_columns()?
            || remove::remove(&mut self.at, &self.columns, &mut self.stage)?
            || slice::slice(&mut self.at, &mut self.stage)?
            || order::first(&mut self.at, &self.columns, &mut self.stage)?
            || self.sort()?
            || aggregate::group(&mut self.at, &self.columns, &mut self.stage)?
            || self.rank()?
            || self.aggregates()?
            || route::route(&mut self.at, &self.columns, &mut self.stage)?
            || self.filter()?
            || self.counted_rows()?
            || select::select(&mut self.at, &self.columns, &mut self.stage)?
            || self.by()?
            || self.noun();
        if found && self.at.at == start {
            return Err(format!("\"{}\"", self.at.raw()));
        }
        Ok(found)
    }

    /// "don't change the workflow": said and kept.
    fn kept_workflow(&mut self) -> bool {
        #[rustfmt::skip]
        const KEPT_WORKFLOW_WORDS: &[&str] = &[
            "change", "changing", "touch", "touching", "modify", "modifying", "edit", "editing", "alter",
            "altering", "update", "updating",
        ];
        let start = self.at.look();
        let denied = self.at.eat_any(&["dont", "do not", "without", "never", "please dont", "please do not"]).is_some();
        let verb = self.at.eat_any(KEPT_WORKFLOW_WORDS);
        self.at.articles();
        let flow = self.at.eat_any(&["workflow", "flow", "steps", "nodes", "pipeline"]).is_some();
        let kept = denied && verb.is_some() && flow;
        if !kept {
            self.at = start;
        }
        kept
    }

    /// "which airline has the highest average price", "top 3 airlines by number of flights".
    fn subject(&mut self) -> Result<bool, Problem> {
        let start = self.at.look();
        let asked = self.at.eat_any(&["which", "what"]).is_some();
        let column = if self.columns.known.is_some() { self.at.column(&self.columns) } else { None };
        let most =
            asked && self.at.eat_any(&["has the", "have the", "had the", "got the", "has", "have", "had"]).is_some();
        if let Some(column) = column.filter(|_| most) {
            let descending = self.at.eat_key(&[
                ("most", true),
                ("highest", true),
                ("largest", true),
                ("fewest", false),
                ("least", false),
                ("lowest", false),
            ]);
            if let Some(descending) = descending
                && let Some(aggregate) = self.group_aggregate()?
            {
                self.rows = Some(column.clone());
                self.stage.group.push(column);
                self.stage.rank = Some(Key { by: By::Aggregate(aggregate), descending: Some(descending) });
                self.stage.take = Some((1, End::Top));
                return Ok(true);
            }
        }
        self.at = start;
        Ok(asked && self.asked_for_one())
    }

    /// "which flight is …": one row is asked for.
    fn asked_for_one(&mut self) -> bool {
        let start = self.at;
        self.at.eat_any(&["which", "what"]);
        let word = self.at.word(0);
        let noun = self.columns.at(self.at.rest()).is_some() || !super::vocabulary::reserved(word);
        let asked =
            noun && !word.is_empty() && !names::plural(word) && matches!(self.at.word(1), "is" | "was" | "has" | "had");
        if !asked || self.rows.is_some() {
            self.at = start;
            return false;
        }
        self.rows = Some(names::singular(word));
        self.asked_one = Some(word.to_owned());
        self.at.at += 1;
        true
    }

    /// An aggregate that orders groups; a bare noun for rows counts them.
    fn group_aggregate(&mut self) -> Result<Option<Aggregate>, Problem> {
        if let Some(found) = aggregate::one(&mut self.at, &self.columns)? {
            return Ok(Some(found));
        }
        let column = self.at.look().column(&self.columns);
        let identity = column.as_deref().is_some_and(|name| self.columns.names().first() == Some(&name));
        if identity || (column.is_none() && names::plural(self.at.word(0)) && !ANALYSES.contains(&self.at.word(0))) {
            self.at.at += 1;
            return Ok(Some(Aggregate { op: "count", field: None }));
        }
        Ok(None)
    }

    fn sort(&mut self) -> Result<bool, Problem> {
        // Rows are sorted after grouping, when their columns are the aggregates'.
        let columns = self.columns_at_end();
        let found = order::sort(&mut self.at, &columns, &mut self.stage)?;
        self.noun_fits &= !found;
        Ok(found)
    }

    /// The columns as a sort sees them: after aggregates, these and the groups.
    fn columns_at_end(&self) -> Columns {
        if self.stage.aggregates.is_empty() || self.columns.known.is_none() {
            return self.columns.clone();
        }
        let made = self.stage.aggregates.iter().map(Aggregate::name);
        let names: Vec<String> = self.stage.group.iter().cloned().chain(made).collect();
        self.columns.keep(&names, "number").or(&self.columns)
    }

    fn rank(&mut self) -> Result<bool, Problem> {
        if !rank::rank(&mut self.at, &self.columns, &mut self.stage)? {
            return Ok(false);
        }
        self.noun_fits = true;
        if self.stage.rank.is_some() && self.stage.take.is_none() {
            self.stage.single |= self.asked_one.take().is_some();
        }
        let start = self.at.look();
        // "top 3 airlines by average price" ranks groups.
        if let Some(column) = self.at.column(&self.columns).filter(|_| self.columns.known.is_some())
            && self.at.eat_any(&["by", "with the most", "with the highest", "having the most"]).is_some()
            && let Some(aggregate) = if start_by(&start, &self.at) {
                aggregate::one(&mut self.at, &self.columns)?
            } else {
                self.group_aggregate()?
            }
        {
            let descending = !matches!(self.stage.take, Some((_, End::Bottom)));
            self.stage.group.push(column);
            self.stage.rank = Some(Key { by: By::Aggregate(aggregate), descending: Some(descending) });
            return Ok(true);
        }
        self.at = start;
        self.ranked_noun()?;
        Ok(true)
    }

    /// "the cheapest flight": the noun behind a superlative names the rows, even where a column is called so.
    fn ranked_noun(&mut self) -> Result<(), Problem> {
        let start = self.at;
        let word = start.word(0);
        if self.columns.known.is_some() && self.at.column(&self.columns).is_some() {
            let list = matches!(self.at.word(0), "," | "and" | "&") && self.at.look().joint();
            if self.at.at_boundary() && !list && !select::compared(&self.at) {
                let one = names::singular(word);
                if let Some(known) = self.rows.as_ref().filter(|known| **known != one) {
                    return Err(format!("two names for the rows, \"{known}\" and \"{one}\""));
                }
                self.rows = Some(one);
                if names::plural(word) {
                    self.noun_column = self.columns.at(start.rest()).map(|(name, _)| name);
                }
                self.singular(word);
                return Ok(());
            }
        }
        self.at = start;
        Ok(())
    }

    fn aggregates(&mut self) -> Result<bool, Problem> {
        let found = aggregate::aggregates(&mut self.at, &self.columns, &mut self.stage)?;
        self.noun_fits |= found;
        Ok(found)
    }

    /// A condition, with or without its opener.
    fn filter(&mut self) -> Result<bool, Problem> {
        #[rustfmt::skip]
        const OPENERS: &[&str] = &[
            "who live in", "who lives in", "live in", "lives in", "living in", "located in", "based in", "in the", "named", "called",
            "in which", "for which", "where the", "where", "whose", "that are", "that is", "that were",
            "that have", "that has", "that had", "which are", "which is", "which have", "which has", "who are",
            "who is", "who have", "with", "having", "that", "which", "who", "when", "if", "provided",
            "filtered by", "filtered to", "filter by", "filter on", "filter for", "filter to", "for", "of", "in", "from", "by", "at", "on", "to the",
        ];
        if self.by_and_compared() {
            return Ok(false);
        }
        let start = self.at.look();
        let opened = self.at.eat_any(OPENERS);
        let mut conditions = Conditions { columns: &self.columns, last: None, bare: true };
        if let Some(mut found) = conditions.any(&mut self.at)? {
            if let Some(count) = self.counted_groups()
                && found.name_implied(&count)
            {
                self.finish_stage()?;
            }
            self.stage.filters.push(found);
            self.noun_fits = true;
            return Ok(true);
        }
        if let Some(opener) =
            opened.filter(|opener| opener.starts_with("filter") || matches!(*opener, "where" | "whose"))
        {
            return Err(format!("the condition behind \"{opener}\": {}", order::unknown(&self.at, &self.columns)));
        }
        self.at = start.look();
        // "on 2026-01-01", "since 2025" begin with what looks like an opener.
        let mut conditions = Conditions { columns: &self.columns, last: None, bare: true };
        if let Some(found) = conditions.any(&mut self.at)? {
            self.stage.filters.push(found);
            return Ok(true);
        }
        self.at = start;
        Ok(false)
    }

    /// "top 5 by price under 500": an order first, and a condition on the same column behind it.
    fn by_and_compared(&self) -> bool {
        let mut ahead = self.at.look();
        ahead.eat("by") && ahead.column(&self.columns).is_some() && select::compared(&ahead)
    }

    /// "count flights by airline with more than 5": the number is about the groups that were just counted.
    fn counted_groups(&self) -> Option<String> {
        let [count] = self.stage.aggregates.as_slice() else { return None };
        let open = !self.stage.group.is_empty() && self.stage.take.is_none() && count.op == "count";
        open.then(|| count.name())
    }

    /// Renamed and computed columns: what stands behind them may use them, so the stage ends here.
    fn new_columns(&mut self) -> Result<bool, Problem> {
        let found = select::rename(&mut self.at, &self.columns, &mut self.stage)?
            || derive::derive(&mut self.at, &self.columns, &mut self.stage)?;
        if found {
            self.finish_stage()?;
        }
        Ok(found)
    }

    /// "3 rows", "10 flights": a number of rows without an order.
    fn counted_rows(&mut self) -> Result<bool, Problem> {
        let start = self.at;
        let Some(count) = self.at.count() else { return Ok(false) };
        let fits = self.noun_fits;
        self.noun_fits = true;
        if !self.noun() {
            (self.at, self.noun_fits) = (start, fits);
            return Ok(false);
        }
        if count == 0 || self.stage.take.is_some() || self.stage.limit.is_some() {
            return Err(format!("{count} rows"));
        }
        self.stage.take = Some((count, End::Top));
        Ok(true)
    }

    /// "by price": what for is settled when the sentence is over.
    fn by(&mut self) -> Result<bool, Problem> {
        let start = self.at.look();
        if !self.at.eat("by") {
            return Ok(false);
        }
        if self.at.look().column(&self.columns).is_none()
            && aggregate::one(&mut self.at.look(), &self.columns)?.is_none()
        {
            let problem = order::unknown(&self.at, &self.columns);
            self.at = start;
            return Err(format!("what stands behind \"by\": {problem}"));
        }
        if self.stage.aggregates.is_empty() {
            let keys = order::keys(&mut self.at, &self.columns)?;
            self.stage.by.extend(keys);
        } else {
            let fields = self.at.column_list(&self.columns);
            self.stage.group.extend(fields);
        }
        self.noun_fits = false;
        Ok(true)
    }

    /// "and", ",", "with" before another part.
    fn joined(&mut self) -> Result<bool, Problem> {
        #[rustfmt::skip]
        const JOINERS: &[&str] = &[
            ", and also", ", and", ", but", "and also", "and", "but", "plus", ",", "&", "with", "that", "which",
            "who", "of", "for", "in", "from", "as well as", "!", "?", ":", "among", "out of", "within",
        ];
        let start = self.at.look();
        let Some(joiner) = self.at.eat_any(JOINERS) else { return Ok(false) };
        if matches!(joiner, "!" | "?") || self.at.done() && matches!(joiner, "," | ":") {
            return Ok(true);
        }
        let list = matches!(joiner, "and" | ", and" | "," | "&" | "as well as");
        let before = self.noun_fits;
        self.noun_fits = !list;
        while self
            .at
            .eat_any(&[
                "the", "a", "an", "all", "only", "just", "also", "show", "me", "please", "then", "give", "these",
                "those", "them", "our", "my",
            ])
            .is_some()
        {}
        let shown = self.stage.select.len();
        if self.at.done() || self.part()? || self.next_stage()? {
            if joiner == "with" && self.stage.select.len() == shown + 1 {
                let column = &self.stage.select[shown].0;
                return Err(format!("\"with {column}\" (say \"only {column}\" or \"with {column} over 5\")"));
            }
            return Ok(true);
        }
        self.noun_fits = before;
        if list || joiner == ":" {
            // The word behind is judged by itself.
            return Ok(true);
        }
        self.at = start;
        Ok(false)
    }

    /// The frame of the request.
    fn loose(&mut self) -> bool {
        if self.at.eat_any(FILLER_PHRASES).is_some() {
            return true;
        }
        let word = self.at.word(0);
        let found = LOOSE.contains(&word) || self.at.sees("\"");
        self.at.at += usize::from(found);
        found
    }

    fn give_up_on_word(&mut self) {
        let raw = self.at.raw();
        let close = names::closest(raw, self.columns.names().into_iter());
        self.misunderstood.push(match close {
            Some(close) => format!("\"{raw}\" (did you mean `{close}`?)"),
            None => format!("\"{raw}\""),
        });
        self.at.at += 1;
        self.noun_fits = false;
    }
}

/// Whether the last word taken between two places is "by".
fn start_by(start: &Cursor<'_>, end: &Cursor<'_>) -> bool {
    let taken = end.at - start.at;
    taken > 0 && start.word(taken - 1) == "by"
}
