//! The libraries beside us, one file each. What a peer cannot do it says, and a peer that is not there is listed as absent.

mod crypto_mb;
mod efficient;
mod gcrypt;
mod ippcp;
mod library;
mod libsm;
mod openssl;
mod rustcrypto;

use crate::job::{Job, Work};
use bixi_accel::cpu::Limit;
use std::path::{Path, PathBuf};

/// A library with operations of ours.
pub(crate) trait Peer {
    /// Name and version.
    fn name(&self) -> &str;

    /// How it counts.
    fn standing(&self) -> Standing {
        Standing::Peer
    }

    /// Its best way to do `job`, contexts made and keys expanded; none if it has none.
    fn prepare<'a>(&'a self, job: &'a Job) -> Option<Work<'a>>;
}

/// What a peer's figure says about ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Peer,
    /// Uses instruction sets that `BIXI_CPU` denies us, and has no switch.
    NotHeld,
    /// Another algorithm of the same kind.
    Reference,
}

/// Everyone found, and who was not, with the reason.
#[derive(Default)]
pub(crate) struct Peers {
    pub(crate) present: Vec<Box<dyn Peer>>,
    pub(crate) absent: Vec<(&'static str, String)>,
}

impl Peers {
    /// Loads all of them, held to `limit` where they have a switch.
    pub(crate) fn load(limit: Limit) -> Self {
        let mut peers = Self::default();
        let sid = |name: &str| Ok(unpacked("sid")?.join(name));
        peers.add("openssl of the system", openssl::system().and_then(|path| openssl::OpenSsl::load(&path)));
        peers.add(
            "openssl of trixie",
            unpacked("trixie").and_then(|path| openssl::OpenSsl::load(&path.join("libcrypto.so.3"))),
        );
        let newest = sid("libcrypto.so.3").and_then(|path| openssl::OpenSsl::load(&path));
        let reference = newest.as_ref().ok().map(openssl::OpenSsl::reference);
        peers.add("openssl of sid", newest);
        peers.present.extend(reference.map(|reference| Box::new(reference) as Box<dyn Peer>));
        peers.add("libgcrypt of sid", sid("libgcrypt.so.20").and_then(|path| gcrypt::Gcrypt::load(&path, limit)));
        peers.add(
            "crypto_mb of sid",
            sid("libcrypto_mb.so.13").and_then(|path| crypto_mb::CryptoMb::load(&path, limit)),
        );
        peers.add("ippcp of sid", sid("libippcp.so.13").and_then(|path| ippcp::Ippcp::load(&path, limit)));
        peers.present.push(Box::new(rustcrypto::RustCrypto));
        peers.present.push(Box::new(libsm::Libsm::new()));
        peers.present.push(Box::new(efficient::Efficient));
        peers
    }

    fn add<P: Peer + 'static>(&mut self, name: &'static str, peer: Result<P, String>) {
        match peer {
            Ok(peer) => self.present.push(Box::new(peer)),
            Err(reason) => self.absent.push((name, reason)),
        }
    }
}

/// Where `peers.sh` puts what it fetches.
pub(crate) fn root() -> Option<PathBuf> {
    let named = std::env::var_os("BIXI_PEERS").map(PathBuf::from);
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    named.or_else(|| Some(cache().or_else(home)?.join("bixi-peers")))
}

/// The libraries unpacked from a suite of Debian.
pub(crate) fn unpacked(suite: &str) -> Result<PathBuf, String> {
    let lib = root().ok_or("no HOME and no BIXI_PEERS")?.join(suite).join("usr/lib");
    let lib = lib.join(format!("{}-linux-gnu", std::env::consts::ARCH));
    if lib.is_dir() { Ok(lib) } else { Err(format!("no {}: run benches/accel/peers.sh", lib.display())) }
}

/// Whether `limit` denies us AVX-512, so that a peer must do without as well.
pub(crate) fn denies_avx512(limit: Limit) -> bool {
    matches!(limit, Limit::Sse | Limit::Avx2 | Limit::Gfni)
}
