//! Receipts: fields, tars codec, hash, logs bloom.
//!
//! ```text
//! H( i32 version ‖ gasUsed ‖ contractAddress ‖ i32 status ‖ output [version ≥ 1: ‖ effectiveGasPrice]
//!    ‖ per log: address ‖ topics ‖ data ‖ i64 blockNumber )
//! ```
//!
//! `message` is not hashed. The numbers are decimal strings and addresses hexadecimal strings, hashed as text.

use crate::limits::{RECEIPT_BYTES_MAX, RECEIPT_LOGS_MAX};
use crate::status::Status;
use crate::tars::{DecodeError, Head, Reader, Writer};
use crate::{CryptoSuite, EvmHash, H256};

/// Bytes of a logs bloom.
pub const BLOOM_BYTES: usize = 256;

/// Topics a log can have.
const TOPICS_MAX: usize = 4;

/// An event of a contract.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogEntry {
    /// The contract, 40 hexadecimal digits without prefix.
    pub address: String,
    /// Up to four topics.
    pub topics: Vec<H256>,
    /// The event's data.
    pub data: Vec<u8>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Encoding version, that of the transaction.
    pub version: i32,
    /// Gas used, decimal.
    pub gas_used: String,
    /// Address of the contract it created, hexadecimal; empty for calls.
    pub contract_address: String,
    /// A [`Status`] code.
    pub status: i32,
    /// What the call returned.
    pub output: Vec<u8>,
    /// Events.
    pub log_entries: Vec<LogEntry>,
    /// Height of its block.
    pub block_number: i64,
    /// Price paid for gas, hexadecimal (version 1).
    pub effective_gas_price: String,
    /// Text for people; not hashed.
    pub message: String,
}

/// The numbers of a receipt, as they are hashed.
struct Numbers {
    version: [u8; 4],
    status: [u8; 4],
    block_number: [u8; 8],
}

impl Receipt {
    /// Hash of everything but `message`.
    pub fn hash(&self, suite: CryptoSuite) -> H256 {
        suite.hash(&self.image(&self.numbers()))
    }

