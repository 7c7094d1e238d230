//! A statistical test for secrets in time, after dudect (Reparaz, Balasch, Verbauwhede 2017): each operation runs on a
//! fixed secret and on random ones in random order; Welch's t-test compares the two sets of times, as measured, cropped at
//! a hundred percentiles, and centred and squared. |t| of 4.5 or more is a leak. Two leaky functions must be found, or
//! the machine is too noisy for silence to mean anything.
//!
//! `BIXI_CPU=avx2 cargo run -p bixi-accel --example leaks -- [samples] [part of a name]`, a million samples unless said.
//! Run it on a quiet core (`taskset -c 1`).
#![allow(clippy::print_stdout, missing_docs)]

#[cfg(target_arch = "x86_64")]
fn main() {
    use bixi_accel::cpu;
    cpu::configure_from_env().expect("a rung");
    let mut arguments = std::env::args().skip(1);
    let samples = arguments.next().map_or(1_000_000, |text| text.parse().expect("a number of samples"));
    let only = arguments.next().unwrap_or_default();
    println!("{samples} samples each, {:?}", cpu::limit());
    let leaks = subjects::run(samples, &only);
    std::process::exit(i32::from(leaks > 0));
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("needs x86-64's time stamp counter");
}

#[cfg(target_arch = "x86_64")]
mod statistics {
    use std::arch::x86_64::{__rdtscp, _mm_lfence, _rdtsc};
    use std::hint::black_box;

    /// Percentiles to crop at; the lower ones are the noiseless ones.
    const CROPS: usize = 100;
    /// Times that set the percentiles; they take no other part.
    const WARM_UP: usize = 10_000;

    /// Mean and variance of one class (Welford).
    #[derive(Clone, Copy, Default)]
    struct Moments {
        count: f64,
        mean: f64,
        squares: f64,
    }

    impl Moments {
        fn add(&mut self, x: f64) {
            self.count += 1.0;
            let delta = x - self.mean;
            self.mean += delta / self.count;
            self.squares += delta * (x - self.mean);
        }
    }

    #[derive(Clone, Copy, Default)]
    struct Welch([Moments; 2]);

    impl Welch {
        fn add(&mut self, class: usize, x: f64) {
            self.0[class].add(x);
        }

        /// Zero while a class has too few times to say anything.
        fn t(&self) -> f64 {
            let [a, b] = self.0;
            if a.count < 1000.0 || b.count < 1000.0 {
                return 0.0;
            }
            let error = a.squares / (a.count - 1.0) / a.count + b.squares / (b.count - 1.0) / b.count;
            if error == 0.0 { 0.0 } else { (a.mean - b.mean) / error.sqrt() }
        }
    }

    /// Cycles of the counter.
    fn time(run: &mut impl FnMut()) -> u64 {
        // SAFETY: every x86-64 processor has the instructions; they read no memory and write `aux` alone.
        unsafe {
            let mut aux = 0;
            _mm_lfence();
            let start = _rdtsc();
            _mm_lfence();
            run();
            let end = __rdtscp(&mut aux);
            _mm_lfence();
            end - start
        }
    }

    /// Inputs in memory at a time, each used once. A place in memory has a speed of its own: the class that has it is drawn
    /// again for every pool, so that places say nothing about classes, and no two times share an input.
    const POOL: usize = 256;

    /// The largest |t| of all tests. `make(0)` gives an input with the fixed secret, `make(1)` one with another.
    pub(super) fn largest_t<I>(samples: usize, mut make: impl FnMut(usize) -> I, mut run: impl FnMut(&I)) -> f64 {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) as usize
        };
        let (mut pool, mut used) = (Vec::new(), 0);
        let mut sample = || {
            if used % POOL == 0 {
                pool.clear();
                pool.extend((0..POOL).map(|_| random() & 1).map(|class| (class, make(class))));
            }
            let (class, input) = &pool[used % POOL];
            used += 1;
            (*class, time(&mut || run(black_box(input))) as f64)
        };
        let mut first: Vec<f64> = (0..WARM_UP).map(|_| sample().1).collect();
        first.sort_by(f64::total_cmp);
        let crop =
            |i: usize| first[((1.0 - 0.5f64.powf(10.0 * (i + 1) as f64 / CROPS as f64)) * WARM_UP as f64) as usize];
        let crops: Vec<f64> = (0..CROPS).map(crop).collect();
        let (mut whole, mut squares, mut cropped) = (Welch::default(), Welch::default(), [Welch::default(); CROPS]);
        for index in 0..samples {
            let (class, x) = sample();
            whole.add(class, x);
            for (welch, _) in cropped.iter_mut().zip(&crops).filter(|(_, crop)| x < **crop) {
                welch.add(class, x);
            }
            if index > WARM_UP {
                squares.add(class, (x - whole.0[class].mean).powi(2));
            }
        }
        cropped.iter().chain([&whole, &squares]).map(|welch| welch.t().abs()).fold(0.0, f64::max)
    }
}

