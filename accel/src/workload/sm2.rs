//! Signatures: one at a time and in batches, of keys never seen and of registered ones. Keys, agreement, encryption.

use super::Workload;
use crate::Random;
use crate::sm2::encryption::{self, Ciphertext, EncryptError};
use crate::sm2::exchange::Responder;
use crate::sm2::{
    self, DEFAULT_ID, IdentifiedKey, KeyError, KeyRef, PrivateKey, RegisteredKey, Registry, SignError, Signature,
    VerifyItem,
};
use std::hint::black_box;

/// Who the signers are.
pub const ID: &[u8] = DEFAULT_ID;
/// What is signed: a transaction's hash, say.
pub const MESSAGE: [u8; 32] = [7; 32];
/// Signers, all of them registered.
pub const KEYS: usize = 64;
/// Items of the larger batches; still short enough to run without an interruption.
const ITEMS: usize = 256;

/// The keys and signatures could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputsError {
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No signature to verify.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No ciphertext to decrypt.
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
}

/// A key and what it signed: [`MESSAGE`] for [`ID`].
#[derive(Debug)]
pub struct Signed {
    /// The signer.
    pub key: PrivateKey,
    /// Its public key, `X ‖ Y`.
    pub public: [u8; 64],
    /// `r ‖ s`.
    pub signature: Signature,
    registered: RegisteredKey,
}

/// What the workloads of SM2 work on.
#[derive(Debug)]
pub struct Inputs<R> {
    random: R,
    signed: Vec<Signed>,
    ciphertext: Ciphertext,
}

impl<R: Random + Clone> Inputs<R> {
    /// Makes [`KEYS`] keys and their signatures. Nonces of signing are hedged with `random` as well.
    ///
    /// # Errors
    /// When `random` fails.
    pub fn new(mut random: R) -> Result<Self, InputsError> {
        let registry = Registry::new(KEYS);
        let mut make = || {
            let key = PrivateKey::generate(&mut random)?;
            let signature = sm2::sign(&key, ID, &MESSAGE, &mut random)?;
            let registered = registry.register(&key.public_key()).expect("a registry with room for every key");
            Ok(Signed { public: key.public_key().to_bytes(), key, signature, registered })
        };
        let signed = (0..KEYS).map(|_| make()).collect::<Result<Vec<_>, InputsError>>()?;
        let ciphertext = encryption::encrypt(&signed[0].key.public_key(), &MESSAGE, &mut random)?;
        Ok(Self { random, signed, ciphertext })
    }

    /// The signers.
    pub fn signed(&self) -> &[Signed] {
        &self.signed
    }

    /// [`MESSAGE`], encrypted to the first signer.
    pub fn ciphertext(&self) -> &Ciphertext {
        &self.ciphertext
    }
}

/// How a verifier knows the signers.
#[derive(Clone, Copy)]
enum Keys {
    Raw,
    Registered,
}

impl Keys {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Registered => "registered",
        }
    }

    fn item(self, signed: &Signed) -> VerifyItem<'_> {
        let key = match self {
            Self::Raw => KeyRef::Raw(&signed.public),
            Self::Registered => KeyRef::Registered(signed.registered.clone()),
        };
        VerifyItem { key, message: &MESSAGE, signature: &signed.signature.0 }
    }
}

pub(super) fn all<R: Random + Clone>(inputs: &Inputs<R>) -> Vec<Workload<'_>> {
    let verify_batch = |keys| [KEYS, ITEMS].map(|items| verify_batch(inputs, keys, items));
    let mut workloads = vec![sign(inputs), verify(inputs), verify_registered(inputs)];
    workloads.extend([Keys::Raw, Keys::Registered].into_iter().flat_map(verify_batch));
    workloads.extend([KEYS, ITEMS].map(|messages| sign_batch(inputs, messages)));
    workloads.extend([generate(inputs), exchange(inputs), encrypt(inputs), decrypt(inputs)]);
    workloads
}

fn generate<R: Random + Clone>(inputs: &Inputs<R>) -> Workload<'_> {
    let mut random = inputs.random.clone();
    let call = move || {
        black_box(PrivateKey::generate(&mut random).expect("a key"));
    };
    Workload::new("sm2::generate", "sm2.field", call)
}

