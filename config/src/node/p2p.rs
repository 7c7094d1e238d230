//! The section `[p2p]`: where a node meets the others of its chain, and whom it lets in.

use std::fmt;
use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use bixi_types::NodeId;

use crate::document::quoted;
use crate::document::{Section, as_text};
use crate::node::render::array;

/// Entries of one list.
const ENTRIES_MAX: usize = 1024;
/// A host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;
const PATH: &str = "the path of a PEM file";

/// Sessions between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct P2p {
    /// Where other nodes are awaited; `None` for a chain of one, which has no network.
    pub listen: Option<SocketAddr>,
    /// Other nodes, `host:port`; the node's own address may be among them.
    pub peers: Vec<String>,
    /// Certificate authorities; a peer's chain must end at one of them.
    pub ca: Vec<PathBuf>,
    /// The node's certificate chain, its own certificate first.
    pub certificate: PathBuf,
    /// Revocation lists of the authorities.
    pub crl: Vec<PathBuf>,
    /// The only nodes let in; empty lets in whoever the group knows.
    pub allow: Vec<NodeId>,
    /// Nodes never let in, whatever the group says.
    pub deny: Vec<NodeId>,
}

impl Default for P2p {
    fn default() -> Self {
        Self {
            listen: None,
            peers: Vec::new(),
            ca: vec!["conf/ca.crt".into()],
            certificate: "conf/node.crt".into(),
            crl: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }
}

/// Whether `text` is `host:port`: a name, an IPv4 address or an IPv6 address in brackets, and a port from 1 to 65535.
pub fn is_peer_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port_fits = digits && port.parse::<u16>().is_ok_and(|port| port != 0);
    let host_fits = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => {
            let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(in_name)
        }
    };
    port_fits && host_fits
}

pub(super) fn read(section: &mut Section<'_, '_, '_>, default: P2p) -> P2p {
    let listen = read_listen(section);
    let read = P2p {
        listen: listen.flatten(),
        peers: section.list(
            "peers",
            ENTRIES_MAX,
            "another node's address such as \"10.0.0.2:30300\"",
            default.peers,
            |value| as_text(value).filter(|text| is_peer_address(text)),
        ),
        ca: section.list("ca", ENTRIES_MAX, PATH, default.ca, read_path),
        certificate: section.path_of("certificate", &default.certificate),
        crl: section.list("crl", ENTRIES_MAX, PATH, default.crl, read_path),
        allow: section.list("allow", ENTRIES_MAX, NODE_ID, default.allow, |value| value.as_str()?.parse().ok()),
        deny: section.list("deny", ENTRIES_MAX, NODE_ID, default.deny, |value| value.as_str()?.parse().ok()),
    };
    if listen == Some(None) && !read.peers.is_empty() {
        let message = "peers, but no p2p.listen: set it to the address where they find this node, or remove the peers";
        section.contradiction("peers", message);
    }
    judge(section, &read);
    read
}

const NODE_ID: &str = "a node id of 128 hexadecimal digits, as `bixi chain keys` prints it";

/// `None` when a fault was told.
fn read_listen(section: &mut Section<'_, '_, '_>) -> Option<Option<SocketAddr>> {
    let expected = "an address and port such as \"0.0.0.0:30300\", or \"\" for a chain of one";
    let mut faulty = false;
    let listen = section.maybe("listen", expected, |value| {
        let listen = match value.as_str() {
            Some("") => Some(None),
            Some(text) => text.parse().ok().map(Some),
            None => None,
        };
        faulty = listen.is_none();
        listen
    });
    if faulty { None } else { Some(listen.flatten()) }
}

/// Faults between keys.
fn judge(section: &mut Section<'_, '_, '_>, read: &P2p) {
    if read.listen.is_some() && read.ca.is_empty() {
        section.contradiction(
            "ca",
            "p2p.listen is set, but no authority: name the CA's certificate, or every peer is refused",
        );
    }
    for (index, peer) in read.peers.iter().enumerate() {
        if read.peers[..index].contains(peer) {
            section.contradiction("peers", format!("{peer:?} stands twice; remove one"));
        }
    }
    for id in read.allow.iter().filter(|id| read.deny.contains(id)) {
        let hex = id.to_hex();
        section.contradiction("deny", format!("{}... is in p2p.allow, too; remove it from one of them", &hex[..16]));
    }
}

fn read_path(value: &toml::de::DeValue<'_>) -> Option<PathBuf> {
    as_text(value).filter(|text| !text.is_empty() && !text.contains('\0')).map(PathBuf::from)
}

pub(super) fn render_into(p2p: &P2p, out: &mut String) -> fmt::Result {
    writeln!(out, "[p2p]\n# Where other nodes find this one, such as \"0.0.0.0:30300\"; empty for a chain of one.")?;
    writeln!(out, "listen = {}", quoted(p2p.listen.map(|address| address.to_string()).unwrap_or_default()))?;
    writeln!(out, "# Other nodes, \"host:port\"; this one may be among them, so all nodes can share the list.")?;
    writeln!(out, "peers = {}", array(&p2p.peers))?;
    writeln!(out, "# Certificate authorities (PEM); a peer's certificate must come from one of them.")?;
    writeln!(out, "ca = {}", array(p2p.ca.iter().map(|path| path.display())))?;
    writeln!(out, "# This node's certificate, then those between it and the authority (PEM). Its key is hsm.tls_key.")?;
    writeln!(out, "certificate = {}", quoted(p2p.certificate.display()))?;
    writeln!(
        out,
        "# Revocation lists that these authorities signed (PEM); of two of one authority the newer one counts."
    )?;
    writeln!(out, "crl = {}", array(p2p.crl.iter().map(|path| path.display())))?;
    writeln!(
        out,
        "# Node ids (128 hexadecimal digits): the only ones let in, empty for all the group knows; never let in."
    )?;
    writeln!(out, "allow = {}", array(p2p.allow.iter().map(NodeId::to_hex)))?;
    writeln!(out, "deny = {}\n", array(p2p.deny.iter().map(NodeId::to_hex)))
}

#[cfg(test)]
mod tests;
