//! Which addresses, hosts and ports a steered request may use.

use std::net::IpAddr;

use url::{Host, Url};

use super::{
    address::{self, Cidr},
    own,
};
use crate::{
    job::{ErrorCode, JobError},
    settings,
};

/// Longest address: longer ones are not for people or servers.
const MAX_URL_BYTES: usize = 8 << 10;

/// How a request that passed travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The operator opened this host: whatever it resolves to.
    Open,
    /// Everyone else: what the name resolves to is checked where it is dialled.
    Guarded,
}

/// One entry of `egress.allow` or of the hosts that are never reached.
#[derive(Debug, Clone)]
struct Entry {
    host: Host<String>,
    port: Option<u16>,
}

/// The rules, read once from the settings.
#[derive(Debug, Clone)]
pub struct Policy {
    allow: Vec<Entry>,
    ranges: Vec<Cidr>,
    never: Vec<Entry>,
    ports: Vec<u16>,
}

impl Policy {
    /// Reads the settings. `never` names places (`host:port`) that no entry of the allow list can open: Redis
    /// and our own API.
    ///
    /// # Errors
    /// An entry that is neither a host, `host:port` nor a range; the message names it.
    pub fn new(settings: &settings::Egress, never: &[String]) -> Result<Self, String> {
        let mut policy =
            Self { allow: Vec::new(), ranges: Vec::new(), never: Vec::new(), ports: settings.ports.clone() };
        for text in &settings.allow {
            let unreadable = || format!("egress.allow: {text:?} is not a host, host:port or range like 10.0.0.0/8");
            if text.contains('/') {
                policy.ranges.push(Cidr::parse(text.trim()).ok_or_else(unreadable)?);
            } else {
                policy.allow.push(entry(text).ok_or_else(unreadable)?);
            }
        }
        for text in never {
            policy.never.push(entry(text).ok_or_else(|| format!("{text:?} is not host:port"))?);
        }
        Ok(policy)
    }

    /// Reads `text` as an address and decides on it.
    ///
    /// # Errors
    /// `http_blocked` with the rule that refuses it.
    pub fn parse(&self, text: &str) -> Result<(Url, Route), JobError> {
        if text.len() > MAX_URL_BYTES {
            return Err(blocked(format!("the address has {} bytes: at most {MAX_URL_BYTES}", text.len())));
        }
        let url = Url::parse(text.trim())
            .map_err(|error| blocked(format!("not an address ({error}): give one that starts with https://")))?;
        let route = self.decide(&url)?;
        Ok((url, route))
    }

    /// Decides on an address that has been read.
    ///
    /// # Errors
    /// `http_blocked` with the rule that refuses it.
    pub fn decide(&self, url: &Url) -> Result<Route, JobError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(blocked(format!("{}: is not allowed, only http and https", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(blocked("user name or password in the address: send credentials in a header"));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(blocked("the address has no host"));
        };
        let host = canonical(host.to_owned());
        if self.never.iter().any(|entry| entry.port == Some(port) && same_place(&entry.host, &host)) {
            return Err(blocked(format!("{host}:{port} belongs to this service and is never reached")));
        }
        let usual_port = self.ports.contains(&port);
        if self.allow.iter().any(|entry| entry.host == host && entry.port.map_or(usual_port, |open| open == port)) {
            return Ok(Route::Open);
        }
        if !usual_port {
            return Err(blocked(format!(
                "port {port} is not in egress.ports: the operator may open it in egress.allow"
            )));
        }
        match host {
            Host::Domain(_) => Ok(Route::Guarded),
            Host::Ipv4(ip) => self.address(ip.into()).map(|()| Route::Guarded).map_err(|why| literal(ip.into(), why)),
            Host::Ipv6(ip) => self.address(ip.into()).map(|()| Route::Guarded).map_err(|why| literal(ip.into(), why)),
        }
    }

    /// Whether a steered request may reach `ip`; the error says what the address is.
    pub(super) fn address(&self, ip: IpAddr) -> Result<(), &'static str> {
        if self.ranges.iter().any(|range| range.contains(ip)) {
            return Ok(());
        }
        match address::refusal(ip) {
            Some(what) => Err(what),
            None if own::is_own(ip) => Err("an address of this machine"),
            None => Ok(()),
        }
    }
}

/// The refusal of a request before anything is sent.
pub(super) fn blocked(message: impl Into<String>) -> JobError {
    JobError::new(ErrorCode::HttpBlocked, message)
}

fn literal(ip: IpAddr, why: &str) -> JobError {
    blocked(format!("{ip} is {why}: the operator may open it in egress.allow"))
}

/// Reads `host` or `host:port`, IPv6 in brackets (or bare, without a port).
fn entry(text: &str) -> Option<Entry> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        let host = match ip {
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        return Some(Entry { host, port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    let host = Host::parse(host).ok().filter(|_| !host.is_empty())?;
    Some(Entry { host: canonical(host), port })
}

/// `example.com.` and `example.com` are one host.
fn canonical<S: AsRef<str>>(host: Host<S>) -> Host<String> {
    match host {
        Host::Domain(name) => Host::Domain(name.as_ref().trim_end_matches('.').to_ascii_lowercase()),
        Host::Ipv4(ip) => Host::Ipv4(ip),
        Host::Ipv6(ip) => Host::Ipv6(ip),
    }
}

/// Whether two hosts are one, where every name of this machine is the same as any other.
fn same_place(a: &Host<String>, b: &Host<String>) -> bool {
    a == b || (is_this_machine(a) && is_this_machine(b))
}

fn is_this_machine(host: &Host<String>) -> bool {
    let local = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip.is_unspecified() || own::is_own(ip)
    };
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => local((*ip).into()),
        Host::Ipv6(ip) => local((*ip).into()),
    }
}
