//! Why a device did not do what it was asked.

use std::borrow::Cow;
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum ErrorKind {
    /// Ask again, within a deadline.
    Retry,
    /// This request will never work; others may.
    Refuse,
    /// Stop using the device; a person must act.
    Halt,
}

/// What went wrong, independent of the vendor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum Cause {
    /// The PIN is wrong. One attempt only: another may lock the device.
    WrongPin,
    /// The device counts too many wrong PINs.
    PinLocked,
    /// The device or token is not there.
    Absent,
    /// The session or login ended; the backend logs in again on the next call.
    SessionLost,
    /// No session came free in time.
    Busy,
    /// No answer in time.
    Timeout,
    /// The device reports a fault of its own.
    Fault,
    /// No key answers to the reference.
    KeyNotFound,
    /// More than one key answers to the reference.
    KeyAmbiguous,
    /// A key of that name exists.
    KeyExists,
    /// The key exists and is not for this use.
    WrongKeyUse,
    /// The device cannot do this.
    Unsupported,
    /// The arguments or a rule of ours forbid it.
    Rejected,
    /// The device's answer is wrong: a signature that does not verify, a point off the curve, a short random answer.
    BadAnswer,
    /// The module or its configuration cannot be used.
    Setup,
    /// This PIN was refused before: it was not tried again.
    PinHeldBack,
    /// The last attempts with this PIN never came back: it was not tried again.
    PinUnanswered,
    /// The counter that the device had is gone.
    CounterRemoved,
}

impl Cause {
    /// What the caller can do.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Absent | Self::SessionLost | Self::Busy | Self::Timeout | Self::Fault => ErrorKind::Retry,
            Self::KeyNotFound
            | Self::KeyAmbiguous
            | Self::KeyExists
            | Self::WrongKeyUse
            | Self::Unsupported
            | Self::Rejected => ErrorKind::Refuse,
            Self::WrongPin
            | Self::PinLocked
            | Self::PinHeldBack
            | Self::PinUnanswered
            | Self::BadAnswer
            | Self::Setup
            | Self::CounterRemoved => ErrorKind::Halt,
        }
    }

    /// Whether the PIN stands in the way: nothing is asked of the device any more by whoever met it.
    pub const fn concerns_pin(self) -> bool {
        self.is_pin_refusal() || matches!(self, Self::PinUnanswered)
    }

    /// Whether the device takes no PIN, or not this one. Another start cannot do better until a person has acted, and a supervisor
    /// that restarts might lock the device.
    pub const fn is_pin_refusal(self) -> bool {
        matches!(self, Self::WrongPin | Self::PinLocked | Self::PinHeldBack)
    }

    /// What an officer should do, when the backend knows nothing better.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::WrongPin => "correct the PIN before the next try; nothing tries it again by itself",
            Self::PinLocked => {
                "have the security officer unlock the token; where his own PIN is locked, the vendor's documents say what is left, usually to make \
                 the token anew"
            }
            Self::PinHeldBack => "correct the PIN",
            Self::PinUnanswered => "make sure that the device answers, then remove the memory of PINs",
            Self::Absent => "check that the device is connected and its service runs",
            Self::SessionLost | Self::Busy | Self::Timeout => "retried by itself; check the device's load if it stays",
            Self::Fault => "read the device's own log",
            Self::KeyNotFound => "compare the key's URI with what `bixi doctor` lists",
            Self::KeyAmbiguous => "add the id to the key's URI",
            Self::KeyExists => "choose another label, or use the existing key",
            Self::WrongKeyUse => "use a key that was generated for this purpose",
            Self::Unsupported => "check the vendor profile with `bixi hsm probe`",
            Self::Rejected => "correct the request",
            Self::BadAnswer => "stop using the device: check the vendor profile with `bixi hsm probe`, then the device",
            Self::Setup => "correct the module's path or configuration",
            Self::CounterRemoved => {
                "whether this disk was set back cannot be told any more: find out who changed the device; with the node's newest disk, \
                 `bixi hsm guard adopt --old-copy` makes another counter"
            }
        }
    }
}

/// A failed device call: which function, what it answered, what to do.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct DeviceError {
    /// The function that failed, e.g. `C_Sign`.
    pub function: Cow<'static, str>,
    /// The code it returned; `None` when the call never reached the device.
    pub code: Option<u64>,
    /// What went wrong.
    pub cause: Cause,
    /// In words; holds no secret.
    pub message: String,
    /// What an officer should do.
    pub advice: Cow<'static, str>,
}

impl DeviceError {
    /// An error without a device code and with the cause's own advice.
    pub fn new(function: impl Into<Cow<'static, str>>, cause: Cause, message: impl Into<String>) -> Self {
        Self {
            function: function.into(),
            code: None,
            cause,
            message: message.into(),
            advice: Cow::Borrowed(cause.advice()),
        }
    }

    /// The code the device answered.
    pub fn with_code(mut self, code: u64) -> Self {
        self.code = Some(code);
        self
    }

    /// Better advice than the cause's own.
    pub fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = advice.into();
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind()
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.function, self.message)?;
        if let Some(code) = self.code {
            write!(f, " (code 0x{code:08X})")?;
        }
        write!(f, "; {}", self.advice)
    }
}

impl fmt::Debug for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceError[{:?}]({self})", self.cause)
    }
}

impl BorshSerialize for DeviceError {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        (&*self.function, self.code, self.cause, &self.message, &*self.advice).serialize(writer)
    }
}

impl BorshDeserialize for DeviceError {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let (function, code, cause, message, advice) =
            <(String, Option<u64>, Cause, String, String)>::deserialize_reader(reader)?;
        Ok(Self { function: function.into(), code, cause, message, advice: advice.into() })
    }
}
