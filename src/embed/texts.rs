//! Which texts stand for a profile where vectors are compared.

use super::{Aggregate, Profile};

/// Clauses of one description that count.
const MAX_CLAUSES: usize = 32;
/// Profiles up to which descriptions are taken apart: each clause is one more text to embed and to compare.
const MAX_TAKEN_APART: usize = 1000;

/// Sentences of every day, which are as a rule nobody's business.
pub(super) fn everyday() -> impl Iterator<Item = &'static str> {
    include_str!("everyday.txt").lines()
}

/// The texts of each profile that are embedded.
///
/// Nobody asks for all that a description lists: where there is no example, [`Aggregate::Hybrid`] takes it clause by
/// clause, each behind the profile's name.
pub(super) fn texts_of(profiles: &[Profile], aggregate: Aggregate) -> Vec<Vec<String>> {
    let apart = aggregate == Aggregate::Hybrid && profiles.len() <= MAX_TAKEN_APART;
    let of = |profile: &Profile| {
        let mut texts = match () {
            () if profile.description.is_empty() => Vec::new(),
            () if apart && profile.examples.is_empty() => clauses(profile),
            () => vec![profile.description.clone()],
        };
        texts.extend(profile.examples.iter().chain(&profile.tools).cloned());
        if texts.is_empty() {
            texts.push(profile.name.clone());
        }
        texts
    };
    profiles.iter().map(of).collect()
}

/// The clauses of a profile's description behind its name.
fn clauses(profile: &Profile) -> Vec<String> {
    let mut clauses: Vec<String> = Vec::new();
    let mut rest = profile.description.as_str();
    while !rest.is_empty() && clauses.len() < MAX_CLAUSES {
        let (clause, behind) = first_clause(rest);
        rest = behind;
        if clause.contains(char::is_alphanumeric) {
            let name = profile.name.as_str();
            clauses.push(if name.is_empty() { clause.to_owned() } else { format!("{name}: {clause}") });
        }
    }
    if clauses.is_empty() { vec![profile.description.clone()] } else { clauses }
}

/// A text up to its first punctuation mark or "and", and what is behind it.
fn first_clause(text: &str) -> (&str, &str) {
    let ends = |(at, c): (usize, char)| {
        let behind = &text[at + c.len_utf8()..];
        // Not the point in "2.4", nor the colon in "12:30".
        let marks =
            matches!(c, '.' | ',' | ';' | ':' | '!' | '?') && behind.chars().next().is_none_or(char::is_whitespace);
        match behind.strip_prefix("and ").filter(|_| c == ' ') {
            Some(behind) => Some((at, behind)),
            None => (marks || matches!(c, '\n' | '。' | '、' | '，')).then_some((at, behind)),
        }
    };
    let (end, behind) = text.char_indices().find_map(ends).unwrap_or((text.len(), ""));
    (text[..end].trim(), behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str, description: &str, examples: &[&str]) -> Profile {
        let examples = examples.iter().map(|text| (*text).to_owned()).collect();
        Profile { name: name.into(), description: description.into(), examples, tools: vec!["a tool".into()] }
    }

    #[test]
    fn a_description_alone_is_taken_clause_by_clause() {
        let rows = [
            ("Writes notes, guides and tutorials.", &["N: Writes notes", "N: guides", "N: tutorials"][..]),
            (
                "Runs things: 2.4 of them; android at 12:30",
                &["N: Runs things", "N: 2.4 of them", "N: android at 12:30"],
            ),
            ("文書、要約。", &["N: 文書", "N: 要約"]),
            ("one\ntwo", &["N: one", "N: two"]),
            ("...", &["..."]),
        ];
        for (description, expected) in rows {
            let texts = texts_of(&[profile("N", description, &[])], Aggregate::Hybrid);
            assert_eq!(texts[0], [expected, &["a tool"]].concat(), "{description}");
        }
        let many = "word, ".repeat(100);
        assert_eq!(texts_of(&[profile("N", &many, &[])], Aggregate::Hybrid)[0].len(), MAX_CLAUSES + 1);
    }

    #[test]
    fn what_has_examples_or_is_compared_by_cosine_alone_stays_whole() {
        let described = profile("N", "Writes notes, guides", &[]);
        assert_eq!(texts_of(std::slice::from_ref(&described), Aggregate::MaxCentroid)[0][0], "Writes notes, guides");
        let shown = profile("N", "Writes notes, guides", &["a guide, please"]);
        let both = texts_of(&[described.clone(), shown], Aggregate::Hybrid);
        assert_eq!(both[0], ["N: Writes notes", "N: guides", "a tool"]);
        assert_eq!(both[1], ["Writes notes, guides", "a guide, please", "a tool"]);
        let bare = Profile { name: "N".into(), ..Profile::default() };
        assert_eq!(texts_of(&[bare], Aggregate::Hybrid), [["N"]]);
        let many = texts_of(&vec![described; MAX_TAKEN_APART + 1], Aggregate::Hybrid);
        assert_eq!(many[0], ["Writes notes, guides", "a tool"]);
    }
}
