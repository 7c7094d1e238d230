//! bixi-txpool.
