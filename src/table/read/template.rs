//! Rows of one table mostly have the same keys in the same order. A template remembers how the keys were
//! written, so that the next row's are compared instead of read.

use super::{
    field::{Layout, Slots},
    scan::{Malformed, Scanner},
};

/// The keys of rows seen so far, each as written with its quotes, its colon and the space after it.
#[derive(Debug, Default)]
pub(crate) struct Template {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    written: Box<[u8]>,
    /// Where the layout wants its value.
    slot: Option<usize>,
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
        scanner.expect(b'{', "an object")?;
        scanner.space();
        if scanner.take(b'}') {
            return Ok(scanner.since(start));
        }
        let mut next = 0;
        loop {
            let slot = match self.members.get(next) {
                Some(member) if scanner.take_all(&member.written) => {
                    next += 1;
                    member.slot
                }
                _ => self.read_key(scanner, layout, &mut next)?,
            };
            let value = scanner.at();
            scanner.skip()?;
            if let Some(slot) = slot {
                slots[slot] = Some(scanner.since(value));
            }
            scanner.space();
            if scanner.take(b',') {
                scanner.space();
            } else {
                scanner.expect(b'}', "',' or '}'")?;
                return Ok(scanner.since(start));
            }
        }
    }

    /// A key that is not the expected one: a later one, where some are missing, or a new one.
    fn read_key(
        &mut self,
        scanner: &mut Scanner<'_>,
        layout: &Layout,
        next: &mut usize,
    ) -> Result<Option<usize>, Malformed> {
        let start = scanner.at();
        let key = scanner.key()?;
        let written = scanner.since(start).as_bytes();
        let from = (*next).min(self.members.len());
        if let Some(ahead) = self.members[from..].iter().position(|member| *member.written == *written) {
            *next = from + ahead + 1;
            return Ok(self.members[from + ahead].slot);
        }
        let slot = layout.find(key);
        if self.members.len() < MAX_MEMBERS {
            self.members.insert(from, Member { written: written.into(), slot });
            *next = from + 1;
        }
        Ok(slot)
    }
}
