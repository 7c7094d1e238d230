//! Verification from outside: what a third party can check with the validators' keys, the RPC and nothing of the node's code
//! path. Hashes, signatures and proofs are computed here from the fields the node shows.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bixi_accel::sm2::{self, DEFAULT_ID, PublicKey, Signature};
use bixi_types::consensus::{Validator, ValidatorSet};
use bixi_types::header::{BlockHeader, HeaderSignature, ParentInfo};
use bixi_types::{CryptoSuite, H256, NodeId, merkle};
use serde_json::{Value, json};

use crate::demo::client::Client;
use crate::demo::load::GROUP_ID;

const SUITE: CryptoSuite = CryptoSuite::Sm;

/// A header whose hash was recomputed from its fields.
pub(crate) struct Checked {
    pub(crate) header: BlockHeader,
    pub(crate) hash: H256,
}

/// Reads a header and recomputes its hash; another hash than the node claims is an error.
pub(crate) async fn header(client: &mut Client, number: u64) -> anyhow::Result<Checked> {
    let shown = client.call("getBlockByNumber", json!([GROUP_ID, "", number, true, true])).await?;
    let header = parse(&shown).with_context(|| format!("header {number}"))?;
    let hash = header.hash(SUITE);
    let claimed = client.call("getBlockHashByNumber", json!([GROUP_ID, "", number])).await?;
    if claimed != json!(hash.to_string()) || shown["hash"] != claimed {
        bail!("header {number} hashes to {hash}, but the node claims {claimed}");
    }
    Ok(Checked { header, hash })
}

/// Whether validators of more than two thirds of the weight of `set` signed the header, each signature good and counted once.
pub(crate) fn quorum(checked: &Checked, set: &ValidatorSet) -> bool {
    let listed: Vec<NodeId> = set.members().iter().map(|member| member.id).collect();
    if checked.header.sealer_list != listed {
        return false;
    }
    let mut signed = vec![false; listed.len()];
    for entry in &checked.header.signature_list {
        let Some(member) = usize::try_from(entry.sealer_index).ok().filter(|index| *index < listed.len()) else {
            return false;
        };
        // A FISCO BCOS node of the SM suite appends its public key; the first 64 bytes are r ‖ s.
        let Some(signature) = entry.signature.first_chunk::<64>() else { return false };
        let Ok(key) = PublicKey::from_bytes(&listed[member].0) else { return false };
        if !sm2::verify(&key, DEFAULT_ID, checked.hash.as_bytes(), &Signature(*signature)) {
            return false;
        }
        signed[member] = true;
    }
    let weight: u64 =
        set.members().iter().zip(signed).filter(|(_, signed)| *signed).map(|(member, _)| member.weight).sum();
    weight >= set.quorum_weight()
}

/// Whether the transaction and its receipt are under the roots of a header that a quorum signed. The leaf of the transaction
/// is the hash its sender computed.
pub(crate) async fn proof(client: &mut Client, transaction: &H256, set: &ValidatorSet) -> anyhow::Result<bool> {
    let receipt = client.call("getTransactionReceipt", json!([GROUP_ID, "", transaction.to_string(), true])).await?;
    let number = receipt["blockNumber"].as_u64().context("the receipt names no block")?;
    let checked = header(client, number).await?;
    let receipt_hash: H256 = text(&receipt, "hash")?.parse()?;
    Ok(quorum(&checked, set)
        && merkle::verify(SUITE, transaction, &elements(&receipt["transactionProof"])?, &checked.header.txs_root)
        && merkle::verify(SUITE, &receipt_hash, &elements(&receipt["txReceiptProof"])?, &checked.header.receipts_root))
}

/// Whether the header names its parent's hash, which is recomputed too.
pub(crate) async fn is_linked(client: &mut Client, checked: &Checked) -> anyhow::Result<bool> {
    let Some(parent) = checked.header.parent_info.first() else { return Ok(checked.header.number == 0) };
    let before = header(client, u64::try_from(parent.number)?).await?;
    Ok(parent.number + 1 == checked.header.number && before.hash == parent.hash)
}

/// Whether nodes agree at a height.
pub(crate) struct Heads {
    pub(crate) hashes_equal: bool,
    pub(crate) state_roots_equal: bool,
}

/// Asks every node for its header at `height`.
pub(crate) async fn heads(nodes: &[SocketAddr], height: u64) -> anyhow::Result<Heads> {
    let mut all = Vec::new();
    for node in nodes {
        all.push(header(&mut Client::connect(*node).await?, height).await?);
    }
    Ok(Heads {
        hashes_equal: all.windows(2).all(|pair| pair[0].hash == pair[1].hash),
        state_roots_equal: all.windows(2).all(|pair| pair[0].header.state_root == pair[1].header.state_root),
    })
}

