//! Arguments, configuration, run; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    factline::cli::main()
}
