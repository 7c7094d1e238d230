//! An officer's key in a file, sealed by a passphrase.
//!
//! ```text
//! file = "BIXIOFK2" ‖ X ‖ Y ‖ wrap of the private key (bixi_sealed::passphrase), bound to X ‖ Y
//! before: "BIXIOFK1" ‖ X ‖ Y ‖ salt (16) ‖ SM4-GCM(private key, 32 bytes) ‖ tag (16), its key Argon2id(passphrase, salt; 64 MiB, 3 passes),
//!         its nonce zero, authenticated besides: everything before the ciphertext. Still read, no more written.
//! ```
//!
//! The costs in a file are bounded before they are paid, and authenticated. Lost passphrase, lost key: register another officer.

use bixi_accel::sm2::{self, PrivateKey};
use bixi_accel::sm4::gcm;
use bixi_platform::secret::Secret;
use bixi_sealed::passphrase::{Binding, Cost, WRAP_BYTES, Wrap, WrapError, expect_long, stretch};
use zeroize::Zeroizing;

use super::{Approval, Override};
use crate::random::System;

const MAGIC: &[u8; 8] = b"BIXIOFK2";
const MAGIC_BEFORE: &[u8; 8] = b"BIXIOFK1";
const WRAP_DOMAIN: &[u8] = b"BIXI-HSM-OFFICER-KEY-V2";
const KEY_BYTES: usize = 32;
const SALT_BYTES_BEFORE: usize = 16;
/// What was authenticated besides the key: magic, public half, salt.
const HEAD_BYTES_BEFORE: usize = 8 + 64 + SALT_BYTES_BEFORE;
/// Length of a file; one of the format before is shorter.
pub const FILE_BYTES: usize = 8 + 64 + WRAP_BYTES;

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
    #[error("{}", WrapError::Short)]
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
        expect_long(passphrase.as_slice())?;
        let (public, private) = (self.public_key(), Secret::from_slice(&*self.0.to_bytes()));
        let wrap = Wrap::seal(Cost::TYPED, binding(&[&public]), passphrase.as_slice(), &private)?;
        Ok([&MAGIC[..], &public, &wrap.encode()].concat())
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`OfficerKeyError::Malformed`], [`OfficerKeyError::Refused`]; the machine's.
    pub fn open(file: &[u8], passphrase: &Secret) -> Result<Self, OfficerKeyError> {
        let (public, private) = match Sealed::of(file)? {
            Sealed::Wrapped { public, wrap } => (public, wrap.open(binding(&[public]), passphrase.as_slice())?),
            Sealed::Before(before) => (before.public, before.open(passphrase)?),
        };
        let bytes = private.as_slice().try_into().map_err(|_| OfficerKeyError::Refused)?;
        let key = PrivateKey::from_bytes(bytes).map_err(|_| OfficerKeyError::Refused)?;
        // Authenticated with it; what reports show before a passphrase is asked for is of this very key.
        if key.public_key().to_bytes() == *public { Ok(Self(key)) } else { Err(OfficerKeyError::Refused) }
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

fn binding<'a>(owner: &'a [&'a [u8]]) -> Binding<'a> {
    Binding { domain: WRAP_DOMAIN, owner }
}

/// A file of either format.
enum Sealed<'a> {
    Wrapped { public: &'a [u8; 64], wrap: Wrap },
    Before(Before<'a>),
}

impl<'a> Sealed<'a> {
    fn of(file: &'a [u8]) -> Result<Self, OfficerKeyError> {
        let malformed = OfficerKeyError::Malformed;
        let other = || malformed("it has not the beginning or not the length of one");
        if let Some(before) = Before::of(file) {
            return Ok(Self::Before(before));
        }
        let (public, wrap) = file.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk).ok_or_else(other)?;
        let wrap = Wrap::decode(wrap.try_into().map_err(|_| other())?);
        let wrap = wrap.filter(|wrap| wrap.cost().is_within(Cost::TYPED_MAX));
        let wrap = wrap.ok_or(malformed("it asks for more time or memory to open than any that was written"))?;
        Ok(Self::Wrapped { public, wrap })
    }

    fn public(&self) -> &'a [u8; 64] {
        match self {
            Self::Wrapped { public, .. } => public,
            Self::Before(before) => before.public,
        }
    }
}

/// A file of the format before.
struct Before<'a> {
    head: &'a [u8],
    public: &'a [u8; 64],
    salt: &'a [u8],
    sealed: &'a [u8; KEY_BYTES],
    tag: &'a [u8; gcm::TAG_BYTES],
}

impl<'a> Before<'a> {
    fn of(file: &'a [u8]) -> Option<Self> {
        let (head, rest) = file.split_at_checked(HEAD_BYTES_BEFORE)?;
        let (public, salt) = head.strip_prefix(MAGIC_BEFORE)?.split_first_chunk()?;
        let (sealed, tag) = rest.split_first_chunk()?;
        Some(Self { head, public, salt, sealed, tag: tag.try_into().ok()? })
    }

    fn open(&self, passphrase: &Secret) -> Result<Secret, OfficerKeyError> {
        let mut sealing_key = Zeroizing::new([0; 16]);
        stretch(Cost::TYPED, passphrase.as_slice(), self.salt, &mut *sealing_key)?;
        let mut key = Secret::from_slice(self.sealed);
        let sealing_key = gcm::Key::new(&sealing_key);
        gcm::open(&sealing_key, &[0; gcm::NONCE_BYTES], self.head, key.as_mut_slice(), self.tag)
            .map_err(|_| OfficerKeyError::Refused)?;
        Ok(key)
    }
}

impl From<WrapError> for OfficerKeyError {
    fn from(error: WrapError) -> Self {
        match error {
            WrapError::Mismatch => Self::Refused,
            WrapError::Short => Self::Weak,
            error => Self::Fault(error.to_string()),
        }
    }
}

/// The public half that a file shows, not yet authenticated: for a list of officers, ask for the passphrase.
///
/// # Errors
/// [`OfficerKeyError::Malformed`].
pub fn public_key_of(file: &[u8]) -> Result<[u8; 64], OfficerKeyError> {
    Sealed::of(file).map(|sealed| *sealed.public())
}
