//! A device in front of another one, in one place: what stands around a call is written once for all of them.

use bixi_platform::secret::Secret;
use zeroize::Zeroize as _;

use super::{Attestation, Count, DeviceError, DeviceInfo, KeyDevice, KeyInfo, KeySpec, PRF_BYTES, Unverified};
use crate::uri::KeyRef;

/// A device that hands every call to another one and may do something around it.
pub trait Decorator: Send + Sync {
    /// The other one.
    type Inner: KeyDevice + ?Sized;

    /// The other one.
    fn inner(&self) -> &Self::Inner;

    /// Makes one call, or refuses it; `function` is its name in [`KeyDevice`].
    ///
    /// # Errors
    /// Those of the call, and those of what stands around it.
    fn around<T>(
        &self,
        function: &'static str,
        call: impl FnOnce(&Self::Inner) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError>;

    /// What the device says of itself, seen through this one.
    fn described(&self, info: DeviceInfo) -> DeviceInfo {
        info
    }

    /// A signature on its way out.
    fn signed(&self, signature: [u8; 64]) -> [u8; 64] {
        signature
    }

    /// Random bytes on their way out, or why they stay.
    ///
    /// # Errors
    /// When they must not be used; the caller gets none of them.
    fn drawn(&self, _random: &[u8]) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl<D: Decorator> KeyDevice for D {
    fn info(&self) -> DeviceInfo {
        self.described(self.inner().info())
    }

    fn profile_words(&self) -> Option<String> {
        self.inner().profile_words()
    }

    fn list(&self) -> Result<Vec<KeyInfo>, DeviceError> {
        self.around("list", |device| device.list())
    }

    fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        self.around("generate", |device| device.generate(spec))
    }

    fn with_transient_key(&self, work: &mut dyn FnMut(&KeyRef)) -> Result<(), DeviceError> {
        self.around("with_transient_key", |device| device.with_transient_key(work))
    }

    fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
        self.around("public_key", |device| device.public_key(key))
    }

    fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        self.around("sign_digest", |device| device.sign_digest(key, digest)).map(|signature| self.signed(signature))
    }

    fn sign_unverified(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<Unverified, DeviceError> {
        let answer = self.around("sign_digest", |device| device.sign_unverified(key, digest));
        answer.map(|signature| signature.map(|signature| self.signed(signature)))
    }

    fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        self.around("prf", |device| device.prf(key, input, out))
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
        self.around("random", |device| device.random(out))?;
        self.drawn(out).inspect_err(|_| out.zeroize())
    }

    fn attest(&self, key: &KeyRef) -> Result<Attestation, DeviceError> {
        let attested = self.around("attest", |device| device.attest(key))?;
        Ok(Attestation { device: self.described(attested.device), ..attested })
    }

    fn health(&self) -> Result<(), DeviceError> {
        self.around("health", |device| device.health())
    }

    fn counter(&self) -> Result<Option<Count>, DeviceError> {
        self.around("counter", |device| device.counter())
    }

    fn advance_counter(&self) -> Result<Count, DeviceError> {
        self.around("advance_counter", |device| device.advance_counter())
    }

    fn renew_counter(&self, owner_authorization: &Secret) -> Result<(), DeviceError> {
        self.around("renew_counter", |device| device.renew_counter(owner_authorization))
    }
}
