//! HMAC sessions (part 1, 19): prove that we know an authorization value without sending it, prove that an answer is the
//! TPM's, and hide what is secret on the way.
//!
//! A *salted* session begins with a secret that only the TPM can read: an ephemeral P-256 key of ours agreed with the storage
//! key inside (part 1, annex C). Whoever listens on the bus can then neither guess a PIN offline nor read a hidden parameter.
//! Parameters are hidden by XOR obfuscation with SHA-256 (part 1, 21): a keystream fresh by both nonces, authenticated by the
//! session's HMAC, which every TPM has; AES in CFB mode protects no better.

use bixi_hsm::{Cause, DeviceError};
use bixi_platform::random::OsRandom;
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::command::{Acknowledgement, Answer, Authorization, Command, CommandCode, Entity, Protection};
use crate::kdf::{DIGEST_BYTES, Digest, hmac_sha256, kdf_a, kdf_e, obfuscate, sha256};
use crate::public::{ALG_NULL, ALG_SHA256, ALG_XOR, Point};
use crate::wire::{Malformed, Reader, Writer};

/// `TPM_RH_NULL`: nothing to bind to, or no salt; also a hierarchy whose authorization is empty and whose seed lasts until the
/// TPM is reset.
pub(crate) const NULL_HANDLE: u32 = 0x4000_0007;
const HMAC_SESSION: u8 = 0;
const CONTINUE: u8 = 0x01;
const DECRYPT: u8 = 0x20;
const ENCRYPT: u8 = 0x40;

/// The storage key that reads the salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SaltKey {
    pub(crate) entity: Entity,
    pub(crate) point: Point,
}

/// A session asked for and not yet given.
pub(crate) struct Opening {
    nonce: Digest,
    salt: Zeroizing<Vec<u8>>,
}

/// A session of the TPM's.
pub(crate) struct Session {
    handle: u32,
    key: Zeroizing<Vec<u8>>,
    nonce_tpm: Vec<u8>,
    /// Of the command under way.
    nonce_caller: Digest,
}

impl Opening {
    /// The command that opens a session, salted if a key is there for it.
    pub(crate) fn command(salt_key: Option<&SaltKey>) -> Result<(Self, Command<'static>), DeviceError> {
        let nonce = OsRandom.array().map_err(|error| no_random(&error))?;
        let (salt, encrypted) = match salt_key {
            Some(key) => seal_salt(&key.point)?,
            None => (Zeroizing::new(Vec::new()), Vec::new()),
        };
        let salt_entity = salt_key.map_or_else(|| Entity::permanent(NULL_HANDLE), |key| key.entity.clone());
        let parameters = Writer::new().sized(&nonce).sized(&encrypted).u8(HMAC_SESSION).u16(if salt_key.is_some() {
            ALG_XOR
        } else {
            ALG_NULL
        });
        let parameters = if salt_key.is_some() { parameters.u16(ALG_SHA256) } else { parameters };
        let handles = vec![salt_entity, Entity::permanent(NULL_HANDLE)];
        let command = Command::bare(CommandCode::StartAuthSession, handles, parameters.u16(ALG_SHA256));
        Ok((Self { nonce, salt }, command.returning_handle()))
    }

    /// The session, from the TPM's answer.
    pub(crate) fn finish(self, answer: &Answer) -> Result<Session, Malformed> {
        let mut reader = Reader::new(&answer.parameters);
        let nonce_tpm = reader.sized(DIGEST_BYTES, "nonce of the TPM")?.to_vec();
        reader.end("end of the session's opening")?;
        let handle = answer.handle.ok_or(Malformed("handle of the session"))?;
        if nonce_tpm.len() < 16 || handle >> 24 != 0x02 {
            return Err(Malformed("session"));
        }
        let key = match self.salt.is_empty() {
            true => Zeroizing::new(Vec::new()),
            false => kdf_a(&self.salt, "ATH", &nonce_tpm, &self.nonce, DIGEST_BYTES),
        };
        Ok(Session { handle, key, nonce_tpm, nonce_caller: self.nonce })
    }
}

