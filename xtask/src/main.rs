//! What a contributor runs: `cargo xtask COMMAND`.

mod goldens;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

commands:
  goldens [--only NAME[,NAME...]]   ask PyTorch (python3 with torch) for what the operations must give";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("goldens") => goldens::run(&args[1..]),
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
