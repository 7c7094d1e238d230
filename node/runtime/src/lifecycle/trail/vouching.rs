//! Which keys vouch for which entries of a trail, and what stands against it.
//!
//! A signed head vouches for every entry before it, but only if it was signed by a key that the reader expects, for this node and chain:
//! whoever has the data keys can write another trail and sign it with a key that he made.

use bixi_hsm::audit::{Chain, SignedHead};
use bixi_types::{H256, NodeId};
use serde_json::{Value, json};

use crate::lifecycle::{key_fingerprint, utc};

/// Entries that may follow the last head that counts. A node has a head signed after half as many, and the device gives it soon; more of
/// them mean that the device was long away, or that somebody without it wrote them.
pub const UNSIGNED_ENTRIES_MAX: u64 = 20_000;
/// Problems that are kept apart: who writes a trail of his own decides how many there are.
const PROBLEMS_MAX: usize = 32;

/// Whose heads count.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub(super) chain: H256,
    /// The node's consensus keys: the present one, and those that its record names.
    pub(super) nodes: Vec<NodeId>,
    /// The TLS key that the device holds for the node now.
    pub(super) own: Option<NodeId>,
    /// TLS keys that the officer named.
    pub(super) named: Vec<NodeId>,
}

impl Expected {
    fn accepts(&self, key: NodeId) -> bool {
        self.own == Some(key) || self.named.contains(&key)
    }

    /// Why a head does not count.
    fn against(&self, signed: &SignedHead) -> Option<Foreign> {
        let (key, statement) = (NodeId(signed.key), &signed.statement);
        if !self.accepts(key) {
            Some(Foreign::Key(key))
        } else if !self.nodes.contains(&statement.node) {
            Some(Foreign::Node(statement.node))
        } else if statement.chain != self.chain {
            Some(Foreign::Chain(statement.chain))
        } else {
            None
        }
    }
}

/// Whose a head is that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Signed by a key that nobody expects.
    Key(NodeId),
    /// Of another node.
    Node(NodeId),
    /// Of another chain.
    Chain(H256),
}

/// Something for which the trail is not to be trusted, though every entry follows from the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Heads that do not count.
    Foreign {
        /// Whose they are.
        whose: Foreign,
        /// The entry with the first of them.
        sequence: u64,
        /// How many.
        heads: u64,
    },
    /// So many entries stand after the last head that counts.
    Unsigned {
        /// How many.
        entries: u64,
    },
}

impl Problem {
    /// Its type, as programs read it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Foreign { whose: Foreign::Key(_), .. } => "foreign-key",
            Self::Foreign { whose: Foreign::Node(_), .. } => "foreign-node",
            Self::Foreign { whose: Foreign::Chain(_), .. } => "foreign-chain",
            Self::Unsigned { .. } => "unsigned",
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({"kind": self.kind(), "text": self.to_string()});
        match self {
            Self::Foreign { whose, sequence, heads } => {
                let whose = match whose {
                    Foreign::Key(id) | Foreign::Node(id) => id.to_hex(),
                    Foreign::Chain(hash) => hash.to_hex(),
                };
                (value["whose"], value["sequence"], value["heads"]) =
                    (whose.into(), (*sequence).into(), (*heads).into());
            }
            Self::Unsigned { entries } => value["entries"] = (*entries).into(),
        }
        value
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign { whose: Foreign::Key(key), sequence, heads } => write!(
                f,
                "{heads} heads, the first in entry {sequence}, are signed by the key {} (fingerprint {}), which is not the node's present TLS \
                 key: if it is an earlier one, as you know from elsewhere than this host, name it with --tls-key",
                key.to_hex(),
                key_fingerprint(&key.0)
            ),
            Self::Foreign { whose: Foreign::Node(node), sequence, heads } => write!(
                f,
                "{heads} heads, the first in entry {sequence}, are of the node {}, which is neither this one nor one of its keys before, as \
                 conf/keys.json has them",
                node.to_hex()
            ),
            Self::Foreign { whose: Foreign::Chain(chain), sequence, heads } => {
                write!(f, "{heads} heads, the first in entry {sequence}, are of another chain, {chain}")
            }
            Self::Unsigned { entries } => write!(
                f,
                "{entries} entries follow the last head that counts, more than {UNSIGNED_ENTRIES_MAX}: the device was away for long, or they \
                 were written by somebody who does not have it. A node that runs with its device signs the next head within minutes"
            ),
        }
    }
}

