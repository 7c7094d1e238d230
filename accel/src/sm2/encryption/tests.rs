use super::*;
use crate::Seeded;
use crate::sm2::CodecError;
use crate::sm2::tests::bytes;
use proptest::prelude::*;

fn key(seed: u64) -> PrivateKey {
    PrivateKey::generate(&mut Seeded::new(seed << 32)).unwrap()
}

/// The example of GB/T 32918.5-2017 C.2 (GM/T 0003.5-2012 annex C); its DER form is in OpenSSL's `test/sm2_internal_test.c`.
mod annex {
    pub(super) const D: &str = "3945208F 7B2144B1 3F36E38A C6D39F95 88939369 2860B51A 42FB81EF 4DF7C5B8";
    pub(super) const K: &str = "59276E27 D506861A 16680F3A D9C02DCC EF3CC1FA 3CDBE4CE 6D54B80D EAC1BC21";
    pub(super) const TEXT: &[u8] = b"encryption standard";
    pub(super) const C1: &str = "0404EBFC718E8D1798620432268E77FEB6415E2EDE0E073C0F4F640ECD2E149A73\
                                 E858F9D81E5430A57B36DAAB8F950A3C64E6EE6A63094D99283AFF767E124DF0";
    pub(super) const C3: &str = "59983C18F809E262923C53AEC295D30383B54E39D609D160AFCB1908D0BD8766";
    pub(super) const C2: &str = "21886CA989CA9C7D58087307CA93092D651EFA";
    pub(super) const DER: &str = "307C022004EBFC718E8D1798620432268E77FEB6415E2EDE0E073C0F4F640ECD2E149A73\
                                  022100E858F9D81E5430A57B36DAAB8F950A3C64E6EE6A63094D99283AFF767E124DF0\
                                  042059983C18F809E262923C53AEC295D30383B54E39D609D160AFCB1908D0BD8766\
                                  041321886CA989CA9C7D58087307CA93092D651EFA";
}

#[test]
fn matches_the_example_of_gbt_32918_5_annex_c_in_every_encoding() {
    let key = PrivateKey::from_bytes(&bytes(annex::D)).unwrap();
    let ciphertext = encrypt_with_known_nonce(&key.public_key(), annex::TEXT, &bytes(annex::K)).unwrap();
    let [c1, c2, c3, der] = [annex::C1, annex::C2, annex::C3, annex::DER].map(|text| hex::decode(text).unwrap());
    assert_eq!(ciphertext.to_bytes(Layout::C1C3C2), [&c1[..], &c3, &c2].concat());
    assert_eq!(ciphertext.to_bytes(Layout::C1C2C3), [&c1[..], &c2, &c3].concat());
    assert_eq!(ciphertext.to_der(), der);
    for decoded in [
        Ciphertext::from_der(&der),
        Ciphertext::from_bytes(&[&c1[..], &c3, &c2].concat(), Layout::C1C3C2),
        Ciphertext::from_bytes(&[&c1[..], &c2, &c3].concat(), Layout::C1C2C3),
        Ciphertext::from_bytes(&[&[2][..], &c1[1..33], &c3, &c2].concat(), Layout::C1C3C2),
    ] {
        assert_eq!(decoded.as_ref(), Ok(&ciphertext));
        assert_eq!(**decrypt(&key, &decoded.unwrap()).unwrap(), *annex::TEXT);
    }
    // One layout read as the other is refused by the digest.
    let confused = Ciphertext::from_bytes(&[&c1[..], &c2, &c3].concat(), Layout::C1C3C2).unwrap();
    assert_eq!(decrypt(&key, &confused), Err(DecryptError));
}

/// Made by `openssl pkeyutl -encrypt`; from the tests of the crate `sm2` 0.14.
#[test]
fn decrypts_what_openssl_encrypted() {
    let key = bytes("3DDD2A3679BF6F1DFC3B49D3E99114718E48EC170EB4E4D3A82052DAB19E8B50");
    let der = "307202206ba17ad462a75beeb2caf8a1282687ab7e2f248b776a481612d89425a519ce6002210083e1de8c57dae9951372\
               27839d3880eaf9fe82a885a750be29ebe58193c8e31a0420d513a555087c2b17a88dd62749435133d325a4afca675284c8\
               5d754ba35670f80409bd3a294a6d50184b37";
    let ciphertext = Ciphertext::from_der(&hex::decode(der).unwrap()).unwrap();
    let text = decrypt(&PrivateKey::from_bytes(&key).unwrap(), &ciphertext).unwrap();
    assert_eq!(**text, *b"plaintext");
}

#[test]
fn every_length_around_the_digests_of_the_key_stream_round_trips() {
    let key = key(1);
    let lengths = (1..=100).chain([1535, 1536, 1537, 5000, PLAINTEXT_BYTES_MAX]);
    for bytes in lengths {
        let text: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
        let ciphertext = encrypt(&key.public_key(), &text, &mut Seeded::new(bytes as u64)).unwrap();
        let decoded = Ciphertext::from_der(&ciphertext.to_der()).unwrap();
        assert_eq!(decoded, ciphertext, "{bytes} bytes");
        assert!(**decrypt(&key, &decoded).unwrap() == text, "{bytes} bytes");
    }
}

