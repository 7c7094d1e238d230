//! What a plugin for an accelerator and its host agree on: one function, [`ENTRY`], that returns a table of functions.
//!
//! A plugin is built for one ABI of libcrypto, its host for none; between them is plain C. The layout of [`Plugin`] never changes under
//! one [`VERSION`]: a plugin with another number or another size is refused before any other field is read.
//!
//! Invariants:
//! * Pointers are valid for the call only, unless said otherwise; nothing is allocated on one side and freed on the other.
//! * A [`Handle`] may be used by several threads at once, from [`Plugin::open`] to the end of the process: closing would unload vendors'
//!   code, which survives that too rarely.
//! * A function that fails has said why in its [`Report`]; what it wrote to its output is worth nothing.
//! * No plugin computes an operation by other means than the accelerator it was asked to open: it fails instead.
#![forbid(unsafe_code)]

use std::ffi::c_void;

/// Name of the function `extern "C" fn() -> *const Plugin`; the table lives as long as the process.
pub const ENTRY: &str = "bixi_accel_plugin_v1";

/// Of the table's layout.
pub const VERSION: u32 = 1;

/// Bytes that one call takes at most: EVP counts in `int`.
pub const CALL_BYTES_MAX: usize = 1 << 30;

/// [`Plugin`]'s functions return it: done.
pub const DONE: i32 = 1;
/// [`Plugin::sm2_verify`]: the signature is not valid.
pub const INVALID: i32 = 0;
/// Not done; the report says why.
pub const FAILED: i32 = -1;

/// What an accelerator may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Operation {
    /// GB/T 32905, whole messages.
    Sm3 = 0,
    /// GB/T 32907, blocks encrypted one by one.
    Sm4EcbEncrypt = 1,
    /// GB/T 32907, blocks decrypted one by one.
    Sm4EcbDecrypt = 2,
    /// GB/T 17964 CBC, decryption (encryption is a block after the other).
    Sm4CbcDecrypt = 3,
    /// GB/T 17964 CTR, a counter of 128 bits, most significant byte first.
    Sm4Ctr = 4,
    /// GB/T 32918.2, verification of a digest over `Z` and message.
    Sm2Verify = 5,
}

impl Operation {
    /// All, by number.
    pub const ALL: [Self; 6] =
        [Self::Sm3, Self::Sm4EcbEncrypt, Self::Sm4EcbDecrypt, Self::Sm4CbcDecrypt, Self::Sm4Ctr, Self::Sm2Verify];

    /// The operation of that number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// Its bit in a set.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// As configuration and reports name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sm3 => "sm3",
            Self::Sm4EcbEncrypt => "sm4-ecb-encrypt",
            Self::Sm4EcbDecrypt => "sm4-ecb-decrypt",
            Self::Sm4CbcDecrypt => "sm4-cbc-decrypt",
            Self::Sm4Ctr => "sm4-ctr",
            Self::Sm2Verify => "sm2-verify",
        }
    }

    /// The operation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

/// An open accelerator, the plugin's own.
pub type Handle = c_void;

/// Borrowed bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slice {
    /// First byte; anything where there are none.
    pub data: *const u8,
    /// How many.
    pub bytes: usize,
}

impl Slice {
    /// Lends `bytes`.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), bytes: bytes.len() }
    }
}

/// How many bytes a [`Report`] holds.
pub const REPORT_BYTES: usize = 1020;

/// Words for people: UTF-8, cut where it would not fit.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Report {
    /// Bytes of `text` that count; more than there are counts as all.
    pub bytes: u32,
    /// The words.
    pub text: [u8; REPORT_BYTES],
}

impl Report {
    /// Says nothing.
    pub const fn empty() -> Self {
        Self { bytes: 0, text: [0; REPORT_BYTES] }
    }

    /// Replaces what it says.
    pub fn say(&mut self, words: &str) {
        let bytes = words.floor_char_boundary(REPORT_BYTES);
        self.text[..bytes].copy_from_slice(&words.as_bytes()[..bytes]);
        self.bytes = bytes as u32;
    }

    /// What it says; a foreign plugin may have said anything.
    pub fn words(&self) -> String {
        let bytes = (self.bytes as usize).min(REPORT_BYTES);
        String::from_utf8_lossy(&self.text[..bytes]).into_owned()
    }
}

/// A control command of an engine, sent before it is initialised: `ENGINE_ctrl_cmd_string`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Command {
    /// Its name.
    pub name: Slice,
    /// Its argument.
    pub value: Slice,
}

/// What to open. Texts are UTF-8 without a zero byte.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Request {
    /// Not 0: `name` is a provider; else an engine's id.
    pub is_provider: u32,
    /// Engine or provider.
    pub name: Slice,
    /// Where its module lies; empty: where libcrypto looks.
    pub directory: Slice,
    /// Property query of everything that is fetched from a provider; may be empty.
    pub properties: Slice,
    /// An engine's commands.
    pub commands: *const Command,
    /// How many.
    pub commands_count: usize,
}

/// The table.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Plugin {
    /// [`VERSION`]
    pub version: u32,
    /// The table's own size.
    pub bytes: u32,
    /// Says which libcrypto is at work.
    pub describe: unsafe extern "C" fn(*mut Report),
    /// Opens an accelerator: [`DONE`] and a handle, or [`FAILED`].
    pub open: unsafe extern "C" fn(*const Request, *mut *mut Handle, *mut Report) -> i32,
    /// The set ([`Operation::bit`]) of what the accelerator itself offers.
    pub operations: unsafe extern "C" fn(*const Handle) -> u32,
    /// Digests of messages: as many as of messages are written.
    pub sm3_many: unsafe extern "C" fn(*const Handle, *const Slice, usize, *mut [u8; 32], *mut Report) -> i32,
    /// A cipher by number: key, first counter or chaining block, input, output of the same length and apart from it, at most
    /// [`CALL_BYTES_MAX`] bytes; whole blocks but for CTR.
    pub sm4:
        unsafe extern "C" fn(*const Handle, u32, *const [u8; 16], *const [u8; 16], Slice, *mut u8, *mut Report) -> i32,
    /// Public key (X ‖ Y), digest `e`, signature in DER: [`DONE`] is valid, [`INVALID`], or [`FAILED`].
    pub sm2_verify: unsafe extern "C" fn(*const Handle, *const [u8; 64], *const [u8; 32], Slice, *mut Report) -> i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_number_its_bit_and_its_name() {
        for (number, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(Operation::from_number(number as u32), Some(operation));
            assert_eq!(Operation::from_name(operation.name()), Some(operation));
            assert_eq!(operation.bit(), 1 << number);
        }
        assert_eq!(Operation::from_number(Operation::ALL.len() as u32), None);
        assert_eq!(Operation::from_name("sm4"), None);
    }

    #[test]
    fn a_report_is_cut_between_characters_and_believed_within_its_bounds() {
        let mut report = Report::empty();
        report.say(&"贔".repeat(1000));
        assert_eq!(report.words(), "贔".repeat(REPORT_BYTES / 3));
        report.bytes = u32::MAX;
        report.text = [b'x'; REPORT_BYTES];
        assert_eq!(report.words().len(), REPORT_BYTES);
    }

    /// Fixed: a plugin of one build is loaded by hosts of others.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_layout_of_version_1_does_not_change() {
        assert_eq!((size_of::<Plugin>(), size_of::<Request>(), size_of::<Report>()), (56, 72, 1024));
        assert_eq!((size_of::<Slice>(), size_of::<Command>()), (16, 32));
    }
}
