//! Whether an old copy of the disk would be told by the device's counter.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bixi_hsm::guard::PERIOD;
use bixi_hsm::{Custody, DeviceInfo, Guard, KeyDevice};
use bixi_platform::io::{PreadStorage, Storage};

use super::custody::Held;
use super::{Check, Verdict};
use crate::keys::{self, Listed};
use crate::launch::Failure;
use crate::lifecycle::{now_ms, utc};
use crate::settings::Settings;

const NAME: &str = "rollback of the disk";
/// What memory of a device that counts is taken to bear, where its maker says nothing.
const ENDURANCE_COUNTS: u64 = 100_000;
/// For so long something may be uncounted.
const OVERDUE: Duration = PERIOD.saturating_mul(3);

/// What is known of the counter.
#[derive(Debug, Default)]
struct Found {
    value: u64,
    /// When it was last to count; 0 for never.
    at_ms: u64,
    uncounted_ms: u64,
    failed: Option<String>,
    /// Why nothing is signed, or would be after a start.
    doubt: Option<String>,
}

pub(super) fn check(settings: &Settings, held: &Held, info: &DeviceInfo) -> Check {
    if !info.monotonic_counter {
        let text = "not detected locally: the device has no counter that a restored copy cannot set back";
        return Check::new(NAME, Verdict::Warn, text);
    }
    match find(settings, held) {
        Ok(found) => judge(&found, info.custody, now_ms()),
        Err(error) => {
            Check::new(NAME, Verdict::Warn, format!("the device counts; how far could not be compared: {error}"))
        }
    }
}

fn find(settings: &Settings, held: &Held) -> Result<Found, Failure> {
    match held {
        Held::Broker(signer) => {
            let report = signer.counter()?.ok_or("the broker says nothing of it")?;
            let doubt = report.doubted.then(|| "its guard was refused; the broker's log says why".to_owned());
            Ok(Found {
                value: report.value.unwrap_or_default(),
                at_ms: report.at_ms,
                uncounted_ms: report.uncounted_ms.unwrap_or_default(),
                failed: report.failed,
                doubt,
            })
        }
        Held::Here(device) => find_here(settings, device.as_ref()),
    }
}

/// The device first: whoever counts meanwhile notes before.
fn find_here(settings: &Settings, device: &dyn KeyDevice) -> Result<Found, Failure> {
    let count = match device.counter() {
        Err(error) if error.cause == bixi_hsm::Cause::CounterRemoved => {
            return Ok(Found { doubt: Some(error.to_string()), ..Found::default() });
        }
        count => count?,
    };
    let storage: Arc<dyn Storage> = Arc::new(PreadStorage::new());
    let vault = keys::open_vault(settings, &storage, device, &Listed::of(device)?)?;
    let path: &Path = &settings.data("guard");
    let looked = Guard::look(storage.as_ref(), path, &vault.key_ring(), settings.genesis.hash())?;
    let counted_ms = looked.note.map_or(0, |note| note.counted_ms);
    // Since when there is something is not known, but for that it is later.
    let uncounted_ms = match looked.is_uncounted(vault.version()) && counted_ms > 0 {
        true => now_ms().saturating_sub(counted_ms),
        false => 0,
    };
    let doubt = looked.doubt(count, vault.version());
    Ok(Found { value: count.map_or(0, |count| count.value), at_ms: counted_ms, uncounted_ms, doubt, failed: None })
}

fn judge(found: &Found, custody: Custody, now_ms: u64) -> Check {
    let Found { value, at_ms, uncounted_ms, failed, doubt } = found;
    if let Some(doubt) = doubt {
        return Check::new(
            NAME,
            Verdict::Bad,
            format!("nothing is signed: the sign-once guard may be an old copy: {doubt}"),
        );
    }
    let mut limits = Vec::new();
    if custody != Custody::Hardware {
        limits.push("the device is software: a snapshot of the machine sets its counter back with the disk".to_owned());
    }
    if *at_ms == 0 {
        limits.push(
            "it has not counted for this node yet, and before that nothing tells an old copy: a node that signs nothing, as an observer, \
             does not have it count"
                .to_owned(),
        );
    }
    if u128::from(*uncounted_ms) >= OVERDUE.as_millis() || failed.is_some() {
        let why = failed.as_deref().map_or(String::new(), |error| format!(": {error}"));
        limits.push(format!("it has not counted for {} minutes of signing{why}", uncounted_ms / 60_000));
    }
    let per_year = 365 * 86_400 / PERIOD.as_secs();
    let wear = match ENDURANCE_COUNTS.checked_sub(*value) {
        Some(left) => {
            let tenths = left * 10 / per_year;
            format!("memory for {ENDURANCE_COUNTS} counts lasts {}.{} more years of signing", tenths / 10, tenths % 10)
        }
        None => format!("more than {ENDURANCE_COUNTS}: ask the maker how many its memory bears"),
    };
    let last = match at_ms {
        0 => String::new(),
        at_ms => format!(", {} minutes ago ({})", now_ms.saturating_sub(*at_ms) / 60_000, utc(*at_ms)),
    };
    let text = format!("the device has counted to {value}{last}: an older copy of guard and vault is refused; {wear}");
    match limits.is_empty() {
        true => Check::new(NAME, Verdict::Good, text),
        false => Check::new(NAME, Verdict::Warn, format!("{text}; but {}", limits.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_device_of_hardware_that_counts_is_good() {
        const NOW: u64 = 1_700_000_000_000;
        let good = || Found { value: 47_440, at_ms: NOW - 300_000, ..Found::default() };
        let found = judge(&good(), Custody::Hardware, NOW);
        assert_eq!(found.verdict, Verdict::Good);
        for told in ["counted to 47440, 5 minutes ago (2023-11-14 22:08:20 UTC)", "lasts 1.0 more years"] {
            assert!(found.detail.contains(told), "{}", found.detail);
        }
        let warned = |found: Found, custody, told: &str| {
            let check = judge(&found, custody, NOW);
            assert!(check.verdict == Verdict::Warn && check.detail.contains(told), "{}", check.detail);
        };
        warned(good(), Custody::OtherProcess, "a snapshot of the machine");
        warned(Found { at_ms: 0, ..good() }, Custody::Hardware, "as an observer");
        warned(Found { failed: Some("C_Get: busy".into()), ..good() }, Custody::Hardware, "C_Get: busy");
        warned(Found { uncounted_ms: 1_800_000, ..good() }, Custody::Hardware, "for 30 minutes of signing");
        let worn = judge(&Found { value: 100_001, ..good() }, Custody::Hardware, NOW);
        assert!(worn.detail.contains("more than 100000"), "{}", worn.detail);
        let doubted = judge(&Found { doubt: Some("older".into()), ..good() }, Custody::OtherProcess, NOW);
        assert!(doubted.verdict == Verdict::Bad && doubted.detail.ends_with("older"), "{}", doubted.detail);
    }
}
