//! From a snapshot that is checked to one that the next start takes over: with what the node holds of its own, unless the ledger came as
//! far by itself meanwhile.

use std::cell::OnceCell;

use bixi_ledger::snapshot::{Staging, publish};
use bixi_ledger::{Ledger, LedgerError};
use crossbeam_channel::{Receiver, TryRecvError};

use super::{Ended, JoinEvent, Joiner, stored};
use crate::snapshot::progress::Missing;

impl Joiner {
    /// A snapshot that was checked as a whole when a stop or a crash came before its publication, if the ledger is not as far.
    pub(super) fn finished(&self) -> Option<Ledger> {
        let (staging, own) = (&self.params.staging, self.ledger.height());
        let is_there = staging.storage.exists(&self.params.places.joining).unwrap_or(false);
        // What cannot be read is met again, and told of, where it would be gone on with.
        is_there.then(|| Staging::finished(staging).ok().flatten()).flatten().filter(|joined| joined.height() > own)
    }

    /// Takes a checked snapshot up where it was left, which may have been before anything of the node's own was in it.
    pub(super) fn complete(&self, joined: Ledger, inbox: &Receiver<JoinEvent>) -> Result<u64, Ended> {
        self.check_room(0)?;
        let (height, nothing) = (joined.height(), Missing { headers: 0, chunks: 0, blocks: 0 });
        self.progress.begin(height, nothing, nothing);
        self.keep_own(height, inbox, |own, go_on| joined.keep(own, go_on))?;
        drop(joined);
        self.publish().map(|()| height)
    }

    /// What the ledger holds goes into the database that will take its place, by `keep`. What is committed from now on is added when it
    /// does.
    pub(super) fn keep_own(
        &self,
        height: u64,
        inbox: &Receiver<JoinEvent>,
        keep: impl FnOnce(&Ledger, &dyn Fn() -> bool) -> Result<bool, LedgerError>,
    ) -> Result<(), Ended> {
        self.progress.phase("keeping");
        let ended = OnceCell::new();
        let goes_on = || self.check_wanted(height, inbox).map_err(|reason| ended.set(reason)).is_ok();
        keep(&self.ledger, &goes_on)?;
        match ended.into_inner() {
            Some(reason) => Err(reason),
            None => self.check_wanted(height, inbox),
        }
    }

    /// Whether the node still runs, and not yet as far as the snapshot. What arrived meanwhile answers no question.
    fn check_wanted(&self, height: u64, inbox: &Receiver<JoinEvent>) -> Result<(), Ended> {
        loop {
            match inbox.try_recv() {
                Ok(JoinEvent::Stop) | Err(TryRecvError::Disconnected) => return Err(Ended::Stopped),
                Ok(_) => {}
                Err(TryRecvError::Empty) if self.ledger.height() >= height => return Err(Ended::CaughtUp),
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    pub(super) fn publish(&self) -> Result<(), Ended> {
        publish(self.params.staging.storage.as_ref(), &self.params.places).map_err(stored(&self.params.places.joining))
    }
}
