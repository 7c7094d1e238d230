//! JSON shapes of FISCO BCOS 3.x: which key is prefixed hexadecimal, which is bare, which is a number.

use bixi_types::CryptoSuite;
use bixi_types::header::BlockHeader;
use bixi_types::receipt::Receipt;
use serde_json::{Map, Value, json};

use crate::api::{Located, LocatedReceipt, SealerInfo};
use crate::checksum::checksum;

/// Bytes as `0x…`.
pub(crate) fn prefixed(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("json! of braces is an object, got {other}"),
    }
}

pub(crate) fn header(suite: CryptoSuite, header: &BlockHeader) -> Map<String, Value> {
    let parents: Vec<Value> = header
        .parent_info
        .iter()
        .map(|parent| json!({"blockNumber": parent.number, "blockHash": parent.hash.to_string()}))
        .collect();
    let signatures: Vec<Value> = header
        .signature_list
        .iter()
        .map(|entry| json!({"sealerIndex": entry.sealer_index, "signature": prefixed(&entry.signature)}))
        .collect();
    let sealers: Vec<String> = header.sealer_list.iter().map(ToString::to_string).collect();
    object(json!({
        "hash": header.hash(suite).to_string(),
        "version": header.version,
        "txsRoot": header.txs_root.to_string(),
        "receiptsRoot": header.receipts_root.to_string(),
        "stateRoot": header.state_root.to_string(),
        "number": header.number,
        "gasUsed": bare_hex(&header.gas_used),
        "timestamp": header.timestamp,
        "sealer": header.sealer,
        "extraData": prefixed(&header.extra_data),
        "consensusWeights": header.consensus_weights,
        "sealerList": sealers,
        "parentInfo": parents,
        "signatureList": signatures,
    }))
}

pub(crate) fn transaction(located: &Located) -> Map<String, Value> {
    let tx = &located.transaction;
    let mut map = object(json!({
        "version": tx.version,
        "hash": located.hash.to_string(),
        "nonce": hex::encode(&tx.nonce),
        "blockLimit": tx.block_limit,
        "to": tx.to,
        "input": prefixed(&tx.input),
        "from": located.sender.to_string(),
        "importTime": tx.import_time,
        "chainID": tx.chain_id,
        "groupID": tx.group_id,
        "abi": tx.abi,
        "signature": prefixed(&tx.signature),
        "extraData": tx.extra_data,
    }));
    if tx.version >= 1 {
        map.insert("value".into(), json!(quantity(&tx.value)));
        map.insert("gasPrice".into(), json!(tx.gas_price));
        map.insert("gasLimit".into(), json!(tx.gas_limit));
        map.insert("maxFeePerGas".into(), json!(tx.max_fee_per_gas));
        map.insert("maxPriorityFeePerGas".into(), json!(tx.max_priority_fee_per_gas));
    }
    if tx.version >= 2 {
        map.insert("extension".into(), json!(tx.extension));
    }
    map
}

pub(crate) fn receipt(suite: CryptoSuite, found: &LocatedReceipt) -> Map<String, Value> {
    let receipt = &found.receipt;
    let tx = &found.located.transaction;
    let (contract, contract_checksum) = contract_addresses(suite, receipt);
    let logs: Vec<Value> = receipt
        .log_entries
        .iter()
        .map(|entry| {
            let topics: Vec<String> = entry.topics.iter().map(ToString::to_string).collect();
            json!({"address": entry.address, "topics": topics, "data": prefixed(&entry.data)})
        })
        .collect();
    let mut map = object(json!({
        "version": receipt.version,
        "contractAddress": contract,
        "checksumContractAddress": contract_checksum,
        "gasUsed": bare_hex(&receipt.gas_used),
        "status": receipt.status,
        "blockNumber": receipt.block_number,
        "output": prefixed(&receipt.output),
        "message": receipt.message,
        "transactionHash": found.located.hash.to_string(),
        "hash": receipt.hash(suite).to_string(),
        "logEntries": logs,
        "to": tx.to,
        "from": found.located.sender.to_string(),
        "input": prefixed(&tx.input),
        "extraData": tx.extra_data,
    }));
    if receipt.version >= 1 {
        map.insert("effectiveGasPrice".into(), json!(receipt.effective_gas_price));
    }
    map
}

fn contract_addresses(suite: CryptoSuite, receipt: &Receipt) -> (String, String) {
    let bare = receipt.contract_address.trim_start_matches("0x");
    if bare.is_empty() {
        return (String::new(), String::new());
    }
    (format!("0x{bare}"), format!("0x{}", checksum(suite, bare)))
}

/// A Merkle proof: hexadecimal elements without prefix.
pub(crate) fn proof(elements: &[Vec<u8>]) -> Value {
    elements.iter().map(|element| Value::String(hex::encode(element))).collect()
}

pub(crate) fn sealer(info: &SealerInfo) -> Value {
    json!({"nodeID": info.id.to_hex(), "weight": info.weight, "termWeight": 0})
}

/// A decimal string as hexadecimal without prefix, the way FISCO BCOS prints gas.
fn bare_hex(decimal: &str) -> String {
    decimal.parse::<u128>().map_or_else(|_| decimal.to_owned(), |number| format!("{number:x}"))
}

/// A hexadecimal amount with prefix; empty means zero.
fn quantity(value: &str) -> String {
    let digits = value.trim_start_matches("0x").trim_start_matches('0');
    if digits.is_empty() { "0x0".to_owned() } else { format!("0x{digits}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gas_is_printed_as_bare_hexadecimal() {
        assert_eq!(bare_hex("24363"), "5f2b");
        assert_eq!(bare_hex("0"), "0");
    }

    #[test]
    fn amounts_have_a_prefix_and_no_leading_zeros() {
        assert_eq!(quantity(""), "0x0");
        assert_eq!(quantity("0x00ff"), "0xff");
        assert_eq!(quantity("10"), "0x10");
    }
}
