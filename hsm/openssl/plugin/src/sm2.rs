//! SM2 verification: a key object and a context for each call. 1.1 knows SM2 as an alias of an EC key, 3 by its name.

use std::ptr::NonNull;

use openssl_sys as ffi;

use crate::Failure;
use crate::errors::{clear, failure};

struct Key(NonNull<ffi::EVP_PKEY>);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: ours, live, freed once.
        unsafe { ffi::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

struct Context(NonNull<ffi::EVP_PKEY_CTX>);

impl Context {
    fn new(context: *mut ffi::EVP_PKEY_CTX, call: &str) -> Result<Self, Failure> {
        NonNull::new(context).map(Self).ok_or_else(|| failure(call))
    }

    /// Whether the signature is valid; libcrypto's word for "malformed" is an error, which is not a verdict.
    fn verify(&self, digest: &[u8; 32], signature: &[u8]) -> Result<bool, Failure> {
        // SAFETY: the context is live, signature and digest are only read.
        let verdict = unsafe {
            if ffi::EVP_PKEY_verify_init(self.0.as_ptr()) != 1 {
                return Err(failure("EVP_PKEY_verify_init"));
            }
            ffi::EVP_PKEY_verify(self.0.as_ptr(), signature.as_ptr(), signature.len(), digest.as_ptr(), digest.len())
        };
        match verdict {
            1 => Ok(true),
            0 => {
                clear();
                Ok(false)
            }
            _ => Err(failure("EVP_PKEY_verify")),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours, live, freed once.
        unsafe { ffi::EVP_PKEY_CTX_free(self.0.as_ptr()) }
    }
}

/// By an engine with a method for SM2 keys.
#[cfg(not(libcrypto3))]
pub(crate) fn verify(
    engine: &crate::engine::Opened,
    public: &[u8; 64],
    digest: &[u8; 32],
    signature: &[u8],
) -> Result<bool, Failure> {
    let key = key(public)?;
    // SAFETY: key and engine are live.
    let context = unsafe { ffi::EVP_PKEY_CTX_new(key.0.as_ptr(), engine.as_ptr()) };
    Context::new(context, "EVP_PKEY_CTX_new")?.verify(digest, signature)
}

#[cfg(not(libcrypto3))]
fn key(public: &[u8; 64]) -> Result<Key, Failure> {
    use std::ffi::c_int;

    unsafe extern "C" {
        fn EVP_PKEY_set_alias_type(key: *mut ffi::EVP_PKEY, kind: c_int) -> c_int;
    }

    struct Number(*mut ffi::BIGNUM);

    impl Drop for Number {
        fn drop(&mut self) {
            // SAFETY: ours; null is allowed.
            unsafe { ffi::BN_free(self.0) }
        }
    }

    struct Curve(*mut ffi::EC_KEY);

    impl Drop for Curve {
        fn drop(&mut self) {
            // SAFETY: ours; null is allowed.
            unsafe { ffi::EC_KEY_free(self.0) }
        }
    }

    let (x, y) = public.split_at(32);
    // SAFETY: 32 readable bytes each.
    let [x, y] = [x, y].map(|bytes| Number(unsafe { ffi::BN_bin2bn(bytes.as_ptr(), 32, std::ptr::null_mut()) }));
    // SAFETY: no pointers.
    let curve = Curve(unsafe { ffi::EC_KEY_new_by_curve_name(ffi::NID_sm2) });
    // SAFETY: no arguments.
    let key = NonNull::new(unsafe { ffi::EVP_PKEY_new() }).map(Key).ok_or_else(|| failure("EVP_PKEY_new"))?;
    // SAFETY: all are live where no null is; the point is checked to be on the curve, and the key takes a reference of its own.
    let done = unsafe {
        !x.0.is_null()
            && !y.0.is_null()
            && !curve.0.is_null()
            && ffi::EC_KEY_set_public_key_affine_coordinates(curve.0, x.0, y.0) == 1
            && ffi::EVP_PKEY_set1_EC_KEY(key.0.as_ptr(), curve.0) == 1
            && EVP_PKEY_set_alias_type(key.0.as_ptr(), ffi::EVP_PKEY_SM2) == 1
    };
    if done { Ok(key) } else { Err(failure("SM2 public key")) }
}

/// By a provider with SM2 signatures.
#[cfg(libcrypto3)]
pub(crate) fn verify(
    provider: &crate::provider::Opened,
    public: &[u8; 64],
    digest: &[u8; 32],
    signature: &[u8],
) -> Result<bool, Failure> {
    use std::ffi::c_char;

    unsafe extern "C" {
        fn EVP_PKEY_CTX_new_from_pkey(
            context: *mut ffi::OSSL_LIB_CTX,
            key: *mut ffi::EVP_PKEY,
            properties: *const c_char,
        ) -> *mut ffi::EVP_PKEY_CTX;
    }

    let key = key(provider, public)?;
    // SAFETY: all are live.
    let context = unsafe { EVP_PKEY_CTX_new_from_pkey(provider.context(), key.0.as_ptr(), provider.properties()) };
    Context::new(context, "EVP_PKEY_CTX_new_from_pkey")?.verify(digest, signature)
}

#[cfg(libcrypto3)]
fn key(provider: &crate::provider::Opened, public: &[u8; 64]) -> Result<Key, Failure> {
    use std::ffi::c_char;

    unsafe extern "C" {
        fn OSSL_PARAM_construct_utf8_string(name: *const c_char, text: *mut c_char, bytes: usize) -> ffi::OSSL_PARAM;
    }

    let mut point = [4; 65];
    point[1..].copy_from_slice(public);
    let mut made = std::ptr::null_mut();
    // SAFETY: names end with a zero byte, a text's size 0 lets it be measured, the list ends with an end; everything outlives the calls,
    // which copy, and nothing is written through the parameters.
    let done = unsafe {
        let context = ffi::EVP_PKEY_CTX_new_from_name(provider.context(), c"SM2".as_ptr(), provider.properties());
        let context = Context::new(context, "EVP_PKEY_CTX_new_from_name")?;
        let mut params = [
            OSSL_PARAM_construct_utf8_string(c"group".as_ptr(), c"SM2".as_ptr().cast_mut(), 0),
            ffi::OSSL_PARAM_construct_octet_string(c"pub".as_ptr(), point.as_mut_ptr().cast(), point.len()),
            ffi::OSSL_PARAM_construct_end(),
        ];
        ffi::EVP_PKEY_fromdata_init(context.0.as_ptr()) == 1
            && ffi::EVP_PKEY_fromdata(context.0.as_ptr(), &raw mut made, ffi::EVP_PKEY_PUBLIC_KEY, params.as_mut_ptr())
                == 1
    };
    let key = NonNull::new(made).map(Key);
    key.filter(|_| done).ok_or_else(|| failure("SM2 public key"))
}
