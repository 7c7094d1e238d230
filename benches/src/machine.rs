//! What the figures depend on: processor, its instruction sets, the load beside us, the build.

use serde_json::{Value, json};
use std::fs;

/// Flags that decide which kernels can run, as Linux names them on x86-64 and aarch64.
const FLAGS: &[&str] = &[
    "pclmulqdq",
    "avx2",
    "bmi2",
    "adx",
    "gfni",
    "vaes",
    "vpclmulqdq",
    "avx512f",
    "avx512bw",
    "avx512ifma",
    "sm3",
    "sm4",
    "asimd",
    "pmull",
    "aes",
    "sve",
    "sve2",
    "svesm4",
];

/// Processor, flags, cores, load, kernels, build.
pub fn describe(kernels: &[(&str, &str)]) -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": field(&info, "model name").or_else(|| field(&info, "CPU part")).unwrap_or("unknown"),
        "architecture": std::env::consts::ARCH,
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "flags": flags(&info),
        "load_1min": load.split(' ').next().unwrap_or_default(),
        "overflow_checks": cfg!(debug_assertions),
        "kernels": kernels.iter().map(|&(operation, kernel)| (operation.to_owned(), kernel.into())).collect::<serde_json::Map<_, _>>(),
    })
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn flags(info: &str) -> Vec<&'static str> {
    let all = field(info, "flags").or_else(|| field(info, "Features")).unwrap_or_default();
    let all: Vec<_> = all.split(' ').collect();
    FLAGS.iter().copied().filter(|flag| all.contains(flag)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_whole_words() {
        let info = "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu avx512f sm3x gfni\n";
        assert_eq!(flags(info), ["gfni", "avx512f"]);
        assert_eq!(field(info, "model name"), Some("X"));
    }
}
