//! Times the convolution kernels on the shapes of LeNet, ResNet and others.
//!
//! `cargo run --release -p flambeau-cpu --example conv_bench -- [threads [name-filter,... [bf16]]]`
//! prints, per shape: forward, gradient of the input, gradient of the weight in microseconds (best
//! of several rounds), and the GFLOP/s of the three together. Names are as in
//! `d2_n128_c64_h32_k64_r3_s1_p1_d1_g1`: axes, batch, channels, side, output channels, kernel,
//! stride, padding, dilation, groups; `t` after that for a transposed convolution.

use std::time::{Duration, Instant};

use flambeau_cpu::conv::*;
use flambeau_cpu::threads::set_num_threads;
use half::bf16;

/// Seconds of one call, the best of rounds of about 2 ms, short enough to fall between the turns of
/// other programs, in a quarter of a second.
fn best(mut f: impl FnMut()) -> f64 {
    f();
    let start = Instant::now();
    f();
    let calls = (0.002 / start.elapsed().as_secs_f64().max(1e-7)).ceil() as usize;
    let end = Instant::now() + Duration::from_millis(250);
    let mut best = f64::INFINITY;
    for round in 0.. {
        if round >= 3 && Instant::now() > end {
            break;
        }
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        best = best.min(start.elapsed().as_secs_f64() / calls as f64);
    }
    best
}

/// Axes, batch, channels, side, output channels, kernel, stride, padding, dilation, groups, and
/// whether it is transposed.
type Row = (usize, [usize; 9], bool);

const ROWS: &[Row] = &[
    (2, [4, 3, 32, 6, 5, 1, 0, 1, 1], false),
    (2, [4, 6, 14, 16, 5, 1, 0, 1, 1], false),
    (2, [128, 3, 32, 6, 5, 1, 0, 1, 1], false),
    (2, [128, 6, 14, 16, 5, 1, 0, 1, 1], false),
    (2, [128, 64, 32, 64, 3, 1, 1, 1, 1], false),
    (2, [128, 256, 8, 256, 3, 1, 1, 1, 1], false),
    (2, [32, 64, 56, 64, 3, 1, 1, 1, 1], false),
    (2, [32, 256, 14, 256, 1, 1, 0, 1, 1], false),
    (2, [32, 128, 28, 128, 3, 2, 1, 1, 1], false),
    (2, [32, 3, 224, 64, 7, 2, 3, 1, 1], false),
    (2, [32, 3, 32, 64, 3, 1, 1, 1, 1], false),
    (2, [32, 96, 28, 96, 3, 1, 1, 1, 96], false),
    (2, [1, 96, 112, 96, 3, 1, 1, 1, 96], false),
    (2, [32, 64, 28, 64, 3, 1, 1, 1, 4], false),
    (2, [32, 64, 28, 64, 3, 1, 2, 2, 1], false),
    (2, [32, 17, 30, 29, 3, 1, 1, 1, 1], false),
    (2, [32, 64, 32, 64, 3, 1, 1, 1, 1], false),
    (2, [32, 128, 16, 128, 3, 1, 1, 1, 1], false),
    (2, [32, 256, 8, 256, 3, 1, 1, 1, 1], false),
    (2, [32, 512, 4, 512, 3, 1, 1, 1, 1], false),
    (2, [32, 64, 32, 128, 3, 2, 1, 1, 1], false),
    (2, [32, 128, 16, 256, 3, 2, 1, 1, 1], false),
    (2, [32, 256, 8, 512, 3, 2, 1, 1, 1], false),
    (2, [32, 64, 32, 128, 1, 2, 0, 1, 1], false),
    (2, [32, 128, 16, 256, 1, 2, 0, 1, 1], false),
    (2, [32, 256, 8, 512, 1, 2, 0, 1, 1], false),
    (1, [32, 64, 256, 64, 3, 1, 1, 1, 1], false),
    (1, [8, 128, 1000, 128, 5, 2, 2, 1, 1], false),
    (3, [4, 16, 16, 32, 3, 1, 1, 1, 1], false),
    (3, [2, 3, 32, 16, 3, 2, 1, 1, 1], false),
    (2, [16, 128, 16, 64, 4, 2, 1, 1, 1], true),
    (2, [16, 64, 28, 64, 3, 1, 1, 1, 1], true),
    (2, [1, 64, 56, 64, 3, 1, 1, 1, 1], false),
    (2, [1, 256, 14, 1024, 1, 1, 0, 1, 1], false),
    (2, [1, 3, 224, 64, 7, 2, 3, 1, 1], false),
    (2, [1, 512, 7, 512, 3, 1, 1, 1, 1], false),
    (2, [32, 96, 28, 96, 5, 2, 2, 1, 96], false),
    (2, [32, 32, 56, 32, 3, 2, 1, 1, 32], false),
    (2, [32, 16, 32, 96, 1, 1, 0, 1, 1], false),
    // The rows of the benchmark, and what they do not stand for.
    (2, [8, 3, 224, 64, 7, 2, 3, 1, 1], false),
    (2, [16, 17, 28, 29, 3, 1, 1, 1, 1], false),
    (2, [16, 64, 28, 64, 3, 1, 2, 2, 1], false),
    (2, [16, 64, 28, 128, 3, 1, 1, 1, 4], false),
    (2, [32, 30, 28, 45, 5, 1, 2, 1, 1], false),
    (2, [32, 33, 29, 35, 3, 2, 1, 1, 1], false),
    (2, [32, 64, 14, 64, 5, 1, 2, 1, 1], false),
    (2, [16, 128, 28, 128, 3, 1, 1, 1, 32], false),
    (2, [16, 3, 64, 16, 3, 2, 1, 1, 1], false),
    (1, [16, 1, 16000, 64, 80, 4, 0, 1, 1], false),
    (1, [16, 64, 1000, 64, 25, 1, 12, 1, 1], false),
    (1, [16, 80, 300, 256, 3, 1, 1, 1, 1], false),
    (1, [16, 64, 2000, 64, 3, 1, 4, 4, 1], false),
    (1, [16, 256, 300, 256, 31, 1, 15, 1, 256], false),
    (2, [32, 64, 7, 32, 4, 2, 1, 1, 1], true),
    (2, [32, 32, 14, 16, 3, 2, 1, 1, 1], true),
    (2, [8, 128, 28, 64, 2, 2, 0, 1, 1], true),
    (3, [2, 32, 16, 64, 3, 2, 1, 1, 1], false),
    (3, [8, 1, 24, 16, 5, 1, 2, 1, 1], false),
    (2, [32, 64, 28, 64, 7, 1, 3, 1, 64], false),
    (2, [32, 64, 56, 64, 3, 2, 1, 1, 64], false),
    (2, [32, 96, 28, 96, 5, 1, 2, 1, 96], false),
    (2, [32, 96, 14, 96, 3, 1, 1, 1, 96], false),
    (2, [32, 96, 7, 96, 3, 1, 1, 1, 96], false),
    (2, [8, 48, 112, 48, 3, 2, 1, 1, 48], false),
    (2, [32, 48, 28, 96, 3, 1, 1, 1, 48], false),
];

