//! Files of released formats, kept as bytes: a change that cannot read them fails here.
//!
//! `BIXI_WRITE_FIXTURES=1 cargo test -p bixi-sealed -- --ignored write_fixtures` makes those of the current format.

use std::path::{Path, PathBuf};

use bixi_platform::io::{OpenMode, PreadStorage, Storage};

use crate::{
    AtRest, KeyRing, Purpose,
    fixtures::{SUITES, key, pattern},
    frames, pages, small,
};

fn ring(suite: AtRest) -> KeyRing {
    KeyRing::new(suite, vec![(7, key(7))], 7).unwrap()
}

fn path(suite: AtRest, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/v1/{name}-{}.bin", suite.name().to_lowercase()))
}

#[test]
fn files_of_format_1_are_read() {
    let storage = PreadStorage::new();
    for suite in SUITES {
        let ring = ring(suite);
        ring.rotate(9, key(9)).unwrap();
        let open = |name| storage.open(&path(suite, name), OpenMode::Read).unwrap();
        let (read, end) = frames::read_all(open("log"), &ring, Purpose::ConsensusLog).unwrap();
        assert_eq!((read, end), (vec![b"first".to_vec(), pattern(900, 1), b"third".to_vec()], frames::End::Clean));
        let table = pages::Reader::open(open("table"), &ring, Purpose::Table).unwrap();
        let mut out = vec![0; table.plaintext_len() as usize];
        table.read_at(0, &mut out).unwrap();
        assert_eq!(out, pattern(5000, 2));
        let body = small::read(&storage, &path(suite, "small"), &ring, Purpose::Guard).unwrap();
        assert_eq!(*body, b"height 7 round 0");
    }
}

#[test]
#[ignore = "writes the fixtures of the current format into the source tree"]
fn write_fixtures() {
    assert!(std::env::var_os("BIXI_WRITE_FIXTURES").is_some(), "set BIXI_WRITE_FIXTURES=1");
    let storage = PreadStorage::new();
    for suite in SUITES {
        let ring = ring(suite);
        let make = |name| storage.open(&path(suite, name), OpenMode::Truncate).unwrap();
        let mut log = frames::Writer::create(make("log"), &ring, Purpose::ConsensusLog).unwrap();
        log.append(b"first").unwrap();
        log.sync().unwrap();
        log.append(&pattern(900, 1)).unwrap();
        log.flush().unwrap();
        let mut table =
            pages::Writer::create_paged(make("table"), &ring, Purpose::Table, pages::PageSize::KIB_4).unwrap();
        table.append(&pattern(5000, 2)).unwrap();
        table.sync().unwrap();
        small::write_atomic(&storage, &path(suite, "small"), &ring, Purpose::Guard, b"height 7 round 0").unwrap();
        ring.rotate(9, key(9)).unwrap();
        log.append(b"third").unwrap();
        log.close().unwrap();
    }
}
