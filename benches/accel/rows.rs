//! The table: our workloads, each with the job that peers do for it.

use crate::job::{Claim, Job, Mode, Task, Work};
use crate::peers::{Peer, Peers, Standing};
use bixi_accel::Random;
use bixi_accel::sm4::xts::TweakOrder;
use bixi_accel::workload::{self, Inputs, Workload, pattern};
use bixi_benches::{Bench, Case, Contender};

/// Digests that make one update of the set hash: 64 for the row taken out, 64 for the one put in.
const DIGESTS_PER_ROW: f64 = 128.0;
/// Seed and index.
const SET_HASH_MESSAGE_BYTES: usize = 36;
/// From this length on a message is a stream: what counts is throughput, and peers may show it on sixteen messages side by side.
const STREAM_BYTES: usize = 4096;

/// Races every workload that was asked for.
pub(crate) fn run<R: Random + Clone>(bench: &mut Bench, peers: &Peers, inputs: &Inputs<R>) {
    for mut workload in workload::all(inputs) {
        let case = case(&workload);
        if bench.wants(&case) {
            race(bench, &case, peers, inputs, &mut workload);
        }
    }
}

fn case(workload: &Workload<'_>) -> Case {
    let case = Case::new(&format!("accel::{}", workload.operation), workload.kernel);
    let case = workload.bytes.map_or(case.clone(), |bytes| case.bytes(bytes));
    workload.parameters.iter().fold(case, |case, (name, value)| case.with(name, value))
}

fn race<R: Random + Clone>(
    bench: &mut Bench,
    case: &Case,
    peers: &Peers,
    inputs: &Inputs<R>,
    workload: &mut Workload<'_>,
) {
    let job = job(workload, inputs);
    let share = if workload.operation == "sm3::lthash" { DIGESTS_PER_ROW } else { 1.0 };
    let mut contenders = vec![Contender::batch("ours", workload.per_call, || workload.call())];
    for (peer, job) in peers.present.iter().filter_map(|peer| Some((&**peer, job.as_ref()?))) {
        let Some(work) = peer.prepare(job) else { continue };
        contenders.push(contender(case, peer, job, work, share));
    }
    bench.race(case, &mut contenders);
}

/// `peer` beside us, once it has shown that it does `job`; `share` jobs are one operation of ours.
///
/// # Panics
/// When it computes something else.
fn contender<'a>(case: &Case, peer: &dyn Peer, job: &Job, mut work: Work<'a>, share: f64) -> Contender<'a> {
    let agrees = peer.standing() == Standing::Reference || job.accepts(&mut work) && refuses_forgeries(peer, job);
    assert!(agrees, "{}: {} computes something else", case.name(), peer.name());
    let count = work.count();
    let (label, counts) = match peer.standing() {
        Standing::NotHeld => (format!("{}, not held to BIXI_CPU", peer.name()), false),
        // A short message alone is latency, which lanes do not have to show.
        _ if count > 1 && !job.many && job.data.len() < STREAM_BYTES => {
            (format!("{}, {count} at once", peer.name()), false)
        }
        standing => (peer.name().to_owned(), standing == Standing::Peer),
    };
    let contender = Contender::batch(label, f64::from(count) / share, move || work.run());
    if counts { contender } else { contender.beside() }
}

fn refuses_forgeries(peer: &dyn Peer, job: &Job) -> bool {
    let forged = job.forged();
    job.task != Task::Verify || peer.prepare(&forged).is_none_or(|mut work| forged.accepts(&mut work))
}

/// What peers do for `workload`; none where no peer has the operation.
///
/// # Panics
/// When nobody has said what that is.
fn job<R: Random + Clone>(workload: &Workload<'_>, inputs: &Inputs<R>) -> Option<Job> {
    let parameter =
        |name| workload.parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    let task = match workload.operation {
        "sm3::digest" | "sm3::digest_many" | "sm3::lthash" => Task::Digest,
        "sm3::hmac" | "sm3::hmac_many" => Task::Hmac,
        "sm4::encrypt_blocks" => Task::Cipher(Mode::Ecb),
        "sm4::ctr" => Task::Cipher(Mode::Ctr),
        "sm4::cbc::decrypt" => Task::Cipher(Mode::CbcDecrypt),
        "sm4::gcm::seal" | "sm4::gcm::seal_many" => Task::Cipher(Mode::Gcm),
        "sm4::xts" if parameter("tweak") == Some("ieee1619") => Task::Cipher(Mode::Xts(TweakOrder::Ieee1619)),
        "sm4::xts" => Task::Cipher(Mode::Xts(TweakOrder::Gbt17964)),
        "sm2::sign" | "sm2::sign_batch" => Task::Sign,
        "sm2::verify" | "sm2::verify_batch" => Task::Verify,
        "sm2::encrypt" => Task::Encrypt,
        "sm2::decrypt" => Task::Decrypt,
        "sm2::generate" | "sm2::exchange" => return None,
        other => panic!("no job for {other}"),
    };
    let bytes = workload.bytes.unwrap_or(SET_HASH_MESSAGE_BYTES);
    let claims = inputs.signed().iter().map(|signed| Claim {
        secret: *signed.key.to_bytes(),
        public: signed.public,
        signature: signed.signature.0,
    });
    let ciphertext = inputs.ciphertext().to_der();
    Some(Job { task, data: pattern(bytes), many: workload.per_call > 1, claims: claims.collect(), ciphertext })
}
