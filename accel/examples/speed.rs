//! Minimum time of each operation over several runs, for a first look; the benches room measures properly.
#![allow(clippy::print_stdout, missing_docs)]

use bixi_accel::{Seeded, cpu, sm2, sm3, sm4};
use std::hint::black_box;
use std::time::Instant;

/// Seconds per call: the minimum of sixty runs of about half a millisecond, which other processes seldom interrupt.
fn seconds(mut call: impl FnMut()) -> f64 {
    let mut run = |times: u32| {
        let start = Instant::now();
        (0..times).for_each(|_| call());
        start.elapsed().as_secs_f64() / f64::from(times)
    };
    let once = run(1).min(run(1)).min(run(1));
    let times = (5e-4 / once).clamp(1.0, 1e5) as u32;
    (0..60).map(|_| run(times)).fold(f64::INFINITY, f64::min)
}

/// Whether a row is asked for: all are, or those whose name contains the first argument.
fn wanted(name: &str) -> bool {
    std::env::args().nth(1).is_none_or(|part| name.contains(&part))
}

fn bytes_row(name: &str, bytes: usize, call: impl FnMut()) {
    if !wanted(name) {
        return;
    }
    println!("{name:34} {bytes:6} B {:9.1} MB/s", bytes as f64 / seconds(call) / 1e6);
}

fn each_row(name: &str, per_call: usize, call: impl FnMut()) {
    if !wanted(name) {
        return;
    }
    let each = seconds(call) / per_call as f64;
    println!("{name:34} {:9.2} us {:9.0} /s", each * 1e6, 1.0 / each);
}

fn main() {
    cpu::configure_from_env().expect("a known value of BIXI_CPU");
    cpu::selected().iter().for_each(|selected| println!("{:34} {}", selected.operation, selected.kernel));
    hashes();
    short_hashes();
    ciphers();
    signatures();
    schemes();
}

fn hashes() {
    for bytes in [64, 1024, 16384] {
        let data = vec![7; bytes];
        bytes_row("sm3::digest", bytes, || {
            black_box(sm3::digest(black_box(&data)));
        });
    }
    let data = [7u8; 64];
    let messages = vec![&data[..]; 1024];
    let mut out = vec![[0; 32]; 1024];
    bytes_row("sm3::digest_many x 64 B", 64 * 1024, || sm3::digest_many(black_box(&messages), &mut out));
    let data = [7u8; 1024];
    let (messages, mut out) = (vec![&data[..]; 256], vec![[0; 32]; 256]);
    bytes_row("sm3::digest_many x 1 KiB", 256 * 1024, || sm3::digest_many(black_box(&messages), &mut out));
}

/// What protocols do most: a short message, a tag, a few derived bytes.
fn short_hashes() {
    let data = [7u8; 64];
    each_row("sm3::digest of 32 B", 1, || {
        black_box(sm3::digest(black_box(&data[..32])));
    });
    each_row("sm3::digest of 64 B", 1, || {
        black_box(sm3::digest(black_box(&data)));
    });
    let mac = sm3::Hmac::new(&[7; 32]);
    each_row("sm3::Hmac of 32 B, key ready", 1, || {
        let mut mac = mac.clone();
        mac.update(black_box(&data[..32]));
        black_box(mac.finalize());
    });
    each_row("sm3::hkdf::expand to 64 B", 1, || {
        let mut out = [0; 64];
        sm3::hkdf::expand(black_box(&[7; 32]), &[b"label"], &mut out);
        black_box(out);
    });
    for bytes in [32, 1024] {
        let mut out = vec![0; bytes];
        bytes_row("sm3::kdf of 64 B", bytes, || sm3::kdf(black_box(&data), black_box(&mut out)));
    }
    for count in [4, 16, 32] {
        let (messages, mut out) = (vec![&data[..]; count], vec![[0; 32]; count]);
        each_row(&format!("sm3::digest_many, {count} of 64 B"), count, || {
            sm3::digest_many(black_box(&messages), &mut out);
        });
    }
}

fn ciphers() {
    let key = sm4::Key::new(&[7; 16]);
    let gcm = sm4::gcm::Key::new(&[7; 16]);
    let xts_key: [u8; 32] = core::array::from_fn(|i| i as u8);
    let xts = sm4::xts::Key::new(&xts_key, sm4::xts::TweakOrder::Gbt17964).expect("halves differ");
    for bytes in [64, 4096, 65536] {
        let mut data = vec![7; bytes];
        bytes_row("sm4::ctr", bytes, || sm4::ctr::apply(&key, &[0; 16], black_box(&mut data)));
        bytes_row("sm4::Key::encrypt_blocks", bytes, || key.encrypt_blocks(black_box(data.as_chunks_mut().0)));
        bytes_row("sm4::cbc::encrypt", bytes, || {
            sm4::cbc::encrypt(&key, &mut [0; 16], black_box(data.as_chunks_mut().0));
        });
        bytes_row("sm4::cbc::decrypt", bytes, || {
            sm4::cbc::decrypt(&key, &mut [0; 16], black_box(data.as_chunks_mut().0));
        });
        bytes_row("sm4::gcm::seal", bytes, || {
            black_box(sm4::gcm::seal(&gcm, &[0; 12], &[], black_box(&mut data)));
        });
        let aad = vec![7; bytes];
        bytes_row("sm4::gcm::seal, all of it associated data", bytes, || {
            black_box(sm4::gcm::seal(&gcm, &[0; 12], black_box(&aad), &mut []));
        });
        bytes_row("sm4::xts", bytes, || xts.encrypt(&[0; 16], black_box(&mut data)).expect("length"));
    }
    let mut records = vec![[7u8; 64]; 256];
    bytes_row("sm4::gcm::seal_many x 64 B", 64 * 256, || {
        let mut messages: Vec<_> =
            records.iter_mut().map(|data| sm4::gcm::Message { nonce: [0; 12], aad: &[], data, tag: [0; 16] }).collect();
        sm4::gcm::seal_many(&gcm, black_box(&mut messages));
    });
    let mut pages = vec![[7u8; 4096]; 16];
    bytes_row("sm4::gcm::seal_many x 4 KiB", 4096 * 16, || {
        let mut messages: Vec<_> =
            pages.iter_mut().map(|data| sm4::gcm::Message { nonce: [0; 12], aad: &[], data, tag: [0; 16] }).collect();
        sm4::gcm::seal_many(&gcm, black_box(&mut messages));
    });
    each_row("sm4::gcm::Key::new", 1, || drop(black_box(sm4::gcm::Key::new(&[7; 16]))));
}

