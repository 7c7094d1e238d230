//! A device behind [`KeyDevice`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bixi_accel::sm2::{self, PublicKey, Signature};
use bixi_hsm::device::{PRF_BYTES, Unverified, check_prf_input};
use bixi_hsm::pin::{self, PinMemory};
use bixi_hsm::pool::{Failure, Pool};
use bixi_hsm::profile::{ProfileChoice, VendorProfile as _};
use bixi_hsm::{
    Attestation, Cause, Custody, DeviceError, DeviceInfo, KeyDevice, KeyInfo, KeyKind, KeyRef, KeySpec, Trust,
};
use bixi_platform::credentials::PinSource;
use zeroize::Zeroizing;

use crate::abi::{RawDeviceInfo, right_aligned};
use crate::catalogue::Catalogue;
use crate::error::right_lost;
use crate::ffi::{self, Device, RawSession, Usage};
use crate::prf::Purpose;
use crate::profile::Profile;
use crate::session::{Library, Session};

mod generate;

/// Bytes asked for in one call; some devices refuse more.
const RANDOM_BYTES_MAX: usize = 1024;

/// What a device is opened with.
#[derive(Debug)]
pub struct Params {
    /// The vendor's library.
    pub library_path: PathBuf,
    /// The name of the device in references and reports; SDF has none of its own.
    pub token: String,
    /// Where the password of the keys' access rights is read from, once, at opening.
    pub password: PinSource,
    /// Where a wrong password is remembered; one file per device, in a directory that exists.
    pub password_state_path: PathBuf,
    /// Records of the device's keys: names of indices, key encryption keys. Made if it is not there.
    pub records_path: PathBuf,
    /// Which numbers the library understands.
    pub profile: ProfileChoice,
    /// Indices at which signing pairs are looked for, and made; within 1 to 4096.
    pub indices: RangeInclusive<u32>,
    /// Most sessions in use at once, at least 1.
    pub sessions_max: usize,
    /// Longest wait for a free session, or for the password's turn, milliseconds.
    pub timeout_ms: u64,
}

/// An open SDF device.
pub struct SdfDevice {
    pool: Pool<Library>,
    info: DeviceInfo,
    catalogue: RwLock<Catalogue>,
    /// Public keys of signing pairs, as long as this device is open.
    public_keys: Mutex<BTreeMap<u32, PublicKey>>,
    generating: Mutex<()>,
}

impl fmt::Debug for SdfDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = &self.pool.source().profile().name;
        f.debug_struct("SdfDevice").field("info", &self.info).field("profile", profile).finish()
    }
}

impl SdfDevice {
    /// Load the library, open the device, and try the password on the first key that has a name.
    ///
    /// # Errors
    /// [`Cause::Setup`] for a library, profile or record that cannot be used, [`Cause::Absent`] for a missing device,
    /// [`Cause::WrongPin`] once, [`Cause::PinHeldBack`] for every later attempt with the same password.
    pub fn open(params: Params) -> Result<Self, DeviceError> {
        let api = ffi::load(&params.library_path)?;
        let catalogue = Catalogue::read(&params.records_path, &params.token, params.indices)?;
        let told = {
            let device = Arc::new(Device::open(api)?);
            RawSession::open(device)?.info()?
        };
        let profile = Profile::choose(&params.profile, &params.library_path, &text(&told.issuer))
            .map_err(|error| DeviceError::new("vendor profile", Cause::Setup, error.to_string()))?;
        let info = device_info(&told, &params.token, &profile);
        let password = pin::read(&params.password)?;
        let timeout = Duration::from_millis(params.timeout_ms);
        let memory = PinMemory::new(params.password_state_path, timeout, "SDF_GetPrivateKeyAccessRight");
        let library = Library::new(api, password, memory, profile);
        let device = Self {
            pool: Pool::new(library, params.sessions_max, timeout),
            info,
            catalogue: RwLock::new(catalogue),
            public_keys: Mutex::new(BTreeMap::new()),
            generating: Mutex::new(()),
        };
        device.try_password()?;
        Ok(device)
    }

    /// A wrong password shows itself at the start, not at the first vote. Only a key that is there is tried: a device's answer to
    /// a password for another may look like that to a wrong one.
    fn try_password(&self) -> Result<(), DeviceError> {
        let named: Vec<_> = {
            let catalogue = self.catalogue();
            let pairs = catalogue.pairs.iter().map(|pair| (pair.index, Usage::Sign));
            pairs.chain(catalogue.keks.iter().map(|file| (file.kek.index, Usage::Encrypt))).collect()
        };
        self.pool.with(|session, _| {
            for (index, usage) in &named {
                if session.public_key(self.library(), *usage, *index)?.is_some() {
                    return session.unlock(self.library(), *index);
                }
                tracing::warn!(index, ?usage, "a key that has a name is not in the device");
            }
            session.raw().info().map(drop).map_err(Failure::Device)
        })
    }

