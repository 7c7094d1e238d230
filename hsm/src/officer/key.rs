//! An officer's key in a file, sealed by a passphrase.
//!
//! ```text
//! file = "BIXIOFK1" ‖ X ‖ Y ‖ salt (16) ‖ SM4-GCM(private key, 32 bytes) ‖ tag (16)
//! sealing key = Argon2id(passphrase, salt; 64 MiB, 3 passes); authenticated besides: everything before the ciphertext
//! ```
//!
//! The salt is fresh for every file and the key seals once, so the nonce is fixed. The costs are not in the file: whoever changes it
//! cannot make opening it cheap or endless. Lost passphrase, lost key: register another officer.

use argon2::{Algorithm, Argon2, Params, Version};
use bixi_accel::sm2::{self, PrivateKey};
use bixi_accel::sm4::gcm;
use bixi_platform::random::OsRandom;
use bixi_platform::secret::Secret;
use zeroize::Zeroizing;

use super::{Approval, Override};
use crate::random::System;

const MAGIC: &[u8; 8] = b"BIXIOFK1";
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// What is authenticated besides the key: magic, public half, salt.
const HEAD_BYTES: usize = 8 + 64 + SALT_BYTES;
/// Length of a file.
pub const FILE_BYTES: usize = HEAD_BYTES + KEY_BYTES + gcm::TAG_BYTES;
/// Shortest passphrase.
pub const PASSPHRASE_BYTES_MIN: usize = 12;
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfficerKeyError {
    /// It is no such file.
    #[error("it is no officer's key: {0}")]
    Malformed(&'static str),
    /// Another passphrase, or a file that was changed.
    #[error("the passphrase is not the one of this file, or the file was changed")]
    Refused,
    /// Too easily guessed.
    #[error("the passphrase has fewer than {PASSPHRASE_BYTES_MIN} characters")]
    Weak,
    /// The machine has no randomness or no memory.
    #[error("{0}")]
    Fault(String),
}

/// An officer's key, open.
pub struct OfficerKey(PrivateKey);

impl OfficerKey {
    /// A fresh key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, OfficerKeyError> {
        PrivateKey::generate(&mut System).map(Self).map_err(|error| OfficerKeyError::Fault(error.to_string()))
    }

    /// X ‖ Y: what a node file names.
    pub fn public_key(&self) -> [u8; 64] {
        self.0.public_key().to_bytes()
    }

    /// The file, sealed by a passphrase.
    ///
    /// # Errors
    /// A weak passphrase; the machine's.
    pub fn seal(&self, passphrase: &Secret) -> Result<Vec<u8>, OfficerKeyError> {
        if passphrase.len() < PASSPHRASE_BYTES_MIN {
            return Err(OfficerKeyError::Weak);
        }
        let salt: [u8; SALT_BYTES] = OsRandom.array().map_err(|error| OfficerKeyError::Fault(error.to_string()))?;
        let head = [&MAGIC[..], &self.public_key(), &salt].concat();
        let mut sealed = self.0.to_bytes();
        let tag = gcm::seal(&sealing_key(passphrase, &salt)?, &[0; gcm::NONCE_BYTES], &head, &mut *sealed);
        Ok([&head[..], &*sealed, &tag].concat())
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`OfficerKeyError::Malformed`], [`OfficerKeyError::Refused`]; the machine's.
    pub fn open(file: &[u8], passphrase: &Secret) -> Result<Self, OfficerKeyError> {
        let parts = Parts::of(file)?;
        let mut key = Zeroizing::new(*parts.sealed);
        let sealing_key = sealing_key(passphrase, parts.salt)?;
        gcm::open(&sealing_key, &[0; gcm::NONCE_BYTES], parts.head, &mut *key, parts.tag)
            .map_err(|_| OfficerKeyError::Refused)?;
        let key = PrivateKey::from_bytes(&key).map_err(|_| OfficerKeyError::Refused)?;
        // Authenticated with it; what reports show before a passphrase is asked for is of this very key.
        if key.public_key().to_bytes() == *parts.public { Ok(Self(key)) } else { Err(OfficerKeyError::Refused) }
    }

    /// Signs a statement.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn approve(&self, statement: &Override) -> Result<Approval, OfficerKeyError> {
        let signature = sm2::sign(&self.0, sm2::DEFAULT_ID, &statement.sign_bytes(), &mut System)
            .map_err(|error| OfficerKeyError::Fault(error.to_string()))?;
        Ok(Approval { statement: statement.fingerprint().0, officer: self.public_key(), signature: signature.0 })
    }
}

struct Parts<'a> {
    head: &'a [u8],
    public: &'a [u8; 64],
    salt: &'a [u8; SALT_BYTES],
    sealed: &'a [u8; KEY_BYTES],
    tag: &'a [u8; gcm::TAG_BYTES],
}

impl<'a> Parts<'a> {
    fn of(file: &'a [u8]) -> Result<Self, OfficerKeyError> {
        let read = || {
            let (head, rest) = file.split_at_checked(HEAD_BYTES)?;
            let (public, salt) = head.strip_prefix(MAGIC)?.split_first_chunk()?;
            let (sealed, tag) = rest.split_first_chunk()?;
            Some(Self { head, public, salt: salt.try_into().ok()?, sealed, tag: tag.try_into().ok()? })
        };
        read().ok_or(OfficerKeyError::Malformed("it has not the beginning or not the length of one"))
    }
}

/// The public half that a file shows, not yet authenticated: for a list of officers, ask for the passphrase.
///
/// # Errors
/// [`OfficerKeyError::Malformed`].
pub fn public_key_of(file: &[u8]) -> Result<[u8; 64], OfficerKeyError> {
    Parts::of(file).map(|parts| *parts.public)
}

fn sealing_key(passphrase: &Secret, salt: &[u8; SALT_BYTES]) -> Result<gcm::Key, OfficerKeyError> {
    let mut key = Zeroizing::new([0; 16]);
    Params::new(MEMORY_KIB, PASSES, 1, Some(key.len()))
        .and_then(|params| {
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon.hash_password_into(passphrase.as_slice(), salt, &mut *key)
        })
        .map_err(|error| OfficerKeyError::Fault(error.to_string()))?;
    Ok(gcm::Key::new(&key))
}
