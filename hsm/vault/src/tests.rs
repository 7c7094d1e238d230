use std::collections::BTreeSet;

use bixi_hsm::soft::SoftDevice;
use bixi_hsm::{KeyKind, KeySpec};
use bixi_platform::io::{Crash, Faults, FaultyStorage, MemoryDisk, OpenMode, PreadStorage};
use bixi_sealed::{Current, Purpose, small};

use super::*;

mod escrow;
mod formats;
mod keeper;

struct Bench {
    dir: tempfile::TempDir,
    device: SoftDevice,
    kek: KeyRef,
}

fn bench() -> Bench {
    let device = SoftDevice::new("test");
    let kek = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    Bench { dir: tempfile::tempdir().unwrap(), device, kek }
}

fn storage() -> Arc<dyn Storage> {
    Arc::new(PreadStorage::new())
}

impl Bench {
    fn path(&self) -> PathBuf {
        self.dir.path().join("vault")
    }

    fn create(&self) -> Vault {
        Vault::create(storage(), self.path(), AtRest::Sm4Gcm, &self.device, &self.kek).unwrap()
    }

    fn open(&self) -> Result<Vault, VaultError> {
        Vault::open(storage(), self.path(), &DeviceKek { device: &self.device, key: &self.kek })
    }

    fn kek_of<'a>(&'a self, key: &'a KeyRef) -> DeviceKek<'a> {
        DeviceKek { device: &self.device, key }
    }

    fn other_kek(&self, label: &str) -> KeyRef {
        self.device.generate(&KeySpec::new(label, KeyKind::Kek)).unwrap()
    }

    /// Seals a marker under the ring and says whether another ring reads it.
    fn same_keys(&self, ring: &KeyRing, other: &KeyRing) -> bool {
        let path = self.dir.path().join("marker");
        small::write_atomic(&*storage(), &path, ring, Purpose::Small, b"marker").unwrap();
        small::read(&*storage(), &path, other, Purpose::Small).is_ok_and(|body| &body[..] == b"marker")
    }
}

#[test]
fn a_reopened_vault_gives_the_same_keys() {
    let bench = bench();
    let vault = bench.create();
    assert_eq!((vault.version(), vault.epochs()), (1, vec![1]));
    let again = bench.open().unwrap();
    assert!(bench.same_keys(&vault.key_ring(), &again.key_ring()));
    let slots = again.slots();
    assert_eq!((slots.len(), slots[0].kind, &slots[0].kek), (1, SlotKind::Primary, &bench.kek));
    let second = tempfile::tempdir().unwrap();
    let foreign = Vault::create(storage(), second.path().join("v"), AtRest::Sm4Gcm, &bench.device, &bench.kek).unwrap();
    assert!(
        !bench.same_keys(&vault.key_ring(), &foreign.key_ring()),
        "one key encryption key, two vaults, two key sets"
    );
}

#[test]
fn rotation_is_seen_at_once_and_survives() {
    let bench = bench();
    let mut vault = bench.create();
    let holder = vault.key_ring();
    assert_eq!(vault.add_epoch(&bench.device, None).unwrap(), 2);
    assert_eq!((holder.current_epoch(), holder.epochs()), (2, vec![1, 2]));
    let mut again = bench.open().unwrap();
    assert_eq!((again.version(), again.epochs()), (2, vec![1, 2]));
    assert!(bench.same_keys(&holder, &again.key_ring()));
    assert!(matches!(again.drop_epoch(2), Err(VaultError::InUse { epoch: 2, .. })));
    again.drop_epoch(1).unwrap();
    assert_eq!(again.key_ring().epochs(), [2]);
    assert_eq!(bench.open().unwrap().epochs(), [2]);
}

