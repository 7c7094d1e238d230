//! The step that takes certificates of the chain's authority back.

use std::fs;
use std::path::{Path, PathBuf};

use bixi_network::pki::{self, PkiError, RevocationList};

use crate::chain::certify::{Authority, DAY_S, SUITE, now_s};
use crate::chain::layout::{ca_home, read, write_new};
use crate::chain::{ChainError, io_at};

/// When the next list should come. Nodes go on by a list that is older.
const LIST_DAYS: u64 = 365;

/// A revocation list that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Where it is, PEM.
    pub list: PathBuf,
    /// Its number; each is one more than the last.
    pub number: u64,
    /// Certificates on it.
    pub certificates: usize,
}

/// Puts the certificates in these files on the revocation list of the chain in `chain` and has its authority sign it. What stands
/// there stays, and a certificate that stands there already is no error.
pub fn revoke(chain: &Path, module: &Path, files: &[PathBuf]) -> Result<Revoked, ChainError> {
    let home = ca_home(chain);
    let issuer = pki::from_pem(&read(&home.authority_certificate(), "bixi chain new")?)?;
    let file = home.revocation_list();
    let mut list = match fs::read(&file) {
        Ok(text) => RevocationList::from_pem(SUITE, &text, &issuer).map_err(|error| at(&file, &error))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => RevocationList::default(),
        Err(error) => return Err(io_at(&file)(error)),
    };
    for path in files {
        let text = fs::read_to_string(path).map_err(io_at(path))?;
        let certificate = pki::from_pem(&text).map_err(|error| at(path, &error))?;
        // At its own last second: one that has expired can be revoked as well.
        pki::verify(SUITE, &certificate, &issuer, pki::not_after_s(&certificate)).map_err(|error| at(path, &error))?;
        list.add(&certificate, now_s());
    }
    list.number += 1;
    let authority = Authority::open(&home, module)?;
    let valid_s = (now_s(), now_s() + LIST_DAYS * DAY_S);
    let text = list.to_pem(SUITE, &issuer, valid_s, |message| authority.sign(message))?;
    replace(&file, text.as_bytes())?;
    Ok(Revoked { list: file, number: list.number, certificates: list.revoked.len() })
}

fn at(path: &Path, error: &PkiError) -> ChainError {
    ChainError::Unusable { path: path.to_owned(), detail: error.to_string() }
}

/// A crash leaves the old list or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ChainError> {
    let new = path.with_extension("crl.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_at(&new)(error)),
        _ => write_new(&new, 0o644, bytes)?,
    }
    fs::rename(&new, path).map_err(io_at(path))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(io_at(parent))
}
