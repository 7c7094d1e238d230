//! Who we are in a handshake: a certificate chain, and a key that somebody else holds.

use std::sync::Arc;

use bixi_accel::sm2::{PublicKey, Signature};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Encode;

use crate::pki::{self, PkiError};
use crate::tls::signature::SM2SIG_SM3;

/// The holder of the TLS key could not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the TLS key could not sign: {0}")]
pub struct TlsKeyError(pub String);

/// Whoever holds the TLS key: the signing service, which refuses anything that is no content of a CertificateVerify.
pub trait TlsKey: std::fmt::Debug + Send + Sync {
    /// Signs the content of a TLS 1.3 CertificateVerify (RFC 8446 4.4.3) with SM2 and the identifier of RFC 8998; r ‖ s.
    /// Called by the thread that runs the handshake, which it may block until the device's deadline.
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError>;
}

/// A certificate chain and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    key: Arc<dyn TlsKey>,
    public_key: PublicKey,
}

impl Identity {
    /// The chain, the node's own certificate first, with the holder of its key.
    pub fn new(chain: &[Certificate], key: Arc<dyn TlsKey>) -> Result<Self, PkiError> {
        let own = chain.first().ok_or_else(|| PkiError::Encoding("the certificate chain is empty".into()))?;
        let public_key = pki::public_key(own)?;
        let der = |certificate: &Certificate| certificate.to_der().map(CertificateDer::from);
        let chain: Vec<CertificateDer<'static>> =
            chain.iter().map(der).collect::<Result<_, _>>().map_err(pki::encoding)?;
        let certified = Arc::new(CertifiedKey::new(chain, Arc::new(Key(Arc::clone(&key)))));
        Ok(Self { certified, key, public_key })
    }

    /// The key peers know this node by.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The same chain, its key reached by way of another holder.
    pub(crate) fn with_key(&self, by: impl FnOnce(Arc<dyn TlsKey>) -> Arc<dyn TlsKey>) -> Self {
        let (key, chain) = (by(Arc::clone(&self.key)), self.certified.cert.clone());
        let certified = Arc::new(CertifiedKey::new(chain, Arc::new(Key(Arc::clone(&key)))));
        Self { certified, key, public_key: self.public_key }
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

#[derive(Debug, Clone)]
struct Key(Arc<dyn TlsKey>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SM2SIG_SM3).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        // The second byte of sm2sig_sm3, as rustls reads schemes.
        SignatureAlgorithm::Unknown(8)
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign(message).map_err(|error| Error::General(error.to_string()))?;
        Ok(Signature(signature).to_der())
    }

    fn scheme(&self) -> SignatureScheme {
        SM2SIG_SM3
    }
}
