//! One command and its response as bytes (part 1, 18; part 3, 5): header, handles, authorizations, parameters.

use zeroize::Zeroizing;

use crate::line::HEADER_BYTES;
use crate::wire::{Malformed, Reader, Writer};

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// `TPM_RS_PW`: an authorization by password; ours is always the empty one.
const PASSWORD: u32 = 0x4000_0009;
/// Longest nonce, HMAC or digest.
pub(crate) const DIGEST_BYTES_MAX: usize = 64;

/// Makes the enumeration and the names of its commands from one table.
macro_rules! commands {
    ($($name:ident = $code:literal $text:literal),* $(,)?) => {
        /// What a TPM can be asked for here (part 2, 6.5.2).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum CommandCode { $($name = $code),* }

        impl CommandCode {
            /// The standard's name.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => concat!("TPM2_", $text)),* }
            }
        }
    };
}

commands! {
    EvictControl = 0x120 "EvictControl",
    NvUndefineSpace = 0x122 "NV_UndefineSpace",
    NvDefineSpace = 0x12A "NV_DefineSpace",
    CreatePrimary = 0x131 "CreatePrimary",
    NvIncrement = 0x134 "NV_Increment",
    SelfTest = 0x143 "SelfTest",
    Startup = 0x144 "Startup",
    Certify = 0x148 "Certify",
    NvRead = 0x14E "NV_Read",
    Create = 0x153 "Create",
    Hmac = 0x155 "HMAC",
    Load = 0x157 "Load",
    Sign = 0x15D "Sign",
    FlushContext = 0x165 "FlushContext",
    NvReadPublic = 0x169 "NV_ReadPublic",
    ReadPublic = 0x173 "ReadPublic",
    StartAuthSession = 0x176 "StartAuthSession",
    GetCapability = 0x17A "GetCapability",
    GetRandom = 0x17B "GetRandom",
    ReadClock = 0x181 "ReadClock",
}

/// Something a command works on: its handle, and the name that stands for it in an HMAC (part 1, 16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) handle: u32,
    pub(crate) name: Vec<u8>,
}

impl Entity {
    /// A hierarchy is its own name.
    pub(crate) fn permanent(handle: u32) -> Self {
        Self { handle, name: handle.to_be_bytes().to_vec() }
    }
}

/// What the session of a command does for it.
#[derive(Clone, Copy)]
pub(crate) struct Protection<'a> {
    /// Authorizes the use of the first handle with this value; absent, the session authorizes nothing.
    pub(crate) authorization: Option<&'a [u8]>,
    /// Hide the first parameter of the command.
    pub(crate) hide_command: bool,
    /// Hide the first parameter of the response.
    pub(crate) hide_response: bool,
    /// The second handle is authorized too, by the empty password.
    pub(crate) second_is_free: bool,
}

impl<'a> Protection<'a> {
    /// Authorizes the first handle.
    pub(crate) const fn by(value: &'a [u8]) -> Self {
        Self { authorization: Some(value), hide_command: false, hide_response: false, second_is_free: false }
    }

    /// Authorizes nothing and hides the response.
    pub(crate) const HIDDEN_RESPONSE: Protection<'static> =
        Protection { authorization: None, hide_command: false, hide_response: true, second_is_free: false };

    pub(crate) const fn hiding_command(self) -> Self {
        Self { hide_command: true, ..self }
    }

    pub(crate) const fn hiding_response(self) -> Self {
        Self { hide_response: true, ..self }
    }

    pub(crate) const fn with_free_second(self) -> Self {
        Self { second_is_free: true, ..self }
    }
}

/// A command to run.
pub(crate) struct Command<'a> {
    pub(crate) code: CommandCode,
    pub(crate) handles: Vec<Entity>,
    pub(crate) parameters: Writer,
    /// Its session; absent, the command is bare, and what it answers is checked otherwise or harmless.
    pub(crate) protection: Option<Protection<'a>>,
    pub(crate) returns_handle: bool,
}

