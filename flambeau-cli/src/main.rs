//! The `flambeau` command: trains the tutorial's network, tests it, looks at pictures with it, and
//! says what the machine offers.
#![forbid(unsafe_code)]

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
            eprintln!("flambeau: {failure}");
            ExitCode::FAILURE
        }
    }
}
