//! `libsm`: SM3, SM4-CTR, SM2.

use super::Peer;
use crate::job::{IV, Job, KEY, Mode, Task, Work};
use bixi_accel::workload;
use libsm::sm2::signature::{SigCtx, Signature};
use libsm::sm3::hash::Sm3Hash;
use libsm::sm4::cipher_mode::{CipherMode, Sm4CipherMode};
use std::hint::black_box;

pub(super) struct Libsm {
    curve: SigCtx,
}

impl Libsm {
    pub(super) fn new() -> Self {
        Self { curve: SigCtx::new() }
    }

    /// The signer's point, and the digest over `Z` and the message.
    fn digest(&self, job: &Job) -> (libsm::sm2::ecc::Point, [u8; 32]) {
        let id = std::str::from_utf8(workload::ID).expect("digits");
        let point = self.curve.load_pubkey(&[&[4], &job.claims[0].public[..]].concat()).expect("a point");
        let digest = self.curve.hash(id, &point, &workload::MESSAGE).expect("a digest");
        (point, digest)
    }

    /// The digest is given.
    fn sign<'a>(&'a self, job: &'a Job) -> Work<'a> {
        let secret = self.curve.load_seckey(&job.claims[0].secret).expect("a key");
        let (_, digest) = self.digest(job);
        Work::one(job.buffer(), move |out| {
            let signature = self.curve.sign_raw(black_box(&digest), &secret).expect("a signature");
            let (r, s) = (signature.get_r().to_bytes_be(), signature.get_s().to_bytes_be());
            out.fill(0);
            out[32 - r.len()..32].copy_from_slice(&r);
            out[64 - s.len()..].copy_from_slice(&s);
        })
    }

    fn verify<'a>(&'a self, job: &'a Job) -> Work<'a> {
        let (r, s) = job.claims[0].signature.split_at(32);
        let signature = Signature::new(r, s);
        let (point, digest) = self.digest(job);
        Work::one(job.buffer(), move |out| {
            out[0] = u8::from(self.curve.verify_raw(black_box(&digest), &point, &signature).expect("a verdict"));
        })
    }
}

fn counter(job: &Job) -> Work<'_> {
    let key = Sm4CipherMode::new(&KEY, CipherMode::Ctr).expect("a key");
    Work::one(job.buffer(), move |out| {
        out.copy_from_slice(&key.encrypt(&[], black_box(&job.data), &IV).expect("libsm encrypts"));
    })
}

impl Peer for Libsm {
    fn name(&self) -> &str {
        "libsm"
    }

    fn prepare<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        match job.task {
            Task::Digest => Some(Work::one(job.buffer(), |out| {
                out.copy_from_slice(&Sm3Hash::new(&job.data).get_hash());
            })),
            Task::Cipher(Mode::Ctr) => Some(counter(job)),
            Task::Sign => Some(self.sign(job)),
            Task::Verify => Some(self.verify(job)),
            Task::Hmac | Task::Cipher(_) | Task::Encrypt | Task::Decrypt => None,
        }
    }
}
