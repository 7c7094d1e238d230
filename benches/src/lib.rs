//! bixi-benches.
