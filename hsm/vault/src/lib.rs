//! bixi-hsm-vault.
