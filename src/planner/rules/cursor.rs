//! A place in the tokens, and small steps from it.

use super::lex::{Kind, Token, Unit};

/// Something that cannot be planned, in words.
pub(super) type Problem = String;

/// What a parser that may not apply gives: nothing, something, or a problem that no other parser can mend.
pub(super) type Parsed<T> = Result<Option<T>, Problem>;

/// A place in the tokens. Parsers that do not apply leave it where it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    tokens: &'a [Token],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, at: 0 }
    }

    /// The same place, to try something from.
    pub(super) fn look(&self) -> Self {
        *self
    }

    /// The token `ahead` of here.
    pub(super) fn peek(&self, ahead: usize) -> Option<&'a Token> {
        self.tokens.get(self.at + ahead)
    }

    pub(super) fn rest(&self) -> &'a [Token] {
        &self.tokens[self.at.min(self.tokens.len())..]
    }

    pub(super) fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// The word or sign `ahead` of here, or nothing.
    pub(super) fn word(&self, ahead: usize) -> &'a str {
        self.peek(ahead).filter(|token| matches!(token.kind, Kind::Word | Kind::Sign)).map_or("", |token| &token.text)
    }

    /// The word right before here, or nothing.
    pub(super) fn before(&self) -> &'a str {
        self.at.checked_sub(1).and_then(|place| self.tokens.get(place)).map_or("", |token| &token.text)
    }

    /// Whether `phrase` (words with single spaces) stands here.
    pub(super) fn sees(&self, phrase: &str) -> bool {
        // Nearly every phrase fails at its first word.
        let first = self.word(0);
        !first.is_empty()
            && phrase.starts_with(first)
            && phrase.split(' ').enumerate().all(|(ahead, word)| self.word(ahead) == word)
    }

    /// Whether the last word before `end` is `word`.
    pub(super) fn sees_before(&self, end: &Self, word: &str) -> bool {
        end.at > self.at && self.word(end.at - self.at - 1) == word
    }

    /// Takes `phrase` if it stands here.
    pub(super) fn eat(&mut self, phrase: &str) -> bool {
        let found = self.sees(phrase);
        if found {
            self.at += phrase.split(' ').count();
        }
        found
    }

    /// Takes the first of `phrases` that stands here. Longer ones must come before their beginnings.
    pub(super) fn eat_any(&mut self, phrases: &[&'static str]) -> Option<&'static str> {
        phrases.iter().find(|phrase| self.eat(phrase)).copied()
    }

    /// Takes the longest of `phrases` that stands here.
    pub(super) fn eat_longest(&mut self, phrases: &[&'static str]) -> Option<&'static str> {
        let longest =
            phrases.iter().filter(|phrase| self.sees(phrase)).max_by_key(|phrase| phrase.split(' ').count())?;
        self.eat(longest);
        Some(longest)
    }

    /// Takes the longest key of `table` that stands here, and gives its value.
    pub(super) fn eat_key<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let longest =
            table.iter().filter(|(phrase, _)| self.sees(phrase)).max_by_key(|(phrase, _)| phrase.split(' ').count());
        let (phrase, value) = longest?;
        self.eat(phrase);
        Some(*value)
    }

    /// Takes articles and possessives.
    pub(super) fn articles(&mut self) {
        while self
            .eat_any(&["the", "a", "an", "their", "its", "our", "my", "his", "her", "your", "all of", "all"])
            .is_some()
        {}
    }

    /// Takes what joins two members of a list.
    pub(super) fn joint(&mut self) -> bool {
        let comma = self.eat(",");
        let and = self.eat_any(&["and also", "as well as", "and", "&", "plus", "then"]).is_some();
        comma || and
    }

    /// A whole number in digits or words.
    pub(super) fn count(&mut self) -> Option<u64> {
        let token = self.peek(0)?;
        let number = match &token.kind {
            Kind::Number(digits, Unit::Plain) => digits.parse().ok()?,
            Kind::Word => number_word(&token.text)?,
            _ => return None,
        };
        self.at += 1;
        Some(number)
    }

    /// What stands here, as it was written.
    pub(super) fn raw(&self) -> &'a str {
        self.peek(0).map_or("", |token| &token.raw)
    }
}

/// `five` → 5.
pub(super) fn number_word(word: &str) -> Option<u64> {
    const WORDS: &[(&str, u64)] = &[
        ("zero", 0),
        ("two", 2),
        ("three", 3),
        ("four", 4),
        ("five", 5),
        ("six", 6),
        ("seven", 7),
        ("eight", 8),
        ("nine", 9),
        ("ten", 10),
        ("eleven", 11),
        ("twelve", 12),
        ("dozen", 12),
        ("fifteen", 15),
        ("twenty", 20),
        ("thirty", 30),
        ("forty", 40),
        ("fifty", 50),
        ("hundred", 100),
        ("thousand", 1000),
    ];
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, number)| *number)
}
