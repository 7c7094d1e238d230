//! The signed bytes have no lengths: the same hash and signature fit other cuts into fields. Every cut but the honest one is
//! refused, and where two are plausible, both.

use bixi_tests::wallet::Seeded;
use bixi_types::CryptoSuite;
use bixi_types::status::Status;
use bixi_types::transaction::Transaction;

use crate::cases::{Case, Chain, Draw};

const TO: &str = "0x6849f21d1e455e9f0712b1e99fa4fcd23758e8f1";
const BARE: &str = "6849f21d1e455e9f0712b1e99fa4fcd23758e8f1";
/// System contracts as the Java SDK writes them.
const CONFIG: &str = "0000000000000000000000000000000000001000";
const COMMITTEE: &str = "0000000000000000000000000000000000010001";
const INIT: &[u8] = &[0x60, 0x80, 0x60, 0x40, 0x52, 0x34, 0x80, 0x15, 0x00, 0x33];
const ABI: &str =
    r#"[{"inputs":[{"name":"a \"quoted\" ] name\\","type":"string"}],"name":"set","outputs":[],"type":"function"}]"#;

/// One signed body, cut in two ways.
struct Split {
    name: &'static str,
    honest: Transaction,
    forged: Transaction,
}

fn call(nonce: &str, to: &str, input: &[u8]) -> Transaction {
    Transaction {
        chain_id: "chain0".into(),
        group_id: "group0".into(),
        block_limit: 900,
        nonce: nonce.into(),
        to: to.into(),
        input: input.into(),
        ..Transaction::default()
    }
}

fn deploy(nonce: &str, input: &[u8], abi: &str) -> Transaction {
    Transaction { abi: abi.into(), ..call(nonce, "", input) }
}

fn priced(transaction: Transaction, money: [&str; 2], gas_limit: i64, fees: [&str; 2]) -> Transaction {
    Transaction {
        version: 1,
        value: money[0].into(),
        gas_price: money[1].into(),
        gas_limit,
        max_fee_per_gas: fees[0].into(),
        max_priority_fee_per_gas: fees[1].into(),
        ..transaction
    }
}

fn abi_call(words: usize) -> Vec<u8> {
    let mut input = b"\x2f\xe9\x9b\xdc".to_vec();
    input.resize(4 + 32 * words, 0);
    input
}

/// `nonce ‖ to ‖ input`: calls and deployments turned into each other, addresses moved along digits.
fn left_splits(draw: &mut Draw) -> Vec<Split> {
    let mut found = Vec::new();
    let mut split = |name, honest, forged| found.push(Split { name, honest, forged });
    let input = abi_call(2);
    for to in [TO, CONFIG, BARE] {
        for draw_nonce in [|draw: &mut Draw| draw.decimal(77), |draw: &mut Draw| draw.decimal(39), Draw::uuid] {
            for part in [0, 1, 2] {
                let nonce = draw_nonce(draw);
                let end = [1, nonce.len() / 2, nonce.len()][part];
                let rest = [&nonce.as_bytes()[end..], to.as_bytes(), &input].concat();
                split("a call as a deployment", call(&nonce, to, &input), deploy(&nonce[..end], &rest, ""));
            }
        }
    }
    let nonce = draw.decimal(30);
    let rest = [&b"x"[..], &TO.as_bytes()[2..], &input].concat();
    split("the 0 of 0x as a digit of the nonce", call(&nonce, TO, &input), deploy(&format!("{nonce}0"), &rest, ""));
    for by in [1, 4, 9] {
        let nonce = draw.decimal(77);
        let (shorter, moved) = nonce.split_at(nonce.len() - by);
        let (to, back) = BARE.split_at(BARE.len() - by);
        let forged = call(shorter, &format!("{moved}{to}"), &[back.as_bytes(), &input].concat());
        split("an address moved into the nonce", call(&nonce, BARE, &input), forged);
    }
    for by in 1..=4 {
        let (nonce, mut input) = (draw.decimal(60), abi_call(1));
        input[..4].copy_from_slice(b"1234");
        let image = [nonce.as_bytes(), BARE.as_bytes(), &input].concat();
        let (start, end) = (nonce.len() + by, nonce.len() + by + 40);
        let text = |range: std::ops::Range<usize>| String::from_utf8(image[range].to_vec()).unwrap();
        let forged = call(&text(0..start), &text(start..end), &image[end..]);
        split("an address moved into a selector of digits", call(&nonce, BARE, &input), forged);
    }
    let nonce = draw.decimal(29);
    let forged = call(&nonce, &format!("0{}", &COMMITTEE[..39]), &[b"1", &input[..]].concat());
    split("a system address that reads as another one", call(&format!("{nonce}0"), COMMITTEE, &input), forged);
    let nonce = draw.decimal(77);
    split("a deployment as a call", deploy(&nonce, INIT, ""), call(&nonce[..37], &nonce[37..], INIT));
    let (nonce, init) = (draw.uuid(), &b"\x61\x01\x00\x60\x40\x52"[..]);
    let forged = deploy(&nonce[..1], &[&nonce.as_bytes()[1..], init].concat(), "");
    split("a nonce given to the init code", deploy(&nonce, init, ""), forged);
    let nonce = draw.decimal(60);
    split(
        "init code given to the nonce",
        deploy(&format!("{nonce}4"), b"a\0\x0fW", ""),
        deploy(&nonce, b"4a\0\x0fW", ""),
    );
    found
}