#[test]
fn lengths_out_of_bounds_are_refused_both_ways() {
    let key = key(2);
    for text in [vec![], vec![0; PLAINTEXT_BYTES_MAX + 1]] {
        let refused = encrypt(&key.public_key(), &text, &mut Seeded::new(1));
        assert_eq!(refused, Err(EncryptError::Length(text.len())));
        let c1 = key.public_key();
        let forged = Ciphertext { c1, c3: [0; 32], c2: text };
        for layout in [Layout::C1C3C2, Layout::C1C2C3] {
            assert_eq!(Ciphertext::from_bytes(&forged.to_bytes(layout), layout), Err(CodecError::Length));
        }
        assert_eq!(Ciphertext::from_der(&forged.to_der()), Err(CodecError::Length));
    }
}

#[test]
fn every_changed_bit_and_every_other_key_are_refused() {
    let private = key(3);
    let ciphertext = encrypt(&private.public_key(), b"a secret", &mut Seeded::new(3)).unwrap();
    let whole = ciphertext.to_bytes(Layout::C1C3C2);
    for bit in 0..8 * whole.len() {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = Ciphertext::from_bytes(&changed, Layout::C1C3C2) {
            assert_eq!(decrypt(&private, &changed), Err(DecryptError), "bit {bit}");
            assert!(bit >= 8 * 65, "a changed coordinate leaves the curve");
        }
    }
    assert_eq!(decrypt(&key(4), &ciphertext), Err(DecryptError));
}

#[test]
fn batches_of_every_size_give_each_ciphertext_its_own_verdict() {
    let (private, other) = (key(8), key(9));
    let texts: Vec<Vec<u8>> = (1..=20).map(|i| vec![i as u8; i]).collect();
    let sealed = |(i, text): (usize, &Vec<u8>)| {
        let recipient = if i % 5 == 3 { &other } else { &private };
        encrypt(&recipient.public_key(), text, &mut Seeded::new(i as u64)).unwrap()
    };
    let ciphertexts: Vec<Ciphertext> = texts.iter().enumerate().map(sealed).collect();
    for size in 0..=ciphertexts.len() {
        let opened = decrypt_batch(&private, &ciphertexts[..size]);
        assert_eq!(opened.len(), size);
        for (i, opened) in opened.iter().enumerate() {
            assert_eq!(*opened, decrypt(&private, &ciphertexts[i]), "{i} of {size}");
            assert_eq!(opened.is_ok(), i % 5 != 3, "{i} of {size}");
        }
    }
}

/// With a text of one byte, one `k` in 256 gives a key stream of zeros: A5 takes another, B4 refuses.
#[test]
fn a_key_stream_of_zeros_is_neither_used_nor_accepted() {
    let key = key(5);
    let nonce = |i: u64| Scalar::reduce(&[i, 0, 0, 0]);
    let shared = |i| variable_base::secret_multiple(&key.public_key().point, &nonce(i));
    let stream = |i| {
        let mut byte = [0];
        sm3::kdf(&*shared(i), &mut byte);
        byte[0]
    };
    let zero = (1..).find(|&i| stream(i) == 0).unwrap();
    assert_eq!(encrypt_with_nonce(&key.public_key(), b"m", &nonce(zero)), None);
    assert!(encrypt_with_nonce(&key.public_key(), b"mm", &nonce(zero)).is_some());
    let c1 = PublicKey { point: comb::base_multiple(&nonce(zero)) };
    let forged = Ciphertext { c1, c3: digest_between(&shared(zero), b"m"), c2: b"m".to_vec() };
    assert_eq!(decrypt(&key, &forged), Err(DecryptError));
    // The public function tries again until it has one.
    for seed in 0..600 {
        let ciphertext = encrypt(&key.public_key(), b"m", &mut Seeded::new(seed << 8)).unwrap();
        assert_eq!(decrypt(&key, &ciphertext).as_deref().map(Vec::as_slice), Ok(&b"m"[..]));
    }
}

struct Stuck;

impl Random for Stuck {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        out.fill(7);
        Ok(())
    }
}

#[test]
fn a_stuck_generator_gives_no_two_messages_one_key_stream() {
    let (key, other) = (key(6).public_key(), key(7).public_key());
    let c1 = |key, text| encrypt(key, text, &mut Stuck).unwrap().c1;
    let points = [c1(&key, b"one"), c1(&key, b"two"), c1(&other, b"one")];
    assert!(points[0] != points[1] && points[0] != points[2] && points[1] != points[2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_encrypted_is_decrypted(seed in 0u64..1 << 20, text in prop::collection::vec(any::<u8>(), 1..300)) {
        let key = key(seed);
        let ciphertext = encrypt(&key.public_key(), &text, &mut Seeded::new(seed)).unwrap();
        let decrypted = decrypt(&key, &ciphertext);
        prop_assert_eq!(decrypted.as_deref(), Ok(&text));
    }
}
