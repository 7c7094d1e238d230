use super::*;
use crate::Seeded;
use crate::cpu::Portable;
use crate::sm2::tests::bytes;
use proptest::prelude::*;

fn key(seed: u64) -> PrivateKey {
    PrivateKey::generate(&mut Seeded::new(seed << 32)).unwrap()
}

fn identified(id: &[u8], key: &PrivateKey) -> IdentifiedKey {
    IdentifiedKey::new(id, key.public_key())
}

fn derived(secret: SharedSecret, bytes: usize) -> Vec<u8> {
    let mut key = vec![0; bytes];
    secret.derive(&mut key);
    key
}

/// The example of GB/T 32918.5-2017 B.2 (GM/T 0003.5-2012 annex B), as the tests of openHiTLS and gmsm carry it.
mod annex {
    pub(super) const D_A: &str = "81EB26E9 41BB5AF1 6DF11649 5F906952 72AE2CD6 3D6C4AE1 678418BE 48230029";
    pub(super) const D_B: &str = "78512991 7D45A9EA 5437A593 56B82338 EAADDA6C EB199088 F14AE10D EFA229B5";
    pub(super) const RANDOM_A: &str = "D4DE1547 4DB74D06 491C440D 305E0124 00990F3E 390C7E87 153C12DB 2EA60BB3";
    pub(super) const RANDOM_B: &str = "7E071248 14B30948 9125EAED 10111316 4EBF0F34 58C5BD88 335C1F9D 596243D6";
    pub(super) const R_A: &str = "64CED1BD BC99D590 049B434D 0FD73428 CF608A5D B8FE5CE0 7F150269 40BAE40E\
                                  376629C7 AB21E7DB 26092249 9DDB118F 07CE8EAA E3E7720A FEF6A5CC 062070C0";
    pub(super) const R_B: &str = "ACC27688 A6F7B706 098BC91F F3AD1BFF 7DC2802C DB14CCCC DB0A9047 1F9BD707\
                                  2FEDAC04 94B2FFC4 D6853876 C79B8F30 1C6573AD 0AA50F39 FC87181E 1A1B46FE";
    pub(super) const Z_A: &str = "3B85A571 79E11E7E 513AA622 991F2CA7 4D1807A0 BD4D4B38 F90987A1 7AC245B1";
    pub(super) const Z_B: &str = "79C988D6 3229D97E F19FE02C A1056E01 E6A7411E D24694AA 8F834F4A 4AB022F7";
    pub(super) const SHARED: &str = "C558B44B EE5301D9 F52B44D9 39BB5958 4D75B903 4DD6A9FC 82687210 9A65739F\
                                     3252B35B 191D8AE0 1CD122C0 25204334 C5EACF68 A0CB4854 C6A7D367 ECAD4DE7";
    pub(super) const KEY: &str = "6C893473 54DE2484 C60B4AB1 FDE4C6E5";
    pub(super) const S_B: &str = "D3A0FE15 DEE185CE AE907A6B 595CC32A 266ED7B3 367E9983 A896DC32 FA20F8EB";
    pub(super) const S_A: &str = "18C7894B 3816DF16 CF07B05C 5EC0BEF5 D655D58F 779CC1B4 00A4F388 4644DB88";
}

#[test]
fn matches_the_example_of_gbt_32918_5_annex_b_step_by_step() {
    let id = crate::sm2::DEFAULT_ID;
    let [a, b] = [annex::D_A, annex::D_B].map(|d| PrivateKey::from_bytes(&bytes(d)).unwrap());
    let scalar = |text| Scalar::from_be_bytes(&bytes(text)).unwrap();
    let (known_a, known_b) = (identified(id, &a), identified(id, &b));
    assert_eq!((known_a.z(), known_b.z()), (&bytes(annex::Z_A), &bytes(annex::Z_B)));
    let initiator = Initiator { key: &a, z: *known_a.z(), ephemeral: Ephemeral::from_scalar(scalar(annex::RANDOM_A)) };
    assert_eq!(initiator.ephemeral().to_bytes(), bytes::<64>(annex::R_A));
    let own = Ephemeral::from_scalar(scalar(annex::RANDOM_B));
    let responder = Responder::agree(&b, known_b.z(), own, &known_a, &initiator.ephemeral()).unwrap();
    assert_eq!(responder.ephemeral().to_bytes(), bytes::<64>(annex::R_B));
    assert_eq!(**responder.agreed.point, bytes::<64>(annex::SHARED));
    assert_eq!(responder.confirmation(), bytes(annex::S_B));
    let (secret, s_a) = initiator.finish_confirmed(&known_b, &responder.ephemeral(), &bytes(annex::S_B)).unwrap();
    assert_eq!(s_a, bytes(annex::S_A));
    assert_eq!(derived(secret, 16), bytes::<16>(annex::KEY));
    assert_eq!(derived(responder.finish_confirmed(&s_a).unwrap(), 16), bytes::<16>(annex::KEY));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn both_sides_derive_one_key_and_no_changed_confirmation_passes(
        seed in 0u64..1 << 20, ids: [Vec<u8>; 2], bytes in 0usize..200, bit in 0usize..256,
    ) {
        let [a, b] = [key(2 * seed + 1), key(2 * seed + 2)];
        let (known_a, known_b) = (identified(&ids[0], &a), identified(&ids[1], &b));
        let start = || Initiator::start(&a, &ids[0], &mut Seeded::new(seed)).unwrap();
        let respond = |point: PublicKey| Responder::respond(&b, &ids[1], &known_a, &point, &mut Seeded::new(!seed)).unwrap();
        let (initiator, again) = (start(), start());
        let (responder, unconfirmed) = (respond(initiator.ephemeral()), respond(initiator.ephemeral()));
        let (point, s_b) = (responder.ephemeral(), responder.confirmation());

        let mut changed = s_b;
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(start().finish_confirmed(&known_b, &point, &changed).unwrap_err(), ExchangeError::Confirmation);
        let (secret, s_a) = initiator.finish_confirmed(&known_b, &point, &s_b).unwrap();
        prop_assert_ne!(s_a, s_b);
        let expected = derived(secret, bytes);
        prop_assert_eq!(&derived(again.finish(&known_b, &point).unwrap(), bytes), &expected);
        let mut changed = s_a;
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(respond(start().ephemeral()).finish_confirmed(&changed).unwrap_err(), ExchangeError::Confirmation);
        // A side does not accept its own confirmation reflected.
        prop_assert_eq!(unconfirmed.agreed.check(By::Initiator, &s_b), Err(ExchangeError::Confirmation));
        prop_assert_eq!(&derived(responder.finish_confirmed(&s_a).unwrap(), bytes), &expected);
        prop_assert_eq!(&derived(unconfirmed.finish(), bytes), &expected);
    }
}

