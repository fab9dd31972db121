use crate::support::*;
use flambeau_cuda::kernels::{Expr, Params, elementwise};
use flambeau_cuda::{Args, Ptr, Type, Unit, View, emulate, row_major};

fn view(ptr: Ptr, ty: Type, strides: &[usize]) -> View<'_> {
    View { ptr, ty, strides }
}

/// Runs `expr` over contiguous inputs of one type, the first element `shift` places from alignment.
fn flat(expr: Expr, compute: Type, out: Type, shift: usize, inputs: &[(Type, &[f64])]) -> Vec<f64> {
    let n = inputs[0].1.len();
    let params = Params::from(&[0.5, 3.0][..]);
    let [values] = both_orders(|order| {
        let shifted = |(ty, v): &(Type, &[f64])| Buffer::of(*ty, &[&vec![9.0; shift], *v].concat());
        let mut buffers: Vec<Buffer> = inputs.iter().map(shifted).collect();
        let mut result = Buffer::new(out, n);
        let views: Vec<_> = buffers
            .iter_mut()
            .zip(inputs)
            .map(|(b, (ty, _))| view(b.at(shift), *ty, &[1]))
            .collect();
        let to = view(result.ptr(), out, &[1]);
        run(
            order,
            elementwise(expr, compute, &[n], to, &views, params).unwrap(),
        );
        [result]
    });
    values
}

#[test]
fn one_two_and_three_inputs_of_every_type() {
    if !ready() {
        return;
    }
    for ty in Type::ALL {
        for (n, shift) in [(1, 0), (64, 0), (1003, 0), (1003, 1)] {
            let [a, b, c] = [1, 2, 3].map(|seed| numbers(ty, n, seed));
            let inputs = [(ty, &a[..]), (ty, &b[..]), (ty, &c[..])];
            let compute = ty.compute();
            let got = flat(Expr::unary("x + p1"), compute, ty, shift, &inputs[..1]);
            let want: Vec<f64> = a.iter().map(|a| rounded(ty, a + 3.0)).collect();
            close("unary", &got, &want, 0.0);
            let got = flat(Expr::binary("a - b"), compute, ty, shift, &inputs[..2]);
            let want: Vec<f64> = a.iter().zip(&b).map(|(a, b)| rounded(ty, a - b)).collect();
            close("binary", &got, &want, 0.0);
            let got = flat(Expr::ternary("a * b + c"), compute, ty, shift, &inputs);
            let want: Vec<f64> = (0..n).map(|i| rounded(ty, a[i] * b[i] + c[i])).collect();
            close("ternary", &got, &want, 0.0);
            let got = flat(
                Expr::binary("a < b"),
                compute,
                Type::Bool,
                shift,
                &inputs[..2],
            );
            let want: Vec<f64> = (0..n).map(|i| f64::from(u8::from(a[i] < b[i]))).collect();
            close("compare", &got, &want, 0.0);
        }
    }
}

/// A kernel for each pair of types, named as in `f16_int`, that converts as elementwise kernels do.
const CONVERSIONS: &str = r#"
#include "common.cuh"

template <class T> struct Compute { typedef int type; };
template <> struct Compute<i64> { typedef i64 type; };
template <> struct Compute<f16> { typedef float type; };
template <> struct Compute<bf16> { typedef float type; };
template <> struct Compute<float> { typedef float type; };
template <> struct Compute<double> { typedef double type; };

#define PAIR(FROM, TO, BY)                                                                         \
    extern "C" __global__ void FROM##_##TO(const FROM* x, TO* out, i64 n) {                        \
        i64 i = global_thread();                                                                   \
        if (i < n) out[i] = convert<TO>(convert<Compute<BY>::type>(x[i]));                         \
    }
#define FROM(F)                                                                                    \
    PAIR(F, bool, F) PAIR(F, u8, u8) PAIR(F, i8, i8) PAIR(F, i16, i16) PAIR(F, int, int)           \
    PAIR(F, i64, i64) PAIR(F, f16, f16) PAIR(F, bf16, bf16) PAIR(F, float, float)                  \
    PAIR(F, double, double)
