//! The C shell: 68 functions of PKCS#11 2.40 that turn pointers into slices and call the safe functions inside.
//!
//! Each function runs under one guard: a refusal becomes its `CKR_` number, a panic `CKR_GENERAL_ERROR`. State belongs
//! to a process: a forked child finds the module not initialised, as the standard asks, and never touches a lock its
//! parent may have held.
#![allow(unsafe_code, non_snake_case)]

mod cryptography;
mod general;
mod objects;
pub(crate) mod output;
mod pointers;
mod sessions;
mod unsupported;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bixi_accel::selftest;
use cryptoki_sys::*;

use crate::config::Config;
use crate::error::{CkError, CkResult, refuse};
use crate::module::Module;

/// The module as one process sees it. Leaked, one per process, so that a reference to it never dangles.
struct Life {
    process: u32,
    module: RwLock<Option<Arc<Module>>>,
}

static LIFE: AtomicPtr<Life> = AtomicPtr::new(std::ptr::null_mut());

/// This process's life, if it has one; a parent's is not ours.
fn life() -> Option<&'static Life> {
    let pointer = LIFE.load(Ordering::Acquire);
    // SAFETY: the pointer is null or comes from `Box::leak` in `life_or_new`, and what it points to is never freed.
    unsafe { pointer.as_ref() }.filter(|life| life.process == std::process::id())
}

fn life_or_new() -> &'static Life {
    loop {
        if let Some(life) = life() {
            return life;
        }
        let seen = LIFE.load(Ordering::Acquire);
        let fresh = Box::leak(Box::new(Life { process: std::process::id(), module: RwLock::new(None) }));
        // Losing the race leaks a few bytes, once.
        let _ = LIFE.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The initialised module.
fn module() -> CkResult<Arc<Module>> {
    let life = life().ok_or(CkError(CKR_CRYPTOKI_NOT_INITIALIZED))?;
    let module = life.module.read().unwrap_or_else(PoisonError::into_inner);
    module.clone().ok_or(CkError(CKR_CRYPTOKI_NOT_INITIALIZED))
}

fn initialise() -> CkResult<()> {
    let mut module = life_or_new().module.write().unwrap_or_else(PoisonError::into_inner);
    if module.is_some() {
        return refuse(CKR_CRYPTOKI_ALREADY_INITIALIZED);
    }
    let config = Config::discover().map_err(|error| {
        crate::config::LogTarget::Stderr.line(format_args!("{error}"));
        CkError(CKR_GENERAL_ERROR)
    })?;
    // Before any key is read (GM/T 0028's power-on self-test); a module whose kernels compute wrongly never begins.
    selftest::run().map_err(|error| {
        config.log.line(format_args!("{error}"));
        CkError(CKR_DEVICE_ERROR)
    })?;
    *module = Some(Arc::new(Module::new(config)));
    Ok(())
}

fn finalise() -> CkResult<()> {
    let life = life().ok_or(CkError(CKR_CRYPTOKI_NOT_INITIALIZED))?;
    let ended = life.module.write().unwrap_or_else(PoisonError::into_inner).take();
    ended.map(drop).ok_or(CkError(CKR_CRYPTOKI_NOT_INITIALIZED))
}

/// Run one C function's body; nothing unwinds out of it.
fn guarded(work: impl FnOnce() -> CkResult<()>) -> CK_RV {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(error)) => error.0,
        Err(_) => CKR_GENERAL_ERROR,
    }
}

/// The table every PKCS#11 client begins with.
///
/// # Safety
/// `list` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    guarded(|| {
        // SAFETY: passed on from this function's contract.
        let list = unsafe { pointers::place(list)? };
        list.put(std::ptr::from_ref(&FUNCTIONS).cast_mut());
        Ok(())
    })
}

