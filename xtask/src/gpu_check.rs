//! What a machine with a GPU has to show: every operation on both devices in every type, training, a
//! memory checker's run; one table at the end.

use std::process::Command;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

/// Runs every step, whatever the ones before gave.
pub fn run() -> Result<(), Failure> {
    if !flambeau_core::cuda::is_available() {
        let found = flambeau_core::cuda::report().join("\n  ");
        return Err(format!("there is no CUDA device here:\n  {found}").into());
    }
    for line in flambeau_core::cuda::report() {
        println!("{line}");
    }
    let test = |package| ["test", "--release", "-p", package, "--test", "it", "cuda"];
    let train = [
        "run",
        "--release",
        "-p",
        "flambeau-cli",
        "--",
        "train",
        "--dataset",
        "sample",
    ];
    let steps: [(&str, Vec<&str>); 4] = [
        ("operations, every type", test("flambeau-core").to_vec()),
        ("layers and optimizers", test("flambeau-nn").to_vec()),
        (
            "training",
            [&train[..], &["--device", "cuda", "--epochs", "2"]].concat(),
        ),
        (
            "the tutorial",
            vec![
                "run",
                "--release",
                "--example",
                "tutorial",
                "-p",
                "flambeau",
            ],
        ),
    ];
    let mut table = Vec::new();
    for (what, args) in &steps {
        println!("\n== {what}");
        table.push((
            *what,
            timed(cargo().args(args).env("FLAMBEAU_CUDA_DTYPES", "all")),
        ));
    }
    println!("\n== memory checker");
    table.push(("memory checker", checked()));
    println!();
    for (what, outcome) in &table {
        println!("{what:<24} {outcome}");
    }
    match table
        .iter()
        .all(|(_, outcome)| !outcome.starts_with("failed"))
    {
        true => Ok(()),
        false => Err("not all steps passed".into()),
    }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn timed(command: &mut Command) -> String {
    let start = Instant::now();
    match command.status() {
        Ok(status) if status.success() => {
            format!("passed in {:.1} s", start.elapsed().as_secs_f64())
        }
        Ok(status) => format!("failed: {status}"),
        Err(e) => format!("failed: {e}"),
    }
}

/// The layers' tests under compute-sanitizer, which comes with a CUDA toolkit.
fn checked() -> String {
    if Command::new("compute-sanitizer")
        .arg("--version")
        .output()
        .is_err()
    {
        return "skipped: there is no compute-sanitizer".into();
    }
    let runner = "compute-sanitizer --error-exitcode 1 --target-processes all";
    let variable = format!(
        "CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER",
        std::env::consts::ARCH.to_uppercase()
    );
    let mut command = cargo();
    command.args([
        "test",
        "--release",
        "-p",
        "flambeau-nn",
        "--test",
        "it",
        "cuda",
    ]);
    timed(command.env(variable, runner))
}
