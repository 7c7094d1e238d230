//! Every key of the database, built and parsed here and nowhere else. `FORMAT.md` has the byte tables.
//!
//! Integers in keys are big-endian, so that RocksDB's byte order is numeric order. A change of any layout below is a new
//! [`SCHEMA_VERSION`].

use bixi_types::state::{StateKey, StateTable};
use bixi_types::{Address, H256};

/// Version of every key and record of this room.
pub const SCHEMA_VERSION: u32 = 1;

/// The column families. Few, because each costs memtables and files; split where access patterns differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// A handful of small records rewritten by every commit (head, lattice sum) or never (schema, genesis).
    Meta,
    /// Headers, bodies, transactions, receipts: written once in rising order, large, read rarely.
    Chain,
    /// Hashes and nonces: random point look-ups of tiny values, mostly absent.
    Index,
    /// World state: random point reads and overwrites.
    State,
}

impl Column {
    /// Every column, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [Self::Meta, Self::Chain, Self::Index, Self::State];

    /// Its name in RocksDB.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "default",
            Self::Chain => "chain",
            Self::Index => "index",
            Self::State => "state",
        }
    }

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Meta: schema version, u32 little-endian.
pub const META_SCHEMA: &[u8] = b"schema";
/// Meta: borsh of the genesis.
pub const META_GENESIS: &[u8] = b"genesis";
/// Meta: borsh of [`crate::records::Head`].
pub const META_HEAD: &[u8] = b"head";
/// Meta: the commitment's accumulator after the head block.
pub const META_ACCUMULATOR: &[u8] = b"accumulator";
/// Meta: borsh of [`crate::records::History`]; absent in a ledger that holds every block.
pub const META_HISTORY: &[u8] = b"history";
/// Meta: borsh of [`crate::records::Past`]; only in a ledger that took the place of another one.
pub const META_PAST: &[u8] = b"past";
/// Meta, while a snapshot is received: borsh of its [`crate::snapshot::Manifest`].
pub const META_JOINING: &[u8] = b"joining";
/// Meta, while a snapshot is received: height up to which headers are there, u64 big-endian.
pub const META_JOINING_HEADERS: &[u8] = b"joining-headers";
/// Meta, while a snapshot is received: prefix of the marks of the pieces that are there; the value is a piece's length, u64 big-endian.
pub const META_JOINING_CHUNKS: &[u8] = b"joining-chunk-";

const CHAIN_HEADER: u8 = 1;
const CHAIN_BODY: u8 = 2;
const CHAIN_TRANSACTION: u8 = 3;
const CHAIN_RECEIPT: u8 = 4;
const CHAIN_HASH: u8 = 5;
const CHAIN_BATCHES: u8 = 6;

const INDEX_BLOCK: u8 = 1;
const INDEX_TRANSACTION: u8 = 2;
const INDEX_NONCE: u8 = 3;
const INDEX_NONCE_AT: u8 = 4;
/// First bytes of the keys of the column `index`, rising.
pub(crate) const INDEX_KINDS: [u8; 4] = [INDEX_BLOCK, INDEX_TRANSACTION, INDEX_NONCE, INDEX_NONCE_AT];

fn numbered(tag: u8, number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.push(tag);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn item(tag: u8, number: u64, index: u32) -> Vec<u8> {
    let mut key = numbered(tag, number);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Chain: header bytes of a height.
pub fn header(number: u64) -> Vec<u8> {
    numbered(CHAIN_HEADER, number)
}

/// Chain: [`crate::records::Body`] of a height.
pub fn body(number: u64) -> Vec<u8> {
    numbered(CHAIN_BODY, number)
}

/// Chain: header hash of a height.
pub fn hash(number: u64) -> Vec<u8> {
    numbered(CHAIN_HASH, number)
}

/// Chain: how the batches of a height's value are made of its transactions, as the runtime encodes it. Blocks of releases that
/// had no network lack it.
pub fn batches(number: u64) -> Vec<u8> {
    numbered(CHAIN_BATCHES, number)
}

/// Chain: canonical bytes of one transaction.
pub fn transaction(number: u64, index: u32) -> Vec<u8> {
    item(CHAIN_TRANSACTION, number, index)
}

/// Chain: prefix of a block's transactions, in order.
pub fn transactions(number: u64) -> Vec<u8> {
    numbered(CHAIN_TRANSACTION, number)
}

/// Chain: one receipt.
pub fn receipt(number: u64, index: u32) -> Vec<u8> {
    item(CHAIN_RECEIPT, number, index)
}

/// Chain: prefix of a block's receipts, in order.
pub fn receipts(number: u64) -> Vec<u8> {
    numbered(CHAIN_RECEIPT, number)
}

/// Meta: mark of one received piece of a snapshot.
pub fn joining_chunk(index: u32) -> Vec<u8> {
    [META_JOINING_CHUNKS, &index.to_be_bytes()].concat()
}

/// Parses a [`joining_chunk`] key.
pub fn parse_joining_chunk(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.strip_prefix(META_JOINING_CHUNKS)?.try_into().ok()?))
}

