//! [`SoftDevice`]: keys in this process's locked memory. For the simulator, unit tests and the protocol's own tests.
//!
//! It is no token: nothing is stored, no PIN guards it, and its custody says so. The signing service
//! refuses it when the node is a production node, whatever else is allowed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bixi_accel::{Random, RandomError, sm2, sm3};
use bixi_platform::secret::Secret;

use crate::device::lookup::{Candidate, lookup};
use crate::device::{
    Attestation, Cause, Count, Custody, DeviceError, DeviceInfo, KeyDevice, KeyInfo, KeyKind, KeySpec, PRF_BYTES,
    Trust, check_prf_input,
};
use crate::random::System;
use crate::uri::{KeyRef, KeyUri, ObjectType, Scheme};

/// The device's name in [`DeviceInfo::backend`].
pub const BACKEND: &str = "soft";

/// Keys in locked memory of this process.
pub struct SoftDevice {
    token: String,
    inner: Mutex<Inner>,
    counter: Option<AtomicU64>,
}

struct Inner {
    keys: BTreeMap<String, Key>,
    source: Source,
}

struct Key {
    kind: KeyKind,
    id: [u8; 8],
    public: Option<[u8; 64]>,
    secret: Secret,
}

/// Where random bytes come from.
enum Source {
    System,
    /// SM3(seed ‖ counter): the same keys and signatures on every run with the same seed.
    Seeded {
        seed: u64,
        counter: u64,
    },
}

impl Random for Source {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        match self {
            Self::System => System.fill(out),
            Self::Seeded { seed, counter } => {
                for block in out.chunks_mut(32) {
                    let input = [seed.to_le_bytes(), counter.to_le_bytes()].concat();
                    block.copy_from_slice(&sm3::digest(&input)[..block.len()]);
                    *counter += 1;
                }
                Ok(())
            }
        }
    }
}

impl SoftDevice {
    /// An empty device named `token`, with random keys.
    pub fn new(token: &str) -> Self {
        Self::with_source(token, Source::System)
    }

    /// An empty device whose keys, nonces and random bytes follow from `seed` alone. For simulators only: whoever knows the
    /// seed knows the keys.
    pub fn seeded(token: &str, seed: u64) -> Self {
        Self::with_source(token, Source::Seeded { seed, counter: 0 })
    }

    /// The same device with a counter, as hardware may have one.
    #[must_use]
    pub fn with_counter(self) -> Self {
        Self { counter: Some(AtomicU64::new(0)), ..self }
    }

    fn count(&self, value: u64) -> Count {
        Count { counter: sm3::digest(self.token.as_bytes()), value }
    }

    fn with_source(token: &str, source: Source) -> Self {
        let inner = Inner { keys: BTreeMap::new(), source };
        Self { token: token.to_owned(), inner: Mutex::new(inner), counter: None }
    }

    fn with_key<T>(
        &self,
        function: &'static str,
        key: &KeyRef,
        kind: KeyKind,
        use_key: impl FnOnce(&Key, &mut Source) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let mut inner = self.lock();
        let Inner { keys, source, .. } = &mut *inner;
        let found = self.find(function, keys, key)?;
        if found.kind != kind {
            return Err(DeviceError::new(function, Cause::WrongKeyUse, format!("{key} is a {}", found.kind)));
        }
        use_key(found, source)
    }

