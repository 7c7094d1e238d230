//! Certifying results: sign the executed header, collect equal votes, stop when a quorum disagrees.
//!
//! A checkpoint signature covers the hash of a header and nothing else, so that FISCO BCOS's clients can check it: it says
//! nothing about the height it is handed over for. Of our own result we know the height, so a quorum of signatures over it
//! certifies it, whoever collected them. Of any other hash the height is only what somebody claims, so it counts as the word
//! of the peer whose session it came through: a vote is its voter's own, and a certificate against our result stops us only
//! when claimants of more than a third of the weight stand by it.

use std::collections::{BTreeMap, BTreeSet};

use bixi_types::consensus::{CheckpointVote, SignatureBytes};
use bixi_types::header::BlockHeader;
use bixi_types::ports::SignError;

use super::*;
use crate::certificate;
use crate::message::CheckpointCertificate;

#[derive(Debug, Default)]
struct Tally {
    /// Our result.
    header: Option<(Box<BlockHeader>, H256)>,
    /// First vote of each validator, told by itself.
    votes: BTreeMap<NodeId, (H256, SignatureBytes)>,
    /// Certificates for this height, by the hash they are about.
    claims: BTreeMap<H256, Claim>,
    /// Our vote, once it is in the log.
    ours: Option<CheckpointVote>,
    /// The signer refused our vote for good: another one was given for this height, or a later one.
    refused: bool,
    /// Validators whose second vote was reported: one proof is enough.
    accused: BTreeSet<NodeId>,
}

/// A certificate somebody handed over for a height.
#[derive(Debug)]
struct Claim {
    signatures: Vec<(NodeId, SignatureBytes)>,
    /// Validators whose word it is that these signatures are about this height.
    claimants: BTreeSet<NodeId>,
}

impl Tally {
    /// Who signed `hash`, in index order.
    fn signers(&self, hash: H256) -> BTreeMap<NodeId, SignatureBytes> {
        let claimed = self.claims.get(&hash).into_iter().flat_map(|claim| claim.signatures.iter().copied());
        let voted = self.votes.iter().filter(|(_, (voted, _))| *voted == hash);
        claimed.chain(voted.map(|(node, (_, signature))| (*node, *signature))).collect()
    }

    /// Whose word it is that `hash` belongs to this height.
    fn claimants(&self, hash: H256) -> BTreeSet<NodeId> {
        let claimed = self.claims.get(&hash).into_iter().flat_map(|claim| claim.claimants.iter().copied());
        let voted = self.votes.iter().filter(|(_, (voted, _))| *voted == hash);
        claimed.chain(voted.map(|(node, _)| *node)).collect()
    }

    /// Keeps a proven certificate. One of our own result needs no claimant; of others each validator may claim one.
    fn claim(&mut self, from: Option<NodeId>, hash: H256, signatures: Vec<(NodeId, SignatureBytes)>) {
        let ours = self.header.as_ref().is_some_and(|(_, ours)| *ours == hash);
        let claimed_before = |from| self.claims.values().any(|claim| claim.claimants.contains(&from));
        let from = from.filter(|from| !claimed_before(*from));
        if ours || from.is_some() {
            let claim = self.claims.entry(hash).or_insert_with(|| Claim { signatures, claimants: BTreeSet::new() });
            claim.claimants.extend(from);
        }
    }

    /// The votes for another header than `ours`.
    fn dissent(&self, height: u64, ours: H256) -> impl Iterator<Item = CheckpointVote> {
        self.votes.iter().filter(move |(_, (header_hash, _))| *header_hash != ours).map(
            move |(validator, (header_hash, signature))| CheckpointVote {
                height,
                header_hash: *header_hash,
                validator: *validator,
                signature: *signature,
            },
        )
    }

    fn certificate(&self, height: u64, header_hash: H256) -> CheckpointCertificate {
        CheckpointCertificate { height, header_hash, signatures: self.signers(header_hash).into_iter().collect() }
    }
}

/// Votes over the heights between the ledger and the head.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    certified: u64,
    tallies: BTreeMap<u64, Tally>,
    certificates: BTreeMap<u64, CheckpointCertificate>,
    /// Id and height of the signature asked for; one at a time, heights in order.
    signing: Option<(u64, u64)>,
    /// Requests since the signer's last answer.
    unanswered: u32,
}

impl Checkpoints {
    pub(super) fn certified(&self) -> u64 {
        self.certified
    }

    pub(super) fn resume(&mut self, committed: u64) {
        self.certified = committed;
    }

    /// Our own vote, read from the log.
    pub(super) fn recover(&mut self, vote: CheckpointVote) {
        let tally = self.tallies.entry(vote.height).or_default();
        tally.ours = Some(vote);
    }

    pub(super) fn is_signing(&self, id: u64) -> bool {
        self.signing.is_some_and(|(pending, _)| pending == id)
    }

