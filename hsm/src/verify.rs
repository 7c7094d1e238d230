//! Checks validators' signatures on the CPU: the other half of the digest rule by which the signing service signs.

use std::sync::Arc;

use bixi_accel::sm2::{self, PublicKey, Registry, VerifyItem};
use bixi_types::NodeId;
use bixi_types::ports::{Check, Verifier};

/// [`Verifier`] of suite `sm`: SM2 with the default identity, one batch per call. Keys with a table in the registry are the
/// fastest; a key off the curve verifies nothing.
#[derive(Debug, Clone)]
pub struct SmVerifier {
    registry: Arc<Registry>,
}

impl SmVerifier {
    /// A verifier that shares `registry`.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Builds and keeps tables for a set of validators, and lets those of the set before go. Where the registry has no room
    /// the key is checked without a table.
    pub fn pin(&self, validators: &[NodeId], before: &[NodeId]) {
        let keys = |nodes: &[NodeId]| -> Vec<PublicKey> {
            nodes.iter().filter_map(|node| PublicKey::from_bytes(&node.0).ok()).collect()
        };
        keys(before).iter().for_each(|key| self.registry.unpin(key));
        for key in keys(validators) {
            if let Err(error) = self.registry.pin(&key) {
                tracing::warn!(%error, "no table for a validator's key");
            }
        }
    }
}

impl Verifier for SmVerifier {
    fn verify(&self, checks: &[Check<'_>]) -> Vec<bool> {
        let items: Vec<_> = checks
            .iter()
            .map(|check| VerifyItem {
                key: self
                    .registry
                    .lookup(&check.node.0)
                    .map_or(sm2::KeyRef::Raw(&check.node.0), sm2::KeyRef::Registered),
                message: check.message,
                signature: &check.signature.0,
            })
            .collect();
        let mut verdicts = vec![false; items.len()];
        sm2::verify_batch(&items, &mut verdicts);
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use bixi_types::consensus::SignatureBytes;

    use super::*;
    use crate::soft::SoftDevice;
    use crate::{KeyDevice, KeyKind, KeySpec};

    #[test]
    fn gives_each_check_its_own_verdict_with_and_without_tables() {
        let device = SoftDevice::seeded("t", 9);
        let z = |key: &[u8; 64]| sm2::identity_digest(sm2::DEFAULT_ID, &PublicKey::from_bytes(key).unwrap());
        let signed: Vec<(NodeId, Vec<u8>, SignatureBytes)> = (0..5u8)
            .map(|index| {
                let key = device.generate(&KeySpec::new(format!("k{index}"), KeyKind::Sm2Sign)).unwrap();
                let (node, message) = (device.public_key(&key).unwrap(), vec![index; 40]);
                let digest = sm2::message_digest(&z(&node), &message);
                (NodeId(node), message, SignatureBytes(device.sign_digest(&key, &digest).unwrap()))
            })
            .collect();
        let off_curve = NodeId([5; 64]);
        let check = |node, at: usize, by: usize| Check { node, message: &signed[at].1[..], signature: &signed[by].2 };
        let checks = [
            check(&signed[0].0, 0, 0),
            check(&signed[1].0, 1, 2),
            check(&off_curve, 2, 2),
            check(&signed[3].0, 3, 3),
            check(&signed[4].0, 3, 4),
        ];
        let verifier = SmVerifier::new(Arc::new(Registry::new(8)));
        let expected = [true, false, false, true, false];
        assert_eq!(verifier.verify(&checks), expected);
        let nodes: Vec<_> = signed.iter().map(|(node, _, _)| *node).chain([off_curve]).collect();
        verifier.pin(&nodes, &[]);
        assert_eq!(verifier.registry.len(), 5);
        assert_eq!(verifier.verify(&checks), expected);
        assert!(verifier.verify(&[]).is_empty());
    }
}
