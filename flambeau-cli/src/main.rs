//! The `flambeau` command: trains the tutorial's network, tests it, looks at pictures with it, and
//! says what the machine offers.
#![forbid(unsafe_code)]

/// Prints a line. A reader that went away (`flambeau train | head`) ends nothing: `println!`
/// would panic.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

/// As `say!`, to the standard error.
macro_rules! complain {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}

mod args;
mod doctor;
mod evaluate;
mod pictures;
mod predict;
mod run;
mod saved;
mod train;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// Whatever ends a command, said in one line.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the user reads of a failure: the lines of this program's source that a library's error
/// carries are of no use to them. One line, also where a library lists on several.
pub(crate) fn reason(failure: &Failure) -> String {
    let text = match failure.downcast_ref::<flambeau::Error>() {
        Some(e) => match std::error::Error::source(e).map(ToString::to_string) {
            Some(source) if !e.message().contains(&source) => {
                format!("{}: {source}", e.message())
            }
            _ => e.message().to_owned(),
        },
        None => failure.to_string(),
    };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.join("; ").replace(":; ", ": ")
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Train(args) => train::train(&args),
        Command::Test(args) => evaluate::test(&args),
        Command::Predict(args) => predict::predict(&args),
        Command::Doctor => {
            doctor::doctor();
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain!("flambeau: {}", reason(&failure));
            ExitCode::FAILURE
        }
    }
}
