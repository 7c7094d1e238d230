//! A snapshot that was fetched before this start takes the ledger's place, before the ledger is opened.
//!
//! Judged first, in this order, and nothing is touched before all of it holds:
//! 1. the setting still wants snapshots; else it stays where it lies, and the log says so;
//! 2. it can be read. One that is damaged is removed; one that the disk does not give now may be read by the next start, and stays;
//! 3. it is ahead of the ledger, and the ledger's head is in its chain;
//! 4. every header this node signed, by its ordering log, is in its chain: a result that differed is evidence, and the ledger that says
//!    how it came about must not be replaced by one that does not.
//!
//! Then it is given what the ledger holds of its own, and is renamed into its place.

use bixi_ledger::snapshot::{Places, adopt, discard};
use bixi_ledger::{Ledger, LedgerError, Params};
use bixi_types::H256;

use super::Failure;
use super::chain_state::check_signed;
use crate::ordering_log::Record;

/// What becomes of a fetched snapshot.
enum Verdict {
    Adopt,
    /// It stays where it lies.
    Leave,
    /// It is of no use to any later start.
    Remove,
}

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    /// No snapshot, or one of no use that is removed.
    Nothing,
    /// The ledger is one that came so now.
    Adopted,
    /// One that stays where it lies: fetching another would replace it.
    Left,
}

/// Puts the snapshot in the ledger's place when it is to be, and ends an adoption that a crash broke off. `records` are those of the ordering log; `is_wanted` is false where snapshots are not.
///
/// # Errors
/// Ledger or log contradict the snapshot's chain: all is left as it is.
pub(super) fn adopt_snapshot(params: &Params, records: &[Record], is_wanted: bool) -> Result<Fetched, Failure> {
    let storage = params.storage.as_ref();
    let places = Places::around(&params.dir);
    // Without a ledger the adoption had begun: it was judged then.
    if storage.exists(&places.joined)? && storage.exists(&places.ledger)? {
        match judge(params, &places, records, is_wanted)? {
            Verdict::Adopt => {}
            Verdict::Leave => return Ok(Fetched::Left),
            Verdict::Remove => discard(storage, &places.joined)?,
        }
    }
    if !adopt(storage, &places)? {
        return Ok(Fetched::Nothing);
    }
    tracing::info!(dir = %params.dir.display(), "a snapshot took the ledger's place");
    Ok(Fetched::Adopted)
}

fn judge(params: &Params, places: &Places, records: &[Record], is_wanted: bool) -> Result<Verdict, Failure> {
    let dir = places.joined.display();
    if !is_wanted {
        tracing::warn!(%dir, "a fetched snapshot lies here and is not taken, as sync.snapshot_after_blocks is 0; remove it, or set that");
        return Ok(Verdict::Leave);
    }
    let joined = match Ledger::open(Params { dir: places.joined.clone(), ..params.clone() }) {
        Ok(joined) => joined,
        Err(error @ (LedgerError::Engine(_) | LedgerError::Open { .. })) => {
            tracing::error!(%error, %dir, "a fetched snapshot cannot be read now; it stays, and the node goes on with its ledger");
            return Ok(Verdict::Leave);
        }
        Err(error) => {
            tracing::error!(%error, %dir, "a fetched snapshot is none, and is removed; the node goes on with its ledger");
            return Ok(Verdict::Remove);
        }
    };
    let own = Ledger::open(params.clone())?;
    if let Some((height, hash)) = own.head() {
        if joined.height() <= height {
            tracing::info!("the ledger is as far as the snapshot that was fetched for it, which is removed");
            return Ok(Verdict::Remove);
        }
        check_same_chain(height, hash, joined.hash_of(height)?)?;
    }
    for record in records {
        if let Record::Entry(entry) = record {
            check_signed(&joined, entry)?;
        }
    }
    match joined.keep(&own, &|| true) {
        Ok(_) => Ok(Verdict::Adopt),
        Err(error @ LedgerError::Engine(_)) => {
            tracing::error!(%error, %dir, "what the ledger holds cannot be put into a fetched snapshot now, which stays; is the disk full?");
            Ok(Verdict::Leave)
        }
        Err(error) => Err(error.into()),
    }
}

fn check_same_chain(height: u64, own: H256, theirs: Option<H256>) -> Result<(), Failure> {
    if theirs == Some(own) {
        return Ok(());
    }
    let theirs = theirs.unwrap_or_default();
    let advice = "keep both directories, find out why they differ, then remove one of them";
    Err(format!("block {height} of this node is {own}, and the chain's is {theirs}: {advice}").into())
}
