//! What the rows are called, and what that says: `flights`, `the cheapest flight`, `top 5 salaries`.

use super::{
    columns::Known,
    parser::{DATED, Parser},
    stage::{By, End, Key, Stage},
    vocabulary::{ANALYSES, ROWS},
};
use crate::planner::rules::{cursor::Problem, lex::Kind, names};

impl Parser<'_> {
    /// A noun that names a column and the rows alike: what it says depends on what else was said.
    pub(super) fn settle_noun(&mut self, stage: &mut Stage) -> Result<(), Problem> {
        let Some(column) = self.noun_column.take() else { return Ok(()) };
        let identity = self.columns.names().first() == Some(&&*column);
        if stage.is_empty() && identity {
            stage.everything = true;
        } else if stage.is_empty() {
            stage.select.push((column, None));
        } else if stage.distinct.as_ref().is_some_and(Vec::is_empty) && !identity {
            // "cities without duplicates"
            stage.distinct = None;
            stage.unique.push(column);
        } else if stage.take.is_some()
            && stage.rank.is_none()
            && stage.by.is_empty()
            && stage.sort.is_empty()
            && !identity
        {
            if !self.columns.get(&column).is_some_and(Known::is_number) {
                return Err(format!("what the top {column} are ordered by (as in \"top 5 by price\")"));
            }
            // "top 5 salaries"
            let descending = !matches!(stage.take, Some((_, End::Bottom)));
            stage.rank = Some(Key { by: By::Column(column), descending: Some(descending) });
        }
        Ok(())
    }

    /// What the rows are called: a general noun, or one unknown plural for the whole request.
    pub(super) fn noun(&mut self) -> bool {
        let word = self.at.word(0);
        if ROWS.contains(&word) {
            self.at.at += 1;
            self.singular(word);
            return true;
        }
        let column = self.columns.known.is_some() && self.columns.at(self.at.rest()).is_some();
        let mut after = self.at.look();
        after.at += 1;
        let ends = after.at_boundary()
            || after.peek(0).is_some_and(|token| matches!(token.kind, Kind::Number(..) | Kind::Date));
        // "orders created after …": the column begins behind the noun.
        let dated = |column: &Known| column.is_date() && column.has_word(after.word(0));
        let ends = ends || (DATED.contains(&after.word(1)) && self.columns.iter().any(dated));
        let known = self.rows.as_deref() == Some(&*names::singular(word));
        let taken = self.stage.take.map(|(k, _)| k);
        let one = self.stage.single || taken == Some(1) || (taken.is_none() && self.stage.rank.is_some());
        let fits =
            column && names::plural(word) && self.rows.is_none() || known || (self.noun_fits && self.unseen(word, one));
        if word.is_empty() || !ends || !fits || ANALYSES.contains(&word) {
            return false;
        }
        self.rows.get_or_insert_with(|| names::singular(word));
        if column {
            self.noun_column = self.columns.at(self.at.rest()).map(|(name, _)| name);
        }
        self.at.at += 1;
        self.singular(word);
        true
    }

    /// Whether an unknown word may be what the rows are called.
    fn unseen(&self, word: &str, one: bool) -> bool {
        let plain = word.chars().all(char::is_alphabetic) && !super::vocabulary::reserved(word);
        // A slip of a column's name is none; a word of one ("orders" and `order_id`) may be.
        let part = self.columns.iter().any(|column| column.has_word(&names::singular(word)));
        let close = names::closest(word, self.columns.names().into_iter());
        plain && (part || close.is_none()) && self.rows.is_none() && (names::plural(word) || one)
    }

    /// "the cheapest flight" is one, "the cheapest flights" are all in that order.
    pub(super) fn singular(&mut self, noun: &str) {
        if self.stage.rank.is_some() && self.stage.take.is_none() && !names::plural(noun) {
            self.stage.single = true;
        }
    }
}
