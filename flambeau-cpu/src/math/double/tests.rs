use super::*;

type One = fn(f64) -> f64;
type Slice = fn(&[f64], &mut [f64]);

/// Each function, that of slices, the standard one, and the largest error allowed.
const FUNCTIONS: &[(&str, One, Slice, One, f64)] = &[
    ("exp", exp, vexp, f64::exp, 1.0),
    ("exp2", exp2, vexp2, f64::exp2, 1.1),
    ("expm1", expm1, vexpm1, f64::exp_m1, 2.0),
    ("tanh", tanh, vtanh, f64::tanh, 2.0),
    (
        "sigmoid",
        sigmoid,
        vsigmoid,
        |x| {
            if x < 0.0 {
                x.exp() / (1.0 + x.exp())
            } else {
                1.0 / (1.0 + (-x).exp())
            }
        },
        2.0,
    ),
    ("silu", silu, vsilu, |x| x / (1.0 + (-x).exp()), 2.7),
    (
        "gelu_tanh",
        gelu_tanh,
        vgelu_tanh,
        |x| x / (1.0 + (-1.595_769_121_605_730_8 * (x + 0.044715 * x * x * x)).exp()),
        3.0,
    ),
    ("log", log, vlog, f64::ln, 1.0),
    ("log1p", log1p, vlog1p, f64::ln_1p, 1.5),
    ("log2", log2, vlog2, f64::log2, 1.0),
    ("log10", log10, vlog10, f64::log10, 1.0),
    ("erf", erf, verf, libm::erf, 1.2),
    ("erfc", erfc, verfc, libm::erfc, 2.5),
    (
        "gelu",
        gelu,
        vgelu,
        |x| 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
        3.0,
    ),
    ("sin", sin, vsin, f64::sin, 1.0),
    ("cos", cos, vcos, f64::cos, 1.0),
    ("tan", tan, vtan, f64::tan, 2.0),
];

/// The size of the last place of a result.
fn ulp(y: f64) -> f64 {
    let exponent = y.abs().max(f64::MIN_POSITIVE).to_bits() >> 52;
    // Two factors: the last place of the smallest numbers is subnormal.
    f64::from_bits(exponent << 52) * f64::EPSILON
}

#[test]
fn goldens() {
    // A longer list, made with more arguments, may be tested instead.
    let text = std::env::var("FLAMBEAU_GOLDENS").map_or_else(
        |_| include_str!("goldens/values.txt").to_string(),
        |path| std::fs::read_to_string(path).unwrap(),
    );
    let mut worst = vec![(0.0, 0.0); FUNCTIONS.len()];
    for line in text.lines() {
        let (name, rest) = line.split_once(' ').unwrap();
        let mut numbers = rest
            .split(' ')
            .map(|s| f64::from_bits(u64::from_str_radix(s, 16).unwrap()));
        let [x, high, low] = std::array::from_fn(|_| numbers.next().unwrap());
        let i = FUNCTIONS.iter().position(|f| f.0 == name).unwrap();
        let got = FUNCTIONS[i].1(x);
        let error = ((got - high) - low).abs() / ulp(high);
        // Beyond the largest number there is none nearer.
        if error > worst[i].0 || error.is_nan() {
            worst[i] = (error, x);
        }
    }
    for (f, (error, x)) in FUNCTIONS.iter().zip(&worst) {
        println!("{}: {error:.3} ulp at {x:e}", f.0);
    }
    for (f, (error, x)) in FUNCTIONS.iter().zip(worst) {
        assert!(error <= f.4, "{}: {error} ulp at {x:e}", f.0);
    }
}

/// What deserves attention, and the same below 0; no number is just beside an overflow.
const EDGES: [f64; 24] = [
    0.0,
    5e-324,
    1e-310,
    f64::MIN_POSITIVE,
    1e-300,
    1e-20,
    f64::EPSILON,
    0.5,
    1.0,
    1.5,
    2.0,
    5.9,
    6.1,
    27.0,
    38.0,
    39.0,
    700.0,
    746.0,
    1100.0,
    65536.0,
    65537.0,
    1e22,
    f64::MAX,
    f64::INFINITY,
];

#[test]
fn edges_are_those_of_the_standard_functions() {
    for (name, one, _, standard, limit) in FUNCTIONS {
        for x in EDGES.into_iter().flat_map(|x| [x, -x]) {
            let (got, want) = (one(x), standard(x));
            // What the plain formula cannot tell from 0, and what is infinite halfway.
            let formula =
                matches!(*name, "silu" | "gelu_tanh" | "sigmoid") && x < -600.0 && x.is_finite();
            // The plain formula rounds what it squares.
            let limit = limit + if *name == "gelu" { 4.0 * x * x } else { 1.0 };
            let near = (got - want).abs() <= limit * ulp(want) || formula && got.abs() < 1e-250;
            assert!(
                near || got == want || got.is_nan() && want.is_nan(),
                "{name}({x:e}): {got:e}, not {want:e}"
            );
            let zero = got == 0.0 && want == 0.0 && !formula;
            assert!(
                !zero || got.is_sign_negative() == want.is_sign_negative(),
                "{name}({x:e}): {got}"
            );
        }
        assert!(one(f64::NAN).is_nan(), "{name}");
    }
}

#[test]
fn slices_equal_single_calls() {
    let mut x: Vec<f64> = (0..1003).map(|i| (i as f64 - 500.0) * 0.037).collect();
    let small = x.clone();
    x.extend(EDGES.into_iter().flat_map(|x| [x, -x]));
    for x in [small, x] {
        let mut out = vec![0.0; x.len()];
        for (name, one, slice, ..) in FUNCTIONS {
            slice(&x, &mut out);
            for (&x, &y) in x.iter().zip(&out) {
                let want = one(x);
                assert!(
                    want.to_bits() == y.to_bits() || want.is_nan() && y.is_nan(),
                    "{name}({x}): {y}, not {want}"
                );
            }
        }
    }
}

#[test]
fn slopes_are_those_of_gelu() {
    for i in -2000..2000 {
        let (x, h) = (f64::from(i) * 0.005, 1e-5);
        let difference = (gelu(x + h) - gelu(x - h)) / (2.0 * h);
        assert!((gelu_slope(x) - difference).abs() < 1e-9, "{x}");
    }
    assert!(gelu_slope(f64::INFINITY).is_nan() && gelu_slope(f64::NEG_INFINITY).is_nan());
}
