//! The rows of work that flambeau and PyTorch are timed on, on a GPU: both take turns, medians are
//! compared.

use super::{Failure, Outcome};
use crate::bench::{Worker, median, number, program, python};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// What a row has to show.
pub(crate) struct Goal {
    /// flambeau's name for the work, and PyTorch's.
    name: &'static str,
    torch: &'static str,
    /// PyTorch's time over flambeau's.
    ratio: f64,
    /// Bytes that go through memory, where they bound the work; it has to reach 90 % of the speed of
    /// the row `copy`.
    bytes: f64,
}

const LONG: f64 = 2.0 * 4.0 * (64 << 20) as f64;
const COPY: &str = "cuda_copy_64m";
const SHARE: f64 = 0.9;
/// Samples of each side.
const ROUNDS: usize = 7;
/// What the tutorial has to show.
const TUTORIAL: f64 = 20.0;

const fn row(name: &'static str, torch: &'static str, ratio: f64) -> Goal {
    Goal {
        name,
        torch,
        ratio,
        bytes: 0.0,
    }
}

const fn long(name: &'static str) -> Goal {
    Goal {
        bytes: LONG,
        ..row(name, name, 1.0)
    }
}

pub(crate) const GOALS: [Goal; 15] = [
    long(COPY),
    long("cuda_add_64m"),
    long("cuda_mul_64m"),
    long("cuda_exp_64m"),
    long("cuda_gelu_64m"),
    long("cuda_softmax_64m"),
    long("cuda_layer_norm_64m"),
    row("cuda_matmul_f32_4096", "cuda_matmul_f32_4096", 1.0),
    row("cuda_matmul_bf16_4096", "cuda_matmul_bf16_4096", 1.0),
    row("cuda_matmul_f32_8192", "cuda_matmul_f32_8192", 1.0),
    row("cuda_matmul_bf16_8192", "cuda_matmul_bf16_8192", 1.0),
    row("cuda_lenet_step_b4", "cuda_lenet_step_b4", 3.0),
    row("cuda_lenet_step_b4_graph", "cuda_lenet_step_b4", 8.0),
    row("cuda_lenet_step_b128", "cuda_lenet_step_b128", 3.0),
    row(
        "cuda_resnet18_cifar_step_b256_bf16",
        "cuda_resnet18_cifar_step_b256_bf16",
        1.2,
    ),
];

/// Times every row, and the tutorial where there is its data.
pub(crate) fn run(root: &Path, data: Option<&Path>) -> Result<Vec<Outcome>, Failure> {
    crate::bench::build()?;
    let torch = torch_finds_the_gpu();
    if let Err(e) = &torch {
        println!("PyTorch's side is left out: {e}");
    }
    let mut own = Worker::start(Command::new(program(root, "flambeau-bench")).arg("cuda"))?;
    let mut theirs = match &torch {
        Ok(()) => Some(Worker::start(&mut python(root, "torch_cuda_rows.py"))?),
        Err(_) => None,
    };
    let mut table = Vec::new();
    // Bytes a second of the copy, by which the others' share is told.
    let mut copied = f64::NAN;
    for goal in &GOALS {
        let measured = measure(goal, &mut own, theirs.as_mut());
        table.push(match measured {
            Ok((seconds, torch)) => {
                if goal.name == COPY {
                    copied = goal.bytes / seconds;
                }
                goal.outcome(seconds, torch, copied)
            }
            Err(e) => Outcome::new(goal.name, format!("failed: {e}"), true),
        });
        if let Some(last) = table.last() {
            println!("{:<40} {}", last.what, last.text);
        }
    }
    drop((own, theirs));
    table.push(match data {
        None => Outcome::new(
            "tutorial, whole",
            "not run: it needs --data-dir DIR with cifar-10-batches-bin",
            false,
        ),
        Some(data) => tutorial(root, data, torch.is_ok())
            .unwrap_or_else(|e| Outcome::new("tutorial, whole", format!("failed: {e}"), true)),
    });
    if let Err(e) = torch {
        let text = format!("failed: {e}");
        table.push(Outcome::new("beside PyTorch", text, true));
    }
    Ok(table)
}

