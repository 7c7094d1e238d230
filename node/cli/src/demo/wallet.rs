//! Client accounts: SM2 keys made for the load and forgotten after it.

use std::sync::atomic::{AtomicU64, Ordering};

use bixi_accel::sm2::PrivateKey;
use bixi_accel::{Random, RandomError};
use bixi_runtime::process::OsRandom;
use bixi_types::transaction::Transaction;
use bixi_types::{Address, CryptoSuite, H256};

/// How far above the known height a transaction may still be executed.
const BLOCK_LIMIT_AHEAD: u64 = 500;

/// The operating system's randomness, as accel takes it.
#[derive(Clone, Copy)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        OsRandom.fill(out).map_err(|error| RandomError::new(error.to_string()))
    }
}

/// The chain a transaction is for, and how far it is known to have come.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) chain_id: String,
    pub(crate) group_id: String,
    height: AtomicU64,
}

impl Chain {
    pub(crate) fn new(chain_id: &str, group_id: &str, height: u64) -> Self {
        Self { chain_id: chain_id.into(), group_id: group_id.into(), height: AtomicU64::new(height) }
    }

    /// Notes a height that a receipt named.
    pub(crate) fn saw(&self, height: u64) {
        self.height.fetch_max(height, Ordering::Relaxed);
    }
}

/// What a transaction does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Action {
    /// `None` deploys.
    pub(crate) to: Option<Address>,
    pub(crate) input: Vec<u8>,
    pub(crate) abi: String,
    pub(crate) extra_data: String,
}

/// A signed transaction, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) hash: H256,
    pub(crate) hex: String,
}

/// One account.
pub(crate) struct Wallet {
    key: PrivateKey,
    public_key: [u8; 64],
}

impl Wallet {
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let key = PrivateKey::generate(&mut SystemRandom)?;
        let public_key = key.public_key().to_bytes();
        Ok(Self { key, public_key })
    }

    pub(crate) fn address(&self) -> Address {
        CryptoSuite::Sm.address(&self.public_key)
    }

    /// Signs `action` for `chain` with a fresh random nonce.
    pub(crate) fn sign(&self, chain: &Chain, action: Action) -> anyhow::Result<Signed> {
        let nonce = u128::from_be_bytes(OsRandom.array()?);
        let mut transaction = Transaction {
            chain_id: chain.chain_id.clone(),
            group_id: chain.group_id.clone(),
            block_limit: (chain.height.load(Ordering::Relaxed) + BLOCK_LIMIT_AHEAD) as i64,
            nonce: nonce.to_string(),
            to: action.to.map(|address| address.to_string()).unwrap_or_default(),
            input: action.input,
            abi: action.abi,
            extra_data: action.extra_data,
            ..Transaction::default()
        };
        let hash = transaction.hash(CryptoSuite::Sm);
        transaction.sign_sm(&self.key, &mut SystemRandom)?;
        Ok(Signed { hash, hex: format!("0x{}", hex::encode(transaction.encode())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bixi_types::transaction::{ChainIdentity, verify};

    #[test]
    fn a_signed_transaction_is_one_a_node_takes() {
        let (wallet, chain) = (Wallet::generate().unwrap(), Chain::new("chain0", "group0", 7));
        let action = Action { to: Some(Address([1; 20])), input: vec![1, 2, 3, 4], ..Action::default() };
        let signed = wallet.sign(&chain, action).unwrap();
        let transaction = Transaction::decode(&hex::decode(&signed.hex[2..]).unwrap()).unwrap();
        let identity = ChainIdentity { chain_id: "chain0".into(), group_id: "group0".into() };
        let verified = verify(CryptoSuite::Sm, &identity, transaction).unwrap();
        assert_eq!(verified.hash, signed.hash);
        assert_eq!(verified.sender, wallet.address());
    }
}
