//! bixi-cipherfs.
