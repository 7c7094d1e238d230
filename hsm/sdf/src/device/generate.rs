//! Making keys: a pair at a free index by the vendor's call, a session key as key encryption key by the standard's.
//!
//! Nothing is ever made at an index that holds something: a vendor's call would overwrite it.

use std::sync::PoisonError;

use bixi_hsm::pool::Failure;
use bixi_hsm::{Cause, DeviceError, KeyKind, KeyRef, KeySpec};
use bixi_platform::random::OsRandom;

use super::SdfDevice;
use crate::catalogue::{Catalogue, Pair};
use crate::ffi::Usage;
use crate::kek::{Kek, KekFile};
use crate::prf::Purpose;
use crate::session::Session;

impl SdfDevice {
    pub(super) fn generate_key(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        spec.check()?;
        let _turn = self.generating.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.catalogue().lock()?;
        self.read_again()?;
        self.catalogue().refuse_taken(&spec.label)?;
        match spec.kind {
            KeyKind::Sm2Sign => self.generate_pair(spec),
            KeyKind::Kek => self.generate_kek(spec),
            _ => {
                let message = format!("{:?} keys are not known to this backend", spec.kind);
                Err(DeviceError::new("generate", Cause::Unsupported, message))
            }
        }
    }

    /// Another process may have made keys since the records were read.
    fn read_again(&self) -> Result<(), DeviceError> {
        let fresh = {
            let known = self.catalogue();
            Catalogue::read(known.directory(), &self.info.token, known.indices.clone())?
        };
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn generate_pair(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        let (index, public) = self.pool.with(|session, _| {
            let index = self.free_index(session)?;
            session.make_pair(self.library(), Usage::Sign, index)?;
            let public = session.public_key(self.library(), Usage::Sign, index)?.ok_or_else(|| {
                let message = format!("SDR_OK, and no public key at index {index}");
                DeviceError::new("generate", Cause::BadAnswer, message)
            })?;
            Ok((index, public))
        })?;
        let public_key = Some(hex::encode(public.to_bytes()));
        let pair = Pair { label: spec.label.clone(), index, public_key, generated: true };
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner).add_pair(pair)?;
        // Shows a wrong profile or right now, not at the first vote.
        self.pool.with(|session, _| self.sign_at(session, index, &[0x5A; 32]))?;
        self.catalogue().pair_uri(index)
    }

    fn free_index(&self, session: &mut Session) -> Result<u32, Failure> {
        let indices = self.catalogue().indices.clone();
        for index in indices.clone() {
            if self.catalogue().pair(index).is_none()
                && session.public_key(self.library(), Usage::Sign, index)?.is_none()
            {
                return Ok(index);
            }
        }
        let message = format!("every index of {indices:?} holds a signing pair");
        Err(DeviceError::new("generate", Cause::Rejected, message)
            .with_advice("widen the range of indices, or name a pair that exists in keys.toml")
            .into())
    }

    fn generate_kek(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        let random = |error| DeviceError::new("getrandom", Cause::Fault, format!("no id for the key: {error}"));
        let id = OsRandom.array().map_err(random)?;
        let directory = self.catalogue().directory().to_owned();
        let file = self.pool.with(|session, _| {
            let index = self.encryption_index(session)?;
            let (blob, key) = session.make_kek(self.library(), index)?;
            let kek = Kek { id, index, label: spec.label.clone(), blob };
            let answer = session.prf(self.library(), key, Purpose::Binding, kek.binding_input());
            session.raw().destroy(key);
            let file = KekFile::create(&directory, kek, &answer?)?;
            // The way back, before anything is sealed under the key.
            match session.kek(self.library(), &file) {
                Ok(_) => Ok(file),
                Err(failure) => {
                    file.discard();
                    Err(failure)
                }
            }
        })?;
        let uri = self.catalogue().kek_uri(&file)?;
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner).keks.push(file.into());
        Ok(uri)
    }

    /// The lowest index with an encryption pair; made at the first free one if no index has one.
    fn encryption_index(&self, session: &mut Session) -> Result<u32, Failure> {
        let indices = self.catalogue().all_indices();
        for index in &indices {
            if session.public_key(self.library(), Usage::Encrypt, *index)?.is_some() {
                return Ok(*index);
            }
        }
        let first = *indices.first().expect("a range of indices is not empty");
        session.make_pair(self.library(), Usage::Encrypt, first)?;
        Ok(first)
    }
}
