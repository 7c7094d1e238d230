//! What is remembered of one PIN, and when it was tried.
//!
//! ```text
//! "BIXIPIN2" ‖ verdict (1) ‖ salt (16) ‖ fingerprint (2) ‖ since boot, ms (8) ‖ since 1970, ms (8)      integers little endian
//! "BIXIPIN1" ‖ verdict (1) ‖ salt (16) ‖ fingerprint (32)                                                of earlier releases
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

const MAGIC: [u8; 8] = *b"BIXIPIN2";
/// Of a record that does not say when, and keeps the whole of the hash.
const MAGIC_TIMELESS: [u8; 8] = *b"BIXIPIN1";
pub(super) const SALT_BYTES: usize = 16;
/// Of the hash of a PIN.
pub(super) const HASH_BYTES: usize = 32;
const BYTES: usize = MAGIC.len() + 1 + SALT_BYTES + size_of::<u16>() + 2 * size_of::<u64>();
const TIMELESS_BYTES: usize = MAGIC_TIMELESS.len() + 1 + SALT_BYTES + HASH_BYTES;
/// Of the longest record.
pub(super) const RECORD_BYTES_MAX: usize = if BYTES > TIMELESS_BYTES { BYTES } else { TIMELESS_BYTES };
/// The bits of the hash that are kept.
const FINGERPRINT_MASK: u16 = 0x0FFF;
/// Verdict of a PIN the device refused; smaller values count attempts without a verdict.
pub(super) const REFUSED: u8 = 0xFF;

/// Twelve bits of the hash of a PIN: enough to know the PIN of the last attempt again (another is taken for it once in 4,096 times, and then
/// held back until the file is removed), too few to find it. A right PIN is noted as well while it is tried, and a disk keeps what was removed:
/// of the million PINs of six digits 244 have the same twelve bits, and only the device tells which of them it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u16);

impl Fingerprint {
    pub(super) fn of(hash: &[u8; HASH_BYTES]) -> Self {
        Self(u16::from_le_bytes([hash[0], hash[1]]) & FINGERPRINT_MASK)
    }
}

/// A PIN that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) verdict: u8,
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) fingerprint: Fingerprint,
    /// When the attempt began, or ended without a verdict; [`Moment::LONG_AGO`] in a record of an earlier release.
    pub(super) tried: Moment,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let times = [self.tried.since_boot_ms, self.tried.since_epoch_ms].map(u64::to_le_bytes);
        [&MAGIC[..], &[self.verdict], &self.salt, &self.fingerprint.0.to_le_bytes(), times.as_flattened()].concat()
    }

    /// How long ago the attempt was, at least, and what is left of the pause after it.
    pub(super) fn pause(&self) -> (Duration, Duration) {
        let passed = self.tried.passed_at_least(Moment::now());
        (passed, super::PAUSE_MIN.saturating_sub(passed))
    }

    /// `None` for what is no record.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let ([verdict], rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (fingerprint, tried) = match *magic {
            MAGIC_TIMELESS => (Fingerprint::of(rest.try_into().ok()?), Moment::LONG_AGO),
            MAGIC => {
                let (fingerprint, rest) = rest.split_first_chunk()?;
                let (boot, epoch) = rest.split_first_chunk()?;
                let [since_boot_ms, since_epoch_ms] = [*boot, epoch.try_into().ok()?].map(u64::from_le_bytes);
                let bits = u16::from_le_bytes(*fingerprint);
                if bits & !FINGERPRINT_MASK != 0 {
                    return None;
                }
                (Fingerprint(bits), Moment { since_boot_ms, since_epoch_ms })
            }
            _ => return None,
        };
        Some(Self { verdict: *verdict, salt: *salt, fingerprint, tried })
    }
}

/// A moment by two clocks, so that neither a clock that is set nor another start of the machine makes a wait shorter or endless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Sleep included; nobody sets it.
    since_boot_ms: u64,
    since_epoch_ms: u64,
}

impl Moment {
    /// Longer than any machine of today has been running.
    pub(super) const LONG_AGO: Self = Self { since_boot_ms: 0, since_epoch_ms: 0 };

    pub(super) fn now() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        let since_boot_ms = boot.tv_sec as u64 * 1_000 + boot.tv_nsec as u64 / 1_000_000;
        let since_epoch_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Self { since_boot_ms, since_epoch_ms }
    }

    /// How much time has passed until `now` at least. After another start of the machine the first clock shows less than what has
    /// passed, since it began anew; where it shows more (a disk in another machine), the second one shows it, unless that was set back.
    pub(super) fn passed_at_least(self, now: Self) -> Duration {
        let by_boot = now.since_boot_ms.checked_sub(self.since_boot_ms).unwrap_or(now.since_boot_ms);
        let by_epoch = now.since_epoch_ms.checked_sub(self.since_epoch_ms).unwrap_or(by_boot);
        Duration::from_millis(by_boot.min(by_epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_those_of_an_earlier_release_too_and_nothing_else() {
        let hash = [[0x34, 0xF2], [3; 2]].concat().repeat(8).try_into().unwrap();
        let tried = Moment { since_boot_ms: 4, since_epoch_ms: 5 };
        let record = Record { verdict: 1, salt: [2; SALT_BYTES], fingerprint: Fingerprint::of(&hash), tried };
        assert_eq!(record.fingerprint, Fingerprint(0x0234));
        let earlier = [&b"BIXIPIN1\x01"[..], &[2; SALT_BYTES], &hash].concat();
        let timeless = Record { tried: Moment::LONG_AGO, ..record.clone() };
        assert_eq!((earlier.len(), record.encode().len()), (RECORD_BYTES_MAX, BYTES));
        for (bytes, record) in [(record.encode(), record), (earlier, timeless)] {
            assert_eq!(Record::parse(&bytes), Some(record));
            assert!((0..bytes.len()).all(|end| Record::parse(&bytes[..end]).is_none()));
            assert_eq!(Record::parse(&[&bytes[..], b"x"].concat()), None);
        }
    }

    #[test]
    fn whatever_becomes_of_the_clocks_no_wait_is_cut_short_or_grows() {
        let at = |since_boot_ms, since_epoch_ms| Moment { since_boot_ms, since_epoch_ms };
        let tried = at(1_000, 500_000);
        let passed = |boot, epoch| tried.passed_at_least(at(boot, epoch)).as_millis();
        assert_eq!(passed(8_000, 507_000), 7_000);
        // The clock of the day was set forward, or back.
        assert_eq!(passed(8_000, 9_999_999), 7_000);
        assert_eq!(passed(8_000, 3), 7_000);
        // The machine was started again, or is another one, which has run for long.
        assert_eq!(passed(200, 599_000), 200);
        assert_eq!(passed(900_000, 502_000), 2_000);
        assert_eq!(passed(200, 3), 200);
    }

    #[test]
    fn moments_follow_each_other() {
        let first = Moment::now();
        std::thread::sleep(Duration::from_millis(20));
        assert!(first.passed_at_least(Moment::now()) >= Duration::from_millis(10));
    }
}
