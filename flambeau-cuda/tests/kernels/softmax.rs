use crate::support::*;
use flambeau_cuda::kernels::{ClassLoss, softmax, softmax_backward};
use flambeau_cuda::{Ptr, Type};

/// Softmax of the middle dimension, as the definition has it.
fn reference(x: &[f64], [_, n, inner]: [usize; 3], log: bool) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for i in 0..x.len() {
        let first = i / (n * inner) * n * inner + i % inner;
        let column = || (0..n).map(|k| x[first + k * inner]);
        let max = column().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = column().map(|v| (v - max).exp()).sum();
        out[i] = if log {
            x[i] - max - sum.ln()
        } else {
            (x[i] - max).exp() / sum
        };
    }
    out
}

fn tolerance(ty: Type) -> f64 {
    if ty == Type::F64 {
        1e-13
    } else {
        4.0 * epsilon(ty)
    }
}

#[test]
fn forward_and_backward_of_every_type_by_rows_and_columns() {
    if !ready() {
        return;
    }
    // The last is longer than what a block holds.
    let shapes = [
        [1, 1, 1],
        [5, 10, 1],
        [3, 1003, 1],
        [2, 7, 5],
        [2, 20_001, 1],
        [0, 3, 1],
    ];
    for ty in Type::FLOATS {
        for log in [false, true] {
            for shape in shapes {
                let n = shape.iter().product();
                let (x, g) = (numbers(ty, n, 1), numbers(ty, n, 2));
                let [y, dx] = both_orders(|order| {
                    let (mut from, mut grad) = (Buffer::of(ty, &x), Buffer::of(ty, &g));
                    let (mut y, mut dx) = (Buffer::new(ty, n), Buffer::new(ty, n));
                    run(order, softmax(ty, log, shape, from.ptr(), y.ptr()));
                    let of = [grad.ptr(), y.ptr()];
                    run(order, softmax_backward(ty, log, shape, of, dx.ptr()));
                    [y, dx]
                });
                let what = format!("softmax {ty:?} {log} {shape:?}");
                close(&what, &y, &reference(&x, shape, log), tolerance(ty));
                // From the rounded output, as the kernel sees it.
                let [_, len, inner] = shape;
                let want: Vec<f64> = (0..n)
                    .map(|i| {
                        let first = i / (len * inner) * len * inner + i % inner;
                        let column = (0..len).map(|k| first + k * inner);
                        let sum: f64 = column.map(|j| if log { g[j] } else { g[j] * y[j] }).sum();
                        if log {
                            g[i] - y[i].exp() * sum
                        } else {
                            (g[i] - sum) * y[i]
                        }
                    })
                    .collect();
                close(&format!("{what} gradient"), &dx, &want, 8.0 * tolerance(ty));
            }
        }
    }
}

#[test]
fn infinities_and_nan() {
    if !ready() {
        return;
    }
    let low = f64::NEG_INFINITY;
    let x = [low, 0.0, low, low, low, low, 1.0, f64::NAN, 2.0];
    let [y] = both_orders(|order| {
        let (mut from, mut y) = (Buffer::of(Type::F32, &x), Buffer::new(Type::F32, 9));
        run(
            order,
            softmax(Type::F32, false, [3, 3, 1], from.ptr(), y.ptr()),
        );
        [y]
    });
    assert_eq!(y[..3], [0.0, 1.0, 0.0]);
    assert!(y[3..].iter().all(|v| v.is_nan()));
}

const IGNORE: i64 = -100;

struct Case {
    rows: usize,
    classes: usize,
    smoothing: f64,
    weighted: bool,
    logits: bool,
    /// None: a loss for each row.
    mean: Option<bool>,
}

/// Loss or losses, log-probabilities, total weight, and the gradient for a gradient of 1 (or 1, 2,
/// ... for the rows): by the formulas at the top of the kernel's file.
fn class_loss(c: &Case, x: &[f64], target: &[f64], w: &[f64]) -> [Vec<f64>; 4] {
    let l = if c.logits {
        reference(x, [c.rows, c.classes, 1], true)
    } else {
        x.to_vec()
    };
    let counts = |i: usize| target[i] as i64 != IGNORE;
    let weight = |i: usize| {
        if counts(i) {
            w[target[i] as usize]
        } else {
            0.0
        }
    };
    let total: f64 = (0..c.rows).map(weight).sum();
    let spread = c.smoothing / c.classes as f64;
    let loss = |i: usize| {
        if !counts(i) {
            return 0.0;
        }
        let l = &l[i * c.classes..][..c.classes];
        let all: f64 = l.iter().zip(w).map(|(l, w)| l * w).sum();
        -(1.0 - c.smoothing) * weight(i) * l[target[i] as usize] - spread * all
    };
    let losses: Vec<f64> = (0..c.rows).map(loss).collect();
    let sum: f64 = losses.iter().sum();
    let value = match c.mean {
        None => losses,
        Some(mean) => vec![if mean { sum / total } else { sum }],
    };
    let mut gradient = vec![0.0; x.len()];
    for i in (0..c.rows).filter(|&i| counts(i)) {
        let g = match c.mean {
            None => (i + 1) as f64,
            Some(mean) => {
                if mean {
                    1.0 / total
                } else {
                    1.0
                }
            }
        };
        // dl of each class, then through log-softmax.
        let dl: Vec<f64> = (0..c.classes)
            .map(|k| {
                let hit = if k == target[i] as usize {
                    (1.0 - c.smoothing) * w[k]
                } else {
                    0.0
                };
                -g * (hit + spread * w[k])
            })
            .collect();
        let sum: f64 = dl.iter().sum();
        for (k, dl) in dl.iter().enumerate() {
            let at = i * c.classes + k;
            gradient[at] = dl - if c.logits { l[at].exp() * sum } else { 0.0 };
        }
    }
    [value, l, vec![total], gradient]
}

