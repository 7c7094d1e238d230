//! A snapshot that was fetched before this start takes the ledger's place, before anything is opened.

use bixi_ledger::snapshot::{Places, adopt, discard};
use bixi_ledger::{Ledger, Params};

use super::Failure;

/// Puts the snapshot in the ledger's place when there is one ahead of the ledger, and ends an adoption that a crash broke off. A ledger
/// that is no part of the snapshot's chain is evidence, and stays.
pub(super) fn adopt_snapshot(params: &Params) -> Result<(), Failure> {
    let storage = params.storage.as_ref();
    let places = Places::around(&params.dir);
    // Without a ledger the adoption had begun: it was judged then.
    if storage.exists(&places.joined)? && storage.exists(&places.ledger)? && !is_ahead(params, &places)? {
        tracing::info!("the ledger is as far as the snapshot that was fetched for it, which is removed");
        discard(storage, &places.joined)?;
    }
    if adopt(storage, &places)? {
        tracing::info!(dir = %params.dir.display(), "a snapshot took the ledger's place");
    }
    Ok(())
}

fn is_ahead(params: &Params, places: &Places) -> Result<bool, Failure> {
    let joined = match Ledger::open(Params { dir: places.joined.clone(), ..params.clone() }) {
        Ok(joined) => joined,
        Err(error) => {
            tracing::error!(%error, "a fetched snapshot cannot be read; the node goes on with its ledger");
            return Ok(false);
        }
    };
    let own = Ledger::open(params.clone())?;
    let Some((height, hash)) = own.head() else { return Ok(true) };
    if joined.height() <= height {
        return Ok(false);
    }
    let theirs = joined.hash_of(height)?;
    if theirs != Some(hash) {
        let theirs = theirs.unwrap_or_default();
        let advice = "keep both directories, find out why they differ, then remove one of them";
        return Err(format!("block {height} of this node is {hash}, and the chain's is {theirs}: {advice}").into());
    }
    Ok(true)
}
