//! From what a library answers to what the caller and the officer need.

use std::borrow::Cow;

use bixi_hsm::{Cause, DeviceError};

use crate::abi::{SDR_BASE, SWR_BASE, SWR_CARD_BASE};

/// One of the standard's codes: its name, what happened, and better advice than the cause's own.
struct Known(&'static str, Cause, Option<&'static str>);

const ALGORITHM: Option<&str> = Some("compare the algorithm identifiers in the profile with the vendor's manual");
const RIGHT: Option<&str> =
    Some("check that the key's access password is the configured one and that the index may be used");

/// `SDR_HARDFAIL`
const HARDFAIL: u32 = 0x04;
/// `SDR_INARGERR`
const INARGERR: u32 = 0x1D;

/// `SDR_BASE + 1` onwards (GM/T 0018 annex A).
#[rustfmt::skip]
const STANDARD: [Known; 0x1E] = [
    Known("SDR_UNKNOWERR",       Cause::Fault,       None),
    Known("SDR_NOTSUPPORT",      Cause::Unsupported, Some("the library does not offer this call; ask the vendor for a newer one")),
    Known("SDR_COMMFAIL",        Cause::Absent,      None),
    Known("SDR_HARDFAIL",        Cause::Fault,       None),
    Known("SDR_OPENDEVICE",      Cause::Absent,      Some("check the device and the library's own configuration; another program may hold it")),
    Known("SDR_OPENSESSION",     Cause::Busy,        Some("lower hsm.sessions_max, or close other programs on the device")),
    Known("SDR_PARDENY",         Cause::SessionLost, RIGHT),
    Known("SDR_KEYNOTEXIST",     Cause::KeyNotFound, Some("make the key pair with the vendor's tool, or correct its index")),
    Known("SDR_ALGNOTSUPPORT",   Cause::Unsupported, ALGORITHM),
    Known("SDR_ALGMODNOTSUPPORT", Cause::Unsupported, ALGORITHM),
    Known("SDR_PKOPERR",         Cause::Fault,       None),
    Known("SDR_SKOPERR",         Cause::Fault,       None),
    Known("SDR_SIGNERR",         Cause::Fault,       None),
    Known("SDR_VERIFYERR",       Cause::Fault,       None),
    Known("SDR_SYMOPERR",        Cause::Fault,       None),
    Known("SDR_STEPERR",         Cause::SessionLost, None),
    Known("SDR_FILESIZEERR",     Cause::Rejected,    None),
    Known("SDR_FILENOEXIST",     Cause::Rejected,    None),
    Known("SDR_FILEOFSERR",      Cause::Rejected,    None),
    Known("SDR_KEYTYPEERR",      Cause::WrongKeyUse, None),
    Known("SDR_KEYERR",          Cause::SessionLost, None),
    Known("SDR_ENCDATAERR",      Cause::Rejected,    None),
    Known("SDR_RANDERR",         Cause::Fault,       None),
    Known("SDR_PRKRERR",         Cause::SessionLost, RIGHT),
    Known("SDR_MACERR",          Cause::Fault,       None),
    Known("SDR_FILEEXISTS",      Cause::Rejected,    None),
    Known("SDR_FILEWERR",        Cause::Fault,       None),
    Known("SDR_NOBUFFER",        Cause::Fault,       None),
    Known("SDR_INARGERR",        Cause::Rejected,    Some("check the profile, the key's index and its access right")),
    Known("SDR_OUTARGERR",       Cause::Rejected,    Some("check the profile: a structure's length is not what the library expects")),
];

/// An answer of `function` that is not `SDR_OK`.
pub(crate) fn device_error(function: &'static str, code: u32) -> DeviceError {
    let (name, cause, advice) = describe(code);
    let error = DeviceError::new(function, cause, name).with_code(code.into());
    match advice {
        Some(advice) => error.with_advice(advice),
        None => error,
    }
}

fn describe(code: u32) -> (Cow<'static, str>, Cause, Option<&'static str>) {
    let number = code.wrapping_sub(SDR_BASE).wrapping_sub(1) as usize;
    if let Some(Known(name, cause, advice)) = STANDARD.get(number) {
        return (Cow::Borrowed(name), *cause, *advice);
    }
    match code & 0xFFFF_FF00 {
        base if base == SWR_BASE | 0x100 || base == SWR_BASE | 0x200 => (
            "the library reaches no device (Sansec SWR)".into(),
            Cause::Absent,
            Some("check address, port and password of the device in the library's own configuration"),
        ),
        _ if code & 0xFFFF_0000 == SWR_BASE => ("an error of Sansec's library (SWR)".into(), Cause::Fault, None),
        _ if code & 0xFFFF_0000 == SWR_CARD_BASE => ("an error of Sansec's card".into(), Cause::Fault, None),
        _ => ("a code of the vendor's own".into(), Cause::Fault, Some("look the code up in the vendor's manual")),
    }
}

