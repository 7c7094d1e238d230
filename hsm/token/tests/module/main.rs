//! The module from outside: through `cryptoki` here, through OpenSC, p11-kit and OpenSSL in [`clients`].

mod clients;
mod process;

use std::process::Command;

use bixi_tests::second_opinion::openssl_accepts;
use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::UserType;

use process::*;

#[test]
fn openssl_verifies_what_the_token_signs() {
    in_process("case_openssl");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_openssl() {
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    let (public, private) = pair(&session, "sign");
    let key = point(&session, public);
    for length in [0, 1, 31, 32, 64, 1000] {
        let message = vec![0x42; length];
        let signature = session.sign(&vendor(SM2_MESSAGE_DER), private, &message).unwrap();
        assert!(openssl_accepts(&key, &message, &signature), "a message of {length} bytes");
        session.verify(&vendor(SM2_MESSAGE_DER), public, &message, &signature).unwrap();
        let altered = [&message[..], b"x"].concat();
        assert!(!openssl_accepts(&key, &altered, &signature));
        assert_eq!(
            rv(session.verify(&vendor(SM2_MESSAGE_DER), public, &altered, &signature)),
            RvError::SignatureInvalid
        );
    }
    // The ID as parameter: another ID is another signature.
    let alice = *b"ALICE123@YAHOO.COM";
    let with_id = vendor_with(0x8000_8101, &alice);
    let signature = session.sign(&with_id, private, b"message").unwrap();
    session.verify(&with_id, public, b"message", &signature).unwrap();
    assert!(!openssl_accepts(&key, b"message", &signature));
}

#[test]
fn ciphers_and_macs_agree_with_openssl() {
    in_process("case_ciphers");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_ciphers() {
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    let key_bytes: Vec<u8> = (0..16).collect();
    let key = session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::new_vendor_defined(CKK_SM4).unwrap()),
            Attribute::Value(key_bytes),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Sign(true),
        ])
        .unwrap();
    let path = directory().join("plain");
    let data: Vec<u8> = (0..48).collect();
    std::fs::write(&path, &data).unwrap();
    let file = path.to_str().unwrap();
    let hex = "000102030405060708090a0b0c0d0e0f";
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).args(["-in", file]).output().unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
        output.stdout
    };
    let iv = [9_u8; 16];
    let cbc = vendor_with(SM4_CBC_PAD, &iv);
    let iv_hex = "09".repeat(16);
    let expected_ecb = openssl(&["enc", "-sm4-ecb", "-nopad", "-K", hex]);
    let expected_cbc = openssl(&["enc", "-sm4-cbc", "-K", hex, "-iv", &iv_hex]);
    assert_eq!(session.encrypt(&vendor(SM4_ECB), key, &data).unwrap(), expected_ecb);
    assert_eq!(session.encrypt(&cbc, key, &data).unwrap(), expected_cbc);
    assert_eq!(session.decrypt(&cbc, key, &expected_cbc).unwrap(), data);
    let mut cut = expected_cbc.clone();
    *cut.last_mut().unwrap() ^= 1;
    assert_eq!(rv(session.decrypt(&cbc, key, &cut)), RvError::EncryptedDataInvalid);
    session.encrypt_init(&cbc, key).unwrap();
    let mut parts = session.encrypt_update(&data[..5]).unwrap();
    parts.extend(session.encrypt_update(&data[5..40]).unwrap());
    parts.extend(session.encrypt_update(&data[40..]).unwrap());
    parts.extend(session.encrypt_final().unwrap());
    assert_eq!(parts, expected_cbc);
    let cmac = Command::new("openssl")
        .args(["mac", "-cipher", "SM4-CBC", "-macopt", &format!("hexkey:{hex}"), "-in", file, "CMAC"])
        .output()
        .unwrap();
    let mac: String = session.sign(&vendor(SM4_CMAC), key, &data).unwrap().iter().map(|b| format!("{b:02X}")).collect();
    assert_eq!(text_of(&cmac).trim(), mac);
    let digest = session.digest(&vendor(SM3), b"abc").unwrap();
    assert_eq!(digest[..4], [0x66, 0xC7, 0xF0, 0xF4]);
}

