//! FISCO BCOS's transaction status codes: below 10000 a receipt's `status`, from 10000 on the code of a refused submission.

use std::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)+) => {
        /// A status code with its FISCO BCOS name.
        #[repr(i32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Status {
            $($(#[$doc])* $name = $code,)+
        }

        impl Status {
            /// Every status, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// FISCO BCOS's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

statuses! {
    /// Executed.
    None = 0,
    /// Not classified.
    Unknown = 1,
    /// The transaction asks for more gas than allowed.
    OutOfGasLimit = 2,
    /// The balance does not cover the value.
    NotEnoughCash = 7,
    /// An opcode that does not exist.
    BadInstruction = 10,
    /// A jump to a place that is no jump destination.
    BadJumpDestination = 11,
    /// Out of gas.
    OutOfGas = 12,
    /// EVM stack overflow.
    OutOfStack = 13,
    /// EVM stack underflow.
    StackUnderflow = 14,
    /// A system or precompiled contract refused.
    PrecompiledError = 15,
    /// The contract reverted; the output says why.
    RevertInstruction = 16,
    /// The address of the new contract is taken.
    ContractAddressAlreadyUsed = 17,
    /// The sender may not do this.
    PermissionDenied = 18,
    /// The called address has no contract.
    CallAddressError = 19,
    /// Gas arithmetic overflowed.
    GasOverflow = 20,
    /// The contract is frozen.
    ContractFrozen = 21,
    /// The account is frozen.
    AccountFrozen = 22,
    /// The account is abolished.
    AccountAbolished = 23,
    /// The contract is abolished.
    ContractAbolished = 24,
    /// The nonce was used already.
    NonceCheckFail = 10000,
    /// `blockLimit` has passed or is too far ahead.
    BlockLimitCheckFail = 10001,
    /// The pool is full; try again later.
    TxPoolIsFull = 10002,
    /// Not a canonical transaction.
    Malformed = 10003,
    /// The pool holds this transaction.
    AlreadyInTxPool = 10004,
    /// A block holds this transaction.
    TxAlreadyInChain = 10005,
    /// Made for another chain.
    InvalidChainId = 10006,
    /// Made for another group.
    InvalidGroupId = 10007,
    /// The signature is wrong.
    InvalidSignature = 10008,
    /// The request is for another group.
    RequestNotBelongToTheGroup = 10009,
    /// Not committed in time; it may still be.
    TransactionPoolTimeout = 10010,
    /// The pool holds this transaction and the caller waits for it.
    AlreadyInTxPoolAndAccept = 10011,
    /// The value does not fit 256 bits.
    OverFlowValue = 10012,
    /// The init code is too large.
    MaxInitCodeSizeExceeded = 10013,
    /// The sender is a contract.
    SenderNoEOA = 10014,
    /// The balance does not cover gas and value.
    InsufficientFunds = 10015,
}

impl Status {
    /// The number on the wire.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The status of a number.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| *status as i32 == code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_resolve() {
        assert!(Status::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(*status));
        }
        assert_eq!(Status::from_code(10016), None);
        assert_eq!(Status::InvalidSignature.to_string(), "InvalidSignature (10008)");
    }
}