/// Whether an answer says that the device itself is lost, not one session or one key: what concerns all of it, and calls that
/// use no key.
pub(crate) fn device_is_lost(error: &DeviceError) -> bool {
    let without_key = matches!(&*error.function, "SDF_OpenDevice" | "SDF_OpenSession" | "SDF_GetDeviceInfo");
    match error.cause {
        Cause::Absent => true,
        Cause::Fault => without_key || error.code == Some(u64::from(SDR_BASE + HARDFAIL)),
        Cause::SessionLost | Cause::Rejected => without_key,
        _ => false,
    }
}

/// The answer to a call with a private key whose right was taken, and whose arguments are right by construction: libraries that
/// have lost the right call its index a wrong argument.
pub(crate) fn right_lost(error: DeviceError) -> DeviceError {
    if error.code != Some(u64::from(SDR_BASE + INARGERR)) {
        return error;
    }
    DeviceError { cause: Cause::SessionLost, ..error }
}

/// What an answer to a password means. A device counts wrong ones, and vendors have codes of their own for them: whatever does
/// not clearly say something else was a wrong password, so that no code can make us try it again.
pub(crate) fn password_error(function: &'static str, code: u32) -> DeviceError {
    let error = device_error(function, code);
    let about_the_device = matches!(error.cause, Cause::Absent | Cause::KeyNotFound | Cause::Busy | Cause::Unsupported);
    if about_the_device || code == SDR_BASE + HARDFAIL {
        return error;
    }
    let message = format!("{}: the device refused the password", error.message);
    DeviceError::new(function, Cause::WrongPin, message).with_code(code.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_function_code_and_remedy() {
        let error = device_error("SDF_InternalSign_ECC", 0x0100_0008);
        assert_eq!((error.cause, error.code), (Cause::KeyNotFound, Some(0x0100_0008)));
        let text = error.to_string();
        assert!(
            text.starts_with("SDF_InternalSign_ECC: SDR_KEYNOTEXIST (code 0x01000008); make the key pair"),
            "{text}"
        );
    }

    #[test]
    fn the_device_is_lost_by_what_concerns_all_of_it() {
        for (function, code, lost) in [
            ("SDF_InternalSign_ECC", 0x0100_0003, true),
            ("SDF_InternalSign_ECC", 0x0100_0004, true),
            ("SDF_InternalSign_ECC", 0x0101_0201, true),
            ("SDF_InternalSign_ECC", 0x0100_000C, false),
            ("SDF_InternalSign_ECC", 0x0101_0042, false),
            ("SDF_Encrypt", 0x0100_0015, false),
            ("SDF_GetDeviceInfo", 0x0100_0001, true),
            ("SDF_OpenSession", 0x0100_001D, true),
            ("SDF_OpenSession", 0x0100_0006, false),
        ] {
            assert_eq!(device_is_lost(&device_error(function, code)), lost, "{function} 0x{code:08X}");
        }
    }

    #[test]
    fn the_table_ends_where_the_standard_ends() {
        for (code, name) in
            [(1, "SDR_UNKNOWERR"), (0x10, "SDR_STEPERR"), (0x18, "SDR_PRKRERR"), (0x1E, "SDR_OUTARGERR")]
        {
            assert_eq!(device_error("f", SDR_BASE + code).message, name);
        }
        for code in [SDR_BASE, SDR_BASE + 0x1F, SDR_BASE + 0x100, 1, u32::MAX] {
            assert_eq!(device_error("f", code).message, "a code of the vendor's own", "0x{code:08X}");
        }
    }

    #[test]
    fn knows_the_makers_that_number_their_own() {
        let cause = |code| device_error("f", code).cause;
        assert_eq!(cause(0x0101_0201), Cause::Absent, "no device available");
        assert_eq!(cause(0x0101_0101), Cause::Absent, "no connection");
        assert_eq!(cause(0x0101_0001), Cause::Fault);
        assert!(device_error("f", 0x0102_0007).message.contains("card"));
    }

    #[test]
    fn an_answer_to_a_password_that_says_nothing_else_is_a_wrong_password() {
        let cause = |code| password_error("f", code).cause;
        for wrong in [0x0100_0100, 0x0100_0007, 0x0100_0018, 0x0100_001D, 0x0100_0001, 0x0101_0001, 0x0102_0042] {
            assert_eq!(cause(wrong), Cause::WrongPin, "0x{wrong:08X}");
        }
        assert_eq!(cause(0x0100_0003), Cause::Absent);
        assert_eq!(cause(0x0100_0008), Cause::KeyNotFound);
        assert_eq!(cause(0x0101_0201), Cause::Absent);
        assert_eq!(cause(0x0100_0004), Cause::Fault, "a hardware fault judges no password");
    }
}
