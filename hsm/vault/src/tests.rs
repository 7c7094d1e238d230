use bixi_hsm::soft::SoftDevice;
use bixi_hsm::{KeyKind, KeySpec};
use bixi_platform::io::{OpenMode, PreadStorage};
use bixi_sealed::{Purpose, small};

use super::*;

mod escrow;
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
    assert_eq!(vault.add_epoch(&bench.device).unwrap(), 2);
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
    second.add_epoch(&bench.device).unwrap();
    assert!(matches!(first.add_epoch(&bench.device), Err(VaultError::Stale { .. })));
    assert_eq!(first.epochs(), [1], "a failed change changes nothing");
    assert_eq!(first.key_ring().current_epoch(), 1);
    assert_eq!(bench.open().unwrap().epochs(), [1, 2]);
}

#[test]
fn every_flipped_bit_is_an_error_that_names_the_file() {
    let bench = bench();
    let mut vault = bench.create();
    vault.add_epoch(&bench.device).unwrap();
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
    vault.add_epoch(&bench.device).unwrap();
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
    again.add_epoch(&bench.device).unwrap();
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