/// Index: header hash → height (u64 big-endian).
pub fn block_number(hash: &H256) -> Vec<u8> {
    [&[INDEX_BLOCK], hash.as_ref()].concat()
}

/// Index: transaction hash → place ([`place`]).
pub fn transaction_place(hash: &H256) -> Vec<u8> {
    [&[INDEX_TRANSACTION], hash.as_ref()].concat()
}

/// Index: sender ‖ nonce → height at which it was used (u64 big-endian).
pub fn nonce(sender: &Address, nonce: &str) -> Vec<u8> {
    [&[INDEX_NONCE], sender.as_ref(), nonce.as_bytes()].concat()
}

/// Index: height ‖ sender ‖ nonce → nothing; walked to forget old nonces.
pub fn nonce_at(number: u64, sender: &Address, nonce: &str) -> Vec<u8> {
    [&numbered(INDEX_NONCE_AT, number), sender.as_ref(), nonce.as_bytes()].concat()
}

/// Index: prefix of the nonces used at a height.
pub fn nonces_at(number: u64) -> Vec<u8> {
    numbered(INDEX_NONCE_AT, number)
}

/// The [`nonce`] key that belongs to a [`nonce_at`] key.
pub fn nonce_of_nonce_at(key: &[u8]) -> Option<Vec<u8>> {
    let rest = key.get(9..).filter(|rest| key[0] == INDEX_NONCE_AT && rest.len() >= Address::LEN)?;
    Some([&[INDEX_NONCE], rest].concat())
}

/// State: table byte ‖ row key.
pub fn state(table: StateTable, key: &[u8]) -> Vec<u8> {
    [&[table as u8], key].concat()
}

/// The key of an item whose block's [`transactions`] or [`receipts`] are below `prefix`.
pub fn item_of(prefix: &[u8], index: u32) -> Vec<u8> {
    [prefix, &index.to_be_bytes()].concat()
}

/// The stretches of the column `chain` in which no row of a height up to `head` stands: first key and the key behind the last.
pub fn chain_beyond(head: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let above =
        (CHAIN_HEADER..=CHAIN_BATCHES).map(|tag| (numbered_from(tag, head.checked_add(1)), Some(vec![tag + 1])));
    let none = [(Vec::new(), Some(numbered(CHAIN_HEADER, 0))), (vec![CHAIN_BATCHES + 1], None)];
    none.into_iter().chain(above).collect()
}

/// Where the rows of `number` begin, or behind all rows of the tag.
fn numbered_from(tag: u8, number: Option<u64>) -> Vec<u8> {
    number.map_or_else(|| vec![tag + 1], |number| numbered(tag, number))
}

/// A key of the column `index`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// [`block_number`].
    Block(H256),
    /// [`transaction_place`].
    Transaction(H256),
    /// [`nonce`]: sender ‖ nonce.
    Nonce(Vec<u8>),
    /// [`nonce_at`]: its height, and the [`nonce`] key that belongs to it.
    NonceAt(u64, Vec<u8>),
    /// None of these.
    Other,
}

/// Parses a key of the column `index`.
pub fn parse_index(key: &[u8]) -> Entry {
    let parsed = match key.split_first() {
        Some((&INDEX_BLOCK, hash)) => H256::from_slice(hash).map(Entry::Block),
        Some((&INDEX_TRANSACTION, hash)) => H256::from_slice(hash).map(Entry::Transaction),
        Some((&INDEX_NONCE, rest)) if rest.len() >= Address::LEN => Some(Entry::Nonce(rest.to_vec())),
        Some((&INDEX_NONCE_AT, rest)) => {
            let number = rest.first_chunk().map(|number| u64::from_be_bytes(*number));
            number.zip(nonce_of_nonce_at(key)).map(|(number, nonce)| Entry::NonceAt(number, nonce))
        }
        _ => None,
    };
    parsed.unwrap_or(Entry::Other)
}

/// The [`nonce_at`] key of a height and what [`Entry::Nonce`] holds.
pub fn nonce_at_of(number: u64, rest: &[u8]) -> Vec<u8> {
    [&numbered(INDEX_NONCE_AT, number), rest].concat()
}

