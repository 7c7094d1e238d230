//! bixi-tests.
