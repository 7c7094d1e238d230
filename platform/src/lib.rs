//! bixi-platform.
