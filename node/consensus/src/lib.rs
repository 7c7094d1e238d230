//! bixi-consensus.
