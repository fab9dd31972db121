//! What a machine with a GPU has to show: every operation on both devices in every type, training, a
//! memory checker's run, and the time of PyTorch over flambeau's; one table at the end.

mod rows;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: cargo xtask gpu-check [--data-dir DIR] [--skip STEP] ...

  --data-dir DIR   a folder with cifar-10-batches-bin, for the tutorial beside PyTorch's
  --skip STEP      leave a step out: operations, layers, training, tutorial, memory, benchmark";

/// What is run, by the name that `--skip` takes.
const STEPS: [&str; 6] = [
    "operations",
    "layers",
    "training",
    "tutorial",
    "memory",
    "benchmark",
];

/// How a step went, for the table.
pub(crate) struct Outcome {
    what: String,
    text: String,
    failed: bool,
}

impl Outcome {
    fn new(what: impl Into<String>, text: impl Into<String>, failed: bool) -> Outcome {
        Outcome {
            what: what.into(),
            text: text.into(),
            failed,
        }
    }
}

#[derive(Default)]
struct Options {
    data: Option<PathBuf>,
    skip: Vec<String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options, Failure> {
        let mut options = Options::default();
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or(format!("{flag} needs a value\n{USAGE}"));
            match flag.as_str() {
                "--data-dir" => options.data = Some(value()?.into()),
                "--skip" => {
                    let step = value()?.clone();
                    if !STEPS.contains(&step.as_str()) {
                        return Err(format!("there is no step {step}\n{USAGE}").into());
                    }
                    options.skip.push(step);
                }
                other => return Err(format!("unknown option {other}\n{USAGE}").into()),
            }
        }
        Ok(options)
    }
}

/// Runs every step, whatever the ones before gave.
pub fn run(args: &[String]) -> Result<(), Failure> {
    if args.iter().any(|a| a == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let options = Options::parse(args)?;
    available()?;
    for line in flambeau_core::cuda::report() {
        println!("{line}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut table = Vec::new();
    for step in STEPS {
        if options.skip.iter().any(|s| s == step) {
            table.push(Outcome::new(step, "left out", false));
            continue;
        }
        println!("\n== {step}");
        match step {
            "operations" => {
                table.push(timed("operations, every type", &mut tests("flambeau-core")))
            }
            "layers" => table.push(timed("layers, optimizers", &mut tests("flambeau-nn"))),
            "training" => table.extend([training(false), training(true)]),
            "tutorial" => table.push(timed("the tutorial", &mut example())),
            "memory" => table.push(checked()),
            _ => table.extend(
                rows::run(&root, options.data.as_deref()).unwrap_or_else(|e| {
                    vec![Outcome::new("benchmark", format!("failed: {e}"), true)]
                }),
            ),
        }
    }
    println!();
    for outcome in &table {
        println!("{:<40} {}", outcome.what, outcome.text);
    }
    let failed = table.iter().filter(|o| o.failed).count();
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} of {} rows failed or missed their goal", table.len()).into()),
    }
}

/// Says what is missing where there is no GPU to be checked.
fn available() -> Result<(), Failure> {
    let missing = match flambeau_core::cuda::is_available() {
        false => "no CUDA device can be used on this machine",
        // The emulated device would be slow and prove nothing.
        true if std::env::var("FLAMBEAU_CUDA_EMULATE").is_ok_and(|v| v == "1") => {
            "FLAMBEAU_CUDA_EMULATE=1 stands for the device in plain memory"
        }
        true => return Ok(()),
    };
    let found = flambeau_core::cuda::report().join("\n  ");
    Err(format!(
        "gpu-check has not run: {missing}.\n  {found}\nIt needs an NVIDIA GPU (sm_80 or later) with its driver, and NVRTC (pip install nvidia-cuda-nvrtc); for the benchmark also python3 with a torch that finds the GPU, and torchvision; for the memory checker compute-sanitizer, of a CUDA toolkit. Without a GPU, cargo test --workspace runs every kernel on the CPU"
    )
    .into())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A package's tests of devices, in every type.
fn tests(package: &str) -> Command {
    let mut command = cargo();
    command.args(["test", "--release", "-p", package, "--test", "it", "cuda"]);
    command.env("FLAMBEAU_CUDA_DTYPES", "all");
    command
}

/// The command's training loop, step by step or captured.
fn training(graph: bool) -> Outcome {
    let mut command = cargo();
    command.args(["run", "--release", "-p", "flambeau-cli", "--", "train"]);
    command.args(["--dataset", "sample", "--device", "cuda", "--epochs", "2"]);
    if graph {
        command.arg("--graph");
    }
    let how = if graph {
        "training, captured"
    } else {
        "training"
    };
    timed(how, &mut command)
}

fn example() -> Command {
    let mut command = cargo();
    command.args([
        "run",
        "--release",
        "--example",
        "tutorial",
        "-p",
        "flambeau",
    ]);
    command
}

fn timed(what: &str, command: &mut Command) -> Outcome {
    let start = Instant::now();
    match command.status() {
        Ok(status) if status.success() => {
            let text = format!("passed in {:.1} s", start.elapsed().as_secs_f64());
            Outcome::new(what, text, false)
        }
        Ok(status) => Outcome::new(what, format!("failed: {status}"), true),
        Err(e) => Outcome::new(what, format!("failed: {e}"), true),
    }
}

/// The layers' tests under compute-sanitizer, which comes with a CUDA toolkit.
fn checked() -> Outcome {
    const WHAT: &str = "memory checker";
    let Some(sanitizer) = sanitizer() else {
        return Outcome::new(
            WHAT,
            "not run: there is no compute-sanitizer on the path or in a CUDA toolkit",
            false,
        );
    };
    let runner = format!(
        "{} --error-exitcode 1 --target-processes all",
        sanitizer.display()
    );
    let variable = format!(
        "CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER",
        std::env::consts::ARCH.to_uppercase()
    );
    timed(WHAT, tests("flambeau-nn").env(variable, runner))
}

fn sanitizer() -> Option<PathBuf> {
    let toolkit = |name| Some(PathBuf::from(std::env::var_os(name)?).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(toolkit));
    places.push("/usr/local/cuda/bin".into());
    places
        .into_iter()
        .map(|p| p.join("compute-sanitizer"))
        .find(|p| p.is_file())
}
