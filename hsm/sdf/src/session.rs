//! A session with what it has been given: access rights of key indices, and imported keys. Both end with it.
//!
//! SDF has no login: the password opens the private keys of one index for one session. So a right is taken when a session
//! first needs it, once, and kept as long as the session lives in its pool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bixi_accel::sm2::{PublicKey, encryption};
use bixi_hsm::pin::PinMemory;
use bixi_hsm::pool::{Failure, Source};
use bixi_hsm::random::System;
use bixi_hsm::{Cause, DeviceError};
use bixi_platform::secret::Secret;

use crate::abi::{RawPublicKey, SM2_BITS, right_aligned};
use crate::error::device_is_lost;
use crate::ffi::{Api, CipherBlob, Device, Key, RawSession, Usage};
use crate::kek::{ID_BYTES, KekFile};
use crate::prf::{self, Purpose};
use crate::profile::{KeyPairCall, Profile};

/// A library, the password of its keys and its vendor's habits.
pub(crate) struct Library {
    api: &'static Api,
    password: Secret,
    memory: PinMemory,
    profile: Profile,
    /// The open device, while the pool has it.
    device: Mutex<Weak<Device>>,
    /// What the profile takes for SM4 was seen to be SM4.
    sm4_is_proven: AtomicBool,
}

impl Library {
    pub(crate) fn new(api: &'static Api, password: Secret, memory: PinMemory, profile: Profile) -> Self {
        Self { api, password, memory, profile, device: Mutex::default(), sm4_is_proven: AtomicBool::new(false) }
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    fn cipher_bytes_max(&self) -> usize {
        match self.profile.cipher_bytes {
            // "As long as it must be": an SM4 key, and room for libraries that pad it.
            1 => 64,
            declared => declared as usize,
        }
    }
}

impl Source for Library {
    /// The open device. Sessions hold it too, so it is closed after the last of them.
    type Login = Arc<Device>;
    type Session = Session;

    /// A second opening of a device is an error of the library's.
    const EXCLUSIVE: bool = true;

    fn log_in(&self) -> Result<Arc<Device>, DeviceError> {
        let device = Arc::new(Device::open(self.api)?);
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&device);
        Ok(device)
    }

    /// A session that opens on a device that was lost meanwhile shows it here, so later failures in it are its own.
    fn open(&self) -> Result<Session, DeviceError> {
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let lost = || DeviceError::new("SDF_OpenSession", Cause::SessionLost, "the device was closed a moment ago");
        let mut raw = RawSession::open(device.ok_or_else(lost)?)?;
        raw.info()?;
        Ok(Session::new(raw))
    }

    fn ends_login(&self, error: &DeviceError) -> bool {
        device_is_lost(error)
    }
}

/// A session, its rights and its keys.
pub(crate) struct Session {
    raw: RawSession,
    rights: BTreeSet<u32>,
    keks: BTreeMap<[u8; ID_BYTES], Key>,
}

impl Session {
    pub(crate) fn new(raw: RawSession) -> Self {
        Self { raw, rights: BTreeSet::new(), keks: BTreeMap::new() }
    }

    pub(crate) fn raw(&mut self) -> &mut RawSession {
        &mut self.raw
    }

    /// Whether the right to the private keys of `index` was taken.
    pub(crate) fn has_right(&self, index: u32) -> bool {
        self.rights.contains(&index)
    }

    /// The right to use the private keys of `index`.
    pub(crate) fn unlock(&mut self, library: &Library, index: u32) -> Result<(), Failure> {
        if self.has_right(index) {
            return Ok(());
        }
        let attempt = library.memory.begin(&library.password).map_err(Failure::Device)?;
        attempt.judged(self.raw.take_right(index, &library.password)).map_err(Failure::Device)?;
        self.rights.insert(index);
        Ok(())
    }