#[test]
fn another_identity_key_or_ephemeral_is_noticed() {
    let [a, b, other] = [key(1), key(2), key(3)];
    let (known_a, known_b) = (identified(b"a", &a), identified(b"b", &b));
    let start = || Initiator::start(&a, b"a", &mut Seeded::new(7)).unwrap();
    let responder = Responder::respond(&b, b"b", &known_a, &start().ephemeral(), &mut Seeded::new(8)).unwrap();
    let (point, s_b) = (responder.ephemeral(), responder.confirmation());
    assert!(start().finish_confirmed(&known_b, &point, &s_b).is_ok());
    for (peer, point) in [
        (&identified(b"c", &b), &point),
        (&identified(b"b", &other), &point),
        (&known_b, &other.public_key()),
        (&known_b, &start().ephemeral()),
    ] {
        assert_eq!(start().finish_confirmed(peer, point, &s_b).unwrap_err(), ExchangeError::Confirmation);
    }
}

/// `P = -[x̄]R`: whoever sends both makes the sum vanish.
#[test]
fn a_shared_point_at_infinity_is_refused_on_both_sides() {
    let own = key(4);
    let point = key(5).public_key();
    let multiple = variable_base::public_multiple(Portable::TOKEN, associate(&point).limbs(), &point.point);
    let hostile = PublicKey { point: multiple.to_affine().negate() };
    let peer = IdentifiedKey::new(b"hostile", hostile);
    let initiator = Initiator::start(&own, b"own", &mut Seeded::new(1)).unwrap();
    assert_eq!(initiator.finish(&peer, &point).unwrap_err(), ExchangeError::Infinity);
    let responder = Responder::respond(&own, b"own", &peer, &point, &mut Seeded::new(1));
    assert_eq!(responder.err(), Some(ExchangeError::Infinity));
}

#[test]
fn batches_of_every_size_agree_with_each_peer_and_refuse_infinity_alone() {
    let own = key(10);
    let known_own = identified(b"own", &own);
    let point = key(5).public_key();
    let multiple = variable_base::public_multiple(Portable::TOKEN, associate(&point).limbs(), &point.point);
    let hostile = IdentifiedKey::new(b"x", PublicKey { point: multiple.to_affine().negate() });
    let keys: Vec<PrivateKey> = (30..50).map(key).collect();
    let known: Vec<IdentifiedKey> = keys.iter().map(|key| identified(b"peer", key)).collect();
    for size in 0..=keys.len() {
        let start = |key| Initiator::start(key, b"peer", &mut Seeded::new(size as u64)).unwrap();
        let initiators: Vec<_> = keys[..size].iter().map(start).collect();
        let ephemerals: Vec<PublicKey> = initiators.iter().map(Initiator::ephemeral).collect();
        let peer = |i: usize| if i % 7 == 5 { (&hostile, &point) } else { (&known[i], &ephemerals[i]) };
        let peers: Vec<_> = (0..size).map(peer).collect();
        let responders = Responder::respond_batch(&own, b"own", &peers, &mut Seeded::new(99)).unwrap();
        assert_eq!(responders.len(), size);
        for (i, (initiator, responder)) in initiators.into_iter().zip(responders).enumerate() {
            if i % 7 == 5 {
                assert_eq!(responder.err(), Some(ExchangeError::Infinity), "{i} of {size}");
                continue;
            }
            let responder = responder.unwrap();
            let (point, s_b) = (responder.ephemeral(), responder.confirmation());
            let (secret, s_a) = initiator.finish_confirmed(&known_own, &point, &s_b).unwrap();
            assert_eq!(derived(secret, 33), derived(responder.finish_confirmed(&s_a).unwrap(), 33), "{i} of {size}");
        }
    }
    let refused = Responder::respond_batch(&own, b"own", &[(&known[0], &point)], &mut Broken::Silent);
    assert!(matches!(refused, Err(ExchangeError::Random(_))));
    let stuck = Responder::respond_batch(&own, b"own", &[(&known[0], &point); 2], &mut Broken::Stuck).unwrap();
    let [Ok(first), Ok(second)] = &stuck[..] else { panic!("two agreements") };
    assert_ne!(first.ephemeral(), second.ephemeral());
}

