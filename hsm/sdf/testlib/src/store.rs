//! The device's files: `sign-N` and `encrypt-N` hold private keys as they are, `wrong` a byte for each wrong password,
//! `calls.log` a line for each call.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use bixi_accel::sm2::PrivateKey;
use bixi_accel::{Random, RandomError};
use bixi_platform::random::OsRandom;

use crate::config::Config;
use crate::{Refusal, answers};

/// Which pair of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Sign,
    Encrypt,
}

/// The system's random source, as `bixi-accel` wants it.
pub(crate) struct System;

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        OsRandom.fill(out).map_err(|error| RandomError::new(error.to_string()))
    }
}

pub(crate) struct Store<'a>(pub(crate) &'a Config);

impl Store<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.directory.join(name)
    }

    fn pair_path(&self, usage: Usage, index: u32) -> PathBuf {
        self.path(&format!("{}-{index}", if usage == Usage::Sign { "sign" } else { "encrypt" }))
    }

    /// Makes the directory and the pairs that are there from the beginning.
    pub(crate) fn prepare(&self) -> Result<(), Refusal> {
        fs::create_dir_all(&self.0.directory).map_err(|_| answers::FILE)?;
        for index in &self.0.pairs {
            for usage in [Usage::Sign, Usage::Encrypt] {
                if !self.pair_path(usage, *index).exists() {
                    self.make(usage, *index)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn make(&self, usage: Usage, index: u32) -> Result<PrivateKey, Refusal> {
        let key = PrivateKey::generate(&mut System).map_err(|_| answers::RANDOM)?;
        fs::write(self.pair_path(usage, index), *key.to_bytes()).map_err(|_| answers::FILE)?;
        Ok(key)
    }

    pub(crate) fn load(&self, usage: Usage, index: u32) -> Result<PrivateKey, Refusal> {
        let bytes = fs::read(self.pair_path(usage, index)).map_err(|_| Refusal(self.0.no_key))?;
        let bytes = bytes.as_slice().try_into().map_err(|_| answers::FILE)?;
        PrivateKey::from_bytes(bytes).map_err(|_| answers::FILE)
    }

    pub(crate) fn check_password(&self, password: &[u8]) -> Result<(), Refusal> {
        let path = self.path("wrong");
        let wrong = fs::metadata(&path).map_or(0, |data| data.len());
        if wrong >= self.0.wrong_max as u64 {
            return Err(answers::LOCKED);
        }
        if password == self.0.password.as_bytes() {
            let _ = fs::remove_file(path);
            return Ok(());
        }
        self.append("wrong", b"x");
        Err(answers::WRONG_PASSWORD)
    }

    /// Notes that a function was called.
    pub(crate) fn note(&self, function: &str) {
        self.append("calls.log", format!("{function}\n").as_bytes());
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let opened = OpenOptions::new().create(true).append(true).open(self.path(name));
        opened.and_then(|mut file| file.write_all(bytes)).expect("the test's directory is writable");
    }
}