    /// Whether exactly this vote is counted already.
    pub(super) fn knows(&self, message: &Message) -> bool {
        let Message::Checkpoint(vote) = message else { return false };
        let counted = self.tallies.get(&vote.height).and_then(|tally| tally.votes.get(&vote.validator));
        counted.is_some_and(|counted| *counted == (vote.header_hash, vote.signature))
    }

    pub(super) fn certificate(&self, height: u64) -> Option<&CheckpointCertificate> {
        self.certificates.get(&height)
    }

    /// `height` is in the ledger.
    pub(super) fn forget(&mut self, height: u64) {
        self.tallies.retain(|kept, _| *kept > height);
        self.certificates.retain(|kept, _| kept + sync::KEPT_HEIGHTS > height);
        self.certified = self.certified.max(height);
        self.signing = self.signing.filter(|(_, signing)| *signing > height);
    }
}

impl Core {
    /// We executed a decided height.
    pub(super) fn executed(&mut self, height: u64, header: Box<BlockHeader>, header_hash: H256) {
        if height <= self.committed || height > self.head.height {
            return;
        }
        let tally = self.checkpoints.tallies.entry(height).or_default();
        tally.header = Some((header, header_hash));
        match tally.ours.clone() {
            Some(vote) if vote.header_hash != header_hash => {
                let (signed, executed) = (vote.header_hash, header_hash);
                return self.halt(HaltReason::NotDeterministic { height, signed, executed });
            }
            Some(vote) => self.say_checkpoint(vote),
            None => {}
        }
        self.report_dissent(height, None);
        // What others have certified needs no signature of ours: who repeats a chain does not call the device.
        self.certify();
        if !self.halted {
            self.sign_next_checkpoint();
        }
    }

    /// Asks for the signature of the lowest executed height that is not certified and we have not voted on. The guard only goes up, so the next height
    /// waits until this vote is in the log.
    pub(super) fn sign_next_checkpoint(&mut self) {
        if self.checkpoints.signing.is_some() || self.mode == Mode::Follower(Reason::GuardStorage) {
            return;
        }
        let node = self.params.node;
        let rules = &self.rules;
        let member = |height| rules.get(height).is_some_and(|rules| rules.validators.index_of(&node).is_some());
        let certified = self.checkpoints.certified;
        let open = self.checkpoints.tallies.range(certified + 1..).filter(|(height, _)| member(height));
        let next = open
            .filter(|(_, tally)| tally.ours.is_none() && !tally.refused)
            .find_map(|(height, tally)| tally.header.as_ref().map(|(header, _)| (*height, header.clone())));
        let Some((height, header)) = next else { return };
        let id = self.signing.next_id();
        self.checkpoints.signing = Some((id, height));
        self.outbox.after_flush(Effect::Sign { id, statement: Statement::Checkpoint(header) });
        // A device that never answers is asked again.
        let pause_ms = signing::backed_off_ms(self.params.sign_deadline_ms, self.checkpoints.unanswered);
        self.checkpoints.unanswered += 1;
        self.timers.set(Timer::CheckpointRetry, self.now.monotonic_ms + pause_ms);
    }

    /// Gives up the request that failed or was never answered, and asks again.
    pub(super) fn retry_checkpoint(&mut self) {
        self.checkpoints.signing = None;
        self.sign_next_checkpoint();
    }

    pub(super) fn checkpoint_signed(&mut self, result: Result<SignatureBytes, SignError>) {
        let Some((_, height)) = self.checkpoints.signing else { return };
        self.checkpoints.unanswered = 0;
        let Some(tally) = self.checkpoints.tallies.get_mut(&height) else { return };
        let Some(header_hash) = tally.header.as_ref().map(|(_, hash)| *hash) else { return };
        match result {
            Ok(signature) => {
                let vote = CheckpointVote { height, header_hash, validator: self.params.node, signature };
                tally.ours = Some(vote.clone());
                self.outbox.append(LogEntry::Checkpoint(vote.clone()), &mut self.out);
                self.say_checkpoint(vote);
            }
            Err(SignError::Conflict(detail) | SignError::Refused(detail)) => {
                tally.refused = true;
                self.out.push(Effect::Evidence(Evidence::CheckpointRefused { height, header_hash, detail }));
            }
            Err(SignError::Storage(_)) => {
                self.checkpoints.signing = None;
                self.timers.cancel(Timer::CheckpointRetry);
                return self.guard_failed();
            }
            Err(_) => {
                let at_ms = self.now.monotonic_ms + self.params.sign_probe_ms;
                return self.timers.set(Timer::CheckpointRetry, at_ms);
            }
        }
        self.timers.cancel(Timer::CheckpointRetry);
        self.retry_checkpoint();
        self.certify();
    }

    fn say_checkpoint(&mut self, vote: CheckpointVote) {
        let tally = self.checkpoints.tallies.entry(vote.height).or_default();
        tally.votes.insert(vote.validator, (vote.header_hash, vote.signature));
        self.publish(Message::Checkpoint(vote));
    }

