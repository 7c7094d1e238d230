//! Key agreement, encryption and key encodings against independent implementations, both ways: OpenSSL through `openssl`,
//! the crate `sm2`, and `libsm`.
#![cfg(target_arch = "x86_64")]
#![allow(missing_docs)]

use bixi_accel::sm2::encryption::{Ciphertext, Layout, decrypt, encrypt};
use bixi_accel::sm2::exchange::{Initiator, Responder, diffie_hellman};
use bixi_accel::sm2::{IdentifiedKey, PrivateKey, PublicKey};
use bixi_accel::{Seeded, sm3};
use proptest::collection::vec;
use proptest::prelude::*;

fn key(seed: u64) -> PrivateKey {
    PrivateKey::generate(&mut Seeded::new(seed)).expect("key")
}

mod open_ssl {
    use openssl::bn::{BigNum, BigNumContext};
    use openssl::ec::{EcGroup, EcPoint, PointConversionForm};
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private, Public};
    use openssl::pkey_ctx::PkeyCtx;

    pub(super) fn private(pkcs8: &[u8]) -> PKey<Private> {
        PKey::private_key_from_pkcs8(pkcs8).expect("private key")
    }

    pub(super) fn public(spki: &[u8]) -> PKey<Public> {
        PKey::public_key_from_der(spki).expect("public key")
    }

    pub(super) fn encrypt(key: &PKey<Public>, text: &[u8]) -> Vec<u8> {
        let mut context = PkeyCtx::new(key).expect("context");
        context.encrypt_init().expect("encryption");
        let mut out = Vec::new();
        context.encrypt_to_vec(text, &mut out).expect("ciphertext");
        out
    }

    pub(super) fn decrypt(key: &PKey<Private>, ciphertext: &[u8]) -> Option<Vec<u8>> {
        let mut context = PkeyCtx::new(key).expect("context");
        context.decrypt_init().expect("decryption");
        let mut out = Vec::new();
        context.decrypt_to_vec(ciphertext, &mut out).ok()?;
        Some(out)
    }

    /// `[d + x̄·r](P + [x̄']R)` by GB/T 32918.3 6.1, in OpenSSL's integers and points: `x ‖ y`. Points are SEC 1, `own` is `[r]G`.
    pub(super) fn shared_point(
        d: &[u8],
        r: &[u8],
        own: &[u8; 65],
        peer: &[u8; 65],
        peer_ephemeral: &[u8; 65],
    ) -> Vec<u8> {
        let context = &mut BigNumContext::new().expect("context");
        let group = EcGroup::from_curve_name(Nid::SM2).expect("curve");
        let (mut order, mut product, mut t) = (number(&[]), number(&[]), number(&[]));
        group.order(&mut order, context).expect("order");
        product.mod_mul(&associate(own), &number(r), &order, context).expect("product");
        t.mod_add(&product, &number(d), &order, context).expect("sum");
        let peer = EcPoint::from_bytes(&group, peer, context).expect("point");
        let ephemeral = EcPoint::from_bytes(&group, peer_ephemeral, context).expect("point");
        let (mut multiple, mut sum, mut shared) = (infinity(&group), infinity(&group), infinity(&group));
        multiple.mul2(&group, &ephemeral, &associate(peer_ephemeral), context).expect("product");
        sum.add(&group, &multiple, &peer, context).expect("sum");
        shared.mul2(&group, &sum, &t, context).expect("product");
        shared.to_bytes(&group, PointConversionForm::UNCOMPRESSED, context).expect("bytes")[1..].to_vec()
    }

    /// The x coordinate of `[d]P`.
    pub(super) fn multiple_x(d: &[u8; 32], point: &[u8; 65]) -> Vec<u8> {
        let context = &mut BigNumContext::new().expect("context");
        let group = EcGroup::from_curve_name(Nid::SM2).expect("curve");
        let point = EcPoint::from_bytes(&group, point, context).expect("point");
        let mut product = infinity(&group);
        product.mul2(&group, &point, &number(d), context).expect("product");
        product.to_bytes(&group, PointConversionForm::UNCOMPRESSED, context).expect("bytes")[1..33].to_vec()
    }

    fn number(bytes: &[u8]) -> BigNum {
        BigNum::from_slice(bytes).expect("number")
    }

    fn infinity(group: &EcGroup) -> EcPoint {
        EcPoint::new(group).expect("point")
    }

    /// `2^127 + (x mod 2^127)`.
    fn associate(point: &[u8; 65]) -> BigNum {
        let mut half: [u8; 16] = point[17..33].try_into().expect("half of x");
        half[0] |= 0x80;
        number(&half)
    }
}

