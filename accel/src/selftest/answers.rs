//! The known answers, with the source of each.

use super::Test;
use crate::sm2::encryption::{self, Ciphertext, Layout};
use crate::sm2::{self, IdentifiedKey, KeyRef, PublicKey, RegisteredKey, Signature, VerifyItem};
use crate::{sm3, sm4};

macro_rules! test {
    ($operation:literal, $passes:ident, $name:literal) => {
        Test { name: $name, operation: $operation, passes: $passes }
    };
}

pub(super) const TESTS: [Test; 20] = [
    test!("sm3", sm3_digest, "SM3 digest (GB/T 32905 A.1, A.2)"),
    test!("sm3.many", sm3_many, "SM3 of many messages"),
    test!("sm3.many", sm3_lengths, "SM3 of many lengths, whole and in parts (OpenSSL)"),
    test!("sm3.many", sm3_lthash, "LtHash's expansion (OpenSSL's SM3)"),
    test!("sm3", sm3_long, "SM3 of 16 KiB (OpenSSL)"),
    test!("sm3", hmac, "HMAC-SM3 (GM/T 0042 D.3)"),
    test!("sm4", sm4_block, "SM4 blocks both ways (GB/T 32907 A.1)"),
    test!("sm4", sm4_cbc, "SM4-CBC both ways (OpenSSL)"),
    test!("sm4", sm4_ctr, "SM4-CTR (draft-ribose-cfrg-sm4 A.2.5.1)"),
    test!("sm4", sm4_long, "SM4 blocks, CTR, CBC and XTS of 20,011 bytes (RustCrypto)"),
    test!("sm4.ghash", sm4_gcm, "SM4-GCM (RFC 8998 A.1), forgery refused"),
    test!("sm4.ghash", sm4_gcm_long, "SM4-GCM of 20,011 bytes, alone and among others, forgery refused (RustCrypto)"),
    test!("sm4", sm4_xts, "SM4-XTS, both tweak orders"),
    test!("sm2.field", sm2_verify, "SM2 verification (OpenSSL's signature), forgery refused"),
    test!("sm2.field", sm2_sign, "SM2 signature with a known nonce (GB/T 32918.5 A.2)"),
    test!("sm2.field", sm2_exchange, "SM2 key agreement, both sides and confirmations (GB/T 32918.5 B.2)"),
    test!(
        "sm2.field",
        sm2_encryption,
        "SM2 encryption with a known nonce, decryption, forgery refused (GB/T 32918.5 C.2)"
    ),
    test!("sm2.verify_batch", sm2_batch, "SM2 batch verification, with and without table"),
    test!("sm2.sign_batch", sm2_sign_batch, "SM2 batch signatures with a known nonce (GB/T 32918.5 A.2)"),
    test!("sm2.multiply_batch", sm2_decrypt_batch, "SM2 batch decryption, forgery refused (GB/T 32918.5 C.2)"),
];

pub(super) const WIDE_TABLES: Test =
    test!("sm2.verify_batch", sm2_wide_batch, "SM2 batch verification, with a wide table and without any");

/// Decodes hexadecimal constants below; computed when compiled.
const fn hex<const N: usize>(text: &str) -> [u8; N] {
    const fn digit(c: u8) -> u8 {
        match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => panic!("not a lower-case hexadecimal digit"),
        }
    }
    assert!(text.len() == 2 * N, "length of a hexadecimal constant");
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = digit(text.as_bytes()[2 * i]) << 4 | digit(text.as_bytes()[2 * i + 1]);
        i += 1;
    }
    bytes
}

const ABC_DIGEST: [u8; 32] = hex("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");
const ABCD16_DIGEST: [u8; 32] = hex("debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732");

fn sm3_digest() -> bool {
    sm3::digest(b"abc") == ABC_DIGEST && sm3::digest(&b"abcd".repeat(16)) == ABCD16_DIGEST
}

fn sm3_many() -> bool {
    let long = b"abcd".repeat(16);
    let messages: Vec<&[u8]> = (0..37).map(|i| if i % 3 == 0 { &b"abc"[..] } else { &long }).collect();
    let mut out = vec![[0; 32]; messages.len()];
    sm3::digest_many(&messages, &mut out);
    out.iter().enumerate().all(|(i, digest)| *digest == if i % 3 == 0 { ABC_DIGEST } else { ABCD16_DIGEST })
}

