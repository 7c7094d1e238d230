//! Signatures that are none: values out of range, keys off the curve, wrong lengths, copies.

use std::sync::atomic::{AtomicUsize, Ordering};

use bixi_tests::wallet::{Seeded, Wallet};
use bixi_types::status::Status;
use bixi_types::transaction::Transaction;
use openssl::bn::{BigNum, BigNumContext};
use serde_json::json;

use crate::cases::{Case, Chain, Draw};

/// n, p and b of the curve, GB/T 32918.5.
const ORDER: &str = "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123";
const PRIME: &str = "fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff";
const B: &str = "28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93";

fn number(hexadecimal: &str) -> BigNum {
    BigNum::from_hex_str(hexadecimal).unwrap()
}

fn bytes(number: &BigNum) -> Vec<u8> {
    number.to_vec_padded(32).unwrap()
}

/// r ‖ s ‖ X ‖ Y with some parts replaced.
fn with(signature: &[u8], parts: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut words: Vec<Vec<u8>> = signature.chunks(32).map(<[u8]>::to_vec).collect();
    for (index, part) in parts {
        words[*index].clone_from(part);
    }
    words.concat()
}

/// A point whose x is 0, written with x = p: the curve has it if b is a square.
fn point_with_unreduced_x() -> Vec<(usize, Vec<u8>)> {
    let mut context = BigNumContext::new().unwrap();
    let mut root = BigNum::new().unwrap();
    root.mod_sqrt(&number(B), &number(PRIME), &mut context).expect("b of SM2 is a square");
    vec![(2, bytes(&number(PRIME))), (3, bytes(&root))]
}

/// s = n - r, so that t = r + s = 0.
fn s_against_r(signature: &[u8]) -> Vec<u8> {
    let r = BigNum::from_slice(&signature[..32]).unwrap();
    bytes(&(&number(ORDER) - &r))
}

fn forgeries(signature: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (order, prime, zero, ones) = (bytes(&number(ORDER)), bytes(&number(PRIME)), vec![0; 32], vec![0xff; 32]);
    let one = bytes(&BigNum::from_u32(1).unwrap());
    let mut y_plus_one = signature[96..].to_vec();
    y_plus_one[31] ^= 1;
    let negated_y = bytes(&(&number(PRIME) - &BigNum::from_slice(&signature[96..]).unwrap()));
    let negated_s = bytes(&(&number(ORDER) - &BigNum::from_slice(&signature[32..64]).unwrap()));
    let x = signature[64..96].to_vec();
    let compressed = [&[2][..], &x, &[0; 31]].concat();
    let sec1 = [&[4][..], &signature[64..127]].concat();
    let halves = |key: &[u8]| vec![(2, key[..32].to_vec()), (3, key[32..].to_vec())];
    vec![
        ("r = 0", with(signature, &[(0, zero.clone())])),
        ("s = 0", with(signature, &[(1, zero.clone())])),
        ("r = s = 0", with(signature, &[(0, zero.clone()), (1, zero.clone())])),
        ("r = n", with(signature, &[(0, order.clone())])),
        ("s = n", with(signature, &[(1, order.clone())])),
        ("r = 2^256 - 1", with(signature, &[(0, ones.clone())])),
        ("s = 2^256 - 1", with(signature, &[(1, ones.clone())])),
        ("r = 1", with(signature, &[(0, one.clone())])),
        ("r + s = n", with(signature, &[(1, s_against_r(signature))])),
        ("r = 1, s = n - 1", with(signature, &[(0, one.clone()), (1, s_against_r(&with(signature, &[(0, one)])))])),
        ("s = n - s, which ECDSA would take", with(signature, &[(1, negated_s)])),
        ("r and s exchanged", with(signature, &[(0, signature[32..64].to_vec()), (1, signature[..32].to_vec())])),
        ("a key off the curve", with(signature, &[(3, y_plus_one)])),
        ("the negated key", with(signature, &[(3, negated_y)])),
        ("the point at infinity as zeros", with(signature, &[(2, zero.clone()), (3, zero.clone())])),
        ("x = p", with(signature, &point_with_unreduced_x())),
        ("y = p", with(signature, &[(3, prime.clone())])),
        ("x = y = 2^256 - 1", with(signature, &[(2, ones.clone()), (3, ones)])),
        ("x = 0", with(signature, &[(2, zero)])),
        ("a compressed key", with(signature, &halves(&compressed))),
        ("a key in SEC 1's form, cut", with(signature, &halves(&sec1))),
        ("key and signature exchanged", [&signature[64..], &signature[..64]].concat()),
    ]
}

