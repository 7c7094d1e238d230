//! What signing leaves behind: a process loads a key, signs, drops the key, and then looks through all its writable memory,
//! dead stack frames included, for the private key, for nonces (one nonce is as good as the key) and for the signs of a batch's digits
//! (their topmost bits are nearly as good), for points on which it agreed and for the key stream of what it encrypted.
//!
//! The process must not hold what it looks for: it gets the needles under a mask, from a parent that ran the same
//! signatures before and computed the nonces from them.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, missing_docs)]

#[path = "plan/cases.rs"]
mod cases;
#[path = "plan/rungs.rs"]
mod rungs;

use ::sm2::Scalar;
use bixi_accel::sm2;
use cases::inputs::Generator;
use cases::oracle;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use zeroize::Zeroize;

/// Set for the process under test: what it looks for, each 32 bytes under the mask, in hexadecimal.
const NEEDLES: &str = "BIXI_RESIDUE_NEEDLES";
/// Set when the process is to keep a copy on purpose, which must be found.
const CONTROL: &str = "BIXI_RESIDUE_CONTROL";
const MASK: u8 = 0x5c;
const BATCH: usize = 20;
const ROUNDS: usize = 4;
/// Bytes encrypted: lanes compute their key stream.
const TEXT_BYTES: usize = 400;

fn masked(bytes: &[u8; 32]) -> [u8; 32] {
    bytes.map(|byte| byte ^ MASK)
}

fn private_bytes() -> [u8; 32] {
    oracle::digest(&[b"residue"])
}

/// The scalar of the point that the peer of a batch sends.
fn peer_scalar() -> Scalar {
    oracle::reduce(&oracle::digest(&[b"peer"]))
}

/// What the text of a round consists of; never zero, which would show its key stream.
fn text_byte(round: usize) -> u8 {
    0xa0 + round as u8
}

/// What a process that signed may show.
#[derive(Default)]
struct Public {
    signatures: Vec<[u8; 64]>,
    /// Of long texts.
    ciphertexts: Vec<Vec<u8>>,
    /// The points with which a batch of agreements answered.
    answers: Vec<[u8; 64]>,
}

/// Loads the key of masked bytes, signs, decrypts, agrees on keys, one by one and in batches, and drops it.
#[inline(never)]
fn sign_and_drop(needle: &[u8; 32]) -> Public {
    let mut bytes = Box::new(masked(needle));
    let key = sm2::PrivateKey::from_bytes(&bytes).expect("in range");
    bytes.zeroize();
    let mut rng = Generator::Counting(9);
    let Public { mut signatures, mut ciphertexts, mut answers } = Public::default();
    let peer = oracle::base_multiple(&peer_scalar()).expect("finite");
    let peer = sm2::PublicKey::from_bytes(&peer).expect("a point");
    for round in 0..ROUNDS as u8 {
        signatures.push(sm2::sign_digest(&key, &[round; 32], &mut rng).expect("a signature").0);
        let digests = [[round; 32]; BATCH];
        let batch = sm2::sign_digest_batch(&key, &digests, &mut rng).expect("signatures");
        signatures.extend(batch.iter().map(|signature| signature.0));
        let own = sm2::IdentifiedKey::new(b"own", key.public_key());
        let sealed = sm2::encryption::encrypt(own.key(), b"text", &mut rng).expect("a ciphertext");
        assert_eq!(**sm2::encryption::decrypt(&key, &sealed).expect("its own"), *b"text");
        let initiator = sm2::exchange::Initiator::start(&key, b"own", &mut rng).expect("an ephemeral key");
        let ephemeral = initiator.ephemeral();
        let responder = sm2::exchange::Responder::respond(&key, b"own", &own, &ephemeral, &mut rng);
        initiator
            .finish(&own, &responder.expect("a finite point").ephemeral())
            .expect("a finite point")
            .derive(&mut [0; 16]);
        let texts = sm2::encryption::decrypt_batch(&key, &vec![sealed; BATCH]);
        assert!(texts.iter().all(|text| text.as_ref().is_ok_and(|text| ***text == *b"text")));
        let peers = [(&own, &peer); BATCH];
        let responders = sm2::exchange::Responder::respond_batch(&key, b"own", &peers, &mut rng).expect("randomness");
        for responder in responders {
            let responder = responder.expect("a finite point");
            answers.push(responder.ephemeral().to_bytes());
            responder.finish().derive(&mut [0; 16]);
        }
        let long = sm2::encryption::encrypt(own.key(), &[text_byte(round.into()); TEXT_BYTES], &mut rng)
            .expect("a ciphertext");
        assert_eq!(sm2::encryption::decrypt(&key, &long).expect("its own").len(), TEXT_BYTES);
        ciphertexts.push(long.to_bytes(sm2::encryption::Layout::C1C3C2));
    }
    let moved = Box::new(sm2::PrivateKey::from_sec1_der(&key.to_sec1_der()[..]).expect("its own"));
    drop(core::hint::black_box(moved));
    Public { signatures, ciphertexts, answers }
}

