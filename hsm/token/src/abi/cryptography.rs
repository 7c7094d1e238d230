//! Digests, signatures, ciphers and randomness (PKCS#11 2.40 base, 5.8 to 5.11 and 5.14).
//!
//! Functions of one shape are rows of a table: the name, and the session's method behind it.

use cryptoki_sys::*;

use super::output::Output;
use super::{guarded, module, pointers};
use crate::error::{CkResult, refuse};
use crate::operation::cipher::Direction::{Decrypt, Encrypt};
use crate::session::Session;

/// `C_…Init(session, mechanism, key)`.
macro_rules! beginnings {
    ($($name:ident => $begin:expr;)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            session: CK_SESSION_HANDLE,
            mechanism: *mut CK_MECHANISM,
            key: CK_OBJECT_HANDLE,
        ) -> CK_RV {
            guarded(|| {
                let module = module()?;
                // SAFETY: the standard makes the mechanism null or good.
                let mechanism = unsafe { pointers::mechanism(module.config.profile, mechanism)? };
                module.begin_with_key(session, mechanism, key, $begin)
            })
        }
    )*};
}

beginnings! {
    C_SignInit => Session::begin_signature;
    C_VerifyInit => Session::begin_verification;
    C_EncryptInit => |session, mechanism, key| session.begin_cipher(Encrypt, mechanism, key);
    C_DecryptInit => |session, mechanism, key| session.begin_cipher(Decrypt, mechanism, key);
}

/// `C_DigestInit`: the one operation without a key.
pub(super) unsafe extern "C" fn C_DigestInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes the mechanism null or good.
        let mechanism = unsafe { pointers::mechanism(module.config.profile, mechanism)? };
        module.with_session(session, |session| session.begin_digest(mechanism))
    })
}

/// `C_…Update(session, data, length)`: what gives nothing back yet.
macro_rules! updates {
    ($($name:ident => $update:expr;)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            session: CK_SESSION_HANDLE,
            data: *mut CK_BYTE,
            length: CK_ULONG,
        ) -> CK_RV {
            guarded(|| {
                let module = module()?;
                // SAFETY: the standard makes `data` `length` bytes; nothing is written in this call.
                let data = unsafe { pointers::bytes(data, length)? };
                module.with_session(session, |session| $update(session, data))
            })
        }
    )*};
}

updates! {
    C_DigestUpdate => Session::update_digest;
    C_SignUpdate => Session::update_signature;
    C_VerifyUpdate => Session::update_verification;
}

/// `C_…(session, data, length, out, out_length)`, and for what ends an operation its `C_…Final(session, out, out_length)`.
macro_rules! transforms {
    ($($name:ident $(and $last:ident)? => $work:expr, $end:expr;)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            session: CK_SESSION_HANDLE,
            data: *mut CK_BYTE,
            length: CK_ULONG,
            out: *mut CK_BYTE,
            out_length: *mut CK_ULONG,
        ) -> CK_RV {
            // SAFETY: the contract is the same.
            unsafe { transform(session, (data, length), (out, out_length), $work, $end) }
        }

        $(
            pub(super) unsafe extern "C" fn $last(
                session: CK_SESSION_HANDLE,
                out: *mut CK_BYTE,
                out_length: *mut CK_ULONG,
            ) -> CK_RV {
                // SAFETY: no data is within the contract, and the rest is the same.
                unsafe { $name(session, std::ptr::null_mut(), 0, out, out_length) }
            }
        )?
    )*};
}

transforms! {
    C_Digest and C_DigestFinal => Session::finish_digest, Session::end_digest;
    C_Sign and C_SignFinal => Session::finish_signature, Session::end_signature;
    C_Encrypt and C_EncryptFinal => |session, data, out| session.finish_cipher(Encrypt, data, out), |session| session.end_cipher(Encrypt);
    C_Decrypt and C_DecryptFinal => |session, data, out| session.finish_cipher(Decrypt, data, out), |session| session.end_cipher(Decrypt);
    C_EncryptUpdate => |session, data, out| session.update_cipher(Encrypt, data, out), |session| session.end_cipher(Encrypt);
    C_DecryptUpdate => |session, data, out| session.update_cipher(Decrypt, data, out), |session| session.end_cipher(Decrypt);
}

/// # Safety
/// `data` is null or `length` readable bytes; `out` is null or as long as the length beside it. They may overlap.
unsafe fn transform(
    session: CK_SESSION_HANDLE,
    (data, length): (*const CK_BYTE, CK_ULONG),
    (out, out_length): (*mut CK_BYTE, *mut CK_ULONG),
    work: impl FnOnce(&mut Session, &[u8], Output<'_>) -> CkResult<()>,
    end: impl FnOnce(&mut Session),
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: passed on from this function's contract; the data is copied before the output becomes a reference.
        let given =
            unsafe { pointers::copied(data, length).and_then(|data| Ok((data, pointers::output(out, out_length)?))) };
        module.with_session(session, |session| match given {
            Ok((data, out)) => work(session, &data, out),
            // Bad arguments end an operation as any other error does.
            Err(error) => {
                end(session);
                Err(error)
            }
        })
    })
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
        // SAFETY: the standard makes both inputs as long as the length beside them; nothing is written in this call.
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
