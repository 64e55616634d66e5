//! `agent-runner health`: asks the service of this machine how it is.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::{Failure, output};
use crate::{net, settings::Settings};

/// Longer than the service waits for its servers, shorter than a container engine's patience with a check.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ask the service that listens on http.bind how it is; exit code 1 when it is not well, or not there
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  agent-runner health
  agent-runner health live    # for a container engine: whether the process answers")]
pub(super) struct Args {
    /// How its servers are, whether it takes jobs, or only whether it answers
    #[arg(value_enum, default_value = "all")]
    what: What,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    /// Its servers: 1 when the queue is gone
    All,
    /// Whether it takes jobs
    Ready,
    /// Whether it answers
    Live,
}

pub(super) async fn run(settings: &Settings, args: Args) -> Result<(), Failure> {
    let path = match args.what {
        What::All => "/health",
        What::Ready => "/health/ready",
        What::Live => "/health/live",
    };
    let address = within_reach(&settings.http.bind)
        .ok_or_else(|| Failure::Usage(format!("http.bind: must be address:port, found {:?}", settings.http.bind)))?;
    let url = format!("http://{address}{path}");
    let client = net::operator_client(PATIENCE).map_err(Failure::Failed)?;
    let asked = async {
        let response = client.get(&url).send().await.ok()?;
        Some((response.status().is_success(), response.text().await.ok()?))
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.ok().flatten();
    let (well, said) = answer.ok_or_else(|| Failure::Failed(format!("{url} does not answer")))?;
    output::line(output::clean(&said));
    if well { Ok(()) } else { Err(Failure::Told) }
}

/// Where a service that listens on `bind` is reached from its own machine.
fn within_reach(bind: &str) -> Option<SocketAddr> {
    let mut address: SocketAddr = bind.replace("localhost", "127.0.0.1").parse().ok()?;
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(address)
}
