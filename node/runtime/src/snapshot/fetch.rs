//! Who is asked for what: parts of a snapshot shared out among several peers, a few at a time each.
//!
//! Pure bookkeeping. Every part that was taken out comes back when its peer is late or expelled, so a part is always waiting, asked
//! for, or received.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bixi_types::NodeId;

/// Requests to one peer at once: the next is on its way while one is answered.
const ASKED_MAX: usize = 2;
/// A peer that was late so often in a row is not asked again.
const LATE_MAX: u32 = 4;

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Headers in a row.
    Headers { first: u64, count: u16 },
    /// A piece of the state.
    Chunk { index: u32 },
    /// A block, from a byte on.
    Block { height: u64, offset: u32 },
}

impl Task {
    /// What is asked for when another peer takes over: parts of a block come from one.
    pub(super) fn anew(self) -> Self {
        match self {
            Self::Block { height, .. } => Self::Block { height, offset: 0 },
            other => other,
        }
    }
}

#[derive(Debug, Default)]
struct Source {
    asked: Vec<(Task, Instant)>,
    rests_until: Option<Instant>,
    late: u32,
}

/// Parts and peers.
#[derive(Debug)]
pub(super) struct Fetch {
    sources: BTreeMap<NodeId, Source>,
    waiting: VecDeque<Task>,
    patience: Duration,
}

impl Fetch {
    /// `patience` is how long an answer may take, and how long a peer rests that was late.
    pub(super) fn new(sources: impl IntoIterator<Item = NodeId>, patience: Duration) -> Self {
        let sources = sources.into_iter().map(|peer| (peer, Source::default())).collect();
        Self { sources, waiting: VecDeque::new(), patience }
    }

    /// Peers that may be asked.
    pub(super) fn sources(&self) -> Vec<NodeId> {
        self.sources.keys().copied().collect()
    }

    /// Adds a part behind all others.
    pub(super) fn add(&mut self, task: Task) {
        self.waiting.push_back(task);
    }

    /// Adds a part before all others.
    pub(super) fn add_first(&mut self, task: Task) {
        self.waiting.push_front(task);
    }

