//! Authorities, certificates and keys in memory, for tests of this room.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm2::{self, DEFAULT_ID, PrivateKey};
use x509_cert::Certificate;

use crate::pki::{self, CertificateParams, RevocationList, Role};
use crate::tls::{Identity, System, TlsKey, TlsKeyError, Trust, TrustParams};

pub(crate) const DAY: u64 = 86_400;

/// A node's key in memory, signing with the identifier it is told.
pub(crate) struct Held {
    pub(crate) key: PrivateKey,
    pub(crate) id: &'static [u8],
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held(..)")
    }
}

impl TlsKey for Held {
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        Ok(sm2::sign(&self.key, self.id, content, &mut System).map_err(|error| TlsKeyError(error.to_string()))?.0)
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A fresh key.
pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(&mut System).expect("a key")
}

/// A signature with the default identifier.
pub(crate) fn sign(key: &PrivateKey, message: &[u8]) -> [u8; 64] {
    sm2::sign(key, DEFAULT_ID, message, &mut System).expect("signs").0
}

pub(crate) struct Authority {
    key: PrivateKey,
    pub(crate) certificate: Certificate,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = key();
        let certificate = issue(Role::Ca, name, name, &key, &key, 1, (now() - DAY, now() + DAY));
        Self { key, certificate }
    }

    fn name(&self) -> String {
        self.certificate.tbs_certificate().subject().to_string()
    }

    pub(crate) fn node(&self, serial: u8) -> Node {
        self.node_within(serial, (now() - DAY, now() + DAY))
    }

    pub(crate) fn node_within(&self, serial: u8, validity: (u64, u64)) -> Node {
        let key = key();
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
        let authorities = [self.certificate.clone()];
        Trust::new(&TrustParams { authorities: &authorities, ..TrustParams::default() }).expect("trust")
    }

    /// A revocation list over the serials of nodes.
    pub(crate) fn revoke(&self, serials: &[u8]) -> Vec<u8> {
        let revoked = serials.iter().map(|&serial| (vec![serial; 16], now() - DAY)).collect();
        let list = RevocationList { number: 1, revoked };
        let pem = list.to_pem(&self.certificate, (now() - DAY, now() + DAY), |message| Ok(sign(&self.key, message)));
        pki::revocation_list_der(pem.expect("a list").as_bytes()).expect("its own writing")
    }
}

fn issue(
    role: Role,
    subject: &str,
    issuer: &str,
    key: &PrivateKey,
    issuer_key: &PrivateKey,
    serial: u8,
    (not_before_s, not_after_s): (u64, u64),
) -> Certificate {
    let params = CertificateParams {
        role,
        subject: subject.into(),
        issuer: issuer.into(),
        serial: [serial; 16],
        not_before_s,
        not_after_s,
    };
    pki::issue(&params, &key.public_key().to_bytes(), &issuer_key.public_key().to_bytes(), |message| {
        Ok(sign(issuer_key, message))
    })
    .expect("a certificate")
}

pub(crate) struct Node {
    pub(crate) certificate: Certificate,
    pub(crate) key: PrivateKey,
}

impl Node {
    pub(crate) fn public_key(&self) -> [u8; 64] {
        self.key.public_key().to_bytes()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity_signing_with(sm2::TLS_ID)
    }

    pub(crate) fn identity_signing_with(&self, id: &'static [u8]) -> Identity {
        let key = PrivateKey::from_bytes(&self.key.to_bytes()).expect("the same key");
        Identity::new(std::slice::from_ref(&self.certificate), Arc::new(Held { key, id })).expect("an identity")
    }
}
