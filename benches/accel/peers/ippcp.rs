//! Intel's ippcp: SM3, SM4 in one stream, SM2 one signature at a time.

use super::Peer;
use super::library::{Library, context, functions};
use crate::job::{IV, Job, KEY, Mode, Task, Work};
use bixi_accel::cpu::Limit;
use bixi_accel::{sm2, workload};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

type State = *mut c_void;

functions! {
    struct Api {
        ippcpInit() -> c_int;
        ippcpGetEnabledCpuFeatures() -> u64;
        ippcpSetCpuFeatures(u64) -> c_int;
        ippcpGetLibVersion() -> *const Version;
        ippsHashMethod_SM3() -> *const c_void;
        ippsHashMessage_rmf(*const u8, c_int, *mut u8, *const c_void) -> c_int;
        ippsSMS4GetSize(*mut c_int) -> c_int;
        ippsSMS4Init(*const u8, c_int, State, c_int) -> c_int;
        ippsSMS4EncryptECB(*const u8, *mut u8, c_int, State) -> c_int;
        ippsSMS4DecryptCBC(*const u8, *mut u8, c_int, State, *const u8) -> c_int;
        ippsSMS4EncryptCTR(*const u8, *mut u8, c_int, State, *mut u8, c_int) -> c_int;
        ippsBigNumGetSize(c_int, *mut c_int) -> c_int;
        ippsBigNumInit(c_int, State) -> c_int;
        ippsSetOctString_BN(*const u8, c_int, State) -> c_int;
        ippsGetOctString_BN(*mut u8, c_int, State) -> c_int;
        ippsGFpGetSize(c_int, *mut c_int) -> c_int;
        ippsGFpMethod_p256sm2() -> *const c_void;
        ippsGFpInitFixed(c_int, *const c_void, State) -> c_int;
        ippsGFpECGetSize(State, *mut c_int) -> c_int;
        ippsGFpECInitStdSM2(State, State) -> c_int;
        ippsGFpECBindGxyTblStdSM2(State) -> c_int;
        ippsGFpECScratchBufferSize(c_int, State, *mut c_int) -> c_int;
        ippsGFpECPointGetSize(State, *mut c_int) -> c_int;
        ippsGFpECPointInit(*const c_void, *const c_void, State, State) -> c_int;
        ippsGFpECSetPointRegular(State, State, State, State) -> c_int;
        ippsGFpECSignSM2(State, State, State, State, State, State, State) -> c_int;
        ippsGFpECVerifySM2(State, State, State, State, *mut c_int, State, State) -> c_int;
    }
}

/// `IppLibraryVersion`.
#[repr(C)]
struct Version {
    numbers: [c_int; 4],
    processor: [c_char; 4],
    name: *const c_char,
    version: *const c_char,
    date: *const c_char,
}

/// `ippCPUID_*`: AVX and AVX2; AVX-512 of every kind; GFNI and the wide forms of AES and PCLMULQDQ.
const AVX: u64 = 0x0000_8100;
const AVX512: u64 = 0x0ff0_0000 | 0x3_0000_0000 | 0x20_0000_0000;
const GFNI_AND_WIDE: u64 = 0x04_0000_0000 | 0x08_0000_0000 | 0x10_0000_0000 | 0x40_0000_0000 | 0x80_0000_0000;

pub(super) struct Ippcp {
    api: Api,
    name: String,
}

/// The curve with its table of multiples of the base point.
struct Curve {
    curve: State,
    scratch: State,
}

impl Ippcp {
    pub(super) fn load(path: &Path, limit: Limit) -> Result<Self, String> {
        let api = Api::find(&Library::open(path)?)?;
        let denied = match limit {
            Limit::Sse => AVX | AVX512 | GFNI_AND_WIDE,
            Limit::Avx2 => AVX512 | GFNI_AND_WIDE,
            Limit::Gfni => AVX512,
            _ => 0,
        };
        // SAFETY: the library chooses its code for this processor, or for a part of what it has; the version is a constant of its.
        let version = unsafe {
            (api.ippcpInit)();
            if denied != 0 {
                (api.ippcpSetCpuFeatures)((api.ippcpGetEnabledCpuFeatures)() & !denied);
            }
            &*(api.ippcpGetLibVersion)()
        };
        // SAFETY: a string constant of the library.
        let number = unsafe { CStr::from_ptr(version.version) }.to_string_lossy();
        let code = version.processor.iter().take_while(|letter| **letter != 0).map(|letter| *letter as u8 as char);
        let name = format!("ippcp {} ({})", number.split(' ').next().unwrap_or_default(), code.collect::<String>());
        Ok(Self { api, name })
    }

    fn digest<'a>(&'a self, job: &'a Job) -> Work<'a> {
        Work::one(job.buffer(), move |out| {
            // SAFETY: the method is a constant of the library; `data` is read, 32 bytes of `out` are written.
            unsafe {
                let method = (self.api.ippsHashMethod_SM3)();
                (self.api.ippsHashMessage_rmf)(job.data.as_ptr(), job.data.len() as c_int, out.as_mut_ptr(), method);
            }
        })
    }