/// Medians of both sides, in turns.
fn measure(
    goal: &Goal,
    own: &mut Worker,
    mut theirs: Option<&mut Worker>,
) -> Result<(f64, Option<f64>), Failure> {
    let (mut ours, mut torch) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(number(&own.ask(goal.name)?, "seconds"));
        if let Some(theirs) = &mut theirs {
            torch.push(number(&theirs.ask(goal.torch)?, "seconds"));
        }
    }
    Ok((median(ours), (!torch.is_empty()).then(|| median(torch))))
}

impl Goal {
    fn outcome(&self, seconds: f64, torch: Option<f64>, copied: f64) -> Outcome {
        let mut text = format!("{:>9.1} us", 1e6 * seconds);
        let mut missed = false;
        if let Some(torch) = torch {
            let ratio = torch / seconds;
            missed |= ratio < self.ratio;
            text += &format!(
                "  PyTorch {:>9.1} us  ratio {ratio:>5.2} (goal {})",
                1e6 * torch,
                self.ratio
            );
        }
        if self.bytes > 0.0 {
            let speed = self.bytes / seconds;
            missed |= self.name != COPY && speed < SHARE * copied;
            let share = 100.0 * speed / copied;
            text += &format!("  {:.0} GB/s, {share:.0} % of the copy's", speed / 1e9);
        }
        if missed {
            text += "  MISSED";
        }
        Outcome::new(self.name, text, missed)
    }
}

fn torch_finds_the_gpu() -> Result<(), Failure> {
    let ask = "import torch, torchvision; assert torch.cuda.is_available()";
    let found = Command::new("python3").args(["-c", ask]).output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(
            "python3 has no torch and torchvision that find the GPU: pip install torch torchvision"
                .into(),
        ),
    }
}

/// The whole tutorial, two epochs and the test, as a program of each side; flambeau's steps are
/// captured.
fn tutorial(root: &Path, data: &Path, beside_torch: bool) -> Result<Outcome, Failure> {
    let out = std::env::temp_dir().join(format!("flambeau-gpu-check-{}", std::process::id()));
    let summary = out.join("summary.json");
    let output = Command::new(program(root, "flambeau"))
        .args([
            "train",
            "--dataset",
            "cifar10",
            "--device",
            "cuda",
            "--graph",
        ])
        .arg("--data-dir")
        .arg(data)
        .arg("--out")
        .arg(&out)
        .arg("--summary")
        .arg(&summary)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let own: Value = serde_json::from_str(&std::fs::read_to_string(&summary)?)?;
    std::fs::remove_dir_all(&out)?;
    let seconds = number(&own, "train_seconds") + number(&own, "test_seconds");
    let accuracy = 100.0 * number(&own, "accuracy");
    let mut text = format!("{seconds:.1} s, accuracy {accuracy:.1} %");
    let mut missed = false;
    if beside_torch {
        let mut command = python(root, "torch_tutorial.py");
        let output = command.arg("2").arg(data).arg("cuda").output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let theirs: Value = serde_json::from_slice(&output.stdout)?;
        let torch = number(&theirs, "seconds");
        let ratio = torch / seconds;
        missed = ratio < TUTORIAL;
        text += &format!(
            "  PyTorch {torch:.1} s, {:.1} %  ratio {ratio:.1} (goal {TUTORIAL})",
            100.0 * number(&theirs, "accuracy")
        );
        if missed {
            text += "  MISSED";
        }
    }
    Ok(Outcome::new("tutorial, whole", text, missed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_missed_by_ratio_or_by_share() {
        let long = &GOALS[1];
        // A copy at 1 GB/s; 0.9 of it is reached, 0.89 not.
        let at = |speed: f64| LONG / speed;
        assert!(!long.outcome(at(0.91e9), Some(at(0.9e9)), 1e9).failed);
        assert!(long.outcome(at(0.89e9), Some(at(0.5e9)), 1e9).failed);
        assert!(long.outcome(at(1e9), Some(at(1.1e9)), 1e9).failed);
        assert!(!long.outcome(at(1e9), None, 1e9).failed);
        let outcome = GOALS[12].outcome(1e-5, Some(7e-5), f64::NAN);
        assert!(outcome.failed && outcome.text.contains("ratio  7.00 (goal 8)  MISSED"));
    }
}
