//! Verification from outside: what a third party can check with the validators' keys, the RPC and nothing of the node's code
//! path. Hashes, signatures and proofs are computed here from the fields the node shows.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bixi_accel::sm2::{self, DEFAULT_ID, PublicKey, Signature};
use bixi_types::consensus::{Validator, ValidatorSet};
use bixi_types::header::{BlockHeader, HeaderSignature, ParentInfo};
use bixi_types::receipt::{LogEntry, Receipt};
use bixi_types::transaction::{self, ChainIdentity, Transaction};
use bixi_types::{CryptoSuite, H256, NodeId, merkle};
use serde_json::{Value, json};

use crate::client::Client;
use crate::demo::load::{CHAIN_ID, GROUP_ID};

const SUITE: CryptoSuite = CryptoSuite::Sm;
/// How long the slowest node may need for the blocks that the others have.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(60);
const CATCH_UP_PERIOD: Duration = Duration::from_millis(20);

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

/// Whether the transaction and its receipt are under the roots of a header that a quorum signed. Neither leaf is taken from the
/// node: `transaction` is the hash its sender computed, and the receipt's is computed here from what the node shows of it.
pub(crate) async fn proof(client: &mut Client, transaction: &H256, set: &ValidatorSet) -> anyhow::Result<bool> {
    let asked = json!([GROUP_ID, "", transaction.to_string(), true]);
    let shown = client.call("getTransaction", asked.clone()).await?;
    let receipt = client.call("getTransactionReceipt", asked).await?;
    let number = receipt["blockNumber"].as_u64().context("the receipt names no block")?;
    let checked = header(client, number).await?;
    let leaf = read_receipt(&receipt)?.hash(SUITE);
    Ok(quorum(&checked, set)
        && is_signed_by_its_sender(&shown, transaction)?
        && merkle::verify(SUITE, transaction, &elements(&shown["txProof"])?, &checked.header.txs_root)
        && merkle::verify(SUITE, transaction, &elements(&receipt["txProof"])?, &checked.header.txs_root)
        && merkle::verify(SUITE, &leaf, &elements(&receipt["txReceiptProof"])?, &checked.header.receipts_root))
}

/// Whether the transaction's fields, as shown, hash to `expected` and are signed by the account it is said to be from.
fn is_signed_by_its_sender(shown: &Value, expected: &H256) -> anyhow::Result<bool> {
    let chain = ChainIdentity { chain_id: CHAIN_ID.into(), group_id: GROUP_ID.into() };
    Ok(match transaction::verify(SUITE, &chain, read_transaction(shown)?) {
        Ok(verified) => verified.hash == *expected && shown["from"] == json!(verified.sender.to_string()),
        Err(_) => false,
    })
}

/// The signed fields of a transaction of version 0, which is what the load sends.
fn read_transaction(shown: &Value) -> anyhow::Result<Transaction> {
    anyhow::ensure!(shown["version"] == 0, "a transaction of version {} was never sent", shown["version"]);
    Ok(Transaction {
        chain_id: text(shown, "chainID")?.to_owned(),
        group_id: text(shown, "groupID")?.to_owned(),
        block_limit: number(shown, "blockLimit")?,
        // The text of the number, shown in hexadecimal.
        nonce: String::from_utf8(bytes(text(shown, "nonce")?)?)?,
        to: text(shown, "to")?.to_owned(),
        input: bytes(text(shown, "input")?)?,
        abi: text(shown, "abi")?.to_owned(),
        signature: bytes(text(shown, "signature")?)?,
        extra_data: text(shown, "extraData")?.to_owned(),
        ..Transaction::default()
    })
}

fn read_receipt(shown: &Value) -> anyhow::Result<Receipt> {
    let version = i32::try_from(number(shown, "version")?)?;
    let log_entries = list(shown, "logEntries")?.iter().map(|entry| {
        let topics = list(entry, "topics")?.iter();
        let topics = topics.map(|topic| Ok(topic.as_str().context("a topic is not text")?.parse()?));
        Ok(LogEntry {
            address: text(entry, "address")?.to_owned(),
            topics: topics.collect::<anyhow::Result<_>>()?,
            data: bytes(text(entry, "data")?)?,
        })
    });
    Ok(Receipt {
        version,
        gas_used: decimal(text(shown, "gasUsed")?)?,
        // Hashed without the prefix it is shown with.
        contract_address: text(shown, "contractAddress")?.trim_start_matches("0x").to_owned(),
        status: i32::try_from(number(shown, "status")?)?,
        output: bytes(text(shown, "output")?)?,
        log_entries: log_entries.collect::<anyhow::Result<_>>()?,
        block_number: number(shown, "blockNumber")?,
        effective_gas_price: shown["effectiveGasPrice"].as_str().unwrap_or_default().to_owned(),
        message: text(shown, "message")?.to_owned(),
    })
}

/// Whether the header names its parent's hash, which is recomputed too.
pub(crate) async fn is_linked(client: &mut Client, checked: &Checked) -> anyhow::Result<bool> {
    let Some(parent) = checked.header.parent_info.first() else { return Ok(checked.header.number == 0) };
    let before = header(client, u64::try_from(parent.number)?).await?;
    Ok(parent.number + 1 == checked.header.number && before.hash == parent.hash)
}

