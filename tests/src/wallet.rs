//! A client's side: signed transactions for the system contracts.

use bixi_accel::sm2::PrivateKey;
use bixi_accel::{Random, RandomError};
use bixi_types::abi::{self, Argument};
use bixi_types::transaction::Transaction;
use bixi_types::{Address, CryptoSuite, EvmHash};

/// Bytes of SplitMix64 from a seed: a failing test repeats.
pub struct Seeded(pub u64);

impl Seeded {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.fill(&mut bytes).expect("a seeded generator does not fail");
        bytes
    }
}

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.word().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// An account.
pub struct Wallet {
    key: PrivateKey,
    random: Seeded,
}

impl Wallet {
    /// The account of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Seeded(seed);
        Self { key: PrivateKey::generate(&mut random).expect("a seeded generator is not stuck"), random }
    }

    /// Its address in suite `sm`.
    pub fn address(&self) -> Address {
        CryptoSuite::Sm.address(&self.key.public_key().to_bytes())
    }

    /// Signs, in place of any signature before.
    pub fn sign(&mut self, mut transaction: Transaction) -> Transaction {
        transaction.sign_sm(&self.key, &mut self.random).expect("signs");
        transaction
    }

    /// A signed `userAdd(name, balance)` of the DagTransfer system contract, for a chain whose contracts see keccak256.
    pub fn user_add(&mut self, name: &str, balance: u64, block_limit: i64) -> Transaction {
        let arguments = [Argument::Text(name), Argument::Number(balance.into())];
        self.call(0x100c, "userAdd(string,uint256)", &arguments, block_limit)
    }

    /// A signed call of the system contract at that address, for a chain whose contracts see keccak256.
    pub fn call(
        &mut self,
        contract: u16,
        signature: &str,
        arguments: &[Argument<'_>],
        block_limit: i64,
    ) -> Transaction {
        self.call_data(contract, abi::call(EvmHash::Keccak256, signature, arguments), block_limit)
    }

    /// A signed transaction with that call data for the system contract at that address.
    pub fn call_data(&mut self, contract: u16, input: Vec<u8>, block_limit: i64) -> Transaction {
        let transaction = Transaction {
            chain_id: "chain0".into(),
            group_id: "group0".into(),
            block_limit,
            nonce: format!("{}{}", self.random.word(), self.random.word()),
            to: format!("0x{contract:040x}"),
            input,
            ..Transaction::default()
        };
        self.sign(transaction)
    }
}
