//! What must hold of a received block beside its transactions, which the ledger checks: the value that was decided, the proof
//! that it was, and how its batches are made of the transactions. A node serves them on, so it takes none it did not check.

use std::convert::Infallible;

use bixi_consensus::Message;
use bixi_hsm::verify::SmVerifier;
use bixi_ledger::StoredBlock;
use bixi_ledger::snapshot::ReceivedBlock;
use bixi_types::batch::Batch;
use bixi_types::consensus::{CommitCertificate, ValidatorSet, Value};
use bixi_types::header::{BlockHeader, HeaderExtension};
use bixi_types::ports::{Check, Verifier as _};
use bixi_types::{CryptoSuite, H256};

use crate::exchange::Recipe;

/// Checks blocks of one chain.
pub(crate) struct BlockChecks {
    pub suite: CryptoSuite,
    /// Genesis hash.
    pub chain: H256,
    pub verifier: SmVerifier,
}

impl BlockChecks {
    /// `header` is believed, and lists the validators of its height.
    pub(crate) fn check(&self, header: &BlockHeader, block: &ReceivedBlock) -> Result<(), String> {
        let value = self.check_value(header, &block.value, &block.certificate)?;
        self.check_batches(&value, &block.batches, &block.transactions)
    }

    /// The same of a block of our own ledger; those of releases that had no network do not say how their batches are made.
    pub(crate) fn check_own(&self, block: &StoredBlock) -> Result<(), String> {
        let value = self.check_value(&block.header, &block.value, &block.certificate)?;
        block.batches.as_ref().map_or(Ok(()), |batches| self.check_batches(&value, batches, &block.transactions))
    }

    fn check_value(&self, header: &BlockHeader, value: &[u8], certificate: &[u8]) -> Result<Value, String> {
        let extension = HeaderExtension::decode(&header.extra_data).map_err(|error| error.to_string())?;
        let value: Value = borsh::from_slice(value).map_err(|error| format!("its value: {error}"))?;
        if value.id(self.suite) != extension.value_id {
            return Err("its value is not the one the header executes".into());
        }
        self.check_decision(header, &value, certificate)?;
        Ok(value)
    }

    fn check_decision(&self, header: &BlockHeader, value: &Value, certificate: &[u8]) -> Result<(), String> {
        let certificate: CommitCertificate =
            borsh::from_slice(certificate).map_err(|error| format!("its certificate: {error}"))?;
        if certificate.value != value.id(self.suite) {
            return Err("its certificate is about another value".into());
        }
        let members = header
            .sealer_list
            .iter()
            .zip(&header.consensus_weights)
            .map(|(id, weight)| bixi_types::consensus::Validator { id: *id, weight: weight.unsigned_abs() });
        let set = ValidatorSet::new(members.collect());
        let decided = Message::Decided { value: value.clone(), certificate };
        let checks = decided.checks(self.chain, Some(&set)).map_err(|error| error.to_string())?;
        let checks: Vec<Check<'_>> = checks
            .iter()
            .map(|check| Check { node: &check.node, message: &check.bytes, signature: &check.signature })
            .collect();
        let holds = self.verifier.verify(&checks).into_iter().all(|verdict| verdict);
        if holds { Ok(()) } else { Err("a signature of its certificate does not hold".into()) }
    }

    fn check_batches(&self, value: &Value, batches: &[u8], transactions: &[Vec<u8>]) -> Result<(), String> {
        let recipe = Recipe::decode(batches)?;
        if recipe.len() != value.batches.len() {
            return Err(format!("{} batches instead of {}", recipe.len(), value.batches.len()));
        }
        let read = |index: u32| Ok::<_, Infallible>(transactions.get(index as usize).cloned());
        for (place, digest) in value.batches.iter().enumerate() {
            let Ok(batch) = recipe.batch(place, read);
            let made = batch.map(|batch| Batch::digest_of_encoding(self.suite, &batch.encode()));
            if made != Some(*digest) {
                return Err(format!("batch {place} cannot be made of its transactions"));
            }
        }
        Ok(())
    }
}
