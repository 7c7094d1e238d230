//! Multiplication tables of frequent signers, in a cache of bounded size.
//!
//! Who deserves a table is the caller's policy; here is the bound. When the cache is full, the key unused for the
//! longest time leaves; pinned keys stay until unpinned. A few pinned keys may have a wide table besides, which the kernel
//! for batches uses. Tables are where [`keep_tables_in`](crate::memory::keep_tables_in) says, on huge pages in a node.

use super::comb::{Comb, FlatComb};
use super::{DEFAULT_ID, IdentifiedKey, PublicKey};
use crate::selftest::{self, SelfTestError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A key and its table; cheap to clone, usable after the registry has dropped it.
#[derive(Clone)]
pub struct RegisteredKey(Arc<Entry>);

struct Entry {
    key: IdentifiedKey,
    comb: Arc<Comb>,
    flat: Option<FlatComb>,
}

impl RegisteredKey {
    /// Builds the table of a key that no registry holds: about the work of three verifications, 32 KiB.
    pub fn new(key: &PublicKey) -> Self {
        let comb = Arc::new(Comb::new(&key.point));
        Self(Arc::new(Entry { key: IdentifiedKey::new(DEFAULT_ID, *key), comb, flat: None }))
    }

    /// The same with a wide table as well.
    pub(crate) fn wide(key: &PublicKey) -> Self {
        Self::new(key).with_flat_comb(Some(FlatComb::new(&key.point)))
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        self.0.key.key()
    }

    /// `Z` for [`DEFAULT_ID`].
    pub fn z(&self) -> &[u8; 32] {
        self.0.key.z()
    }

    /// The same key with another wide table, or none.
    fn with_flat_comb(&self, flat: Option<FlatComb>) -> Self {
        Self(Arc::new(Entry { key: self.0.key, comb: Arc::clone(&self.0.comb), flat }))
    }

    pub(super) fn comb(&self) -> &Comb {
        &self.0.comb
    }

    /// The wide table, where there is one.
    pub(super) fn flat_comb(&self) -> Option<&FlatComb> {
        self.0.flat.as_ref()
    }
}

impl core::fmt::Debug for RegisteredKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("sm2::RegisteredKey").field(self.key()).finish()
    }
}

/// A key was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Every place is taken by a pinned key: unpin one, or make the registry larger.
    #[error("SM2 registry: all {0} places hold pinned keys; unpin one or raise the limit")]
    AllPinned(usize),
    /// Every wide table allowed is another key's.
    #[error("SM2 registry: all {0} wide tables are taken; unpin a key that has one or raise the limit")]
    AllWide(usize),
    /// The kernel for wide tables computes wrongly: the process must not go on.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
}

/// The cache, shared by reference between threads.
pub struct Registry {
    keys_max: usize,
    wide_max: usize,
    slots: RwLock<HashMap<[u8; 64], Slot>>,
    clock: AtomicU64,
}

struct Slot {
    key: RegisteredKey,
    used: AtomicU64,
    pinned: bool,
}

impl Registry {
    /// Memory one registered key takes: a table of 512 points, and its place in the map.
    pub const BYTES_PER_KEY: usize =
        size_of::<[u8; 32 * 1024]>() + size_of::<(Comb, Entry)>() + 2 * size_of::<([u8; 64], Slot)>();

    /// Memory of a wide table, on top of [`Self::BYTES_PER_KEY`].
    pub const BYTES_PER_WIDE_TABLE: usize = FlatComb::BYTES;

    /// A cache of at most `keys_max` keys, `keys_max * BYTES_PER_KEY` bytes in all, without wide tables.
    pub fn new(keys_max: usize) -> Self {
        Self::with_wide_tables(keys_max, 0)
    }

    /// A cache of at most `keys_max` keys, `wide_max` of which may have wide tables: `wide_max * BYTES_PER_WIDE_TABLE`
    /// bytes more. (The first builds the base point's, 1.5 MiB for the process.)
    pub fn with_wide_tables(keys_max: usize, wide_max: usize) -> Self {
        Self { keys_max, wide_max, slots: RwLock::default(), clock: AtomicU64::new(0) }
    }

    /// Builds the table of `key` unless it is there already (about the work of three verifications, outside the lock).
    pub fn register(&self, key: &PublicKey) -> Result<RegisteredKey, RegistryError> {
        self.insert(key, false)
    }

    /// Registers `key` and keeps it until [`Registry::unpin`].
    pub fn pin(&self, key: &PublicKey) -> Result<RegisteredKey, RegistryError> {
        self.insert(key, true)
    }

