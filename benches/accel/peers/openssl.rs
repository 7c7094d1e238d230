//! OpenSSL 3 through EVP, every context made before the first run: SM2, SM3, SM4, and what it has of the same kind.
//!
//! `OPENSSL_ia32cap` holds it to an instruction set; it is read when the library is loaded, so [`crate::stage`] sets it.

use super::library::{Library, functions};
use super::{Peer, Standing};
use crate::job::{IV, Job, KEY, MAC_KEY, Mode, NONCE_BYTES, TAG_BYTES, Task, Work, XTS_KEY};
use bixi_accel::sm4::xts::TweakOrder;
use bixi_accel::{sm2, workload};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::rc::Rc;

type Object = *mut c_void;

functions! {
    struct Api {
        OpenSSL_version(c_int) -> *const c_char;
        EVP_MD_fetch(Object, *const c_char, *const c_char) -> Object;
        EVP_MD_CTX_new() -> Object;
        EVP_DigestInit_ex2(Object, Object, *const Param) -> c_int;
        EVP_DigestUpdate(Object, *const u8, usize) -> c_int;
        EVP_DigestFinal_ex(Object, *mut u8, *mut c_uint) -> c_int;
        EVP_MAC_fetch(Object, *const c_char, *const c_char) -> Object;
        EVP_MAC_CTX_new(Object) -> Object;
        EVP_MAC_init(Object, *const u8, usize, *const Param) -> c_int;
        EVP_MAC_update(Object, *const u8, usize) -> c_int;
        EVP_MAC_final(Object, *mut u8, *mut usize, usize) -> c_int;
        EVP_CIPHER_fetch(Object, *const c_char, *const c_char) -> Object;
        EVP_CIPHER_CTX_new() -> Object;
        EVP_CIPHER_CTX_ctrl(Object, c_int, c_int, *mut u8) -> c_int;
        EVP_CIPHER_CTX_set_padding(Object, c_int) -> c_int;
        EVP_CipherInit_ex2(Object, Object, *const u8, *const u8, c_int, *const Param) -> c_int;
        EVP_CipherUpdate(Object, *mut u8, *mut c_int, *const u8, c_int) -> c_int;
        EVP_CipherFinal_ex(Object, *mut u8, *mut c_int) -> c_int;
        EVP_PKEY_CTX_new_from_name(Object, *const c_char, *const c_char) -> Object;
        EVP_PKEY_CTX_new_from_pkey(Object, Object, *const c_char) -> Object;
        EVP_PKEY_fromdata_init(Object) -> c_int;
        EVP_PKEY_fromdata(Object, *mut Object, c_int, *mut Param) -> c_int;
        EVP_PKEY_sign_init(Object) -> c_int;
        EVP_PKEY_sign(Object, *mut u8, *mut usize, *const u8, usize) -> c_int;
        EVP_PKEY_verify_init(Object) -> c_int;
        EVP_PKEY_verify(Object, *const u8, usize, *const u8, usize) -> c_int;
        EVP_PKEY_encrypt_init(Object) -> c_int;
        EVP_PKEY_encrypt(Object, *mut u8, *mut usize, *const u8, usize) -> c_int;
        EVP_PKEY_decrypt_init(Object) -> c_int;
        EVP_PKEY_decrypt(Object, *mut u8, *mut usize, *const u8, usize) -> c_int;
    }
}

/// `OSSL_PARAM`.
#[repr(C)]
struct Param {
    key: *const c_char,
    kind: c_uint,
    data: *const c_void,
    data_bytes: usize,
    return_bytes: usize,
}

impl Param {
    const END: Self = Self { key: null(), kind: 0, data: null(), data_bytes: 0, return_bytes: 0 };
    /// `OSSL_PARAM_UNSIGNED_INTEGER`, in the machine's byte order.
    const UNSIGNED: c_uint = 2;
    const UTF8: c_uint = 4;
    const OCTETS: c_uint = 5;

    /// `data` must outlive the calls that get the parameter.
    fn new(key: &'static CStr, kind: c_uint, data: &[u8]) -> Self {
        Self { key: key.as_ptr(), kind, data: data.as_ptr().cast(), data_bytes: data.len(), return_bytes: usize::MAX }
    }

