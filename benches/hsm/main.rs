//! Signatures of one key device: through our pool, our signing service and our broker, beside the module called directly.
//!
//! The device is our token behind a module that can take its time, so that its speed is a parameter. Each row is one number of callers
//! and one speed of the device; the contenders of a row take turns. `service` and `broker` verify every signature, keep the audit trail on
//! the disk and go through gate and retry; `device` is the pool of sessions alone; `raw` is `C_SignInit` and `C_Sign` in a loop, `verified`
//! the same with a check of each signature by the key's table, and `recorded` that with as many bytes appended to a file as an entry of the
//! audit trail has: the least that somebody does who looks at what he signed and writes down that he did. After a wait everything is colder,
//! system calls most of all: what ours takes is held against those loops.
#![allow(missing_docs)]

mod load;
mod raw;
mod report;
mod stack;

use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bixi_accel::Seeded;
use bixi_accel::sm2::{PrivateKey, PublicKey, RegisteredKey, Signature, sign_digest};
use bixi_benches::Options;
use bixi_hsm::KeyDevice as _;
use bixi_hsm_broker::channel::CONNECTIONS_MAX;
use bixi_token::profile::{Algorithm, Form, Input, PROFILES};

use load::{Sample, run};
use report::Report;
use stack::{Claims, Service, Side};

const CALLERS: [usize; 4] = [1, 4, 16, 64];
const DEVICE_MS: [u32; 4] = [0, 1, 8, 20];
/// Above so many callers the broker's socket has fewer places for handshakes than there are callers.
const BROKER_CALLERS_MAX: usize = CONNECTIONS_MAX / 4;
/// Keys one guard watches over.
const GUARD_KEYS_MAX: usize = 16;

/// What an entry of the daily work takes in the audit trail's file.
const ENTRY_BYTES: usize = 170;

/// How long contenders run.
#[derive(Clone, Copy)]
struct Budget {
    window: Duration,
    rounds: usize,
}

fn main() {
    let options = Options::from_args_or_exit();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let module_path = stack::module(directory.path());
    let token = stack::token().expect("the token's library");
    configure(directory.path(), &token);
    stack::make_token(directory.path(), &module_path);
    let budget = match options.quick {
        true => Budget { window: Duration::from_millis(160), rounds: 2 },
        false => Budget { window: Duration::from_secs(1), rounds: 5 },
    };
    let mut module = raw::Module::load(&module_path);
    let verification_us = verification_us();
    let mut report = Report::new(&options, verification_us, sync_us(directory.path()), &module.description());
    for callers in CALLERS {
        let service = directory.path().join(format!("{callers}"));
        std::fs::create_dir(&service).expect("a directory");
        let device = stack::open(directory.path(), &module_path, callers);
        let service = Service::new(&service, device.clone(), callers);
        for device_ms in DEVICE_MS {
            let name = format!("hsm::sign/callers={callers} device_ms={device_ms}");
            if !options.wants(&name) {
                continue;
            }
            module.delay(device_ms * 1000);
            let signers = raw::Signers::new(&module, stack::TOKEN, stack::KEY, mechanism(), callers);
            let key = stack::key(device.as_ref());
            let raw = |caller| _ = black_box(signers.sign(caller, &mut [7; 32]));
            let public = device.public_key(&key).expect("a signing key");
            let table = RegisteredKey::new(&PublicKey::from_bytes(&public).expect("a point"));
            let verified = |caller| {
                let signature = Signature(signers.sign(caller, &mut [7; 32]));
                assert!(table.verify_digest(&[7; 32], &signature));
            };
            let record = tempfile::tempfile().expect("a file");
            let end = AtomicU64::new(0);
            let recorded = |caller| {
                verified(caller);
                let at = end.fetch_add(ENTRY_BYTES as u64, Ordering::Relaxed);
                record.write_all_at(&[7; ENTRY_BYTES], at).expect("a disk");
            };
            let pool = |_| _ = black_box(device.sign_digest(&key, &[7; 32]).expect("a signature"));
            let here = |_| stack::sign_session(&service.here);
            let there = |_| stack::sign_session(&service.there);
            let mut contenders: Vec<Contender<'_>> = vec![
                ("raw", &raw),
                ("verified", &verified),
                ("recorded", &recorded),
                ("device", &pool),
                ("service", &here),
            ];
            if callers <= BROKER_CALLERS_MAX {
                contenders.push(("broker", &there));
            }
            report.race(&name, &service.while_syncing(|| race(callers, budget, &contenders)));
        }
        module.delay(0);
    }
    votes(&mut report, &options, budget, &directory.path().join("votes"), &module_path, directory.path());
    claims(&mut report, &options, budget, directory.path());
    report.finish();
}

