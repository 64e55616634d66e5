//! What a request has used, where the server says so, and where it does not.

use crate::job::Tokens;

/// Bytes of a request or an answer per token, where nobody counts them: about right for English and for code. Text in
/// other scripts takes more bytes for a token, and numbers fewer.
const BYTES_PER_TOKEN: u64 = 4;

/// About how many tokens `bytes` bytes are.
pub(super) fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// What was heard of an answer, however it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// What the server counted.
    pub(super) counted: Option<Tokens>,
    /// The model began to answer.
    pub(super) begun: bool,
    /// Bytes of words, thoughts and calls.
    pub(super) content: usize,
    /// It was sent, and we did not wait for its end: whatever the server made of it is paid for.
    pub(super) cut_short: bool,
}

/// What a request has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) tokens: Tokens,
    /// The server counted nothing: it is a guess.
    pub(super) estimated: bool,
}

impl Heard {
    /// What a request with a prompt of about `prompt` tokens has used. One that the server did not take has used nothing,
    /// and one that was cut short its prompt and what came.
    pub(super) fn used(self, prompt: u64) -> Used {
        match self.counted.filter(|counted| counted.total() > 0) {
            Some(tokens) => Used { tokens, estimated: false },
            None if self.begun || self.cut_short => {
                let tokens = Tokens { prompt, completion: estimate(self.content), cached: 0 };
                Used { tokens, estimated: true }
            }
            None => Used { tokens: Tokens::default(), estimated: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_estimated_and_what_was_not_taken_is_free() {
        let tokens = |prompt, completion| Tokens { prompt, completion, cached: 0 };
        let heard = |counted, begun| Heard { counted, begun, content: 9, cut_short: false };
        for (heard, want, estimated) in [
            (heard(Some(tokens(7, 2)), true), tokens(7, 2), false),
            (heard(Some(tokens(0, 0)), true), tokens(50, 3), true),
            (heard(None, true), tokens(50, 3), true),
            (heard(None, false), tokens(0, 0), false),
            (heard(Some(tokens(7, 0)), false), tokens(7, 0), false),
        ] {
            assert_eq!(heard.used(50), Used { tokens: want, estimated }, "{heard:?}");
        }
        let cut = Heard { cut_short: true, ..Heard::default() };
        assert_eq!(cut.used(50), Used { tokens: tokens(50, 0), estimated: true });
    }
}