    /// Whether nothing waits and nothing is asked for.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.sources.values().all(|source| source.asked.is_empty())
    }

    /// The next request: of the peers that are free, the one with the fewest.
    pub(super) fn next(&mut self, now: Instant) -> Option<(NodeId, Task)> {
        let task = *self.waiting.front()?;
        let is_free =
            |source: &Source| source.asked.len() < ASKED_MAX && source.rests_until.is_none_or(|until| until <= now);
        let free = self.sources.iter_mut().filter(|(_, source)| is_free(source));
        let (peer, source) = free.min_by_key(|(_, source)| source.asked.len())?;
        source.asked.push((task, now));
        self.waiting.pop_front();
        Some((*peer, task))
    }

    /// Asks the same peer for more.
    pub(super) fn follow(&mut self, peer: NodeId, task: Task, now: Instant) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.asked.push((task, now));
        }
    }

    /// Whether `peer` was asked for this; then it is no longer.
    pub(super) fn answered(&mut self, peer: &NodeId, is_it: impl Fn(&Task) -> bool) -> Option<Task> {
        let source = self.sources.get_mut(peer)?;
        let place = source.asked.iter().position(|(task, _)| is_it(task))?;
        source.late = 0;
        Some(source.asked.swap_remove(place).0)
    }

    /// The peer is not asked again; what it was asked for waits again.
    pub(super) fn expel(&mut self, peer: &NodeId) {
        if let Some(source) = self.sources.remove(peer) {
            source.asked.into_iter().for_each(|(task, _)| self.waiting.push_front(task.anew()));
        }
    }

    /// Peers that are late: they rest, and what they were asked for waits again. Who is late again and again is expelled.
    pub(super) fn late(&mut self, now: Instant) -> Vec<NodeId> {
        let patience = self.patience;
        let is_late =
            |source: &Source| source.asked.iter().any(|(_, asked)| now.saturating_duration_since(*asked) >= patience);
        let late: Vec<NodeId> =
            self.sources.iter().filter(|(_, source)| is_late(source)).map(|(peer, _)| *peer).collect();
        for peer in &late {
            let source = self.sources.get_mut(peer).expect("just seen");
            source.late += 1;
            source.rests_until = Some(now + patience);
            let (asked, is_hopeless) = (std::mem::take(&mut source.asked), source.late >= LATE_MAX);
            asked.into_iter().for_each(|(task, _)| self.waiting.push_front(task.anew()));
            if is_hopeless {
                self.sources.remove(peer);
            }
        }
        late
    }

    /// When something may have to be done without news.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let late = self.sources.values().flat_map(|source| &source.asked).map(|(_, asked)| *asked + self.patience);
        let rested = self.sources.values().filter(|_| !self.waiting.is_empty()).filter_map(|source| source.rests_until);
        late.chain(rested).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NodeId = NodeId([1; 64]);
    const OTHER: NodeId = NodeId([2; 64]);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn fetch(chunks: u32) -> Fetch {
        let mut fetch = Fetch::new([ONE, OTHER], PATIENCE);
        (0..chunks).for_each(|index| fetch.add(Task::Chunk { index }));
        fetch
    }

    fn ask_all(fetch: &mut Fetch, now: Instant) -> Vec<(NodeId, Task)> {
        std::iter::from_fn(|| fetch.next(now)).collect()
    }

    #[test]
    fn parts_are_shared_out_a_few_at_a_time() {
        let (mut fetch, now) = (fetch(5), Instant::now());
        let asked = ask_all(&mut fetch, now);
        assert_eq!(asked.len(), 2 * ASKED_MAX);
        assert_eq!(asked.iter().filter(|(peer, _)| *peer == ONE).count(), ASKED_MAX);
        let (peer, task) = asked[0];
        assert_eq!(fetch.answered(&OTHER, |asked| *asked == task), None, "somebody else was asked");
        assert_eq!(fetch.answered(&peer, |asked| *asked == task), Some(task));
        assert_eq!(fetch.answered(&peer, |asked| *asked == task), None, "once");
        assert_eq!(fetch.next(now), Some((peer, Task::Chunk { index: 4 })));
        assert!(!fetch.is_done());
    }

    #[test]
    fn what_a_late_or_expelled_peer_was_asked_for_is_asked_of_another() {
        let (mut fetch, start) = (fetch(3), Instant::now());
        fetch.add(Task::Block { height: 7, offset: 0 });
        let asked = ask_all(&mut fetch, start);
        assert_eq!(asked.len(), 4);
        fetch.expel(&ONE);
        let late = start + PATIENCE;
        assert_eq!(fetch.deadline(), Some(late));
        assert_eq!(fetch.late(late - Duration::from_millis(1)), []);
        assert_eq!(fetch.late(late), [OTHER]);
        assert_eq!(fetch.next(late), None, "the only one left rests");
        let rested = fetch.deadline().expect("it rests until then");
        let again = ask_all(&mut fetch, rested);
        assert_eq!(again.len(), ASKED_MAX);
        assert!(again.iter().all(|(peer, _)| *peer == OTHER));
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        let (mut fetch, mut now) = (fetch(1), Instant::now());
        fetch.expel(&ONE);
        for _ in 0..LATE_MAX {
            assert_eq!(fetch.next(now).map(|(peer, _)| peer), Some(OTHER));
            now += PATIENCE;
            assert_eq!(fetch.late(now), [OTHER]);
            now += PATIENCE;
        }
        assert_eq!((fetch.sources(), fetch.next(now)), (Vec::new(), None));
    }

    #[test]
    fn a_block_begins_anew_with_another_peer() {
        let (mut fetch, now) = (fetch(0), Instant::now());
        fetch.add(Task::Block { height: 7, offset: 0 });
        let (peer, task) = fetch.next(now).expect("one is free");
        assert!(fetch.answered(&peer, |asked| *asked == task).is_some());
        fetch.follow(peer, Task::Block { height: 7, offset: 1000 }, now);
        assert!(!fetch.is_done());
        fetch.expel(&peer);
        assert_eq!(fetch.next(now).map(|(_, task)| task), Some(task), "from its first byte");
    }
}
