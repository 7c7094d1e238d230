//! The module from outside: through `cryptoki`, OpenSC's `pkcs11-tool` and OpenSSL.
//!
//! The module reads its configuration from the environment of its process, so each case runs in a process of its own:
//! the test starts this binary again with the environment set and the case's name as filter.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

const SO_PIN: &str = "so-secret-1";
const USER_PIN: &str = "user-secret-1";
const CASE: &str = "BIXI_TEST_DIRECTORY";
const SM2_PAIR: u64 = 0x8000_8001;
const SM2_MESSAGE_DER: u64 = 0x8000_8103;
const SM2_DIGEST_RAW: u64 = 0x8000_8105;
const SM3: u64 = 0x8000_9001;
const SM3_HMAC: u64 = 0x8000_9002;
const SM4_GEN: u64 = 0x8000_0107;
const SM4_ECB: u64 = 0x8000_0108;
const SM4_CBC_PAD: u64 = 0x8000_A201;
const SM4_CMAC: u64 = 0x8000_0110;
const CKK_SM4: u64 = 0x8000_0106;

fn module_path() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let mut candidates = exe.ancestors().skip(1).take(3).map(|dir| dir.join("libbixi_token.so"));
    candidates.find(|path| path.exists()).unwrap_or_else(|| panic!("libbixi_token.so is not beside {}", exe.display()))
}

fn in_process(case: &str) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("token.conf");
    let settings = "directory = store\nargon2_memory_kib = 64\nargon2_passes = 1\nlog = token.log\n\
                    pin_attempts_max = 3\nsessions_max = 16\n";
    std::fs::write(&config, settings).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", case, "--ignored", "--nocapture", "--test-threads=1"])
        .env("BIXI_TOKEN_CONF", &config)
        .env(CASE, directory.path())
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(output.status.success() && text.contains("1 passed"), "{case}:\n{text}");
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn directory() -> PathBuf {
    std::env::var_os(CASE).expect("run by the test of the same name").into()
}

fn loaded() -> (Pkcs11, Slot) {
    let module = Pkcs11::new(module_path()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = module.get_slots_with_token().unwrap()[0];
    (module, slot)
}

fn pin(text: &str) -> AuthPin {
    AuthPin::from(text.to_owned())
}

fn initialised() -> (Pkcs11, Slot) {
    let (module, slot) = loaded();
    module.init_token(slot, &pin(SO_PIN), "case").unwrap();
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&pin(USER_PIN)).unwrap();
    session.logout().unwrap();
    (module, slot)
}

fn logged_in(module: &Pkcs11, slot: Slot) -> Session {
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    session
}

fn vendor(number: u64) -> Mechanism<'static> {
    let number = MechanismType::new_vendor_defined(number).unwrap();
    Mechanism::VendorDefined(VendorDefinedMechanism::new::<u8>(number, None))
}

fn vendor_with<T>(number: u64, parameter: &T) -> Mechanism<'_> {
    let number = MechanismType::new_vendor_defined(number).unwrap();
    Mechanism::VendorDefined(VendorDefinedMechanism::new(number, Some(parameter)))
}

fn pair(session: &Session, label: &str) -> (ObjectHandle, ObjectHandle) {
    let template = |sign| vec![Attribute::Token(true), Attribute::Label(label.into()), Attribute::Id(vec![1]), sign];
    let (public, private) = (template(Attribute::Verify(true)), template(Attribute::Sign(true)));
    session.generate_key_pair(&vendor(SM2_PAIR), &public, &private).unwrap()
}

fn rv<T: std::fmt::Debug>(result: Result<T, Error>) -> RvError {
    match result {
        Err(Error::Pkcs11(rv, _)) => rv,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}:\n{}", text_of(&output));
    text_of(&output)
}

fn tool(arguments: &[&str]) -> String {
    let module = module_path();
    run("pkcs11-tool", &[&["--module", module.to_str().unwrap()], arguments].concat())
}

/// SubjectPublicKeyInfo of the public key, as OpenSSL reads it.
fn spki(session: &Session, public: ObjectHandle) -> Vec<u8> {
    let Attribute::EcPoint(point) = session.get_attributes(public, &[AttributeType::EcPoint]).unwrap().remove(0) else {
        panic!("no point")
    };
    assert_eq!(point[..3], [0x04, 0x41, 0x04], "SEC 1 uncompressed in an OCTET STRING");
    let head =
        b"\x30\x59\x30\x13\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01\x06\x08\x2A\x81\x1C\xCF\x55\x01\x82\x2D\x03\x42\x00";
    [&head[..], &point[2..]].concat()
}

fn openssl_accepts(directory: &Path, message: &[u8], signature: &[u8]) -> bool {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("message"), message).unwrap();
    std::fs::write(path("signature"), signature).unwrap();
    let arguments = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-digest", "sm3"];
    Command::new("openssl")
        .args(arguments)
        .args(["-pkeyopt", "distid:1234567812345678", "-inkey", &path("key.der")])
        .args(["-in", &path("message"), "-sigfile", &path("signature")])
        .output()
        .unwrap()
        .status
        .success()
}

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
    let directory = directory();
    std::fs::write(directory.join("key.der"), spki(&session, public)).unwrap();
    for length in [0, 1, 31, 32, 64, 1000] {
        let message = vec![0x42; length];
        let signature = session.sign(&vendor(SM2_MESSAGE_DER), private, &message).unwrap();
        assert!(openssl_accepts(&directory, &message, &signature), "a message of {length} bytes");
        session.verify(&vendor(SM2_MESSAGE_DER), public, &message, &signature).unwrap();
        let altered = [&message[..], b"x"].concat();
        assert!(!openssl_accepts(&directory, &altered, &signature));
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
    assert!(!openssl_accepts(&directory, b"message", &signature));
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
fn opensc_initialises_lists_and_draws_random_bytes() {
    in_process("case_opensc");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_opensc() {
    tool(&["--init-token", "--slot", "0", "--label", "opensc", "--so-pin", SO_PIN]);
    tool(&["--init-pin", "--login", "--login-type", "so", "--so-pin", SO_PIN, "--pin", USER_PIN]);
    let mechanisms = tool(&["--list-mechanisms"]);
    for number in ["0x80008001", "0x80008105", "0x80009001", "0x80000108"] {
        assert!(mechanisms.contains(number), "{mechanisms}");
    }
    assert!(tool(&["--list-token-slots"]).contains("opensc"));
    let (module, slot) = loaded();
    let session = logged_in(&module, slot);
    let (public, _) = pair(&session, "sign");
    let path = |name: &str| directory().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("key.der"), spki(&session, public)).unwrap();
    std::fs::write(path("data"), b"signed by pkcs11-tool").unwrap();
    let sign = ["--login", "--pin", USER_PIN, "--sign", "--mechanism", "0x80008103", "--label", "sign"];
    tool(&[&sign[..], &["--input-file", &path("data"), "--output-file", &path("signed")]].concat());
    let signature = std::fs::read(path("signed")).unwrap();
    assert!(openssl_accepts(&directory(), b"signed by pkcs11-tool", &signature), "{} bytes", signature.len());
    tool(&["--generate-random", "64", "--output-file", &path("random")]);
    assert_eq!(std::fs::read(path("random")).unwrap().len(), 64);
    let changed = "changed-secret";
    tool(&["--login", "--pin", USER_PIN, "--change-pin", "--new-pin", changed]);
    assert!(tool(&["--login", "--pin", changed, "--list-objects"]).contains("Private Key Object"));
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
