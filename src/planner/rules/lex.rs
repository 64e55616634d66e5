//! Tokens: words, numbers with their units, quoted text, addresses, dates and signs.

/// What a number was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Plain,
    Money,
    Percent,
}

/// The kind of a token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Word,
    /// Its JSON text, every digit kept.
    Number(String, Unit),
    Quoted,
    Url,
    /// `2026-01-31`, with or without a time.
    Date,
    Sign,
}

/// A token. `text` is lower case without apostrophes, `raw` as it was written (quoted text without its quotes).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) raw: String,
}

impl Token {
    pub(super) fn is_word(&self) -> bool {
        self.kind == Kind::Word
    }
}

/// Most tokens of a request. A sentence that plans a pipeline is far shorter.
pub(super) const MAX_TOKENS: usize = 400;

const CURRENCIES: &[char] = &['$', '€', '£', '¥'];
const SIGNS: &[&str] = &["<=", ">=", "==", "!=", "<>", "=>", "->", "≤", "≥", "≠", "→"];

/// Splits a request into tokens; nothing when there are more than [`MAX_TOKENS`].
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let spaced = rest.len() == text.len()
            || text[..text.len() - rest.len()].ends_with([' ', '\n', '\t', '(', ',', '=', ':']);
        let (token, len) = one(rest, first, spaced);
        found.extend(token);
        rest = rest[len..].trim_start();
        if found.len() > MAX_TOKENS {
            return None;
        }
    }
    Some(found)
}

/// The token at the front, and how many bytes it takes.
fn one(rest: &str, first: char, spaced: bool) -> (Option<Token>, usize) {
    if rest.starts_with("http://") || rest.starts_with("https://") {
        return url(rest);
    }
    // An apostrophe at the end of a word ("customers' orders") opens nothing.
    if let Some((raw, len)) = spaced.then(|| quoted(rest, first)).flatten() {
        return (Some(Token { kind: Kind::Quoted, text: raw.to_lowercase(), raw }), len);
    }
    if let Some((token, len)) = date(rest).or_else(|| number(rest)) {
        return (Some(token), len);
    }
    if first.is_alphanumeric() || matches!(first, '_' | '#' | '@') {
        let len = word_len(rest);
        return (Some(word(&rest[..len])), len);
    }
    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
    let len = sign.map_or(first.len_utf8(), |sign| sign.len());
    let text = &rest[..len];
    let keep = !matches!(first, '!' | '"' | '\'' | '`' | '…') || sign.is_some();
    (keep.then(|| Token { kind: Kind::Sign, text: text.into(), raw: text.into() }), len)
}

fn url(rest: &str) -> (Option<Token>, usize) {
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>')).unwrap_or(rest.len());
    let raw = rest[..end].trim_end_matches(['.', ',', ';', '!', ')', '\'']);
    (Some(Token { kind: Kind::Url, text: raw.to_lowercase(), raw: raw.into() }), raw.len())
}

/// Text in quotes.
fn quoted(rest: &str, first: char) -> Option<(String, usize)> {
    let close = match first {
        '"' | '\'' | '`' => first,
        '“' | '„' => '”',
        '‘' => '’',
        _ => return None,
    };
    let body = &rest[first.len_utf8()..];
    let end = body.find(close).or_else(|| (first == '„').then(|| body.find('“')).flatten())?;
    let len = first.len_utf8() + end + body[end..].chars().next().map_or(0, char::len_utf8);
    Some((body[..end].to_owned(), len))
}

fn word(raw: &str) -> Token {
    let raw = raw.strip_suffix("'s").or_else(|| raw.strip_suffix("’s")).map_or_else(
        || raw.to_owned(),
        |owner| {
            if matches!(owner, "what" | "What" | "who" | "Who" | "let" | "Let") {
                format!("{owner}s")
            } else {
                owner.into()
            }
        },
    );
    let text = raw.to_lowercase().replace(['\'', '’'], "");
    Token { kind: Kind::Word, text, raw }
}

/// A word goes on over `_`, and over `-`, `.`, `/`, `@` and apostrophes between letters or digits.
fn word_len(rest: &str) -> usize {
    let mut end = 0;
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let goes_on = chars.peek().is_some_and(|(_, next)| next.is_alphanumeric() || *next == '_');
        let joint = matches!(c, '-' | '.' | '\'' | '’' | '@' | '[') && goes_on || c == ']' && rest[..at].contains('[');
        if !(c.is_alphanumeric() || c == '_' || joint || (at == 0 && matches!(c, '#' | '@'))) {
            break;
        }
        end = at + c.len_utf8();
    }
    end
}

fn date(rest: &str) -> Option<(Token, usize)> {
    let bytes = rest.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    if !(digits(0..4) && bytes.get(4) == Some(&b'-') && digits(5..7)) {
        return None;
    }
    let mut len = 7;
    if bytes.get(7) == Some(&b'-') && digits(8..10) {
        len = 10;
        if matches!(bytes.get(10), Some(b'T' | b't')) {
            len += rest[10..].find(char::is_whitespace).unwrap_or(rest.len() - 10);
        }
    }
    if rest[len..].starts_with(|c: char| c.is_alphanumeric()) {
        return None;
    }
    let raw = rest[..len].trim_end_matches(['.', ',', ';']);
    Some((Token { kind: Kind::Date, text: raw.to_lowercase(), raw: raw.into() }, raw.len()))
}

