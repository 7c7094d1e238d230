//! The files of `[p2p]` that say whom the node believes and what it shows: authorities, revocation lists, its own certificate chain.

use std::path::Path;

use bixi_network::pki::{self, Certificate};
use bixi_network::tls::{Trust, TrustParams};
use bixi_types::CryptoSuite;

use super::Failure;
use crate::settings::Settings;

/// Largest file of certificates or revocation lists read.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What the files held when they were read.
pub(super) struct Credentials {
    pub authorities: Vec<Certificate>,
    pub revocation_lists: Vec<Vec<u8>>,
    /// The node's own certificate first.
    pub chain: Vec<Certificate>,
}

impl Credentials {
    pub(super) fn read(settings: &Settings) -> Result<Self, Failure> {
        let p2p = &settings.config.p2p;
        let mut authorities = Vec::new();
        for path in &p2p.ca {
            authorities.extend(read_certificates(&settings.path(path))?);
        }
        let lists = p2p.crl.iter().map(|path| read_list(&settings.path(path))).collect::<Result<_, _>>()?;
        let chain = read_certificates(&settings.path(&p2p.certificate))?;
        Ok(Self { authorities, revocation_lists: lists, chain })
    }

    pub(super) fn trust(&self, suite: CryptoSuite) -> Result<Trust, Failure> {
        let (authorities, revocation_lists) = (&self.authorities, &self.revocation_lists);
        Ok(Trust::new(suite, &TrustParams { authorities, revocation_lists, ..TrustParams::default() })?)
    }

    /// What is other than in `old`, in words.
    pub(super) fn differences(&self, old: &Self) -> Vec<String> {
        let mut told = Vec::new();
        if self.authorities != old.authorities {
            told.push(format!("p2p.ca: {} authorities, before {}", self.authorities.len(), old.authorities.len()));
        }
        if self.revocation_lists != old.revocation_lists {
            let (now, before) = (self.revocation_lists.len(), old.revocation_lists.len());
            told.push(format!("p2p.crl: {now} revocation lists with other content, before {before}"));
        }
        if self.chain != old.chain {
            told.push("p2p.certificate: another chain, shown from the next handshake on".to_owned());
        }
        told
    }

    /// The last second of each certificate, since 1970, with a name for it.
    pub(super) fn ends(&self) -> impl Iterator<Item = (String, u64)> {
        let own = self.chain.first().map(|own| ("own".to_owned(), pki::not_after_s(own)));
        let name = |authority: &Certificate| format!("authority {}", authority.tbs_certificate().subject());
        own.into_iter().chain(self.authorities.iter().map(move |one| (name(one), pki::not_after_s(one))))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(at)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{}: larger than {FILE_BYTES_MAX} bytes; is it the right file?", path.display()).into());
    }
    Ok(bytes)
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    pki::chain_from_pem(&read(path)?).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn read_list(path: &Path) -> Result<Vec<u8>, Failure> {
    pki::revocation_list_der(&read(path)?).map_err(|error| format!("{}: {error}", path.display()).into())
}
