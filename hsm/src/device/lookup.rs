//! From a reference to the one key it names.

use super::{Cause, DeviceError};
use crate::uri::{KeyRef, Scheme};

/// A key that a reference may name.
#[derive(Debug)]
pub struct Candidate<'a, K> {
    /// Its label.
    pub label: &'a str,
    /// Its id.
    pub id: Vec<u8>,
    /// What the caller wants of it.
    pub key: K,
}

/// The one of a token's keys that answers to `key`.
///
/// # Errors
/// [`Cause::KeyNotFound`] for none, or for a reference to another device; [`Cause::KeyAmbiguous`] for several.
pub fn lookup<'a, K>(
    function: &'static str,
    key: &KeyRef,
    scheme: Scheme,
    token: &str,
    candidates: impl IntoIterator<Item = Candidate<'a, K>>,
) -> Result<K, DeviceError> {
    let uri = key.uri();
    let here = uri.scheme == scheme && uri.token.as_ref().is_none_or(|named| named == token);
    let mut matching = candidates.into_iter().filter(|candidate| {
        here && uri.object.as_ref().is_none_or(|object| object == candidate.label)
            && uri.id.as_ref().is_none_or(|id| *id == candidate.id)
    });
    match (matching.next(), matching.next()) {
        (Some(found), None) => Ok(found.key),
        (None, _) => Err(DeviceError::new(function, Cause::KeyNotFound, format!("no key {key}"))),
        (Some(_), Some(_)) => Err(DeviceError::new(function, Cause::KeyAmbiguous, format!("several keys {key}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two keys of one label, told apart by their ids.
    fn found(reference: &str) -> Result<u8, Cause> {
        let candidates = [(1, "vote"), (2, "vote"), (3, "kek")];
        let candidates = candidates.map(|(key, label)| Candidate { label, id: vec![key], key });
        lookup("sign", &reference.parse().unwrap(), Scheme::Tpm, "here", candidates).map_err(|error| error.cause)
    }

    #[test]
    fn exactly_one_key_of_this_device_must_answer() {
        assert_eq!(found("tpm:object=kek"), Ok(3));
        assert_eq!(found("tpm:token=here;object=vote;id=%02"), Ok(2));
        assert_eq!(found("tpm:object=vote"), Err(Cause::KeyAmbiguous));
        for other in ["tpm:object=seal", "tpm:object=kek;id=%02", "tpm:token=there;object=kek", "sdf:object=kek"] {
            assert_eq!(found(other), Err(Cause::KeyNotFound), "{other}");
        }
    }
}