mod rust_crypto {
    use bixi_accel::{Random, Seeded};
    use sm2::elliptic_curve::rand_core::{TryCryptoRng, TryRng};
    use sm2::pke::{DecryptingKey, EncryptingKey, Mode};

    /// As RustCrypto asks for it.
    struct Source(Seeded);

    impl TryRng for Source {
        type Error = core::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            self.try_next_u64().map(|word| word as u32)
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            let mut word = [0; 8];
            self.try_fill_bytes(&mut word)?;
            Ok(u64::from_be_bytes(word))
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            self.0.fill(out).expect("it never fails");
            Ok(())
        }
    }

    impl TryCryptoRng for Source {}

    pub(super) fn encrypt(public: &[u8; 65], text: &[u8], mode: Mode, seed: u64) -> Vec<u8> {
        let key = sm2::PublicKey::from_sec1_bytes(public).expect("public key");
        EncryptingKey::new_with_mode(key, mode).encrypt(&mut Source(Seeded::new(seed)), text).expect("ciphertext")
    }

    pub(super) fn decrypt(private: &[u8; 32], ciphertext: &[u8], mode: Mode) -> Option<Vec<u8>> {
        let key = sm2::SecretKey::from_slice(private).expect("private key");
        DecryptingKey::new_with_mode(key.to_nonzero_scalar(), mode).decrypt(ciphertext).ok()
    }
}

mod lib_sm {
    use libsm::sm2::encrypt::{DecryptCtx, EncryptCtx};
    use libsm::sm2::signature::SigCtx;

    pub(super) fn encrypt(public: &[u8; 65], text: &[u8]) -> Vec<u8> {
        let public = SigCtx::new().load_pubkey(public).expect("public key");
        EncryptCtx::new(text.len(), public).encrypt(text).expect("ciphertext")
    }

    pub(super) fn decrypt(private: &[u8; 32], ciphertext: &[u8]) -> Option<Vec<u8>> {
        let private = SigCtx::new().load_seckey(private).expect("private key");
        DecryptCtx::new(ciphertext.len() - 65 - 32, private).decrypt(ciphertext).ok()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn ciphertexts_are_read_by_openssl_and_openssls_by_us(seed: u64, text in vec(any::<u8>(), 1..400), bit: prop::sample::Index) {
        let ours = key(seed);
        let private = open_ssl::private(&*ours.to_pkcs8_der());
        let public = open_ssl::public(&ours.public_key().to_spki_der());
        let der = encrypt(&ours.public_key(), &text, &mut Seeded::new(!seed)).unwrap().to_der();
        prop_assert_eq!(open_ssl::decrypt(&private, &der), Some(text.clone()));

        let theirs = open_ssl::encrypt(&public, &text);
        let decoded = Ciphertext::from_der(&theirs).unwrap();
        prop_assert_eq!(decoded.to_der(), theirs);
        let decrypted = decrypt(&ours, &decoded).unwrap();
        prop_assert_eq!(&*decrypted, &text);

        // A changed bit is refused by both.
        let mut changed = der;
        let bit = bit.index(8 * changed.len());
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Ciphertext::from_der(&changed).ok().is_none_or(|ciphertext| decrypt(&ours, &ciphertext).is_err()));
        prop_assert_ne!(open_ssl::decrypt(&private, &changed), Some(text));
    }

    #[test]
    fn ciphertexts_are_read_by_rustcrypto_and_rustcryptos_by_us(seed: u64, text in vec(any::<u8>(), 2..200)) {
        use ::sm2::pke::Mode;
        let ours = key(seed);
        for (layout, mode) in [(Layout::C1C3C2, Mode::C1C3C2), (Layout::C1C2C3, Mode::C1C2C3)] {
            let ciphertext = encrypt(&ours.public_key(), &text, &mut Seeded::new(!seed)).unwrap().to_bytes(layout);
            prop_assert_eq!(rust_crypto::decrypt(&ours.to_bytes(), &ciphertext, mode), Some(text.clone()));
            let theirs = rust_crypto::encrypt(&ours.public_key().to_sec1(), &text, mode, seed);
            let decrypted = decrypt(&ours, &Ciphertext::from_bytes(&theirs, layout).unwrap()).unwrap();
            prop_assert_eq!(&*decrypted, &text);
        }
    }

