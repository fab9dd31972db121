//! Speed of matrix products: `cargo bench -p flambeau-cpu --bench gemm [-- THREADS... NAME]`.
//!
//! Prints one line a shape whose name contains NAME: type, layout (n: row-major, t: transposed),
//! batch where there is one, m, n, k, threads, GFLOP/s and microseconds of the best of several
//! rounds.

use std::time::Instant;

use flambeau_cpu::gemm::{Add, GemmScalar, Layout, Sizes, gemm_add};
use flambeau_cpu::threads::set_num_threads;
use half::{bf16, f16};

/// Layouts of a and b, batch, m, n, k.
type Shape = (&'static str, usize, usize, usize, usize);

const SHAPES: &[Shape] = &[
    ("nn", 1, 16, 16, 16),
    ("nn", 1, 64, 64, 64),
    ("nt", 1, 64, 64, 64),
    ("nn", 1, 256, 256, 256),
    ("nt", 1, 256, 256, 256),
    ("tn", 1, 256, 256, 256),
    ("nn", 1, 1024, 1024, 1024),
    ("nt", 1, 1024, 1024, 1024),
    ("tn", 1, 1024, 1024, 1024),
    ("nn", 1, 2048, 2048, 2048),
    // A LeNet's linear layers at batch 4 and 128, with products of the backward pass.
    ("nt", 1, 4, 120, 400),
    ("nn", 1, 4, 400, 120),
    ("tn", 1, 120, 400, 4),
    ("nt", 1, 4, 84, 120),
    ("tn", 1, 84, 120, 4),
    ("nt", 1, 4, 10, 84),
    ("tn", 1, 10, 84, 4),
    ("nt", 1, 128, 120, 400),
    ("nn", 1, 128, 400, 120),
    ("tn", 1, 120, 400, 128),
    // A perceptron's at batch 64.
    ("nt", 1, 64, 512, 784),
    ("nn", 1, 64, 784, 512),
    ("tn", 1, 512, 784, 64),
    ("nt", 1, 64, 256, 512),
    ("nt", 1, 64, 10, 256),
    // A transformer's, and its attention.
    ("nt", 1, 1024, 256, 256),
    ("nt", 1, 1024, 1024, 256),
    ("nn", 1, 1024, 256, 1024),
    ("tn", 1, 1024, 256, 1024),
    ("nt", 32, 128, 128, 64),
    ("nn", 32, 128, 64, 128),
    ("tn", 32, 64, 128, 128),
    ("nn", 256, 16, 16, 16),
    // Vectors, outer products and other shapes far from square.
    ("nt", 1, 1, 1000, 2048),
    ("nn", 1, 1, 2048, 2048),
    ("nn", 1, 2048, 1, 2048),
    ("nt", 1, 8, 2048, 2048),
    ("nn", 1, 8, 2048, 2048),
    ("nn", 1, 2048, 8, 2048),
    ("tn", 1, 2048, 8, 2048),
    ("nn", 1, 2048, 2048, 1),
    ("nn", 1, 2048, 2048, 4),
    ("tt", 1, 16, 2048, 2048),
    ("nn", 1, 64, 3136, 576),
    ("tn", 1, 3136, 64, 576),
    ("nn", 1, 32, 64, 10000),
];

fn main() {
    let (mut threads, mut filter) = (Vec::new(), String::new());
    for arg in std::env::args().skip(1).filter(|a| a != "--bench") {
        match arg.parse() {
            Ok(n) => threads.push(n),
            Err(_) => filter = arg,
        }
    }
    if threads.is_empty() {
        threads = vec![1, 2];
    }
    for &t in &threads {
        set_num_threads(t);
        for &shape in SHAPES {
            speed::<f32>("float32", shape, t, &filter);
        }
        for &shape in SHAPES {
            speed::<bf16>("bfloat16", shape, t, &filter);
        }
        for &shape in SHAPES {
            speed::<f16>("float16", shape, t, &filter);
        }
    }
}

fn speed<T: GemmScalar>(name: &str, shape: Shape, threads: usize, filter: &str) {
    let (layouts, batch, m, n, k) = shape;
    let name = match batch {
        1 => format!("{name} {layouts} {m} {n} {k}"),
        _ => format!("{name} bmm {batch} {layouts} {m} {n} {k}"),
    };
    if !name.contains(filter) {
        return;
    }
    let a = vec![T::ONE; batch * m * k];
    let b = vec![T::ONE; batch * k * n];
    let mut c = vec![T::ZERO; batch * m * n];
    let layout = |t: bool, rows: usize, cols: usize| {
        let (row, col) = if t { (1, rows) } else { (cols, 1) };
        let batch = rows * cols;
        Layout { batch, row, col }
    };
    let a_layout = layout(layouts.starts_with('t'), m, k);
    let b_layout = layout(layouts.ends_with('t'), k, n);
    let mut once = || {
        let sizes = Sizes { batch, m, n, k };
        let to = (&mut c[..], layout(false, m, n));
        gemm_add(sizes, 1.0, (&a, a_layout), (&b, b_layout), Add::Nothing, to);
    };
    let flop = 2.0 * (batch * m * n * k) as f64;
    once();
    let start = Instant::now();
    once();
    let calls = (0.001 / start.elapsed().as_secs_f64()).clamp(1.0, 1e5) as usize;
    let mut best = f64::INFINITY;
    for _ in 0..if flop > 1e9 { 5 } else { 30 } {
        let start = Instant::now();
        (0..calls).for_each(|_| once());
        best = best.min(start.elapsed().as_secs_f64() / calls as f64);
    }
    println!(
        "{name} {threads} {:.1} {:.2}us",
        flop / best / 1e9,
        best * 1e6
    );
}