    /// The profile in use.
    pub fn profile(&self) -> &Profile {
        self.library().profile()
    }

    fn library(&self) -> &Library {
        self.pool.source()
    }

    fn catalogue(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn public_keys(&self) -> MutexGuard<'_, BTreeMap<u32, PublicKey>> {
        self.public_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The public key of the signing pair at `index`, as it was asked for once.
    fn known_public_key(&self, session: &mut Session, index: u32) -> Result<PublicKey, Failure> {
        let known = self.public_keys().get(&index).copied();
        known.map_or_else(|| self.exported_public_key(session, index), Ok)
    }

    /// The public key of the signing pair at `index`, from the device, and the one its record pins.
    fn exported_public_key(&self, session: &mut Session, index: u32) -> Result<PublicKey, Failure> {
        let Some(public) = session.public_key(self.library(), Usage::Sign, index)? else {
            let message = format!("index {index} of the device holds no signing pair");
            return Err(DeviceError::new("SDF_ExportSignPublicKey_ECC", Cause::KeyNotFound, message)
                .with_advice(format!("make it with {}, or correct the index in keys.toml", self.profile().tool))
                .into());
        };
        let catalogue = self.catalogue();
        let pinned = catalogue.pair(index).map_or(Ok(None), |pair| pair.pinned()).expect("checked when it was read");
        if pinned.is_some_and(|pinned| pinned != public.to_bytes()) {
            let message = format!("index {index} of the device holds another key pair than keys.toml says");
            return Err(DeviceError::new("SDF_ExportSignPublicKey_ECC", Cause::BadAnswer, message)
                .with_advice("the pair was made again, or this is another device: do not use it for the old key")
                .into());
        }
        drop(catalogue);
        self.public_keys().insert(index, public);
        Ok(public)
    }

    fn sign_at(&self, session: &mut Session, index: u32, digest: &[u8; 32]) -> Result<[u8; 64], Failure> {
        let (public, signature) = self.answer_at(session, index, digest)?;
        match sm2::verify_digest(&public, digest, &Signature(signature)) {
            true => Ok(signature),
            false => Err(refused(index, "the signature does not verify: another key, another digest, or a defect")),
        }
    }

    /// The device's answer, not verified, and the key it should be by.
    fn answer_at(
        &self,
        session: &mut Session,
        index: u32,
        digest: &[u8; 32],
    ) -> Result<(PublicKey, [u8; 64]), Failure> {
        // No password for a pair that is gone, nor over a session that is dead.
        let public = match session.has_right(index) {
            true => self.known_public_key(session, index)?,
            false => self.exported_public_key(session, index)?,
        };
        session.unlock(self.library(), index)?;
        let signed = session.raw().sign(index, digest);
        let raw = signed.map_err(|error| Failure::Device(right_lost(error)))?;
        let (Some(r), Some(s)) = (right_aligned(&raw.r), right_aligned(&raw.s)) else {
            return Err(refused(index, "r or s is not right-aligned in its 64 bytes, or longer than 256 bits"));
        };
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(&s);
        Ok((public, signature))
    }

    /// What is known of the signing pair at `index`; what the device does not say is taken as the worst, but that SDF has no
    /// call that gives out an internal private key.
    fn describe_pair(&self, index: u32) -> Result<KeyInfo, DeviceError> {
        let catalogue = self.catalogue();
        let uri = catalogue.pair_uri(index)?;
        let local = catalogue.pair(index).is_some_and(|pair| pair.generated);
        let label = uri.uri().object.clone().expect("the catalogue names it");
        Ok(KeyInfo { uri, label, kind: KeyKind::Sm2Sign, extractable: false, sensitive: true, local })
    }

    fn describe_keks(&self) -> Result<Vec<KeyInfo>, DeviceError> {
        let catalogue = self.catalogue();
        let mut infos = Vec::new();
        for file in &catalogue.keks {
            let (uri, label) = (catalogue.kek_uri(file)?, file.kek.label.clone());
            infos.push(KeyInfo { uri, label, kind: KeyKind::Kek, extractable: false, sensitive: true, local: true });
        }
        Ok(infos)
    }

    /// Whether the device has the pair; one that it answers for wrongly is left out of lists and told.
    fn has_pair(&self, session: &mut Session, index: u32) -> Result<bool, Failure> {
        match self.known_public_key(session, index) {
            Ok(_) => Ok(true),
            Err(Failure::Ours(error)) => {
                if error.cause != Cause::KeyNotFound || self.catalogue().pair(index).is_some() {
                    tracing::warn!(index, %error, "a key pair is left out of the list");
                }
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }
}

fn device_info(told: &RawDeviceInfo, token: &str, profile: &Profile) -> DeviceInfo {
    let (manufacturer, model) = (text(&told.issuer), text(&told.name));
    let custody = Custody::judged(&[&manufacturer, &model], profile.vouches_for(&manufacturer));
    DeviceInfo {
        backend: "sdf".into(),
        manufacturer,
        model,
        serial: text(&told.serial),
        token: token.to_owned(),
        version: format!("0x{:08X}, standard 0x{:08X}", told.device_version, told.standard_version),
        custody,
        monotonic_counter: false,
    }
}

/// A padded text of the device's, without what a terminal would mangle.
fn text(padded: &[u8]) -> String {
    let end = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
    String::from_utf8_lossy(&padded[..end]).trim().chars().filter(|c| !c.is_control()).collect()
}

/// A signature that is none.
fn refused(index: u32, what: &str) -> Failure {
    tracing::error!(index, what, "a signature of the device was refused");
    Failure::Ours(DeviceError::new("SDF_InternalSign_ECC", Cause::BadAnswer, what))
}

impl KeyDevice for SdfDevice {
    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    fn list(&self) -> Result<Vec<KeyInfo>, DeviceError> {
        let indices = self.catalogue().all_indices();
        let present = self.pool.with(|session, _| {
            let mut present = Vec::new();
            for index in &indices {
                if self.has_pair(session, *index)? {
                    present.push(*index);
                }
            }
            Ok(present)
        })?;
        let mut infos = present.into_iter().map(|index| self.describe_pair(index)).collect::<Result<Vec<_>, _>>()?;
        infos.extend(self.describe_keks()?);
        Ok(infos)
    }

    fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        self.generate_key(spec)
    }

    fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
        let index = self.catalogue().find_pair(key)?;
        self.pool.with(|session, _| Ok(self.known_public_key(session, index)?.to_bytes()))
    }

    fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        let index = self.catalogue().find_pair(key)?;
        self.pool.with(|session, _| self.sign_at(session, index, digest))
    }

