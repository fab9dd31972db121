//! `cargo xtask bench`: every row of `bench/`, its share of the machine's floor and, with `--torch`,
//! PyTorch beside it: both take turns, medians are compared.

mod report;
mod worker;

use report::{Measured, Unit};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
pub(crate) use worker::Worker;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str =
    "usage: cargo xtask bench [--torch] [--only NAME] [--threads N[,N...]] [--rounds N]
                         [--data-dir DIR] [--json FILE] [--write]

  --torch          time PyTorch in turn (python3 with torch and torchvision)
  --only NAME      rows whose name contains NAME
  --threads N,...  numbers of threads; default 2,1
  --rounds N       samples of each row, of which the median counts; default 7
  --data-dir DIR   a folder with cifar-10-batches-bin, for the row `tutorial`
  --json FILE      one JSON object a row
  --write          put the table into BENCHMARKS.md";

/// The row that times whole programs instead of calls.
const TUTORIAL: &str = "tutorial";

/// The row whose memory is compared too, each side in a process of its own.
const MEMORY: &str = "resnet18_cifar_step_b32_f32";

struct Options {
    torch: bool,
    only: String,
    threads: Vec<usize>,
    rounds: usize,
    data: Option<PathBuf>,
    json: Option<PathBuf>,
    write: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options, Failure> {
        let mut options = Options {
            torch: false,
            only: String::new(),
            threads: vec![2, 1],
            rounds: 7,
            data: None,
            json: None,
            write: false,
        };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or(format!("{flag} needs a value\n{USAGE}"));
            match flag.as_str() {
                "--torch" => options.torch = true,
                "--write" => options.write = true,
                "--only" => options.only = value()?.clone(),
                "--threads" => {
                    let list = value()?.split(',').map(str::parse);
                    options.threads = list.collect::<Result<_, _>>()?;
                }
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--data-dir" => options.data = Some(value()?.into()),
                "--json" => options.json = Some(value()?.into()),
                other => return Err(format!("unknown option {other}\n{USAGE}").into()),
            }
        }
        Ok(options)
    }
}

/// A row as the worker describes it.
struct Row {
    name: String,
    flop: f64,
    read: f64,
    written: f64,
    /// PyTorch's names for it; the fastest counts.
    torch: Vec<String>,
}

/// What the machine reaches, in FLOP/s and bytes/s.
struct Peak {
    flops: f64,
    read: f64,
    written: f64,
}

impl Peak {
    /// The least seconds that the row can take; 0 where it states no work.
    fn floor(&self, row: &Row) -> f64 {
        (row.flop / self.flops).max(row.read / self.read + row.written / self.written)
    }
}

/// Times what the arguments ask for.
pub fn run(args: &[String]) -> Result<(), Failure> {
    if args.iter().any(|a| a == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let options = Options::parse(args)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if options.torch {
        find_torch()?;
    }
    build()?;
    let mut measured = Vec::new();
    for &threads in &options.threads {
        let rows = time_rows(&options, &root, threads)?;
        measured.extend(rows);
        measured.extend(memory(&options, &root, threads)?);
    }
    measured.extend(tutorial(&options, &root)?);
    if let Some(path) = &options.json {
        report::write_json(path, &measured)?;
    }
    if options.write {
        report::write_markdown(&root.join("BENCHMARKS.md"), &measured)?;
    }
    if measured.is_empty() {
        return Err(format!("no row's name contains {:?}", options.only).into());
    }
    Ok(())
}

fn find_torch() -> Result<(), Failure> {
    let found = Command::new("python3")
        .args(["-c", "import torch, torchvision"])
        .output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(
            "--torch needs python3 with torch and torchvision: pip install torch torchvision"
                .into(),
        ),
    }
}

/// Builds both programs that are timed, optimised.
pub(crate) fn build() -> Result<(), Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet"])
        .args(["--package", "flambeau-bench", "--package", "flambeau-cli"])
        .status()?;
    if !status.success() {
        return Err("the programs to be timed do not build; see above".into());
    }
    Ok(())
}

/// Where cargo puts programs built with `--release`.
pub(crate) fn program(root: &Path, name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| root.join("target"));
    target.join("release").join(name)
}

pub(crate) fn python(root: &Path, script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(root.join("bench").join(script));
    command
}

