//! From a prompt to a bounded list of classified words.

use std::{borrow::Cow, sync::LazyLock};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Facts,
    class::Class,
    clause::VERB,
    lexicon::{PHRASES, WORDS},
};

/// Bytes looked at from the front of a prompt. What is asked stands there, or at the end after pasted data.
const HEAD_BYTES: usize = 2048;
/// Bytes looked at from its end.
const TAIL_BYTES: usize = 768;
/// Names taken from the facts; past that the words of a prompt decide.
const MAX_NAMES: usize = 200;
/// Shortest word that may be a slip of the pen for another.
const TYPO_CHARS: usize = 5;

/// Words that carry no content of their own.
pub(super) const FUNCTION: Class = Class::FRAME
    .or(Class::EMPTY)
    .or(Class::PRONOUN)
    .or(Class::SELF)
    .or(Class::QUESTION)
    .or(Class::BOUNDARY)
    .or(Class::INSIDE)
    .or(Class::CONNECT)
    .or(Class::ONE_OFF);

/// A word with what it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) class: Class,
    /// A punctuation mark stands before it.
    pub(super) after_break: bool,
    /// It stands in double quotes: a name, not a part of the sentence.
    pub(super) quoted: bool,
}

/// Numbers in words.
const NUMBERS: &[&str] = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "dozen", "twenty", "thirty",
    "fifty", "hundred",
];

/// What a quoted word may still be.
const NAMED: Class = Class::FLOW.or(Class::FLOWISH).or(Class::TABLE);

/// The part of `prompt` that is looked at: lower case, apostrophes dropped.
pub(super) fn normalise(prompt: &str) -> String {
    let bounded: Cow<'_, str> = if prompt.len() <= HEAD_BYTES + TAIL_BYTES {
        prompt.into()
    } else {
        let head = &prompt[..prompt.floor_char_boundary(HEAD_BYTES)];
        let tail = &prompt[prompt.ceil_char_boundary(prompt.len() - TAIL_BYTES)..];
        format!("{head} . {tail}").into()
    };
    let mut text = String::with_capacity(bounded.len());
    for c in bounded.chars() {
        match c {
            '\'' | '’' | '`' => {}
            c if c.is_ascii() => text.push(c.to_ascii_lowercase()),
            c => text.extend(c.to_lowercase()),
        }
    }
    text
}

/// Splits normalised text into classified words.
pub(super) fn words<'a>(text: &'a str, facts: &Facts<'_>) -> Vec<Word<'a>> {
    let mut words = split(text);
    let names = Names::of(facts);
    for word in &mut words {
        let known = LEXICON.class(word.text);
        let known = if word.quoted { known.and(NAMED) } else { known };
        word.class = word.class | known | names.class(word.text);
    }
    join_phrases(&mut words);
    words
}

fn split(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::with_capacity(32);
    let mut after_break = true;
    let mut quoted = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = if c.is_alphanumeric() || c == '_' || c == '#' || c == '$' || c == '€' {
            word_len(rest)
        } else {
            after_break |= matches!(c, '.' | ',' | ';' | '!' | '?' | '\n' | '(' | ')' | '—' | '–');
            quoted ^= c == '"';
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let word = &rest[..len];
        rest = &rest[len..];
        words.push(Word { text: word, class: shape(word), after_break, quoted });
        after_break = false;
    }
    words
}

/// How far the word at the front reaches: a URL to the next space, a number with its separators.
fn word_len(rest: &str) -> usize {
    if rest.starts_with("http://") || rest.starts_with("https://") {
        return rest.find(char::is_whitespace).unwrap_or(rest.len());
    }
    let mut end = 0;
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let digit_follows = chars.peek().is_some_and(|(_, next)| next.is_ascii_digit());
        let inside = c.is_alphanumeric() || matches!(c, '_' | '%' | '@') || (at == 0 && matches!(c, '#' | '$' | '€'));
        let separator = matches!(c, '.' | ',') && at > 0 && digit_follows;
        if !inside && !separator {
            break;
        }
        end = at + c.len_utf8();
    }
    end.max(rest.chars().next().map_or(0, char::len_utf8))
}

