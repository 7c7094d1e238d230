//! The step that makes the chain's certificate authority, when there is none, and certifies nodes' TLS keys.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm2::{DEFAULT_ID, PublicKey, identity_digest, message_digest};
use bixi_hsm::{KeyDevice, KeyKind, KeyRef, KeySpec};
use bixi_hsm_pkcs11::Pkcs11Device;
use bixi_network::pki::{self, CertificateParams, PkiError, Role};
use bixi_platform::random::OsRandom;
use bixi_types::{CryptoSuite, NodeId};

use crate::chain::keys::{new_token, open_token};
use crate::chain::layout::{TokenHome, ca_home, node_directories, read, write_new};
use crate::chain::{ChainError, NodeKeys, io_at};

/// The suite of every chain made here.
pub(super) const SUITE: CryptoSuite = CryptoSuite::Sm;
const CA_TOKEN: &str = "bixi-ca";
const CA_KEY: &str = "ca";
/// Bytes of its public key in an authority's name.
const NAME_KEY_BYTES: usize = 8;
const CA_DAYS: u64 = 10 * 365;
const NODE_DAYS: u64 = 2 * 365;
pub(super) const DAY_S: u64 = 86_400;
/// Certificates begin this long before now, for clocks that lag.
const BACKDATE_S: u64 = 3_600;

pub(super) struct Authority {
    device: Pkcs11Device,
    key: KeyRef,
    public_key: [u8; 64],
    name: String,
}

/// Issues a certificate for every node of the chain in `chain` that has none. The first time it makes the CA, in a token of its
/// own. The CA's directory can be taken offline afterwards, until a node is to join: no node reads it.
pub fn certify(chain: &Path, module: &Path) -> Result<(), ChainError> {
    let home = ca_home(chain);
    let ca_file = home.authority_certificate();
    let mut requests = Vec::new();
    for node in node_directories(chain).into_iter().filter(|node| !node.certificate().exists()) {
        let key = NodeKeys::read(&node)?.public_key("tls")?;
        requests.push((node, key));
    }
    if ca_file.exists() && requests.is_empty() {
        return Err(ChainError::Exists(ca_file));
    }
    let authority = if ca_file.exists() { Authority::open(&home, module)? } else { Authority::make(&home, module)? };
    let ca = read(&ca_file, "bixi chain new")?;
    for (node, key) in requests {
        let certificate = authority.issue(Role::Node, &format!("CN={}", node.name()), &key, NODE_DAYS)?;
        write_new(&node.certificate(), 0o644, certificate.as_bytes())?;
        // There already when the node has had a certificate before.
        if !node.ca_certificate().exists() {
            write_new(&node.ca_certificate(), 0o644, ca.as_bytes())?;
        }
    }
    Ok(())
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Authority {
    fn make(home: &TokenHome, module: &Path) -> Result<Self, ChainError> {
        let device = new_token(home, module, CA_TOKEN)?;
        let key = device.generate(&KeySpec::new(CA_KEY, KeyKind::Sm2Sign))?;
        let public_key = device.public_key(&key)?;
        // Who meets a certificate of another chain's authority finds no authority of that name, instead of a wrong signature.
        let of_key = &NodeId(public_key).to_hex()[..2 * NAME_KEY_BYTES];
        let authority = Self { public_key, device, key, name: format!("CN=Bixi chain CA {of_key}") };
        let ca = authority.issue(Role::Ca, &authority.name, &authority.public_key, CA_DAYS)?;
        write_new(&home.authority_certificate(), 0o644, ca.as_bytes())?;
        Ok(authority)
    }

    pub(super) fn open(home: &TokenHome, module: &Path) -> Result<Self, ChainError> {
        let device = open_token(home, module, CA_TOKEN)?;
        let file = home.authority_certificate();
        let certificate = pki::from_pem(&read(&file, "bixi chain new")?)?;
        let certified = pki::public_key(SUITE, &certificate)?;
        let mut keys = device.list()?.into_iter().filter(|key| key.label == CA_KEY && key.kind == KeyKind::Sm2Sign);
        let key = keys.find(|key| device.public_key(&key.uri).is_ok_and(|public| public == certified));
        let key = key.ok_or_else(|| {
            let (file, home) = (file.display(), home.path().display());
            ChainError::Unsupported(format!(
                "{file}: the token in {home} does not hold its key; put back the CA that belongs to it"
            ))
        })?;
        let name = certificate.tbs_certificate().subject().to_string();
        Ok(Self { device, key: key.uri, public_key: certified, name })
    }

    fn issue(&self, role: Role, subject: &str, key: &[u8; 64], days: u64) -> Result<String, ChainError> {
        let now_s = now_s();
        let mut serial: [u8; 16] = OsRandom.array().map_err(io_at(Path::new("the system's random source")))?;
        // Positive and without a leading zero byte, as DER wants it.
        serial[0] = serial[0] & 0x7f | 0x40;
        let params = CertificateParams {
            suite: SUITE,
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

    pub(super) fn sign(&self, message: &[u8]) -> Result<[u8; 64], PkiError> {
        let refused = |error: String| PkiError::Signer(error);
        let public = PublicKey::from_bytes(&self.public_key).map_err(|error| refused(error.to_string()))?;
        let digest = message_digest(&identity_digest(DEFAULT_ID, &public), message);
        self.device.sign_digest(&self.key, &digest).map_err(|error| refused(error.to_string()))
    }
}
