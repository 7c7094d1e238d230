//! One session: its rights, its search and its active operations.
//!
//! Every operation ends with its last step or with its first error; only a caller's length query or a buffer that is
//! too small leaves it active, as the standard asks.

use std::collections::VecDeque;
use std::sync::Arc;

use cryptoki_sys::*;

use crate::abi::output::Output;
use crate::error::{CkError, CkResult, refuse};
use crate::object::Object;
use crate::operation::Parameter;
use crate::operation::cipher::{Cipher, Direction};
use crate::operation::hash::Hasher;
use crate::operation::signature::Signing;
use crate::profile::Algorithm;
use crate::token::Asker;

/// A mechanism the token knows, as a caller asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mechanism<'a> {
    pub(crate) number: CK_MECHANISM_TYPE,
    pub(crate) algorithm: Algorithm,
    pub(crate) parameter: Parameter<'a>,
}

/// State of one session.
pub(crate) struct Session {
    pub(crate) slot: CK_SLOT_ID,
    pub(crate) asker: Asker,
    search: Option<VecDeque<CK_OBJECT_HANDLE>>,
    digest: Option<Hasher>,
    signature: Option<Signing>,
    verification: Option<Signing>,
    encryption: Option<Cipher>,
    decryption: Option<Cipher>,
}

fn inactive<T>(slot: &Option<T>) -> CkResult<()> {
    if slot.is_some() { refuse(CKR_OPERATION_ACTIVE) } else { Ok(()) }
}

const IDLE: CkError = CkError(CKR_OPERATION_NOT_INITIALIZED);

impl Session {
    pub(crate) fn new(slot: CK_SLOT_ID, asker: Asker) -> Self {
        Self {
            slot,
            asker,
            search: None,
            digest: None,
            signature: None,
            verification: None,
            encryption: None,
            decryption: None,
        }
    }

    /// End everything that may use a private key: the login is gone.
    pub(crate) fn end_operations(&mut self) {
        *self = Self::new(self.slot, self.asker);
    }

    pub(crate) fn begin_search(&mut self, found: impl FnOnce() -> CkResult<Vec<CK_OBJECT_HANDLE>>) -> CkResult<()> {
        inactive(&self.search)?;
        self.search = Some(found()?.into());
        Ok(())
    }

    pub(crate) fn next_found(&mut self, max: usize) -> CkResult<Vec<CK_OBJECT_HANDLE>> {
        let search = self.search.as_mut().ok_or(IDLE)?;
        let count = max.min(search.len());
        Ok(search.drain(..count).collect())
    }

    pub(crate) fn end_search(&mut self) -> CkResult<()> {
        self.search.take().map(drop).ok_or(IDLE)
    }

    pub(crate) fn begin_digest(&mut self, mechanism: Mechanism<'_>) -> CkResult<()> {
        inactive(&self.digest)?;
        let Algorithm::Hashing(hash) = mechanism.algorithm else { return refuse(CKR_MECHANISM_INVALID) };
        mechanism.parameter.none()?;
        self.digest = Some(Hasher::new(hash));
        Ok(())
    }

    pub(crate) fn update_digest(&mut self, data: &[u8]) -> CkResult<()> {
        self.digest.as_mut().ok_or(IDLE)?.update(data);
        Ok(())
    }

    /// `C_Digest` with the data, `C_DigestFinal` with nothing.
    pub(crate) fn finish_digest(&mut self, data: &[u8], mut out: Output<'_>) -> CkResult<()> {
        if !out.reserve(self.digest.as_ref().ok_or(IDLE)?.hash().digest_bytes())? {
            return Ok(());
        }
        let mut hasher = self.digest.take().ok_or(IDLE)?;
        hasher.update(data);
        out.put(&hasher.finalize())
    }

    pub(crate) fn end_digest(&mut self) {
        self.digest = None;
    }

    pub(crate) fn end_signature(&mut self) {
        self.signature = None;
    }

    pub(crate) fn end_cipher(&mut self, direction: Direction) {
        *self.cipher(direction) = None;
    }