    /// Repeats our votes of heights that are not certified.
    pub(super) fn resend_checkpoints(&mut self) {
        let open = self.checkpoints.tallies.range(self.checkpoints.certified + 1..);
        let votes: Vec<CheckpointVote> =
            open.filter(|(_, tally)| tally.header.is_some()).filter_map(|(_, tally)| tally.ours.clone()).collect();
        for vote in votes {
            self.publish(Message::Checkpoint(vote));
        }
        self.timers.set(Timer::Resend, self.now.monotonic_ms + self.params.resend_ms);
    }

    pub(super) fn receive_checkpoint(&mut self, from: NodeId, vote: CheckpointVote) {
        if vote.height <= self.checkpoints.certified {
            return self.help_certified(from, vote.height);
        }
        // Votes are not relayed: at another's word a real signature could stand for another height.
        if vote.validator == from {
            self.count_checkpoint(vote);
            self.certify();
        }
    }

    pub(super) fn receive_certified(&mut self, from: NodeId, certificate: CheckpointCertificate) {
        let CheckpointCertificate { height, header_hash, signatures } = certificate;
        if height <= self.checkpoints.certified {
            return;
        }
        let Some(rules) = self.rules.get(&height) else { return };
        if certificate::quorum(&rules.validators, signatures.iter().map(|(node, _)| node)).is_err() {
            return;
        }
        let claimant = rules.validators.index_of(&from).map(|_| from);
        self.checkpoints.tallies.entry(height).or_default().claim(claimant, header_hash, signatures);
        self.certify();
    }

    /// Counts a verified vote of a height whose validators are known; the first of each validator stands.
    fn count_checkpoint(&mut self, vote: CheckpointVote) {
        let Some(rules) = self.rules.get(&vote.height) else { return };
        if rules.validators.index_of(&vote.validator).is_none() {
            return;
        }
        let tally = self.checkpoints.tallies.entry(vote.height).or_default();
        if let Some((header_hash, signature)) = tally.votes.get(&vote.validator).copied() {
            if header_hash != vote.header_hash && tally.accused.insert(vote.validator) {
                let first = CheckpointVote { header_hash, signature, ..vote.clone() };
                let votes = Box::new([first, vote]);
                self.out.push(Effect::Evidence(Evidence::CheckpointEquivocation { votes }));
            }
            return;
        }
        tally.votes.insert(vote.validator, (vote.header_hash, vote.signature));
        self.report_dissent(vote.height, Some(vote.validator));
    }

    /// Tells of the votes for another header than ours: of this validator's, which came now, or of all that came before our result.
    fn report_dissent(&mut self, height: u64, only: Option<NodeId>) {
        let Some(rules) = self.rules.get(&height) else { return };
        let Some(tally) = self.checkpoints.tallies.get(&height) else { return };
        let Some((_, ours)) = tally.header else { return };
        let is_new = |node: &NodeId| only.is_none_or(|only| only == *node);
        let (new, known): (Vec<CheckpointVote>, Vec<_>) =
            tally.dissent(height, ours).partition(|vote| is_new(&vote.validator));
        let mut against: BTreeSet<NodeId> = known.into_iter().map(|vote| vote.validator).collect();
        let are_grave = |against: &BTreeSet<NodeId>| certificate::honest(&rules.validators, against).is_ok();
        for vote in new {
            let were_grave = are_grave(&against);
            against.insert(vote.validator);
            let is_grave = !were_grave && are_grave(&against);
            self.out.push(Effect::Evidence(Evidence::Divergence { vote, ours, is_grave }));
        }
    }

    /// Certifies the next heights as far as quorums of equal votes agree with our results.
    pub(super) fn certify(&mut self) {
        while !self.halted && self.certify_next() {}
    }

    fn certify_next(&mut self) -> bool {
        let height = self.checkpoints.certified + 1;
        let Some(rules) = self.rules.get(&height) else { return false };
        let Some(tally) = self.checkpoints.tallies.get(&height) else { return false };
        let Some((_, ours)) = tally.header else { return false };
        let set = &rules.validators;
        let signed_by_quorum = |hash| certificate::quorum(set, tally.signers(hash).keys()).is_ok();
        if signed_by_quorum(ours) {
            let index = |node: &NodeId| set.index_of(node).expect("only members are counted") as u32;
            let certificate = tally.certificate(height, ours);
            let signatures = certificate.signatures.iter().map(|(node, signature)| (index(node), *signature)).collect();
            self.out.push(Effect::CheckpointCertified { height, header_hash: ours, signatures });
            self.checkpoints.certificates.insert(height, certificate);
            self.checkpoints.certified = height;
            return true;
        }
        let stated = |hash: &H256| certificate::honest(set, &tally.claimants(*hash)).is_ok() && signed_by_quorum(*hash);
        let hashes = tally.claims.keys().chain(tally.votes.values().map(|(hash, _)| hash));
        if let Some(hash) = hashes.copied().find(|hash| *hash != ours && stated(hash)) {
            let theirs = Box::new(tally.certificate(height, hash));
            self.halt(HaltReason::Diverged { height, ours, theirs });
        }
        false
    }
}
