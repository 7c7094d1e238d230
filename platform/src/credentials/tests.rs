use std::{
    fs,
    io::Write,
    os::{
        fd::IntoRawFd,
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::secret::Secret;

use super::{CredentialError, PIN_BYTES_MAX, PinSource, read_credential};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, content: &[u8], mode: u32) -> PathBuf {
        let path = self.0.path().join("pin");
        let _ = fs::remove_file(&path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn read(&self, content: &[u8], mode: u32) -> Result<Vec<u8>, CredentialError> {
        PinSource::File(self.file(content, mode)).read().map(|pin| pin.as_slice().to_vec())
    }
}

#[test]
fn reads_a_file_of_the_owner_alone_and_drops_one_line_end() {
    let dir = Dir::new();
    for content in [&b"648219"[..], b"648219\n", b"648219\r\n"] {
        for mode in [0o400, 0o600] {
            assert_eq!(dir.read(content, mode).unwrap(), b"648219");
        }
    }
    assert_eq!(dir.read(b" spaces stay \n", 0o400).unwrap(), b" spaces stay ");
}

#[test]
fn refuses_a_file_others_may_use() {
    let dir = Dir::new();
    for mode in [0o440, 0o404, 0o420, 0o410, 0o644, 0o777] {
        let error = dir.read(b"648219", mode).unwrap_err();
        assert!(matches!(error, CredentialError::Exposed { .. }), "{mode:o}: {error}");
        assert!(error.to_string().contains(&format!("{mode:04o}")) && error.to_string().contains("chmod 0400"));
    }
}

#[test]
fn refuses_links_directories_sockets_and_other_owners() {
    let dir = Dir::new();
    let target = dir.file(b"648219", 0o400);
    let link = dir.0.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let socket = dir.0.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for path in [&link, dir.0.path(), &socket] {
        assert!(PinSource::File(path.to_owned()).read().is_err(), "{}", path.display());
    }
    let error = PinSource::File(link).read().unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    // Only root can give a file away; elsewhere the case is covered by a file of root.
    if std::os::unix::fs::chown(&target, Some(12345), None).is_ok() {
        let error = PinSource::File(target).read().unwrap_err();
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    }
}

#[test]
fn refuses_what_is_no_pin_without_repeating_it() {
    let dir = Dir::new();
    let long = vec![b'7'; PIN_BYTES_MAX + 1];
    for content in [&b""[..], b"\n", &long, b"648219\n648219\n", b"648\x00219", b"648219\n\n"] {
        let error = dir.read(content, 0o400).unwrap_err();
        assert!(!error.to_string().contains("648219") && !error.to_string().contains("777"), "{error}");
    }
    assert_eq!(dir.read(&[&long[1..], b"\r\n"].concat(), 0o400).unwrap(), long[1..]);
    assert!(matches!(dir.read(b"\n", 0o400), Err(CredentialError::Empty { .. })));
    assert!(matches!(dir.read(&long, 0o400), Err(CredentialError::TooLong { .. })));
}

#[test]
fn missing_files_are_named() {
    let error = PinSource::File("/nonexistent/pin".into()).read().unwrap_err();
    assert!(error.to_string().contains("/nonexistent/pin"), "{error}");
}

#[test]
fn a_descriptor_is_read_once_and_closed() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"648219\n").unwrap();
    drop(writer);
    let fd = std::os::fd::OwnedFd::from(reader).into_raw_fd();
    assert_eq!(PinSource::Fd(fd).read().unwrap().as_slice(), b"648219");
    assert!(PinSource::Fd(-1).read().is_err());
    assert!(PinSource::Fd(0).read().unwrap_err().to_string().contains("above 2"));
}

#[test]
fn what_another_process_read_is_held_to_the_same_rules() {
    let handed = |bytes: &[u8]| PinSource::Handed(Arc::new(Secret::from_slice(bytes)));
    assert_eq!(handed(b"648219").read().unwrap().as_slice(), b"648219");
    assert!(handed(b"").read().is_err());
    assert!(!format!("{:?}", handed(b"648219")).contains("648219"));
}

#[test]
fn credentials_stay_inside_their_directory() {
    let dir = Dir::new();
    dir.file(b"648219\n", 0o400);
    assert_eq!(read_credential("pin", Some(dir.0.path())).unwrap().as_slice(), b"648219");
    for name in ["../pin", "/etc/passwd", "a/b", "", ".", ".."] {
        let error = read_credential(name, Some(dir.0.path())).unwrap_err();
        assert!(matches!(error, CredentialError::BadName { .. }), "{name}: {error}");
    }
    let error = read_credential("pin", None).unwrap_err();
    assert!(error.to_string().contains("LoadCredential=pin:"), "{error}");
    assert!(read_credential("other", Some(Path::new("/nonexistent"))).is_err());
}
