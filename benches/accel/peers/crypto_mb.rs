//! Intel's crypto_mb: eight signatures or sixteen streams a call, in the lanes of AVX-512. It has no narrower form of the SM algorithms.

use super::library::{Library, context, functions};
use super::{Peer, Standing, denies_avx512};
use crate::job::{Claim, IV, Job, KEY, Mode, NONCE_BYTES, TAG_BYTES, Task, Work, XTS_KEY};
use bixi_accel::cpu::Limit;
use bixi_accel::sm4::xts::TweakOrder;
use bixi_accel::workload;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

/// Streams of a call.
const STREAMS: usize = 16;
/// Signatures of a call.
const SIGNATURES: usize = 8;

type Inputs<const N: usize> = *const [*const u8; N];
type Outputs<const N: usize> = *const [*mut u8; N];
type Lengths<const N: usize> = *const [c_int; N];
/// A number of 256 bits, least significant limb first.
type Limbs = [u64; 4];
type Numbers = *const [*const Limbs; SIGNATURES];
type Context = *mut c_void;

functions! {
    struct Api {
        mbx_getversion() -> *const Version;
        mbx_is_crypto_mb_applicable(u64) -> c_int;
        mbx_sm3_msg_digest_mb16(Inputs<STREAMS>, Lengths<STREAMS>, Outputs<STREAMS>) -> u64;
        mbx_sm4_set_key_mb16(Context, Inputs<STREAMS>) -> u64;
        mbx_sm4_xts_set_keys_mb16(Context, Context, Inputs<STREAMS>) -> u64;
        mbx_sm4_encrypt_ecb_mb16(Outputs<STREAMS>, Inputs<STREAMS>, Lengths<STREAMS>, Context) -> u64;
        mbx_sm4_decrypt_cbc_mb16(Outputs<STREAMS>, Inputs<STREAMS>, Lengths<STREAMS>, Context, Inputs<STREAMS>) -> u64;
        mbx_sm4_encrypt_ctr128_mb16(Outputs<STREAMS>, Inputs<STREAMS>, Lengths<STREAMS>, Context, Outputs<STREAMS>) -> u64;
        mbx_sm4_xts_encrypt_mb16(Outputs<STREAMS>, Inputs<STREAMS>, Lengths<STREAMS>, Context, Context, Inputs<STREAMS>) -> u64;
        mbx_sm4_gcm_init_mb16(Inputs<STREAMS>, Inputs<STREAMS>, Lengths<STREAMS>, Context) -> u64;
        mbx_sm4_gcm_encrypt_mb16(Outputs<STREAMS>, Inputs<STREAMS>, Lengths<STREAMS>, Context) -> u64;
        mbx_sm4_gcm_get_tag_mb16(Outputs<STREAMS>, Lengths<STREAMS>, Context) -> u64;
        mbx_sm2_ecdsa_sign_mb8(
            Outputs<SIGNATURES>, Outputs<SIGNATURES>, Inputs<SIGNATURES>, Lengths<SIGNATURES>, Inputs<SIGNATURES>,
            Lengths<SIGNATURES>, Numbers, Numbers, Numbers, Numbers, *const c_void, *mut c_void
        ) -> u32;
        mbx_sm2_ecdsa_verify_mb8(
            Inputs<SIGNATURES>, Inputs<SIGNATURES>, Inputs<SIGNATURES>, Lengths<SIGNATURES>, Inputs<SIGNATURES>,
            Lengths<SIGNATURES>, Numbers, Numbers, *const c_void, *mut c_void
        ) -> u32;
    }
}

/// `mbxVersion`.
#[repr(C)]
struct Version {
    numbers: [c_int; 3],
    processor: [c_char; 4],
    name: *const c_char,
    date: *const c_char,
    text: *const c_char,
}

/// `mbx_sm4_key_schedule`: 32 round keys for each stream.
const SCHEDULE_BYTES: usize = 32 * STREAMS * 4;
/// `SM4_GCM_CTX_mb16`: eight powers of the hash key, three blocks and two lengths for each stream, the round keys, a state.
const GCM_BYTES: usize = STREAMS * (8 * 16 + 3 * 16 + 2 * 8) + SCHEDULE_BYTES + 16;

pub(super) struct CryptoMb {
    api: Api,
    name: String,
    is_held: bool,
}

