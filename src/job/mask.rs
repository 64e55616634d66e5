//! Credentials in a message that people get to see.
//!
//! A dead letter is often no good JSON, so this reads text: it finds keys and values where they look like some, and
//! leaves everything else as it is, byte for byte.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use super::RawJson;

/// What stands for a credential.
const MASK: &str = "***";

/// Text within text (JSON in a JSON string) is looked into so deep; below, what has quotes is hidden whole.
const MAX_DEPTH: usize = 4;

/// Members whose values are credentials, without `-`, `_`, `.` and case; names that end in one of these count too.
const SECRET: [&str; 19] = [
    "authorization",
    "apikey",
    "token",
    "password",
    "passwords",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "secrets",
    "secretkey",
    "accesskey",
    "privatekey",
    "credentials",
    "bearer",
    "auth",
    "signature",
    "jwt",
    "sessionkey",
];
/// The same for cookies, which also begin names.
const COOKIE: [&str; 4] = ["cookie", "cookies", "setcookie", "credential"];
/// Counts, which end like credentials.
const COUNTS: [&str; 6] =
    ["maxtokens", "maxcompletiontokens", "prompttokens", "completiontokens", "totaltokens", "cachedtokens"];

static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        // user:password@ in an address.
        (r#"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#"'<>\\]+@"#, "${1}***@"),
        // A header line, to its end.
        (r#"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)\s*[:=]\s*[^\r\n"'}&]+"#, "${1}: ***"),
        (r"(?i)\b(bearer)\s+[a-z0-9._~+/=-]{4,}", "${1} ***"),
        // JSON Web Tokens, and keys that say what they are.
        (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*", MASK),
        (r"\bsk-[A-Za-z0-9_-]{16,}", MASK),
        // key=value of a query or a form, key: value of a text.
        (
            r#"(?i)\b([a-z_-]*(?:api[_-]?key|token|password|passwd|secret|secret[_-]?key|access[_-]?key|signature|sig|jwt))(\s*[=:]\s*)[^\s&,;"'{}\[\]\\]+"#,
            "${1}${2}***",
        ),
    ];
    rules.into_iter().filter_map(|(rule, mask)| Some((Regex::new(rule).ok()?, mask))).collect()
});

/// `text` with every credential in it hidden: the values of members like `authorization`, `api_key` and `password`
/// at any depth, of headers and query parameters of such names, and users with passwords in addresses.
#[must_use]
pub fn mask_secrets(text: &str) -> Cow<'_, str> {
    masked(text, 0)
}

/// What a credential may stand beside, in any case: without one of these there is none to hide.
static SIGNS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)auth|key|token|pass|pwd|secret|credential|cookie|bearer|session|sig|jwt|@|eyJ|sk-").ok()
});

impl RawJson {
    /// The same with every credential in it hidden, as [`mask_secrets`] finds them.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        if SIGNS.as_ref().is_some_and(|signs| !signs.is_match(self.as_str())) {
            return self.clone();
        }
        match mask_secrets(self.as_str()) {
            Cow::Borrowed(_) => self.clone(),
            Cow::Owned(clean) => Self::parse(clean.into()).unwrap_or_else(|_| Self::from_trusted(r#"{"hidden":true}"#)),
        }
    }
}

fn masked(text: &str, depth: usize) -> Cow<'_, str> {
    let mut scan = Scan { text, at: 0, out: String::new(), copied: 0, depth, named: Vec::new(), changed: false };
    scan.run();
    if !scan.changed {
        return Cow::Borrowed(text);
    }
    scan.keep_to(text.len());
    Cow::Owned(scan.out)
}

/// Whether a member of this name holds a credential.
fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let known = SECRET.iter().any(|secret| plain == *secret || (!secret.ends_with('s') && plain.ends_with(secret)));
    (known || COOKIE.contains(&plain.as_str())) && !COUNTS.contains(&plain.as_str())
}

/// One way through a text.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    out: String,
    /// Up to where the text is in `out`.
    copied: usize,
    depth: usize,
    /// For each open bracket: whether a `name` in it said that its `value` is a credential.
    named: Vec<bool>,
    changed: bool,
}

