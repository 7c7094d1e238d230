//! A token behind [`KeyDevice`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bixi_accel::sm2::PublicKey;
use bixi_hsm::device::{PRF_BYTES, Unverified, check_prf_input};
use bixi_hsm::pin::{self, PinMemory};
use bixi_hsm::pool::Epoch;
use bixi_hsm::profile::{ProfileChoice, VendorProfile as _};
use bixi_hsm::{
    Attestation, Cause, Custody, DeviceError, DeviceInfo, KeyDevice, KeyInfo, KeyKind, KeyRef, KeySpec, Trust,
};
use bixi_platform::credentials::PinSource;
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::{Slot, TokenInfo};
use zeroize::Zeroizing;

use crate::error::device_error;
use crate::module::{self, Module};
use crate::pool::{Failure, Pool, Token};
use crate::profile::Profile;
use crate::raw::Functions;
use crate::{diagnosis, keys, prf, probe};

/// Most handles kept; a node has a handful of keys.
const CACHE_MAX: usize = 1024;

/// Which token of a module. Absent fields match any; exactly one token must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSelector {
    /// Its label.
    pub label: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its slot.
    pub slot: Option<u64>,
}

impl TokenSelector {
    /// The token of that label.
    #[must_use]
    pub fn label(label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..Self::default() }
    }

    pub(crate) fn matches(&self, slot: Slot, info: &TokenInfo) -> bool {
        self.label.as_deref().is_none_or(|label| info.label() == label)
            && self.serial.as_deref().is_none_or(|serial| info.serial_number() == serial)
            && self.slot.is_none_or(|wanted| slot.id() == wanted)
    }
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.label.as_ref().map(|label| format!("label {label:?}")),
            self.serial.as_ref().map(|serial| format!("serial {serial:?}")),
            self.slot.map(|slot| format!("slot {slot}")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "any name" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// What a device is opened with.
#[derive(Debug)]
pub struct Params {
    /// The vendor's module.
    pub module_path: PathBuf,
    /// Which of its tokens.
    pub token: TokenSelector,
    /// Where the user PIN is read from, once, at opening.
    pub pin: PinSource,
    /// Where a wrong PIN is remembered; one file per token, in a directory that exists. A lock file is made beside it.
    pub pin_state_path: PathBuf,
    /// Which numbers the module understands.
    pub profile: ProfileChoice,
    /// Most sessions in use at once, at least 1.
    pub sessions_max: usize,
    /// Longest wait for a free session, or for the login of another process, milliseconds.
    pub timeout_ms: u64,
}

/// A logged-in token.
pub struct Pkcs11Device {
    pool: Pool,
    module_path: PathBuf,
    functions: Functions,
    profile: Profile,
    info: DeviceInfo,
    handles: Mutex<BTreeMap<(KeyRef, KeyKind), (Epoch, ObjectHandle)>>,
    public_keys: Mutex<BTreeMap<KeyRef, PublicKey>>,
}

impl fmt::Debug for Pkcs11Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Device").field("info", &self.info).field("profile", &self.profile.name).finish()
    }
}

impl Pkcs11Device {
    /// Load the module, find the token and log in.
    ///
    /// # Errors
    /// [`Cause::Setup`] for a module or profile that cannot be used, [`Cause::Absent`] for a missing token,
    /// [`Cause::WrongPin`] once, [`Cause::PinHeldBack`] for every later attempt with the same PIN, [`Cause::PinLocked`]
    /// when the device takes none: [`Cause::concerns_pin`] tells these three.
    pub fn open(params: Params) -> Result<Self, DeviceError> {
        let loaded = module::load(&params.module_path)?.pkcs11;
        let library = loaded.get_library_info().map_err(|error| device_error("read the module", &error))?;
        let profile = Profile::choose(&params.profile, &params.module_path, library.manufacturer_id())
            .map_err(|error| DeviceError::new("vendor profile", Cause::Setup, error.to_string()))?;
        Self::open_under(profile, params)
    }

    /// Log in under a profile that may be no checked one.
    fn open_under(profile: Profile, params: Params) -> Result<Self, DeviceError> {
        let Module { pkcs11: module, functions } = module::load(&params.module_path)?;
        let library = module.get_library_info().map_err(|error| device_error("read the module", &error))?;
        let (_, token) = module::find_slot(&module, &params.token)?;
        let info = device_info(&token, library.manufacturer_id(), &profile);
        // From now on this very token: another one of the same name is not given the PIN when this one is pulled.
        let selector = TokenSelector {
            label: Some(token.label().to_owned()),
            serial: Some(token.serial_number().to_owned()),
            slot: params.token.slot,
        };
        let pin = pin::read(&params.pin)?;
        let timeout = Duration::from_millis(params.timeout_ms);
        let memory = PinMemory::new(params.pin_state_path, timeout, "C_Login");
        let module_path = params.module_path;
        let token = Token { module, selector, pin, memory };
        let pool = Pool::new(token, params.sessions_max, timeout);
        let device = Self {
            pool,
            module_path,
            functions,
            profile,
            info,
            handles: Mutex::new(BTreeMap::new()),
            public_keys: Mutex::new(BTreeMap::new()),
        };
        device.health()?;
        Ok(device)
    }

