//! Job identifiers.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// A job's identity as the producer chose it: 1–200 printable characters, no spaces.
///
/// Cheap to clone. It names the result key, so two jobs with one id are one job.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Arc<str>);

impl JobId {
    /// Longest id accepted, in characters.
    pub const MAX_CHARS: usize = 200;

    /// Checks `text` and takes it as an id; the error says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("job_id is empty: give 1 to 200 printable characters".into());
        }
        if text.chars().count() > Self::MAX_CHARS {
            return Err(format!(
                "job_id has {} characters: at most {} are allowed",
                text.chars().count(),
                Self::MAX_CHARS
            ));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("job_id holds a space or a control character: use printable characters only".into());
        }
        Ok(Self(text.into()))
    }

    /// A fresh id (UUIDv7, so that ids sort by time of creation).
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl TryFrom<String> for JobId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::JobId;

    #[test]
    fn ids_are_printable_and_bounded() {
        for good in ["a", "uuid-123", "é/ü:1", &"x".repeat(200)] {
            assert!(JobId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\tb", "a\n", "\u{7f}", "a\u{a0}b", &"x".repeat(201)] {
            assert!(JobId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
