//! Values that must not show: in Debug output, in `config show`, anywhere.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// A secret. Read it with [`ExposeSecret::expose_secret`], where it is used and nowhere else.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl ExposeSecret<str> for Secret {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

impl Secret {
    /// An address shows where it leads, without user and password; anything else shows as stars.
    #[must_use]
    pub fn masked(&self) -> String {
        match url::Url::parse(self.expose_secret()) {
            Ok(url) if url.has_host() => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                let user = if url.username().is_empty() && url.password().is_none() { "" } else { "***@" };
                format!("{}://{user}{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
            }
            _ => "***".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_host_and_a_key_shows_nothing() {
        for (secret, shown) in [
            ("sk-canary", "***"),
            ("redis://user:canary@h:1/2?x=canary", "redis://***@h:1/2"),
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ] {
            assert_eq!(Secret::from(secret).masked(), shown);
            assert!(!format!("{:?}", Secret::from(secret)).contains("canary"));
        }
    }
}
