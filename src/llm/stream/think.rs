//! Text that a model thought aloud: taken out, whether it was tagged whole, in pieces, or only at its end.

/// The tags seen in the wild.
const TAGS: &[(&str, &str)] = &[("<think>", "</think>"), ("<thinking>", "</thinking>")];

/// The text of a reply as it grows, and how much of it was shown.
#[derive(Debug, Default)]
pub(super) struct Text {
    raw: String,
    shown: usize,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    /// It may yet turn out to begin with a tag.
    #[default]
    Start,
    /// Inside the tag whose end this is.
    Inside(&'static str),
    /// Nothing is held back any more.
    Open,
}

impl Text {
    /// Takes the next piece, and gives what can be shown now.
    pub(super) fn push(&mut self, piece: &str) -> &str {
        self.raw.push_str(piece);
        if self.state == State::Start {
            let start = self.raw.trim_start();
            if let Some((tag, end)) = TAGS.iter().find(|(tag, _)| start.starts_with(tag)) {
                self.shown = self.raw.len() - start.len() + tag.len();
                self.state = State::Inside(end);
            } else if !TAGS.iter().any(|(tag, _)| tag.starts_with(start)) {
                self.state = State::Open;
            }
        }
        if let State::Inside(end) = self.state
            && let Some(at) = self.raw[self.shown..].find(end)
        {
            self.shown += at + end.len();
            self.state = State::Open;
        }
        if self.state != State::Open {
            return "";
        }
        let from = std::mem::replace(&mut self.shown, self.raw.len());
        &self.raw[from..]
    }

    /// Bytes so far, thoughts included.
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// The text without thoughts. One that never ended was all thought.
    pub(super) fn finish(self) -> String {
        let start = self.raw.trim_start();
        for (tag, end) in TAGS {
            // Some templates print the opening tag themselves, so that only the closing one arrives.
            if let Some((thought, answer)) = start.split_once(end)
                && (thought.starts_with(tag) || !thought.contains(tag))
            {
                return answer.trim().to_owned();
            }
            if start.starts_with(tag) {
                return String::new();
            }
        }
        self.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, want: &str) {
        for step in [1, 3, raw.len().max(1)] {
            let mut text = Text::default();
            let mut shown = String::new();
            let chars: Vec<char> = raw.chars().collect();
            for piece in chars.chunks(step) {
                shown.push_str(text.push(&piece.iter().collect::<String>()));
            }
            assert_eq!(text.finish(), want, "{raw:?}");
            if !raw.contains("</think") || raw.trim_start().starts_with("<think") {
                assert_eq!(shown.trim(), want.trim(), "shown of {raw:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn thoughts_are_neither_shown_nor_kept() {
        check("hello", "hello");
        check(" kept as it is ", " kept as it is ");
        check("<think>hm</think>\n\nhello", "hello");
        check("  <think>\nhm\n</think> a < b", "a < b");
        check("<thinking>hm</thinking>hello", "hello");
        check("<think>never ends", "");
        check("<think></think>", "");
        check("hm, so</think>hello", "hello");
        check("<b>not a thought</b>", "<b>not a thought</b>");
        check("say <think>x</think> in xml", "say <think>x</think> in xml");
        check("", "");
    }
}
