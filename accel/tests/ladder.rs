//! Every rung of the ladder `BIXI_CPU`, each in a process of its own: the choice is made once per process.
#![allow(clippy::print_stdout, missing_docs)]

use bixi_accel::{cpu, selftest, sm3, sm4};
use rungs::RUNGS;

#[path = "plan/rungs.rs"]
mod rungs;
#[path = "vectors.rs"]
mod vectors;

/// Whether `rung` is `other` or stands above it.
fn reaches(rung: &str, other: &str) -> bool {
    let [height, wanted] = [rung, other].map(|rung| RUNGS.iter().position(|name| *name == rung).expect("a rung"));
    height >= wanted
}

/// What the ladder promises for SM4 on `rung`, by what this processor has.
#[cfg(target_arch = "x86_64")]
fn expected_sm4(rung: &str) -> (&'static str, &'static str) {
    let aes = cpu::AesNi::new().is_some();
    let cipher = [
        ("avx512", cpu::Gfni512::new().is_some(), "gfni512"),
        ("best", cpu::Sm4Ni::new().is_some(), "sm4ni"),
        ("gfni", cpu::Gfni256::new().is_some(), "gfni256"),
        ("avx2", cpu::Avx2::new().is_some() && aes, "aesni"),
        ("sse", aes, "aesni128"),
    ];
    let ghash = [
        ("avx512", cpu::Vpclmul512::new().is_some(), "vpclmul512"),
        ("gfni", cpu::Vpclmul256::new().is_some(), "vpclmul256"),
        ("sse", cpu::Pclmul::new().is_some(), "pclmul"),
    ];
    (best(rung, &cipher), best(rung, &ghash))
}

#[cfg(target_arch = "aarch64")]
fn expected_sm4(rung: &str) -> (&'static str, &'static str) {
    let aes = cpu::NeonAes::new().is_some();
    let cipher = [
        ("sm", cpu::NeonSm::new().is_some(), "armv8-sm4"),
        ("aes", aes, "neon-aes"),
        ("neon", cpu::Neon::new().is_some(), "neon"),
    ];
    (best(rung, &cipher), best(rung, &[("aes", aes, "pmull")]))
}

/// The first kernel whose rung is low enough and whose instructions are there.
fn best(rung: &str, kernels: &[(&str, bool, &'static str)]) -> &'static str {
    let found = kernels.iter().find(|(lowest, there, _)| reaches(rung, lowest) && *there);
    found.map_or("portable", |(_, _, name)| name)
}

/// What the ladder promises for SM3, one message and many, on `rung`, by what this processor has.
#[cfg(target_arch = "x86_64")]
fn expected_sm3(rung: &str) -> (&'static str, &'static str) {
    let (bmi2, avx2) = (cpu::Bmi2::new().is_some(), cpu::Avx2::new().is_some());
    let single = match () {
        () if reaches(rung, "best") && cpu::Sm3Ni::new().is_some() => "sm3ni",
        () if reaches(rung, "avx2") && bmi2 => "bmi2",
        () => "portable",
    };
    let many = match () {
        () if reaches(rung, "avx512") && cpu::Int512::new().is_some() => "avx512",
        () if reaches(rung, "avx2") && avx2 && single != "sm3ni" => "avx2",
        () => single,
    };
    (single, many)
}

/// What the ladder promises for SM2's field on `rung`, by what this processor has.
#[cfg(target_arch = "x86_64")]
fn expected_sm2_field(rung: &str) -> &'static str {
    if reaches(rung, "avx2") && cpu::Bmi2Adx::new().is_some() { "bmi2+adx" } else { "portable" }
}

/// What the ladder promises for batches of SM2: lanes where there are some, else what serves one.
#[cfg(target_arch = "x86_64")]
fn expected_sm2_batch(rung: &str) -> &'static str {
    let lanes = reaches(rung, "avx512") && cpu::Ifma512::new().is_some();
    if lanes { "ifma512" } else { expected_sm2_field(rung) }
}

#[cfg(not(target_arch = "x86_64"))]
fn expected_sm2_batch(rung: &str) -> &'static str {
    expected_sm2_field(rung)
}

#[cfg(not(target_arch = "x86_64"))]
fn expected_sm2_field(_rung: &str) -> &'static str {
    "portable"
}

#[cfg(target_arch = "aarch64")]
fn expected_sm3(rung: &str) -> (&'static str, &'static str) {
    let single = ("sm", cpu::NeonSm::new().is_some(), "armv8-sm3");
    (best(rung, &[single]), best(rung, &[single, ("neon", cpu::Neon::new().is_some(), "neon")]))
}

