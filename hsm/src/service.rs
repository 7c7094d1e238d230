//! The one holder of the device: takes typed requests, computes digests itself, asks the guard, has the device sign, checks
//! the signature in software, writes the audit trail, and only then answers.
//!
//! Invariants:
//! - the consensus key signs proposals, votes, checkpoints and openings of sessions of this chain that name this validator, and
//!   nothing else;
//! - the TLS key signs CertificateVerify contents built here, certificate requests for itself and heads of this service's own trail;
//! - every signature that leaves has been verified against the key's public half;
//! - nothing leaves that the audit trail could not record; of TLS handshakes this node answers, which anybody can cause, it holds
//!   one entry a minute with the numbers of those signed and those not, and one for the rest when the node stops; while it takes no
//!   entries, the device is not asked for any;
//! - the device has a bounded number of calls at once, statements before vault keys before handshakes ([`crate::gate`]).

mod answered;
mod certificate_request;
mod client;
mod counting;
mod data_keys;
mod officers;
mod recording;
mod retry;
mod sealing;
mod setup;
mod statement;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_accel::sm2::{self, PublicKey, RegisteredKey};
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::{SignError, Signer, Statement};
use bixi_types::session::SessionProof;
use bixi_types::{CryptoSuite, H256, NodeId};
use zeroize::Zeroizing;

use crate::audit::{Audit, Durability, Event, Outcome};
use crate::device::{Cause, DeviceError, KeyDevice};
use crate::gate::{Gate, Place, Priority};
use crate::guard::{Claim, CountError, Grant, Guard, GuardError};
use crate::protocol::{
    Derived, Drawn, KeyRole, Message as _, PRF_DOMAIN, RANDOM_BYTES_MAX, Refusal, Request, Response, TlsTranscript,
};
use crate::uri::KeyRef;

use answered::Answered;
use counting::Counting;
use recording::{Denied, Done, unrecorded};
use sealing::Sealing;

pub use client::{Channel, ChannelError, Client, ClientError, InProcess};
pub use counting::PAUSE as COUNT_PAUSE;
pub use data_keys::DataKeys;
pub use retry::RetryPolicy;
pub use setup::{CustodyPolicy, Keys, Params, ServiceError};

/// A signing key with what its digests and the check of its signatures need, read once.
struct SigningKey {
    key: KeyRef,
    public: RegisteredKey,
}

impl SigningKey {
    fn load(device: &dyn KeyDevice, key: KeyRef, retry: RetryPolicy) -> Result<Self, DeviceError> {
        let bytes = retry.run(|| device.public_key(&key))?;
        let public = PublicKey::from_bytes(&bytes).map_err(|_| {
            DeviceError::new("public_key", Cause::BadAnswer, format!("{key}: not a point of the SM2 curve"))
        })?;
        Ok(Self { key, public: RegisteredKey::new(&public) })
    }

    /// e of a message under the default identity.
    fn digest(&self, message: &[u8]) -> [u8; 32] {
        sm2::message_digest(self.public.z(), message)
    }

    /// X ‖ Y.
    fn bytes(&self) -> [u8; 64] {
        self.public.key().to_bytes()
    }
}

/// Signs for one node on one chain.
pub struct SigningService {
    device: Arc<dyn KeyDevice>,
    gate: Gate,
    consensus: SigningKey,
    tls: Option<SigningKey>,
    kek: Option<KeyRef>,
    guard: Guard,
    chain: H256,
    suite: CryptoSuite,
    retry: RetryPolicy,
    audit: Arc<dyn Audit>,
    answered: Answered,
    sealing: Sealing,
    counting: Counting,
    data_keys: Option<Arc<dyn DataKeys>>,
}

impl fmt::Debug for SigningService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningService")
            .field("consensus", &self.consensus.key)
            .field("guard", &self.guard.path())
            .finish()
    }
}

impl SigningService {
    /// Checks custody and keys, and reads the public halves.
    pub fn new(params: Params) -> Result<Self, ServiceError> {
        let Params { device, device_calls_max, keys, guard, chain, suite, retry, custody, audit } = params;
        custody.check(&*device)?;
        if suite != CryptoSuite::Sm {
            return Err(ServiceError::Suite(suite));
        }
        let consensus = SigningKey::load(&*device, keys.consensus, retry)?;
        let tls = keys.tls.map(|key| SigningKey::load(&*device, key, retry)).transpose()?;
        if let Some(tls) = tls.as_ref().filter(|tls| tls.bytes() == consensus.bytes()) {
            return Err(ServiceError::SharedKey(Box::new(tls.key.clone())));
        }
        let counting = Counting::of(&device.info());
        Ok(Self {
            device,
            gate: Gate::new(device_calls_max),
            consensus,
            tls,
            kek: keys.kek,
            guard,
            chain,
            suite,
            retry,
            sealing: Sealing::begin(Instant::now()),
            counting,
            audit,
            answered: Answered::default(),
            data_keys: None,
        })
    }

