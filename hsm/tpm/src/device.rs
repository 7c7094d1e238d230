//! A store of a TPM behind [`KeyDevice`].
//!
//! `prf` is HMAC-SHA-256 in the TPM over a domain and the input: no TPM here is known to have HMAC-SM3 or SM4. In suite `sm`
//! it stands where a key encryption key is turned into the key that wraps data keys; what is signed, hashed into the ledger or
//! sealed on disk stays SM2, SM3 and SM4. Where a rule asks for SM algorithms there too, use a PKCS#11 or SDF device.

mod counting;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bixi_accel::sm2::{self, PublicKey, Signature};
use bixi_hsm::device::{Count, PRF_BYTES, check_prf_input};
use bixi_hsm::pool::{Failure, Pool};
use bixi_hsm::{
    Attestation, Cause, Custody, DeviceError, DeviceInfo, KeyDevice, KeyInfo, KeyKind, KeyRef, KeySpec, Trust,
};
use bixi_platform::credentials::PinSource;
use bixi_platform::secret::Secret;

use crate::ceremony::check_pin;
use crate::connection::Connection;
use crate::facts::{self, Facts};
use crate::line::Address;
use crate::login::Tpm;
use crate::public::{Public, Template, name_of};
use crate::store::{KEYS_MAX, KeyRecord, Store};
use crate::{attestation, key};

/// Frozen: data at rest hangs on it.
const PRF_DOMAIN: &[u8] = b"BIXI-TPM-PRF-V1";
/// A TPM does one thing at a time.
const SESSIONS_MAX: usize = 1;
/// Most keys kept in memory; a node has a handful.
const CACHE_MAX: usize = KEYS_MAX;

/// What a store is opened with.
#[derive(Debug)]
pub struct Params {
    /// The TPM.
    pub address: Address,
    /// Where its wrapped keys lie.
    pub directory: PathBuf,
    /// Where the PIN is read from, once, at opening.
    pub pin: PinSource,
    /// Where a wrong PIN is remembered; one file per store, in a directory that exists. A lock file is made beside it.
    pub pin_state_path: PathBuf,
    /// Longest wait for the TPM in one call, milliseconds.
    pub timeout_ms: u64,
}

/// A store whose PIN was right.
pub struct TpmDevice {
    pool: Pool<Tpm>,
    info: DeviceInfo,
    known: Mutex<BTreeMap<KeyRef, Arc<Known>>>,
    /// Index of the counter, if there is one.
    counter: Mutex<Option<u32>>,
}

/// A key that was asked for before.
struct Known {
    kind: KeyKind,
    record: KeyRecord,
    public: Option<PublicKey>,
}

impl fmt::Debug for TpmDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmDevice").field("info", &self.info).finish_non_exhaustive()
    }
}

impl TpmDevice {
    /// Reads the store, finds its TPM and tries the PIN, once.
    ///
    /// # Errors
    /// [`Cause::Setup`] for a store that cannot be used or belongs to another TPM, [`Cause::Absent`] for a TPM that does not
    /// answer, [`Cause::WrongPin`] once and [`Cause::PinHeldBack`] for every later attempt with the same PIN:
    /// [`Cause::concerns_pin`] tells these two. [`Cause::Busy`] while the TPM takes no PIN at all: that ends by itself.
    pub fn open(params: Params) -> Result<Self, DeviceError> {
        let store = Store::open(&params.directory)?;
        let facts = facts::facts(&params.address, params.timeout_ms)?;
        let info = device_info(&params.address, &store, facts);
        let pin = bixi_hsm::pin::read(&params.pin)?;
        check_pin(&pin)?;
        let timeout = Duration::from_millis(params.timeout_ms);
        let tpm = Tpm::new(params.address, timeout, store, pin, params.pin_state_path);
        let counter = Mutex::new(tpm.store.record.counter);
        let device = Self { pool: Pool::new(tpm, SESSIONS_MAX, timeout), info, known: Mutex::default(), counter };
        device.health()?;
        Ok(device)
    }

    /// The name of the key that signs this TPM's statements, as the ceremony printed it.
    pub fn attestation_key(&self) -> Vec<u8> {
        name_of(&self.store().record.attestation.public)
    }

