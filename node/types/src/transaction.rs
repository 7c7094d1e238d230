//! Transactions as FISCO BCOS 3.x SDKs send them: fields, tars codec, hash.
//!
//! The hash covers the signed fields only and has no length prefixes:
//!
//! ```text
//! i32 version ‖ chainID ‖ groupID ‖ i64 blockLimit ‖ nonce ‖ to ‖ input ‖ abi
//!   [version ≥ 1: ‖ value ‖ gasPrice ‖ i64 gasLimit ‖ maxFeePerGas ‖ maxPriorityFeePerGas]
//!   [version ≥ 2: ‖ extension]
//! ```
//!
//! so one signature can fit several cuts into fields; [`grammar`] admits exactly one of them. Signature, `extraData`,
//! `importTime`, `attribute` and the kind are outside the hash. What the wire says about hash and sender is never believed:
//! [`Transaction::encode`] leaves those fields out and [`verify`] recomputes them.

pub mod grammar;
mod image;
mod verification;

pub use grammar::GrammarError;
pub(crate) use verification::recover;
pub use verification::{
    ChainIdentity, CheckItem, Pending, SECP256K1_SIGNATURE_BYTES, SM2_SIGNATURE_BYTES, TransactionError, Verified,
    VerifiedParts, prepare, prepare_many, verify,
};

use crate::limits::TRANSACTION_BYTES_MAX;
use crate::tars::{DecodeError, Head, Reader, Writer};

/// A transaction of FISCO BCOS's own kind.
pub const KIND_BCOS: u8 = 0;
/// An Ethereum transaction carried in `extra_transaction_bytes`.
pub const KIND_WEB3: u8 = 1;

/// One transaction, field by field; nothing in it has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Version of the signed data: 0, 1 or 2.
    pub version: i32,
    /// Chain it is made for.
    pub chain_id: String,
    /// Group it is made for.
    pub group_id: String,
    /// Last height at which it may be executed.
    pub block_limit: i64,
    /// Unique among the sender's recent transactions.
    pub nonce: String,
    /// Contract or account, as the SDK wrote it; empty deploys.
    pub to: String,
    /// Call data or init code.
    pub input: Vec<u8>,
    /// ABI of the deployed contract; empty for calls.
    pub abi: String,
    /// Amount to transfer, hexadecimal (version 1).
    pub value: String,
    /// Price of gas, hexadecimal (version 1).
    pub gas_price: String,
    /// Limit of gas (version 1).
    pub gas_limit: i64,
    /// EIP-1559 fee cap, hexadecimal (version 1).
    pub max_fee_per_gas: String,
    /// EIP-1559 tip, hexadecimal (version 1).
    pub max_priority_fee_per_gas: String,
    /// Free bytes of the application (version 2).
    pub extension: Vec<u8>,
    /// Hash as the sender claims it; empty when absent. Compared, never believed, never re-encoded.
    pub declared_hash: Vec<u8>,
    /// `r ‖ s ‖ X ‖ Y` (SM2, 128 bytes) or `r ‖ s ‖ v` (secp256k1, 65 bytes).
    pub signature: Vec<u8>,
    /// When some node took it, as that node claims. Never re-encoded.
    pub import_time: i64,
    /// Flags as some node claims them. Never re-encoded.
    pub attribute: i32,
    /// Free text of the application, outside the hash.
    pub extra_data: String,
    /// [`KIND_BCOS`] or [`KIND_WEB3`].
    pub kind: u8,
    /// The signing payload of an Ethereum transaction.
    pub extra_transaction_bytes: Vec<u8>,
}