/// A name, and how it signs for a caller.
type Contender<'a> = (&'static str, &'a (dyn Fn(usize) + Sync));

/// The best windows of each contender; they take turns.
fn race(callers: usize, budget: Budget, contenders: &[Contender<'_>]) -> Vec<(&'static str, Sample)> {
    let mut best: Vec<Option<Sample>> = vec![None; contenders.len()];
    for _ in 0..budget.rounds {
        for (best, (_, sign)) in best.iter_mut().zip(contenders) {
            let sample = run(callers, budget.window, sign);
            *best = Some(best.map_or(sample, |best| best.better(sample)));
        }
    }
    contenders.iter().zip(best).map(|((name, _), best)| (*name, best.expect("at least one round"))).collect()
}

/// What a validator signs one after the other, in process and through the broker in turns: guard and device and audit trail, with their syncs.
fn votes(report: &mut Report, options: &Options, budget: Budget, place: &Path, module: &Path, directory: &Path) {
    if !options.wants("hsm::vote") {
        return;
    }
    std::fs::create_dir(place).expect("a directory");
    let service = Service::new(place, stack::open(directory, module, 1), 1);
    let sides = [&service.inside, &service.behind];
    let syncs = |side: &Side| [side.guard_meter.counts().syncs, side.audit_meter.counts().syncs];
    let before = sides.map(syncs);
    let here = |_| service.inside.vote(&service.here);
    let there = |_| service.behind.vote(&service.there);
    let samples = service.while_syncing(|| race(1, budget, &[("service", &here), ("broker", &there)]));
    for ((side, before), (name, sample)) in sides.into_iter().zip(before).zip(samples) {
        let now = syncs(side);
        let [guard, audit] = [0, 1].map(|of| (now[of] - before[of]) as f64 / side.voted() as f64);
        report.durable(&format!("hsm::vote/through={name} callers=1"), sample, guard, Some(audit));
    }
}

/// The guard alone: callers share syncs.
fn claims(report: &mut Report, options: &Options, budget: Budget, directory: &Path) {
    for callers in CALLERS.into_iter().filter(|callers| *callers <= GUARD_KEYS_MAX) {
        let name = format!("hsm::guard::claim/callers={callers}");
        if !options.wants(&name) {
            continue;
        }
        let place = directory.join(format!("claims-{callers}"));
        std::fs::create_dir(&place).expect("a directory");
        let claims = Claims::new(&place);
        let before = claims.meter.counts().syncs;
        let sample = race(callers, budget, &[("guard", &|caller| claims.claim(caller))])[0].1;
        let syncs = (claims.meter.counts().syncs - before) as f64 / claims.made() as f64;
        report.durable(&name, sample, syncs, None);
    }
}

/// Our token's number for a signature of a digest as r ‖ s.
fn mechanism() -> u64 {
    let wanted = Algorithm::Sm2Sign(Input::Digest, Form::Raw);
    PROFILES[0].mechanisms.iter().find(|(_, algorithm)| *algorithm == wanted).expect("it signs").0
}

/// The modules read where they are from the environment of their process.
fn configure(directory: &Path, token: &Path) {
    let settings = "directory = store\nargon2_memory_kib = 64\nargon2_passes = 1\nlog = none\nsessions_max = 1024\n";
    let config = directory.join("token.conf");
    std::fs::write(&config, settings).expect("a file");
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var("BIXI_TOKEN_CONF", &config);
        std::env::set_var("BIXI_DEVICE_MODULE", token);
    }
}

/// One verification with the key's table, microseconds.
fn verification_us() -> f64 {
    let key = PrivateKey::from_bytes(&[5; 32]).expect("a key");
    let (table, digest) = (RegisteredKey::new(&key.public_key()), [7; 32]);
    let signature = sign_digest(&key, &digest, &mut Seeded::new(7)).expect("randomness");
    shortest_us(2_000, || assert!(table.verify_digest(&digest, &signature)))
}

/// One small write made durable, microseconds.
fn sync_us(directory: &Path) -> f64 {
    let file = std::fs::File::create(directory.join("sync")).expect("a file");
    let mut end = 0;
    shortest_us(50, || {
        file.write_all_at(&[7; 256], end).and_then(|()| file.sync_data()).expect("a disk");
        end += 256;
    })
}

fn shortest_us(times: usize, mut act: impl FnMut()) -> f64 {
    let mut once = || {
        let began = Instant::now();
        act();
        began.elapsed()
    };
    (0..times).map(|_| once()).min().expect("some").as_secs_f64() * 1e6
}