#[test]
fn keys_stay_inside() {
    in_process("case_keys_stay_inside");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_keys_stay_inside() {
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    let (_, private) = pair(&session, "sign");
    let kek =
        session.generate_key(&vendor(SM4_GEN), &[Attribute::Token(true), Attribute::Label("kek".into())]).unwrap();
    for key in [private, kek] {
        let protection = [
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::AlwaysSensitive,
            AttributeType::NeverExtractable,
        ];
        let expected = [
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::AlwaysSensitive(true),
            Attribute::NeverExtractable(true),
        ];
        assert_eq!(session.get_attributes(key, &protection).unwrap(), expected);
        assert!(session.get_attributes(key, &[AttributeType::Value]).unwrap().is_empty(), "the value was given out");
        assert_eq!(rv(session.update_attributes(key, &[Attribute::Extractable(true)])), RvError::AttributeReadOnly);
        assert_eq!(rv(session.update_attributes(key, &[Attribute::Sensitive(false)])), RvError::AttributeReadOnly);
    }
    session.logout().unwrap();
    let private_keys = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
    assert!(session.find_objects(&private_keys).unwrap().is_empty(), "private objects show without a login");
    assert_eq!(session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)]).unwrap().len(), 1);
    assert_eq!(rv(session.sign(&vendor(SM2_DIGEST_RAW), private, &[1; 32])), RvError::KeyHandleInvalid);
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    assert_eq!(session.find_objects(&private_keys).unwrap().len(), 1);
    let store = directory().join("store/slot-0");
    for entry in std::fs::read_dir(store).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(3).any(|window| window == b"kek"), "a private label is in clear on disk");
    }
}

#[test]
fn pins_are_counted_and_lock() {
    in_process("case_pins_lock");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_pins_lock() {
    let (module, slot) = initialised();
    let session = module.open_rw_session(slot).unwrap();
    let wrong = || session.login(UserType::User, Some(&pin("wrong-pin")));
    let info = || module.get_token_info(slot).unwrap();
    assert_eq!(rv(wrong()), RvError::PinIncorrect);
    assert!(info().user_pin_count_low() && !info().user_pin_final_try());
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    assert!(!info().user_pin_count_low(), "a right PIN gives the attempts back");
    assert_eq!(rv(session.login(UserType::User, Some(&pin(USER_PIN)))), RvError::UserAlreadyLoggedIn);
    session.logout().unwrap();
    assert_eq!(rv(wrong()), RvError::PinIncorrect);
    assert_eq!(rv(wrong()), RvError::PinIncorrect);
    assert!(info().user_pin_final_try());
    assert_eq!(rv(wrong()), RvError::PinLocked);
    assert!(info().user_pin_locked());
    assert_eq!(rv(session.login(UserType::User, Some(&pin(USER_PIN)))), RvError::PinLocked);
    // The officer sets a new PIN, and the objects are still there.
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&pin("another-secret")).unwrap();
    session.logout().unwrap();
    session.login(UserType::User, Some(&pin("another-secret"))).unwrap();
    let log = std::fs::read_to_string(directory().join("token.log")).unwrap();
    assert!(!log.contains("wrong-pin") && !log.contains(USER_PIN), "a PIN was logged");
}

#[test]
fn two_processes_see_each_others_objects() {
    in_process("case_two_processes");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_two_processes() {
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    let note = directory().join("note");
    std::fs::write(&note, "from the other process").unwrap();
    let login = ["--login", "--pin", USER_PIN];
    let write = ["--write-object", note.to_str().unwrap(), "--type", "data", "--label", "note"];
    tool(&[&login[..], &write].concat());
    let named = [Attribute::Class(ObjectClass::DATA), Attribute::Label("note".into())];
    let found = session.find_objects(&named).unwrap();
    assert_eq!(found.len(), 1, "the other process's object is not seen");
    pair(&session, "ours");
    assert!(tool(&[&login[..], &["--list-objects"]].concat()).contains("ours"));
    tool(&[&login[..], &["--delete-object", "--type", "data", "--label", "note"]].concat());
    assert!(session.find_objects(&named).unwrap().is_empty(), "the other process's removal is not seen");
}

#[test]
fn a_flipped_byte_is_refused_and_the_file_named() {
    in_process("case_flipped_byte");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_flipped_byte() {
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    pair(&session, "sign");
    session.close().unwrap();
    for name in ["token", "attempts", "objects", "public"] {
        let path = directory().join("store/slot-0").join(name);
        let sound = std::fs::read(&path).unwrap();
        for place in [0, sound.len() / 2, sound.len() - 1] {
            let mut damaged = sound.clone();
            damaged[place] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            let opened = module.open_rw_session(slot);
            let refused = opened.and_then(|session| session.login(UserType::User, Some(&pin(USER_PIN))));
            let refused = rv(refused);
            assert!(matches!(refused, RvError::TokenNotRecognized | RvError::DeviceError), "{name}: {refused:?}");
            let log = std::fs::read_to_string(directory().join("token.log")).unwrap();
            assert!(log.lines().last().unwrap().contains(path.to_str().unwrap()), "{name} is not named in: {log}");
        }
        std::fs::write(&path, sound).unwrap();
    }
    logged_in(&module, slot);
}

#[test]
fn threads_sign_at_once() {
    in_process("case_threads");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_threads() {
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    let (public, private) = pair(&session, "sign");
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let session = module.open_ro_session(slot).unwrap();
            scope.spawn(move || {
                for index in 0..50 {
                    let digest = [thread * 50 + index; 32];
                    let signature = session.sign(&vendor(SM2_DIGEST_RAW), private, &digest).unwrap();
                    session.verify(&vendor(SM2_DIGEST_RAW), public, &digest, &signature).unwrap();
                }
            });
        }
    });
    assert_eq!(rv(session.sign(&vendor(SM2_DIGEST_RAW), private, &[1; 31])), RvError::DataLenRange);
    assert_eq!(rv(session.sign(&vendor(SM3_HMAC), private, &[1; 31])), RvError::KeyTypeInconsistent);
}