/// A fresh salt, and the point from which the TPM finds it.
fn seal_salt(point: &Point) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), DeviceError> {
    let refused = |what: &str| DeviceError::new(CommandCode::StartAuthSession.name(), Cause::BadAnswer, what);
    let random = SystemRandom::new();
    let failed = |_| refused("no ephemeral key");
    let ephemeral = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(failed)?;
    let public = ephemeral.compute_public_key().map_err(failed)?;
    let [_, own @ ..] = public.as_ref() else { return Err(refused("no ephemeral key")) };
    let (own_x, own_y) = own.split_at(DIGEST_BYTES);
    let storage_key = UnparsedPublicKey::new(&ECDH_P256, point.sec1());
    let salt = agree_ephemeral(ephemeral, &storage_key, |z| kdf_e(z, "SECRET", own_x, &point.x))
        .map_err(|_| refused("the storage key is not a point of P-256"))?;
    let encrypted = Writer::new().sized(own_x).sized(own_y).as_slice().to_vec();
    Ok((Zeroizing::new(salt.to_vec()), encrypted))
}

fn no_random(error: &std::io::Error) -> DeviceError {
    DeviceError::new("getrandom", Cause::Fault, format!("no nonce for the session: {error}"))
}

impl Session {
    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }

    /// Session key and authorization value in a row: the key of HMACs and of the keystream.
    fn value(&self, protection: &Protection<'_>) -> Zeroizing<Vec<u8>> {
        let authorization = protection.authorization.unwrap_or_default();
        let mut value = Zeroizing::new(Vec::with_capacity(self.key.len() + authorization.len()));
        value.extend_from_slice(&self.key);
        value.extend_from_slice(authorization);
        value
    }

    /// Hides what is to be hidden in `command` and authorizes it.
    pub(crate) fn authorize(
        &mut self,
        command: &mut Command<'_>,
        protection: &Protection<'_>,
    ) -> Result<Authorization, DeviceError> {
        self.nonce_caller = OsRandom.array().map_err(|error| no_random(&error))?;
        let value = self.value(protection);
        if protection.hide_command {
            let first = first_parameter(command.parameters.as_mut_slice()).expect("ours begins with a buffer");
            obfuscate(first, &value, &self.nonce_caller, &self.nonce_tpm);
        }
        let attributes = CONTINUE
            | if protection.hide_command { DECRYPT } else { 0 }
            | if protection.hide_response { ENCRYPT } else { 0 };
        let code = (command.code as u32).to_be_bytes();
        let mut hashed: Vec<&[u8]> = vec![&code];
        hashed.extend(command.handles.iter().map(|entity| entity.name.as_slice()));
        hashed.push(command.parameters.as_slice());
        let parts = [&sha256(&hashed)[..], &self.nonce_caller, &self.nonce_tpm, &[attributes]];
        let hmac = hmac_sha256(&value, &parts);
        Ok(Authorization { session: self.handle, nonce: self.nonce_caller, attributes, hmac })
    }

    /// Checks that the answer is the TPM's, then shows what was hidden in it.
    pub(crate) fn accept(
        &mut self,
        code: CommandCode,
        answer: &mut Answer,
        protection: &Protection<'_>,
    ) -> Result<(), Malformed> {
        let Some(Acknowledgement { nonce, attributes, hmac }) = answer.acknowledgement.take() else {
            return Err(Malformed("authorization of the response"));
        };
        let value = self.value(protection);
        // The response code was zero, else there would be no session in it.
        let hashed = sha256(&[&[0; 4], &(code as u32).to_be_bytes(), &answer.parameters]);
        let expected = hmac_sha256(&value, &[&hashed, &nonce, &self.nonce_caller, &[attributes]]);
        if !bixi_accel::ct::eq(&expected, &hmac) {
            return Err(Malformed("HMAC of the TPM"));
        }
        if attributes & CONTINUE == 0 || (protection.hide_response && attributes & ENCRYPT == 0) {
            return Err(Malformed("attributes of the session"));
        }
        self.nonce_tpm = nonce;
        if protection.hide_response {
            let first = first_parameter(&mut answer.parameters)?;
            obfuscate(first, &value, &self.nonce_tpm, &self.nonce_caller);
        }
        Ok(())
    }
}

