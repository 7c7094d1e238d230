//! How far a snapshot is, for the log and for `bixi status`; and whether catching up block by block waits for it.
//!
//! It waits while that is worth it: a moment after the chain was first known to be far ahead, and for as long as the snapshot comes
//! soon and does come. All of it is bounded for each start, so that no source, slow or false, holds a node back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What one part of the work weighs: about its kilobytes.
const HEADER_WEIGHT: u64 = 1;
const CHUNK_WEIGHT: u64 = 512;
const BLOCK_WEIGHT: u64 = 4;

/// A snapshot under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joining {
    /// Its height.
    pub height: u64,
    /// What is being done, in a word.
    pub phase: &'static str,
    /// Received since the start.
    pub received_bytes: u64,
    /// Of the whole work.
    pub percent: u8,
    pub bytes_per_second: u64,
    /// `None` before anything can be said.
    pub left: Option<Duration>,
}

/// How long after the first head far above ours the first offers are waited for, once for each start; and how long later for something
/// that was checked and kept.
const OFFERS_WAITED: Duration = Duration::from_secs(60);
/// A snapshot that needs longer is not waited for.
const LEFT_WAITED: Duration = Duration::from_secs(1_800);
/// No longer than this after the first attempt began is anything waited for until the next start.
const WHOLE_WAITED: Duration = Duration::from_secs(2 * LEFT_WAITED.as_secs());
/// How fast an attempt is shows after so long.
const PACE_SEEN: Duration = Duration::from_secs(600);
/// One that would take longer is given up: nobody holds a snapshot for longer.
const LEFT_MAX: Duration = super::serve::HELD_MAX;
/// By how much the threshold rises after a join, until the process ends: a chain so fast that it runs away from a node is not joined over
/// and over.
const JOINED_FACTOR: u64 = 16;

/// Shared by the thread that fetches and those that are asked.
#[derive(Debug, Default)]
pub(crate) struct JoinProgress {
    /// Heights above ours from which on a peer is far ahead; 0: no snapshot is ever fetched.
    after_blocks: u64,
    /// A height that no peer holds; 0: none.
    missing: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    work: Option<Work>,
    /// Since when the chain was far ahead for the first time.
    far_since: Option<Instant>,
    /// When the first attempt began.
    first_began: Option<Instant>,
    /// An attempt came to an end: nothing is waited for but work under way.
    is_over: bool,
}

impl Held {
    fn holds(&self, now: Instant) -> bool {
        let since = |instant: Instant| now.saturating_duration_since(instant);
        let is_early = self.far_since.is_some_and(|far| since(far) < OFFERS_WAITED);
        let Some(work) = &self.work else { return is_early && !self.is_over };
        let comes_soon = since(work.gained) < OFFERS_WAITED && work.left(now).is_some_and(|left| left < LEFT_WAITED);
        let is_bounded = self.first_began.is_some_and(|began| since(began) < WHOLE_WAITED);
        is_early || (comes_soon && is_bounded)
    }
}

#[derive(Debug)]
struct Work {
    height: u64,
    phase: &'static str,
    began: Instant,
    /// When something was last checked and kept.
    gained: Instant,
    received_bytes: u64,
    /// Weight that was there before we began, is there now, and will be there.
    weights: [u64; 3],
}

impl Work {
    /// At the pace so far; `None` before anything came.
    fn left(&self, now: Instant) -> Option<Duration> {
        let [before, done, whole] = self.weights;
        let (gained, left) = (done - before, whole - done);
        if gained == 0 {
            return None;
        }
        // A height that somebody made up gives a time no `Duration` holds.
        Duration::try_from_secs_f64(
            now.saturating_duration_since(self.began).as_secs_f64() * left as f64 / gained as f64,
        )
        .ok()
    }
}

/// Parts that are missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    pub headers: u64,
    pub chunks: u64,
    pub blocks: u64,
}

impl Missing {
    fn weight(&self) -> u64 {
        let parts = [(self.headers, HEADER_WEIGHT), (self.chunks, CHUNK_WEIGHT), (self.blocks, BLOCK_WEIGHT)];
        parts.into_iter().fold(0, |sum, (count, weight)| count.saturating_mul(weight).saturating_add(sum))
    }
}

impl JoinProgress {
    /// `has_joined`: the ledger is one that came by a snapshot in this process.
    pub(crate) fn new(after_blocks: u64, has_joined: bool) -> Self {
        let factor = if has_joined { JOINED_FACTOR } else { 1 };
        Self { after_blocks: after_blocks.saturating_mul(factor), ..Self::default() }
    }

