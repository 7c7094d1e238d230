//! The step that takes certificates of the chain's authority back.

use std::path::{Path, PathBuf};

use bixi_network::pki;

use crate::chain::ChainError;
use crate::chain::authority::{Authority, SUITE, now_s, read_certificate, unusable};
use crate::chain::layout::{ca_home, lock};

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
    let _turn = lock(chain)?;
    let home = ca_home(chain);
    let issuer = home.read_authority()?;
    let mut list = home.read_list(&issuer)?;
    for path in files {
        let certificate = read_certificate(path)?;
        // At its own last second: one that has expired can be revoked as well.
        let checked = pki::verify(SUITE, &certificate, &issuer, pki::not_after_s(&certificate));
        checked.map_err(|error| unusable(path, error))?;
        list.add(&certificate, now_s());
    }
    list.number += 1;
    Authority::open(&home, module)?.sign_list(&issuer, &list)?;
    Ok(Revoked { list: home.revocation_list(), number: list.number, certificates: list.revoked.len() })
}
