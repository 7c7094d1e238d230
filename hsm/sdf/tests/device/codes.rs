//! What is concluded from a library's codes: a key, a file, a session or the device is at fault.

use bixi_hsm::{Cause, ErrorKind, KeyDevice};

use crate::bench::{Bench, kek, key, prf, sign_key};

const RIGHT: &str = "SDF_GetPrivateKeyAccessRight";
const SIGN: &str = "SDF_InternalSign_ECC";
const IMPORT: &str = "SDF_ImportKeyWithISK_ECC";

/// Libraries have many codes for an envelope that they cannot open.
#[test]
fn an_import_refused_by_any_code_names_the_file_and_leaves_the_device_open() {
    let bench = Bench::new("");
    let kek = kek(&bench.open().unwrap());
    let (device, file) = (bench.open().unwrap(), bench.kek_file());
    let opened = bench.calls("SDF_OpenDevice");
    for code in [0x0100_0001, 0x0100_000B, 0x0100_000C, 0x0100_0015, 0x0100_001D, 0x0100_0142, 0x0101_0042] {
        bench.refuse(IMPORT, code);
        let refused = prf(&device, &kek).unwrap_err();
        assert_eq!((refused.cause, refused.code), (Cause::Setup, Some(code.into())), "{refused}");
        assert!(refused.message.contains(&*file.to_string_lossy()), "{refused}");
    }
    assert_eq!(bench.calls("SDF_OpenDevice"), opened);
    for (code, cause) in [(0x0100_0007, Cause::SessionLost), (0x0100_0003, Cause::Absent)] {
        bench.refuse(IMPORT, code);
        assert_eq!(prf(&device, &kek).unwrap_err().cause, cause, "this says nothing of the file");
    }
    bench.mend();
    prf(&device, &kek).unwrap();
}

/// Real libraries that have lost the right call the index a wrong argument.
#[test]
fn a_wrong_argument_in_a_signature_is_a_lost_right() {
    let bench = Bench::new("");
    let device = bench.open_single();
    let vote = sign_key(&device);
    bench.refuse(SIGN, 0x0100_001D);
    let (rights, opened) = (bench.calls(RIGHT), bench.calls("SDF_OpenDevice"));
    let lost = device.sign_digest(&vote, &[1; 32]).unwrap_err();
    assert_eq!((lost.cause, lost.kind()), (Cause::SessionLost, ErrorKind::Retry), "{lost}");
    assert_eq!((bench.calls(RIGHT), bench.calls("SDF_OpenDevice")), (rights + 1, opened), "in a new session");
    bench.mend();
    device.sign_digest(&vote, &[1; 32]).unwrap();
}

#[test]
fn a_fault_of_one_key_leaves_the_device_open_for_the_others() {
    let bench = Bench::new("");
    let device = bench.open().unwrap();
    let (vote, kek) = (sign_key(&device), kek(&device));
    let opened = bench.calls("SDF_OpenDevice");
    bench.refuse(SIGN, 0x0100_000C);
    for _ in 0..3 {
        assert_eq!(device.sign_digest(&vote, &[1; 32]).unwrap_err().cause, Cause::Fault);
        prf(&device, &kek).unwrap();
    }
    assert_eq!(bench.calls("SDF_OpenDevice"), opened);
}

/// A new session is asked who the device is: when even that fails, the device is opened again.
#[test]
fn a_device_that_cannot_say_what_it_is_is_opened_again() {
    let bench = Bench::new("");
    let device = bench.open_single();
    let vote = sign_key(&device);
    let opened = bench.calls("SDF_OpenDevice");
    bench.refuse("SDF_GetDeviceInfo", 0x0100_0001);
    assert_eq!(device.health().unwrap_err().cause, Cause::Fault);
    bench.mend();
    device.sign_digest(&vote, &[1; 32]).unwrap();
    assert_eq!(bench.calls("SDF_OpenDevice"), opened + 1);
}

/// The device may have counted it: what the answer says does not clear the password.
#[test]
fn a_password_twice_without_a_verdict_is_held_back() {
    for (code, cause) in [(0x0100_0003, Cause::Absent), (0x0100_0004, Cause::Fault), (0x0100_0002, Cause::Unsupported)]
    {
        let bench = Bench::new("pairs = 1\n");
        let device = bench.open().unwrap();
        bench.refuse(RIGHT, code);
        let refused = || device.sign_digest(&key("sdf:object=sign-1"), &[1; 32]).unwrap_err().cause;
        assert_eq!([refused(), refused()], [cause, Cause::Busy], "the second one waits");
        bench.let_pin_pause_pass();
        assert_eq!([refused(), refused(), refused()], [cause, Cause::PinUnanswered, Cause::PinUnanswered]);
        assert_eq!(bench.calls(RIGHT), 2);
    }
}

/// A session's first use of a pair asks for its public key: a dead session or a missing pair sees no password.
#[test]
fn no_password_is_sent_over_a_session_that_does_not_answer() {
    let bench = Bench::new("");
    let device = bench.open_single();
    let vote = sign_key(&device);
    bench.refuse(SIGN, 0x0100_0010);
    device.sign_digest(&vote, &[1; 32]).unwrap_err();
    let rights = bench.calls(RIGHT);
    bench.refuse("SDF_ExportSignPublicKey_ECC", 0x0100_0003);
    for _ in 0..3 {
        assert_eq!(device.sign_digest(&vote, &[1; 32]).unwrap_err().cause, Cause::Absent);
    }
    assert_eq!(bench.calls(RIGHT), rights);
    bench.mend();
    device.sign_digest(&vote, &[1; 32]).unwrap();
}