/// Parses a [`state`] key.
pub fn parse_state(key: &[u8]) -> Option<StateKey> {
    let (table, row) = key.split_first()?;
    Some(StateKey { table: StateTable::from_byte(*table)?, key: row.to_vec() })
}

/// Value: a transaction's place, height ‖ index.
pub fn place(number: u64, index: u32) -> [u8; 12] {
    let mut value = [0; 12];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value[8..].copy_from_slice(&index.to_be_bytes());
    value
}

/// Parses a [`place`].
pub fn parse_place(value: &[u8]) -> Option<(u64, u32)> {
    let value: &[u8; 12] = value.try_into().ok()?;
    let (number, index) = value.split_at(8);
    Some((parse_number(number)?, u32::from_be_bytes(index.try_into().ok()?)))
}

/// Value: a height.
pub fn number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Parses a [`number`].
pub fn parse_number(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// The smallest key above every key that starts with `prefix`; `None` when there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_rising_heights_rise() {
        for make in [header, body, hash, batches, transactions, receipts, nonces_at] {
            assert!(make(255) < make(256) && make(u64::MAX - 1) < make(u64::MAX));
        }
        assert!(transaction(1, u32::MAX) < transaction(2, 0));
    }

    #[test]
    fn parsers_invert_builders() {
        assert_eq!(parse_place(&place(7, 9)), Some((7, 9)));
        assert_eq!(parse_number(&number(u64::MAX)), Some(u64::MAX));
        assert_eq!(parse_joining_chunk(&joining_chunk(7)), Some(7));
        let row = StateKey { table: StateTable::Storage, key: vec![1, 2, 3] };
        assert_eq!(parse_state(&state(row.table, &row.key)), Some(row));
        let sender = Address([5; 20]);
        assert_eq!(nonce_of_nonce_at(&nonce_at(3, &sender, "12")), Some(nonce(&sender, "12")));
        let (hash, rest) = (H256([3; 32]), [&[5; 20][..], b"12"].concat());
        assert_eq!(parse_index(&block_number(&hash)), Entry::Block(hash));
        assert_eq!(parse_index(&transaction_place(&hash)), Entry::Transaction(hash));
        assert_eq!(parse_index(&nonce(&sender, "12")), Entry::Nonce(rest.clone()));
        assert_eq!(parse_index(&nonce_at(3, &sender, "12")), Entry::NonceAt(3, nonce(&sender, "12")));
        assert_eq!(nonce_at_of(3, &rest), nonce_at(3, &sender, "12"));
        assert_eq!(item_of(&receipts(7), 9), receipt(7, 9));
    }

    #[test]
    fn parsers_refuse_other_lengths_and_tables() {
        assert_eq!(parse_place(&[0; 11]), None);
        assert_eq!(parse_number(&[0; 9]), None);
        assert_eq!(parse_state(&[]), None);
        assert_eq!(parse_joining_chunk(META_JOINING_HEADERS), None);
        assert_eq!(parse_state(&[99, 1]), None);
        assert_eq!(nonce_of_nonce_at(&[INDEX_NONCE_AT; 12]), None);
        for key in
            [&[][..], &[INDEX_BLOCK; 32], &[INDEX_TRANSACTION; 34], &[INDEX_NONCE; 20], &[INDEX_NONCE_AT; 9], &[9; 33]]
        {
            assert_eq!(parse_index(key), Entry::Other, "{key:?}");
        }
    }

    #[test]
    fn what_lies_beyond_a_head_leaves_out_every_row_up_to_it() {
        let beyond = |head: u64, key: &[u8]| {
            let mut stretches = chain_beyond(head).into_iter();
            stretches.any(|(first, end)| first.as_slice() <= key && end.is_none_or(|end| key < &end[..]))
        };
        for head in [0, 7, u64::MAX] {
            for make in [header, body, hash, batches] {
                assert!(!beyond(head, &make(0)) && !beyond(head, &make(head)), "{head}");
                assert!(head == u64::MAX || (beyond(head, &make(head + 1)) && beyond(head, &make(u64::MAX))), "{head}");
            }
            assert!(!beyond(head, &receipt(head, u32::MAX)), "{head}");
            assert!(beyond(head, &[]) && beyond(head, &[0, 1]) && beyond(head, &[7]), "{head}");
        }
    }

    #[test]
    fn prefix_end_is_the_next_sibling() {
        assert_eq!(prefix_end(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(prefix_end(&[1, 255]), Some(vec![2]));
        assert_eq!(prefix_end(&[255, 255]), None);
        assert_eq!(prefix_end(&[]), None);
    }
}