    fn sign_unverified(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<Unverified, DeviceError> {
        let index = self.catalogue().find_pair(key)?;
        let (_, signature) = self.pool.with(|session, _| self.answer_at(session, index, digest))?;
        Ok(Unverified::new(signature))
    }

    fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        check_prf_input("prf", input)?;
        let file = self.catalogue().find_kek(key)?;
        let answer = self.pool.with(|session, _| {
            let key = session.kek(self.library(), &file)?;
            session.prf(self.library(), key, Purpose::Answer, input)
        })?;
        out.copy_from_slice(answer.as_slice());
        Ok(())
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
        let length = out.len();
        let drawn = self.pool.with(|session, _| {
            let mut drawn = Zeroizing::new(vec![0; length]);
            let mut pieces = drawn.chunks_mut(RANDOM_BYTES_MAX);
            pieces.try_for_each(|piece| session.raw().random(piece)).map_err(Failure::Device)?;
            Ok(drawn)
        })?;
        out.copy_from_slice(&drawn);
        Ok(())
    }

    fn attest(&self, key: &KeyRef) -> Result<Attestation, DeviceError> {
        let pair = self.catalogue().find_pair(key);
        let (described, public_key) = match pair {
            Ok(index) => (self.describe_pair(index)?, Some(self.public_key(key)?)),
            Err(error) if matches!(error.cause, Cause::KeyNotFound | Cause::WrongKeyUse) => {
                let id = self.catalogue().find_kek(key)?.kek.id;
                let infos = self.describe_keks()?;
                let found = infos.into_iter().find(|info| info.uri.uri().id.as_deref() == Some(&id[..]));
                (found.expect("found a moment ago"), None)
            }
            Err(error) => return Err(error),
        };
        let (told, exchanges) = self.pool.with(|session, _| {
            let told = session.raw().info().map_err(Failure::Device)?;
            Ok((told, session.raw().exchanges_envelopes()))
        })?;
        let evidence = format!(
            "issuer={:?} name={:?} serial={:?} version=0x{:08X} standard=0x{:08X} envelope_exchange={exchanges}",
            text(&told.issuer),
            text(&told.name),
            text(&told.serial),
            told.device_version,
            told.standard_version,
        );
        Ok(Attestation {
            key: described,
            public_key,
            device: self.info.clone(),
            trust: Trust::SelfReported,
            format: "sdf-device-info".into(),
            evidence: evidence.into_bytes(),
        })
    }

    fn health(&self) -> Result<(), DeviceError> {
        self.pool.with(|session, _| session.raw().info().map(drop).map_err(Failure::Device))
    }
}
