//! Arguments → one subcommand.

fn main() {}
