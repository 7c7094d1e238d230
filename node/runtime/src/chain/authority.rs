//! The chain's certificate authority: its key in a token of its own, and beside it what it has issued and taken back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm2::{DEFAULT_ID, PublicKey, identity_digest, message_digest};
use bixi_hsm::{KeyDevice, KeyKind, KeyRef, KeySpec};
use bixi_hsm_pkcs11::Pkcs11Device;
use bixi_network::pki::{self, Certificate, CertificateParams, PkiError, RevocationList, Role};
use bixi_platform::random::OsRandom;
use bixi_types::{CryptoSuite, NodeId};

use crate::chain::keys::{new_token, open_token};
use crate::chain::layout::{TokenHome, make_directory, read, replace, write_new};
use crate::chain::{ChainError, io_at};

/// The suite of every chain made here.
pub(crate) const SUITE: CryptoSuite = CryptoSuite::Sm;
const CA_TOKEN: &str = "bixi-ca";
const CA_KEY: &str = "ca";
/// Bytes of its public key in an authority's name.
const NAME_KEY_BYTES: usize = 8;
const CA_DAYS: u64 = 10 * 365;
/// When the next list should come. Nodes go on by a list that is older.
const LIST_DAYS: u64 = 365;
const DAY_S: u64 = 86_400;
/// Certificates begin this long before now, for clocks that lag.
const BACKDATE_S: u64 = 3_600;

pub(super) struct Authority {
    device: Pkcs11Device,
    home: TokenHome,
    key: KeyRef,
    public_key: [u8; 64],
    name: String,
}

impl Authority {
    /// Makes it, with a first list that takes nothing back.
    pub(super) fn make(home: &TokenHome, module: &Path) -> Result<Self, ChainError> {
        let device = new_token(home, module, CA_TOKEN)?;
        let key = device.generate(&KeySpec::new(CA_KEY, KeyKind::Sm2Sign))?;
        let public_key = device.public_key(&key)?;
        // Who meets a certificate of another chain's authority finds no authority of that name, instead of a wrong signature.
        let of_key = &NodeId(public_key).to_hex()[..2 * NAME_KEY_BYTES];
        let name = format!("CN=Bixi chain CA {of_key}");
        let authority = Self { home: home.clone(), public_key, device, key, name };
        make_directory(&home.issued())?;
        let certificate = authority.certify(Role::Ca, &authority.name, &authority.public_key, CA_DAYS)?;
        // Every list follows one from the first on: a list that is not there was lost.
        authority.sign_list(&certificate, &RevocationList { number: 1, revoked: Vec::new() })?;
        write_new(&home.authority_certificate(), 0o644, pki::to_pem(&certificate)?.as_bytes())?;
        Ok(authority)
    }

    /// Opens the one that was made.
    pub(super) fn open(home: &TokenHome, module: &Path) -> Result<Self, ChainError> {
        let device = open_token(home, module, CA_TOKEN)?;
        let file = home.authority_certificate();
        let certificate = home.read_authority()?;
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
        Ok(Self { home: home.clone(), device, key: key.uri, public_key: certified, name })
    }

    /// Issues a node's certificate, PEM, and keeps a copy: what nobody has can never be taken back.
    pub(super) fn issue(&self, node: &str, key: &[u8; 64], days: u64) -> Result<String, ChainError> {
        let certificate = self.certify(Role::Node, &format!("CN={node}"), key, days)?;
        let text = pki::to_pem(&certificate)?;
        let copy = self.home.issued().join(format!("{node}-{}.crt", hex::encode(pki::serial(&certificate))));
        write_new(&copy, 0o644, text.as_bytes())?;
        Ok(text)
    }

    fn certify(&self, role: Role, subject: &str, key: &[u8; 64], days: u64) -> Result<Certificate, ChainError> {
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
        Ok(pki::issue(&params, key, &self.public_key, |message| self.sign(message))?)
    }

    /// Puts a list in the place of the last one.
    pub(super) fn sign_list(&self, issuer: &Certificate, list: &RevocationList) -> Result<(), ChainError> {
        let valid_s = (now_s(), now_s() + LIST_DAYS * DAY_S);
        let text = list.to_pem(SUITE, issuer, valid_s, |message| self.sign(message))?;
        replace(&self.home.revocation_list(), text.as_bytes())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], PkiError> {
        let refused = |error: String| PkiError::Signer(error);
        let public = PublicKey::from_bytes(&self.public_key).map_err(|error| refused(error.to_string()))?;
        let digest = message_digest(&identity_digest(DEFAULT_ID, &public), message);
        self.device.sign_digest(&self.key, &digest).map_err(|error| refused(error.to_string()))
    }
}

impl TokenHome {
    /// The certificate of the authority whose key this token holds.
    pub(super) fn authority_certificate(&self) -> PathBuf {
        self.path().join("ca.crt")
    }

    /// What that authority has taken back.
    pub(super) fn revocation_list(&self) -> PathBuf {
        self.path().join("ca.crl")
    }

    /// Copies of the certificates that it issued.
    fn issued(&self) -> PathBuf {
        self.path().join("issued")
    }

    pub(super) fn read_authority(&self) -> Result<Certificate, ChainError> {
        Ok(pki::from_pem(&read(&self.authority_certificate(), "bixi chain new")?)?)
    }

    /// The newest list. A missing one is not an empty one: certificates that were taken back would count again.
    pub(super) fn read_list(&self, issuer: &Certificate) -> Result<RevocationList, ChainError> {
        let file = self.revocation_list();
        let text = fs::read(&file).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                unusable(&file, "it is missing; put back the newest list that this authority signed")
            }
            _ => io_at(&file)(source),
        })?;
        RevocationList::from_pem(SUITE, &text, issuer).map_err(|error| unusable(&file, error))
    }

    /// The keys of certificates that were taken back.
    pub(super) fn revoked_keys(&self) -> Result<BTreeSet<[u8; 64]>, ChainError> {
        let list = self.read_list(&self.read_authority()?)?;
        let (issued, mut keys) = (self.issued(), BTreeSet::new());
        for entry in fs::read_dir(&issued).map_err(io_at(&issued))? {
            let path = entry.map_err(io_at(&issued))?.path();
            let certificate = read_certificate(&path)?;
            if list.has(&certificate) {
                keys.insert(pki::public_key(SUITE, &certificate)?);
            }
        }
        Ok(keys)
    }
}

/// A certificate that somebody names.
pub(super) fn read_certificate(path: &Path) -> Result<Certificate, ChainError> {
    let text = fs::read_to_string(path).map_err(io_at(path))?;
    pki::from_pem(&text).map_err(|error| unusable(path, error))
}

pub(super) fn unusable(path: &Path, detail: impl std::fmt::Display) -> ChainError {
    ChainError::Unusable { path: path.to_owned(), detail: detail.to_string() }
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
