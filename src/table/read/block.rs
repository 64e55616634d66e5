//! Sixteen bytes of JSON text at once: where a short scalar ends.
//!
//! Nearly all values of a table are short strings without escapes and plain numbers. These are measured here
//! without a look at single bytes; a length of 0 says that the value needs the closer look of the scanner.

use wide::u8x16;

/// Bytes looked at at once.
pub(super) const BLOCK: usize = 16;

/// The bit after those of a block: a search that finds nothing ends there.
const END: u32 = 1 << BLOCK;

/// The block that starts at a byte, where so much text is left.
#[inline]
pub(super) fn block_at(bytes: &[u8], at: usize) -> Option<&[u8; BLOCK]> {
    bytes.get(at..)?.first_chunk()
}

/// A bit for each byte that ends the plain part of a string: quotes, backslashes, control characters.
#[inline]
pub(super) fn special(block: &[u8; BLOCK]) -> u32 {
    let bytes = u8x16::new(*block);
    let control = bytes.min(u8x16::splat(0x1F)).simd_eq(bytes);
    let ends = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
    (ends | control).to_bitmask()
}

/// A bit for each byte that is no digit, and all bits from [`END`] on.
#[inline]
fn no_digits(block: &[u8; BLOCK]) -> u32 {
    let from_zero = u8x16::new(*block) - u8x16::splat(b'0');
    !from_zero.min(u8x16::splat(9)).simd_eq(from_zero).to_bitmask()
}

/// How many digits the block begins with.
#[inline]
pub(super) fn leading_digits(block: &[u8; BLOCK]) -> usize {
    (no_digits(block) | END).trailing_zeros() as usize
}

/// The length of the scalar that starts a text, if it is short and plain; else 0.
#[inline]
pub(super) fn short_scalar(text: &[u8]) -> usize {
    let Some(block) = text.first_chunk() else { return 0 };
    if block[0] == b'"' {
        return short_string(text, block);
    }
    match short_number(block) {
        0 => rarer_scalar(text, block),
        length => length,
    }
}

/// A string that ends within two blocks and has no escapes.
#[inline]
fn short_string(text: &[u8], block: &[u8; BLOCK]) -> usize {
    const OPENING_QUOTE: u32 = 1;
    let (block, special, before) = match special(block) & !OPENING_QUOTE {
        0 => match block_at(text, BLOCK) {
            Some(second) => (second, special(second), BLOCK),
            None => return 0,
        },
        special => (block, special, 0),
    };
    let end = special.trailing_zeros() as usize;
    if block.get(end) == Some(&b'"') { before + end + 1 } else { 0 }
}

/// A number without an exponent that ends within its block.
#[inline]
fn short_number(block: &[u8; BLOCK]) -> usize {
    let sign = usize::from(block[0] == b'-');
    let others = no_digits(block) >> sign;
    let whole = (others | END).trailing_zeros() as usize;
    if (whole == 0) | (whole > 1) & (block[sign] == b'0') {
        return 0;
    }
    let mut end = sign + whole;
    let mut next = block.get(end).copied();
    if next == Some(b'.') {
        let places = (others >> (whole + 1) | END).trailing_zeros() as usize;
        end += 1 + places;
        next = if places > 0 { block.get(end).copied() } else { None };
    }
    match next {
        None | Some(b'e' | b'E' | b'.') => 0,
        Some(_) => end,
    }
}

/// `true`, `false`, `null`, and whole numbers that end within the second block.
fn rarer_scalar(text: &[u8], block: &[u8; BLOCK]) -> usize {
    match block[0] {
        b't' if block.starts_with(b"true") => 4,
        b'n' if block.starts_with(b"null") => 4,
        b'f' if block.starts_with(b"false") => 5,
        b'1'..=b'9' if leading_digits(block) == BLOCK => match block_at(text, BLOCK) {
            Some(second) => {
                let more = leading_digits(second);
                match second.get(more) {
                    None | Some(b'e' | b'E' | b'.') => 0,
                    Some(_) => BLOCK + more,
                }
            }
            None => 0,
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_scalars_are_measured_and_others_left() {
        for (scalar, measured) in [
            ("0", true),
            ("-0", true),
            ("7.25", true),
            ("-1234567890.123", true),
            ("12345678901234", true),
            ("123456789012345", true),
            ("1234567890123456", true),
            ("1234567890123456789012345678901", true),
            ("-123456789012345", false),
            ("12345678901234567890123456789012", false),
            ("1e5", false),
            ("1.5E5", false),
            ("01", false),
            ("-", false),
            ("-a", false),
            ("1.", false),
            ("1.x", false),
            ("1.2.3", false),
            ("12345678901234.", false),
            ("123456789012345.5", false),
            ("true", true),
            ("false", true),
            ("null", true),
            ("nul", false),
            (r#""""#, true),
            (r#""fourteen chars""#, true),
            (r#""exactly sixteen!""#, true),
            (r#""thirty characters, no one more""#, true),
            (r#""thirty-one characters and more.""#, false),
            (r#""an \" escape""#, false),
            ("\"a\ttab\"", false),
            (r#""not ended           "#, false),
            ("[1]", false),
            ("{}", false),
        ] {
            for after in [",", "}", " ", "\n", "]"] {
                let text = format!("{scalar}{after}{:40}", "");
                let expected = if measured { scalar.len() } else { 0 };
                assert_eq!(short_scalar(text.as_bytes()), expected, "{text}");
            }
            assert_eq!(short_scalar(&scalar.as_bytes()[..scalar.len().min(BLOCK - 1)]), 0, "{scalar} at the end");
        }
    }

    #[test]
    fn every_byte_is_told_apart() {
        for byte in 0..=u8::MAX {
            for place in 0..BLOCK {
                let mut block = [b'x'; BLOCK];
                block[place] = byte;
                let ends = byte == b'"' || byte == b'\\' || byte < 0x20;
                assert_eq!(special(&block), u32::from(ends) << place, "{byte} at {place}");
                let mut block = [b'5'; BLOCK];
                block[place] = byte;
                let digits = if byte.is_ascii_digit() { BLOCK } else { place };
                assert_eq!(leading_digits(&block), digits, "{byte} at {place}");
            }
        }
    }
}
