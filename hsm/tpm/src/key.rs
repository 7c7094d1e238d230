//! What is done with keys of a store: made, asked for signatures and HMACs, stated by the TPM.

use bixi_hsm::{Cause, DeviceError};
use bixi_platform::secret::Secret;

use crate::command::{Command, CommandCode, Protection};
use crate::connection::{Connection, malformed};
use crate::public::{ALG_ECDSA, ALG_NULL, ALG_SM2, PRIVATE_BYTES_MAX, PUBLIC_BYTES_MAX, Template};
use crate::session::NULL_HANDLE;
use crate::store::Wrapped;
use crate::wire::{Malformed, Reader, Writer, number};

/// `TPM_ST_HASHCHECK`, of the null hierarchy and empty: the TPM did not hash what it is to sign.
const HASH_CHECK: u16 = 0x8024;
/// Longest statement of a TPM.
pub(crate) const STATEMENT_BYTES_MAX: usize = 512;
/// Random bytes asked for at once: every TPM gives as many as its largest digest has, at least 32.
const RANDOM_BYTES: usize = 32;

/// A pair r, s of a 256-bit curve.
pub(crate) type RawSignature = [u8; 64];

/// Makes a key under the parent (`TPM2_Create`), used with `authorization`.
pub(crate) fn create(
    connection: &mut Connection,
    template: &Template,
    authorization: &[u8],
) -> Result<Wrapped, DeviceError> {
    let code = CommandCode::Create;
    let sensitive = Writer::new().sized(authorization).sized(&[]);
    let parameters = Writer::new().sized(sensitive.as_slice()).sized(&template.area()).sized(&[]).u32(0);
    let parent = connection.parent()?;
    let command = Command::bare(code, vec![parent], parameters);
    let answer = connection.run_under_parent(command, Protection::by(&[]).hiding_command())?;
    let mut reader = Reader::new(&answer.parameters);
    let read = |reader: &mut Reader<'_>| -> Result<Wrapped, Malformed> {
        let private = reader.sized(PRIVATE_BYTES_MAX, "wrapped key")?.to_vec();
        let public = reader.sized(PUBLIC_BYTES_MAX, "public area")?.to_vec();
        Ok(Wrapped { public, private })
    };
    let key = read(&mut reader).map_err(malformed(code))?;
    if template.made(&key.public) {
        return Ok(key);
    }
    Err(DeviceError::new(code.name(), Cause::BadAnswer, "the TPM made another key than it was asked for"))
}

/// Raw r ‖ s over a digest that came ready (`TPM2_Sign`, scheme SM2).
pub(crate) fn sign(
    connection: &mut Connection,
    key: &Wrapped,
    authorization: &[u8],
    digest: &[u8; 32],
) -> Result<RawSignature, DeviceError> {
    let code = CommandCode::Sign;
    let entity = connection.load(key)?;
    let parameters = Writer::new().sized(digest).u16(ALG_NULL).u16(HASH_CHECK).u32(NULL_HANDLE).sized(&[]);
    let answer =
        connection.run(Command::bare(code, vec![entity], parameters).protected(Protection::by(authorization)))?;
    let mut reader = Reader::new(&answer.parameters);
    let signature = signature(&mut reader, ALG_SM2);
    signature.and_then(|read| reader.end("end of the signature").map(|()| read)).map_err(malformed(code))
}

/// A `TPMT_SIGNATURE` of one scheme.
pub(crate) fn signature(reader: &mut Reader<'_>, scheme: u16) -> Result<RawSignature, Malformed> {
    reader.expect(scheme, "scheme of the signature")?;
    reader.u16("hash of the signature")?;
    let r = number(reader.sized(66, "r")?, "r")?;
    let s = number(reader.sized(66, "s")?, "s")?;
    let mut raw = [0; 64];
    raw[..32].copy_from_slice(&r);
    raw[32..].copy_from_slice(&s);
    Ok(raw)
}

/// HMAC-SHA-256 of `input` (`TPM2_HMAC`), both hidden on the way.
pub(crate) fn hmac(
    connection: &mut Connection,
    key: &Wrapped,
    authorization: &[u8],
    input: &[u8],
) -> Result<Secret, DeviceError> {
    let code = CommandCode::Hmac;
    let entity = connection.load(key)?;
    let parameters = Writer::new().sized(input).u16(ALG_NULL);
    let protection = Protection::by(authorization).hiding_command().hiding_response();
    let answer = connection.run(Command::bare(code, vec![entity], parameters).protected(protection))?;
    let mut reader = Reader::new(&answer.parameters);
    let tag = reader.sized(32, "HMAC").map_err(malformed(code))?;
    if tag.len() == 32 { Ok(Secret::from_slice(tag)) } else { Err(malformed(code)(Malformed("HMAC"))) }
}

/// What the TPM states of a key, and its signature (`TPM2_Certify`).
pub(crate) fn certify(
    connection: &mut Connection,
    key: &Wrapped,
    authorization: &[u8],
    attestation: &Wrapped,
    qualifying: &[u8],
) -> Result<(Vec<u8>, RawSignature), DeviceError> {
    let code = CommandCode::Certify;
    // In this order: the second stays loaded when there is room for two.
    let handles = vec![connection.load(key)?, connection.load(attestation)?];
    let parameters = Writer::new().sized(qualifying).u16(ALG_NULL);
    let protection = Protection::by(authorization).with_free_second();
    let answer = connection.run(Command::bare(code, handles, parameters).protected(protection))?;
    let read = || {
        let mut reader = Reader::new(&answer.parameters);
        let statement = reader.sized(STATEMENT_BYTES_MAX, "statement")?.to_vec();
        let signature = signature(&mut reader, ALG_ECDSA)?;
        reader.end("end of the statement")?;
        Ok((statement, signature))
    };
    read().map_err(malformed(code))
}

/// Fills `out` (`TPM2_GetRandom`), hidden on the way.
pub(crate) fn random(connection: &mut Connection, out: &mut [u8]) -> Result<(), DeviceError> {
    let code = CommandCode::GetRandom;
    let mut filled = 0;
    while filled < out.len() {
        let wanted = (out.len() - filled).min(RANDOM_BYTES);
        let parameters = Writer::new().u16(u16::try_from(wanted).expect("at most 32"));
        let command = Command::bare(code, Vec::new(), parameters).protected(Protection::HIDDEN_RESPONSE);
        let answer = connection.run(command)?;
        let mut reader = Reader::new(&answer.parameters);
        let bytes = reader.sized(wanted, "random bytes").map_err(malformed(code))?;
        if bytes.is_empty() {
            return Err(malformed(code)(Malformed("random bytes: none came")));
        }
        out[filled..filled + bytes.len()].copy_from_slice(bytes);
        filled += bytes.len();
    }
    Ok(())
}
