//! Pages of lists, and where each begins.
//!
//! A cursor names a place between two entries, never a number of entries to skip: what comes or goes elsewhere in the
//! list moves nothing.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

use crate::job::JobId;

/// Part of a list, latest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, P> {
    /// What was found; fewer than asked for also where a page would cost too much.
    pub items: Vec<T>,
    /// Where the list goes on with older entries; nothing at its end.
    pub older: Option<Cursor<P>>,
    /// Where newer ones end, on a page that did not begin with the latest.
    pub newer: Option<Cursor<P>>,
}

/// Where a page begins: behind a place (older entries), or before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor<P> {
    /// The place.
    pub place: P,
    /// Newer entries are wanted, those next to the place.
    pub newer: bool,
}

/// A place in a list of jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPlace {
    /// When the job there came, in milliseconds since the epoch.
    pub created: u64,
    /// The job; without one, the place is beyond every job of that moment.
    pub id: Option<JobId>,
}

/// A place in the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterPlace {
    /// Which of several lists, one behind the other.
    pub list: usize,
    /// How many older letters that list had. New letters do not change it, and letters that go only lower it.
    pub older: usize,
    /// The letter there.
    pub letter_id: String,
}

/// A text that is no cursor of this kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`cursor` is none that a page of this list gave out: leave it out to begin with the latest")]
pub struct NoCursor;

impl<T, P: Clone> Page<T, P> {
    /// A page of what was `found` from `from` on, in the direction that it has, each with its place. `rest` is where
    /// there is more in that direction.
    pub(crate) fn of(from: Option<&Cursor<P>>, mut found: Vec<(P, T)>, rest: Option<P>) -> Self {
        let back = from.is_some_and(|from| from.newer);
        if back {
            found.reverse();
        }
        let place = |entry: Option<&(P, T)>| entry.map(|(place, _)| place.clone());
        let (older, newer) = match back {
            true => (place(found.last()), rest),
            false => (rest, from.and(place(found.first()))),
        };
        Self {
            items: found.into_iter().map(|(_, item)| item).collect(),
            older: older.map(|place| Cursor { place, newer: false }),
            newer: newer.map(|place| Cursor { place, newer: true }),
        }
    }
}

impl Cursor<JobPlace> {
    /// Whether a job that came at `created` lies on this side of the place.
    pub(crate) fn reaches(&self, created: u64, id: &JobId) -> bool {
        let place = &self.place;
        let within = || place.id.as_ref().is_some_and(|other| if self.newer { id > other } else { id < other });
        let beyond = if self.newer { created > place.created } else { created < place.created };
        beyond || (created == place.created && within())
    }

    /// Puts jobs, each with when it came, in the order in which a page from here on shows them, and leaves out the
    /// others. Without a cursor: all, latest first.
    pub(crate) fn arrange(from: Option<&Self>, names: &mut Vec<(u64, JobId)>) {
        names.retain(|(created, id)| from.is_none_or(|from| from.reaches(*created, id)));
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.dedup();
        if from.is_some_and(|from| from.newer) {
            names.reverse();
        }
    }
}

impl<P: fmt::Display> fmt::Display for Cursor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.newer { '+' } else { '-' };
        f.write_str(&BASE64.encode(format!("{side}{}", self.place)))
    }
}

impl<P: FromStr> FromStr for Cursor<P> {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let plain = BASE64.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(NoCursor)?;
        let (newer, place) = match plain.split_at_checked(1).ok_or(NoCursor)? {
            ("+", place) => (true, place),
            ("-", place) => (false, place),
            _ => return Err(NoCursor),
        };
        Ok(Self { place: place.parse().map_err(|_| NoCursor)?, newer })
    }
}

impl fmt::Display for JobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} {}", self.created, self.id.as_ref().map_or("", JobId::as_str))
    }
}

impl FromStr for JobPlace {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (created, id) = text.strip_prefix("job ").and_then(|rest| rest.split_once(' ')).ok_or(NoCursor)?;
        let id = match id {
            "" => None,
            id => Some(JobId::parse(id).map_err(|_| NoCursor)?),
        };
        Ok(Self { created: created.parse().map_err(|_| NoCursor)?, id })
    }
}

