//! Junk at full speed over many connections while honest clients go on: no honest transaction is lost, no junk is taken.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bixi_tests::node::RunningNode;
use bixi_tests::promises::Promises;
use bixi_tests::rpc::{CallError, Connection};
use bixi_tests::setting;
use bixi_tests::wallet::{Seeded, Wallet};
use bixi_types::CryptoSuite;
use bixi_types::transaction::Transaction;
use serde_json::json;

use crate::cases::Chain;

const LANES: u64 = 6;
const CLIENTS: u64 = 3;

/// Junk of one connection.
struct Junk {
    random: Seeded,
    wallet: Wallet,
}

impl Junk {
    fn new(seed: u64) -> Self {
        Self { random: Seeded(seed), wallet: Wallet::new(seed ^ 0x1a57) }
    }

    fn honest(&mut self) -> Transaction {
        let name = format!("junk-{:016x}", self.random.word());
        self.wallet.user_add(&name, 1, 900)
    }

    fn at(&mut self, bytes: &[u8]) -> usize {
        self.random.below(bytes.len() as u64) as usize
    }

    /// Bytes for `sendTransaction`, and the honest transactions they may still be.
    fn transaction(&mut self) -> (Vec<u8>, [Transaction; 2]) {
        let (honest, other) = (self.honest(), self.honest());
        let mut bytes = honest.encode();
        match self.random.below(9) {
            0 => {
                let length = self.random.below(600) as usize;
                bytes = self.random.bytes(length);
            }
            1 => (0..=self.random.below(4)).for_each(|_| {
                let at = self.at(&bytes);
                bytes[at] ^= 1 << self.random.below(8);
            }),
            2 => {
                let at = self.at(&bytes);
                bytes.truncate(at);
            }
            3 => bytes.extend(self.random.bytes(3)),
            4 => bytes = Transaction { signature: self.random.bytes(128), ..honest.clone() }.encode(),
            5 => bytes = Transaction { signature: other.signature.clone(), ..honest.clone() }.encode(),
            6 => bytes = self.wallet.sign(Transaction { group_id: "group7".into(), ..honest.clone() }).encode(),
            7 => {
                let (cut, tail) = (self.at(&bytes), other.encode());
                bytes = [&bytes[..cut], &tail[cut.min(tail.len())..]].concat();
            }
            _ => {
                let length = 1_000 + self.random.below(300_000) as usize;
                bytes = vec![0x1a; length];
            }
        }
        (bytes, [honest, other])
    }

    /// A body for `POST /` that is no call the node can carry out.
    fn body(&mut self) -> Vec<u8> {
        let call = |params: serde_json::Value| {
            json!({"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": params}).to_string()
        };
        let text = match self.random.below(11) {
            0 => return self.random.bytes(200),
            1 => String::new(),
            2 => "[".repeat(50_000),
            3 => format!(r#"{{"jsonrpc":"2.0","id":1,"method":"call","params":{}}}"#, "[".repeat(50_000)),
            4 => call(json!(["group0", "", "0xabc", false])),
            5 => call(json!(["group0", "", "0xzz", false])),
            6 => call(json!(["group9", "", "0x00", false])),
            7 => call(json!({"group": "group0"})),
            8 => call(json!(["group0", "", 17, "yes"])),
            9 => call(json!([])).replace("sendTransaction", "noSuchMethod"),
            _ => format!("[{}]", vec![call(json!(["group0", "", "0x00", false])); 257].join(",")),
        };
        text.into_bytes()
    }

    /// One request; panics when it is taken for something.
    fn send(&mut self, connection: &mut Connection, address: SocketAddr) {
        match self.random.below(10) {
            0 => self.break_http(address),
            1 | 2 => {
                let body = self.body();
                let (status, answer) = connection.post(&body).expect("an answer");
                let answer = String::from_utf8(answer).expect("an answer is text");
                assert!(status == 200 && answer.contains("\"error\""), "HTTP {status}: {answer}");
            }
            _ => {
                let (bytes, honest) = self.transaction();
                match connection.submit(&bytes) {
                    Err(CallError::Refused { .. }) => {}
                    // A bit flipped where nothing is read, or a cut before the two differ.
                    Ok(receipt) => assert!(
                        honest.iter().any(|one| receipt["transactionHash"] == one.hash(CryptoSuite::Sm).to_string()),
                        "{receipt}"
                    ),
                    Err(error) => panic!("{error} after {}", hex::encode(bytes)),
                }
            }
        }
    }

    /// Bytes that are no HTTP, a body that never comes, a connection that is gone at once.
    fn break_http(&mut self, address: SocketAddr) {
        let Ok(mut stream) = TcpStream::connect(address) else { panic!("the node takes connections") };
        let bytes = match self.random.below(4) {
            0 => self.random.bytes(300),
            1 => b"POST / HTTP/1.1\r\nHost: node\r\nContent-Length: 100000\r\n\r\n{".to_vec(),
            2 => b"POST / HTTP/1.1\r\nHost: node\r\nContent-Length: -1\r\n\r\n{}".to_vec(),
            _ => Vec::new(),
        };
        // The node may have closed already.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[test]
fn a_flood_of_junk_costs_no_honest_transaction() {
    let (requests, seed) = (setting("BIXI_HOSTILE_REQUESTS", 3_000), setting("BIXI_HOSTILE_SEED", 1));
    println!("seed {seed}, {requests} junk requests");
    let mut chain = Chain::start();
    let (promises, stop, sent) = (Promises::default(), AtomicBool::new(false), AtomicUsize::new(0));
    let address = chain.node.rpc;
    std::thread::scope(|scope| {
        let (promises, stop, sent) = (&promises, &stop, &sent);
        let honest: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || promises.collect(address, seed * 1_000 + client, 0, stop)))
            .collect();
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                scope.spawn(move || {
                    let mut junk = Junk::new(seed.wrapping_mul(1_000_003) + lane);
                    let mut connection = Connection::open(address).unwrap();
                    for _ in 0..requests / LANES {
                        junk.send(&mut connection, address);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = lanes.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        for client in honest {
            assert_eq!(client.join().unwrap(), None, "seed {seed}: an honest transaction was lost");
        }
        assert!(ended.iter().all(Result::is_ok), "seed {seed}: a lane failed");
    });
    let context = format!("seed {seed}");
    promises.check(&chain.node, &context);
    assert!(promises.count() > 0, "{context} had no honest load");
    assert_rests(&mut chain, &context);
    let height = chain.node.height();
    println!(
        "{} junk requests, {} honest of {} committed, height {height}",
        sent.into_inner(),
        promises.count(),
        promises.count()
    );
}

/// Nothing of the junk waits, and the node is well.
fn assert_rests(chain: &mut Chain, context: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while chain.connection.call("getPendingTxSize", json!(["group0", ""])) != Ok(json!(0)) {
        assert!(Instant::now() < deadline, "{context}: something waits still");
        std::thread::sleep(Duration::from_millis(20));
    }
    let node: &RunningNode = &chain.node;
    assert_eq!(node.health().unwrap().0, 200, "{context}");
}
