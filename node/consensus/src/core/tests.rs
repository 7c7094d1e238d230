//! The core with a host that does everything at once.

use std::collections::VecDeque;

use bixi_types::CryptoSuite;
use bixi_types::consensus::{SignatureBytes, Validator, ValidatorSet};
use bixi_types::header::BlockHeader;
use bixi_types::ports::SignError;

use super::*;

mod four;
mod hostile;
mod locks;
mod results;
mod signer;
mod sync;

const CHAIN: H256 = H256([9; 32]);
const DEPTH: u64 = 4;

fn node(index: u8) -> NodeId {
    NodeId([index + 1; 64])
}

fn rules(validators: u8) -> HeightRules {
    let members = (0..validators).map(|index| Validator { id: node(index), weight: 1 }).collect();
    HeightRules { validators: ValidatorSet::new(members), protocol_version: 1 }
}

/// One validator alone, whose host answers at once. Everything said and signed is recorded.
struct Alone {
    core: Core,
    now: Now,
    log: Vec<LogEntry>,
    sent: Vec<Message>,
    signed: Vec<Statement>,
    committed: Head,
    decided: Vec<Value>,
    certified: Vec<u64>,
    modes: Vec<Mode>,
    halt: Option<HaltReason>,
    /// What the signer answers; none means a signature.
    refusal: Option<SignError>,
    /// What it answers to a checkpoint, if something else.
    checkpoint_refusal: Option<SignError>,
    /// It never answers, at all or about checkpoints.
    device_hangs: bool,
    checkpoints_hang: bool,
    /// Batches the host has to propose.
    batches: VecDeque<H256>,
    /// Salt of the execution, to make it differ.
    salt: u8,
    /// Height whose value takes the last work.
    stop_after: Option<u64>,
    /// The ledger does not commit.
    ledger_stuck: bool,
    /// The ledger's head.
    ledger_head: Head,
    heads: Vec<Head>,
    flushes: usize,
    /// Work has run out; told with the next input.
    idle: bool,
}

impl Alone {
    fn new() -> Self {
        let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
        let mut alone = Self::stopped(committed);
        alone.restart();
        alone
    }

