//! Operations on secrets, for whoever looks at what a secret does: to time (`examples/leaks.rs`), to instructions and addresses
//! (`tests/trace.rs`).

use bixi_accel::{Random, RandomError, Seeded, ct, sm2, sm3, sm4};
use std::hint::black_box;
use std::sync::LazyLock;

/// One operation, ready to run with its secret.
pub(crate) type Run = Box<dyn FnOnce()>;

/// What is looked at.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// The secret that others are held against; they have its length.
    pub(crate) fixed: Vec<u8>,
    /// A control: it must be found.
    pub(crate) leaks: bool,
    /// From a secret, and a seed for what the operation draws, to the operation. What is done here is not looked at.
    pub(crate) prepare: fn(&[u8], u64) -> Run,
}

impl Subject {
    fn new(name: &'static str, fixed: impl Into<Vec<u8>>, prepare: fn(&[u8], u64) -> Run) -> Self {
        Self { name, fixed: fixed.into(), leaks: false, prepare }
    }

    fn control(name: &'static str, fixed: impl Into<Vec<u8>>, prepare: fn(&[u8], u64) -> Run) -> Self {
        Self { leaks: true, ..Self::new(name, fixed, prepare) }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Subject> {
    daily().into_iter().chain(schemes()).collect()
}

/// What a node does all day; the controls first.
pub(crate) fn daily() -> Vec<Subject> {
    [controls(), symmetric(), signing()].into_iter().flatten().collect()
}

/// The first bytes of a secret.
fn head<const BYTES: usize>(secret: &[u8]) -> &[u8; BYTES] {
    secret.first_chunk().expect("a secret of its subject's length")
}

fn controls() -> Vec<Subject> {
    let stops_early = Subject::control("control: comparison that stops early", [0; 32], |secret, _| {
        let secret = *head::<32>(secret);
        Box::new(move || {
            black_box(secret.iter().position(|&byte| black_box(byte) != 0));
        })
    });
    let multiplies = Subject::control("control: a product for each bit set", one(), |secret, _| {
        let secret = *head::<32>(secret);
        Box::new(move || {
            let mut x = 3u64;
            for bit in 0..256 {
                if black_box(secret[bit / 8]) >> (bit % 8) & 1 == 1 {
                    x = black_box(x).wrapping_mul(x | 1);
                }
            }
            black_box(x);
        })
    });
    let looks_up = Subject::control("control: a table at a secret index", [0; 32], |secret, _| {
        let (secret, table) = (*head::<32>(secret), black_box(vec![7u8; 64 * 256]));
        Box::new(move || {
            black_box(secret.iter().fold(0, |sum, &byte| sum ^ table[64 * usize::from(black_box(byte))]));
        })
    });
    vec![stops_early, multiplies, looks_up]
}

fn symmetric() -> Vec<Subject> {
    vec![
        Subject::new("ct::eq, 32 bytes", [0; 32], |secret, _| {
            let secret = *head::<32>(secret);
            Box::new(move || {
                black_box(ct::eq(&secret, &[0; 32]));
            })
        }),
        Subject::new("sm4: key expansion", [0; 16], |key, _| {
            let key = *head(key);
            Box::new(move || {
                black_box(sm4::Key::new(&key));
            })
        }),
        Subject::new("sm4: four blocks", [0; 80], |secret, _| {
            let (key, mut blocks): (_, [[u8; 16]; 4]) =
                (sm4::Key::new(head(secret)), core::array::from_fn(|i| secret.as_chunks().0[i + 1]));
            Box::new(move || {
                key.encrypt_blocks(&mut blocks);
                key.decrypt_blocks(&mut blocks);
                black_box(blocks);
            })
        }),
        Subject::new("sm4::ctr, 256 bytes", [0; 272], |secret, _| {
            let (key, mut data) = (sm4::Key::new(head(secret)), secret[16..].to_vec());
            Box::new(move || {
                sm4::ctr::apply(&key, &[1; 16], &mut data);
                black_box(data);
            })
        }),
        Subject::new("sm4::gcm::seal, 256 bytes", [0; 272], |secret, _| {
            let (key, mut data) = (sm4::gcm::Key::new(head(secret)), secret[16..].to_vec());
            Box::new(move || {
                black_box(sm4::gcm::seal(&key, &[1; 12], b"aad", &mut data));
            })
        }),
        Subject::new("sm4::gcm::seal_many, 4 of 4096 bytes", [0; 16], |secret, _| {
            let (key, mut pages) = (sm4::gcm::Key::new(head(secret)), vec![[7; 4096]; 4]);
            Box::new(move || {
                let message = |data| sm4::gcm::Message { nonce: [3; 12], aad: b"aad", data, tag: [0; 16] };
                let mut messages: Vec<_> = pages.iter_mut().map(|page| message(&mut page[..])).collect();
                sm4::gcm::seal_many(&key, &mut messages);
                black_box(messages);
            })
        }),
        Subject::new("sm4::gcm::open, a wrong tag", [0; 16], |secret, _| {
            // The right tag is the fixed secret's but for its last bit; others differ everywhere.
            let key = sm4::gcm::Key::new(&[9; 16]);
            let mut tag = sm4::gcm::seal(&key, &[1; 12], b"", &mut []);
            tag.iter_mut().zip(secret).for_each(|(byte, difference)| *byte ^= difference);
            tag[15] ^= 1;
            Box::new(move || {
                black_box(sm4::gcm::open(&key, &[1; 12], b"", &mut [], &tag)).ok();
            })
        }),
        Subject::new("sm4::xts, 512 bytes", [0; 544], |secret, _| {
            let mut keys = *head::<32>(secret);
            keys[0] = !keys[16];
            let key = sm4::xts::Key::new(&keys, sm4::xts::TweakOrder::Gbt17964).expect("halves differ");
            let mut data = secret[32..].to_vec();
            Box::new(move || {
                key.encrypt(&[3; 16], &mut data).expect("a length");
                black_box(data);
            })
        }),
        Subject::new("sm3::Hmac, 64 bytes", [0; 96], |secret, _| {
            let secret = *head::<96>(secret);
            Box::new(move || {
                let mut mac = sm3::Hmac::new(&secret[..32]);
                mac.update(&secret[32..]);
                black_box(mac.finalize());
            })
        }),
    ]
}

/// The smallest private key, with digits unlike any other's.
fn one() -> [u8; 32] {
    let mut one = [0; 32];
    one[31] = 1;
    one
}

/// Random keys are below n but for one in 2^32.
fn private(secret: &[u8]) -> sm2::PrivateKey {
    sm2::PrivateKey::from_bytes(head(secret)).expect("in range")
}

fn signing() -> Vec<Subject> {
    struct Stuck([u8; 32]);
    impl Random for Stuck {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
            out.copy_from_slice(&self.0);
            Ok(())
        }
    }
    vec![
        Subject::new("sm2::PrivateKey::from_bytes", one(), |secret, _| {
            let secret = *head(secret);
            Box::new(move || {
                black_box(sm2::PrivateKey::from_bytes(&secret)).ok();
            })
        }),
        Subject::new("sm2::sign_digest, the key", one(), |secret, seed| {
            let (key, mut rng) = (private(secret), Seeded::new(seed));
            Box::new(move || {
                black_box(sm2::sign_digest(&key, &[5; 32], &mut rng)).expect("a signature");
            })
        }),
        // One key and digest, the same randomness each time or another: the nonce is fixed or random.
        Subject::new("sm2::sign_digest, the nonce", [0; 32], |secret, _| {
            let (key, mut entropy) = (private(&[0x39; 32]), Stuck(*head(secret)));
            Box::new(move || {
                black_box(sm2::sign_digest(&key, &[5; 32], &mut entropy)).expect("a signature");
            })
        }),
        Subject::new("sm2::sign_digest_batch of 8, the key", one(), |secret, seed| {
            let (key, mut rng) = (private(secret), Seeded::new(seed));
            let digests: [[u8; 32]; 8] = core::array::from_fn(|i| [i as u8; 32]);
            Box::new(move || {
                black_box(sm2::sign_digest_batch(&key, &digests, &mut rng)).expect("signatures");
            })
        }),
    ]
}

/// The other side of an agreement, and the key that ciphertexts are for.
static PEER: LazyLock<sm2::PublicKey> = LazyLock::new(|| private(&[0x39; 32]).public_key());
static KNOWN: LazyLock<sm2::IdentifiedKey> = LazyLock::new(|| sm2::IdentifiedKey::new(b"peer", *PEER));
/// Somebody else's, refused under every key.
static CIPHERTEXTS: LazyLock<Vec<sm2::encryption::Ciphertext>> = LazyLock::new(|| {
    let one = sm2::encryption::encrypt(&PEER, &[7; 32], &mut Seeded::new(1 << 43)).expect("a ciphertext");
    vec![one; 8]
});

fn schemes() -> Vec<Subject> {
    vec![
        Subject::new("sm2::exchange, the key", one(), |secret, seed| {
            let (key, known, mut rng) = (private(secret), &*KNOWN, Seeded::new(seed));
            Box::new(move || {
                let side = sm2::exchange::Responder::respond(&key, b"own", known, &PEER, &mut rng);
                black_box(side.expect("a finite point").confirmation());
            })
        }),
        Subject::new("sm2::encryption::decrypt, the key", one(), |secret, _| {
            let (key, ciphertext) = (private(secret), &CIPHERTEXTS[0]);
            Box::new(move || {
                black_box(sm2::encryption::decrypt(&key, ciphertext)).expect_err("another's");
            })
        }),
        Subject::new("sm2::encryption::decrypt_batch of 8, the key", one(), |secret, _| {
            let (key, ciphertexts) = (private(secret), &*CIPHERTEXTS);
            Box::new(move || {
                black_box(sm2::encryption::decrypt_batch(&key, ciphertexts));
            })
        }),
        Subject::new("sm2::exchange::respond_batch of 8, the key", one(), |secret, seed| {
            let (key, known, mut rng) = (private(secret), &*KNOWN, Seeded::new(seed));
            Box::new(move || {
                black_box(sm2::exchange::Responder::respond_batch(&key, b"own", &[(known, &*PEER); 8], &mut rng))
                    .expect("randomness");
            })
        }),
        Subject::new("sm2::encryption::encrypt, the text", [0; 32], |secret, seed| {
            let (text, mut rng) = (*head::<32>(secret), Seeded::new(seed));
            Box::new(move || {
                black_box(sm2::encryption::encrypt(&PEER, &text, &mut rng)).expect("a ciphertext");
            })
        }),
    ]
}
