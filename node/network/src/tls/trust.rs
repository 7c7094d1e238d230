//! Whom we believe: several certificate authorities, their revocation lists, and lists of keys that are let in or kept out.
//!
//! All of it can be replaced while connections stand ([`TrustStore::replace`]); the next handshake goes by the new rules, and
//! [`Trust::admits`] tells which standing connections no longer pass. Names are not compared: a peer is the key in its
//! certificate, and the layer above knows whom it called.

use std::collections::BTreeSet;
use std::sync::Arc;

use bixi_types::CryptoSuite;
use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_cert::Certificate;
use x509_cert::der::Encode;

use crate::pki::{self, PkiError, RevocationList};
use crate::suite::{Algorithms, algorithms};

/// Longest revocation list taken, bytes of DER.
pub const REVOCATION_LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why the given files cannot be a ground of trust.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Nobody could ever be believed.
    #[error("no CA certificate is given; name at least one")]
    NoAuthority,
    /// A CA's certificate is none, or not one of the suite.
    #[error("CA certificate {index}: {source}")]
    Authority {
        /// Its place among those given, from 0.
        index: usize,
        /// What is wrong.
        source: PkiError,
    },
    /// A revocation list cannot be read.
    #[error("revocation list {index}: {detail}")]
    RevocationList {
        /// Its place among those given, from 0.
        index: usize,
        /// What is wrong.
        detail: String,
    },
}

/// What [`Trust`] is made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrustParams<'a> {
    /// Certificates of the authorities.
    pub authorities: &'a [Certificate],
    /// Revocation lists, DER. An authority without one revokes nothing; a list past its `nextUpdate` still counts, because a
    /// chain must not stop for a list that was not fetched in time.
    pub revocation_lists: &'a [Vec<u8>],
    /// Keys X ‖ Y let in; empty lets everybody in who has a certificate.
    pub allowed: &'a [[u8; 64]],
    /// Keys X ‖ Y kept out, whatever else is said of them.
    pub denied: &'a [[u8; 64]],
}

/// One state of the rules.
pub struct Trust {
    algorithms: &'static Algorithms,
    anchors: Vec<TrustAnchor<'static>>,
    /// The newest of each authority.
    revocation_lists: Vec<KnownList>,
    subjects: Vec<DistinguishedName>,
    allowed: BTreeSet<[u8; 64]>,
    denied: BTreeSet<[u8; 64]>,
}

impl Trust {
    /// Checks and keeps the rules of a chain of `suite`.
    pub fn new(suite: CryptoSuite, params: &TrustParams<'_>) -> Result<Self, TrustError> {
        if params.authorities.is_empty() {
            return Err(TrustError::NoAuthority);
        }
        let mut trust = Self {
            algorithms: algorithms(suite),
            anchors: Vec::new(),
            revocation_lists: Vec::new(),
            subjects: Vec::new(),
            allowed: params.allowed.iter().copied().collect(),
            denied: params.denied.iter().copied().collect(),
        };
        for (index, authority) in params.authorities.iter().enumerate() {
            trust.add_authority(authority).map_err(|source| TrustError::Authority { index, source })?;
        }
        for (index, list) in params.revocation_lists.iter().enumerate() {
            let list = KnownList::read(suite, list, params.authorities);
            trust.add_list(list.map_err(|detail| TrustError::RevocationList { index, detail })?);
        }
        Ok(trust)
    }

    /// Of two lists of one authority the newer one counts, wherever it stands: webpki looks at the first one it finds.
    fn add_list(&mut self, list: KnownList) {
        match self.revocation_lists.iter_mut().find(|known| known.issuer == list.issuer) {
            Some(known) if known.number < list.number => *known = list,
            Some(_) => {}
            None => self.revocation_lists.push(list),
        }
    }

    /// Refuses to follow `older` when one of its lists is of a later number than ours of the same authority: certificates that were taken
    /// back would count again. A list that is gone altogether is the operator's word.
    pub fn check_not_older_than(&self, older: &Self) -> Result<(), TrustError> {
        for (index, list) in self.revocation_lists.iter().enumerate() {
            let Some(known) = older.revocation_lists.iter().find(|known| known.issuer == list.issuer) else { continue };
            let is_other = known.number == list.number && known.bytes != list.bytes;
            if known.number > list.number || is_other {
                let (issuer, number, force) = (&list.issuer, list.number, known.number);
                let detail = format!(
                    "it is number {number} of {issuer}, and number {force}{} is in force; have the authority sign a newer one",
                    if is_other { " with other content" } else { "" }
                );
                return Err(TrustError::RevocationList { index, detail });
            }
        }
        Ok(())
    }

    fn add_authority(&mut self, certificate: &Certificate) -> Result<(), PkiError> {
        pki::public_key(self.suite(), certificate)?;
        pki::check_authority(certificate)?;
        let der = CertificateDer::from(certificate.to_der().map_err(pki::encoding)?);
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(pki::encoding)?.to_owned();
        self.subjects.push(DistinguishedName::in_sequence(&anchor.subject));
        self.anchors.push(anchor);
        Ok(())
    }

    /// The suite of its authorities.
    pub fn suite(&self) -> CryptoSuite {
        self.algorithms.suite
    }

    /// Whether a peer that is known by its key X ‖ Y may stay.
    pub fn admits(&self, key: &[u8; 64]) -> bool {
        !self.denied.contains(key) && (self.allowed.is_empty() || self.allowed.contains(key))
    }

