//! Making keys: a pair at a free index by the vendor's call, a session key as key encryption key by the standard's.
//!
//! Nothing is ever made at an index that holds a pair of either kind: a vendor's call would overwrite it, and the other pair may
//! be another's. A call that makes a pair is never repeated by itself: it may have been carried out.

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
                let message = format!("no {} is known to this backend", spec.kind);
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
        let index = self.make_pair(Usage::Sign)?;
        let public = self.pool.with(|session, _| {
            let public = session.public_key(self.library(), Usage::Sign, index)?.ok_or_else(|| {
                let message = format!("SDR_OK, and no public key at index {index}");
                DeviceError::new("generate", Cause::BadAnswer, message)
            })?;
            Ok(public)
        })?;
        let public_key = Some(hex::encode(public.to_bytes()));
        let pair = Pair { label: spec.label.clone(), index, public_key, generated: true };
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner).add_pair(pair)?;
        // Shows a wrong profile or right now, not at the first vote.
        self.pool.with(|session, _| self.sign_at(session, index, &[0x5A; 32]))?;
        self.catalogue().pair_uri(index)
    }

    /// Makes a pair at the lowest index that is free.
    fn make_pair(&self, usage: Usage) -> Result<u32, DeviceError> {
        self.pool.once(|session, _| {
            let index = self.free_index(session)?;
            session.make_pair(self.library(), usage, index)?;
            Ok(index)
        })
    }

    /// The lowest index that has no name and no pair of either kind.
    fn free_index(&self, session: &mut Session) -> Result<u32, Failure> {
        let (indices, ours) = (self.catalogue().indices.clone(), self.catalogue().encryption_indices());
        for index in indices.clone().filter(|index| !ours.contains(index)) {
            if session.public_key(self.library(), Usage::Sign, index)?.is_none()
                && session.public_key(self.library(), Usage::Encrypt, index)?.is_none()
            {
                return Ok(index);
            }
        }
        let message = format!("every index of {indices:?} has a name or holds a pair");
        Err(DeviceError::new("generate", Cause::Rejected, message)
            .with_advice("widen the range of indices, or name a pair that exists in keys.toml")
            .into())
    }

    fn generate_kek(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        let random = |error| DeviceError::new("getrandom", Cause::Fault, format!("no id for the key: {error}"));
        let id = OsRandom.array().map_err(random)?;
        let directory = self.catalogue().directory().to_owned();
        let index = self.encryption_index()?;
        let file = self.pool.with(|session, _| {
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

    /// The lowest index of ours with an encryption pair; one is made if there is none.
    fn encryption_index(&self) -> Result<u32, DeviceError> {
        let ours = self.catalogue().encryption_indices();
        let present = self.pool.with(|session, _| {
            for index in &ours {
                if session.public_key(self.library(), Usage::Encrypt, *index)?.is_some() {
                    return Ok(Some(*index));
                }
            }
            Ok(None)
        })?;
        if let Some(index) = present {
            return Ok(index);
        }
        let made = self.make_pair(Usage::Encrypt)?;
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner).add_encryption(made)?;
        Ok(made)
    }
}
