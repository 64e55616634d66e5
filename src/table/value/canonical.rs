//! A form that equal values share and different ones do not: the key of groups, joins and sets.

use super::{
    cell::{Kind, sorted_members},
    number::Decimal,
};
use crate::table::read::{Scanner, Text};

/// Appends the form of a well-formed value; nothing is null. Forms are self-delimiting, so several in a row
/// make a key of several columns.
#[inline]
pub(crate) fn push(raw: Option<&str>, out: &mut Vec<u8>) {
    let raw = raw.unwrap_or("null");
    match Kind::of(raw) {
        Kind::Null => out.push(b'n'),
        Kind::Bool => out.push(if raw == "true" { b't' } else { b'f' }),
        Kind::Number => {
            out.push(b'#');
            Decimal::of(raw).push_canonical(out);
        }
        Kind::Text => push_quoted(raw, out),
        Kind::Array => {
            out.push(b'[');
            let _ = Scanner::new(raw).array(|element| push(Some(element), out));
            out.push(b']');
        }
        Kind::Object => {
            out.push(b'{');
            for (key, value) in sorted_members(raw) {
                push_text(&key, out);
                push(Some(value), out);
            }
            out.push(b'}');
        }
    }
}

/// The form of a well-formed value.
pub(crate) fn of(raw: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 8);
    push(Some(raw), &mut out);
    out
}

fn push_quoted(raw: &str, out: &mut Vec<u8>) {
    let inner = &raw[1..raw.len() - 1];
    let escaped = memchr::memchr(b'\\', inner.as_bytes()).is_some();
    push_text(&Text { raw: inner, escaped }.decode(), out);
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&text.len().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
