//! What sealing refuses, by name: what it did not leave, and what would stay in plaintext.

use super::*;

/// What would stay in plaintext elsewhere, or is nobody's, is refused before anything is done.
#[test]
fn links_and_files_of_others_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let expected = plain_database(dir.path());
    let (ledger, elsewhere) = (dir.path(), tempfile::tempdir().unwrap());
    let table = table_of(ledger);
    let expect_refused = |path: &Path, words: &str| {
        let error = seal(ledger, &files()).unwrap_err();
        assert!(error.contains(path.to_str().unwrap()) && error.contains(words), "{error}");
        assert!(!ledger.join("sealing").exists());
    };
    std::fs::hard_link(&table, elsewhere.path().join("checkpoint.sst")).unwrap();
    expect_refused(&table, "checkpoint");
    std::fs::remove_file(elsewhere.path().join("checkpoint.sst")).unwrap();
    let moved = elsewhere.path().join("moved.sst");
    std::fs::rename(&table, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &table).unwrap();
    expect_refused(&table, "symbolic link");
    std::fs::remove_file(&table).unwrap();
    std::fs::rename(&moved, &table).unwrap();
    for name in ["notes.txt", "000001.sst.bak", "two\nlines"] {
        std::fs::write(ledger.join(name), b"of somebody else").unwrap();
        expect_refused(&ledger.join(name), "no file of this name");
        std::fs::remove_file(ledger.join(name)).unwrap();
    }
    // Copies would be made on whatever disk it leads to.
    std::os::unix::fs::symlink(elsewhere.path(), ledger.join("sealing")).unwrap();
    let error = seal(ledger, &files()).unwrap_err();
    assert!(error.contains("sealing") && error.contains("symbolic link"), "{error}");
    std::fs::remove_file(ledger.join("sealing")).unwrap();
    // Of a file system that is mounted there.
    std::fs::create_dir(ledger.join("lost+found")).unwrap();
    assert_eq!(seal(ledger, &files()), Ok(()));
    std::fs::remove_dir(ledger.join("lost+found")).unwrap();
    assert_eq!(sealed_content(ledger, &files()), expected);
}

/// Between two attempts somebody else may come by.
#[test]
fn what_took_a_files_place_between_two_attempts_is_refused_by_name() {
    let (plain, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plain_database(plain.path());
    plain_database(other.path());
    std::fs::write(table_of(other.path()), b"another content, under the same keys").unwrap();
    seal(other.path(), &files()).unwrap();
    let begun = || {
        let dir = copy_dir(plain.path());
        begin(dir.path());
        dir
    };
    let refused = |dir: &Path, words: &str| {
        let error = files().seal_plain(dir, &mut go_on).unwrap_err().to_string();
        assert!(error.contains(table_of(dir).to_str().unwrap()) && error.contains(words), "{error}");
    };
    // A plain file of the same length.
    let dir = begun();
    let table = table_of(dir.path());
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    refused(dir.path(), "another content");
    // An authentic one of another database.
    let dir = begun();
    std::fs::copy(table_of(other.path()), table_of(dir.path())).unwrap();
    refused(dir.path(), "not what was there");
    // No more than a header.
    let dir = begun();
    let header = std::fs::read(table_of(other.path())).unwrap()[..56].to_vec();
    std::fs::write(table_of(dir.path()), header).unwrap();
    refused(dir.path(), "");
}

/// Neither a plaintext database nor one that sealing left.
#[test]
fn a_mixture_that_sealing_did_not_leave_is_refused_by_name() {
    let (plain, sealed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plain_database(plain.path());
    plain_database(sealed.path());
    seal(sealed.path(), &files()).unwrap();
    let refused = |dir: &Path, file: &Path, why: &str| {
        let error = seal(dir, &files()).unwrap_err();
        assert!(error.contains(file.to_str().unwrap()) && error.contains(why), "{error}");
    };
    let of = |from: &Path| copy_dir(from);
    // Before the beginning.
    let dir = of(plain.path());
    std::fs::copy(table_of(sealed.path()), table_of(dir.path())).unwrap();
    refused(dir.path(), &table_of(dir.path()), "it is sealed");
    let dir = of(plain.path());
    std::fs::create_dir(dir.path().join("archive")).unwrap();
    refused(dir.path(), &dir.path().join("archive"), "a directory");
    // After it.
    let begun = || {
        let dir = of(plain.path());
        begin(dir.path());
        dir
    };
    let dir = begun();
    std::fs::write(dir.path().join("000099.sst"), b"new").unwrap();
    refused(dir.path(), &dir.path().join("000099.sst"), "was not there");
    let dir = begun();
    let gone = table_of(dir.path());
    std::fs::remove_file(&gone).unwrap();
    refused(dir.path(), &gone, "is gone");
    let dir = begun();
    std::fs::File::options().append(true).open(table_of(dir.path())).unwrap().set_len(7).unwrap();
    refused(dir.path(), &table_of(dir.path()), "another length");
    let dir = begun();
    let error = CipherFs::new(Arc::new(PreadStorage), ring(2)).seal_plain(dir.path(), &mut go_on).unwrap_err();
    assert!(error.to_string().contains("FILES"), "{error}");
    assert_eq!(seal(dir.path(), &files()), Ok(()));
}

/// Whoever opens it is told by CURRENT and the marks alone, whatever else lies there.
#[test]
fn what_refuses_a_database_does_not_hang_on_files_of_others() {
    let dir = tempfile::tempdir().unwrap();
    plain_database(dir.path());
    let expect_refused = |words: &str| {
        let error = files().check(dir.path()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    std::fs::write(dir.path().join("notes.txt"), b"of somebody else").unwrap();
    expect_refused("evidence");
    std::fs::remove_file(dir.path().join("notes.txt")).unwrap();
    assert!(
        files().seal_plain(dir.path(), &mut go_on).unwrap_err().to_string().contains("no sealing of this database")
    );
    let (current, kept) = (dir.path().join("CURRENT"), std::fs::read(dir.path().join("CURRENT")).unwrap());
    std::fs::remove_file(&current).unwrap();
    expect_refused("CURRENT is missing");
    assert!(plain_stage(&PreadStorage, dir.path()).is_err(), "nor is it taken for one that is sealed, or none");
    std::fs::write(&current, &kept).unwrap();
    begin(dir.path());
    assert!(files().seal_plain(dir.path(), &mut go_on).unwrap());
    // A copy put back over what is sealed.
    let sealed = std::fs::read(&current).unwrap();
    std::fs::write(&current, kept).unwrap();
    expect_refused("beside a mark");
    // Whose file cannot be read is told as that, and not as an attempt that was broken off.
    std::fs::write(&current, &sealed[..20]).unwrap();
    expect_refused("CURRENT");
    assert!(!files().check(dir.path()).unwrap_err().to_string().contains("broken off"));
    // Nobody begins another database below the mark of one that is gone.
    for path in all_files(dir.path()) {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::remove_file(dir.path().join("sealing/UNVERIFIED")).ok();
    expect_refused("sealing beside it");
}
