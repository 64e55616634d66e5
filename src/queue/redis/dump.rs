//! A short stream as `DUMP` would give it, so that `RESTORE` makes it with all its entries and its time to live in
//! one command: ten `XADD` cost Redis five times as much.
//!
//! The format is that of RDB type 15, written by Redis since version 5 and read by every later one: one node of the
//! stream, a listpack of all entries with the fields `event` and `data`. Redis checks length and checksum of what it
//! is given; the tests have it check every byte.

use crc::{CRC_64_REDIS, Crc, Table};

/// A stream in listpacks.
const TYPE: u8 = 15;
/// The oldest version of the file format that has it.
const VERSION: u16 = 9;
/// Most entries and bytes of one node: above, the stream is written entry by entry.
pub(super) const MAX_ENTRIES: usize = 100;
pub(super) const MAX_BYTES: usize = 32 << 10;

static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// A stream of these events, by name and data, with ids that begin at `first_ms`.
pub(super) fn stream(first_ms: u64, events: &[(&str, &[u8])]) -> Vec<u8> {
    let pack = listpack(events);
    let mut out = Vec::with_capacity(pack.len() + 64);
    out.push(TYPE);
    length(&mut out, 1);
    // The node's key is the id of its first entry: milliseconds and sequence.
    length(&mut out, 16);
    out.extend(first_ms.to_be_bytes());
    out.extend(0_u64.to_be_bytes());
    length(&mut out, pack.len() as u64);
    out.extend(pack);
    length(&mut out, events.len() as u64);
    length(&mut out, first_ms);
    length(&mut out, events.len().saturating_sub(1) as u64);
    // No consumer groups.
    length(&mut out, 0);
    out.extend(VERSION.to_le_bytes());
    let sum = CHECKSUM.checksum(&out);
    out.extend(sum.to_le_bytes());
    out
}

fn listpack(events: &[(&str, &[u8])]) -> Vec<u8> {
    let bytes: usize = events.iter().map(|(name, data)| name.len() + data.len() + 20).sum();
    let mut out = Vec::with_capacity(bytes + 64);
    out.extend([0; 6]);
    // The master entry: how many entries, how many deleted, the fields all of them have, and an end.
    for n in [events.len() as u64, 0, 2] {
        integer(&mut out, n);
    }
    text(&mut out, b"event");
    text(&mut out, b"data");
    integer(&mut out, 0);
    for (n, (name, data)) in events.iter().enumerate() {
        // Flags: the fields of the master entry. Then the distance of its id, the values, and how many elements.
        for n in [2, 0, n as u64] {
            integer(&mut out, n);
        }
        text(&mut out, name.as_bytes());
        text(&mut out, data);
        integer(&mut out, 5);
    }
    out.push(0xFF);
    let (total, elements) = (out.len() as u32, 6 + events.len() * 6);
    out[..4].copy_from_slice(&total.to_le_bytes());
    out[4..6].copy_from_slice(&u16::try_from(elements).unwrap_or(u16::MAX).to_le_bytes());
    out
}

/// A small number as an element.
fn integer(out: &mut Vec<u8>, n: u64) {
    debug_assert!(n < 128, "at most {MAX_ENTRIES} entries");
    out.extend([n as u8 & 0x7F, 1]);
}

/// A text as an element: its length, itself, and how far back it begins.
fn text(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    match text.len() {
        n @ 0..64 => out.push(0x80 | n as u8),
        n @ 64..4096 => out.extend([0xE0 | (n >> 8) as u8, n as u8]),
        n => {
            out.push(0xF0);
            out.extend((n as u32).to_le_bytes());
        }
    }
    out.extend(text);
    match out.len() - start {
        n @ 0..128 => out.push(n as u8),
        n @ 128..16_383 => out.extend([(n >> 7) as u8, (n & 127) as u8 | 128]),
        n => out.extend([(n >> 14) as u8, ((n >> 7) & 127) as u8 | 128, (n & 127) as u8 | 128]),
    }
}

/// A length as the file format writes it.
fn length(out: &mut Vec<u8>, n: u64) {
    match n {
        0..64 => out.push(n as u8),
        64..16_384 => out.extend([0x40 | (n >> 8) as u8, n as u8]),
        16_384..=0xFFFF_FFFF => {
            out.push(0x80);
            out.extend((n as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend(n.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_redis() {
        assert_eq!(CHECKSUM.checksum(b"123456789"), 0xE9C6_D914_C4B8_D9CA);
    }

    #[test]
    fn a_stream_of_one_entry_is_what_redis_dumps() {
        let dump = stream(1, &[("a", b"b")]);
        let mut expected = vec![15, 1, 16];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([42, 42, 0, 0, 0, 12, 0, 1, 1, 0, 1, 2, 1, 0x85]);
        expected.extend(b"event");
        expected.extend([6, 0x84]);
        expected.extend(b"data");
        expected.extend([5, 0, 1, 2, 1, 0, 1, 0, 1, 0x81, b'a', 2, 0x81, b'b', 2, 5, 1, 0xFF]);
        expected.extend([1, 1, 0, 0, 9, 0]);
        assert_eq!(dump[..dump.len() - 8], expected);
    }
}
