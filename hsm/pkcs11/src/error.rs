//! From what `cryptoki` reports to what the caller and the officer need.

use std::borrow::Cow;

use bixi_hsm::{Cause, DeviceError};
use cryptoki::error::{Error, Rv, RvError};
use cryptoki_sys::*;

/// What a killed initialisation leaves.
const HALF_MADE: &str = "the token's initialisation was cut off before it had a user PIN, so no key is in it: initialise it again (`bixi hsm \
                         init --destroy`), or remove the shipped token's directory and repeat the step";

/// A failed call as the room's error.
pub(crate) fn device_error(what: &'static str, error: &Error) -> DeviceError {
    match error {
        Error::Pkcs11(rv, function) => {
            let function = Cow::Owned(format!("C_{function:?}"));
            let failed = DeviceError::new(function, cause(rv), format!("{what}: {rv:?}"));
            let failed = match rv {
                RvError::UserPinNotInitialized => failed.with_advice(HALF_MADE),
                _ => failed,
            };
            match code(rv) {
                Some(code) => failed.with_code(code),
                None => failed,
            }
        }
        Error::LibraryLoading(error) => DeviceError::new("dlopen", Cause::Setup, format!("{what}: {error}"))
            .with_advice("check the module's path, its architecture and the libraries it needs (ldd)"),
        Error::MissingSymbol(symbol) => DeviceError::new("dlsym", Cause::Setup, format!("{what}: no {symbol}"))
            .with_advice("the file is a shared library but no PKCS#11 module; check the path"),
        Error::NotSupported | Error::NullFunctionPointer => {
            DeviceError::new(what, Cause::Unsupported, error.to_string())
        }
        other => DeviceError::new(what, Cause::BadAnswer, other.to_string()),
    }
}

/// What happened, by return value.
pub(crate) fn cause(rv: &RvError) -> Cause {
    match rv {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => Cause::WrongPin,
        RvError::PinLocked | RvError::PinExpired => Cause::PinLocked,
        RvError::TokenNotPresent | RvError::DeviceRemoved | RvError::SlotIdInvalid => Cause::Absent,
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::UserNotLoggedIn
        | RvError::CryptokiNotInitialized
        | RvError::ObjectHandleInvalid
        | RvError::KeyHandleInvalid => Cause::SessionLost,
        RvError::SessionCount => Cause::Busy,
        RvError::FunctionNotSupported
        | RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::CurveNotSupported => Cause::Unsupported,
        RvError::KeyFunctionNotPermitted | RvError::KeyTypeInconsistent => Cause::WrongKeyUse,
        RvError::TokenNotRecognized
        | RvError::UserPinNotInitialized
        | RvError::TokenWriteProtected
        | RvError::CantLock => Cause::Setup,
        RvError::AttributeReadOnly
        | RvError::AttributeSensitive
        | RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid
        | RvError::TemplateIncomplete
        | RvError::TemplateInconsistent
        | RvError::ActionProhibited
        | RvError::SessionReadOnly
        | RvError::DataLenRange
        | RvError::DataInvalid => Cause::Rejected,
        _ => Cause::Fault,
    }
}

/// The number behind `cryptoki`'s name.
fn code(rv: &RvError) -> Option<u64> {
    if let RvError::VendorDefined(code) = rv {
        return Some(*code);
    }
    KNOWN.iter().copied().find(|code| matches!(Rv::from(*code), Rv::Error(error) if error == *rv))
}

const KNOWN: &[CK_RV] = &[
    CKR_CANCEL,
    CKR_HOST_MEMORY,
    CKR_SLOT_ID_INVALID,
    CKR_GENERAL_ERROR,
    CKR_FUNCTION_FAILED,
    CKR_ARGUMENTS_BAD,
    CKR_CANT_LOCK,
    CKR_ATTRIBUTE_READ_ONLY,
    CKR_ATTRIBUTE_SENSITIVE,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_ACTION_PROHIBITED,
    CKR_DATA_INVALID,
    CKR_DATA_LEN_RANGE,
    CKR_DEVICE_ERROR,
    CKR_DEVICE_MEMORY,
    CKR_DEVICE_REMOVED,
    CKR_FUNCTION_NOT_SUPPORTED,
    CKR_CURVE_NOT_SUPPORTED,
    CKR_KEY_HANDLE_INVALID,
    CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT,
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_OPERATION_ACTIVE,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_PIN_INCORRECT,
    CKR_PIN_INVALID,
    CKR_PIN_LEN_RANGE,
    CKR_PIN_EXPIRED,
    CKR_PIN_LOCKED,
    CKR_SESSION_CLOSED,
    CKR_SESSION_COUNT,
    CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_READ_ONLY,
    CKR_SESSION_EXISTS,
    CKR_TEMPLATE_INCOMPLETE,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_TOKEN_NOT_PRESENT,
    CKR_TOKEN_NOT_RECOGNIZED,
    CKR_TOKEN_WRITE_PROTECTED,
    CKR_USER_ALREADY_LOGGED_IN,
    CKR_USER_NOT_LOGGED_IN,
    CKR_USER_PIN_NOT_INITIALIZED,
    CKR_USER_TYPE_INVALID,
    CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    CKR_RANDOM_NO_RNG,
    CKR_BUFFER_TOO_SMALL,
    CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_CRYPTOKI_ALREADY_INITIALIZED,
];

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn names_function_code_and_remedy() {
        let error = device_error("log in", &Error::Pkcs11(RvError::PinIncorrect, Function::Login));
        assert_eq!((error.cause, error.code), (Cause::WrongPin, Some(CKR_PIN_INCORRECT)));
        let text = error.to_string();
        assert!(text.starts_with("C_Login: log in: PinIncorrect (code 0x000000A0); "), "{text}");
        let half_made = device_error("log in", &Error::Pkcs11(RvError::UserPinNotInitialized, Function::Login));
        assert!(half_made.to_string().contains("initialise it again"), "{half_made}");
    }

    #[test]
    fn every_known_code_comes_back_as_itself() {
        for known in KNOWN {
            let Rv::Error(rv) = Rv::from(*known) else { panic!("0x{known:x} is no error") };
            assert_eq!(code(&rv), Some(*known));
        }
    }
}