static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
    version: CK_VERSION { major: 2, minor: 40 },
    C_Initialize: Some(general::C_Initialize),
    C_Finalize: Some(general::C_Finalize),
    C_GetInfo: Some(general::C_GetInfo),
    C_GetFunctionList: Some(C_GetFunctionList),
    C_GetSlotList: Some(general::C_GetSlotList),
    C_GetSlotInfo: Some(general::C_GetSlotInfo),
    C_GetTokenInfo: Some(general::C_GetTokenInfo),
    C_GetMechanismList: Some(general::C_GetMechanismList),
    C_GetMechanismInfo: Some(general::C_GetMechanismInfo),
    C_InitToken: Some(general::C_InitToken),
    C_InitPIN: Some(sessions::C_InitPIN),
    C_SetPIN: Some(sessions::C_SetPIN),
    C_OpenSession: Some(sessions::C_OpenSession),
    C_CloseSession: Some(sessions::C_CloseSession),
    C_CloseAllSessions: Some(sessions::C_CloseAllSessions),
    C_GetSessionInfo: Some(sessions::C_GetSessionInfo),
    C_GetOperationState: Some(unsupported::C_GetOperationState),
    C_SetOperationState: Some(unsupported::C_SetOperationState),
    C_Login: Some(sessions::C_Login),
    C_Logout: Some(sessions::C_Logout),
    C_CreateObject: Some(objects::C_CreateObject),
    C_CopyObject: Some(unsupported::C_CopyObject),
    C_DestroyObject: Some(objects::C_DestroyObject),
    C_GetObjectSize: Some(unsupported::C_GetObjectSize),
    C_GetAttributeValue: Some(objects::C_GetAttributeValue),
    C_SetAttributeValue: Some(objects::C_SetAttributeValue),
    C_FindObjectsInit: Some(objects::C_FindObjectsInit),
    C_FindObjects: Some(objects::C_FindObjects),
    C_FindObjectsFinal: Some(objects::C_FindObjectsFinal),
    C_EncryptInit: Some(cryptography::C_EncryptInit),
    C_Encrypt: Some(cryptography::C_Encrypt),
    C_EncryptUpdate: Some(cryptography::C_EncryptUpdate),
    C_EncryptFinal: Some(cryptography::C_EncryptFinal),
    C_DecryptInit: Some(cryptography::C_DecryptInit),
    C_Decrypt: Some(cryptography::C_Decrypt),
    C_DecryptUpdate: Some(cryptography::C_DecryptUpdate),
    C_DecryptFinal: Some(cryptography::C_DecryptFinal),
    C_DigestInit: Some(cryptography::C_DigestInit),
    C_Digest: Some(cryptography::C_Digest),
    C_DigestUpdate: Some(cryptography::C_DigestUpdate),
    C_DigestKey: Some(unsupported::C_DigestKey),
    C_DigestFinal: Some(cryptography::C_DigestFinal),
    C_SignInit: Some(cryptography::C_SignInit),
    C_Sign: Some(cryptography::C_Sign),
    C_SignUpdate: Some(cryptography::C_SignUpdate),
    C_SignFinal: Some(cryptography::C_SignFinal),
    C_SignRecoverInit: Some(unsupported::C_SignRecoverInit),
    C_SignRecover: Some(unsupported::C_SignRecover),
    C_VerifyInit: Some(cryptography::C_VerifyInit),
    C_Verify: Some(cryptography::C_Verify),
    C_VerifyUpdate: Some(cryptography::C_VerifyUpdate),
    C_VerifyFinal: Some(cryptography::C_VerifyFinal),
    C_VerifyRecoverInit: Some(unsupported::C_VerifyRecoverInit),
    C_VerifyRecover: Some(unsupported::C_VerifyRecover),
    C_DigestEncryptUpdate: Some(unsupported::C_DigestEncryptUpdate),
    C_DecryptDigestUpdate: Some(unsupported::C_DecryptDigestUpdate),
    C_SignEncryptUpdate: Some(unsupported::C_SignEncryptUpdate),
    C_DecryptVerifyUpdate: Some(unsupported::C_DecryptVerifyUpdate),
    C_GenerateKey: Some(objects::C_GenerateKey),
    C_GenerateKeyPair: Some(objects::C_GenerateKeyPair),
    C_WrapKey: Some(objects::C_WrapKey),
    C_UnwrapKey: Some(objects::C_UnwrapKey),
    C_DeriveKey: Some(unsupported::C_DeriveKey),
    C_SeedRandom: Some(cryptography::C_SeedRandom),
    C_GenerateRandom: Some(cryptography::C_GenerateRandom),
    C_GetFunctionStatus: Some(unsupported::C_GetFunctionStatus),
    C_CancelFunction: Some(unsupported::C_CancelFunction),
    C_WaitForSlotEvent: Some(unsupported::C_WaitForSlotEvent),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_general_error() {
        assert_eq!(guarded(|| panic!("inside")), CKR_GENERAL_ERROR);
        assert_eq!(guarded(|| refuse(CKR_PIN_INCORRECT)), CKR_PIN_INCORRECT);
        assert_eq!(guarded(|| Ok(())), CKR_OK);
    }

    #[test]
    fn nothing_works_before_initialisation_and_null_is_refused() {
        // SAFETY: null is within the functions' contract.
        unsafe {
            assert_eq!(C_GetFunctionList(std::ptr::null_mut()), CKR_ARGUMENTS_BAD);
            assert_eq!(general::C_GetInfo(std::ptr::null_mut()), CKR_CRYPTOKI_NOT_INITIALIZED);
            assert_eq!(general::C_Finalize(std::ptr::null_mut()), CKR_CRYPTOKI_NOT_INITIALIZED);
        }
    }
}
