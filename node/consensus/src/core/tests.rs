//! The core with a host that does everything at once.

use std::collections::VecDeque;

use bixi_types::CryptoSuite;
use bixi_types::consensus::{SignatureBytes, Validator, ValidatorSet};
use bixi_types::header::BlockHeader;
use bixi_types::ports::SignError;

use super::*;

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
    /// Batches the host has to propose.
    batches: VecDeque<H256>,
    /// Salt of the execution, to make it differ.
    salt: u8,
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
            batches: VecDeque::new(),
            salt: 0,
        }
    }

    fn restart(&mut self) {
        self.core = Core::new(Params::new(node(0), CHAIN, CryptoSuite::Std, DEPTH));
        self.sent.clear();
        self.signed.clear();
        let rules = vec![rules(1); DEPTH as usize + 1];
        self.feed(Input::Start(Box::new(Start { committed: self.committed, rules, log: self.log.clone() })));
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.core.step(self.now, input) {
                inputs.extend(self.perform(effect));
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Append(entry) => self.log.push(LogEntry::decode(&entry.encode()).expect("round trip")),
            Effect::Flush { id } => return Some(Input::LogFlushed { id }),
            Effect::Sign { id, statement } => {
                self.signed.push(statement);
                let result = self.refusal.clone().map_or(Ok(SignatureBytes([5; 64])), Err);
                return Some(Input::Signed { id, result });
            }
            Effect::Send { message, .. } => self.sent.push(Message::decode(&message.encode()).expect("round trip")),
            Effect::BuildValue { height, round, .. } => {
                let batches = self.batches.pop_front().into_iter().collect();
                return Some(Input::ValueBuilt { height, round, batches });
            }
            Effect::EnsureBatches { id, .. } => return Some(Input::BatchesDurable { value: id }),
            Effect::Decide { height, value, .. } => {
                let salt = self.salt;
                let header_hash = H256([height as u8 ^ salt; 32]);
                self.decided.push(value);
                return Some(Input::Executed { height, header: Box::<BlockHeader>::default(), header_hash });
            }
            Effect::CheckpointCertified { height, signatures, .. } => {
                assert_eq!(signatures, vec![(0, SignatureBytes([5; 64]))]);
                self.certified.push(height);
                return Some(Input::LedgerCommitted { height, rules: rules(1) });
            }
            Effect::ModeChanged(mode) => self.modes.push(mode),
            Effect::Halt(reason) => self.halt = Some(reason),
            Effect::Serve { .. } | Effect::Forget { .. } | Effect::RoundStarted { .. } | Effect::Evidence(_) => {}
        }
        None
    }
}

#[test]
fn one_validator_decides_and_certifies_by_itself() {
    let mut alone = Alone::new();
    assert_eq!(alone.modes, [Mode::Abstaining, Mode::Voting]);
    for height in 1..=10u64 {
        alone.batches.push_back(H256([height as u8; 32]));
        alone.now.unix_ms += 10;
        alone.feed(Input::WorkPending(true));
        alone.feed(Input::WorkPending(false));
        if alone.certified.len() >= 10 {
            break;
        }
    }
    assert!(alone.certified.len() >= 10, "{:?}", alone.core.status());
    assert!(alone.decided.windows(2).all(|pair| pair[1].parent == pair[0].id(CryptoSuite::Std)));
    assert!(alone.decided.windows(2).all(|pair| pair[1].timestamp_ms > pair[0].timestamp_ms));
}
