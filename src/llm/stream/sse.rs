//! Server-sent events out of bytes, without I/O.
//!
//! Takes every way of writing them that servers were seen to use: LF, CRLF or CR, no space after `data:`,
//! comments as keep-alives, a byte-order mark, lines and characters cut anywhere between two reads.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Event {
    /// What stood after `event:`; empty means `message`.
    pub(super) name: String,
    /// The `data:` lines, joined by line feeds.
    pub(super) data: String,
}

/// Turns bytes into events. Holds at most one unfinished event; its caller bounds the bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_cr: bool,
    started: bool,
}

impl Decoder {
    /// Takes the next bytes and hands every finished event to `sink`.
    pub(super) fn push(&mut self, mut bytes: &[u8], sink: &mut Vec<Event>) {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            self.line.extend_from_slice(&bytes[..end]);
            self.end_line(sink);
            let rest = &bytes[end + 1..];
            bytes = match (bytes[end], rest.first()) {
                (b'\r', Some(b'\n')) => &rest[1..],
                (b'\r', None) => {
                    self.after_cr = true;
                    rest
                }
                _ => rest,
            };
        }
        self.line.extend_from_slice(bytes);
    }

    /// The event that the end of the body left without its blank line.
    pub(super) fn finish(&mut self) -> Option<Event> {
        let mut events = Vec::new();
        if !self.line.is_empty() {
            self.end_line(&mut events);
        }
        self.dispatch(&mut events);
        events.pop()
    }

    fn end_line(&mut self, sink: &mut Vec<Event>) {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !self.started {
            self.started = true;
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(sink);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            // A comment.
            Some(0) => return,
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(&value);
            }
            b"event" => self.event.name = value.into_owned(),
            _ => {}
        }
    }

    fn dispatch(&mut self, sink: &mut Vec<Event>) {
        let event = std::mem::take(&mut self.event);
        if std::mem::take(&mut self.has_data) {
            sink.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece, &mut events);
        }
        events.extend(decoder.finish());
        events.into_iter().map(|event| (event.name, event.data)).collect()
    }

    /// Each text gives the same events whole, byte by byte, and cut in two anywhere.
    #[track_caller]
    fn check(text: &str, want: &[(&str, &str)]) {
        let want: Vec<(String, String)> = want.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect();
        let bytes = text.as_bytes();
        assert_eq!(decode(&[bytes]), want, "whole: {text:?}");
        assert_eq!(decode(&bytes.chunks(1).collect::<Vec<_>>()), want, "byte by byte: {text:?}");
        for cut in 0..=bytes.len() {
            assert_eq!(decode(&[&bytes[..cut], &bytes[cut..]]), want, "cut at {cut}: {text:?}");
        }
    }

    #[test]
    fn events_are_read_however_they_are_written() {
        check("data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]);
        check("data:a\n\ndata:  b\n\n", &[("", "a"), ("", " b")]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]);
        check("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
        check("data: a\r\n\rdata: b\n\n", &[("", "a"), ("", "b")]);
        check("\u{feff}data: a\n\n", &[("", "a")]);
        check(": keep-alive\n\n: again\ndata: a\n\n", &[("", "a")]);
        check("event: error\ndata: a\n\n", &[("error", "a")]);
        check("event: ping\n\ndata: a\n\n", &[("", "a")]);
        check("id: 1\nretry: 5\nwhat\ndata: a\n\n", &[("", "a")]);
        check("data: a\ndata: b\n\n", &[("", "a\nb")]);
        check("data\ndata\n\n", &[("", "\n")]);
        check("data: a\u{2028}b\u{85}c\n\n", &[("", "a\u{2028}b\u{85}c")]);
        check("data: é漢🙂\n\n", &[("", "é漢🙂")]);
        check("data: last", &[("", "last")]);
        check("data: last\n", &[("", "last")]);
        check("", &[]);
        check("\n\n\n", &[]);
    }

    #[test]
    fn broken_utf8_is_replaced_and_not_fatal() {
        assert_eq!(decode(&[b"data: a\xffb\n\n"]), [(String::new(), "a\u{fffd}b".to_owned())]);
    }
}
