//! The life cycle of a node's keys between its ceremony and its end, as `bixi hsm` drives it.
//!
//! | module | does | needs |
//! |---|---|---|
//! | [`inventory`] | tells every key of the device and what the node uses it for | device or broker |
//! | [`generation`] | makes a key in the device | device, node stopped |
//! | [`mod@bench`] | measures the device, with a key that is destroyed afterwards | device, node stopped |
//! | [`statement`] | puts the device's statement about a key into a file, and judges one | device or broker; nothing |
//! | [`guard`] | shows, exports, imports and overrules the sign-once guard | device, node stopped |
//! | [`officers`] | makes an officer's key, signs with it | a key file |
//! | [`rotation`] | makes keys to replace others | device, node stopped |
//! | [`data_keys`] | begins a new epoch of the data keys, and seals what is on disk anew | device, node stopped |
//! | [`sealing`] | seals a plaintext ledger where it is | device, node stopped |
//! | [`verification`] | reads everything on disk and computes again what can be computed | device, node stopped |
//! | [`initialisation`] | makes a token or a TPM's store ready | device |
//! | `mark` | has the device count beside a vault that was written | device, node stopped |
//! | `adoption` | takes keys that no note knows, by the fingerprints that an officer names | device |
//! | [`trail`] | reads and verifies the audit trail | device or broker |
//!
//! What changes keys is told to the node's audit trail before it is done, durably, and again when it is done: what cannot be told
//! of is not done.

pub(crate) mod adoption;
pub mod bench;
pub mod data_keys;
pub(crate) mod desk;
pub mod generation;
pub mod guard;
pub mod initialisation;
pub mod inventory;
pub(crate) mod mark;
pub mod officers;
pub mod rotation;
pub mod sealing;
pub mod statement;
pub mod trail;
pub mod verification;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm3;
use bixi_hsm::device::{Attestation, kek_fingerprint};
use bixi_hsm::{DeviceError, KeyDevice, KeyKind, whole_file};

pub(crate) use crate::chain::write_new;
use crate::launch::Failure;

use crate::settings::Settings;

/// Bytes of a fingerprint that reports show.
const FINGERPRINT_BYTES: usize = 8;

/// The beginning of SM3(X ‖ Y), hexadecimal: short enough to be read out, and compared by people.
pub(crate) fn key_fingerprint(public_key: &[u8; 64]) -> String {
    hex::encode(&sm3::digest(public_key)[..FINGERPRINT_BYTES])
}

/// By what people compare a key: [`key_fingerprint`] of a pair; of a key encryption key what the device computes with it, which is what a
/// standby, a ceremony's record and an adoption are compared by.
pub(crate) fn fingerprint_of(device: &dyn KeyDevice, key: &Attestation) -> Result<Option<String>, DeviceError> {
    match key.key.kind {
        KeyKind::Kek => kek_fingerprint(device, &key.key.uri).map(Some),
        _ => Ok(key.public_key.as_ref().map(key_fingerprint)),
    }
}

/// Whether the node's broker holds the device now: it is asked then, and no PIN is needed.
#[must_use]
pub fn is_held_by_broker(settings: &Settings) -> bool {
    settings.broker().is_some() && crate::doctor::is_running(settings)
}

/// The bytes of a file that somebody hands over.
fn read_bounded(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    match whole_file::read(path, bytes_max as u64) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(format!("there is no file {}", path.display()).into()),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}

/// Milliseconds since 1970, by this host's clock.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A time of this host's clock, UTC to the second.
pub(crate) fn utc(at_ms: u64) -> String {
    let (days, second) = (at_ms / 86_400_000, at_ms / 1_000 % 86_400);
    let (mut year, mut day) = (1970, days);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // Whole cycles of 400 years first, so that any number ends soon.
    year += day / 146_097 * 400;
    day %= 146_097;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_the_calendar_has_them() {
        for (at_ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199_999, "2024-02-29 23:59:59 UTC"),
            (1_735_689_599_000, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(at_ms), text);
        }
        utc(u64::MAX);
    }
}
