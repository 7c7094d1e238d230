//! Another cipher, of a stopped node and of one at work, and back.

use std::collections::BTreeSet;

use bixi_platform::io::PreadStorage;
use bixi_sealed::{AtRest, SealedError, inspect_path};
use bixi_tests::broker::RunningBroker;

use super::{Bench, bixi, said, told};

impl Bench {
    /// Epochs and ciphers by the headers of its files, of which there are some.
    fn headers(&self) -> BTreeSet<(u32, &'static str)> {
        let mut found = BTreeSet::new();
        for path in bixi_tests::disk::files(&self.data("")).unwrap() {
            match inspect_path(&PreadStorage::new(), &path) {
                Ok(header) => _ = found.insert((header.epoch, header.suite.name())),
                Err(error) => assert!(
                    error.is_not_found() || matches!(error.cause(), SealedError::NotSealed),
                    "{}: {error}",
                    path.display()
                ),
            }
        }
        found
    }

    fn expect_all(&self, epoch: u32, cipher: AtRest) {
        assert_eq!(self.headers(), BTreeSet::from([(epoch, cipher.name())]));
    }

    /// Everything is whole, and it is told what it is sealed with.
    fn expect_whole(&self, ciphers: &[(&str, u32)]) {
        let ran = bixi(&["db", "verify", "--json", "--config"], &self.config);
        assert!(ran.status.success(), "{}", said(&ran));
        let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let listed = report["ciphers"].as_array().unwrap().iter();
        let of =
            |told: &serde_json::Value| (told["cipher"].as_str().unwrap().to_owned(), told["epoch"].as_u64().unwrap());
        let expected = ciphers.iter().map(|(cipher, epoch)| ((*cipher).to_owned(), u64::from(*epoch)));
        assert_eq!(listed.map(of).collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{report}");
        assert_eq!(report["whole"], true, "{report}");
    }
}

#[test]
fn a_stopped_node_goes_to_another_cipher_and_back() {
    let mut bench = Bench::start(false);
    for _ in 0..5 {
        bench.commit();
    }
    bench.stop();
    bench.expect_all(1, AtRest::Sm4Gcm);
    let done = bench.rotated(&["--cipher", "aes-256-gcm"]);
    assert_eq!((told(&done).as_str(), &done["cipher"]), ("2 [] [1] []", &"aes-256-gcm".into()));
    assert!(done["bytes"].as_u64().unwrap() > 0, "{done}");
    bench.expect_all(2, AtRest::Aes256Gcm);
    bench.expect_whole(&[("aes-256-gcm", 2)]);
    // Blocks go on, in files that are made in it.
    bench.start_node();
    let height = bench.commit();
    bench.stop();
    bench.expect_all(2, AtRest::Aes256Gcm);
    // The same again is an ordinary rotation, and one that names none keeps it.
    assert_eq!(told(&bench.rotated(&["--cipher", "aes-256-gcm", "--drop"])), "3 [1,2] [] []");
    assert_eq!(bench.rotated(&["--drop"])["cipher"], "aes-256-gcm");
    bench.expect_all(4, AtRest::Aes256Gcm);
    let refused = bench.rotate(&["--go-on", "--cipher", "sm4-gcm"]);
    assert!(refused.status.code() == Some(2) && said(&refused).contains("--go-on"), "{}", said(&refused));
    assert_eq!(told(&bench.rotated(&["--cipher", "sm4-gcm", "--drop"])), "5 [4] [] []");
    bench.expect_all(5, AtRest::Sm4Gcm);
    bench.expect_whole(&[("sm4-gcm", 5)]);
    bench.start_node();
    assert_eq!(bench.node().height(), height);
    bench.commit();
    bench.stop();
    let counts = bench.trail()["counts"].to_string();
    assert!(counts.contains("rotate-data-key"), "{counts}");
}

#[test]
fn a_node_at_work_goes_to_another_cipher_beside_its_blocks_with_a_broker_and_without() {
    for with_broker in [false, true] {
        let mut bench = Bench::start(with_broker);
        bench.commit();
        let done = bench.rotated(&["--cipher", "aes-256-gcm"]);
        assert_eq!((told(&done).as_str(), &done["cipher"]), ("2 [] [1] []", &"aes-256-gcm".into()));
        bench.expect_all(2, AtRest::Aes256Gcm);
        let height = bench.commit();
        bench.stop();
        bench.expect_all(2, AtRest::Aes256Gcm);
        bench.expect_whole(&[("aes-256-gcm", 2)]);
        bench.broker = with_broker.then(|| RunningBroker::start(&bench.config));
        bench.start_node();
        assert_eq!(bench.node().height(), height);
        assert_eq!(told(&bench.rotated(&["--cipher", "sm4-gcm", "--drop"])), "3 [1,2] [] []");
        bench.expect_all(3, AtRest::Sm4Gcm);
        bench.commit();
    }
}

/// What a copy brought back is of the older cipher: it is told, read, and moved by the next.
#[test]
fn files_of_both_ciphers_are_told_and_read() {
    let mut bench = Bench::start(false);
    bench.commit();
    bench.stop();
    let (name, old) = ("audit/audit-000001.log", std::fs::read(bench.data("audit/audit-000001.log")).unwrap());
    bench.rotated(&["--cipher", "aes-256-gcm"]);
    std::fs::write(bench.data(name), old).unwrap();
    bench.expect_whole(&[("aes-256-gcm", 2), ("sm4-gcm", 1)]);
    assert_eq!(told(&bench.rotated(&["--go-on", "--drop"])), "2 [1] [] []");
    bench.expect_all(2, AtRest::Aes256Gcm);
    bench.trail();
}
