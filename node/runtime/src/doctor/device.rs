//! What `bixi hsm doctor` finds out about a key device: who it is, whether it answers, whether it computes right, and its random bit
//! generator by the fifteen tests of GM/T 0005-2021.
//!
//! Each sample has 10^6 bits. An item (a test with one parameter and one of its statistics) is *ok* when as many samples pass as 6.2 asks
//! for and their Q-values are uniform by 6.3. Both ask for more than every sound generator gives in each of 27 items: with a hundred samples
//! some item of a sound one is short in about two runs of five. So that is a *warning*, and what chance does less than once in a million
//! runs is *BAD*.

use bixi_config::HsmBackend;
use bixi_hsm::device::DeviceInfo;
use bixi_hsm::{KeyDevice, KeyKind, self_test};
use bixi_hsm_randomness::power_on::failures_beyond_chance;
use bixi_hsm_randomness::{Battery, Length, Sample, Tally, UNIFORMITY_ALPHA, passes_needed};
use serde_json::{Value, json};

use super::custody::Held;
use super::{Check, Verdict, host, key_check};
use crate::keys::{self, Listed};
use crate::launch::{Failure, LaunchError, step};
use crate::lifecycle::inventory::device_json;
use crate::settings::Settings;

/// Samples that a run may ask for: fewer say nothing, and a thousand are what the standard takes.
pub const SAMPLES: std::ops::RangeInclusive<u16> = 10..=1000;
/// Bytes asked of the device at once.
const PIECE_BYTES: usize = 2048;
/// Samples from which the spread over ten cells can be judged at all.
const SPREAD_SAMPLES_MIN: usize = 50;
/// The spread of a sound generator's Q-values is not odder than this in any item, in a million runs.
const SPREAD_BAD: f64 = 1e-9;

/// One item of the random test.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The test.
    pub test: &'static str,
    /// Its parameter and which of its statistics.
    pub detail: String,
    /// Samples that passed.
    pub passed: usize,
    /// P of the spread of Q-values over the samples.
    pub uniformity: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// Everything found about a device.
#[derive(Debug)]
pub struct DeviceReport {
    device: DeviceInfo,
    /// The findings, in order.
    pub checks: Vec<Check>,
    /// Samples drawn for the random test.
    pub samples: usize,
    /// Samples that must pass an item by 6.2.
    pub needed: usize,
    /// The random test.
    pub items: Vec<Item>,
}

impl DeviceReport {
    /// Whether nothing is bad.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Bad)
    }

    /// As `--json` prints it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let check =
            |check: &Check| json!({"check": check.name, "verdict": check.verdict.word(), "detail": check.detail});
        let item = |item: &Item| {
            json!({
                "test": item.test,
                "detail": item.detail,
                "passed": item.passed,
                "uniformity": item.uniformity,
                "verdict": item.verdict.word(),
            })
        };
        json!({
            "ok": self.is_well(),
            "device": device_json(&self.device),
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
            "random": {
                "samples": self.samples,
                "bits": Length::BitsMillion.bits(),
                "needed": self.needed,
                "items": self.items.iter().map(item).collect::<Vec<_>>(),
            },
        })
    }
}

/// Opens the device of a node file in this process, whether or not a broker holds it, too, and looks at it. `told` hears of each sample:
/// how many are done.
///
/// # Errors
/// Names the step: a PIN that is refused, a device that stops answering.
pub fn examine(settings: &Settings, samples: u16, told: &mut dyn FnMut(usize)) -> Result<DeviceReport, LaunchError> {
    let kernels = host::kernels();
    let device = step("key device", || keys::open_device(settings, settings.pin()))?;
    let device_words = device.info();
    let mut checks = vec![kernels, identity(settings, &device_words)];
    checks.extend(mechanisms(settings));
    checks.push(match device.health() {
        Ok(()) => Check::new("health", Verdict::Good, "the device answers, and the user is logged in"),
        Err(error) => Check::new("health", Verdict::Bad, error.to_string()),
    });
    checks.push(known_answers(settings, device.as_ref()));
    let tally = step("random bit generator", || draw(settings, device.as_ref(), usize::from(samples), told))?;
    let items = judge(&tally);
    checks.push(summary(&items, tally.samples()));
    checks.push(match Held::Here(device).keys(settings) {
        Ok(found) => key_check(&found),
        Err(error) => Check::new("keys", Verdict::Bad, error.to_string()),
    });
    let (samples, needed) = (tally.samples(), passes_needed(tally.samples()));
    Ok(DeviceReport { device: device_words, checks, samples, needed, items })
}

fn identity(settings: &Settings, device: &DeviceInfo) -> Check {
    let hsm = &settings.config.hsm;
    let DeviceInfo { backend, manufacturer, model, serial, token, version, custody, .. } = device;
    let detail = format!(
        "{manufacturer} {model} serial {serial}, version {version}, token {token:?} by {backend}: {custody}; \
         at most {} sessions, {} ms a call",
        hsm.sessions_max, hsm.timeout_ms
    );
    let is_hardware = *custody == bixi_hsm::Custody::Hardware;
    Check::new("device", if is_hardware { Verdict::Good } else { Verdict::Warn }, detail)
}

