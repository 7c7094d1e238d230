//! Answers with committed heights, read: what honest nodes never send is found here, before anything is believed.

use bixi_consensus::message::{certified_checks, commit_checks};
use bixi_consensus::{CheckpointCertificate, SignatureCheck};
use bixi_types::consensus::{CommitCertificate, SignatureBytes, Value};
use bixi_types::header::{BlockHeader, HeaderExtension};
use bixi_types::{CryptoSuite, H256, NodeId};

use super::heights::{HeightProof, Heights};

/// A committed height as consensus takes it. Who its validators are is for consensus to judge; the signatures are for whoever calls
/// [`Self::checks`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub value: Value,
    pub certificate: CommitCertificate,
    pub certified: CheckpointCertificate,
    /// What it takes.
    pub bytes: usize,
}

impl Proven {
    /// Every signature that must hold.
    pub(crate) fn checks(&self, chain: H256) -> Vec<SignatureCheck> {
        [commit_checks(&self.certificate, chain), certified_checks(&self.certified)].concat()
    }

    fn read(suite: CryptoSuite, height: u64, proof: HeightProof) -> Result<(Self, BlockHeader), String> {
        let bytes = proof.encoded_bytes();
        let header = BlockHeader::decode(&proof.header).map_err(|error| format!("header {height}: {error}"))?;
        let (value, certificate) = proof.decision.ok_or_else(|| format!("no decision of height {height}"))?;
        let extension =
            HeaderExtension::decode(&header.extra_data).map_err(|error| format!("header {height}: {error}"))?;
        let id = value.id(suite);
        let is_of_height = u64::try_from(header.number) == Ok(height)
            && (value.height, certificate.height) == (height, height)
            && (extension.value_id, certificate.value) == (id, id);
        if !is_of_height {
            return Err(format!("header, value and certificate of height {height} do not belong together"));
        }
        let signatures = signatures_of(&header)?;
        let certified = CheckpointCertificate { height, header_hash: header.hash(suite), signatures };
        Ok((Self { value, certificate, certified, bytes }, header))
    }
}

impl Heights {
    /// Reads an answer with decisions: each height's parts belong together, and each height builds on the one before.
    pub(crate) fn read(self, suite: CryptoSuite) -> Result<Vec<Proven>, String> {
        let mut read: Vec<Proven> = Vec::with_capacity(self.proofs.len());
        for (height, proof) in (self.first..).zip(self.proofs) {
            let (proven, header) = Proven::read(suite, height, proof)?;
            let [parent] = header.parent_info.as_slice() else {
                return Err(format!("header {height} has {} parents", header.parent_info.len()));
            };
            if let Some(before) = read.last()
                && (before.certified.header_hash, before.certificate.value) != (parent.hash, proven.value.parent)
            {
                return Err(format!("height {height} does not build on the one sent before it"));
            }
            read.push(proven);
        }
        Ok(read)
    }
}

/// Who signed a committed header.
pub(crate) fn signatures_of(header: &BlockHeader) -> Result<Vec<(NodeId, SignatureBytes)>, String> {
    let signed = header.signature_list.iter().map(|entry| {
        let place = usize::try_from(entry.sealer_index).ok();
        let node = place.and_then(|place| header.sealer_list.get(place))?;
        Some((*node, SignatureBytes(entry.signature.as_slice().try_into().ok()?)))
    });
    signed.collect::<Option<_>>().ok_or_else(|| format!("the signatures of header {} are damaged", header.number))
}
