use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const TO: &str = "0x6849f21d1e455e9f0712b1e99fa4fcd23758e8f1";
const BARE: &str = "6849f21d1e455e9f0712b1e99fa4fcd23758e8f1";
const CONFIG: &str = "0000000000000000000000000000000000001000";
const DECIMAL: &str = "82456994196425209985513938878262806289094428076435270713862099506789849517246";
const UUID: &str = "71d0430c5b15747578d517fa6adb3094";
const ABI: &str =
    r#"[{"inputs":[{"name":"a \"quoted\" ] name\\","type":"string"}],"name":"set","outputs":[],"type":"function"}]"#;
const INIT: &[u8] = &[0x60, 0x80, 0x60, 0x40, 0x52, 0x34, 0x80, 0x15, 0x00, 0x33];

fn call(nonce: &str, to: &str, input: &[u8]) -> Transaction {
    Transaction { nonce: nonce.into(), to: to.into(), input: input.into(), block_limit: 500, ..Transaction::default() }
}

fn deploy(nonce: &str, input: &[u8], abi: &str) -> Transaction {
    Transaction { abi: abi.into(), ..call(nonce, "", input) }
}

/// Version 1 with its two pairs of numbers.
fn v1(transaction: Transaction, money: [&str; 2], gas_limit: i64, fees: [&str; 2]) -> Transaction {
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

fn abi_call(selector: [u8; 4], words: usize) -> Vec<u8> {
    let mut input = selector.to_vec();
    input.resize(4 + 32 * words, 0);
    input
}

/// Both cover the same signed bytes.
fn assert_same_image(one: &Transaction, other: &Transaction) {
    assert_ne!(one, other);
    assert_eq!(one.version, other.version);
    assert_eq!(signed_tail(one), signed_tail(other));
    let suite = crate::CryptoSuite::Sm;
    assert_eq!(one.hash(suite), other.hash(suite));
}

/// `honest` is accepted and the other cut of its bytes is not.
#[track_caller]
fn assert_only(honest: &Transaction, forged: &Transaction) {
    assert_same_image(honest, forged);
    assert_eq!(honest.check_canonical(), Ok(()));
    assert!(forged.check_canonical().is_err());
}

#[track_caller]
fn assert_neither(one: &Transaction, other: &Transaction) {
    assert_same_image(one, other);
    assert!(one.check_canonical().is_err());
    assert!(other.check_canonical().is_err());
}

#[test]
fn call_does_not_become_deployment_through_nonce_and_to() {
    for (nonce, to) in [(DECIMAL, TO), (UUID, TO), (DECIMAL, CONFIG), (DECIMAL, BARE), (UUID, BARE)] {
        let input = abi_call(*b"\x2f\xe9\x9b\xdc", 2);
        let honest = call(nonce, to, &input);
        for cut in 1..nonce.len() + 1 {
            let rest = [&nonce.as_bytes()[cut..], to.as_bytes(), &input].concat();
            assert_only(&honest, &deploy(&nonce[..cut], &rest, ""));
        }
    }
    // One digit of the prefix may look like a part of the nonce.
    let honest = call("12", TO, b"data");
    assert_only(&honest, &deploy("120", &[b"x", &TO.as_bytes()[2..], b"data"].concat(), ""));
}

#[test]
fn address_does_not_move_along_the_digits() {
    let input = abi_call(*b"\x2f\xe9\x9b\xdc", 1);
    for nonce in [DECIMAL, "301003069358689341987873708026494283584"] {
        let honest = call(nonce, BARE, &input);
        for by in 1..10 {
            let (shorter, moved) = nonce.split_at(nonce.len() - by);
            let (to, back) = BARE.split_at(BARE.len() - by);
            let forged = call(shorter, &format!("{moved}{to}"), &[back.as_bytes(), &input].concat());
            assert_only(&honest, &forged);
        }
    }
}

#[test]
fn selector_of_digits_moves_no_bare_address() {
    let input = abi_call(*b"1234", 1);
    let honest = call(DECIMAL, BARE, &input);
    let text = format!("{DECIMAL}{BARE}");
    for by in 1..=4 {
        let end = text.len() + by;
        let image = [text.as_bytes(), &input].concat();
        let nonce = std::str::from_utf8(&image[..end - 40]).unwrap();
        let to = std::str::from_utf8(&image[end - 40..end]).unwrap();
        assert_only(&honest, &call(nonce, to, &image[end..]));
    }
}

#[test]
fn deployment_does_not_become_call() {
    let honest = deploy(DECIMAL, INIT, "");
    let forged = call(&DECIMAL[..37], &DECIMAL[37..], INIT);
    assert_only(&honest, &forged);
}

#[test]
fn nonce_does_not_take_init_code() {
    // PUSH2 is the letter a.
    let init = b"\x61\x01\x00\x60\x40\x52";
    let honest = deploy(DECIMAL, init, "");
    assert_eq!(honest.check_canonical(), Ok(()));
    assert_only(&deploy(UUID, init, ""), &deploy("71", &[&UUID.as_bytes()[2..], init].concat(), ""));
    // CALLVALUE is the digit 4: only the UUID nonce has an end of its own.
    let init = b"\x34\x61\x00\x0f\x57";
    assert_only(&deploy("74", &init[1..], ""), &deploy("7", init, ""));
    assert_eq!(deploy(UUID, init, "").check_canonical(), Ok(()));
    // 31 digits and the letter a could be a UUID.
    let digits = &DECIMAL[..31];
    assert_neither(&deploy(digits, b"a\x01\x00", ""), &deploy(&format!("{digits}a"), b"\x01\x00", ""));
}

#[test]
fn init_code_and_abi_do_not_mix() {
    let honest = deploy(DECIMAL, INIT, ABI);
    assert_eq!(honest.check_canonical(), Ok(()));
    assert_only(&honest, &deploy(DECIMAL, &[INIT, ABI.as_bytes()].concat(), ""));
    assert_only(&honest, &deploy(DECIMAL, &[INIT, b"["].concat(), &ABI[1..]));
    let text = [INIT, b"text of the application: [1, 2, {}]"].concat();
    assert_eq!(deploy(DECIMAL, &text, "").check_canonical(), Ok(()));
    for abi in ["[1]", "{}", "[", "[]]", "[] ", " []", "[[]]", "null", r#"[{"name":"a"}]"#] {
        assert!(deploy(DECIMAL, INIT, abi).check_canonical().is_err(), "{abi}");
    }
    assert_eq!(deploy(DECIMAL, INIT, "[]").check_canonical(), Ok(()));
    assert!(Transaction { abi: "[]".into(), ..call(DECIMAL, TO, b"") }.check_canonical().is_err());
}

#[test]
fn input_does_not_become_value() {
    let input = abi_call(*b"\x2f\xe9\x9b\xdc", 2);
    for to in [TO, CONFIG, BARE] {
        let honest = v1(call(DECIMAL, to, &input), ["0x64", "0x0"], 0, ["", ""]);
        assert_only(&honest, &v1(call(DECIMAL, to, &[&input, &b"0x640x0"[..]].concat()), ["", ""], 0, ["", ""]));
        // An argument that spells numbers stays an argument.
        let mut text = abi_call(*b"\x2f\xe9\x9b\xdc", 2);
        let end = text.len();
        text[end - 7..].copy_from_slice(b"0x640x0");
        let honest = v1(call(DECIMAL, to, &text), ["", ""], 0, ["", ""]);
        assert_only(&honest, &v1(call(DECIMAL, to, &text[..end - 7]), ["0x64", "0x0"], 0, ["", ""]));
    }
    // 32 bytes of numbers: either side could have them.
    let numbers = format!("0x{}0x{}", "1".repeat(14), "2".repeat(14));
    let longer = [&input, numbers.as_bytes()].concat();
    let (value, price) = numbers.split_at(16);
    assert_neither(
        &v1(call(DECIMAL, TO, &longer), ["", ""], 0, ["", ""]),
        &v1(call(DECIMAL, TO, &input), [value, price], 0, ["", ""]),
    );
    let honest = v1(deploy(DECIMAL, INIT, ABI), ["0x64", "0x0"], 0, ["", ""]);
    let code = [INIT, ABI.as_bytes(), b"0x640x0"].concat();
    assert_only(&honest, &v1(deploy(DECIMAL, &code, ""), ["", ""], 0, ["", ""]));
}

#[test]
fn value_does_not_become_gas_price() {
    let base = || call(DECIMAL, TO, &abi_call([1, 2, 3, 4], 1));
    assert_neither(&v1(base(), ["0x64", ""], 0, ["", ""]), &v1(base(), ["", "0x64"], 0, ["", ""]));
    // The Java SDK's EIP-1559 transactions: fees instead of a price.
    let fees = ["0x3", "0x2"];
    assert_only(&v1(base(), ["0x64", ""], 0, fees), &v1(base(), ["", "0x64"], 0, fees));
    assert_only(&v1(base(), ["0x64", "0x1"], 0, fees), &v1(base(), ["0x640x1", ""], 0, fees));
    assert_neither(&v1(base(), ["", ""], 0, ["0x64", ""]), &v1(base(), ["", ""], 0, ["", "0x64"]));
    assert_only(&v1(base(), ["0x64", "0x1"], 0, ["", ""]), &v1(base(), ["0x640", "x1"], 0, ["", ""]));
    assert_only(&v1(base(), ["0x64", "0x1"], 0, ["0x2", "0x3"]), &v1(base(), ["0x64", "0x1"], 0, ["0x20", "x3"]));
}

#[test]
fn gas_limit_does_not_move() {
    let base = || call(DECIMAL, TO, &abi_call([1, 2, 3, 4], 1));
    for gas_limit in [0, 1, 3_000_000_000, GAS_LIMIT_END - 1] {
        for fees in [["", ""], ["0x1", "0x2"]] {
            assert_eq!(v1(base(), ["0x0", "0x0"], gas_limit, fees).check_canonical(), Ok(()));
            assert_eq!(v1(base(), ["", ""], gas_limit, fees).check_canonical(), Ok(()));
        }
    }
    for gas_limit in [-1, GAS_LIMIT_END, i64::MAX] {
        assert!(v1(base(), ["", ""], gas_limit, ["", ""]).check_canonical().is_err());
    }
    // The 8 bytes of a limit as the end of the input, with fees read as a limit.
    let input = [&abi_call([1, 2, 3, 4], 1)[..], &7i64.to_be_bytes()].concat();
    let forged_limit = i64::from_be_bytes(*b"0x1110x2");
    let honest = v1(base(), ["", ""], 7, ["0x111", "0x2"]);
    assert_only(&honest, &v1(call(DECIMAL, TO, &input), ["", ""], forged_limit, ["", ""]));
}

#[test]
fn extension_needs_a_mark_of_its_own() {
    let base = v1(call(DECIMAL, TO, &abi_call([1, 2, 3, 4], 1)), ["0x0", "0x0"], 0, ["", ""]);
    let v2 = |extension: &[u8]| Transaction { version: 2, extension: extension.into(), ..base.clone() };
    assert_eq!(v2(b"").check_canonical(), Ok(()));
    assert_eq!(v2(b"Hello World!").check_canonical(), Ok(()));
    assert!(v2(b"0x1").check_canonical().is_err());
    let with_fees =
        Transaction { max_fee_per_gas: "0x1".into(), max_priority_fee_per_gas: "0x20".into(), ..v2(b"zebra") };
    assert_eq!(with_fees.check_canonical(), Ok(()));
    assert!(Transaction { max_priority_fee_per_gas: "0x2".into(), ..v2(b"0zebra") }.check_canonical().is_err());
    // Without numbers nothing tells input and extension apart.
    let bare = Transaction { value: String::new(), gas_price: String::new(), ..v2(b"Hello World!") };
    assert!(bare.check_canonical().is_err());
    // A second mark inside the extension.
    let twice = v2(b"Hello0x00x0\0\0\0\0\0\0\0\0!");
    assert!(twice.check_canonical().is_err());
    let many = v2(&b"0x00x0\0\0\0\0\0\0\0\0z".repeat(9));
    assert_eq!(many.check_canonical(), Err(GrammarError::Ambiguous));
}

#[test]
fn fields_outside_the_signature_are_refused() {
    let base = call(DECIMAL, TO, b"x");
    assert_eq!(base.check_canonical(), Ok(()));
    for (field, transaction) in [
        ("value", Transaction { value: "0x1".into(), ..base.clone() }),
        ("gasPrice", Transaction { gas_price: "0x1".into(), ..base.clone() }),
        ("gasLimit", Transaction { gas_limit: 1, ..base.clone() }),
        ("maxFeePerGas", Transaction { max_fee_per_gas: "0x1".into(), ..base.clone() }),
        ("maxPriorityFeePerGas", Transaction { max_priority_fee_per_gas: "0x1".into(), ..base.clone() }),
        ("extension", Transaction { extension: vec![1], ..base.clone() }),
    ] {
        assert_eq!(transaction.check_canonical(), Err(GrammarError::Unsigned { field, version: 0 }));
    }
    for version in [-1, 3, i32::MIN, i32::MAX] {
        assert_eq!(Transaction { version, ..base.clone() }.check_canonical(), Err(GrammarError::Version(version)));
    }
}

#[test]
fn malformed_fields_are_named() {
    let nonces = ["", "a", "12a", "0x12", " 1", "１", &"1".repeat(79), &UUID[..31], &UUID.to_uppercase()];
    for nonce in nonces {
        let refusal = call(nonce, TO, b"").check_canonical();
        assert!(matches!(refusal, Err(GrammarError::Field { field: "nonce", .. })), "{nonce:?} {refusal:?}");
    }
    for to in ["0x", "0x12", &TO[1..], &format!("{TO}0"), &TO.replace('x', "X"), &BARE.to_uppercase()] {
        let refusal = call("1", to, b"").check_canonical();
        assert!(matches!(refusal, Err(GrammarError::Field { field: "to", .. })), "{to:?} {refusal:?}");
    }
    assert_eq!(call("1", &format!("0x{}", BARE.to_uppercase()), b"").check_canonical(), Ok(()));
}

#[test]
fn no_system_address_is_another_one_moved() {
    for one in SYSTEM_ADDRESSES {
        for other in SYSTEM_ADDRESSES {
            for by in 1..4 {
                let meets = one[by..] == other[..40 - by];
                // …1000 followed by 1 to 4 reads as …1000x behind a nonce one zero longer; only one has whole words.
                assert!(!meets || other.starts_with(&one[1..]), "{one} moved by {by} meets {other}");
            }
        }
    }
    // nonce 50 ‖ 0{35}10001 ‖ input  =  nonce 5 ‖ 00{35}1000 ‖ 1 input
    let long = "0000000000000000000000000000000000010001";
    let input = abi_call([0x2f; 4], 1);
    let forged = call("5", &format!("0{}", &long[..39]), &[b"1", &input[..]].concat());
    assert_only(&call("50", long, &input), &forged);
}

fn decimal_nonce() -> impl Strategy<Value = String> {
    prop_oneof!["[1-9][0-9]{74,77}", "[1-9][0-9]{37,39}", "[1-9][0-9]{0,20}"]
}

/// A UUID as SDKs draw them: version digit 4 and a variant, hence not 28 decimal digits in a row by chance alone.
fn nonce() -> impl Strategy<Value = String> {
    prop_oneof![decimal_nonce(), "[0-9a-f]{4}[a-f][0-9a-f]{27}"]
}

fn prefixed() -> impl Strategy<Value = String> {
    "0x[0-9a-f]{40}"
}

/// Where there are fees, the Java SDK leaves the price out.
fn without_price([value, price]: &[String; 2], fees: &[String; 2]) -> [String; 2] {
    [value.clone(), if fees[0].is_empty() { price.clone() } else { String::new() }]
}

fn money() -> impl Strategy<Value = [String; 2]> {
    prop_oneof![Just(["".to_owned(), "".to_owned()]), ["0x[0-9a-f]{1,12}", "0x[0-9a-f]{1,10}"]]
}

fn abi_input() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 4]>(), 0..6usize, any::<u8>()).prop_map(|(selector, words, last)| {
        let mut input = abi_call(selector, words);
        if words > 0 {
            *input.last_mut().expect("not empty") = last;
        }
        input
    })
}

