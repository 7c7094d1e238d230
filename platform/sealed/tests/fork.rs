//! A forked child neither opens nor seals: its epoch keys are wiped, and the counters of open segments are its parent's.

use std::{path::Path, sync::Arc};

use bixi_platform::{
    io::{OpenMode, PreadStorage, Storage},
    secret::Secret,
};
use bixi_sealed::{AtRest, ErrorKind, KeyRing, Purpose, SealedError, frames, pages, small};

/// Runs `body` in a forked child and returns its exit status.
fn in_child(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: this process has no thread but the test's and the harness's, which holds no lock while it waits for the test;
    // the child ends by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(99);
        // SAFETY: `_exit` returns to nobody.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable, `child` is this process's child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child ended by a signal: {status}");
    libc::WEXITSTATUS(status)
}

fn is_refused<T>(result: Result<T, SealedError>) -> bool {
    matches!(result, Err(error) if matches!(error.cause(), SealedError::Forked) && error.kind() == ErrorKind::Halt)
}

/// The number of the first act that the child could do, or 0.
fn first_allowed(acts: impl IntoIterator<Item = bool>) -> i32 {
    acts.into_iter().position(|refused| !refused).map_or(0, |index| index as i32 + 1)
}

#[test]
fn a_forked_child_neither_opens_nor_seals() {
    for suite in [AtRest::Sm4Gcm, AtRest::Aes256Gcm] {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let storage = PreadStorage::new();
        let make = |name: &str| storage.open(&path(name), OpenMode::CreateNew).unwrap();
        let ring = KeyRing::new(suite, vec![(1, Secret::from_slice(&[7; 32]))], 1).unwrap();
        let mut log = frames::Writer::create(make("log"), &ring, Purpose::Wal).unwrap();
        log.append(b"one").unwrap();
        log.sync().unwrap();
        log.append(b"two").unwrap();
        let mut table = pages::Writer::create(make("table"), &ring, Purpose::Table).unwrap();
        table.append(b"row").unwrap();
        small::write_atomic(&storage, &path("small"), &ring, Purpose::Guard, b"body").unwrap();
        let before = std::fs::read(path("log")).unwrap();

        let read = |path: &Path| storage.open(path, OpenMode::Read).unwrap();
        let status = in_child(|| {
            first_allowed([
                is_refused(log.flush()),
                is_refused(table.finish()),
                is_refused(small::write_atomic(&storage, &path("small"), &ring, Purpose::Guard, b"zero key")),
                is_refused(small::read(&storage, &path("small"), &ring, Purpose::Guard)),
                is_refused(frames::Writer::create(make("other"), &ring, Purpose::Wal)),
                is_refused(frames::Reader::open(Arc::from(read(&path("log"))), &ring, Purpose::Wal)),
            ])
        });
        assert_eq!(status, 0, "{suite:?}: the child was not refused act {status}");
        assert_eq!(std::fs::read(path("log")).unwrap(), before, "the child wrote to its parent's log");

        log.sync().unwrap();
        table.sync().unwrap();
        let (found, _) = frames::read_all(read(&path("log")), &ring, Purpose::Wal).unwrap();
        assert_eq!(found, [b"one", b"two"], "the parent goes on");
        assert_eq!(*small::read(&storage, &path("small"), &ring, Purpose::Guard).unwrap(), b"body");
    }
}