fn time_rows(options: &Options, root: &Path, threads: usize) -> Result<Vec<Measured>, Failure> {
    let mut flambeau = own_side(root, threads)?;
    let mut rows = rows(&mut flambeau)?;
    rows.retain(|row| row.name.contains(&options.only));
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let peak = flambeau.ask("peak")?;
    let peak = Peak {
        flops: number(&peak, "flops"),
        read: number(&peak, "read"),
        written: number(&peak, "written"),
    };
    report::heading(threads, &peak);
    let mut torch = None;
    let mut measured = Vec::new();
    for row in &rows {
        if options.torch && torch.is_none() {
            torch = Some(their_side(root, threads)?);
        }
        let mut own = Vec::new();
        let mut theirs = vec![Vec::new(); if options.torch { row.torch.len() } else { 0 }];
        // One name of PyTorch's after the other: asking for another drops what was prepared.
        for (name, theirs) in row.torch.iter().zip(&mut theirs) {
            for _ in 0..options.rounds {
                own.push(number(&flambeau.ask(&row.name)?, "seconds"));
                if let Some(torch) = &mut torch {
                    theirs.push(number(&torch.ask(name)?, "seconds"));
                }
            }
        }
        if theirs.is_empty() {
            for _ in 0..options.rounds {
                own.push(number(&flambeau.ask(&row.name)?, "seconds"));
            }
        }
        let result = Measured {
            name: row.name.clone(),
            threads,
            unit: Unit::Seconds,
            flambeau: median(own),
            floor: peak.floor(row),
            torch: theirs.into_iter().map(median).reduce(f64::min),
        };
        report::line(&result);
        measured.push(result);
    }
    Ok(measured)
}

fn own_side(root: &Path, threads: usize) -> Result<Worker, Failure> {
    Worker::start(Command::new(program(root, "flambeau-bench")).arg(threads.to_string()))
}

fn their_side(root: &Path, threads: usize) -> Result<Worker, Failure> {
    Worker::start(python(root, "torch_rows.py").arg(threads.to_string()))
}

/// The most memory that a process holds which does nothing but [`MEMORY`].
fn memory(options: &Options, root: &Path, threads: usize) -> Result<Option<Measured>, Failure> {
    let name = format!("peak_memory_{MEMORY}");
    if !name.contains(&options.only) {
        return Ok(None);
    }
    let mut flambeau = own_side(root, threads)?;
    let rows = rows(&mut flambeau)?;
    let row = rows.iter().find(|row| row.name == MEMORY);
    let row = row.ok_or_else(|| format!("there is no row {MEMORY}"))?;
    let mut torch: Option<f64> = None;
    for name in row.torch.iter().filter(|_| options.torch) {
        let peak = number(&their_side(root, threads)?.ask(name)?, "peak_bytes");
        torch = Some(torch.map_or(peak, |least| least.min(peak)));
    }
    let result = Measured {
        name,
        threads,
        unit: Unit::Bytes,
        flambeau: number(&flambeau.ask(MEMORY)?, "peak_bytes"),
        floor: 0.0,
        torch,
    };
    report::line(&result);
    Ok(Some(result))
}

fn rows(flambeau: &mut Worker) -> Result<Vec<Row>, Failure> {
    let answer = flambeau.ask("rows")?;
    Ok(answer.as_array().into_iter().flatten().map(row).collect())
}

fn row(value: &Value) -> Row {
    let name = value["name"].as_str().unwrap_or_default().to_owned();
    let also = value["also"].as_array().into_iter().flatten();
    let also = also.filter_map(Value::as_str).map(str::to_owned);
    Row {
        torch: std::iter::once(name.clone()).chain(also).collect(),
        flop: number(value, "flop"),
        read: number(value, "read"),
        written: number(value, "written"),
        name,
    }
}

pub(crate) fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(f64::NAN)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// The whole tutorial, two epochs and the test, as a program of each side: once, for it takes
/// PyTorch minutes.
fn tutorial(options: &Options, root: &Path) -> Result<Option<Measured>, Failure> {
    if !TUTORIAL.contains(&options.only) {
        return Ok(None);
    }
    let Some(data) = &options.data else {
        println!("{TUTORIAL}: left out; it needs --data-dir DIR with cifar-10-batches-bin");
        return Ok(None);
    };
    let threads = options.threads.iter().copied().max().unwrap_or(1);
    let out = std::env::temp_dir().join(format!("flambeau-bench-{}", std::process::id()));
    let summary = out.join("summary.json");
    let output = Command::new(program(root, "flambeau"))
        .args(["train", "--dataset", "cifar10", "--threads"])
        .arg(threads.to_string())
        .arg("--data-dir")
        .arg(data)
        .arg("--out")
        .arg(&out)
        .arg("--summary")
        .arg(&summary)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{TUTORIAL}: {said}").into());
    }
    let own: Value = serde_json::from_str(&std::fs::read_to_string(&summary)?)?;
    std::fs::remove_dir_all(&out)?;
    let torch = if options.torch {
        let output = python(root, "torch_tutorial.py")
            .arg(threads.to_string())
            .arg(data)
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{TUTORIAL}: {said}").into());
        }
        let theirs: Value = serde_json::from_slice(&output.stdout)?;
        Some(number(&theirs, "seconds"))
    } else {
        None
    };
    let result = Measured {
        name: TUTORIAL.into(),
        threads,
        unit: Unit::Seconds,
        flambeau: number(&own, "train_seconds") + number(&own, "test_seconds"),
        floor: 0.0,
        torch,
    };
    report::line(&result);
    Ok(Some(result))
}