fn init_code() -> impl Strategy<Value = Vec<u8>> {
    let head =
        select(vec![&b"\x60\x80\x60\x40\x52"[..], b"\x60\xa0\x60\x40", b"\x61\x01\x00\x60\x40\x52", b"\x3d\x60"]);
    (head, proptest::collection::vec(any::<u8>(), 0..200)).prop_map(|(head, body)| {
        // solc's metadata ends every init code without arguments.
        [head, &body, b"\x64solcC\x00\x08\x1c\x00\x33"].concat()
    })
}

fn sdk_transaction() -> impl Strategy<Value = Transaction> {
    let bare = prop_oneof![select(SYSTEM_ADDRESSES.to_vec()).prop_map(str::to_owned), "[0-9a-f]{6}[a-f][0-9a-f]{33}"];
    let free = proptest::collection::vec(any::<u8>(), 0..100);
    let v0 = prop_oneof![
        (nonce(), prefixed(), prop_oneof![abi_input(), free]).prop_map(|(nonce, to, input)| call(&nonce, &to, &input)),
        (nonce(), bare, abi_input()).prop_map(|(nonce, to, input)| call(&nonce, &to, &input)),
        (nonce(), init_code(), select(vec!["", "[]", ABI])).prop_map(|(nonce, code, abi)| deploy(&nonce, &code, abi)),
    ];
    (v0, 0..3i32, money(), 0..4_000_000_000i64, money()).prop_map(|(base, version, money, gas_limit, fees)| {
        let shaped = base.to.is_empty() || base.input.len() % 32 == 4;
        if version == 0 || !shaped {
            return base;
        }
        let money = without_price(&money, &fees);
        let numbers = v1(base, money.each_ref().map(String::as_str), gas_limit, fees.each_ref().map(String::as_str));
        Transaction { version, ..numbers }
    })
}

