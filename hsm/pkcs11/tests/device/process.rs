//! Cases in processes of their own: a module reads its configuration from the environment, once.
//!
//! A test starts this binary again with the environment set and the case's name as filter.

#![allow(clippy::print_stdout, reason = "what a case skips, it says")]

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_hsm_pkcs11::{Initialisation, Params, ProfileChoice, TokenSelector, initialise_token};
use bixi_platform::credentials::PinSource;
use bixi_platform::secret::Secret;

pub(crate) const SO_PIN: &[u8] = b"so-secret-1";
pub(crate) const USER_PIN: &[u8] = b"user-secret-1";
const CASE: &str = "BIXI_TEST_DIRECTORY";
const PROFILE: &str = "BIXI_TEST_PROFILE";
const MODULE: &str = "BIXI_TEST_MODULE";
/// Of Debian's `softhsm2`.
pub(crate) const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Run `case` on `module`, with stores for ours and for others' in a fresh directory.
pub(crate) fn run(case: &str, module: &Path, token_profile: &str, backend_profile: &str) {
    run_with(case, module, (token_profile, backend_profile), &[]);
}

/// The same, with more in its environment.
pub(crate) fn run_with(
    case: &str,
    module: &Path,
    (token_profile, backend_profile): (&str, &str),
    environment: &[(&str, &Path)],
) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let settings = "directory = store\nargon2_memory_kib = 64\nargon2_passes = 1\nlog = token.log\nsessions_max = 16\n";
    std::fs::write(path("token.conf"), format!("{settings}profile = {token_profile}\n")).unwrap();
    let tokens = path("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let softhsm = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
    std::fs::write(path("softhsm.conf"), softhsm).unwrap();
    let database = path("kryoptic.sql");
    let kryoptic = format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", database.display());
    std::fs::write(path("kryoptic.conf"), kryoptic).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", case, "--ignored", "--nocapture", "--test-threads=1"])
        .env("BIXI_TOKEN_CONF", path("token.conf"))
        .env("SOFTHSM2_CONF", path("softhsm.conf"))
        .env("KRYOPTIC_CONF", path("kryoptic.conf"))
        .env(CASE, directory.path())
        .env(PROFILE, backend_profile)
        .env(MODULE, module)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{case} on {}:\n{text}", module.display());
    // What a case skips, and why, is seen with --nocapture.
    print!("{text}");
}

/// The directory of the case.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os(CASE).expect("run by the test of the same name").into()
}

/// The module of the case.
pub(crate) fn module() -> PathBuf {
    std::env::var_os(MODULE).expect("run by the test of the same name").into()
}

pub(crate) fn params(pin: &[u8]) -> Params {
    let pin_path = directory().join("pin");
    let _ = std::fs::remove_file(&pin_path);
    let mut file = std::fs::File::options().create_new(true).write(true).mode(0o400).open(&pin_path).unwrap();
    file.write_all(pin).unwrap();
    params_of_file()
}

/// With the PIN that is in the file now.
pub(crate) fn params_of_file() -> Params {
    Params {
        module_path: module(),
        token: TokenSelector::label("bixi-test"),
        pin: PinSource::File(directory().join("pin")),
        pin_state_path: directory().join("pin.state"),
        profile: ProfileChoice::Named(std::env::var(PROFILE).unwrap()),
        sessions_max: 4,
        timeout_ms: 30_000,
    }
}

pub(crate) fn initialise() {
    initialise_with(USER_PIN);
}

/// A token whose user PIN is another one.
pub(crate) fn initialise_with(user_pin: &[u8]) {
    let serial = initialise_token(&Initialisation {
        module_path: module(),
        slot: None,
        label: "bixi-test".into(),
        so_pin: Secret::from_slice(SO_PIN),
        user_pin: Secret::from_slice(user_pin),
        destroy: None,
    });
    assert!(!serial.unwrap().is_empty());
}
