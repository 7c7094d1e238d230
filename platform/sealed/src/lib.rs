//! bixi-sealed.
