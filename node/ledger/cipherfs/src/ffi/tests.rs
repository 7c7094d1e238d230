use super::*;

/// Runs `body` as an FFI function would and takes the outcome apart.
fn outcome(body: impl FnOnce() -> Result<(), CipherFsError>) -> (i32, String) {
    let mut error = Buffer { data: std::ptr::null_mut(), length: 0 };
    // SAFETY: `error` is a live local.
    let code = unsafe { guard(&mut error, body) };
    if error.data.is_null() {
        return (code, String::new());
    }
    // SAFETY: `guard` filled the buffer through `Buffer::from_bytes`; it is read once and then freed once.
    unsafe {
        let text = Bytes { data: error.data.cast(), length: error.length }.slice().to_vec();
        cipherfs_buffer_free(error);
        (code, String::from_utf8(text).expect("text"))
    }
}

fn io_failure(kind: io::ErrorKind) -> CipherFsError {
    CipherFsError::Io { path: PathBuf::from("db/000007.log"), source: kind.into() }
}

#[test]
fn success_leaves_the_message_untouched() {
    assert_eq!(outcome(|| Ok(())), (Code::Ok as i32, String::new()));
}

#[test]
fn a_panic_becomes_an_io_error() {
    let (code, text) = outcome(|| panic!("page {} is odd", 3));
    assert_eq!(code, Code::IoError as i32);
    assert!(text.contains("page 3 is odd") && text.contains("internal error"), "{text}");
}

#[test]
fn errors_keep_their_meaning_and_name_the_file() {
    let tampered = || SealedError::Tampered { offset: 4096, what: "a page" }.at("db/000009.sst");
    let cases = [
        (io_failure(io::ErrorKind::NotFound), Code::NotFound, "000007.log"),
        (io_failure(io::ErrorKind::StorageFull), Code::NoSpace, "000007.log"),
        (io_failure(io::ErrorKind::PermissionDenied), Code::IoError, "000007.log"),
        (CipherFsError::Sealed(tampered()), Code::IoError, "000009.sst: tampered at byte 4096"),
        (CipherFsError::Unsupported { path: "f".into(), what: "cutting" }, Code::NotSupported, "cutting"),
        (CipherFsError::Locked { path: "LOCK".into() }, Code::Locked, "LOCK"),
        (CipherFsError::Closed { path: "f".into() }, Code::IoError, "closed"),
    ];
    for (error, code, named) in cases {
        let (found, text) = outcome(|| Err(error));
        assert_eq!(found, code as i32, "{text}");
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn a_full_disk_inside_the_codec_is_still_a_full_disk() {
    let source = SealedError::Io { action: "write", source: io::ErrorKind::StorageFull.into() };
    let (code, _) = outcome(|| Err(CipherFsError::sealed(Path::new("f"))(source)));
    assert_eq!(code, Code::NoSpace as i32);
}
