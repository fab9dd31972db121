//! What this machine reaches with nothing in the way: the floor that rows are held against.

use flambeau_cpu::simd_fn;
use flambeau_cpu::threads::{num_threads, parallel_chunks_mut, parallel_for};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Elements of the arrays that bandwidth is measured on: 64 MiB, beyond every cache.
const LONG: usize = 1 << 24;

/// FLOP/s of f32 multiply-adds in registers, and bytes/s read from and written to memory, with the
/// present number of threads; each the best of several tries.
pub fn measure() -> serde_json::Value {
    let parts = num_threads();
    let mut sums = vec![0.0f32; parts];
    let flops = best(|| {
        parallel_chunks_mut(&mut sums, 1, |_, out| out[0] = fused());
        (parts * STEPS * SUMS * 2) as f64
    });
    let mut long = vec![0.0f32; LONG];
    let grain = LONG.div_ceil(4 * parts);
    let written = best(|| {
        parallel_chunks_mut(&mut long, grain, |_, piece| piece.fill(1.0));
        (4 * LONG) as f64
    });
    let read = best(|| {
        parallel_for(LONG, grain, |range| {
            black_box(total(&long[range]));
        });
        (4 * LONG) as f64
    });
    serde_json::json!({"flops": flops, "read": read, "written": written})
}

/// The most bytes of memory this process has held so far; 0 where the system does not tell.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// The best rate of `work`, which returns how much it did, of many tries: another program may hold a
/// core for some milliseconds.
fn best(mut work: impl FnMut() -> f64) -> f64 {
    let (begun, mut most) = (Instant::now(), 0.0f64);
    while begun.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        most = most.max(work() / start.elapsed().as_secs_f64());
    }
    most
}

/// Sums kept at a time: enough registers to hide the latency of a multiply-add.
const SUMS: usize = 16 * 12;
const STEPS: usize = 100_000;

simd_fn! {
    fn fused() -> f32 {
        let (x, y) = (black_box(0.999f32), black_box(0.001f32));
        let mut sums = [1.0f32; SUMS];
        for _ in 0..STEPS {
            for s in &mut sums {
                *s = s.mul_add(x, y);
            }
        }
        sums.iter().sum()
    }

    fn total(x: &[f32]) -> f32 {
        let mut sums = [0.0f32; 128];
        for piece in x.chunks_exact(128) {
            for (s, v) in sums.iter_mut().zip(piece) {
                *s += v;
            }
        }
        sums.iter().sum()
    }
}
