//! A few words that go on from the rows of the request before: "only those under 500", "and by city?".
//!
//! By themselves they name neither data nor an operation for sure. After a table they can hardly mean anything else.

use super::{
    class::Class,
    words::{FUNCTION, Word},
};

/// Words of a request that still counts as a refinement: who begins anew says more.
const MOST_WORDS: usize = 14;
/// Words of one that refers to nothing: "the first five", "under 100".
const FEW_WORDS: usize = 6;

/// What means the rows before.
const REFERS: &[&str] = &["those", "them", "these", "they", "it", "ones", "that", "result", "results"];
/// What a refinement begins with, after the words that carry nothing.
const OPENS: &[&str] =
    &["only", "just", "now", "and", "but", "also", "instead", "again", "same", "without", "except", "then", "or"];
/// What says that some of the rows are meant, whatever follows.
const NARROWS: &[&str] = &["only", "just", "without", "except", "excluding", "but"];

/// Of tables, and of nothing else for sure.
const TABULAR: Class = Class::COMPARE
    .or(Class::RANK)
    .or(Class::ARRANGE)
    .or(Class::CRUNCH)
    .or(Class::COLUMN)
    .or(Class::TABLE)
    .or(Class::DATUM)
    .or(Class::NUMBER);

/// Of workflows, people and the world outside.
const ELSEWHERE: Class = Class::FLOW
    .or(Class::NODE)
    .or(Class::WIRE)
    .or(Class::EFFECT)
    .or(Class::CHANNEL)
    .or(Class::PERMANENT)
    .or(Class::EVERY_EVENT)
    .or(Class::DELEGATE)
    .or(Class::TALK)
    .or(Class::EXPERT)
    .or(Class::ADVICE)
    .or(Class::ENSURE)
    .or(Class::URL);

/// Whether the words go on from a table. Where there is a workflow, an edit may be one of that.
pub(super) fn refines(words: &[Word<'_>], has_workflow: bool) -> bool {
    let elsewhere = |word: &Word<'_>| {
        let edits = has_workflow && word.class.is(Class::EDIT);
        // "the cancelled ones": what was done to rows describes them.
        let told = word.class.is(Class::COLUMN | Class::CRUNCH) || word.text.ends_with("ed");
        (edits || word.class.is(ELSEWHERE)) && !told
    };
    if words.is_empty() || words.len() > MOST_WORDS || words.iter().any(elsewhere) {
        return false;
    }
    let any = |texts: &[&str]| words.iter().any(|word| texts.contains(&word.text));
    let refers = any(REFERS);
    let opens = words.first().is_some_and(|word| OPENS.contains(&word.text))
        || (any(&["about"]) && words[0].class.is(Class::QUESTION));
    let tabular = words.iter().any(|word| word.class.is(TABULAR));
    let content = words.iter().filter(|word| !word.class.is(FUNCTION) || word.class.is(TABULAR)).count();
    let short =
        words.len() <= FEW_WORDS && tabular && content > 0 && !words.iter().any(|word| word.class.is(Class::SELF));
    (refers && (tabular || any(NARROWS))) || (opens && content > 0) || short
}
