use crate::support::*;
use flambeau_cuda::kernels::{Reduce, reduce};
use flambeau_cuda::{Type, View, row_major};

/// The result and the second result of folding `dims` of a tensor.
fn folded(
    op: Reduce,
    shape: &[usize],
    strides: &[usize],
    dims: &[usize],
    (ty, x): (Type, &[f64]),
    to: [Type; 2],
) -> [Vec<f64>; 2] {
    let rows: usize = (0..shape.len())
        .filter(|d| !dims.contains(d))
        .map(|d| shape[d])
        .product();
    both_orders(|order| {
        let mut from = Buffer::of(ty, x);
        let [mut out, mut aux] = to.map(|ty| Buffer::zeros(ty, rows));
        let mut scratch = Scratch::default();
        let ptr = from.ptr();
        let x = View { ptr, ty, strides };
        let result = (out.ptr(), to[0]);
        let memory = &mut |bytes| scratch.take(bytes);
        let launches = reduce(op, shape, dims, x, result, aux.ptr(), memory);
        run(order, launches.unwrap());
        [out, aux]
    })
}

/// The elements that fold into each result, in order.
fn groups(shape: &[usize], strides: &[usize], dims: &[usize], x: &[f64]) -> Vec<Vec<f64>> {
    let kept: Vec<usize> = (0..shape.len()).filter(|d| !dims.contains(d)).collect();
    let sizes = |dims: &[usize]| dims.iter().map(|&d| shape[d]).collect::<Vec<_>>();
    let places = |dims: &[usize]| -> Vec<usize> {
        let sizes = sizes(dims);
        let steps = row_major(&sizes);
        let n: usize = sizes.iter().product();
        (0..n)
            .map(|i| {
                (0..dims.len())
                    .map(|k| i / steps[k] % sizes[k] * strides[dims[k]])
                    .sum()
            })
            .collect()
    };
    let inside = places(dims);
    places(&kept)
        .iter()
        .map(|&at| inside.iter().map(|i| x[at + i]).collect())
        .collect()
}

fn first(x: &[f64], wins: impl Fn(f64, f64) -> bool) -> usize {
    let better = |a: f64, b: f64| wins(a, b) || (a.is_nan() && !b.is_nan());
    (1..x.len()).fold(0, |best, i| if better(x[i], x[best]) { i } else { best })
}

fn wanted(op: Reduce, x: &[f64]) -> [f64; 2] {
    let n = x.len() as f64;
    let sum: f64 = x.iter().sum();
    let mean = sum / n;
    let nan = x.iter().any(|v| v.is_nan());
    let squares: f64 = x.iter().map(|v| (v - mean).powi(2)).sum();
    let truth = |b: bool| [f64::from(u8::from(b)), 0.0];
    match op {
        Reduce::Sum => [sum, 0.0],
        Reduce::Mean => [mean, 0.0],
        Reduce::Prod => [x.iter().product(), 0.0],
        Reduce::Max | Reduce::Min if nan => [f64::NAN, 0.0],
        Reduce::Max => [x.iter().copied().fold(f64::NEG_INFINITY, f64::max), 0.0],
        Reduce::Min => [x.iter().copied().fold(f64::INFINITY, f64::min), 0.0],
        Reduce::MaxAt => first(x, |a, b| a > b).pipe(|i| [x[i], i as f64]),
        Reduce::MinAt => first(x, |a, b| a < b).pipe(|i| [x[i], i as f64]),
        Reduce::Any => truth(x.iter().any(|&v| v != 0.0)),
        Reduce::All => truth(x.iter().all(|&v| v != 0.0)),
        Reduce::Norm2 => [x.iter().map(|v| v * v).sum::<f64>().sqrt(), 0.0],
        Reduce::NormP(p) => [
            x.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p),
            0.0,
        ],
        Reduce::Var { correction } => [squares / (n - correction).max(0.0), mean],
        Reduce::Std { correction } => [(squares / (n - correction).max(0.0)).sqrt(), mean],
    }
}

trait Pipe: Sized {
    fn pipe<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }
}
impl<T> Pipe for T {}

/// The types of both results of a fold of `ty`.
fn results(op: Reduce, ty: Type) -> [Type; 2] {
    match op {
        Reduce::Any | Reduce::All => [Type::Bool; 2],
        Reduce::MaxAt | Reduce::MinAt => [ty, Type::I64],
        Reduce::Sum | Reduce::Prod if !ty.is_float() => [Type::I64; 2],
        _ => [ty; 2],
    }
}

