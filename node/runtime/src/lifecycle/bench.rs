//! What a stopped node's device does in a second, and how long its callers wait: by itself, and behind the signing service.
//!
//! No statement of the node's chain is signed. The key is one that the device makes for the measurement, of one session and destroyed
//! afterwards; where a device makes none, the TLS key signs a digest that stands for no handshake and no statement, and the service is
//! not measured. Service, guard and trail of the measurement are its own, of a chain that nobody has, in a directory that is removed.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bixi_accel::sm3;
use bixi_hsm::audit::AuditLog;
use bixi_hsm::device::PRF_BYTES;
use bixi_hsm::service::{Client, CustodyPolicy, InProcess, Keys, Params, SigningService};
use bixi_hsm::{DeviceInfo, ErrorKind, Guard, KeyDevice, KeyKind, KeyRef};
use bixi_platform::io::Storage;
use bixi_platform::random::OsRandom;
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing};
use bixi_types::consensus::{Vote, VoteKind};
use bixi_types::ports::{Signer as _, Statement};
use bixi_types::session::{EXPORTER_BYTES, SessionProof, SessionRole};
use bixi_types::{CryptoSuite, H256};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::desk::{Desk, storage_of_stopped};
use super::inventory::device_json;
use crate::keys;
use crate::launch::{Failure, LaunchError, step};
use crate::settings::Settings;

/// What is signed where no message is: nobody knows one that has this digest.
const DIGEST: [u8; 32] = *b"BIXI-BENCH-HSM-V1 of signatures.";
/// What the PRF is asked, apart from everything a vault asks.
const PRF_INPUT: &[u8] = b"BIXI-BENCH-HSM-V1 of derivations";
/// Bytes of one draw.
const RANDOM_BYTES: usize = 32;
/// Of which the hash stands for a chain.
const CHAIN: &[u8] = b"BIXI-BENCH-HSM-V1 chain";

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Numbers of callers at once, each measured for itself.
    pub callers: Vec<usize>,
    /// For how long each figure is taken.
    pub window: Duration,
}

/// Which key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// One that was made for it and is destroyed.
    Transient,
    /// The node's TLS key, over a digest that stands for nothing.
    Tls,
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was asked: `sign`, `prf`, `random`; of the service `session`, `vote`.
    pub kind: &'static str,
    /// By which way: `device`, `service`.
    pub through: &'static str,
    /// How many asked at once.
    pub callers: usize,
    /// What came of it, or why nothing did.
    pub figures: Result<Figures, String>,
}

/// Rate and waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Answers a second, of all callers.
    pub rate: f64,
    /// Microseconds that half of the answers stayed below.
    pub p50_us: f64,
    /// Microseconds that one in a hundred exceeded.
    pub p99_us: f64,
}

/// All figures of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    device: DeviceInfo,
    sessions_max: u64,
    /// Which key signed.
    pub key: SigningKey,
    /// In the order in which they were taken.
    pub rows: Vec<Row>,
}

/// Measures the device of a stopped node; `place` is an empty directory on the disk whose speed counts. Each row is told as it comes.
///
/// # Errors
/// Names the step: a node that runs, a PIN that is refused, a trail that cannot be written, a device without the node's keys.
pub fn measure(
    settings: &Settings,
    plan: &Plan,
    place: &Path,
    told: &mut dyn FnMut(&Row),
) -> Result<Measured, LaunchError> {
    let storage = storage_of_stopped(settings)?;
    let desk = Desk::open(settings)?;
    let hsm = &settings.config.hsm;
    let tls = step("TLS key", || desk.listed.find(&hsm.tls_key, KeyKind::Sm2Sign))?;
    let kek = step("key encryption key", || desk.listed.find(&hsm.kek, KeyKind::Kek))?;
    let bench =
        Bench { settings, plan, place, storage, device: Arc::clone(&desk.device), tls, kek, rows: Mutex::default() };
    step("bench", || {
        let subject = "speed of the device: a key of this moment or the TLS key signs, the key encryption key derives; no statement";
        desk.perform("bench", subject, || bench.run(told))
    })
}