/// The three times with maps of bf16.
fn bf16_times(s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], g: &[f32]) -> [f64; 3] {
    let low = |values: &[f32]| -> Vec<bf16> { values.iter().map(|&v| bf16::from_f32(v)).collect() };
    let (mut gw, x, g) = (w.to_vec(), low(x), low(g));
    let (mut out, mut grad_in) = (g.clone(), x.clone());
    [
        best(|| conv_forward_bf16(s, &x, w, Some(bias), &mut out)),
        best(|| conv_backward_data_bf16(s, &g, w, &mut grad_in)),
        best(|| conv_backward_weight_bf16(s, &x, &g, &mut gw)),
    ]
}

fn main() {
    let mut args = std::env::args().skip(1);
    set_num_threads(args.next().and_then(|n| n.parse().ok()).unwrap_or(1));
    let filter = args.next().unwrap_or_default();
    let low = args.next().is_some_and(|dtype| dtype == "bf16");
    for &(axes, [n, c, h, k, r, stride, pad, dilation, groups], transposed) in ROWS {
        let t = if transposed { "_t" } else { "" };
        let name =
            format!("d{axes}_n{n}_c{c}_h{h}_k{k}_r{r}_s{stride}_p{pad}_d{dilation}_g{groups}{t}");
        if !filter.split(',').any(|part| name.contains(part)) {
            continue;
        }
        let all = |value: usize, other: usize| -> [usize; 3] {
            std::array::from_fn(|d| if d + axes >= 3 { value } else { other })
        };
        let (input, channels) = match transposed {
            true => ((h - 1) * stride + r - 2 * pad, (k, c)),
            false => (h, (c, k)),
        };
        let s = ConvShape {
            batch: n,
            in_channels: channels.0,
            out_channels: channels.1,
            groups,
            input: all(input, 1),
            kernel: all(r, 1),
            stride: all(stride, 1),
            padding: all(pad, 0),
            dilation: all(dilation, 1),
        };
        let fill = |n: usize| -> Vec<f32> { (0..n).map(|i| (i % 13) as f32 - 6.0).collect() };
        let (x, w, g) = (
            fill(s.input_len()),
            fill(s.weight_len()),
            fill(s.output_len()),
        );
        let (mut out, mut grad_in, mut grad_w) = (g.clone(), x.clone(), w.clone());
        let bias = fill(s.out_channels);
        let mut times = match low {
            true => bf16_times(&s, &x, &w, &bias, &g),
            false => [
                best(|| conv_forward(&s, &x, &w, Some(&bias), &mut out)),
                best(|| conv_backward_data(&s, &g, &w, &mut grad_in)),
                best(|| conv_backward_weight(&s, &x, &g, &mut grad_w)),
            ],
        };
        if transposed {
            times.swap(0, 1);
        }
        let patch = w.len() / s.out_channels;
        let flop = 3.0 * 2.0 * (g.len() * patch) as f64;
        let total: f64 = times.iter().sum();
        println!(
            "{name:40} fwd {:9.1} data {:9.1} weight {:9.1} all {:9.1} us  {:6.1} GFLOP/s",
            times[0] * 1e6,
            times[1] * 1e6,
            times[2] * 1e6,
            total * 1e6,
            flop / total / 1e9
        );
    }
}
