//! What a recovery remembers between its steps: sealed by the vault's epochs, so that only who opened the vault can write it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_accel::sm3;
use bixi_hsm::device::PRF_BYTES;
use bixi_hsm::protocol::PRF_DOMAIN;
use bixi_hsm::{DeviceError, KeyDevice, KeyRef};
use bixi_hsm_vault::{Vault, VaultError};
use bixi_platform::io::Storage;
use bixi_sealed::{KeyRing, Purpose, small};
use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

use crate::launch::Failure;

const CHECK_DOMAIN: &[u8] = b"BIXI-RECOVERY-CHECK-V1";
const FORMAT: u8 = 3;

/// What is known of a recovery that is under way. Fields are only ever added with another format.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Notes {
    format: u8,
    /// The consensus key of the lost device, where its record was there.
    pub(super) lost: Option<[u8; 64]>,
    /// What opened the vault.
    pub(super) opener: Opener,
    /// Public halves of the signing pairs that this recovery made: of one that is there already, nobody knows what it signed or who has it.
    pub(super) pairs: Vec<[u8; 64]>,
    /// Tells the key encryption key that this recovery made, or that opened the vault, from one that somebody put there.
    pub(super) kek_check: Option<[u8; 32]>,
    /// The device had no key encryption key of that name, and was about to be asked for one: one that is there later, without a check, may be
    /// the answer that a crash kept from being noted.
    pub(super) is_making_kek: bool,
    /// The vault's version as this recovery read or wrote it last, and whether it is about to write: notes that somebody puts back later
    /// speak of another vault.
    version: u64,
    is_writing: bool,
}

/// What opened the vault of a lost device.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Opener {
    /// Shares of these officers.
    Officers(Vec<String>),
    /// A second device, by the slot of this label.
    Standby(String),
}

impl fmt::Display for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Officers(names) => write!(f, "shares of {}", names.join(", ")),
            Self::Standby(label) => write!(f, "the standby of slot {label:?}"),
        }
    }
}

impl Notes {
    /// Of a recovery that begins, with the vault at `version`.
    pub(super) fn new(lost: Option<[u8; 64]>, opener: Opener, kek_check: Option<[u8; 32]>, version: u64) -> Self {
        Self {
            format: FORMAT,
            lost,
            opener,
            pairs: Vec::new(),
            kek_check,
            is_making_kek: false,
            version,
            is_writing: false,
        }
    }
}

pub(super) struct Journal {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    ring: KeyRing,
    pub(super) notes: Notes,
}

impl Journal {
    pub(super) fn exists(storage: &dyn Storage, path: &Path) -> Result<bool, Failure> {
        Ok(storage.exists(path)?)
    }

    /// Goes on with the notes that are there.
    pub(super) fn open(storage: &Arc<dyn Storage>, path: &Path, ring: KeyRing) -> Result<Self, Failure> {
        let body = small::read(storage.as_ref(), path, &ring, Purpose::Small)?;
        let notes = Notes::try_from_slice(&body).ok().filter(|notes| notes.format == FORMAT);
        let notes =
            notes.ok_or_else(|| format!("{}: written by another release; go on with that one", path.display()))?;
        Ok(Self { storage: Arc::clone(storage), path: path.to_owned(), ring, notes })
    }

    /// Begins, durably.
    pub(super) fn begin(storage: &Arc<dyn Storage>, path: &Path, ring: KeyRing, notes: Notes) -> Result<Self, Failure> {
        let journal = Self { storage: Arc::clone(storage), path: path.to_owned(), ring, notes };
        journal.write()?;
        Ok(journal)
    }

    /// Notes that a key encryption key is about to be made where there is none, durably.
    pub(super) fn note_making_kek(&mut self) -> Result<(), Failure> {
        self.notes.is_making_kek = true;
        self.write()
    }

    /// Notes which key encryption key was made, durably.
    pub(super) fn note_kek(&mut self, device: &dyn KeyDevice, kek: &KeyRef) -> Result<(), Failure> {
        self.notes.kek_check = Some(check_of(device, kek)?);
        self.write()
    }

    /// Whether `kek` is the one that this recovery made.
    pub(super) fn has_made(&self, device: &dyn KeyDevice, kek: &KeyRef) -> Result<bool, DeviceError> {
        Ok(self.notes.kek_check == Some(check_of(device, kek)?))
    }

    /// Whether the vault is as this recovery left it.
    pub(super) fn is_of(&self, version: u64) -> bool {
        let Notes { version: noted, is_writing, .. } = self.notes;
        version == noted || is_writing && version == noted + 1
    }

    /// Notes what opened the vault this time, durably.
    pub(super) fn note_opener(&mut self, opener: Opener, version: u64) -> Result<(), Failure> {
        (self.notes.opener, self.notes.version, self.notes.is_writing) = (opener, version, false);
        self.write()
    }

    /// Has the vault written once, with a note before and after.
    pub(super) fn around_write<T>(
        &mut self,
        vault: &mut Vault,
        write: impl FnOnce(&mut Vault) -> Result<T, VaultError>,
    ) -> Result<T, Failure> {
        (self.notes.version, self.notes.is_writing) = (vault.version(), true);
        self.write()?;
        let done = write(vault)?;
        (self.notes.version, self.notes.is_writing) = (vault.version(), false);
        self.write()?;
        Ok(done)
    }

    /// Notes which signing pair was made, durably.
    pub(super) fn note_pair(&mut self, public_key: [u8; 64]) -> Result<(), Failure> {
        self.notes.pairs.push(public_key);
        self.write()
    }

    fn write(&self) -> Result<(), Failure> {
        let body = borsh::to_vec(&self.notes).expect("borsh into memory cannot fail");
        Ok(small::write_atomic(self.storage.as_ref(), &self.path, &self.ring, Purpose::Small, &body)?)
    }

    /// The end: durable when it returns.
    pub(super) fn end(self) -> Result<Notes, Failure> {
        bixi_hsm::whole_file::remove(&self.path)?;
        Ok(self.notes)
    }
}

/// What [`Notes::kek_check`] is for that key.
pub(super) fn check_of(device: &dyn KeyDevice, kek: &KeyRef) -> Result<[u8; 32], DeviceError> {
    let mut derived = Zeroizing::new([0; PRF_BYTES]);
    device.prf(kek, &[PRF_DOMAIN, CHECK_DOMAIN].concat(), &mut derived)?;
    Ok(sm3::digest(&*derived))
}
