//! FISCO BCOS's and our own encodings of `bixi-types`.

use bixi_types::batch::Batch;
use bixi_types::block::Block;
use bixi_types::header::{BlockHeader, HeaderExtension, HeaderSignature, ParentInfo};
use bixi_types::receipt::{LogEntry, Receipt};
use bixi_types::state::AccountRecord;
use bixi_types::transaction::{ChainIdentity, Transaction, prepare};
use bixi_types::{CryptoSuite, H256, NodeId};

use crate::plan::Decoder;

fn transaction(bytes: &[u8]) -> bool {
    let Ok(read) = Transaction::decode(bytes) else { return false };
    let claims_dropped = Transaction { declared_hash: vec![], import_time: 0, attribute: 0, ..read.clone() };
    assert_eq!(Transaction::decode(&read.encode()), Ok(claims_dropped));
    let chain = ChainIdentity { chain_id: read.chain_id.clone(), group_id: read.group_id.clone() };
    let _ = prepare(CryptoSuite::Std, &chain, read);
    true
}

fn receipt(bytes: &[u8]) -> bool {
    let Ok(read) = Receipt::decode(bytes) else { return false };
    assert_eq!(Receipt::decode(&read.encode()), Ok(read));
    true
}

fn header(bytes: &[u8]) -> bool {
    let Ok(read) = BlockHeader::decode(bytes) else { return false };
    assert_eq!(BlockHeader::decode(&read.encode()), Ok(read));
    true
}

fn extension(bytes: &[u8]) -> bool {
    let Ok(read) = HeaderExtension::decode(bytes) else { return false };
    assert_eq!(read.encode(), bytes);
    true
}

fn block(bytes: &[u8]) -> bool {
    let Ok(read) = Block::decode(bytes) else { return false };
    let again = Block::decode(&read.encode()).unwrap();
    assert_eq!(again.encode(), read.encode());
    true
}

fn batch(bytes: &[u8]) -> bool {
    let Ok(read) = Batch::decode(bytes) else { return false };
    assert_eq!(read.encode(), bytes);
    true
}

fn account(bytes: &[u8]) -> bool {
    let Ok(read) = AccountRecord::decode(bytes) else { return false };
    assert_eq!(read.encode(), bytes);
    true
}

/// All of them.
pub(crate) fn decoders() -> Vec<Decoder> {
    let transaction = Transaction {
        version: 2,
        chain_id: "chain0".into(),
        group_id: "group0".into(),
        block_limit: 501,
        nonce: "82456994196425209985513938878262806289094428".into(),
        to: "0x6849f21d1e455e9f0712b1e99fa4fcd23758e8f1".into(),
        input: vec![3; 68],
        value: "0x0".into(),
        gas_price: "0x0".into(),
        gas_limit: 3_000_000_000,
        extension: b"free".to_vec(),
        signature: vec![1; 65],
        extra_data: "memo".into(),
        ..Transaction::default()
    };
    let log = LogEntry { address: "68".repeat(20), topics: vec![H256([1; 32]); 2], data: vec![5; 40] };
    let receipt = Receipt {
        gas_used: "21000".into(),
        status: 16,
        output: vec![4; 100],
        log_entries: vec![log; 2],
        block_number: 9,
        message: "revert".into(),
        ..Receipt::default()
    };
    let header = BlockHeader {
        version: 0x0310_0400,
        parent_info: vec![ParentInfo { number: 8, hash: H256([8; 32]) }],
        number: 9,
        gas_used: "21000".into(),
        timestamp: 1_700_000_000_000,
        sealer_list: vec![NodeId([7; 64]); 4],
        extra_data: vec![1; 65],
        consensus_weights: vec![1; 4],
        signature_list: vec![HeaderSignature { sealer_index: 2, signature: vec![9; 64] }; 3],
        ..BlockHeader::default()
    };
    let extension = HeaderExtension::new(CryptoSuite::Sm, H256([1; 32]), std::iter::empty());
    let block = Block {
        version: 1,
        kind: 1,
        header: header.clone(),
        transactions: vec![transaction.clone(); 2],
        receipts: vec![receipt.clone(); 2],
    };
    let batch = Batch { transactions: vec![transaction.encode(); 3] };
    let account = AccountRecord { nonce: 1, balance: [2; 32], code_hash: H256([3; 32]) };
    vec![
        Decoder::open_ended("transaction", self::transaction, vec![transaction.encode()]),
        Decoder::open_ended("receipt", self::receipt, vec![receipt.encode()]),
        Decoder::open_ended("header", self::header, vec![header.encode()]),
        Decoder::new("header-extension", self::extension, vec![extension.encode()]),
        Decoder::open_ended("block", self::block, vec![block.encode()]),
        Decoder::new("batch", self::batch, vec![batch.encode()]),
        Decoder::new("account-record", self::account, vec![account.encode()]),
    ]
}
