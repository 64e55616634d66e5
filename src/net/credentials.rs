//! Credentials that the operator bound to hosts.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret;
use url::Url;

use super::policy::blocked;
use crate::{
    job::{ErrorCode, JobError},
    settings::{self, AuthProfile, Secret},
};

/// The credentials of `egress.auth_profiles`.
#[derive(Debug, Clone, Default)]
pub struct Credentials(BTreeMap<String, AuthProfile>);

impl Credentials {
    /// Those of the settings.
    #[must_use]
    pub fn new(settings: &settings::Egress) -> Self {
        Self(settings.auth_profiles.clone())
    }

    /// The header that `profile` adds to a request to `url`. At a redirect elsewhere it is dropped like all headers that
    /// say who asks.
    ///
    /// # Errors
    /// `invalid_job` for a profile that is not there, `http_blocked` where it is not for this host.
    pub fn header(&self, profile: &str, url: &str) -> Result<(String, Secret), JobError> {
        let Some(found) = self.0.get(profile) else {
            let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
            let known = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
            let message = format!("there is no auth profile {profile:?} in egress.auth_profiles: {known}");
            return Err(JobError::new(ErrorCode::InvalidJob, message));
        };
        let url = Url::parse(url).map_err(|error| blocked(format!("{url:?} is no address: {error}")))?;
        if !found.hosts.iter().any(|host| is_for(host, &url)) {
            let origin = url.origin().ascii_serialization();
            let hosts = found.hosts.join(", ");
            return Err(blocked(format!("the auth profile {profile:?} is for {hosts}, not for {origin}")));
        }
        Ok(header(found))
    }
}

/// Whether a host of a profile stands for the place that `url` names: scheme, host and port.
fn is_for(host: &str, url: &Url) -> bool {
    let whole = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
    Url::parse(&whole).is_ok_and(|bound| bound.origin() == url.origin())
}

fn header(profile: &AuthProfile) -> (String, Secret) {
    let shown = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose_secret().to_owned()).unwrap_or_default();
    if let Some(name) = &profile.header {
        return (name.clone(), Secret::from(shown(&profile.value)));
    }
    let value = match &profile.username {
        Some(user) => format!("Basic {}", STANDARD.encode(format!("{user}:{}", shown(&profile.password)))),
        None => format!("Bearer {}", shown(&profile.bearer)),
    };
    ("Authorization".to_owned(), Secret::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_to_its_hosts_only() {
        let profile = AuthProfile {
            hosts: vec!["api.example.com".into(), "http://127.0.0.1:9000".into()],
            username: Some("u".into()),
            password: Some("p".into()),
            ..AuthProfile::default()
        };
        let credentials = Credentials(BTreeMap::from([("main".to_owned(), profile)]));
        let rows = [
            ("https://api.example.com/v1?q=1", true),
            ("https://API.example.com:443/", true),
            ("http://127.0.0.1:9000/x", true),
            ("http://api.example.com/", false),
            ("https://api.example.com:8443/", false),
            ("https://api.example.com.evil.net/", false),
            ("https://evil.net/api.example.com", false),
            ("https://127.0.0.1:9000/", false),
            ("no address", false),
        ];
        for (url, fits) in rows {
            let header = credentials.header("main", url);
            assert_eq!(header.is_ok(), fits, "{url}: {header:?}");
        }
        let (name, value) = credentials.header("main", "https://api.example.com").unwrap();
        assert_eq!((name.as_str(), value.expose_secret()), ("Authorization", "Basic dTpw"));
        assert_eq!(credentials.header("other", "https://a.b").unwrap_err().code, ErrorCode::InvalidJob);
    }
}
