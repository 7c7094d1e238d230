//! bixi-execution.