#[test]
fn sessions_and_initialisation_follow_the_standard() {
    in_process("case_sessions");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_sessions() {
    let (module, slot) = loaded();
    let again = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    assert_eq!(rv(again), RvError::CryptokiAlreadyInitialized);
    assert_eq!(rv(module.open_rw_session(slot)), RvError::TokenNotRecognized);
    assert_eq!(rv(module.init_token(slot, &pin("short"), "case")), RvError::PinLenRange);
    module.init_token(slot, &pin(SO_PIN), "case").unwrap();
    let session = module.open_ro_session(slot).unwrap();
    assert_eq!(rv(module.init_token(slot, &pin(SO_PIN), "case")), RvError::SessionExists);
    assert_eq!(rv(session.login(UserType::User, Some(&pin(USER_PIN)))), RvError::UserPinNotInitialized);
    assert_eq!(rv(session.login(UserType::So, Some(&pin(SO_PIN)))), RvError::SessionReadOnlyExists);
    session.close().unwrap();
    assert_eq!(rv(module.init_token(slot, &pin("not-the-so-pin"), "case")), RvError::PinIncorrect);
    let sessions: Vec<_> = (0..16).map(|_| module.open_rw_session(slot).unwrap()).collect();
    assert_eq!(rv(module.open_rw_session(slot)), RvError::SessionCount);
    sessions[0].login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    let made = sessions[1].generate_key(&vendor(SM4_GEN), &[Attribute::Token(true)]);
    assert_eq!(rv(made), RvError::UserNotLoggedIn, "the officer has no use of keys");
    drop(sessions);
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&pin(SO_PIN))).expect("the last session closed logs out");
    module.finalize().unwrap();
}

#[test]
fn a_forked_child_finds_the_module_not_initialised() {
    in_process("case_fork");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_fork() {
    use std::os::unix::process::CommandExt as _;
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    let mut command = Command::new("/bin/true");
    let in_child = module.clone();
    let handle = session.handle();
    // SAFETY: the closure runs in the forked child; this process has no other thread that could hold a lock there.
    unsafe {
        command.pre_exec(move || {
            let refused = in_child.get_slots_with_token();
            let as_asked = matches!(refused, Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)));
            let again = in_child.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).is_ok();
            let fresh = in_child.get_slots_with_token().is_ok();
            if as_asked && again && fresh { Ok(()) } else { Err(std::io::Error::other("the parent's state is seen")) }
        });
    }
    assert!(command.status().unwrap().success());
    assert_eq!(session.handle(), handle);
    session.get_session_info().expect("the parent is not disturbed");
}

#[test]
fn input_may_be_constant_shared_and_under_the_output() {
    in_process("case_aliasing");
}

/// Given to be read only: it lies in constant memory, and threads share it.
struct Constant(cryptoki_sys::CK_MECHANISM);
// SAFETY: nobody writes to it, which is what the test shows.
unsafe impl Sync for Constant {}
static DIGEST: Constant =
    Constant(cryptoki_sys::CK_MECHANISM { mechanism: SM3, pParameter: std::ptr::null_mut(), ulParameterLen: 0 });

