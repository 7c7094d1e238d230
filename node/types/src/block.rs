//! A whole block, for storage exports, synchronisation and RPC, in FISCO BCOS's tars shape.

use crate::header::BlockHeader;
use crate::limits::{BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX};
use crate::receipt::Receipt;
use crate::tars::{DecodeError, Head, Reader, Writer};
use crate::transaction::Transaction;

/// A header with its transactions and, where asked for, receipts. Nothing in it has been checked against the header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// Encoding version.
    pub version: i32,
    /// FISCO BCOS's block type: 1 with full transactions, 2 with metadata only.
    pub kind: i32,
    /// The header.
    pub header: BlockHeader,
    /// Transactions in execution order.
    pub transactions: Vec<Transaction>,
    /// Receipts in the same order; empty when not asked for.
    pub receipts: Vec<Receipt>,
}

impl Block {
    /// Reads one whole tars message of at most [`BLOCK_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > BLOCK_BYTES_MAX {
            let found = bytes.len() as u64;
            return Err(DecodeError::TooLarge { what: "block", found, limit: BLOCK_BYTES_MAX });
        }
        let mut block = Self::default();
        Reader::new(bytes).message(|reader, head| block.read_field(reader, head))?;
        Ok(block)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(1024 + self.transactions.len() * 512);
        writer.int(1, i64::from(self.version));
        writer.int(2, i64::from(self.kind));
        writer.structure(3, |header| self.header.write_fields(header));
        writer.list(4, &self.transactions, |list, transaction| {
            list.structure(0, |fields| transaction.write_fields(fields));
        });
        writer.list(5, &self.receipts, |list, receipt| list.structure(0, |fields| receipt.write_fields(fields)));
        writer.finish()
    }

    fn read_field(&mut self, reader: &mut Reader<'_>, head: Head) -> Result<(), DecodeError> {
        match head.tag {
            1 => self.version = reader.int_as(head, "block version")?,
            2 => self.kind = reader.int_as(head, "block type")?,
            3 => reader.structure(head, |reader, head| self.header.read_field(reader, head))?,
            4 => {
                self.transactions = reader.list(head, "transactions", BLOCK_TRANSACTIONS_MAX, |reader, head| {
                    let mut transaction = Transaction::default();
                    reader.structure(head, |reader, head| transaction.read_field(reader, head))?;
                    Ok(transaction)
                })?;
            }
            5 => {
                self.receipts = reader.list(head, "receipts", BLOCK_TRANSACTIONS_MAX, |reader, head| {
                    let mut receipt = Receipt::default();
                    reader.structure(head, |reader, head| receipt.read_field(reader, head))?;
                    Ok(receipt)
                })?;
            }
            _ => reader.skip(head)?,
        }
        Ok(())
    }
}