impl Scan<'_> {
    fn run(&mut self) {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b'"' => self.literal(),
                b'{' | b'[' => {
                    self.named.push(false);
                    self.at += 1;
                }
                b'}' | b']' => {
                    self.named.pop();
                    self.at += 1;
                }
                _ => {
                    let rest = &self.text[self.at..];
                    let end = rest.find(['"', '{', '[', '}', ']']).unwrap_or(rest.len());
                    self.words(self.at, self.at + end);
                }
            }
        }
    }

    /// Plain words from `from` to `to`.
    fn words(&mut self, from: usize, to: usize) {
        let words = &self.text[from..to];
        if let Cow::Owned(clean) = by_rules(words) {
            self.replace(from, to, &clean);
        }
        self.at = to;
    }

    /// A text in quotes, with the value after it where it is a key.
    fn literal(&mut self) {
        let from = self.at;
        let Some(to) = end_of_literal(self.text, from) else {
            // It does not close: what is left is read as words.
            self.words(from, self.text.len());
            return;
        };
        let after = self.skip_space(to);
        if self.text.as_bytes().get(after) == Some(&b':') {
            self.at = self.skip_space(after + 1);
            let name = decoded(&self.text[from..to]);
            let hides = self.named.last().copied().unwrap_or_default() && name.eq_ignore_ascii_case("value");
            if is_secret(&name) || hides {
                self.hide_value();
            } else if ["name", "key", "header"].iter().any(|word| name.eq_ignore_ascii_case(word)) {
                self.note_name();
            }
            return;
        }
        let literal = &self.text[from..to];
        if let Some(clean) = clean_literal(literal, self.depth) {
            self.replace(from, to, &clean);
        }
        self.at = to;
    }

    /// `{"name": "Authorization", "value": …}`: remembers what the name says of the value.
    fn note_name(&mut self) {
        let Some(end) = end_of_literal(self.text, self.at) else { return };
        if is_secret(&decoded(&self.text[self.at..end]))
            && let Some(named) = self.named.last_mut()
        {
            *named = true;
        }
    }

    fn hide_value(&mut self) {
        let from = self.at;
        let to = end_of_value(self.text, from);
        if self.text[from..to].trim_end() != "null" {
            self.replace(from, to, "\"***\"");
        }
        self.at = to;
    }

    fn skip_space(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        at + rest.len() - rest.trim_start().len()
    }

    fn keep_to(&mut self, to: usize) {
        self.out.push_str(&self.text[self.copied..to]);
        self.copied = to;
    }

    fn replace(&mut self, from: usize, to: usize, with: &str) {
        self.keep_to(from);
        self.out.push_str(with);
        self.copied = to;
        self.changed = true;
    }
}

/// A text in quotes without its credentials, where it has any.
fn clean_literal(literal: &str, depth: usize) -> Option<String> {
    let inner = decoded(literal);
    if depth >= MAX_DEPTH {
        return inner.contains('"').then(|| format!("\"{MASK}\""));
    }
    match masked(&inner, depth + 1) {
        Cow::Borrowed(_) => None,
        Cow::Owned(clean) => serde_json::to_string(&clean).ok(),
    }
}

/// What a text in quotes says; as it stands where it is no good JSON.
fn decoded(literal: &str) -> String {
    serde_json::from_str(literal).unwrap_or_else(|_| literal.trim_matches('"').to_owned())
}