#[test]
fn another_cipher_begins_with_an_epoch_in_one_write() {
    let bench = bench();
    let mut vault = bench.create();
    let (holder, before) = (vault.key_ring(), vault.version());
    assert_eq!(holder.current(), Current { epoch: 1, suite: AtRest::Sm4Gcm });
    vault.add_epoch(&bench.device, Some(AtRest::Aes256Gcm)).unwrap();
    let aes = |epoch| Current { epoch, suite: AtRest::Aes256Gcm };
    assert_eq!((holder.current(), vault.version()), (aes(2), before + 1));
    let mut again = bench.open().unwrap();
    assert_eq!(again.key_ring().current(), aes(2));
    assert!(bench.same_keys(&holder, &again.key_ring()));
    // A rotation that names none keeps it, and so does another key encryption key; the same one again is an ordinary rotation.
    again.add_epoch(&bench.device, None).unwrap();
    let other = bench.other_kek("kek-2");
    again.reseal(&bench.device, &other).unwrap();
    again.add_epoch(&bench.device, Some(AtRest::Aes256Gcm)).unwrap();
    assert_eq!(again.key_ring().current(), aes(5));
    again.add_epoch(&bench.device, Some(AtRest::Sm4Gcm)).unwrap();
    let last = Vault::open(storage(), bench.path(), &bench.kek_of(&other)).unwrap().key_ring();
    assert_eq!((last.current(), last.epochs()), (Current { epoch: 6, suite: AtRest::Sm4Gcm }, vec![1, 2, 3, 4, 5, 6]));
    holder.become_like(&last).unwrap();
    assert_eq!(holder.current(), last.current());
}

/// A rotation that failed leaves nothing for the next one.
#[test]
fn the_cipher_of_a_rotation_that_failed_is_not_begun_by_the_next() {
    let (device, path) = (SoftDevice::seeded("test", 1), Path::new("/vault"));
    let kek = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    let mut failed = 0;
    for number in 1.. {
        let (disk, faults) = (MemoryDisk::new(), Faults::none());
        let faulty: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::new(disk), faults.clone()));
        let mut vault = Vault::create(faulty, path, AtRest::Sm4Gcm, &device, &kek).unwrap();
        faults.fail_once_at(faults.operations() + number);
        if vault.add_epoch(&device, Some(AtRest::Aes256Gcm)).is_ok() {
            break;
        }
        match vault.add_epoch(&device, None) {
            Ok(epoch) => assert_eq!(vault.key_ring().current(), Current { epoch, suite: AtRest::Sm4Gcm }, "{number}"),
            // What failed had the name already.
            Err(error) => assert!(matches!(error, VaultError::Stale { .. }), "{number}: {error}"),
        }
        failed += 1;
    }
    assert!(failed > 4, "{failed}");
}

/// Whatever fails, and the power after it: epoch and cipher of before, or both of after.
#[test]
fn a_crash_leaves_epoch_and_cipher_of_one_vault() {
    let (device, path) = (SoftDevice::seeded("test", 1), Path::new("/vault"));
    let kek = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    let kek = DeviceKek { device: &device, key: &kek };
    let mut seen = BTreeSet::new();
    for number in 1.. {
        let (disk, faults) = (MemoryDisk::new(), Faults::none());
        let faulty: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults.clone()));
        let mut vault = Vault::create(faulty, path, AtRest::Sm4Gcm, &device, kek.key).unwrap();
        faults.dead_from(faults.operations() + number);
        let done = vault.add_epoch(&device, Some(AtRest::Aes256Gcm));
        let expected = match &done {
            Ok(_) => Current { epoch: 2, suite: AtRest::Aes256Gcm },
            Err(_) => Current { epoch: 1, suite: AtRest::Sm4Gcm },
        };
        assert_eq!(vault.key_ring().current(), expected, "{number}");
        disk.crash(Crash::Torn { seed: number });
        let Current { epoch, suite } = Vault::open(Arc::new(disk), path, &kek).unwrap().key_ring().current();
        seen.insert((epoch, suite.name()));
        if done.is_ok() {
            assert!(number > 4, "{number}");
            break;
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(1, "SM4-GCM"), (2, "AES-256-GCM")]);
}

#[test]
fn a_vault_that_nobody_could_read_again_is_not_written() {
    let bench = bench();
    let mut vault = bench.create();
    let long = "x".repeat(format::FILE_BYTES_MAX);
    let other = bench.other_kek("standby");
    let refused = vault.add_slot(SlotKind::Standby, &long, &bench.kek_of(&other), &other);
    assert!(matches!(refused, Err(VaultError::Full { .. })), "{refused:?}");
    assert_eq!((bench.open().unwrap().slots().len(), vault.slots().len()), (1, 1));
    vault.add_slot(SlotKind::Standby, "standby", &bench.kek_of(&other), &other).unwrap();
}

