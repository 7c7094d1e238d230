//! One blocking trait over every device that can hold a key: PKCS#11 modules, SDF cards, TPMs, and the in-memory
//! [`SoftDevice`](crate::soft::SoftDevice) of tests.
//!
//! Invariants every backend keeps, and [`conformance`](crate::conformance) checks:
//! - a generated key is sensitive, local and not extractable; there is no call that returns private or secret key bytes;
//! - `sign_digest` signs e = SM3(Z ‖ M) computed by the caller (GB/T 32918.2 6.1 A3 onwards) and returns raw r ‖ s, verified;
//! - `prf` is a deterministic keyed function of its whole input that no caller can invert or predict;
//! - an error names the function, the code the device answered and what an officer can do.
//!
//! Calls block for as long as the device takes: call them from signer threads, never from an async worker.

mod custody;
mod decorator;
pub mod decorators;
mod error;
pub mod lookup;
mod repetition;

use std::fmt;

use bixi_accel::sm2::{RegisteredKey, Signature};
use bixi_accel::sm3;
use bixi_platform::secret::Secret;
use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

pub use custody::Custody;
pub use decorator::Decorator;
pub use error::{Cause, DeviceError, ErrorKind};
pub use repetition::Unrepeated;

use crate::uri::KeyRef;

/// Bytes a PRF call returns.
pub const PRF_BYTES: usize = 32;
/// Longest PRF input a backend must take.
pub const PRF_INPUT_BYTES_MAX: usize = 256;
/// Longest label of a key, in bytes.
pub const LABEL_BYTES_MAX: usize = 128;

/// Refuses PRF inputs outside the bounds every backend shares.
///
/// # Errors
/// [`Cause::Rejected`], naming `function`.
pub fn check_prf_input(function: &'static str, input: &[u8]) -> Result<(), DeviceError> {
    if (1..=PRF_INPUT_BYTES_MAX).contains(&input.len()) {
        return Ok(());
    }
    let message = format!("PRF input of {} bytes; 1 to {PRF_INPUT_BYTES_MAX} are allowed", input.len());
    Err(DeviceError::new(function, Cause::Rejected, message))
}

/// Digits by which people and records tell key encryption keys apart: the first 16 of SM3 over an answer of the key that nothing else
/// asks for. They say nothing of its other answers.
///
/// # Errors
/// The device's.
pub fn kek_fingerprint(device: &dyn KeyDevice, key: &KeyRef) -> Result<String, DeviceError> {
    fingerprint_by(|input, out| device.prf(key, input, out))
}

/// What a key encryption key is asked for its fingerprint: nothing that a vault asks begins so.
pub const KEK_FINGERPRINT_INPUT: &[u8] = b"BIXI-KEK-FINGERPRINT-V1";

