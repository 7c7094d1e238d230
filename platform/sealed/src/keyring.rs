//! The epochs' keys, shared by every open file.

use std::{
    collections::BTreeMap,
    fmt, process,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bixi_accel::ct;
use bixi_platform::secret::Secret;

use crate::{AtRest, Result, SealedError};

/// Bytes of an epoch key, whatever the suite.
pub const EPOCH_KEY_BYTES: usize = 32;

/// A set of epochs that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// A key has another length.
    #[error("the key of epoch {epoch} has {bytes} bytes instead of {EPOCH_KEY_BYTES}")]
    KeyLength {
        /// Of the key.
        epoch: u32,
        /// Found.
        bytes: usize,
    },
    /// Two keys for one epoch.
    #[error("epoch {epoch} has a key already; epochs are never given a second one")]
    Duplicate {
        /// Named twice.
        epoch: u32,
    },
    /// The current epoch has no key.
    #[error("the current epoch {epoch} has no key")]
    NoCurrent {
        /// Wanted.
        epoch: u32,
    },
    /// A rotation backwards.
    #[error("epoch {epoch} is not above the current epoch {current}")]
    NotNewer {
        /// Offered.
        epoch: u32,
        /// In use.
        current: u32,
    },
    /// Another ring has another key for an epoch: it is of another vault.
    #[error("epoch {epoch} has another key there; that is another vault's")]
    OtherKey {
        /// Of both.
        epoch: u32,
    },
    /// Another ring has another cipher for the current epoch: it is of another vault.
    #[error("epoch {epoch} has another cipher there ({there}, not {here}); that is another vault's")]
    OtherCipher {
        /// Of both.
        epoch: u32,
        /// Of this ring.
        here: &'static str,
        /// Of the other one.
        there: &'static str,
    },
    /// The current epoch cannot be retired.
    #[error("epoch {epoch} is the current one; rotate before retiring it")]
    Current {
        /// In use.
        epoch: u32,
    },
}

/// Epoch keys, the current epoch and the cipher of its files. Clones share state: a rotation is seen by every open writer at its next flush.
#[derive(Clone)]
pub struct KeyRing {
    home: Arc<Home>,
    state: Arc<RwLock<State>>,
}

/// The process that unlocked the keys, and the only one that may use them.
///
/// A forked child has the epoch keys wiped (all zero) and the expanded keys of open segments whole: it would seal under a key
/// that everybody knows, or repeat its parent's counters. The process id alone does not tell: ids come again, and in a new
/// name space a child has its parent's. The mark is wiped with the keys.
pub(crate) struct Home {
    process: u32,
    mark: Secret,
}

impl Home {
    const MARK: [u8; 1] = [1];

    fn here() -> Self {
        Self { process: process::id(), mark: Secret::from_slice(&Self::MARK) }
    }

    /// Refuses in any other process.
    pub(crate) fn check(&self) -> Result<()> {
        if self.mark.as_slice() == Self::MARK && process::id() == self.process {
            return Ok(());
        }
        Err(SealedError::Forked)
    }
}

/// What a new file is sealed with. A cipher begins with an epoch, so the two are read at once: an epoch that is known to be current tells
/// that all its files have that cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// Of new files and segments.
    pub epoch: u32,
    /// Of new files.
    pub suite: AtRest,
}

struct State {
    current: Current,
    keys: BTreeMap<u32, Arc<Secret>>,
}

impl KeyRing {
    /// A ring that seals with `suite` under epoch `current`.
    ///
    /// # Errors
    /// If a key has not 32 bytes, an epoch comes twice, or `current` has no key.
    pub fn new(suite: AtRest, epochs: Vec<(u32, Secret)>, current: u32) -> std::result::Result<Self, KeyRingError> {
        let mut keys = BTreeMap::new();
        for (epoch, key) in epochs {
            insert(&mut keys, epoch, key)?;
        }
        if !keys.contains_key(&current) {
            return Err(KeyRingError::NoCurrent { epoch: current });
        }
        let state = RwLock::new(State { current: Current { epoch: current, suite }, keys });
        Ok(Self { home: Arc::new(Home::here()), state: Arc::new(state) })
    }

    /// Adds `key` as a new epoch of the same cipher and makes it current, for all clones, at once.
    ///
    /// # Errors
    /// If the epoch is not above the current one or the key has not 32 bytes.
    pub fn rotate(&self, epoch: u32, key: Secret) -> std::result::Result<(), KeyRingError> {
        self.begin(epoch, None, key)
    }

