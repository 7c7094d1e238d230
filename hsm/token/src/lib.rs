//! bixi-hsm-token.
