//! From a text to counted features: stemmed words, pairs of words, runs of letters within words, and the groups
//! of related words. Each is a hash; nothing keeps a vocabulary.

use std::{hash::Hasher, sync::LazyLock};

use rustc_hash::{FxHashSet, FxHasher};

use super::related;

/// Longest part of a text that is looked at, in bytes: what a task is about is said at its beginning.
const MAX_BYTES: usize = 4096;
/// Letters in a run.
const RUNS: std::ops::RangeInclusive<usize> = 3..=5;

/// Kinds of features. Each is brought to the same length before they are weighed against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Word,
    Pair,
    Run,
    Group,
}

/// How many kinds there are.
pub(super) const KINDS: usize = 4;

/// One feature of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feature {
    pub(super) hash: u64,
    pub(super) kind: Kind,
    /// Whether it consists of words without content of their own, as "how" and "the".
    pub(super) light: bool,
}

/// Words that carry grammar and little else.
const LIGHT: &str = "a an the and or but if then than of to in on at by for from with about into over after before \
    up down out off is are was were be been being am do does did done doing have has had having i me my mine we us our \
    ours you your yours he she it its they them their this that these those there here what which who whom whose when \
    where why how can could should would will shall may might must not no nor so too very just also please some any \
    each all both more most other such only own same as again once while during until let get got need want like make \
    im dont doesnt isnt cant";

/// The features of `text`, repeated as often as they occur.
pub(super) fn features(text: &str) -> Vec<Feature> {
    let words = words(text);
    let mut found = Vec::with_capacity(words.len() * 18);
    let stems: Vec<String> = words.iter().map(|word| stem(word)).collect();
    let light: Vec<bool> = words.iter().map(|word| is_light(word)).collect();
    for (stem, light) in stems.iter().zip(&light) {
        found.push(Feature { hash: hash(Kind::Word, &[stem.as_bytes()]), kind: Kind::Word, light: *light });
    }
    for (pair, light) in stems.windows(2).zip(light.windows(2)) {
        let hash = hash(Kind::Pair, &[pair[0].as_bytes(), pair[1].as_bytes()]);
        found.push(Feature { hash, kind: Kind::Pair, light: light[0] && light[1] });
    }
    for (word, light) in words.iter().zip(&light) {
        letter_runs(word, *light, &mut found);
    }
    for length in 1..=related::MAX_PHRASE {
        for phrase in stems.windows(length) {
            let groups = related::groups(phrase).iter();
            found.extend(groups.map(|group| Feature {
                hash: hash(Kind::Group, &[&[*group]]),
                kind: Kind::Group,
                light: false,
            }));
        }
    }
    found
}

/// Runs of letters within ` word `, whose spaces mark its beginning and end.
fn letter_runs(word: &str, light: bool, found: &mut Vec<Feature>) {
    let padded = format!(" {word} ");
    let starts: Vec<usize> = padded.char_indices().map(|(at, _)| at).chain([padded.len()]).collect();
    for length in RUNS {
        if starts.len() <= length {
            break;
        }
        for window in starts.windows(length + 1) {
            let run = &padded.as_bytes()[window[0]..window[length]];
            found.push(Feature { hash: hash(Kind::Run, &[run]), kind: Kind::Run, light });
        }
    }
}

fn is_light(word: &str) -> bool {
    static WORDS: LazyLock<FxHashSet<&str>> = LazyLock::new(|| LIGHT.split(' ').collect());
    WORDS.contains(word)
}

/// The words of a text in lower case, without apostrophes. `c++` and `c#` are words.
fn words(text: &str) -> Vec<String> {
    let end = text.floor_char_boundary(MAX_BYTES);
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text[..end].chars().flat_map(char::to_lowercase) {
        match c {
            '\'' | '’' => {}
            '+' | '#' if !word.is_empty() => word.push(c),
            c if c.is_alphanumeric() => word.push(c),
            _ if word.is_empty() => {}
            _ => words.push(std::mem::take(&mut word)),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The stemmed words of a text.
pub(crate) fn stems(text: &str) -> Vec<String> {
    words(text).iter().map(|word| stem(word)).collect()
}

/// A word without its English endings: crude, the same for every form of a word, and that is all that counts.
fn stem(word: &str) -> String {
    if word.len() <= 3 || !word.is_ascii() {
        return word.to_owned();
    }
    let mut stem = match word {
        _ if word.ends_with("ies") && word.len() >= 5 => format!("{}y", &word[..word.len() - 3]),
        _ if word.ends_with("sses") => word[..word.len() - 2].to_owned(),
        _ if word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") => word.to_owned(),
        _ => word.strip_suffix('s').unwrap_or(word).to_owned(),
    };
    for ending in ["ing", "ed"] {
        let Some(rest) = stem.strip_suffix(ending).filter(|rest| rest.len() >= 3) else { continue };
        let doubled = rest.len() > 3 && rest.as_bytes()[rest.len() - 1] == rest.as_bytes()[rest.len() - 2];
        let doubled = doubled && !rest.ends_with(['l', 's', 'z']);
        stem = rest[..rest.len() - usize::from(doubled)].to_owned();
        break;
    }
    if stem.len() > 4 && stem.ends_with('e') {
        stem.pop();
    }
    if stem.len() > 4 && stem.ends_with('y') {
        stem.pop();
        stem.push('i');
    }
    stem
}

/// One number for a phrase.
pub(super) fn hash_words(words: &[String]) -> u64 {
    let mut hasher = FxHasher::default();
    for word in words {
        hasher.write(word.as_bytes());
        hasher.write_u8(0);
    }
    hasher.finish()
}

fn hash(kind: Kind, parts: &[&[u8]]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u8(kind as u8);
    for part in parts {
        hasher.write(part);
        hasher.write_u8(0xff);
    }
    // The lower bits pick the bucket: spread the hash over all of them.
    let hash = hasher.finish();
    (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_share_a_stem() {
        for forms in [
            &["chart", "charts", "charting", "charted"][..],
            &["deploy", "deploys", "deployed", "deploying"],
            &["query", "queries", "querying"],
            &["plan", "plans", "planned", "planning"],
            &["vulnerability", "vulnerabilities"],
        ] {
            let stems: Vec<String> = forms.iter().map(|form| stem(form)).collect();
            assert!(stems.iter().all(|stem| *stem == stems[0]), "{stems:?}");
        }
    }

    #[test]
    fn words_keep_what_tells_languages_apart_and_drop_apostrophes() {
        assert_eq!(
            words("Don’t fix C++ and C#, can't you? Größe 3,5"),
            ["dont", "fix", "c++", "and", "c#", "cant", "you", "größe", "3", "5"]
        );
        assert_eq!(words(" ' -- + "), Vec::<String>::new());
    }

    #[test]
    fn light_words_are_whole_words() {
        assert!(is_light("the") && is_light("a") && is_light("cant"));
        assert!(!is_light("th") && !is_light("sql") && !is_light("hem"));
    }

    #[test]
    fn any_text_has_features_without_a_panic() {
        for text in ["", " ", "é", "日本語 テキスト", "a\u{301}", &"ß".repeat(5000), "🦀🦀🦀 crab"] {
            features(text);
        }
    }
}
