//! bixi-runtime.
