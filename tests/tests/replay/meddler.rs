//! Somebody who changes a row of a stopped node's state: with the node's own PIN and keys, through the ledger's own database, in a process
//! of its own, because a token's module finds its token by the environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bixi_hsm::{KeyDevice as _, KeyKind};
use bixi_hsm_pkcs11::{Params, Pkcs11Device, ProfileChoice, TokenSelector};
use bixi_hsm_vault::{DeviceKek, Vault};
use bixi_ledger::engine::{Batch, Engine as _};
use bixi_ledger::keys::{self, Column};
use bixi_platform::credentials::PinSource;
use bixi_platform::io::{PreadStorage, Storage};
use bixi_types::CryptoSuite;
use bixi_types::state::StateTable;

/// The stopped node's directory, and the users whose balance is set.
const NODE: &str = "BIXI_MEDDLER_NODE";
const USERS: &str = "BIXI_MEDDLER_USERS";

/// Gives users a balance that no block gave them.
pub(crate) fn give_balance(config: &Path, users: &[String]) {
    let node = config.parent().expect("a node's directory");
    let done = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "meddler::a_balance_that_no_block_gave", "--ignored", "--test-threads=1"])
        .env("BIXI_TOKEN_CONF", node.join("token.conf"))
        .env(NODE, node)
        .env(USERS, users.join(" "))
        .output()
        .expect("a child");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

#[test]
#[ignore = "the meddler's process: runs as a child of the tests"]
fn a_balance_that_no_block_gave() {
    let (Some(node), Ok(users)) = (std::env::var_os(NODE).map(PathBuf::from), std::env::var(USERS)) else { return };
    let mut batch = Batch::default();
    for user in users.split(' ') {
        batch.put(Column::State, keys::state(StateTable::DagTransfer, user.as_bytes()), [1; 32]);
    }
    ledger_params(&node).open_engine().expect("the ledger's database").write(batch).expect("written");
}

/// The ledger of a node, whose data keys its token unlocks.
fn ledger_params(node: &Path) -> bixi_ledger::Params {
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
