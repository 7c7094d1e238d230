use std::collections::HashSet;
use std::sync::LazyLock;

use bixi_execution::order::{OrderLimits, Tally, flatten};
use bixi_types::state::History;
use bixi_types::transaction::Verified;
use bixi_types::{Address, CryptoSuite};
use proptest::prelude::*;

use super::*;
use crate::batches::tests::user_add_until;

const HEIGHT: u64 = 50;
const BLOCK_LIMIT: u32 = 600;

/// Transactions of three senders; two of each share a nonce, and of each four one has expired.
static TRANSACTIONS: LazyLock<Vec<Verified>> = LazyLock::new(|| {
    let transaction = |number: usize| {
        let nonce = format!("{}{}", number % 3 + 1, "7".repeat(1 + number / 6));
        user_add_until(&nonce, [60, 61, 62, 40][number % 4])
    };
    (0..96).map(transaction).collect()
});

/// A chain that holds every seventh of them, and the nonce of every fifth.
struct Past;

impl Past {
    fn has(of: impl Fn(&Verified) -> bool, every: usize) -> bool {
        TRANSACTIONS.iter().step_by(every).any(of)
    }
}

impl History for Past {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        Ok(Self::has(|verified| verified.hash == *hash, 7))
    }

    fn nonce_used(&self, sender: &Address, nonce: &str) -> Result<bool, StateError> {
        Ok(Self::has(|verified| (&verified.sender, verified.tx.nonce.as_str()) == (sender, nonce), 5))
    }
}

fn batch(places: &[usize]) -> VerifiedBatch {
    let transactions = places.iter().map(|place| TRANSACTIONS[*place].clone()).collect();
    VerifiedBatch::seal(CryptoSuite::Sm, transactions).0
}

fn choose(queues: Vec<VecDeque<VerifiedBatch>>, transactions_max: usize) -> Vec<H256> {
    let mut tally = Tally::new(HEIGHT, &Past, BLOCK_LIMIT);
    Choice::new(&mut tally, transactions_max).among(queues).expect("nothing is read")
}

/// What the order lets stand of these: by the function that makes blocks.
fn standing(batches: &[&VerifiedBatch]) -> Vec<Verified> {
    let limits =
        OrderLimits { block_limit: BLOCK_LIMIT, transactions_max: u32::MAX, gas_max: u64::MAX, tx_gas_limit: 0 };
    let batches: Vec<Vec<Verified>> = batches.iter().map(|batch| batch.transactions.to_vec()).collect();
    flatten(&batches, HEIGHT, &Past, &limits).expect("nothing is read").transactions
}

fn bytes(transactions: &[Verified]) -> usize {
    transactions.iter().map(|verified| verified.bytes.len()).sum()
}

/// Whether a batch shares neither a transaction nor a nonce with any other, and all of it can stand.
fn stands_alone(batch: &VerifiedBatch, others: &[VerifiedBatch]) -> bool {
    let marks = |of: &VerifiedBatch| -> HashSet<(Address, String)> {
        of.transactions.iter().map(|verified| (verified.sender, verified.tx.nonce.clone())).collect()
    };
    let (own, mut rest) = (marks(batch), others.iter().filter(|other| other.digest != batch.digest));
    standing(&[batch]).len() == batch.transactions.len() && rest.all(|other| own.is_disjoint(&marks(other)))
}

proptest! {
    #[test]
    fn a_choice_brings_little_that_is_dropped_and_leaves_out_nothing_that_stands_and_fits(
        places in prop::collection::vec(prop::collection::vec(0..96_usize, 1..8), 0..24),
        transactions_max in 1..60_usize,
    ) {
        let mut digests = HashSet::new();
        let waiting: Vec<VerifiedBatch> =
            places.iter().map(|places| batch(places)).filter(|batch| digests.insert(batch.digest)).collect();
        let digests = choose(waiting.iter().map(|batch| [batch.clone()].into()).collect(), transactions_max);
        let of = |digest: &H256| waiting.iter().find(|batch| batch.digest == *digest).expect("one that waits");
        let chosen: Vec<&VerifiedBatch> = digests.iter().map(of).collect();
        prop_assert_eq!(chosen.is_empty(), waiting.is_empty());

        let stands = standing(&chosen);
        let dead = chosen.iter().map(|batch| bytes(&batch.transactions)).sum::<usize>() - bytes(&stands);
        let largest = waiting.iter().map(|batch| bytes(&batch.transactions)).max().unwrap_or(0);
        prop_assert!(dead <= bytes(&stands) + largest, "{dead} bytes dropped beside {}", bytes(&stands));
        prop_assert!(stands.len() <= transactions_max || chosen.len() == 1);
        for left_out in waiting.iter().filter(|batch| !digests.contains(&batch.digest)) {
            if stands_alone(left_out, &waiting) {
                prop_assert!(stands.len() + left_out.transactions.len() > transactions_max, "it would have fit");
            }
            if stands.len() + left_out.transactions.len() <= transactions_max {
                let with: Vec<&VerifiedBatch> = chosen.iter().copied().chain([left_out]).collect();
                let adds = bytes(&standing(&with)) - bytes(&stands);
                prop_assert!(2 * adds < bytes(&left_out.transactions), "{adds} bytes of it would have stood");
            }
        }
    }
}

/// Places of transactions of which all, or none, can stand.
fn all_that(stand: bool) -> impl Iterator<Item = usize> {
    let mut nonces = HashSet::new();
    (0..96).filter(move |place| {
        let verified = &TRANSACTIONS[*place];
        standing(&[&batch(&[*place])]).is_empty() != stand
            && nonces.insert((verified.sender, verified.tx.nonce.clone()))
    })
}

#[test]
fn what_a_batch_that_is_left_out_repeats_is_not_lost_with_it() {
    let (fresh, dead): (Vec<usize>, Vec<usize>) = (all_that(true).take(4).collect(), all_that(false).take(9).collect());
    let alone = batch(&dead[..4]);
    // Mostly dead, with one transaction that another batch brings too.
    let hiding = batch(&[&dead[4..9], &fresh[..1]].concat());
    let live = batch(&fresh);
    let queues = [&alone, &hiding, &live].map(|batch| [batch.clone()].into());
    assert_eq!(choose(queues.to_vec(), 4), [live.digest], "the block is full");
    assert_eq!(choose(queues.to_vec(), 5), [live.digest, alone.digest], "one of the others, and last");
    assert_eq!(choose(queues[..2].to_vec(), 1), [alone.digest], "progress needs nothing that stands");
}

#[test]
fn who_fills_its_own_queue_has_little_looked_up_and_nobody_waits_for_it() {
    let (fresh, dead): (Vec<usize>, Vec<usize>) =
        (all_that(true).take(2).collect(), all_that(false).take(LEFT_OUT_MAX).collect());
    let mut queue: VecDeque<VerifiedBatch> = dead.iter().map(|place| batch(&[*place])).collect();
    let (behind, other) = (batch(&fresh[..1]), batch(&fresh[1..]));
    queue.push_back(behind.clone());
    let first = queue[0].digest;
    assert_eq!(choose(vec![queue.clone(), [other.clone()].into()], 9), [other.digest, first]);
    queue.pop_front();
    let first = queue[0].digest;
    assert_eq!(choose(vec![queue], 9), [behind.digest, first], "the next value has it");
}
