//! Who is asked for what: parts of a snapshot shared out among several peers, a few at a time each.
//!
//! Pure bookkeeping. Every part that was taken out comes back when its peer is late or expelled, so a part is always waiting, asked
//! for, or received. What all else waits for, the lowest headers and at the end every part, is asked of a second peer when the first is
//! slow with it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bixi_types::NodeId;

/// Requests to one peer at once: the next is on its way while one is answered.
const ASKED_MAX: usize = 2;
/// A peer that was late so often in a row is not asked again.
const LATE_MAX: u32 = 4;

/// A peer is slow with a part after this share of its patience.
const SLOW_SHARE: u32 = 4;

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

    fn first_header(&self) -> Option<u64> {
        match self {
            Self::Headers { first, .. } => Some(*first),
            _ => None,
        }
    }

    /// Whether one answer makes the other needless.
    fn is_same_part(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Headers { first: one, .. }, Self::Headers { first: other, .. }) => one == other,
            (Self::Chunk { index: one }, Self::Chunk { index: other }) => one == other,
            (Self::Block { height: one, .. }, Self::Block { height: other, .. }) => one == other,
            _ => false,
        }
    }
}

#[derive(Debug, Default)]
struct Source {
    asked: Vec<(Task, Instant)>,
    rests_until: Option<Instant>,
    late: u32,
}

impl Source {
    fn is_free(&self, now: Instant) -> bool {
        self.asked.len() < ASKED_MAX && self.rests_until.is_none_or(|until| until <= now)
    }

    fn is_asked(&self, part: &Task) -> bool {
        self.asked.iter().any(|(task, _)| task.is_same_part(part))
    }
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

    /// One more peer that may be asked.
    pub(super) fn add_source(&mut self, peer: NodeId) {
        self.sources.entry(peer).or_default();
    }

    /// Requests that wait for their answer.
    pub(super) fn asked(&self) -> usize {
        self.sources.values().map(|source| source.asked.len()).sum()
    }

    /// Adds a part behind all others, unless somebody is asked for it.
    pub(super) fn add(&mut self, task: Task) {
        if self.askers(&task) == 0 {
            self.waiting.push_back(task);
        }
    }

    /// Adds a part before all others.
    pub(super) fn add_first(&mut self, task: Task) {
        self.waiting.push_front(task);
    }

    /// A part is needed again: it waits before all others, unless somebody is asked for it.
    pub(super) fn again(&mut self, task: Task) {
        if self.askers(&task) == 0 && !self.waiting.iter().any(|waiting| waiting.is_same_part(&task)) {
            self.add_first(task.anew());
        }
    }

    /// A part is here: nobody is asked for it any more.
    pub(super) fn settle(&mut self, part: &Task) {
        self.waiting.retain(|task| !task.is_same_part(part));
        self.sources.values_mut().for_each(|source| source.asked.retain(|(task, _)| !task.is_same_part(part)));
    }

    fn askers(&self, part: &Task) -> usize {
        self.sources.values().filter(|source| source.is_asked(part)).count()
    }