    /// Has it change the data keys, too, when it is asked to.
    #[must_use]
    pub fn with_data_keys(self, data_keys: Arc<dyn DataKeys>) -> Self {
        Self { data_keys: Some(data_keys), ..self }
    }

    /// Answers one encoded request with one encoded response.
    pub fn handle_frame(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        let response = match Request::decode(frame) {
            Ok(request) => self.handle(&request),
            Err(error) => self.refuse_frame(frame, error.to_string()),
        };
        response.encode()
    }

    /// Junk asked for nothing: it is recorded, and whoever sends it makes no disk sync.
    fn refuse_frame(&self, frame: &[u8], reason: String) -> Response {
        let event = Event {
            request: "malformed".to_owned(),
            subject: format!("frame of {} bytes", frame.len()),
            digest: None,
            outcome: Outcome::Refused(reason.clone()),
        };
        match self.audit.record(&event, Durability::Grouped) {
            Ok(()) => Response::Refused(Refusal::Malformed(reason)),
            Err(error) => unrecorded(&error),
        }
    }

    /// The guard, for reports.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Genesis hash of the chain that it signs for.
    pub fn chain(&self) -> H256 {
        self.chain
    }

    fn decide(&self, request: &Request) -> Result<Done, Denied> {
        match request {
            Request::SignProposal(proposal) => self.sign_statement(&Statement::Proposal(proposal.clone())),
            Request::SignVote(vote) => self.sign_statement(&Statement::Vote(vote.clone())),
            Request::SignCheckpoint { header } => self.sign_statement(&statement::decode_checkpoint(header)?),
            Request::SignTls(transcript) => self.sign_tls(transcript),
            Request::SignSession(proof) => self.sign_session(proof),
            Request::SignCertificateRequest { info } => self.sign_certificate_request(info),
            Request::Prf { input } => self.derive(input),
            Request::Random { len } => self.random(*len),
            Request::Attest(role) => {
                let key = self.key(*role)?;
                let attestation = self.at_device(request.priority(), || self.device.attest(key))?;
                Ok(Done::plain(Response::Attestation(Box::new(attestation))))
            }
            Request::PublicKey(role) => Ok(Done::plain(Response::PublicKey(self.public_key(*role)?))),
            Request::Health => {
                let _place = self.place(request.priority())?;
                self.device.health()?;
                Ok(Done::plain(Response::Healthy(self.device.info())))
            }
            Request::Counter => Ok(Done::plain(Response::Counter(self.counter_report()))),
            Request::Marks => Ok(Done::plain(Response::Marks(self.guard.marks(&self.node_id())))),
            Request::Settle | Request::TellDue => Ok(Done::plain(Response::Settled)),
            Request::RotateDataKey { after } => {
                Ok(Done::plain(Response::DataKeys(self.rotate_data_key(*after, None)?)))
            }
            Request::RotateDataKeyTo { after, suite } => {
                Ok(Done::plain(Response::DataKeys(self.rotate_data_key(*after, Some(*suite))?)))
            }
            Request::ResealTrail => Ok(Done::plain(Response::Resealed(self.reseal_trail()?))),
            Request::DropDataKeys { below } => Ok(Done::plain(Response::DataKeys(self.drop_data_keys(*below)?))),
        }
    }

    fn sign_statement(&self, statement: &Statement) -> Result<Done, Denied> {
        let node = self.node_id();
        let (position, message) = statement::check(statement, &self.chain, &node, self.suite)?;
        let claim = Claim { key: node, position, digest: self.consensus.digest(&message) };
        let digest = Some(claim.digest);
        match self.sign_claim(&claim) {
            Ok((signature, outcome)) => Ok(Done { response: Response::Signature(signature), outcome, digest }),
            Err(refusal) => Err(Denied { refusal: Box::new(refusal), digest }),
        }
    }

    fn sign_claim(&self, claim: &Claim) -> Result<(SignatureBytes, Outcome), Refusal> {
        if let Grant::Stored(signature) = self.guard.claim(claim).map_err(refuse)? {
            return Ok((signature, Outcome::Stored));
        }
        let signature = SignatureBytes(self.sign_verified(&self.consensus, &claim.digest, Priority::Statement)?);
        self.guard.store(claim, signature).map_err(refuse)?;
        Ok((signature, Outcome::Signed))
    }

    fn sign_tls(&self, transcript: &TlsTranscript) -> Result<Done, Denied> {
        let key = self.tls.as_ref().ok_or(Refusal::NoKey(KeyRole::Tls))?;
        let z = sm2::identity_digest(sm2::TLS_ID, key.public.key());
        self.sign_free(key, sm2::message_digest(&z, &transcript.content()), Priority::Handshake)
    }

