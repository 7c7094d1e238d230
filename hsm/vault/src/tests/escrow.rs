//! Slots that officers open together.

use bixi_hsm::device::decorators::Failing;
use bixi_hsm_escrow::{Document, Record, Share, recover};

use super::*;

const OFFICERS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Adds an escrow of three of five; its record, and the shares by way of their pages.
fn add_escrow(bench: &Bench, vault: &mut Vault, label: &str) -> (Record, Vec<Share>) {
    let escrow = vault.plan_escrow(&bench.device, &OFFICERS, 3).unwrap();
    vault.add_escrow(label, &escrow).unwrap();
    let pages = escrow.shares.iter().map(|share| share.page("officer"));
    let shares = pages.map(|page| match Document::parse(&page).unwrap() {
        Document::Open(share) => share,
        Document::Sealed(_) => panic!("an open page"),
    });
    (escrow.record, shares.collect())
}

#[test]
fn officers_open_the_vault_together_and_reseal_it() {
    let bench = bench();
    let mut vault = bench.create();
    let (_, shares) = add_escrow(&bench, &mut vault, "officers");
    vault.add_epoch(&bench.device, None).unwrap();

    let told = describe(&*storage(), bench.path()).unwrap();
    assert_eq!((told.version, told.slots.len()), (3, 2));
    let slot = told.slots.iter().find(|slot| slot.kind == SlotKind::Escrow).unwrap();
    let record = slot.escrow.as_ref().unwrap();
    assert_eq!(slot.kek.to_string(), format!("escrow:object={}", record.name()));

    let key = recover(record, &shares[1..4]).unwrap();
    let mut opened = Vault::open(storage(), bench.path(), &key).unwrap();
    assert!(bench.same_keys(&vault.key_ring(), &opened.key_ring()));

    let fresh = SoftDevice::new("fresh");
    let kek = fresh.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    opened.reseal(&fresh, &kek).unwrap();
    assert!(matches!(Vault::open(storage(), bench.path(), &key), Err(VaultError::WrongKek { .. })));
    let again = Vault::open(storage(), bench.path(), &DeviceKek { device: &fresh, key: &kek }).unwrap();
    assert!(bench.same_keys(&opened.key_ring(), &again.key_ring()));
    assert_eq!(again.key_ring().epochs(), [1, 2, 3]);
    assert_eq!(again.slots().len(), 1);
}

/// Neither the device's randomness nor the system's alone decides a coefficient: who knew them all would need one share.
#[test]
fn the_device_is_asked_for_the_key_and_each_coefficient_and_does_not_decide_them() {
    let bench = bench();
    let vault = bench.create();
    let plan = |device: &SoftDevice| vault.plan_escrow(device, &OFFICERS, 4).unwrap();
    // Two devices that give the same bytes: what differs is the system's.
    let [first, second] = [1, 1].map(|seed| plan(&SoftDevice::seeded("twin", seed)));
    let commitments = |record: &Record| {
        record.holders.iter().map(|holder| holder.commitment).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(commitments(&first.record).is_disjoint(&commitments(&second.record)));
    let counted = Failing::new(SoftDevice::new("counted"), 0, 0);
    vault.plan_escrow(&counted, &OFFICERS, 4).unwrap();
    assert_eq!(counted.calls(), 4, "the key and three coefficients");
}

/// What would end the making of an escrow is found before a share is given out.
#[test]
fn a_slot_that_cannot_be_added_is_told_before_anything_is_given_out() {
    let bench = bench();
    let vault = bench.create();
    let before = std::fs::read(bench.path()).unwrap();
    vault.expect_room("officers").unwrap();
    assert!(matches!(vault.expect_room("primary"), Err(VaultError::LabelTaken { .. })));
    assert!(matches!(vault.expect_room(&"x".repeat(257)), Err(VaultError::Full { .. })));
    let blocked = bench.dir.path().join("vault.tmp");
    std::fs::create_dir(&blocked).unwrap();
    assert!(matches!(vault.expect_room("officers"), Err(VaultError::Storage { .. })));
    std::fs::remove_dir(&blocked).unwrap();
    vault.expect_room("officers").unwrap();
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
    let mut newer = bench.open().unwrap();
    newer.add_epoch(&bench.device, None).unwrap();
    assert!(matches!(vault.expect_room("officers"), Err(VaultError::Stale { .. })));
}

#[test]
fn nothing_is_written_before_the_shares_are_given_out() {
    let bench = bench();
    let vault = bench.create();
    let before = std::fs::read(bench.path()).unwrap();
    let escrow = vault.plan_escrow(&bench.device, &OFFICERS, 2).unwrap();
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
    assert!(matches!(Vault::open(storage(), bench.path(), &escrow.key), Err(VaultError::WrongKek { .. })));
    let wrong = vault.plan_escrow(&bench.device, &OFFICERS, 6);
    assert!(matches!(wrong, Err(VaultError::Escrow(_))), "{wrong:?}");
}

#[test]
fn slots_end_by_their_label_and_the_primary_stays() {
    let bench = bench();
    let mut vault = bench.create();
    let (record, shares) = add_escrow(&bench, &mut vault, "officers");
    let escrow = vault.plan_escrow(&bench.device, &OFFICERS, 2).unwrap();
    assert!(matches!(vault.add_escrow("officers", &escrow), Err(VaultError::LabelTaken { .. })));
    assert!(matches!(vault.remove_slot("others"), Err(VaultError::NoSlot { .. })));
    assert!(matches!(vault.remove_slot("primary"), Err(VaultError::PrimarySlot { .. })));
    vault.remove_slot("officers").unwrap();
    let key = recover(&record, &shares[..3]).unwrap();
    assert!(matches!(Vault::open(storage(), bench.path(), &key), Err(VaultError::WrongKek { .. })));
    assert_eq!(bench.open().unwrap().slots().len(), 1);
}

/// Version 2 is for what version 1 cannot say.
#[test]
fn a_vault_of_devices_alone_stays_readable_by_the_first_release() {
    let bench = bench();
    let version = || u16::from_le_bytes(std::fs::read(bench.path()).unwrap()[8..10].try_into().unwrap());
    let mut vault = bench.create();
    assert_eq!(version(), 1);
    add_escrow(&bench, &mut vault, "officers");
    assert_eq!(version(), 2);
    vault.remove_slot("officers").unwrap();
    assert_eq!(version(), 1);
}

/// Whoever may write the disk but has no key: the commitments, the names, the threshold.
#[test]
fn an_edited_record_does_not_open() {
    let bench = bench();
    let mut vault = bench.create();
    let (record, shares) = add_escrow(&bench, &mut vault, "officers");
    let key = recover(&record, &shares[..3]).unwrap();
    let sound = std::fs::read(bench.path()).unwrap();
    let record_at = sound.windows(16).position(|window| window == record.id).unwrap();
    let record_bytes = 16 + 1 + 4 + OFFICERS.len() * (4 + 1 + 32);
    for place in record_at..record_at + record_bytes {
        let mut edited = sound.clone();
        edited[place] ^= 1;
        let end = edited.len() - 32;
        let checksum = bixi_accel::sm3::digest(&edited[..end]);
        edited[end..].copy_from_slice(&checksum);
        std::fs::write(bench.path(), edited).unwrap();
        for opened in [Vault::open(storage(), bench.path(), &key), bench.open()] {
            assert!(matches!(opened, Err(VaultError::Altered { .. } | VaultError::Damaged { .. })), "byte {place}");
        }
    }
}
