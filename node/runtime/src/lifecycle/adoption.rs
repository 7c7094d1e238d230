//! Keys that are in a device already and that an officer has taken all the same, by their fingerprints.
//!
//! Between a device's answer that a key is made and the note of it lies a moment in which a crash leaves a key that no note knows. Of a
//! key encryption key nobody can tell later whether it is that one or one that somebody put there, but what is certain can be asked for:
//! that there was none when the node was about to make one, that the device says it was made inside and cannot leave, and that an officer
//! names it. Who could have put another one there in between has the device's PIN and still does not know the key.

use bixi_hsm::device::kek_fingerprint;
use bixi_hsm::{DeviceError, KeyDevice, KeyRef, Scheme};

use crate::chain;

/// Fingerprints that an officer named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adopted<'a>(pub(crate) &'a [String]);

impl Adopted<'_> {
    /// Whether this one is among them.
    pub(crate) fn names(&self, fingerprint: &str) -> bool {
        self.0.iter().any(|named| named.eq_ignore_ascii_case(fingerprint))
    }

    /// Whether a key encryption key that is there already may be taken; `is_expected`: there was none when one was about to be made.
    ///
    /// # Errors
    /// Says what is against it, and what to do.
    pub(crate) fn expect_kek(
        &self,
        device: &dyn KeyDevice,
        kek: &KeyRef,
        is_expected: bool,
    ) -> Result<(), DeviceError> {
        let refused = chain::foreign_kek(kek);
        let described = device.attest(kek)?.key;
        // A file beside an SDF device says of itself where its key was made, and can be removed as well.
        let is_told_by_device = kek.uri().scheme != Scheme::Sdf;
        let is_inner = is_told_by_device && described.local && described.sensitive && !described.extractable;
        if !is_expected || !is_inner {
            return Err(refused);
        }
        let fingerprint = kek_fingerprint(device, kek)?;
        if self.names(&fingerprint) {
            return Ok(());
        }
        Err(refused.with_advice(format!(
            "an attempt before this one was about to make it, and ended before it noted that. If nobody has used the device since, take it: \
             --adopt {fingerprint}. Else remove it there, or choose another hsm.kek"
        )))
    }
}

#[cfg(test)]
mod tests {
    use bixi_hsm::soft::SoftDevice;
    use bixi_hsm::{KeyKind, KeySpec};

    use super::*;

    #[test]
    fn a_key_encryption_key_is_adopted_by_its_fingerprint_and_only_where_one_was_about_to_be_made() {
        let device = SoftDevice::new("new");
        let kek = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
        let other = device.generate(&KeySpec::new("other", KeyKind::Kek)).unwrap();
        let fingerprint = |key: &KeyRef| kek_fingerprint(&device, key).unwrap();
        let named = [fingerprint(&kek).to_uppercase()];
        Adopted(&named).expect_kek(&device, &kek, true).unwrap();
        let refused = Adopted(&named).expect_kek(&device, &kek, false).unwrap_err().to_string();
        assert!(!refused.contains("--adopt") && refused.contains("did not make it"), "{refused}");
        let refused = Adopted(&[fingerprint(&other)]).expect_kek(&device, &kek, true).unwrap_err().to_string();
        assert!(refused.contains(&format!("--adopt {}", fingerprint(&kek))), "{refused}");
    }
}