impl<'a> Command<'a> {
    /// Without session and without a handle in the answer.
    pub(crate) fn bare(code: CommandCode, handles: Vec<Entity>, parameters: Writer) -> Self {
        Self { code, handles, parameters, protection: None, returns_handle: false }
    }

    pub(crate) fn protected(self, protection: Protection<'a>) -> Self {
        Self { protection: Some(protection), ..self }
    }

    pub(crate) fn returning_handle(self) -> Self {
        Self { returns_handle: true, ..self }
    }

    /// The bytes to send, with the session's authorization if there is one.
    pub(crate) fn encode(&self, authorization: Option<&Authorization>) -> Writer {
        let area = authorization.map(|own| {
            let second = self.protection.is_some_and(|protection| protection.second_is_free);
            own.encode(second)
        });
        let area = area.as_ref().map(Writer::as_slice);
        let area_bytes = area.map_or(0, |area| 4 + area.len());
        let length = HEADER_BYTES + 4 * self.handles.len() + area_bytes + self.parameters.as_slice().len();
        let mut message = Writer::new()
            .u16(if area.is_some() { SESSIONS } else { NO_SESSIONS })
            .u32(u32::try_from(length).expect("bounded by the writer"))
            .u32(self.code as u32);
        for entity in &self.handles {
            message = message.u32(entity.handle);
        }
        if let Some(area) = area {
            message = message.u32(u32::try_from(area.len()).expect("bounded by the writer")).bytes(area);
        }
        message.bytes(self.parameters.as_slice())
    }
}

/// The session's part of a command.
pub(crate) struct Authorization {
    pub(crate) session: u32,
    pub(crate) nonce: [u8; 32],
    pub(crate) attributes: u8,
    pub(crate) hmac: [u8; 32],
}

impl Authorization {
    fn encode(&self, free_second: bool) -> Writer {
        let own = Writer::new().u32(self.session).sized(&self.nonce).u8(self.attributes).sized(&self.hmac);
        if free_second { own.u32(PASSWORD).sized(&[]).u8(0).sized(&[]) } else { own }
    }
}

/// The session's part of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) nonce: Vec<u8>,
    pub(crate) attributes: u8,
    pub(crate) hmac: Vec<u8>,
}

/// The response of a command that succeeded.
pub(crate) struct Answer {
    pub(crate) handle: Option<u32>,
    /// As they came; hidden until the session has accepted them.
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// Of the first session.
    pub(crate) acknowledgement: Option<Acknowledgement>,
}

/// The code of a response, zero for success.
pub(crate) fn response_code(response: &[u8]) -> Result<u32, Malformed> {
    let mut reader = Reader::new(response);
    let tag = reader.u16("tag")?;
    let length = reader.u32("length")?;
    let code = reader.u32("response code")?;
    if length as usize != response.len() {
        return Err(Malformed("length"));
    }
    match (tag, code) {
        (_, 0) => Ok(0),
        // A TPM 1.2 answers with its own tag and says that it does not know ours.
        (NO_SESSIONS | 0x00C4, code) => Ok(code),
        _ => Err(Malformed("tag")),
    }
}

impl Answer {
    /// Takes a successful response apart.
    pub(crate) fn decode(command: &Command<'_>, response: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(response);
        let tag = if command.protection.is_some() { SESSIONS } else { NO_SESSIONS };
        reader.expect(tag, "tag")?;
        reader.take(HEADER_BYTES - 2, "header")?;
        let handle = if command.returns_handle { Some(reader.u32("handle")?) } else { None };
        let Some(protection) = command.protection else {
            return Ok(Self { handle, parameters: Zeroizing::new(reader.rest().to_vec()), acknowledgement: None });
        };
        let length = reader.u32("length of the parameters")? as usize;
        let parameters = Zeroizing::new(reader.take(length, "parameters")?.to_vec());
        let acknowledgement = Some(acknowledgement(&mut reader)?);
        if protection.second_is_free {
            // Empty, for a password proves nothing to us.
            self::acknowledgement(&mut reader)?;
        }
        reader.end("end of the response")?;
        Ok(Self { handle, parameters, acknowledgement })
    }
}

