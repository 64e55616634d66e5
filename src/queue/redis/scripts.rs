//! The Lua scripts, each called by its hash.

use std::sync::LazyLock;

use ::redis::{Arg, Cmd, cmd};

/// A script and its hash.
pub(super) struct Script {
    text: &'static str,
    hash: LazyLock<String>,
}

macro_rules! scripts {
    ($($name:ident $file:literal,)*) => {
        $(pub(super) static $name: Script = Script {
            text: include_str!(concat!("../lua/", $file, ".lua")),
            hash: LazyLock::new(|| ::redis::Script::new($name.text).get_hash().to_owned()),
        };)*
        static ALL: &[&Script] = &[$(&$name),*];
    };
}

scripts! {
    ACK "ack",
    ADOPT "adopt",
    BURY "bury",
    CANCEL "cancel",
    CLAIM "claim",
    DECIDE "decide",
    DELAY "delay",
    EVENTS "events",
    FORGET "forget",
    HANDBACK "handback",
    PARK "park",
    PROMOTE "promote",
    PUBLISH "publish",
    REAP "reap",
    REGISTER "register",
    RENEW "renew",
    REOPEN "reopen",
    REVIVE "revive",
    SIGNAL "signal",
    SUBMIT "submit",
}

impl Script {
    /// The call with these keys; arguments are added to it.
    pub(super) fn on<K: AsRef<str>>(&self, keys: &[K]) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(self.hash.as_str()).arg(keys.len());
        for key in keys {
            call.arg(key.as_ref());
        }
        call
    }
}

/// The same call with the script's text, for a server that does not know the hash. The server keeps it then.
pub(super) fn with_text(call: &Cmd) -> Option<Cmd> {
    let mut parts = call.args_iter();
    let is_call = matches!(parts.next(), Some(Arg::Simple(b"EVALSHA")));
    let Some(Arg::Simple(hash)) = parts.next().filter(|_| is_call) else { return None };
    let script = ALL.iter().find(|script| script.hash.as_bytes() == hash)?;
    let mut full = cmd("EVAL");
    full.arg(script.text);
    for part in parts {
        if let Arg::Simple(bytes) = part {
            full.arg(bytes);
        }
    }
    Some(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_says_its_keys_and_arguments() {
        for script in ALL {
            let header: String = script.text.lines().take_while(|line| line.starts_with("--")).collect();
            for word in ["KEYS", "ARGV", "Returns"] {
                assert!(header.contains(word), "{word} is not in the header of\n{}", script.text);
            }
            assert!(!script.text.contains("cjson"), "a payload is never decoded in Lua");
        }
    }

    #[test]
    fn a_call_by_hash_becomes_the_same_call_by_text() {
        let mut call = RENEW.on(&["k1", "k2"]);
        call.arg(5).arg(&b"\xff\0"[..]);
        let full = with_text(&call).unwrap();
        let parts: Vec<Vec<u8>> = full
            .args_iter()
            .map(|part| match part {
                Arg::Simple(bytes) => bytes.to_vec(),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(parts[0], b"EVAL");
        assert_eq!(parts[2..], [b"2".to_vec(), b"k1".to_vec(), b"k2".to_vec(), b"5".to_vec(), b"\xff\0".to_vec()]);
        assert!(with_text(::redis::cmd("GET").arg("k")).is_none());
    }
}