    /// The profile in use.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn functions(&self) -> Functions {
        self.functions
    }

    /// The token's label.
    pub(crate) fn token(&self) -> &str {
        &self.info.token
    }

    /// Takes down a key that no search finds.
    pub(crate) fn know(&self, key: &KeyRef, epoch: Epoch, handle: ObjectHandle, public: PublicKey) {
        self.handles().insert((key.clone(), KeyKind::Sm2Sign), (epoch, handle));
        self.public_keys().insert(key.clone(), public);
    }

    /// The opposite.
    pub(crate) fn forget(&self, key: &KeyRef) {
        self.handles().remove(&(key.clone(), KeyKind::Sm2Sign));
        self.public_keys().remove(key);
    }

    fn handles(&self) -> MutexGuard<'_, BTreeMap<(KeyRef, KeyKind), (Epoch, ObjectHandle)>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn public_keys(&self) -> MutexGuard<'_, BTreeMap<KeyRef, PublicKey>> {
        self.public_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle of a key, from this epoch's cache or found anew.
    fn handle(&self, session: &Session, epoch: Epoch, key: &KeyRef, kind: KeyKind) -> Result<ObjectHandle, Failure> {
        let name = (key.clone(), kind);
        if let Some((found_in, handle)) = self.handles().get(&name)
            && *found_in == epoch
        {
            return Ok(*handle);
        }
        let handle = keys::find(session, &self.info.token, key, kind)?;
        let mut handles = self.handles();
        if handles.len() >= CACHE_MAX {
            handles.clear();
        }
        handles.insert(name, (epoch, handle));
        Ok(handle)
    }

    fn known_public_key(&self, session: &Session, epoch: Epoch, key: &KeyRef) -> Result<PublicKey, Failure> {
        if let Some(public) = self.public_keys().get(key) {
            return Ok(*public);
        }
        let private = self.handle(session, epoch, key, KeyKind::Sm2Sign)?;
        let public = keys::public_key(session, self.functions, private)?;
        let mut public_keys = self.public_keys();
        if public_keys.len() >= CACHE_MAX {
            public_keys.clear();
        }
        public_keys.insert(key.clone(), public);
        Ok(public)
    }

    /// The answer of the device, in the form it has.
    fn sign_once(
        &self,
        session: &Session,
        epoch: Epoch,
        key: &KeyRef,
        digest: &[u8; 32],
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let private = self.handle(session, epoch, key, KeyKind::Sm2Sign)?;
        self.functions.sign(session, self.profile.sm2.sign_digest, private, digest)
    }

    fn accept(
        &self,
        session: &Session,
        epoch: Epoch,
        key: &KeyRef,
        digest: &[u8; 32],
        answer: &[u8],
    ) -> Result<[u8; 64], Failure> {
        let public = self.known_public_key(session, epoch, key)?;
        diagnosis::accept(&public, digest, answer, self.profile.sm2.signature).map_err(|what| {
            tracing::error!(%key, %what, "a signature of the device was refused");
            DeviceError::new("C_Sign", Cause::BadAnswer, what).into()
        })
    }
}

fn device_info(token: &TokenInfo, manufacturer: &str, profile: &Profile) -> DeviceInfo {
    let words = [manufacturer, token.manufacturer_id(), token.model()];
    let firmware = token.firmware_version();
    DeviceInfo {
        backend: "pkcs11".into(),
        manufacturer: token.manufacturer_id().into(),
        model: token.model().into(),
        serial: token.serial_number().into(),
        token: token.label().into(),
        version: format!("{}.{}", firmware.major(), firmware.minor()),
        custody: Custody::judged(&words, profile.vouches_for(manufacturer)),
        monotonic_counter: false,
    }
}