/// The validators of a genesis with equal weights, as they were made.
pub(crate) fn validators(ids: &[NodeId]) -> ValidatorSet {
    ValidatorSet::new(ids.iter().map(|id| Validator { id: *id, weight: 1 }).collect())
}

fn elements(proof: &Value) -> anyhow::Result<Vec<Vec<u8>>> {
    let list = proof.as_array().context("the proof is not a list")?;
    list.iter().map(|element| bytes(element.as_str().context("the proof holds something else than text")?)).collect()
}

fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(hex::decode(text.trim_start_matches("0x"))?)
}

fn text<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    value[name].as_str().with_context(|| format!("no text named {name}"))
}

fn number(value: &Value, name: &str) -> anyhow::Result<i64> {
    value[name].as_i64().with_context(|| format!("no number named {name}"))
}

fn list<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a Vec<Value>> {
    value[name].as_array().with_context(|| format!("no list named {name}"))
}

fn parse(shown: &Value) -> anyhow::Result<BlockHeader> {
    let parent_info = list(shown, "parentInfo")?
        .iter()
        .map(|parent| {
            Ok(ParentInfo { number: number(parent, "blockNumber")?, hash: text(parent, "blockHash")?.parse()? })
        })
        .collect::<anyhow::Result<_>>()?;
    let signature_list = list(shown, "signatureList")?
        .iter()
        .map(|entry| {
            Ok(HeaderSignature {
                sealer_index: number(entry, "sealerIndex")?,
                signature: bytes(text(entry, "signature")?)?,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let sealers =
        list(shown, "sealerList")?.iter().map(|id| Ok(id.as_str().context("a sealer is not text")?.parse()?));
    let weights =
        list(shown, "consensusWeights")?.iter().map(|weight| weight.as_i64().context("a weight is no number"));
    Ok(BlockHeader {
        version: i32::try_from(number(shown, "version")?)?,
        parent_info,
        txs_root: text(shown, "txsRoot")?.parse()?,
        receipts_root: text(shown, "receiptsRoot")?.parse()?,
        state_root: text(shown, "stateRoot")?.parse()?,
        number: number(shown, "number")?,
        // Shown in hexadecimal, hashed in decimal.
        gas_used: u128::from_str_radix(text(shown, "gasUsed")?.trim_start_matches("0x"), 16)?.to_string(),
        timestamp: number(shown, "timestamp")?,
        sealer: number(shown, "sealer")?,
        sealer_list: sealers.collect::<anyhow::Result<_>>()?,
        extra_data: bytes(text(shown, "extraData")?)?,
        consensus_weights: weights.collect::<anyhow::Result<_>>()?,
        signature_list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::wallet::SystemRandom;
    use bixi_accel::sm2::PrivateKey;

    fn signed(key: &PrivateKey) -> Checked {
        let id = NodeId(key.public_key().to_bytes());
        let mut header =
            BlockHeader { number: 3, sealer_list: vec![id], consensus_weights: vec![1], ..BlockHeader::default() };
        let hash = header.hash(SUITE);
        let signature = sm2::sign(key, DEFAULT_ID, hash.as_bytes(), &mut SystemRandom).unwrap();
        header.signature_list = vec![HeaderSignature { sealer_index: 0, signature: signature.0.to_vec() }];
        Checked { header, hash }
    }

    #[test]
    fn a_quorum_needs_signatures_of_the_known_validators() {
        let key = PrivateKey::generate(&mut SystemRandom).unwrap();
        let id = NodeId(key.public_key().to_bytes());
        let stranger = NodeId(PrivateKey::generate(&mut SystemRandom).unwrap().public_key().to_bytes());
        assert!(quorum(&signed(&key), &validators(&[id])));
        assert!(!quorum(&signed(&key), &validators(&[stranger])));
        assert!(!quorum(&signed(&key), &validators(&[id, stranger])));
        let mut bare = signed(&key);
        bare.header.signature_list.clear();
        assert!(!quorum(&bare, &validators(&[id])));
        let mut forged = signed(&key);
        forged.hash.0[0] ^= 1;
        assert!(!quorum(&forged, &validators(&[id])));
    }

    #[test]
    fn a_header_is_read_back_from_its_json() {
        let shown = json!({
            "version": 1, "parentInfo": [{"blockNumber": 2, "blockHash": H256([7; 32]).to_string()}],
            "txsRoot": H256([1; 32]).to_string(), "receiptsRoot": H256([2; 32]).to_string(),
            "stateRoot": H256([3; 32]).to_string(), "number": 3, "gasUsed": "5f2b", "timestamp": 9, "sealer": 0,
            "extraData": "0x01", "sealerList": [], "consensusWeights": [1], "signatureList": [],
        });
        let header = parse(&shown).unwrap();
        assert_eq!((header.gas_used.as_str(), header.number, header.extra_data.as_slice()), ("24363", 3, &[1][..]));
        assert!(parse(&json!({"version": 1})).is_err());
    }
}
