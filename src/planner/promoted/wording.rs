//! Sentences in which a plan was asked for: what is the same in two of them is fixed, what differs is a hole.

use serde_json::Value;

use super::shape::{Kind, Shape};

/// A word of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    text: String,
    quoted: bool,
}

/// A run as a wording needs it.
pub(super) struct Said<'a> {
    pub(super) prompt: &'a str,
    pub(super) columns: &'a str,
    pub(super) shape: &'a Shape,
}

/// A sentence with holes, and where what stands in them goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wording {
    /// The columns over which the sentence means this.
    pub(super) columns: String,
    slots: Vec<Slot>,
    /// For each literal of the shape what it is.
    fills: Vec<Fill>,
}

#[derive(Debug, Clone, PartialEq)]
enum Slot {
    Fixed(Word),
    Hole { kind: Kind, quoted: bool, seen: [String; 2] },
}

#[derive(Debug, Clone, PartialEq)]
enum Fill {
    Given(Value),
    /// The word at this place.
    Word(usize),
}

impl Wording {
    /// The wording of two runs of one shape, where they have one.
    pub(super) fn of(one: &Said<'_>, other: &Said<'_>) -> Option<Self> {
        let (left, right) = (words(one.prompt), words(other.prompt));
        if left.is_empty() || left.len() != right.len() || one.columns != other.columns {
            return None;
        }
        let pairs = || left.iter().zip(&right);
        let mut slots: Vec<Slot> = pairs().map(|(word, _)| Slot::Fixed(word.clone())).collect();
        let differ: Vec<usize> = pairs().enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
        let mut fills = Vec::new();
        for (a, b) in one.shape.literals.iter().zip(&other.shape.literals) {
            if a.value == b.value {
                fills.push(Fill::Given(a.value.clone()));
                continue;
            }
            let (text, other_text) = (word_of(&a.value)?, word_of(&b.value)?);
            let mut places = differ.iter().filter(|at| left[**at].text == text && right[**at].text == other_text);
            let (Some(at), None) = (places.next(), places.next()) else { return None };
            let quoted = left[*at].quoted && right[*at].quoted;
            let kind = if a.kind == b.kind { a.kind } else { return None };
            slots[*at] = Slot::Hole { kind, quoted, seen: [text, other_text] };
            fills.push(Fill::Word(*at));
        }
        // A word that differs and goes nowhere may be all the difference.
        if differ.iter().any(|at| matches!(slots[*at], Slot::Fixed(_))) {
            return None;
        }
        let wording = Self { columns: one.columns.to_owned(), slots, fills };
        wording.is_whole(one).then_some(wording)
    }

    /// Whether every literal that did not vary, and every number within the shape, comes from the words themselves or
    /// cannot be another tomorrow.
    fn is_whole(&self, said: &Said<'_>) -> bool {
        let fixed: Vec<&str> = self.slots.iter().filter_map(Slot::fixed).collect();
        let given = self.fills.iter().zip(&said.shape.literals).filter(|(fill, _)| matches!(fill, Fill::Given(_)));
        let told = |text: &str| fixed.iter().any(|word| word.eq_ignore_ascii_case(text)) || spans(&fixed, text);
        let lasting = |text: &str| told(text) || !depends_on_time(text);
        let literals = given.into_iter().all(|(_, literal)| match (&literal.kind, &literal.value) {
            (Kind::Count, _) => true,
            (Kind::Number, number) => told(&number.to_string()),
            (_, Value::String(text)) => lasting(text),
            (Kind::Numbers, Value::Array(items)) => items.iter().all(|item| told(&item.to_string())),
            (Kind::Texts, Value::Array(items)) => items.iter().all(|item| lasting(item.as_str().unwrap_or_default())),
            _ => false,
        });
        let mut numbers = said.shape.fixed.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        literals
            && numbers.all(|digits| fixed.iter().any(|word| word.contains(digits)) || said.columns.contains(digits))
    }

    /// The values of the shape's literals as `prompt` gives them, where it is this sentence.
    pub(super) fn read(&self, prompt: &str, columns: &str) -> Option<Vec<Value>> {
        let words = words(prompt);
        if words.len() != self.slots.len() || columns != self.columns {
            return None;
        }
        let fits = self.slots.iter().zip(&words).all(|(slot, word)| slot.takes(word, columns));
        let value = |fill: &Fill| match fill {
            Fill::Given(value) => Some(value.clone()),
            Fill::Word(at) => match &self.slots[*at] {
                Slot::Hole { kind: Kind::Text, .. } => Some(Value::String(words[*at].text.clone())),
                _ => serde_json::from_str(&words[*at].text).ok(),
            },
        };
        if fits { self.fills.iter().map(value).collect() } else { None }
    }