    /// The library reads text up to its zero byte, whatever length it is told.
    fn text(key: &'static CStr, text: &'static CStr) -> Self {
        Self::new(key, Self::UTF8, text.to_bytes())
    }
}

/// `EVP_CTRL_AEAD_GET_TAG`.
const GET_TAG: c_int = 0x10;
/// `EVP_PKEY_KEYPAIR`.
const KEY_PAIR: c_int = 0x87;

/// The names of one family of algorithms.
#[derive(Clone, Copy)]
struct Family {
    digest: &'static CStr,
    cipher: &'static str,
    key_type: &'static CStr,
    group: &'static CStr,
}

const SM: Family = Family { digest: c"SM3", cipher: "SM4", key_type: c"SM2", group: c"SM2" };
const NIST: Family = Family { digest: c"SHA256", cipher: "AES-128", key_type: c"EC", group: c"P-256" };

/// The key of RFC 6979 A.2.5, secret and point.
const P256_SECRET: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
const P256_POINT: &str = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                          7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";

pub(super) struct OpenSsl {
    api: Rc<Api>,
    name: String,
    family: Family,
}

/// The library of the machine itself, wherever its loader would look.
pub(super) fn system() -> Result<PathBuf, String> {
    let homes = [format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH), "/usr/lib64".into(), "/usr/lib".into()];
    let paths = homes.iter().map(|home| Path::new(home).join("libcrypto.so.3"));
    paths.into_iter().find(|path| path.is_file()).ok_or_else(|| format!("no libcrypto.so.3 in {}", homes.join(", ")))
}

