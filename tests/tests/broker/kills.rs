//! Workers killed under load, again and again: no position is signed twice differently, and no mark goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bixi_accel::sm2::{self, PublicKey};
use bixi_hsm::guard::Position;
use bixi_hsm::service::Client;
use bixi_hsm_broker::SocketChannel;
use bixi_tests::setting;
use bixi_types::ports::{SignError, Signer as _};
use rustix::process::Signal;

use crate::bench::Bench;
use crate::device::Device;

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

/// The heights of which the device was handed digests for both values, also where no caller got a signature; and for one, how many.
fn contradicted(bench: &Bench, client: &Client<SocketChannel>, highest: u64, signed: &Path) -> (Vec<u64>, usize) {
    let handed: BTreeSet<[u8; 32]> =
        fs::read(signed).unwrap().chunks_exact(32).map(|digest| digest.try_into().expect("32 bytes")).collect();
    let public = PublicKey::from_bytes(&client.node_id().0).unwrap();
    let z = sm2::identity_digest(sm2::DEFAULT_ID, &public);
    let count = |height: u64| {
        let digest = |value| sm2::message_digest(&z, &bench.vote(client, height, value).sign_bytes());
        VALUES.into_iter().filter(|value| handed.contains(&digest(*value))).count()
    };
    let counts: Vec<usize> = (1..=highest).map(count).collect();
    let contradicted = (1..).zip(&counts).filter(|(_, count)| **count > 1).map(|(height, _)| height).collect();
    (contradicted, counts.iter().filter(|count| **count == 1).count())
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
    let device = Device::new(&bench);
    let broker = device.broker();
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
    // The device's own record, which a signature that reached nobody is in, too.
    let client = bench.client();
    let asked = height.load(Ordering::Relaxed) + 1;
    let (contradicted, handed) = contradicted(&bench, &client, asked, &device.signed());
    assert!(contradicted.is_empty(), "two digests for one position: heights {contradicted:?}");
    let given = signed.0.lock().unwrap().len();
    assert!(handed >= given, "{given} heights were signed for callers, and the record has {handed}");
    #[allow(clippy::print_stderr, reason = "the figures of a campaign")]
    {
        eprintln!("{kills} kills: {given} heights signed for callers, {handed} by the device, none twice");
    }
}
