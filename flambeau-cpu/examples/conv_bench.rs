//! Times the convolution kernels on the shapes of LeNet and ResNet.
//!
//! `cargo run --release -p flambeau-cpu --example conv_bench -- [threads [name-filter]]`
//! prints, per shape: forward, gradient of the input, gradient of the weight in microseconds (best
//! of several rounds), and the GFLOP/s of the three together.

use std::time::Instant;

use flambeau_cpu::conv::*;
use flambeau_cpu::threads::set_num_threads;

/// Seconds of one call, the best of 60 rounds of about 2 ms, short enough to fall between the turns
/// of other programs.
fn best(mut f: impl FnMut()) -> f64 {
    f();
    let start = Instant::now();
    f();
    let calls = (0.002 / start.elapsed().as_secs_f64().max(1e-7)).ceil() as usize;
    (0..60)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| f());
            start.elapsed().as_secs_f64() / calls as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    let mut args = std::env::args().skip(1);
    set_num_threads(args.next().and_then(|n| n.parse().ok()).unwrap_or(1));
    let filter = args.next().unwrap_or_default();
    // batch, channels, side, out channels, kernel, stride, padding, groups
    for (n, c, h, k, r, stride, pad, groups) in [
        (4, 3, 32, 6, 5, 1, 0, 1),
        (4, 6, 14, 16, 5, 1, 0, 1),
        (128, 3, 32, 6, 5, 1, 0, 1),
        (128, 6, 14, 16, 5, 1, 0, 1),
        (128, 64, 32, 64, 3, 1, 1, 1),
        (128, 256, 8, 256, 3, 1, 1, 1),
        (32, 512, 4, 512, 3, 1, 1, 1),
        (32, 64, 56, 64, 3, 1, 1, 1),
        (32, 256, 14, 256, 1, 1, 0, 1),
        (32, 128, 28, 128, 3, 2, 1, 1),
        (32, 96, 28, 96, 3, 1, 1, 96),
    ] {
        let name = format!("n{n}_c{c}_h{h}_k{k}_r{r}_s{stride}_p{pad}_g{groups}");
        if !name.contains(&filter) {
            continue;
        }
        let s = ConvShape {
            stride: [1, stride, stride],
            padding: [0, pad, pad],
            groups,
            ..ConvShape::conv2d(n, c, [h, h], k, [r, r])
        };
        let fill = |n: usize| -> Vec<f32> { (0..n).map(|i| (i % 13) as f32 - 6.0).collect() };
        let (x, w, g) = (
            fill(s.input_len()),
            fill(s.weight_len()),
            fill(s.output_len()),
        );
        let (mut out, mut grad_in, mut grad_w) = (g.clone(), x.clone(), w.clone());
        let bias = fill(k);
        let times = [
            best(|| conv_forward(&s, &x, &w, Some(&bias), &mut out)),
            best(|| conv_backward_data(&s, &g, &w, &mut grad_in)),
            best(|| conv_backward_weight(&s, &x, &g, &mut grad_w)),
        ];
        let flop = 3.0 * 2.0 * (g.len() * (c / groups) * r * r) as f64;
        let total: f64 = times.iter().sum();
        println!(
            "{name:34} fwd {:9.1} data {:9.1} weight {:9.1} all {:9.1} us  {:6.1} GFLOP/s",
            times[0] * 1e6,
            times[1] * 1e6,
            times[2] * 1e6,
            total * 1e6,
            flop / total / 1e9
        );
    }
}
