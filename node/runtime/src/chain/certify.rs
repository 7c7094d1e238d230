//! The step that makes the chain's certificate authority and certifies every node's TLS key.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm2::{DEFAULT_ID, PublicKey, identity_digest, message_digest};
use bixi_hsm::{KeyDevice, KeyKind, KeyRef, KeySpec};
use bixi_network::pki::{self, CertificateParams, PkiError, Role};
use bixi_platform::random::OsRandom;

use crate::chain::keys::new_token;
use crate::chain::layout::{ca_home, node_directories, write_new};
use crate::chain::{ChainError, NodeKeys, io_at};

const CA_TOKEN: &str = "bixi-ca";
const CA_KEY: &str = "ca";
const CA_DAYS: u64 = 10 * 365;
const NODE_DAYS: u64 = 2 * 365;
const DAY_S: u64 = 86_400;
/// Certificates begin this long before now, for clocks that lag.
const BACKDATE_S: u64 = 3_600;

struct Authority<'a> {
    device: &'a dyn KeyDevice,
    key: KeyRef,
    public_key: [u8; 64],
    name: String,
}

/// Makes the CA of the chain in `chain` in a token of its own, and issues every node's certificate. The CA's directory can
/// be taken offline afterwards: no node reads it.
pub fn certify(chain: &Path, module: &Path) -> Result<(), ChainError> {
    let home = ca_home(chain);
    let ca_file = home.path().join("ca.crt");
    if ca_file.exists() {
        return Err(ChainError::Exists(ca_file));
    }
    let nodes = node_directories(chain);
    let mut requests = Vec::new();
    for node in &nodes {
        requests.push((node, NodeKeys::read(node)?.public_key("tls")?));
    }
    let device = new_token(&home, module, CA_TOKEN)?;
    let key = device.generate(&KeySpec::new(CA_KEY, KeyKind::Sm2Sign))?;
    let public_key = device.public_key(&key)?;
    let authority = Authority { device: &device, key, public_key, name: "CN=Bixi chain CA".into() };
    let ca = authority.issue(Role::Ca, &authority.name, &authority.public_key, CA_DAYS)?;
    write_new(&ca_file, 0o644, ca.as_bytes())?;
    for (node, key) in requests {
        let name = node.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let certificate = authority.issue(Role::Node, &format!("CN={name}"), &key, NODE_DAYS)?;
        write_new(&node.certificate(), 0o644, certificate.as_bytes())?;
        write_new(&node.ca_certificate(), 0o644, ca.as_bytes())?;
    }
    Ok(())
}

impl Authority<'_> {
    fn issue(&self, role: Role, subject: &str, key: &[u8; 64], days: u64) -> Result<String, ChainError> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut serial: [u8; 16] = OsRandom.array().map_err(io_at(Path::new("the system's random source")))?;
        // Positive and without a leading zero byte, as DER wants it.
        serial[0] = serial[0] & 0x7f | 0x40;
        let params = CertificateParams {
            role,
            subject: subject.to_owned(),
            issuer: self.name.clone(),
            serial,
            not_before_s: now_s - BACKDATE_S,
            not_after_s: now_s + days * DAY_S,
        };
        let certificate = pki::issue(&params, key, &self.public_key, |message| self.sign(message))?;
        Ok(pki::to_pem(&certificate)?)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], PkiError> {
        let refused = |error: String| PkiError::Signer(error);
        let public = PublicKey::from_bytes(&self.public_key).map_err(|error| refused(error.to_string()))?;
        let digest = message_digest(&identity_digest(DEFAULT_ID, &public), message);
        self.device.sign_digest(&self.key, &digest).map_err(|error| refused(error.to_string()))
    }
}
