//! What FISCO BCOS's SDKs produce is accepted here and hashes to the same values. Each file in `vectors/` names its source.

use bixi_types::receipt::{LogEntry, Receipt};
use bixi_types::transaction::{ChainIdentity, Transaction, TransactionError, verify};
use bixi_types::{Address, CryptoSuite, H256};
use serde::Deserialize;

#[derive(Deserialize)]
struct FieldVectors {
    transactions: Vec<FieldVector>,
}

#[derive(Deserialize)]
struct FieldVector {
    version: i32,
    chain_id: String,
    group_id: String,
    block_limit: i64,
    nonce: String,
    to: String,
    input: String,
    signature: String,
    hash: H256,
    from: Address,
}

#[derive(Deserialize)]
struct TarsVectors {
    transactions: Vec<TarsVector>,
}

#[derive(Deserialize)]
struct TarsVector {
    source: String,
    tars: String,
    hash: H256,
    accepted: bool,
}

#[derive(Deserialize)]
struct ReceiptVectors {
    receipts: Vec<ReceiptVector>,
}

#[derive(Deserialize)]
struct ReceiptVector {
    gas_used: String,
    contract_address: String,
    output: String,
    logs: Vec<LogVector>,
    block_number: i64,
    hash: H256,
}

#[derive(Deserialize)]
struct LogVector {
    address: String,
    topics: Vec<H256>,
    data: String,
}

fn chain() -> ChainIdentity {
    ChainIdentity { chain_id: "chain0".into(), group_id: "group0".into() }
}

#[test]
fn transactions_built_by_fields_hash_and_recover_as_the_sdk_says() {
    let vectors: FieldVectors = serde_json::from_str(include_str!("vectors/transaction_fields.json")).unwrap();
    for vector in vectors.transactions {
        let transaction = Transaction {
            version: vector.version,
            chain_id: vector.chain_id,
            group_id: vector.group_id,
            block_limit: vector.block_limit,
            nonce: vector.nonce,
            to: vector.to,
            input: hex::decode(vector.input).unwrap(),
            signature: hex::decode(vector.signature).unwrap(),
            ..Transaction::default()
        };
        assert_eq!(transaction.hash(CryptoSuite::Std), vector.hash);
        let verified = verify(CryptoSuite::Std, &chain(), transaction).unwrap();
        assert_eq!(verified.sender, vector.from);
    }
}

#[test]
fn whole_sdk_transactions_are_accepted() {
    let vectors: TarsVectors = serde_json::from_str(include_str!("vectors/transaction_tars.json")).unwrap();
    for vector in vectors.transactions {
        let bytes = hex::decode(&vector.tars).unwrap();
        let transaction = Transaction::decode(&bytes).unwrap();
        assert_eq!(transaction.declared_hash, vector.hash.0, "{}", vector.source);
        let verified = verify(CryptoSuite::Std, &chain(), transaction);
        if !vector.accepted {
            let refusal = verified.unwrap_err();
            assert!(matches!(refusal, TransactionError::HashMismatch { .. }), "{}: {refusal}", vector.source);
            continue;
        }
        let verified = verified.expect(&vector.source);
        assert_eq!(verified.hash, vector.hash);
        // The canonical encoding is the SDK's without the hash it claims.
        assert!(verified.bytes.len() < bytes.len());
        let again = Transaction::decode(&verified.bytes).unwrap();
        assert_eq!(again, *verified.tx);
    }
}

#[test]
fn the_writer_reproduces_the_sdk_byte_for_byte() {
    let vectors: TarsVectors = serde_json::from_str(include_str!("vectors/transaction_tars.json")).unwrap();
    let vector = &vectors.transactions[0];
    let transaction = Transaction::decode(&hex::decode(&vector.tars).unwrap()).unwrap();
    let hash_field = format!("2d000020{}", vector.hash.to_hex());
    assert_eq!(hex::encode(transaction.encode()), vector.tars.replace(&hash_field, ""));
}

#[test]
fn receipts_hash_as_the_sdk_says() {
    let vectors: ReceiptVectors = serde_json::from_str(include_str!("vectors/receipts.json")).unwrap();
    for vector in vectors.receipts {
        let logs = vector.logs.into_iter().map(|log| LogEntry {
            address: log.address,
            topics: log.topics,
            data: hex::decode(log.data).unwrap(),
        });
        let receipt = Receipt {
            gas_used: vector.gas_used,
            contract_address: vector.contract_address,
            output: hex::decode(vector.output).unwrap(),
            log_entries: logs.collect(),
            block_number: vector.block_number,
            ..Receipt::default()
        };
        assert_eq!(receipt.hash(CryptoSuite::Std), vector.hash);
        assert_eq!(Receipt::decode(&receipt.encode()), Ok(receipt));
    }
}