    fn find<'a>(
        &self,
        function: &'static str,
        keys: &'a BTreeMap<String, Key>,
        key: &KeyRef,
    ) -> Result<&'a Key, DeviceError> {
        let candidates = keys.iter().map(|(label, found)| Candidate { label, id: found.id.to_vec(), key: found });
        lookup(function, key, Scheme::Soft, &self.token, candidates)
    }

    fn describe(&self, label: &str, key: &Key) -> KeyInfo {
        let object_type = if key.public.is_some() { ObjectType::Private } else { ObjectType::SecretKey };
        let uri = KeyUri::for_object(Scheme::Soft, &self.token, label, &key.id, object_type);
        KeyInfo {
            uri: KeyRef::new(uri).expect("the URI names an object"),
            label: label.to_owned(),
            kind: key.kind,
            extractable: false,
            sensitive: true,
            local: true,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Key {
    fn generate(kind: KeyKind, source: &mut Source) -> Result<Self, DeviceError> {
        let mut id = [0; 8];
        source.fill(&mut id).map_err(|_| no_random("generate"))?;
        let (public, secret) = match kind {
            KeyKind::Sm2Sign => {
                let key = sm2::PrivateKey::generate(source).map_err(|_| no_random("generate"))?;
                (Some(key.public_key().to_bytes()), Secret::from_slice(&*key.to_bytes()))
            }
            KeyKind::Kek => {
                let mut secret = Secret::zeroed(32);
                source.fill(secret.as_mut_slice()).map_err(|_| no_random("generate"))?;
                (None, secret)
            }
        };
        Ok(Self { kind, id, public, secret })
    }
}

impl KeyDevice for SoftDevice {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            backend: BACKEND.to_owned(),
            manufacturer: "Bixi".to_owned(),
            model: "in-memory test device".to_owned(),
            serial: String::new(),
            token: self.token.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            custody: Custody::ProcessMemory,
            monotonic_counter: self.counter.is_some(),
        }
    }

    fn list(&self) -> Result<Vec<KeyInfo>, DeviceError> {
        Ok(self.lock().keys.iter().map(|(label, key)| self.describe(label, key)).collect())
    }

    fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        spec.check()?;
        let mut inner = self.lock();
        let Inner { keys, source, .. } = &mut *inner;
        if keys.contains_key(&spec.label) {
            let message = format!("a key named {:?} exists", spec.label);
            return Err(DeviceError::new("generate", Cause::KeyExists, message));
        }
        let key = Key::generate(spec.kind, source)?;
        let uri = self.describe(&spec.label, &key).uri;
        keys.insert(spec.label.clone(), key);
        Ok(uri)
    }

    fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
        self.with_key("public_key", key, KeyKind::Sm2Sign, |key, _| Ok(key.public.expect("a signing key has one")))
    }

    fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        self.with_key("sign_digest", key, KeyKind::Sm2Sign, |key, source| {
            let bytes = key.secret.as_slice().try_into().expect("a private key has 32 bytes");
            let private = sm2::PrivateKey::from_bytes(bytes).expect("a key generated here is in range");
            let signature = sm2::sign_digest(&private, digest, source).map_err(|_| no_random("sign_digest"))?;
            Ok(signature.0)
        })
    }

    fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        check_prf_input("prf", input)?;
        self.with_key("prf", key, KeyKind::Kek, |key, _| {
            let mut mac = sm3::Hmac::new(key.secret.as_slice());
            mac.update(input);
            *out = mac.finalize();
            Ok(())
        })
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
        self.lock().source.fill(out).map_err(|_| no_random("random"))
    }

    fn attest(&self, key: &KeyRef) -> Result<Attestation, DeviceError> {
        let inner = self.lock();
        let found = self.find("attest", &inner.keys, key)?;
        let (label, _) = inner.keys.iter().find(|(_, other)| other.id == found.id).expect("found a moment ago");
        Ok(Attestation {
            key: self.describe(label, found),
            public_key: found.public,
            device: self.info(),
            trust: Trust::SelfReported,
            format: "none".to_owned(),
            evidence: Vec::new(),
        })
    }

    fn health(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn counter(&self) -> Result<Option<Count>, DeviceError> {
        Ok(self.counter.as_ref().map(|value| self.count(value.load(Ordering::SeqCst))))
    }

    fn advance_counter(&self) -> Result<Count, DeviceError> {
        let none = || DeviceError::new("advance_counter", Cause::Unsupported, "made without a counter");
        let before = self.counter.as_ref().ok_or_else(none)?.fetch_add(1, Ordering::SeqCst);
        Ok(self.count(before + 1))
    }
}

fn no_random(function: &'static str) -> DeviceError {
    DeviceError::new(function, Cause::Fault, "the system's random source failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::conformance::run(&SoftDevice::new("test"), "soft").assert_passed();
    }

    #[test]
    fn a_seed_fixes_keys_and_signatures() {
        let sign = |seed| {
            let device = SoftDevice::seeded("sim", seed);
            let key = device.generate(&KeySpec::new("k", KeyKind::Sm2Sign)).unwrap();
            (device.public_key(&key).unwrap(), device.sign_digest(&key, &[7; 32]).unwrap())
        };
        assert_eq!(sign(1), sign(1));
        assert_ne!(sign(1).0, sign(2).0);
    }
}
