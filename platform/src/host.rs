//! Which host this is.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};

/// Where a Linux system keeps its identity: `machine-id(5)`.
const MACHINE_ID: &str = "/etc/machine-id";
const ID_BYTES_MAX: u64 = 64;

/// The identity that this system was given when it was installed. None where it has none: in many containers, and before a first boot.
///
/// It is confidential (`machine-id(5)`): keep what is derived from it, and not itself.
///
/// # Errors
/// The system's, other than that the file is missing.
pub fn machine_id() -> io::Result<Option<Vec<u8>>> {
    read(MACHINE_ID)
}

fn read(path: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(ID_BYTES_MAX).read_to_end(&mut text)?;
    let id = text.trim_ascii();
    let is_id = id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit);
    Ok(is_id.then(|| id.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_identity_is_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("machine-id");
        let path = path.to_str().unwrap();
        assert_eq!(read(path).unwrap(), None);
        let id = "0123456789abcdef0123456789abcdef";
        for (text, expected) in [
            ("", None),
            ("uninitialized\n", None),
            (&id[1..], None),
            (id, Some(id)),
            (&format!("{id}\n"), Some(id)),
            (&format!("{}\n", id.to_uppercase()), Some(id)),
            (&id.repeat(9), None),
        ] {
            std::fs::write(path, text).unwrap();
            assert_eq!(read(path).unwrap().as_deref(), expected.map(str::as_bytes), "{text:?}");
        }
        assert!(read(place.path().to_str().unwrap()).is_err(), "a directory is no file");
    }
}