    /// The public key at an index; `None` when there is none.
    pub(crate) fn public_key(
        &mut self,
        library: &Library,
        usage: Usage,
        index: u32,
    ) -> Result<Option<PublicKey>, Failure> {
        let error = match self.raw.export(usage, index) {
            Ok(raw) => return point(&raw).map_err(Failure::from),
            Err(error) => error,
        };
        let listed =
            error.code.is_some_and(|code| library.profile.no_key.iter().any(|known| u64::from(*known) == code));
        if listed || error.cause == Cause::KeyNotFound {
            return Ok(None);
        }
        if error.cause != Cause::Fault {
            return Err(Failure::Device(error));
        }
        let advice = format!(
            "if the library answers so for an index without a key, as {index} may be, list the code as no_key in a profile"
        );
        Err(Failure::Device(error.with_advice(advice)))
    }

    /// Makes a key pair at an index by the vendor's call.
    pub(crate) fn make_pair(&mut self, library: &Library, usage: Usage, index: u32) -> Result<(), Failure> {
        let made = match library.profile.key_pair {
            KeyPairCall::None => Ok(false),
            KeyPairCall::Flagged => self.raw.create_pair(usage, index),
            KeyPairCall::Numbered => self.raw.generate_pair(usage, index),
        };
        let tool = &library.profile.tool;
        let advice = format!("make the pair with {tool}, then name its index in keys.toml (label and index)");
        match made {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message =
                    "SDF has no call that makes a key pair at an index, and this library offers none of its own";
                Err(DeviceError::new("generate", Cause::Unsupported, message).with_advice(advice).into())
            }
            Err(error) if error.cause == Cause::Unsupported => Err(Failure::Ours(error.with_advice(advice))),
            Err(error) => Err(Failure::Device(error)),
        }
    }

    /// PRF(key, input) under a key of this session.
    pub(crate) fn prf(
        &mut self,
        library: &Library,
        key: Key,
        purpose: Purpose,
        input: &[u8],
    ) -> Result<Secret, Failure> {
        let algorithm = library.profile.algorithms.sm4_ecb;
        prf::evaluate(|blocks| self.raw.encrypt(key, algorithm, blocks), purpose, input).map_err(Failure::Device)
    }

    /// Makes a session key under the encryption pair of `index`.
    pub(crate) fn make_kek(&mut self, library: &Library, index: u32) -> Result<(CipherBlob, Key), Failure> {
        self.raw.generate_key(index, library.cipher_bytes_max()).map_err(Failure::Device)
    }

    /// The imported key of a file, which answered as the key that was made.
    pub(crate) fn kek(&mut self, library: &Library, file: &KekFile) -> Result<Key, Failure> {
        if let Some(key) = self.keks.get(&file.kek.id) {
            return Ok(*key);
        }
        // A device's answer to a password for a key that is not there may look like that to a wrong one.
        let Some(public) = self.public_key(library, Usage::Encrypt, file.kek.index)? else {
            return Err(file.without_pair().into());
        };
        self.unlock(library, file.kek.index)?;
        let key = match self.raw.import_key(file.kek.index, &file.kek.blob) {
            Ok(key) => key,
            Err(error) => return Err(Failure::Device(file.not_imported(error))),
        };
        let answer = self.prf(library, key, Purpose::Binding, file.kek.binding_input());
        let verified = answer.and_then(|answer| Ok(file.verify(&answer)?));
        let proven = verified.and_then(|()| self.prove_sm4(library, file.kek.index, &public));
        match proven {
            Ok(()) => {
                self.keks.insert(file.kek.id, key);
                Ok(key)
            }
            Err(failure) => {
                self.raw.destroy(key);
                Err(failure)
            }
        }
    }
}

