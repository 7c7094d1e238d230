//! bixi-config.
