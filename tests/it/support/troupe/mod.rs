//! Agents on a stage: rows of scripted replies, and everything that was sent, as text.
//!
//! A file of rows begins with named agents files (`@@ name`, then YAML). A row is `== name`, then lines:
//! `agents <name>`, `set <key>=<value> …`, `job <JSON>`, `< <reply>` for the job above, `--`, and what must come of it.
//! A reply is words, `call <tool> <arguments>`, several of these with ` && ` between, `(nothing)`, `(silence)`, or
//! `!<code>`.

mod play;
mod read;

pub use play::{play, play_dying};
pub use read::{Row, rows};
