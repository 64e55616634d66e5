//! The one place that builds an HTTP client.
//!
//! [`Egress`] carries every request that a prompt, a plan, a model or a document of strangers can steer: it
//! refuses addresses, ports and redirects that lead inside. [`operator_client`] is for the two servers that the
//! operator names in the configuration, the model endpoint and the orchestrator, which may well be inside.

mod address;
mod credentials;
mod egress;
mod message;
mod own;
mod policy;
mod resolver;
mod streamed;
#[cfg(test)]
mod tests;
mod trace;

use std::{sync::Once, time::Duration};

pub use address::refusal;
pub use credentials::Credentials;
pub use egress::Egress;
pub use message::{Method, Request, Response};
pub use policy::{Policy, Route};
pub use resolver::{Lookup, SystemLookup};
pub use streamed::{BodyBroke, Streamed};
pub use trace::{is_traceparent, trace_headers, trace_with, traced};

/// An HTTP client. Other rooms hold one, and only this room makes one.
pub type Client = reqwest::Client;

/// What every client of ours calls itself.
const USER_AGENT: &str = concat!("agent-runner/", env!("CARGO_PKG_VERSION"));

/// Chooses the TLS implementation for the whole process; further calls do nothing. Every client made here
/// calls it. Code that opens TLS connections by other means (Redis) calls it first.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the embedding program has chosen one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A client for servers that the operator configured: any address, but no redirects (a credential must not
/// travel on) and no proxies from the environment. Timeouts beyond connecting belong to each request.
///
/// # Errors
/// When no HTTP client can be made at all.
pub fn operator_client(connect_timeout: Duration) -> Result<Client, String> {
    build(connect_timeout, |builder| builder)
}

/// An operator's client whose bodies come as they were stored.
///
/// # Errors
/// When no HTTP client can be made at all.
#[cfg(feature = "object-store")]
pub fn storage_client(connect_timeout: Duration) -> Result<Client, String> {
    build(connect_timeout, |builder| builder.gzip(false))
}

/// A client with what all clients have in common, and what `further` adds.
///
/// Servers are trusted by the system's certificates. A machine that has none (a bare container) is no reason
/// not to start: then the public certificates that are built in serve.
fn build(
    connect_timeout: Duration,
    further: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<Client, String> {
    install_tls();
    further(builder(connect_timeout))
        .build()
        .or_else(|_| further(builder(connect_timeout)).tls_backend_preconfigured(built_in_roots()).build())
        .map_err(|error| format!("cannot make an HTTP client: {}", chain(&error)))
}

#[expect(clippy::disallowed_methods, reason = "the one place that builds HTTP clients")]
fn builder(connect_timeout: Duration) -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .gzip(true)
        .pool_idle_timeout(Duration::from_secs(30))
        .http2_max_header_list_size(64 << 10)
}

fn built_in_roots() -> rustls::ClientConfig {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// An error with its causes, without the address (which may hold a secret in its query).
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
