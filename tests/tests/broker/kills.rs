//! Workers killed under load, again and again: no position is signed twice differently, and no mark goes back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bixi_hsm::guard::Position;
use bixi_tests::broker::RunningBroker;
use bixi_tests::setting;
use bixi_types::ports::{SignError, Signer as _};
use rustix::process::Signal;

use crate::bench::Bench;

/// Votes for two values at the same heights, at the same time.
const VALUES: [u8; 2] = [1, 2];

/// What was signed: the value at each height.
#[derive(Default)]
struct Signed(Mutex<BTreeMap<u64, u8>>);

impl Signed {
    fn note(&self, height: u64, value: u8) {
        let before = self.0.lock().unwrap().insert(height, value);
        assert!(before.is_none_or(|before| before == value), "height {height} is signed for {before:?} and {value}");
    }

    fn highest(&self) -> u64 {
        self.0.lock().unwrap().last_key_value().map_or(0, |(height, _)| *height)
    }
}

/// Ends the load with whoever kills, also when that finds a fault.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Long: `BIXI_BROKER_KILLS=500 cargo test -p bixi-tests --test broker kills`.
#[test]
fn no_position_is_signed_twice_however_often_the_worker_is_killed() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let (signed, height, is_over) = (Signed::default(), AtomicU64::new(0), AtomicBool::new(false));
    let kills = setting("BIXI_BROKER_KILLS", 12);
    std::thread::scope(|scope| {
        for value in VALUES {
            let (bench, signed, height, is_over) = (&bench, &signed, &height, &is_over);
            scope.spawn(move || {
                let client = bench.client();
                while !is_over.load(Ordering::Relaxed) {
                    // Often the one that the other one is at.
                    let at = height.fetch_add(u64::from(value == VALUES[0]), Ordering::Relaxed) + 1;
                    match client.sign(&bench.statement(&client, at, value)) {
                        Ok(_) => signed.note(at, value),
                        Err(SignError::Conflict(_)) => {}
                        Err(error) => panic!("height {at}: {error}"),
                    }
                }
            });
        }
        let client = bench.client();
        let _over = Over(&is_over);
        for kill in 0..kills {
            let before = broker.workers().len();
            // At another moment of the load each time; one that dies younger is replaced after a pause, and the campaign takes longer.
            std::thread::sleep(Duration::from_millis(1_000 + kill * 37 % 200));
            broker.signal_worker(Signal::KILL);
            broker.wait_for_another(before);
            // Asked in this order: what is signed in between stands above what is compared.
            let highest = signed.highest();
            let marks = client.marks().expect("the next worker answers");
            let holds = |mark: &Position| matches!(mark, Position::Ordering { height, .. } if *height >= highest);
            assert!(highest == 0 || marks.iter().any(holds), "kill {kill}: signed up to {highest}, marked {marks:?}");
        }
    });
    assert!(signed.highest() > kills, "{} heights signed over {kills} kills", signed.highest());
}
