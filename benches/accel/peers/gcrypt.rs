//! libgcrypt: SM3 and SM4. Its SM2 is generic arithmetic, slower than everyone else's here, and left out.

use super::library::{Library, functions};
use super::{Peer, denies_avx512};
use crate::job::{IV, Job, KEY, MAC_KEY, Mode, NONCE_BYTES, TAG_BYTES, Task, Work, XTS_KEY};
use bixi_accel::cpu::Limit;
use bixi_accel::sm4::xts::TweakOrder;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

type Handle = *mut c_void;

functions! {
    struct Api {
        gcry_check_version(*const c_char) -> *const c_char;
        gcry_control(c_uint; ...) -> c_uint;
        gcry_cipher_open(*mut Handle, c_int, c_int, c_uint) -> c_uint;
        gcry_cipher_setkey(Handle, *const u8, usize) -> c_uint;
        gcry_cipher_setiv(Handle, *const u8, usize) -> c_uint;
        gcry_cipher_setctr(Handle, *const u8, usize) -> c_uint;
        gcry_cipher_encrypt(Handle, *mut u8, usize, *const u8, usize) -> c_uint;
        gcry_cipher_decrypt(Handle, *mut u8, usize, *const u8, usize) -> c_uint;
        gcry_cipher_gettag(Handle, *mut u8, usize) -> c_uint;
        gcry_cipher_ctl(Handle, c_int, *mut u8, usize) -> c_uint;
        gcry_md_open(*mut Handle, c_int, c_uint) -> c_uint;
        gcry_md_setkey(Handle, *const u8, usize) -> c_uint;
        gcry_md_write(Handle, *const u8, usize);
        gcry_md_read(Handle, c_int) -> *const u8;
        gcry_md_reset(Handle);
    }
}

const SM3: c_int = 326;
const SM4: c_int = 318;
/// `GCRY_MD_FLAG_HMAC`.
const HMAC: c_uint = 2;
/// `GCRYCTL_DISABLE_SECMEM`, `GCRYCTL_INITIALIZATION_FINISHED`, `GCRYCTL_DISABLE_HWF`, `GCRYCTL_FINALIZE`.
const DISABLE_SECMEM: c_uint = 37;
const INITIALIZED: c_uint = 38;
const DISABLE_HARDWARE: c_uint = 63;
const FINALIZE: c_int = 5;

pub(super) struct Gcrypt {
    api: Api,
    name: String,
}

impl Gcrypt {
    /// libgcrypt finds the processor's features once, in `gcry_check_version`; those to do without are named before.
    pub(super) fn load(path: &Path, limit: Limit) -> Result<Self, String> {
        let api = Api::find(&Library::open(path)?)?;
        let denied = match limit {
            Limit::Sse => "intel-avx,intel-avx2,intel-avx512,intel-gfni,intel-vaes-vpclmul",
            Limit::Avx2 => "intel-avx512,intel-gfni,intel-vaes-vpclmul",
            Limit::Gfni => "intel-avx512",
            _ => "",
        };
        let denied = CString::new(denied).expect("no zero byte");
        // SAFETY: each request is given the arguments it reads: a string and a null, or a zero; the version lives with the library.
        let version = unsafe {
            if denies_avx512(limit) {
                (api.gcry_control)(DISABLE_HARDWARE, denied.as_ptr(), null::<c_void>());
            }
            let version = (api.gcry_check_version)(null());
            (api.gcry_control)(DISABLE_SECMEM, 0 as c_int);
            (api.gcry_control)(INITIALIZED, 0 as c_int);
            CStr::from_ptr(version).to_string_lossy()
        };
        let name = format!("libgcrypt {version}");
        Ok(Self { api, name })
    }

    fn hash<'a>(&'a self, job: &'a Job, flags: c_uint) -> Option<Work<'a>> {
        let api = &self.api;
        let mut handle = null_mut();
        // SAFETY: `handle` receives a handle when zero is returned; the key is read.
        unsafe {
            if (api.gcry_md_open)(&raw mut handle, SM3, flags) != 0 {
                return None;
            }
            if flags == HMAC {
                (api.gcry_md_setkey)(handle, MAC_KEY.as_ptr(), MAC_KEY.len());
            }
        }
        let call = move |out: &mut [u8]| {
            // SAFETY: `handle` is open; `data` is read; `read` returns the digest's 32 bytes, which live until the next reset.
            unsafe {
                (api.gcry_md_reset)(handle);
                (api.gcry_md_write)(handle, job.data.as_ptr(), job.data.len());
                out.copy_from_slice(std::slice::from_raw_parts((api.gcry_md_read)(handle, SM3), 32));
            }
        };
        Some(Work::one(job.buffer(), call))
    }

    fn cipher<'a>(&'a self, job: &'a Job, mode: Mode) -> Option<Work<'a>> {
        let api = &self.api;
        let (number, key) = match mode {
            Mode::Ecb => (1, &KEY[..]),
            Mode::CbcDecrypt => (3, &KEY[..]),
            Mode::Ctr => (6, &KEY[..]),
            Mode::Gcm => (9, &KEY[..]),
            Mode::Xts(TweakOrder::Ieee1619) => (13, &XTS_KEY[..]),
            Mode::Xts(TweakOrder::Gbt17964) => return None,
        };
        let mut handle = null_mut();
        // SAFETY: `handle` receives a handle when zero is returned; the key has the length given.
        unsafe {
            if (api.gcry_cipher_open)(&raw mut handle, SM4, number, 0) != 0
                || (api.gcry_cipher_setkey)(handle, key.as_ptr(), key.len()) != 0
            {
                return None;
            }
        }
        let process = if mode == Mode::CbcDecrypt { api.gcry_cipher_decrypt } else { api.gcry_cipher_encrypt };
        let bytes = job.data.len();
        let call = move |buffer: &mut [u8]| {
            let buffer = buffer.as_mut_ptr();
            // SAFETY: `handle` is open and has its key; null as input means in place; the buffer has `bytes` bytes, and room for a
            // tag behind them where the mode makes one.
            unsafe {
                match mode {
                    Mode::Ecb => 0,
                    Mode::Ctr => (api.gcry_cipher_setctr)(handle, IV.as_ptr(), IV.len()),
                    Mode::Gcm => (api.gcry_cipher_setiv)(handle, IV.as_ptr(), NONCE_BYTES),
                    Mode::CbcDecrypt | Mode::Xts(_) => (api.gcry_cipher_setiv)(handle, IV.as_ptr(), IV.len()),
                };
                if mode == Mode::Gcm {
                    (api.gcry_cipher_ctl)(handle, FINALIZE, null_mut(), 0);
                }
                process(handle, buffer, bytes, null(), 0);
                if mode == Mode::Gcm {
                    (api.gcry_cipher_gettag)(handle, buffer.add(bytes), TAG_BYTES);
                }
            }
        };
        Some(Work::one(job.buffer(), call))
    }
}

impl Peer for Gcrypt {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        match job.task {
            Task::Digest => self.hash(job, 0),
            Task::Hmac => self.hash(job, HMAC),
            Task::Cipher(mode) => self.cipher(job, mode),
            Task::Sign | Task::Verify | Task::Encrypt | Task::Decrypt => None,
        }
    }
}
