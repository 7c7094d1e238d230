//! SM3 and HMAC-SM3 as rustls asks for them.

use bixi_accel::sm3;
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::hmac::{Hmac, Key, Tag};
use rustls::crypto::tls13::HkdfUsingHmac;

/// HKDF (RFC 5869) with SM3.
pub(super) static HKDF: HkdfUsingHmac<'static> = HkdfUsingHmac(&HmacSm3);

const DIGEST_BYTES: usize = 32;

/// SM3's place among rustls's names of hashes, which follow TLS 1.2's registry; sm2sig_sm3 (0x0708) begins with it.
const SM3_ALGORITHM: HashAlgorithm = HashAlgorithm::Unknown(7);

pub(super) struct Sm3;

impl Hash for Sm3 {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Running(sm3::Hasher::new()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        Output::new(&sm3::digest(data))
    }

    fn output_len(&self) -> usize {
        DIGEST_BYTES
    }

    fn algorithm(&self) -> HashAlgorithm {
        SM3_ALGORITHM
    }
}

struct Running(sm3::Hasher);

impl Context for Running {
    fn fork_finish(&self) -> Output {
        Output::new(&self.0.clone().finalize())
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> Output {
        Output::new(&self.0.finalize())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

struct HmacSm3;

impl Hmac for HmacSm3 {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        Box::new(Keyed(sm3::Hmac::new(key)))
    }

    fn hash_output_len(&self) -> usize {
        DIGEST_BYTES
    }
}

struct Keyed(sm3::Hmac);

impl Key for Keyed {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
        let mut hmac = self.0.clone();
        hmac.update(first);
        middle.iter().for_each(|part| hmac.update(part));
        hmac.update(last);
        Tag::new(&hmac.finalize())
    }

    fn tag_len(&self) -> usize {
        DIGEST_BYTES
    }
}
