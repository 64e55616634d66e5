//! What the nouns and question words say, wherever they stand.

use super::{
    class::Class,
    clause::{Clause, any},
    cue::Cue,
    score::Score,
    words::{FUNCTION, Word},
};

const DATA: Class = Class::TABLE.or(Class::DATUM).or(Class::COLUMN);

/// Weighs them. The words of an event describe it ("when the total exceeds 1000" asks for no total) and are left out.
pub(super) fn nouns(score: &mut Score, clauses: &[Clause<'_>], words: &[Word<'_>]) {
    let has = |class| clauses.iter().any(|clause| clause.event.is_none() && clause.has(class));
    questions(score, clauses, words);
    score.add_if(fragment(clauses, words, has(DATA)) && !has(Class::FLOW), Cue::Fragment);
    score.add_if(ranks(words) && has(Class::RANK), Cue::Ranking);
    let looks = score.has(&[Cue::AskVerb, Cue::CrunchVerb, Cue::Question, Cue::KeepWorkflow]);
    let vague = clauses.iter().all(|clause| clause.says_nothing() || clause.verb().is(Class::VAGUE));
    score.add_if(has(Class::FLOW) && words.len() > 3 && !looks && !vague, Cue::FlowTopic);
    score.add_if(has(Class::COMPARE) && has(Class::NUMBER.or(Class::COLUMN).or(Class::DATUM)), Cue::Comparison);
    for (class, cue) in [
        (Class::ARRANGE, Cue::Arranging),
        (Class::TABLE, Cue::Table),
        (Class::DATUM, Cue::Datum),
        (Class::COLUMN, Cue::Column),
        (Class::FLOW, Cue::FlowNoun),
    ] {
        score.add_if(has(class), cue);
    }
    let place = words.iter().enumerate().any(|(at, word)| {
        let near = &words[at + 1..words.len().min(at + 5)];
        word.class.is(Class::PLACE) && any(near, Class::FLOW.or(Class::NODE))
    });
    score.add_if(place, Cue::FlowPlace);
}

/// Questions that data can answer.
fn questions(score: &mut Score, clauses: &[Clause<'_>], words: &[Word<'_>]) {
    let question = clauses.iter().any(|clause| {
        let first = clause.words.iter().find(|word| !word.class.is(Class::EMPTY.or(Class::INSIDE)));
        first.is_some_and(|word| word.class.is(Class::QUESTION)) || clause.words[0].text == "how"
    });
    let pair = |pair: &[Word<'_>]| (pair[0].text == "how") && matches!(pair[1].text, "many" | "much");
    score.add_if(words.windows(2).any(pair), Cue::Quantity);
    let content = words.iter().filter(|word| !word.class.is(FUNCTION)).count();
    let known = clauses.iter().any(|clause| clause.event.is_none() && clause.has(DATA));
    score.add_if(exists(clauses, words) && (known || content > 2), Cue::Exists);
    score.add_if(question, Cue::Question);
    let own = words.iter().any(|word| matches!(word.text, "i" | "im" | "my" | "you" | "your" | "me"));
    score.add_if(question && content >= 2 && !own, Cue::Askable);
}

/// "do we have …", "are there …", "is Anna in the list", "any invoices without …".
fn exists(clauses: &[Clause<'_>], words: &[Word<'_>]) -> bool {
    let opener = words.windows(2).take(3).any(|pair| {
        matches!((pair[0].text, pair[1].text), ("do" | "have" | "did", "we" | "i" | "you") | ("is" | "are", "there"))
    });
    let Some(first) = words.first() else { return false };
    let asks = matches!(first.text, "is" | "are" | "was" | "were" | "does" | "did" | "has" | "have");
    let table = clauses.iter().any(|clause| clause.event.is_none() && clause.has(Class::TABLE.or(Class::COMPARE)));
    opener || (asks && table) || matches!(first.text, "any" | "anything")
}

/// Rows described without a verb: "everyone who …", "only the rows …", "the value of all …".
fn fragment(clauses: &[Clause<'_>], words: &[Word<'_>], data: bool) -> bool {
    let described = words.windows(2).take(3).any(|pair| {
        matches!(pair[0].text, "everyone" | "everybody" | "everything" | "those" | "anyone" | "all")
            && matches!(pair[1].text, "who" | "that" | "which" | "whose" | "with")
    });
    let only = data && words.first().is_some_and(|word| matches!(word.text, "only" | "just"));
    let bare = clauses
        .iter()
        .any(|clause| clause.head.is_none() && clause.event.is_none() && clause.has(Class::TABLE.or(Class::DATUM)));
    let of =
        words.windows(2).take(4).any(|pair| pair[1].text == "of" && !pair[0].class.is(Class::FLOW.or(Class::FLOWISH)));
    described || only || (bare && of)
}

/// A superlative or aggregate; "the last step" ranks nothing, nor does "first" at the end.
fn ranks(words: &[Word<'_>]) -> bool {
    words.iter().enumerate().any(|(at, word)| {
        let next = words.get(at + 1);
        let adverb = word.text == "first" && next.is_none_or(|next| next.after_break);
        word.class.is(Class::RANK) && !adverb && !next.is_some_and(|next| next.class.is(Class::FLOW))
    })
}
