use std::sync::mpsc;
use std::time::Duration;

use bixi_platform::placement::{self, Plan};
use bixi_platform::topology::Topology;

use super::*;
use crate::pool::PoolParams;
use crate::pool::tests::{Remembered, unverified};

/// Admission whose only verifier stops after its first batch until it is let go.
struct Gate {
    admission: Admission,
    pool: Arc<TxPool>,
    go: mpsc::Sender<()>,
}

fn pool() -> Arc<TxPool> {
    let params = PoolParams {
        transactions_max: 1_000,
        bytes_max: usize::MAX,
        account_transactions_max: 1_000,
        expiry: Duration::from_secs(60),
        block_limit: 100,
        signer_tables_bytes_max: 1 << 20,
    };
    Arc::new(TxPool::new(params, Arc::new(Remembered::default()), 10))
}

fn params() -> AdmissionParams {
    AdmissionParams {
        suite: CryptoSuite::Sm,
        chain: ChainIdentity { chain_id: "chain0".into(), group_id: "group0".into() },
        verifiers: 1,
        queue_max: 100,
        queue_bytes_max: usize::MAX,
        connection_pending_max: 100,
        verify_batch_max: 64,
    }
}

fn start(params: AdmissionParams, pool: &Arc<TxPool>, on_admitted: Box<dyn Fn() + Send + Sync>) -> Admission {
    let plan = Plan::make(&Topology::detect().expect("a topology"), &placement::Params::default());
    Admission::start(params, Arc::clone(pool), &Spawner::new(plan), on_admitted).expect("a verifier thread")
}

fn gate(change: impl FnOnce(&mut AdmissionParams)) -> Gate {
    let (pool, mut params) = (pool(), params());
    change(&mut params);
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let admission = start(
        params,
        &pool,
        Box::new(move || {
            let _ = gone.lock().recv();
        }),
    );
    Gate { admission, pool, go }
}

impl Gate {
    fn submit(&self, bytes: Vec<u8>, connection: u64) -> mpsc::Receiver<Outcome> {
        let (told, outcome) = mpsc::channel();
        let completion = Box::new(move |outcome| told.send(outcome).expect("told once, while the test listens"));
        self.admission.submit(bytes, Connection(connection), completion);
        outcome
    }

    /// Gives the verifier a transaction of its own and waits until it stands still.
    fn occupy(&self) -> mpsc::Receiver<Outcome> {
        let outcome = self.submit(unverified(250, "1", 50).encode(), 0);
        wait_until(|| self.pool.len() == 1);
        outcome
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain");
}

fn refused(outcome: &mpsc::Receiver<Outcome>) -> Option<Status> {
    match outcome.try_recv() {
        Ok(Outcome::Refused(refusal)) => Some(refusal.status),
        Ok(Outcome::Final { .. }) => panic!("final before any block"),
        Err(_) => None,
    }
}

#[test]
fn a_connection_holds_no_more_unverified_transactions_than_allowed() {
    let gate = gate(|params| params.connection_pending_max = 2);
    let _first = gate.occupy();
    let nonces = ["1", "2", "3"];
    let waiting: Vec<_> = nonces.map(|nonce| gate.submit(unverified(1, nonce, 50).encode(), 7)).into();
    assert_eq!(waiting.iter().map(refused).collect::<Vec<_>>(), [None, None, Some(Status::TxPoolIsFull)]);
    let _other = gate.submit(unverified(2, "1", 50).encode(), 8);
    assert_eq!(gate.admission.queued(), 3, "another connection is not affected");
    gate.go.send(()).expect("the verifier waits");
    wait_until(|| gate.pool.len() == 4);
    let again = gate.submit(unverified(1, "4", 50).encode(), 7);
    assert_eq!(refused(&again), None, "what was verified no longer counts");
    drop(gate.go);
}

#[test]
fn the_queue_is_bounded_in_number_and_in_bytes() {
    let size = unverified(1, "1", 50).encode().len();
    for (queue_max, queue_bytes_max) in [(2, usize::MAX), (100, 2 * size)] {
        let gate = gate(|params| (params.queue_max, params.queue_bytes_max) = (queue_max, queue_bytes_max));
        let _first = gate.occupy();
        let waiting: Vec<_> = (1..=3).map(|id| gate.submit(unverified(id, "1", 50).encode(), id.into())).collect();
        assert_eq!(waiting.iter().map(refused).collect::<Vec<_>>(), [None, None, Some(Status::TxPoolIsFull)]);
        gate.go.send(()).expect("the verifier waits");
        wait_until(|| gate.pool.len() == 3);
        let again = gate.submit(unverified(3, "1", 50).encode(), 3);
        assert_eq!(refused(&again), None, "the queue has room again");
        drop(gate.go);
    }
}

#[test]
fn a_transaction_too_long_is_refused_at_the_door() {
    let gate = gate(|_| ());
    let outcome = gate.submit(vec![0; TRANSACTION_BYTES_MAX + 1], 1);
    assert_eq!(refused(&outcome), Some(Status::Malformed));
    assert!(gate.admission.shared.pending.lock().per_connection.is_empty());
    drop(gate.go);
}

/// In one batch and in batches of their own, before the original and after it.
#[test]
fn copies_with_wrong_signatures_do_not_keep_the_original_out() {
    for verify_batch_max in [1, 64] {
        let gate = gate(|params| params.verify_batch_max = verify_batch_max);
        let _first = gate.occupy();
        let original = unverified(1, "1", 50);
        let mut junk = original.clone();
        junk.signature[..64].fill(0x5a);
        let mut of_another = original.clone();
        of_another.signature = unverified(2, "1", 50).signature;
        let copies = [&junk, &of_another, &original, &junk, &of_another].map(|tx| gate.submit(tx.encode(), 9));
        drop(gate.go);
        wait_until(|| gate.pool.len() == 2);
        wait_until(|| gate.admission.metrics().refused.load(Ordering::Relaxed) == 4);
        let wrong = Some(Status::InvalidSignature);
        assert_eq!(copies.each_ref().map(refused), [wrong, wrong, None, wrong, wrong]);
        assert!(gate.pool.holds(&original.hash(CryptoSuite::Sm)));
    }
}

#[test]
fn a_panic_while_verifying_does_not_end_the_verifier() {
    let pool = pool();
    let params = AdmissionParams { verify_batch_max: 1, ..params() };
    let admission = start(params, &pool, Box::new(|| panic!("on purpose")));
    for nonce in ["1", "2", "3"] {
        admission.submit(unverified(1, nonce, 50).encode(), Connection(1), Box::new(drop));
    }
    wait_until(|| pool.len() == 3);
}

#[test]
fn dropping_the_door_ends_the_verifiers_after_the_queue_is_empty() {
    let Gate { admission, pool, go } = gate(|_| ());
    drop(go);
    for nonce in 1..=50 {
        admission.submit(unverified(1, &nonce.to_string(), 50).encode(), Connection(1), Box::new(drop));
    }
    drop(admission);
    wait_until(|| pool.len() == 50);
}
