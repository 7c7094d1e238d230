//! What the token does not do, answered as the standard asks: `CKR_FUNCTION_NOT_SUPPORTED`, and
//! `CKR_FUNCTION_NOT_PARALLEL` for the two functions that are legacy in every module.

use std::ffi::c_void;

use cryptoki_sys::*;

macro_rules! unsupported {
    ($($name:ident($($argument:ty),*) $answer:ident;)*) => {$(
        pub(super) unsafe extern "C" fn $name($(_: $argument),*) -> CK_RV {
            $answer
        }
    )*};
}

unsupported! {
    C_GetOperationState(CK_SESSION_HANDLE, *mut CK_BYTE, *mut CK_ULONG) CKR_FUNCTION_NOT_SUPPORTED;
    C_SetOperationState(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)
        CKR_FUNCTION_NOT_SUPPORTED;
    C_CopyObject(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, *mut CK_ATTRIBUTE, CK_ULONG, *mut CK_OBJECT_HANDLE)
        CKR_FUNCTION_NOT_SUPPORTED;
    C_GetObjectSize(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, *mut CK_ULONG) CKR_FUNCTION_NOT_SUPPORTED;
    C_DigestKey(CK_SESSION_HANDLE, CK_OBJECT_HANDLE) CKR_FUNCTION_NOT_SUPPORTED;
    C_SignRecoverInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) CKR_FUNCTION_NOT_SUPPORTED;
    C_SignRecover(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) CKR_FUNCTION_NOT_SUPPORTED;
    C_VerifyRecoverInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) CKR_FUNCTION_NOT_SUPPORTED;
    C_VerifyRecover(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) CKR_FUNCTION_NOT_SUPPORTED;
    C_DigestEncryptUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG)
        CKR_FUNCTION_NOT_SUPPORTED;
    C_DecryptDigestUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG)
        CKR_FUNCTION_NOT_SUPPORTED;
    C_SignEncryptUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG)
        CKR_FUNCTION_NOT_SUPPORTED;
    C_DecryptVerifyUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG)
        CKR_FUNCTION_NOT_SUPPORTED;
    C_DeriveKey(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE, *mut CK_ATTRIBUTE, CK_ULONG,
        *mut CK_OBJECT_HANDLE) CKR_FUNCTION_NOT_SUPPORTED;
    C_GetFunctionStatus(CK_SESSION_HANDLE) CKR_FUNCTION_NOT_PARALLEL;
    C_CancelFunction(CK_SESSION_HANDLE) CKR_FUNCTION_NOT_PARALLEL;
    C_WaitForSlotEvent(CK_FLAGS, *mut CK_SLOT_ID, *mut c_void) CKR_FUNCTION_NOT_SUPPORTED;
}