impl CryptoMb {
    pub(super) fn load(path: &Path, limit: Limit) -> Result<Self, String> {
        let api = Api::find(&Library::open(path)?)?;
        // SAFETY: 0 asks about this processor; the version is a constant of the library.
        let (is_applicable, version) = unsafe { ((api.mbx_is_crypto_mb_applicable)(0), &*(api.mbx_getversion)()) };
        if is_applicable == 0 {
            return Err("this processor lacks AVX-512 IFMA".to_owned());
        }
        let [major, minor, patch] = version.numbers;
        // SAFETY: the library's own name, a string constant.
        let name = unsafe { CStr::from_ptr(version.name) }.to_string_lossy();
        let is_held = !denies_avx512(limit) && limit != Limit::Portable;
        Ok(Self { api, name: format!("{name} {major}.{minor}.{patch}"), is_held })
    }

    fn digest<'a>(&'a self, job: &'a Job) -> Work<'a> {
        let lengths = [job.data.len() as c_int; STREAMS];
        Work::many(STREAMS, &job.buffer(), move |buffers| {
            // SAFETY: sixteen inputs of the lengths given, sixteen outputs of 32 bytes.
            unsafe { (self.api.mbx_sm3_msg_digest_mb16)(&[job.data.as_ptr(); STREAMS], &lengths, &outputs(buffers)) };
        })
    }

    fn cipher<'a>(&'a self, job: &'a Job, mode: Mode) -> Option<Work<'a>> {
        let api = &self.api;
        let lengths = [job.data.len() as c_int; STREAMS];
        let (first, second) = (context(SCHEDULE_BYTES), context(SCHEDULE_BYTES));
        // SAFETY: both contexts hold a schedule; every key has the bytes that are read, 16, or 32 for XTS.
        unsafe {
            match mode {
                Mode::Xts(TweakOrder::Gbt17964) => return None,
                Mode::Xts(_) => (api.mbx_sm4_xts_set_keys_mb16)(first, second, &[XTS_KEY.as_ptr(); STREAMS]),
                Mode::Gcm => return Some(self.gcm(job)),
                Mode::Ecb | Mode::CbcDecrypt | Mode::Ctr => (api.mbx_sm4_set_key_mb16)(first, &[KEY.as_ptr(); STREAMS]),
            }
        };
        Some(Work::many(STREAMS, &job.buffer(), move |buffers| {
            let mut counters = [IV; STREAMS];
            let counters = counters.each_mut().map(|counter| counter.as_mut_ptr());
            let (to, from) = (outputs(buffers), inputs(buffers));
            // SAFETY: sixteen buffers of the lengths given, processed in place, under schedules made above; each counter block and
            // tweak has 16 bytes.
            unsafe {
                match mode {
                    Mode::Ecb => (api.mbx_sm4_encrypt_ecb_mb16)(&to, &from, &lengths, first),
                    Mode::CbcDecrypt => {
                        (api.mbx_sm4_decrypt_cbc_mb16)(&to, &from, &lengths, first, &[IV.as_ptr(); STREAMS])
                    }
                    Mode::Ctr => (api.mbx_sm4_encrypt_ctr128_mb16)(&to, &from, &lengths, first, &counters),
                    _ => (api.mbx_sm4_xts_encrypt_mb16)(&to, &from, &lengths, first, second, &[IV.as_ptr(); STREAMS]),
                }
            };
        }))
    }

    /// The library takes nonces together with keys, so that each batch of messages makes its schedules and hash keys anew.
    fn gcm<'a>(&'a self, job: &'a Job) -> Work<'a> {
        let api = &self.api;
        let bytes = job.data.len();
        let lengths = [bytes as c_int; STREAMS];
        let state = context(GCM_BYTES);
        Work::many(STREAMS, &job.buffer(), move |buffers| {
            let (to, from) = (outputs(buffers), inputs(buffers));
            // SAFETY: the context has `GCM_BYTES` bytes, each key 16, each nonce the length given; the buffers have the lengths given,
            // and behind them room for tags.
            unsafe {
                let (keys, nonces) = ([KEY.as_ptr(); STREAMS], [IV.as_ptr(); STREAMS]);
                (api.mbx_sm4_gcm_init_mb16)(&keys, &nonces, &[NONCE_BYTES as c_int; STREAMS], state);
                (api.mbx_sm4_gcm_encrypt_mb16)(&to, &from, &lengths, state);
                let tags = to.map(|buffer| buffer.add(bytes));
                (api.mbx_sm4_gcm_get_tag_mb16)(&tags, &[TAG_BYTES as c_int; STREAMS], state);
            }
        })
    }