/// Every way to cut the signed bytes of `transaction` that is not absurd at first sight, found by brute force.
fn cuts(transaction: &Transaction) -> Vec<Transaction> {
    let image = signed_tail(transaction);
    let text = |range: std::ops::Range<usize>| String::from_utf8(image[range].to_vec()).ok();
    let mut found = Vec::new();
    for right in right_cuts(&image, transaction.version) {
        for nonce_end in 1..=right.0.min(79) {
            for input_start in [nonce_end, nonce_end + 40, nonce_end + 42] {
                if input_start > right.0 {
                    continue;
                }
                if !image[..input_start].iter().all(u8::is_ascii_alphanumeric) {
                    continue;
                }
                let (Some(nonce), Some(to)) = (text(0..nonce_end), text(nonce_end..input_start)) else { continue };
                for abi_start in (input_start..right.0).filter(|at| image[*at] == b'[').chain([right.0]) {
                    let Some(abi) = text(abi_start..right.0) else { continue };
                    let input = image[input_start..abi_start].to_vec();
                    found.push(Transaction { nonce: nonce.clone(), to: to.clone(), input, abi, ..right.1.clone() });
                }
            }
        }
    }
    found
}

/// Where the body may end, with the fields behind it.
fn right_cuts(image: &[u8], version: i32) -> Vec<(usize, Transaction)> {
    if version == 0 {
        return vec![(image.len(), Transaction { block_limit: 500, ..Transaction::default() })];
    }
    let number = |range: std::ops::Range<usize>| {
        let text = String::from_utf8(image[range].to_vec()).ok()?;
        (text.is_empty() || text.starts_with("0x")).then_some(text)
    };
    let mut found = Vec::new();
    for limit_start in 0..image.len().saturating_sub(7) {
        let limit_end = limit_start + 8;
        let gas_limit = i64::from_be_bytes(image[limit_start..limit_end].try_into().unwrap());
        if !(0..GAS_LIMIT_END).contains(&gas_limit) {
            continue;
        }
        for extension_start in limit_end..=image.len() {
            for (fee, tip) in pairs(limit_end, extension_start, &number) {
                for value_start in limit_start.saturating_sub(30)..=limit_start {
                    for (value, gas_price) in pairs(value_start, limit_start, &number) {
                        let tail = Transaction {
                            version,
                            block_limit: 500,
                            value,
                            gas_price,
                            gas_limit,
                            max_fee_per_gas: fee.clone(),
                            max_priority_fee_per_gas: tip.clone(),
                            extension: image[extension_start..].to_vec(),
                            ..Transaction::default()
                        };
                        found.push((value_start, tail));
                    }
                }
            }
            if extension_start > limit_end + 30 {
                break;
            }
        }
    }
    found.retain(|(_, tail)| version == 2 || tail.extension.is_empty());
    found
}

