use crate::support::*;
use flambeau_cuda::Type;
use flambeau_cuda::kernels::{ChannelNorm, Reduce, RowNorm, reduce};
use flambeau_cuda::{View, row_major};

const EPS: f64 = 1e-3;

/// Values, mean and variance of the group that each element belongs to, all in f64.
fn normalise(x: &[f64], group: &dyn Fn(usize) -> usize, groups: usize) -> [Vec<f64>; 3] {
    let (mut n, mut mean, mut var) = (vec![0.0; groups], vec![0.0; groups], vec![0.0; groups]);
    for (i, v) in x.iter().enumerate() {
        n[group(i)] += 1.0;
        mean[group(i)] += v;
    }
    mean.iter_mut().zip(&n).for_each(|(m, n)| *m /= n);
    for (i, v) in x.iter().enumerate() {
        var[group(i)] += (v - mean[group(i)]).powi(2) / n[group(i)];
    }
    let normal = |(i, v): (usize, &f64)| (v - mean[group(i)]) / (var[group(i)] + EPS).sqrt();
    [x.iter().enumerate().map(normal).collect(), mean, var]
}

/// The output, and the gradients of input, weight and bias, by the chain rule over the groups.
fn reference(
    [x, g, w, b]: [&[f64]; 4],
    group: &dyn Fn(usize) -> usize,
    channel: &dyn Fn(usize) -> usize,
    fixed: bool,
) -> [Vec<f64>; 4] {
    let groups = (0..x.len()).map(group).max().map_or(0, |m| m + 1);
    let [normal, _, var] = normalise(x, group, groups);
    let y = (0..x.len())
        .map(|i| normal[i] * w[channel(i)] + b[channel(i)])
        .collect();
    let (mut gw, mut gb) = (vec![0.0; w.len()], vec![0.0; w.len()]);
    let (mut n, mut sum, mut dot) = (vec![0.0; groups], vec![0.0; groups], vec![0.0; groups]);
    for i in 0..x.len() {
        gw[channel(i)] += g[i] * normal[i];
        gb[channel(i)] += g[i];
        n[group(i)] += 1.0;
        sum[group(i)] += g[i] * w[channel(i)];
        dot[group(i)] += g[i] * w[channel(i)] * normal[i];
    }
    let dx = (0..x.len())
        .map(|i| {
            let k = group(i);
            let pull = if fixed {
                0.0
            } else {
                (sum[k] + normal[i] * dot[k]) / n[k]
            };
            (g[i] * w[channel(i)] - pull) / (var[k] + EPS).sqrt()
        })
        .collect();
    [y, dx, gw, gb]
}

fn tolerance(ty: Type) -> f64 {
    if ty == Type::F64 {
        1e-12
    } else {
        16.0 * epsilon(ty)
    }
}

#[test]
fn layer_and_group_norm() {
    if !ready() {
        return;
    }
    // Rows, width, channels, inner: layer norms, one longer than what a block holds, and group norms.
    let cases = [
        (5, 7, 7, 1),
        (3, 1000, 1000, 1),
        (2, 20_001, 20_001, 1),
        (6, 12, 6, 4),
        (4, 15, 3, 5),
    ];
    for (ty, param) in [
        (Type::F32, Type::F32),
        (Type::F64, Type::F64),
        (Type::F16, Type::F16),
        (Type::BF16, Type::F32),
    ] {
        for (rows, width, channels, inner) in cases {
            let n = rows * width;
            let [x, g] = [1, 2].map(|seed| numbers(ty, n, seed));
            let [w, b] = [3, 4].map(|seed| numbers(param, channels, seed));
            let norm = RowNorm {
                ty,
                param,
                rows,
                width,
                channels,
                inner,
            };
            let got = both_orders(|order| {
                let [mut xs, mut gs] = [&x, &g].map(|v| Buffer::of(ty, v));
                let [mut ws, mut bs] = [&w, &b].map(|v| Buffer::of(param, v));
                let [mut y, mut dx] = [0; 2].map(|_| Buffer::new(ty, n));
                let [mut dw, mut db] = [0; 2].map(|_| Buffer::new(param, channels));
                let mut stats = Buffer::new(ty.accumulate(), 2 * rows);
                let mut scratch = Scratch::default();
                run(
                    order,
                    norm.forward(xs.ptr(), [ws.ptr(), bs.ptr()], EPS, y.ptr(), stats.ptr()),
                );
                let both = [xs.ptr(), gs.ptr()];
                run(order, norm.backward(both, ws.ptr(), stats.ptr(), dx.ptr()));
                let to = [dw.ptr(), db.ptr()];
                run(
                    order,
                    norm.affine(both, stats.ptr(), to, &mut |b| scratch.take(b)),
                );
                [y, dx, dw, db]
            });
            let want = reference(
                [&x, &g, &w, &b],
                &|i| i / width,
                &|i| i / inner % channels,
                false,
            );
            for (k, (got, want)) in got.iter().zip(&want).enumerate() {
                let what = format!("row norm {ty:?} {width} {k}");
                let many = (rows as f64).sqrt();
                close(
                    &what,
                    got,
                    want,
                    many * tolerance(if k < 2 { ty } else { param }),
                );
            }
        }
    }
    // Without weight and bias.
    let x = numbers(Type::F32, 12, 1);
    let [y] = both_orders(|order| {
        let (mut xs, mut y) = (Buffer::of(Type::F32, &x), Buffer::new(Type::F32, 12));
        let mut stats = Buffer::new(Type::F32, 6);
        let norm = RowNorm {
            ty: Type::F32,
            param: Type::F32,
            rows: 3,
            width: 4,
            channels: 4,
            inner: 1,
        };
        run(
            order,
            norm.forward(xs.ptr(), [0, 0], EPS, y.ptr(), stats.ptr()),
        );
        [y]
    });
    close("plain", &y, &normalise(&x, &|i| i / 4, 3)[0], 1e-5);
}

