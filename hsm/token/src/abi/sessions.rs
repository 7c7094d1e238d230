//! Sessions, logins and PINs (PKCS#11 2.40 base, 5.6, and `C_InitPIN`, `C_SetPIN` of 5.5).

use cryptoki_sys::*;

use super::{guarded, module, pointers};

pub(super) unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: *mut std::ffi::c_void,
    _notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `session` null or writable.
        let session = unsafe { pointers::place(session)? };
        session.put(module.open_session(slot, flags)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    guarded(|| module()?.close_session(session))
}

pub(super) unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    guarded(|| module()?.close_all_sessions(slot))
}

pub(super) unsafe extern "C" fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `info` null or a writable structure.
        let info = unsafe { pointers::place(info)? };
        info.put(module.session_info(session)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `pin` null or `length` bytes.
        module.login(session, user, unsafe { pointers::bytes(pin, length)? })
    })
}

pub(super) unsafe extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    guarded(|| module()?.logout(session))
}

pub(super) unsafe extern "C" fn C_InitPIN(
    session: CK_SESSION_HANDLE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `pin` null or `length` bytes.
        module.init_pin(session, unsafe { pointers::bytes(pin, length)? })
    })
}

pub(super) unsafe extern "C" fn C_SetPIN(
    session: CK_SESSION_HANDLE,
    old: *mut CK_UTF8CHAR,
    old_length: CK_ULONG,
    new: *mut CK_UTF8CHAR,
    new_length: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes each PIN null or as long as the length beside it.
        let (old, new) = unsafe { (pointers::bytes(old, old_length)?, pointers::bytes(new, new_length)?) };
        module.set_pin(session, old, new)
    })
}
