//! Whose request is answered next: the one's who was given the fewest bytes so far, so that nobody's large requests keep the small ones
//! of others waiting.
//!
//! Start-time fair queueing: a peer that comes anew begins where the one served last began, and one that was given much stands back until
//! the others have had as much.

use std::collections::{BTreeMap, VecDeque};

use bixi_types::NodeId;

/// What an answer costs beside its bytes.
const TURN_BYTES: u64 = 1024;

/// What waits for an answer, by asker.
#[derive(Debug)]
pub(crate) struct Turns<J> {
    queues: BTreeMap<NodeId, Queue<J>>,
    /// Where the one served last began.
    floor_bytes: u64,
}

#[derive(Debug)]
struct Queue<J> {
    jobs: VecDeque<J>,
    given_bytes: u64,
}

impl<J> Turns<J> {
    pub(crate) fn new() -> Self {
        Self { queues: BTreeMap::new(), floor_bytes: 0 }
    }

    pub(crate) fn push(&mut self, peer: NodeId, job: J) {
        let given_bytes = self.floor_bytes;
        let queue = self.queues.entry(peer).or_insert_with(|| Queue { jobs: VecDeque::new(), given_bytes });
        queue.jobs.push_back(job);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.values().all(|queue| queue.jobs.is_empty())
    }

    /// The next one to answer; [`Self::given`] is to be told what it came to.
    pub(crate) fn next(&mut self) -> Option<(NodeId, J)> {
        let waiting = self.queues.iter_mut().filter(|(_, queue)| !queue.jobs.is_empty());
        let (peer, queue) = waiting.min_by_key(|(_, queue)| queue.given_bytes)?;
        self.floor_bytes = queue.given_bytes;
        let job = queue.jobs.pop_front()?;
        Some((*peer, job))
    }

    /// A peer was given so many bytes. Who waits for nothing and need not stand back is forgotten, and everybody when nobody waits.
    pub(crate) fn given(&mut self, peer: NodeId, bytes: usize) {
        if let Some(queue) = self.queues.get_mut(&peer) {
            queue.given_bytes += bytes as u64 + TURN_BYTES;
        }
        let floor_bytes = if self.is_empty() { u64::MAX } else { self.floor_bytes };
        self.queues.retain(|_, queue| !queue.jobs.is_empty() || queue.given_bytes > floor_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEDY: NodeId = NodeId([1; 64]);
    const MODEST: NodeId = NodeId([2; 64]);

    #[test]
    fn large_answers_to_one_keep_no_other_waiting() {
        let mut turns = Turns::new();
        (0..100).for_each(|job| turns.push(GREEDY, job));
        let served: Vec<NodeId> = std::iter::from_fn(|| {
            let (peer, job) = turns.next()?;
            turns.given(peer, if peer == GREEDY { 8 << 20 } else { 1000 });
            if peer == GREEDY && job == 0 {
                (0..50).for_each(|job| turns.push(MODEST, job));
            }
            Some(peer)
        })
        .collect();
        assert_eq!(served.len(), 150);
        // The one it was at, and then everybody else's small ones before its second.
        assert!(served[1..51].iter().all(|peer| *peer == MODEST), "{served:?}");
        assert!(turns.is_empty());
    }

    #[test]
    fn who_asks_one_at_a_time_stands_back_as_well() {
        let mut turns = Turns::new();
        let mut served = [0; 2];
        turns.push(GREEDY, ());
        turns.push(MODEST, ());
        for _ in 0..1_000 {
            let (peer, ()) = turns.next().expect("both always ask again");
            turns.given(peer, if peer == GREEDY { 99 * 1024 } else { 9 * 1024 });
            served[usize::from(peer == MODEST)] += 1;
            turns.push(peer, ());
        }
        // 100 KiB a turn against 10 KiB: bytes are shared evenly, turns ten to one.
        assert!((80..=100).contains(&served[0]), "{served:?}");
    }

    #[test]
    fn nothing_is_kept_of_who_went() {
        let mut turns = Turns::new();
        for round in 0..100u8 {
            turns.push(NodeId([round; 64]), ());
            let (peer, ()) = turns.next().expect("one waits");
            turns.given(peer, 100);
        }
        assert!(turns.queues.is_empty());
    }
}
