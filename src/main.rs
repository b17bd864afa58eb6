//! Arguments to `cli`.
fn main() {}
