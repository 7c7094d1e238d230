//! Vaults as released formats have them, kept as bytes: a change that cannot read them fails here.
//!
//! `BIXI_WRITE_FIXTURES=1 cargo test -p bixi-hsm-vault -- --ignored write_fixtures` makes those of version 2 anew.

use bixi_hsm_escrow::{Document, recover};
use bixi_sealed::inspect_path;

use super::*;

/// A file of `tests/fixtures`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The device whose keys open them: the same keys each time, by its seed.
fn device() -> (SoftDevice, [KeyRef; 2]) {
    let device = SoftDevice::seeded("fixture", 1);
    let keys = ["kek", "standby"].map(|label| device.generate(&KeySpec::new(label, KeyKind::Kek)).unwrap());
    (device, keys)
}

/// The vault in a directory where it may be written.
fn copied(bench: &Bench, name: &str) {
    std::fs::copy(fixture(name), bench.path()).unwrap();
}

fn marker(name: &str, ring: &KeyRing) -> Vec<u8> {
    small::read(&*storage(), &fixture(name), ring, Purpose::Small).unwrap().to_vec()
}

/// Two epochs, a standby's slot, and what was sealed under it.
#[test]
fn a_vault_of_the_first_release_opens() {
    let (bench, (device, keys)) = (bench(), device());
    copied(&bench, "vault-v1");
    for key in &keys {
        let vault = Vault::open(storage(), bench.path(), &DeviceKek { device: &device, key }).unwrap();
        assert_eq!((vault.version(), vault.epochs(), vault.slots().len()), (3, vec![1, 2], 2));
        assert_eq!(vault.key_ring().current().suite, AtRest::Sm4Gcm);
        assert_eq!(marker("marker-v1", &vault.key_ring()), b"marker");
    }
}

/// Three epochs, the last of another cipher, a standby's slot and one of which two of three officers have the key; gone on with.
#[test]
fn a_vault_of_version_2_opens_by_device_and_by_officers() {
    let (bench, (device, keys)) = (bench(), device());
    copied(&bench, "vault-v2");
    let pages = [1, 3].map(|index| std::fs::read_to_string(fixture(&format!("share-v2-{index}.txt"))).unwrap());
    let shares = pages.map(|page| match Document::parse(&page).unwrap() {
        Document::Open(share) => share,
        Document::Sealed(_) => panic!("an open page"),
    });
    let told = describe(&*storage(), bench.path()).unwrap();
    let record = told.slots.iter().find_map(|slot| slot.escrow.clone()).expect("an escrow");
    let officers = recover(&record, &shares).unwrap();
    let [primary, standby] = keys.each_ref().map(|key| DeviceKek { device: &device, key });
    for key in [&primary as &dyn Kek, &standby, &officers] {
        let vault = Vault::open(storage(), bench.path(), key).unwrap();
        assert_eq!((vault.version(), vault.epochs(), vault.slots().len()), (5, vec![1, 2, 3], 3));
        assert_eq!(vault.key_ring().current(), Current { epoch: 3, suite: AtRest::Aes256Gcm });
        assert_eq!(marker("marker-v2-sm4-gcm", &vault.key_ring()), b"marker of epoch 2");
        assert_eq!(marker("marker-v2-aes-256-gcm", &vault.key_ring()), b"marker of epoch 3");
    }
    let mut vault = Vault::open(storage(), bench.path(), &primary).unwrap();
    vault.add_epoch(&device, None).unwrap();
    let vault = Vault::open(storage(), bench.path(), &officers).unwrap();
    assert_eq!(vault.key_ring().current(), Current { epoch: 4, suite: AtRest::Aes256Gcm });
}

#[test]
fn the_fixtures_are_of_the_formats_that_they_stand_for() {
    for (name, version) in [("vault-v1", 1), ("vault-v2", 2)] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        assert_eq!(u16::from_le_bytes([bytes[8], bytes[9]]), version, "{name}");
    }
    for (name, epoch, suite) in
        [("marker-v2-sm4-gcm", 2, AtRest::Sm4Gcm), ("marker-v2-aes-256-gcm", 3, AtRest::Aes256Gcm)]
    {
        let header = inspect_path(&*storage(), &fixture(name)).unwrap();
        assert_eq!((header.epoch, header.suite), (epoch, suite), "{name}");
    }
}

#[test]
#[ignore = "writes the fixtures of version 2 into the source tree"]
fn write_fixtures() {
    assert!(std::env::var_os("BIXI_WRITE_FIXTURES").is_some(), "set BIXI_WRITE_FIXTURES=1");
    let (device, [kek, standby]) = device();
    let (bench, storage) = (bench(), storage());
    let mut vault = Vault::create(Arc::clone(&storage), bench.path(), AtRest::Sm4Gcm, &device, &kek).unwrap();
    let opener = DeviceKek { device: &device, key: &standby };
    vault.add_slot(SlotKind::Standby, "standby", &opener, &standby).unwrap();
    let seal = |name: &str, ring: &KeyRing, body: &[u8]| {
        small::write_atomic(&*storage, &fixture(name), ring, Purpose::Small, body).unwrap();
    };
    vault.add_epoch(&device, None).unwrap();
    seal("marker-v2-sm4-gcm", &vault.key_ring(), b"marker of epoch 2");
    let escrow = vault.plan_escrow(&device, &["a", "b", "c"], 2).unwrap();
    for (index, share) in escrow.shares.iter().enumerate() {
        std::fs::write(fixture(&format!("share-v2-{}.txt", index + 1)), share.page("fixture").as_bytes()).unwrap();
    }
    vault.add_escrow("officers", &escrow).unwrap();
    vault.add_epoch(&device, Some(AtRest::Aes256Gcm)).unwrap();
    seal("marker-v2-aes-256-gcm", &vault.key_ring(), b"marker of epoch 3");
    std::fs::copy(bench.path(), fixture("vault-v2")).unwrap();
}