#[test]
fn what_the_device_said_stays_in_the_chain_of_causes() {
    use std::error::Error as _;
    let refused = bixi_hsm::DeviceError::new("C_Login", bixi_hsm::Cause::PinHeldBack, "not tried");
    let error = VaultError::from(refused.clone());
    assert_eq!(error.to_string(), refused.to_string());
    assert_eq!(error.source().and_then(|source| source.downcast_ref()), Some(&refused));
}

#[test]
fn a_stale_handle_cannot_undo_another_process() {
    let bench = bench();
    let mut first = bench.create();
    let mut second = bench.open().unwrap();
    second.add_epoch(&bench.device, None).unwrap();
    assert!(matches!(first.add_epoch(&bench.device, None), Err(VaultError::Stale { .. })));
    assert_eq!(first.epochs(), [1], "a failed change changes nothing");
    assert_eq!(first.key_ring().current_epoch(), 1);
    assert_eq!(bench.open().unwrap().epochs(), [1, 2]);
}

#[test]
fn every_flipped_bit_is_an_error_that_names_the_file() {
    let bench = bench();
    let mut vault = bench.create();
    vault.add_epoch(&bench.device, None).unwrap();
    let sound = std::fs::read(bench.path()).unwrap();
    for place in 0..sound.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = sound.clone();
            flipped[place] ^= bit;
            std::fs::write(bench.path(), flipped).unwrap();
            let error = bench.open().unwrap_err();
            let named = error.to_string().contains(&*bench.path().to_string_lossy());
            assert!(matches!(error, VaultError::Damaged { .. }) && named, "byte {place}: {error}");
        }
    }
    for len in 0..sound.len() {
        std::fs::write(bench.path(), &sound[..len]).unwrap();
        assert!(matches!(bench.open(), Err(VaultError::Damaged { .. })), "cut to {len} bytes");
    }
    std::fs::write(bench.path(), [&sound[..], &[0]].concat()).unwrap();
    assert!(matches!(bench.open(), Err(VaultError::Damaged { .. })));
    std::fs::write(bench.path(), &sound).unwrap();
    bench.open().unwrap();
}

/// Whoever edits the file can also repair its checksum, which needs no key.
#[test]
fn an_edit_with_a_repaired_checksum_is_refused() {
    let bench = bench();
    bench.create();
    let sound = std::fs::read(bench.path()).unwrap();
    let covered = sound.len() - 32;
    let mut altered = 0;
    for place in 0..covered {
        let mut edited = sound[..covered].to_vec();
        edited[place] ^= 1;
        edited.extend(bixi_accel::sm3::digest(&edited));
        std::fs::write(bench.path(), edited).unwrap();
        match bench.open().unwrap_err() {
            VaultError::Altered { .. } => altered += 1,
            VaultError::Damaged { .. } | VaultError::WrongKek { .. } | VaultError::Version { .. } => {}
            other => panic!("byte {place}: {other}"),
        }
    }
    assert!(altered > 150, "{altered} of {covered} bytes reach the authentication");
}

#[test]
fn a_wrong_or_missing_key_encryption_key_is_told_apart() {
    let bench = bench();
    bench.create();
    let wrong = bench.other_kek("another");
    let error = Vault::open(storage(), bench.path(), &DeviceKek { device: &bench.device, key: &wrong }).unwrap_err();
    assert!(matches!(error, VaultError::WrongKek { .. }), "{error}");
    assert!(error.to_string().contains(&bench.kek.to_string()), "it names the key that would fit: {error}");
    let absent = "soft:token=test;object=absent".parse().unwrap();
    let error = Vault::open(storage(), bench.path(), &DeviceKek { device: &bench.device, key: &absent }).unwrap_err();
    assert!(matches!(error, VaultError::Device(_)), "{error}");
    std::fs::remove_file(bench.path()).unwrap();
    assert!(matches!(bench.open(), Err(VaultError::Missing { .. })));
}

#[test]
fn creation_never_replaces_a_vault() {
    let bench = bench();
    let vault = bench.create();
    let again = Vault::create(storage(), bench.path(), AtRest::Sm4Gcm, &bench.device, &bench.kek);
    assert!(matches!(again, Err(VaultError::Exists { .. })));
    assert!(bench.same_keys(&vault.key_ring(), &bench.open().unwrap().key_ring()));
}

