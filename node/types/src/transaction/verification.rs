//! From bytes anyone can send to a transaction whose sender is proven.
//!
//! ```text
//! Transaction ── prepare: version, chain, grammar, hash, shape of the signature ──▶ Pending ── verify_batch ──▶ Verified
//! ```
//!
//! A [`Verified`] has no other source than a successful signature check in this module, and cannot be changed afterwards. Nothing
//! may be recorded under a transaction's hash, nonce or sender before it is one, or a copy with a junk signature could displace
//! the original.
//!
//! The hash excludes the signature, so a second valid signature over the same hash (secp256k1 with n − s, or a fresh SM2 nonce)
//! is the same transaction: duplicates are told by hash. Neither suite therefore refuses a high s, as FISCO BCOS does not.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use bixi_accel::sm2;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, VerifyOnly};

use super::{GrammarError, KIND_BCOS, Transaction};
use crate::status::Status;
use crate::tars::DecodeError;
use crate::{Address, CryptoSuite, H256};

/// Bytes of a transaction's SM2 signature, r ‖ s ‖ X ‖ Y.
pub const SM2_SIGNATURE_BYTES: usize = 128;
/// Bytes of a transaction's secp256k1 signature, r ‖ s ‖ v.
pub const SECP256K1_SIGNATURE_BYTES: usize = 65;

static SECP256K1: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// The chain a transaction must be made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainIdentity {
    /// FISCO BCOS chain id.
    pub chain_id: String,
    /// FISCO BCOS group id.
    pub group_id: String,
}

impl From<&crate::genesis::Genesis> for ChainIdentity {
    fn from(genesis: &crate::genesis::Genesis) -> Self {
        Self { chain_id: genesis.chain_id.clone(), group_id: genesis.group_id.clone() }
    }
}

/// Why a transaction was refused. Final for these bytes; [`Self::status`] is what the client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// Not a transaction at all.
    #[error("not a transaction: {0}")]
    Decode(#[from] DecodeError),
    /// Not canonical.
    #[error("not canonical: {0}")]
    Grammar(#[from] GrammarError),
    /// A kind this node does not take.
    #[error("transactions of type {0} are not supported; send FISCO BCOS transactions (type 0)")]
    Kind(u8),
    /// Signed for another chain.
    #[error("made for chain {found:?}, this is {expected:?}")]
    Chain {
        /// The transaction's chain id.
        found: String,
        /// This chain's.
        expected: String,
    },
    /// Signed for another group.
    #[error("made for group {found:?}, this is {expected:?}")]
    Group {
        /// The transaction's group id.
        found: String,
        /// This group's.
        expected: String,
    },
    /// `dataHash` is there and wrong.
    #[error("dataHash is {declared}, the signed fields hash to {computed}")]
    HashMismatch {
        /// The wire's claim, hexadecimal.
        declared: String,
        /// The recomputed hash.
        computed: H256,
    },
    /// A signature of the wrong length, of another suite for example.
    #[error("signature has {found} bytes, this chain's have {expected}")]
    SignatureLength {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The signature does not fit hash and key, or holds a value out of range.
    #[error("the signature is wrong")]
    Signature,
}

impl TransactionError {
    /// FISCO BCOS's code for the client.
    pub fn status(&self) -> Status {
        match self {
            Self::Decode(_) | Self::Grammar(_) | Self::Kind(_) | Self::HashMismatch { .. } => Status::Malformed,
            Self::Chain { .. } => Status::InvalidChainId,
            Self::Group { .. } => Status::InvalidGroupId,
            Self::SignatureLength { .. } | Self::Signature => Status::InvalidSignature,
        }
    }
}

/// The parts of a [`Verified`], readable and not changeable.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedParts {
    /// The transaction; the fields a wire can only claim are empty.
    pub tx: Arc<Transaction>,
    /// Its hash.
    pub hash: H256,
    /// The account that signed it.
    pub sender: Address,
    /// The signer's public key X ‖ Y.
    pub sender_key: [u8; 64],
    /// Its canonical encoding.
    pub bytes: Arc<[u8]>,
}

/// A canonical transaction whose signature was checked. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified(Arc<VerifiedParts>);

impl Deref for Verified {
    type Target = VerifiedParts;

    fn deref(&self) -> &VerifiedParts {
        &self.0
    }
}

/// A transaction that passed everything but the signature check.
#[derive(Debug, Clone)]
pub struct Pending {
    suite: CryptoSuite,
    tx: Transaction,
    hash: H256,
}

/// What a signature check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckItem<'a> {
    /// The signer's public key X ‖ Y, when the signature carries it (SM2); not yet known to be a point of the curve.
    pub key: Option<&'a [u8; 64]>,
    /// The signed message: the transaction hash.
    pub message: &'a [u8; 32],
    /// r ‖ s.
    pub signature: &'a [u8; 64],
}

