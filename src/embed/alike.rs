//! Texts that say nearly the same, by words and letters.

use std::ops::ControlFlow;

use rustc_hash::FxHashMap;

use super::{
    features::{Feature, features},
    lexical::MOST_BUCKETS,
    linear::Row,
    vocabulary::Vocabulary,
};

/// The cosine of `text` with each of `others`, weighed by how rare features are among them all.
#[must_use]
pub fn likeness(text: &str, others: &[&str]) -> Vec<f64> {
    let rows = rows(std::iter::once(&text).chain(others));
    let (own, others) = rows.split_first().map_or((&[][..], &[][..]), |(own, others)| (own.as_slice(), others));
    others.iter().map(|other| f64::from(product(own, other))).collect()
}

/// Gives every pair of `texts` whose cosine is at least `least` (above 0) to `each`: their numbers, the lower one
/// second, and the cosine; in order of the higher number, until `each` has enough.
///
/// Pairs without a rare feature in common are never looked at. A row's features are sorted, those that most texts have
/// first, and its head is as much of it as is shorter than `least`: no product with the head alone comes to `least`, so
/// two rows that do have a feature in common beyond the heads of both.
pub fn alike(texts: &[&str], least: f64, mut each: impl FnMut(usize, usize, f64) -> ControlFlow<()>) {
    let mut rows = rows(texts.iter());
    commonest_first(&mut rows);
    let mut tails: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
    // By text: the one that it was found for last.
    let mut found_for = vec![u32::MAX; rows.len()];
    for (number, row) in (0_u32..).zip(&rows) {
        let mut found: Vec<u32> = Vec::new();
        for (feature, _) in &row[head(row, least)..] {
            let tail = tails.entry(*feature).or_default();
            for other in tail.iter() {
                if std::mem::replace(&mut found_for[*other as usize], number) != number {
                    found.push(*other);
                }
            }
            tail.push(number);
        }
        found.sort_unstable();
        for other in found {
            let cosine = f64::from(product(row, &rows[other as usize]));
            if cosine >= least && each(number as usize, other as usize, cosine).is_break() {
                return;
            }
        }
    }
}

/// The vectors of `texts`, each in order of its features.
fn rows<'a>(texts: impl Iterator<Item = &'a &'a str>) -> Vec<Row> {
    let found: Vec<Vec<Feature>> = texts.map(|text| features(text)).collect();
    let vocabulary = Vocabulary::new(&found, MOST_BUCKETS);
    let row = |text: &Vec<Feature>| {
        let mut row = vocabulary.row(text);
        row.sort_unstable_by_key(|(feature, _)| *feature);
        row
    };
    found.iter().map(row).collect()
}

/// Gives features new numbers, the lower the more rows have them, and sorts the rows by them.
fn commonest_first(rows: &mut [Row]) {
    let mut counts: FxHashMap<u32, u32> = FxHashMap::default();
    for (feature, _) in rows.iter().flatten() {
        *counts.entry(*feature).or_default() += 1;
    }
    let mut order: Vec<(u32, u32)> = counts.into_iter().collect();
    order.sort_unstable_by_key(|(feature, count)| (std::cmp::Reverse(*count), *feature));
    let places: FxHashMap<u32, u32> = order.into_iter().map(|(feature, _)| feature).zip(0..).collect();
    for row in rows {
        row.iter_mut().for_each(|(feature, _)| *feature = places[feature]);
        row.sort_unstable_by_key(|(feature, _)| *feature);
    }
}

/// How many of the row's first features are shorter together than `least`.
fn head(row: &[(u32, f32)], least: f64) -> usize {
    // A hair less, for what rounding adds.
    let enough = least * least * 0.999;
    let mut squares = 0.0;
    let within = |(_, value): &&(u32, f32)| {
        squares += f64::from(*value) * f64::from(*value);
        squares < enough
    };
    row.iter().take_while(within).count()
}

/// The product of two rows in order of their features.
fn product(a: &[(u32, f32)], b: &[(u32, f32)]) -> f32 {
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while let (Some((fa, va)), Some((fb, vb))) = (a.get(i), b.get(j)) {
        if fa == fb {
            sum += va * vb;
        }
        i += usize::from(fa <= fb);
        j += usize::from(fb <= fa);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(texts: &[&str], least: f64) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        alike(texts, least, |one, other, _| {
            found.push((one, other));
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn every_pair_that_is_near_enough_is_found_and_no_other() {
        let words = ["send", "the", "parcel", "back", "to", "our", "shop", "before", "Friday", "noon"];
        // Sentences that share more and less, some of them all: word `w` is left out where the bits say so.
        let texts: Vec<String> = (0..60_usize)
            .map(|i| {
                words.iter().enumerate().filter(|(w, _)| ((i % 54 * 37) >> w) & 1 == 0).map(|(_, word)| *word).collect()
            })
            .map(|kept: Vec<&str>| kept.join(" "))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let rows = rows(texts.iter());
        for least in [0.3, 0.75, 0.95] {
            let mut expected = Vec::new();
            for one in 0..texts.len() {
                let near = |other: &usize| f64::from(product(&rows[one], &rows[*other])) >= least;
                expected.extend((0..one).filter(near).map(|other| (one, other)));
            }
            assert!(expected.len() >= 5 && expected.len() < 60 * 59 / 2, "{least}: {}", expected.len());
            assert_eq!(found(&texts, least), expected, "{least}");
        }
    }

    #[test]
    fn the_search_ends_when_there_is_enough() {
        let mut seen = 0;
        alike(&["red apples"; 50], 0.75, |_, _, _| {
            seen += 1;
            if seen < 7 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert_eq!(seen, 7);
        assert_eq!(found(&["", "", "red apples", "blue cars"], 0.75), []);
    }

    #[test]
    fn a_text_is_compared_with_each_other_one() {
        let cosines = likeness("red apples", &["red apples", "blue cars", "green apples"]);
        assert!(cosines[0] > 0.99 && cosines[1] < 0.01 && (0.1..0.9).contains(&cosines[2]), "{cosines:?}");
        assert_eq!(likeness("", &["red"]), [0.0]);
    }
}
