//! Two names of one guard, on a real file system: whoever comes second must not become a second signer.

use std::fs;
use std::os::unix::fs::symlink;

use bixi_platform::io::PreadStorage;

use super::*;

/// A directory with a guard that signed prevote 5, and nobody at it.
fn home() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    let path = root.path().join("data/guard");
    let guard = Guard::create(Arc::new(PreadStorage::new()), &path, ring(), CHAIN).unwrap();
    guard.claim(&prevote(5, 1)).unwrap();
    (root, path)
}

fn open_at(path: &Path) -> Result<Guard, GuardError> {
    Guard::open(Arc::new(PreadStorage::new()), path, ring(), CHAIN)
}

/// Two guards of one key may never both be open: if they are, both grant another statement at one position.
fn contradict(first: &Guard, second: &Guard) {
    let both = (first.claim(&prevote(6, 1)), second.claim(&prevote(6, 2)));
    panic!("two signers at one guard, which granted {both:?}");
}

#[test]
fn a_symbolic_link_to_the_directory_leads_to_the_same_lock() {
    let (root, path) = home();
    symlink(root.path().join("data"), root.path().join("alias")).unwrap();
    let guard = open_at(&path).unwrap();
    match open_at(&root.path().join("alias/guard")) {
        Err(GuardError::InUse { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(second) => contradict(&guard, &second),
    }
    drop(guard);
    let alias = open_at(&root.path().join("alias/guard")).unwrap();
    assert!(matches!(alias.claim(&prevote(5, 2)), Err(GuardError::Conflict { .. })));
    assert!(matches!(open_at(&path), Err(GuardError::InUse { .. })), "and the other way round");
}

#[test]
fn a_symbolic_link_to_the_file_is_refused() {
    let (root, path) = home();
    let link = root.path().join("guard");
    symlink(&path, &link).unwrap();
    let guard = open_at(&path).unwrap();
    match open_at(&link) {
        Err(error @ GuardError::Linked { .. }) => assert!(error.to_string().contains("symbolic link"), "{error}"),
        Err(error) => panic!("{error}"),
        Ok(second) => contradict(&guard, &second),
    }
    drop(guard);
    assert!(matches!(open_at(&link), Err(GuardError::Linked { .. })), "even when nobody is there");
    let storage = Arc::new(PreadStorage::new());
    assert!(matches!(Guard::create(storage, &link, ring(), CHAIN), Err(GuardError::Linked { .. })));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "a refusal replaces nothing");
    open_at(&path).unwrap();
}

#[test]
fn a_hard_link_is_refused_by_either_name() {
    let (root, path) = home();
    let link = root.path().join("guard");
    fs::hard_link(&path, &link).unwrap();
    for name in [&path, &link] {
        match open_at(name) {
            Err(error @ GuardError::Linked { .. }) => assert!(error.to_string().contains("hard link"), "{error}"),
            Err(error) => panic!("{error}"),
            Ok(first) => contradict(&first, &open_at(&link).unwrap()),
        }
    }
    fs::remove_file(link).unwrap();
    open_at(&path).unwrap();
}

#[test]
fn a_hard_link_made_under_a_running_guard_is_refused() {
    let (root, path) = home();
    let guard = open_at(&path).unwrap();
    let link = root.path().join("guard");
    fs::hard_link(&path, &link).unwrap();
    match open_at(&link) {
        Err(GuardError::Linked { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(second) => contradict(&guard, &second),
    }
    assert_eq!(guard.claim(&prevote(6, 1)).unwrap(), Grant::Sign, "the one at work is not disturbed");
}

#[test]
fn a_guard_that_was_replaced_grants_nothing_more() {
    let (_root, path) = home();
    let first = open_at(&path).unwrap();
    // Somebody took the lock for a leftover of a crash, and started a second signer.
    fs::remove_file(beside_lock(&path)).unwrap();
    let second = open_at(&path).unwrap();
    assert_eq!(second.claim(&prevote(6, 2)).unwrap(), Grant::Sign);
    let refused = first.claim(&prevote(6, 1)).unwrap_err();
    assert!(matches!(refused, GuardError::Storage { .. }), "{refused}");
    assert!(refused.to_string().contains("another file"), "{refused}");
    assert!(matches!(first.claim(&prevote(5, 1)), Err(GuardError::Storage { .. })), "for good");
}

#[test]
fn a_guard_that_was_removed_grants_nothing_more() {
    let (_root, path) = home();
    let guard = open_at(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(guard.claim(&prevote(6, 1)), Err(GuardError::Storage { .. })));
}

fn beside_lock(path: &Path) -> PathBuf {
    path.with_extension("lock")
}
