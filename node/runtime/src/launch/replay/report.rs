//! What executing a height again came to.

use std::path::{Path, PathBuf};

use bixi_types::H256;
use bixi_types::header::BlockHeader;
use bixi_types::receipt::Receipt;
use bixi_types::state::WriteSet;

use crate::pipeline::Executed;

/// How a result stands to what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The header that this node has signed.
    Equal,
    /// This node has signed another header.
    Differs,
    /// This node has signed none.
    NotSigned,
    /// Two runs of this binary differ.
    Unstable,
}

/// A height executed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The height.
    pub height: u64,
    /// The header, without signatures: its roots are what to compare with another node's.
    pub header: BlockHeader,
    /// Its hash.
    pub header_hash: H256,
    /// The header hash that this node has signed for the height.
    pub signed: Option<H256>,
    /// Transactions executed and dropped by the order.
    pub transactions: (usize, usize),
    /// The first difference between two runs of this binary.
    pub unstable: Option<String>,
    /// Evidence kept of the height: what others say of it.
    pub evidence: Vec<PathBuf>,
}

type Run = (Executed, WriteSet);

impl Replayed {
    pub(super) fn new(height: u64, signed: Option<H256>, first: &Run, second: Run) -> Self {
        let unstable = first_difference(first, &second);
        let (Executed { header, header_hash, transactions, dropped, .. }, _) = second;
        let transactions = (transactions.len(), dropped.len());
        Self { height, header, header_hash, signed, transactions, unstable, evidence: Vec::new() }
    }

    /// How it stands.
    pub fn verdict(&self) -> Verdict {
        match self.signed {
            _ if self.unstable.is_some() => Verdict::Unstable,
            None => Verdict::NotSigned,
            Some(signed) if signed == self.header_hash => Verdict::Equal,
            Some(_) => Verdict::Differs,
        }
    }

    /// Files of evidence are named after their height.
    pub(super) fn find_evidence(&mut self, dir: &Path) {
        let prefix = format!("{:012}-", self.height);
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_of_height =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        self.evidence = files.filter(is_of_height).collect();
        self.evidence.sort();
    }
}

/// The first transaction, receipt or row that differs, or the header when all of them are equal.
pub(super) fn first_difference((one, rows): &Run, (other, other_rows): &Run) -> Option<String> {
    let hashes = |run: &Executed| run.transactions.iter().map(|transaction| transaction.hash).collect::<Vec<_>>();
    let encodings = |run: &Executed| run.receipts.iter().map(Receipt::encode).collect::<Vec<_>>();
    if let Some(place) = first_unequal(&hashes(one), &hashes(other)) {
        let named = |run: &Executed| run.transactions.get(place).map_or("none".to_owned(), |tx| tx.hash.to_string());
        return Some(format!("transaction {place}: {} and {}", named(one), named(other)));
    }
    if let Some(place) = first_unequal(&encodings(one), &encodings(other)) {
        let told = |run: &Executed| {
            run.receipts
                .get(place)
                .map_or("none".to_owned(), |receipt| format!("status {}, gas {}", receipt.status, receipt.gas_used))
        };
        let hash = one.transactions.get(place).map(|transaction| transaction.hash).unwrap_or_default();
        return Some(format!("receipt {place} (transaction {hash}): {} and {}", told(one), told(other)));
    }
    let (rows, other_rows): (Vec<_>, Vec<_>) = (rows.iter().collect(), other_rows.iter().collect());
    if let Some(place) = first_unequal(&rows, &other_rows) {
        let (key, _) = rows.get(place).or(other_rows.get(place))?;
        return Some(format!("row {} of table {:?}", hex(&key.key), key.table));
    }
    (one.header_hash != other.header_hash).then(|| format!("header {} and {}", one.header_hash, other.header_hash))
}

/// Where two lists first differ.
fn first_unequal<T: PartialEq>(one: &[T], other: &[T]) -> Option<usize> {
    let common = one.len().min(other.len());
    (0..common).find(|place| one[*place] != other[*place]).or((one.len() != other.len()).then_some(common))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