/// 16,384 bytes `a`, by OpenSSL.
fn sm3_long() -> bool {
    sm3::digest(&[b'a'; 16384]) == hex("bbb6728a777696b2ac0a8e04de84d6cc7a71ab210920c8ad8b9cecb667ce29cd")
}

/// The digest of the digests of the first 0, 1, … 199 bytes of a pattern, by OpenSSL.
fn sm3_lengths() -> bool {
    const ANSWER: [u8; 32] = hex("281f39ebb05ab2411bca9d1fb87175bb11b68ab0b4f475c4fbb07ace3d17abcb");
    let pattern: [u8; 200] = core::array::from_fn(|i| (i * 7 + 1) as u8);
    let messages: [&[u8]; 200] = core::array::from_fn(|length| &pattern[..length]);
    let mut out = [[0; 32]; 200];
    sm3::digest_many(&messages, &mut out);
    let whole = sm3::digest(out.as_flattened()) == ANSWER;
    out = [[0; 32]; 200];
    sm3::digest_many_parts(&messages.map(|message| <[&[u8]; 2]>::from(message.split_at(message.len() / 3))), &mut out);
    whole && sm3::digest(out.as_flattened()) == ANSWER
}

/// The digest of what the seed of 32 bytes `07` expands to, by OpenSSL.
fn sm3_lthash() -> bool {
    let mut sum = [0; sm3::lthash::LANES];
    sm3::lthash::update(&mut sum, &[], &[[7; 32]]);
    let element: Vec<u8> = sum.iter().flat_map(|lane| lane.to_le_bytes()).collect();
    sm3::lthash::update(&mut sum, &[[7; 32]], &[]);
    sm3::digest(&element) == hex("c7a1181094879c5cbddc7530c1622ed06c21a0375fc65d965db1b27d9071cd94")
        && sum == [0; sm3::lthash::LANES]
}

