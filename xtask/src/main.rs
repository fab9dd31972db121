//! What a contributor runs: `cargo xtask COMMAND`.

mod bench;
mod goldens;
mod gpu_check;
mod sanitize;
mod smoke;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

commands:
  bench [--torch] [--only NAME] ...  time every row of work, with --torch beside PyTorch (bench --help)
  goldens [--only NAME[,NAME...]]   ask PyTorch (python3 with torch) for what the operations must give
  gpu-check [--data-dir DIR] ...    operations, training, a memory checker and the benchmark on this
                                    machine's GPU (gpu-check --help)
  sanitize                          the runtime's and the core's tests under AddressSanitizer
  smoke                             a short training run; fails unless the accuracy rises";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("bench") => bench::run(&args[1..]),
        Some("goldens") => goldens::run(&args[1..]),
        Some("gpu-check") => gpu_check::run(&args[1..]),
        Some("sanitize") => sanitize::run(),
        Some("smoke") => smoke::run(),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
