//! Pages of dead letters, however a driver keeps them.
//!
//! The lists are what the contract says: texts, the latest in front. A place in one is counted from its old end, where
//! nothing is ever added.

use async_trait::async_trait;

use super::{Cursor, DeadLetter, LetterFilter, LetterPlace, Page, QueueError};

/// Letters read in one go where most of them may be those of others.
const SOME: usize = 100;
/// Letters looked at for one page.
const MOST: usize = 10_000;
/// How far behind its place a letter is looked for, that is: how many older ones may have gone before some are shown
/// twice.
const NEAR: usize = 16;

/// Lists of letters, one behind the other.
#[async_trait]
pub(super) trait Letters: Sync {
    /// How many lists there are.
    fn lists(&self) -> usize;

    /// How many letters a list has.
    async fn length(&self, list: usize) -> Result<usize, QueueError>;

    /// The letters of a list that have from `most` down to `least` older ones, latest first, each with how many that
    /// are. A text that is no letter is passed over.
    async fn slice(&self, list: usize, most: usize, least: usize) -> Result<Vec<(usize, DeadLetter)>, QueueError>;
}

/// A page of letters, latest first.
pub(super) async fn page(
    letters: &dyn Letters,
    filter: &LetterFilter,
) -> Result<Page<DeadLetter, LetterPlace>, QueueError> {
    let from = filter.from.as_ref();
    let mut walk = Walk::begin(letters, filter).await?;
    let (mut found, mut rest, mut looked) = (Vec::new(), None, 0);
    // Of somebody's letters, so many of that one's are left out.
    let mut skip = if filter.owner.is_some() && from.is_none() { filter.skip } else { 0 };
    while looked < MOST {
        let missing = filter.limit.saturating_add(1).saturating_sub(found.len());
        let count = if filter.owner.is_some() { missing.max(SOME) } else { missing };
        let Some(batch) = walk.next(count).await? else { break };
        looked += count;
        for (place, letter) in batch {
            rest = Some(place.clone());
            match filter.owner.is_none() || letter.owner() == filter.owner {
                true if skip > 0 => skip -= 1,
                true => found.push((place, letter)),
                false => {}
            }
        }
        if found.len() > filter.limit {
            found.truncate(filter.limit);
            rest = found.last().map(|(place, _)| place.clone());
            return Ok(Page::of(from, found, rest));
        }
    }
    let rest = rest.filter(|_| looked >= MOST);
    Ok(Page::of(from, found, rest))
}

/// A way through the lists.
struct Walk<'a> {
    letters: &'a dyn Letters,
    newer: bool,
    list: usize,
    /// The next letter by how many older ones it has; nothing where the list has none left in this direction.
    next: Option<usize>,
}

impl<'a> Walk<'a> {
    async fn begin(letters: &'a dyn Letters, filter: &LetterFilter) -> Result<Self, QueueError> {
        if let Some(Cursor { place, newer }) = &filter.from {
            let (list, newer) = (place.list.min(letters.lists()), *newer);
            let mut walk = Walk { letters, newer, list, next: None };
            if list < letters.lists() {
                walk.next = walk.beside(place).await?;
            }
            return Ok(walk);
        }
        let mut skip = if filter.owner.is_some() { 0 } else { filter.skip };
        for list in 0..letters.lists() {
            let length = letters.length(list).await?;
            if skip < length {
                return Ok(Walk { letters, newer: false, list, next: Some(length - skip - 1) });
            }
            skip -= length;
        }
        Ok(Walk { letters, newer: false, list: letters.lists(), next: None })
    }

    /// The letter next to a place. Where the one that was there is gone, the next newer one has taken its number, or a
    /// lower one if older ones went as well: then a page of older letters repeats some, and one of newer letters begins
    /// a little late.
    async fn beside(&self, place: &LetterPlace) -> Result<Option<usize>, QueueError> {
        let near = self.letters.slice(place.list, place.older, place.older.saturating_sub(NEAR)).await?;
        let found = near.iter().find(|(_, letter)| letter.letter_id == place.letter_id).map(|(older, _)| *older);
        Ok(match (self.newer, found) {
            (true, Some(older)) => Some(older + 1),
            (true, None) => Some(place.older),
            (false, older) => older.unwrap_or(place.older).checked_sub(1),
        })
    }

    /// Up to `count` more letters; nothing at the end.
    async fn next(&mut self, count: usize) -> Result<Option<Vec<(LetterPlace, DeadLetter)>>, QueueError> {
        let Some(next) = self.next else {
            return if self.turn().await? { Ok(Some(Vec::new())) } else { Ok(None) };
        };
        let (most, least) = match self.newer {
            true => (next.saturating_add(count - 1), next),
            false => (next, (next + 1).saturating_sub(count)),
        };
        let mut batch = self.letters.slice(self.list, most, least).await?;
        self.next = match self.newer {
            true => (self.letters.length(self.list).await? > most + 1).then_some(most + 1),
            false => least.checked_sub(1),
        };
        if self.newer {
            batch.reverse();
        }
        let list = self.list;
        let placed = |(older, letter): (usize, DeadLetter)| {
            (LetterPlace { list, older, letter_id: letter.letter_id.clone() }, letter)
        };
        Ok(Some(batch.into_iter().map(placed).collect()))
    }

