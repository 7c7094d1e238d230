//! The life cycle of a node's keys between its ceremony and its end, as `bixi hsm` drives it.
//!
//! | module | does | needs |
//! |---|---|---|
//! | [`inventory`] | tells every key of the device and what the node uses it for | device or broker |
//! | [`generation`] | makes a key in the device | device, node stopped |
//! | [`statement`] | puts the device's statement about a key into a file, and judges one | device or broker; nothing |
//!
//! What changes keys is told to the node's audit trail before it is done, durably, and again when it is done: what cannot be told
//! of is not done.

mod desk;
pub mod generation;
pub mod inventory;
pub mod statement;

use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm3;

use crate::settings::Settings;

/// Bytes of a fingerprint that reports show.
const FINGERPRINT_BYTES: usize = 8;

/// The beginning of SM3(X ‖ Y), hexadecimal: short enough to be read out, and compared by people.
pub(crate) fn key_fingerprint(public_key: &[u8; 64]) -> String {
    hex::encode(&sm3::digest(public_key)[..FINGERPRINT_BYTES])
}

/// Whether the node's broker holds the device now: it is asked then, and no PIN is needed.
#[must_use]
pub fn is_held_by_broker(settings: &Settings) -> bool {
    settings.broker().is_some() && crate::doctor::is_running(settings)
}

/// Milliseconds since 1970, by this host's clock.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