struct Bench<'a> {
    settings: &'a Settings,
    plan: &'a Plan,
    place: &'a Path,
    storage: Arc<dyn Storage>,
    device: Arc<dyn KeyDevice>,
    tls: KeyRef,
    kek: KeyRef,
    rows: Mutex<Vec<Row>>,
}

impl Bench<'_> {
    fn run(self, told: &mut dyn FnMut(&Row)) -> Result<Measured, Failure> {
        let mut served = Ok(());
        let transient = self.device.with_transient_key(&mut |key| {
            self.device_rows(key, told);
            served = self.service_rows(key, told);
        });
        let key = match transient {
            Ok(()) => SigningKey::Transient,
            // Before a row was taken: it refuses the key, not its destruction.
            Err(error) if error.kind() == ErrorKind::Refuse && self.is_untouched() => {
                tracing::warn!(%error, "the TLS key signs instead");
                self.device_rows(&self.tls, told);
                SigningKey::Tls
            }
            Err(error) => return Err(error.into()),
        };
        served?;
        let rows = self.rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        let sessions_max = self.settings.config.hsm.sessions_max;
        Ok(Measured { device: self.device.info(), sessions_max, key, rows })
    }

    fn is_untouched(&self) -> bool {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn row(
        &self,
        told: &mut dyn FnMut(&Row),
        kind: &'static str,
        through: &'static str,
        callers: usize,
        call: &Call<'_>,
    ) {
        let row = Row { kind, through, callers, figures: figures(callers, self.plan.window, call) };
        told(&row);
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
    }

    fn device_rows(&self, key: &KeyRef, told: &mut dyn FnMut(&Row)) {
        let device = self.device.as_ref();
        let sign = || device.sign_digest(key, &DIGEST).map(drop).map_err(Failure::from);
        let prf = || Ok(device.prf(&self.kek, PRF_INPUT, &mut Zeroizing::new([0; PRF_BYTES]))?);
        let random = || Ok(device.random(&mut *Zeroizing::new([0; RANDOM_BYTES]))?);
        let kinds: [(&'static str, &Call<'_>); 3] = [("sign", &sign), ("prf", &prf), ("random", &random)];
        for (kind, call) in kinds {
            self.plan.callers.iter().for_each(|callers| self.row(told, kind, "device", *callers, call));
        }
    }

    /// Gate, guard, verification and audit trail stand around the device, with their syncs.
    fn service_rows(&self, key: &KeyRef, told: &mut dyn FnMut(&Row)) -> Result<(), Failure> {
        let (service, audit) = self.service(key)?;
        let client = Client::connect(InProcess(Arc::clone(&service)))?;
        let (chain, node, height) = (chain(), client.node_id(), AtomicU64::new(1));
        let session = || {
            let (role, exporter) = (SessionRole::Client, [7; EXPORTER_BYTES]);
            let proof = SessionProof { chain, node, role, protocol_version: 1, exporter };
            Ok(client.sign_session(&proof).map(drop)?)
        };
        // One after the other, as a validator votes.
        let vote = || {
            let height = height.fetch_add(1, Ordering::Relaxed);
            let (kind, value) = (VoteKind::Prevote, Some(H256([7; 32])));
            let vote = Vote { chain, height, round: 0, kind, value, validator: node };
            Ok(client.sign(&Statement::Vote(vote)).map(drop)?)
        };
        self.plan.callers.iter().for_each(|callers| self.row(told, "session", "service", *callers, &session));
        self.row(told, "vote", "service", 1, &vote);
        Ok(audit.sync()?)
    }

    fn service(&self, key: &KeyRef) -> Result<(Arc<SigningService>, Arc<AuditLog>), Failure> {
        let ring =
            KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&*Zeroizing::new(OsRandom.array::<32>()?)))], 1)?;
        let audit = Arc::new(AuditLog::open(Arc::clone(&self.storage), self.place.join("audit"), ring.clone())?);
        let guard = Guard::create(Arc::clone(&self.storage), self.place.join("guard"), ring, chain())?;
        let hsm = &self.settings.config.hsm;
        let service = SigningService::new(Params {
            device: Arc::clone(&self.device),
            device_calls_max: hsm.sessions_max as usize,
            keys: Keys { consensus: key.clone(), tls: None, kek: None },
            guard,
            chain: chain(),
            suite: CryptoSuite::Sm,
            retry: keys::retry(hsm),
            custody: CustodyPolicy::Any,
            audit: Arc::clone(&audit) as _,
        })?;
        Ok((Arc::new(service), audit))
    }
}