/// [`kek_fingerprint`] of the key whose PRF `derive` computes, wherever it is.
///
/// # Errors
/// Those of `derive`.
pub fn fingerprint_by<E>(derive: impl FnOnce(&[u8], &mut [u8; PRF_BYTES]) -> Result<(), E>) -> Result<String, E> {
    let mut answer = Zeroizing::new([0; PRF_BYTES]);
    derive(KEK_FINGERPRINT_INPUT, &mut answer)?;
    let digest = sm3::digest(&*answer);
    Ok(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A device that holds keys and uses them without giving them out.
pub trait KeyDevice: Send + Sync {
    /// What the device said about itself when it was opened.
    fn info(&self) -> DeviceInfo;

    /// The vendor profile by which keys are looked for, and whether another one fits the device better, for whoever misses a key; nothing
    /// where no profile decides what a key is. Asks the device, and takes no PIN.
    fn profile_words(&self) -> Option<String> {
        None
    }

    /// Every private and secret key the logged-in user can see.
    fn list(&self) -> Result<Vec<KeyInfo>, DeviceError>;

    /// Makes a key inside the device: sensitive, not extractable, persistent. A label that is taken is refused.
    fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError>;

    /// Has `work` use a signing key that is made for it, is sensitive and not extractable like every other, stands in no list, and is
    /// destroyed afterwards: for measurements, whose signatures are to be worth nothing.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] of a device whose keys all persist; `work` is not begun then.
    fn with_transient_key(&self, _work: &mut dyn FnMut(&KeyRef)) -> Result<(), DeviceError> {
        Err(DeviceError::new("generate", Cause::Unsupported, "this device makes no key that lasts for a session only"))
    }

    /// X ‖ Y of a signing key.
    fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError>;

    /// Raw r ‖ s over the digest e.
    fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError>;

    /// As [`Self::sign_digest`], for a caller who verifies with a table of the key: a backend may leave it to him.
    fn sign_unverified(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<Unverified, DeviceError> {
        self.sign_digest(key, digest).map(Unverified)
    }

    /// Writes PRF(key, input) to `out`, which the caller keeps in locked memory. `input` has 1 to [`PRF_INPUT_BYTES_MAX`] bytes.
    /// The answer must never change for a key, whatever version of the backend computes it: data at rest hangs on it.
    fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError>;

    /// Fills `out` from the device's random source.
    fn random(&self, out: &mut [u8]) -> Result<(), DeviceError>;

    /// What the device can prove about a key.
    fn attest(&self, key: &KeyRef) -> Result<Attestation, DeviceError>;

    /// One cheap round trip that shows the device present and the user logged in.
    fn health(&self) -> Result<(), DeviceError>;

    /// How a counter inside the device stands, that no copy of a disk sets back; none where it has none
    /// ([`DeviceInfo::monotonic_counter`]).
    ///
    /// # Errors
    /// The device's; [`Cause::CounterRemoved`] for a counter that was there and is gone.
    fn counter(&self) -> Result<Option<Count>, DeviceError> {
        Ok(None)
    }

    /// Advances that counter by one, in one attempt: a backend repeats none, because nobody knows what became of it. Memory that counts
    /// wears: every few minutes, not with every signature.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] of a device without one. After another error it may or may not have advanced.
    fn advance_counter(&self) -> Result<Count, DeviceError> {
        Err(DeviceError::new("advance_counter", Cause::Unsupported, "this device has no counter"))
    }

    /// Makes another counter in the place of one that was removed, by the word of the device's owner.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] of a device that never had one, [`Cause::Rejected`] while it is there, or for another word.
    fn renew_counter(&self, _owner_authorization: &Secret) -> Result<(), DeviceError> {
        Err(DeviceError::new("renew_counter", Cause::Unsupported, "this device has no counter"))
    }
}

/// How the counter of a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Count {
    /// Which counter it is, by its place in its device. One that is made anew in the place of one that was removed has the same name; devices
    /// begin it above everything that any of theirs has reached.
    pub counter: [u8; 32],
    /// Its value.
    pub value: u64,
}

/// Raw r ‖ s as a device gave it: nobody has verified it yet.
#[derive(Debug, Clone, Copy)]
pub struct Unverified([u8; 64]);

impl Unverified {
    /// What a device answered.
    pub const fn new(signature: [u8; 64]) -> Self {
        Self(signature)
    }

    /// The signature, if it is one of `digest` by `key`.
    pub fn verified(self, key: &RegisteredKey, digest: &[u8; 32]) -> Option<[u8; 64]> {
        key.verify_digest(digest, &Signature(self.0)).then_some(self.0)
    }

    /// Another answer in place of this one.
    #[must_use]
    pub fn map(self, change: impl FnOnce([u8; 64]) -> [u8; 64]) -> Self {
        Self(change(self.0))
    }
}

/// What a key is for. One key has one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum KeyKind {
    /// An SM2 key pair that signs.
    Sm2Sign,
    /// A key encryption key: a secret used only through [`KeyDevice::prf`].
    Kek,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sm2Sign => "SM2 signing key",
            Self::Kek => "key encryption key",
        })
    }
}

/// A key to generate.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeySpec {
    /// Name, unique in the token; 1 to [`LABEL_BYTES_MAX`] bytes without control characters.
    pub label: String,
    /// Its use.
    pub kind: KeyKind,
}

impl KeySpec {
    /// A key named `label`.
    pub fn new(label: impl Into<String>, kind: KeyKind) -> Self {
        Self { label: label.into(), kind }
    }

    /// Refuses labels that some device or terminal would mangle.
    pub fn check(&self) -> Result<(), DeviceError> {
        let sound = !self.label.is_empty()
            && self.label.len() <= LABEL_BYTES_MAX
            && !self.label.chars().any(|c| c.is_control() || c == '\0');
        if sound {
            return Ok(());
        }
        Err(DeviceError::new(
            "generate",
            Cause::Rejected,
            format!("key label {:?} is empty, too long or has control characters", self.label),
        ))
    }
}

/// One key as the device lists it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyInfo {
    /// Its reference.
    pub uri: KeyRef,
    /// Its name.
    pub label: String,
    /// Its use.
    pub kind: KeyKind,
    /// The device would give it out, wrapped or not. Never true for a key of ours.
    pub extractable: bool,
    /// The device refuses to show its value.
    pub sensitive: bool,
    /// It was generated inside the device, not imported.
    pub local: bool,
}

/// What a device says about itself.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DeviceInfo {
    /// Backend: `pkcs11`, `sdf`, `tpm`, `soft`.
    pub backend: String,
    /// Manufacturer as the device reports it.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Token label.
    pub token: String,
    /// Firmware or library version.
    pub version: String,
    /// Where the keys are.
    pub custody: Custody,
    /// It has a counter that no restored copy can set back.
    pub monotonic_counter: bool,
}

/// How much an attestation is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Trust {
    /// The library says so; nothing proves it.
    SelfReported,
    /// Signed by a key of the device's maker; `evidence` holds the statement and its certificate chain.
    Signed,
}

/// What a device states about one key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attestation {
    /// The key and its attributes.
    pub key: KeyInfo,
    /// X ‖ Y for a signing key.
    pub public_key: Option<[u8; 64]>,
    /// The device that says it.
    pub device: DeviceInfo,
    /// How much it is worth.
    pub trust: Trust,
    /// Format of `evidence`, e.g. `pkcs11-attributes`, `tpm2-certify`.
    pub format: String,
    /// The device's own statement, in `format`.
    pub evidence: Vec<u8>,
}