    /// Evidence about a key that answers `challenge` (at most 32 bytes): see [`attestation::verify`].
    ///
    /// # Errors
    /// As the TPM says; [`Cause::Rejected`] for a longer challenge.
    pub fn certify(&self, key: &KeyRef, challenge: &[u8]) -> Result<Vec<u8>, DeviceError> {
        if challenge.len() > 32 {
            let message = format!("a challenge of {} bytes; at most 32 are allowed", challenge.len());
            return Err(DeviceError::new("TPM2_Certify", Cause::Rejected, message));
        }
        let known = self.known("attest", key, None)?;
        let attestation_key = &self.store().record.attestation;
        let wrapped = &known.record.key;
        let (statement, signature) =
            self.with(|connection, pin| key::certify(connection, wrapped, pin, attestation_key, challenge))?;
        let evidence = attestation::evidence(&statement, &signature, &attestation_key.public, &wrapped.public);
        match attestation::verify(&evidence, challenge, &self.attestation_key()) {
            Ok(_) => Ok(evidence),
            Err(error) => Err(DeviceError::new("TPM2_Certify", Cause::BadAnswer, error.to_string())),
        }
    }

    fn store(&self) -> &Store {
        &self.pool.source().store
    }

    /// One piece of work on a connection of the pool; whatever it loads is gone afterwards, or stays the kernel's to clean up.
    fn with<T>(&self, work: impl Fn(&mut Connection, &[u8]) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        self.pool.with(|connection, _| self.attempt(connection, &work))
    }

    /// The same, whatever happens on the way: for what changes the TPM.
    fn once<T>(&self, work: impl Fn(&mut Connection, &[u8]) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        self.pool.once(|connection, _| self.attempt(connection, &work))
    }

    fn attempt<T>(
        &self,
        connection: &mut Connection,
        work: &impl Fn(&mut Connection, &[u8]) -> Result<T, DeviceError>,
    ) -> Result<T, Failure> {
        let tpm = self.pool.source();
        let done = connection.begin().and_then(|()| work(connection, tpm.pin.as_slice()));
        connection.rest();
        done.map_err(|error| Failure::Device(tpm.remember(error)))
    }

    fn cache(&self) -> MutexGuard<'_, BTreeMap<KeyRef, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a reference, for the use it was made for.
    fn known(&self, function: &'static str, key: &KeyRef, kind: Option<KeyKind>) -> Result<Arc<Known>, DeviceError> {
        let cached = self.cache().get(key).cloned();
        let known = match cached {
            Some(known) => known,
            None => {
                let (kind, record) = self.store().find(function, key)?;
                let known = Arc::new(Known { kind, public: public_key(&record)?, record });
                let mut cache = self.cache();
                if cache.len() >= CACHE_MAX {
                    cache.clear();
                }
                cache.insert(key.clone(), Arc::clone(&known));
                known
            }
        };
        match kind {
            Some(wanted) if wanted != known.kind => {
                let message = format!("{key} is a {}", known.kind);
                Err(DeviceError::new(function, Cause::WrongKeyUse, message))
            }
            _ => Ok(known),
        }
    }
}

/// The public key of a signing key, which must be a point of the curve.
fn public_key(record: &KeyRecord) -> Result<Option<PublicKey>, DeviceError> {
    match Public::decode(&record.key.public) {
        Ok(Public::Ecc { point, .. }) => PublicKey::from_bytes(&point.xy()).map(Some).map_err(|_| {
            let message = format!("the public key of {:?} is not a point of the curve", record.label);
            DeviceError::new("key store", Cause::BadAnswer, message)
        }),
        _ => Ok(None),
    }
}

/// Signs and verifies: no signature leaves that is wrong.
fn sign(connection: &mut Connection, pin: &[u8], known: &Known, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
    let signature = key::sign(connection, &known.record.key, pin, digest)?;
    match &known.public {
        Some(public) if sm2::verify_digest(public, digest, &Signature(signature)) => Ok(signature),
        _ => {
            tracing::error!(label = known.record.label, "a signature of the TPM was refused");
            Err(DeviceError::new("TPM2_Sign", Cause::BadAnswer, "the TPM's signature does not verify"))
        }
    }
}

fn device_info(address: &Address, store: &Store, facts: Facts) -> DeviceInfo {
    let software = address.is_socket() || facts.model.starts_with("SW");
    let parent = name_of(&store.record.parent_public);
    DeviceInfo {
        backend: "tpm".into(),
        manufacturer: facts.manufacturer,
        model: facts.model,
        // A TPM has no serial number; the parent's name is the seed's own.
        serial: parent[2..10].iter().map(|byte| format!("{byte:02x}")).collect(),
        token: store.record.label.clone(),
        version: facts.firmware,
        custody: if software { Custody::OtherProcess } else { Custody::Hardware },
        monotonic_counter: store.record.counter.is_some(),
    }
}