    fn sign_certificate_request(&self, info: &[u8]) -> Result<Done, Denied> {
        let key = self.tls.as_ref().ok_or(Refusal::NoKey(KeyRole::Tls))?;
        certificate_request::check(info, &key.bytes())?;
        self.sign_free(key, key.digest(info), Priority::Keeping)
    }

    fn sign_session(&self, proof: &SessionProof) -> Result<Done, Denied> {
        statement::check_origin(&proof.chain, &proof.node, &self.chain, &self.node_id())?;
        let digest = self.consensus.digest(&proof.sign_bytes());
        self.sign_free(&self.consensus, digest, Priority::Handshake)
    }

    /// Signs what no guard lane watches: the TLS key's statements, and openings of sessions.
    fn sign_free(&self, key: &SigningKey, digest: [u8; 32], priority: Priority) -> Result<Done, Denied> {
        let signature = SignatureBytes(self.sign_verified(key, &digest, priority)?);
        Ok(Done { response: Response::Signature(signature), outcome: Outcome::Signed, digest: Some(digest) })
    }

    fn sign_verified(&self, key: &SigningKey, digest: &[u8; 32], priority: Priority) -> Result<[u8; 64], DeviceError> {
        let answer = self.at_device(priority, || self.device.sign_unverified(&key.key, digest))?;
        answer.verified(&key.public, digest).ok_or_else(|| {
            let message = format!("{}: the device's signature does not verify in software", key.key);
            DeviceError::new("sign_digest", Cause::BadAnswer, message)
                .with_advice("`bixi hsm doctor` has the device sign a known digest and says what comes out instead")
        })
    }

    fn derive(&self, input: &[u8]) -> Result<Done, Denied> {
        let key = self.key(KeyRole::Kek)?;
        if !input.starts_with(PRF_DOMAIN) {
            return Err(Refusal::Foreign("PRF input without the vault's domain".to_owned()).into());
        }
        let mut derived = Derived([0; 32]);
        self.at_device(Priority::Keeping, || self.device.prf(key, input, &mut derived.0))?;
        Ok(Done::plain(Response::Derived(derived)))
    }

    fn random(&self, len: u32) -> Result<Done, Denied> {
        if len > RANDOM_BYTES_MAX {
            return Err(Refusal::Malformed(format!("{len} random bytes; at most {RANDOM_BYTES_MAX} are given")).into());
        }
        let mut drawn = Drawn(vec![0; len as usize]);
        self.at_device(Priority::Keeping, || self.device.random(&mut drawn.0))?;
        Ok(Done::plain(Response::Random(drawn)))
    }

    /// Calls the device within the bounds of patience. Between two attempts others have the place.
    fn at_device<T>(
        &self,
        priority: Priority,
        mut call: impl FnMut() -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        self.retry.run(|| {
            let _place = self.place(priority)?;
            call()
        })
    }

    fn place(&self, priority: Priority) -> Result<Place<'_>, DeviceError> {
        let patience = Duration::from_millis(self.retry.deadline_ms);
        self.gate.enter(priority, patience).ok_or_else(|| {
            let message = format!("{} calls are under way and none ended in time", self.gate.places());
            DeviceError::new("signing service", Cause::Busy, message)
        })
    }

    fn key(&self, role: KeyRole) -> Result<&KeyRef, Refusal> {
        let key = match role {
            KeyRole::Consensus => Some(&self.consensus.key),
            KeyRole::Tls => self.tls.as_ref().map(|key| &key.key),
            KeyRole::Kek => self.kek.as_ref(),
        };
        key.ok_or(Refusal::NoKey(role))
    }

    fn public_key(&self, role: KeyRole) -> Result<[u8; 64], Refusal> {
        let key = match role {
            KeyRole::Consensus => Some(&self.consensus),
            KeyRole::Tls => self.tls.as_ref(),
            KeyRole::Kek => None,
        };
        key.map(SigningKey::bytes).ok_or(Refusal::NoKey(role))
    }
}

impl Signer for SigningService {
    fn node_id(&self) -> NodeId {
        NodeId(self.consensus.bytes())
    }

    fn sign(&self, statement: &Statement) -> Result<SignatureBytes, SignError> {
        match self.handle(&statement::request(statement)) {
            Response::Signature(signature) => Ok(signature),
            Response::Refused(refusal) => Err(ClientError::Refused(refusal).into()),
            other => unreachable!("a statement is signed or refused, not answered with {other:?}"),
        }
    }
}

impl From<CountError> for Refusal {
    fn from(error: CountError) -> Self {
        match error {
            CountError::Guard(error) => refuse(error),
            CountError::Device(error) => error.into(),
        }
    }
}

fn refuse(error: GuardError) -> Refusal {
    match error {
        GuardError::Conflict { .. } | GuardError::TooManyKeys { .. } => Refusal::Conflict(error.to_string()),
        other => Refusal::Storage(other.to_string()),
    }
}