#[test]
fn every_impossible_signature_is_refused_and_the_original_commits() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0x516)));
    let count = forgeries(&draw.transfer().0.signature).len();
    for index in 0..count {
        let (honest, wallet) = draw.transfer();
        let (name, signature) = forgeries(&honest.signature).swap_remove(index);
        let wire = Transaction { signature, ..honest.clone() }.encode();
        let (status, says) = (Status::InvalidSignature, "the signature is wrong");
        chain.run(&Case { name: name.into(), wire, status, says, honest, wallet });
    }
    type Cut = fn(&[u8]) -> Vec<u8>;
    let lengths: [Cut; 6] = [
        |_| Vec::new(),
        |signature| signature[..64].to_vec(),
        |signature| signature[..127].to_vec(),
        |signature| [signature, &[0]].concat(),
        |signature| [&signature[..64], &[4], &signature[64..]].concat(),
        |signature| signature.repeat(100),
    ];
    for cut in lengths {
        let (honest, wallet) = draw.transfer();
        let signature = cut(&honest.signature);
        let name = format!("{} bytes of signature", signature.len());
        let wire = Transaction { signature, ..honest.clone() }.encode();
        let (status, says) = (Status::InvalidSignature, "this chain's have 128");
        chain.run(&Case { name, wire, status, says, honest, wallet });
    }
}

/// The copy and the original race each other to the pool, in the same batch of checks or not.
#[test]
fn a_copy_with_a_junk_signature_never_keeps_the_original_out() {
    const RACES: usize = 60;
    let (chain, mut draw) = (Chain::start(), Draw(Seeded(0xc0b1)));
    let races: Vec<(Transaction, Transaction)> = (0..RACES)
        .map(|_| {
            let (honest, _) = draw.transfer();
            let junk = Transaction { signature: draw.0.bytes(128), ..honest.clone() };
            (junk, honest)
        })
        .collect();
    let (node, committed) = (&chain.node, &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for lane in races.chunks(RACES / 6) {
            scope.spawn(move || {
                let mut connection = node.connect().unwrap();
                for (junk, _) in lane.iter().flat_map(|race| [race, race, race]) {
                    assert!(connection.submit(&junk.encode()).is_err());
                }
            });
            scope.spawn(move || {
                let mut connection = node.connect().unwrap();
                for (_, honest) in lane {
                    assert_eq!(connection.submit(&honest.encode()).unwrap()["status"], 0);
                    committed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(committed.load(Ordering::Relaxed), RACES);
}

/// ADR 001: a transaction is its hash, which does not cover the signer. Who signs a seen body with a key of his own and is
/// ordered first takes the hash, as himself; the victim is told, loses no nonce, and repairs it with another body.
#[test]
fn a_copy_signed_with_another_key_takes_the_hash_and_nothing_else() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0xad01)));
    let (original, mut victim) = draw.transfer();
    let mut copier = draw.wallet();
    let copy = copier.sign(original.clone());
    let receipt = chain.assert_commits("the copy", &copy, &copier);
    assert_eq!(receipt["status"], 0);
    let known = Status::TxAlreadyInChain;
    chain.assert_refused("the original behind the copy", &original.encode(), known, "in a block already");
    let stored = receipt_from(&mut chain, &original);
    assert_eq!(stored, copier.address().to_string(), "the hash names the copier's transaction");

    let mut repaired = victim.user_add("repaired", 1, 900);
    repaired.nonce.clone_from(&original.nonce);
    let repaired = victim.sign(repaired);
    chain.assert_commits("another body under the victim's nonce", &repaired, &victim);
    // The copier has used up his own nonce, not the victim's.
    let again = copier.user_add("again", 1, 900);
    let again = copier.sign(Transaction { nonce: original.nonce.clone(), ..again });
    chain.assert_refused("the copier's nonce", &again.encode(), Status::NonceCheckFail, "used nonce");
}

fn receipt_from(chain: &mut Chain, transaction: &Transaction) -> String {
    let hash = transaction.hash(bixi_types::CryptoSuite::Sm).to_string();
    let receipt = chain.connection.call("getTransactionReceipt", json!(["group0", "", hash, false])).unwrap();
    receipt["from"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_of_two_valid_signatures_of_one_sender_stands() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0x2516)));
    let (first, mut wallet): (Transaction, Wallet) = draw.transfer();
    let second = wallet.sign(first.clone());
    assert_ne!(first.signature, second.signature);
    chain.assert_commits("the first signature", &first, &wallet);
    chain.assert_refused("the second signature", &second.encode(), Status::TxAlreadyInChain, "in a block already");
}