/// `500`, `-3`, `1,000.50`, `$500`, `500€`, `5k`, `2.5m`, `10%`.
fn number(rest: &str) -> Option<(Token, usize)> {
    let mut at = 0;
    let mut unit = Unit::Plain;
    let negative = rest.starts_with('-');
    at += usize::from(negative);
    if let Some(sign) = rest[at..].chars().next().filter(|c| CURRENCIES.contains(c)) {
        unit = Unit::Money;
        at += sign.len_utf8();
    }
    let (mut digits, len) = digits(&rest[at..])?;
    at += len;
    let tail = &rest[at..];
    let scale = [("k", 3), ("m", 6), ("bn", 9)].iter().find(|(suffix, _)| {
        let after =
            tail.get(..suffix.len()).filter(|head| head.eq_ignore_ascii_case(suffix)).map(|_| &tail[suffix.len()..]);
        after.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    });
    if let Some((suffix, zeros)) = scale {
        digits = scaled(&digits, *zeros);
        at += suffix.len();
    }
    match rest[at..].chars().next() {
        Some('%') => (unit, at) = (Unit::Percent, at + 1),
        Some(c) if CURRENCIES.contains(&c) => (unit, at) = (Unit::Money, at + c.len_utf8()),
        Some(c) if c.is_alphanumeric() || c == '_' => return None,
        _ => {}
    }
    if negative {
        digits.insert(0, '-');
    }
    Some((Token { kind: Kind::Number(digits, unit), text: rest[..at].to_lowercase(), raw: rest[..at].into() }, at))
}

/// Digits with thousands separators and a fraction, as JSON writes them, and their length in the text.
fn digits(text: &str) -> Option<(String, usize)> {
    let bytes = text.as_bytes();
    let run = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut len = run(0);
    if len == 0 {
        return None;
    }
    let mut number = text[..len].to_owned();
    while bytes.get(len) == Some(&b',') && run(len + 1) == 3 {
        number.push_str(&text[len + 1..len + 4]);
        len += 4;
    }
    if bytes.get(len) == Some(&b'.') && run(len + 1) > 0 {
        let fraction = run(len + 1);
        number.push_str(&text[len..=len + fraction]);
        len += 1 + fraction;
    }
    let whole = number.find('.').unwrap_or(number.len());
    let zeros = number[..whole].bytes().take_while(|b| *b == b'0').count().min(whole - 1);
    Some((number.split_off(zeros), len))
}

/// `2.5` with six zeros is `2500000`.
fn scaled(digits: &str, zeros: usize) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (moved, kept) = fraction.split_at(fraction.len().min(zeros));
    let mut number = format!("{whole}{moved}{}", "0".repeat(zeros - moved.len()));
    if !kept.is_empty() {
        number = format!("{number}.{kept}");
    }
    let cut = number.bytes().take_while(|b| *b == b'0').count().min(number.find('.').unwrap_or(number.len()) - 1);
    number.split_off(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_units() {
        for (text, digits, unit) in [
            ("500", "500", Unit::Plain),
            ("1,000", "1000", Unit::Plain),
            ("1,000,000.50", "1000000.50", Unit::Plain),
            ("$500", "500", Unit::Money),
            ("500€", "500", Unit::Money),
            ("5k", "5000", Unit::Plain),
            ("2.5m", "2500000", Unit::Plain),
            ("0.5k", "500", Unit::Plain),
            ("10%", "10", Unit::Percent),
            ("-3", "-3", Unit::Plain),
            ("007", "7", Unit::Plain),
            ("9007199254740993", "9007199254740993", Unit::Plain),
        ] {
            let found = tokens(text).unwrap();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].kind, Kind::Number(digits.into(), unit), "{text}");
        }
    }

    #[test]
    fn words_quotes_addresses_and_dates() {
        let kinds = |text: &str| tokens(text).unwrap().into_iter().map(|t| (t.kind, t.raw)).collect::<Vec<_>>();
        assert_eq!(kinds("don't"), [(Kind::Word, "don't".into())]);
        assert_eq!(kinds("'New York'"), [(Kind::Quoted, "New York".into())]);
        assert_eq!(kinds("https://a.b/c?d=e."), [(Kind::Url, "https://a.b/c?d=e".into()), (Kind::Sign, ".".into())]);
        assert_eq!(kinds("2026-01-31"), [(Kind::Date, "2026-01-31".into())]);
        assert_eq!(kinds("seats.economy,x").len(), 3);
        assert_eq!(kinds("3rd")[0].0, Kind::Word);
        assert_eq!(tokens(&"a ".repeat(MAX_TOKENS + 2)), None);
    }
}