/// Past the closing quote of the text that begins at `from`; nothing where it does not begin or close.
fn end_of_literal(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes().get(from..)?;
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(from + at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Past the value that begins at `from`; to the end of the text where it does not end.
fn end_of_value(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (from, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_literal(text, at).unwrap_or(text.len()) - 1,
            b'{' | b'[' => open += 1,
            b'}' | b']' if open == 0 => return at,
            b'}' | b']' => open -= 1,
            b',' | b'\n' if open == 0 => return at,
            _ => {}
        }
        at += 1;
        let closed = matches!(bytes.get(at - 1), Some(b'"' | b'}' | b']'));
        if open == 0 && closed {
            return at;
        }
    }
    text.len()
}

fn by_rules(words: &str) -> Cow<'_, str> {
    // Without one of these there is nothing to find.
    if !words.contains([':', '=', ' ', '.']) && !words.contains("sk-") {
        return Cow::Borrowed(words);
    }
    let mut clean = Cow::Borrowed(words);
    for (rule, mask) in RULES.iter() {
        if let Cow::Owned(changed) = rule.replace_all(&clean, *mask) {
            clean = Cow::Owned(changed);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden_wherever_they_stand() {
        let deep = |n: usize| {
            (0..n).fold(r#"{"password":"canary"}"#.to_owned(), |text, _| {
                serde_json::to_string(&serde_json::json!({"body": text})).unwrap()
            })
        };
        let rows = [
            r#"{"headers":{"Authorization":"Bearer canary","X-Api-Key":"canary","cookie":"a=canary; b=canary"}}"#
                .to_owned(),
            r#"{"api_key":"canary","apikey":["canary"],"access_token":{"a":"canary","b":["canary"]},"secret":canary}"#
                .to_owned(),
            r#"{"a":[{"b":{"client_secret" : "can\"canary","refreshToken":"canary"}}], "set-cookie": "canary"}"#
                .to_owned(),
            r#"{"headers":[{"name":"Authorization","value":"canary"},{"name":"x","value":"y"}]}"#.to_owned(),
            r#"{"\u0070assword":"canary"}"#.to_owned(),
            r#"{"url":"https://user:canary@host/p?api_key=canary&page=2#x","redis":"redis://:canary@h:1"}"#.to_owned(),
            r#"{"prompt":"call it with Authorization: Basic canary\nthen with Bearer canary"}"#.to_owned(),
            r#"{"password":"canary"#.to_owned(),
            "password=canary&x=1 and ftp://a:canary@h".to_owned(),
            r#"not json {"token": "canary" "#.to_owned(),
            r#"{"curl":"curl -H \"x-api-key: canary\" http://h"}"#.to_owned(),
            deep(1),
            deep(3),
            deep(8),
        ];
        for text in rows {
            let masked = mask_secrets(&text);
            assert!(!masked.contains("canary") && masked.contains("***"), "{text} became {masked}");
            if let Ok(before) = serde_json::from_str::<serde_json::Value>(&text) {
                let after: serde_json::Value = serde_json::from_str(&masked).unwrap();
                assert_eq!(before.as_object().map(serde_json::Map::len), after.as_object().map(serde_json::Map::len));
            }
        }
    }

    #[test]
    fn arguments_stay_json_without_their_credentials() {
        for (text, clean) in [
            (r#"{"a":1.10,"name":"x"}"#, r#"{"a":1.10,"name":"x"}"#),
            (
                r#"{"url":"https://a.b/x?api_key=canary&p=2","headers":{"Authorization":"Bearer canary"},"token":123}"#,
                r#"{"url":"https://a.b/x?api_key=***&p=2","headers":{"Authorization":"***"},"token":"***"}"#,
            ),
            (r#"{"a":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln","b":"sk-0123456789abcdefgh"}"#, r#"{"a":"***","b":"***"}"#),
            (
                r#"{"X-Amz-Signature":"canary","u":"/p?sig=canary&x=1"}"#,
                r#"{"X-Amz-Signature":"***","u":"/p?sig=***&x=1"}"#,
            ),
        ] {
            assert_eq!(RawJson::from_trusted(text).without_secrets().as_str(), clean);
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for text in [
            r#"{"job_id":"a","prompt":"top 10 by price","data":[{"price":1.10,"id":9007199254740993}]}"#,
            r#"{"url":"https://host:8080/a@b?page=2","mail":"ann@example.org","max_tokens":7,"token":null}"#,
            r#"{"budget":{"max_tokens":100},"tokens_used":3,"name":"token","cookies_eaten":2}"#,
            "\u{feff}{\"broken\": [1, 2",
            "",
            "\"",
            "{\"a\":\"\\",
        ] {
            assert!(
                matches!(mask_secrets(text), Cow::Borrowed(same) if same == text),
                "{text}: {}",
                mask_secrets(text)
            );
        }
        assert_eq!(mask_secrets(r#"{"n":1.10, "token" : "x" ,"m":[2]}"#), r#"{"n":1.10, "token" : "***" ,"m":[2]}"#);
    }
}
