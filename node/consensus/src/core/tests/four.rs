//! One node of four, whose host does everything at once; the test speaks for the other three.

use bixi_types::consensus::{
    CheckpointVote, CommitCertificate, Proposal, SignatureBytes, SignedProposal, SignedVote, Vote, VoteKind,
};

use super::*;
use crate::message::{CheckpointCertificate, Mark, Step};

pub(super) const SUITE: CryptoSuite = CryptoSuite::Std;

/// The node under test is `node(0)`.
pub(super) struct Four {
    pub(super) core: Core,
    pub(super) now: Now,
    pub(super) log: Vec<LogEntry>,
    pub(super) sent: Vec<(Destination, Message)>,
    /// Every statement signed, by place; survives restarts as a guard does.
    pub(super) signed: BTreeMap<Mark, Statement>,
    /// Checkpoint votes signed.
    pub(super) checkpoints_signed: usize,
    pub(super) evidence: Vec<Evidence>,
    pub(super) fetches: Vec<NodeId>,
    /// What the signer answers; none means a signature.
    pub(super) refusal: Option<SignError>,
    /// Whether the host finds the batches it is asked for.
    pub(super) has_batches: bool,
    pub(super) committed: Head,
    heads: Vec<Head>,
}

impl Four {
    /// Started, and told by two peers that they hold nothing of ours.
    pub(super) fn new() -> Self {
        let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
        let mut four = Self {
            core: Core::new(Params::new(node(0), CHAIN, SUITE, DEPTH)),
            now: Now { monotonic_ms: 0, unix_ms: 5_000 },
            log: Vec::new(),
            sent: Vec::new(),
            signed: BTreeMap::new(),
            checkpoints_signed: 0,
            evidence: Vec::new(),
            fetches: Vec::new(),
            refusal: None,
            has_batches: true,
            committed,
            heads: Vec::new(),
        };
        four.restart();
        four
    }

    pub(super) fn restart(&mut self) {
        self.core = Core::new(Params::new(node(0), CHAIN, SUITE, DEPTH));
        let rules = vec![rules(4); DEPTH as usize + 1];
        let start = Start { committed: self.committed, rules, log: self.log.clone(), signed: None };
        self.feed(Input::Start(Box::new(start)));
        for peer in 1..3 {
            self.tell(peer, Message::MarkAnswer { nonce: self.now.unix_ms, decided: 0, held: None }).expect("no mark");
        }
        assert_eq!(self.core.status().mode, Mode::Voting);
    }

    /// A peer says something; every signature in it is taken for valid.
    pub(super) fn tell(&mut self, from: u8, message: Message) -> Result<(), Unchecked> {
        let message = Message::decode(&message.encode()).expect("well-formed");
        self.core.checks(&message)?;
        self.feed(Input::Message { from: node(from), message });
        Ok(())
    }

