//! How fast files are sealed anew: an even rate, so that a disk and processors that others use are never taken whole. Beside others' work
//! no more than a share of the time, too: a piece that took long because they are busy is followed by a pause that is longer; and a disk that
//! has a bad moment, in which each read holds up everybody's syncs, is left alone for a while.

use std::time::{Duration, Instant};

use bixi_sealed::reseal::CHUNK_BYTES;

/// Shorter pauses are saved up: the system ends none so soon.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// What else is looked at now and then in a long pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Beside others' work a piece is followed by a pause of so many times its own length at least.
const PAUSES: u32 = 9;
/// And no longer than this: what held a piece up for minutes was no work of its own.
const SHARE_MAX: Duration = Duration::from_secs(10);

/// When the next bytes may be sealed.
#[derive(Debug)]
pub(crate) struct Pace {
    due: Instant,
    /// When the piece was begun that is being worked on.
    begun: Instant,
    beside: Option<Aside>,
}

impl Pace {
    /// Of who has the machine to himself.
    pub(crate) fn begin() -> Self {
        Self { due: Instant::now(), begun: Instant::now(), beside: None }
    }

    /// Of who works beside others.
    pub(crate) fn beside_others() -> Self {
        Self { beside: Some(Aside::begin(Instant::now())), ..Self::begin() }
    }

    /// What went before was no piece: it asks for no pause.
    pub(crate) fn resume(&mut self) {
        self.begun = Instant::now();
        if let Some(aside) = &mut self.beside {
            aside.is_first = true;
        }
    }

    /// How often it has left the disk alone.
    pub(crate) fn asides(&self) -> u32 {
        self.beside.as_ref().map_or(0, |aside| aside.taken)
    }

    /// Waits as long as `bytes` take at the rate of `bytes_per_second`, or until `is_ended`. What was slower than the rate is not made
    /// up for.
    pub(crate) fn after(&mut self, bytes: u64, bytes_per_second: Option<u64>, is_ended: impl Fn() -> bool) {
        let Some(rate) = bytes_per_second else { return };
        let now = Instant::now();
        let took = now.saturating_duration_since(self.begun);
        let by_rate = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        let for_others = self.beside.as_mut().map_or(Duration::ZERO, |aside| aside.pause(bytes, took, now));
        self.due = self.due.max(now) + by_rate.max(for_others);
        self.begun = now;
        if self.due.saturating_duration_since(now) < PAUSE_MIN {
            return;
        }
        while !is_ended() {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(PAUSE_MAX));
        }
        self.begun = Instant::now();
    }
}

/// Pauses for the sake of others.
///
/// Disks have moments, of seconds to half a minute, in which much of what is read from them takes a hundred times as long, and the syncs beside
/// it do, too: other guests of the same storage, a limit on its operations. A share of the time makes such a moment's pieces rarer, and each
/// still holds up a block. So a piece of a table that took several times as long as nine of ten do is followed by a pause that outlasts
/// many of such moments. A disk that is always so would never be read: such pauses take no more than a fifth of the time.
#[derive(Debug)]
struct Aside {
    /// What nine of ten pieces take at most, seconds: it follows them by [`STEP`], nine times as fast up as down.
    usual: f64,
    /// Whether something else than a piece went before, and is in the next one's time: a flush, a look at every header, a rename.
    is_first: bool,
    /// Of such pauses, how much may be taken: grows with the time.
    allowed: Duration,
    /// Up to when it has grown.
    counted: Instant,
    taken: u32,
}

/// How long a disk is left alone.
const ASIDE: Duration = Duration::from_secs(10);
/// One part in so many of all time goes into that, of which a minute's worth may be saved up.
const ASIDE_OF: u32 = 5;
const ASIDE_MAX: Duration = Duration::from_secs(60);
/// A piece was held up when it took so many times as long as usual, and no less than this, seconds.
const HELD_UP: f64 = 4.0;
const HELD_UP_MIN: f64 = 0.030;
/// Seconds: less counts as this.
const USUAL_MIN: f64 = 0.001;
/// By how much what is usual changes with a piece that took longer. Every fourth piece holds a sync: it follows those within some hundred pieces.
const STEP: f64 = 1.06;

impl Aside {
    fn begin(now: Instant) -> Self {
        Self { usual: USUAL_MIN, is_first: true, allowed: ASIDE, counted: now, taken: 0 }
    }

