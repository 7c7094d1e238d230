//! Tendermint by `arc-malachitebft-core-consensus`.
//!
//! One boxed future owns malachite's state. [`Tendermint::handle`] leaves one command in a shared slot, polls the future
//! once with a waker that does nothing, and takes what it put out. Every effect is answered on the spot except a signature,
//! for which the future stays suspended until [`EngineInput::Signature`] comes; commands queue meanwhile.
//!
//! Invariants:
//! - An effect handler never returns an error: malachite would resume with the wrong type and die.
//! - `target_time` is `None` and extensions are disabled, so malachite's `Instant` is never consulted.
//! - While the log is replayed a statement found in it keeps its recorded signature.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use arc_malachitebft_core_consensus as malachite;
use arc_malachitebft_core_types as mal;
use bixi_types::consensus::{SignatureBytes, ValidatorSet, Value};
use bixi_types::ports::Statement;
use bixi_types::{CryptoSuite, H256, NodeId};

use super::{EngineInput, EngineOutput, HeightStart, OrderingEngine, TimeoutKind, Verdict};
use crate::context::{Address, BixiContext, Height, Members, OrderedValue, round_number};

mod convert;
mod effects;

type CoreInput = malachite::Input<BixiContext>;

/// Inputs waiting for a signature at most; further messages are dropped and come again by rebroadcast.
const QUEUED_INPUTS_MAX: usize = 8_192;

/// One command to the future.
#[derive(Debug)]
enum Command {
    Begin { height: Height, validators: Members, enabled: bool, log: Vec<CoreInput> },
    Replay(CoreInput),
    EndReplay,
    Live(CoreInput),
}

/// What the future and its owner share.
#[derive(Debug, Default)]
struct Slot {
    command: Option<Command>,
    signature: Option<SignatureBytes>,
    awaits_signature: bool,
    outputs: Vec<EngineOutput>,
}

/// The future's end of the slot.
#[derive(Debug, Clone)]
struct Port {
    slot: Arc<Mutex<Slot>>,
    chain: H256,
}

impl Port {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().expect("the slot is used by one thread at a time")
    }

    fn put(&self, output: EngineOutput) {
        self.slot().outputs.push(output);
    }

    async fn command(&self) -> Command {
        std::future::poll_fn(|_| self.slot().command.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    async fn sign(&self, statement: Statement) -> SignatureBytes {
        {
            let mut slot = self.slot();
            slot.outputs.push(EngineOutput::Sign(statement));
            slot.awaits_signature = true;
        }
        std::future::poll_fn(|_| {
            let mut slot = self.slot();
            let answer = slot.signature.take();
            slot.awaits_signature = answer.is_none();
            answer.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// The engine.
pub struct Tendermint {
    node: NodeId,
    suite: CryptoSuite,
    port: Port,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    queue: VecDeque<Command>,
    height: u64,
}

impl std::fmt::Debug for Tendermint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tendermint").field("height", &self.height).field("queued", &self.queue.len()).finish()
    }
}

impl Tendermint {
    /// An engine for `node` on `chain`; it does nothing until a height is started.
    pub fn new(node: NodeId, chain: H256, suite: CryptoSuite) -> Self {
        let port = Port { slot: Arc::default(), chain };
        Self { node, suite, future: idle(&port, node), port, queue: VecDeque::new(), height: 0 }
    }

    fn to_core(&self, input: EngineInput) -> Option<CoreInput> {
        convert::input(input, self.height, self.suite)
    }

    /// Gives the future one command after another until it waits for a signature or none is left.
    fn drive(&mut self) -> Vec<EngineOutput> {
        while !self.port.slot().awaits_signature {
            let Some(command) = self.queue.pop_front() else { break };
            self.port.slot().command = Some(command);
            self.poll();
        }
        std::mem::take(&mut self.port.slot().outputs)
    }

    fn poll(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let polled = self.future.as_mut().poll(&mut context);
        assert!(polled.is_pending(), "the ordering future never ends");
    }

    /// Live inputs survive a restart of the same height: they are in no log yet.
    fn keep_live(&mut self, height: u64) -> VecDeque<Command> {
        let queued = std::mem::take(&mut self.queue);
        if height != self.height {
            return VecDeque::new();
        }
        queued.into_iter().filter(|command| matches!(command, Command::Live(_))).collect()
    }
}

impl OrderingEngine for Tendermint {
    fn start(&mut self, start: HeightStart<'_>) -> Vec<EngineOutput> {
        let live = self.keep_live(start.height);
        self.port.slot = Arc::default();
        self.future = idle(&self.port, self.node);
        self.height = start.height;
        let log = start.log.iter().filter_map(|entry| convert::entry(entry, self.suite));
        let log: Vec<CoreInput> = log.collect();
        let validators = Members::new(start.validators);
        let (height, enabled) = (Height(start.height), start.enabled);
        self.queue.push_back(Command::Begin { height, validators, enabled, log: log.clone() });
        self.queue.extend(log.into_iter().map(Command::Replay));
        self.queue.push_back(Command::EndReplay);
        self.queue.extend(live);
        self.drive()
    }

    fn handle(&mut self, input: EngineInput) -> Vec<EngineOutput> {
        if let EngineInput::Signature(signature) = input {
            assert!(self.port.slot().awaits_signature, "a signature nobody waits for");
            self.port.slot().signature = Some(signature);
            self.poll();
            return self.drive();
        }
        let droppable = !matches!(input, EngineInput::Timeout { .. } | EngineInput::Verdict(_));
        if droppable && self.queue.len() >= QUEUED_INPUTS_MAX {
            return Vec::new();
        }
        if let Some(input) = self.to_core(input) {
            self.queue.push_back(Command::Live(input));
        }
        self.drive()
    }

    fn awaits_signature(&self) -> bool {
        self.port.slot().awaits_signature
    }
}

fn idle(port: &Port, node: NodeId) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(run(port.clone(), node))
}

/// Owns malachite's state and carries out commands for ever.
async fn run(port: Port, node: NodeId) {
    let mut state = fresh_state(node, Members::new(&ValidatorSet::default()), false);
    loop {
        let input = match port.command().await {
            Command::Begin { height, validators, enabled, log } => {
                state = fresh_state(node, validators.clone(), enabled);
                state.index_wal_entries(&log);
                CoreInput::StartHeight(height, validators, !log.is_empty(), None, mal::VoteExtensionPolicy::Disabled)
            }
            Command::Replay(input) | Command::Live(input) => input,
            Command::EndReplay => {
                state.reset_entries_index();
                continue;
            }
        };
        let result: Result<(), malachite::Error<BixiContext>> = malachite::process!(
            input: input,
            state: &mut state,
            metrics: &(),
            with: effect => Ok::<_, std::convert::Infallible>(effects::perform(&port, effect).await)
        );
        if let Err(error) = result {
            port.put(EngineOutput::Failed(error.to_string()));
        }
    }
}

fn fresh_state(node: NodeId, validators: Members, enabled: bool) -> malachite::State<BixiContext> {
    let params = malachite::Params {
        address: Address(node),
        threshold_params: malachite::ThresholdParams::default(),
        value_payload: malachite::ValuePayload::ProposalAndParts,
        enabled,
    };
    // Nothing is buffered inside: the host feeds only the running height.
    malachite::State::new(BixiContext, Height(0), validators, params, 1, 1)
}
