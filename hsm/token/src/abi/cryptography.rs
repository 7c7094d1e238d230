//! Digests, signatures, ciphers and randomness (PKCS#11 2.40 base, 5.8 to 5.11 and 5.14).

use cryptoki_sys::*;

use super::{guarded, module, pointers};
use crate::error::{CkResult, refuse};
use crate::operation::cipher::Direction;
use crate::session::Session;

pub(super) unsafe extern "C" fn C_DigestInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes the mechanism null or good.
        let mechanism = unsafe { pointers::mechanism(module.config.profile, mechanism)? };
        module.with_session(session, |session| session.begin_digest(mechanism))
    })
}

pub(super) unsafe extern "C" fn C_DigestUpdate(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    // SAFETY: the contract is the same.
    unsafe { absorb(session, data, length, Session::update_digest) }
}

pub(super) unsafe extern "C" fn C_Digest(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    digest: *mut CK_BYTE,
    digest_length: *mut CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `data` `length` bytes, and `digest` null or as long as the length beside it.
        let (data, out) = unsafe { (pointers::bytes(data, length)?, pointers::output(digest, digest_length)?) };
        module.with_session(session, |session| session.finish_digest(data, out))
    })
}

pub(super) unsafe extern "C" fn C_DigestFinal(
    session: CK_SESSION_HANDLE,
    digest: *mut CK_BYTE,
    digest_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: no data is within the contract, and the rest is the same.
    unsafe { C_Digest(session, std::ptr::null_mut(), 0, digest, digest_length) }
}

pub(super) unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes the mechanism null or good.
        let mechanism = unsafe { pointers::mechanism(module.config.profile, mechanism)? };
        module.begin_with_key(session, mechanism, key, Session::begin_signature)
    })
}

pub(super) unsafe extern "C" fn C_SignUpdate(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    // SAFETY: the contract is the same.
    unsafe { absorb(session, data, length, Session::update_signature) }
}

pub(super) unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_length: *mut CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `data` `length` bytes, and `signature` null or as long as the length beside it.
        let (data, out) = unsafe { (pointers::bytes(data, length)?, pointers::output(signature, signature_length)?) };
        module.with_session(session, |session| session.finish_signature(data, out))
    })
}

pub(super) unsafe extern "C" fn C_SignFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut CK_BYTE,
    signature_length: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: no data is within the contract, and the rest is the same.
    unsafe { C_Sign(session, std::ptr::null_mut(), 0, signature, signature_length) }
}

pub(super) unsafe extern "C" fn C_VerifyInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes the mechanism null or good.
        let mechanism = unsafe { pointers::mechanism(module.config.profile, mechanism)? };
        module.begin_with_key(session, mechanism, key, Session::begin_verification)
    })
}

pub(super) unsafe extern "C" fn C_VerifyUpdate(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    // SAFETY: the contract is the same.
    unsafe { absorb(session, data, length, Session::update_verification) }
}

pub(super) unsafe extern "C" fn C_Verify(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes both inputs as long as the length beside them.
        let (data, signature) =
            unsafe { (pointers::bytes(data, length)?, pointers::bytes(signature, signature_length)?) };
        module.with_session(session, |session| session.finish_verification(data, signature))
    })
}

pub(super) unsafe extern "C" fn C_VerifyFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut CK_BYTE,
    signature_length: CK_ULONG,
) -> CK_RV {
    // SAFETY: no data is within the contract, and the rest is the same.
    unsafe { C_Verify(session, std::ptr::null_mut(), 0, signature, signature_length) }
}

/// # Safety
/// `data` is null or has `length` readable bytes.
unsafe fn absorb(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    update: fn(&mut Session, &[u8]) -> CkResult<()>,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: passed on from this function's contract.
        let data = unsafe { pointers::bytes(data, length)? };
        module.with_session(session, |session| update(session, data))
    })
}

macro_rules! cipher_functions {
    ($direction:expr, $init:ident, $whole:ident, $update:ident, $last:ident) => {
        pub(super) unsafe extern "C" fn $init(
            session: CK_SESSION_HANDLE,
            mechanism: *mut CK_MECHANISM,
            key: CK_OBJECT_HANDLE,
        ) -> CK_RV {
            guarded(|| {
                let module = module()?;
                // SAFETY: the standard makes the mechanism null or good.
                let mechanism = unsafe { pointers::mechanism(module.config.profile, mechanism)? };
                module.begin_with_key(session, mechanism, key, |session, mechanism, key| {
                    session.begin_cipher($direction, mechanism, key)
                })
            })
        }

        pub(super) unsafe extern "C" fn $whole(
            session: CK_SESSION_HANDLE,
            data: *mut CK_BYTE,
            length: CK_ULONG,
            out: *mut CK_BYTE,
            out_length: *mut CK_ULONG,
        ) -> CK_RV {
            guarded(|| {
                let module = module()?;
                // SAFETY: the standard makes `data` `length` bytes; it may be the output buffer too, so it is copied.
                let data = zeroize::Zeroizing::new(unsafe { pointers::bytes(data, length)? }.to_vec());
                // SAFETY: the standard makes `out` null or as long as the length beside it.
                let out = unsafe { pointers::output(out, out_length)? };
                module.with_session(session, |session| session.finish_cipher($direction, &data, out))
            })
        }

        pub(super) unsafe extern "C" fn $update(
            session: CK_SESSION_HANDLE,
            data: *mut CK_BYTE,
            length: CK_ULONG,
            out: *mut CK_BYTE,
            out_length: *mut CK_ULONG,
        ) -> CK_RV {
            guarded(|| {
                let module = module()?;
                // SAFETY: the standard makes `data` `length` bytes; it may be the output buffer too, so it is copied.
                let data = zeroize::Zeroizing::new(unsafe { pointers::bytes(data, length)? }.to_vec());
                // SAFETY: the standard makes `out` null or as long as the length beside it.
                let out = unsafe { pointers::output(out, out_length)? };
                module.with_session(session, |session| session.update_cipher($direction, &data, out))
            })
        }

        pub(super) unsafe extern "C" fn $last(
            session: CK_SESSION_HANDLE,
            out: *mut CK_BYTE,
            out_length: *mut CK_ULONG,
        ) -> CK_RV {
            // SAFETY: no data is within the contract, and the rest is the same.
            unsafe { $whole(session, std::ptr::null_mut(), 0, out, out_length) }
        }
    };
}

cipher_functions!(Direction::Encrypt, C_EncryptInit, C_Encrypt, C_EncryptUpdate, C_EncryptFinal);
cipher_functions!(Direction::Decrypt, C_DecryptInit, C_Decrypt, C_DecryptUpdate, C_DecryptFinal);

/// The generator is the operating system's: it takes no seed from a caller.
pub(super) unsafe extern "C" fn C_SeedRandom(
    session: CK_SESSION_HANDLE,
    _seed: *mut CK_BYTE,
    _length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        module()?.session_info(session)?;
        refuse(CKR_RANDOM_SEED_NOT_SUPPORTED)
    })
}

pub(super) unsafe extern "C" fn C_GenerateRandom(
    session: CK_SESSION_HANDLE,
    random: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        module()?.session_info(session)?;
        if length == 0 {
            return Ok(());
        }
        // SAFETY: the standard makes `random` null or `length` writable bytes.
        crate::random::fill(unsafe { pointers::buffer(random, length)? })
    })
}
