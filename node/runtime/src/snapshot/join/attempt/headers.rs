//! Headers from the last one believed up to the snapshot's: fetched side by side, believed one after the other.

use std::time::{Duration, Instant};

use bixi_ledger::snapshot::SnapshotError;
use bixi_types::NodeId;
use bixi_types::header::BlockHeader;
use bixi_types::limits::HEIGHTS_MAX;

use super::{Answer, Attempt, Content, Ended};
use crate::snapshot::fetch::Task;
use crate::snapshot::progress::Missing;
use crate::snapshot::trust::Walk;

/// Heights asked for ahead of the last header believed: what waits in memory for the one before.
const HEADERS_AHEAD: u64 = 16 * HEIGHTS_MAX as u64;
/// While headers are fetched each peer is asked for a piece so often: one that nobody asks for pieces lets its snapshot go.
const PIECE_PAUSE: Duration = Duration::from_secs(30);

/// Headers in a row.
pub(super) struct Early {
    from: NodeId,
    headers: Vec<BlockHeader>,
    bytes: usize,
}

impl Attempt<'_> {
    pub(super) fn fetch_headers(&mut self) -> Result<(), Ended> {
        let target = self.staging.manifest().height;
        let mut through = self.staging.headers_through()?;
        let trusted = self.staging.header(through)?;
        let mut walk = Walk::from(&trusted, self.checks.suite).map_err(Ended::Failed)?;
        let mut queued = through;
        let mut piece_asked = Instant::now();
        while through < target {
            self.front = through + 1;
            if piece_asked.elapsed() >= PIECE_PAUSE {
                piece_asked = Instant::now();
                self.ask_for_pieces()?;
            }
            while queued < target.min(through + HEADERS_AHEAD) {
                let count = (target - queued).min(HEIGHTS_MAX as u64) as u16;
                self.fetch.add(Task::Headers { first: queued + 1, count });
                queued += u64::from(count);
            }
            match self.next_answer()? {
                Some(answer) if matches!(answer.task, Task::Headers { .. }) => self.take_headers(answer)?,
                Some(answer) => self.take(answer)?,
                None => {}
            }
            while let Some(Early { from, headers, bytes }) = self.early.remove(&(through + 1)) {
                self.early_bytes -= bytes;
                through = self.believe(&mut walk, from, &headers, through)?;
            }
        }
        Ok(())
    }

    /// A piece from each peer that has nothing of the kind to do.
    fn ask_for_pieces(&mut self) -> Result<(), Ended> {
        let missing = self.staging.missing_chunks()?;
        for (peer, index) in self.fetch.sources().into_iter().zip(missing) {
            let task = Task::Chunk { index };
            self.fetch.follow(peer, task, Instant::now());
            self.ask(peer, task);
        }
        Ok(())
    }

    /// Keeps headers until those below are there. A short answer leaves the rest to be asked for again.
    fn take_headers(&mut self, Answer { from, task, content }: Answer) -> Result<(), Ended> {
        let (Task::Headers { first, count }, Content::Headers(heights)) = (task, content) else {
            self.leave(from, task, None);
            return Ok(());
        };
        let headers: Result<Vec<_>, _> =
            heights.proofs.iter().map(|proof| BlockHeader::decode(&proof.header)).collect();
        let refusal = match headers {
            Ok(headers) if !headers.is_empty() && headers.len() <= usize::from(count) => {
                let came = headers.len() as u16;
                self.fetch.settle(&task);
                if came < count {
                    self.fetch.add_first(Task::Headers { first: first + u64::from(came), count: count - came });
                }
                let bytes = heights.proofs.iter().map(|proof| proof.header.len()).sum();
                self.early_bytes += bytes;
                self.early.insert(first, Early { from, headers, bytes });
                return Ok(());
            }
            Ok(headers) if headers.is_empty() => None,
            Ok(headers) => Some(format!("{} headers instead of {count}", headers.len())),
            Err(error) => Some(format!("a header from {first} on: {error}")),
        };
        self.leave(from, task, refusal.as_deref());
        Ok(())
    }

    /// The walk takes them, or whoever sent them lied: what lies below is believed already.
    fn believe(&mut self, walk: &mut Walk, from: NodeId, headers: &[BlockHeader], through: u64) -> Result<u64, Ended> {
        let bytes = headers.iter().map(|header| header.encode().len()).sum();
        let outcome = match walk.extend(headers) {
            Ok(()) => self.staging.put_headers(headers),
            Err(reason) => Err(SnapshotError::Lie(reason)),
        };
        match outcome {
            Ok(()) => {
                self.joiner.progress.came(Missing { headers: headers.len() as u64, chunks: 0, blocks: 0 }, bytes);
                self.check_room()?;
                Ok(through + headers.len() as u64)
            }
            Err(SnapshotError::Ledger(error)) => Err(error.into()),
            Err(lie) => {
                // A header that is believed, and is not the manifest's: the manifest lies, not this peer's headers.
                if walk.number() > through {
                    return self.false_manifest(&lie.to_string());
                }
                let task = Task::Headers { first: through + 1, count: headers.len() as u16 };
                self.leave(from, task, Some(&lie.to_string()));
                Ok(through)
            }
        }
    }
}
