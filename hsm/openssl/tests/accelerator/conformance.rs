//! One suite for every accelerator, on every libcrypto at hand.

use std::thread;

use bixi_accel::sm4::{Key, ctr};
use bixi_accel::workload::pattern;
use bixi_hsm_openssl::{Accelerator, Operation, Params, selftest};

use crate::bench::Abi;

const CIPHERS: [Operation; 4] =
    [Operation::Sm4EcbEncrypt, Operation::Sm4EcbDecrypt, Operation::Sm4CbcDecrypt, Operation::Sm4Ctr];

/// What whoever offers SM2, SM3 and SM4 has to keep.
fn conforms(params: &Params, expected: &[Operation]) {
    let accelerator = Accelerator::open(params).unwrap();
    let offered: Vec<_> = Operation::ALL.into_iter().filter(|operation| accelerator.offers(*operation)).collect();
    assert_eq!(offered, expected, "{}", accelerator.title());
    for operation in expected {
        selftest::run(&accelerator, *operation).unwrap_or_else(|error| panic!("{}: {error}", accelerator.title()));
    }
    known_answers(&accelerator);
    refuses_pieces_of_blocks(&accelerator);
    serves_threads_at_once(&accelerator);
}

/// From the standards themselves, past our own kernels.
fn known_answers(accelerator: &Accelerator) {
    // GB/T 32905 A.1
    let abc = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0";
    let mut digest = [[0; 32]];
    accelerator.sm3_many(&[b"abc"], &mut digest).unwrap();
    assert_eq!(hex(&digest[0]), abc);
    // GB/T 32907 A.1: key and plaintext are equal.
    let key = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";
    let mut block = [0; 16];
    accelerator.sm4(Operation::Sm4EcbEncrypt, &key, &[0; 16], &key, &mut block).unwrap();
    assert_eq!(hex(&block), "681edf34d206965e86b3e94f536e4246");
    accelerator.sm4(Operation::Sm4EcbDecrypt, &key, &[0; 16], &block.clone(), &mut block).unwrap();
    assert_eq!(block, key);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refuses_pieces_of_blocks(accelerator: &Accelerator) {
    for operation in CIPHERS.into_iter().filter(|operation| *operation != Operation::Sm4Ctr) {
        let error = accelerator.sm4(operation, &[0; 16], &[0; 16], &[0; 17], &mut [0; 17]).unwrap_err();
        assert!(error.to_string().contains("17 bytes"), "{error}");
    }
}

fn serves_threads_at_once(accelerator: &Accelerator) {
    thread::scope(|scope| {
        for number in 0..4_u8 {
            scope.spawn(move || {
                let (key, input) = ([number; 16], pattern(4096 + usize::from(number)));
                let (mut expected, mut output) = (input.clone(), vec![0; input.len()]);
                ctr::apply(&Key::new(&key), &[number; 16], &mut expected);
                for _ in 0..50 {
                    output.fill(0);
                    accelerator.sm4(Operation::Sm4Ctr, &key, &[number; 16], &input, &mut output).unwrap();
                    assert!(output == expected, "thread {number} got another's answer");
                }
            });
        }
    });
}

#[test]
fn a_provider_conforms() {
    conforms(&Abi::three().provider("default"), &Operation::ALL);
}

#[test]
fn an_engine_conforms_under_every_libcrypto() {
    for abi in Abi::all() {
        let (params, _place) = abi.double(&[]);
        let sm2 = (!abi.is_three()).then_some(Operation::Sm2Verify);
        let expected: Vec<_> = [Operation::Sm3].into_iter().chain(CIPHERS).chain(sm2).collect();
        conforms(&params, &expected);
    }
}

/// One that lies at some length only, by one bit, is found out in each operation.
#[test]
fn a_lie_of_one_bit_is_found() {
    for abi in Abi::all() {
        for lies_from in ["1", "4096", "1048576"] {
            let (params, _place) = abi.double(&[("LIES", lies_from)]);
            let accelerator = Accelerator::open(&params).unwrap();
            for operation in Operation::ALL.into_iter().filter(|operation| accelerator.offers(*operation)) {
                let error = selftest::run(&accelerator, operation).unwrap_err();
                assert_eq!(error.cause, bixi_hsm::Cause::BadAnswer, "{error}");
                assert!(error.to_string().contains(operation.name()), "{error}");
            }
        }
    }
}
