//! Whether it is to hold from now on, or this once.

use super::{class::Class, clause::any, cue::Cue, score::Score, words::Word};

/// Weighs the words that say how long it holds.
pub(super) fn permanence(score: &mut Score, words: &[Word<'_>], event: bool) {
    let acts =
        score.has(&[Cue::EffectOnly, Cue::EventAction, Cue::WireVerb, Cue::EditFlow, Cue::StopEffect, Cue::EditTable]);
    // "show the daily revenue" looks at data; "I want a daily digest" does not.
    let looks = score.has(&[Cue::AskVerb, Cue::CrunchVerb]) || any(words, Class::QUESTION.or(Class::RANK));
    let data = score.has(&[Cue::AskVerb, Cue::CrunchVerb, Cue::EditTable]) || any(words, Class::TABLE.or(Class::RANK));
    let does = any(words, Class::EFFECT.or(Class::HAPPEN).or(Class::WIRE).or(Class::FLOW));
    score.add_if(does && any(words, Class::ENSURE), Cue::Ensure);
    for (at, word) in words.iter().enumerate() {
        let last = words.get(at + 1).is_none_or(|next| next.after_break);
        score.add_if(word.class.is(Class::PERMANENT) && !gives_up(words, word), Cue::Permanent);
        score.add_if(forbids(words, at), Cue::Never);
        score.add_if(word.class.is(Class::PERIODIC) && (acts || last || at == 0 || !looks), Cue::Schedule);
        score.add_if(recurs(words, at), Cue::Schedule);
        score.add_if(word.class.is(Class::ONE_OFF) && !event && word.text != "only" && data, Cue::OneOff);
    }
}

/// "I can't log in any more" ends nothing.
fn gives_up(words: &[Word<'_>], word: &Word<'_>) -> bool {
    matches!(word.text, "any" | "anymore" | "no")
        && words.iter().any(|word| matches!(word.text, "cant" | "cannot" | "my"))
}

/// "never …" and "no more …" at the beginning of a sentence, but not "never mind".
fn forbids(words: &[Word<'_>], at: usize) -> bool {
    let (word, next) = (words[at], words.get(at + 1));
    let frame = |word: &Word<'_>| word.class.is(Class::FRAME) && !word.class.is(Class::SELF);
    let opens = word.after_break || words[..at].iter().all(frame);
    let more = word.text == "no" && next.is_some_and(|next| next.text == "more");
    let idle = next.is_none_or(|next| matches!(next.text, "mind" | "than" | "arrived" | "received" | "got"));
    opens && (word.text == "never" || more) && !idle && words.len() > at + 2
}

/// "every morning", "each monday", "every 5 minutes", "for every new order", but not "sales for each day".
fn recurs(words: &[Word<'_>], at: usize) -> bool {
    if !matches!(words[at].text, "every" | "each") || words[at].class.is(Class::INSIDE) {
        return false;
    }
    let counts = at > 0 && matches!(words[at - 1].text, "for" | "per" | "by" | "of" | "in" | "from");
    let between = |word: &&Word<'_>| word.class.is(Class::NUMBER) || matches!(word.text, "single" | "other");
    match words[at + 1..].iter().find(|word| !between(word)) {
        None => false,
        Some(word) => match word.text {
            "new" | "incoming" | "time" | "run" | "execution" | "occasion" => true,
            _ => word.class.is(Class::TIME) && !counts,
        },
    }
}