/// What a word is by its look alone.
fn shape(word: &str) -> Class {
    if word.starts_with("http") && word.contains("://") {
        Class::URL
    } else if word.ends_with("ologist") || word.ends_with("ologists") {
        Class::PERSON
    } else if word.starts_with('#') || word.contains('@') {
        Class::CHANNEL
    } else if word.trim_start_matches(['$', '€']).starts_with(|c: char| c.is_ascii_digit()) || NUMBERS.contains(&word)
    {
        Class::NUMBER
    } else {
        Class::NONE
    }
}

/// Gives the first word of a phrase the phrase's class and marks the others as its inside.
fn join_phrases(words: &mut [Word<'_>]) {
    let mut at = 0;
    while at < words.len() {
        let found = LEXICON.phrases_from(words[at].text).and_then(|phrases| {
            phrases.iter().find(|(_, rest)| {
                words.len() > at + rest.len()
                    && rest
                        .iter()
                        .zip(&words[at + 1..])
                        .all(|(want, word)| *want == word.text && !word.after_break && !word.quoted)
            })
        });
        let Some((class, rest)) = found else {
            at += 1;
            continue;
        };
        words[at].class = *class;
        for word in &mut words[at + 1..=at + rest.len()] {
            word.class = Class::INSIDE;
        }
        at += rest.len() + 1;
    }
}

/// Names from the facts, in pieces.
struct Names<'a> {
    columns: FxHashSet<Cow<'a, str>>,
    nodes: FxHashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    fn of(facts: &Facts<'a>) -> Self {
        Self { columns: pieces(facts.columns), nodes: pieces(facts.nodes) }
    }

    fn class(&self, word: &str) -> Class {
        let found = |names: &FxHashSet<Cow<'_, str>>| {
            !names.is_empty() && (names.contains(word) || stems(word).any(|stem| names.contains(&*stem)))
        };
        let column = if found(&self.columns) { Class::COLUMN } else { Class::NONE };
        // A node's whole name, never a piece of it: `fetch_orders` must not turn every order into a node.
        let node = if !self.nodes.is_empty() && self.nodes.contains(word) { Class::NODE } else { Class::NONE };
        column | node
    }
}

fn pieces<'a>(names: &'a [String]) -> FxHashSet<Cow<'a, str>> {
    names
        .iter()
        .take(MAX_NAMES)
        .map(|name| {
            if name.chars().any(char::is_uppercase) { Cow::from(name.to_lowercase()) } else { Cow::from(name.as_str()) }
        })
        .collect()
}

/// The lexicon in the form that is looked into.
struct Lexicon {
    words: FxHashMap<&'static str, Class>,
    /// By first word; longer phrases first.
    phrases: FxHashMap<&'static str, Vec<(Class, Vec<&'static str>)>>,
    /// Every long word with one character left out, for slips of the pen.
    near: FxHashMap<String, &'static str>,
}

static LEXICON: LazyLock<Lexicon> = LazyLock::new(Lexicon::build);

