//! Pieces of the state and parts of blocks, as they come: checked, kept, and asked of nobody else.

use std::time::Instant;

use bixi_ledger::snapshot::{ReceivedBlock, SnapshotError};
use bixi_types::NodeId;

use super::{Answer, Attempt, Content, Ended};
use crate::snapshot::fetch::Task;
use crate::snapshot::progress::Missing;
use crate::snapshot::{Wanted, part_length};

/// Answers taken after which the disk is looked at again.
const ANSWERS_BETWEEN_LOOKS: u32 = 64;

impl Attempt<'_> {
    pub(super) fn take(&mut self, answer: Answer) -> Result<(), Ended> {
        let Answer { from, task, content } = answer;
        let outcome = match (task, content) {
            (Task::Chunk { index }, Content::Bytes(bytes)) => {
                let outcome = self.staging.put_chunk(index, &bytes);
                (outcome, Missing { headers: 0, chunks: 1, blocks: 0 }, bytes.len())
            }
            (Task::Block { height, offset }, Content::Part(total, bytes)) => {
                let length = bytes.len();
                let Some(whole) = self.join_parts(from, height, offset, total, bytes) else { return Ok(()) };
                (self.put_block(height, &whole), Missing { headers: 0, chunks: 0, blocks: 1 }, length)
            }
            _ => {
                self.leave(from, task, None);
                return Ok(());
            }
        };
        match outcome {
            (Ok(()), parts, bytes) => {
                self.settle(&task);
                self.joiner.progress.came(parts, bytes);
                self.check_room()
            }
            (Err(SnapshotError::Ledger(error)), ..) => Err(error.into()),
            (Err(SnapshotError::FalseManifest(reason)), ..) => self.false_manifest(&reason),
            (Err(lie), ..) => {
                self.leave(from, task, Some(&lie.to_string()));
                Ok(())
            }
        }
    }

    /// The part is here, whoever else was asked for it.
    fn settle(&mut self, task: &Task) {
        self.fetch.settle(task);
        if let Task::Block { height, .. } = task {
            self.parts.retain(|(_, of), _| of != height);
        }
    }

    /// Now and then: whoever else fills the disk, the node is to go on.
    pub(super) fn check_room(&mut self) -> Result<(), Ended> {
        self.taken = self.taken.wrapping_add(1);
        if !self.taken.is_multiple_of(ANSWERS_BETWEEN_LOOKS) {
            return Ok(());
        }
        self.joiner.check_room(self.staging.bytes_to_come())
    }

    /// The block, once its last part is there. Every part has the length that its place asks for, and one total is told for all.
    fn join_parts(&mut self, from: NodeId, height: u64, offset: u32, total: u32, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let length = bytes.len();
        if offset == 0 {
            self.parts.insert((from, height), (total, Vec::new()));
        }
        let fits = |(known, begun): &&mut (u32, Vec<u8>)| {
            *known == total && begun.len() == offset as usize && length == part_length(offset, total)
        };
        let Some((_, begun)) = self.parts.get_mut(&(from, height)).filter(fits) else {
            let reason = format!("{length} bytes from {offset} on of block {height}, which has {total}");
            self.leave(from, Task::Block { height, offset: 0 }, Some(&reason));
            return None;
        };
        begun.extend_from_slice(&bytes);
        if begun.len() == total as usize {
            return self.parts.remove(&(from, height)).map(|(_, whole)| whole);
        }
        let offset = begun.len() as u32;
        self.joiner.progress.came(Missing { headers: 0, chunks: 0, blocks: 0 }, length);
        self.fetch.follow(from, Task::Block { height, offset }, Instant::now());
        self.joiner.want(from, Wanted::Block { height, offset });
        None
    }

    fn put_block(&self, height: u64, encoding: &[u8]) -> Result<(), SnapshotError> {
        let lie = |reason: String| SnapshotError::Lie(format!("block {height}: {reason}"));
        let block = ReceivedBlock::decode(encoding).map_err(lie)?;
        self.checks.check(&self.staging.header(height)?, &block).map_err(lie)?;
        self.staging.put_block(height, &block)
    }
}
