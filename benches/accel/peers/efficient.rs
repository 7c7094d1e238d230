//! `efficient-sm2`: SM2 one signature at a time, `Z` included, with its own random numbers.

use super::Peer;
use crate::job::{Job, Task, Work};
use bixi_accel::workload::MESSAGE;
use efficient_sm2::{KeyPair, PublicKey, Signature};
use std::hint::black_box;

pub(super) struct Efficient;

fn sign(job: &Job) -> Option<Work<'_>> {
    let key = KeyPair::new(&job.claims[0].secret).ok()?;
    Some(Work::one(job.buffer(), move |out| {
        let signature = key.sign(black_box(&MESSAGE)).expect("a signature");
        out[..32].copy_from_slice(&signature.r());
        out[32..].copy_from_slice(&signature.s());
    }))
}

fn verify(job: &Job) -> Option<Work<'_>> {
    let claim = &job.claims[0];
    let (x, y) = claim.public.split_at(32);
    let (r, s) = claim.signature.split_at(32);
    let (key, signature) = (PublicKey::new(x, y), Signature::new(r, s).ok()?);
    Some(Work::one(job.buffer(), move |out| out[0] = u8::from(signature.verify(&key, black_box(&MESSAGE)).is_ok())))
}

impl Peer for Efficient {
    fn name(&self) -> &str {
        "efficient-sm2"
    }

    fn prepare<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        match job.task {
            Task::Sign => sign(job),
            Task::Verify => verify(job),
            _ => None,
        }
    }
}
