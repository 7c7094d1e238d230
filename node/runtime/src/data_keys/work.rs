//! The thread of a running node that seals anew what is of an older epoch, beside everything else.
//!
//! It has no lower priority than others: while the ledger's log is copied a commit waits for it, and while it is held up so is the commit.
//! Its rate keeps it out of the way.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_hsm::device::ErrorKind;
use bixi_ledger::Ledger;
use bixi_ledger::engine::Resealing;
use bixi_platform::io::Storage;
use bixi_sealed::{Current, KeyRing, SealedError, reseal};
use crossbeam_channel::{Sender, bounded};

use super::files::{expect_no_recovery, is_spare, left as stays, old_files, oldest_in_use};
use super::pace::Pace;
use super::{End, Exchange, Left, Moved, Progress, Wish};
use crate::doctor;
use crate::keys::{NodeSigner, ring_of_service};
use crate::launch::Failure;
use crate::log_thread::Command;
use crate::settings::Settings;

/// How often the log tells how far it is.
const TOLD: Duration = Duration::from_secs(30);
/// Files that an answer names, and bytes of each reason and of a failure: an answer is one frame.
const LEFT_MAX: usize = 40;
const REASON_BYTES_MAX: usize = 1024;
/// Room for what is being copied.
const COPY_MIB: u64 = 192;
/// How often, and with what pauses, whoever holds the device is asked again.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// What of a node has to do with its data keys.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) ring: KeyRing,
    pub(crate) signer: Arc<NodeSigner>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) log: Sender<Command>,
}

/// Works until the node stops; first at what an earlier life of the node has left.
pub(crate) fn run(exchange: &Exchange, parts: &Parts) {
    match parts.old_files() {
        Ok(old) if old.iter().any(|(path, _)| !is_spare(&parts.settings.data(""), path)) => {
            tracing::info!(files = old.len(), "files of older data keys are there; they are sealed anew");
            exchange.ask(Wish { new_epoch: false, drop_older: false, cipher: None, bytes_per_second: None });
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "it cannot be told which files are of older data keys"),
    }
    while let Some(wish) = exchange.next() {
        let began = Instant::now();
        let ended = Ended(exchange);
        let mut work = Work { exchange, parts, pace: Pace::beside_others(), told: began, lacking: None };
        let done = work.run(wish);
        let asides = work.pace.asides();
        if exchange.is_stopping() {
            tracing::info!("what is of older data keys is sealed anew after the next start");
        }
        let elapsed_ms = began.elapsed().as_millis() as u64;
        let end = match done {
            Ok(moved) => {
                let (epoch, bytes, left) = (moved.epoch, moved.bytes, moved.left.len());
                tracing::info!(epoch, bytes, left, dropped = ?moved.dropped, asides, elapsed_ms, "data keys exchanged");
                End::Moved(moved)
            }
            Err(error) => {
                tracing::error!(%error, elapsed_ms, "the exchange of the data keys was broken off; another one goes on with it");
                End::Failed(clip(&error.to_string()))
            }
        };
        exchange.tell(|progress| progress.end = Some(end));
        drop(ended);
    }
}

/// What panics is told as an end: whoever waits for it would wait for ever.
struct Ended<'a>(&'a Exchange);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let end = || End::Failed("it ended by a fault of the program, see the node's log; restart the node".to_owned());
        self.0.tell(|progress| _ = progress.end.get_or_insert_with(end));
        if std::thread::panicking() {
            // Nobody takes up another one.
            self.0.stop();
        }
    }
}

impl Parts {
    /// What there is too little of: copies stand beside what they take the place of, and a node stops when a write of its own finds no room.
    fn lacking_space(&self) -> Option<String> {
        let wanted = self.settings.config.storage.free_mb_min + COPY_MIB;
        let free = doctor::free_mib(&self.settings).ok().filter(|free| *free < wanted)?;
        Some(format!(
            "{free} MiB are free, and {wanted} are wanted to seal anew beside a node at work (storage.free_mb_min and {COPY_MIB} for copies): \
             make room, then --go-on"
        ))
    }

    fn old_files(&self) -> Result<Vec<(PathBuf, u64)>, Failure> {
        old_files(self.storage.as_ref(), &self.settings.data(""), self.ring.current_epoch())
    }
}

/// One exchange.
struct Work<'a> {
    exchange: &'a Exchange,
    parts: &'a Parts,
    pace: Pace,
    told: Instant,
    /// Of what there was too little when it was broken off.
    lacking: Option<String>,
}

