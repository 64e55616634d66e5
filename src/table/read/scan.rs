//! A validating pass over JSON text that builds nothing: values come back as slices of the text.
//!
//! Strings and numbers are read sixteen bytes at a time; containers are skipped without recursion. Everything
//! RFC 8259 forbids is refused, so a slice that came from here can be copied into another document as it is.

use std::borrow::Cow;

use super::block::{self, BLOCK};

/// Deepest nesting that is read. Deeper text is refused, so that later walks may recurse.
pub(crate) const MAX_DEPTH: usize = 512;

/// Text that is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Byte offset.
    pub(crate) at: usize,
    /// What was expected there.
    pub(crate) expected: &'static str,
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

impl<'a> Text<'a> {
    /// The string meant.
    pub(crate) fn decode(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(super::escape::unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }

    /// Whether the string meant is `name`.
    #[inline]
    pub(crate) fn is(self, name: &str) -> bool {
        if self.escaped { super::escape::unescape(self.raw) == name } else { self.raw == name }
    }
}

/// A place in a text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

type Scan<T> = Result<T, Malformed>;

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn starting_at(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn wrong<T>(&self, expected: &'static str) -> Scan<T> {
        Err(Malformed { at: self.at, expected })
    }

    /// Moves to the next byte that is not white space.
    #[inline]
    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `byte`, which must be next.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Scan<()> {
        if self.take(byte) { Ok(()) } else { self.wrong(expected) }
    }

    /// Only white space may be left.
    pub(crate) fn end(&mut self) -> Scan<()> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.wrong("the end of the text") }
    }

    /// The text from an earlier place to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The block that starts here.
    #[inline]
    fn block(&self) -> Option<&'a [u8; BLOCK]> {
        block::block_at(self.text.as_bytes(), self.at)
    }

    /// The whole text.
    #[inline]
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Goes to another place.
    #[inline]
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Takes a scalar that is short and plain. False, and nothing is taken, for all that needs a closer look.
    #[inline]
    fn short_scalar(&mut self) -> bool {
        let length = self.text.as_bytes().get(self.at..).map_or(0, block::short_scalar);
        self.at += length;
        length > 0
    }

    /// After a value: takes the comma before the next one, or what closes the container. False at the end.
    #[inline]
    pub(super) fn another(&mut self, close: u8, expected: &'static str) -> Scan<bool> {
        self.space();
        if self.take(b',') {
            self.space();
            return Ok(true);
        }
        self.expect(close, expected)?;
        Ok(false)
    }

    /// Takes the value that starts here.
    #[inline]
    pub(crate) fn skip(&mut self) -> Scan<()> {
        match self.peek() {
            Some(b'{' | b'[') => self.container(),
            _ => self.scalar(),
        }
    }

    /// Takes the value that starts here, as it stands.
    #[inline]
    pub(crate) fn value(&mut self) -> Scan<&'a str> {
        let start = self.at;
        self.skip()?;
        Ok(self.since(start))
    }

    /// Takes the object that starts here and shows every member, in order.
    #[inline]
    pub(crate) fn object(&mut self, mut member: impl FnMut(Text<'a>, &'a str)) -> Scan<&'a str> {
        let start = self.at;
        self.expect(b'{', "an object")?;
        self.space();
        if !self.take(b'}') {
            loop {
                let key = self.key()?;
                let value = self.value()?;
                member(key, value);
                if !self.another(b'}', "',' or '}'")? {
                    break;
                }
            }
        }
        Ok(&self.text[start..self.at])
    }

    /// Takes the array that starts here and shows every element, in order.
    pub(crate) fn array(&mut self, mut element: impl FnMut(&'a str)) -> Scan<()> {
        self.expect(b'[', "an array")?;
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self.value()?);
            self.space();
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "',' or ']'")?;
            self.space();
        }
    }

    /// A key with its colon and the space after it.
    #[inline]
    pub(super) fn key(&mut self) -> Scan<Text<'a>> {
        self.expect(b'"', "a key in double quotes")?;
        let key = self.string()?;
        self.space();
        self.expect(b':', "':'")?;
        self.space();
        Ok(key)
    }

    /// The rest of a string whose opening quote has been taken.
    #[inline]
    fn string(&mut self) -> Scan<Text<'a>> {
        let start = self.at;
        let escaped = self.skip_string()?;
        Ok(Text { raw: &self.text[start..self.at - 1], escaped })
    }

    /// Takes the rest of a string whose opening quote has been taken. True when there are escapes in it.
    fn skip_string(&mut self) -> Scan<bool> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            while let Some(block) = self.block() {
                let special = block::special(block);
                if special != 0 {
                    self.at += special.trailing_zeros() as usize;
                    break;
                }
                self.at += BLOCK;
            }
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..0x20) => return self.wrong("no raw control character in a string"),
                Some(_) => self.at += 1,
                None => return self.wrong("'\"' at the end of a string"),
            }
        }
    }

    /// One escape sequence.
    fn escape(&mut self) -> Scan<()> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.wrong("four hexadecimal digits after \\u");
                }
                self.at += 6;
            }
            _ => return self.wrong("a known escape sequence"),
        }
        Ok(())
    }

    /// Takes a value that is no container.
    #[inline]
    pub(super) fn scalar(&mut self) -> Scan<()> {
        if self.short_scalar() { Ok(()) } else { self.any_scalar() }
    }

    fn any_scalar(&mut self) -> Scan<()> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.skip_string().map(drop)
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.wrong("a value"),
        }
    }

    fn literal(&mut self, word: &'static str) -> Scan<()> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.wrong("true, false or null");
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Scan<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Scan<()> {
        let start = self.at;
        while let Some(block) = self.block() {
            let digits = block::leading_digits(block);
            self.at += digits;
            if digits < BLOCK {
                break;
            }
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.wrong("a digit") } else { Ok(()) }
    }

    /// A whole object or array, without recursion: one bit a level says which it is.
    fn container(&mut self) -> Scan<()> {
        let mut levels = Levels::default();
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if !levels.push(open == b'{') {
                        return self.wrong("at most 512 levels of nesting");
                    }
                    self.at += 1;
                    self.space();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.take(close) {
                        levels.pop();
                    } else {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            if self.close(&mut levels)? {
                return Ok(());
            }
        }
    }

    /// After a value: closes what ends here. False when another value follows.
    #[inline]
    fn close(&mut self, levels: &mut Levels) -> Scan<bool> {
        while levels.depth > 0 {
            self.space();
            let object = levels.in_object();
            if self.take(b',') {
                self.space();
                if object {
                    self.key()?;
                }
                return Ok(false);
            }
            if object {
                self.expect(b'}', "',' or '}'")?;
            } else {
                self.expect(b']', "',' or ']'")?;
            }
            levels.pop();
        }
        Ok(true)
    }
}

/// Which of the open containers are objects.
#[derive(Default)]
struct Levels {
    objects: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Levels {
    #[inline]
    fn push(&mut self, object: bool) -> bool {
        if self.depth == MAX_DEPTH {
            return false;
        }
        let bit = 1 << (self.depth % 64);
        let word = &mut self.objects[self.depth / 64];
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        true
    }

    #[inline]
    fn pop(&mut self) {
        self.depth -= 1;
    }

    #[inline]
    fn in_object(&self) -> bool {
        let level = self.depth - 1;
        self.objects[level / 64] >> (level % 64) & 1 == 1
    }
}
