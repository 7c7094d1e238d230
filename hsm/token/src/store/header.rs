//! The `token` file: label, serial number and the wrapped master keys; and `attempts`: what is left of each PIN.

use std::path::Path;

use bixi_accel::sm3::{Hmac, hkdf};
use bixi_platform::secret::Secret;
use zeroize::Zeroize as _;

use super::pin::{Role, WRAP_BYTES, Wrap};
use super::{StoreError, envelope};

const KIND_HEADER: &str = "token";
const KIND_ATTEMPTS: &str = "attempts";
const HEADER_INFO: &[u8] = b"BIXI-TOKEN-HEADER-V1";

/// What the token says of itself before a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Random, new at each initialisation: names this life of the token.
    pub(crate) instance: [u8; 16],
    /// Padded with blanks.
    pub(crate) label: [u8; 32],
    pub(super) officer: Wrap,
    pub(super) user: Option<Wrap>,
}

impl Header {
    /// Sixteen hexadecimal digits.
    pub(crate) fn serial(&self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        std::array::from_fn(|index| {
            let byte = self.instance[index / 2];
            DIGITS[usize::from(if index % 2 == 0 { byte >> 4 } else { byte & 15 })]
        })
    }

    /// Whether the user PIN has been set.
    pub(crate) fn has_user_pin(&self) -> bool {
        self.user.is_some()
    }

    pub(super) fn wrap(&self, role: Role) -> Option<&Wrap> {
        match role {
            Role::Officer => Some(&self.officer),
            Role::User => self.user.as_ref(),
        }
    }

    fn body(&self) -> Vec<u8> {
        let user = self.user.as_ref().map_or_else(|| vec![0; WRAP_BYTES], Wrap::encode);
        let flags = [u8::from(self.user.is_some())];
        [&self.instance[..], &self.label, &flags, &self.officer.encode(), &user].concat()
    }

    /// Read and check against damage; the authentication tag is returned for [`Header::is_authentic`].
    pub(super) fn read(path: &Path) -> Result<Option<(Self, [u8; 32])>, StoreError> {
        let Some(bytes) = envelope::read(path, KIND_HEADER)? else { return Ok(None) };
        let parsed = Self::parse(&bytes);
        parsed.map(Some).ok_or(StoreError::Damaged { path: path.into(), what: "its fields are out of bounds" })
    }

    fn parse(bytes: &[u8]) -> Option<(Self, [u8; 32])> {
        let (instance, rest) = bytes.split_first_chunk()?;
        let (label, rest) = rest.split_first_chunk()?;
        let ([has_user], rest) = rest.split_first_chunk()?;
        let (officer, rest) = rest.split_first_chunk::<WRAP_BYTES>()?;
        let (user, rest) = rest.split_first_chunk::<WRAP_BYTES>()?;
        let tag = rest.try_into().ok()?;
        let user = match has_user {
            0 => None,
            1 => Some(Wrap::decode(user)?),
            _ => return None,
        };
        Some((Self { instance: *instance, label: *label, officer: Wrap::decode(officer)?, user }, tag))
    }

    pub(super) fn write(&self, path: &Path, master: &Secret) -> Result<(), StoreError> {
        let body = self.body();
        let tag = authenticator(master, HEADER_INFO, &body).finalize();
        envelope::write(path, KIND_HEADER, &[&body[..], &tag].concat())
    }

    /// Whether the header was written by someone who held the master key.
    pub(super) fn is_authentic(&self, master: &Secret, tag: &[u8; 32]) -> bool {
        authenticator(master, HEADER_INFO, &self.body()).verify(tag)
    }
}

/// An HMAC over `body` under a key derived from the master key for `info`.
pub(super) fn authenticator(master: &Secret, info: &[u8], body: &[u8]) -> Hmac {
    let mut prk = hkdf::extract(&[], master.as_slice());
    let mut key = [0; 32];
    hkdf::expand(&prk, &[info], &mut key);
    let mut hmac = Hmac::new(&key);
    hmac.update(body);
    prk.zeroize();
    key.zeroize();
    hmac
}

/// Attempts left for each PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub(crate) officer: u8,
    pub(crate) user: u8,
}

impl Attempts {
    pub(crate) fn left(self, role: Role) -> u8 {
        match role {
            Role::Officer => self.officer,
            Role::User => self.user,
        }
    }

    pub(super) fn set(&mut self, role: Role, left: u8) {
        match role {
            Role::Officer => self.officer = left,
            Role::User => self.user = left,
        }
    }

    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        match envelope::read(path, KIND_ATTEMPTS)?.as_deref() {
            Some(&[officer, user]) => Ok(Self { officer, user }),
            Some(_) => Err(StoreError::Damaged { path: path.into(), what: "it has the wrong length" }),
            None => Err(StoreError::Damaged { path: path.into(), what: "it is missing" }),
        }
    }

    /// Durable when this returns.
    pub(super) fn write(self, path: &Path) -> Result<(), StoreError> {
        envelope::write(path, KIND_ATTEMPTS, &[self.officer, self.user])
    }
}