impl OpenSsl {
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let api = Api::find(&Library::open(path)?)?;
        // SAFETY: 0 asks for the version, a string that lives as long as the library, which is never unloaded.
        let version = unsafe { CStr::from_ptr((api.OpenSSL_version)(0)) }.to_string_lossy();
        let name = version.split(' ').take(2).collect::<Vec<_>>().join(" ").to_lowercase();
        Ok(Self { api: Rc::new(api), name, family: SM })
    }

    /// The same library with AES-128, SHA-256 and P-256.
    pub(super) fn reference(&self) -> Self {
        Self { api: self.api.clone(), name: format!("{} AES/SHA-256/P-256", self.name), family: NIST }
    }

    fn digest<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        let api = &*self.api;
        // SAFETY: names end with a zero byte; null asks for the defaults.
        let (digest, context) =
            unsafe { ((api.EVP_MD_fetch)(null_mut(), self.family.digest.as_ptr(), null()), (api.EVP_MD_CTX_new)()) };
        let call = move |out: &mut [u8]| {
            // SAFETY: `digest` and `context` are live (null was refused below); `data` is read, 32 bytes of `out` are written.
            unsafe {
                (api.EVP_DigestInit_ex2)(context, digest, null());
                (api.EVP_DigestUpdate)(context, job.data.as_ptr(), job.data.len());
                (api.EVP_DigestFinal_ex)(context, out.as_mut_ptr(), null_mut());
            }
        };
        (!digest.is_null() && !context.is_null()).then(|| Work::one(job.buffer(), call))
    }

    fn hmac<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        let api = &*self.api;
        let params = [Param::text(c"digest", self.family.digest), Param::END];
        // SAFETY: names end with a zero byte, the key has the length given, the parameters end with `END`; a null is refused first.
        let context = unsafe {
            let mac = (api.EVP_MAC_fetch)(null_mut(), c"HMAC".as_ptr(), null());
            let context = if mac.is_null() { null_mut() } else { (api.EVP_MAC_CTX_new)(mac) };
            if context.is_null() || (api.EVP_MAC_init)(context, MAC_KEY.as_ptr(), MAC_KEY.len(), params.as_ptr()) != 1 {
                return None;
            }
            context
        };
        let call = move |out: &mut [u8]| {
            let mut bytes = 0;
            // SAFETY: `context` is live and has its key; `data` is read, at most `out.len()` bytes are written.
            unsafe {
                (api.EVP_MAC_init)(context, null(), 0, null());
                (api.EVP_MAC_update)(context, job.data.as_ptr(), job.data.len());
                (api.EVP_MAC_final)(context, out.as_mut_ptr(), &raw mut bytes, out.len());
            }
        };
        Some(Work::one(job.buffer(), call))
    }

    fn cipher<'a>(&'a self, job: &'a Job, mode: Mode) -> Option<Work<'a>> {
        let api = &*self.api;
        let (suffix, standard, key) = match mode {
            Mode::Ecb => ("ECB", None, &KEY[..]),
            Mode::CbcDecrypt => ("CBC", None, &KEY[..]),
            Mode::Ctr => ("CTR", None, &KEY[..]),
            Mode::Gcm => ("GCM", None, &KEY[..]),
            Mode::Xts(TweakOrder::Gbt17964) => ("XTS", Some(c"GB"), &XTS_KEY[..]),
            Mode::Xts(TweakOrder::Ieee1619) => ("XTS", Some(c"IEEE"), &XTS_KEY[..]),
        };
        let direction = c_int::from(mode != Mode::CbcDecrypt);
        let name = CString::new(format!("{}-{suffix}", self.family.cipher)).expect("a name without zero bytes");
        let standard = standard.filter(|_| self.family.cipher == SM.cipher);
        let standard = standard.map(|name| Param::text(c"xts_standard", name));
        let params: Vec<_> = standard.into_iter().chain([Param::END]).collect();
        // SAFETY: `name` ends with a zero byte; key and first block have the lengths the cipher reads, the parameters end with `END`.
        let context = unsafe {
            let cipher = (api.EVP_CIPHER_fetch)(null_mut(), name.as_ptr(), null());
            let context = (api.EVP_CIPHER_CTX_new)();
            if cipher.is_null()
                || context.is_null()
                || (api.EVP_CipherInit_ex2)(context, cipher, key.as_ptr(), IV.as_ptr(), direction, params.as_ptr()) != 1
            {
                return None;
            }
            (api.EVP_CIPHER_CTX_set_padding)(context, 0);
            context
        };
        let bytes = job.data.len() as c_int;
        let call = move |buffer: &mut [u8]| {
            let (mut written, buffer) = (0, buffer.as_mut_ptr());
            // SAFETY: `context` is live and has its key; input and output are the first `bytes` of the buffer, and behind them is
            // room for the tag where the mode makes one.
            unsafe {
                (api.EVP_CipherInit_ex2)(context, null_mut(), null(), IV.as_ptr(), direction, null());
                (api.EVP_CipherUpdate)(context, buffer, &raw mut written, buffer, bytes);
                if mode == Mode::Gcm {
                    let tag = buffer.add(bytes as usize);
                    (api.EVP_CipherFinal_ex)(context, tag, &raw mut written);
                    (api.EVP_CIPHER_CTX_ctrl)(context, GET_TAG, TAG_BYTES as c_int, tag);
                }
            }
        };
        const { assert!(NONCE_BYTES == 12, "the nonce EVP takes unless told otherwise") };
        Some(Work::one(job.buffer(), call))
    }

    /// A context for signing or verifying digests with the pair of `secret` and `public`.
    fn key(&self, secret: &[u8], public: &[u8], init: unsafe extern "C" fn(Object) -> c_int) -> Option<Object> {
        let api = &*self.api;
        let mut native = secret.to_vec();
        if cfg!(target_endian = "little") {
            native.reverse();
        }
        let sec1 = [&[4], public].concat();
        let mut params = [
            Param::text(c"group", self.family.group),
            Param::new(c"priv", Param::UNSIGNED, &native),
            Param::new(c"pub", Param::OCTETS, &sec1),
            Param::END,
        ];
        let mut key = null_mut();
        // SAFETY: each object is checked before it is used, parameters end with `END` and their data outlive the call.
        unsafe {
            let maker = (api.EVP_PKEY_CTX_new_from_name)(null_mut(), self.family.key_type.as_ptr(), null());
            if maker.is_null()
                || (api.EVP_PKEY_fromdata_init)(maker) != 1
                || (api.EVP_PKEY_fromdata)(maker, &raw mut key, KEY_PAIR, params.as_mut_ptr()) != 1
            {
                return None;
            }
            let context = (api.EVP_PKEY_CTX_new_from_pkey)(null_mut(), key, null());
            (!context.is_null() && init(context) == 1).then_some(context)
        }
    }

    /// The context of the job's first signer, or of P-256's key.
    fn context(&self, job: &Job, init: unsafe extern "C" fn(Object) -> c_int) -> Option<Object> {
        let claim = &job.claims[0];
        if self.family.group == SM.group {
            return self.key(&claim.secret, &claim.public, init);
        }
        let bytes = |text: &str| -> Vec<u8> {
            let digits: Vec<_> = text.chars().map(|digit| digit.to_digit(16).expect("hexadecimal") as u8).collect();
            digits.chunks(2).map(|pair| 16 * pair[0] + pair[1]).collect()
        };
        self.key(&bytes(P256_SECRET), &bytes(P256_POINT), init)
    }

    /// What is signed: for SM2 the digest over `Z` and the message, computed before.
    fn digest_to_sign(&self, job: &Job) -> [u8; 32] {
        if self.family.group != SM.group {
            return workload::MESSAGE;
        }
        let public = sm2::PublicKey::from_bytes(&job.claims[0].public).expect("a point");
        sm2::message_digest(&sm2::identity_digest(workload::ID, &public), &workload::MESSAGE)
    }

    fn sign<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        let mut signer = self.signer(job)?;
        let call = move |out: &mut [u8]| {
            let der = signer();
            // Another curve's signatures are of the same form.
            out.copy_from_slice(&sm2::Signature::from_der(&der).expect("OpenSSL writes DER").0);
        };
        Some(Work::one(job.buffer(), call))
    }

    /// Signs, DER.
    fn signer<'a>(&'a self, job: &'a Job) -> Option<impl FnMut() -> Vec<u8> + 'a> {
        let api = &*self.api;
        let context = self.context(job, api.EVP_PKEY_sign_init)?;
        let digest = self.digest_to_sign(job);
        Some(move || {
            let mut der = vec![0; 80];
            let mut bytes = der.len();
            // SAFETY: `context` is live and made for signing; at most `bytes` bytes of `der` are written.
            let signed = unsafe {
                (api.EVP_PKEY_sign)(context, der.as_mut_ptr(), &raw mut bytes, digest.as_ptr(), digest.len())
            };
            assert_eq!(signed, 1, "OpenSSL signs");
            der.truncate(bytes);
            der
        })
    }

    fn verify<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        let api = &*self.api;
        let context = self.context(job, api.EVP_PKEY_verify_init)?;
        let digest = self.digest_to_sign(job);
        let der = if self.family.group == SM.group {
            sm2::Signature(job.claims[0].signature).to_der()
        } else {
            self.signer(job)?()
        };
        let call = move |out: &mut [u8]| {
            // SAFETY: `context` is live and made for verifying; signature and digest are only read.
            let verdict =
                unsafe { (api.EVP_PKEY_verify)(context, der.as_ptr(), der.len(), digest.as_ptr(), digest.len()) };
            out[0] = u8::from(verdict == 1);
        };
        Some(Work::one(job.buffer(), call))
    }

    /// Encrypts the message, or decrypts the ciphertext, by SM2.
    fn encryption<'a>(&'a self, job: &'a Job, is_decryption: bool) -> Option<Work<'a>> {
        let api = &*self.api;
        if self.family.group != SM.group {
            return None;
        }
        let (init, call, input) = if is_decryption {
            (api.EVP_PKEY_decrypt_init, api.EVP_PKEY_decrypt, &job.ciphertext[..])
        } else {
            (api.EVP_PKEY_encrypt_init, api.EVP_PKEY_encrypt, &workload::MESSAGE[..])
        };
        let context = self.context(job, init)?;
        Some(Work::one(job.buffer(), move |out| {
            let mut bytes = out.len();
            // SAFETY: `context` is live and made for this call; at most `bytes` bytes of `out` are written.
            unsafe { call(context, out.as_mut_ptr(), &raw mut bytes, input.as_ptr(), input.len()) };
        }))
    }
}

impl Peer for OpenSsl {
    fn name(&self) -> &str {
        &self.name
    }

    fn standing(&self) -> Standing {
        if self.family.group == SM.group { Standing::Peer } else { Standing::Reference }
    }

    fn prepare<'a>(&'a self, job: &'a Job) -> Option<Work<'a>> {
        match job.task {
            Task::Digest => self.digest(job),
            Task::Hmac => self.hmac(job),
            Task::Cipher(mode) => self.cipher(job, mode),
            Task::Sign => self.sign(job),
            Task::Verify => self.verify(job),
            Task::Encrypt => self.encryption(job, false),
            Task::Decrypt => self.encryption(job, true),
        }
    }
}
