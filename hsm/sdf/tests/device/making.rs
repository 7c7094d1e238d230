//! Where keys are made: at free indices and under pairs of ours, once.

use bixi_hsm::{Cause, KeyDevice, KeyKind, KeySpec};
use bixi_hsm_sdf::{Params, SdfDevice};

use crate::bench::{Bench, kek, key, prf, sign_key};

const MAKE: &str = "SDF_CreateKeyPair_ECC";

#[test]
fn generation_overwrites_nothing() {
    let bench = Bench::new("pairs = 1,3\n");
    let device = SdfDevice::open(Params { indices: 1..=4, ..bench.params("standard") }).unwrap();
    let before = device.public_key(&key("sdf:object=sign-3")).unwrap();
    for (label, id) in [("a", "%00%00%00%02"), ("b", "%00%00%00%04")] {
        let made = device.generate(&KeySpec::new(label, KeyKind::Sm2Sign)).unwrap();
        assert!(made.to_string().contains(id), "{made}");
    }
    let full = device.generate(&KeySpec::new("c", KeyKind::Sm2Sign)).unwrap_err();
    assert_eq!(
        (full.cause, full.message.as_str()),
        (Cause::Rejected, "every index of 1..=4 has a name or holds a pair")
    );
    assert_eq!(device.public_key(&key("sdf:object=sign-3")).unwrap(), before);
}

/// A pair of one kind at an index says that the index is somebody's.
#[test]
fn an_index_with_one_pair_is_not_free() {
    let bench = Bench::new("pairs = 1,2\n");
    let device = bench.open().unwrap();
    for one in ["state/sign-1", "state/encrypt-2"] {
        std::fs::remove_file(bench.path(one)).unwrap();
    }
    assert!(sign_key(&device).to_string().contains("%00%00%00%03"));
    kek(&device);
    assert_eq!(bench.kek_index(), 4);
}

#[test]
fn a_key_encryption_key_is_made_under_no_pair_of_others() {
    let bench = Bench::new("pairs = 1,2\n");
    let first = kek(&bench.open().unwrap());
    assert_eq!((bench.kek_index(), bench.calls(MAKE)), (3, 1));
    let device = bench.open().unwrap();
    let second = device.generate(&KeySpec::new("second", KeyKind::Kek)).unwrap();
    assert_eq!(bench.calls(MAKE), 1, "the pair that was made here serves again");
    assert_ne!(prf(&device, &first).unwrap(), prf(&device, &second).unwrap());
}

#[test]
fn the_officer_may_give_an_encryption_pair_without_a_signing_pair() {
    let bench = Bench::new("pairs = 1,6\nextensions = false\n");
    bench.name_pair("encryption = [6]\n");
    let device = bench.open().unwrap();
    kek(&device);
    assert_eq!((bench.kek_index(), bench.calls(MAKE)), (6, 0));
    drop(device);
    bench.name_pair("encryption = [0]\n");
    let refused = bench.open().unwrap_err();
    assert!(refused.message.contains("encryption: index 0"), "{refused}");
}

/// The call may have been carried out although its answer says that the session is lost.
#[test]
fn a_call_that_makes_a_pair_is_not_repeated() {
    let bench = Bench::new("");
    let device = bench.open().unwrap();
    bench.refuse(MAKE, 0x0100_0010);
    for (calls, kind) in [(1, KeyKind::Sm2Sign), (2, KeyKind::Kek)] {
        let lost = device.generate(&KeySpec::new("once", kind)).unwrap_err();
        assert_eq!((lost.cause, bench.calls(MAKE)), (Cause::SessionLost, calls), "{lost}");
    }
}