/// The side that answers: its ephemeral key, the shared point, 32 bytes of key.
fn exchange<R: Random + Clone>(inputs: &Inputs<R>) -> Workload<'_> {
    let [own, peer] = [0, 1].map(|party: usize| &inputs.signed[party].key);
    let peer = IdentifiedKey::new(ID, peer.public_key());
    let ephemeral = inputs.signed[2].key.public_key();
    let mut random = inputs.random.clone();
    let call = move || {
        let side = Responder::respond(own, ID, black_box(&peer), &ephemeral, &mut random).expect("points of the curve");
        let mut key = [0; 32];
        side.finish().derive(&mut key);
        black_box(key);
    };
    Workload::new("sm2::exchange", "sm2.field", call)
}

fn encrypt<R: Random + Clone>(inputs: &Inputs<R>) -> Workload<'_> {
    let key = inputs.signed[0].key.public_key();
    let mut random = inputs.random.clone();
    let call = move || {
        black_box(encryption::encrypt(&key, black_box(&MESSAGE), &mut random).expect("a short plaintext"));
    };
    Workload::new("sm2::encrypt", "sm2.field", call)
}

fn decrypt<R: Random + Clone>(inputs: &Inputs<R>) -> Workload<'_> {
    let key = &inputs.signed[0].key;
    let ciphertext = inputs.ciphertext.clone();
    let call = move || {
        black_box(encryption::decrypt(key, black_box(&ciphertext)).expect("what was encrypted to this key"));
    };
    Workload::new("sm2::decrypt", "sm2.field", call)
}

/// From a message to a signature; `Z` is known.
fn sign<R: Random + Clone>(inputs: &Inputs<R>) -> Workload<'_> {
    let key = &inputs.signed[0].key;
    let identified = IdentifiedKey::new(ID, key.public_key());
    let mut random = inputs.random.clone();
    let call = move || {
        let digest = sm2::message_digest(identified.z(), black_box(&MESSAGE));
        black_box(sm2::sign_digest(key, &digest, &mut random).expect("a signature"));
    };
    Workload::new("sm2::sign", "sm2.field", call)
}

fn sign_batch<R: Random + Clone>(inputs: &Inputs<R>, count: usize) -> Workload<'_> {
    let key = &inputs.signed[0].key;
    let mut random = inputs.random.clone();
    let messages = vec![&MESSAGE[..]; count];
    let call = move || {
        black_box(sm2::sign_batch(key, ID, black_box(&messages), &mut random).expect("signatures"));
    };
    Workload::new("sm2::sign_batch", "sm2.sign_batch", call).batch("messages", count as u32)
}

fn verify<R>(inputs: &Inputs<R>) -> Workload<'_> {
    let signed = &inputs.signed[0];
    let public = signed.key.public_key();
    let call = move || assert!(sm2::verify(&public, ID, black_box(&MESSAGE), &signed.signature));
    Workload::new("sm2::verify", "sm2.field", call)
}

fn verify_registered<R>(inputs: &Inputs<R>) -> Workload<'_> {
    let item = Keys::Registered.item(&inputs.signed[0]);
    let call = move || {
        let mut verdict = [false];
        sm2::verify_batch(std::slice::from_ref(black_box(&item)), &mut verdict);
        assert!(verdict[0]);
    };
    Workload::new("sm2::verify", "sm2.field", call).with("keys", Keys::Registered.name())
}

/// Every signer in turn.
fn verify_batch<R>(inputs: &Inputs<R>, keys: Keys, count: usize) -> Workload<'_> {
    let items: Vec<_> = inputs.signed.iter().cycle().take(count).map(|signed| keys.item(signed)).collect();
    let mut verdicts = vec![false; count];
    let call = move || {
        sm2::verify_batch(black_box(&items), &mut verdicts);
        assert!(verdicts.iter().all(|verdict| *verdict));
    };
    Workload::new("sm2::verify_batch", "sm2.verify_batch", call).with("keys", keys.name()).batch("items", count as u32)
}