#[test]
fn batch_norm_by_its_own_and_by_given_statistics() {
    if !ready() {
        return;
    }
    let cases = [(4, 3, 8), (2, 5, 7), (600, 3, 1), (3, 2, 5000), (70, 40, 1)];
    for (ty, param) in [
        (Type::F32, Type::F32),
        (Type::F64, Type::F64),
        (Type::F16, Type::F32),
        (Type::BF16, Type::F32),
    ] {
        for (batch, channels, inner) in cases {
            let n = batch * channels * inner;
            let [x, g] = [1, 2].map(|seed| numbers(ty, n, seed));
            let [w, b] = [3, 4].map(|seed| numbers(param, channels, seed));
            let norm = ChannelNorm {
                ty,
                param,
                batch,
                channels,
                inner,
            };
            for fixed in [false, true] {
                let got = both_orders(|order| {
                    let [mut xs, mut gs] = [&x, &g].map(|v| Buffer::of(ty, v));
                    let [mut ws, mut bs] = [&w, &b].map(|v| Buffer::of(param, v));
                    let [mut y, mut dx] = [0; 2].map(|_| Buffer::new(ty, n));
                    let [mut dw, mut db] = [0; 2].map(|_| Buffer::new(param, channels));
                    let acc = ty.accumulate();
                    let [mut mean, mut var] = [0; 2].map(|_| Buffer::new(acc, channels));
                    let mut sums = Buffer::new(acc, 2 * channels);
                    let mut scratch = Scratch::default();
                    let shape = [batch, channels, inner];
                    let strides = row_major(&shape);
                    let view = View {
                        ptr: xs.ptr(),
                        ty,
                        strides: &strides,
                    };
                    let op = Reduce::Var { correction: 0.0 };
                    let to = (var.ptr(), acc);
                    let launches = reduce(op, &shape, &[0, 2], view, to, mean.ptr(), &mut |b| {
                        scratch.take(b)
                    });
                    run(order, launches.unwrap());
                    let stats = [mean.ptr(), var.ptr()];
                    run(
                        order,
                        norm.forward(xs.ptr(), stats, [ws.ptr(), bs.ptr()], EPS, y.ptr()),
                    );
                    let both = [xs.ptr(), gs.ptr()];
                    let to = [dw.ptr(), db.ptr()];
                    run(
                        order,
                        norm.affine(both, stats, EPS, sums.ptr(), to, &mut |b| scratch.take(b)),
                    );
                    let pull = if fixed { 0 } else { sums.ptr() };
                    run(
                        order,
                        norm.backward(both, stats, ws.ptr(), EPS, pull, dx.ptr()),
                    );
                    [y, dx, dw, db]
                });
                let channel = |i: usize| i / inner % channels;
                let want = reference([&x, &g, &w, &b], &channel, &channel, fixed);
                for (k, (got, want)) in got.iter().zip(&want).enumerate() {
                    let what = format!("batch norm {ty:?} {batch} {channels} {inner} {k}");
                    let many = ((batch * inner) as f64).sqrt();
                    close(
                        &what,
                        got,
                        want,
                        many * tolerance(if k < 2 { ty } else { param }),
                    );
                }
            }
        }
    }
}
