//! The plaintext ledger of a stopped node, sealed where it is and then verified.
//!
//! ```text
//! key device ─▶ opened plainly, every row read ─▶ list of files ─▶ file by file, CURRENT last ─▶ everything verified ─▶ opened by a node
//! ```
//!
//! Invariants:
//! - nothing is done to the ledger before device, vault and guard were found to be the newest ones, and the directory to be one that can be sealed;
//! - no node opens what was sealed before it was verified as `bixi db verify` does: sealing makes authentic whatever was there.
//!
//! What a file is sealed as and how an attempt is gone on with is [`bixi_ledger::Params::seal_plain`]'s.

use std::ops::ControlFlow;
use std::sync::Arc;

use bixi_hsm::audit::Outcome;
use bixi_ledger::engine::{
    CipherFsError, Held, PlainStage, RowsRead, Sealing, expect_sealable, plain_stage, read_plain,
};
use bixi_platform::io::{PreadStorage, Storage};

use super::desk::{Desk, hold_stopped, storage_of_stopped};
use super::verification::{self, Ground, Report, Wish};
use crate::data_keys::files::expect_no_recovery;
use crate::data_keys::pace::Pace;
use crate::launch::{Failure, LaunchError, STAGING_MEMORY, ledger_params, step};
use crate::settings::Settings;

/// What is done at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Rows of the plaintext are read: bytes, of which there are as many as there are.
    Rows,
    /// The list of files is made: bytes of files.
    List,
    /// Files are sealed and read back: bytes of both.
    Files,
    /// The sealed ledger is verified.
    Verification(verification::Stage),
}

/// Is told how far it is: how much is done, and of how much where that is known.
pub type Tell<'a> = &'a mut dyn FnMut(Stage, u64, Option<u64>);

/// What was done.
#[derive(Debug)]
pub struct Sealed {
    /// Rows that were read of the plaintext; none where an attempt before this one had read them.
    pub rows: Option<u64>,
    /// Files that this attempt sealed.
    pub files: u64,
    /// Bytes of plaintext in them.
    pub bytes: u64,
    /// What was found in the node's data then. Where that is not whole, no node starts on it.
    pub report: Report,
}

/// How an attempt left the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// As it was.
    Untouched,
    /// Sealed in part, by whomever, or not verified yet.
    Begun,
    /// Sealed, and opened by a node.
    Sealed,
    /// It cannot be told.
    Unknown,
}

/// How the ledger is after an attempt that failed.
pub fn left(settings: &Settings) -> Left {
    match plain_stage_of(settings, &PreadStorage) {
        // Somebody else's mixture was found before anything was done, whatever CURRENT is.
        Ok(PlainStage::Nothing | PlainStage::Plain) => Left::Untouched,
        Ok(PlainStage::Begun | PlainStage::Unverified) | Err(CipherFsError::Mixture { .. }) => Left::Begun,
        Ok(PlainStage::Sealed) => Left::Sealed,
        Err(_) => Left::Unknown,
    }
}

/// How far the sealing of the node's ledger is.
pub(crate) fn plain_stage_of(settings: &Settings, storage: &dyn Storage) -> Result<PlainStage, CipherFsError> {
    plain_stage(storage, &settings.data("ledger"))
}