FROM(bool) FROM(u8) FROM(i8) FROM(i16) FROM(int) FROM(i64) FROM(f16) FROM(bf16) FROM(float) FROM(double)
"#;

fn converted(from: Type, to: Type, x: &[f64]) -> Vec<f64> {
    let [values] = both_orders(|order| {
        let (mut source, mut out) = (Buffer::of(from, x), Buffer::new(to, x.len()));
        let mut args = Args::new();
        args.push(source.ptr()).push(out.ptr()).push(x.len() as i64);
        let entry = format!("{}_{}", from.name(), to.name());
        let unit = Unit::of("conversions.cu", CONVERSIONS);
        let module = emulate::compile(&unit).unwrap();
        // SAFETY: every kernel there takes two arrays and their length.
        let done = unsafe {
            module.launch_in(&entry, [1; 3], [128, 1, 1], 0, &mut args.pointers(), order)
        };
        done.unwrap();
        [out]
    });
    values
}

#[test]
fn every_type_is_converted_to_every_other_as_pytorch_does() {
    if !ready() {
        return;
    }
    for from in Type::ALL {
        let mut x = numbers(from, 37, 5);
        if from.is_float() {
            let edges = [0.5, -0.5, 300.7, -300.7, 1e-8, f64::INFINITY, f64::NAN];
            x.extend(edges.map(|v| rounded(from, v)));
        } else if from != Type::Bool {
            x.extend([100.0, 127.0]);
        }
        for to in Type::ALL {
            // A float beyond 64 bits has no image among the narrow integers that C++ defines.
            let keep = |v: &f64| to.is_float() || to == Type::Bool || v.is_finite();
            let x: Vec<f64> = x.iter().copied().filter(keep).collect();
            let want: Vec<f64> = x.iter().map(|&v| rounded(to, v)).collect();
            let what = format!("{from:?} to {to:?}");
            close(&what, &converted(from, to, &x), &want, 0.0);
        }
    }
    // NaN is 0, infinities are the ends.
    let x = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let got = flat(Expr::COPY, Type::I64, Type::I64, 0, &[(Type::F32, &x)]);
    assert_eq!(got, [0.0, i64::MAX as f64, i64::MIN as f64]);
}

/// All 16-bit numbers, and the points between them where rounding turns.
#[test]
fn sixteen_bit_types_round_as_the_half_crate_does() {
    if !ready() {
        return;
    }
    for ty in [Type::F16, Type::BF16] {
        let wide = |bits: u16| match ty {
            Type::F16 => half::f16::from_bits(bits).to_f64(),
            _ => half::bf16::from_bits(bits).to_f64(),
        };
        let all: Vec<f64> = (0..=u16::MAX).map(wide).collect();
        let got = flat(Expr::COPY, Type::F32, Type::F32, 0, &[(ty, &all)]);
        close("widened", &got, &all, 0.0);
        let turns = if ty == Type::F16 {
            [0xfff, 0x1000, 0x1001]
        } else {
            [0x7fff, 0x8000, 0x8001]
        };
        let x: Vec<f64> = all
            .iter()
            .step_by(3)
            .flat_map(|&v| turns.map(|t| f64::from(f32::from_bits((v as f32).to_bits() | t))))
            .collect();
        let got = flat(Expr::COPY, Type::F32, ty, 0, &[(Type::F32, &x)]);
        let want: Vec<f64> = x.iter().map(|&v| rounded(ty, v)).collect();
        close("narrowed", &got, &want, 0.0);
    }
}

