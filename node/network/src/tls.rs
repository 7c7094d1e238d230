//! TLS 1.3 in the algorithms of the chain's suite, through rustls.
//!
//! rustls runs the protocol; its `CryptoProvider` is made of `suite`'s table. Nothing else is offered, so a peer that lacks these
//! algorithms is refused in the handshake and never falls back. TLS keys stay where they are: [`TlsKey`] hands the content of a
//! CertificateVerify to whoever holds the key. Both sides show a certificate; sessions are not resumed, so that each connection is
//! judged by the rules of its day.

#[cfg(test)]
pub(crate) mod fixtures;
mod identity;
mod software;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SigningKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, ServerConfig};

use crate::random::System;
use crate::suite::Algorithms;

use identity::Resolver;
use trust::Verifier;

pub use identity::{Identity, TlsKey, TlsKeyError};
pub use software::P256Key;
pub use trust::{REVOCATION_LIST_BYTES_MAX, Trust, TrustError, TrustParams, TrustStore, peer_key};

/// For calling peers. `protocols` are the versions spoken over the connection, best first (ALPN).
pub fn client_config(
    identity: &Identity,
    trust: Arc<TrustStore>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    client_config_offering(provider(identity.algorithms()), identity, trust, protocols)
}

fn client_config_offering(
    provider: CryptoProvider,
    identity: &Identity,
    trust: Arc<TrustStore>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
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
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider(identity.algorithms())))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier::new(trust)))
        .with_cert_resolver(Arc::new(Resolver(identity.clone())));
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The algorithms, for rustls's configurations.
fn provider(algorithms: &Algorithms) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: algorithms.cipher_suites.to_vec(),
        kx_groups: algorithms.groups.to_vec(),
        signature_verification_algorithms: algorithms.verification,
        secure_random: &System,
        key_provider: &KeysStayWhereTheyAre,
    }
}

/// A private key is never read by rustls.
#[derive(Debug)]
struct KeysStayWhereTheyAre;

impl KeyProvider for KeysStayWhereTheyAre {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("TLS keys are given by their holder and not loaded by rustls".into()))
    }
}
