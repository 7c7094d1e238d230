//! Fields outside the signed data, bytes that are no transaction, transactions for another chain or another time.

use bixi_tests::wallet::Seeded;
use bixi_types::limits::TRANSACTION_BYTES_MAX;
use bixi_types::status::Status;
use bixi_types::tars::Writer;
use bixi_types::transaction::Transaction;
use bixi_types::{CryptoSuite, H256};
use serde_json::json;

use crate::cases::{Case, Chain, Draw};

/// What a sender may put around the signed data.
#[derive(Default)]
struct Claims {
    data_hash: Vec<u8>,
    import_time: i64,
    attribute: i64,
    sender: Vec<u8>,
    extra_data: String,
    kind: i64,
    extra_transaction_bytes: Vec<u8>,
    extra_transaction_hash: Vec<u8>,
}

/// The transaction with claims, field by field as FISCO BCOS's `Transaction.tars`.
fn wire(transaction: &Transaction, claims: &Claims) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.structure(1, |data| {
        data.int(1, transaction.version.into());
        data.string(2, &transaction.chain_id);
        data.string(3, &transaction.group_id);
        data.int(4, transaction.block_limit);
        data.string(5, &transaction.nonce);
        data.string(6, &transaction.to);
        data.bytes(7, &transaction.input);
    });
    writer.bytes(2, &claims.data_hash);
    writer.bytes(3, &transaction.signature);
    writer.int(4, claims.import_time);
    writer.int(5, claims.attribute);
    writer.bytes(7, &claims.sender);
    writer.string(8, &claims.extra_data);
    writer.int(9, claims.kind);
    writer.bytes(10, &claims.extra_transaction_bytes);
    writer.bytes(11, &claims.extra_transaction_hash);
    writer.finish()
}

#[test]
fn forged_claims_are_refused_and_do_not_stop_the_honest_transaction() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0x0c1a)));
    type Forge = fn(&H256) -> Claims;
    let forged: [(&str, Status, &'static str, Forge); 6] = [
        ("dataHash of something else", Status::Malformed, "dataHash is", |_| Claims {
            data_hash: vec![7; 32],
            ..Claims::default()
        }),
        ("dataHash with one bit changed", Status::Malformed, "dataHash is", |hash| {
            let mut data_hash = hash.0.to_vec();
            data_hash[31] ^= 1;
            Claims { data_hash, ..Claims::default() }
        }),
        ("dataHash cut short", Status::Malformed, "dataHash is", |hash| Claims {
            data_hash: hash.0[..31].to_vec(),
            ..Claims::default()
        }),
        ("type 1 around signed data of type 0", Status::Malformed, "type 1", |_| Claims {
            kind: 1,
            ..Claims::default()
        }),
        ("type 255", Status::Malformed, "type 255", |_| Claims { kind: 255, ..Claims::default() }),
        ("extraTransactionBytes in type 0", Status::Malformed, "extraTransactionBytes", |_| Claims {
            extra_transaction_bytes: b"\x02\xf8".to_vec(),
            ..Claims::default()
        }),
    ];
    for (name, status, says, forge) in forged {
        let (honest, wallet) = draw.transfer();
        let wire = wire(&honest, &forge(&honest.hash(CryptoSuite::Sm)));
        chain.run(&Case { name: name.into(), wire, status, says, honest, wallet });
    }
}

#[test]
fn what_the_wire_claims_has_no_effect() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0xeffe)));
    let (transaction, wallet) = draw.transfer();
    let victim = draw.wallet().address();
    let claims = Claims {
        data_hash: transaction.hash(CryptoSuite::Sm).0.to_vec(),
        import_time: 4_102_444_800_000,
        attribute: 0x7fff_ffff,
        sender: victim.0.to_vec(),
        extra_data: "free text".into(),
        extra_transaction_hash: vec![0xbb; 32],
        ..Claims::default()
    };
    let receipt = chain.connection.submit(&wire(&transaction, &claims)).unwrap();
    assert_eq!((&receipt["status"], &receipt["from"]), (&json!(0), &json!(wallet.address().to_string())));
    let hash = transaction.hash(CryptoSuite::Sm).to_string();
    let stored = chain.connection.call("getTransaction", json!(["group0", "", hash, false])).unwrap();
    assert_eq!((&stored["from"], &stored["importTime"]), (&json!(wallet.address().to_string()), &json!(0)));
    // The claims make no second transaction of it.
    let (code, _) = chain.refusal("without claims", &transaction.encode());
    assert_eq!(code, i64::from(Status::TxAlreadyInChain.code()));
}

