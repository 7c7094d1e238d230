//! The public records of a node's keys, exchanged for those of its new device. What spoke of the lost one stays, under another name.

use std::fs;
use std::path::{Path, PathBuf};

use bixi_hsm::KeyDevice;
use bixi_network::pki;
use bixi_types::NodeId;

use crate::chain::{self, KeyRecord, NodeDirectory, NodeKeys};
use crate::launch::Failure;
use crate::settings::Settings;

/// Hexadecimal digits of a lost key in the name of its record.
const NAME_DIGITS: usize = 16;

/// The consensus key that the node's record names; none where there is no record.
pub(super) fn lost(settings: &Settings) -> Result<Option<[u8; 64]>, Failure> {
    let node = NodeDirectory::new(&settings.base);
    if !node.keys().exists() {
        return Ok(None);
    }
    Ok(Some(NodeKeys::read(&node)?.node_id()?.0))
}

/// Whether the node's record names that key, as present or as one before.
pub(super) fn is_known(settings: &Settings, key: NodeId) -> Result<bool, Failure> {
    let node = NodeDirectory::new(&settings.base);
    if !node.keys().exists() {
        return Ok(false);
    }
    let record = NodeKeys::read(&node)?;
    Ok(record.keys.iter().chain(&record.former).any(|known| known.id() == Some(key)))
}

/// Writes the record of the new keys, and moves the certificate of the lost TLS key aside; where that went.
pub(super) fn replace(
    settings: &Settings,
    device: &dyn KeyDevice,
    keys: Vec<KeyRecord>,
    lost: Option<[u8; 64]>,
) -> Result<Option<PathBuf>, Failure> {
    let path = NodeDirectory::new(&settings.base).keys();
    let new = NodeKeys { former: former(settings, &keys)?, ..NodeKeys::of(device, keys, None)? };
    let of_lost = lost.map(|key| path.with_file_name(format!("keys-{}.json", &NodeId(key).to_hex()[..NAME_DIGITS])));
    if let Some(aside) = of_lost.filter(|aside| !aside.exists() && path.exists()) {
        // By name, so that the record is there at every moment.
        fs::hard_link(&path, &aside).map_err(|error| format!("{}: {error}", aside.display()))?;
    }
    chain::replace_file(&path, format!("{:#}\n", new.to_json()).as_bytes())?;
    let certificate = settings.path(&settings.config.p2p.certificate);
    set_aside(&certificate, new.public_key("tls")?)
}

/// The keys on record whose place others take.
fn former(settings: &Settings, new: &[KeyRecord]) -> Result<Vec<KeyRecord>, Failure> {
    let node = NodeDirectory::new(&settings.base);
    if !node.keys().exists() {
        return Ok(Vec::new());
    }
    Ok(NodeKeys::read(&node)?.former_beside(new))
}

/// A certificate of another key than this goes aside, under the number that its authority gave it.
fn set_aside(path: &Path, key: [u8; 64]) -> Result<Option<PathBuf>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    let certificate = pki::from_pem(&text)?;
    if pki::public_key(chain::SUITE, &certificate)? == key {
        return Ok(None);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", hex::encode(pki::serial(&certificate))));
    let aside = PathBuf::from(name);
    fs::rename(path, &aside).map_err(|error| format!("{}: {error}", aside.display()))?;
    Ok(Some(aside))
}