/// `input ‖ abi ‖ value ‖ gasPrice ‖ gasLimit ‖ fees ‖ extension`: code, money and limits turned into each other.
fn right_splits(draw: &mut Draw) -> Vec<Split> {
    let mut found = Vec::new();
    let mut split = |name, honest, forged| found.push(Split { name, honest, forged });
    let none = ["", ""];
    let nonce = draw.decimal(77);
    let honest = || deploy(&nonce, INIT, ABI);
    split("an ABI as init code", honest(), deploy(&nonce, &[INIT, ABI.as_bytes()].concat(), ""));
    let nonce = draw.decimal(77);
    split(
        "a part of an ABI as init code",
        deploy(&nonce, INIT, ABI),
        deploy(&nonce, &[INIT, b"["].concat(), &ABI[1..]),
    );
    let input = abi_call(2);
    for to in [TO, CONFIG, BARE] {
        let nonce = draw.decimal(77);
        let honest = priced(call(&nonce, to, &input), ["0x64", "0x0"], 0, none);
        let longer = [&input, &b"0x640x0"[..]].concat();
        split("money as input", honest, priced(call(&nonce, to, &longer), none, 0, none));
        let nonce = draw.decimal(77);
        let mut text = abi_call(2);
        let end = text.len() - 7;
        text[end..].copy_from_slice(b"0x640x0");
        let forged = priced(call(&nonce, to, &text[..end]), ["0x64", "0x0"], 0, none);
        split("an argument as money", priced(call(&nonce, to, &text), none, 0, none), forged);
    }
    let nonce = draw.decimal(77);
    let code = [INIT, ABI.as_bytes(), b"0x640x0"].concat();
    let honest = priced(deploy(&nonce, INIT, ABI), ["0x64", "0x0"], 0, none);
    split("ABI and money as init code", honest, priced(deploy(&nonce, &code, ""), none, 0, none));

    let mut money = |name, honest: [[&str; 2]; 2], forged: [[&str; 2]; 2]| {
        let nonce = draw.decimal(77);
        let base = |[money, fees]: [[&str; 2]; 2]| priced(call(&nonce, TO, &input), money, 0, fees);
        split(name, base(honest), base(forged));
    };
    money("the value as a price", [["0x64", ""], ["0x3", "0x2"]], [["", "0x64"], ["0x3", "0x2"]]);
    money("value and price as one value", [["0x64", "0x1"], ["0x3", "0x2"]], [["0x640x1", ""], ["0x3", "0x2"]]);
    money("a value ten times as high", [["0x64", "0x1"], none], [["0x640", "x1"], none]);
    money("a fee ten times as high", [["0x64", "0x1"], ["0x2", "0x3"]], [["0x64", "0x1"], ["0x20", "x3"]]);
    money("a tip as a fee", [["0x64", "0x1"], ["0x2", "0x3"]], [["0x64", "0x1"], ["0x20x3", ""]]);
    let nonce = draw.decimal(77);
    let longer = [&input[..], &7i64.to_be_bytes()].concat();
    let forged = priced(call(&nonce, TO, &longer), none, i64::from_be_bytes(*b"0x1110x2"), none);
    split("fees as a gas limit", priced(call(&nonce, TO, &input), none, 7, ["0x111", "0x2"]), forged);

    let extended = |nonce: &str, fees, extension: &[u8]| {
        let base = priced(call(nonce, TO, &abi_call(1)), ["0x0", "0x0"], 0, fees);
        Transaction { version: 2, extension: extension.into(), ..base }
    };
    let nonce = draw.decimal(77);
    let forged = extended(&nonce, none, b"0x10x20zebra");
    split("fees as an extension", extended(&nonce, ["0x1", "0x20"], b"zebra"), forged);
    let nonce = draw.decimal(77);
    let forged = extended(&nonce, ["0x1", "0x2"], b"0zebra");
    split("a digit of a fee as an extension", extended(&nonce, ["0x1", "0x20"], b"zebra"), forged);
    found
}

