//! A stopped node's ledger, opened with the node's own PIN and keys. For a process of its own with `BIXI_TOKEN_CONF` set, because a
//! token's module finds its token by the environment.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bixi_hsm::{KeyDevice as _, KeyKind};
use bixi_hsm_pkcs11::{Params, Pkcs11Device, ProfileChoice, TokenSelector};
use bixi_hsm_vault::{DeviceKek, Vault};
use bixi_platform::credentials::PinSource;
use bixi_platform::io::{PreadStorage, Storage};
use bixi_types::CryptoSuite;

/// Runs an ignored test of this binary in such a process, with more variables for it.
pub(crate) fn in_child(test: &str, node: &Path, variables: &[(&str, &std::ffi::OsStr)]) {
    let done = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--ignored", "--test-threads=1"])
        .env("BIXI_TOKEN_CONF", node.join("token.conf"))
        .envs(variables.iter().copied())
        .output()
        .expect("a child");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

/// The ledger of a node, whose data keys its token unlocks.
pub(crate) fn ledger_params(node: &Path) -> bixi_ledger::Params {
    let settings: toml::Table = fs::read_to_string(node.join("bixi.toml")).expect("a node file").parse().expect("TOML");
    let setting = |key: &str| settings["hsm"][key].as_str().expect("a text").to_owned();
    let device = Pkcs11Device::open(Params {
        module_path: node.join(setting("module")),
        token: TokenSelector::label(setting("token")),
        pin: PinSource::File(node.join("secrets/user.pin")),
        pin_state_path: node.join("data/pin-state"),
        profile: ProfileChoice::Matched,
        sessions_max: 1,
        timeout_ms: 60_000,
    })
    .expect("the node's token");
    let label = setting("kek");
    let is_kek = |key: &bixi_hsm::KeyInfo| key.kind == KeyKind::Kek && key.label == label;
    let kek = device.list().expect("a list").into_iter().find(is_kek).expect("a KEK").uri;
    let storage: Arc<dyn Storage> = Arc::new(PreadStorage);
    let vault = Vault::open(Arc::clone(&storage), node.join("data/vault"), &DeviceKek { device: &device, key: &kek })
        .expect("the vault");
    bixi_ledger::Params {
        dir: node.join("data/ledger"),
        storage,
        keyring: vault.key_ring(),
        suite: CryptoSuite::Sm,
        genesis: None,
        block_cache_mb: 4,
        write_buffer_mb: 4,
        state_cache_mb: 1,
    }
}
