//! How far a snapshot is, for the log and for `bixi status`; and whether catching up block by block waits for it.
//!
//! It waits while that is worth it: a moment after a peer was first heard of that is far ahead, and for as long as the snapshot comes
//! soon. Both are bounded, so that neither a false head nor a slow source holds a node back.

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

/// How long after the first head far above ours the first offers are waited for. Once for each start.
const OFFERS_WAITED: Duration = Duration::from_secs(60);
/// A snapshot that needs longer is not waited for.
const LEFT_WAITED: Duration = Duration::from_secs(1_800);

/// Shared by the thread that fetches and those that are asked.
#[derive(Debug, Default)]
pub(crate) struct JoinProgress {
    /// Heights above ours from which on a peer is far ahead; 0: no snapshot is ever fetched.
    after_blocks: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    work: Option<Work>,
    /// Since when a peer was far ahead for the first time.
    far_since: Option<Instant>,
    /// An attempt came to an end: nothing is waited for but work under way.
    is_over: bool,
}

#[derive(Debug)]
struct Work {
    height: u64,
    phase: &'static str,
    began: Instant,
    received_bytes: u64,
    /// Weight that was there before we began, is there now, and will be there.
    weights: [u64; 3],
}

impl Work {
    /// At the pace so far; `None` before anything came.
    fn left(&self) -> Option<Duration> {
        let [before, done, whole] = self.weights;
        let (gained, left) = (done - before, whole - done);
        if gained == 0 {
            return None;
        }
        // A height that somebody made up gives a time no `Duration` holds.
        Duration::try_from_secs_f64(self.began.elapsed().as_secs_f64() * left as f64 / gained as f64).ok()
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
    pub(crate) fn new(after_blocks: u64) -> Self {
        Self { after_blocks, held: Mutex::default() }
    }

    /// Whether a head is far above ours.
    pub(crate) fn is_far(&self, head: u64, own: u64) -> bool {
        self.after_blocks > 0 && head > own.saturating_add(self.after_blocks)
    }

    /// A peer's head was heard of.
    pub(crate) fn heard(&self, head: u64, own: u64) {
        if self.is_far(head, own) {
            self.held.lock().far_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether catching up block by block is to wait.
    pub(crate) fn holds_replay(&self) -> bool {
        let held = self.held.lock();
        match &held.work {
            Some(work) => work.began.elapsed() < OFFERS_WAITED || work.left().is_some_and(|left| left < LEFT_WAITED),
            None => !held.is_over && held.far_since.is_some_and(|since| since.elapsed() < OFFERS_WAITED),
        }
    }

    /// Work begins, of which some may be done from an earlier run.
    pub(super) fn begin(&self, height: u64, whole: Missing, missing: Missing) {
        let done = whole.weight().saturating_sub(missing.weight());
        let weights = [done, done, whole.weight()];
        let (phase, began, received_bytes) = ("headers", Instant::now(), 0);
        self.held.lock().work = Some(Work { height, phase, began, received_bytes, weights });
    }

    pub(super) fn phase(&self, phase: &'static str) {
        if let Some(work) = self.held.lock().work.as_mut() {
            work.phase = phase;
        }
    }

    /// Parts came, in so many bytes.
    pub(super) fn came(&self, parts: Missing, bytes: usize) {
        if let Some(work) = self.held.lock().work.as_mut() {
            work.received_bytes += bytes as u64;
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
        let Work { height, phase, began, received_bytes, weights: [_, done, whole] } = work;
        let elapsed = began.elapsed();
        Some(Joining {
            height: *height,
            phase,
            received_bytes: *received_bytes,
            percent: (done * 100).checked_div(*whole).unwrap_or(100) as u8,
            bytes_per_second: (*received_bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64,
            left: work.left(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catching_up_waits_for_a_snapshot_that_is_wanted_and_comes() {
        let never = JoinProgress::new(0);
        never.heard(u64::MAX, 0);
        assert!(!never.holds_replay());
        let progress = JoinProgress::new(10);
        progress.heard(110, 100);
        assert!(!progress.holds_replay(), "near");
        progress.heard(111, 100);
        assert!(progress.holds_replay());
        progress.end();
        assert!(!progress.holds_replay(), "no offer came");
        progress.heard(500, 100);
        assert!(!progress.holds_replay(), "one wait for each start");
        progress.begin(500, Missing { headers: 1, chunks: 1, blocks: 1 }, Missing { headers: 1, chunks: 1, blocks: 1 });
        assert!(progress.holds_replay());
        progress.end();
        assert!(!progress.holds_replay());
    }

    #[test]
    fn what_was_there_before_counts_as_done_but_not_as_speed() {
        let progress = JoinProgress::default();
        assert_eq!(progress.now(), None);
        let parts = |headers, chunks, blocks| Missing { headers, chunks, blocks };
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
