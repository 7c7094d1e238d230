//! What a TPM answers when it does not do what it was asked: `TPM_RC` (part 2, 6.6), taken apart and translated.

use std::fmt;

use bixi_hsm::{Cause, DeviceError};

use crate::command::CommandCode;

/// A response code other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResponseCode(pub(crate) u32);

/// What a format-one code complains about, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing in particular, or a format-zero code.
    Unnamed,
    Parameter(u32),
    Handle(u32),
    Session(u32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => Ok(()),
            Self::Parameter(number) => write!(f, " of parameter {number}"),
            Self::Handle(number) => write!(f, " of handle {number}"),
            Self::Session(number) => write!(f, " of session {number}"),
        }
    }
}

/// What can be done about a code without asking anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Send the same bytes again in a moment.
    Resend,
    /// The TPM was reset and nobody started it.
    Startup,
    /// It wants its self-test.
    SelfTest,
}

/// Bit 7: the code names a parameter, a handle or a session.
const FORMAT_ONE: u32 = 0x80;
const PARAMETER: u32 = 0x40;
const SESSION: u32 = 0x800;
/// Layers above the TPM (the kernel's resource manager) put their number here.
const LAYER_MASK: u32 = 0xFFFF_0000;

pub(crate) const AUTH_FAIL: u32 = 0x08E;
pub(crate) const HANDLE: u32 = 0x08B;
pub(crate) const BAD_AUTH: u32 = 0x0A2;
pub(crate) const INITIALIZE: u32 = 0x100;
pub(crate) const LOCKOUT: u32 = 0x921;
const NEEDS_TEST: u32 = 0x153;
const RETRIED: [u32; 5] = [0x908, 0x90A, 0x920, 0x922, 0x923];

impl ResponseCode {
    /// The code without place and layer: a key of [`TABLE`].
    pub(crate) fn base(self) -> u32 {
        let code = self.0 & !LAYER_MASK;
        if code & FORMAT_ONE == 0 { code } else { code & 0xBF }
    }

    pub(crate) fn place(self) -> Place {
        let number = (self.0 >> 8) & 0xF;
        if self.0 & FORMAT_ONE == 0 || number == 0 {
            Place::Unnamed
        } else if self.0 & PARAMETER != 0 {
            Place::Parameter(number)
        } else if self.0 & SESSION != 0 {
            Place::Session(number & 7)
        } else {
            Place::Handle(number)
        }
    }

    pub(crate) fn remedy(self) -> Option<Remedy> {
        match self.base() {
            INITIALIZE => Some(Remedy::Startup),
            NEEDS_TEST => Some(Remedy::SelfTest),
            base if RETRIED.contains(&base) => Some(Remedy::Resend),
            _ => None,
        }
    }

    fn row(self) -> (&'static str, Cause) {
        let found = TABLE.iter().find(|(code, _, _)| *code == self.base());
        found.map_or(("an unknown code", Cause::Fault), |(_, name, cause)| (name, *cause))
    }

    /// Of an error that a TPM's code was made into.
    pub(crate) fn of(error: &DeviceError) -> Option<Self> {
        error.code.and_then(|code| u32::try_from(code).ok()).map(Self)
    }

    /// The room's error.
    pub(crate) fn error(self, command: CommandCode) -> DeviceError {
        let (name, cause) = self.row();
        let message = format!("the TPM answered {name}{}", self.place());
        let error = DeviceError::new(command.name(), cause, message).with_code(self.0.into());
        match self.advice() {
            Some(advice) => error.with_advice(advice),
            None => error,
        }
    }

    /// Where the TPM's own rules say more than the cause.
    fn advice(self) -> Option<&'static str> {
        Some(match self.base() {
            LOCKOUT => {
                "the TPM takes no authorization until its lockout time has passed or its owner resets it \
                 (`tpm2_dictionarylockout --clear-lockout`); losses of power count as wrong PINs"
            }
            0x902 | 0x903 | 0x905 | 0x906 => {
                "others fill the TPM's few slots: use the resource manager's file /dev/tpmrm0, or flush what was left behind"
            }
            0x09F => "the key's file is damaged, or belongs to another TPM or to this one before it was cleared",
            0x14B => "the TPM's non-volatile memory is full: remove objects that nobody needs",
            0x083 | 0x092 | 0x0A6 => {
                "this TPM has no SM2: choose one that lists curve TPM2_ECC_SM2_P256 and scheme TPM2_ALG_SM2"
            }
            0x101 => "the TPM is in failure mode: restart the machine; replace the TPM if it stays",
            _ => return None,
        })
    }
}

