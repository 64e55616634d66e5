//! Rows of one table mostly have the same keys in the same order. A template remembers how the keys were
//! written, so that the next row's are compared instead of read.

use super::{
    field::{Layout, Slots},
    lead::{Inner, Lead},
    scan::{Malformed, Scanner},
};

/// The members of rows seen so far.
#[derive(Debug, Default)]
pub(crate) struct Template {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    /// What stood between the value before, or the row's beginning, and this value.
    lead: Lead,
    /// Where the layout wants the value.
    slot: Option<usize>,
    /// The key as written with its quotes, its colon and the space after it.
    written: Box<[u8]>,
    inner: Inner,
}

/// What comes in a row where another key was expected.
enum Next {
    /// The value of a member that the template knows.
    Member(usize),
    /// The value of one that it has no room for.
    Unknown(Option<usize>),
    End,
}

/// Keys remembered: wider tables are read key by key past that.
const MAX_MEMBERS: usize = 64;

impl Template {
    /// Takes the object that starts here; what the layout asks for goes into `slots`.
    #[inline]
    pub(crate) fn row<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        layout: &Layout,
        slots: &mut Slots<'a>,
    ) -> Result<&'a str, Malformed> {
        let start = scanner.at();
        let mut next = 0;
        loop {
            if !self.members.get(next).is_some_and(|member| member.lead.take(scanner)) {
                match self.other(scanner, start, layout, next)? {
                    Next::Member(found) => next = found,
                    Next::Unknown(slot) => {
                        let value = scanner.value()?;
                        if let Some(slot) = slot {
                            slots[slot] = Some(value);
                        }
                        continue;
                    }
                    Next::End => return Ok(scanner.since(start)),
                }
            }
            let member = &mut self.members[next];
            next += 1;
            let value = scanner.at();
            if !scanner.short_scalar() {
                member.inner.skip(scanner)?;
            }
            if let Some(slot) = member.slot {
                slots[slot] = Some(scanner.since(value));
            }
        }
    }

    /// The end of the row, or a key that is not the expected one: a later one, where some are missing, or a
    /// new one.
    fn other(
        &mut self,
        scanner: &mut Scanner<'_>,
        row: usize,
        layout: &Layout,
        next: usize,
    ) -> Result<Next, Malformed> {
        let before = scanner.at();
        let ended = if before == row {
            scanner.expect(b'{', "an object")?;
            scanner.space();
            scanner.take(b'}')
        } else {
            !scanner.another(b'}', "',' or '}'")?
        };
        if ended {
            return Ok(Next::End);
        }
        let start = scanner.at();
        let key = scanner.key()?;
        let (lead, written) = (Lead::new(scanner.since(before)), scanner.since(start).as_bytes());
        if let Some(ahead) = self.members[next..].iter().position(|member| *member.written == *written) {
            self.members[next + ahead].lead = lead;
            return Ok(Next::Member(next + ahead));
        }
        let slot = layout.find(key);
        if self.members.len() == MAX_MEMBERS {
            return Ok(Next::Unknown(slot));
        }
        self.members.insert(next, Member { lead, slot, written: written.into(), inner: Inner::default() });
        Ok(Next::Member(next))
    }
}