/// What every node shows at one height.
pub(crate) struct Heads(Vec<Checked>);

impl Heads {
    /// What the first of them shows.
    pub(crate) fn first(&self) -> &Checked {
        &self.0[0]
    }

    pub(crate) fn hashes_equal(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].hash == pair[1].hash)
    }

    pub(crate) fn state_roots_equal(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].header.state_root == pair[1].header.state_root)
    }

    /// Whether a quorum of `set` signed what each of them shows.
    pub(crate) fn quorums(&self, set: &ValidatorSet) -> bool {
        self.0.iter().all(|shown| quorum(shown, set))
    }
}

/// The height of the highest node, once all stand there, and their headers at it. The load has ended: what is missing on one is on
/// its way.
pub(crate) async fn heads(nodes: &mut [Client]) -> anyhow::Result<(u64, Heads)> {
    let mut height = 0;
    for node in &mut *nodes {
        height = height.max(block_number(node).await?);
    }
    let mut heads = Vec::new();
    for node in nodes {
        let reached = async {
            while block_number(node).await? < height {
                tokio::time::sleep(CATCH_UP_PERIOD).await;
            }
            header(node, height).await
        };
        let shown = tokio::time::timeout(CATCH_UP_DEADLINE, reached).await;
        heads.push(shown.with_context(|| {
            format!("a node did not reach height {height} within {} s of the load's end", CATCH_UP_DEADLINE.as_secs())
        })??);
    }
    Ok((height, Heads(heads)))
}

async fn block_number(node: &mut Client) -> anyhow::Result<u64> {
    let number = node.call("getBlockNumber", json!([GROUP_ID, ""])).await?;
    number.as_u64().context("getBlockNumber is no number")
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

/// Gas is shown in hexadecimal and hashed in decimal.
fn decimal(hexadecimal: &str) -> anyhow::Result<String> {
    Ok(u128::from_str_radix(hexadecimal.trim_start_matches("0x"), 16)?.to_string())
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
        gas_used: decimal(text(shown, "gasUsed")?)?,
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
    use crate::demo::wallet::{Action, Chain, SystemRandom, Wallet};
    use bixi_accel::sm2::PrivateKey;
    use bixi_types::Address;

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

    /// As a node shows it, JSON as in `bixi-rpc`.
    fn shown_receipt() -> Value {
        json!({
            "version": 0, "contractAddress": format!("0x{}", "ab".repeat(20)), "gasUsed": "5f2b", "status": 0,
            "blockNumber": 7, "output": "0x01", "message": "", "hash": H256([9; 32]).to_string(),
            "logEntries": [{"address": "cd".repeat(20), "topics": [H256([4; 32]).to_string()], "data": "0x05"}],
        })
    }

    #[test]
    fn a_receipt_is_hashed_from_its_fields_whatever_hash_is_claimed() {
        let expected = Receipt {
            gas_used: "24363".into(),
            contract_address: "ab".repeat(20),
            output: vec![1],
            log_entries: vec![LogEntry { address: "cd".repeat(20), topics: vec![H256([4; 32])], data: vec![5] }],
            block_number: 7,
            ..Receipt::default()
        };
        assert_eq!(read_receipt(&shown_receipt()).unwrap().hash(SUITE), expected.hash(SUITE));
        for (field, other) in
            [("status", json!(1)), ("gasUsed", json!("1")), ("output", json!("0x")), ("blockNumber", json!(8))]
        {
            let mut edited = shown_receipt();
            edited[field] = other;
            assert_ne!(read_receipt(&edited).unwrap().hash(SUITE), expected.hash(SUITE), "{field}");
        }
    }

    #[test]
    fn an_edited_transaction_is_not_its_senders() {
        let (wallet, chain) = (Wallet::generate().unwrap(), Chain::new(CHAIN_ID, GROUP_ID, 7));
        let action = Action { to: Some(Address([1; 20])), input: vec![1, 2, 3, 4], ..Action::default() };
        let signed = wallet.sign(&chain, action).unwrap();
        let sent = Transaction::decode(&hex::decode(&signed.hex[2..]).unwrap()).unwrap();
        let shown = json!({
            "version": 0, "chainID": sent.chain_id, "groupID": sent.group_id, "blockLimit": sent.block_limit,
            "nonce": hex::encode(&sent.nonce), "to": sent.to, "input": format!("0x{}", hex::encode(&sent.input)),
            "abi": sent.abi, "signature": format!("0x{}", hex::encode(&sent.signature)), "extraData": "",
            "from": wallet.address().to_string(),
        });
        assert!(is_signed_by_its_sender(&shown, &signed.hash).unwrap());
        assert!(!is_signed_by_its_sender(&shown, &H256([1; 32])).unwrap());
        for (field, other) in [("input", "0x0102030405"), ("from", "0x0101010101010101010101010101010101010101")] {
            let mut edited = shown.clone();
            edited[field] = json!(other);
            assert!(!is_signed_by_its_sender(&edited, &signed.hash).unwrap(), "{field}");
        }
    }
}
