//! Arguments, configuration, run; nothing else.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// An event on its way is some hundred small allocations, made in one thread and freed in another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    factline::cli::main()
}
