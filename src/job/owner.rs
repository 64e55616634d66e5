//! Whose a job is.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

/// The mark of a `workflow_owner`: the name itself where it is short and plain, else its fingerprint. It fits
/// into one word of a record, and two owners have the same mark only where they are the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Owner(Arc<str>);

/// Longest name that stands for itself, in bytes.
const MAX_PLAIN: usize = 64;

impl Owner {
    /// The mark of `name`; an empty name is nobody.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
        match name {
            "" => None,
            name if name != "-" && name.len() <= MAX_PLAIN && name.bytes().all(plain) => Some(Self(name.into())),
            // No plain name begins like this.
            name => {
                let hex: String = Sha256::digest(name).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
                Some(Self(format!("#{hex}").into()))
            }
        }
    }

    /// A mark as it was written down; an empty one is nobody.
    #[must_use]
    pub fn stored(mark: &str) -> Option<Self> {
        (!mark.is_empty()).then(|| Self(mark.into()))
    }

    /// The mark.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_word_and_tells_owners_apart() {
        let mark = |name: &str| Owner::of(name).unwrap().as_str().to_owned();
        assert_eq!(mark("ann@example.org"), "ann@example.org");
        assert_eq!(Owner::of(""), None);
        let long = "x".repeat(65);
        let names = ["a b", "a  b", "a:b", "a\nb", " ann", "ann ", "#ann", "-", &long, "Ann", "ann"];
        let marks: std::collections::BTreeSet<String> = names.iter().map(|name| mark(name)).collect();
        assert_eq!(marks.len(), names.len());
        for mark in marks {
            assert!(mark.len() <= MAX_PLAIN && !mark.contains([' ', ':', '\n']), "{mark:?}");
            assert_eq!(Owner::stored(&mark).unwrap().as_str(), mark);
        }
    }
}