    fn stopped(committed: Head) -> Self {
        Self {
            core: Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH)),
            now: Now { monotonic_ms: 0, unix_ms: 5_000 },
            log: Vec::new(),
            sent: Vec::new(),
            signed: Vec::new(),
            committed,
            decided: Vec::new(),
            certified: Vec::new(),
            modes: Vec::new(),
            halt: None,
            refusal: None,
            checkpoint_refusal: None,
            device_hangs: false,
            checkpoints_hang: false,
            batches: VecDeque::new(),
            salt: 0,
            stop_after: None,
            ledger_stuck: false,
            ledger_head: committed,
            heads: Vec::new(),
            flushes: 0,
            idle: false,
        }
    }

    fn restart(&mut self) {
        self.core = Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH));
        self.sent.clear();
        self.signed.clear();
        let rules = vec![rules(1); DEPTH as usize + 1];
        self.feed(Input::Start(Box::new(Start {
            committed: self.committed,
            rules,
            log: self.log.clone(),
            signed: None,
        })));
    }

    /// The signer refuses the first statement; the next minutes must bring no second, and nothing said.
    fn refuse_once_and_wait(&mut self, refusal: SignError) {
        self.refusal = Some(refusal);
        self.feed(Input::WorkPending(true));
        self.refusal = None;
        for _ in 0..100 {
            self.now.monotonic_ms += 1_000;
            self.feed(Input::Tick);
        }
        assert_eq!(self.signed.len(), 1);
        assert!(self.sent.iter().all(|message| !matches!(message, Message::Vote(_) | Message::Proposal(_))));
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.core.step(self.now, input) {
                inputs.extend(self.perform(effect));
            }
            if std::mem::take(&mut self.idle) {
                inputs.push_front(Input::WorkPending(false));
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Append(entry) => self.log.push(LogEntry::decode(&entry.encode()).expect("round trip")),
            Effect::Flush { id } => {
                self.flushes += 1;
                return Some(Input::LogFlushed { id });
            }
            Effect::Sign { id, statement } => {
                let checkpoint = matches!(statement, Statement::Checkpoint(_));
                self.signed.push(statement);
                let refusal = if checkpoint { self.checkpoint_refusal.clone() } else { None };
                let result = refusal.or(self.refusal.clone()).map_or(Ok(SignatureBytes([5; 64])), Err);
                let hangs = self.device_hangs || (checkpoint && self.checkpoints_hang);
                return (!hangs).then_some(Input::Signed { id, result });
            }
            Effect::Send { message, .. } => self.sent.push(Message::decode(&message.encode()).expect("round trip")),
            Effect::BuildValue { height, round, .. } => {
                // What this value takes is the last there is.
                self.idle = self.stop_after.is_some_and(|stop| height >= stop);
                let batches = self.batches.pop_front().into_iter().collect();
                return Some(Input::ValueBuilt { height, round, batches });
            }
            Effect::EnsureBatches { id, .. } => return Some(Input::BatchesDurable { value: id }),
            Effect::Decide { height, value, .. } => {
                let salt = self.salt;
                let header_hash = H256([height as u8 ^ salt; 32]);
                let id = value.id(CryptoSuite::Std);
                self.heads.push(Head { height, id, timestamp_ms: value.timestamp_ms });
                self.decided.push(value);
                return Some(Input::Executed { height, header: Box::<BlockHeader>::default(), header_hash });
            }
            Effect::CheckpointCertified { height, signatures, .. } => {
                assert_eq!(signatures, vec![(0, SignatureBytes([5; 64]))]);
                self.certified.push(height);
                if self.ledger_stuck {
                    return None;
                }
                self.ledger_head = *self.heads.iter().find(|head| head.height == height).expect("decided");
                return Some(Input::LedgerCommitted { height, rules: rules(1) });
            }
            Effect::ModeChanged(mode) => self.modes.push(mode),
            Effect::Halt(reason) => self.halt = Some(reason),
            Effect::Serve { .. } | Effect::Forget { .. } | Effect::RoundStarted { .. } | Effect::Evidence(_) => {}
        }
        None
    }
}

/// Runs `heights` heights with one batch each.
fn run(alone: &mut Alone, heights: u64) {
    let goal = alone.core.status().decided + heights;
    while alone.core.status().decided < goal {
        alone.now.unix_ms += 10;
        alone.now.monotonic_ms += 10;
        let height = alone.core.status().height;
        alone.batches.push_back(H256([height as u8; 32]));
        alone.work_once();
    }
}

impl Alone {
    fn last_id(&self) -> Option<H256> {
        self.decided.last().map(|value| value.id(CryptoSuite::Std))
    }

    /// Work for one height: the host has none left as soon as a value was decided.
    fn work_once(&mut self) {
        let decided = self.core.status().decided;
        self.stop_after = Some(decided + 1);
        self.feed(Input::WorkPending(true));
    }
}

#[test]
fn one_validator_decides_and_certifies_by_itself() {
    let mut alone = Alone::new();
    assert_eq!(alone.modes, [Mode::Abstaining, Mode::Voting]);
    run(&mut alone, 10);
    assert_eq!(alone.certified, (1..=10).collect::<Vec<u64>>());
    assert!(alone.decided.windows(2).all(|pair| pair[1].parent == pair[0].id(CryptoSuite::Std)));
    assert!(alone.decided.windows(2).all(|pair| pair[1].timestamp_ms > pair[0].timestamp_ms));
    assert_eq!((alone.flushes, alone.signed.len()), (5 * 10, 4 * 10), "the price of ten heights");
    assert!(alone.decided.iter().all(|value| value.batches == [H256([value.height as u8; 32])]));
}