/// Refuses a ledger in plaintext, in part or as a whole, and one that waits to be verified. One that is not there passes.
pub(crate) fn expect_sealed(settings: &Settings, storage: &dyn Storage) -> Result<(), Failure> {
    match plain_stage_of(settings, storage)?.refusal(&settings.data("ledger")) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

/// Seals the plaintext ledger of a stopped node and verifies it, or goes on with that, reading `bytes_per_second` at most. None where it is
/// sealed and was verified, if it ever was plaintext.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused, no vault, no ledger, one that sealing did not leave so, a file that is damaged, a
/// full disk. What is sealed stays sealed, and the next attempt goes on. What verification finds is no error: the report has it.
pub fn seal(settings: &Settings, bytes_per_second: Option<u64>, tell: Tell<'_>) -> Result<Option<Sealed>, LaunchError> {
    let storage = storage_of_stopped(settings)?;
    step("recovery", || expect_no_recovery(storage.as_ref(), settings))?;
    let hold = || step("stopped node", || hold_stopped(storage.as_ref(), &settings.data("")));
    // Who opens the vault looks into the guard by a lock of this; so it is let go and taken again.
    drop(hold()?);
    let stage = || step("ledger", || stage_to_seal(settings, storage.as_ref()));
    if stage()? == PlainStage::Sealed {
        return Ok(None);
    }
    let (mut desk, vault) = Desk::open_with_vault_on(settings, &storage)?;
    let _held = hold()?;
    let stage = stage()?;
    let params = ledger_params(settings, Arc::clone(&storage), vault.key_ring());
    let place = params.dir.display();
    // Until all is sealed: what another program wrote meanwhile would be sealed in part.
    let plain = step("plaintext ledger", || Held::of(&params.dir))?;
    let mut work = Work { pace: Pace::begin(), bytes_per_second, tell };
    let rows = match stage {
        PlainStage::Plain => Some(step("plaintext ledger", || work.read_plain(&plain))?),
        _ => None,
    };
    let mut sealed = Sealing::default();
    if stage != PlainStage::Unverified {
        let how = rows.map_or("gone on with".to_owned(), |read| format!("begun, {} rows read", read.rows));
        sealed = step("ledger", || {
            desk.perform("seal-ledger", &format!("plaintext database {place}, {how}"), || work.seal(&params, stage))
        })?;
    }
    drop(plain);
    // Files that nobody writes meanwhile are read.
    desk.close_trail();
    let ground = Ground::of(settings, Arc::clone(&storage), vault.key_ring())?;
    let wish = Wish { bytes_per_second, ..Wish::default() };
    let mut tell = |stage, done, total| (work.tell)(Stage::Verification(stage), done, total);
    let mut report = step("verify", || ground.verify_sealed(wish, &mut tell))?;
    let desk = desk.with_trail(settings, &storage, &vault)?;
    let head = report.head.map_or("no head".to_owned(), |(height, hash)| format!("height {height}, {hash}"));
    let Sealing { files, bytes, .. } = sealed;
    let subject = format!("ledger {place}, {files} files of {bytes} bytes sealed by this attempt, {head}");
    step("ledger", || match report.is_whole() {
        true => desk.perform("accept-sealed-ledger", &subject, || Ok(params.accept_sealed()?)),
        false => {
            let reason = format!("not whole: {} found", report.found);
            desk.tell("accept-sealed-ledger", subject, Outcome::Refused(reason))
        }
    })?;
    report.is_unverified = !report.is_whole();
    Ok(Some(Sealed { rows: rows.map(|read| read.rows), files, bytes, report }))
}

/// How far it is; refuses what could not be sealed.
fn stage_to_seal(settings: &Settings, storage: &dyn Storage) -> Result<PlainStage, Failure> {
    let stage = plain_stage_of(settings, storage)?;
    match stage {
        PlainStage::Nothing => {
            return Err(format!(
                "{}: there is no database; look at data_dir in the node file",
                settings.data("ledger").display()
            )
            .into());
        }
        PlainStage::Plain => expect_sealable(storage, &settings.data("ledger"))?,
        PlainStage::Begun | PlainStage::Unverified | PlainStage::Sealed => {}
    }
    Ok(stage)
}

struct Work<'a> {
    pace: Pace,
    bytes_per_second: Option<u64>,
    tell: Tell<'a>,
}

impl Work<'_> {
    fn read_plain(&mut self, plain: &Held) -> Result<RowsRead, Failure> {
        let mut before = 0;
        let mut watch = |read: RowsRead| self.did(Stage::Rows, &mut before, read.bytes, None);
        Ok(read_plain(plain, STAGING_MEMORY, &mut watch)?.expect("nothing ends it"))
    }

    fn seal(&mut self, params: &bixi_ledger::Params, stage: PlainStage) -> Result<Sealing, Failure> {
        if stage == PlainStage::Plain {
            let mut before = 0;
            let mut watch = |now: &Sealing| self.did(Stage::List, &mut before, now.read, Some(now.read_total));
            assert!(params.begin_sealing(&mut watch)?, "nothing ends it");
        }
        let (mut before, mut sealed) = (0, Sealing::default());
        let mut watch = |now: &Sealing| {
            sealed = *now;
            self.did(Stage::Files, &mut before, now.read, Some(now.read_total))
        };
        assert!(params.seal_plain(&mut watch)?, "nothing ends it");
        Ok(sealed)
    }

    fn did(&mut self, stage: Stage, before: &mut u64, read: u64, total: Option<u64>) -> ControlFlow<()> {
        self.pace.after(read - *before, self.bytes_per_second, || false);
        *before = read;
        (self.tell)(stage, read, total);
        ControlFlow::Continue(())
    }
}
