//! Cases in processes of their own, and what they share.
//!
//! The module reads its configuration from the environment of its process, so a test starts this binary again with the environment
//! set and the case's name as filter.

use std::path::PathBuf;
use std::process::{Command, Output};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

pub(crate) const SO_PIN: &str = "so-secret-1";
pub(crate) const USER_PIN: &str = "user-secret-1";
pub(crate) const CASE: &str = "BIXI_TEST_DIRECTORY";
pub(crate) const SM2_PAIR: u64 = 0x8000_8001;
pub(crate) const SM2_MESSAGE_DER: u64 = 0x8000_8103;
pub(crate) const SM2_DIGEST_RAW: u64 = 0x8000_8105;
pub(crate) const SM3: u64 = 0x8000_9001;
pub(crate) const SM3_HMAC: u64 = 0x8000_9002;
pub(crate) const SM4_GEN: u64 = 0x8000_0107;
pub(crate) const SM4_ECB: u64 = 0x8000_0108;
pub(crate) const SM4_CBC_PAD: u64 = 0x8000_A201;
pub(crate) const SM4_CMAC: u64 = 0x8000_0110;
pub(crate) const CKK_SM4: u64 = 0x8000_0106;

pub(crate) fn module_path() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let mut candidates = exe.ancestors().skip(1).take(3).map(|dir| dir.join("libbixi_token.so"));
    candidates.find(|path| path.exists()).unwrap_or_else(|| panic!("libbixi_token.so is not beside {}", exe.display()))
}

pub(crate) fn in_process(case: &str) {
    in_process_with(case, "");
}

/// The case under more settings of `token.conf`.
pub(crate) fn in_process_with(case: &str, more: &str) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("token.conf");
    let settings = "directory = store\nargon2_memory_kib = 64\nargon2_passes = 1\nlog = token.log\n\
                    pin_attempts_max = 3\nsessions_max = 16\n";
    std::fs::write(&config, format!("{settings}{more}")).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", case, "--ignored", "--nocapture", "--test-threads=1"])
        .env("BIXI_TOKEN_CONF", &config)
        .env(CASE, directory.path())
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(output.status.success() && text.contains("1 passed"), "{case}:\n{text}");
}

pub(crate) fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub(crate) fn directory() -> PathBuf {
    std::env::var_os(CASE).expect("run by the test of the same name").into()
}

pub(crate) fn loaded() -> (Pkcs11, Slot) {
    let module = Pkcs11::new(module_path()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = module.get_slots_with_token().unwrap()[0];
    (module, slot)
}

pub(crate) fn pin(text: &str) -> AuthPin {
    AuthPin::from(text.to_owned())
}

pub(crate) fn initialised() -> (Pkcs11, Slot) {
    let (module, slot) = loaded();
    module.init_token(slot, &pin(SO_PIN), "case").unwrap();
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&pin(USER_PIN)).unwrap();
    session.logout().unwrap();
    (module, slot)
}

pub(crate) fn logged_in(module: &Pkcs11, slot: Slot) -> Session {
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    session
}

pub(crate) fn vendor(number: u64) -> Mechanism<'static> {
    let number = MechanismType::new_vendor_defined(number).unwrap();
    Mechanism::VendorDefined(VendorDefinedMechanism::new::<u8>(number, None))
}

pub(crate) fn vendor_with<T>(number: u64, parameter: &T) -> Mechanism<'_> {
    let number = MechanismType::new_vendor_defined(number).unwrap();
    Mechanism::VendorDefined(VendorDefinedMechanism::new(number, Some(parameter)))
}

pub(crate) fn pair(session: &Session, label: &str) -> (ObjectHandle, ObjectHandle) {
    let template = |sign| vec![Attribute::Token(true), Attribute::Label(label.into()), Attribute::Id(vec![1]), sign];
    let (public, private) = (template(Attribute::Verify(true)), template(Attribute::Sign(true)));
    session.generate_key_pair(&vendor(SM2_PAIR), &public, &private).unwrap()
}

pub(crate) fn rv<T: std::fmt::Debug>(result: Result<T, Error>) -> RvError {
    match result {
        Err(Error::Pkcs11(rv, _)) => rv,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}:\n{}", text_of(&output));
    text_of(&output)
}

pub(crate) fn tool(arguments: &[&str]) -> String {
    let module = module_path();
    run("pkcs11-tool", &[&["--module", module.to_str().unwrap()], arguments].concat())
}

/// X ‖ Y of a public key.
pub(crate) fn point(session: &Session, public: ObjectHandle) -> [u8; 64] {
    let Attribute::EcPoint(point) = session.get_attributes(public, &[AttributeType::EcPoint]).unwrap().remove(0) else {
        panic!("no point")
    };
    assert_eq!(point[..3], [0x04, 0x41, 0x04], "SEC 1 uncompressed in an OCTET STRING");
    point[3..].try_into().unwrap()
}
