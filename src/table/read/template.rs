//! Rows of one table mostly have the same keys in the same order. A template remembers how the keys were
//! written, so that the next row's are compared instead of read.

use super::{
    field::{Layout, Slots},
    lead::{Inner, Lead, scalar_end},
    scan::{Malformed, Scanner},
};

/// The members of rows seen so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Template {
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    /// What stood between the value before, or the row's beginning, and this value.
    lead: Lead,
    /// Whether the lead opens the row. It must not be taken for a comma in the middle, nor the other way round.
    opens: bool,
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
            next = self.expected(scanner, start, slots, next);
            if let Some(value) = self.lead_end(scanner, start, next) {
                scanner.go_to(value);
                // This row may have more space there than the one that the template knows.
                scanner.space();
            } else {
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
            member.inner.skip(scanner)?;
            if let Some(slot) = member.slot {
                slots[slot] = Some(scanner.since(value));
            }
        }
    }

    /// Where the value of the expected member starts, if that is what comes.
    fn lead_end(&self, scanner: &Scanner<'_>, row: usize, next: usize) -> Option<usize> {
        let member = self.members.get(next).filter(|member| member.opens == (scanner.at() == row))?;
        member.lead.end(scanner.text().as_bytes(), scanner.at())
    }

    /// Takes members as long as they are those expected and their values short scalars; gives the number of the
    /// one after them. The place in the text stays in a register: what comes next waits for it.
    #[inline]
    fn expected<'a>(&self, scanner: &mut Scanner<'a>, row: usize, slots: &mut Slots<'a>, mut next: usize) -> usize {
        let text = scanner.text();
        let mut at = scanner.at();
        while let Some(member) = self.members.get(next)
            && member.opens == (at == row)
            && let Some(value) = member.lead.end(text.as_bytes(), at)
            && let Some(end) = scalar_end(text.as_bytes(), value)
        {
            if let Some(slot) = member.slot {
                slots[slot] = Some(&text[value..end]);
            }
            (at, next) = (end, next + 1);
        }
        scanner.go_to(at);
        next
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
            let member = &mut self.members[next + ahead];
            (member.lead, member.opens) = (lead, before == row);
            return Ok(Next::Member(next + ahead));
        }
        let slot = layout.find(key);
        if self.members.len() == MAX_MEMBERS {
            return Ok(Next::Unknown(slot));
        }
        let opens = before == row;
        self.members.insert(next, Member { lead, opens, slot, written: written.into(), inner: Inner::default() });
        Ok(Next::Member(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::read::Field;

    const ROW: &str = concat!(
        r#"{"id":9007199254740993,"flight":"AA9328","airline":"Continental Star","late":false,"note":null,"#,
        r#""departure":"2026-09-25T06:09:00Z","price":-1620.88, "seats":{"economy":158,"business":20},"legs":[{"a":1}],"#,
        r#""a key that is longer than thirty-two bytes":"a text that is longer than thirty-two bytes","stops":2}"#
    );

    /// What a template makes of the row at the beginning of a text: its end and the values, or the fault.
    fn read(template: &mut Template, text: &str) -> Result<(usize, Vec<Option<String>>), Malformed> {
        let mut layout = Layout::default();
        for name in ["price", "seats", "departure", "stops", "legs", "id"] {
            layout.field(&Field::new(name));
        }
        let mut slots = vec![None; layout.len()];
        let mut scanner = Scanner::new(text);
        template.row(&mut scanner, &layout, &mut slots)?;
        Ok((scanner.at(), slots.into_iter().map(|slot| slot.map(str::to_owned)).collect()))
    }

    fn learned(rows: &[&str]) -> Template {
        let mut template = Template::default();
        for row in rows {
            read(&mut template, &format!("{row},{ROW}]")).unwrap();
        }
        template
    }

    /// A template that knows the rows reads a changed one as a fresh template does: to the byte.
    #[test]
    fn a_learned_row_never_hides_a_changed_one() {
        let changes = br#"{}[]",:\0197.-+eEtn x/"#.iter().copied().chain([b'\n', b'\t', 0, 0x1f, 0x7f]);
        let changes: Vec<u8> = changes.collect();
        let mut texts = vec![ROW.to_owned()];
        for at in 0..ROW.len() {
            let (before, rest) = ROW.split_at(at);
            texts.push(format!("{before}{}", &rest[1..]));
            texts.push(before.to_owned());
            for change in changes.iter().map(|byte| char::from(*byte)) {
                texts.push(format!("{before}{change}{}", &rest[1..]));
                texts.push(format!("{before}{change}{rest}"));
            }
        }
        let learned = learned(&[ROW, ROW]);
        for text in texts {
            for text in [format!("{text},{ROW}]"), text] {
                assert_eq!(read(&mut learned.clone(), &text), read(&mut Template::default(), &text), "{text}");
            }
        }
    }

    #[test]
    fn a_key_that_opened_one_row_does_not_stand_for_a_comma_in_another() {
        let first = learned(&[r#"{"a":1,"id":2}"#, r#"{"id":3}"#]);
        let second = learned(&[r#"{"id":1}"#, r#"{"a":2,"id":3}"#]);
        for text in
            [r#"{"a":1{"id":2}"#, r#"{"a":1,"id":2}"#, r#"{"id":2}"#, r#",{"id":2}"#, r#","id":2}"#, "{,\"id\":2}"]
        {
            let text = format!("{text},{ROW}");
            for template in [&first, &second] {
                assert_eq!(read(&mut template.clone(), &text), read(&mut Template::default(), &text), "{text}");
            }
        }
        // More keys than are remembered, and then the first of them again.
        let keys: Vec<String> = (0..=MAX_MEMBERS).map(|key| format!("\"{key}\":1")).collect();
        let wide = learned(&[&format!("{{{}}}", keys.join(","))]);
        for text in [r#"{"x":1{"0":2}"#, r#"{"x":1,"0":2}"#] {
            let text = format!("{text},{ROW}");
            assert_eq!(read(&mut wide.clone(), &text).is_ok(), read(&mut Template::default(), &text).is_ok(), "{text}");
        }
    }
}
