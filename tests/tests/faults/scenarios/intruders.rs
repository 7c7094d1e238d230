//! Callers at the p2p port who are none of ours, or no longer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bixi_accel::sm2::{DEFAULT_ID, PrivateKey, sign};
use bixi_network::pki::{self, CertificateParams, Role};
use bixi_tests::settings::set;
use bixi_tests::wallet::Seeded;
use serde_json::Value;

use crate::field::Field;

const UNWELL: usize = 3;
const DAY_S: u64 = 86_400;
/// A caller looks for an answer, or drips, this often.
const PAUSE: Duration = Duration::from_millis(200);
/// Header of a TLS record of type handshake (RFC 8446 5.1) that is longer than the standard allows.
const OVERSIZED_RECORD: [u8; 5] = [22, 3, 1, 0xff, 0xff];

/// Junk of every kind at every node for as long as the chain needs for some blocks.
pub(super) fn stranger(field: &mut Field<'_>) {
    let stop = AtomicBool::new(false);
    let addresses: Vec<SocketAddr> = field.all().into_iter().map(|node| field.stranger_address(node)).collect();
    std::thread::scope(|scope| {
        for (number, address) in addresses.iter().enumerate() {
            for (kind, call) in [garbage, oversized, silence, drip].into_iter().enumerate() {
                let (stop, seed) = (&stop, field.seed + (number * 4 + kind) as u64);
                scope.spawn(move || harass(*address, call, Seeded(seed), stop));
            }
        }
        let grown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| field.grow(&field.all(), 20)));
        stop.store(true, Ordering::Relaxed);
        grown.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    field.mend(&field.all());
    field.recover(&field.all());
    field.says(0, &["WARN", "a caller got no session"]);
}

type Call = fn(&mut TcpStream, &mut Seeded, &AtomicBool) -> std::io::Result<()>;

fn harass(address: SocketAddr, call: Call, mut random: Seeded, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(PAUSE)).expect("a duration above zero");
            // However the node ends it.
            let _ = call(&mut stream, &mut random, stop);
        }
        std::thread::sleep(PAUSE);
    }
}

fn garbage(stream: &mut TcpStream, random: &mut Seeded, _: &AtomicBool) -> std::io::Result<()> {
    let length = 1 + random.below(4096) as usize;
    stream.write_all(&random.bytes(length))?;
    stream.read(&mut [0; 1024]).map(|_| ())
}

fn oversized(stream: &mut TcpStream, random: &mut Seeded, _: &AtomicBool) -> std::io::Result<()> {
    stream.write_all(&OVERSIZED_RECORD)?;
    stream.write_all(&random.bytes(0xffff))?;
    stream.read(&mut [0; 1024]).map(|_| ())
}

/// Holds its place for as long as it is let.
fn silence(stream: &mut TcpStream, _: &mut Seeded, stop: &AtomicBool) -> std::io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut [0; 1]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) => return Ok(()),
            other => return other.map(|_| ()),
        }
    }
    Ok(())
}

/// The beginning of a handshake, a byte at a time.
fn drip(stream: &mut TcpStream, _: &mut Seeded, stop: &AtomicBool) -> std::io::Result<()> {
    for byte in [22, 3, 1, 2, 0].into_iter().chain(std::iter::repeat(1)) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[byte])?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// An authority that all nodes trust besides their own, with its key in the test's hands.
pub(super) struct Authority {
    key: PrivateKey,
    name: &'static str,
}

impl Authority {
    fn new(seed: u64, name: &'static str) -> Self {
        Self { key: PrivateKey::generate(&mut Seeded(seed)).expect("a seeded generator is not stuck"), name }
    }

    pub(super) fn ours(field: &Field<'_>) -> Self {
        Self::new(field.seed, "CN=Authority of the fault matrix")
    }

    /// PEM; valid from yesterday until so many days from now.
    pub(super) fn issue(&self, role: Role, subject: &str, key: &[u8; 64], days: i64) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let params = CertificateParams {
            suite: bixi_types::CryptoSuite::Sm,
            role,
            subject: subject.into(),
            issuer: self.name.into(),
            serial: [0x41; 16],
            not_before_s: now_s - 10 * DAY_S,
            not_after_s: now_s.saturating_add_signed(days * DAY_S as i64),
        };
        let issued = pki::issue(&params, key, &self.key.public_key().to_bytes(), |message| {
            Ok(sign(&self.key, DEFAULT_ID, message, &mut Seeded(7)).expect("signs").0)
        });
        pki::to_pem(&issued.expect("a certificate")).expect("PEM")
    }

    pub(super) fn certificate(&self) -> String {
        self.issue(Role::Ca, self.name, &self.key.public_key().to_bytes(), 1)
    }
}

pub(super) fn trust_ours(field: &mut Field<'_>) {
    let certificate = Authority::ours(field).certificate();
    for node in field.all() {
        fs::write(field.home(node).join("conf/ours.crt"), &certificate).expect("a certificate");
        set(&field.chain.configs[node], "p2p", "ca", "[\"conf/ca.crt\", \"conf/ours.crt\"]");
    }
}

/// A certificate that is good, one that has expired and one of an authority nobody knows, in the place of a validator's; then a caller
/// who speaks standard TLS.
pub(super) fn certificates(field: &mut Field<'_>) {
    let file = field.home(UNWELL).join("conf/node.crt");
    let right = fs::read(&file).expect("a certificate");
    let (ours, unknown) = (Authority::ours(field), Authority::new(field.seed + 1, "CN=Nobody"));
    let (key, others) = (tls_key(field), field.others(UNWELL));
    let refusals = [
        (&ours, 1, None),
        (&ours, -2, Some(("needs a certificate of this time", "is out of its time"))),
        (&unknown, 1, Some(("p2p.ca", "p2p.ca"))),
    ];
    for (authority, days, words) in refusals {
        field.kill(UNWELL);
        fs::write(&file, authority.issue(Role::Node, "CN=node3", &key, days)).expect("a certificate");
        field.start(UNWELL);
        match words {
            None => {
                field.mend(&others);
                field.return_of(UNWELL);
            }
            Some((theirs, own)) => {
                field.says(others[0], &["WARN", theirs]);
                field.says(UNWELL, &["WARN", own]);
                field.grow(&others, 5);
            }
        }
    }
    standard_tls(field.stranger_address(others[0]));
    field.kill(UNWELL);
    fs::write(&file, &right).expect("a certificate");
    field.come_back(UNWELL, &others);
    field.grow(&field.all(), 2);
}

/// The key that the ceremony made in the node's device.
fn tls_key(field: &Field<'_>) -> [u8; 64] {
    let keys = fs::read(field.home(UNWELL).join("conf/keys.json")).expect("the record of the keys");
    let keys: Value = serde_json::from_slice(&keys).expect("JSON");
    let tls = keys["keys"].as_array().expect("keys").iter().find(|key| key["role"] == "tls").expect("a TLS key");
    let key = hex::decode(tls["public_key"].as_str().expect("a text")).expect("hexadecimal");
    key.try_into().expect("64 bytes")
}

/// It gets no session.
fn standard_tls(address: SocketAddr) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_3", "-connect", &address.to_string()]).stdin(Stdio::null());
    let said = command.output().expect("openssl is installed");
    assert!(!said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}