/// Entries for which heads of one key vouch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    key: NodeId,
    /// The last head's entries: those before it are vouched for.
    end: u64,
    heads: u64,
    last_at_ms: u64,
}

/// What was found so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Vouching {
    expected: Expected,
    /// Neighbours have different keys.
    ranges: Vec<Range>,
    foreign: Vec<Problem>,
    last: Option<SignedHead>,
}

impl Vouching {
    pub(super) fn new(expected: Expected) -> Self {
        Self { expected, ..Self::default() }
    }

    /// Takes the head in the entry of that number.
    pub(super) fn take(&mut self, at: u64, signed: &SignedHead) {
        if let Some(found) = self.expected.against(signed) {
            let same = |problem: &&mut Problem| matches!(problem, Problem::Foreign { whose, .. } if *whose == found);
            if let Some(Problem::Foreign { heads, .. }) = self.foreign.iter_mut().find(same) {
                *heads += 1;
            } else if self.foreign.len() < PROBLEMS_MAX {
                self.foreign.push(Problem::Foreign { whose: found, sequence: at, heads: 1 });
            }
            return;
        }
        let (key, end) = (NodeId(signed.key), signed.statement.head.entries);
        match self.ranges.last_mut().filter(|range| range.key == key) {
            Some(range) => (range.end, range.heads, range.last_at_ms) = (end, range.heads + 1, signed.statement.at_ms),
            None => self.ranges.push(Range { key, end, heads: 1, last_at_ms: signed.statement.at_ms }),
        }
        self.last = Some(*signed);
    }

    /// Entries after the last head that counts; the entry that holds it is one of them.
    pub(super) fn unsigned(&self, chain: &Chain) -> u64 {
        let begins = chain.begins.entries;
        chain.ends.entries - self.last.map_or(begins, |signed| signed.statement.head.entries.max(begins))
    }

    pub(super) fn last(&self) -> Option<&SignedHead> {
        self.last.as_ref()
    }

    pub(super) fn is_own(&self, key: NodeId) -> bool {
        self.expected.own == Some(key)
    }

    pub(super) fn accepts(&self, key: NodeId) -> bool {
        self.expected.accepts(key)
    }

    /// What stands against the trail.
    pub(super) fn problems(&self, chain: &Chain) -> Vec<Problem> {
        let entries = self.unsigned(chain);
        let unsigned = (entries > UNSIGNED_ENTRIES_MAX).then_some(Problem::Unsigned { entries });
        self.foreign.iter().cloned().chain(unsigned).collect()
    }

    /// Ranges with the number of their first entry. A later head vouches for all before it, too: told is the first that does.
    fn placed(&self, chain: &Chain) -> impl Iterator<Item = (u64, &Range)> {
        let mut from = chain.begins.entries;
        self.ranges.iter().filter_map(move |range| {
            let first = from;
            from = first.max(range.end);
            (range.end > first).then_some((first, range))
        })
    }

    pub(super) fn words(&self, chain: &Chain) -> Vec<String> {
        let words = |(first, range): (u64, &Range)| {
            let whose = if self.is_own(range.key) { "the node's TLS key" } else { "a key named with --tls-key," };
            let Range { key, end, heads, last_at_ms } = range;
            let last = end - 1;
            format!(
                "{first} to {last} by {whose} {}: {heads} heads, the last at {}",
                key_fingerprint(&key.0),
                utc(*last_at_ms)
            )
        };
        self.placed(chain).map(words).collect()
    }

    pub(super) fn to_json(&self, chain: &Chain) -> Value {
        let ranges = self.placed(chain).map(|(first, range)| {
            json!({
                "first_entry": first,
                "last_entry": range.end - 1,
                "public_key": range.key.to_hex(),
                "fingerprint": key_fingerprint(&range.key.0),
                "is_tls_key": self.is_own(range.key),
                "heads": range.heads,
            })
        });
        ranges.collect()
    }
}