    /// Nonces are given: drawing them is not part of the library's work.
    fn sign<'a>(&'a self, job: &'a Job) -> Work<'a> {
        let signers = Signers::new(job);
        let secrets = numbers(&job.claims, |claim| &claim.secret);
        let nonces = numbers(&job.claims, |claim| claim.public.first_chunk().expect("the coordinate x"));
        Work::many(SIGNATURES, &job.buffer(), move |buffers| {
            let r: [*mut u8; SIGNATURES] = outputs(buffers);
            let (a, secrets, nonces) = (signers.arguments(), pointers(&secrets), pointers(&nonces));
            let sign = self.api.mbx_sm2_ecdsa_sign_mb8;
            // SAFETY: 64 bytes of output for each signature; every pointer of the arguments is to what its length says.
            unsafe {
                let s = r.map(|r| r.add(32));
                sign(
                    &r,
                    &s,
                    &a.ids,
                    &a.id_bytes,
                    &a.texts,
                    &a.text_bytes,
                    &nonces,
                    &secrets,
                    &a.x,
                    &a.y,
                    null(),
                    null_mut(),
                );
            }
        })
    }

    fn verify<'a>(&'a self, job: &'a Job) -> Work<'a> {
        let signers = Signers::new(job);
        let r: [_; SIGNATURES] = std::array::from_fn(|lane| job.claims[lane].signature.as_ptr());
        Work::many(SIGNATURES, &job.buffer(), move |buffers| {
            let (a, verify) = (signers.arguments(), self.api.mbx_sm2_ecdsa_verify_mb8);
            // SAFETY: signatures have 64 bytes each; every pointer of the arguments is to what its length says.
            let faults = unsafe {
                let s = r.map(|r| r.add(32));
                verify(&r, &s, &a.ids, &a.id_bytes, &a.texts, &a.text_bytes, &a.x, &a.y, null(), null_mut())
            };
            // Four bits of status for each lane.
            buffers.iter_mut().enumerate().for_each(|(lane, out)| out[0] = u8::from((faults >> (4 * lane)) & 0xf == 0));
        })
    }
}

/// The public keys of a call, affine.
struct Signers {
    x: [Limbs; SIGNATURES],
    y: [Limbs; SIGNATURES],
}

/// What signing and verification are given alike.
struct Arguments {
    ids: [*const u8; SIGNATURES],
    id_bytes: [c_int; SIGNATURES],
    texts: [*const u8; SIGNATURES],
    text_bytes: [c_int; SIGNATURES],
    x: [*const Limbs; SIGNATURES],
    y: [*const Limbs; SIGNATURES],
}

impl Signers {
    fn new(job: &Job) -> Self {
        Self {
            x: numbers(&job.claims, |claim| claim.public.first_chunk().expect("x")),
            y: numbers(&job.claims, |claim| claim.public.last_chunk().expect("y")),
        }
    }

    /// Valid as long as the signers stay where they are.
    fn arguments(&self) -> Arguments {
        Arguments {
            ids: [workload::ID.as_ptr(); SIGNATURES],
            id_bytes: [workload::ID.len() as c_int; SIGNATURES],
            texts: [workload::MESSAGE.as_ptr(); SIGNATURES],
            text_bytes: [workload::MESSAGE.len() as c_int; SIGNATURES],
            x: pointers(&self.x),
            y: pointers(&self.y),
        }
    }
}

fn pointers(numbers: &[Limbs; SIGNATURES]) -> [*const Limbs; SIGNATURES] {
    numbers.each_ref().map(|number| &raw const *number)
}

fn numbers(claims: &[Claim], number: impl Fn(&Claim) -> &[u8; 32]) -> [Limbs; SIGNATURES] {
    std::array::from_fn(|lane| {
        let (words, _) = number(&claims[lane]).as_chunks::<8>();
        std::array::from_fn(|limb| u64::from_be_bytes(words[3 - limb]))
    })
}

fn outputs<const N: usize>(buffers: &mut [Vec<u8>]) -> [*mut u8; N] {
    std::array::from_fn(|lane| buffers[lane].as_mut_ptr())
}

fn inputs<const N: usize>(buffers: &[Vec<u8>]) -> [*const u8; N] {
    std::array::from_fn(|lane| buffers[lane].as_ptr())
}

impl Peer for CryptoMb {
    fn name(&self) -> &str {
        &self.name
    }

    fn standing(&self) -> Standing {
        if self.is_held { Standing::Peer } else { Standing::NotHeld }
    }

    /// A mode works on sixteen messages, whether one was asked for or many: streams are streams to it.
    fn prepare<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        match job.task {
            Task::Digest if job.many => Some(self.digest(job)),
            Task::Cipher(mode) => self.cipher(job, mode),
            Task::Sign if job.many => Some(self.sign(job)),
            Task::Verify if job.many => Some(self.verify(job)),
            _ => None,
        }
    }
}
