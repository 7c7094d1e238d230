//! The index, entry by entry: each leads to what is there, and there are as many as the heights call for. What every height finds in it
//! (see `height`) and equal numbers leave no room for an entry that leads nowhere.

use std::ops::{AddAssign, ControlFlow};

use bixi_types::H256;
use bixi_types::transaction::Transaction;

use super::{Indexed, Subject, Tell};
use crate::error::LedgerError;
use crate::keys::{self, Column, Entry};
use crate::records::Counts;

/// Is shown each entry with its value.
type VisitEntry<'a> = &'a mut dyn FnMut(Entry, &[u8]) -> Result<(), LedgerError>;

/// Entries read between two words of progress.
const ENTRIES_TOLD: u64 = 1 << 12;
/// Parts of each kind of entries: hashes are spread evenly.
const PARTS_OF_A_KIND: u8 = 16;

/// A part of the index, which can be read beside the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPart {
    first: Vec<u8>,
    /// The first key of the next part.
    end: Option<Vec<u8>>,
}

impl IndexPart {
    /// All of them: together every key there can be, once.
    pub fn all() -> Vec<Self> {
        let width = u8::MAX / PARTS_OF_A_KIND + 1;
        let of_kind = |kind: u8| (0..PARTS_OF_A_KIND).map(move |part| vec![kind, part * width]);
        let inside = keys::INDEX_KINDS.into_iter().flat_map(of_kind);
        let firsts: Vec<Vec<u8>> = std::iter::once(Vec::new()).chain(inside).collect();
        let ends = firsts.iter().skip(1).cloned().map(Some).chain([None]);
        firsts.iter().cloned().zip(ends).map(|(first, end)| Self { first, end }).collect()
    }
}

/// How many entries there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entries {
    blocks: u64,
    transactions: u64,
    nonces: u64,
    nonces_at: u64,
}

impl AddAssign for Entries {
    fn add_assign(&mut self, more: Self) {
        self.blocks += more.blocks;
        self.transactions += more.transactions;
        self.nonces += more.nonces;
        self.nonces_at += more.nonces_at;
    }
}

impl Subject {
    /// Follows every entry of a part; `did` is told of so many more now and then.
    ///
    /// # Errors
    /// The engine's.
    pub fn entries(&self, part: &IndexPart, did: &mut dyn FnMut(u64), tell: Tell<'_>) -> Result<Entries, LedgerError> {
        let mut found = Entries::default();
        self.each_entry(part, did, &mut |entry, value| self.check_entry(entry, value, &mut found, tell))?;
        Ok(found)
    }

    /// Holds the sum over all parts against what all heights call for. True where entries of transactions have to be
    /// [followed back](Self::follow_back): which of them is too many, a number does not tell.
    pub fn count(&self, expected: &Indexed, found: &Entries, tell: Tell<'_>) -> bool {
        let head = self.state.head.number;
        if found.blocks != head + 1 {
            tell(format!("it has {} hashes of headers for {} heights", found.blocks, head + 1));
        }
        if found.nonces != found.nonces_at {
            tell(format!("it has {} nonces, and {} of them by height", found.nonces, found.nonces_at));
        }
        if expected.unread > 0 {
            return false;
        }
        if found.nonces_at != expected.nonces {
            tell(format!("it keeps {} nonces where the blocks have {}", found.nonces_at, expected.nonces));
        }
        self.check_counts(expected, tell);
        let is_even = found.transactions == expected.transactions;
        if !is_even {
            tell(format!("it has {} transactions where the blocks have {}", found.transactions, expected.transactions));
        }
        !is_even
    }

    /// Whether each entry of a transaction in a part leads to that transaction.
    ///
    /// # Errors
    /// The engine's.
    pub fn follow_back(&self, part: &IndexPart, did: &mut dyn FnMut(u64), tell: Tell<'_>) -> Result<(), LedgerError> {
        self.each_entry(part, did, &mut |entry, value| match entry {
            Entry::Transaction(hash) => self.check_transaction(&hash, value, tell),
            _ => Ok(()),
        })
    }

