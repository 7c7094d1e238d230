use std::path::Path;

use bixi_platform::io::Storage;

use super::{directory_of, read, write_atomic};
use crate::{
    Layout, Purpose, SealedError,
    fixtures::{Disk, SUITES, key, pattern, ring},
    inspect_path,
};

const MARKER: &[u8] = b"a body nobody may find on the disk";

#[test]
fn bodies_come_back_and_leave_no_trace_in_the_file() {
    for suite in SUITES {
        let (disk, ring) = (Disk::new(), ring(suite));
        for body in [&b""[..], MARKER, &pattern(100_000, 1)] {
            write_atomic(&disk.storage, &disk.path("f"), &ring, Purpose::Guard, body).unwrap();
            assert_eq!(*read(&disk.storage, &disk.path("f"), &ring, Purpose::Guard).unwrap(), body);
            let bytes = disk.bytes("f");
            assert!(!bytes.windows(8).any(|window| MARKER.windows(8).any(|marker| marker == window)));
        }
        assert_eq!(
            disk.storage.list(directory_of(&disk.path("f"))).unwrap(),
            [Path::new("f")],
            "no temporary file is left"
        );
        let facts = inspect_path(&disk.storage, &disk.path("f")).unwrap();
        assert_eq!((facts.suite, facts.layout, facts.purpose, facts.epoch), (suite, Layout::Small, Purpose::Guard, 1));
    }
}

#[test]
fn refuses_every_flipped_byte_and_every_length() {
    for suite in SUITES {
        let (disk, ring) = (Disk::new(), ring(suite));
        write_atomic(&disk.storage, &disk.path("f"), &ring, Purpose::Vault, MARKER).unwrap();
        let bytes = disk.bytes("f");
        for position in 0..bytes.len() {
            let mut edited = bytes.clone();
            edited[position] ^= 1 << (position % 8);
            disk.put("f", &edited);
            let result = read(&disk.storage, &disk.path("f"), &ring, Purpose::Vault);
            assert!(result.is_err(), "byte {position} flipped and accepted");
        }
        for len in 0..bytes.len() {
            disk.put("f", &bytes[..len]);
            assert!(read(&disk.storage, &disk.path("f"), &ring, Purpose::Vault).is_err(), "{len} bytes accepted");
        }
        disk.put("f", &[&bytes[..], b"x"].concat());
        assert!(read(&disk.storage, &disk.path("f"), &ring, Purpose::Vault).is_err(), "a longer file accepted");
    }
}

#[test]
fn foreign_files_are_named_and_called_unsealed() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    for content in [&b"plain = true\n"[..], b"", &[0; 4096]] {
        disk.put("config", content);
        let error = read(&disk.storage, &disk.path("config"), &ring, Purpose::Small).unwrap_err();
        assert!(matches!(error.cause(), SealedError::NotSealed), "{error}");
        assert!(error.to_string().contains(disk.path("config").to_str().unwrap()), "{error}");
    }
    let missing = read(&disk.storage, &disk.path("missing"), &ring, Purpose::Small).unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
}

#[test]
fn files_cannot_stand_in_for_others() {
    let (disk, ours) = (Disk::new(), ring(SUITES[0]));
    let path = disk.path("f");
    write_atomic(&disk.storage, &path, &ours, Purpose::Guard, b"mark").unwrap();
    let wrong = read(&disk.storage, &path, &ours, Purpose::Vault).unwrap_err();
    assert!(matches!(wrong.cause(), SealedError::WrongPurpose { .. }), "{wrong}");
    let theirs = crate::KeyRing::new(SUITES[0], vec![(1, key(9))], 1).unwrap();
    let foreign = read(&disk.storage, &path, &theirs, Purpose::Guard).unwrap_err();
    assert!(matches!(foreign.cause(), SealedError::HeaderRefused { epoch: 1 }), "{foreign}");
    let later = crate::KeyRing::new(SUITES[0], vec![(2, key(1))], 2).unwrap();
    let missing = read(&disk.storage, &path, &later, Purpose::Guard).unwrap_err();
    assert!(matches!(missing.cause(), SealedError::MissingEpoch { epoch: 1 }), "{missing}");
}

#[test]
fn equal_bodies_have_nothing_in_common_on_disk() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    let body = pattern(256, 3);
    for name in ["a", "b"] {
        write_atomic(&disk.storage, &disk.path(name), &ring, Purpose::Token, &body).unwrap();
    }
    let (one, two) = (disk.bytes("a"), disk.bytes("b"));
    assert_ne!(one[20..36], two[20..36], "file ids");
    assert_ne!(one[128..], two[128..], "ciphertexts");
}
