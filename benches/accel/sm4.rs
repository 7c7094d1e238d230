use crate::{kernel, pattern};
use ::sm4::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes_gcm::aead::{AeadInOut as _, consts::U12};
use bixi_accel::sm4;
use bixi_benches::{Bench, Case, Contender};
use libsm::sm4::cipher_mode::{CipherMode, Sm4CipherMode};
use openssl::symm::{Cipher, Crypter, Mode};
use std::hint::black_box;

type RustCryptoGcm = aes_gcm::AesGcm<::sm4::Sm4, U12>;

const KEY: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";
const COUNTER: [u8; 16] = [0; 16];

pub(crate) fn run(bench: &mut Bench) {
    for bytes in [64, 4096, 65536] {
        blocks(bench, bytes);
        ctr(bench, bytes);
        gcm(bench, bytes);
        xts(bench, bytes);
    }
    gcm_many(bench, 64);
}

fn openssl_crypter(cipher: Cipher, iv: Option<&[u8]>) -> Crypter {
    let mut crypter = Crypter::new(cipher, Mode::Encrypt, &KEY, iv).expect("OpenSSL with SM4");
    crypter.pad(false);
    crypter
}

fn blocks(bench: &mut Bench, bytes: usize) {
    let mut ours = pattern(bytes);
    let mut theirs = vec![::sm4::cipher::Block::<::sm4::Sm4>::default(); bytes / 16];
    let input = pattern(bytes);
    let mut output = vec![0; bytes + 16];
    let key = sm4::Key::new(&KEY);
    let rustcrypto = ::sm4::Sm4::new(&KEY.into());
    let mut openssl = openssl_crypter(Cipher::sm4_ecb(), None);
    let case = Case::new("accel::sm4::encrypt_blocks", kernel("sm4")).bytes(bytes);
    let contenders = &mut [
        Contender::new("ours", || key.encrypt_blocks(black_box(ours.as_chunks_mut().0))),
        Contender::new("openssl", || {
            openssl.update(black_box(&input), &mut output).expect("OpenSSL encrypts");
        }),
        Contender::new("rustcrypto", || rustcrypto.encrypt_blocks(black_box(&mut theirs))),
    ];
    bench.race(&case, contenders);
}

fn ctr(bench: &mut Bench, bytes: usize) {
    let input = pattern(bytes);
    let mut data = input.clone();
    let mut output = vec![0; bytes + 16];
    let key = sm4::Key::new(&KEY);
    let libsm = Sm4CipherMode::new(&KEY, CipherMode::Ctr).expect("libsm with SM4");
    let mut openssl = openssl_crypter(Cipher::sm4_ctr(), Some(&COUNTER));
    sm4::ctr::apply(&key, &COUNTER, &mut data);
    assert_eq!(libsm.encrypt(&[], &input, &COUNTER).expect("libsm encrypts"), data);
    openssl.update(&input, &mut output).expect("OpenSSL encrypts");
    assert_eq!(output[..bytes], data);
    let case = Case::new("accel::sm4::ctr", kernel("sm4")).bytes(bytes);
    let contenders = &mut [
        Contender::new("ours", || sm4::ctr::apply(&key, &COUNTER, black_box(&mut data))),
        Contender::new("openssl", || {
            openssl.update(black_box(&input), &mut output).expect("OpenSSL encrypts");
        }),
        Contender::new("libsm", || libsm.encrypt(&[], black_box(&input), &COUNTER)),
    ];
    bench.race(&case, contenders);
}

fn gcm(bench: &mut Bench, bytes: usize) {
    let nonce = [0; 12];
    let key = sm4::gcm::Key::new(&KEY);
    let rustcrypto = RustCryptoGcm::new(&KEY.into());
    let (mut ours, mut theirs) = (pattern(bytes), pattern(bytes));
    let tag = sm4::gcm::seal(&key, &nonce, &[], &mut ours);
    let their_tag = rustcrypto.encrypt_inout_detached(&nonce.into(), &[], theirs.as_mut_slice().into()).expect("seals");
    assert_eq!((&ours, &tag[..]), (&theirs, &their_tag[..]));
    let case = Case::new("accel::sm4::gcm::seal", kernel("sm4")).bytes(bytes);
    let contenders = &mut [
        Contender::new("ours", || sm4::gcm::seal(&key, &nonce, &[], black_box(&mut ours))),
        Contender::new("rustcrypto", || {
            let data = black_box(theirs.as_mut_slice()).into();
            rustcrypto.encrypt_inout_detached(&nonce.into(), &[], data)
        }),
    ];
    bench.race(&case, contenders);
}

/// Many short records under one key, as pages and frames are.
fn gcm_many(bench: &mut Bench, bytes: usize) {
    const MESSAGES: usize = 256;
    let key = sm4::gcm::Key::new(&KEY);
    let rustcrypto = RustCryptoGcm::new(&KEY.into());
    let mut records = vec![pattern(bytes); MESSAGES];
    let mut single = pattern(bytes);
    let case = Case::new("accel::sm4::gcm::seal_many", kernel("sm4")).bytes(bytes).with("messages", MESSAGES);
    let contenders = &mut [
        Contender::batch("ours", MESSAGES as u32, || {
            let message = |data| sm4::gcm::Message { nonce: [0; 12], aad: &[], data, tag: [0; 16] };
            let mut messages: Vec<_> = records.iter_mut().map(|data| message(&mut data[..])).collect();
            sm4::gcm::seal_many(&key, black_box(&mut messages));
        }),
        Contender::new("rustcrypto, one by one", || {
            let data = black_box(single.as_mut_slice()).into();
            rustcrypto.encrypt_inout_detached(&[0; 12].into(), &[], data)
        }),
    ];
    bench.race(&case, contenders);
}

/// No peer here has SM4-XTS (OpenSSL has it from 3.2 on).
fn xts(bench: &mut Bench, bytes: usize) {
    let halves: [u8; 32] = core::array::from_fn(|index| index as u8);
    for (name, order) in [("gbt17964", sm4::xts::TweakOrder::Gbt17964), ("ieee1619", sm4::xts::TweakOrder::Ieee1619)] {
        let key = sm4::xts::Key::new(&halves, order).expect("the halves differ");
        let mut data = pattern(bytes);
        let case = Case::new("accel::sm4::xts", kernel("sm4")).bytes(bytes).with("tweak", name);
        let ours = || key.encrypt(&[0; 16], black_box(&mut data)).expect("at least one block");
        bench.race(&case, &mut [Contender::new("ours", ours)]);
    }
}