impl Lexicon {
    fn build() -> Self {
        let mut words: FxHashMap<&'static str, Class> = FxHashMap::default();
        for (class, line) in WORDS {
            for word in line.split_whitespace() {
                let known = words.entry(word).or_default();
                *known = *known | *class;
            }
        }
        let mut phrases: FxHashMap<&'static str, Vec<(Class, Vec<&'static str>)>> = FxHashMap::default();
        for (class, list) in PHRASES {
            for phrase in list.split('|') {
                let mut parts = phrase.split_whitespace();
                if let Some(first) = parts.next() {
                    phrases.entry(first).or_default().push((*class, parts.collect()));
                }
            }
        }
        for list in phrases.values_mut() {
            list.sort_by_key(|(_, rest)| std::cmp::Reverse(rest.len()));
        }
        let mut near = FxHashMap::default();
        for word in words.keys().filter(|word| word.len() >= TYPO_CHARS) {
            for variant in deletions(word) {
                near.insert(variant, *word);
            }
        }
        Self { words, phrases, near }
    }

    /// Phrases that begin with `word` or its base form.
    fn phrases_from(&self, word: &str) -> Option<&Vec<(Class, Vec<&'static str>)>> {
        self.phrases.get(word).or_else(|| stems(word).find_map(|stem| self.phrases.get(&*stem)))
    }

    fn class(&self, word: &str) -> Class {
        if let Some(class) = self.words.get(word) {
            // "grouped" stands there for itself, and is a form of "group" all the same.
            let verbs = if word.ends_with("ed") { stems(word).find_map(|stem| self.words.get(&*stem)) } else { None };
            return *class | verbs.map_or(Class::NONE, |class| class.and(VERB));
        }
        let by_stem = stems(word).find_map(|stem| self.words.get(&*stem));
        by_stem.copied().unwrap_or_else(|| self.near(word))
    }

    /// The class of the word this one is a slip of: one letter missing, added, changed or swapped.
    fn near(&self, word: &str) -> Class {
        if word.len() < 4 || word.len() > 24 || !word.bytes().all(|b| b.is_ascii_lowercase()) {
            return Class::NONE;
        }
        if word.len() < TYPO_CHARS {
            return self.swapped(word);
        }
        let meant = self.near.get(word).copied().or_else(|| {
            deletions(word).find_map(|variant| {
                let hit = self.words.get_key_value(variant.as_str()).map(|(known, _)| *known);
                hit.filter(|known| known.len() >= TYPO_CHARS)
                    .or_else(|| self.near.get(&variant).copied().filter(|known| strsim::osa_distance(known, word) <= 1))
            })
        });
        meant.and_then(|known| self.words.get(known)).copied().unwrap_or_default()
    }

    /// Short words have too many neighbours: only two swapped letters count.
    fn swapped(&self, word: &str) -> Class {
        swaps(word).find_map(|meant| self.words.get(meant.as_str())).copied().unwrap_or_default()
    }
}

/// `word` with each two neighbours swapped in turn; ASCII only.
fn swaps(word: &str) -> impl Iterator<Item = String> + '_ {
    (1..word.len()).map(|at| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.swap(at - 1, at);
        letters.into_iter().collect()
    })
}

/// `word` with each of its characters left out in turn.
fn deletions(word: &str) -> impl Iterator<Item = String> + '_ {
    word.char_indices().map(|(at, c)| [&word[..at], &word[at + c.len_utf8()..]].concat())
}

/// Base forms a word may have: `prices` → `price`, `adding` → `add`, `dropped` → `drop`, `copies` → `copy`.
fn stems(word: &str) -> impl Iterator<Item = Cow<'_, str>> {
    const ENDINGS: &[(&str, &str)] = &[
        ("s", ""),
        ("ies", "y"),
        ("es", ""),
        ("ing", ""),
        ("ing", "e"),
        ("ed", ""),
        ("ed", "e"),
        ("ied", "y"),
        ("er", ""),
    ];
    let whole = ENDINGS.iter().filter_map(move |(ending, put)| {
        let stem = word.strip_suffix(ending).filter(|stem| stem.len() > 2)?;
        Some(if put.is_empty() { Cow::from(stem) } else { Cow::from([stem, put].concat()) })
    });
    // dropped, stopping: the doubled consonant goes too.
    let doubled = ["ing", "ed"].into_iter().filter_map(move |ending| {
        let stem = word.strip_suffix(ending)?;
        let mut tail = stem.bytes().rev();
        (stem.len() > 3 && stem.is_ascii() && tail.next() == tail.next()).then(|| Cow::from(&stem[..stem.len() - 1]))
    });
    whole.chain(doubled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_and_slips_find_their_word() {
        for (word, class) in [
            ("prices", Class::DATUM),
            ("dropped", Class::EDIT),
            ("renaming", Class::EDIT),
            ("wrokflow", Class::FLOW),
            ("shwo", Class::ASK),
            ("workflw", Class::FLOW),
            ("notfiy", Class::EFFECT),
            ("cheapset", Class::RANK),
            ("entries", Class::TABLE),
        ] {
            assert!(LEXICON.class(word).is(class), "{word}");
        }
        assert_eq!(LEXICON.class("zebra"), Class::NONE);
    }

    #[test]
    fn long_prompts_are_looked_at_from_both_ends() {
        let prompt = format!("sort these: {} now drop the last step", "é1,2,3 ".repeat(100_000));
        let text = normalise(&prompt);
        assert!(text.len() < 2 * (HEAD_BYTES + TAIL_BYTES));
        assert!(text.starts_with("sort") && text.ends_with("last step"));
    }
}
