//! TLS 1.3 with the algorithms of RFC 8998, through rustls: `TLS_SM4_GCM_SM3`, the group curveSM2, signatures `sm2sig_sm3`.
//!
//! rustls runs the protocol; this module is its `CryptoProvider` over accel. Nothing else is offered, so a peer that lacks these
//! algorithms is refused in the handshake and never falls back. TLS keys stay where they are: [`TlsKey`] hands the content of a
//! CertificateVerify to whoever holds the key. Both sides show a certificate; sessions are not resumed, so that each connection is
//! judged by the rules of its day.

#[cfg(test)]
pub(crate) mod fixtures;
mod group;
mod hash;
mod identity;
mod record;
mod signature;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SigningKey;
use rustls::version::TLS13;
use rustls::{CipherSuite, ClientConfig, Error, ServerConfig, SupportedCipherSuite, Tls13CipherSuite};

use identity::Resolver;
use trust::Verifier;

pub use identity::{Identity, TlsKey, TlsKeyError};
pub use trust::{REVOCATION_LIST_BYTES_MAX, Trust, TrustError, TrustParams, TrustStore, peer_key};

/// `TLS_SM4_GCM_SM3` (RFC 8998 2).
const TLS_SM4_GCM_SM3: CipherSuite = CipherSuite::Unknown(0x00c6);

/// Records of 2^14 bytes under one key; the bound of RFC 8446 5.5 for AES-GCM, which is that of any 128-bit block cipher in GCM.
const RECORDS_MAX: u64 = 1 << 24;

static SUITE: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon { suite: TLS_SM4_GCM_SM3, hash_provider: &hash::Sm3, confidentiality_limit: RECORDS_MAX },
    hkdf_provider: &hash::HKDF,
    aead_alg: &record::Sm4Gcm,
    quic: None,
};

/// For calling peers. `protocols` are the versions spoken over the connection, best first (ALPN).
pub fn client_config(
    identity: &Identity,
    trust: Arc<TrustStore>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(trust)))
        .with_client_cert_resolver(Arc::new(Resolver(identity.clone())));
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// For peers that call. A caller without a certificate is refused.
pub fn server_config(
    identity: &Identity,
    trust: Arc<TrustStore>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier::new(trust)))
        .with_cert_resolver(Arc::new(Resolver(identity.clone())));
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The algorithms, for rustls's configurations.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(&SUITE)],
        kx_groups: vec![&group::CurveSm2],
        signature_verification_algorithms: signature::ALGORITHMS,
        secure_random: &System,
        key_provider: &KeysStayWhereTheyAre,
    })
}

/// The operating system's generator.
#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        bixi_platform::random::OsRandom.fill(buffer).map_err(|_| GetRandomFailed)
    }
}

impl bixi_accel::Random for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), bixi_accel::RandomError> {
        let filled = bixi_platform::random::OsRandom.fill(out);
        filled.map_err(|error| bixi_accel::RandomError::new(error.to_string()))
    }
}

/// A private key is never read from a file.
#[derive(Debug)]
struct KeysStayWhereTheyAre;

impl KeyProvider for KeysStayWhereTheyAre {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("TLS keys live in the device and are not loaded from files".into()))
    }
}