    /// The peer is played by OpenSSL's arithmetic in either role; it derives our key and our confirmations.
    #[test]
    fn keys_are_agreed_on_with_openssls_arithmetic(seed in 0..u64::MAX / 4, id: Vec<u8>, peer_id: Vec<u8>, length in 1usize..100) {
        let (ours, theirs, ephemeral) = (key(3 * seed), key(3 * seed + 1), key(3 * seed + 2));
        let (known_ours, known) = (IdentifiedKey::new(&id, ours.public_key()), IdentifiedKey::new(&peer_id, theirs.public_key()));
        let r = ephemeral.public_key();
        let peer = |our_r: PublicKey, we_begin: bool| {
            let point = open_ssl::shared_point(
                &*theirs.to_bytes(), &*ephemeral.to_bytes(), &r.to_sec1(), &ours.public_key().to_sec1(), &our_r.to_sec1(),
            );
            let (mut z, mut points) = ([*known_ours.z(), *known.z()], [our_r.to_bytes(), r.to_bytes()]);
            if !we_begin {
                z.reverse();
                points.reverse();
            }
            let inner = sm3::digest(&[&point[..32], z.as_flattened(), points.as_flattened()].concat());
            let confirmation = |by: u8| sm3::digest(&[&[by], &point[32..], &inner].concat());
            let mut derived = vec![0; length];
            sm3::kdf(&[&point, z.as_flattened()].concat(), &mut derived);
            (derived, confirmation(2), confirmation(3))
        };
        let mut derived = vec![0; length];

        let initiator = Initiator::start(&ours, &id, &mut Seeded::new(seed)).unwrap();
        let (expected, s_b, s_a) = peer(initiator.ephemeral(), true);
        let (secret, confirmation) = initiator.finish_confirmed(&known, &r, &s_b).unwrap();
        secret.derive(&mut derived);
        prop_assert_eq!((&derived, confirmation), (&expected, s_a));

        let responder = Responder::respond(&ours, &id, &known, &r, &mut Seeded::new(seed)).unwrap();
        let (expected, s_b, s_a) = peer(responder.ephemeral(), false);
        prop_assert_eq!(responder.confirmation(), s_b);
        responder.finish_confirmed(&s_a).unwrap().derive(&mut derived);
        prop_assert_eq!(&derived, &expected);
    }

    #[test]
    fn keys_are_read_by_openssl_and_openssls_by_us(seed: u64) {
        let ours = key(seed);
        let private = open_ssl::private(&*ours.to_pkcs8_der());
        let sec1 = openssl::ec::EcKey::private_key_from_der(&*ours.to_sec1_der()).unwrap().private_key_to_der().unwrap();
        prop_assert_eq!(&sec1[..], &ours.to_sec1_der()[..]);
        prop_assert_eq!(PrivateKey::from_sec1_der(&sec1).unwrap().to_bytes(), ours.to_bytes());
        prop_assert_eq!(&private.private_key_to_pkcs8().unwrap()[..], &ours.to_pkcs8_der()[..]);
        let spki = private.public_key_to_der().unwrap();
        prop_assert_eq!(PublicKey::from_spki_der(&spki), Ok(ours.public_key()));
        prop_assert_eq!(open_ssl::public(&ours.public_key().to_spki_der()).public_key_to_der().unwrap(), spki);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn ciphertexts_are_read_by_libsm_and_libsms_by_us(seed: u64, text in vec(any::<u8>(), 2..200)) {
        let ours = key(seed);
        let ciphertext = encrypt(&ours.public_key(), &text, &mut Seeded::new(!seed)).unwrap();
        prop_assert_eq!(lib_sm::decrypt(&ours.to_bytes(), &ciphertext.to_bytes(Layout::C1C2C3)), Some(text.clone()));
        let theirs = lib_sm::encrypt(&ours.public_key().to_sec1(), &text);
        let decrypted = decrypt(&ours, &Ciphertext::from_bytes(&theirs, Layout::C1C2C3).unwrap()).unwrap();
        prop_assert_eq!(&*decrypted, &text);
    }
}

#[test]
fn plain_diffie_hellman_is_open_ssl_s() {
    for seed in 0..16 {
        let (ours, theirs) = (key(2 * seed), key(2 * seed + 1));
        let shared = diffie_hellman(&ours, &theirs.public_key());
        assert_eq!(shared, diffie_hellman(&theirs, &ours.public_key()));
        assert_eq!(shared[..], open_ssl::multiple_x(&ours.to_bytes(), &theirs.public_key().to_sec1()));
    }
}
