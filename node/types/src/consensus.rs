//! What validators say to each other, and the exact bytes they sign.
//!
//! Every signed statement is `domain string ‖ borsh(statement)`; the statement carries the chain id (genesis hash), so a
//! signature is worth nothing on another chain or for another purpose.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{CryptoSuite, H256, NodeId};

/// A raw 64-byte signature r ‖ s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SignatureBytes(pub [u8; 64]);

impl std::fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// One member of a validator set.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Validator {
    /// Its consensus public key.
    pub id: NodeId,
    /// Its voting weight, at least 1.
    pub weight: u64,
}

/// The validators of one height, sorted by id; a member's index is its place in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct ValidatorSet {
    members: Vec<Validator>,
}

impl ValidatorSet {
    /// Sorts `members` by id. Panics on a duplicate id or a zero weight: membership rules refuse both earlier.
    pub fn new(mut members: Vec<Validator>) -> Self {
        members.sort_by_key(|member| member.id);
        assert!(members.windows(2).all(|pair| pair[0].id != pair[1].id), "duplicate validator");
        assert!(members.iter().all(|member| member.weight > 0), "validator of weight zero");
        Self { members }
    }

    /// The members in index order.
    pub fn members(&self) -> &[Validator] {
        &self.members
    }

    /// Index of a validator, if it is a member.
    pub fn index_of(&self, id: &NodeId) -> Option<usize> {
        self.members.binary_search_by(|member| member.id.cmp(id)).ok()
    }

    /// Weight of a validator; 0 when it is no member.
    pub fn weight_of(&self, id: &NodeId) -> u64 {
        self.index_of(id).map_or(0, |index| self.members[index].weight)
    }

    /// Sum of all weights.
    pub fn total_weight(&self) -> u64 {
        self.members.iter().map(|member| member.weight).sum()
    }

    /// Smallest weight that is more than two thirds of the total.
    pub fn quorum_weight(&self) -> u64 {
        self.total_weight() * 2 / 3 + 1
    }
}

/// The thing consensus orders: digests of batches of transactions, never the transactions themselves.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Value {
    /// Height it is proposed for.
    pub height: u64,
    /// Id of the value decided at the height before; the genesis hash at height 1.
    pub parent: H256,
    /// Milliseconds since the Unix epoch; strictly above the parent's.
    pub timestamp_ms: u64,
    /// Index of its builder in the validator set of this height.
    pub builder: u32,
    /// Rules under which the block is executed.
    pub protocol_version: u32,
    /// Digests of its batches, in order.
    pub batches: Vec<H256>,
}

impl Value {
    /// Domain string of [`Self::id`].
    pub const DOMAIN: &'static [u8] = b"BIXI-CONSENSUS-VALUE-V1";

    /// The value's id: H(domain ‖ borsh).
    pub fn id(&self, suite: CryptoSuite) -> H256 {
        suite.hash(&[Self::DOMAIN, &encode(self)])
    }
}

/// Prevote or precommit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum VoteKind {
    /// First round of voting.
    Prevote,
    /// Second round of voting; a quorum of these decides.
    Precommit,
}

/// A vote for a value or for nil.
#[derive(Debug, Clone, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// Genesis hash.
    pub chain: H256,
    /// Height.
    pub height: u64,
    /// Round within the height, from 0.
    pub round: u32,
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// Id of the value; `None` is nil.
    pub value: Option<H256>,
    /// The voter.
    pub validator: NodeId,
}

/// A proposal of a value by the round's proposer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// Genesis hash.
    pub chain: H256,
    /// Height.
    pub height: u64,
    /// Round within the height, from 0.
    pub round: u32,
    /// Id of the proposed value.
    pub value: H256,
    /// Round of the proof-of-lock, when the value is re-proposed.
    pub pol_round: Option<u32>,
    /// The proposer.
    pub validator: NodeId,
}

impl Vote {
    /// Domain string of the signed bytes.
    pub const DOMAIN: &'static [u8] = b"BIXI-CONSENSUS-VOTE-V1";

    /// The bytes a validator signs.
    pub fn sign_bytes(&self) -> Vec<u8> {
        tagged(Self::DOMAIN, self)
    }
}

impl Proposal {
    /// Domain string of the signed bytes.
    pub const DOMAIN: &'static [u8] = b"BIXI-CONSENSUS-PROPOSAL-V1";

    /// The bytes a validator signs.
    pub fn sign_bytes(&self) -> Vec<u8> {
        tagged(Self::DOMAIN, self)
    }
}

/// A vote with its signature.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedVote {
    /// The statement.
    pub vote: Vote,
    /// The voter's signature over [`Vote::sign_bytes`].
    pub signature: SignatureBytes,
}

/// A proposal with its value and signature.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedProposal {
    /// The statement.
    pub proposal: Proposal,
    /// The value whose id the proposal names.
    pub value: Value,
    /// The proposer's signature over [`Proposal::sign_bytes`].
    pub signature: SignatureBytes,
}

/// Proof that a value was decided: a quorum of precommits.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommitCertificate {
    /// Height decided.
    pub height: u64,
    /// Round of the precommits.
    pub round: u32,
    /// Id of the decided value.
    pub value: H256,
    /// Voter and its precommit's signature, sorted by voter.
    pub signatures: Vec<(NodeId, SignatureBytes)>,
}

/// One validator's signature over an executed header. The signed message is the 32-byte header hash itself, as FISCO BCOS's
/// `signatureList` has it, so that existing light clients can check it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CheckpointVote {
    /// Height of the header.
    pub height: u64,
    /// Hash of the executed header.
    pub header_hash: H256,
    /// The voter.
    pub validator: NodeId,
    /// Signature over `header_hash`.
    pub signature: SignatureBytes,
}

fn encode<T: BorshSerialize>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("borsh into memory cannot fail")
}

/// Domain string ‖ borsh: the signed bytes of every statement.
pub(crate) fn tagged<T: BorshSerialize>(domain: &[u8], value: &T) -> Vec<u8> {
    let mut bytes = domain.to_vec();
    value.serialize(&mut bytes).expect("borsh into memory cannot fail");
    bytes
}
