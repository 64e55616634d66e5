//! Whatever a server sends, reading it ends in a reply or an error, and the same one however it is cut.

use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderValue};

use super::{classify, hints, stream::Reader, structured};

const RECORDED: &[u8] = include_bytes!("stream/recorded.sse");

fn outcome(pieces: &[&[u8]]) -> String {
    let mut shown = String::new();
    let mut show = |text: &str| shown.push_str(text);
    let mut reader = Reader::new("m", "host", 1 << 20);
    for piece in pieces {
        if let Err(fault) = reader.push(piece, &mut show) {
            return format!("{fault:?}");
        }
    }
    let outcome = reader.finish(&["run"], &mut show).map(|assembled| {
        let calls: Vec<String> =
            assembled.calls.iter().map(|call| format!("{}{}", call.name, call.arguments.as_str())).collect();
        (assembled.text, calls, assembled.usage)
    });
    format!("{outcome:?} {shown}")
}

/// A recorded stream with a few bytes changed, left out or put in.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((0..RECORDED.len(), 0..3_u8, any::<u8>()), 1..8);
    edits.prop_map(|edits| {
        let mut bytes = RECORDED.to_vec();
        for (at, edit, byte) in edits {
            let at = at.min(bytes.len() - 1);
            match edit {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn a_damaged_stream_reads_the_same_however_it_is_cut(bytes in damaged(), mut cuts in prop::collection::vec(0..RECORDED.len(), 0..6)) {
        cuts.iter_mut().for_each(|cut| *cut = (*cut).min(bytes.len()));
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        pieces.push(&bytes[from..]);
        prop_assert_eq!(outcome(&pieces), outcome(&[&bytes]));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        outcome(&[&bytes]);
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "[ -~é漢{}\"\\[\\]:,0-9%/]{0,120}", status in 200_u16..600) {
        let answer = structured::read(&text);
        if let Some(answer) = answer {
            let _ = (answer.number("a"), answer.list("a"), answer.text("a"), answer.flag("a"));
        }
        classify::classify(status, &classify::ErrorBody::read(&text), "m", "h");
        let mut headers = HeaderMap::new();
        for name in ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"] {
            headers.insert(name, HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static("1e309")));
        }
        headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_static("0"));
        hints::read(&headers, 1e9);
    }
}