    /// Goes on to the next list; false where there is none.
    async fn turn(&mut self) -> Result<bool, QueueError> {
        let next = if self.newer { self.list.checked_sub(1) } else { Some(self.list + 1) };
        let Some(list) = next.filter(|list| *list < self.letters.lists()) else { return Ok(false) };
        self.list = list;
        self.next = match self.newer {
            true => Some(0),
            false => self.letters.length(list).await?.checked_sub(1),
        };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::job::{ErrorCode, JobError};

    /// Two lists of letters that are known by a word.
    struct Two(Mutex<[Vec<&'static str>; 2]>);

    #[async_trait]
    impl Letters for Two {
        fn lists(&self) -> usize {
            2
        }

        async fn length(&self, list: usize) -> Result<usize, QueueError> {
            Ok(self.0.lock()[list].len())
        }

        async fn slice(&self, list: usize, most: usize, least: usize) -> Result<Vec<(usize, DeadLetter)>, QueueError> {
            let words = self.0.lock()[list].clone();
            let all = words.into_iter().rev().enumerate().map(|(older, word)| (older, letter(word)));
            let mut slice: Vec<_> = all.filter(|(older, _)| (least..=most).contains(older)).collect();
            slice.reverse();
            Ok(slice)
        }
    }

    fn letter(word: &str) -> DeadLetter {
        DeadLetter {
            letter_id: word.into(),
            raw: None,
            raw_base64: None,
            job_id: None,
            // Those in capitals belong to somebody.
            workflow_owner: (word.to_uppercase() == word).then(|| "ann".into()),
            source: None,
            error: JobError::new(ErrorCode::Internal, "x"),
            attempts: 1,
            crashes: 0,
            failed_at: String::new(),
        }
    }

    type Found = (String, Option<Cursor<LetterPlace>>, Option<Cursor<LetterPlace>>);

    async fn read(letters: &Two, filter: LetterFilter) -> Found {
        let page = page(letters, &filter).await.unwrap();
        (page.items.into_iter().map(|letter| letter.letter_id).collect(), page.older, page.newer)
    }

    fn at(from: Option<Cursor<LetterPlace>>, limit: usize) -> LetterFilter {
        LetterFilter { from, limit, ..LetterFilter::default() }
    }

    fn two_lists() -> Two {
        Two(Mutex::new([vec!["g", "F", "e", "D"], vec!["c", "B", "a"]]))
    }

    #[tokio::test]
    async fn pages_go_through_all_lists_and_back() {
        for limit in 1..=8 {
            let letters = two_lists();
            let (mut from, mut forth, mut starts) = (None, Vec::new(), Vec::new());
            loop {
                let (words, older, newer) = read(&letters, at(from.clone(), limit)).await;
                assert_eq!(newer.is_some(), from.is_some());
                forth.push(words);
                starts.push(newer);
                let Some(next) = older else { break };
                from = Some(next);
            }
            assert_eq!(forth.concat(), "gFeDcBa", "{limit}");
            for n in 1..forth.len() {
                let (words, older, _) = read(&letters, at(starts[n].clone(), limit)).await;
                assert_eq!(words, forth[n - 1], "{limit}: before {}", forth[n]);
                assert_eq!(read(&letters, at(older, limit)).await.0, forth[n]);
            }
        }
        for (skip, words) in [(0, "gF"), (3, "Dc"), (4, "cB"), (6, "a"), (7, ""), (99, "")] {
            assert_eq!(read(&two_lists(), LetterFilter { skip, ..at(None, 2) }).await.0, words, "{skip}");
        }
    }

    #[tokio::test]
    async fn a_page_goes_on_where_the_last_one_ended_whatever_came_or_went() {
        type Change = fn(&mut Vec<&'static str>);
        let rows: [(&str, Change, &str, &str); 6] = [
            ("nothing", |_| {}, "eD", "g"),
            ("new ones", |list| list.splice(0..0, ["i", "h"]).for_each(drop), "eD", "hg"),
            ("the one at the place went", |list| list.retain(|word| *word != "F"), "eD", "g"),
            ("all of the page went", |list| list.retain(|word| !"gF".contains(*word)), "eD", ""),
            ("an older one went", |list| list.retain(|word| *word != "D"), "ec", "g"),
            ("all went", Vec::clear, "cB", ""),
        ];
        for (what, change, next, before) in rows {
            let letters = two_lists();
            let (words, older, _) = read(&letters, at(None, 2)).await;
            assert_eq!(words, "gF");
            change(&mut letters.0.lock()[0]);
            let (words, ..) = read(&letters, at(older.clone(), 2)).await;
            assert_eq!(words, next, "{what}");
            let back = older.map(|cursor| Cursor { newer: true, ..cursor });
            let (words, ..) = read(&letters, at(back, 2)).await;
            assert_eq!(words, before, "{what}");
        }
    }

    #[tokio::test]
    async fn an_owner_sees_no_other_letters_and_a_strange_place_is_the_end() {
        let of = |from, limit| LetterFilter { owner: crate::job::Owner::of("ann"), ..at(from, limit) };
        let (words, older, _) = read(&two_lists(), of(None, 2)).await;
        assert_eq!(words, "FD");
        let (words, older, newer) = read(&two_lists(), of(older, 2)).await;
        assert_eq!((words.as_str(), older), ("B", None));
        assert_eq!(read(&two_lists(), of(newer, 2)).await.0, "FD");
        assert_eq!(read(&two_lists(), LetterFilter { skip: 1, ..of(None, 2) }).await.0, "DB");
        let far = |newer| Cursor { place: LetterPlace { list: 9, older: 9, letter_id: "x".into() }, newer };
        assert_eq!(read(&two_lists(), at(Some(far(false)), 2)).await.0, "");
        assert_eq!(read(&two_lists(), at(Some(far(true)), 2)).await.0, "Ba", "before the end of all");
    }
}
