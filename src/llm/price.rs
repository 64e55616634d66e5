//! What tokens cost: a built-in table, and the operator's own on top of it.

use std::collections::BTreeMap;

use crate::{job::Tokens, settings::Price};

/// Dollars per million tokens as the providers list them: prompt, completion, prompt from the cache.
#[rustfmt::skip]
const TABLE: &[(&str, f64, f64, f64)] = &[
    ("gpt-3.5-turbo",        0.50,  1.50, 0.50),
    ("gpt-4-turbo",         10.00, 30.00, 10.00),
    ("gpt-4o",               2.50, 10.00, 1.25),
    ("gpt-4o-mini",          0.15,  0.60, 0.075),
    ("gpt-4.1",              2.00,  8.00, 0.50),
    ("gpt-4.1-mini",         0.40,  1.60, 0.10),
    ("gpt-4.1-nano",         0.10,  0.40, 0.025),
    ("gpt-5",                1.25, 10.00, 0.125),
    ("gpt-5-mini",           0.25,  2.00, 0.025),
    ("gpt-5-nano",           0.05,  0.40, 0.005),
    ("o1",                  15.00, 60.00, 7.50),
    ("o3",                   2.00,  8.00, 0.50),
    ("o3-mini",              1.10,  4.40, 0.55),
    ("o4-mini",              1.10,  4.40, 0.275),
    ("claude-3-5-haiku",     0.80,  4.00, 0.08),
    ("claude-haiku-4-5",     1.00,  5.00, 0.10),
    ("claude-sonnet-4",      3.00, 15.00, 0.30),
    ("claude-sonnet-4-5",    3.00, 15.00, 0.30),
    ("gemini-2.0-flash",     0.10,  0.40, 0.025),
    ("gemini-2.5-flash",     0.30,  2.50, 0.075),
    ("gemini-2.5-pro",       1.25, 10.00, 0.31),
    ("deepseek-chat",        0.27,  1.10, 0.07),
    ("deepseek-reasoner",    0.55,  2.19, 0.14),
    ("mistral-large",        2.00,  6.00, 2.00),
    ("mistral-small",        0.10,  0.30, 0.10),
];

/// The price of `model`: the operator's, else the built-in one. None for models that nobody priced.
pub(super) fn of(model: &str, own: &BTreeMap<String, Price>) -> Option<Price> {
    if let Some(price) = own.get(model) {
        return Some(price.clone());
    }
    // `openai/gpt-4o-mini` is what routers call it.
    let bare = model.rsplit_once('/').map_or(model, |(_, name)| name);
    let own_names = own.iter().map(|(name, price)| (name.as_str(), price.clone()));
    let table = TABLE.iter().map(|(name, prompt, completion, cached)| {
        (*name, Price { prompt: *prompt, completion: *completion, cached: Some(*cached) })
    });
    own_names.chain(table).find(|(name, _)| *name == bare || is_dated(bare, name)).map(|(_, price)| price)
}

/// Whether `model` is `name` with a date or `latest` behind it: the same model, and not another of the family.
fn is_dated(model: &str, name: &str) -> bool {
    model.strip_prefix(name).and_then(|rest| rest.strip_prefix(['-', '@'])).is_some_and(|rest| {
        rest == "latest" || (rest.len() >= 4 && rest.chars().all(|c| c.is_ascii_digit() || c == '-'))
    })
}

/// Dollars per token of a prompt, none of it from a cache, and of an answer; zero where nobody priced the model.
pub(super) fn rates(price: Option<&Price>) -> [f64; 2] {
    price.map_or([0.0; 2], |price| [price.prompt / 1e6, price.completion / 1e6])
}

/// Dollars for `tokens`.
pub(super) fn cost(price: &Price, tokens: Tokens) -> f64 {
    let fresh = tokens.prompt.saturating_sub(tokens.cached) as f64 * price.prompt;
    let cached = tokens.cached as f64 * price.cached.unwrap_or(price.prompt);
    (fresh + cached + tokens.completion as f64 * price.completion) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_whole_or_dated_and_the_operator_wins() {
        let own = BTreeMap::from([
            ("local".to_owned(), Price { prompt: 1.0, completion: 2.0, cached: None }),
            ("gpt-4.1".to_owned(), Price { prompt: 9.0, completion: 9.0, cached: None }),
        ]);
        for (model, prompt) in [
            ("gpt-4o-mini", Some(0.15)),
            ("gpt-4o-mini-2024-07-18", Some(0.15)),
            ("gpt-4o", Some(2.5)),
            ("openai/gpt-4o", Some(2.5)),
            ("mistral-small-latest", Some(0.1)),
            ("gpt-4o-audio", None),
            ("gpt-4o-mini-audio", None),
            ("gpt-4.1", Some(9.0)),
            ("gpt-4.1-2025-04-14", Some(9.0)),
            ("gpt-4.1-mini", Some(0.4)),
            ("local", Some(1.0)),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(of(model, &own).map(|price| price.prompt), prompt, "{model}");
        }
    }

    #[test]
    fn cached_tokens_cost_what_they_cost() {
        let tokens = Tokens { prompt: 1_000_000, completion: 500_000, cached: 400_000 };
        let price = |cached| Price { prompt: 2.0, completion: 8.0, cached };
        assert_eq!(cost(&price(Some(0.5)), tokens), 1.2 + 0.2 + 4.0);
        assert_eq!(cost(&price(None), tokens), 2.0 + 4.0);
    }
}
