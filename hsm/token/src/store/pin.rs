//! From a PIN to the token's master key: a [`passphrase`] wrap bound to role and token.

use bixi_platform::secret::Secret;
use bixi_sealed::passphrase::{self, Binding, WrapError};
use cryptoki_sys::{CKR_FUNCTION_FAILED, CKR_HOST_MEMORY};

use crate::error::{CkError, CkResult};

pub(super) use bixi_sealed::passphrase::{Cost, KEY_BYTES as MASTER_BYTES, WRAP_BYTES};

const DOMAIN: &[u8] = b"BIXI-TOKEN-PIN-WRAP-V1";

/// Whose PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The security officer.
    Officer,
    /// The ordinary user.
    User,
}

impl Role {
    fn name(self) -> &'static [u8] {
        match self {
            Role::Officer => b"so",
            Role::User => b"user",
        }
    }
}

/// The master key sealed under one PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrap(passphrase::Wrap);

impl Wrap {
    /// Seal `master` under `pin`.
    pub(super) fn seal(cost: Cost, role: Role, token: &[u8; 16], pin: &[u8], master: &Secret) -> CkResult<Self> {
        let owner: [&[u8]; 2] = [role.name(), token];
        match passphrase::Wrap::seal(cost, Binding { domain: DOMAIN, owner: &owner }, pin, master) {
            Ok(wrap) => Ok(Self(wrap)),
            Err(WrapError::Random(_)) => Err(CkError(CKR_FUNCTION_FAILED)),
            Err(_) => Err(CkError(CKR_HOST_MEMORY)),
        }
    }

    /// The master key, if `pin` is right.
    pub(super) fn open(&self, role: Role, token: &[u8; 16], pin: &[u8]) -> Result<Secret, WrapError> {
        let owner: [&[u8]; 2] = [role.name(), token];
        self.0.open(Binding { domain: DOMAIN, owner: &owner }, pin)
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.0.encode().to_vec()
    }

    /// From the stored form; refuses costs out of bounds.
    pub(super) fn decode(bytes: &[u8; WRAP_BYTES]) -> Option<Self> {
        passphrase::Wrap::decode(bytes).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a store of the first release holds for the user of token `01…01`, PIN 123456, and the master key `03…03`.
    const FIRST_RELEASE: &str = include_str!("../../tests/fixtures/pin-wrap-v1.hex");

    #[test]
    fn a_wrap_of_the_first_release_opens() {
        let bytes: Vec<u8> =
            FIRST_RELEASE.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let wrap = Wrap::decode(&bytes.try_into().unwrap()).unwrap();
        assert_eq!(wrap.open(Role::User, &[1; 16], b"123456").unwrap().as_slice(), [3; MASTER_BYTES]);
        assert!(matches!(wrap.open(Role::Officer, &[1; 16], b"123456"), Err(WrapError::Mismatch)));
        assert!(matches!(wrap.open(Role::User, &[2; 16], b"123456"), Err(WrapError::Mismatch)));
    }
}