impl Transaction {
    /// Reads one whole tars message of at most [`TRANSACTION_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            let found = bytes.len() as u64;
            return Err(DecodeError::TooLarge { what: "transaction", found, limit: TRANSACTION_BYTES_MAX });
        }
        let mut transaction = Self::default();
        Reader::new(bytes).message(|reader, head| transaction.read_field(reader, head))?;
        Ok(transaction)
    }

    /// The canonical encoding: the same transaction always gives the same bytes, and the fields a wire can only claim (hash,
    /// sender, import time, attribute) are absent.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(512 + self.input.len() + self.abi.len());
        self.write_fields(&mut writer);
        writer.finish()
    }

    /// Refuses a transaction whose signed bytes could be cut into other fields, or whose fields are not as SDKs write them.
    pub fn check_canonical(&self) -> Result<(), GrammarError> {
        grammar::check(self)
    }

    /// The public key X ‖ Y that an SM2 signature carries; `None` when the signature has another length.
    pub fn sender_key(&self) -> Option<&[u8; 64]> {
        let signature: &[u8; 128] = self.signature.as_slice().try_into().ok()?;
        signature.last_chunk()
    }

    pub(crate) fn read_field(&mut self, reader: &mut Reader<'_>, head: Head) -> Result<(), DecodeError> {
        match head.tag {
            1 => reader.structure(head, |reader, head| self.read_data_field(reader, head))?,
            2 => self.declared_hash = reader.bytes(head, "dataHash")?.to_vec(),
            3 => self.signature = reader.bytes(head, "signature")?.to_vec(),
            4 => self.import_time = reader.int(head, "importTime")?,
            5 => self.attribute = reader.int_as(head, "attribute")?,
            8 => self.extra_data = reader.string(head, "extraData")?,
            9 => self.kind = reader.int_as(head, "type")?,
            10 => self.extra_transaction_bytes = reader.bytes(head, "extraTransactionBytes")?.to_vec(),
            // 7 sender and 11 extraTransactionHash are claims; 6 was removed upstream.
            _ => reader.skip(head)?,
        }
        Ok(())
    }

    fn read_data_field(&mut self, reader: &mut Reader<'_>, head: Head) -> Result<(), DecodeError> {
        match head.tag {
            1 => self.version = reader.int_as(head, "version")?,
            2 => self.chain_id = reader.string(head, "chainID")?,
            3 => self.group_id = reader.string(head, "groupID")?,
            4 => self.block_limit = reader.int(head, "blockLimit")?,
            5 => self.nonce = reader.string(head, "nonce")?,
            6 => self.to = reader.string(head, "to")?,
            7 => self.input = reader.bytes(head, "input")?.to_vec(),
            8 => self.abi = reader.string(head, "abi")?,
            9 => self.value = reader.string(head, "value")?,
            10 => self.gas_price = reader.string(head, "gasPrice")?,
            11 => self.gas_limit = reader.int(head, "gasLimit")?,
            12 => self.max_fee_per_gas = reader.string(head, "maxFeePerGas")?,
            13 => self.max_priority_fee_per_gas = reader.string(head, "maxPriorityFeePerGas")?,
            14 => self.extension = reader.bytes(head, "extension")?.to_vec(),
            _ => reader.skip(head)?,
        }
        Ok(())
    }

    pub(crate) fn write_fields(&self, writer: &mut Writer) {
        writer.structure(1, |data| {
            data.int(1, i64::from(self.version));
            data.string(2, &self.chain_id);
            data.string(3, &self.group_id);
            data.int(4, self.block_limit);
            data.string(5, &self.nonce);
            data.string(6, &self.to);
            data.bytes(7, &self.input);
            data.string(8, &self.abi);
            data.string(9, &self.value);
            data.string(10, &self.gas_price);
            data.int(11, self.gas_limit);
            data.string(12, &self.max_fee_per_gas);
            data.string(13, &self.max_priority_fee_per_gas);
            data.bytes(14, &self.extension);
        });
        writer.bytes(3, &self.signature);
        writer.string(8, &self.extra_data);
        writer.int(9, i64::from(self.kind));
        writer.bytes(10, &self.extra_transaction_bytes);
    }
}