impl KeyDevice for Pkcs11Device {
    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    fn profile_words(&self) -> Option<String> {
        let name = &self.profile.name;
        let selector =
            TokenSelector { serial: Some(self.info.serial.clone()), ..TokenSelector::label(&*self.info.token) };
        Some(match probe::hold_against(&self.module_path, &selector, &self.profile) {
            Ok((own, _)) if own.is_whole() => format!("the profile {name:?}, which the token's mechanisms fit"),
            Ok((own, better)) => {
                let lacks = own.missing.join(", ");
                let proposal = match better {
                    Some(better) => format!(
                        "{better:?} fits it, as `bixi hsm probe` shows: set hsm.profile = {better:?} in the node file"
                    ),
                    None => {
                        "no shipped profile fits it, as `bixi hsm probe` shows: hsm.profile has to name one of your own"
                            .to_owned()
                    }
                };
                format!("the profile {name:?}, which does not fit the token (it lacks {lacks}); {proposal}")
            }
            Err(error) => format!("the profile {name:?}, which could not be held against the token ({error})"),
        })
    }

    fn list(&self) -> Result<Vec<KeyInfo>, DeviceError> {
        self.pool
            .with("list the keys", |session, _| keys::list(session, self.functions, &self.info.token, &self.profile))
    }

    fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        spec.check()?;
        let made = self.pool.once("generate a key", |session, _| {
            keys::generate(session, self.functions, &self.info.token, &self.profile, spec)
        })?;
        if spec.kind == KeyKind::Sm2Sign {
            // Shows a wrong profile now, not at the first vote.
            self.sign_digest(&made.uri, &[0x5A; 32])?;
        }
        Ok(made.uri)
    }

    fn with_transient_key(&self, work: &mut dyn FnMut(&KeyRef)) -> Result<(), DeviceError> {
        self.work_with_transient_key(work)
    }

    fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
        let public =
            self.pool.with("read a public key", |session, epoch| self.known_public_key(session, epoch, key))?;
        Ok(public.to_bytes())
    }

    fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        self.pool.with("sign", |session, epoch| {
            let answer = self.sign_once(session, epoch, key, digest)?;
            self.accept(session, epoch, key, digest, &answer)
        })
    }

    fn sign_unverified(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<Unverified, DeviceError> {
        self.pool.with("sign", |session, epoch| {
            let answer = self.sign_once(session, epoch, key, digest)?;
            match diagnosis::read(&answer, self.profile.sm2.signature) {
                Some(signature) => Ok(Unverified::new(signature.0)),
                None => self.accept(session, epoch, key, digest, &answer).map(Unverified::new),
            }
        })
    }

    fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        check_prf_input("prf", input)?;
        let answer = self.pool.with("evaluate the PRF", |session, epoch| {
            let handle = self.handle(session, epoch, key, KeyKind::Kek)?;
            prf::evaluate(session, self.functions, handle, &self.profile.prf, input)
        })?;
        out.copy_from_slice(answer.as_slice());
        Ok(())
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
        if out.is_empty() {
            return Ok(());
        }
        let length = out.len();
        let bytes = self.pool.with("draw random bytes", |session, _| {
            let mut bytes = zeroize::Zeroizing::new(vec![0; length]);
            session.generate_random_slice(&mut bytes)?;
            Ok(bytes)
        })?;
        out.copy_from_slice(&bytes);
        Ok(())
    }

    fn attest(&self, key: &KeyRef) -> Result<Attestation, DeviceError> {
        self.pool.with("attest a key", |session, epoch| {
            let (kind, handle) = match self.handle(session, epoch, key, KeyKind::Sm2Sign) {
                Ok(handle) => (KeyKind::Sm2Sign, handle),
                Err(Failure::Ours(error)) if matches!(error.cause, Cause::KeyNotFound | Cause::WrongKeyUse) => {
                    (KeyKind::Kek, self.handle(session, epoch, key, KeyKind::Kek)?)
                }
                Err(failure) => return Err(failure),
            };
            let public_key = match kind {
                KeyKind::Sm2Sign => Some(self.known_public_key(session, epoch, key)?.to_bytes()),
                _ => None,
            };
            let described = keys::describe(session, self.functions, &self.info.token, handle, kind)?;
            let evidence = format!(
                "extractable={} sensitive={} local={}",
                described.extractable, described.sensitive, described.local
            );
            Ok(Attestation {
                key: described,
                public_key,
                device: self.info.clone(),
                trust: Trust::SelfReported,
                format: "pkcs11-attributes".into(),
                evidence: evidence.into_bytes(),
            })
        })
    }

    fn health(&self) -> Result<(), DeviceError> {
        self.pool.with("check the session", |session, _| match session.get_session_info()?.session_state() {
            SessionState::RwUser | SessionState::RoUser => Ok(()),
            state => {
                let message = format!("the session is {state:?}");
                Err(Failure::Lost(DeviceError::new("C_GetSessionInfo", Cause::SessionLost, message)))
            }
        })
    }
}

#[cfg(test)]
mod tests;
