//! Groups of related words, so that texts without a common word can meet.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::features::{hash_words, stems};

/// Longest phrase in the list, in words.
pub(super) const MAX_PHRASE: usize = 5;

/// From the hash of a phrase to the groups it stands in.
static GROUPS: LazyLock<FxHashMap<u64, Vec<u8>>> = LazyLock::new(|| {
    let lines = include_str!("related.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut groups: FxHashMap<u64, Vec<u8>> = FxHashMap::default();
    for (number, line) in (0_u8..).zip(lines) {
        let (_, phrases) = line.split_once(':').unwrap_or(("", line));
        for phrase in phrases.split(',') {
            let of = groups.entry(hash_words(&stems(phrase))).or_default();
            if !of.contains(&number) {
                of.push(number);
            }
        }
    }
    groups
});

/// The groups of a phrase of stemmed words.
pub(super) fn groups(phrase: &[String]) -> &'static [u8] {
    GROUPS.get(&hash_words(phrase)).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_of_the_list_can_be_found() {
        let lines: Vec<&str> =
            include_str!("related.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert!(lines.len() < usize::from(u8::MAX));
        for line in lines {
            let (name, phrases) = line.split_once(": ").expect("a group has a name");
            for phrase in phrases.split(',') {
                let words = stems(phrase);
                assert!((1..=MAX_PHRASE).contains(&words.len()), "{name}: {phrase:?}");
                assert!(!groups(&words).is_empty(), "{name}: {phrase:?}");
            }
        }
    }
}
