use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::{Initialisation, initialise_token};

const CASE: &str = "BIXI_TEST_DIRECTORY";
const USER_PIN: &[u8] = b"user-secret-1";

/// The token's library, built as a dependency of this test.
fn token_module() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let mut candidates = exe.ancestors().skip(1).take(3).map(|dir| dir.join("libbixi_token.so"));
    candidates.find(|path| path.exists()).unwrap_or_else(|| panic!("libbixi_token.so is not beside {}", exe.display()))
}

/// The token reads its configuration from the environment of its process: the case runs in one of its own.
#[test]
fn a_panic_gives_its_session_back() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("token.conf");
    std::fs::write(&config, "directory = store\nargon2_memory_kib = 64\nargon2_passes = 1\n").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pool::tests::case_panic", "--ignored", "--nocapture"])
        .env("BIXI_TOKEN_CONF", &config)
        .env(CASE, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_panic() {
    let directory = PathBuf::from(std::env::var_os(CASE).expect("run by the test above"));
    initialise_token(&Initialisation {
        module_path: token_module(),
        slot: None,
        label: "pool".into(),
        so_pin: Secret::from_slice(b"so-secret-1"),
        user_pin: Secret::from_slice(USER_PIN),
    })
    .unwrap();
    let loaded = module::load(&token_module()).unwrap();
    let timeout = Duration::from_millis(500);
    let memory = PinMemory::new(directory.join("pin.state"), timeout);
    let pool = Pool::new(loaded, TokenSelector::label("pool"), Secret::from_slice(USER_PIN), memory, 2, timeout);
    for round in 0..5 {
        let panicked =
            catch_unwind(AssertUnwindSafe(|| pool.with::<()>("panic", |_, _| panic!("inside a call, round {round}"))));
        assert!(panicked.is_err());
    }
    assert_eq!(pool.state().in_use, 0);
    pool.with("work", |session, _| Ok(session.get_session_info()?)).expect("both sessions are free again");
}