/// Bodies where both cuts are plausible.
fn ambiguous(draw: &mut Draw) -> Vec<[Transaction; 2]> {
    let (input, none) = (abi_call(2), ["", ""]);
    let base = |nonce: &str| call(nonce, TO, &input);
    let numbers = format!("0x{}0x{}", "1".repeat(14), "2".repeat(14));
    let (value, price) = numbers.split_at(16);
    let longer = [&input, numbers.as_bytes()].concat();
    let nonces: Vec<String> = (0..3).map(|_| draw.decimal(77)).collect();
    let digits = draw.decimal(31);
    vec![
        [priced(call(&nonces[0], TO, &longer), none, 0, none), priced(base(&nonces[0]), [value, price], 0, none)],
        [priced(base(&nonces[1]), ["0x64", ""], 0, none), priced(base(&nonces[1]), ["", "0x64"], 0, none)],
        [priced(base(&nonces[2]), none, 0, ["0x64", ""]), priced(base(&nonces[2]), none, 0, ["", "0x64"])],
        [deploy(&digits, b"a\x01\x00", ""), deploy(&format!("{digits}a"), b"\x01\x00", "")],
    ]
}

#[test]
fn no_other_cut_of_a_signed_body_is_taken() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0x5b17)));
    let splits: Vec<Split> = left_splits(&mut draw).into_iter().chain(right_splits(&mut draw)).collect();
    assert!(splits.len() > 50, "{} splits", splits.len());
    for Split { name, honest, forged } in splits {
        assert_eq!(forged.hash(CryptoSuite::Sm), honest.hash(CryptoSuite::Sm), "{name}: one hash");
        assert_ne!(forged, honest, "{name}: two cuts");
        let mut wallet = draw.wallet();
        let honest = wallet.sign(honest);
        let wire = Transaction { signature: honest.signature.clone(), ..forged }.encode();
        let (name, status) = (format!("{name}: {}", honest.nonce), Status::Malformed);
        chain.run(&Case { name, wire, status, says: "not canonical", honest, wallet });
    }
}

#[test]
fn where_two_cuts_are_plausible_both_are_refused() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0xa3b1)));
    for pair in ambiguous(&mut draw) {
        assert_eq!(pair[0].hash(CryptoSuite::Sm), pair[1].hash(CryptoSuite::Sm), "one hash");
        let mut wallet = draw.wallet();
        for transaction in pair {
            let wire = wallet.sign(transaction.clone()).encode();
            chain.assert_refused(&transaction.nonce, &wire, Status::Malformed, "not canonical");
            chain.assert_absent(&transaction.nonce, &transaction);
        }
    }
}