fn acknowledgement(reader: &mut Reader<'_>) -> Result<Acknowledgement, Malformed> {
    Ok(Acknowledgement {
        nonce: reader.sized(DIGEST_BYTES_MAX, "nonce of the TPM")?.to_vec(),
        attributes: reader.u8("attributes of the session")?,
        hmac: reader.sized(DIGEST_BYTES_MAX, "HMAC of the TPM")?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn command(protected: bool, second_is_free: bool, returns_handle: bool) -> Command<'static> {
        let mut command = Command::bare(CommandCode::Sign, vec![Entity::permanent(0x8000_0001)], Writer::new().u16(7));
        command.returns_handle = returns_handle;
        command.protection = protected.then_some(Protection { second_is_free, ..Protection::by(b"pin") });
        command
    }

    #[test]
    fn a_bare_command_is_header_handles_parameters() {
        let bytes = command(false, false, false).encode(None);
        let expected = [0x80, 1, 0, 0, 0, 16, 0, 0, 1, 0x5D, 0x80, 0, 0, 1, 0, 7];
        assert_eq!(bytes.as_slice(), expected);
    }

    #[test]
    fn a_session_stands_between_handles_and_parameters() {
        let authorization = Authorization { session: 0x0200_0000, nonce: [1; 32], attributes: 1, hmac: [2; 32] };
        let bytes = command(true, true, false).encode(Some(&authorization));
        let bytes = bytes.as_slice();
        assert_eq!(bytes[..2], [0x80, 2]);
        assert_eq!(usize::from(bytes[5]), bytes.len());
        // Handle, nonce, attributes, HMAC of the session; the same of the empty password.
        assert_eq!(bytes[14..18], [0, 0, 0, 73 + 9]);
        assert_eq!(bytes[bytes.len() - 11..], [0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn a_tpm_that_knows_another_language_is_read() {
        assert_eq!(response_code(&[0, 0xC4, 0, 0, 0, 10, 0, 0, 0, 0x1E]), Ok(0x1E));
        assert_eq!(response_code(&[0x80, 2, 0, 0, 0, 10, 0, 0, 0, 0x1E]), Err(Malformed("tag")));
        assert_eq!(response_code(&[0x80, 1, 0, 0, 0, 11, 0, 0, 0, 0]), Err(Malformed("length")));
    }

    proptest! {
        /// Nothing a TPM answers makes the decoder panic, and no byte of what is accepted is lost or made up.
        #[test]
        fn any_response_is_decoded_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            shape in any::<(bool, bool, bool)>(),
            honest_start in any::<bool>(),
        ) {
            let mut bytes = bytes;
            let command = command(shape.0, shape.1, shape.2);
            if honest_start && bytes.len() >= 18 {
                bytes[..2].copy_from_slice(&if shape.0 { SESSIONS } else { NO_SESSIONS }.to_be_bytes());
                let at = if shape.2 { 14 } else { 10 };
                bytes[at..at + 4].copy_from_slice(&[0, 0, 0, 3]);
            }
            let _ = response_code(&bytes);
            if let Ok(answer) = Answer::decode(&command, &bytes) {
                let first = answer.acknowledgement.map_or(0, |it| 4 + 5 + it.nonce.len() + it.hmac.len());
                let fixed = HEADER_BYTES + if shape.2 { 4 } else { 0 };
                prop_assert!(fixed + first + answer.parameters.len() <= bytes.len());
                if !shape.1 || !shape.0 {
                    prop_assert_eq!(fixed + first + answer.parameters.len(), bytes.len());
                }
            }
        }
    }
}
