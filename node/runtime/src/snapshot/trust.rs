//! Which headers to believe: from one we hold upwards, without executing what lies between.
//!
//! A header is believed when
//! 1. it follows the one before: height, and the one parent by hash;
//! 2. its bytes have one reading. The pre-image of the hash has no lengths, so the fields that could trade bytes are held to
//!    what nodes write: one parent, gas in decimal digits, an extension of exactly its own length;
//! 3. more than two thirds of the weight of the set it lists signed it;
//! 4. where that set is not the one before, validators with more than one third *of the one before* signed it, too.
//!
//! Why this suffices: of no set of the chain more than one third of the weight signs falsely (the assumption under which the
//! chain is one at all). By 3 alone anybody could list a set of his own. By 4 an honest member of the set before signed, and an
//! honest node signs a header only after executing it, set included: so the header is the chain's, and its set the next to rely
//! on. A chain that exchanges two thirds of its weight at one height cannot be walked; such a node repeats the chain instead.

use std::sync::Arc;

use bixi_accel::sm2::Registry;
use bixi_consensus::certificate;
use bixi_hsm::verify::SmVerifier;
use bixi_types::consensus::{SignatureBytes, Validator, ValidatorSet};
use bixi_types::header::{BlockHeader, HeaderExtension};
use bixi_types::limits::VALIDATORS_MAX;
use bixi_types::ports::{Check, Verifier as _};
use bixi_types::{CryptoSuite, H256, NodeId};

use crate::exchange::signatures_of;

/// Digits of 2^128.
const GAS_DIGITS_MAX: usize = 39;

/// How far headers are believed.
pub(crate) struct Walk {
    suite: CryptoSuite,
    verifier: SmVerifier,
    pinned: Vec<NodeId>,
    last: Believed,
}

#[derive(Clone)]
struct Believed {
    number: u64,
    hash: H256,
    set: ValidatorSet,
}

/// A signature over a header's hash.
pub(crate) type Signed = (NodeId, H256, SignatureBytes);

impl Walk {
    /// From a header that is believed already: genesis, or one of our own ledger.
    pub(crate) fn from(header: &BlockHeader, suite: CryptoSuite) -> Result<Self, String> {
        let number = u64::try_from(header.number).map_err(|_| "a header of a negative height")?;
        let last = Believed { number, hash: header.hash(suite), set: set_of(header)? };
        let verifier = SmVerifier::new(Arc::new(Registry::new(VALIDATORS_MAX)));
        let mut walk = Self { suite, verifier, pinned: Vec::new(), last };
        walk.pin();
        Ok(walk)
    }

    /// Height of the last header believed.
    pub(crate) fn number(&self) -> u64 {
        self.last.number
    }

    /// Takes the next headers, all or none. Their signatures are checked in one batch.
    pub(crate) fn extend(&mut self, headers: &[BlockHeader]) -> Result<(), String> {
        let mut last = self.last.clone();
        let mut signed: Vec<Signed> = Vec::new();
        for header in headers {
            let number = last.number + 1;
            let next = believe(self.suite, &last, header, &mut signed);
            last = next.map_err(|reason| format!("header {number}: {reason}"))?;
        }
        let checks: Vec<Check<'_>> =
            signed.iter().map(|(node, hash, signature)| Check { node, message: &hash.0, signature }).collect();
        let verdicts = self.verifier.verify(&checks);
        if let Some(place) = verdicts.iter().position(|verdict| !verdict) {
            return Err(format!("a signature of {} over header {} does not hold", signed[place].0, signed[place].1));
        }
        self.last = last;
        self.pin();
        Ok(())
    }

    /// The keys of the present set get tables.
    fn pin(&mut self) {
        let members: Vec<NodeId> = self.last.set.members().iter().map(|member| member.id).collect();
        if members != self.pinned {
            self.verifier.pin(&members, &self.pinned);
            self.pinned = members;
        }
    }
}

/// Rules 1 to 4 of a header of our own ledger after the one before it, where that can be read; its signatures are handed back, to be checked.
pub(crate) fn follow(
    suite: CryptoSuite,
    before: Option<&BlockHeader>,
    header: &BlockHeader,
) -> Result<Vec<Signed>, String> {
    let believed = |header: &BlockHeader| {
        let (number, set) = (u64::try_from(header.number).ok()?, set_of(header).ok()?);
        Some(Believed { number, hash: header.hash(suite), set })
    };
    let alone = || {
        let parent = header.parent_info.first().ok_or("it has no parent")?;
        let number = u64::try_from(header.number).ok().and_then(|number| number.checked_sub(1));
        Ok::<_, String>(Believed { number: number.ok_or("no height")?, hash: parent.hash, set: set_of(header)? })
    };
    let last = before.and_then(believed).map_or_else(alone, Ok)?;
    let mut signed = Vec::new();
    believe(suite, &last, header, &mut signed).map(|_| signed)
}

/// Rules 1 to 4 but for the signatures themselves, which are added to `signed`.
fn believe(
    suite: CryptoSuite,
    last: &Believed,
    header: &BlockHeader,
    signed: &mut Vec<Signed>,
) -> Result<Believed, String> {
    let number = last.number + 1;
    check_reading(header, number, &last.hash)?;
    let (set, hash) = (set_of(header)?, header.hash(suite));
    let signatures = signatures_of(header)?;
    certificate::quorum(&set, signatures.iter().map(|(node, _)| node)).map_err(|error| error.to_string())?;
    if set != last.set {
        let known = signatures.iter().map(|(node, _)| node).filter(|node| last.set.index_of(node).is_some());
        certificate::honest(&last.set, known)
            .map_err(|error| format!("its validators are new, and of those before {error} signed"))?;
    }
    signed.extend(signatures.into_iter().map(|(node, signature)| (node, hash, signature)));
    Ok(Believed { number, hash, set })
}

fn check_reading(header: &BlockHeader, number: u64, parent: &H256) -> Result<(), String> {
    let [named] = &header.parent_info[..] else {
        return Err(format!("{} parents", header.parent_info.len()));
    };
    if u64::try_from(header.number) != Ok(number) || u64::try_from(named.number) != Ok(number - 1) {
        return Err(format!("it says height {} over {}", header.number, named.number));
    }
    if named.hash != *parent {
        return Err("its parent is another header".into());
    }
    let is_gas = (1..=GAS_DIGITS_MAX).contains(&header.gas_used.len())
        && header.gas_used.bytes().all(|digit| digit.is_ascii_digit());
    if !is_gas {
        return Err("its gas is no decimal number".into());
    }
    HeaderExtension::decode(&header.extra_data).map(drop).map_err(|error| error.to_string())
}

/// The validators a header lists.
fn set_of(header: &BlockHeader) -> Result<ValidatorSet, String> {
    let (ids, weights) = (&header.sealer_list, &header.consensus_weights);
    if ids.len() != weights.len() || !(1..=VALIDATORS_MAX).contains(&ids.len()) {
        return Err(format!("{} validators with {} weights", ids.len(), weights.len()));
    }
    if !ids.is_sorted_by(|one, next| one < next) {
        return Err("its validators are not in order".into());
    }
    let members = ids.iter().zip(weights).map(|(id, weight)| {
        let weight = u32::try_from(*weight).ok().filter(|weight| *weight > 0)?;
        Some(Validator { id: *id, weight: weight.into() })
    });
    members.collect::<Option<_>>().map(ValidatorSet::new).ok_or_else(|| "a weight that no validator has".into())
}

#[cfg(test)]
mod tests;
