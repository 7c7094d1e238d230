//! The chain's types in malachite's vocabulary.
//!
//! A value travels inside its proposal, so there are no separate parts; vote extensions are disabled. The proposer of a
//! round is chosen by turns: index `(height + round) mod n` of the validator set.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arc_malachitebft_core_types as mal;
use bixi_types::consensus::{Proposal, SignatureBytes, ValidatorSet, Value, Vote, VoteKind};
use bixi_types::{H256, NodeId};

/// The proposer of a round.
pub(crate) fn proposer_index(members: usize, height: u64, round: u32) -> usize {
    let members = members as u64;
    ((height % members + u64::from(round) % members) % members) as usize
}

/// Binds malachite to the chain's types.
#[derive(Debug, Clone)]
pub(crate) struct BixiContext;

/// A height.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Height(pub(crate) u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl mal::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0 + n)
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// A validator's address is its public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) NodeId);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex()[..16])
    }
}

impl mal::Address for Address {}

/// A value with its id, equal and ordered by id.
#[derive(Debug, Clone)]
pub(crate) struct OrderedValue {
    pub(crate) id: H256,
    pub(crate) value: Arc<Value>,
}

impl PartialEq for OrderedValue {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for OrderedValue {}

impl PartialOrd for OrderedValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedValue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl mal::Value for OrderedValue {
    type Id = H256;

    fn id(&self) -> H256 {
        self.id
    }
}

/// A vote before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ballot {
    height: Height,
    round: mal::Round,
    kind: mal::VoteType,
    value: mal::NilOrVal<H256>,
    address: Address,
}

impl mal::Vote<BixiContext> for Ballot {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> mal::Round {
        self.round
    }

    fn value(&self) -> &mal::NilOrVal<H256> {
        &self.value
    }

    fn take_value(self) -> mal::NilOrVal<H256> {
        self.value
    }

    fn vote_type(&self) -> mal::VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }

    fn extension(&self) -> Option<&mal::SignedExtension<BixiContext>> {
        None
    }

    fn take_extension(&mut self) -> Option<mal::SignedExtension<BixiContext>> {
        None
    }

    fn extend(self, _: mal::SignedExtension<BixiContext>) -> Self {
        self
    }
}

impl Ballot {
    /// From the wire form.
    pub(crate) fn from_vote(vote: &Vote) -> Self {
        Self {
            height: Height(vote.height),
            round: mal::Round::new(vote.round),
            kind: vote_type(vote.kind),
            value: vote.value.map_or(mal::NilOrVal::Nil, mal::NilOrVal::Val),
            address: Address(vote.validator),
        }
    }

    /// To the wire form, which is also what is signed.
    pub(crate) fn to_vote(&self, chain: H256) -> Vote {
        Vote {
            chain,
            height: self.height.0,
            round: round_number(self.round),
            kind: vote_kind(self.kind),
            value: nil_or_value(&self.value),
            validator: self.address.0,
        }
    }
}

/// A proposal before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    height: Height,
    round: mal::Round,
    value: OrderedValue,
    pol_round: mal::Round,
    address: Address,
}

impl mal::Proposal<BixiContext> for Offer {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> mal::Round {
        self.round
    }

    fn value(&self) -> &OrderedValue {
        &self.value
    }

    fn take_value(self) -> OrderedValue {
        self.value
    }

    fn pol_round(&self) -> mal::Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }
}

impl Offer {
    /// From the wire form; `value` is the one whose id the proposal names.
    pub(crate) fn from_proposal(proposal: &Proposal, value: Value) -> Self {
        Self {
            height: Height(proposal.height),
            round: mal::Round::new(proposal.round),
            value: OrderedValue { id: proposal.value, value: Arc::new(value) },
            pol_round: mal::Round::from(proposal.pol_round),
            address: Address(proposal.validator),
        }
    }

    /// To the wire form, which is also what is signed.
    pub(crate) fn to_proposal(&self, chain: H256) -> Proposal {
        Proposal {
            chain,
            height: self.height.0,
            round: round_number(self.round),
            value: self.value.id,
            pol_round: self.pol_round.as_u32(),
            validator: self.address.0,
        }
    }

    /// The proposed value.
    pub(crate) fn plain_value(&self) -> &Value {
        &self.value.value
    }
}

/// A member of a validator set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    address: Address,
    weight: u64,
}

impl mal::Validator<BixiContext> for Member {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &NodeId {
        &self.address.0
    }

    fn voting_power(&self) -> u64 {
        self.weight
    }
}

/// A validator set, sorted by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Members(Arc<[Member]>);

impl Members {
    /// The same set in malachite's vocabulary.
    pub(crate) fn new(set: &ValidatorSet) -> Self {
        let members = set.members().iter();
        Self(members.map(|member| Member { address: Address(member.id), weight: member.weight }).collect())
    }
}

impl mal::ValidatorSet<BixiContext> for Members {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.iter().map(|member| member.weight).sum()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Member> {
        let index = self.0.binary_search_by(|member| member.address.cmp(address)).ok()?;
        self.0.get(index)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

/// Parts are not used: the value travels inside its proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoPart {}

impl mal::ProposalPart<BixiContext> for NoPart {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

/// Signatures are opaque here: made by the host's signer, checked by the host's verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSignatures;

impl mal::SigningScheme for HostSignatures {
    type DecodingError = &'static str;
    type Signature = SignatureBytes;
    type PublicKey = NodeId;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<SignatureBytes, Self::DecodingError> {
        bytes.try_into().map(SignatureBytes).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &SignatureBytes) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<NodeId, Self::DecodingError> {
        NodeId::from_slice(bytes).ok_or("a public key has 64 bytes")
    }

    fn encode_public_key(public_key: &NodeId) -> Vec<u8> {
        public_key.0.to_vec()
    }
}

impl mal::Context for BixiContext {
    type Address = Address;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = Offer;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = mal::LinearTimeouts;
    type Value = OrderedValue;
    type Vote = Ballot;
    type Extension = ();
    type SigningScheme = HostSignatures;

    fn select_proposer<'a>(&self, set: &'a Members, height: Height, round: mal::Round) -> &'a Member {
        &set.0[proposer_index(set.0.len(), height.0, round_number(round))]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: mal::Round,
        value: OrderedValue,
        pol_round: mal::Round,
        address: Address,
    ) -> Offer {
        Offer { height, round, value, pol_round, address }
    }

    fn new_prevote(&self, height: Height, round: mal::Round, value: mal::NilOrVal<H256>, address: Address) -> Ballot {
        Ballot { height, round, kind: mal::VoteType::Prevote, value, address }
    }

    fn new_precommit(&self, height: Height, round: mal::Round, value: mal::NilOrVal<H256>, address: Address) -> Ballot {
        Ballot { height, round, kind: mal::VoteType::Precommit, value, address }
    }
}

/// A defined round's number; the undefined round counts as 0.
pub(crate) fn round_number(round: mal::Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

pub(crate) fn vote_type(kind: VoteKind) -> mal::VoteType {
    match kind {
        VoteKind::Prevote => mal::VoteType::Prevote,
        VoteKind::Precommit => mal::VoteType::Precommit,
    }
}

pub(crate) fn vote_kind(kind: mal::VoteType) -> VoteKind {
    match kind {
        mal::VoteType::Prevote => VoteKind::Prevote,
        mal::VoteType::Precommit => VoteKind::Precommit,
    }
}

pub(crate) fn nil_or_value(value: &mal::NilOrVal<H256>) -> Option<H256> {
    match value {
        mal::NilOrVal::Nil => None,
        mal::NilOrVal::Val(id) => Some(*id),
    }
}
