//! A short training run that fails unless the accuracy rises.

use std::path::Path;
use std::process::Command;

type Failure = Box<dyn std::error::Error>;

/// Trains two epochs on the embedded pictures through the command, as a user would.
pub fn run() -> Result<(), Failure> {
    let out = std::env::temp_dir().join(format!("flambeau-smoke-{}", std::process::id()));
    let result = train(&out);
    // What is left of a failed run lies in the system's folder for such things.
    let _ = std::fs::remove_dir_all(&out);
    result
}

fn train(out: &Path) -> Result<(), Failure> {
    let summary = out.join("summary.json");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "flambeau-cli",
            "--",
        ])
        .args(["train", "--dataset", "sample", "--epochs", "2", "--out"])
        .arg(out)
        .arg("--summary")
        .arg(&summary)
        .status()?;
    if !status.success() {
        return Err(format!("training ended with {status}").into());
    }
    let summary: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&summary)?)?;
    let by_epoch: Vec<f64> = summary["accuracy_by_epoch"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    // Guessing gives 0.1; two epochs over this set give 0.75 and more.
    match by_epoch[..] {
        [first, second] if first > 0.4 && second > first => {
            println!("accuracy rose to {first:.3} and {second:.3}");
            Ok(())
        }
        _ => Err(format!("the accuracy did not rise as it should: {by_epoch:?}").into()),
    }
}