#[test]
fn an_idle_chain_rests_between_heights() {
    let mut alone = Alone::new();
    assert!(alone.core.status().resting, "nothing to do after a start");
    for _ in 0..20 {
        alone.now.monotonic_ms += 10_000;
        alone.feed(Input::Tick);
    }
    assert!(alone.core.status().resting && alone.signed.is_empty(), "time alone starts nothing");
    run(&mut alone, 1);
    assert!(alone.core.status().resting, "the work is done");
    let signed = alone.signed.len();
    alone.now.monotonic_ms += 60_000;
    alone.feed(Input::Tick);
    assert_eq!(alone.signed.len(), signed, "no empty height follows");
}

#[test]
fn a_peers_message_of_the_next_height_wakes_an_idle_chain() {
    let rules = vec![rules(4); DEPTH as usize + 1];
    let mut core = Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH));
    let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
    let now = Now { monotonic_ms: 0, unix_ms: 5_000 };
    core.step(now, Input::Start(Box::new(Start { committed, rules, log: Vec::new(), signed: None })));
    let vote = |height| {
        let vote = bixi_types::consensus::Vote {
            chain: CHAIN,
            height,
            round: 0,
            kind: bixi_types::consensus::VoteKind::Prevote,
            value: None,
            validator: node(1),
        };
        Message::Vote(bixi_types::consensus::SignedVote { vote, signature: SignatureBytes([1; 64]) })
    };
    core.step(now, Input::Message { from: node(1), message: vote(2) });
    assert!(core.status().resting, "a later height is kept");
    core.step(now, Input::Message { from: node(1), message: vote(1) });
    assert!(!core.status().resting);
}

#[test]
fn a_height_waits_until_the_ledger_is_within_the_pipeline_depth() {
    let mut alone = Alone::new();
    alone.ledger_stuck = true;
    for _ in 0..40 {
        alone.now.unix_ms += 10;
        alone.feed(Input::WorkPending(true));
    }
    assert_eq!(alone.core.status().decided, DEPTH + 1);
    assert!(alone.core.status().resting);
}

#[test]
fn a_replayed_log_repeats_the_recorded_messages_and_signs_nothing() {
    let mut alone = Alone::new();
    run(&mut alone, 2);
    // Cut the log after each entry of height 3 and start from there.
    alone.committed = alone.ledger_head;
    alone.log.clear();
    run(&mut alone, 1);
    let full = alone.log.clone();
    let open: Vec<LogEntry> = full
        .iter()
        .filter(|entry| !matches!(entry, LogEntry::Decided { .. } | LogEntry::Checkpoint(_)))
        .cloned()
        .collect();
    assert!(open.len() >= 4, "verdict, proposal, prevote, precommit: {open:?}");
    for cut in 0..=open.len() {
        let mut again = Alone::stopped(alone.committed);
        again.log = open[..cut].to_vec();
        again.restart();
        if cut == open.len() {
            assert!(again.signed.iter().all(|statement| matches!(statement, Statement::Checkpoint(_))));
        }
        let recorded = |statement: &Statement| {
            open[..cut].iter().any(|entry| match (entry, statement) {
                (LogEntry::Vote(known), Statement::Vote(vote)) => known.vote == *vote,
                (LogEntry::Proposal(known), Statement::Proposal(proposal)) => known.proposal == *proposal,
                _ => false,
            })
        };
        assert!(!again.signed.iter().any(recorded), "cut {cut}: signed again");
        for entry in &open[..cut] {
            if let LogEntry::Vote(vote) = entry {
                assert!(again.sent.contains(&Message::Vote(vote.clone())), "cut {cut}: not repeated");
            }
        }
        assert_eq!(again.core.status().decided, if cut > 0 { 3 } else { 2 }, "cut {cut}");
        if cut > 0 {
            assert_eq!(again.last_id(), alone.last_id(), "cut {cut}: another value");
        }
    }
}

#[test]
fn a_decided_height_above_the_ledger_is_decided_again_after_a_start() {
    let mut alone = Alone::new();
    alone.ledger_stuck = true;
    run(&mut alone, 3);
    let mut again = Alone::stopped(alone.committed);
    again.log = alone.log.clone();
    again.restart();
    assert_eq!(again.decided, alone.decided);
    assert_eq!(again.certified, [1, 2, 3]);
    assert!(again.signed.is_empty(), "own checkpoint votes come from the log");
}

