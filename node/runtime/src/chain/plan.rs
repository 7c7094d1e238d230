//! Where the nodes of a chain are reached: addresses and ports that do not collide, decided before anything is made. Names and
//! addresses are compared as written: what a name resolves to may change.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::str::FromStr;

use bixi_config::is_peer_address;
use bixi_platform::random::OsRandom;

use crate::chain::{ChainError, io_at};

/// Nodes of one chain: what the ceremony makes and a node runs. The simulator's campaigns have covered so many validators.
pub const NODES_MAX: usize = 31;

/// Where p2p listens unless told otherwise.
const P2P_PORT: u16 = 30300;
const ADDRESS_DRAWS_MAX: usize = 16;

/// Which nodes are wanted: a number of them, or the address of each.
///
/// ```
/// use bixi_runtime::chain::Members;
/// assert_eq!("4".parse(), Ok(Members::Count(4)));
/// assert_eq!("10.0.0.1:30300,node-b:30300".parse(), Ok(Members::At(vec!["10.0.0.1:30300".into(), "node-b:30300".into()])));
/// assert!("10.0.0.1".parse::<Members>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// So many on this machine, their p2p ports counted up. One alone has no network.
    Count(usize),
    /// One at each `host:port`, where the others find it.
    At(Vec<String>),
}

impl FromStr for Members {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Count).map_err(|_| too_many(text));
        }
        let addresses: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        match addresses.iter().find(|address| !is_peer_address(address)) {
            None => Ok(Self::At(addresses)),
            Some(wrong) => Err(format!(
                "{wrong:?} is neither a number of nodes nor host:port with a port from 1 to 65535, such as 10.0.0.2:30300"
            )),
        }
    }
}

fn too_many(count: impl std::fmt::Display) -> String {
    format!("{count} nodes are more than the {NODES_MAX} a chain is made of")
}

/// Where nodes go.
#[derive(Debug, Clone)]
pub struct Places {
    /// Which.
    pub members: Members,
    /// p2p port of the first node when [`Members::Count`] says how many. 0 gives the chain a loopback address of its own, so that
    /// it meets no other chain of this machine.
    pub p2p_port: u16,
    /// JSON-RPC of the first node of a machine; others of the same machine count up. Port 0 lets the system choose.
    pub rpc_listen: SocketAddr,
}

/// One node's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    /// Where the others find it, and where it listens for them; none for a chain of one.
    pub p2p: Option<(String, SocketAddr)>,
    /// Its JSON-RPC.
    pub rpc: SocketAddr,
}

/// Every node's addresses, behind `taken`, those of the nodes that are there already.
pub(super) fn seats(places: &Places, taken: &[String]) -> Result<Vec<Seat>, ChainError> {
    let wanted = match &places.members {
        Members::Count(count) => count_up(*count, places.p2p_port, taken)?,
        Members::At(addresses) => addresses.clone(),
    };
    let count = wanted.len() + taken.len();
    if count == 0 {
        return refuse("a chain has at least one node".into());
    }
    if count > NODES_MAX {
        return refuse(too_many(count));
    }
    if places.members == Members::Count(1) && taken.is_empty() {
        return Ok(vec![Seat { p2p: None, rpc: places.rpc_listen }]);
    }
    let all: Vec<Address> = taken.iter().chain(&wanted).map(|text| Address::parse(text)).collect::<Result<_, _>>()?;
    let rpc = rpc_addresses(&all, places.rpc_listen)?;
    let seats = all.iter().zip(rpc).zip(taken.iter().chain(&wanted));
    let seats = seats.map(|((address, rpc), text)| Seat { p2p: Some((text.clone(), address.listen())), rpc });
    Ok(seats.skip(taken.len()).collect())
}

fn refuse<T>(why: String) -> Result<T, ChainError> {
    Err(ChainError::Unsupported(format!("--nodes: {why}")))
}

