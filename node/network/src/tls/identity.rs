//! Who we are in a handshake: a certificate chain, and a key that somebody else holds.

use std::sync::Arc;

use bixi_accel::sm2::Signature;
use bixi_types::CryptoSuite;
use parking_lot::RwLock;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Encode;

use crate::pki::{self, PkiError};
use crate::suite::{Algorithms, algorithms};

/// The holder of the TLS key could not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the TLS key could not sign: {0}")]
pub struct TlsKeyError(pub String);

impl TlsKeyError {
    /// What it was handed is not for a TLS key to sign.
    pub fn foreign() -> Self {
        Self("this is no content of a TLS 1.3 CertificateVerify".into())
    }
}

/// Whoever holds the TLS key, and refuses to sign anything that is no content of a CertificateVerify
/// ([`bixi_types::tls::read_certificate_verify`]): the signing service, or a key in memory where no device has one.
pub trait TlsKey: std::fmt::Debug + Send + Sync {
    /// Signs the content of a TLS 1.3 CertificateVerify (RFC 8446 4.4.3) in the chain's suite: with SM2 and the identifier of RFC
    /// 8998, or with ECDSA on P-256 and SHA-256; r ‖ s.
    /// Called by the thread that runs the handshake, which it may block until the device's deadline.
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError>;

    /// The public half, X ‖ Y; known without asking a device.
    fn public_key(&self) -> [u8; 64];
}

/// A certificate chain and its key. Clones share the chain, which can be exchanged while connections stand; the key stays.
#[derive(Debug, Clone)]
pub struct Identity {
    chain: Arc<RwLock<Vec<CertificateDer<'static>>>>,
    key: Arc<dyn TlsKey>,
    public_key: [u8; 64],
    algorithms: &'static Algorithms,
}

impl Identity {
    /// The chain, the node's own certificate first, with the holder of its key.
    ///
    /// # Errors
    /// When the certificate is for another key, among others: no handshake would succeed, and peers could only say that a signature is
    /// wrong.
    pub fn new(suite: CryptoSuite, chain: &[Certificate], key: Arc<dyn TlsKey>) -> Result<Self, PkiError> {
        let public_key = key.public_key();
        let chain = read(suite, chain, &public_key)?;
        Ok(Self { chain: Arc::new(RwLock::new(chain)), key, public_key, algorithms: algorithms(suite) })
    }

    /// The suite of its certificate and key.
    pub fn suite(&self) -> CryptoSuite {
        self.algorithms.suite
    }

    pub(super) fn algorithms(&self) -> &'static Algorithms {
        self.algorithms
    }

    /// The key peers know this node by, X ‖ Y.
    pub fn public_key(&self) -> &[u8; 64] {
        &self.public_key
    }

    /// Shows another chain from the next handshake on: a renewed certificate, or other intermediates.
    ///
    /// # Errors
    /// When it is not one for the same key; the old chain is shown on.
    pub fn replace_chain(&self, chain: &[Certificate]) -> Result<(), PkiError> {
        let chain = read(self.suite(), chain, &self.public_key)?;
        *self.chain.write() = chain;
        Ok(())
    }

    /// The same chain, its key reached by way of another holder.
    pub(crate) fn with_key(&self, by: impl FnOnce(Arc<dyn TlsKey>) -> Arc<dyn TlsKey>) -> Self {
        Self { key: by(Arc::clone(&self.key)), ..self.clone() }
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(
            self.chain.read().clone(),
            Arc::new(Key { holder: Arc::clone(&self.key), algorithms: self.algorithms }),
        ))
    }
}

/// A chain whose first certificate is for `key`.
fn read(suite: CryptoSuite, chain: &[Certificate], key: &[u8; 64]) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let own = chain.first().ok_or_else(|| PkiError::Encoding("the certificate chain is empty".into()))?;
    if pki::public_key(suite, own)? != *key {
        return Err(PkiError::OtherKey);
    }
    let der = |certificate: &Certificate| certificate.to_der().map(CertificateDer::from);
    chain.iter().map(der).collect::<Result<_, _>>().map_err(pki::encoding)
}

/// [`Identity`] as rustls asks for it, once in each handshake.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Identity);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug, Clone)]
struct Key {
    holder: Arc<dyn TlsKey>,
    algorithms: &'static Algorithms,
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.algorithms.scheme).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithms.scheme_kind
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.holder.sign(message).map_err(|error| Error::General(error.to_string()))?;
        // Both suites write r and s alike (GM/T 0009, RFC 3279 2.2.3).
        Ok(Signature(signature).to_der())
    }

    fn scheme(&self) -> SignatureScheme {
        self.algorithms.scheme
    }
}