fn signatures() {
    let mut rng = Seeded::new(0);
    let keys: Vec<_> = (0..64).map(|_| sm2::PrivateKey::generate(&mut rng).expect("key")).collect();
    let raw: &'static [_] = keys.iter().map(|key| key.public_key().to_bytes()).collect::<Vec<_>>().leak();
    let message = [7u8; 32];
    let signatures: Vec<_> =
        keys.iter().map(|key| sm2::sign(key, sm2::DEFAULT_ID, &message, &mut rng).expect("signature")).collect();
    each_row("sm2::PrivateKey::from_bytes", 1, || {
        black_box(sm2::PrivateKey::from_bytes(&keys[0].to_bytes()).expect("key"));
    });
    each_row("sm2::sign_digest", 1, || {
        black_box(sm2::sign_digest(&keys[0], &message, &mut rng).expect("signature"));
    });
    let public = keys[0].public_key();
    each_row("sm2::verify", 1, || {
        assert!(sm2::verify(&public, sm2::DEFAULT_ID, black_box(&message), &signatures[0]));
    });
    let registry = sm2::Registry::new(64);
    each_row("sm2::Registry::register", 1, || {
        registry.remove(&public);
        registry.register(&public).expect("place");
    });
    let registry = sm2::Registry::new(keys.len());
    let registered: Vec<_> =
        keys.iter().map(|key| registry.register(&key.public_key()).expect("a place for each")).collect();
    for size in [8, 64, 256, 1024] {
        let messages = vec![&message[..]; size];
        each_row(&format!("sm2::sign_batch x {size}"), size, || {
            let signatures = sm2::sign_batch(&keys[0], sm2::DEFAULT_ID, black_box(&messages), &mut rng);
            black_box(signatures.expect("signatures"));
        });
        let verify = |name: &str, key: &dyn Fn(usize) -> sm2::KeyRef<'static>| {
            let item = |i: usize| sm2::VerifyItem { key: key(i), message: &message, signature: &signatures[i % 64].0 };
            let items: Vec<_> = (0..size).map(item).collect();
            let mut out = vec![false; size];
            each_row(&format!("sm2::verify_batch {name} x {size}"), size, || {
                sm2::verify_batch(black_box(&items), &mut out);
            });
            sm2::verify_batch(&items, &mut out);
            assert!(out.iter().all(|verdict| *verdict));
        };
        verify("raw", &|i| sm2::KeyRef::Raw(&raw[i % 64]));
        verify("registered", &|i| sm2::KeyRef::Registered(registered[i % 64].clone()));
    }
}

fn schemes() {
    let mut rng = Seeded::new(1 << 32);
    let keys: [_; 2] = core::array::from_fn(|_| sm2::PrivateKey::generate(&mut rng).expect("key"));
    let peer = sm2::IdentifiedKey::new(sm2::DEFAULT_ID, keys[1].public_key());
    let point = keys[1].public_key();
    each_row("sm2::exchange, one side with key", 1, || {
        let side = sm2::exchange::Responder::respond(&keys[0], sm2::DEFAULT_ID, &peer, black_box(&point), &mut rng);
        side.expect("a finite point").finish().derive(black_box(&mut [0; 16]));
    });
    let text = [7; 32];
    each_row("sm2::encryption::encrypt 32 B", 1, || {
        black_box(sm2::encryption::encrypt(&point, black_box(&text), &mut rng).expect("ciphertext"));
    });
    let ciphertext = sm2::encryption::encrypt(&point, &text, &mut rng).expect("ciphertext");
    each_row("sm2::encryption::decrypt 32 B", 1, || {
        black_box(sm2::encryption::decrypt(&keys[1], black_box(&ciphertext)).expect("own ciphertext"));
    });
    let ciphertexts = vec![ciphertext; 128];
    each_row("sm2::encryption::decrypt_batch 32 B", ciphertexts.len(), || {
        black_box(sm2::encryption::decrypt_batch(&keys[1], black_box(&ciphertexts)));
    });
    each_row("sm2::exchange::Responder::respond_batch", 128, || {
        let sides =
            sm2::exchange::Responder::respond_batch(&keys[0], b"id", black_box(&[(&peer, &point); 128]), &mut rng);
        black_box(sides.expect("randomness"));
    });
}
