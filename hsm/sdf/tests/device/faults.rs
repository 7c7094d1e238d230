//! What a library, a device or a file may do wrong, and what is told then.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use bixi_hsm::profile::ProfileChoice;
use bixi_hsm::{Cause, ErrorKind, KeyDevice, KeyKind, KeySpec};
use bixi_hsm_sdf::{Params, SdfDevice};

use crate::bench::{Bench, PATIENCE, SANSEC, kek, key, library, prf, sign_key};

const RIGHT: &str = "SDF_GetPrivateKeyAccessRight";
/// Where an envelope's digest begins in the file of a key with a label of three letters.
const ENVELOPE_DIGEST_AT: usize = 8 + 16 + 4 + 1 + 3 + 2 + 64 + 64;

#[test]
fn missing_and_foreign_libraries_are_named() {
    let bench = Bench::new("");
    let text = bench.path("text.so");
    std::fs::write(&text, "text, and more of it than a header has").unwrap();
    let foreign = bench.path("foreign.so");
    let mut bytes = std::fs::read(library()).unwrap();
    let (machine, name) =
        if cfg!(target_arch = "x86_64") { (183, "built for aarch64") } else { (62, "built for x86_64") };
    bytes[18..20].copy_from_slice(&u16::to_le_bytes(machine));
    std::fs::write(&foreign, bytes).unwrap();
    for (path, expected) in [
        (bench.path("missing.so"), "No such file"),
        (text, "no shared library"),
        (foreign, name),
        (loaded_libc(), "has no SDF_OpenDevice"),
    ] {
        let error = SdfDevice::open(Params { library_path: path.clone(), ..bench.params("standard") }).unwrap_err();
        assert_eq!(error.cause, Cause::Setup, "{error}");
        assert!(error.message.contains(expected), "{}: {error}", path.display());
        assert!(error.message.contains(&*path.to_string_lossy()), "{error}");
    }
}

/// A shared library that every process has.
fn loaded_libc() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let paths = maps.lines().filter_map(|line| line.split_whitespace().last());
    paths.into_iter().find(|path| path.contains("/libc.so") || path.contains("/libc-")).unwrap().into()
}

#[test]
fn an_unknown_library_needs_a_profile() {
    let bench = Bench::new("");
    std::fs::copy(bench.path("libsdf.so"), bench.path("other.so")).unwrap();
    let other = Params { library_path: bench.path("other.so"), profile: ProfileChoice::Matched, ..bench.params("") };
    let refused = SdfDevice::open(other).unwrap_err();
    assert!(refused.message.contains("name one of sansec, standard"), "{refused}");
    let matched = Params { profile: ProfileChoice::Matched, ..bench.params("") };
    assert_eq!(SdfDevice::open(matched).unwrap().profile().name, "standard");
}

#[test]
fn a_profile_of_another_vendor_shows_itself_when_a_key_is_made() {
    let bench = Bench::new(SANSEC);
    let device = bench.open().unwrap();
    let refused = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap_err();
    assert_eq!((refused.cause, refused.code), (Cause::Unsupported, Some(0x0100_0009)));
    assert!(refused.advice.contains("algorithm identifiers in the profile"), "{refused}");
    assert!(device.list().unwrap().is_empty());
}

/// The PRF would answer under any cipher: nothing else would show that a library's or a profile's identifier is another's.
#[test]
fn another_cipher_in_place_of_sm4_is_found_before_anything_is_sealed_under_it() {
    let bench = Bench::new("other_cipher = true\n");
    let device = bench.open().unwrap();
    let refused = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap_err();
    assert_eq!(refused.cause, Cause::Setup);
    assert!(refused.message.contains("0x401 is not SM4"), "{refused}");
    assert!(device.list().unwrap().is_empty(), "its file is gone");
}

#[test]
fn an_index_without_a_key_is_named() {
    let bench = Bench::new("");
    let device = bench.open().unwrap();
    let refused = device.sign_digest(&key("sdf:object=sign-7"), &[1; 32]).unwrap_err();
    assert_eq!((refused.cause, refused.kind()), (Cause::KeyNotFound, ErrorKind::Refuse));
    assert!(refused.message.contains("index 7 of the device holds no signing pair"), "{refused}");
}

#[test]
fn a_vendors_own_code_for_an_index_without_a_key_is_taken_from_the_profile() {
    let bench = Bench::new("pairs = 3\nno_key = 0x01010042\n");
    let refused = bench.open().unwrap().list().unwrap_err();
    assert_eq!((refused.cause, refused.code), (Cause::Fault, Some(0x0101_0042)));
    assert!(refused.advice.contains("list the code as no_key in a profile"), "{refused}");
    let standard = include_str!("../../profiles/standard.toml");
    let profile = standard.replace("\ncipher_bytes", "\nno_key = [0x01010042]\ncipher_bytes");
    std::fs::write(bench.path("own.toml"), profile).unwrap();
    let own = Params { profile: ProfileChoice::File(bench.path("own.toml")), ..bench.params("") };
    let listed = SdfDevice::open(own).unwrap().list().unwrap();
    assert_eq!(listed.iter().map(|info| info.label.as_str()).collect::<Vec<_>>(), ["sign-3"]);
}

