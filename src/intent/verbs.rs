//! What the verb of a clause says, with what it works on.

use super::{
    class::Class,
    clause::{Clause, VERB, any},
    cue::Cue,
    score::Score,
    words::{FUNCTION, Word},
};

/// Verbs that change a value.
const CHANGES: &[&str] = &["raise", "lower", "set", "increase", "decrease", "reduce", "change", "extend"];
/// Verbs that work on the shape of a table or of a workflow.
const STRUCTURE: &[&str] = &["merge", "join", "combine", "split", "group", "arrange", "chain", "reverse"];
/// Verbs that work on tables and on texts alike.
const DIGESTS: &[&str] = &["summarise", "summarize", "compare", "extract", "analyse", "analyze"];
/// What only the writer can want of his own things.
const WISHES: &[&str] =
    &["return", "cancel", "exchange", "dispute", "upgrade", "downgrade", "report", "complain", "change"];
/// Verbs that put something somewhere.
const PUTS: &[&str] = &["add", "insert", "put", "place", "slot", "include", "introduce", "move", "run", "do"];
/// Verbs that take something away.
const TAKES: &[&str] = &["remove", "strip", "delete", "drop", "eliminate", "take", "cut", "trim"];
/// Verbs that ask for nothing with a table as their only object.
const BARE: &[&str] = &["using", "call", "give", "make", "require", "change", "update", "set", "modify"];
/// What a step can be made.
const BOUND: &[&str] =
    &["mandatory", "optional", "obligatory", "compulsory", "required", "automatic", "conditional", "parallel"];
/// What people decide.
const DECIDES: &[&str] =
    &["approve", "approves", "review", "reviews", "confirm", "confirms", "sign", "verify", "check"];

/// Weighs the verb of a clause; `event` where another clause tells of one.
pub(super) fn verb(score: &mut Score, clause: &Clause<'_>, event: bool) {
    let (verb, object) = (clause.verb(), clause.whole_object);
    let flow = any(object, Class::FLOW) || (any(object, Class::FLOWISH.or(Class::NODE)) && !any(object, Class::TABLE));
    score.add_if(any(clause.subject, Class::FLOW) && verb != Class::NONE, Cue::FlowSubject);
    if clause.says_nothing() && !event {
        return;
    }
    frames(score, clause);
    if own_wish(clause) {
        score.add(Cue::Trouble);
        return;
    }
    if digests_text(clause) {
        score.add(Cue::ExpertVerb);
        score.add(Cue::ExpertThing);
        return;
    }
    rule(score, clause);
    if clause.negated {
        negated(score, clause, flow);
        return;
    }
    if verb.is(Class::STOP) {
        let ended = clause.head.map_or(clause.words, |head| &clause.words[head + 1..]);
        score.add_if(any(ended, Class::EFFECT.or(Class::CHANNEL).or(Class::CRUNCH)), Cue::StopEffect);
    }
    score.add_if(verb.is(Class::WIRE), Cue::WireVerb);
    edit(score, clause, flow);
    look(score, clause);
    effect(score, clause, event);
}

/// "I want to return these shoes": what only the writer can want.
fn own_wish(clause: &Clause<'_>) -> bool {
    let mine = clause.has_text(&["my", "these", "this"]);
    let first = &clause.words[..clause.words.len().min(5)];
    let i = first.iter().take(4).any(|word| matches!(word.text, "i" | "id"));
    let wants = first.iter().any(|word| matches!(word.text, "want" | "need" | "like" | "id" | "wish"));
    i && wants && mine && WISHES.contains(&clause.verb_text()) && !any(clause.object, Class::TABLE.or(Class::FLOW))
}

/// "summarise the contract": a text, not a table.
fn digests_text(clause: &Clause<'_>) -> bool {
    let object = clause.whole_object;
    DIGESTS.contains(&clause.verb_text())
        && any(object, Class::EXPERTISE)
        && !any(object, Class::TABLE.or(Class::COLUMN))
}

/// "invoices over 5000 must be signed off": a rule, unless a table is to be put in order.
fn rule(score: &mut Score, clause: &Clause<'_>) {
    let verb = clause.verb();
    let orders_table = verb.is(Class::CRUNCH.or(Class::ASK));
    let effect = !clause.subject.is_empty() && clause.has(Class::MODAL) && verb.is(Class::EFFECT);
    let part = any(clause.subject, Class::FLOWISH) && !any(clause.subject, Class::TABLE);
    let asked = clause.words[0].class.is(Class::MODAL);
    score.add_if((effect || part) && !orders_table && !asked && !clause.negated, Cue::Rule);
}

/// Constructions that speak for a change whatever their verb is.
fn frames(score: &mut Score, clause: &Clause<'_>) {
    let instead = clause.words.windows(2).any(|pair| pair[0].text == "instead" && pair[1].text == "of");
    score.add_if(instead && clause.verb().is(Class::EDIT), Cue::InsteadOf);
    let makes = matches!(clause.verb_text(), "make" | "making" | "set" | "mark");
    score.add_if(makes && clause.has_text(BOUND), Cue::Obligation);
    score.add_if(clause.has_text(&["incoming"]), Cue::Incoming);
    // "let the workflow wait", "have the pipeline check", "make the http node use".
    let told = clause.words.iter().position(|word| matches!(word.text, "let" | "have" | "make"));
    if let Some(at) = told.filter(|at| *at < 4) {
        let near = &clause.words[at + 1..clause.words.len().min(at + 5)];
        let flow = near.iter().position(|word| {
            word.class.is(Class::FLOW.or(Class::NODE)) || matches!(word.text, "pipeline" | "job" | "process")
        });
        let verb = flow.and_then(|flow| clause.words.get(at + flow + 2));
        score.add_if(verb.is_some_and(|word| word.class.is(VERB.or(Class::HAPPEN))), Cue::FlowMade);
    }
}