#[test]
fn views_broadcasts_and_strided_results() {
    if !ready() {
        return;
    }
    // out[i][j][k] = a[k][i][j] - b[j], written with gaps.
    let shape = [3, 4, 5];
    let (sa, sb, so) = ([4, 1, 12], [0, 2, 0], [40, 10, 2]);
    for ty in [Type::F32, Type::BF16, Type::I64, Type::U8] {
        let (a, b) = (numbers(ty, 60, 1), numbers(ty, 8, 2));
        let [got] = both_orders(|order| {
            let (mut xa, mut xb) = (Buffer::of(ty, &a), Buffer::of(ty, &b));
            let mut out = Buffer::zeros(ty, 120);
            let inputs = [view(xa.ptr(), ty, &sa), view(xb.ptr(), ty, &sb)];
            let to = view(out.ptr(), ty, &so);
            let expr = Expr::binary("a - b");
            run(
                order,
                elementwise(expr, ty.compute(), &shape, to, &inputs, Params::default()).unwrap(),
            );
            [out]
        });
        let mut want = vec![0.0; 120];
        for (i, j, k) in (0..60).map(|i| (i / 20, i / 5 % 4, i % 5)) {
            want[i * 40 + j * 10 + k * 2] = rounded(ty, a[i * 4 + j + k * 12] - b[j * 2]);
        }
        close("strided", &got, &want, 0.0);
    }
    // Eight dimensions that do not join.
    let shape = [2; 8];
    let mut strides: Vec<usize> = row_major(&shape).to_vec();
    strides.reverse();
    let a = numbers(Type::F32, 256, 3);
    let [got] = both_orders(|order| {
        let (mut x, mut out) = (Buffer::of(Type::F32, &a), Buffer::new(Type::F32, 256));
        let to = row_major(&shape);
        let to = view(out.ptr(), Type::F32, &to);
        let from = [view(x.ptr(), Type::F32, &strides)];
        run(
            order,
            elementwise(Expr::COPY, Type::F32, &shape, to, &from, Params::default()).unwrap(),
        );
        [out]
    });
    let want: Vec<f64> = (0..=255u8)
        .map(|i| a[usize::from(i.reverse_bits())])
        .collect();
    close("reversed", &got, &want, 0.0);
    // What lies alike in another order than the shape's is one run; broadcast operands go by that order.
    let (shape, last) = ([2, 3, 4, 5], [60, 1, 15, 3]);
    let (to, each) = (view(0, Type::F32, &last), view(0, Type::F32, &[0, 1, 0, 0]));
    let entry = |inputs: &[View<'_>]| {
        let add = Expr::binary("a + b");
        let launch = elementwise(add, Type::F32, &shape, to, inputs, Params::default());
        launch.unwrap().unwrap().entry
    };
    assert_eq!(entry(&[to, to]), "elementwise");
    assert_eq!(entry(&[to, each]), "elementwise_strided");
    let (a, b) = (numbers(Type::F32, 120, 4), numbers(Type::F32, 3, 5));
    let [got] = both_orders(|order| {
        let (mut x, mut y) = (Buffer::of(Type::F32, &a), Buffer::of(Type::F32, &b));
        let mut out = Buffer::new(Type::F32, 120);
        let at = |ptr, strides| view(ptr, Type::F32, strides);
        let from = [at(x.ptr(), &last), at(y.ptr(), &[0, 1, 0, 0])];
        let (add, to) = (Expr::binary("a + b"), at(out.ptr(), &last));
        run(
            order,
            elementwise(add, Type::F32, &shape, to, &from, Params::default()).unwrap(),
        );
        [out]
    });
    let want: Vec<f64> = (0..120)
        .map(|i| rounded(Type::F32, a[i] + b[i % 3]))
        .collect();
    close("channels innermost", &got, &want, 0.0);
    let (shape, strides) = (
        [2; 9],
        [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|i| 3usize.pow(8 - i)),
    );
    let v = view(0, Type::F32, &strides);
    assert!(elementwise(Expr::COPY, Type::F32, &shape, v, &[v], Params::default()).is_err());
}