    fn cipher<'a>(&'a self, job: &'a Job, mode: Mode) -> Option<Work<'a>> {
        let api = &self.api;
        if !matches!(mode, Mode::Ecb | Mode::CbcDecrypt | Mode::Ctr) {
            return None;
        }
        // SAFETY: the context has the size the library asks for, the key 16 bytes.
        let key = sized(
            |bytes| unsafe { (api.ippsSMS4GetSize)(bytes) },
            |key, bytes| unsafe { (api.ippsSMS4Init)(KEY.as_ptr(), KEY.len() as c_int, key, bytes) },
        )?;
        let bytes = job.data.len() as c_int;
        Some(Work::one(job.buffer(), move |buffer| {
            let (mut counter, buffer) = (IV, buffer.as_mut_ptr());
            // SAFETY: whole blocks, in place, under a live key; all 128 bits of the counter block count.
            unsafe {
                match mode {
                    Mode::Ecb => (api.ippsSMS4EncryptECB)(buffer, buffer, bytes, key),
                    Mode::CbcDecrypt => (api.ippsSMS4DecryptCBC)(buffer, buffer, bytes, key, IV.as_ptr()),
                    _ => (api.ippsSMS4EncryptCTR)(buffer, buffer, bytes, key, counter.as_mut_ptr(), 128),
                }
            };
        }))
    }

    fn number(&self, value: &[u8; 32]) -> Option<State> {
        let api = &self.api;
        const WORDS: c_int = 8;
        // SAFETY: the context has the size the library asks for; `value` has the length given.
        sized(
            |bytes| unsafe { (api.ippsBigNumGetSize)(WORDS, bytes) },
            |number, _| unsafe {
                (api.ippsBigNumInit)(WORDS, number);
                (api.ippsSetOctString_BN)(value.as_ptr(), 32, number)
            },
        )
    }

    fn curve(&self) -> Option<Curve> {
        let api = &self.api;
        let mut scratch_bytes = 0;
        // SAFETY: each context has the size the library asks for and is made before the next one uses it.
        unsafe {
            let field = sized(
                |bytes| (api.ippsGFpGetSize)(256, bytes),
                |field, _| (api.ippsGFpInitFixed)(256, (api.ippsGFpMethod_p256sm2)(), field),
            )?;
            let curve = sized(
                |bytes| (api.ippsGFpECGetSize)(field, bytes),
                |curve, _| (api.ippsGFpECInitStdSM2)(field, curve),
            )?;
            (api.ippsGFpECBindGxyTblStdSM2)(curve);
            (api.ippsGFpECScratchBufferSize)(2, curve, &raw mut scratch_bytes);
            Some(Curve { curve, scratch: context(scratch_bytes as usize) })
        }
    }

    /// The number that is signed, `e`.
    fn digest_to_sign(&self, job: &Job) -> Option<State> {
        let public = sm2::PublicKey::from_bytes(&job.claims[0].public).expect("a point");
        self.number(&sm2::message_digest(&sm2::identity_digest(workload::ID, &public), &workload::MESSAGE))
    }

    /// The nonce is given; the library wipes it, so each signature sets it anew.
    fn sign<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        let api = &self.api;
        let (Curve { curve, scratch }, digest) = (self.curve()?, self.digest_to_sign(job)?);
        let nonce_bytes: &[u8; 32] = job.claims[0].public.first_chunk()?;
        let (secret, nonce) = (self.number(&job.claims[0].secret)?, self.number(nonce_bytes)?);
        let (r, s) = (self.number(&[0; 32])?, self.number(&[0; 32])?);
        Some(Work::one(job.buffer(), move |out| {
            // SAFETY: every context was made above by its own init function; 32 bytes of `out` each for r and s.
            unsafe {
                (api.ippsSetOctString_BN)(nonce_bytes.as_ptr(), 32, nonce);
                (api.ippsGFpECSignSM2)(digest, secret, nonce, r, s, curve, scratch);
                (api.ippsGetOctString_BN)(out.as_mut_ptr(), 32, r);
                (api.ippsGetOctString_BN)(out[32..].as_mut_ptr(), 32, s);
            }
        }))
    }

    fn verify<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        let api = &self.api;
        let (Curve { curve, scratch }, digest) = (self.curve()?, self.digest_to_sign(job)?);
        let claim = &job.claims[0];
        let (x, y) = (self.number(claim.public.first_chunk()?)?, self.number(claim.public.last_chunk()?)?);
        let (r, s) = (self.number(claim.signature.first_chunk()?)?, self.number(claim.signature.last_chunk()?)?);
        // SAFETY: the point has the size the library asks for; null coordinates leave it at infinity until it is set.
        let point = sized(
            |bytes| unsafe { (api.ippsGFpECPointGetSize)(curve, bytes) },
            |point, _| unsafe {
                (api.ippsGFpECPointInit)(std::ptr::null(), std::ptr::null(), point, curve);
                (api.ippsGFpECSetPointRegular)(x, y, point, curve)
            },
        )?;
        Some(Work::one(job.buffer(), move |out| {
            let mut result = -1;
            // SAFETY: every context was made above by its own init function.
            unsafe { (api.ippsGFpECVerifySM2)(digest, point, r, s, &raw mut result, curve, scratch) };
            // `ippECValid`.
            out[0] = u8::from(result == 0);
        }))
    }
}

/// A context of the size that `size` tells, made by `init`, which gets that size too; none if either fails.
fn sized(size: impl FnOnce(*mut c_int) -> c_int, init: impl FnOnce(State, c_int) -> c_int) -> Option<State> {
    let mut bytes = 0;
    if size(&raw mut bytes) != 0 {
        return None;
    }
    let state = context(bytes as usize);
    (init(state, bytes) == 0).then_some(state)
}

impl Peer for Ippcp {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        match job.task {
            Task::Digest => Some(self.digest(job)),
            Task::Cipher(mode) => self.cipher(job, mode),
            Task::Sign => self.sign(job),
            Task::Verify => self.verify(job),
            Task::Hmac | Task::Encrypt | Task::Decrypt => None,
        }
    }
}
