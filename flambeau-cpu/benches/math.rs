//! Speed of the elementary functions and reductions over 16 million elements and over 4,096 (in
//! cache): `cargo bench -p flambeau-cpu --bench math [THREADS...]`. Prints ns per element.

use std::hint::black_box;
use std::time::Instant;

use flambeau_cpu::threads::{parallel_chunks_mut, set_num_threads};
use flambeau_cpu::{math, reduce};

type Slices = fn(&[f32], &mut [f32]);

const FUNCTIONS: &[(&str, Slices)] = &[
    ("exp", math::vexp),
    ("exp2", math::vexp2),
    ("expm1", math::vexpm1),
    ("log", math::vlog),
    ("log1p", math::vlog1p),
    ("log2", math::vlog2),
    ("log10", math::vlog10),
    ("tanh", math::vtanh),
    ("sigmoid", math::vsigmoid),
    ("erf", math::verf),
    ("erfc", math::verfc),
    ("sin", math::vsin),
    ("cos", math::vcos),
    ("tan", math::vtan),
    ("gelu", math::vgelu),
    ("gelu_tanh", math::vgelu_tanh),
    ("silu", math::vsilu),
];

const CHUNK: usize = 1 << 15;

fn main() {
    let mut threads: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    if threads.is_empty() {
        threads = vec![1, 2];
    }
    for &t in &threads {
        set_num_threads(t);
        for n in [1 << 12, 1 << 24] {
            let x: Vec<f32> = (0..n).map(|i| (i % 1000) as f32 * 0.008 + 0.001).collect();
            let mut out = vec![0.0; n];
            for (name, f) in FUNCTIONS {
                let ns = time(n, || {
                    parallel_chunks_mut(&mut out, CHUNK, |i, o| {
                        f(&x[i * CHUNK..i * CHUNK + o.len()], o);
                    });
                });
                println!("{name} {n} {t} {ns:.3}");
            }
            println!(
                "sum {n} 1 {:.3}",
                time(n, || _ = black_box(reduce::sum_f32(&x)))
            );
            println!(
                "max {n} 1 {:.3}",
                time(n, || _ = black_box(reduce::max_f32(&x)))
            );
            println!(
                "dot {n} 1 {:.3}",
                time(n, || _ = black_box(reduce::dot_f32(&x, &out)))
            );
        }
    }
}

/// Nanoseconds per element, the best of several rounds.
fn time(n: usize, mut f: impl FnMut()) -> f64 {
    let reps = (1 << 24) / n;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        (0..reps).for_each(|_| f());
        best = best.min(start.elapsed().as_secs_f64());
    }
    best / (reps * n) as f64 * 1e9
}