/// Checks everything but the signature. `tx` may come straight from [`Transaction::decode`].
pub fn prepare(suite: CryptoSuite, chain: &ChainIdentity, tx: Transaction) -> Result<Pending, TransactionError> {
    check(suite, chain, &tx)?;
    let hash = tx.hash(suite);
    Pending::new(suite, tx, hash)
}

/// [`prepare`] for many transactions, hashed together; one verdict each, in order.
pub fn prepare_many(
    suite: CryptoSuite,
    chain: &ChainIdentity,
    transactions: Vec<Transaction>,
) -> Vec<Result<Pending, TransactionError>> {
    let verdicts: Vec<_> = transactions.iter().map(|tx| check(suite, chain, tx)).collect();
    let checked: Vec<&Transaction> =
        transactions.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok()).map(|(tx, _)| tx).collect();
    let mut hashes = Transaction::hash_many(suite, &checked).into_iter();
    let prepare = |(tx, verdict): (Transaction, Result<(), TransactionError>)| {
        verdict?;
        Pending::new(suite, tx, hashes.next().expect("a hash for every transaction that was checked"))
    };
    transactions.into_iter().zip(verdicts).map(prepare).collect()
}

/// What can be judged without the hash.
fn check(suite: CryptoSuite, chain: &ChainIdentity, tx: &Transaction) -> Result<(), TransactionError> {
    if tx.kind != KIND_BCOS {
        return Err(TransactionError::Kind(tx.kind));
    }
    if !tx.extra_transaction_bytes.is_empty() {
        let (field, version) = ("extraTransactionBytes", tx.version);
        return Err(GrammarError::Unsigned { field, version }.into());
    }
    if tx.chain_id != chain.chain_id {
        return Err(TransactionError::Chain { found: tx.chain_id.clone(), expected: chain.chain_id.clone() });
    }
    if tx.group_id != chain.group_id {
        return Err(TransactionError::Group { found: tx.group_id.clone(), expected: chain.group_id.clone() });
    }
    let (found, expected) = (tx.signature.len(), signature_bytes(suite));
    if found != expected {
        return Err(TransactionError::SignatureLength { found, expected });
    }
    Ok(tx.check_canonical()?)
}

/// Checks one transaction completely.
pub fn verify(suite: CryptoSuite, chain: &ChainIdentity, tx: Transaction) -> Result<Verified, TransactionError> {
    let pending = prepare(suite, chain, tx)?;
    Pending::verify_batch(vec![pending], None).pop().expect("one verdict per transaction")
}

impl Pending {
    /// A checked transaction with its computed hash; what the wire claimed is compared with it or dropped.
    fn new(suite: CryptoSuite, mut tx: Transaction, hash: H256) -> Result<Self, TransactionError> {
        if !tx.declared_hash.is_empty() && tx.declared_hash != hash.0 {
            return Err(TransactionError::HashMismatch { declared: hex::encode(&tx.declared_hash), computed: hash });
        }
        tx.declared_hash = Vec::new();
        tx.import_time = 0;
        tx.attribute = 0;
        Ok(Self { suite, tx, hash })
    }

    /// The hash, for looking up duplicates. Record nothing under it: the signature is not checked yet.
    pub fn hash(&self) -> &H256 {
        &self.hash
    }

    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.tx
    }

    /// What will be checked.
    pub fn check_item(&self) -> CheckItem<'_> {
        CheckItem {
            key: self.tx.sender_key(),
            message: &self.hash.0,
            signature: self.tx.signature.first_chunk().expect("prepare checked the length"),
        }
    }

    /// Checks the signatures of many transactions in one go; one verdict each, in order. A bad one does not affect the others.
    /// Keys found in `tables` are checked several times faster.
    pub fn verify_batch(pending: Vec<Self>, tables: Option<&sm2::Registry>) -> Vec<Result<Verified, TransactionError>> {
        let keys = signers(&pending, tables);
        let senders = senders(&pending, &keys);
        let verdict = |((one, key), sender): ((Self, Option<[u8; 64]>), Option<Address>)| {
            key.zip(sender).map(|(key, sender)| one.into_verified(key, sender)).ok_or(TransactionError::Signature)
        };
        pending.into_iter().zip(keys).zip(senders).map(verdict).collect()
    }

    fn into_verified(self, sender_key: [u8; 64], sender: Address) -> Verified {
        let bytes = self.tx.encode().into();
        Verified(Arc::new(VerifiedParts { tx: Arc::new(self.tx), hash: self.hash, sender, sender_key, bytes }))
    }
}

