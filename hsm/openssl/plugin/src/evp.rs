//! SM3 and SM4 through EVP: one context for each call, so that threads share nothing and no key outlives its call.

use std::ffi::c_int;
use std::ptr::{NonNull, null, null_mut};

use bixi_hsm_openssl_abi::{CALL_BYTES_MAX, Operation, Slice};
use openssl_sys as ffi;

use crate::Failure;
use crate::errors::failure;

const BLOCK_BYTES: usize = 16;

/// An algorithm and the engine that computes it; of a provider the algorithm alone, which is bound to it.
pub(crate) struct Bound<T> {
    pub(crate) algorithm: NonNull<T>,
    pub(crate) engine: *mut ffi::ENGINE,
}

/// The modes of SM4.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Ecb,
    Cbc,
    Ctr,
}

impl Mode {
    /// That of an operation, if it is a cipher's.
    pub(crate) fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::Sm4EcbEncrypt | Operation::Sm4EcbDecrypt => Some(Self::Ecb),
            Operation::Sm4CbcDecrypt => Some(Self::Cbc),
            Operation::Sm4Ctr => Some(Self::Ctr),
            Operation::Sm3 | Operation::Sm2Verify => None,
        }
    }
}

struct Digester(NonNull<ffi::EVP_MD_CTX>);

impl Drop for Digester {
    fn drop(&mut self) {
        // SAFETY: ours, live, freed once.
        unsafe { ffi::EVP_MD_CTX_free(self.0.as_ptr()) }
    }
}

/// SM3 of each message, until one fails.
pub(crate) fn sm3_many(sm3: &Bound<ffi::EVP_MD>, messages: &[Slice], out: &mut [[u8; 32]]) -> Result<(), Failure> {
    // SAFETY: no arguments.
    let context = NonNull::new(unsafe { ffi::EVP_MD_CTX_new() }).map(Digester);
    let context = context.ok_or_else(|| failure("EVP_MD_CTX_new"))?;
    for (message, digest) in messages.iter().zip(out) {
        // SAFETY: context, algorithm and engine are live; the message is readable by the table's contract; SM3 writes 32 bytes.
        let done = unsafe {
            ffi::EVP_DigestInit_ex(context.0.as_ptr(), sm3.algorithm.as_ptr(), sm3.engine) == 1
                && ffi::EVP_DigestUpdate(context.0.as_ptr(), message.data.cast(), message.bytes) == 1
                && ffi::EVP_DigestFinal_ex(context.0.as_ptr(), digest.as_mut_ptr(), null_mut()) == 1
        };
        if !done {
            return Err(failure("SM3"));
        }
    }
    Ok(())
}

struct Cipherer(NonNull<ffi::EVP_CIPHER_CTX>);

impl Drop for Cipherer {
    fn drop(&mut self) {
        // SAFETY: ours, live, freed once; wipes the key schedule.
        unsafe { ffi::EVP_CIPHER_CTX_free(self.0.as_ptr()) }
    }
}

/// One pass of a cipher over `input` into `output`.
///
/// # Safety
/// `output` has room for as many bytes as `input` has, and does not overlap it.
pub(crate) unsafe fn sm4(
    cipher: &Bound<ffi::EVP_CIPHER>,
    operation: Operation,
    key: &[u8; BLOCK_BYTES],
    first: &[u8; BLOCK_BYTES],
    input: Slice,
    output: *mut u8,
) -> Result<(), Failure> {
    if input.bytes > CALL_BYTES_MAX || (operation != Operation::Sm4Ctr && !input.bytes.is_multiple_of(BLOCK_BYTES)) {
        return Err(format!("{}: {} bytes cannot be done in one call", operation.name(), input.bytes));
    }
    let direction = c_int::from(!matches!(operation, Operation::Sm4EcbDecrypt | Operation::Sm4CbcDecrypt));
    let is_ecb = matches!(operation, Operation::Sm4EcbEncrypt | Operation::Sm4EcbDecrypt);
    let first = if is_ecb { null() } else { first.as_ptr() };
    // SAFETY: no arguments.
    let context = NonNull::new(unsafe { ffi::EVP_CIPHER_CTX_new() }).map(Cipherer);
    let owned = context.ok_or_else(|| failure("EVP_CIPHER_CTX_new"))?;
    let context = owned.0.as_ptr();
    let (mut written, mut last, mut rest) = (0, 0, [0; BLOCK_BYTES]);
    // SAFETY: context, algorithm and engine are live, key and first block have the sizes SM4 reads; without padding as many bytes are
    // written as read, for which the caller answers, and `Final` writes none, or at most a block into `rest`.
    let done = unsafe {
        ffi::EVP_CipherInit_ex(context, cipher.algorithm.as_ptr(), cipher.engine, key.as_ptr(), first, direction) == 1
            && ffi::EVP_CIPHER_CTX_set_padding(context, 0) == 1
            && (input.bytes == 0
                || ffi::EVP_CipherUpdate(context, output, &raw mut written, input.data, input.bytes as c_int) == 1)
            && ffi::EVP_CipherFinal(context, rest.as_mut_ptr(), &raw mut last) == 1
    };
    if !done {
        return Err(failure(operation.name()));
    }
    if written as usize != input.bytes || last != 0 {
        return Err(format!("{}: {} bytes in, {written} and {last} out", operation.name(), input.bytes));
    }
    Ok(())
}
