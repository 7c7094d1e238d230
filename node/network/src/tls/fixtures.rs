//! Authorities, certificates and keys in memory, for tests of this room.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm2::{self, DEFAULT_ID, PrivateKey, Signature};
use bixi_types::CryptoSuite;
use bixi_types::ports::{Check, Verifier};
use x509_cert::Certificate;
use zeroize::Zeroizing;

use crate::pki::{self, CertificateParams, RevocationList, Role};
use crate::random::System;
use crate::suite::{algorithms, uncompressed};
use crate::tls::{Identity, P256Key, TlsKey, TlsKeyError, Trust, TrustParams};

pub(crate) const DAY: u64 = 86_400;

/// Makes two tests of each function that takes a suite.
macro_rules! in_both_suites {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            #[test]
            fn sm() {
                super::$test(bixi_types::CryptoSuite::Sm);
            }

            #[test]
            fn std() {
                super::$test(bixi_types::CryptoSuite::Std);
            }
        })+
    };
}
pub(crate) use in_both_suites;

/// A key of either suite in memory.
pub(crate) enum Key {
    Sm(PrivateKey),
    /// With its document, for whoever reads keys from files.
    Std(P256Key, Zeroizing<Vec<u8>>),
}

impl Key {
    /// A fresh one.
    pub(crate) fn new(suite: CryptoSuite) -> Self {
        match suite {
            CryptoSuite::Sm => Self::Sm(PrivateKey::generate(&mut System).expect("a key")),
            CryptoSuite::Std => {
                let document = P256Key::generate_pkcs8().expect("a key");
                Self::Std(P256Key::from_pkcs8(&document).expect("the same key"), document)
            }
        }
    }

    fn suite(&self) -> CryptoSuite {
        match self {
            Self::Sm(_) => CryptoSuite::Sm,
            Self::Std(..) => CryptoSuite::Std,
        }
    }

    pub(crate) fn public_key(&self) -> [u8; 64] {
        match self {
            Self::Sm(key) => key.public_key().to_bytes(),
            Self::Std(key, _) => key.public_key(),
        }
    }

    /// A signature as on certificates.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.sign_as(DEFAULT_ID, message)
    }

    /// With another identifier, where signatures have one.
    fn sign_as(&self, id: &[u8], message: &[u8]) -> [u8; 64] {
        match self {
            Self::Sm(key) => sm2::sign(key, id, message, &mut System).expect("signs").0,
            Self::Std(key, _) => key.sign_message(message).expect("signs"),
        }
    }
}

/// Checks signatures as on certificates.
pub(crate) struct Checker(pub(crate) CryptoSuite);

impl Verifier for Checker {
    fn verify(&self, checks: &[Check<'_>]) -> Vec<bool> {
        let verifies = |check: &Check<'_>| {
            let (key, der) = (uncompressed(&check.node.0), Signature(check.signature.0).to_der());
            algorithms(self.0).certificates.verify_signature(&key, check.message, &der).is_ok()
        };
        checks.iter().map(verifies).collect()
    }
}

/// A node's TLS key in memory, signing with the identifier it is told.
struct Held {
    key: Arc<Key>,
    id: &'static [u8],
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held(..)")
    }
}

impl TlsKey for Held {
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        Ok(self.key.sign_as(self.id, content))
    }

    fn public_key(&self) -> [u8; 64] {
        self.key.public_key()
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

pub(crate) struct Authority {
    key: Key,
    pub(crate) certificate: Certificate,
}

impl Authority {
    pub(crate) fn new(suite: CryptoSuite, name: &str) -> Self {
        let key = Key::new(suite);
        let certificate = issue(Role::Ca, name, name, &key, &key, 1, (now() - DAY, now() + DAY));
        Self { key, certificate }
    }

    pub(crate) fn suite(&self) -> CryptoSuite {
        self.key.suite()
    }

    fn name(&self) -> String {
        self.certificate.tbs_certificate().subject().to_string()
    }

    pub(crate) fn node(&self, serial: u8) -> Node {
        self.node_within(serial, (now() - DAY, now() + DAY))
    }

    pub(crate) fn node_within(&self, serial: u8, validity: (u64, u64)) -> Node {
        let key = Arc::new(Key::new(self.suite()));
        let subject = format!("CN=node{serial},O=chain0");
        let certificate = issue(Role::Node, &subject, &self.name(), &key, &self.key, serial, validity);
        Node { certificate, key }
    }

    /// Another certificate for the key of a node.
    pub(crate) fn renew(&self, node: &Node, serial: u8) -> Certificate {
        let subject = format!("CN=node{serial},O=chain0");
        issue(Role::Node, &subject, &self.name(), &node.key, &self.key, serial, (now() - DAY, now() + 2 * DAY))
    }

    pub(crate) fn trust(&self) -> Trust {
        self.trust_with(&[], &[])
    }

    /// With revoked serials, and keys that are kept out.
    pub(crate) fn trust_with(&self, revoked: &[u8], denied: &[[u8; 64]]) -> Trust {
        let authorities = [self.certificate.clone()];
        let revocation_lists: Vec<_> = (!revoked.is_empty()).then(|| self.revoke(revoked)).into_iter().collect();
        let params = TrustParams {
            authorities: &authorities,
            revocation_lists: &revocation_lists,
            denied,
            ..TrustParams::default()
        };
        Trust::new(self.suite(), &params).expect("trust")
    }

    /// Both authorities are believed.
    pub(crate) fn trust_beside(&self, other: &Self) -> Trust {
        let authorities = [self.certificate.clone(), other.certificate.clone()];
        Trust::new(self.suite(), &TrustParams { authorities: &authorities, ..TrustParams::default() }).expect("trust")
    }

    /// A revocation list over the serials of nodes.
    pub(crate) fn revoke(&self, serials: &[u8]) -> Vec<u8> {
        self.revoke_by(1, serials)
    }

    /// The same, of a number.
    pub(crate) fn revoke_by(&self, number: u64, serials: &[u8]) -> Vec<u8> {
        let revoked = serials.iter().map(|&serial| (vec![serial; 16], now() - DAY)).collect();
        let list = RevocationList { number, revoked };
        let valid = (now() - DAY, now() + DAY);
        let pem = list.to_pem(self.suite(), &self.certificate, valid, |message| Ok(self.key.sign(message)));
        pki::revocation_list_der(pem.expect("a list").as_bytes()).expect("its own writing")
    }
}

fn issue(
    role: Role,
    subject: &str,
    issuer: &str,
    key: &Key,
    issuer_key: &Key,
    serial: u8,
    (not_before_s, not_after_s): (u64, u64),
) -> Certificate {
    let params = CertificateParams {
        suite: key.suite(),
        role,
        subject: subject.into(),
        issuer: issuer.into(),
        serial: [serial; 16],
        not_before_s,
        not_after_s,
    };
    pki::issue(&params, &key.public_key(), &issuer_key.public_key(), |message| Ok(issuer_key.sign(message)))
        .expect("a certificate")
}

pub(crate) struct Node {
    pub(crate) certificate: Certificate,
    pub(crate) key: Arc<Key>,
}

impl Node {
    pub(crate) fn public_key(&self) -> [u8; 64] {
        self.key.public_key()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity_signing_with(sm2::TLS_ID)
    }

    pub(crate) fn identity_signing_with(&self, id: &'static [u8]) -> Identity {
        let held = Held { key: Arc::clone(&self.key), id };
        Identity::new(self.key.suite(), std::slice::from_ref(&self.certificate), Arc::new(held)).expect("an identity")
    }
}