    fn check_counts(&self, expected: &Indexed, tell: Tell<'_>) {
        // What joined by a snapshot has its totals from elsewhere.
        if self.state.history.is_some() {
            return;
        }
        let counted = Counts { transactions: expected.transactions, failed: expected.failed };
        if self.state.head.counts != counted {
            tell(format!("the head's totals are {:?}, and the blocks have {counted:?}", self.state.head.counts));
        }
    }

    fn each_entry(&self, part: &IndexPart, did: &mut dyn FnMut(u64), visit: VisitEntry<'_>) -> Result<(), LedgerError> {
        let (mut outcome, mut untold) = (Ok(()), 0);
        self.engine.walk(Column::Index, &part.first, &mut |key, value| {
            if part.end.as_deref().is_some_and(|end| key >= end) {
                return ControlFlow::Break(());
            }
            outcome = visit(keys::parse_index(key), value);
            untold += 1;
            if untold == ENTRIES_TOLD {
                did(std::mem::take(&mut untold));
            }
            if outcome.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        did(untold);
        outcome
    }

    fn check_entry(&self, entry: Entry, value: &[u8], found: &mut Entries, tell: Tell<'_>) -> Result<(), LedgerError> {
        let head = self.state.head.number;
        match entry {
            Entry::Block(hash) => {
                found.blocks += 1;
                let number = keys::parse_number(value).filter(|number| *number <= head);
                let stored = number.map(|number| self.engine.get(Column::Chain, &keys::hash(number))).transpose()?;
                if stored.flatten().as_deref() != Some(hash.as_ref()) {
                    tell(format!("the entry of header {hash} leads to no header with that hash"));
                }
            }
            Entry::Transaction(hash) => {
                found.transactions += 1;
                if keys::parse_place(value).is_none_or(|(number, _)| number > head) {
                    tell(format!("the entry of transaction {hash} leads to no height"));
                }
            }
            Entry::Nonce(rest) => {
                found.nonces += 1;
                let number = keys::parse_number(value).filter(|number| *number <= head && self.counts(*number));
                let at = number.map(|number| keys::nonce_at_of(number, &rest));
                if at.map(|at| self.engine.get(Column::Index, &at)).transpose()?.flatten().is_none() {
                    tell("a nonce was used at no height that counts".into());
                }
            }
            Entry::NonceAt(number, nonce) => {
                found.nonces_at += 1;
                let used = self.engine.get(Column::Index, &nonce)?;
                if number > head || !self.counts(number) || used.as_deref() != Some(&keys::number(number)) {
                    tell(format!(
                        "a nonce of height {number} is kept that does not count, or is not found by its sender"
                    ));
                }
            }
            Entry::Other => tell("an entry of no kind".into()),
        }
        Ok(())
    }

    fn check_transaction(&self, hash: &H256, value: &[u8], tell: Tell<'_>) -> Result<(), LedgerError> {
        let Some((number, index)) = keys::parse_place(value) else { return Ok(()) };
        let bytes = self.engine.get(Column::Chain, &keys::transaction(number, index))?;
        let stands = bytes.and_then(|bytes| Transaction::decode(&bytes).ok()).map(|one| one.hash(self.suite));
        if stands != Some(*hash) {
            tell(format!(
                "the entry of transaction {hash} leads to another place's transaction {index} of block {number}"
            ));
        }
        Ok(())
    }

    /// Rows of the chain above the head, or of no kind.
    ///
    /// # Errors
    /// The engine's.
    pub fn strays(&self, tell: Tell<'_>) -> Result<(), LedgerError> {
        let head = self.state.head.number;
        for (first, end) in keys::chain_beyond(head) {
            self.engine.walk(Column::Chain, &first, &mut |key, _| {
                if end.as_deref().is_none_or(|end| key < end) {
                    tell(format!("a row of the chain belongs to no height up to the head {head}"));
                }
                ControlFlow::Break(())
            })?;
        }
        Ok(())
    }
}