#[test]
#[ignore = "run in a process of its own"]
fn case_aliasing() {
    use cryptoki_sys::{CK_ATTRIBUTE, CKA_LABEL, CKR_OK};
    let mut list = std::ptr::null_mut();
    // SAFETY: a writable pointer; the list lives as long as the process.
    let functions = unsafe {
        assert_eq!(bixi_token::abi::C_GetFunctionList(&raw mut list), CKR_OK);
        &*list
    };
    let expected = {
        let (module, slot) = initialised();
        module.open_rw_session(slot).unwrap().digest(&vendor(SM3), &[7; 32]).unwrap()
    };
    // SAFETY: every pointer below is to live memory of the length beside it.
    unsafe {
        assert_eq!(functions.C_Initialize.unwrap()(std::ptr::null_mut()), CKR_OK);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut session = 0;
                    let open = functions.C_OpenSession.unwrap();
                    assert_eq!(open(0, 6, std::ptr::null_mut(), None, &raw mut session), CKR_OK);
                    for _ in 0..100 {
                        let mut buffer = [7; 32];
                        let (place, mut length) = (buffer.as_mut_ptr(), 32);
                        let mechanism = (&raw const DIGEST.0).cast_mut();
                        assert_eq!(functions.C_DigestInit.unwrap()(session, mechanism), CKR_OK);
                        assert_eq!(functions.C_Digest.unwrap()(session, place, 32, place, &raw mut length), CKR_OK);
                        assert_eq!((&buffer[..], length), (&expected[..], 32));
                    }
                    // One template for two purposes, and one place for two results.
                    let label = *b"twice";
                    let value = label.as_ptr().cast_mut().cast();
                    let attribute = CK_ATTRIBUTE { type_: CKA_LABEL, pValue: value, ulValueLen: 5 };
                    let template = (&raw const attribute).cast_mut();
                    let pair = cryptoki_sys::CK_MECHANISM { mechanism: SM2_PAIR, ..DIGEST.0 };
                    let mut handle = 0;
                    let refused = functions.C_GenerateKeyPair.unwrap()(
                        session,
                        (&raw const pair).cast_mut(),
                        template,
                        1,
                        template,
                        1,
                        &raw mut handle,
                        &raw mut handle,
                    );
                    assert_eq!(refused, cryptoki_sys::CKR_USER_NOT_LOGGED_IN, "a private key wants a login");
                });
            }
        });
    }
}

#[test]
fn bad_arguments_end_an_operation_and_are_not_read() {
    in_process("case_bad_arguments");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_bad_arguments() {
    use cryptoki_sys::{CKR_ARGUMENTS_BAD, CKR_OK};
    drop(initialised());
    let mut list = std::ptr::null_mut();
    // SAFETY: a writable pointer; the list lives as long as the process.
    let functions = unsafe {
        assert_eq!(bixi_token::abi::C_GetFunctionList(&raw mut list), CKR_OK);
        &*list
    };
    let (init, digest) = (functions.C_DigestInit.unwrap(), functions.C_Digest.unwrap());
    let mechanism = (&raw const DIGEST.0).cast_mut();
    let mut session = 0;
    // SAFETY: every pointer below is null, or to live memory of the length beside it; a length of 2 GiB must be refused unread.
    unsafe {
        assert_eq!(functions.C_Initialize.unwrap()(std::ptr::null_mut()), CKR_OK);
        assert_eq!(functions.C_OpenSession.unwrap()(0, 6, std::ptr::null_mut(), None, &raw mut session), CKR_OK);
        let mut buffer = [7; 32];
        let (place, mut length) = (buffer.as_mut_ptr(), 32);
        for (data, data_bytes, room) in [
            (std::ptr::null_mut(), 16, &raw mut length),
            (place, 16, std::ptr::null_mut()),
            (place, 1 << 31, &raw mut length),
        ] {
            assert_eq!(init(session, mechanism), CKR_OK, "an operation was left active");
            assert_eq!(digest(session, data, data_bytes, place, room), CKR_ARGUMENTS_BAD);
        }
        assert_eq!(init(session, mechanism), CKR_OK);
        assert_eq!(digest(session, place, 32, place, &raw mut length), CKR_OK);
    }
}

#[test]
fn a_crash_between_the_two_object_files_is_repaired_at_login() {
    in_process("case_projection");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_projection() {
    let (module, slot) = initialised();
    let public = directory().join("store/slot-0/public");
    let before = std::fs::read(&public).unwrap();
    let session = logged_in(&module, slot);
    pair(&session, "sign");
    session.close().unwrap();
    let session = module.open_rw_session(slot).unwrap();
    let public_keys = [Attribute::Class(ObjectClass::PUBLIC_KEY)];
    // What a crash leaves behind: `objects` is new, `public` is old.
    std::fs::write(&public, before).unwrap();
    assert!(session.find_objects(&public_keys).unwrap().is_empty());
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    session.logout().unwrap();
    assert_eq!(session.find_objects(&public_keys).unwrap().len(), 1);
}
