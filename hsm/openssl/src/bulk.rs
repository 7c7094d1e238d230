//! Bulk work where it is done fastest: theirs from the size on where measuring found them faster, ours for everything else and for every
//! call that theirs failed.
//!
//! A caller gets the right answer in any case; that theirs failed is counted, logged (the 1st, 2nd, 4th, 8th, … time), and ends the
//! operation's use after [`FAILURES_MAX`] in a row.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bixi_hsm::DeviceError;

use crate::accelerator::{Accelerator, Params};
use crate::measure::{self, Cell, Clock, Verdict};
use crate::{Operation, ours, selftest};

/// Failures in a row after which an operation is given up until the process starts again.
pub const FAILURES_MAX: u32 = 8;

/// One operation's line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The operation.
    pub operation: Operation,
    /// What was measured, if it came to that.
    pub cells: Vec<Cell>,
    /// What came of it.
    pub verdict: Verdict,
}

/// How an operation's calls went so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The operation.
    pub operation: Operation,
    /// Calls that the accelerator answered.
    pub served: u64,
    /// Calls that it failed and we computed.
    pub failed: u64,
    /// Whether it was given up.
    pub is_given_up: bool,
}

#[derive(Debug, Default)]
struct Lane {
    served: AtomicU64,
    failed: AtomicU64,
    failed_in_a_row: AtomicU32,
    is_given_up: AtomicBool,
}

/// A tested and measured accelerator, with accel behind it.
#[derive(Debug)]
pub struct Bulk {
    accelerator: Accelerator,
    /// By operation's number.
    rows: Vec<Row>,
    /// By operation's number.
    lanes: [Lane; Operation::ALL.len()],
}

impl Bulk {
    /// Opens an accelerator, tests and measures it, and tells what was found.
    ///
    /// # Errors
    /// What [`Accelerator::open`] says. An operation that fails or lies is no error of this call: it is refused, and its row says so.
    pub fn start(params: &Params, clock: &mut dyn Clock) -> Result<Self, DeviceError> {
        let accelerator = Accelerator::open(params)?;
        let judge = |operation| judge(&accelerator, params, operation, clock);
        let rows: Vec<Row> = Operation::ALL.into_iter().map(judge).collect();
        for Row { operation, verdict, .. } in &rows {
            let (operation, accelerator) = (operation.name(), accelerator.title());
            match verdict {
                Verdict::Refused(error) => {
                    tracing::error!(operation, accelerator, %error, "an accelerator's operation is refused");
                }
                verdict => tracing::info!(operation, accelerator, %verdict, "accelerator measured"),
            }
        }
        Ok(Self { accelerator, rows, lanes: Default::default() })
    }

    /// Engine or provider, and the libcrypto it runs in.
    pub fn title(&self) -> &str {
        self.accelerator.title()
    }

    /// Every operation, with what was found.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Every operation, with what it did since.
    pub fn counts(&self) -> impl Iterator<Item = Count> + '_ {
        Operation::ALL.into_iter().zip(&self.lanes).map(|(operation, lane)| Count {
            operation,
            served: lane.served.load(Ordering::Relaxed),
            failed: lane.failed.load(Ordering::Relaxed),
            is_given_up: lane.is_given_up.load(Ordering::Relaxed),
        })
    }

    /// SM3 of the concatenation of `parts`; they are brought together only where the accelerator is to digest them.
    pub fn sm3(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut digest = [[0; 32]];
        let bytes = parts.iter().map(|part| part.len()).sum();
        let served = self.is_faster(Operation::Sm3, bytes)
            && self.try_theirs(Operation::Sm3, |theirs| match parts {
                [whole] => theirs.sm3_many(&[whole], &mut digest),
                _ => theirs.sm3_many(&[&parts.concat()], &mut digest),
            });
        if !served {
            let mut hasher = bixi_accel::sm3::Hasher::new();
            parts.iter().for_each(|part| hasher.update(part));
            digest = [hasher.finalize()];
        }
        digest[0]
    }

    /// SM4 by one of the ciphers' operations, from `first` on.
    ///
    /// # Panics
    /// Unless input and output are of one length, whole blocks but for CTR, and the operation is a cipher's.
    pub fn sm4(&self, operation: Operation, key: &[u8; 16], first: &[u8; 16], input: &[u8], output: &mut [u8]) {
        let served = self.is_faster(operation, input.len())
            && self.try_theirs(operation, |theirs| theirs.sm4(operation, key, first, input, output));
        if !served {
            ours::sm4(operation, key, first, input, output);
        }
    }

    fn is_faster(&self, operation: Operation, bytes: usize) -> bool {
        matches!(self.rows[operation as usize].verdict, Verdict::From(least) if bytes >= least)
            && !self.lanes[operation as usize].is_given_up.load(Ordering::Relaxed)
    }

    /// Whether theirs did it.
    fn try_theirs(&self, operation: Operation, call: impl FnOnce(&Accelerator) -> Result<(), DeviceError>) -> bool {
        let lane = &self.lanes[operation as usize];
        match call(&self.accelerator) {
            Ok(()) => {
                lane.served.fetch_add(1, Ordering::Relaxed);
                lane.failed_in_a_row.store(0, Ordering::Relaxed);
                true
            }
            Err(error) => {
                self.fail(operation, lane, &error);
                false
            }
        }
    }

    fn fail(&self, operation: Operation, lane: &Lane, error: &DeviceError) {
        let failed = lane.failed.fetch_add(1, Ordering::Relaxed) + 1;
        let (operation, accelerator) = (operation.name(), self.title());
        if failed.is_power_of_two() {
            tracing::warn!(operation, accelerator, failed, %error, "an accelerator failed; computed without it");
        }
        let in_a_row = lane.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row >= FAILURES_MAX && !lane.is_given_up.swap(true, Ordering::Relaxed) {
            tracing::error!(operation, accelerator, failed, %error, "an accelerator failed too often; no longer used");
        }
    }
}

fn judge(accelerator: &Accelerator, params: &Params, operation: Operation, clock: &mut dyn Clock) -> Row {
    let row = |cells, verdict| Row { operation, cells, verdict };
    if !accelerator.offers(operation) {
        return row(Vec::new(), Verdict::NotOffered);
    }
    if !params.operations.is_empty() && !params.operations.contains(&operation) {
        return row(Vec::new(), Verdict::NotWanted);
    }
    match selftest::run(accelerator, operation).and_then(|()| measure::measure(accelerator, operation, clock)) {
        Err(error) => row(Vec::new(), Verdict::Refused(error)),
        Ok(cells) if operation == Operation::Sm2Verify => row(cells, Verdict::MeasuredOnly),
        Ok(cells) => {
            let verdict = measure::faster_from(&cells).map_or(Verdict::Slower, Verdict::From);
            row(cells, verdict)
        }
    }
}
