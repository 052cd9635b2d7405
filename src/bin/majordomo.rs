//! The command `majordomo`.
fn main() {}
