//! Initialisation, slots, tokens and mechanisms (PKCS#11 2.40 base, 5.4 and 5.5).

use cryptoki_sys::*;

use super::{finalise, guarded, initialise, module, pointers};
use crate::error::{CkResult, refuse};
use crate::module::{Module, PIN_BYTES_MAX};
use crate::store::{Attempts, Header};

const MANUFACTURER: &str = "Bixi";
const MODEL: &str = "Bixi token";
const VERSION: CK_VERSION = CK_VERSION { major: 0, minor: 1 };

/// Blank-padded text of a fixed field.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|index| text.as_bytes().get(index).copied().unwrap_or(b' '))
}

pub(super) unsafe extern "C" fn C_Initialize(arguments: *mut std::ffi::c_void) -> CK_RV {
    guarded(|| {
        let pointer: *mut CK_C_INITIALIZE_ARGS = arguments.cast();
        if !pointer.is_null() {
            // SAFETY: the standard makes a pointer that is not null one to these arguments.
            check_arguments(&unsafe { pointers::read(pointer)? })?;
        }
        initialise()
    })
}

/// The token locks by the operating system's means; a caller that allows only its own mutexes cannot be served.
fn check_arguments(arguments: &CK_C_INITIALIZE_ARGS) -> CkResult<()> {
    if !arguments.pReserved.is_null() {
        return refuse(CKR_ARGUMENTS_BAD);
    }
    let given = [
        arguments.CreateMutex.is_some(),
        arguments.DestroyMutex.is_some(),
        arguments.LockMutex.is_some(),
        arguments.UnlockMutex.is_some(),
    ];
    let (all, none) = (given.iter().all(|given| *given), given.iter().all(|given| !given));
    match arguments.flags & CKF_OS_LOCKING_OK != 0 {
        _ if !all && !none => refuse(CKR_ARGUMENTS_BAD),
        false if all => refuse(CKR_CANT_LOCK),
        _ => Ok(()),
    }
}

pub(super) unsafe extern "C" fn C_Finalize(reserved: *mut std::ffi::c_void) -> CK_RV {
    guarded(|| if reserved.is_null() { finalise() } else { refuse(CKR_ARGUMENTS_BAD) })
}

pub(super) unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    guarded(|| {
        module()?;
        // SAFETY: the standard makes `info` null or a writable structure.
        unsafe { pointers::place(info)? }.put(CK_INFO {
            cryptokiVersion: CK_VERSION { major: 2, minor: 40 },
            manufacturerID: padded(MANUFACTURER),
            flags: 0,
            libraryDescription: padded("Bixi software token"),
            libraryVersion: VERSION,
        });
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_GetSlotList(_: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    guarded(|| {
        let slots = module()?.slots();
        // SAFETY: the standard makes `list` null or an array of `*count` elements.
        unsafe { pointers::put_numbers(&slots, list, count) }
    })
}

pub(super) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    guarded(|| {
        module()?.token(slot)?;
        // SAFETY: the standard makes `info` null or a writable structure.
        unsafe { pointers::place(info)? }.put(CK_SLOT_INFO {
            slotDescription: padded(&format!("Bixi software slot {slot}")),
            manufacturerID: padded(MANUFACTURER),
            flags: CKF_TOKEN_PRESENT,
            hardwareVersion: VERSION,
            firmwareVersion: VERSION,
        });
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `info` null or a writable structure.
        let info = unsafe { pointers::place(info)? };
        info.put(token_info(&module, slot)?);
        Ok(())
    })
}

fn token_info(module: &Module, slot: CK_SLOT_ID) -> CkResult<CK_TOKEN_INFO> {
    let token = module.token(slot)?;
    let header = token.header()?;
    let mut flags = CKF_RNG | CKF_LOGIN_REQUIRED;
    let mut low = |attempts: Attempts| {
        flags |= match attempts.user {
            0 => CKF_USER_PIN_LOCKED,
            1 => CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW,
            left if token.is_low(left) => CKF_USER_PIN_COUNT_LOW,
            _ => 0,
        };
        flags |= match attempts.officer {
            0 => CKF_SO_PIN_LOCKED,
            1 => CKF_SO_PIN_FINAL_TRY | CKF_SO_PIN_COUNT_LOW,
            left if token.is_low(left) => CKF_SO_PIN_COUNT_LOW,
            _ => 0,
        };
    };
    let (mut label, mut serial) = (padded(""), padded(""));
    if let Some((header, attempts)) = &header {
        low(*attempts);
        flags |= CKF_TOKEN_INITIALIZED | if header.has_user_pin() { CKF_USER_PIN_INITIALIZED } else { 0 };
        (label, serial) = (header.label, Header::serial(header));
    }
    let counts = module.session_counts(slot);
    Ok(CK_TOKEN_INFO {
        label,
        manufacturerID: padded(MANUFACTURER),
        model: padded(MODEL),
        serialNumber: serial,
        flags,
        ulMaxSessionCount: module.config.sessions_max.into(),
        ulSessionCount: counts.all,
        ulMaxRwSessionCount: module.config.sessions_max.into(),
        ulRwSessionCount: counts.read_write,
        ulMaxPinLen: PIN_BYTES_MAX as CK_ULONG,
        ulMinPinLen: module.config.pin_bytes_min.into(),
        ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
        hardwareVersion: VERSION,
        firmwareVersion: VERSION,
        utcTime: padded(""),
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        module.token(slot)?;
        // SAFETY: the standard makes `list` null or an array of `*count` elements.
        unsafe { pointers::put_numbers(&module.config.profile.numbers(), list, count) }
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    number: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        module.token(slot)?;
        let Some(algorithm) = module.config.profile.algorithm(number) else { return refuse(CKR_MECHANISM_INVALID) };
        let known = algorithm.info();
        // SAFETY: the standard makes `info` null or a writable structure.
        unsafe { pointers::place(info)? }.put(CK_MECHANISM_INFO {
            ulMinKeySize: known.key_size_min,
            ulMaxKeySize: known.key_size_max,
            flags: known.flags,
        });
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_InitToken(
    slot: CK_SLOT_ID,
    pin: *mut CK_UTF8CHAR,
    pin_length: CK_ULONG,
    label: *mut CK_UTF8CHAR,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `pin` null or `pin_length` bytes, and `label` null or 32 bytes.
        let (pin, label) = unsafe { (pointers::bytes(pin, pin_length)?, pointers::bytes(label, 32)?) };
        module.init_token(slot, pin, std::array::from_fn(|index| label[index]))
    })
}