/// What a device answers to a password for a key that is not there may look like a wrong password: it is not asked.
#[test]
fn no_password_is_tried_on_a_key_that_is_not_there() {
    let bench = Bench::new("");
    bench.name_pair("[[pair]]\nlabel = \"vote\"\nindex = 5\n");
    let device = bench.open().unwrap();
    let kek = kek(&device);
    drop(device);
    let before = bench.calls(RIGHT);
    std::fs::remove_file(bench.path("state/encrypt-1")).unwrap();
    let refused = prf(&bench.open().unwrap(), &kek).unwrap_err();
    assert_eq!(refused.cause, Cause::Setup);
    assert!(refused.message.contains("no encryption pair at its index 1"), "{refused}");
    assert_eq!(bench.calls(RIGHT), before);
}

#[test]
fn a_wrong_password_is_tried_once() {
    let bench = Bench::new("pairs = 1\n");
    bench.name_pair("[[pair]]\nlabel = \"vote\"\nindex = 1\n");
    bench.password("wrong-one");
    let first = bench.open().unwrap_err();
    assert_eq!((first.cause, first.code), (Cause::WrongPin, Some(0x0100_0100)));
    for _ in 0..10 {
        let held_back = bench.open().unwrap_err();
        assert_eq!((held_back.cause, held_back.code), (Cause::PinHeldBack, None), "{held_back}");
    }
    assert_eq!(bench.calls(RIGHT), 1, "the others did not reach the device");
    bench.password("12345678");
    bench.open().unwrap().sign_digest(&key("sdf:object=vote"), &[1; 32]).unwrap();
}

#[test]
fn a_wrong_password_found_later_stops_everything_too() {
    let bench = Bench::new("pairs = 1\n");
    bench.password("wrong-one");
    let device = bench.open().unwrap();
    for _ in 0..5 {
        let refused = device.sign_digest(&key("sdf:object=sign-1"), &[1; 32]).unwrap_err();
        assert_eq!((refused.cause, refused.kind()), (Cause::WrongPin, ErrorKind::Halt));
    }
    assert_eq!(device.health().unwrap_err().cause, Cause::WrongPin, "nothing reaches the device any more");
    assert_eq!(bench.calls(RIGHT), 1);
}

#[test]
fn a_right_is_taken_once_for_each_session() {
    let bench = Bench::new("pairs = 1\n");
    let device = bench.open_single();
    for _ in 0..5 {
        device.sign_digest(&key("sdf:object=sign-1"), &[1; 32]).unwrap();
    }
    assert_eq!((bench.calls(RIGHT), bench.calls("SDF_OpenSession")), (1, 2), "one session asked who the device is");
    drop(device);
    assert_eq!(bench.calls("SDF_ReleasePrivateKeyAccessRight"), 1);
}

#[test]
fn imported_keys_are_destroyed_with_their_session() {
    let bench = Bench::new("");
    let device = bench.open_single();
    let kek = kek(&device);
    for _ in 0..3 {
        prf(&device, &kek).unwrap();
    }
    let calls = (bench.calls("SDF_ImportKeyWithISK_ECC"), bench.calls("SDF_DestroyKey"));
    assert_eq!(
        calls,
        (2, 2),
        "the key and the example of SM4 were imported; the one that was made and the example are gone"
    );
    drop(device);
    assert_eq!(bench.calls("SDF_DestroyKey"), 3);
    assert_eq!(bench.calls("SDF_OpenSession"), bench.calls("SDF_CloseSession"));
    assert_eq!(bench.calls("SDF_OpenDevice"), bench.calls("SDF_CloseDevice"));
}

#[test]
fn a_lost_device_is_opened_again() {
    let bench = Bench::new("");
    let device = bench.open().unwrap();
    let (vote, kek) = (sign_key(&device), kek(&device));
    let answer = prf(&device, &kek).unwrap();
    let opened = bench.calls("SDF_OpenDevice");
    for round in 1..=3 {
        bench.fault("lost");
        for _ in 0..3 {
            let lost = device.sign_digest(&vote, &[1; 32]).unwrap_err();
            assert_eq!((lost.cause, lost.kind(), lost.code), (Cause::Absent, ErrorKind::Retry, Some(0x0100_0003)));
        }
        assert_eq!(device.health().unwrap_err().cause, Cause::Absent);
        bench.mend();
        device.sign_digest(&vote, &[1; 32]).unwrap();
        assert_eq!(prf(&device, &kek).unwrap(), answer);
        assert!(bench.calls("SDF_OpenDevice") > opened + round);
    }
}

#[test]
fn a_right_that_was_taken_back_is_taken_again() {
    let bench = Bench::new("");
    let device = bench.open_single();
    let vote = sign_key(&device);
    bench.fault("denied");
    let before = bench.calls(RIGHT);
    let denied = device.sign_digest(&vote, &[1; 32]).unwrap_err();
    assert_eq!((denied.cause, denied.code), (Cause::SessionLost, Some(0x0100_0007)));
    assert!(denied.advice.contains("access password"), "{denied}");
    assert_eq!(bench.calls(RIGHT), before + 1, "once more, in a new session, and no further");
    bench.mend();
    device.sign_digest(&vote, &[1; 32]).unwrap();
}

