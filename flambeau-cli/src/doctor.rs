//! `flambeau doctor`: what this machine offers.

use flambeau::cuda;
use flambeau_cpu::{simd, threads};

pub(crate) fn doctor() {
    say!("flambeau     {}", env!("CARGO_PKG_VERSION"));
    say!(
        "system       {} {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    say!(
        "CPU features {} (kernels in use: {})",
        simd::cpu_features().join(" "),
        simd::level().name()
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    say!(
        "threads      {} of {cores} processors",
        threads::num_threads()
    );
    match memory() {
        Some((total, free)) => say!("memory       {free:.1} GiB available of {total:.1} GiB"),
        None => say!("memory       unknown on this system"),
    }
    for (i, line) in cuda::report().iter().enumerate() {
        let label = if i == 0 { "CUDA" } else { "" };
        say!("{label:<12} {line}");
    }
}

/// Total and available memory in GiB, as Linux tells.
fn memory() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<f64> {
        let line = text.lines().find(|l| l.starts_with(name))?;
        let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib / 1024.0 / 1024.0)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}
