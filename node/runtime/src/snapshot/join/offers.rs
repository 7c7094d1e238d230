//! Who offers which snapshot, and which of them is fetched.

use std::collections::BTreeSet;
use std::time::Instant;

use bixi_ledger::LedgerError;
use bixi_ledger::snapshot::{Staging, bytes_in, discard};
use bixi_types::NodeId;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Ended, JoinEvent, Joiner, Known, Offers, stored};
use crate::snapshot::{Message, Wanted};

/// What a header takes with its signatures, and a block of the window, as far as can be said before they are here.
const HEADER_BYTES_ABOUT: u64 = 1_024;
const BLOCK_BYTES_ABOUT: u64 = 64 * 1_024;

impl Joiner {
    /// Asks everybody, and waits for the first useful offer and a little longer for equal ones.
    pub(super) fn offers(&self, inbox: &Receiver<JoinEvent>, known: &mut Known) -> Result<Offers, Ended> {
        let chain = self.ledger.genesis().ok_or(LedgerError::Uninitialised)?;
        let (chain, suite) = (chain.hash(), chain.suite);
        let mut asked: BTreeSet<NodeId> =
            self.links.peers().into_iter().filter(|peer| !known.refused.contains(peer)).collect();
        asked.iter().for_each(|peer| self.want(*peer, Wanted::Manifest));
        tracing::info!(height = self.ledger.height(), peers = asked.len(), "far behind: asking for a snapshot");
        let mut offers = Offers::new();
        let mut until = Instant::now() + self.params.pace.first_offer;
        let mut ask_again = Instant::now() + self.params.pace.answer;
        while !asked.is_empty() && Instant::now() < until {
            let arrived = match inbox.recv_deadline(until.min(ask_again)) {
                Ok(JoinEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(Ended::Stopped),
                Ok(JoinEvent::Heights(_)) => continue,
                Ok(JoinEvent::Snapshot(arrived)) => arrived,
                Err(RecvTimeoutError::Timeout) => {
                    // Whoever left is not waited for, and a question may have been lost.
                    ask_again = Instant::now() + self.params.pace.answer;
                    let here = self.links.peers();
                    asked.retain(|peer| here.contains(peer));
                    asked.iter().for_each(|peer| self.want(*peer, Wanted::Manifest));
                    continue;
                }
            };
            match arrived.what {
                Message::Manifest(manifest) if asked.remove(&arrived.from) => match manifest.check(&chain) {
                    _ if !manifest.is_readable() => {
                        let (peer, format) = (arrived.from, manifest.format);
                        tracing::info!(%peer, format, "a peer offers a snapshot of a format that this release cannot use");
                    }
                    Ok(()) => {
                        let offer = offers.entry(manifest.id(suite)).or_insert_with(|| (*manifest, BTreeSet::new()));
                        offer.1.insert(arrived.from);
                        // Who offered one before and did not give it shortens nobody's time.
                        if !known.left.contains(&arrived.from) {
                            until = until.min(Instant::now() + self.params.pace.offers);
                        }
                    }
                    Err(reason) => self.charge(arrived.from, &reason, known),
                },
                Message::NotHeld(Wanted::Manifest) => drop(asked.remove(&arrived.from)),
                _ => {}
            }
        }
        Ok(offers)
    }

    /// What an earlier attempt left; what cannot be read of it is begun anew.
    pub(super) fn begun(&self) -> Option<Staging> {
        let begun = Staging::resume(&self.params.staging, &self.ledger).unwrap_or_else(|error| {
            tracing::warn!(%error, "a snapshot begun earlier cannot be gone on with");
            None
        });
        begun.map(|staging| staging.digest_by(self.params.digest.clone()))
    }

    /// The snapshot that was begun, if it is still offered; else the one that most offer, of those the highest. Peers who offered one
    /// and did not give it count for nothing while there are others.
    pub(super) fn choose(&self, mut offers: Offers, known: &mut Known) -> Result<(Staging, BTreeSet<NodeId>), Ended> {
        let own = self.ledger.height();
        offers.retain(|_, (manifest, _)| manifest.height > own);
        let storage = self.params.staging.storage.as_ref();
        let joining = &self.params.places.joining;
        let is_there = storage.exists(joining).map_err(stored(joining))?;
        if let Some(staging) = is_there.then(|| self.begun()).flatten() {
            let fresh = |peers: &BTreeSet<NodeId>| peers.difference(&known.left).next().is_some();
            let others_give = offers.values().any(|(_, peers)| fresh(peers));
            let begun = offers
                .values()
                .find(|(manifest, peers)| manifest == staging.manifest() && (fresh(peers) || !others_give));
            if let Some((_, peers)) = begun {
                self.check_offer(self.bytes_wanted(staging.manifest().height, staging.bytes_to_come()), peers, known)?;
                return Ok((staging, peers.clone()));
            }
        }
        offers.retain(|_, (manifest, _)| self.progress.is_far(manifest.height, own));
        let best = offers
            .into_values()
            .max_by_key(|(manifest, peers)| (peers.difference(&known.left).count(), peers.len(), manifest.height));
        let (manifest, peers) = best.ok_or_else(|| Ended::Failed("no peer offers a snapshot of use".into()))?;
        // What was begun gives way to a better one, and its room with it; before that it stays for whoever offers it again.
        let given_back_bytes = bytes_in(storage, joining).map_err(stored(joining))?;
        let bytes = self.bytes_wanted(manifest.height, manifest.bytes).saturating_sub(given_back_bytes);
        self.check_offer(bytes, &peers, known)?;
        discard(storage, joining).map_err(stored(joining))?;
        let staging = Staging::begin(&self.params.staging, &self.ledger, manifest)?;
        Ok((staging.digest_by(self.params.digest.clone()), peers))
    }

    /// What a snapshot takes on the disk beside what the node holds: state, headers, and the window of blocks that comes with it.
    fn bytes_wanted(&self, height: u64, state_bytes: u64) -> u64 {
        let headers = height.saturating_sub(self.ledger.height());
        let blocks = self.ledger.genesis().map_or(0, |genesis| u64::from(genesis.block_limit)).min(headers);
        let parts = [(headers, HEADER_BYTES_ABOUT), (blocks, BLOCK_BYTES_ABOUT)];
        parts.into_iter().fold(state_bytes, |sum, (count, bytes)| sum.saturating_add(count.saturating_mul(bytes)))
    }

    /// What an earlier attempt left is of no more use, unless it is far above the ledger itself: what the peers are believed to have may
    /// rise again.
    pub(super) fn tidy(&self, known: &mut Known) {
        let (storage, joining) = (self.params.staging.storage.as_ref(), &self.params.places.joining);
        if !storage.exists(joining).unwrap_or(true) {
            return;
        }
        let left = *known.begun.get_or_insert_with(|| self.height_left());
        if self.progress.is_far(left, self.ledger.height()) {
            return;
        }
        if let Err(error) = discard(storage, joining) {
            tracing::warn!(%error, dir = %joining.display(), "a snapshot begun earlier could not be removed");
        }
    }

    /// Height of what an earlier attempt left; 0 where nothing can be made of it.
    fn height_left(&self) -> u64 {
        let finished = self.finished().map(|joined| joined.height());
        finished.or_else(|| self.begun().map(|staging| staging.manifest().height)).unwrap_or(0)
    }
}