    /// After a piece of `bytes` that took so long and has ended now. Pieces of tables are compared, which all have the same size; what has
    /// another one has its share.
    fn pause(&mut self, bytes: u64, took: Duration, now: Instant) -> Duration {
        let grown = now.saturating_duration_since(self.counted) / ASIDE_OF;
        (self.allowed, self.counted) = ((self.allowed + grown).min(ASIDE_MAX), now);
        let share = (took * PAUSES).min(SHARE_MAX);
        let was_first = std::mem::replace(&mut self.is_first, bytes != CHUNK_BYTES as u64);
        if was_first || self.is_first {
            return share;
        }
        let (seconds, usual) = (took.as_secs_f64(), self.usual);
        self.usual = if seconds > usual { usual * STEP } else { (usual / STEP.powf(1.0 / 9.0)).max(USUAL_MIN) };
        let is_held_up = seconds >= HELD_UP_MIN && seconds >= HELD_UP * usual;
        let more = ASIDE.saturating_sub(share);
        match self.allowed.checked_sub(more).filter(|_| is_held_up && !more.is_zero()) {
            Some(left) => {
                self.allowed = left;
                self.taken += 1;
                tracing::debug!(
                    took_ms = seconds * 1e3,
                    usual_ms = usual * 1e3,
                    "a piece took long: the disk is left alone for a while"
                );
                share + more
            }
            None => share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = CHUNK_BYTES as u64;

    #[test]
    fn many_small_pieces_take_as_long_as_one_others_have_their_share_and_an_end_is_heeded() {
        for pieces in [1, 1_000] {
            let (mut pace, began) = (Pace::begin(), Instant::now());
            (0..pieces).for_each(|_| pace.after(200_000 / pieces, Some(1_000_000), || false));
            assert!(began.elapsed() >= Duration::from_millis(190), "{pieces}: {:?}", began.elapsed());
        }
        // Beside others: what was worked is a tenth of the time at most, whatever the rate would allow.
        let (mut pace, began) = (Pace::beside_others(), Instant::now());
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            pace.after(1, Some(u64::MAX), || false);
        }
        assert!(began.elapsed() >= Duration::from_millis(3 * 200), "{:?}", began.elapsed());
        let began = Instant::now();
        Pace::begin().after(u64::from(u32::MAX), Some(1), || true);
        Pace::begin().after(u64::MAX, None, || false);
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn what_took_long_is_followed_by_a_pause_that_has_a_bound_unless_it_was_no_piece() {
        let s = Duration::from_secs;
        let took = |took: Duration| Pace { begun: Instant::now() - took, ..Pace::beside_others() };
        let pause_of = |pace: &mut Pace, bytes| {
            pace.after(bytes, Some(u64::MAX), || true);
            pace.due.saturating_duration_since(Instant::now())
        };
        assert!((s(9)..=s(10)).contains(&pause_of(&mut took(s(600)), 1)));
        // What went before was no piece.
        let mut resumed = took(s(600));
        resumed.resume();
        assert!(pause_of(&mut resumed, 1) < s(9));
        // The first piece holds what went before it, and says nothing; the next one does.
        let mut pace = took(Duration::from_millis(100));
        assert!(pause_of(&mut pace, PIECE) < s(9) && pace.asides() == 0);
        pace = Pace { due: Instant::now(), begun: Instant::now() - Duration::from_millis(100), ..pace };
        assert!(pause_of(&mut pace, PIECE) > s(9) && pace.asides() == 1);
    }

    /// Pieces of so many milliseconds one after the other, over and over, each followed by the pause it gets, for so many seconds: how
    /// often the disk was left alone, and what of the time was worked.
    fn simulate(pieces: &[(u64, f64)], seconds: u64) -> (u32, f64) {
        let began = Instant::now();
        let (mut aside, mut now, mut worked) = (Aside::begin(began), began, Duration::ZERO);
        for (bytes, ms) in pieces.iter().cycle() {
            let took = Duration::from_secs_f64(ms / 1e3);
            now += took;
            worked += took;
            now += aside.pause(*bytes, took, now);
            if now - began > Duration::from_secs(seconds) {
                break;
            }
        }
        (aside.taken, worked.as_secs_f64() / (now - began).as_secs_f64())
    }

    #[test]
    fn a_disk_in_a_bad_moment_is_left_alone_and_one_that_is_always_so_is_read_all_the_same() {
        // After ten minutes a disk is in a bad moment: each piece that is tried costs a pause, as long as there are some.
        let mut aside = Aside { is_first: false, ..Aside::begin(Instant::now()) };
        let mut now = aside.counted + Duration::from_secs(600);
        let mut in_a_row = 0;
        while aside.pause(PIECE, Duration::from_millis(100), now) >= ASIDE {
            in_a_row += 1;
            now += ASIDE + Duration::from_millis(100);
        }
        assert!((6..=8).contains(&in_a_row), "{in_a_row}: a minute, and what grows meanwhile");
        // A tenth of the time is worked at least, less the fifth of such pauses.
        let slow_sync = [(PIECE, 0.2), (PIECE, 0.2), (PIECE, 0.2), (PIECE, 50.0)];
        for (name, pieces) in [
            ("a slow disk", vec![(PIECE, 80.0)]),
            ("a slow sync", slow_sync.to_vec()),
            ("a very slow sync", vec![(PIECE, 5.0), (PIECE, 5.0), (PIECE, 5.0), (PIECE, 500.0)]),
            ("rare ones", [vec![(PIECE, 0.006); 1_023], vec![(PIECE, 40.0)]].concat()),
            ("stalls", [vec![(PIECE, 1.0); 63], vec![(PIECE, 5_000.0)]].concat()),
            ("odd sizes", vec![(1, 400.0), (PIECE, 1.0), (64 << 20, 4_000.0)]),
        ] {
            for seconds in [600, 7_200] {
                let (_, worked) = simulate(&pieces, seconds);
                assert!(worked >= 0.1 * 0.78, "{name}: {worked} of {seconds} s");
            }
        }
        // One that is slow all the time, or at every sync, is soon known for it.
        assert!(simulate(&[(PIECE, 80.0)], 7_200).0 <= 5);
        assert!(simulate(&slow_sync, 7_200).0 <= 5);
        // What has another size says nothing, and nor does the piece behind it.
        assert_eq!(simulate(&[(1, 400.0), (PIECE, 900.0), (64 << 20, 4_000.0)], 600).0, 0);
    }
}
