//! Names as people write them: case, plural, underscore and space make no difference.

/// The words of a name in lower case and singular: `departureTimes`, `departure_time` → `departure`, `time`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut last_lower = false;
    for c in name.chars() {
        let cut = !(c.is_alphanumeric()) || (c.is_uppercase() && last_lower);
        if cut && !word.is_empty() {
            words.push(singular(&std::mem::take(&mut word)));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        last_lower = c.is_lowercase() || c.is_numeric();
    }
    if !word.is_empty() {
        words.push(singular(&word));
    }
    words
}

/// The singular of a word, by its ending.
pub(super) fn singular(word: &str) -> String {
    const IRREGULAR: &[(&str, &str)] = &[
        ("people", "person"),
        ("children", "child"),
        ("men", "man"),
        ("women", "woman"),
        ("countries", "country"),
        ("movies", "movie"),
        ("cookies", "cookie"),
        ("series", "series"),
        ("species", "species"),
        ("status", "status"),
        ("statuses", "status"),
        ("news", "news"),
    ];
    if let Some((_, one)) = IRREGULAR.iter().find(|(many, _)| *many == word) {
        return (*one).into();
    }
    if word.len() < 4 || word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") || !word.ends_with('s') {
        return word.into();
    }
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    }
    for ending in ["sses", "shes", "ches", "xes", "zes"] {
        if word.ends_with(ending) {
            return word[..word.len() - 2].into();
        }
    }
    word[..word.len() - 1].into()
}

/// Whether a word looks like the plural of a noun.
pub(super) fn plural(word: &str) -> bool {
    singular(word) != word || matches!(word, "data" | "series" | "species" | "news")
}

/// The name among `names` that `word` is most likely a slip of.
pub(super) fn closest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let flat = |name: &str| words(name).join("");
    let wanted = flat(word);
    if wanted.len() < 3 {
        return None;
    }
    let allowed = if wanted.len() < 7 { 1 } else { 2 };
    let mut best: Option<(usize, &str)> = None;
    for name in names {
        let known = flat(name);
        let part = wanted.len() > 3 && words(name).len() > 1 && words(name).contains(&wanted);
        let distance = if part { 1 } else { strsim::osa_distance(&wanted, &known) };
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_across_spellings() {
        for (a, b) in [
            ("departure_time", "Departure times"),
            ("unitPrice", "unit prices"),
            ("unit-price", "UNIT_PRICE"),
            ("categories", "category"),
            ("boxes", "box"),
            ("status", "Status"),
            ("class", "classes"),
        ] {
            assert_eq!(words(a), words(b), "{a} {b}");
        }
        assert_eq!(closest("pric", ["price", "name"].into_iter()), Some("price"));
        assert_eq!(closest("departure", ["departure_time", "name"].into_iter()), Some("departure_time"));
        assert_eq!(closest("zebra", ["price", "name"].into_iter()), None);
    }
}