    /// The sentence for people, holes as their kind.
    pub(super) fn shown(&self) -> String {
        let word = |slot: &Slot| match slot {
            Slot::Fixed(Word { text, quoted: true }) => format!("'{text}'"),
            Slot::Fixed(word) => word.text.clone(),
            Slot::Hole { kind: Kind::Text, quoted: true, .. } => "'…'".to_owned(),
            Slot::Hole { kind: Kind::Text, seen, .. } => format!("[{} or {}]", seen[0], seen[1]),
            Slot::Hole { .. } => "[number]".to_owned(),
        };
        self.slots.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

impl Slot {
    fn fixed(&self) -> Option<&str> {
        match self {
            Self::Fixed(word) => Some(&word.text),
            Self::Hole { .. } => None,
        }
    }

    fn takes(&self, word: &Word, columns: &str) -> bool {
        match self {
            Self::Fixed(fixed) => fixed == word,
            Self::Hole { kind: Kind::Text, quoted, seen } => {
                (*quoted && word.quoted) || (!word.quoted && seen.contains(&word.text))
            }
            Self::Hole { kind, .. } => {
                let whole = word.text.bytes().all(|byte| byte.is_ascii_digit());
                let is_column = columns.split(COLUMN_END).any(|column| column.starts_with(&format!("{}:", word.text)));
                !word.quoted && !is_column && is_number(&word.text) && (whole || *kind != Kind::Count)
            }
        }
    }
}

/// Stands behind every column in a signature.
pub(super) const COLUMN_END: char = '\n';

/// A literal as it may stand in a sentence.
fn word_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()).filter(|text| is_number(text)),
        _ => None,
    }
}

/// Digits with or without a sign and decimals, as JSON takes them.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    plain(whole) && plain(decimals) && (whole == "0" || !whole.starts_with('0'))
}

/// Whether the words of `text` stand one behind the other in `words`.
fn spans(words: &[&str], text: &str) -> bool {
    let parts: Vec<&str> = text.split_whitespace().collect();
    parts.len() > 1
        && words
            .windows(parts.len())
            .any(|window| window.iter().zip(&parts).all(|(word, part)| word.eq_ignore_ascii_case(part)))
}

/// Whether a text that nobody said may be another one on another day.
fn depends_on_time(text: &str) -> bool {
    const CALENDAR: [&str; 19] = [
        "mon", "tue", "wed", "thu", "fri", "sat", "sun", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep",
        "oct", "nov", "dec",
    ];
    let text = text.to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    text.chars().any(char::is_numeric) || words.any(|word| CALENDAR.iter().any(|name| word.starts_with(name)))
}

/// A sentence word by word. Text in quotes is one word; signs around a word are words of their own; what ends the
/// sentence is left out.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text.trim().trim_end_matches(['.', '!', '?', ' ']);
    while let Some(first) = rest.chars().next() {
        let (word, len) = match quoted(rest, first) {
            Some((inner, len)) => (Some(Word { text: inner.to_owned(), quoted: true }), len),
            None => {
                let len = plain_len(rest);
                (Some(Word { text: rest[..len].to_owned(), quoted: false }), len)
            }
        };
        words.extend(word);
        rest = rest[len..].trim_start();
    }
    words
}

fn quoted(rest: &str, first: char) -> Option<(&str, usize)> {
    let close = match first {
        '"' | '\'' | '`' => first,
        '“' => '”',
        '‘' => '’',
        _ => return None,
    };
    let inner = &rest[first.len_utf8()..];
    let end = inner.find(close).filter(|end| *end > 0)?;
    Some((&inner[..end], first.len_utf8() + end + close.len_utf8()))
}

/// The length of the next word: a sign by itself, or letters and digits with the signs between them.
fn plain_len(rest: &str) -> usize {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let minus = rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_digit());
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if !minus && !rest.starts_with(inside) {
        return first;
    }
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    rest[..end].trim_end_matches(|c| !inside(c)).len().max(first)
}
