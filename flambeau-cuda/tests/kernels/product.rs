use crate::support::*;
use flambeau_cpu::conv::{self as cpu, ConvShape};
use flambeau_cuda::Type;
use flambeau_cuda::kernels::{Conv, Matrix, matmul};

/// As close as sums of `n` products of numbers up to 2 have to be.
fn tolerance(ty: Type, n: usize) -> f64 {
    match ty {
        Type::F64 => 1e-13,
        ty => 2.0 * epsilon(ty) + (n as f64).sqrt() * epsilon(Type::F32),
    }
}

#[test]
fn products_of_every_type_order_and_batch() {
    if !ready() {
        return;
    }
    let types = [
        Type::F32,
        Type::F64,
        Type::F16,
        Type::BF16,
        Type::I32,
        Type::I64,
        Type::U8,
    ];
    for ty in types {
        for [m, n, k] in [
            [1, 1, 1],
            [5, 7, 3],
            [64, 64, 16],
            [65, 70, 33],
            [3, 130, 0],
        ] {
            for (turned, batches) in [(false, 1), (true, 3)] {
                // The right operand is shared by all batches, the left one where not turned.
                let a = numbers(ty, batches * m * k, 1);
                let (b, bias) = (numbers(ty, n * k, 2), numbers(ty, n, 3));
                let (row, column) = if turned { (1, m) } else { (k, 1) };
                let [got] = both_orders(|order| {
                    let (mut xa, mut xb) = (Buffer::of(ty, &a), Buffer::of(ty, &b));
                    let (mut xc, mut out) =
                        (Buffer::of(ty, &bias), Buffer::new(ty, batches * m * n));
                    let left = Matrix {
                        ptr: xa.ptr(),
                        batches: &[m * k],
                        row,
                        column,
                    };
                    let (row, column) = if turned { (1, k) } else { (n, 1) };
                    let right = Matrix {
                        ptr: xb.ptr(),
                        batches: &[0],
                        row,
                        column,
                    };
                    let factors = [1.0, 0.0];
                    let bias = if turned { 0 } else { xc.ptr() };
                    let launch = matmul(
                        (ty, ty),
                        &[batches],
                        [m, n, k],
                        left,
                        right,
                        factors,
                        bias,
                        out.ptr(),
                    );
                    run(order, launch);
                    [out]
                });
                let mut want = Vec::new();
                for (batch, i, j) in (0..batches * m * n).map(|i| (i / (m * n), i / n % m, i % n)) {
                    let sum: f64 = (0..k)
                        .map(|l| {
                            let x = a[batch * m * k + i * row + l * column];
                            x * b[if turned { l + j * k } else { l * n + j }]
                        })
                        .sum();
                    want.push(rounded(ty, sum + if turned { 0.0 } else { bias[j] }));
                }
                close(
                    &format!("matmul {ty:?} {m} {n} {k}"),
                    &got,
                    &want,
                    tolerance(ty, k),
                );
            }
        }
    }
    // alpha and beta, into another type, over what stands there.
    let (a, b, c) = (
        numbers(Type::F16, 6, 1),
        numbers(Type::F16, 6, 2),
        numbers(Type::F32, 4, 3),
    );
    let [got] = both_orders(|order| {
        let (mut xa, mut xb) = (Buffer::of(Type::F16, &a), Buffer::of(Type::F16, &b));
        let mut out = Buffer::of(Type::F32, &c);
        let left = Matrix {
            ptr: xa.ptr(),
            batches: &[],
            row: 3,
            column: 1,
        };
        let right = Matrix {
            ptr: xb.ptr(),
            batches: &[],
            row: 2,
            column: 1,
        };
        let types = (Type::F16, Type::F32);
        run(
            order,
            matmul(types, &[], [2, 2, 3], left, right, [0.5, 2.0], 0, out.ptr()),
        );
        [out]
    });
    let want: Vec<f64> = (0..4)
        .map(|i| {
            let sum: f64 = (0..3).map(|l| a[i / 2 * 3 + l] * b[l * 2 + i % 2]).sum();
            0.5 * sum + 2.0 * c[i]
        })
        .collect();
    close("alpha and beta", &got, &want, 1e-6);
}

