//! Clauses: where one ends, its verb, what the verb works on, and whether it is negated.

use super::{class::Class, words::Word};

/// Any verb class.
pub(super) const VERB: Class = Class::ASK
    .or(Class::CRUNCH)
    .or(Class::EDIT)
    .or(Class::WIRE)
    .or(Class::EFFECT)
    .or(Class::EXPERT)
    .or(Class::VAGUE)
    .or(Class::DELEGATE)
    .or(Class::INVOLVE)
    .or(Class::TALK)
    .or(Class::STOP);

/// Words whose noun phrase is looked at: past that an object is not one any more.
const OBJECT_WORDS: usize = 8;

/// A clause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clause<'a> {
    pub(super) words: &'a [Word<'a>],
    /// Starts with an event: "when …", "as soon as …".
    pub(super) event: Option<Class>,
    /// Index of the verb that is asked for.
    pub(super) head: Option<usize>,
    /// The noun phrase the verb works on.
    pub(super) object: &'a [Word<'a>],
    /// The same with what belongs to it: "the order of the steps", "the url of the fetch node".
    pub(super) whole_object: &'a [Word<'a>],
    /// What stands before a modal: "the workflow should …".
    pub(super) subject: &'a [Word<'a>],
    /// The verb is negated.
    pub(super) negated: bool,
}

impl<'a> Clause<'a> {
    /// The verb's classes.
    pub(super) fn verb(&self) -> Class {
        self.head.map_or(Class::NONE, |at| self.words[at].class)
    }

    /// The verb's text, or nothing.
    pub(super) fn verb_text(&self) -> &'a str {
        self.head.map_or("", |at| self.words[at].text)
    }

    fn works_on(&mut self, words: &'a [Word<'a>]) {
        self.object = object(words);
        let of = self.object.len();
        let more = words.get(of).is_some_and(|word| word.text == "of") && of > 0;
        self.whole_object = if more { &words[..=of + object(&words[of + 1..]).len()] } else { self.object };
    }

    /// "fix it", "run this": the verb works on something that only the writer knows, and nothing else is said.
    pub(super) fn says_nothing(&self) -> bool {
        let Some(head) = self.head else { return false };
        let rest = &self.words[head + 1..];
        let phrase = self.verb().is(Class::EFFECT) && rest.first().is_some_and(|next| next.class == Class::INSIDE);
        let alone = rest.is_empty() && self.verb().is(Class::RANK);
        if phrase || alone || !self.subject.is_empty() || self.verb().is(Class::DELEGATE) {
            return false;
        }
        let known = Class::PRONOUN.or(Class::EMPTY).or(Class::FRAME).or(Class::ONE_OFF).or(Class::INSIDE);
        let particle =
            |word: &Word<'_>| matches!(word.text, "out" | "up" | "down" | "off" | "away" | "over" | "through");
        rest.iter().all(|word| word.class.is(known) || particle(word))
    }

    /// Whether any of `texts` stands in it.
    pub(super) fn has_text(&self, texts: &[&str]) -> bool {
        self.words.iter().any(|word| texts.contains(&word.text))
    }

    /// Whether any word has one of these classes.
    pub(super) fn has(&self, class: Class) -> bool {
        any(self.words, class)
    }
}

/// Whether any of `words` has one of these classes.
pub(super) fn any(words: &[Word<'_>], class: Class) -> bool {
    words.iter().any(|word| word.class.is(class))
}

/// Splits a prompt into clauses: at punctuation, at `but` and `then`, before an event, and at an `and` that a
/// verb follows.
pub(super) fn clauses<'a>(words: &'a [Word<'a>]) -> Vec<Clause<'a>> {
    let mut found = Vec::with_capacity(4);
    let mut start = 0;
    for at in 1..words.len() {
        if starts_clause(words, at) {
            push(&mut found, &words[start..at]);
            start = at;
        }
    }
    push(&mut found, &words[start..]);
    found
}

fn push<'a>(found: &mut Vec<Clause<'a>>, words: &'a [Word<'a>]) {
    if let Some(action) = action_at(words) {
        push(found, &words[..action]);
        push(found, &words[action..]);
        return;
    }
    let connectors = words.iter().take_while(|word| word.class.is(Class::CONNECT)).count();
    if connectors < words.len() {
        found.push(clause(&words[connectors..]));
    }
}