/// Signs of the digits of a batch's nonces, a byte for eight of them, digit by digit, as the lanes keep them; not the first, which the
/// allocator writes over.
fn signs(nonces: &[[u8; 32]]) -> [u8; 32] {
    let is_negative = |nonce: &[u8; 32], digit: usize| {
        let even = nonce[31] & 1 == 0;
        let odd = if even { oracle::to_bytes(&-oracle::reduce(nonce)) } else { *nonce };
        // The sign is bit 224 + digit of what is one more bit to the right, whose top bit is set.
        let bit = 225 + digit;
        let is_set = bit == 256 || odd[31 - bit / 8] >> (bit % 8) & 1 == 1;
        is_set == even
    };
    let groups = nonces.len().div_ceil(8);
    core::array::from_fn(|i| {
        let i = i + 32;
        let lanes = nonces.chunks(8).nth(i % groups).expect("a group");
        // Lanes without a nonce have negative digits.
        (0..8).fold(0, |byte, lane| {
            byte | u8::from(lanes.get(lane).is_none_or(|nonce| is_negative(nonce, i / groups))) << lane
        })
    })
}

/// What nobody may find, made of what was shown.
fn secrets(public: &Public) -> Vec<[u8; 32]> {
    let d = oracle::reduce(&private_bytes());
    let nonce = |signature: &[u8; 64]| {
        let [r, s] = [0, 32].map(|at| oracle::reduce(signature[at..at + 32].try_into().expect("32 bytes")));
        oracle::to_bytes(&(s * (Scalar::ONE + d) + r * d))
    };
    let nonces: Vec<[u8; 32]> = public.signatures.iter().map(nonce).collect();
    let batches = nonces.chunks(1 + BATCH).map(|round| signs(&round[1..]));
    // The initiator's side of GB/T 32918.3 6.1, A4 to A6: [d + x̄_A r_A](P_B + [x̄_B]R_B), here with one key on both sides.
    let own = oracle::base_multiple(&d).expect("finite");
    let r = peer_scalar();
    let t = d + oracle::associate(&oracle::base_multiple(&r).expect("finite")) * r;
    let shared = public.answers.iter().flat_map(|answer| {
        let point = oracle::multiple_of_sum(&own, answer, &oracle::associate(answer), &t).expect("finite");
        <[[u8; 32]; 2]>::try_from(point.as_chunks().0).expect("two coordinates")
    });
    let streams = public.ciphertexts.iter().enumerate().flat_map(|(round, bytes)| {
        let stream: Vec<u8> = bytes[97..].iter().map(|byte| byte ^ text_byte(round)).collect();
        [0, 5, 11].map(|block| stream[32 * block..][..32].try_into().expect("32 bytes"))
    });
    let key = std::iter::once(private_bytes());
    key.chain(nonces.iter().copied()).chain(batches).chain(shared).chain(streams).collect()
}