/// The account of each signer, hashed together.
fn senders(pending: &[Pending], keys: &[Option<[u8; 64]>]) -> Vec<Option<Address>> {
    let mut senders = vec![None; pending.len()];
    for suite in [CryptoSuite::Sm, CryptoSuite::Std] {
        let signed = pending.iter().zip(keys).enumerate().filter(|(_, (one, _))| one.suite == suite);
        let (places, found): (Vec<usize>, Vec<&[u8; 64]>) =
            signed.filter_map(|(place, (_, key))| Some((place, key.as_ref()?))).unzip();
        for (place, address) in places.into_iter().zip(suite.address_many(&found)) {
            senders[place] = Some(address);
        }
    }
    senders
}

/// The signer of each, where the signature holds.
fn signers(pending: &[Pending], tables: Option<&sm2::Registry>) -> Vec<Option<[u8; 64]>> {
    let (places, items): (Vec<usize>, Vec<sm2::VerifyItem<'_>>) = pending
        .iter()
        .enumerate()
        .filter(|(_, one)| one.suite == CryptoSuite::Sm)
        .filter_map(|(index, one)| {
            let CheckItem { key, message, signature } = one.check_item();
            let key = key?;
            let table = tables.and_then(|tables| tables.lookup(key));
            let key = table.map_or(sm2::KeyRef::Raw(key), sm2::KeyRef::Registered);
            Some((index, sm2::VerifyItem { key, message, signature }))
        })
        .unzip();
    let mut verdicts = vec![false; items.len()];
    sm2::verify_batch(&items, &mut verdicts);

    let mut keys: Vec<Option<[u8; 64]>> = vec![None; pending.len()];
    for (index, verdict) in places.into_iter().zip(verdicts) {
        keys[index] = pending[index].tx.sender_key().copied().filter(|_| verdict);
    }
    for (key, one) in keys.iter_mut().zip(pending).filter(|(_, one)| one.suite == CryptoSuite::Std) {
        *key = recover(&one.hash, &one.tx.signature);
    }
    keys
}

/// secp256k1 public key recovery; any value out of range is `None`.
pub(crate) fn recover(hash: &H256, signature: &[u8]) -> Option<[u8; 64]> {
    let (recovery, compact) = signature.split_last()?;
    let recovery = RecoveryId::try_from(i32::from(*recovery)).ok()?;
    let signature = RecoverableSignature::from_compact(compact, recovery).ok()?;
    let key = SECP256K1.recover_ecdsa(Message::from_digest(hash.0), &signature).ok()?;
    key.serialize_uncompressed().last_chunk().copied()
}

fn signature_bytes(suite: CryptoSuite) -> usize {
    match suite {
        CryptoSuite::Sm => SM2_SIGNATURE_BYTES,
        CryptoSuite::Std => SECP256K1_SIGNATURE_BYTES,
    }
}

impl Transaction {
    /// The account that signed, read from the signature *without* checking it: for transactions that were verified before they
    /// were stored. `None` when the signature cannot name one.
    pub fn signer_unchecked(&self, suite: CryptoSuite) -> Option<Address> {
        let key = match suite {
            CryptoSuite::Sm => *self.sender_key()?,
            CryptoSuite::Std => recover(&self.hash(suite), &self.signature)?,
        };
        Some(suite.address(&key))
    }
}

/// Signing, for clients and tests.
impl Transaction {
    /// Signs with SM2 as FISCO BCOS SDKs do: the 32-byte hash is the message, the ID is the default one, the key is appended.
    pub fn sign_sm(&mut self, key: &sm2::PrivateKey, rng: &mut dyn bixi_accel::Random) -> Result<(), sm2::SignError> {
        let hash = self.hash(CryptoSuite::Sm);
        let signature = sm2::sign(key, sm2::DEFAULT_ID, &hash.0, rng)?;
        self.signature = [signature.0, key.public_key().to_bytes()].concat();
        Ok(())
    }

    /// Signs with secp256k1, deterministically (RFC 6979).
    pub fn sign_std(&mut self, key: &secp256k1::SecretKey) {
        let hash = self.hash(CryptoSuite::Std);
        let signature = Secp256k1::signing_only().sign_ecdsa_recoverable(Message::from_digest(hash.0), key);
        let (recovery, compact) = signature.serialize_compact();
        self.signature = compact.to_vec();
        self.signature.push(i32::from(recovery) as u8);
    }
}

#[cfg(test)]
mod tests;