#[test]
fn a_ledger_restored_from_long_ago_reaches_the_end_of_its_log_again() {
    let mut alone = Alone::new();
    run(&mut alone, 3 * DEPTH + 5);
    let mut again = Alone::stopped(alone.committed);
    again.log = alone.log.clone();
    again.restart();
    assert_eq!(again.decided, alone.decided);
    assert_eq!(again.ledger_head, alone.ledger_head);
    assert!(again.signed.is_empty(), "own checkpoint votes come from the log");
}

#[test]
fn executing_something_else_than_what_was_signed_halts() {
    let mut alone = Alone::new();
    alone.ledger_stuck = true;
    run(&mut alone, 1);
    let mut again = Alone::stopped(alone.committed);
    again.log = alone.log.clone();
    again.salt = 0x80;
    again.restart();
    assert!(matches!(again.halt, Some(HaltReason::NotDeterministic { height: 1, .. })), "{:?}", again.halt);
    again.feed(Input::WorkPending(true));
    assert_eq!(again.core.deadline_ms(), None);
}

#[test]
fn nothing_of_ours_leaves_before_its_flush_is_answered() {
    let mut core = Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH));
    let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
    let now = Now { monotonic_ms: 0, unix_ms: 5_000 };
    let start = Start { committed, rules: vec![rules(1); DEPTH as usize + 1], log: Vec::new(), signed: None };
    core.step(now, Input::Start(Box::new(start)));
    core.step(now, Input::WorkPending(true));
    let effects = core.step(now, Input::ValueBuilt { height: 1, round: 0, batches: Vec::new() });
    // The value is logged; its proposal is signed only when the log is durable.
    let [Effect::Append(LogEntry::Verdict(_)), Effect::Flush { id }] = effects[..] else { panic!("{effects:?}") };
    let effects = core.step(now, Input::LogFlushed { id });
    let [Effect::Sign { id, statement: Statement::Proposal(_) }] = effects[..] else { panic!("{effects:?}") };
    let effects = core.step(now, Input::Signed { id, result: Ok(SignatureBytes([5; 64])) });
    let [Effect::Append(LogEntry::Proposal(_)), Effect::Flush { id }] = effects[..] else { panic!("{effects:?}") };
    let effects = core.step(now, Input::LogFlushed { id });
    let [Effect::Sign { id, statement: Statement::Vote(_) }] = effects[..] else { panic!("{effects:?}") };
    let effects = core.step(now, Input::Signed { id, result: Ok(SignatureBytes([5; 64])) });
    assert!(matches!(effects[0], Effect::Append(LogEntry::Vote(_))), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Send { .. })), "{effects:?}");
}

#[test]
fn a_value_is_valid_by_the_table() {
    // height offset | parent | timestamp offset | builder | version | batches | verdict
    let table = "
        0 | head  | 1     | 1 | 1 | a   | valid
        0 | head  | 1     | 1 | 1 | ab  | valid
        0 | head  | 1     | 1 | 1 |     | valid
        0 | other | 1     | 1 | 1 | a   | invalid
        0 | head  | 0     | 1 | 1 | a   | invalid
        0 | head  | -1    | 1 | 1 | a   | invalid
        0 | head  | 1     | 9 | 1 | a   | invalid
        0 | head  | 1     | 1 | 2 | a   | invalid
        0 | head  | 1     | 1 | 1 | aa  | invalid
        0 | head  | 6000  | 1 | 1 | a   | valid
        0 | head  | 6001  | 1 | 1 | a   | late";
    for row in table.lines().filter(|row| !row.trim().is_empty()) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let value = Value {
            height: 1 + cells[0].parse::<u64>().expect("offset"),
            parent: if cells[1] == "head" { CHAIN } else { H256([1; 32]) },
            timestamp_ms: 1_000u64.saturating_add_signed(cells[2].parse().expect("offset")),
            builder: cells[3].parse().expect("index"),
            protocol_version: cells[4].parse().expect("version"),
            batches: cells[5].bytes().map(|byte| H256([byte; 32])).collect(),
        };
        assert_eq!(verdict_on(value), cells[6], "{row}");
    }
}