/// Where needles stand in the writable memory of this process: needle, form, and the name of the mapping.
fn search(needles: &[[u8; 32]]) -> Vec<String> {
    let reversed: Vec<[u8; 32]> = needles
        .iter()
        .map(|needle| {
            let mut reversed = *needle;
            reversed.reverse();
            reversed
        })
        .collect();
    let mut found = Vec::new();
    let memory = File::open("/proc/self/mem").expect("own memory");
    let mut maps = String::new();
    File::open("/proc/self/maps").and_then(|mut file| file.read_to_string(&mut maps)).expect("own mappings");
    let mut buffer = vec![0u8; 1 << 16];
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().expect("a range"), fields.next().expect("rights"));
        let name = fields.nth(3).unwrap_or("anonymous");
        let (start, end) = range.split_once('-').expect("a range");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
        if !rights.starts_with("rw") {
            continue;
        }
        let mut at = start;
        while at < end {
            let length = buffer.len().min((end - at) as usize);
            let Ok(read) = memory.read_at(&mut buffer[..length], at) else { break };
            for (offset, window) in buffer[..read].windows(32).enumerate() {
                let place = at + offset as u64;
                let own = buffer.as_ptr() as u64;
                if (own.saturating_sub(32)..own + buffer.len() as u64).contains(&place) {
                    continue;
                }
                let is = |needle: &[u8; 32]| window.iter().zip(needle).all(|(byte, masked)| byte ^ MASK == *masked);
                let hits = |form: &'static str, list: &[[u8; 32]]| list.iter().position(is).map(|index| (form, index));
                if let Some((form, index)) = hits("bytes", needles).or_else(|| hits("limbs", &reversed)) {
                    found.push(format!(
                        "needle {index} as {form} in {name} at {place:x}, {} below its end",
                        end - place
                    ));
                }
            }
            // Windows across the pieces.
            at += if length == buffer.len() { (length - 31) as u64 } else { length as u64 };
        }
    }
    found
}

/// The process under test, or the one that only signs.
fn sign_and_search() {
    let Ok(text) = std::env::var(NEEDLES) else {
        let public = sign_and_drop(&masked(&private_bytes()));
        public.signatures.iter().for_each(|signature| println!("signature={}", hex::encode(signature)));
        public.ciphertexts.iter().for_each(|ciphertext| println!("ciphertext={}", hex::encode(ciphertext)));
        public.answers.iter().for_each(|answer| println!("answer={}", hex::encode(answer)));
        return;
    };
    let needles: Vec<[u8; 32]> =
        text.split(',').map(|text| hex::decode(text).expect("hex").try_into().expect("32 bytes")).collect();
    assert_eq!(sign_and_drop(&needles[0]).signatures.len(), ROUNDS * (1 + BATCH));
    let kept = std::env::var_os(CONTROL).map(|_| Box::new(masked(&needles[3])));
    for line in search(&needles) {
        println!("found {line}");
    }
    drop(kept);
}

const TEST: &str = "keys_and_nonces_are_gone_after_signing";

#[test]
fn keys_and_nonces_are_gone_after_signing() {
    if rungs::is_child() {
        return sign_and_search();
    }
    let mut left = String::new();
    for rung in rungs::RUNGS {
        let shown = rungs::child(TEST, rung, &[]);
        let all = |name: &str| -> Vec<Vec<u8>> {
            let texts = shown.lines().filter_map(|line| line.split_once(name));
            texts.map(|(_, text)| hex::decode(text).expect("hex")).collect()
        };
        let all_of_64 = |name| all(name).into_iter().map(|bytes| bytes.try_into().expect("64 bytes")).collect();
        let public = Public {
            signatures: all_of_64("signature="),
            ciphertexts: all("ciphertext="),
            answers: all_of_64("answer="),
        };
        let needles: Vec<String> = secrets(&public).iter().map(|needle| hex::encode(masked(needle))).collect();
        assert_eq!(needles.len(), 1 + ROUNDS * (1 + BATCH + 1 + 2 * BATCH + 3));
        let needles = needles.join(",");
        let control = rungs::child(TEST, rung, &[(NEEDLES, &needles), (CONTROL, "1")]);
        assert!(control.contains("found needle 3 as bytes"), "a copy kept on purpose was not found: {control}");
        let text = rungs::child(TEST, rung, &[(NEEDLES, &needles)]);
        left.extend(text.lines().filter(|line| line.contains("found ")).map(|line| format!("{rung}: {line}\n")));
    }
    assert!(left.is_empty(), "{left}");
}