    pub(super) fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now.monotonic_ms += 10;
            self.now.unix_ms += 10;
            self.feed(Input::Tick);
        }
    }

    pub(super) fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.core.step(self.now, input) {
                inputs.extend(self.perform(effect));
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Append(entry) => self.log.push(entry),
            Effect::Flush { id } => return Some(Input::LogFlushed { id }),
            Effect::Sign { id, statement } => return Some(self.sign(id, statement)),
            Effect::Send { to, message } => self.sent.push((to, message)),
            Effect::BuildValue { height, round, .. } => {
                return Some(Input::ValueBuilt { height, round, batches: Vec::new() });
            }
            Effect::EnsureBatches { id, from, .. } => {
                self.fetches.push(from);
                return self.has_batches.then_some(Input::BatchesDurable { value: id });
            }
            Effect::Decide { height, value, certificate } => {
                self.heads.push(Head { height, id: certificate.value, timestamp_ms: value.timestamp_ms });
                let header = Box::new(BlockHeader { number: height as i64, ..BlockHeader::default() });
                return Some(Input::Executed { height, header, header_hash: result_of(height) });
            }
            Effect::CheckpointCertified { height, .. } => {
                self.committed = *self.heads.iter().find(|head| head.height == height).expect("decided");
                self.log.retain(|entry| entry.height() > height);
                return Some(Input::LedgerCommitted { height, rules: rules(4) });
            }
            Effect::Evidence(evidence) => self.evidence.push(evidence),
            Effect::Halt(reason) => panic!("halted: {reason}"),
            Effect::Serve { .. } | Effect::Forget { .. } | Effect::RoundStarted { .. } | Effect::ModeChanged(_) => {}
        }
        None
    }

    fn sign(&mut self, id: u64, statement: Statement) -> Input {
        if let Some(refusal) = self.refusal.clone() {
            return Input::Signed { id, result: Err(refusal) };
        }
        let mark = match &statement {
            Statement::Vote(vote) => Some(Mark::of_vote(vote)),
            Statement::Proposal(proposal) => {
                Some(Mark { height: proposal.height, round: proposal.round, step: Step::Propose })
            }
            Statement::Checkpoint(_) => {
                self.checkpoints_signed += 1;
                None
            }
        };
        if let Some(mark) = mark {
            let known = self.signed.entry(mark).or_insert_with(|| statement.clone());
            assert_eq!(*known, statement, "two statements at {mark:?}");
        }
        Input::Signed { id, result: Ok(SignatureBytes([1; 64])) }
    }

    /// What we voted, if we did.
    pub(super) fn voted(&self, round: u32, kind: VoteKind) -> Option<Option<H256>> {
        let vote = vote(0, 1, round, kind, None);
        match self.signed.get(&Mark::of_vote(&vote.vote))? {
            Statement::Vote(vote) => Some(vote.value),
            other => panic!("not a vote: {other:?}"),
        }
    }

    /// To whom requests for heights went, since the last call.
    pub(super) fn requests(&mut self) -> Vec<NodeId> {
        let sent = std::mem::take(&mut self.sent);
        let requests = sent.into_iter().filter(|(_, message)| matches!(message, Message::Request { .. }));
        requests
            .map(|(to, _)| match to {
                Destination::Node(node) => node,
                Destination::Broadcast => panic!("a request to everybody"),
            })
            .collect()
    }
}

/// The header hash that every honest node computes.
pub(super) fn result_of(height: u64) -> H256 {
    SUITE.hash(&[&height.to_le_bytes()])
}

/// A value for height 1, told apart by its timestamp.
pub(super) fn value(builder: u8, salt: u64, batches: Vec<H256>) -> Value {
    Value {
        height: 1,
        parent: CHAIN,
        timestamp_ms: 2_000 + salt,
        builder: builder.into(),
        protocol_version: 1,
        batches,
    }
}

pub(super) fn proposal(from: u8, round: u32, value: Value, pol_round: Option<u32>) -> SignedProposal {
    let id = value.id(SUITE);
    let proposal = Proposal { chain: CHAIN, height: value.height, round, value: id, pol_round, validator: node(from) };
    SignedProposal { proposal, value, signature: SignatureBytes([from; 64]) }
}

pub(super) fn vote(from: u8, height: u64, round: u32, kind: VoteKind, value: Option<H256>) -> SignedVote {
    let vote = Vote { chain: CHAIN, height, round, kind, value, validator: node(from) };
    SignedVote { vote, signature: SignatureBytes([from; 64]) }
}

/// Height by height, what a quorum decided and certified: empty values.
pub(super) fn history(heights: u64) -> Vec<(Message, Message)> {
    let mut parent = CHAIN;
    let quorum = || (1..4).map(|index| (node(index), SignatureBytes([index; 64]))).collect::<Vec<_>>();
    (1..=heights)
        .map(|height| {
            let value = Value { height, parent, timestamp_ms: 2_000 + height, ..value(1, 0, Vec::new()) };
            parent = value.id(SUITE);
            let certificate = CommitCertificate { height, round: 0, value: parent, signatures: quorum() };
            let header_hash = result_of(height);
            let certified = CheckpointCertificate { height, header_hash, signatures: quorum() };
            (Message::Decided { value, certificate }, Message::Certified(certified))
        })
        .collect()
}

pub(super) fn checkpoint(from: u8, height: u64, header_hash: H256) -> Message {
    Message::Checkpoint(CheckpointVote {
        height,
        header_hash,
        validator: node(from),
        signature: SignatureBytes([from; 64]),
    })
}