#[test]
fn convolutions_and_their_gradients() {
    if !ready() {
        return;
    }
    let plain = ConvShape::conv2d(2, 3, [9, 8], 4, [3, 2]);
    let shapes = [
        plain,
        ConvShape {
            stride: [1, 2, 3],
            padding: [0, 1, 2],
            dilation: [1, 2, 1],
            ..plain
        },
        ConvShape {
            groups: 2,
            in_channels: 4,
            out_channels: 6,
            padding: [0, 1, 1],
            ..plain
        },
        ConvShape {
            groups: 3,
            ..ConvShape {
                out_channels: 3,
                ..plain
            }
        },
        ConvShape {
            input: [4, 5, 6],
            kernel: [2, 3, 2],
            stride: [2, 1, 2],
            padding: [1, 0, 1],
            ..plain
        },
        ConvShape {
            input: [1, 1, 17],
            kernel: [1, 1, 5],
            padding: [0, 0, 2],
            ..plain
        },
        // Sums of the weight's gradient in parts.
        ConvShape::conv2d(3, 1, [40, 30], 2, [3, 3]),
        ConvShape { batch: 0, ..plain },
    ];
    for (ty, param) in [
        (Type::F32, Type::F32),
        (Type::F64, Type::F64),
        (Type::F16, Type::F16),
        (Type::BF16, Type::F32),
    ] {
        for (s, last) in shapes.iter().flat_map(|s| [(s, false), (s, true)]) {
            let output = s.output().unwrap();
            // A sample's or filter's channels innermost.
            let laid = |list: &[f64], channels: usize, each: usize| -> Vec<f64> {
                match last {
                    true => (list.chunks(each).flat_map(|part| turned(part, channels))).collect(),
                    false => list.to_vec(),
                }
            };
            let channels = [s.in_channels, s.out_channels, s.groups];
            let sizes = [s.input, output, s.kernel];
            let conv = Conv::new(s.batch, channels, sizes, [s.stride, s.padding, s.dilation])
                .channels_last(last);
            let (inputs, outputs, weights) = (s.input_len(), s.output_len(), s.weight_len());
            let (x, g) = (numbers(ty, inputs, 1), numbers(ty, outputs, 2));
            let (w, b) = (
                numbers(param, weights, 3),
                numbers(param, s.out_channels, 4),
            );
            let (ins, outs) = (s.in_channels, s.out_channels);
            let of_x = |list: &[f64]| laid(list, ins, ins * s.input.iter().product::<usize>());
            let of_y = |list: &[f64]| laid(list, outs, outs * output.iter().product::<usize>());
            let of_w = |list: &[f64]| laid(list, ins / s.groups, weights / outs);
            let got = both_orders(|order| {
                let (mut xs, mut gs) = (Buffer::of(ty, &of_x(&x)), Buffer::of(ty, &of_y(&g)));
                let (mut ws, mut bs) = (Buffer::of(param, &of_w(&w)), Buffer::of(param, &b));
                let (mut y, mut dx) = (Buffer::new(ty, outputs), Buffer::new(ty, inputs));
                let mut dw = Buffer::new(param, weights);
                let types = [ty, param];
                let mut scratch = Scratch::default();
                run(
                    order,
                    conv.forward(types, xs.ptr(), [ws.ptr(), bs.ptr()], y.ptr()),
                );
                run(order, conv.data(types, gs.ptr(), [ws.ptr(), 0], dx.ptr()));
                let both = [xs.ptr(), gs.ptr()];
                run(
                    order,
                    conv.weight(types, both, dw.ptr(), &mut |b| scratch.take(b)),
                );
                [y, dx, dw]
            });
            let mut want = [vec![0.0; outputs], vec![0.0; inputs], vec![0.0; weights]];
            let [y, dx, dw] = &mut want;
            cpu::reference::forward(s, &x, &w, Some(&b), y);
            cpu::reference::backward_data(s, &g, &w, dx);
            cpu::reference::backward_weight(s, &x, &g, dw);
            let want = [of_y(y), of_x(dx), of_w(dw)];
            for (k, (got, want)) in got.iter().zip(&want).enumerate() {
                let ty = if k == 2 { param } else { ty };
                close(
                    &format!("conv {ty:?} {s:?} channels last {last} {k}"),
                    got,
                    want,
                    tolerance(ty, 4000),
                );
            }
        }
    }
}