    /// Whether a peer that was believed once would be now; it was called (a server), or called us.
    pub(crate) fn recheck(&self, chain: &[CertificateDer<'_>], is_server: bool) -> Result<(), CertificateError> {
        let (end_entity, intermediates) = chain.split_first().ok_or(CertificateError::BadEncoding)?;
        let usage = if is_server { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        self.check(Chain { end_entity, intermediates }, usage, UnixTime::now())
    }

    fn check(&self, chain: Chain<'_, '_>, usage: KeyUsage, now: UnixTime) -> Result<(), CertificateError> {
        let certificate = EndEntityCert::try_from(chain.end_entity).map_err(refusal)?;
        let lists: Vec<&CertRevocationList<'_>> = self.revocation_lists.iter().map(|list| &list.list).collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        certificate
            .verify_for_usage(
                self.algorithms.verification.all,
                &self.anchors,
                chain.intermediates,
                now,
                usage,
                revocation,
                None,
            )
            .map_err(refusal)?;
        let key = peer_key(self.suite(), chain.end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if self.admits(&key) { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure) }
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("suite", &self.suite())
            .field("authorities", &self.anchors.len())
            .field("revocation_lists", &self.revocation_lists.len())
            .field("allowed", &self.allowed.len())
            .field("denied", &self.denied.len())
            .finish()
    }
}

/// The key in a peer's certificate, X ‖ Y.
pub fn peer_key(suite: CryptoSuite, certificate: &CertificateDer<'_>) -> Result<[u8; 64], PkiError> {
    pki::public_key(suite, &pki::from_der(certificate)?)
}

struct Chain<'c, 'd> {
    end_entity: &'c CertificateDer<'d>,
    intermediates: &'c [CertificateDer<'d>],
}

/// A list that one of the authorities signed.
struct KnownList {
    issuer: String,
    number: u64,
    bytes: Vec<u8>,
    list: CertRevocationList<'static>,
}

impl KnownList {
    fn read(suite: CryptoSuite, der: &[u8], authorities: &[Certificate]) -> Result<Self, String> {
        if der.len() > REVOCATION_LIST_BYTES_MAX {
            return Err(format!("{} bytes; at most {REVOCATION_LIST_BYTES_MAX} are read", der.len()));
        }
        let list = BorrowedCertRevocationList::from_der(der).map_err(|error| error.to_string())?;
        let list = list.to_owned().map_err(|error| error.to_string())?.into();
        let signed = |authority| Some((authority, RevocationList::from_der(suite, der, authority).ok()?.number));
        let (authority, number) = authorities.iter().find_map(signed).ok_or(
            "none of the authorities given has signed it; is it the right file, and is its authority among them?",
        )?;
        let issuer = authority.tbs_certificate().subject();
        let key = |of: &Certificate| of.tbs_certificate().subject_public_key_info().clone();
        // Lists are found by the issuer's name alone: this one would be held against the other's certificates, too.
        let is_other =
            |other: &&Certificate| other.tbs_certificate().subject() == issuer && key(other) != key(authority);
        if authorities.iter().any(|other| is_other(&other)) {
            return Err(format!(
                "two authorities with different keys are both named {issuer}; give one of them another name"
            ));
        }
        Ok(Self { issuer: issuer.to_string(), number, bytes: der.to_vec(), list })
    }
}

/// What rustls is told, and through its alert the peer.
fn refusal(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => {
            CertificateError::InvalidPurpose
        }
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        webpki::Error::BadDer | webpki::Error::TrailingData(_) => CertificateError::BadEncoding,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    }
}

/// The rules in force, shared by all connections.
#[derive(Debug)]
pub struct TrustStore(RwLock<Arc<Trust>>);

impl TrustStore {
    /// Begins with `trust`.
    pub fn new(trust: Trust) -> Self {
        Self(RwLock::new(Arc::new(trust)))
    }

    /// The rules now.
    pub fn current(&self) -> Arc<Trust> {
        Arc::clone(&self.0.read())
    }

    /// Changes the rules for handshakes from now on.
    ///
    /// # Panics
    /// When they are of another suite: a chain keeps the suite of its genesis.
    pub fn replace(&self, trust: Trust) {
        let mut current = self.0.write();
        assert_eq!(trust.suite(), current.suite(), "rules of another suite");
        *current = Arc::new(trust);
    }
}

/// [`TrustStore`] as rustls asks it. Hints of authorities are those of the moment a configuration is made.
#[derive(Debug)]
pub(super) struct Verifier {
    store: Arc<TrustStore>,
    algorithms: &'static Algorithms,
    subjects: Vec<DistinguishedName>,
}

impl Verifier {
    pub(super) fn new(store: Arc<TrustStore>) -> Self {
        let current = store.current();
        Self { store, algorithms: current.algorithms, subjects: current.subjects.clone() }
    }

    fn verify_handshake(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != self.algorithms.scheme {
            return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let certificate = EndEntityCert::try_from(certificate).map_err(refusal)?;
        certificate.verify_signature(self.algorithms.handshakes, message, signed.signature()).map_err(refusal)?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

/// This provider offers TLS 1.3 only.
fn not_tls13() -> Error {
    Error::General("a TLS 1.2 handshake cannot happen: only TLS 1.3 is configured".into())
}

/// What both traits ask in the same words.
macro_rules! handshake_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(not_tls13())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.verify_handshake(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![self.algorithms.scheme]
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.store.current().check(Chain { end_entity, intermediates }, KeyUsage::server_auth(), now)?;
        Ok(ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.store.current().check(Chain { end_entity, intermediates }, KeyUsage::client_auth(), now)?;
        Ok(ClientCertVerified::assertion())
    }

    handshake_signatures!();
}
