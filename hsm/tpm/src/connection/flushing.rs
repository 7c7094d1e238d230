//! What is ours in the TPM's few slots, taken away again.
//!
//! Handles of what was loaded are known from the answers. What an answer that was lost or spoiled left loaded is known by
//! comparison: everything that was not there when the line was opened is flushed, and nothing that was.

use std::time::{Duration, Instant};

use bixi_hsm::DeviceError;

use super::Connection;
use crate::command::{Command, CommandCode, Entity};
use crate::facts;
use crate::line::Line;
use crate::wire::Writer;

/// What flushing has at least, when a piece of work took all of its own time.
const CLEANING: Duration = Duration::from_secs(2);

impl Connection {
    /// Counts an object that a command made among those to flush.
    pub(crate) fn adopt(&mut self, entity: Entity) {
        self.loaded.push(entity);
        self.unclear = false;
    }

    pub(super) fn flush(&mut self, handle: u32) -> Result<(), DeviceError> {
        // The handle is a parameter of this command (part 3, 28.4).
        self.run(Command::bare(CommandCode::FlushContext, Vec::new(), Writer::new().u32(handle))).map(drop)
    }

    /// Flushes what is ours and ends the line.
    pub(super) fn close(&mut self) {
        let mut ours: Vec<u32> = self.loaded.drain(..).map(|entity| entity.handle).collect();
        ours.extend(self.session.take().map(|session| session.handle()));
        if !self.address.has_resource_manager() && (self.unclear || !ours.is_empty()) {
            self.deadline = self.deadline.max(Instant::now() + CLEANING);
            self.flush_known(ours);
            self.flush_unknown();
        }
        self.line = None;
    }

    fn flush_known(&mut self, ours: Vec<u32>) {
        for handle in ours {
            // A handle came spoiled when it is somebody else's, or names nothing.
            let theirs = self.of_others.contains(&handle);
            self.unclear |= theirs || !self.reaches_the_same_run() || self.flush(handle).is_err();
        }
    }

    /// Flushes what was not loaded when the line was opened.
    fn flush_unknown(&mut self) {
        if !std::mem::take(&mut self.unclear) || !self.reaches_the_same_run() {
            return;
        }
        let flushed = facts::loaded(self).and_then(|found| {
            let ours = found.into_iter().filter(|handle| !self.of_others.contains(handle)).collect::<Vec<_>>();
            ours.into_iter().try_for_each(|handle| self.flush(handle))
        });
        if let Err(error) = flushed {
            tracing::warn!(%error, "an object of ours may stay loaded in the TPM");
        }
    }

    /// Whether handles of ours still mean something: the line is there, or another one leads to a TPM that was not reset since.
    fn reaches_the_same_run(&mut self) -> bool {
        if self.line.is_some() {
            return true;
        }
        let Some(resets) = self.resets else { return false };
        self.line = Line::open(&self.address, self.deadline).ok();
        self.reset_count() == Ok(resets)
    }
}
