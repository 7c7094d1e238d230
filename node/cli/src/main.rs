//! bixi.
fn main() {}