/// Edits: of a workflow by their object or place, of a table otherwise.
fn edit(score: &mut Score, clause: &Clause<'_>, flow: bool) {
    let (verb, object) = (clause.verb(), clause.whole_object);
    if !verb.is(Class::EDIT.or(Class::WIRE)) {
        return;
    }
    let table = any(object, Class::TABLE.or(Class::COLUMN));
    let data = table || any(object, Class::DATUM);
    let plain = verb.is(Class::EDIT);
    if any(object, Class::SETTING) && !table {
        score.add(Cue::SetSetting);
    } else if plain && placed(clause) && !table {
        score.add(Cue::EditPlaced);
    } else if flow {
        score.add(if any(object, Class::NODE) { Cue::EditNode } else { Cue::EditFlow });
    } else if plain && any(object, Class::CHANNEL) && !any(object, Class::COLUMN) {
        score.add(Cue::EditFlow);
    } else if plain && ((any(object, Class::EFFECT) && !data) || (acting(clause) && !table)) {
        score.add(Cue::ActingThing);
    } else if plain && (from_data(clause) || (!verb.is(Class::EFFECT) && data && edits_tables(clause))) {
        score.add(Cue::EditTable);
    }
    let near = clause.has(Class::FLOW.or(Class::FLOWISH));
    score.add_if(!flow && near && !data && !verb.is(Class::ASK), Cue::NearFlow);
    let moved = any(object, Class::PRONOUN) && clause.has(Class::NUMBER);
    score.add_if(moved && CHANGES.contains(&clause.verb_text()), Cue::SetSetting);
}

/// Looking at data, and working on it.
fn look(score: &mut Score, clause: &Clause<'_>) {
    let (verb, object) = (clause.verb(), clause.whole_object);
    if STRUCTURE.contains(&clause.verb_text()) && any(object, Class::FLOW) && !any(object, Class::TABLE) {
        score.add(Cue::EditFlow);
    } else if verb.is(Class::CRUNCH) {
        score.add(Cue::CrunchVerb);
    } else if verb.is(Class::ASK) {
        score.add(Cue::AskVerb);
        score.add_if(clause.has(Class::URL), Cue::FetchUrl);
        let content = |word: &Word<'_>| !word.class.is(FUNCTION.or(Class::FLOW).or(Class::PERSON));
        score.add_if(object.iter().any(content), Cue::Askable);
    }
}

/// "remove trailing spaces from the names".
fn from_data(clause: &Clause<'_>) -> bool {
    let from = clause.words.iter().position(|word| matches!(word.text, "from" | "in"));
    let source = from.map_or(&[][..], |at| &clause.words[at + 1..]);
    TAKES.contains(&clause.verb_text()) && any(source, Class::TABLE.or(Class::COLUMN)) && !clause.has(Class::FLOW)
}

/// "add tax calculation between cart and checkout": before, after or between what is no number.
fn placed(clause: &Clause<'_>) -> bool {
    let place = clause.words.iter().position(|word| word.class.is(Class::PLACE) && word.text != "behind");
    let after = place.map_or(&[][..], |at| &clause.words[at + 1..]);
    let number = any(&after[..after.len().min(4)], Class::NUMBER.or(Class::COLUMN));
    PUTS.contains(&clause.verb_text()) && !after.is_empty() && !number
}

/// "add a … that converts …": a new thing with a verb of its own.
fn acting(clause: &Clause<'_>) -> bool {
    let after = clause.head.map_or(clause.words, |head| &clause.words[head + 1..]);
    after.windows(2).any(|pair| matches!(pair[0].text, "that" | "which") && pair[1].class.is(VERB))
}

/// Verbs that need more than a table as their object: "use the data" asks for nothing.
fn edits_tables(clause: &Clause<'_>) -> bool {
    let verb = clause.verb_text();
    let more = clause.words.len() > clause.head.map_or(0, |head| head + 1 + clause.object.len());
    verb != "use" && (more || !BARE.contains(&verb))
}

/// A verb that acts on the world, alone or tied to an event.
fn effect(score: &mut Score, clause: &Clause<'_>, event: bool) {
    let verb = clause.verb();
    if verb.is(Class::EFFECT) {
        score.add_if(event, Cue::EventAction);
        let reaches = clause.has(Class::CHANNEL.or(Class::PERSON).or(Class::ROLE)) || clause.words.len() > 1;
        score.add_if(reaches && !verb.is(Class::ASK.or(Class::CRUNCH)), Cue::EffectOnly);
        return;
    }
    score.add_if(event && clause.has_text(DECIDES) && verb.is(Class::INVOLVE), Cue::EventAction);
    // "ask finance if …" asks; "if …, ask for approval" acts.
    let asks = verb.is(Class::INVOLVE) && clause.has(Class::FLOW.or(Class::FLOWISH));
    let acts = asks || verb.is(Class::EDIT.or(Class::WIRE).or(Class::CRUNCH).or(Class::VAGUE));
    score.add_if(event && acts, Cue::EffectAfter);
}

/// "don't change the workflow" keeps it; "never email customers" changes what it does.
fn negated(score: &mut Score, clause: &Clause<'_>, flow: bool) {
    let verb = clause.verb();
    let works = verb.is(Class::EDIT.or(Class::WIRE).or(Class::EFFECT).or(Class::CRUNCH));
    if flow && works && !clause.has(Class::PERMANENT) {
        score.add(Cue::KeepWorkflow);
    } else if verb.is(Class::EFFECT.or(Class::WIRE)) {
        score.add(Cue::StopEffect);
    } else if verb.is(Class::CRUNCH) {
        score.add(Cue::CrunchVerb);
    }
}