/// "when the invoice is overdue send a reminder": where the action of an event begins without a comma.
fn action_at(words: &[Word<'_>]) -> Option<usize> {
    words.first()?;
    event_at(words, 0)?;
    let acts = Class::EFFECT.or(Class::EDIT).or(Class::WIRE).or(Class::INVOLVE).or(Class::DELEGATE);
    let object = Class::EMPTY.or(Class::CHANNEL).or(Class::ROLE).or(Class::SELF).or(Class::PRONOUN);
    (3..words.len().saturating_sub(1)).find(|at| {
        let (before, word, after) = (words[at - 1], words[*at], words[at + 1]);
        let noun = before.class.is(Class::EMPTY.or(Class::MODAL).or(Class::NEGATION))
            || matches!(
                before.text,
                "to" | "is" | "are" | "was" | "be" | "of" | "in" | "and" | "or" | "than" | "for" | "from"
            );
        word.class.is(acts) && !noun && after.class.is(object) && !word.text.ends_with('s')
    })
}

fn starts_clause(words: &[Word<'_>], at: usize) -> bool {
    let (before, word) = (words[at - 1], words[at]);
    let compares = words.get(at + 1).is_some_and(|next| matches!(next.text, "of" | "than"));
    if word.after_break || (matches!(word.text, "but" | "then" | "instead" | "rather") && !compares) {
        return true;
    }
    if event_at(words, at).is_some() {
        return !matches!(before.text, "and" | "or" | "only" | "just");
    }
    let next = words.get(at + 1);
    let verb_follows = next.is_some_and(|next| {
        let object = words.get(at + 2).is_some_and(|after| !after.class.is(Class::CONNECT) && !after.after_break);
        next.class.is(VERB) && (object || next.class.is(Class::ASK))
    });
    matches!(word.text, "and" | "so" | "or") && verb_follows
}

/// The class of an event that opens at `at`.
fn event_at(words: &[Word<'_>], at: usize) -> Option<Class> {
    let word = words[at];
    if word.class.is(Class::EVERY_EVENT) {
        return Some(Class::EVERY_EVENT);
    }
    if !word.class.is(Class::EVENT) || word.class.is(Class::INSIDE) {
        return None;
    }
    let next = words.get(at + 1)?;
    if next.after_break {
        return None;
    }
    // "when did …" asks; "once" alone means one time; "after the fetch step" is a place, not an event.
    let asks = word.text == "when" && matches!(next.text, "did" | "does" | "do" | "was" | "were" | "will" | "is");
    let tail = &words[at + 1..];
    let end = tail.iter().position(|word| word.after_break).unwrap_or(tail.len());
    let happens = any(&tail[..end], Class::HAPPEN.or(Class::COMPARE));
    let event = match word.text {
        "when" => !asks,
        "if" => true,
        "once" => happens || next.class.is(Class::EMPTY),
        _ => {
            let tail = &tail[..end.min(7)];
            let aux =
                |word: &Word<'_>| matches!(word.text, "is" | "are" | "has" | "have" | "gets" | "was" | "goes" | "go");
            let gerund = next.text.len() > 5 && next.text.ends_with("ing") && !next.class.is(Class::FLOW);
            let participle = || tail.iter().any(aux) && !next.class.is(Class::NUMBER);
            let happens = || tail.iter().any(|word| word.class.is(Class::HAPPEN) && !word.class.is(Class::FLOW));
            happens() || (word.text != "on" && (gerund || participle()))
        }
    };
    event.then_some(Class::EVENT)
}

fn clause<'a>(words: &'a [Word<'a>]) -> Clause<'a> {
    let event = event_at(words, 0);
    let mut clause = Clause { words, event, head: None, object: &[], whole_object: &[], subject: &[], negated: false };
    if event.is_some() {
        return clause;
    }
    if let Some((subject, verb)) = inverted(words) {
        clause.subject = &words[1..subject];
        clause.head = Some(verb);
        clause.works_on(clause.subject);
        return clause;
    }
    if let Some((subject, verb)) = modal(words) {
        clause.subject = &words[..subject];
        clause.negated = any(&words[subject..verb], Class::NEGATION);
        clause.head = Some(verb);
        let passive = verb > 0 && matches!(words[verb - 1].text, "be" | "get" | "been" | "always" | "automatically");
        clause.works_on(if passive { clause.subject } else { &words[verb + 1..] });
        return clause;
    }
    let mut at = 0;
    while let Some(word) = words.get(at) {
        clause.negated |= word.class.is(Class::NEGATION);
        let skip = word.class.is(Class::FRAME.or(Class::INSIDE).or(Class::NEGATION).or(Class::SELF))
            || word.class.is(Class::PERMANENT.or(Class::ONE_OFF).or(Class::PERIODIC).or(Class::ENSURE));
        let lets = word.text == "let" && words.get(at + 1).is_some_and(|next| next.class.is(Class::SELF));
        // "I want to be warned".
        let be = word.text == "be" && words.get(at + 1).is_some_and(|next| next.class.is(VERB));
        if !skip && !lets && !be {
            break;
        }
        at += 1;
    }
    // "don't show …" with a frame word as its verb: "do", "need" and "want" alone say nothing.
    let owned = at > 0 && matches!(words[at - 1].text, "my" | "our" | "your");
    if words.get(at).is_some_and(|word| word.class.is(VERB) && !plural_noun(word) && !word.quoted && !owned) {
        clause.head = Some(at);
        clause.works_on(&words[at + 1..]);
    } else {
        clause.works_on(&words[at.min(words.len())..]);
    }
    clause
}

/// "orders", "reports": a word that may be a verb but stands here as the plural of a noun.
fn plural_noun(word: &Word<'_>) -> bool {
    word.text.ends_with('s') && !word.text.ends_with("ss") && word.class.is(Class::DATUM.or(Class::TABLE))
}

/// "<subject> should [always] [be] <verb>": the subject's length and the verb's index.
fn modal(words: &[Word<'_>]) -> Option<(usize, usize)> {
    let at = words.iter().position(|word| word.class.is(Class::MODAL))?;
    let named =
        at > 0 && any(&words[..at], Class::EMPTY.or(Class::DATUM).or(Class::TABLE).or(Class::FLOW).or(Class::FLOWISH));
    if !named || any(&words[..at], VERB.or(Class::QUESTION).or(Class::SELF)) && !noun_phrase(&words[..at]) {
        return None;
    }
    let verb = words[at + 1..].iter().position(|word| {
        !word.class.is(Class::MODAL.or(Class::NEGATION).or(Class::PERMANENT).or(Class::ONE_OFF))
            && !matches!(word.text, "be" | "to" | "get" | "only" | "also" | "first" | "been")
    })?;
    let verb = at + 1 + verb;
    let flow = any(&words[..at], Class::FLOW.or(Class::FLOWISH)) && !any(&words[..at], Class::TABLE);
    (words[verb].class.is(VERB) || flow).then_some((at, verb))
}

/// "could the list please be reversed": where the subject ends, and the verb's index.
fn inverted(words: &[Word<'_>]) -> Option<(usize, usize)> {
    let asks = matches!(words.first()?.text, "can" | "could" | "should" | "may" | "would" | "must");
    let be = words.iter().take(8).position(|word| word.text == "be")?;
    let verb = words.get(be + 1)?;
    (asks && be > 2 && verb.class.is(VERB)).then_some((be, be + 1))
}

/// Whether these words can be the subject of a sentence: they start with an article or a plural.
fn noun_phrase(words: &[Word<'_>]) -> bool {
    words.first().is_some_and(|word| word.class.is(Class::EMPTY) || plural_noun(word) || word.class.is(Class::FLOW))
}

/// The noun phrase at the front of `words`.
fn object<'a>(words: &'a [Word<'a>]) -> &'a [Word<'a>] {
    let end = words
        .iter()
        .enumerate()
        .position(|(at, word)| {
            at >= OBJECT_WORDS || (word.class.is(Class::BOUNDARY) && !(at == 0 && word.text == "all"))
        })
        .unwrap_or(words.len());
    &words[..end]
}