#[cfg(target_arch = "x86_64")]
mod subjects {
    use super::statistics::largest_t;
    use bixi_accel::{Random, RandomError, Seeded, ct, sm2, sm3, sm4};
    use std::hint::black_box;

    const LIMIT: f64 = 4.5;
    const REPEATS: usize = 2;

    /// Makes inputs of both classes, from the fixed bytes and from random ones.
    fn inputs<const BYTES: usize, I>(fixed: [u8; BYTES], make: impl Fn([u8; BYTES]) -> I) -> impl FnMut(usize) -> I {
        let mut rng = Seeded::new(7);
        move |class| {
            let random = rng.bytes();
            make(if class == 0 { fixed } else { random })
        }
    }

    struct Judge {
        samples: usize,
        only: String,
        leaks: usize,
    }

    impl Judge {
        fn judge<I>(&mut self, name: &str, leaks: bool, mut inputs: impl FnMut(usize) -> I, mut run: impl FnMut(&I)) {
            if !name.contains(&self.only) && !leaks {
                return;
            }
            // A leak shows again, and stronger the more samples; a disturbance of the machine does not.
            let mut t = largest_t(self.samples, &mut inputs, &mut run);
            for _ in 0..REPEATS {
                if leaks || t < LIMIT {
                    break;
                }
                println!("{name:42} |t| = {t:8.2}  once more");
                t = largest_t(self.samples, &mut inputs, &mut run);
            }
            let good = (t >= LIMIT) == leaks;
            self.leaks += usize::from(!good);
            let verdict = match (good, leaks) {
                (true, false) => "constant",
                (true, true) => "found, as it must be",
                (false, false) => "LEAKS",
                (false, true) => "NOT FOUND: too noisy",
            };
            println!("{name:42} |t| = {t:8.2}  {verdict}");
        }
    }

    /// The number of operations that did not behave as they must.
    pub(super) fn run(samples: usize, only: &str) -> usize {
        let mut judge = Judge { samples, only: only.into(), leaks: 0 };
        controls(&mut judge);
        symmetric(&mut judge);
        signing(&mut judge);
        schemes(&mut judge);
        judge.leaks
    }

    fn controls(judge: &mut Judge) {
        judge.judge("control: comparison that stops early", true, inputs([0; 32], |bytes| bytes), |secret| {
            black_box(secret.iter().position(|&byte| black_box(byte) != 0));
        });
        judge.judge("control: a product for each bit set", true, inputs([1; 32], |bytes| bytes), |secret| {
            let mut x = 3u64;
            for bit in 0..256 {
                if black_box(secret[bit / 8]) >> (bit % 8) & 1 == 1 {
                    x = black_box(x).wrapping_mul(x | 1);
                }
            }
            black_box(x);
        });
    }

    fn symmetric(judge: &mut Judge) {
        judge.judge("ct::eq, 32 bytes", false, inputs([0; 32], |bytes| bytes), |secret| {
            black_box(ct::eq(secret, &[0; 32]));
        });
        judge.judge("sm4: key expansion", false, inputs([0; 16], |bytes| bytes), |key| {
            black_box(sm4::Key::new(key));
        });
        let blocks = |bytes: [u8; 80]| (sm4::Key::new(bytes.first_chunk().expect("a key")), bytes);
        judge.judge("sm4: four blocks", false, inputs([0; 80], blocks), |(key, bytes)| {
            let mut blocks: [[u8; 16]; 4] = core::array::from_fn(|i| bytes.as_chunks().0[i + 1]);
            key.encrypt_blocks(&mut blocks);
            key.decrypt_blocks(&mut blocks);
            black_box(blocks);
        });
        let message = |bytes: [u8; 272]| (sm4::gcm::Key::new(bytes.first_chunk().expect("a key")), bytes);
        judge.judge(
            "sm4::ctr, 256 bytes",
            false,
            inputs([0; 272], |bytes| (sm4::Key::new(bytes.first_chunk().expect("a key")), bytes)),
            |(key, bytes)| {
                let mut data = *bytes;
                sm4::ctr::apply(key, &[1; 16], &mut data[16..]);
                black_box(data);
            },
        );
        judge.judge("sm4::gcm::seal, 256 bytes", false, inputs([0; 272], message), |(key, bytes)| {
            let mut data = *bytes;
            black_box(sm4::gcm::seal(key, &[1; 12], b"aad", &mut data[16..]));
        });
        judge.judge("sm4::gcm::open, a wrong tag", false, inputs([0; 16], |tag| tag), |tag| {
            // The right tag is the fixed class's but for its last bit; the random class differs everywhere.
            let key = sm4::gcm::Key::new(&[9; 16]);
            let mut right = sm4::gcm::seal(&key, &[1; 12], b"", &mut []);
            right.iter_mut().zip(tag).for_each(|(byte, difference)| *byte ^= difference);
            right[15] ^= 1;
            black_box(sm4::gcm::open(&key, &[1; 12], b"", &mut [], &right)).ok();
        });
        let xts = |mut bytes: [u8; 544]| {
            bytes[0] = !bytes[16];
            let key = bytes.first_chunk().expect("two keys");
            (sm4::xts::Key::new(key, sm4::xts::TweakOrder::Gbt17964).expect("halves differ"), bytes)
        };
        judge.judge("sm4::xts, 512 bytes", false, inputs([0; 544], xts), |(key, bytes)| {
            let mut data = *bytes;
            key.encrypt(&[3; 16], &mut data[32..]).expect("a length");
            black_box(data);
        });
        judge.judge("sm3::Hmac, 64 bytes", false, inputs([0; 96], |bytes| bytes), |bytes| {
            let mut mac = sm3::Hmac::new(&bytes[..32]);
            mac.update(&bytes[32..]);
            black_box(mac.finalize());
        });
    }