/// Digest of what every operation gives on inputs of many lengths.
fn transcript() -> String {
    let data: Vec<u8> = (0..20_000u32).map(|i| ((i * i) >> 7) as u8).collect();
    let mut hasher = sm3::Hasher::new();
    let lengths = (0..300).chain([511, 512, 1535, 1536, 1537, 4096, 16_000, 20_000]);
    let key = sm4::Key::new(&[0x5a; 16]);
    let gcm = sm4::gcm::Key::new(&[0x5a; 16]);
    let xts_key: [u8; 32] = core::array::from_fn(|i| i as u8);
    for length in lengths {
        let input = &data[..length];
        let mut blocks = input.as_chunks::<16>().0.to_vec();
        key.encrypt_blocks(&mut blocks);
        hasher.update(blocks.as_flattened());
        key.decrypt_blocks(&mut blocks);
        key.decrypt_blocks(&mut blocks);
        hasher.update(blocks.as_flattened());
        let mut chain = [length as u8; 16];
        sm4::cbc::decrypt(&key, &mut chain, &mut blocks);
        hasher.update(blocks.as_flattened());
        sm4::cbc::encrypt(&key, &mut chain, &mut blocks);
        hasher.update(blocks.as_flattened());
        let mut out = input.to_vec();
        sm4::ctr::apply(&key, &[0xff; 16], &mut out);
        hasher.update(&out);
        hasher.update(&sm4::gcm::seal(&gcm, &[length as u8; 12], input, &mut out));
        hasher.update(&out);
        for order in [sm4::xts::TweakOrder::Gbt17964, sm4::xts::TweakOrder::Ieee1619] {
            let key = sm4::xts::Key::new(&xts_key, order).expect("halves differ");
            if key.encrypt(&[length as u8; 16], &mut out).is_ok() {
                hasher.update(&out);
            }
        }
        hasher.update(&sm3::digest(input));
    }
    let messages: Vec<&[u8]> = (0..300).map(|length| &data[..length]).collect();
    let mut digests = vec![[0; 32]; messages.len()];
    sm3::digest_many(&messages, &mut digests);
    hasher.update(digests.as_flattened());
    hex::encode(hasher.finalize())
}

/// A child's part: the kernels of its rung, the known answers and published vectors on them, and the transcript.
fn climb() {
    let rung = std::env::var(cpu::OVERRIDE_VARIABLE).expect("set by the parent");
    let selected = cpu::selected();
    let kernel = |operation: &str| {
        let found = selected.iter().find(|selected| selected.operation == operation);
        found.unwrap_or_else(|| panic!("{operation} among {selected:?}")).kernel
    };
    assert_eq!((kernel("sm4"), kernel("sm4.ghash")), expected_sm4(&rung), "on {rung}");
    assert_eq!(kernel("sm2.field"), expected_sm2_field(&rung), "on {rung}");
    for batch in ["sm2.verify_batch", "sm2.sign_batch", "sm2.multiply_batch"] {
        assert_eq!(kernel(batch), expected_sm2_batch(&rung), "{batch} on {rung}");
    }
    assert_eq!((kernel("sm3"), kernel("sm3.many")), expected_sm3(&rung), "on {rung}");
    if rung == "portable" {
        assert!(selected.iter().all(|selected| selected.kernel == "portable"), "{selected:?}");
    }
    let reports = selftest::run().expect("every known answer");
    assert!(reports.iter().any(|report| report.kernel == kernel("sm4")));
    vectors::sm3_digests();
    vectors::sm3_hmac();
    vectors::sm4_blocks();
    vectors::sm4_cbc();
    vectors::sm4_ctr();
    vectors::sm4_gcm();
    vectors::sm4_gcm_wycheproof();
    vectors::sm4_xts();
    vectors::sm2_verification();
    vectors::sm2_verification_of_digests();
    vectors::sm2_decryption();
    println!("transcript={}", transcript());
}

#[test]
fn every_rung_selects_its_kernels_and_gives_what_portable_gives() {
    let test = "every_rung_selects_its_kernels_and_gives_what_portable_gives";
    let Some(texts) = rungs::climb(test, climb) else { return };
    let transcripts: Vec<&str> = texts
        .iter()
        .map(|(rung, text)| {
            let line = text.lines().find_map(|line| line.split_once("transcript=")).map(|(_, digest)| digest);
            line.unwrap_or_else(|| panic!("no transcript on {rung}:\n{text}"))
        })
        .collect();
    assert_eq!(transcripts[0].len(), 64);
    for (rung, transcript) in RUNGS.iter().zip(&transcripts) {
        assert_eq!(transcript, &transcripts[0], "{rung} against portable");
    }
}
