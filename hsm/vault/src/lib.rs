//! The vault: the file that holds the data-key epochs of everything on disk, sealed under a key encryption key that never
//! leaves its device.
//!
//! Invariants:
//! - the device only acts as a PRF; what it answers never decrypts anything by itself but derives a wrapping key (HKDF-SM3);
//! - every byte of the file is authenticated; a flipped byte anywhere is an error that names the file and what to do, and a
//!   wrong key encryption key is told apart from damage;
//! - a change is one atomic replacement, durable when the call returns; a crash leaves the old vault or the new one;
//! - nonces never repeat: every write and every slot derives its keys with a fresh random salt;
//! - keys stay in locked memory, epochs leave only as a [`KeyRing`].
//!
//! ```text
//! KEK (device) ─prf─▶ slot key ─SM4-GCM─▶ vault key ─┬─HKDF(salt)─▶ epochs' key ─SM4-GCM─▶ epochs ─▶ KeyRing
//!    one slot per KEK: primary, standby, escrow      └─HKDF(salt)─▶ HMAC-SM3 over the whole file
//! ```
//!
//! The byte layout is in this crate's README.

#![forbid(unsafe_code)]

mod error;
mod file;
mod format;
mod keeper;
mod kek;
mod wrap;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_hsm::{KeyDevice, KeyRef, KeyUri, Scheme};
use bixi_hsm_escrow::Escrow;
use bixi_platform::io::Storage;
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing};

pub use error::VaultError;
pub use format::{SlotInfo, SlotKind};
pub use keeper::Keeper;
pub use kek::{DeviceKek, Kek};

use format::{Body, EPOCHS_MAX, SLOTS_MAX};

/// Longest label of a new slot.
const LABEL_BYTES_MAX: usize = 256;
const TOO_LONG: &str = "bytes; its labels or key references are too long";

/// What a vault's file says of itself to whoever reads it, without a key. Nothing proves it: only an open vault is authentic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Random name of the vault.
    pub vault: [u8; 32],
    /// Counts its writes.
    pub version: u64,
    /// Who can open it.
    pub slots: Vec<SlotInfo>,
}

impl Description {
    /// Reads the bytes of a vault's file; `path` is for the errors.
    ///
    /// # Errors
    /// [`VaultError`]: damaged, or of another release.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, VaultError> {
        let body = format::parse(path, bytes)?.body;
        let slots = body.slots.into_iter().map(|slot| slot.info).collect();
        Ok(Self { vault: body.vault, version: body.version, slots })
    }
}

/// Reads what the file at `path` says without a key.
///
/// # Errors
/// [`VaultError`]: a file that is missing, damaged, or of another release.
pub fn describe(storage: &dyn Storage, path: impl AsRef<Path>) -> Result<Description, VaultError> {
    Description::parse(path.as_ref(), &file::read(storage, path.as_ref())?)
}

/// An open vault.
pub struct Vault {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    body: Body,
    /// SM3 of the file as this process last read or wrote it.
    seen: [u8; 32],
    key: Secret,
    epochs: Vec<(u32, Secret)>,
    ring: KeyRing,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({}, version {})", self.path.display(), self.body.version)
    }
}

impl Vault {
    /// Makes a vault with one epoch and one primary slot. Refuses to replace a file: it may hold the only keys of a ledger.
    pub fn create(
        storage: Arc<dyn Storage>,
        path: impl AsRef<Path>,
        suite: AtRest,
        device: &dyn KeyDevice,
        kek: &KeyRef,
    ) -> Result<Self, VaultError> {
        let path = path.as_ref().to_owned();
        let key = wrap::fresh_key(device)?;
        let mut body = Body::new(suite, wrap::fresh_salt()?);
        body.slots.push(wrap::seal_slot(&body.vault, primary(kek), &DeviceKek { device, key: kek }, &key)?);
        let epochs = vec![(1, wrap::fresh_key(device)?)];
        body.current = 1;
        let ring = ring_of(&body, &epochs);
        let mut vault = Self { storage, path, body, seen: [0; 32], key, epochs, ring };
        vault.write(file::Expect::Absent)?;
        Ok(vault)
    }

    /// Opens the slot that `kek` fits, authenticates the whole file and unseals the epochs.
    pub fn open(storage: Arc<dyn Storage>, path: impl AsRef<Path>, kek: &dyn Kek) -> Result<Self, VaultError> {
        let path = path.as_ref().to_owned();
        let file = file::read(&*storage, &path)?;
        let parsed = format::parse(&path, &file)?;
        let key = wrap::open_slots(&path, &parsed.body, kek)?;
        let epochs = wrap::open_epochs(&path, &parsed, &key)?;
        let ring = ring_of(&parsed.body, &epochs);
        Ok(Self { storage, path, seen: parsed.checksum, body: parsed.body, key, epochs, ring })
    }