    fn signing(judge: &mut Judge) {
        let mut one = [0; 32];
        one[31] = 1;
        let private = |bytes: [u8; 32]| sm2::PrivateKey::from_bytes(&bytes).expect("in range");
        // Random keys are below n but for one in 2^32.
        judge.judge("sm2::PrivateKey::from_bytes", false, inputs(one, |bytes| bytes), |bytes| {
            black_box(sm2::PrivateKey::from_bytes(bytes)).ok();
        });
        let mut rng = Seeded::new(1 << 40);
        judge.judge("sm2::sign_digest, the key", false, inputs(one, private), |key| {
            black_box(sm2::sign_digest(key, &[5; 32], &mut rng)).expect("a signature");
        });
        struct Stuck([u8; 32]);
        impl Random for Stuck {
            fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
                out.copy_from_slice(&self.0);
                Ok(())
            }
        }
        // One key and digest, the same randomness each time or another: the nonce is fixed or random.
        let key = private([0x39; 32]);
        judge.judge("sm2::sign_digest, the nonce", false, inputs([0; 32], |bytes| bytes), |entropy| {
            black_box(sm2::sign_digest(&key, &[5; 32], &mut Stuck(*entropy))).expect("a signature");
        });
        let mut rng = Seeded::new(1 << 41);
        let digests: [[u8; 32]; 8] = core::array::from_fn(|i| [i as u8; 32]);
        judge.judge("sm2::sign_digest_batch of 8, the key", false, inputs(one, private), |key| {
            black_box(sm2::sign_digest_batch(key, &digests, &mut rng)).expect("signatures");
        });
    }

    fn schemes(judge: &mut Judge) {
        let mut one = [0; 32];
        one[31] = 1;
        let private = |bytes: [u8; 32]| sm2::PrivateKey::from_bytes(&bytes).expect("in range");
        let peer = private([0x39; 32]).public_key();
        let known = sm2::IdentifiedKey::new(b"peer", peer);
        let mut rng = Seeded::new(1 << 42);
        judge.judge("sm2::exchange, the key", false, inputs(one, private), |key| {
            let side = sm2::exchange::Responder::respond(key, b"own", &known, &peer, &mut rng);
            black_box(side.expect("a finite point").confirmation());
        });
        // Somebody else's, refused under every key.
        let ciphertext = sm2::encryption::encrypt(&peer, &[7; 32], &mut Seeded::new(1 << 43)).expect("a ciphertext");
        judge.judge("sm2::encryption::decrypt, the key", false, inputs(one, private), |key| {
            black_box(sm2::encryption::decrypt(key, &ciphertext)).expect_err("another's");
        });
        let ciphertexts = vec![ciphertext; 8];
        judge.judge("sm2::encryption::decrypt_batch of 8, the key", false, inputs(one, private), |key| {
            black_box(sm2::encryption::decrypt_batch(key, &ciphertexts));
        });
        let mut rng = Seeded::new(1 << 45);
        judge.judge("sm2::exchange::respond_batch of 8, the key", false, inputs(one, private), |key| {
            black_box(sm2::exchange::Responder::respond_batch(key, b"own", &[(&known, &peer); 8], &mut rng))
                .expect("randomness");
        });
        let mut rng = Seeded::new(1 << 44);
        judge.judge("sm2::encryption::encrypt, the text", false, inputs([0; 32], |text| text), |text| {
            black_box(sm2::encryption::encrypt(&peer, text, &mut rng)).expect("a ciphertext");
        });
    }
}