    /// [`Self::rotate`], with `suite` as the cipher of new files.
    ///
    /// # Errors
    /// As [`Self::rotate`]; then neither epoch nor cipher has changed.
    pub fn rotate_to(&self, epoch: u32, suite: AtRest, key: Secret) -> std::result::Result<(), KeyRingError> {
        self.begin(epoch, Some(suite), key)
    }

    fn begin(&self, epoch: u32, suite: Option<AtRest>, key: Secret) -> std::result::Result<(), KeyRingError> {
        let mut state = self.write();
        let current = state.current;
        if epoch <= current.epoch {
            return Err(KeyRingError::NotNewer { epoch, current: current.epoch });
        }
        insert(&mut state.keys, epoch, key)?;
        state.current = Current { epoch, suite: suite.unwrap_or(current.suite) };
        Ok(())
    }

    /// Takes over the epochs of `newer`, the ring of the same vault read later: the keys of new ones, which one is current and its cipher,
    /// and forgets those that were dropped. A ring that was read earlier changes nothing.
    ///
    /// # Errors
    /// If the two have different keys for an epoch, or ciphers for the current one; nothing is taken over then.
    pub fn become_like(&self, newer: &Self) -> std::result::Result<(), KeyRingError> {
        let (current, keys) = {
            let newer = newer.read();
            (newer.current, newer.keys.clone())
        };
        let mut state = self.write();
        let differs = |(epoch, key): &(&u32, &Arc<Secret>)| {
            state.keys.get(epoch).is_some_and(|known| !ct::eq(known.as_slice(), key.as_slice()))
        };
        if let Some((epoch, _)) = keys.iter().find(differs) {
            return Err(KeyRingError::OtherKey { epoch: *epoch });
        }
        let known = state.current;
        if current.epoch == known.epoch && current.suite != known.suite {
            let (here, there) = (known.suite.name(), current.suite.name());
            return Err(KeyRingError::OtherCipher { epoch: known.epoch, here, there });
        }
        if current.epoch >= known.epoch {
            *state = State { current, keys };
        }
        Ok(())
    }

    /// Forgets an epoch that no file uses any more; files of it can no longer be opened through this ring.
    ///
    /// # Errors
    /// If the epoch is the current one.
    pub fn retire(&self, epoch: u32) -> std::result::Result<(), KeyRingError> {
        let mut state = self.write();
        if epoch == state.current.epoch {
            return Err(KeyRingError::Current { epoch });
        }
        state.keys.remove(&epoch);
        Ok(())
    }

    /// Cipher and epoch of new files, by one look.
    pub fn current(&self) -> Current {
        self.read().current
    }

    /// The epoch of new segments.
    pub fn current_epoch(&self) -> u32 {
        self.current().epoch
    }

    /// Every epoch held, ascending.
    pub fn epochs(&self) -> Vec<u32> {
        self.read().keys.keys().copied().collect()
    }

    pub(crate) fn key(&self, epoch: u32) -> Result<Arc<Secret>> {
        self.home.check()?;
        self.read().keys.get(&epoch).cloned().ok_or(SealedError::MissingEpoch { epoch })
    }

    pub(crate) fn home(&self) -> Arc<Home> {
        Arc::clone(&self.home)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Current { epoch, suite } = self.current();
        write!(formatter, "KeyRing({}, epochs {:?}, current {epoch})", suite.name(), self.epochs())
    }
}