/// GM/T 0042-2015 D.3.
fn hmac() -> bool {
    let key: [u8; 32] = hex("0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
    let mut mac = sm3::Hmac::new(&key);
    mac.update(&b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".repeat(2));
    mac.verify(&hex("ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a"))
}

const SM4_KEY: [u8; 16] = hex("0123456789abcdeffedcba9876543210");
const SM4_BLOCK: [u8; 16] = hex("681edf34d206965e86b3e94f536e4246");

fn sm4_block() -> bool {
    let key = sm4::Key::new(&SM4_KEY);
    let mut blocks = [SM4_KEY; 35];
    key.encrypt_blocks(&mut blocks);
    let encrypted = blocks == [SM4_BLOCK; 35];
    key.decrypt_blocks(&mut blocks);
    encrypted && blocks == [SM4_KEY; 35]
}

fn sm4_cbc() -> bool {
    let cipher: [u8; 32] = hex("2677f46b09c122cc975533105bd4a22af6125f7275ce552c3a2bbcf533de8a3b");
    let key = sm4::Key::new(&SM4_KEY);
    let (mut blocks, mut chain) = ([SM4_KEY; 2], SM4_KEY);
    sm4::cbc::encrypt(&key, &mut chain, &mut blocks);
    let encrypted = blocks.as_flattened() == cipher;
    chain = SM4_KEY;
    sm4::cbc::decrypt(&key, &mut chain, &mut blocks);
    encrypted && blocks == [SM4_KEY; 2] && chain == *cipher.last_chunk().expect("a block")
}

fn sm4_ctr() -> bool {
    let mut data: [u8; 64] = hex(
        "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccddddddddddddddddeeeeeeeeeeeeeeeeffffffffffffffffaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb",
    );
    sm4::ctr::apply(&sm4::Key::new(&SM4_KEY), &hex("000102030405060708090a0b0c0d0e0f"), &mut data);
    data == hex(
        "ac3236cb970cc20791364c395a1342d1a3cbc1878c6f30cd074cce385cdd70c7f234bc0e24c11980fd1286310ce37b926e02fcd0faa0baf38b2933851d824514",
    )
}

/// Bytes that fill every kernel's widest call many times over, and a tail: short messages never reach what long ones run.
const LONG_BYTES: usize = 20_011;

fn long() -> Vec<u8> {
    (0..LONG_BYTES).map(|i| (i * 7 + (i >> 8)) as u8).collect()
}

/// The digest of what each mode makes of the pattern, by the crate `sm4` 0.6; each is also taken back.
fn sm4_long() -> bool {
    const ANSWER: [u8; 32] = hex("29a8e2771c7676577ca49905ad1e39b5c1a31c56a4d6e36c2102680fa179fb56");
    let (plain, key) = (long(), sm4::Key::new(&SM4_KEY));
    let mut hasher = sm3::Hasher::new();
    let mut data = plain.clone();
    key.encrypt_blocks(data.as_chunks_mut().0);
    hasher.update(&data);
    key.decrypt_blocks(data.as_chunks_mut().0);
    let mut back = data == plain;
    sm4::ctr::apply(&key, &SM4_KEY, &mut data);
    hasher.update(&data);
    sm4::ctr::apply(&key, &SM4_KEY, &mut data);
    back &= data == plain;
    sm4::cbc::encrypt(&key, &mut SM4_KEY.clone(), data.as_chunks_mut().0);
    hasher.update(&data);
    sm4::cbc::decrypt(&key, &mut SM4_KEY.clone(), data.as_chunks_mut().0);
    back &= data == plain;
    for order in [sm4::xts::TweakOrder::Gbt17964, sm4::xts::TweakOrder::Ieee1619] {
        let Ok(key) = sm4::xts::Key::new(&ABC_DIGEST, order) else { return false };
        back &= key.encrypt(&SM4_KEY, &mut data).is_ok();
        hasher.update(&data);
        back &= key.decrypt(&SM4_KEY, &mut data).is_ok() && data == plain;
    }
    back && hasher.finalize() == ANSWER
}

/// Ciphertext's digest and tag by the crates `sm4` 0.6 and `aes-gcm` 0.11.
fn sm4_gcm_long() -> bool {
    const DIGEST: [u8; 32] = hex("81fcb7c5210c48b72e9e08d5f946a4356bfa1471831bb2356cc535f7680df4d3");
    const TAG: [u8; 16] = hex("00efdce9e29b7c2294daaa3e3d5a523e");
    let (plain, key) = (long(), sm4::gcm::Key::new(&SM4_KEY));
    let (nonce, aad) = ([7; 12], &plain[..300]);
    let mut data = plain.clone();
    let right = sm4::gcm::seal(&key, &nonce, aad, &mut data) == TAG && sm3::digest(&data) == DIGEST;
    let mut many = [data.clone(), data.clone(), data];
    let [a, b, c] = &mut many;
    let message = |data| sm4::gcm::Message { nonce, aad, data, tag: TAG };
    let mut messages = [message(a), message(b), message(c)];
    messages[1].tag[15] ^= 1;
    right && sm4::gcm::open_many(&key, &mut messages) == [true, false, true] && many[0] == plain && many[2] == plain
}

fn sm4_gcm() -> bool {
    let plain: [u8; 64] = hex(
        "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccddddddddddddddddeeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
    );
    let cipher: [u8; 64] = hex(
        "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d",
    );
    let nonce = hex("00001234567800000000abcd");
    let aad: [u8; 20] = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let key = sm4::gcm::Key::new(&SM4_KEY);
    let mut data = plain;
    let tag = sm4::gcm::seal(&key, &nonce, &aad, &mut data);
    let sealed = data == cipher && tag == hex("83de3541e4c2b58177e065a9bf7b62ec");
    let opened = sm4::gcm::open(&key, &nonce, &aad, &mut data, &tag).is_ok() && data == plain;
    let mut forged = cipher;
    forged[63] ^= 1;
    sealed && opened && sm4::gcm::open(&key, &nonce, &aad, &mut forged, &tag).is_err() && forged == [0; 64]
}

/// OpenSSL's vectors for GB/T 17964-2021 and for IEEE 1619, one sector with stealing.
fn sm4_xts() -> bool {
    let key = hex("2b7e151628aed2a6abf7158809cf4f3c000102030405060708090a0b0c0d0e0f");
    let tweak = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    let plain: [u8; 56] = hex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17",
    );
    let answers: [(_, [u8; 56]); 2] = [
        (
            sm4::xts::TweakOrder::Gbt17964,
            hex(
                "e9538251c71d7b80bbe4483fef497bd12c5c581bd6242fc51e08964fb4f60fdb0ba42f63499279213d318d2c11f6886e903be7f93a1b3479",
            ),
        ),
        (
            sm4::xts::TweakOrder::Ieee1619,
            hex(
                "e9538251c71d7b80bbe4483fef497bd1b3db1a3e60408c575d63ff7db39f83260869f9e2585fec9f0b863bf8fd784b8627d16c0db6d2cfc7",
            ),
        ),
    ];
    answers.into_iter().all(|(order, cipher)| {
        let mut data = plain;
        let Ok(key) = sm4::xts::Key::new(&key, order) else { return false };
        let encrypted = key.encrypt(&tweak, &mut data).is_ok() && data == cipher;
        encrypted && key.decrypt(&tweak, &mut data).is_ok() && data == plain
    })
}

/// A signature made by OpenSSL, from the test data of the crate `sm2` 0.14.
const OPENSSL_KEY: [u8; 64] = hex(
    "08d77ae04c01cc4c1104360dd8af6b6f7df334283d7c1a6afd5652407b87bee5014e2a57c36c150d16324dc664e31e6432359609c4e79847a5b161c8c7364c8a",
);
const OPENSSL_SIGNATURE: [u8; 64] = hex(
    "d1dcccedd9fb785e0f67c16b7c52901625c0b69de9bca2144acc7be713cad2fcf7d1eae6e3a157b36c65f672f738ca8b46298bf149a6510072c431b49cd88b1c",
);
const OPENSSL_ID: &[u8] = b"example@rustcrypto.org";

fn sm2_verify() -> bool {
    let Ok(key) = PublicKey::from_bytes(&OPENSSL_KEY) else { return false };
    let signature = Signature(OPENSSL_SIGNATURE);
    sm2::verify(&key, OPENSSL_ID, b"testing", &signature) && !sm2::verify(&key, OPENSSL_ID, b"testinG", &signature)
}

const ANNEX_D: [u8; 32] = hex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8");
const ANNEX_KEY: [u8; 64] = hex(
    "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13",
);
const ANNEX_NONCE: [u8; 32] = hex("59276e27d506861a16680f3ad9c02dccef3cc1fa3cdbe4ce6d54b80deac1bc21");
const ANNEX_SIGNATURE: [u8; 64] = hex(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa",
);

fn sm2_sign() -> bool {
    let Ok(key) = sm2::PrivateKey::from_bytes(&ANNEX_D) else { return false };
    let z = sm2::identity_digest(sm2::DEFAULT_ID, &key.public_key());
    let e = sm2::message_digest(&z, b"message digest");
    let signature = sm2::sign_with_known_nonce(&key, &e, &ANNEX_NONCE);
    key.public_key().to_bytes() == ANNEX_KEY && signature == Some(Signature(ANNEX_SIGNATURE))
}

/// `d_A` and `r_A`, `d_B` and `r_B`, `K`, `S_B` and `S_A` of GB/T 32918.5 B.2.
const EXCHANGE_A: [[u8; 32]; 2] = [
    hex("81eb26e941bb5af16df116495f90695272ae2cd63d6c4ae1678418be48230029"),
    hex("d4de15474db74d06491c440d305e012400990f3e390c7e87153c12db2ea60bb3"),
];
const EXCHANGE_B: [[u8; 32]; 2] = [
    hex("785129917d45a9ea5437a59356b82338eaadda6ceb199088f14ae10defa229b5"),
    hex("7e07124814b309489125eaed101113164ebf0f3458c5bd88335c1f9d596243d6"),
];
const EXCHANGE_KEY: [u8; 16] = hex("6c89347354de2484c60b4ab1fde4c6e5");
const EXCHANGE_CONFIRMATIONS: [[u8; 32]; 2] = [
    hex("d3a0fe15dee185ceae907a6b595cc32a266ed7b3367e9983a896dc32fa20f8eb"),
    hex("18c7894b3816df16cf07b05c5ec0bef5d655d58f779cc1b400a4f3884644db88"),
];

fn sm2_exchange() -> bool {
    let (Ok(a), Ok(b)) = (sm2::PrivateKey::from_bytes(&EXCHANGE_A[0]), sm2::PrivateKey::from_bytes(&EXCHANGE_B[0]))
    else {
        return false;
    };
    let ephemerals = [&EXCHANGE_A[1], &EXCHANGE_B[1]];
    let agreed = sm2::exchange::agree_with_known_ephemerals([&a, &b], sm2::DEFAULT_ID, ephemerals);
    agreed == Some((EXCHANGE_KEY, EXCHANGE_CONFIRMATIONS))
}

const ANNEX_CIPHERTEXT: [u8; 116] = hex(
    "0404ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df059983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd876621886ca989ca9c7d58087307ca93092d651efa",
);

fn sm2_encryption() -> bool {
    let Ok(key) = sm2::PrivateKey::from_bytes(&ANNEX_D) else { return false };
    let text = b"encryption standard";
    let encrypted = encryption::encrypt_with_known_nonce(&key.public_key(), text, &ANNEX_NONCE);
    let encrypted = encrypted.is_some_and(|ciphertext| ciphertext.to_bytes(Layout::C1C3C2) == ANNEX_CIPHERTEXT);
    let open = |bytes: &[u8]| encryption::decrypt(&key, &Ciphertext::from_bytes(bytes, Layout::C1C3C2).ok()?).ok();
    let mut forged = ANNEX_CIPHERTEXT;
    forged[115] ^= 1;
    encrypted && open(&ANNEX_CIPHERTEXT).is_some_and(|opened| **opened == *text) && open(&forged).is_none()
}

/// As many as take every path of the lanes: two vectors together, one alone, and one of which most lanes are empty.
fn sm2_decrypt_batch() -> bool {
    let Ok(key) = sm2::PrivateKey::from_bytes(&ANNEX_D) else { return false };
    let ciphertext = |i: usize| {
        let mut bytes = ANNEX_CIPHERTEXT;
        bytes[115] ^= u8::from(i % 3 == 2);
        Ciphertext::from_bytes(&bytes, Layout::C1C3C2).ok()
    };
    let Some(ciphertexts) = (0..18).map(ciphertext).collect::<Option<Vec<_>>>() else { return false };
    let opened = encryption::decrypt_batch(&key, &ciphertexts);
    opened.iter().enumerate().all(|(i, text)| match text {
        Ok(text) => i % 3 != 2 && **text == *b"encryption standard",
        Err(_) => i % 3 == 2,
    })
}

/// The annex's nonce among others, whose signatures verify: as many as have additions of points share an inversion.
fn sm2_sign_batch() -> bool {
    let Ok(key) = sm2::PrivateKey::from_bytes(&ANNEX_D) else { return false };
    let public = key.public_key();
    let z = sm2::identity_digest(sm2::DEFAULT_ID, &public);
    let e = sm2::message_digest(&z, b"message digest");
    let nonces: [[u8; 32]; 49] = core::array::from_fn(|i| if i == 37 { ANNEX_NONCE } else { [i as u8 + 1; 32] });
    let Some(signatures) = sm2::sign_batch_with_known_nonces(&key, &e, &nonces) else { return false };
    signatures[37] == Signature(ANNEX_SIGNATURE)
        && [signatures[0], signatures[48]].iter().all(|signature| sm2::verify_digest(&public, &e, signature))
}

fn sm2_batch() -> bool {
    PublicKey::from_bytes(&ANNEX_KEY).is_ok_and(|annex| batch_passes(&RegisteredKey::new(&annex)))
}

fn sm2_wide_batch() -> bool {
    PublicKey::from_bytes(&ANNEX_KEY).is_ok_and(|annex| batch_passes(&RegisteredKey::wide(&annex)))
}

/// Items under both keys, every third one forged: 25 with a table, as many as have additions of points share an inversion, and 26 without,
/// of which two vectors go together and two are alone.
fn batch_passes(annex: &RegisteredKey) -> bool {
    let Ok(openssl) = PublicKey::from_bytes(&OPENSSL_KEY) else { return false };
    let openssl = IdentifiedKey::new(OPENSSL_ID, openssl);
    let mut forged = ANNEX_SIGNATURE;
    forged[40] ^= 1;
    let items: [VerifyItem<'_>; 51] = core::array::from_fn(|i| {
        let signature = if i % 3 == 2 { &forged } else { &ANNEX_SIGNATURE };
        let (key, message, signature) = match i {
            0..25 => (KeyRef::Registered(annex.clone()), &b"message digest"[..], signature),
            25..39 => (KeyRef::Raw(&ANNEX_KEY), &b"message digest"[..], signature),
            _ if i % 3 == 2 => (KeyRef::Identified(&openssl), &b"testinG"[..], &OPENSSL_SIGNATURE),
            _ => (KeyRef::Identified(&openssl), &b"testing"[..], &OPENSSL_SIGNATURE),
        };
        VerifyItem { key, message, signature }
    });
    let mut verdicts = [false; 51];
    sm2::verify_batch(&items, &mut verdicts);
    verdicts == core::array::from_fn(|i| i % 3 != 2)
}