fn check(op: Reduce, ty: Type, shape: &[usize], strides: &[usize], dims: &[usize], x: &[f64]) {
    let to = results(op, ty);
    let got = folded(op, shape, strides, dims, (ty, x), to);
    let want: Vec<_> = groups(shape, strides, dims, x)
        .iter()
        .map(|x| wanted(op, x))
        .collect();
    let tolerance = epsilon(ty).max(if ty.is_float() {
        epsilon(Type::F32)
    } else {
        0.0
    });
    let tolerance = if ty == Type::F64 { 1e-14 } else { tolerance };
    for (i, got) in got.iter().enumerate() {
        let want: Vec<f64> = want.iter().map(|w| rounded(to[i], w[i])).collect();
        let what = format!("{op:?} {ty:?} {shape:?} {strides:?} {dims:?} {i}");
        close(&what, got, &want, 4.0 * tolerance);
    }
}

const ALL: [Reduce; 13] = [
    Reduce::Sum,
    Reduce::Mean,
    Reduce::Prod,
    Reduce::Max,
    Reduce::Min,
    Reduce::MaxAt,
    Reduce::MinAt,
    Reduce::Any,
    Reduce::All,
    Reduce::Norm2,
    Reduce::NormP(3.0),
    Reduce::Var { correction: 1.0 },
    Reduce::Std { correction: 0.0 },
];

#[test]
fn every_fold_over_every_choice_of_dimensions() {
    if !ready() {
        return;
    }
    let shape = [3, 5, 7];
    let layouts: [&[usize]; 3] = [&[35, 7, 1], &[1, 3, 15], &[0, 14, 2]];
    for op in ALL {
        for ty in [Type::F32, Type::F64] {
            let mut x = numbers(ty, 105, 7);
            if op == Reduce::Prod {
                // Products stay where their rounding can be told.
                x.iter_mut().for_each(|v| *v = 1.0 + *v / 16.0);
            }
            for strides in layouts {
                for dims in [
                    &[0][..],
                    &[1],
                    &[2],
                    &[0, 1],
                    &[0, 2],
                    &[1, 2],
                    &[0, 1, 2],
                    &[],
                ] {
                    check(op, ty, &shape, strides, dims, &x);
                }
            }
        }
    }
}

#[test]
fn every_type_by_rows_and_by_columns() {
    if !ready() {
        return;
    }
    for ty in Type::ALL {
        for op in [Reduce::Sum, Reduce::MaxAt, Reduce::Min, Reduce::All] {
            let x = numbers(ty, 3 * 600, 11);
            // Small numbers: the sums of 16-bit types stay exact in f32.
            check(op, ty, &[3, 600], &[600, 1], &[1], &x);
            check(op, ty, &[600, 3], &[3, 1], &[0], &x);
            check(op, ty, &[600, 3], &[3, 1], &[1], &x);
        }
    }
}

/// Longer than what one block takes: several leave their parts.
#[test]
fn long_rows_and_columns_in_parts() {
    if !ready() {
        return;
    }
    let x = numbers(Type::F32, 80_003, 3);
    for op in [Reduce::Sum, Reduce::MinAt, Reduce::Var { correction: 1.0 }] {
        check(op, Type::F32, &[2, 40_001], &[40_001, 1], &[1], &x);
        check(op, Type::F32, &[20_000, 4], &[4, 1], &[0], &x);
        check(op, Type::F32, &[80_003], &[1], &[0], &x);
    }
}

#[test]
fn nothing_and_no_numbers() {
    if !ready() {
        return;
    }
    let empty = |op, ty| folded(op, &[2, 0], &[1, 1], &[1], (ty, &[]), results(op, ty));
    assert_eq!(empty(Reduce::Sum, Type::F32)[0], [0.0; 2]);
    assert_eq!(empty(Reduce::Prod, Type::I32)[0], [1.0; 2]);
    assert_eq!(empty(Reduce::All, Type::F16)[0], [1.0; 2]);
    assert!(empty(Reduce::Mean, Type::F32)[0].iter().all(|v| v.is_nan()));
    let nothing = folded(
        Reduce::Sum,
        &[0, 3],
        &[3, 1],
        &[1],
        (Type::F32, &[]),
        [Type::F32; 2],
    );
    assert!(nothing[0].is_empty());
    let nan = f64::NAN;
    let x = [
        1.0,
        nan,
        3.0,
        nan,
        f64::NEG_INFINITY,
        f64::NEG_INFINITY,
        f64::INFINITY,
        2.0,
    ];
    for op in [Reduce::Max, Reduce::Min, Reduce::MaxAt, Reduce::MinAt] {
        check(op, Type::F32, &[2, 4], &[4, 1], &[1], &x);
        check(op, Type::BF16, &[2, 4], &[4, 1], &[0], &x);
    }
    // All equal to what the fold starts from.
    check(
        Reduce::MaxAt,
        Type::F32,
        &[3],
        &[0],
        &[0],
        &[f64::NEG_INFINITY],
    );
}