/// What node 0 of four, whose clock says 5000 and which allows 2000 of drift, says about a value of node 1.
fn verdict_on(value: Value) -> &'static str {
    let mut core = Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH));
    let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
    let now = Now { monotonic_ms: 0, unix_ms: 5_000 };
    let start = Start { committed, rules: vec![rules(4); DEPTH as usize + 1], log: Vec::new(), signed: None };
    core.step(now, Input::Start(Box::new(start)));
    let proposal = bixi_types::consensus::Proposal {
        chain: CHAIN,
        height: 1,
        round: 0,
        value: value.id(CryptoSuite::Std),
        pol_round: None,
        validator: node(1),
    };
    let signed = bixi_types::consensus::SignedProposal { proposal, value, signature: SignatureBytes([1; 64]) };
    let message = Message::Proposal(signed);
    let mut effects = core.step(now, Input::Message { from: node(1), message });
    let ensured = effects.iter().find_map(|effect| match effect {
        Effect::EnsureBatches { id, .. } => Some(*id),
        _ => None,
    });
    if let Some(value) = ensured {
        effects.extend(core.step(now, Input::BatchesDurable { value }));
    }
    let verdict = effects.iter().find_map(|effect| match effect {
        Effect::Append(LogEntry::Verdict(verdict)) => Some(verdict.valid),
        _ => None,
    });
    match verdict {
        Some(true) => "valid",
        Some(false) => "invalid",
        None => "late",
    }
}

/// Our precommit of nil at height 3, as a peer gives it back.
fn precommit_of_ours() -> crate::message::Held {
    let vote = bixi_types::consensus::Vote {
        chain: CHAIN,
        height: 3,
        round: 1,
        kind: bixi_types::consensus::VoteKind::Precommit,
        value: None,
        validator: node(0),
    };
    crate::message::Held::Vote(bixi_types::consensus::SignedVote { vote, signature: SignatureBytes([1; 64]) })
}

/// Node 0 of four, whose log is empty and whose guard remembers `signed`; `held` is what the second peer gives back, and the two
/// have decided so far.
fn mode_after(signed: Option<crate::message::Mark>, held: Option<crate::message::Held>, decided: [u64; 2]) -> Mode {
    let mut core = Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH));
    let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
    let now = Now { monotonic_ms: 0, unix_ms: 5_000 };
    let start = Start { committed, rules: vec![rules(4); DEPTH as usize + 1], log: Vec::new(), signed };
    core.step(now, Input::Start(Box::new(start)));
    assert_eq!(core.status().mode, Mode::Abstaining);
    let answer = |decided, held| Message::MarkAnswer { nonce: now.unix_ms, decided, held };
    core.step(now, Input::Message { from: node(1), message: answer(decided[0], None) });
    core.step(now, Input::Message { from: node(1), message: answer(decided[0], None) });
    assert_eq!(core.status().mode, Mode::Abstaining, "two of four told");
    core.step(now, Input::Message { from: node(2), message: answer(decided[1], held) });
    core.status().mode
}

fn mode_after_marks(signed: Option<crate::message::Mark>, held: Option<crate::message::Held>) -> Mode {
    mode_after(signed, held, [0, 0])
}

/// The others have forgotten what it said at heights they have decided.
#[test]
fn a_node_that_is_behind_follows_until_it_has_caught_up_and_no_liar_holds_it_back() {
    let behind = |until| Mode::Follower(Reason::Behind { until });
    assert_eq!(mode_after(None, None, [7, 9]), behind(7), "more than a third of the weight has decided 7");
    assert_eq!(mode_after(None, None, [0, u64::MAX]), Mode::Voting, "one of four may lie");
    assert_eq!(mode_after(None, Some(precommit_of_ours()), [7, 7]), behind(7), "the higher of both");
    let ahead = Mode::Follower(Reason::MarkAhead { until: 3 });
    assert_eq!(mode_after(None, Some(precommit_of_ours()), [2, 2]), ahead);
}