#[test]
fn cross_entropy_and_likelihood_forward_and_backward() {
    if !ready() {
        return;
    }
    let case = |rows, classes, smoothing, weighted, logits, mean| Case {
        rows,
        classes,
        smoothing,
        weighted,
        logits,
        mean,
    };
    let cases = [
        case(4, 10, 0.0, false, true, Some(true)),
        case(5, 3, 0.1, true, true, Some(true)),
        case(3, 1000, 0.2, true, true, Some(false)),
        case(6, 7, 0.0, true, false, None),
        case(6, 7, 0.3, false, true, None),
        case(3000, 2, 0.0, false, true, Some(true)),
    ];
    for ty in Type::FLOATS {
        let acc = ty.accumulate();
        for c in &cases {
            let x = numbers(ty, c.rows * c.classes, 4);
            let target: Vec<f64> = (0..c.rows)
                .map(|i| {
                    if i % 5 == 3 {
                        IGNORE as f64
                    } else {
                        (i * 7 % c.classes) as f64
                    }
                })
                .collect();
            let w: Vec<f64> = (0..c.classes)
                .map(|k| {
                    if c.weighted {
                        0.5 + (k % 4) as f64 / 2.0
                    } else {
                        1.0
                    }
                })
                .collect();
            let results = if c.mean.is_none() { c.rows } else { 1 };
            let grads: Vec<f64> = (1..=results).map(|i| i as f64).collect();
            let got = both_orders(|order| {
                let mut from = Buffer::of(ty, &x);
                let mut targets = Buffer::of(Type::I64, &target);
                let mut weights = Buffer::of(acc, &w);
                let mut l = Buffer::new(acc, x.len());
                let [mut losses, mut each] = [0; 2].map(|_| Buffer::new(Type::F64, c.rows));
                let (mut out, mut total) = (Buffer::new(ty, 1), Buffer::new(Type::F32, 1));
                let mut dx = Buffer::new(ty, x.len());
                let (mut grad, mut fault) = (Buffer::of(ty, &grads), Buffer::zeros(Type::I64, 3));
                let op = ClassLoss {
                    ty,
                    logits: c.logits,
                    rows: c.rows,
                    classes: c.classes,
                    target: targets.ptr(),
                    weight: if c.weighted { weights.ptr() } else { 0 },
                    ignore: IGNORE,
                    smoothing: c.smoothing,
                };
                let to: Ptr = if c.mean.is_some() { out.ptr() } else { 0 };
                let mean = c.mean == Some(true);
                let rows = [losses.ptr(), each.ptr()];
                run(
                    order,
                    op.forward(
                        from.ptr(),
                        l.ptr(),
                        rows,
                        (to, mean),
                        total.ptr(),
                        fault.ptr(),
                    ),
                );
                let by = if mean { total.ptr() } else { 0 };
                run(
                    order,
                    op.backward(l.ptr(), (grad.ptr(), c.mean.is_none()), by, dx.ptr()),
                );
                assert_eq!(fault.values()[0], 0.0);
                let value = if c.mean.is_some() { out } else { losses };
                [value, l, total, dx]
            });
            let want = class_loss(c, &x, &target, &w);
            let names = ["loss", "log-probabilities", "weights", "gradient"];
            for ((name, got), want) in names.iter().zip(&got).zip(&want) {
                // Log-probabilities are kept in the accumulating type.
                let loose = if *name == "log-probabilities" {
                    acc
                } else {
                    ty
                };
                close(
                    &format!("{name} {ty:?} {}x{}", c.rows, c.classes),
                    got,
                    want,
                    4.0 * tolerance(loose),
                );
            }
        }
    }
}

#[test]
fn a_target_that_is_no_class_is_reported() {
    if !ready() {
        return;
    }
    let mut x = Buffer::zeros(Type::F32, 6);
    let mut targets = Buffer::of(Type::I64, &[0.0, 3.0]);
    let mut l = Buffer::new(Type::F32, 6);
    let [mut losses, mut each] = [0; 2].map(|_| Buffer::new(Type::F64, 2));
    let mut total = Buffer::new(Type::F32, 1);
    let mut fault = Buffer::zeros(Type::I64, 3);
    let op = ClassLoss {
        ty: Type::F32,
        logits: true,
        rows: 2,
        classes: 3,
        target: targets.ptr(),
        weight: 0,
        ignore: IGNORE,
        smoothing: 0.0,
    };
    let rows = [losses.ptr(), each.ptr()];
    let launches = op.forward(x.ptr(), l.ptr(), rows, (0, false), total.ptr(), fault.ptr());
    run(flambeau_cuda::emulate::Order::Forward, launches);
    assert_eq!(fault.values(), [1.0, 3.0, 3.0]);
}
