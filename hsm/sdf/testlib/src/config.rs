//! `sdf-test.conf` beside the library: lines `key = value`.
//!
//! | key | value | default |
//! |---|---|---|
//! | `directory` | where keys, `fault` and `calls.log` are, relative to the file | `state` |
//! | `password` | of every index | `12345678` |
//! | `wrong_max` | wrong passwords before it takes none | 5 |
//! | `pairs` | indices that get both pairs at the first opening, by comma | none |
//! | `sessions_max` | sessions at once | 16 |
//! | `sm4` | identifier of SM4 without its mode | 0x400 |
//! | `cipher_bytes` | declared length of the array in `ECCCipher`; it writes all of it | 1: what is needed |
//! | `extensions` | whether `SDF_CreateKeyPair_ECC` and `SWCSM_GenerateECCKeyPair` work | true |
//! | `no_key` | what it answers for an index without a key | 0x01000008 |
//! | `issuer`, `name` | who it says it is | itself |
//! | `other_cipher` | whether its SM4 is another cipher of the same block | false |
//! | `strict_import` | whether a changed envelope is refused, unlike in real libraries | false |

use std::path::{Path, PathBuf};

use crate::answers;

/// How this device is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of its keys and records.
    pub directory: PathBuf,
    /// Of every index.
    pub password: String,
    /// Wrong ones before it takes none.
    pub wrong_max: usize,
    /// Indices with pairs from the beginning.
    pub pairs: Vec<u32>,
    /// At once.
    pub sessions_max: usize,
    /// Identifier of SM4 without its mode.
    pub sm4: u32,
    /// Declared length of the array in `ECCCipher`.
    pub cipher_bytes: usize,
    /// What it answers for an index without a key.
    pub no_key: u32,
    /// Whether the vendors' calls work.
    pub extensions: bool,
    /// Its maker, as it says.
    pub issuer: String,
    /// Its own name, as it says.
    pub name: String,
    /// Whether its SM4 is another cipher of the same block.
    pub other_cipher: bool,
    /// Whether a changed envelope is refused.
    pub strict_import: bool,
}

impl Config {
    /// Reads the file at `path`; `None` for one with a line that means nothing.
    pub fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let beside = path.parent()?;
        let mut config = Self {
            directory: beside.join("state"),
            password: "12345678".into(),
            wrong_max: 5,
            pairs: Vec::new(),
            sessions_max: 16,
            sm4: 0x400,
            cipher_bytes: 1,
            no_key: answers::NO_KEY.0,
            extensions: true,
            issuer: "Bixi: TEST DEVICE, protects nothing".into(),
            name: "test device".into(),
            other_cipher: false,
            strict_import: false,
        };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (key, value) = line.split_once('=')?;
            let value = value.trim();
            match key.trim() {
                "directory" => config.directory = beside.join(value),
                "password" => config.password = value.into(),
                "wrong_max" => config.wrong_max = value.parse().ok()?,
                "pairs" => {
                    config.pairs = value.split(',').map(|index| index.trim().parse().ok()).collect::<Option<_>>()?
                }
                "sessions_max" => config.sessions_max = value.parse().ok()?,
                "sm4" => config.sm4 = hexadecimal(value)?,
                "no_key" => config.no_key = hexadecimal(value)?,
                "cipher_bytes" => config.cipher_bytes = value.parse().ok()?,
                "issuer" => config.issuer = value.into(),
                "name" => config.name = value.into(),
                "extensions" => config.extensions = value.parse().ok()?,
                "other_cipher" => config.other_cipher = value.parse().ok()?,
                "strict_import" => config.strict_import = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(config)
    }
}

pub(crate) fn hexadecimal(value: &str) -> Option<u32> {
    u32::from_str_radix(value.strip_prefix("0x")?, 16).ok()
}