impl Session {
    /// Shows, once for each opening of the library, that what the profile takes for SM4 is SM4: the key of the standard's example, put
    /// in an envelope here, has to encrypt the example's block. Under another cipher the PRF would answer, too, and what it
    /// sealed would be lost with this library: there are some that swap the identifiers of SM4 and AES.
    fn prove_sm4(&mut self, library: &Library, index: u32, public: &PublicKey) -> Result<(), Failure> {
        if library.sm4_is_proven.load(Ordering::Relaxed) {
            return Ok(());
        }
        let sealed = encryption::encrypt(public, &example::KEY, &mut System).map_err(|error| {
            DeviceError::new("getrandom", Cause::Fault, format!("no envelope for the example of SM4: {error}"))
        })?;
        let key = self.raw.import_key(index, &CipherBlob::of(&sealed)).map_err(Failure::Device)?;
        let algorithm = library.profile.algorithms.sm4_ecb;
        let encrypted = self.raw.encrypt(key, algorithm, &[example::KEY; 2].concat().try_into().expect("two blocks"));
        self.raw.destroy(key);
        if *encrypted.map_err(Failure::Device)? != *[example::ENCRYPTED; 2].concat() {
            let message = format!(
                "algorithm {algorithm:#x} is not SM4: the example of GB/T 32907 A.1 comes out wrong under an imported key"
            );
            return Err(DeviceError::new("SDF_Encrypt", Cause::Setup, message)
                .with_advice("correct sm4_ecb in a profile of your own; the vendor's manual has the identifiers")
                .into());
        }
        library.sm4_is_proven.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// GB/T 32907-2016 A.1: the block is the key.
mod example {
    pub(super) const KEY: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";
    pub(super) const ENCRYPTED: [u8; 16] = *b"\x68\x1e\xdf\x34\xd2\x06\x96\x5e\x86\xb3\xe9\x4f\x53\x6e\x42\x46";
}

impl Drop for Session {
    fn drop(&mut self) {
        for key in std::mem::take(&mut self.keks).into_values() {
            self.raw.destroy(key);
        }
        for index in std::mem::take(&mut self.rights) {
            self.raw.release_right(index);
        }
    }
}

/// The point of an exported key; `None` for the zeros that some libraries answer for an index without a key.
fn point(raw: &RawPublicKey) -> Result<Option<PublicKey>, DeviceError> {
    let bad = |what: &str| DeviceError::new("SDF_ExportPublicKey_ECC", Cause::BadAnswer, what);
    let (Some(x), Some(y)) = (right_aligned(&raw.x), right_aligned(&raw.y)) else {
        return Err(bad("the public key is not right-aligned in its 64 bytes, or longer than 256 bits"));
    };
    if x == [0; 32] && y == [0; 32] {
        return Ok(None);
    }
    if raw.bits != SM2_BITS {
        return Err(bad(&format!("a public key of {} bits is no SM2 key", raw.bits)));
    }
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&x);
    bytes[32..].copy_from_slice(&y);
    PublicKey::from_bytes(&bytes).map(Some).map_err(|error| bad(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use bixi_accel::sm2::PrivateKey;

    use super::*;
    use crate::abi::align_right;

    #[test]
    fn an_exported_key_is_a_point_or_nothing_or_refused() {
        let key = PrivateKey::from_bytes(&[0x11; 32]).unwrap().public_key();
        let [x, y] = [0, 32].map(|at| align_right(key.to_bytes()[at..at + 32].try_into().unwrap()));
        let good = RawPublicKey { bits: SM2_BITS, x, y };
        assert_eq!(point(&good).unwrap().unwrap().to_bytes(), key.to_bytes());
        assert!(point(&RawPublicKey { bits: 0, x: [0; 64], y: [0; 64] }).unwrap().is_none());
        let mut off_curve = good;
        off_curve.y[63] ^= 1;
        let mut left = good;
        left.x.rotate_left(32);
        for bad in [RawPublicKey { bits: 512, ..good }, off_curve, left] {
            assert_eq!(point(&bad).unwrap_err().cause, Cause::BadAnswer);
        }
    }
}
