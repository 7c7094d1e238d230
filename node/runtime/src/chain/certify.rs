//! The step that makes the chain's certificate authority, when there is none, and certifies nodes' TLS keys.

use std::path::Path;

use bixi_network::pki;

use crate::chain::authority::{Authority, SUITE, unusable};
use crate::chain::layout::{ca_home, lock, node_directories, read, write_new};
use crate::chain::{ChainError, NodeKeys, io_at};

const NODE_DAYS: u64 = 2 * 365;

/// Issues a certificate for every node of the chain in `chain` that has none. The first time it makes the CA, in a token of its
/// own. The CA's directory can be taken offline afterwards, until a node is to join: no node reads it.
///
/// A key whose certificate was taken back is certified again only when `is_key_safe` says that nobody but the node has it.
pub fn certify(chain: &Path, module: &Path, is_key_safe: bool) -> Result<(), ChainError> {
    let _turn = lock(chain)?;
    let home = ca_home(chain);
    let ca_file = home.authority_certificate();
    let is_made = ca_file.exists();
    let mut requests = Vec::new();
    for node in node_directories(chain).into_iter().filter(|node| !node.certificate().exists()) {
        let key = NodeKeys::read(&node)?.public_key("tls")?;
        requests.push((node, key));
    }
    if is_made && requests.is_empty() {
        return Err(ChainError::Exists(ca_file));
    }
    if is_made && !is_key_safe {
        let revoked = home.revoked_keys()?;
        if let Some((node, _)) = requests.iter().find(|(_, key)| revoked.contains(key)) {
            return Err(ChainError::RevokedKey(node.name()));
        }
    }
    let authority = if is_made { Authority::open(&home, module)? } else { Authority::make(&home, module)? };
    let ca = read(&ca_file, "bixi chain new")?;
    for (node, key) in requests {
        let certificate = authority.issue(&node.name(), &key, NODE_DAYS)?;
        write_new(&node.certificate(), 0o644, certificate.as_bytes())?;
        // There already when the node has had a certificate before.
        if !node.ca_certificate().exists() {
            write_new(&node.ca_certificate(), 0o644, ca.as_bytes())?;
        }
    }
    Ok(())
}

/// Issues a certificate for the key of a request, under the node's name, into a new file.
pub fn certify_request(
    chain: &Path,
    module: &Path,
    request: &Path,
    node: &str,
    out: &Path,
    is_key_safe: bool,
) -> Result<(), ChainError> {
    let _turn = lock(chain)?;
    let home = ca_home(chain);
    let text = std::fs::read(request).map_err(io_at(request))?;
    let key = pki::requested_key(SUITE, &text).map_err(|error| unusable(request, error))?;
    if !is_key_safe && home.revoked_keys()?.contains(&key) {
        return Err(ChainError::RevokedKey(node.to_owned()));
    }
    if out.exists() {
        return Err(ChainError::Exists(out.to_owned()));
    }
    let certificate = Authority::open(&home, module)?.issue(node, &key, NODE_DAYS)?;
    write_new(out, 0o644, certificate.as_bytes())
}