    /// The data keys, shared: a later [`Self::add_epoch`] reaches every holder.
    pub fn key_ring(&self) -> KeyRing {
        self.ring.clone()
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counts every write of this vault; a guard beside it notes it, so that an older one is told.
    pub fn version(&self) -> u64 {
        self.body.version
    }

    /// Epochs in order; the last one seals new files.
    pub fn epochs(&self) -> Vec<u32> {
        self.epochs.iter().map(|(epoch, _)| *epoch).collect()
    }

    /// Who can open the vault.
    pub fn slots(&self) -> Vec<SlotInfo> {
        self.body.slots.iter().map(|slot| slot.info.clone()).collect()
    }

    /// The slot that `kek` opens.
    ///
    /// # Errors
    /// The device's.
    pub fn slot_of(&self, kek: &dyn Kek) -> Result<Option<&SlotInfo>, VaultError> {
        wrap::opened_by(&self.body, kek)
    }

    /// Begins a new epoch: durable first, then every new file is sealed under it. Old files stay readable. With a `suite` that is the
    /// cipher of files made in it, by the same write; else they have the cipher of the epoch before.
    pub fn add_epoch(&mut self, device: &dyn KeyDevice, suite: Option<AtRest>) -> Result<u32, VaultError> {
        if self.epochs.len() >= EPOCHS_MAX {
            return Err(VaultError::Full { path: self.path.clone(), what: "epochs; drop unused ones first" });
        }
        let epoch = self.body.current.checked_add(1).expect("fewer than 2^32 rotations");
        let previous = (self.body.current, self.body.suite);
        self.epochs.push((epoch, wrap::fresh_key(device)?));
        (self.body.current, self.body.suite) = (epoch, suite.unwrap_or(previous.1));
        if let Err(error) = self.write(file::Expect::Seen) {
            self.epochs.pop();
            (self.body.current, self.body.suite) = previous;
            return Err(error);
        }
        let (_, key) = self.epochs.last().expect("pushed above");
        let begun = self.ring.rotate_to(epoch, self.body.suite, Secret::from_slice(key.as_slice()));
        begun.expect("the epoch is above the current one");
        Ok(epoch)
    }

    /// Drops an epoch that no file and no listed backup needs any more. What is still sealed under it is lost.
    pub fn drop_epoch(&mut self, epoch: u32) -> Result<(), VaultError> {
        if epoch == self.body.current {
            return Err(VaultError::InUse { path: self.path.clone(), epoch });
        }
        let Some(place) = self.epochs.iter().position(|(known, _)| *known == epoch) else { return Ok(()) };
        let dropped = self.epochs.remove(place);
        if let Err(error) = self.write(file::Expect::Seen) {
            self.epochs.insert(place, dropped);
            return Err(error);
        }
        self.ring.retire(epoch).expect("not the current epoch");
        Ok(())
    }

    /// Lets another key encryption key open the vault too: of a device in this process, or wherever `opener` asks.
    pub fn add_slot(&mut self, kind: SlotKind, label: &str, opener: &dyn Kek, kek: &KeyRef) -> Result<(), VaultError> {
        self.add(SlotInfo { kind, label: label.to_owned(), kek: kek.clone(), escrow: None }, opener)
    }

    /// Makes an escrow for this vault and writes nothing: its key and the coefficients that split it are each mixed of the system's and the
    /// device's randomness, so neither alone decides anything. Its shares go to their officers first, then [`Self::add_escrow`] lets it open the vault.
    pub fn plan_escrow(
        &self,
        device: &dyn KeyDevice,
        officers: &[impl AsRef<str>],
        threshold: usize,
    ) -> Result<Escrow, VaultError> {
        Escrow::establish(&mut || wrap::fresh_key(device), officers, threshold, &self.body.vault)
    }

    /// Lets an escrow open the vault too.
    pub fn add_escrow(&mut self, label: &str, escrow: &Escrow) -> Result<(), VaultError> {
        let name = KeyUri { scheme: Scheme::Escrow, object: Some(escrow.record.name()), ..KeyUri::default() };
        let kek = KeyRef::new(name).expect("the URI names an object");
        let escrow_record = Some(escrow.record.clone());
        let info = SlotInfo { kind: SlotKind::Escrow, label: label.to_owned(), kek, escrow: escrow_record };
        self.add(info, &escrow.key)
    }

    /// Whether a slot of that label could be added: the vault takes it, and the disk takes a file somewhat longer than the present one. For
    /// what is given out before the slot is added and is worthless if it is not. Changes nothing.
    pub fn expect_room(&self, label: &str) -> Result<(), VaultError> {
        self.check_room(label)?;
        file::rehearse(&*self.storage, &self.path, format::FILE_BYTES_MAX, &self.seen)
    }

    fn check_room(&self, label: &str) -> Result<(), VaultError> {
        if label.len() > LABEL_BYTES_MAX {
            return Err(VaultError::Full { path: self.path.clone(), what: TOO_LONG });
        }
        if self.body.slots.len() >= SLOTS_MAX {
            return Err(VaultError::Full { path: self.path.clone(), what: "slots; reseal to begin anew" });
        }
        if self.body.slots.iter().any(|slot| slot.info.label == label) {
            return Err(VaultError::LabelTaken { path: self.path.clone(), label: label.to_owned() });
        }
        Ok(())
    }

    fn add(&mut self, info: SlotInfo, opener: &dyn Kek) -> Result<(), VaultError> {
        self.check_room(&info.label)?;
        if let Some(known) = self.slot_of(opener)? {
            let (path, label) = (self.path.clone(), known.label.clone());
            return Err(VaultError::OpensAlready { path, kek: opener.name(), label });
        }
        let slot = wrap::seal_slot(&self.body.vault, info, opener, &self.key)?;
        self.body.slots.push(slot);
        self.write(file::Expect::Seen).inspect_err(|_| {
            self.body.slots.pop();
        })
    }

    /// Ends a standby's or an escrow's slot for the new file. An old copy of the file still opens with its key, and whoever opened
    /// one knows the vault key: only [`Self::reseal`] changes that.
    pub fn remove_slot(&mut self, label: &str) -> Result<(), VaultError> {
        let Some(place) = self.body.slots.iter().position(|slot| slot.info.label == label) else {
            let (path, slots) = (self.path.clone(), self.body.names());
            return Err(VaultError::NoSlot { path, label: label.to_owned(), slots });
        };
        if self.body.slots[place].info.kind == SlotKind::Primary {
            return Err(VaultError::PrimarySlot { path: self.path.clone(), label: label.to_owned() });
        }
        let removed = self.body.slots.remove(place);
        self.write(file::Expect::Seen).inspect_err(|_| self.body.slots.insert(place, removed))
    }

    /// Seals the vault anew: a fresh vault key under `kek` alone, and a new epoch, in one write. Every other slot ends and is added again by
    /// its holder. Old copies of the file still open with the old key encryption key, and hold no key of what is written from now on:
    /// destroy that key in its device.
    pub fn reseal(&mut self, device: &dyn KeyDevice, kek: &KeyRef) -> Result<u32, VaultError> {
        let key = wrap::fresh_key(device)?;
        let slot = wrap::seal_slot(&self.body.vault, primary(kek), &DeviceKek { device, key: kek }, &key)?;
        let old_slots = std::mem::replace(&mut self.body.slots, vec![slot]);
        let old_key = std::mem::replace(&mut self.key, key);
        // Writes all of it.
        self.add_epoch(device, None).inspect_err(|_| {
            self.body.slots = old_slots;
            self.key = old_key;
        })
    }

    fn write(&mut self, expect: file::Expect) -> Result<(), VaultError> {
        let mut body = self.body.clone();
        body.version += 1;
        body.salt = wrap::fresh_salt()?;
        wrap::seal_epochs(&mut body, &self.epochs, &self.key);
        let bytes = format::print(&body, &wrap::mac_key(&body, &self.key));
        // Whoever opens it refuses a longer file, and with it everything on this node's disk.
        if bytes.len() > format::FILE_BYTES_MAX {
            return Err(VaultError::Full { path: self.path.clone(), what: TOO_LONG });
        }
        self.seen = file::replace(&*self.storage, &self.path, &bytes, expect, &self.seen)?;
        self.body = body;
        Ok(())
    }
}

fn primary(kek: &KeyRef) -> SlotInfo {
    SlotInfo { kind: SlotKind::Primary, label: "primary".to_owned(), kek: kek.clone(), escrow: None }
}

/// Epochs ascend and end with the current one: what makes and parses a body sees to it.
fn ring_of(body: &Body, epochs: &[(u32, Secret)]) -> KeyRing {
    let copies = epochs.iter().map(|(epoch, key)| (*epoch, Secret::from_slice(key.as_slice()))).collect();
    KeyRing::new(body.suite, copies, body.current).expect("the epochs fit together")
}
