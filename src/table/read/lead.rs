//! What stands before a value in every row of a table, compared as one piece.

use super::{
    block::{BLOCK, block_at, short_scalar},
    scan::{Malformed, Scanner},
};

/// Text that is expected next: up to two blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lead {
    first: Masked,
    second: Masked,
    length: usize,
}

/// Some bytes at the beginning of a block.
#[derive(Debug, Clone, Copy)]
struct Masked {
    word: u128,
    mask: u128,
}

impl Masked {
    /// Fits nothing: no UTF-8 text has these bytes.
    const NEVER: Self = Self { word: u128::MAX, mask: u128::MAX };

    fn new(bytes: &[u8]) -> Self {
        let (mut word, mut mask) = ([0; BLOCK], [0; BLOCK]);
        for (i, byte) in bytes.iter().take(BLOCK).enumerate() {
            (word[i], mask[i]) = (*byte, u8::MAX);
        }
        Self { word: u128::from_le_bytes(word), mask: u128::from_le_bytes(mask) }
    }

    #[inline]
    fn fits(self, block: &[u8; BLOCK]) -> bool {
        (u128::from_le_bytes(*block) ^ self.word) & self.mask == 0
    }
}

impl Lead {
    /// A longer text than two blocks never fits.
    pub(super) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let length = bytes.len();
        if length == 0 || length > 2 * BLOCK {
            return Self { first: Masked::NEVER, second: Masked::NEVER, length: 0 };
        }
        Self { first: Masked::new(bytes), second: Masked::new(&bytes[length.min(BLOCK)..]), length }
    }

    /// Where this text ends, if it stands at `at`. At the very end of a text, where no whole block is left, it
    /// is never found.
    #[inline]
    pub(super) fn end(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let fits = self.first.fits(block_at(bytes, at)?)
            && (self.length <= BLOCK || self.second.fits(block_at(bytes, at + BLOCK)?));
        fits.then_some(at + self.length)
    }
}

/// Where the short scalar that starts at `at` ends, if one does.
#[inline]
pub(super) fn scalar_end(bytes: &[u8], at: usize) -> Option<usize> {
    match short_scalar(bytes.get(at..)?) {
        0 => None,
        length => Some(at + length),
    }
}

/// How an object within the rows was written last, where it is small and holds no containers.
#[derive(Debug, Default, Clone)]
pub(super) struct Inner {
    leads: Vec<Lead>,
    close: Option<Lead>,
    missed: u32,
}

/// Members of such an object.
const MAX_MEMBERS: usize = 16;

impl Inner {
    /// Takes the value that starts here.
    pub(super) fn skip(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        if scanner.peek() != Some(b'{') {
            return scanner.skip();
        }
        let start = scanner.at();
        if let Some(end) = self.end(scanner.text().as_bytes(), start) {
            scanner.go_to(end);
            return Ok(());
        }
        scanner.skip()?;
        // Objects that are never alike must not cost a lesson each.
        self.missed = self.missed.saturating_add(1);
        if self.missed.is_power_of_two() {
            self.learn(scanner.since(start));
        }
        Ok(())
    }

    /// Where the object that starts at `at` ends, if it is written like the last one.
    #[inline]
    fn end(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let close = self.close.as_ref()?;
        let mut at = at;
        for lead in &self.leads {
            at = scalar_end(bytes, lead.end(bytes, at)?)?;
        }
        close.end(bytes, at)
    }

    fn learn(&mut self, object: &str) {
        self.leads.clear();
        self.close = self.members(&mut Scanner::new(object)).ok().flatten();
    }

    /// Reads the members of a well-formed object; gives what stands behind the last.
    fn members(&mut self, scanner: &mut Scanner<'_>) -> Result<Option<Lead>, Malformed> {
        let mut before = scanner.at();
        scanner.take(b'{');
        scanner.space();
        while scanner.peek() == Some(b'"') && self.leads.len() < MAX_MEMBERS {
            scanner.key()?;
            self.leads.push(Lead::new(scanner.since(before)));
            scanner.scalar()?;
            before = scanner.at();
            scanner.space();
            if scanner.take(b',') {
                scanner.space();
            }
        }
        Ok(scanner.take(b'}').then(|| Lead::new(scanner.since(before))))
    }
}