/// `d = -x̄·r`, which only the owner can bring about.
#[test]
fn a_zero_implicit_scalar_is_refused() {
    let ephemeral = Ephemeral::from_scalar(Scalar::reduce(&[5, 6, 7, 8]));
    let d = associate(&ephemeral.public).multiply(&ephemeral.r).negate();
    let own = PrivateKey::from_bytes(&d.to_be_bytes()).unwrap();
    assert!(ephemeral.implicit_scalar(&own).is_zero());
    let initiator = Initiator { key: &own, z: [0; 32], ephemeral };
    let peer = key(6);
    assert_eq!(initiator.finish(&identified(b"b", &peer), &key(7).public_key()).unwrap_err(), ExchangeError::Infinity);
}

/// A generator that has failed in one of two ways.
enum Broken {
    Stuck,
    Silent,
}

impl Random for Broken {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        match self {
            Self::Stuck => out.fill(9),
            Self::Silent => return Err(RandomError::new("silent")),
        }
        Ok(())
    }
}

#[test]
fn ephemeral_keys_survive_a_stuck_generator_and_none_comes_from_a_silent_one() {
    let (a, b) = (key(8), key(9));
    let start = |key| Initiator::start(key, b"id", &mut Broken::Stuck).unwrap().ephemeral();
    assert_ne!(start(&a), start(&b));
    let plain = PublicKey { point: comb::base_multiple(&Scalar::reduce_be_bytes(&[9; 32])) };
    assert!(![start(&a), start(&b)].contains(&plain), "the generator's bytes are no scalar");
    assert!(matches!(Initiator::start(&a, b"id", &mut Broken::Silent), Err(ExchangeError::Random(_))));
}

/// libsm writes the confirmations' prefix as two bytes, so it is handed the confirmation it expects, made of our shared point; that
/// it accepts shows that point and digests are the same.
#[test]
fn the_shared_point_is_libsms() {
    use libsm::sm2::exchange::{ExchangeCtxA, ExchangeCtxB};
    let two_byte = |agreed: &Agreed, by: u8| {
        let (x, y) = agreed.point.split_at(32);
        let points = agreed.transcript.ephemeral.map(|point| point.to_bytes());
        let inner = sm3::digest(&[x, agreed.transcript.z.as_flattened(), points.as_flattened()].concat());
        sm3::digest(&[&[0, by], y, &inner].concat())
    };
    let context = libsm::sm2::signature::SigCtx::new();
    let curve = libsm::sm2::ecc::EccCtx::new();
    let private = |key: &PrivateKey| context.load_seckey(&*key.to_bytes()).unwrap();
    let public = |key: &PublicKey| context.load_pubkey(&key.to_sec1()).unwrap();
    let ours =
        |point: &libsm::sm2::ecc::Point| PublicKey::from_sec1(&curve.point_to_bytes(point, false).unwrap()).unwrap();
    for seed in 20..26 {
        let [a, b] = [key(2 * seed), key(2 * seed + 1)];
        let (p_a, p_b) = (public(&a.public_key()), public(&b.public_key()));
        let (known_a, known_b) = (identified(b"alice", &a), identified(b"bob", &b));

        // libsm begins.
        let mut theirs = ExchangeCtxA::new(16, "alice", "bob", p_a, p_b, private(&a)).unwrap();
        let point = ours(&theirs.exchange1().unwrap());
        let responder = Responder::respond(&b, b"bob", &known_a, &point, &mut Seeded::new(seed)).unwrap();
        let s_a = theirs.exchange3(&public(&responder.ephemeral()), two_byte(&responder.agreed, 2)).unwrap();
        assert_eq!(s_a, two_byte(&responder.agreed, 3));

        // We begin.
        let mut theirs = ExchangeCtxB::new(16, "alice", "bob", p_a, p_b, private(&b)).unwrap();
        let initiator = Initiator::start(&a, b"alice", &mut Seeded::new(seed)).unwrap();
        let own = public(&initiator.ephemeral());
        let (point, s_b) = theirs.exchange2(&own).unwrap();
        let agreed = initiator.agree(&known_b, &ours(&point)).unwrap();
        assert_eq!(s_b, two_byte(&agreed, 2));
        assert!(theirs.exchange4(two_byte(&agreed, 3), &own).unwrap());
    }
}
