//! What a process of ours does about itself: hardening, the service manager, randomness for its client side.

use std::io;
use std::path::Path;

use bixi_accel::memory::{Source, keep_tables_in};
use bixi_platform::huge_pages;

pub use crate::keys::opening::is_left_behind;
pub use bixi_hsm::phase::on_pin_judged;
pub use bixi_platform::credentials::put_back_at;
pub use bixi_platform::descriptors::raise_limit as raise_descriptor_limit;
pub use bixi_platform::notify::{Notifier, State};
pub use bixi_platform::random::OsRandom;
pub use bixi_platform::threads::beat_beside;

/// Variable that names the configuration file of the shipped token module. The module reads it once per process.
pub const TOKEN_CONFIG_VARIABLE: &str = "BIXI_TOKEN_CONF";

/// Forbids core dumps and attaching of other unprivileged processes; to be called before a PIN is read.
///
/// # Errors
/// When the kernel refuses; a process that will hold keys should then not go on.
pub fn harden() -> io::Result<()> {
    bixi_platform::secret::harden_process()
}

/// Has tables of points be on huge pages where the kernel has any; to be called before kernels are tested, which makes the first tables.
pub fn use_huge_pages() {
    keep_tables_in(Source::new(huge_pages::lend, huge_pages::give_back));
}

/// Whether this process already sees `token_config` as the token module's configuration.
pub fn has_token_config(token_config: &Path) -> bool {
    std::env::var_os(TOKEN_CONFIG_VARIABLE).is_some_and(|value| Path::new(&value) == token_config)
}