#[test]
fn a_restored_node_follows_until_the_chain_has_passed_what_it_said() {
    let ahead = |until| Mode::Follower(Reason::MarkAhead { until });
    assert_eq!(mode_after_marks(None, None), Mode::Voting);
    assert_eq!(mode_after_marks(None, Some(precommit_of_ours())), ahead(3));
}

#[test]
fn a_node_whose_guard_remembers_more_than_its_disk_follows_until_the_chain_has_passed_it() {
    let ahead = |until| Mode::Follower(Reason::MarkAhead { until });
    let signed = |height| Some(crate::message::Mark { height, round: 0, step: crate::message::Step::Propose });
    assert_eq!(mode_after_marks(signed(5), None), ahead(5));
    assert_eq!(mode_after_marks(signed(2), Some(precommit_of_ours())), ahead(3), "the higher of both");
    assert_eq!(mode_after_marks(signed(5), Some(precommit_of_ours())), ahead(5));
}

#[test]
fn checks_refuse_what_no_honest_node_sends() {
    let mut core = Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH));
    let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
    let now = Now { monotonic_ms: 0, unix_ms: 5_000 };
    let start = Start { committed, rules: vec![rules(4); DEPTH as usize + 1], log: Vec::new(), signed: None };
    core.step(now, Input::Start(Box::new(start)));
    let vote = |chain, height, validator| {
        let kind = bixi_types::consensus::VoteKind::Prevote;
        let vote = bixi_types::consensus::Vote { chain, height, round: 0, kind, value: None, validator };
        Message::Vote(bixi_types::consensus::SignedVote { vote, signature: SignatureBytes([1; 64]) })
    };
    let good = vote(CHAIN, 1, node(1));
    let Message::Vote(signed) = &good else { unreachable!() };
    let checks = core.checks(&good).expect("well-formed");
    assert_eq!(checks.len(), 1);
    assert_eq!((checks[0].node, &checks[0].bytes), (node(1), &signed.vote.sign_bytes()));
    assert_eq!(core.checks(&vote(CHAIN, 1, node(9))), Err(Unchecked::NotMember));
    assert!(matches!(core.checks(&vote(H256([1; 32]), 1, node(1))), Err(Unchecked::Malformed(_))));
    assert_eq!(core.checks(&vote(CHAIN, 99, node(1))), Err(Unchecked::UnknownHeight(99)));
    core.step(now, Input::Message { from: node(1), message: good.clone() });
    assert_eq!(core.checks(&good), Err(Unchecked::Known));
}

#[test]
fn a_message_of_our_own_that_the_log_does_not_know_makes_a_follower() {
    let mut core = Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH));
    let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
    let now = Now { monotonic_ms: 0, unix_ms: 5_000 };
    let start = Start { committed, rules: vec![rules(4); DEPTH as usize + 1], log: Vec::new(), signed: None };
    core.step(now, Input::Start(Box::new(start)));
    for peer in 1..3 {
        let message = Message::MarkAnswer { nonce: now.unix_ms, decided: 0, held: None };
        core.step(now, Input::Message { from: node(peer), message });
    }
    assert_eq!(core.status().mode, Mode::Voting);
    let kind = bixi_types::consensus::VoteKind::Prevote;
    let vote = bixi_types::consensus::Vote { chain: CHAIN, height: 2, round: 0, kind, value: None, validator: node(0) };
    let message = Message::Vote(bixi_types::consensus::SignedVote { vote, signature: SignatureBytes([1; 64]) });
    core.step(now, Input::Message { from: node(3), message });
    assert_eq!(core.status().mode, Mode::Follower(Reason::MarkAhead { until: 2 }));
}