fn insert(keys: &mut BTreeMap<u32, Arc<Secret>>, epoch: u32, key: Secret) -> std::result::Result<(), KeyRingError> {
    if key.len() != EPOCH_KEY_BYTES {
        return Err(KeyRingError::KeyLength { epoch, bytes: key.len() });
    }
    if keys.contains_key(&epoch) {
        return Err(KeyRingError::Duplicate { epoch });
    }
    keys.insert(epoch, Arc::new(key));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{Layout, Purpose, header::Header};

    fn key(byte: u8) -> Secret {
        Secret::from_slice(&[byte; EPOCH_KEY_BYTES])
    }

    fn ring() -> KeyRing {
        KeyRing::new(AtRest::Sm4Gcm, vec![(1, key(1)), (2, key(2))], 2).unwrap()
    }

    #[test]
    fn refuses_sets_that_cannot_be_used() {
        let make = |epochs, current| KeyRing::new(AtRest::Sm4Gcm, epochs, current).unwrap_err();
        assert_eq!(make(vec![(1, key(1))], 2), KeyRingError::NoCurrent { epoch: 2 });
        assert_eq!(make(vec![(1, key(1)), (1, key(2))], 1), KeyRingError::Duplicate { epoch: 1 });
        assert_eq!(make(vec![(1, Secret::zeroed(16))], 1), KeyRingError::KeyLength { epoch: 1, bytes: 16 });
    }

    #[test]
    fn rotation_is_seen_by_clones_and_never_goes_back() {
        let ring = ring();
        let clone = ring.clone();
        ring.rotate(5, key(5)).unwrap();
        assert_eq!((clone.current_epoch(), clone.epochs()), (5, vec![1, 2, 5]));
        assert_eq!(clone.rotate(5, key(6)).unwrap_err(), KeyRingError::NotNewer { epoch: 5, current: 5 });
        assert_eq!(clone.rotate(3, key(6)).unwrap_err(), KeyRingError::NotNewer { epoch: 3, current: 5 });
        assert_eq!(clone.retire(5).unwrap_err(), KeyRingError::Current { epoch: 5 });
        clone.retire(1).unwrap();
        assert_eq!(ring.epochs(), [2, 5]);
    }

    #[test]
    fn a_cipher_begins_with_an_epoch_and_is_taken_over_with_it() {
        let (ring, holder) = (ring(), ring());
        ring.rotate_to(3, AtRest::Aes256Gcm, key(3)).unwrap();
        let aes = |epoch| Current { epoch, suite: AtRest::Aes256Gcm };
        assert_eq!(ring.current(), aes(3));
        assert!(ring.rotate_to(3, AtRest::Sm4Gcm, key(4)).is_err());
        assert!(ring.rotate_to(4, AtRest::Sm4Gcm, Secret::zeroed(16)).is_err());
        assert_eq!(ring.current(), aes(3), "what failed changed neither");
        ring.rotate(5, key(5)).unwrap();
        assert_eq!(ring.current(), aes(5), "another cipher only where it is asked for");
        // The same vault, read before and after.
        holder.become_like(&ring).unwrap();
        ring.become_like(&self::ring()).unwrap();
        assert_eq!((holder.current(), ring.current()), (aes(5), aes(5)));
        let other = KeyRing::new(AtRest::Sm4Gcm, vec![(5, key(5))], 5).unwrap();
        assert!(matches!(holder.become_like(&other), Err(KeyRingError::OtherCipher { epoch: 5, .. })));
        assert_eq!((holder.current(), holder.epochs()), (aes(5), vec![1, 2, 3, 5]));
    }

    /// Whoever makes a file while another thread rotates gets the cipher of its epoch.
    #[test]
    fn no_file_gets_the_cipher_of_one_epoch_and_the_number_of_another() {
        let ring = ring();
        let suite_of = |epoch: u32| if epoch.is_multiple_of(2) { AtRest::Sm4Gcm } else { AtRest::Aes256Gcm };
        let rotated = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for epoch in 3..50_000 {
                    ring.rotate_to(epoch, suite_of(epoch), key(3)).unwrap();
                    ring.retire(epoch - 1).unwrap();
                }
                rotated.store(true, Ordering::Release);
            });
            while !rotated.load(Ordering::Acquire) {
                let header = Header::fresh(&ring, Layout::Small, Purpose::Small, 0).unwrap();
                assert_eq!(header.suite, suite_of(header.epoch), "epoch {}", header.epoch);
            }
        });
    }

    #[test]
    fn a_ring_becomes_like_a_newer_one_of_the_same_vault() {
        let old = ring();
        let holder = old.clone();
        let newer = KeyRing::new(AtRest::Sm4Gcm, vec![(2, key(2)), (3, key(3))], 3).unwrap();
        old.become_like(&newer).unwrap();
        assert_eq!((holder.current_epoch(), holder.epochs()), (3, vec![2, 3]));
        // Read before the last rotation: nothing goes back.
        old.become_like(&ring()).unwrap();
        old.become_like(&holder).unwrap();
        assert_eq!((holder.current_epoch(), holder.epochs()), (3, vec![2, 3]));
        let other = KeyRing::new(AtRest::Sm4Gcm, vec![(3, key(9)), (4, key(4))], 4).unwrap();
        assert_eq!(old.become_like(&other), Err(KeyRingError::OtherKey { epoch: 3 }));
        assert_eq!((holder.current_epoch(), holder.epochs()), (3, vec![2, 3]));
    }

    #[test]
    fn debug_names_epochs_and_no_key() {
        assert_eq!(format!("{:?}", ring()), "KeyRing(SM4-GCM, epochs [1, 2], current 2)");
    }
}