impl KeyDevice for TpmDevice {
    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    fn list(&self) -> Result<Vec<KeyInfo>, DeviceError> {
        self.store().keys()?.iter().map(|(kind, record)| record.describe(&self.info.token, *kind)).collect()
    }

    fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        spec.check()?;
        let _turn = self.store().lock(self.pool.source().timeout)?;
        let keys = self.store().keys()?;
        if keys.iter().any(|(_, record)| record.label == spec.label) {
            return Err(DeviceError::new("generate", Cause::KeyExists, format!("a key named {:?} exists", spec.label)));
        }
        if keys.len() >= KEYS_MAX {
            return Err(DeviceError::new("generate", Cause::Rejected, format!("the store has {KEYS_MAX} keys")));
        }
        let made = self.with(|connection, pin| {
            let template = Template::key(spec.kind, facts::algorithms(connection)?).ok_or_else(|| {
                let message = format!("no {} is known to this backend", spec.kind);
                DeviceError::new("generate", Cause::Unsupported, message)
            })?;
            let record = KeyRecord { label: spec.label.clone(), key: key::create(connection, &template, pin)? };
            let known = Known { kind: spec.kind, public: public_key(&record)?, record };
            if spec.kind == KeyKind::Sm2Sign {
                // Shows a TPM that signs otherwise now, not at the first vote.
                sign(connection, pin, &known, &[0x5A; 32])?;
            }
            Ok(known)
        })?;
        let info = made.record.describe(&self.info.token, spec.kind)?;
        self.store().add(&made.record)?;
        Ok(info.uri)
    }

    fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
        let known = self.known("public_key", key, Some(KeyKind::Sm2Sign))?;
        // Loading shows that the TPM has the private half.
        self.with(|connection, _| connection.load(&known.record.key).map(drop))?;
        Ok(known.public.as_ref().expect("a signing key has one").to_bytes())
    }

    fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        let known = self.known("sign_digest", key, Some(KeyKind::Sm2Sign))?;
        self.with(|connection, pin| sign(connection, pin, &known, digest))
    }

    fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        check_prf_input("prf", input)?;
        let known = self.known("prf", key, Some(KeyKind::Kek))?;
        let labelled = [PRF_DOMAIN, input].concat();
        let answer = self.with(|connection, pin| key::hmac(connection, &known.record.key, pin, &labelled))?;
        out.copy_from_slice(answer.as_slice());
        Ok(())
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
        if out.is_empty() {
            return Ok(());
        }
        let length = out.len();
        let login = &self.store().record.login;
        let bytes = self.with(|connection, _| {
            // The session is tried on a key of ours first: see `Connection::run_under_parent`.
            connection.load(login)?;
            let mut bytes = Secret::zeroed(length);
            key::random(connection, bytes.as_mut_slice())?;
            Ok(bytes)
        })?;
        out.copy_from_slice(bytes.as_slice());
        Ok(())
    }

    fn attest(&self, key: &KeyRef) -> Result<Attestation, DeviceError> {
        let known = self.known("attest", key, None)?;
        let described = known.record.describe(&self.info.token, known.kind)?;
        let evidence = self.certify(key, &attestation::challenge_of(&described.uri))?;
        Ok(Attestation {
            key: described,
            public_key: known.public.as_ref().map(PublicKey::to_bytes),
            device: self.info.clone(),
            // Proven to whoever knows the attestation key; nothing here leads from it to the TPM's maker.
            trust: Trust::SelfReported,
            format: attestation::FORMAT.into(),
            evidence,
        })
    }

    fn health(&self) -> Result<(), DeviceError> {
        self.with(|connection, _| {
            // Ends the login: the next one looks again, before a PIN is sent.
            let ended = |error| DeviceError { cause: Cause::SessionLost, ..error };
            facts::lockout(connection)?.refuse_when_locked().map_err(ended)
        })
    }

    fn counter(&self) -> Result<Option<Count>, DeviceError> {
        let Some(index) = self.counter_index() else { return Ok(None) };
        TpmDevice::counter(self).map(|value| Some(self.count(index, value)))
    }

    fn advance_counter(&self) -> Result<Count, DeviceError> {
        let index = self.index()?;
        TpmDevice::advance_counter(self).map(|value| self.count(index, value))
    }

    fn renew_counter(&self, owner_authorization: &Secret) -> Result<(), DeviceError> {
        self.renew(owner_authorization)
    }
}