fn chain() -> H256 {
    H256(sm3::digest(CHAIN))
}

/// What a caller does again and again.
type Call<'a> = dyn Fn() -> Result<(), Failure> + Sync + 'a;

/// Has `callers` threads make a call again and again until `window` is over, or one fails.
fn figures(callers: usize, window: Duration, call: &Call<'_>) -> Result<Figures, String> {
    let ready = Barrier::new(callers + 1);
    let work = || {
        // The first call of a thread is dearer.
        let first = call();
        ready.wait();
        first.map_err(|error| error.to_string())?;
        let (began, mut latencies) = (Instant::now(), Vec::new());
        while latencies.is_empty() || began.elapsed() < window {
            let asked = Instant::now();
            call().map_err(|error| error.to_string())?;
            latencies.push(asked.elapsed());
        }
        Ok::<_, String>(latencies)
    };
    let (latencies, elapsed) = thread::scope(|threads| {
        let running: Vec<_> = (0..callers).map(|_| threads.spawn(work)).collect();
        ready.wait();
        let began = Instant::now();
        let ended: Vec<_> = running.into_iter().map(|thread| thread.join().expect("a caller that lives")).collect();
        (ended.into_iter().collect::<Result<Vec<_>, _>>(), began.elapsed())
    });
    let mut latencies = latencies?.concat();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    Ok(Figures { rate: latencies.len() as f64 / elapsed.as_secs_f64(), p50_us: at(0.5), p99_us: at(0.99) })
}

impl Measured {
    /// Who was measured, in one line.
    pub fn device_line(&self) -> String {
        let DeviceInfo { backend, manufacturer, model, token, custody, .. } = &self.device;
        format!("{backend}: {manufacturer} {model}, token {token:?}, {custody}; {} sessions", self.sessions_max)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        let key = match self.key {
            SigningKey::Transient => "transient",
            SigningKey::Tls => "tls",
        };
        json!({"device": device_json(&self.device), "sessions_max": self.sessions_max, "key": key, "rows": rows})
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let (figures, error) = (self.figures.as_ref().ok(), self.figures.as_ref().err());
        let rounded = |value: f64| (value * 10.0).round() / 10.0;
        json!({
            "kind": self.kind,
            "through": self.through,
            "callers": self.callers,
            "rate": figures.map(|figures| rounded(figures.rate)),
            "p50_us": figures.map(|figures| rounded(figures.p50_us)),
            "p99_us": figures.map(|figures| rounded(figures.p99_us)),
            "error": error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_caller_calls_and_the_window_bounds_them() {
        let calls = AtomicU64::new(0);
        let call = || {
            calls.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1));
            Ok(())
        };
        let figures = figures(4, Duration::from_millis(50), &call).unwrap();
        assert!(calls.into_inner() >= 8, "a first call and a measured one of each");
        assert!(
            figures.p50_us >= 1_000.0 && figures.p99_us >= figures.p50_us && figures.rate <= 4_000.0,
            "{figures:?}"
        );
    }

    #[test]
    fn what_fails_is_no_figure() {
        assert_eq!(figures(2, Duration::ZERO, &|| Err("busy".into())).unwrap_err(), "busy");
    }
}
