//! Speed of matrix products: `cargo bench -p flambeau-cpu --bench gemm [THREADS...]`.
//!
//! Prints one line a shape: layout (n: row-major, t: transposed), m, n, k, threads, GFLOP/s of the
//! best of several rounds.

use std::time::Instant;

use flambeau_cpu::gemm::gemm;
use flambeau_cpu::threads::set_num_threads;

/// Layouts of a and b, then m, n, k: squares, a LeNet's linear layers at batch 4 with both
/// their backward products, and odd ones.
const SHAPES: &[(&str, usize, usize, usize)] = &[
    ("nn", 16, 16, 16),
    ("nn", 64, 64, 64),
    ("nt", 64, 64, 64),
    ("tn", 64, 64, 64),
    ("nn", 256, 256, 256),
    ("nt", 256, 256, 256),
    ("tn", 256, 256, 256),
    ("nn", 1024, 1024, 1024),
    ("nt", 1024, 1024, 1024),
    ("tn", 1024, 1024, 1024),
    ("nn", 2048, 2048, 2048),
    ("nt", 4, 120, 400),
    ("nn", 4, 400, 120),
    ("tn", 120, 400, 4),
    ("nt", 4, 84, 120),
    ("nn", 4, 120, 84),
    ("tn", 84, 120, 4),
    ("nt", 4, 10, 84),
    ("nn", 4, 84, 10),
    ("tn", 10, 84, 4),
    ("nn", 16, 100, 150),
    ("nn", 6, 784, 75),
    ("nt", 64, 512, 784),
    ("nn", 64, 784, 512),
    ("tn", 512, 784, 64),
    ("nt", 1, 1000, 2048),
    // Tall, flat and far from square, where packing and reading order decide.
    ("nn", 16, 2048, 2048),
    ("tn", 2048, 16, 2048),
    ("tt", 16, 2048, 2048),
    ("nn", 64, 3136, 576),
    ("tn", 3136, 64, 576),
    ("nn", 32, 64, 10000),
    ("nn", 512, 1, 512),
];

fn main() {
    let mut threads: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    if threads.is_empty() {
        threads = vec![1, 2];
    }
    for &t in &threads {
        set_num_threads(t);
        for &(layout, m, n, k) in SHAPES {
            println!("{layout} {m} {n} {k} {t} {:.1}", speed(layout, m, n, k));
        }
    }
}

fn speed(layout: &str, m: usize, n: usize, k: usize) -> f64 {
    let a = vec![0.5f32; m * k];
    let b = vec![0.25f32; k * n];
    let mut c = vec![0.0f32; m * n];
    let strides = |t: bool, rows: usize, cols: usize| match t {
        true => (1, rows as isize),
        false => (cols as isize, 1),
    };
    let sa = strides(layout.starts_with('t'), m, k);
    let sb = strides(layout.ends_with('t'), k, n);
    let mut once = || gemm(m, n, k, 1.0, &a, sa, &b, sb, 0.0, &mut c, (n as isize, 1));
    let flop = 2.0 * (m * n * k) as f64;
    let reps = (4e6 / flop).clamp(1.0, 1e5) as usize;
    let mut best = f64::INFINITY;
    for _ in 0..if flop > 1e9 { 9 } else { 60 } {
        let start = Instant::now();
        (0..reps).for_each(|_| once());
        best = best.min(start.elapsed().as_secs_f64() / reps as f64);
    }
    assert!(c.iter().all(|&x| (x - 0.125 * k as f32).abs() < 1e-3));
    flop / best / 1e9
}
