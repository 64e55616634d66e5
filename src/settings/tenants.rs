//! Who may ask over HTTP, and how much each owner may start.

#![expect(missing_docs, reason = "config.yaml documents every key")]

use std::collections::{BTreeMap, BTreeSet};

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{Http, Secret, sections::section};

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See the jobs of its owner.
    Read,
    /// Also submit, cancel, retry and approve them.
    Submit,
    /// Everything, for every owner.
    Admin,
}

section! {
    /// A bearer token beside `http.token`.
    HttpToken {
        token: Secret = "".into(),
        /// Whose jobs it is for; an admin has none.
        owner: Option<String> = None,
        role: Role = Role::Read,
    }
}

section! {
    /// What one `workflow_owner` may start over HTTP.
    Quota {
        /// Jobs in a minute, over the fleet; 0: no limit.
        jobs_per_minute: u32 = 0,
    }
}

section! {
    /// Quotas by owner.
    Quotas {
        /// Of every owner that is not named below.
        default: Quota = Quota::default(),
        owners: BTreeMap<String, Quota> = BTreeMap::new(),
    }
}

impl Http {
    /// Whether anybody needs a token.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        self.token.is_some() || !self.tokens.is_empty()
    }

    /// Whether some tokens see only the jobs of one owner, so that owners are kept apart.
    #[must_use]
    pub fn has_tenants(&self) -> bool {
        self.tokens.iter().any(|entry| entry.role != Role::Admin)
    }
}

impl Quotas {
    /// The quota of `owner`.
    #[must_use]
    pub fn of(&self, owner: &str) -> &Quota {
        self.owners.get(owner).unwrap_or(&self.default)
    }
}

/// What is wrong with the tokens, one line each, naming the key and showing none of them.
pub(super) fn faults(http: &Http, faults: &mut Vec<String>) {
    if http.token.as_ref().is_some_and(|token| token.expose_secret().trim().is_empty()) {
        faults.push("http.token: must not be empty: leave it out to run without a token".into());
    }
    let mut seen: BTreeSet<&str> = http.token.iter().map(|token| token.expose_secret().trim()).collect();
    for (i, entry) in http.tokens.iter().enumerate() {
        let token = entry.token.expose_secret().trim();
        if token.is_empty() {
            faults.push(format!("http.tokens[{i}].token: must not be empty"));
        } else if !seen.insert(token) {
            faults.push(format!("http.tokens[{i}].token: is the same as another token: give each its own"));
        }
        let key = format!("http.tokens[{i}].owner");
        match &entry.owner {
            Some(_) if entry.role == Role::Admin => {
                faults.push(format!("{key}: an admin sees every owner's jobs: leave owner out, or choose role submit"));
            }
            None if entry.role != Role::Admin => {
                faults.push(format!("{key}: the roles read and submit need one: whose jobs is the token for?"));
            }
            Some(owner) if owner.is_empty() || owner.len() > 1024 || owner.chars().any(char::is_control) => {
                faults.push(format!("{key}: must be 1 to 1024 bytes without control characters"));
            }
            _ => {}
        }
    }
}