#[test]
fn what_is_not_one_transaction_is_refused() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0x7a11)));
    let (honest, wallet) = draw.transfer();
    let bytes = honest.encode();
    let before = chain.census();
    for end in 0..bytes.len() {
        let (code, message) = chain.refusal("a prefix", &bytes[..end]);
        assert!((10_000..10_016).contains(&code), "the first {end} of {} bytes: {message} ({code})", bytes.len());
    }
    for (name, tail) in [("a zero", &[0][..]), ("an end mark", &[0x0b]), ("noise", b"noise"), ("itself", &bytes)] {
        let (code, message) = chain.refusal(name, &[&bytes, tail].concat());
        assert_eq!(code, i64::from(Status::Malformed.code()), "followed by {name}: {message}");
    }
    assert_eq!(chain.census(), before);
    chain.assert_commits("after its prefixes", &honest, &wallet);

    // Lengths that lie, and nesting that would end the stack.
    let lies = [
        ("a vector of 2 GiB", [&[0x1d, 0x00, 0x02][..], &i32::MAX.to_be_bytes()].concat()),
        ("a vector of negative length", [&[0x1d, 0x00, 0x02][..], &(-1i32).to_be_bytes()].concat()),
        ("a string of 4 GiB", [&[0x17][..], &u32::MAX.to_be_bytes()].concat()),
        ("100,000 structures", vec![0x1a; 100_000]),
        ("100,000 lists", [0xf9, 0xf0, 0x00, 0x01].repeat(25_000)),
    ];
    for (name, wire) in lies {
        chain.assert_refused(name, &wire, Status::Malformed, "not a transaction");
    }
}

#[test]
fn an_oversized_transaction_is_refused_and_the_largest_commits() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0xb16)));
    let mut wallet = draw.wallet();
    let mut body = wallet.user_add("large", 1, 900);
    let mut sized = |bytes: usize| {
        body.input.resize(bytes, 0);
        wallet.sign(body.clone())
    };
    let framing = sized(TRANSACTION_BYTES_MAX / 2).encode().len() - TRANSACTION_BYTES_MAX / 2;
    let largest = sized(TRANSACTION_BYTES_MAX - framing);
    assert_eq!(largest.encode().len(), TRANSACTION_BYTES_MAX);
    let oversized = sized(TRANSACTION_BYTES_MAX - framing + 1);
    chain.assert_refused("one byte more", &oversized.encode(), Status::Malformed, "at most 262144");
    chain.assert_commits("the largest", &largest, &wallet);
}

#[test]
fn other_chains_and_other_times_are_refused() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0x71e)));
    type Change = fn(&mut Transaction);
    let elsewhere: [(&str, Status, &'static str, Change); 5] = [
        ("another chain", Status::InvalidChainId, "chain1", |tx| tx.chain_id = "chain1".into()),
        ("another group", Status::InvalidGroupId, "group1", |tx| tx.group_id = "group1".into()),
        ("no chain", Status::InvalidChainId, "made for chain \"\"", |tx| tx.chain_id.clear()),
        ("no group", Status::InvalidGroupId, "made for group \"\"", |tx| tx.group_id.clear()),
        // The same signed bytes: the hash, and so the signature, hold.
        ("a boundary moved between chain and group", Status::InvalidChainId, "chain0g", |tx| {
            (tx.chain_id, tx.group_id) = ("chain0g".into(), "roup0".into());
        }),
    ];
    for (name, status, says, change) in elsewhere {
        let (honest, mut wallet) = draw.transfer();
        let mut other = honest.clone();
        change(&mut other);
        if other.hash(CryptoSuite::Sm) != honest.hash(CryptoSuite::Sm) {
            other = wallet.sign(other);
        }
        chain.run(&Case { name: name.into(), wire: other.encode(), status, says, honest, wallet });
    }
    let genesis_block_limit = 1_000;
    for offset in [i64::MIN, -1, 0, genesis_block_limit + 1, i64::MAX] {
        let (honest, mut wallet) = draw.transfer();
        let block_limit = chain.node.height().saturating_add(offset);
        let other = wallet.sign(Transaction { block_limit, ..honest.clone() });
        let name = format!("blockLimit {block_limit}");
        let status = Status::BlockLimitCheckFail;
        chain.run(&Case { name, wire: other.encode(), status, says: "must be above", honest, wallet });
    }
}
