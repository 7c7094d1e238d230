//! Why an escrow was not made, or a share was not taken.

use bixi_sealed::passphrase::WrapError;

use crate::record::{NAME_BYTES_MAX, OFFICERS_MAX};

/// Every error names the share or the line, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EscrowError {
    /// A wish that is no escrow.
    #[error(
        "an escrow of {threshold} of {officers} cannot be: 2 to {OFFICERS_MAX} officers, and a threshold of 2 up to their number"
    )]
    Shape {
        /// Shares that recover.
        threshold: usize,
        /// Shares given out.
        officers: usize,
    },
    /// An officer's name that no record can hold.
    #[error(
        "the officer's name {0:?} is taken twice, is empty, has control characters or more than {NAME_BYTES_MAX} bytes"
    )]
    Name(String),
    /// A line of a document is not what was printed.
    #[error("line {line} of the share: {reason}; compare it with the printed page")]
    Line {
        /// Its number, as printed at its beginning.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The document as a whole is not one.
    #[error("this is no share: {0}")]
    Document(String),
    /// A share of another escrow.
    #[error(
        "share {index} is of escrow {found}, and this vault's escrow is {expected}: it belongs to another node, or to an escrow that \
         was replaced"
    )]
    Foreign {
        /// Its number.
        index: u8,
        /// The escrow it names.
        found: String,
        /// The escrow that is looked for.
        expected: String,
    },
    /// A share that is not the one given out.
    #[error(
        "share {index} ({officer}) is not the one that was given out: it was altered or forged. The other shares are not touched by \
         that; ask another officer, and find out what became of this one"
    )]
    Forged {
        /// Its number.
        index: u8,
        /// Who was given it.
        officer: String,
    },
    /// The same share again.
    #[error("share {index} ({officer}) was given already; ask another officer")]
    Repeated {
        /// Its number.
        index: u8,
        /// Who was given it.
        officer: String,
    },
    /// Not enough.
    #[error("{given} of {threshold} shares: {missing} more needed, of {others}")]
    TooFew {
        /// Shares that fit.
        given: usize,
        /// Shares needed.
        threshold: usize,
        /// The difference.
        missing: usize,
        /// Who has the others.
        others: String,
    },
    /// A sealed share without its passphrase, or with a wrong one.
    #[error("share {index}: {source}")]
    Sealed {
        /// Its number.
        index: u8,
        /// Why it did not open.
        source: WrapError,
    },
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(std::io::Error),
}