    /// [`Self::hash`] of many: much faster than one by one.
    pub fn hash_many(suite: CryptoSuite, receipts: &[Self]) -> Vec<H256> {
        let numbers: Vec<Numbers> = receipts.iter().map(Self::numbers).collect();
        let images: Vec<_> = receipts.iter().zip(&numbers).map(|(receipt, numbers)| receipt.image(numbers)).collect();
        suite.hash_many(&images)
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            version: self.version.to_be_bytes(),
            status: self.status.to_be_bytes(),
            block_number: self.block_number.to_be_bytes(),
        }
    }

    /// The parts whose concatenation is hashed.
    fn image<'a>(&'a self, numbers: &'a Numbers) -> Vec<&'a [u8]> {
        let mut parts: Vec<&[u8]> = vec![
            &numbers.version,
            self.gas_used.as_bytes(),
            self.contract_address.as_bytes(),
            &numbers.status,
            &self.output,
        ];
        if self.version >= 1 {
            parts.push(self.effective_gas_price.as_bytes());
        }
        for log in &self.log_entries {
            parts.push(log.address.as_bytes());
            parts.extend(log.topics.iter().map(|topic| topic.0.as_slice()));
            parts.push(&log.data);
        }
        parts.push(&numbers.block_number);
        parts
    }

    /// The status by name, when it is a known one.
    pub fn status_name(&self) -> Option<Status> {
        Status::from_code(self.status)
    }

    /// The 2048-bit bloom over addresses and topics of its logs, three bits each (Ethereum yellow paper 4.3.1).
    ///
    /// Addresses enter as their 20 bytes; one that is not 40 hexadecimal digits enters as its text.
    pub fn bloom(&self, hash: EvmHash) -> [u8; BLOOM_BYTES] {
        let mut bloom = [0; BLOOM_BYTES];
        for log in &self.log_entries {
            match log.address.parse::<crate::Address>() {
                Ok(address) => accrue(&mut bloom, hash, &address.0),
                Err(_) => accrue(&mut bloom, hash, log.address.as_bytes()),
            }
            for topic in &log.topics {
                accrue(&mut bloom, hash, &topic.0);
            }
        }
        bloom
    }

    /// Reads one whole tars message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            let found = bytes.len() as u64;
            return Err(DecodeError::TooLarge { what: "receipt", found, limit: RECEIPT_BYTES_MAX });
        }
        let mut receipt = Self::default();
        Reader::new(bytes).message(|reader, head| receipt.read_field(reader, head))?;
        Ok(receipt)
    }

    /// The canonical encoding. FISCO BCOS's `dataHash`, bloom and indices can be recomputed and are left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(128 + self.output.len());
        self.write_fields(&mut writer);
        writer.finish()
    }

    pub(crate) fn read_field(&mut self, reader: &mut Reader<'_>, head: Head) -> Result<(), DecodeError> {
        match head.tag {
            1 => reader.structure(head, |reader, head| self.read_data_field(reader, head))?,
            3 => self.message = reader.string(head, "message")?,
            _ => reader.skip(head)?,
        }
        Ok(())
    }

    fn read_data_field(&mut self, reader: &mut Reader<'_>, head: Head) -> Result<(), DecodeError> {
        match head.tag {
            1 => self.version = reader.int_as(head, "version")?,
            2 => self.gas_used = reader.string(head, "gasUsed")?,
            3 => self.contract_address = reader.string(head, "contractAddress")?,
            4 => self.status = reader.int_as(head, "status")?,
            5 => self.output = reader.bytes(head, "output")?.to_vec(),
            6 => self.log_entries = reader.list(head, "logEntries", RECEIPT_LOGS_MAX, LogEntry::read)?,
            7 => self.block_number = reader.int(head, "blockNumber")?,
            8 => self.effective_gas_price = reader.string(head, "effectiveGasPrice")?,
            _ => reader.skip(head)?,
        }
        Ok(())
    }

    pub(crate) fn write_fields(&self, writer: &mut Writer) {
        writer.structure(1, |data| {
            data.int_always(1, i64::from(self.version));
            data.string(2, &self.gas_used);
            data.string(3, &self.contract_address);
            data.int(4, i64::from(self.status));
            data.bytes(5, &self.output);
            data.list(6, &self.log_entries, |list, log| log.write(list));
            data.int(7, self.block_number);
            data.string(8, &self.effective_gas_price);
        });
        writer.string(3, &self.message);
    }
}

impl LogEntry {
    fn read(reader: &mut Reader<'_>, head: Head) -> Result<Self, DecodeError> {
        let mut log = Self::default();
        reader.structure(head, |reader, head| {
            match head.tag {
                1 => log.address = reader.string(head, "log address")?,
                2 => {
                    log.topics = reader.list(head, "log topics", TOPICS_MAX, |reader, head| {
                        reader.fixed(head, "log topic").map(H256)
                    })?;
                }
                3 => log.data = reader.bytes(head, "log data")?.to_vec(),
                _ => reader.skip(head)?,
            }
            Ok(())
        })?;
        Ok(log)
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(0, |entry| {
            entry.string(1, &self.address);
            entry.list(2, &self.topics, |list, topic| list.bytes_always(0, &topic.0));
            entry.bytes(3, &self.data);
        });
    }
}

fn accrue(bloom: &mut [u8; BLOOM_BYTES], hash: EvmHash, item: &[u8]) {
    let digest = hash.hash(&[item]);
    for pair in digest.0[..6].chunks_exact(2) {
        let bit = usize::from(u16::from_be_bytes([pair[0], pair[1]]) & 0x7ff);
        bloom[BLOOM_BYTES - 1 - bit / 8] |= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests;
