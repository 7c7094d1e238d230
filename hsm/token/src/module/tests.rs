use std::time::Duration;

use super::*;
use crate::config::LogTarget;
use crate::operation::Parameter;
use crate::profile::{Algorithm, Hash};

const SO_PIN: &[u8] = b"so-secret-1";
const USER_PIN: &[u8] = b"user-secret-1";
const HMAC: CK_MECHANISM_TYPE = 0x8000_9002;

/// A module whose PINs take `passes` passes over 64 MiB to try, with an initialised token.
fn module(directory: &tempfile::TempDir, passes: u32) -> Module {
    let path = directory.path().to_owned();
    let module = |argon2_passes| {
        Module::new(Config { log: LogTarget::Silent, argon2_passes, sessions_max: 16, ..Config::at(path.clone()) })
    };
    let module = module(passes);
    module.init_token(0, SO_PIN, [b' '; 32]).unwrap();
    let session = open(&module);
    module.login(session, CKU_SO, SO_PIN).unwrap();
    module.init_pin(session, USER_PIN).unwrap();
    module.close_session(session).unwrap();
    module
}

fn open(module: &Module) -> CK_SESSION_HANDLE {
    module.open_session(0, CKF_SERIAL_SESSION | CKF_RW_SESSION).unwrap()
}

fn state(module: &Module, session: CK_SESSION_HANDLE) -> CK_STATE {
    module.session_info(session).unwrap().state
}

/// Runs `meanwhile` while a login is deriving its key; returns how the login ended.
fn login_while(
    module: &Module,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    meanwhile: impl FnOnce(),
) -> CkResult<()> {
    let pin = if user == CKU_SO { SO_PIN } else { USER_PIN };
    std::thread::scope(|scope| {
        let login = scope.spawn(|| module.login(session, user, pin));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!login.is_finished(), "the PIN's derivation is too fast for this test");
        meanwhile();
        login.join().unwrap()
    })
}

#[test]
fn a_login_that_ends_after_its_session_was_closed_leaves_nobody_logged_in() {
    let directory = tempfile::tempdir().unwrap();
    let module = module(&directory, 16);
    let session = open(&module);
    let ended = login_while(&module, session, CKU_USER, || module.close_session(session).unwrap());
    assert_eq!(ended.map_err(|error| error.0), Err(CKR_SESSION_CLOSED));
    let next = open(&module);
    assert_eq!(state(&module, next), CKS_RW_PUBLIC_SESSION, "the next session is logged in without a PIN");
    let replaced = login_while(&module, next, CKU_USER, || {
        module.close_all_sessions(0).unwrap();
        open(&module);
    });
    assert_eq!(replaced.map_err(|error| error.0), Err(CKR_SESSION_CLOSED));
    assert_eq!(state(&module, open(&module)), CKS_RW_PUBLIC_SESSION);
}

#[test]
fn an_officer_is_not_logged_in_beside_a_read_only_session_that_was_opened_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let module = module(&directory, 16);
    let session = open(&module);
    let read_only = || {
        module.open_session(0, CKF_SERIAL_SESSION).unwrap();
    };
    let ended = login_while(&module, session, CKU_SO, read_only);
    assert_eq!(ended.map_err(|error| error.0), Err(CKR_SESSION_READ_ONLY_EXISTS));
    assert_eq!(state(&module, session), CKS_RW_PUBLIC_SESSION);
}

#[test]
fn no_operation_begins_with_a_key_that_a_logout_has_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let module = module(&directory, 1);
    let session = open(&module);
    module.login(session, CKU_USER, USER_PIN).unwrap();
    let length = 32_u64.to_ne_bytes();
    let template = Template::new(vec![(CKA_VALUE_LEN, &length), (CKA_SIGN, &[1])]).unwrap();
    let key = module.generate_key(session, CKM_GENERIC_SECRET_KEY_GEN, &template).unwrap();
    let mechanism = Mechanism { number: HMAC, algorithm: Algorithm::Hmac(Hash::Sm3), parameter: Parameter::Bytes(&[]) };
    let begin = || module.begin_with_key(session, mechanism, key, Session::begin_signature);
    std::thread::scope(|scope| {
        // The session is busy: the beginning waits for it, and the logout overtakes it.
        let open = module.open(session).unwrap();
        let busy = open.session.lock().unwrap();
        let beginning = scope.spawn(begin);
        std::thread::sleep(Duration::from_millis(100));
        module.token(0).unwrap().logout().unwrap();
        drop(busy);
        assert_eq!(beginning.join().unwrap().map_err(|error| error.0), Err(CKR_KEY_HANDLE_INVALID));
    });
}

#[test]
fn what_was_put_in_the_headers_place_is_not_signed_by_a_new_pin() {
    let directory = tempfile::tempdir().unwrap();
    let module = module(&directory, 1);
    let session = open(&module);
    module.login(session, CKU_SO, SO_PIN).unwrap();
    let path = directory.path().join("slot-0/token");
    let sound = std::fs::read(&path).unwrap();
    let (head, _) = sound.split_last_chunk::<32>().unwrap();
    let mut altered = head.to_vec();
    let label = altered.windows(32).position(|bytes| bytes == [b' '; 32]).expect("the label");
    altered[label] = b'X';
    // As anybody can who may write there: the checksum is no secret.
    altered.extend(bixi_accel::sm3::digest(&altered));
    std::fs::write(&path, altered).unwrap();
    assert_eq!(module.init_pin(session, b"another-secret").map_err(|error| error.0), Err(CKR_DEVICE_ERROR));
    std::fs::write(&path, sound).unwrap();
    module.init_pin(session, b"another-secret").unwrap();
}

#[test]
fn what_cannot_be_a_pin_costs_no_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let module = module(&directory, 1);
    let session = open(&module);
    for _ in 0..8 {
        for pin in [&b""[..], &[b'1'; PIN_BYTES_MAX + 1]] {
            assert_eq!(module.login(session, CKU_USER, pin).map_err(|error| error.0), Err(CKR_PIN_INCORRECT));
        }
    }
    module.login(session, CKU_USER, USER_PIN).unwrap();
}