#[test]
fn filling_counting_and_nothing() {
    if !ready() {
        return;
    }
    for ty in Type::ALL {
        let [filled, counted] = both_orders(|order| {
            let (mut a, mut b) = (Buffer::new(ty, 77), Buffer::new(ty, 77));
            let fill = Params::from(&[1.0][..]);
            let to = view(a.ptr(), ty, &[1]);
            run(
                order,
                elementwise(Expr::FILL, ty.compute(), &[77], to, &[], fill).unwrap(),
            );
            let count = Params::from(&[3.0, 2.0][..]);
            let to = view(b.ptr(), ty, &[1]);
            run(
                order,
                elementwise(Expr::ARANGE, ty.compute(), &[77], to, &[], count).unwrap(),
            );
            [a, b]
        });
        assert!(filled.iter().all(|&v| v == 1.0));
        let want: Vec<f64> = (0..77)
            .map(|i| rounded(ty, 3.0 + 2.0 * f64::from(i)))
            .collect();
        close("arange", &counted, &want, 0.0);
    }
    let nothing = elementwise(
        Expr::FILL,
        Type::F32,
        &[3, 0],
        view(0, Type::F32, &[0, 1]),
        &[],
        Params::default(),
    );
    assert!(nothing.unwrap().is_none());
}

/// What `math.cuh` adds: digamma and polygamma 2 as PyTorch has them in f64, trigamma by its closed
/// forms (pi^2 / 6, pi^2 / 2, pi^2 / 2 - 1036 / 225).
#[test]
fn special_functions() {
    if !ready() {
        return;
    }
    let unary = |text: &'static str, x: &[f64]| {
        flat(
            Expr::unary(text),
            Type::F64,
            Type::F64,
            0,
            &[(Type::F64, x)],
        )
    };
    let got = unary("digamma(x)", &[1.0, 0.5, -0.5, 10.0, -3.7, 100.5]);
    let want = [
        -0.5772156649015329,
        -1.9635100260214235,
        0.03648997397857652,
        2.251752589066721,
        -0.8450768588704183,
        4.605174352581845,
    ];
    close("digamma", &got, &want, 1e-13);
    let got = unary("polygamma(1, x)", &[1.0, 0.5, 3.5]);
    close(
        "trigamma",
        &got,
        &[1.6449340668482264, 4.934802200544679, 0.330357756100235],
        1e-13,
    );
    let got = unary("polygamma(2, x)", &[1.0, 2.5]);
    close(
        "polygamma 2",
        &got,
        &[-2.4041138063191885, -0.23620405164172742],
        1e-13,
    );
    let got = unary("sigmoid(x) + square(sign(x))", &[0.0, -800.0]);
    close("sigmoid", &got, &[0.5, 1.0], 1e-15);
    let x = [7.0, -7.0, 7.0, -7.0, 6.0, 5.5];
    let y = [3.0, 3.0, -3.0, -3.0, -3.0, 2.0];
    let two = |text, ty: Type| {
        flat(
            Expr::binary(text),
            ty.compute(),
            ty,
            0,
            &[(ty, &x), (ty, &y)],
        )
    };
    close(
        "floats",
        &two("remainder_floor(a, b)", Type::F32),
        &[1.0, 2.0, -2.0, -1.0, 0.0, 1.5],
        0.0,
    );
    close(
        "integers",
        &two("remainder_floor(a, b)", Type::I32),
        &[1.0, 2.0, -2.0, -1.0, 0.0, 1.0],
        0.0,
    );
    close(
        "quotients",
        &two("divide_floor(a, b)", Type::I64),
        &[2.0, -3.0, -3.0, 2.0, -2.0, 2.0],
        0.0,
    );
    let nan = [f64::NAN, 1.0, 2.0];
    let other = [1.0, f64::NAN, 3.0];
    let got = flat(
        Expr::binary("maximum(a, b)"),
        Type::F32,
        Type::F32,
        0,
        &[(Type::F32, &nan), (Type::F32, &other)],
    );
    close("maximum", &got, &[f64::NAN, f64::NAN, 3.0], 0.0);
}
