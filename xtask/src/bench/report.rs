//! The table: on the terminal, as JSON, and in BENCHMARKS.md.

use super::{Failure, Peak};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// What a row is measured in.
#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        }
    }

    /// An amount at the scale that reads well.
    fn show(self, amount: f64) -> String {
        match self {
            Unit::Seconds => duration(amount),
            Unit::Bytes => format!("{:.0} MB", amount / 1e6),
        }
    }
}

/// What was measured of a row.
pub struct Measured {
    pub name: String,
    pub threads: usize,
    pub unit: Unit,
    pub flambeau: f64,
    /// The least that arithmetic and memory allow; 0 where the row does not say.
    pub floor: f64,
    pub torch: Option<f64>,
}

impl Measured {
    fn ratio(&self) -> Option<f64> {
        self.torch.map(|t| t / self.flambeau)
    }

    fn share(&self) -> String {
        match self.floor {
            0.0 => String::new(),
            floor => format!("{:.0} %", 100.0 * floor / self.flambeau),
        }
    }
}

/// Seconds in the unit that reads well.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s if s >= 1e-6 => format!("{:.2} us", s * 1e6),
        s => format!("{:.0} ns", s * 1e9),
    }
}

pub fn heading(threads: usize, peak: &Peak) {
    println!(
        "\n{threads} thread(s); the machine reaches {:.0} GFLOP/s in f32, reads {:.1} and writes {:.1} GB/s",
        peak.flops / 1e9,
        peak.read / 1e9,
        peak.written / 1e9
    );
    println!(
        "{:<46} {:>10} {:>7} {:>10} {:>7}",
        "row", "flambeau", "floor", "PyTorch", "ratio"
    );
}

pub fn line(row: &Measured) {
    println!(
        "{:<46} {:>10} {:>7} {:>10} {:>7}",
        row.name,
        row.unit.show(row.flambeau),
        row.share(),
        row.torch.map(|t| row.unit.show(t)).unwrap_or_default(),
        row.ratio().map(|r| format!("{r:.2}")).unwrap_or_default()
    );
}

/// One JSON object a line.
pub fn write_json(path: &Path, rows: &[Measured]) -> Result<(), Failure> {
    let mut text = String::new();
    for row in rows {
        let unit = row.unit.name();
        let object = json!({
            "name": row.name,
            "threads": row.threads,
            (format!("flambeau_{unit}")): row.flambeau,
            (format!("torch_{unit}")): row.torch,
            "ratio": row.ratio(),
        });
        writeln!(text, "{object}")?;
    }
    replace(path, &text)
}

/// BENCHMARKS.md, whole: when, where and on which commit, and the table.
pub fn write_markdown(path: &Path, rows: &[Measured]) -> Result<(), Failure> {
    let mut text = format!(
        "# Benchmarks

`cargo xtask bench --torch --data-dir DIR --write` wrote this file: flambeau and PyTorch took turns
on the same machine with the same number of threads, and medians are compared. *Floor* is the share
of what the machine reaches in f32 arithmetic or memory traffic, whichever bounds the row; bf16 is
held against the f32 peak too, and an algorithm that needs less arithmetic than the textbook's
(Winograd) can pass 100 %. *Ratio* is PyTorch's time (or memory) over flambeau's: above 1, flambeau
is faster (or smaller).

{} on commit {}, {}, {}.

| row | threads | flambeau | floor | PyTorch | ratio |
| --- | ---: | ---: | ---: | ---: | ---: |
",
        said("date", &["-u", "+%Y-%m-%d"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
        processor(),
        said(
            "python3",
            &["-c", "import torch; print('PyTorch', torch.__version__)"]
        ),
    );
    for row in rows {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.name,
            row.threads,
            row.unit.show(row.flambeau),
            row.share(),
            row.torch.map(|t| row.unit.show(t)).unwrap_or_default(),
            row.ratio().map(|r| format!("{r:.2}")).unwrap_or_default()
        )?;
    }
    replace(path, &text)
}

/// Writes beside `path` and renames, so that a failure leaves the old file.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let fresh = path.with_extension("tmp");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)?;
    Ok(())
}

/// What a command prints; empty where it fails.
fn said(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output();
    let output = output.map(|o| o.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name"));
    let model = model.and_then(|m| m.split(": ").nth(1)).unwrap_or("CPU");
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let features = flambeau_cpu::simd::cpu_features().join(" ");
    format!("{cores} cores of an {model} ({features})")
}
