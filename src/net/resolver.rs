//! Names to addresses. The address that is checked here is the address that is dialled.

use std::{fmt, io, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::Policy;

/// Asks a name server. Tests put one of their own in its place.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of `host`.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Why a name was not dialled. It travels through the HTTP client as the cause of its error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// A resolver that hands out addresses only when all of a name's addresses may be reached. With `policy`
/// absent it serves hosts that the operator opened.
pub(super) struct Guard {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) policy: Option<Arc<Policy>>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, policy) = (Arc::clone(&self.lookup), self.policy.clone());
        Box::pin(async move {
            let addresses = resolve(name.as_str(), &*lookup, policy.as_deref()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| (ip, 0).into()));
            Ok(addresses)
        })
    }
}

async fn resolve(name: &str, lookup: &dyn Lookup, policy: Option<&Policy>) -> Result<Vec<IpAddr>, Refused> {
    let addresses = lookup
        .lookup(name)
        .await
        .map_err(|_| Refused(format!("{name} has no address that can be found: check the name")))?;
    if addresses.is_empty() {
        return Err(Refused(format!("{name} has no address: check the name")));
    }
    for ip in &addresses {
        // One bad address among good ones refuses the name: which of them is dialled is not ours to choose.
        if let Some(Err(what)) = policy.map(|policy| policy.address(*ip)) {
            return Err(Refused(format!("{name} leads to {what}: the operator may open it in egress.allow")));
        }
    }
    Ok(addresses)
}