/// The bytes of the buffer that parameters begin with.
fn first_parameter(parameters: &mut [u8]) -> Result<&mut [u8], Malformed> {
    let length = usize::from(Reader::new(parameters).u16("length of the hidden parameter")?);
    parameters.get_mut(2..2 + length).ok_or(Malformed("hidden parameter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session { handle: 0x0200_0000, key: Zeroizing::new(vec![5; 32]), nonce_tpm: vec![6; 32], nonce_caller: [7; 32] }
    }

    fn answer(session: &Session, protection: &Protection<'_>, plain: &[u8]) -> Answer {
        let (nonce, attributes) = (vec![8; 32], CONTINUE | ENCRYPT);
        let value = session.value(protection);
        let mut parameters = Zeroizing::new(Writer::new().sized(plain).as_slice().to_vec());
        obfuscate(&mut parameters[2..], &value, &nonce, &session.nonce_caller);
        let hashed = sha256(&[&[0; 4], &(CommandCode::Hmac as u32).to_be_bytes(), &parameters]);
        let hmac = hmac_sha256(&value, &[&hashed, &nonce, &session.nonce_caller, &[attributes]]).to_vec();
        Answer { handle: None, parameters, acknowledgement: Some(Acknowledgement { nonce, attributes, hmac }) }
    }

    #[test]
    fn an_answer_is_shown_once_it_is_the_tpms() {
        let protection = Protection::by(b"pin").hiding_response();
        let mut session = session();
        let mut good = answer(&session, &protection, b"secret");
        session.accept(CommandCode::Hmac, &mut good, &protection).unwrap();
        assert_eq!(good.parameters[2..], *b"secret");
        assert_eq!(session.nonce_tpm, vec![8; 32], "the next command is bound to this answer");
    }

    #[test]
    fn an_answer_with_one_changed_bit_is_refused() {
        let protection = Protection::by(b"pin").hiding_response();
        let spoil: [fn(&mut Answer); 4] = [
            |answer| answer.parameters[3] ^= 1,
            |answer| answer.acknowledgement.as_mut().unwrap().nonce[0] ^= 1,
            |answer| answer.acknowledgement.as_mut().unwrap().attributes ^= ENCRYPT,
            |answer| answer.acknowledgement.as_mut().unwrap().hmac[31] ^= 1,
        ];
        for spoil in spoil {
            let mut session = session();
            let mut answer = answer(&session, &protection, b"secret");
            spoil(&mut answer);
            let refused = session.accept(CommandCode::Hmac, &mut answer, &protection);
            assert_eq!(refused, Err(Malformed("HMAC of the TPM")));
        }
        let mut session = session();
        let mut answer = answer(&session, &protection, b"secret");
        let other = Protection::by(b"nip").hiding_response();
        assert!(session.accept(CommandCode::Hmac, &mut answer, &other).is_err(), "another authorization value");
    }

    #[test]
    fn the_value_is_neither_in_the_command_nor_in_its_authorization() {
        let protection = Protection::by(b"314159265").hiding_command();
        let mut session = session();
        let parameters = Writer::new().sized(b"314159265 again");
        let mut command =
            Command::bare(CommandCode::Create, vec![Entity::permanent(1)], parameters).protected(protection);
        let authorization = session.authorize(&mut command, &protection).unwrap();
        let sent = command.encode(Some(&authorization));
        assert!(!sent.as_slice().windows(9).any(|window| window == b"314159265"));
    }
}
