//! The RustCrypto crates: `sm2`, `sm3`, `sm4`, and `aes-gcm` over `sm4`.

use super::Peer;
use crate::job::{IV, Job, KEY, Mode, Task, Work};
use aes_gcm::aead::{AeadInOut as _, consts::U12};
use bixi_accel::workload;
use sm2::dsa::signature::{Signer as _, Verifier as _};
use sm2::dsa::{Signature, SigningKey};
use sm3::Digest as _;
use sm4::cipher::{Block, BlockCipherEncrypt as _, KeyInit as _};
use std::hint::black_box;

type Gcm = aes_gcm::AesGcm<sm4::Sm4, U12>;

pub(super) struct RustCrypto;

fn blocks(job: &Job) -> Work<'_> {
    let key = sm4::Sm4::new(&KEY.into());
    Work::one(job.buffer(), move |buffer| {
        let (blocks, _) = Block::<sm4::Sm4>::slice_as_chunks_mut(buffer);
        key.encrypt_blocks(blocks);
    })
}

fn gcm(job: &Job) -> Work<'_> {
    let key = Gcm::new(&KEY.into());
    let nonce: [u8; 12] = *IV.first_chunk().expect("twelve bytes");
    Work::one(job.buffer(), move |buffer| {
        let (data, tag) = buffer.split_at_mut(job.data.len());
        let made = key.encrypt_inout_detached(&nonce.into(), &[], data.into()).expect("a short message");
        tag.copy_from_slice(&made);
    })
}

/// `Z` is kept with the key.
fn key(job: &Job) -> SigningKey {
    let id = std::str::from_utf8(workload::ID).expect("digits");
    SigningKey::from_slice(id, &job.claims[0].secret).expect("a key")
}

fn sign(job: &Job) -> Work<'_> {
    let key = key(job);
    Work::one(job.buffer(), move |out| {
        let signature: Signature = key.sign(black_box(&workload::MESSAGE));
        out.copy_from_slice(&signature.to_bytes());
    })
}

fn verify(job: &Job) -> Work<'_> {
    let key = key(job).verifying_key().clone();
    let signature = Signature::from_slice(&job.claims[0].signature).expect("scalars in range");
    Work::one(job.buffer(), move |out| out[0] = u8::from(key.verify(black_box(&workload::MESSAGE), &signature).is_ok()))
}

impl Peer for RustCrypto {
    fn name(&self) -> &str {
        "RustCrypto"
    }

    fn prepare<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        match job.task {
            Task::Digest => Some(Work::one(job.buffer(), |out| out.copy_from_slice(&sm3::Sm3::digest(&job.data)))),
            Task::Cipher(Mode::Ecb) => Some(blocks(job)),
            Task::Cipher(Mode::Gcm) => Some(gcm(job)),
            Task::Sign => Some(sign(job)),
            Task::Verify => Some(verify(job)),
            _ => None,
        }
    }
}