/// Addresses on this machine that none of `taken` has.
fn count_up(count: usize, first_port: u16, taken: &[String]) -> Result<Vec<String>, ChainError> {
    if count > NODES_MAX {
        return refuse(too_many(count));
    }
    let mut used = BTreeSet::new();
    let mut ip = None;
    for text in taken {
        let address = Address::parse(text)?;
        if address.machine() != Machine::This {
            return refuse(format!("name host:port of each new node, because {text} is not on this machine"));
        }
        ip = ip.or(address.ip());
        used.insert(address.port);
    }
    let ip = match ip {
        Some(ip) => ip,
        None if first_port == 0 && count > 1 => own_address(count)?,
        None => Ipv4Addr::LOCALHOST.into(),
    };
    let first_port = if first_port == 0 { P2P_PORT } else { first_port };
    let free: Vec<u16> = (first_port..=u16::MAX).filter(|port| !used.contains(port)).take(count).collect();
    if free.len() < count {
        return refuse(format!("there are no {count} p2p ports from {first_port} on; name a lower --p2p-port"));
    }
    Ok(free.into_iter().map(|port| SocketAddr::new(ip, port).to_string()).collect())
}

/// An address of 127.0.0.0/8, all of which is this machine's (RFC 1122, 3.2.1.3), where the first `count` ports are free. Who wants
/// any port of the system's choice gets one of another address or above these: nobody takes them before the nodes do.
fn own_address(count: usize) -> Result<IpAddr, ChainError> {
    for _ in 0..ADDRESS_DRAWS_MAX {
        let [a, b, c] = OsRandom.array().map_err(io_at(Path::new("the system's random source")))?;
        let ip = IpAddr::from([127, a.clamp(1, 254), b, c.clamp(1, 254)]);
        if (P2P_PORT..).take(count).all(|port| TcpListener::bind((ip, port)).is_ok()) {
            return Ok(ip);
        }
    }
    refuse(format!("no loopback address has {count} free ports from {P2P_PORT} on; name addresses"))
}

/// A JSON-RPC address for each node, counted up on each machine over what p2p takes there.
fn rpc_addresses(all: &[Address], first: SocketAddr) -> Result<Vec<SocketAddr>, ChainError> {
    let mut taken = BTreeSet::new();
    for address in all {
        if !taken.insert((address.machine(), address.listen().ip().to_string(), address.port)) {
            return refuse(format!("two nodes are to be found at {}:{}", address.host, address.port));
        }
    }
    let mut taken: BTreeSet<_> = taken.into_iter().map(|(machine, _, port)| (machine, port)).collect();
    let mut rpc = Vec::new();
    for address in all {
        let free = match first.port() {
            0 => Some(0),
            port => (port..=u16::MAX).find(|port| taken.insert((address.machine(), *port))),
        };
        let Some(port) = free else {
            return refuse(format!("there is no RPC port left from {} on; name a lower --rpc-port", first.port()));
        };
        rpc.push(SocketAddr::new(first.ip(), port));
    }
    Ok(rpc)
}

/// Which machine a host name means, as far as the name says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Machine {
    This,
    Named(String),
}

struct Address {
    /// In lower case, without brackets.
    host: String,
    port: u16,
}

impl Address {
    fn parse(text: &str) -> Result<Self, ChainError> {
        let parts = text.rsplit_once(':').filter(|_| is_peer_address(text));
        match parts.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
            Some((host, port)) => Ok(Self { host: host.trim_matches(['[', ']']).to_ascii_lowercase(), port }),
            None => refuse(format!("{text:?} is no host:port")),
        }
    }

    fn ip(&self) -> Option<IpAddr> {
        if self.host == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { self.host.parse().ok() }
    }

    fn machine(&self) -> Machine {
        match self.ip() {
            Some(ip) if ip.is_loopback() => Machine::This,
            _ => Machine::Named(self.host.clone()),
        }
    }

    /// Only what is on loopback is known to be an address of the machine itself; a name or a translated address need not be one.
    fn listen(&self) -> SocketAddr {
        let ip = match self.ip() {
            Some(ip) if ip.is_loopback() => ip,
            Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(ip, self.port)
    }
}

#[cfg(test)]
mod tests;
