//! bixi-hsm.