    /// [`Self::pin`] with a wide table (about the work of thirty verifications, outside the lock), which spares a batch the
    /// doublings but lies in farther caches: measure before paying for it. Handles given out before keep the compact one.
    /// Where no wide table is left the key is pinned all the same. The first call of a process tests the kernel, which makes the base
    /// point's wide table, and pins nothing when it computes wrongly.
    pub fn pin_wide(&self, key: &PublicKey) -> Result<RegisteredKey, RegistryError> {
        self.pin_wide_after(key, selftest::run_for_wide_tables)
    }

    fn pin_wide_after(
        &self,
        key: &PublicKey,
        test: impl FnOnce() -> Result<(), SelfTestError>,
    ) -> Result<RegisteredKey, RegistryError> {
        test()?;
        let pinned = self.insert(key, true)?;
        if pinned.flat_comb().is_some() {
            return Ok(pinned);
        }
        self.check_wide(&self.read())?;
        let wide = pinned.with_flat_comb(Some(FlatComb::new(&key.point)));
        let mut slots = self.write();
        let bytes = key.to_bytes();
        // Another thread may have built it meanwhile.
        if let Some(slot) = slots.get(&bytes).filter(|slot| slot.key.flat_comb().is_some()) {
            return Ok(slot.key.clone());
        }
        self.check_wide(&slots)?;
        // Or have removed or unpinned the key; then only the caller has the table.
        if let Some(slot) = slots.get_mut(&bytes).filter(|slot| slot.pinned) {
            slot.key = wide.clone();
        }
        Ok(wide)
    }

    /// Lets a pinned key leave like others; its wide table goes at once.
    pub fn unpin(&self, key: &PublicKey) {
        if let Some(slot) = self.write().get_mut(&key.to_bytes()) {
            slot.pinned = false;
            slot.key = slot.key.with_flat_comb(None);
        }
    }

    /// The handle of the key `X ‖ Y`, if it is registered.
    pub fn lookup(&self, key: &[u8; 64]) -> Option<RegisteredKey> {
        self.read().get(key).map(|slot| {
            slot.used.store(self.tick(), Ordering::Relaxed);
            slot.key.clone()
        })
    }

    /// Whether the key `X ‖ Y` is registered. Unlike [`Self::lookup`], asking is no use of the key.
    pub fn contains(&self, key: &[u8; 64]) -> bool {
        self.read().contains_key(key)
    }

    /// Forgets a key, pinned or not; handles given out stay valid.
    pub fn remove(&self, key: &PublicKey) {
        self.write().remove(&key.to_bytes());
    }

    /// Number of registered keys.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether no key is registered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held now.
    pub fn memory_bytes(&self) -> usize {
        let slots = self.read();
        slots.len() * Self::BYTES_PER_KEY + wide_tables(&slots) * Self::BYTES_PER_WIDE_TABLE
    }

    fn check_wide(&self, slots: &HashMap<[u8; 64], Slot>) -> Result<(), RegistryError> {
        if wide_tables(slots) < self.wide_max { Ok(()) } else { Err(RegistryError::AllWide(self.wide_max)) }
    }

    fn insert(&self, key: &PublicKey, pin: bool) -> Result<RegisteredKey, RegistryError> {
        let bytes = key.to_bytes();
        let known = self.lookup(&bytes);
        let registered = known.unwrap_or_else(|| RegisteredKey::new(key));
        let mut slots = self.write();
        if let Some(slot) = slots.get_mut(&bytes) {
            slot.pinned |= pin;
            return Ok(slot.key.clone());
        }
        if slots.len() >= self.keys_max {
            let oldest =
                slots.iter().filter(|(_, slot)| !slot.pinned).min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            let oldest = *oldest.ok_or(RegistryError::AllPinned(self.keys_max))?.0;
            slots.remove(&oldest);
        }
        slots.insert(bytes, Slot { key: registered.clone(), used: AtomicU64::new(self.tick()), pinned: pin });
        Ok(registered)
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// A panic cannot leave the map half-changed: it is only touched by single operations.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<[u8; 64], Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<[u8; 64], Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wide_tables(slots: &HashMap<[u8; 64], Slot>) -> usize {
    slots.values().filter(|slot| slot.key.flat_comb().is_some()).count()
}

impl core::fmt::Debug for Registry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("sm2::Registry").field("keys", &self.len()).field("keys_max", &self.keys_max).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seeded;
    use crate::sm2::PrivateKey;

    #[test]
    fn no_key_is_pinned_wide_on_a_kernel_that_computes_wrongly() {
        let registry = Registry::with_wide_tables(1, 1);
        let key = PrivateKey::generate(&mut Seeded::new(3)).unwrap().public_key();
        let error = SelfTestError::WrongAnswer { test: "broken", kernel: "broken" };
        assert_eq!(registry.pin_wide_after(&key, || Err(error)).unwrap_err(), RegistryError::SelfTest(error));
        assert!(registry.is_empty());
        assert!(registry.pin_wide(&key).unwrap().flat_comb().is_some());
    }
}