impl fmt::Display for LetterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dead {} {} {}", self.list, self.older, self.letter_id)
    }
}

impl FromStr for LetterPlace {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.strip_prefix("dead ").ok_or(NoCursor)?.splitn(3, ' ');
        let mut number = || parts.next()?.parse::<u32>().ok().and_then(|number| usize::try_from(number).ok());
        let (Some(list), Some(older)) = (number(), number()) else { return Err(NoCursor) };
        let letter_id = parts.next().ok_or(NoCursor)?.to_owned();
        Ok(Self { list, older, letter_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        JobId::parse(text).unwrap()
    }

    #[test]
    fn cursors_read_as_they_were_written_and_only_those_of_the_list() {
        let letter = LetterPlace { list: 1, older: 7, letter_id: "letter-0".into() };
        for newer in [false, true] {
            for name in [None, Some(id("a")), Some(id("ü/1 ".trim()))] {
                let cursor = Cursor { place: JobPlace { created: 1_700_000_000_000, id: name }, newer };
                assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
                assert_eq!(cursor.to_string().parse::<Cursor<LetterPlace>>(), Err(NoCursor));
            }
            let cursor = Cursor { place: letter.clone(), newer };
            assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
            assert_eq!(cursor.to_string().parse::<Cursor<JobPlace>>(), Err(NoCursor));
        }
        let coded = |text: &str| BASE64.encode(text);
        for text in ["", "x", "%", "LQ", &coded("-job 1"), &coded("-job x a"), &coded("-job -1 a"), &coded("*job 1 a")]
        {
            assert_eq!(text.parse::<Cursor<JobPlace>>(), Err(NoCursor), "{text}");
        }
        for text in ["-dead 1 2", "-dead 99999999999 1 a", "-dead 1 -1 a", "é"] {
            assert_eq!(coded(text).parse::<Cursor<LetterPlace>>(), Err(NoCursor), "{text}");
        }
    }

    #[test]
    fn a_place_divides_a_list_in_two() {
        let all = vec![(3, id("a")), (2, id("c")), (2, id("b")), (2, id("a")), (1, id("z"))];
        for (i, (created, name)) in all.iter().enumerate() {
            let place = JobPlace { created: *created, id: Some(name.clone()) };
            let (mut older, mut newer) = (all.clone(), all.clone());
            Cursor::arrange(Some(&Cursor { place: place.clone(), newer: false }), &mut older);
            Cursor::arrange(Some(&Cursor { place, newer: true }), &mut newer);
            newer.reverse();
            assert_eq!((newer, older), (all[..i].to_vec(), all[i + 1..].to_vec()), "{created} {name}");
        }
        let mut rest = [all.clone(), all.clone()].concat();
        let moment = |newer| Cursor { place: JobPlace { created: 2, id: None }, newer };
        Cursor::arrange(Some(&moment(false)), &mut rest);
        assert_eq!(rest, [(1, id("z"))]);
        let mut rest = all;
        Cursor::arrange(Some(&moment(true)), &mut rest);
        assert_eq!(rest, [(3, id("a"))]);
    }

    #[test]
    fn a_page_knows_its_neighbours() {
        let page = |from: Option<bool>, found: &[u8], rest: Option<u8>| {
            let from = from.map(|newer| Cursor { place: 9, newer });
            let found = found.iter().map(|n| (*n, *n)).collect();
            let page = Page::of(from.as_ref(), found, rest);
            (page.items, page.older.map(|cursor| cursor.place), page.newer.map(|cursor| cursor.place))
        };
        assert_eq!(page(None, &[5, 4], Some(4)), (vec![5, 4], Some(4), None));
        assert_eq!(page(Some(false), &[5, 4], None), (vec![5, 4], None, Some(5)));
        assert_eq!(page(Some(true), &[4, 5], Some(5)), (vec![5, 4], Some(4), Some(5)));
        assert_eq!(page(Some(true), &[], None), (vec![], None, None));
    }
}