    pub(crate) fn begin_signature(&mut self, mechanism: Mechanism<'_>, key: &Arc<Object>) -> CkResult<()> {
        inactive(&self.signature)?;
        check_allowed(mechanism, key)?;
        self.signature = Some(Signing::to_sign(mechanism.algorithm, mechanism.parameter, key)?);
        Ok(())
    }

    pub(crate) fn update_signature(&mut self, data: &[u8]) -> CkResult<()> {
        let updated = self.signature.as_mut().ok_or(IDLE)?.update(data);
        updated.inspect_err(|_| self.signature = None)
    }

    /// `C_Sign` with the data, `C_SignFinal` with nothing.
    pub(crate) fn finish_signature(&mut self, data: &[u8], mut out: Output<'_>) -> CkResult<()> {
        if !out.reserve(self.signature.as_ref().ok_or(IDLE)?.output_bytes_max())? {
            return Ok(());
        }
        let mut signing = self.signature.take().ok_or(IDLE)?;
        signing.update(data)?;
        out.put(&signing.sign()?)
    }

    pub(crate) fn begin_verification(&mut self, mechanism: Mechanism<'_>, key: &Arc<Object>) -> CkResult<()> {
        inactive(&self.verification)?;
        check_allowed(mechanism, key)?;
        self.verification = Some(Signing::to_verify(mechanism.algorithm, mechanism.parameter, key)?);
        Ok(())
    }

    pub(crate) fn update_verification(&mut self, data: &[u8]) -> CkResult<()> {
        let updated = self.verification.as_mut().ok_or(IDLE)?.update(data);
        updated.inspect_err(|_| self.verification = None)
    }

    /// `C_Verify` with the data, `C_VerifyFinal` with nothing.
    pub(crate) fn finish_verification(&mut self, data: &[u8], signature: &[u8]) -> CkResult<()> {
        let mut verification = self.verification.take().ok_or(IDLE)?;
        verification.update(data)?;
        verification.verify(signature)
    }

    fn cipher(&mut self, direction: Direction) -> &mut Option<Cipher> {
        match direction {
            Direction::Encrypt => &mut self.encryption,
            Direction::Decrypt => &mut self.decryption,
        }
    }

    pub(crate) fn begin_cipher(
        &mut self,
        direction: Direction,
        mechanism: Mechanism<'_>,
        key: &Arc<Object>,
    ) -> CkResult<()> {
        inactive(self.cipher(direction))?;
        check_allowed(mechanism, key)?;
        let cipher = Cipher::begin(mechanism.algorithm, mechanism.parameter, key, direction)?;
        *self.cipher(direction) = Some(cipher);
        Ok(())
    }

    pub(crate) fn update_cipher(&mut self, direction: Direction, data: &[u8], mut out: Output<'_>) -> CkResult<()> {
        let active = self.cipher(direction);
        let ready = active.as_ref().ok_or(IDLE)?.update_bytes(data.len());
        if !out.reserve(ready)? {
            return Ok(());
        }
        // Taken out while it works: an error ends the operation.
        let mut cipher = active.take().ok_or(IDLE)?;
        let bytes = cipher.update(data)?;
        *active = Some(cipher);
        out.put(&bytes)
    }

    /// `C_Encrypt` and `C_Decrypt` with the data, their `Final` with nothing.
    pub(crate) fn finish_cipher(&mut self, direction: Direction, data: &[u8], mut out: Output<'_>) -> CkResult<()> {
        let active = self.cipher(direction);
        if !out.reserve(active.as_ref().ok_or(IDLE)?.total_bytes_max(data.len()))? {
            return Ok(());
        }
        let mut cipher = active.take().ok_or(IDLE)?;
        let mut bytes = cipher.update(data)?;
        let last = cipher.finish()?;
        bytes.extend_from_slice(&last);
        out.put(&bytes)
    }
}

fn check_allowed(mechanism: Mechanism<'_>, key: &Object) -> CkResult<()> {
    if key.allows(mechanism.number) { Ok(()) } else { refuse(CKR_MECHANISM_INVALID) }
}