    /// Whether a head is far above ours, or above a height that is to be had from nobody.
    pub(crate) fn is_far(&self, head: u64, own: u64) -> bool {
        let is_cut_off = || head > own && self.missing.load(Ordering::Relaxed) == own.saturating_add(1);
        self.after_blocks > 0 && (head > own.saturating_add(self.after_blocks) || is_cut_off())
    }

    /// No connected peer that is further holds this height, which is our next: they joined by snapshots themselves.
    pub(crate) fn nobody_holds(&self, height: u64) {
        if self.missing.swap(height, Ordering::Relaxed) != height {
            tracing::warn!(
                height,
                snapshot_after_blocks = self.after_blocks,
                "no connected peer holds the next block; connect one that has the whole history, or set sync.snapshot_after_blocks \
                 above 0 for a certified snapshot"
            );
        }
    }

    /// Whether what is under way would take longer than a source holds a snapshot.
    pub(super) fn is_too_slow(&self, now: Instant) -> bool {
        let is_slow = |work: &Work| {
            now.saturating_duration_since(work.began) >= PACE_SEEN && work.left(now).is_none_or(|left| left > LEFT_MAX)
        };
        self.held.lock().work.as_ref().is_some_and(is_slow)
    }

    /// The chain's head was heard of, of those whose word counts.
    pub(crate) fn heard(&self, head: u64, own: u64) {
        if self.is_far(head, own) {
            self.held.lock().far_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether catching up block by block is to wait. It never is for a node that is near: `head` is what the chain's is believed to be.
    pub(crate) fn holds_replay(&self, own: u64, head: impl FnOnce() -> Option<u64>) -> bool {
        self.after_blocks > 0
            && self.held.lock().holds(Instant::now())
            && head().is_some_and(|head| self.is_far(head, own))
    }

    /// Work begins, of which some may be done from an earlier run.
    pub(super) fn begin(&self, height: u64, whole: Missing, missing: Missing) {
        let done = whole.weight().saturating_sub(missing.weight());
        let weights = [done, done, whole.weight()];
        let (phase, began, received_bytes) = ("headers", Instant::now(), 0);
        let mut held = self.held.lock();
        held.first_began.get_or_insert(began);
        held.work = Some(Work { height, phase, began, gained: began, received_bytes, weights });
    }

    pub(super) fn phase(&self, phase: &'static str) {
        if let Some(work) = self.held.lock().work.as_mut() {
            work.phase = phase;
        }
    }

    /// Bytes came, and with them parts that were checked and kept. Bytes alone are no progress: anybody can send those.
    pub(super) fn came(&self, parts: Missing, bytes: usize) {
        if let Some(work) = self.held.lock().work.as_mut() {
            work.received_bytes += bytes as u64;
            if parts.weight() > 0 {
                work.gained = Instant::now();
            }
            work.weights[1] = (work.weights[1] + parts.weight()).min(work.weights[2]);
        }
    }

    pub(super) fn end(&self) {
        let mut held = self.held.lock();
        held.work = None;
        held.is_over = true;
    }

    /// `None` when no snapshot is under way.
    pub(crate) fn now(&self) -> Option<Joining> {
        let held = self.held.lock();
        let work = held.work.as_ref()?;
        let Work { height, phase, began, received_bytes, weights: [_, done, whole], .. } = work;
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(*began);
        Some(Joining {
            height: *height,
            phase,
            received_bytes: *received_bytes,
            percent: (done * 100).checked_div(*whole).unwrap_or(100) as u8,
            bytes_per_second: (*received_bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64,
            left: work.left(now),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: u64, chunks: u64, blocks: u64) -> Missing {
        Missing { headers, chunks, blocks }
    }

    #[test]
    fn catching_up_waits_for_a_snapshot_that_is_wanted_and_comes() {
        let holds = |progress: &JoinProgress, own, head| progress.holds_replay(own, || Some(head));
        let never = JoinProgress::new(0, false);
        never.heard(u64::MAX, 0);
        assert!(!holds(&never, 0, u64::MAX));
        let progress = JoinProgress::new(10, false);
        progress.heard(110, 100);
        assert!(!holds(&progress, 100, 110), "near");
        progress.heard(111, 100);
        assert!(holds(&progress, 100, 111));
        assert!(!holds(&progress, 101, 111), "near by now: what is within the threshold is asked for");
        assert!(!progress.holds_replay(100, || None), "too few have told");
        progress.end();
        assert!(!holds(&progress, 100, 111), "no offer came");
        progress.heard(500, 100);
        assert!(!holds(&progress, 100, 500), "one wait for each start");
        progress.begin(500, parts(1, 1, 1), parts(1, 1, 1));
        assert!(holds(&progress, 100, 500));
        progress.end();
        assert!(!holds(&progress, 100, 500));
    }

    #[test]
    fn after_a_join_the_next_begins_much_later() {
        let (first, later) = (JoinProgress::new(10, false), JoinProgress::new(10, true));
        assert!(first.is_far(11, 0) && !later.is_far(160, 0) && later.is_far(161, 0));
        assert!(!JoinProgress::new(0, true).is_far(u64::MAX, 0));
    }

    #[test]
    fn a_head_above_a_height_that_nobody_holds_is_far_until_the_ledger_is_past_it() {
        let (joins, never) = (JoinProgress::new(1_000, true), JoinProgress::new(0, false));
        [&joins, &never].into_iter().for_each(|progress| progress.nobody_holds(8));
        assert!(joins.is_far(8, 7) && !joins.is_far(7, 7) && !joins.is_far(9, 8));
        assert!(!never.is_far(8, 7), "the operator wants none");
    }

    #[test]
    fn an_attempt_that_would_outlast_its_sources_is_too_slow() {
        let progress = JoinProgress::new(10, false);
        assert!(!progress.is_too_slow(Instant::now() + LEFT_MAX), "nothing is under way");
        progress.begin(500, parts(100, 0, 0), parts(100, 0, 0));
        let slow_after = |whole: Duration| progress.is_too_slow(Instant::now() + whole);
        assert!(!slow_after(PACE_SEEN / 2), "too early to tell");
        assert!(slow_after(PACE_SEEN * 2), "nothing came");
        progress.came(parts(50, 0, 0), 1);
        assert!(!slow_after(LEFT_MAX / 2) && slow_after(LEFT_MAX * 2));
    }

    #[test]
    fn a_snapshot_is_waited_for_only_while_checked_parts_come() {
        let progress = JoinProgress::new(10, false);
        progress.heard(500, 0);
        progress.begin(500, parts(100, 0, 0), parts(100, 0, 0));
        let holds_after = |seconds| progress.held.lock().holds(Instant::now() + Duration::from_secs(seconds));
        let edge = OFFERS_WAITED.as_secs();
        assert!(holds_after(0));
        progress.came(parts(0, 0, 0), 1 << 20);
        assert!(!holds_after(edge), "bytes that nobody could check yet are no progress");
        // Half of it at once: the rest would come as soon, but what is over is the wait for something new.
        progress.came(parts(50, 0, 0), 1 << 20);
        let grace_over = || progress.held.lock().far_since = Instant::now().checked_sub(OFFERS_WAITED);
        grace_over();
        assert!(holds_after(0) && holds_after(edge / 2) && !holds_after(edge));
        // Another attempt has no grace of its own: it is waited for once it gives something.
        progress.end();
        progress.begin(500, parts(100, 0, 0), parts(50, 0, 0));
        assert!(!holds_after(0));
        progress.came(parts(10, 0, 0), 1);
        assert!(holds_after(0));
        // And all attempts together have an end.
        progress.held.lock().first_began = Instant::now().checked_sub(WHOLE_WAITED);
        assert!(!holds_after(0));
    }

    #[test]
    fn what_was_there_before_counts_as_done_but_not_as_speed() {
        let progress = JoinProgress::default();
        assert_eq!(progress.now(), None);
        progress.begin(9, parts(1_000, 2, 494), parts(0, 1, 494));
        let begun = progress.now().expect("under way");
        assert_eq!((begun.height, begun.phase, begun.percent, begun.left), (9, "headers", 37, None));
        progress.phase("state");
        progress.came(parts(0, 1, 0), 300_000);
        let later = progress.now().expect("under way");
        assert_eq!((later.phase, later.percent, later.received_bytes), ("state", 50, 300_000));
        assert!(later.left.is_some());
        // A piece that came twice makes it no more than whole.
        progress.came(parts(0, 100, 494), 1);
        assert_eq!(progress.now().map(|joining| joining.percent), Some(100));
        progress.end();
        assert_eq!(progress.now(), None);
    }
}
