//! How long nobody is started after a worker's end: not at all after one that has served, and ever longer after those that died young or
//! hung again and again, because each start is a login.

use std::time::Duration;

use super::{Lost, Pace};

const YOUNG_MIN: Duration = Duration::from_millis(100);
const YOUNG_MAX: Duration = Duration::from_secs(10);
const HUNG_MIN: Duration = Duration::from_secs(1);
const HUNG_MAX: Duration = Duration::from_secs(60);

/// What is remembered of earlier workers.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// In a row.
    young_deaths: u32,
    /// Without a worker in between that had answered for long.
    hangs: u32,
}

impl Pauses {
    /// The pause after a worker that answered for as long as `served`, if at all; a person has to act, and has `rest` for it.
    pub(super) fn after(&mut self, pace: &Pace, why: &Lost, served: Option<Duration>, rest: Duration) -> Duration {
        let has_served = |long: Duration| served.is_some_and(|served| served >= long);
        self.young_deaths = if has_served(pace.proven) { 0 } else { self.young_deaths + 1 };
        if has_served(pace.calm) {
            self.hangs = 0;
        }
        self.hangs += u32::from(why.is_hang());
        // The first hang says nothing of the next call, and the chain waits.
        let hung = if why.is_hang() { doubled(HUNG_MIN, HUNG_MAX, self.hangs - 1) } else { Duration::ZERO };
        doubled(YOUNG_MIN, YOUNG_MAX, self.young_deaths).max(hung).max(rest)
    }
}

/// No pause for none, then ever longer ones.
fn doubled(min: Duration, max: Duration, count: u32) -> Duration {
    match count {
        0 => Duration::ZERO,
        count => min.saturating_mul(1 << (count - 1).min(16)).min(max),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn hung() -> Lost {
        Lost::Hung(ExitStatus::from_raw(9))
    }

    fn ended() -> Lost {
        Lost::Ended(ExitStatus::from_raw(9))
    }

    fn pauses(lives: impl IntoIterator<Item = (Lost, Option<Duration>)>) -> Vec<u64> {
        let (mut pauses, pace) = (Pauses::default(), Pace::default());
        let pause = |(why, served)| pauses.after(&pace, &why, served, Duration::ZERO).as_millis() as u64;
        lives.into_iter().map(pause).collect()
    }

    #[test]
    fn one_that_served_is_replaced_at_once_and_those_that_die_young_ever_later() {
        let lives = [Some(SECOND), None, None, Some(SECOND / 2), Some(SECOND), None];
        assert_eq!(pauses(lives.map(|served| (ended(), served))), [0, 100, 200, 400, 0, 100]);
        assert_eq!(pauses((0..40).map(|_| (ended(), None))).last(), Some(&10_000));
    }

    /// It logs in, answers, and hangs seconds later, for ever.
    #[test]
    fn a_device_that_hangs_again_and_again_is_opened_ever_later() {
        let hangs = || (hung(), Some(SECOND * 6));
        assert_eq!(pauses((0..5).map(|_| hangs())), [0, 1_000, 2_000, 4_000, 8_000]);
        assert_eq!(pauses((0..40).map(|_| hangs())).last(), Some(&60_000));
        let silent = || (Lost::Silent(SECOND), Some(SECOND * 6));
        assert_eq!(pauses([hangs(), silent(), hangs()]), [0, 1_000, 2_000]);
        // A worker that was killed in between proves nothing; one that answered for a minute does.
        assert_eq!(pauses([hangs(), hangs(), (ended(), Some(SECOND * 2)), hangs()]), [0, 1_000, 0, 2_000]);
        assert_eq!(pauses([hangs(), hangs(), (hung(), Some(SECOND * 60)), hangs()]), [0, 1_000, 0, 1_000]);
    }

    #[test]
    fn what_a_person_has_to_mend_is_rested_for() {
        let (mut pauses, pace) = (Pauses::default(), Pace::default());
        for _ in 0..3 {
            assert_eq!(pauses.after(&pace, &ended(), None, SECOND * 60), SECOND * 60);
        }
    }
}