/// Base code, name, cause.
#[rustfmt::skip]
const TABLE: &[(u32, &str, Cause)] = &[
    (0x01E, "TPM_RC_BAD_TAG (a TPM 1.2?)", Cause::Setup),
    (0x081, "TPM_RC_ASYMMETRIC", Cause::Unsupported),
    (0x082, "TPM_RC_ATTRIBUTES", Cause::Rejected),
    (0x083, "TPM_RC_HASH", Cause::Unsupported),
    (0x084, "TPM_RC_VALUE", Cause::Rejected),
    (0x085, "TPM_RC_HIERARCHY", Cause::Setup),
    (0x087, "TPM_RC_KEY_SIZE", Cause::Unsupported),
    (0x089, "TPM_RC_MODE", Cause::Unsupported),
    (0x08A, "TPM_RC_TYPE", Cause::WrongKeyUse),
    (HANDLE, "TPM_RC_HANDLE", Cause::SessionLost),
    (0x08C, "TPM_RC_KDF", Cause::Unsupported),
    (0x08D, "TPM_RC_RANGE", Cause::Rejected),
    (AUTH_FAIL, "TPM_RC_AUTH_FAIL", Cause::WrongPin),
    (0x08F, "TPM_RC_NONCE", Cause::SessionLost),
    (0x092, "TPM_RC_SCHEME", Cause::Unsupported),
    (0x095, "TPM_RC_SIZE", Cause::Rejected),
    (0x096, "TPM_RC_SYMMETRIC", Cause::Unsupported),
    (0x097, "TPM_RC_TAG", Cause::Rejected),
    (0x098, "TPM_RC_SELECTOR", Cause::Rejected),
    (0x09A, "TPM_RC_INSUFFICIENT", Cause::Rejected),
    (0x09C, "TPM_RC_KEY", Cause::WrongKeyUse),
    (0x09D, "TPM_RC_POLICY_FAIL", Cause::Setup),
    (0x09F, "TPM_RC_INTEGRITY", Cause::Setup),
    // Only where no wrong PIN is counted (part 2, 6.6.3), so never for a PIN of ours: the session's key is not the TPM's.
    (BAD_AUTH, "TPM_RC_BAD_AUTH", Cause::SessionLost),
    (0x0A3, "TPM_RC_EXPIRED", Cause::SessionLost),
    (0x0A6, "TPM_RC_CURVE", Cause::Unsupported),
    (0x0A7, "TPM_RC_ECC_POINT", Cause::Rejected),
    (INITIALIZE, "TPM_RC_INITIALIZE", Cause::SessionLost),
    (0x101, "TPM_RC_FAILURE", Cause::Fault),
    (0x120, "TPM_RC_DISABLED", Cause::Setup),
    (0x124, "TPM_RC_AUTH_TYPE", Cause::Setup),
    (0x125, "TPM_RC_AUTH_MISSING", Cause::Setup),
    (0x12D, "TPM_RC_UPGRADE", Cause::Fault),
    (0x12F, "TPM_RC_AUTH_UNAVAILABLE", Cause::Setup),
    (0x130, "TPM_RC_REBOOT", Cause::Fault),
    (0x142, "TPM_RC_COMMAND_SIZE", Cause::Rejected),
    (0x143, "TPM_RC_COMMAND_CODE", Cause::Unsupported),
    (0x144, "TPM_RC_AUTHSIZE", Cause::Rejected),
    (0x145, "TPM_RC_AUTH_CONTEXT", Cause::Rejected),
    (0x148, "TPM_RC_NV_LOCKED", Cause::Setup),
    (0x149, "TPM_RC_NV_AUTHORIZATION", Cause::Setup),
    (0x14A, "TPM_RC_NV_UNINITIALIZED", Cause::Setup),
    (0x14B, "TPM_RC_NV_SPACE", Cause::Rejected),
    (0x14C, "TPM_RC_NV_DEFINED", Cause::Rejected),
    (0x150, "TPM_RC_BAD_CONTEXT", Cause::SessionLost),
    (NEEDS_TEST, "TPM_RC_NEEDS_TEST", Cause::Busy),
    (0x901, "TPM_RC_CONTEXT_GAP", Cause::SessionLost),
    (0x902, "TPM_RC_OBJECT_MEMORY", Cause::Busy),
    (0x903, "TPM_RC_SESSION_MEMORY", Cause::Busy),
    (0x904, "TPM_RC_MEMORY", Cause::Busy),
    (0x905, "TPM_RC_SESSION_HANDLES", Cause::Busy),
    (0x906, "TPM_RC_OBJECT_HANDLES", Cause::Busy),
    (0x907, "TPM_RC_LOCALITY", Cause::Setup),
    (0x908, "TPM_RC_YIELDED", Cause::Busy),
    (0x909, "TPM_RC_CANCELED", Cause::Busy),
    (0x90A, "TPM_RC_TESTING", Cause::Busy),
    (0x910, "TPM_RC_REFERENCE_H0", Cause::SessionLost),
    (0x911, "TPM_RC_REFERENCE_H1", Cause::SessionLost),
    (0x912, "TPM_RC_REFERENCE_H2", Cause::SessionLost),
    (0x918, "TPM_RC_REFERENCE_S0", Cause::SessionLost),
    (0x919, "TPM_RC_REFERENCE_S1", Cause::SessionLost),
    (0x920, "TPM_RC_NV_RATE", Cause::Busy),
    // Whoever logs in again finds how long it lasts, before a PIN is sent: see `Lockout::refuse_when_locked`.
    (LOCKOUT, "TPM_RC_LOCKOUT", Cause::SessionLost),
    (0x922, "TPM_RC_RETRY", Cause::Busy),
    (0x923, "TPM_RC_NV_UNAVAILABLE", Cause::Busy),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_where_the_format_has_them() {
        let cases = [
            (0x98E, AUTH_FAIL, Place::Session(1)),
            (0xA8E, AUTH_FAIL, Place::Session(2)),
            (0x18B, HANDLE, Place::Handle(1)),
            (0x2C3, 0x083, Place::Parameter(2)),
            (0x0A2, 0x0A2, Place::Unnamed),
            (0x921, 0x921, Place::Unnamed),
            (0x100, INITIALIZE, Place::Unnamed),
            (0x000B_0143, 0x143, Place::Unnamed),
        ];
        for (code, base, place) in cases {
            assert_eq!((ResponseCode(code).base(), ResponseCode(code).place()), (base, place), "{code:#x}");
        }
    }

    #[test]
    fn wrong_pins_lockout_and_load_are_told_apart() {
        let cause = |code| ResponseCode(code).error(CommandCode::Sign).cause;
        assert_eq!([0x98E, 0x9A2].map(cause), [Cause::WrongPin, Cause::SessionLost]);
        assert_eq!(cause(0x921), Cause::SessionLost);
        assert_eq!([0x902, 0x922, 0x90A].map(cause), [Cause::Busy; 3]);
        assert_eq!(cause(0x9FF), Cause::Fault);
        let remedies = [0x100, 0x153, 0x922, 0x90A, 0x908, 0x920, 0x921, 0x98E].map(|code| ResponseCode(code).remedy());
        let resend = Some(Remedy::Resend);
        let expected = [Some(Remedy::Startup), Some(Remedy::SelfTest), resend, resend, resend, resend, None, None];
        assert_eq!(remedies, expected);
    }

    #[test]
    fn names_command_code_place_and_remedy() {
        let text = ResponseCode(0x98E).error(CommandCode::Sign).to_string();
        assert!(
            text.starts_with("TPM2_Sign: the TPM answered TPM_RC_AUTH_FAIL of session 1 (code 0x0000098E); "),
            "{text}"
        );
    }

    #[test]
    fn the_table_holds_base_codes_once() {
        for (index, (code, name, _)) in TABLE.iter().enumerate() {
            assert_eq!(ResponseCode(*code).base(), *code, "{name}");
            assert!(TABLE[..index].iter().all(|(other, _, _)| other != code), "{name} stands twice");
        }
    }
}