    /// Whether nothing waits and nothing is asked for.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.sources.values().all(|source| source.asked.is_empty())
    }

    /// The next request of those that `may` be made now: of the peers that are free, the one with the fewest.
    pub(super) fn next(&mut self, now: Instant, may: impl Fn(&Task) -> bool) -> Option<(NodeId, Task)> {
        if let Some(task) = self.slow(now)
            && let Some(peer) = self.ask(task.anew(), now)
        {
            return Some((peer, task.anew()));
        }
        let place = self.waiting.iter().position(may)?;
        let task = self.waiting[place];
        let peer = self.ask(task, now)?;
        self.waiting.remove(place);
        Some((peer, task))
    }

    /// Notes that a free peer is asked, one that is not asked for the same part already.
    fn ask(&mut self, task: Task, now: Instant) -> Option<NodeId> {
        let free = self.sources.iter_mut().filter(|(_, source)| source.is_free(now) && !source.is_asked(&task));
        let (peer, source) = free.min_by_key(|(_, source)| source.asked.len())?;
        source.asked.push((task, now));
        Some(*peer)
    }

    /// A part that all else waits for and the only peer asked for it is slow with.
    fn slow(&self, now: Instant) -> Option<Task> {
        let asked = || self.sources.values().flat_map(|source| &source.asked);
        let slow = asked().filter(|(_, since)| now.saturating_duration_since(*since) >= self.patience / SLOW_SHARE);
        let lowest = asked().map(|(task, _)| task).chain(&self.waiting).filter_map(Task::first_header).min();
        let is_awaited = |task: &Task| self.waiting.is_empty() || (lowest.is_some() && task.first_header() == lowest);
        let alone = slow.filter(|(task, _)| is_awaited(task) && self.askers(task) == 1);
        alone.min_by_key(|(_, since)| *since).map(|(task, _)| *task)
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
            source.asked.into_iter().for_each(|(task, _)| self.again(task));
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
            if is_hopeless {
                self.sources.remove(peer);
            }
            asked.into_iter().for_each(|(task, _)| self.again(task));
        }
        late
    }

    /// When something may have to be done without news, after `now`.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let asked = || self.sources.values().flat_map(|source| &source.asked).map(|(_, asked)| *asked);
        let late = asked().map(|asked| asked + self.patience);
        let slow = asked().map(|asked| asked + self.patience / SLOW_SHARE);
        let rested = self.sources.values().filter_map(|source| source.rests_until);
        late.chain(slow.chain(rested).filter(|at| *at > now)).min()
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
        std::iter::from_fn(|| fetch.next(now, |_| true)).collect()
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
        assert_eq!(fetch.next(now, |_| true), Some((peer, Task::Chunk { index: 4 })));
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
        assert_eq!(fetch.deadline(start), Some(start + PATIENCE / SLOW_SHARE));
        assert_eq!(fetch.deadline(start + PATIENCE / SLOW_SHARE), Some(late));
        assert_eq!(fetch.late(late - Duration::from_millis(1)), []);
        assert_eq!(fetch.late(late), [OTHER]);
        assert_eq!(fetch.next(late, |_| true), None, "the only one left rests");
        let rested = fetch.deadline(late).expect("it rests until then");
        let again = ask_all(&mut fetch, rested);
        assert_eq!(again.len(), ASKED_MAX);
        assert!(again.iter().all(|(peer, _)| *peer == OTHER));
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        let (mut fetch, mut now) = (fetch(1), Instant::now());
        fetch.expel(&ONE);
        for _ in 0..LATE_MAX {
            assert_eq!(fetch.next(now, |_| true).map(|(peer, _)| peer), Some(OTHER));
            now += PATIENCE;
            assert_eq!(fetch.late(now), [OTHER]);
            now += PATIENCE;
        }
        assert_eq!((fetch.sources(), fetch.next(now, |_| true)), (Vec::new(), None));
    }

    #[test]
    fn a_block_begins_anew_with_another_peer() {
        let (mut fetch, now) = (fetch(0), Instant::now());
        fetch.add(Task::Block { height: 7, offset: 0 });
        let (peer, task) = fetch.next(now, |_| true).expect("one is free");
        assert!(fetch.answered(&peer, |asked| *asked == task).is_some());
        fetch.follow(peer, Task::Block { height: 7, offset: 1000 }, now);
        assert!(!fetch.is_done());
        fetch.expel(&peer);
        assert_eq!(fetch.next(now, |_| true).map(|(_, task)| task), Some(task), "from its first byte");
    }

    #[test]
    fn at_the_end_a_second_peer_is_asked_for_what_the_first_is_slow_with() {
        let (mut fetch, start) = (fetch(1), Instant::now());
        let part = Task::Chunk { index: 0 };
        let (first, _) = fetch.next(start, |_| true).expect("one is free");
        let slow = start + PATIENCE / SLOW_SHARE;
        assert_eq!(fetch.next(slow - Duration::from_millis(1), |_| true), None, "not slow yet");
        let (second, again) = fetch.next(slow, |_| true).expect("the other one");
        assert!(again == part && second != first);
        assert_eq!(fetch.next(slow + PATIENCE / 2, |_| true), None, "both are asked, and no third is there");
        // Who is expelled gives nothing back that the other one is asked for.
        let mut expelled = fetch;
        expelled.expel(&first);
        assert!(!expelled.is_done());
        assert_eq!(expelled.next(slow, |_| true), None);
        assert_eq!(expelled.answered(&second, |task| *task == part), Some(part));
        assert!(expelled.is_done());
    }

    #[test]
    fn what_came_from_one_is_asked_of_nobody_else() {
        let (mut fetch, start) = (fetch(0), Instant::now());
        fetch.add(Task::Block { height: 7, offset: 0 });
        let (first, task) = fetch.next(start, |_| true).expect("one is free");
        assert!(fetch.answered(&first, |asked| *asked == task).is_some());
        fetch.follow(first, Task::Block { height: 7, offset: 1000 }, start);
        let (second, from_begin) = fetch.next(start + PATIENCE / SLOW_SHARE, |_| true).expect("the other one");
        assert_eq!((from_begin, second != first), (task, true), "another peer begins with the first byte");
        fetch.settle(&task);
        assert!(fetch.is_done());
        assert_eq!(fetch.late(start + 2 * PATIENCE), [], "nobody is late with what is not needed");
    }

    #[test]
    fn the_lowest_headers_are_asked_of_a_second_peer_while_others_wait() {
        let (mut fetch, start) = (fetch(0), Instant::now());
        (0..6).for_each(|range| fetch.add(Task::Headers { first: 1 + 256 * range, count: 256 }));
        let asked = ask_all(&mut fetch, start);
        let (first, front) = asked[0];
        assert_eq!(front, Task::Headers { first: 1, count: 256 });
        let (other, _) = asked.iter().copied().find(|(peer, _)| *peer != first).expect("both are asked");
        let slow = start + PATIENCE / SLOW_SHARE;
        let of_other = asked.iter().filter(|(peer, _)| *peer == other);
        of_other.for_each(|(peer, task)| assert!(fetch.answered(peer, |asked| asked == task).is_some()));
        assert_eq!(fetch.next(slow, |_| true), Some((other, front)));
        let next = fetch.next(slow, |task| task.first_header() == Some(1 + 256 * 5));
        assert_eq!(next, Some((other, Task::Headers { first: 1 + 256 * 5, count: 256 })), "only what may be asked for");
    }
}