#[test]
fn a_standby_slot_opens_the_same_keys() {
    let bench = bench();
    let mut vault = bench.create();
    let standby = SoftDevice::new("standby");
    let kek = standby.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    vault.add_slot(SlotKind::Standby, "rack 2", &DeviceKek { device: &standby, key: &kek }, &kek).unwrap();
    vault.add_epoch(&bench.device, None).unwrap();
    let opened = Vault::open(storage(), bench.path(), &DeviceKek { device: &standby, key: &kek });
    // The standby holds none of the primary's keys: its own slot must be found without asking for them.
    let opened = opened.unwrap();
    assert!(bench.same_keys(&vault.key_ring(), &opened.key_ring()));
    assert_eq!(bench.open().unwrap().slots().len(), 2);
}

/// A second slot for the node's own key looks like a standby until the day when the device is lost.
#[test]
fn a_key_that_opens_the_vault_already_gets_no_second_slot() {
    let bench = bench();
    let mut vault = bench.create();
    let standby = bench.other_kek("standby");
    vault.add_slot(SlotKind::Standby, "first", &bench.kek_of(&standby), &standby).unwrap();
    let before = std::fs::read(bench.path()).unwrap();
    for (key, slot) in [(&bench.kek, "primary"), (&standby, "first")] {
        let refused = vault.add_slot(SlotKind::Standby, "second", &bench.kek_of(key), key);
        assert!(matches!(&refused, Err(VaultError::OpensAlready { label, .. }) if label == slot), "{refused:?}");
    }
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
}

#[test]
fn resealing_ends_the_old_key_keeps_the_epochs_and_begins_one() {
    let bench = bench();
    let mut vault = bench.create();
    let old_copy = std::fs::read(bench.path()).unwrap();
    let new = bench.other_kek("kek-2");
    let begun = vault.reseal(&bench.device, &new).unwrap();
    assert_eq!((vault.key_ring().epochs(), vault.key_ring().current_epoch()), (vec![1, 2], begun));
    assert!(matches!(bench.open(), Err(VaultError::WrongKek { .. })));
    let opened = Vault::open(storage(), bench.path(), &DeviceKek { device: &bench.device, key: &new }).unwrap();
    assert_eq!(opened.version(), 2, "one write: nothing lies between the key's end and the epoch's begin");
    assert!(bench.same_keys(&vault.key_ring(), &opened.key_ring()));
    std::fs::write(bench.path(), old_copy).unwrap();
    let old = bench.open().expect("an old copy opens with the old key until that is destroyed");
    assert_eq!(old.key_ring().epochs(), [1], "and reads nothing that was written since");
}

#[test]
fn a_crash_before_the_rename_leaves_the_old_vault() {
    let bench = bench();
    let vault = bench.create();
    let rest = storage().open(&bench.path().with_extension("tmp"), OpenMode::Truncate).unwrap();
    rest.write_at(0, b"half a vault").unwrap();
    let mut again = bench.open().unwrap();
    again.add_epoch(&bench.device, None).unwrap();
    assert!(bench.open().unwrap().key_ring().epochs().contains(&vault.key_ring().current_epoch()));
}

#[test]
fn nothing_secret_is_in_the_file_or_in_debug_output() {
    let bench = bench();
    let vault = bench.create();
    let bytes = std::fs::read(bench.path()).unwrap();
    for secret in [vault.key.as_slice(), vault.epochs[0].1.as_slice()] {
        assert!(!bytes.windows(16).any(|window| window == &secret[..16] || window == &secret[16..]));
    }
    assert_eq!(format!("{vault:?}"), format!("Vault({}, version 1)", bench.path().display()));
}

#[test]
fn two_writes_of_one_content_share_no_key_stream() {
    let bench = bench();
    let mut vault = bench.create();
    let before = vault.body.clone();
    vault.write(file::Expect::Seen).unwrap();
    assert_ne!(before.salt, vault.body.salt);
    assert_ne!(before.sealed, vault.body.sealed);
    assert_eq!(before.epochs, vault.body.epochs);
}