fn pairs(
    start: usize,
    end: usize,
    number: &impl Fn(std::ops::Range<usize>) -> Option<String>,
) -> Vec<(String, String)> {
    (start..=end).filter_map(|cut| Some((number(start..cut)?, number(cut..end)?))).collect()
}

/// Transactions that try to be read in two ways: every field made of pieces other fields are made of.
fn hostile_transaction() -> impl Strategy<Value = Transaction> {
    let piece = select(vec![
        "0",
        "1",
        "12",
        "a",
        "4",
        "x",
        "0x",
        "0x1",
        "0x0",
        "[]",
        "[",
        "]",
        "\"",
        "\0\0\0\0\0\0\0\0",
        "\0\0\0",
        UUID,
        CONFIG,
        BARE,
        TO,
        "z",
        "`",
        r#"[{"type":"a"}]"#,
    ]);
    let bytes = proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat());
    let nonce = prop_oneof!["[0-9]{1,45}", Just(UUID.to_owned()), Just(format!("1{CONFIG}"))];
    let to = select(vec!["", TO, BARE, CONFIG, "0000000000000000000000000000000000010001"]);
    let pair = prop_oneof![Just(["", ""]), Just(["0x0", "0x0"]), Just(["0x1", "0x64"]), Just(["0x1", ""])];
    let input = (bytes.clone(), any::<bool>()).prop_map(|(mut input, shaped)| {
        while shaped && input.len() % 32 != 4 {
            input.push('0');
        }
        input
    });
    (nonce, to, input, pair.clone(), pair, 0..3i32, bytes, 0..2i64).prop_map(
        |(nonce, to, input, money, fees, version, extension, gas_limit)| {
            let base = call(&nonce, to, input.as_bytes());
            match version {
                0 => base,
                1 => v1(base, money, gas_limit, fees),
                _ => Transaction { version, extension: extension.into(), ..v1(base, money, gas_limit, fees) },
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn sdk_traffic_is_accepted(transaction in sdk_transaction()) {
        prop_assert_eq!(transaction.check_canonical(), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn at_most_one_cut_of_the_signed_bytes_is_accepted(transaction in hostile_transaction()) {
        let accepted: Vec<Transaction> =
            cuts(&transaction).into_iter().filter(|cut| cut.check_canonical().is_ok()).collect();
        prop_assert!(accepted.len() <= 1, "{accepted:?}");
        for cut in &accepted {
            prop_assert_eq!(signed_tail(cut), signed_tail(&transaction));
        }
        if transaction.check_canonical().is_ok() {
            prop_assert_eq!(accepted, [transaction]);
        }
    }
}
