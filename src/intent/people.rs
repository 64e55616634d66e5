//! Who is to be brought in, whose trouble it is, and work that needs an expert.

use super::{
    class::Class,
    clause::{Clause, any},
    cue::Cue,
    score::Score,
    words::Word,
};

const PERSON: Class = Class::PERSON.or(Class::ROLE);

/// Help in its forms.
#[rustfmt::skip]
const HELP: &[&str] = &[
    "advice", "help", "opinion", "guidance", "assistance", "refund", "compensation", "callback", "feedback", "support",
    "consultation", "quote",
];
/// Parts of a workflow that one may want more of.
#[rustfmt::skip]
const PARTS: &[&str] = &[
    "check", "validation", "confirmation", "trigger", "loop", "condition", "timer", "guard", "rule", "retry", "delay",
];
/// Verbs that give something to somebody.
const GIVES: &[&str] = &["leave", "give", "pass", "hand", "assign", "take", "turn"];
/// Verbs that make what an expert makes.
const MAKES: &[&str] = &["create", "make", "build", "produce", "generate", "give", "put"];

/// Weighs what a clause says about people; `event` where another clause tells of one.
pub(super) fn people(score: &mut Score, clause: &Clause<'_>, event: bool) {
    let flow = any(clause.object, Class::FLOW);
    handed_over(score, clause, event, flow);
    involved(score, clause, flow);
    wanted(score, clause, flow);
    trouble(score, clause);
    expert(score, clause, flow);
}

/// Whether a word names somebody. Short roles ("hr", "it") are too often something else.
fn names_somebody(word: &Word<'_>) -> bool {
    word.class.is(Class::PERSON) || (word.class.is(Class::ROLE) && word.text.len() > 3)
}

/// "the sales team" is somebody, "the sales figures" are not.
fn somebody(object: &[Word<'_>]) -> bool {
    object.iter().enumerate().any(|(at, word)| {
        let next = object.get(at + 1).map_or(Class::PERSON, |next| next.class);
        let alone = !next.is(Class::TABLE.or(Class::DATUM)) || next.is(Class::PERSON);
        word.class.is(Class::PERSON) || (word.class.is(Class::ROLE) && alone)
    })
}

fn handed_over(score: &mut Score, clause: &Clause<'_>, event: bool, flow: bool) {
    let verb = clause.verb();
    score.add_if(event && verb.is(Class::DELEGATE), Cue::EventAction);
    let given = GIVES.contains(&clause.verb_text())
        && clause.words.windows(4).any(|near| near[0].text == "to" && near[1..].iter().any(names_somebody));
    let named = clause.has(Class::DELEGATE) && !flow;
    score.add_if(named || verb.is(Class::DELEGATE) || given, Cue::Delegate);
    if let Some(at) = clause.words.iter().position(|word| word.class.is(Class::TALK)) {
        let with = |word: &Word<'_>| matches!(word.text, "to" | "with") || word.class.is(PERSON);
        score.add_if(clause.words[at + 1..].iter().any(with), Cue::TalkTo);
    }
}

fn involved(score: &mut Score, clause: &Clause<'_>, flow: bool) {
    score.add_if(clause.has(Class::ADVICE), Cue::Advice);
    score.add_if(clause.verb().is(Class::INVOLVE) && !flow && somebody(clause.object), Cue::Involve);
    // "somebody from procurement has to approve …", "someone should call …".
    let start = clause.words.iter().position(|word| !word.class.is(Class::EMPTY.or(Class::FRAME)));
    let obliged = clause.has(Class::MODAL) || clause.has_text(&["has"]);
    score.add_if(obliged && start.is_some_and(|at| at < 2 && clause.words[at].class.is(PERSON)), Cue::Involve);
    // "can an expert check …", "can the design team make …".
    let asks = |word: &Word<'_>| matches!(word.text, "can" | "could" | "may" | "should" | "would");
    if let Some(at) = clause.words.iter().take(2).position(asks) {
        let near = &clause.words[at + 1..clause.words.len().min(at + 5)];
        let first = near.iter().find(|word| !word.class.is(Class::EMPTY));
        let person = first.is_some_and(|word| word.class.is(PERSON)) || near.iter().any(|word| word.text == "team");
        score.add_if(person, Cue::Involve);
    }
    score.add_if(clause.words.iter().take(2).any(|word| word.text == "why"), Cue::Why);
}

/// What is wanted: a person, help, or another part of the workflow.
fn wanted(score: &mut Score, clause: &Clause<'_>, flow: bool) {
    let verb =
        |word: &Word<'_>| matches!(word.text, "need" | "needs" | "want" | "wants" | "like" | "requires" | "have");
    let at = clause.words.iter().position(verb);
    let after = at.map_or(&[][..], |at| &clause.words[at + 1..clause.words.len().min(at + 7)]);
    let hint = |word: &Word<'_>| matches!(word.text, "need" | "want" | "like" | "get" | "put" | "help" | "there");
    let wants = at.is_some() || clause.words.iter().take(6).any(hint);
    let person = after.iter().any(names_somebody);
    let anyone = !flow && (somebody(clause.object) || person);
    score.add_if(wants && clause.head.is_none() && anyone, Cue::NeedPerson);
    let part = after.iter().take(4).any(|word| word.class.is(Class::FLOW) || PARTS.contains(&word.text));
    let article = |word: &Word<'_>| matches!(word.text, "a" | "an" | "another" | "extra" | "one" | "new" | "some");
    score.add_if(part && after.first().is_some_and(article) && !person, Cue::WantPart);
    let plain = Class::FRAME.or(Class::EMPTY).or(Class::SELF).or(Class::PRONOUN).or(Class::ONE_OFF).or(Class::INSIDE);
    let topic = clause.words.iter().any(|word| !word.class.is(plain));
    score.add_if(wants && topic && clause.has_text(HELP) && !clause.has(Class::TABLE) && !flow, Cue::NeedHelp);
}

/// "I was charged twice", but not "show me the cancelled orders".
fn trouble(score: &mut Score, clause: &Clause<'_>) {
    let own = clause.has_text(&["i", "im", "ive", "id", "my", "me", "your"]);
    let asked = matches!(clause.words[0].text, "can" | "could" | "may");
    let shown = clause.verb().is(Class::ASK.or(Class::CRUNCH)) && !asked;
    score.add_if(own && clause.has(Class::TROUBLE) && !shown, Cue::Trouble);
}

/// Work for an expert: "draft a contract", "create a presentation".
fn expert(score: &mut Score, clause: &Clause<'_>, flow: bool) {
    let (verb, object) = (clause.verb(), clause.object);
    let vague = verb.is(Class::VAGUE) && any(object, Class::TABLE.or(Class::DATUM)) && !any(object, Class::EXPERTISE);
    let done = verb.is(Class::EXPERT) && !verb.is(Class::CRUNCH.or(Class::DELEGATE)) && !clause.says_nothing();
    let other = any(object, Class::TABLE.or(Class::COLUMN).or(Class::CHANNEL).or(Class::SETTING));
    let thing = any(object, Class::EXPERTISE) && !flow && !other;
    let made = verb.is(Class::EDIT.or(Class::EFFECT)) && thing && MAKES.contains(&clause.verb_text());
    let expert = done || made;
    let talks = clause.has(Class::TALK);
    score.add_if(expert && !vague && !clause.negated, Cue::ExpertVerb);
    score.add_if(made || ((expert || talks) && clause.has(Class::EXPERTISE)), Cue::ExpertThing);
    score.add_if(clause.has(PERSON) && (talks || expert), Cue::Addressee);
}