impl Work<'_> {
    fn run(&mut self, wish: Wish) -> Result<Moved, Failure> {
        let Parts { settings, storage, ring, signer, .. } = self.parts;
        expect_no_recovery(storage.as_ref(), settings)?;
        self.check_stop()?;
        if wish.drop_older {
            // Refused before anything is done, where it is not allowed.
            signer.drop_data_keys(0)?;
        }
        self.step(if wish.new_epoch { "new epoch" } else { "vault" });
        let current = ring.current_epoch();
        // The one before the current epoch was followed by it: then only guard and trail go on under it, if they did not yet.
        let after = if wish.new_epoch { current } else { current.saturating_sub(1) };
        let began = match signer.rotate_data_key(after, wish.cipher.filter(|_| wish.new_epoch)) {
            Ok(began) => began,
            // The vault may have it all the same: asked again for what there is, the service answers with what is durable, and nothing else.
            Err(error) => match signer.rotate_data_key(current.saturating_sub(1), None) {
                Ok(known) if known.current > current => known,
                _ => return Err(error.into()),
            },
        };
        self.exchange.tell(|progress| progress.epoch = began.current);
        self.learn()?;
        if ring.current_epoch() != began.current {
            let read = ring.current_epoch();
            return Err(
                format!("the vault as read here has epoch {read}, and epoch {} was begun", began.current).into()
            );
        }
        expect_cipher(ring.current(), wish)?;
        self.begin_log()?;
        let bytes_total = self.parts.old_files()?.iter().map(|(_, bytes)| bytes).sum();
        self.exchange.tell(|progress| progress.bytes_total = bytes_total);
        tracing::info!(epoch = ring.current_epoch(), bytes_total, "the data keys are exchanged");
        let left = self.move_files()?;
        self.check_stop()?;
        let dropped = if wish.drop_older { self.drop_older()? } else { Vec::new() };
        let (epoch, bytes) = (ring.current_epoch(), self.exchange.progress().bytes);
        let kept = ring.epochs().into_iter().filter(|known| *known != epoch).collect();
        Ok(Moved { epoch, cipher: ring.current().suite, bytes, dropped, kept, left })
    }

    /// What stays, and why.
    fn move_files(&mut self) -> Result<Vec<Left>, Failure> {
        self.step("ledger");
        let mut before = 0;
        let parts = self.parts;
        self.pace.resume();
        parts.ledger.reseal(&mut |done: &Resealing| {
            let bytes = done.bytes - before;
            before = done.bytes;
            self.did(bytes)
        })?;
        self.check_stop()?;
        let mut left = Vec::new();
        self.step("audit trail");
        self.move_trail(&mut left)?;
        self.step("other files");
        let storage = self.parts.storage.as_ref();
        let (data, ordering) = (self.parts.settings.data(""), self.parts.settings.data("ordering"));
        for dir in [&data, &ordering] {
            reseal::remove_copies(storage, dir)?;
        }
        let old = self.parts.old_files()?;
        self.pace.resume();
        for (path, _) in old {
            self.check_stop()?;
            let moved = match path.parent() {
                _ if is_spare(&data, &path) => {
                    Err("of a snapshot on its way, or of a replacement that was cut off: it goes with that".into())
                }
                Some(dir) if dir == ordering => self.move_ordering(&path),
                _ if self.is_others(&path) => continue,
                _ => self.move_closed(&path),
            };
            if let Err(reason) = moved {
                left.push(stays(&path, reason));
            }
            // Its last syncs and its renaming count, too. A stop is seen by the next turn.
            let _ = self.did(0);
        }
        self.check_stop()?;
        // Also what nobody here moves.
        for (path, _) in self.parts.old_files()? {
            if !left.iter().any(|known| known.file == path.display().to_string()) {
                left.push(stays(&path, "whoever holds it has not moved it"));
            }
        }
        let more = left.len().saturating_sub(LEFT_MAX);
        left.truncate(LEFT_MAX);
        left.iter_mut().for_each(|one| one.reason = clip(&one.reason));
        if more > 0 {
            left.push(Left { file: format!("{more} more"), reason: "as those before".to_owned() });
        }
        Ok(left)
    }

    fn step(&self, name: &str) {
        self.exchange.tell(|progress| name.clone_into(&mut progress.step));
    }

    /// Whether something ends it: a stop, or a disk that gets full.
    fn check_stop(&self) -> Result<(), Failure> {
        match self.exchange.is_stopping() {
            true => Err("the node stops; it goes on with this after its next start".into()),
            // What was broken off for it stays so, though the copy that took the room is gone again.
            false => match self.lacking.clone().or_else(|| self.parts.lacking_space()) {
                Some(lacking) => Err(lacking.into()),
                None => Ok(()),
            },
        }
    }

    /// Takes over what the vault says now.
    fn learn(&self) -> Result<(), Failure> {
        let Parts { settings, storage, ring, signer, .. } = self.parts;
        Ok(ring.become_like(&ring_of_service(settings, storage, signer)?)?)
    }

    /// The ordering log goes on in a file of its own.
    fn begin_log(&self) -> Result<(), Failure> {
        let (tell, told) = bounded(1);
        self.parts.log.send(Command::Renew(tell)).map_err(|_| LOG_ENDED)?;
        Ok(told.recv().map_err(|_| LOG_ENDED)?)
    }

    /// The trail is moved by whoever writes it, a file for each time it is asked.
    fn move_trail(&mut self, left: &mut Vec<Left>) -> Result<(), Failure> {
        let mut attempts = 0;
        loop {
            self.check_stop()?;
            self.pace.resume();
            match self.parts.signer.reseal_trail() {
                Err(error) if error.kind() == ErrorKind::Retry && attempts < ATTEMPTS => {
                    attempts += 1;
                    std::thread::sleep(PAUSE);
                }
                Ok(resealed) => {
                    attempts = 0;
                    // A stop is seen by the next turn.
                    let _ = self.did(resealed.bytes);
                    if resealed.files_left == 0 {
                        return Ok(());
                    }
                }
                Err(error) => {
                    left.push(stays(&self.parts.settings.data("audit"), error));
                    return Ok(());
                }
            }
        }
    }

    /// A closed file of the ordering log, which may be forgotten at any moment.
    fn move_ordering(&mut self, path: &Path) -> Result<(), Failure> {
        let storage = Arc::clone(&self.parts.storage);
        let copied = match reseal::copy(storage.as_ref(), path, &self.parts.ring, &mut |bytes| self.did(bytes)) {
            Ok(Some(copied)) => copied,
            Ok(None) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if matches!(error.cause(), SealedError::Incomplete { .. }) => {
                return Err(format!("{error}; it goes with the heights that it mentions").into());
            }
            Err(error) => return Err(error.into()),
        };
        let (tell, told) = bounded(1);
        self.parts.log.send(Command::Exchange(copied, tell)).map_err(|_| LOG_ENDED)?;
        told.recv().map_err(|_| LOG_ENDED)??;
        Ok(())
    }

    /// A file that nobody writes while the node runs.
    fn move_closed(&mut self, path: &Path) -> Result<(), Failure> {
        let storage = Arc::clone(&self.parts.storage);
        match reseal::in_place(storage.as_ref(), path, &self.parts.ring, &mut |bytes| self.did(bytes)) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether whoever holds the device moves it, or the ledger did.
    fn is_others(&self, path: &Path) -> bool {
        ["guard", "audit", "ledger"].iter().any(|name| path.starts_with(self.parts.settings.data(name)))
    }

    fn drop_older(&mut self) -> Result<Vec<u32>, Failure> {
        self.step("older epochs");
        let Parts { settings, storage, ring, signer, .. } = self.parts;
        let known = ring.epochs();
        let oldest = oldest_in_use(storage.as_ref(), &settings.data(""), &known, ring.current_epoch())?;
        if known.iter().all(|epoch| *epoch >= oldest) {
            return Ok(Vec::new());
        }
        signer.drop_data_keys(oldest)?;
        self.learn()?;
        let kept = ring.epochs();
        Ok(known.into_iter().filter(|epoch| !kept.contains(epoch)).collect())
    }

    /// Counts, and waits as the rate wants it; breaks when the node stops, and when the disk gets full.
    fn did(&mut self, bytes: u64) -> ControlFlow<()> {
        let (exchange, parts) = (self.exchange, self.parts);
        exchange.did(bytes);
        if self.told.elapsed() >= TOLD {
            self.told = Instant::now();
            let Progress { bytes, bytes_total, step, .. } = exchange.progress();
            tracing::info!(step, bytes, bytes_total, asides = self.pace.asides(), "files are sealed anew");
        }
        let configured = parts.settings.config.storage.reseal_mb_per_second << 20;
        let rate = exchange.bytes_per_second().unwrap_or(configured);
        self.pace.after(bytes, Some(rate), || exchange.is_stopping() || parts.lacking_space().is_some());
        self.lacking = self.lacking.take().or_else(|| parts.lacking_space());
        match exchange.is_stopping() || self.lacking.is_some() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// The epoch that is there may be one that somebody else began meanwhile, with the cipher that he wanted.
fn expect_cipher(current: Current, wish: Wish) -> Result<(), Failure> {
    match wish.cipher.filter(|cipher| wish.new_epoch && *cipher != current.suite) {
        Some(cipher) => Err(format!(
            "epoch {} was begun with {} by another request, not with {}: ask again",
            current.epoch,
            current.suite.name(),
            cipher.name()
        )
        .into()),
        None => Ok(()),
    }
}

fn clip(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

const LOG_ENDED: &str = "the ordering log has ended";

#[cfg(test)]
mod tests {
    use bixi_sealed::AtRest;

    use super::*;

    #[test]
    fn an_epoch_that_another_request_began_with_another_cipher_is_told() {
        let current = Current { epoch: 7, suite: AtRest::Sm4Gcm };
        let wish = |new_epoch, cipher| Wish { new_epoch, drop_older: false, cipher, bytes_per_second: None };
        for as_wished in [wish(true, None), wish(true, Some(AtRest::Sm4Gcm)), wish(false, Some(AtRest::Aes256Gcm))] {
            assert!(expect_cipher(current, as_wished).is_ok(), "{as_wished:?}");
        }
        let told = expect_cipher(current, wish(true, Some(AtRest::Aes256Gcm))).unwrap_err().to_string();
        assert!(told.contains("epoch 7 was begun with SM4-GCM") && told.contains("ask again"), "{told}");
    }
}
