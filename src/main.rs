//! Arguments to `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgweir::cli::main()
}
