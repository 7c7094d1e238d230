//! `bixi status`: what a running node says of itself, and what its files say of its disk and certificates.

mod standing;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use bixi_runtime::Settings;
use clap::Args;

use crate::client::Client;
use crate::console;
use crate::failure::{Failure, Status};
use crate::status::standing::Standing;

/// Ask a running node where it stands.
///
/// Height, lag behind the peers, round, mode, peers, the last checkpoint, key device, free disk, days of the certificates. Asks over
/// JSON-RPC and reads the node file; takes no PIN and opens no device.
///
/// Exit status: 0 the node is well; 1 it is not, or does not answer; 78 the node file cannot be used.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The node file.
    #[arg(value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    path: PathBuf,
    /// The same, as other commands take it.
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    config: Option<PathBuf>,
    /// Where the node's JSON-RPC is [default: rpc.listen of the node file].
    #[arg(long, value_name = "ADDRESS:PORT")]
    rpc: Option<SocketAddr>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let settings = Settings::load(args.config.as_ref().unwrap_or(&args.path)).map_err(Failure::configuration)?;
    let rpc = args.rpc.unwrap_or_else(|| reachable(settings.config.rpc.listen));
    if rpc.port() == 0 {
        return Err(Failure::configuration("rpc.listen lets the system choose a port; name the one in use with --rpc"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let standing = runtime.block_on(ask(&settings, rpc))?;
    console::result(&if args.json { standing.to_json().to_string() } else { standing.to_text() })?;
    if standing.is_well() { Ok(()) } else { Err(Failure::new(Status::Fault, "the node is not well; see above")) }
}

async fn ask(settings: &Settings, rpc: SocketAddr) -> anyhow::Result<Standing> {
    let mut client = Client::connect(rpc).await.context("is the node running? `bixi doctor` tells")?;
    Standing::ask(&mut client, settings, rpc).await
}

/// Who listens everywhere is found on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_asked_on_loopback() {
        for (listen, asked) in
            [("0.0.0.0:20200", "127.0.0.1:20200"), ("[::]:5", "[::1]:5"), ("10.0.0.1:5", "10.0.0.1:5")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