#[test]
fn a_device_without_a_free_session_is_told() {
    let bench = Bench::new("pairs = 1\n");
    let device = bench.open().unwrap();
    device.sign_digest(&key("sdf:object=sign-1"), &[1; 32]).unwrap();
    bench.fault("busy");
    device.sign_digest(&key("sdf:object=sign-1"), &[1; 32]).expect("the session that is open serves");
    bench.mend();
    let fresh = Bench::new("pairs = 1\nsessions_max = 0\n");
    let busy = fresh.open().unwrap_err();
    assert_eq!((busy.cause, busy.code), (Cause::Busy, Some(0x0100_0006)));
    assert!(busy.advice.contains("hsm.sessions_max"), "{busy}");
}

#[test]
fn who_waits_for_a_hung_device_is_told_in_time() {
    let bench = Bench::new("");
    let device = bench.open_single();
    let vote = sign_key(&device);
    let calls = bench.calls("SDF_InternalSign_ECC");
    bench.fault("hang SDF_InternalSign_ECC");
    std::thread::scope(|scope| {
        let hung = scope.spawn(|| device.sign_digest(&vote, &[1; 32]));
        let began = Instant::now();
        while bench.calls("SDF_InternalSign_ECC") == calls && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        let busy = device.sign_digest(&vote, &[2; 32]);
        // Before anything may panic: a call that hangs would keep this test for ever.
        bench.mend();
        let busy = busy.unwrap_err();
        assert_eq!(busy.cause, Cause::Busy, "{busy}");
        assert_eq!(busy.message, "no session came free in 0 ms; 1 are in use");
        hung.join().unwrap().unwrap();
    });
    device.sign_digest(&vote, &[2; 32]).unwrap();
}

#[test]
fn threads_wait_for_the_few_sessions_that_a_device_has() {
    let bench = Bench::new("pairs = 1\nsessions_max = 2\n");
    let device = bench.open().unwrap();
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let (device, failed) = (&device, &failed);
            scope.spawn(move || {
                let signed = device.sign_digest(&key("sdf:object=sign-1"), &[thread; 32]);
                failed.lock().unwrap().extend(signed.err());
            });
        }
    });
    assert!(failed.lock().unwrap().is_empty(), "{failed:?}");
}

#[test]
fn a_wrong_signature_does_not_leave() {
    let bench = Bench::new("");
    let device = bench.open().unwrap();
    let vote = sign_key(&device);
    bench.fault("wrong-signature");
    let refused = device.sign_digest(&vote, &[1; 32]).unwrap_err();
    assert_eq!((refused.cause, refused.kind()), (Cause::BadAnswer, ErrorKind::Halt));
    bench.mend();
    device.sign_digest(&vote, &[1; 32]).unwrap();
}

/// Real libraries import a changed envelope and answer SDR_OK; strict ones refuse it. Both are refused here, with the file.
#[test]
fn a_flipped_envelope_is_refused_with_its_file() {
    for (config, expected) in [("", "imported another key"), ("strict_import = true\n", "does not import it")] {
        let bench = Bench::new(config);
        let device = bench.open().unwrap();
        let kek = kek(&device);
        drop(device);
        let file = bench.kek_file();
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[ENVELOPE_DIGEST_AT] ^= 1;
        std::fs::write(&file, bad).unwrap();
        let device = bench.open().unwrap();
        let refused = prf(&device, &kek).unwrap_err();
        assert_eq!((refused.cause, refused.kind()), (Cause::Setup, ErrorKind::Halt), "{refused}");
        assert!(refused.message.contains(expected), "{refused}");
        assert!(refused.message.contains(&*file.to_string_lossy()), "{refused}");
        drop(device);
        std::fs::write(&file, good).unwrap();
        prf(&bench.open().unwrap(), &kek).unwrap();
    }
}

#[test]
fn a_key_of_another_device_is_refused() {
    let (ours, theirs) = (Bench::new(""), Bench::new(""));
    let kek = {
        let (device, other) = (ours.open().unwrap(), theirs.open().unwrap());
        kek(&other);
        kek(&device)
    };
    let foreign = std::fs::read(theirs.kek_file()).unwrap();
    std::fs::write(ours.kek_file(), foreign).unwrap();
    let device = ours.open().unwrap();
    assert_eq!(prf(&device, &kek).unwrap_err().cause, Cause::KeyNotFound, "its id is another");
    let refused = prf(&device, &key("sdf:object=kek")).unwrap_err();
    assert!(refused.message.contains("belongs to another device"), "{refused}");
}

#[test]
fn a_library_has_one_open_device_in_a_process() {
    let bench = Bench::new("pairs = 1\n");
    let device = bench.open().unwrap();
    device.health().unwrap();
    let second = bench.open().unwrap_err();
    assert_eq!(second.cause, Cause::Setup);
    assert!(second.message.contains("open already"), "{second}");
    device.health().unwrap();
    drop(device);
    bench.open().unwrap();
}
