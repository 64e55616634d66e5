//! Names that models can call: from whatever a server calls its tools to `[A-Za-z0-9_-]{1,64}`.

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

/// Longest name of a function, by the model servers' rules.
const MAX_CHARS: usize = 64;
/// Characters of the hash in a name that had to be changed.
const HASH_CHARS: usize = 6;

/// `<server>__<tool>`, with other characters replaced and a piece of its hash where that changed anything or the name
/// is too long: then no two tools get one name.
#[must_use]
pub fn function_name(server: &str, tool: &str) -> String {
    let whole = format!("{server}__{tool}");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if whole.chars().all(plain) && whole.len() <= MAX_CHARS {
        return whole;
    }
    let hash = Sha256::digest(whole.as_bytes());
    let hash: String = hash.iter().take(HASH_CHARS / 2).map(|byte| format!("{byte:02x}")).collect();
    let kept = whole.chars().map(|c| if plain(c) { c } else { '_' }).take(MAX_CHARS - HASH_CHARS - 1);
    format!("{}_{hash}", kept.collect::<String>())
}

/// Names that are taken, each by one owner.
#[derive(Debug, Default)]
pub struct Names(FxHashMap<String, String>);

impl Names {
    /// Takes `name` for `owner`; names that models blur (case, `-` and `_`) count as one.
    ///
    /// # Errors
    /// Who has it already.
    pub fn take(&mut self, name: &str, owner: &str) -> Result<(), String> {
        let blurred = name.to_lowercase().replace('-', "_");
        match self.0.get(&blurred) {
            Some(first) if first != owner => Err(first.clone()),
            _ => {
                self.0.insert(blurred, owner.to_owned());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_callable_and_no_two_tools_get_one() {
        let long = "x".repeat(128);
        let rows = [
            ("db", "query", "db__query"),
            ("db", "a-b_C9", "db__a-b_C9"),
            ("mail", "send.message", "mail__send_message_76d1ad"),
            ("mail", "send message", "mail__send_message_"),
            ("mail", "größe", "mail__gr__e_"),
            ("s", &long, "s__xxxxxxxx"),
            ("s", "", "s__"),
        ];
        let mut seen = Names::default();
        for (server, tool, expected) in rows {
            let name = function_name(server, tool);
            assert!(name.starts_with(&expected[..expected.len().min(18)]), "{tool}: {name}");
            assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            seen.take(&name, &format!("{server}/{tool}")).unwrap();
        }
        assert_eq!(seen.take("DB__query", "else"), Err("db/query".into()));
        assert_eq!(seen.take("db__query", "db/query"), Ok(()));
    }
}