/// What a PKCS#11 token lists; other devices list nothing.
fn mechanisms(settings: &Settings) -> Option<Check> {
    let hsm = &settings.config.hsm;
    if hsm.backend != HsmBackend::Pkcs11 {
        return None;
    }
    Some(match crate::probe::probe(&settings.path(&hsm.module)) {
        Ok(found) => match found.tokens.iter().find(|token| token.label.trim_end() == hsm.token) {
            Some(token) => {
                let detail = format!("{} listed; `bixi hsm probe` shows them", token.mechanisms.len());
                Check::new("mechanisms", Verdict::Good, detail)
            }
            None => Check::new("mechanisms", Verdict::Bad, format!("no token {:?} in the module", hsm.token)),
        },
        Err(error) => Check::new("mechanisms", Verdict::Bad, error.to_string()),
    })
}

fn known_answers(settings: &Settings, device: &dyn KeyDevice) -> Check {
    let hsm = &settings.config.hsm;
    let tested = || -> Result<(), Failure> {
        let listed = Listed::of(device)?;
        let (tls, kek) = (listed.find(&hsm.tls_key, KeyKind::Sm2Sign)?, listed.find(&hsm.kek, KeyKind::Kek)?);
        Ok(self_test::keys(device, &tls, &kek, keys::retry(hsm))?)
    };
    match tested() {
        Ok(()) => Check::new(
            "known answers",
            Verdict::Good,
            "SM2 signature verified in software; derivations stand and differ",
        ),
        Err(error) => Check::new("known answers", Verdict::Bad, error.to_string()),
    }
}

fn draw(
    settings: &Settings,
    device: &dyn KeyDevice,
    samples: usize,
    told: &mut dyn FnMut(usize),
) -> Result<Tally, bixi_hsm::DeviceError> {
    let retry = keys::retry(&settings.config.hsm);
    let mut battery = Battery::full(Length::BitsMillion);
    let mut tally = Tally::new(battery.items());
    let mut bytes = vec![0; battery.bits() / 8];
    for done in 1..=samples {
        bytes.chunks_mut(PIECE_BYTES).try_for_each(|piece| retry.run(|| device.random(piece)))?;
        tally.add(&battery.run(&Sample::new(&bytes)));
        told(done);
    }
    Ok(tally)
}

fn judge(tally: &Tally) -> Vec<Item> {
    let (samples, items) = (tally.samples(), tally.items());
    let (needed, failing) = (passes_needed(samples), failures_beyond_chance(samples, items));
    let judged = |((item, failed), uniformity): ((bixi_hsm_randomness::Item, usize), f64)| {
        let is_spread_judged = samples >= SPREAD_SAMPLES_MIN;
        let verdict = if failed >= failing || (is_spread_judged && uniformity < SPREAD_BAD) {
            Verdict::Bad
        } else if samples - failed < needed || (is_spread_judged && uniformity < UNIFORMITY_ALPHA) {
            Verdict::Warn
        } else {
            Verdict::Good
        };
        Item { test: item.test.name(), detail: item.detail(), passed: samples - failed, uniformity, verdict }
    };
    tally.failures().zip(tally.uniformities()).map(judged).collect()
}

fn summary(items: &[Item], samples: usize) -> Check {
    let count = |verdict| items.iter().filter(|item| item.verdict == verdict).count();
    let (bad, short) = (count(Verdict::Bad), count(Verdict::Warn));
    let (verdict, detail) = if bad > 0 {
        (Verdict::Bad, format!("{bad} of {} items fail beyond chance; stop using the device", items.len()))
    } else if short > 0 {
        let detail = format!(
            "{short} of {} items short of GM/T 0005-2021 chapter 6; chance does that, run it again",
            items.len()
        );
        (Verdict::Warn, detail)
    } else {
        (Verdict::Good, format!("{} items pass over {samples} samples of 10^6 bits", items.len()))
    };
    Check::new("random bit generator", verdict, detail)
}

#[cfg(test)]
mod tests {
    use bixi_hsm_randomness::Value;

    use super::*;

    fn tally(samples: usize, failed: usize, q: impl Fn(usize) -> f64) -> Vec<Item> {
        let battery = Battery::full(Length::BitsMillion);
        let mut tally = Tally::new(battery.items());
        for sample in 0..samples {
            let mut values = vec![Value { p: 0.5, q: q(sample) }; battery.items().len()];
            values[3].p = if sample < failed { 0.0 } else { 0.5 };
            tally.add(&values);
        }
        judge(&tally)
    }

    #[test]
    fn an_item_is_short_by_the_standard_and_bad_beyond_chance() {
        let even = |sample: usize| (sample % 100) as f64 / 100.0;
        let verdicts = |failed| tally(100, failed, even)[3].verdict;
        assert_eq!(
            [0, 3, 4, 8, 50].map(verdicts),
            [Verdict::Good, Verdict::Good, Verdict::Warn, Verdict::Warn, Verdict::Bad]
        );
        assert!(
            tally(100, 50, even).iter().enumerate().all(|(place, item)| place == 3 || item.verdict == Verdict::Good)
        );
    }

    #[test]
    fn q_values_in_one_cell_are_bad_when_there_are_enough_of_them() {
        assert!(tally(100, 0, |_| 0.42).iter().all(|item| item.verdict == Verdict::Bad));
        assert!(tally(20, 0, |_| 0.42).iter().all(|item| item.verdict == Verdict::Good));
    }

    #[test]
    fn the_summary_says_what_to_do() {
        let even = |sample: usize| (sample % 100) as f64 / 100.0;
        let summary = |failed| summary(&tally(100, failed, even), 100);
        assert_eq!(summary(0).verdict, Verdict::Good);
        assert!(summary(4).verdict == Verdict::Warn && summary(4).detail.contains("run it again"));
        assert!(summary(60).verdict == Verdict::Bad && summary(60).detail.contains("stop using the device"));
    }
}
