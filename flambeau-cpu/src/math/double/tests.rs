use super::*;

type One = fn(f64) -> f64;
type Slice = fn(&[f64], &mut [f64]);

/// Each function, that of slices, the standard one, and the largest error allowed.
const FUNCTIONS: &[(&str, One, Slice, One, f64)] = &[
    ("exp", exp, vexp, f64::exp, 1.0),
    ("exp2", exp2, vexp2, f64::exp2, 1.0),
    ("expm1", expm1, vexpm1, f64::exp_m1, 1.5),
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
    ("silu", silu, vsilu, |x| x / (1.0 + (-x).exp()), 2.0),
    (
        "gelu_tanh",
        gelu_tanh,
        vgelu_tanh,
        |x| x / (1.0 + (-1.595_769_121_605_730_8 * (x + 0.044715 * x * x * x)).exp()),
        2.2,
    ),
    ("log", log, vlog, f64::ln, 1.0),
    ("log1p", log1p, vlog1p, f64::ln_1p, 1.0),
    ("log2", log2, vlog2, f64::log2, 1.0),
    ("log10", log10, vlog10, f64::log10, 1.0),
    ("erf", erf, verf, libm::erf, 1.0),
    ("erfc", erfc, verfc, libm::erfc, 2.1),
    (
        "gelu",
        gelu,
        vgelu,
        |x| 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
        2.0,
    ),
    ("sin", sin, vsin, f64::sin, 1.0),
    ("cos", cos, vcos, f64::cos, 1.0),
    ("tan", tan, vtan, f64::tan, 2.0),
    ("sinh", sinh, vsinh, f64::sinh, 1.5),
    ("cosh", cosh, vcosh, f64::cosh, 1.5),
    ("asinh", asinh, vasinh, libm::asinh, 2.0),
    (
        "acosh",
        acosh,
        vacosh,
        |x| if x < 1.0 { f64::NAN } else { libm::acosh(x) },
        2.0,
    ),
    ("atanh", atanh, vatanh, libm::atanh, 2.0),
    ("asin", asin, vasin, f64::asin, 1.5),
    ("acos", acos, vacos, f64::acos, 1.5),
    ("atan", atan, vatan, f64::atan, 2.0),
    ("erfinv", erfinv, verfinv, newton_erfinv, 1.5),
    ("lgamma", lgamma, vlgamma, libm::lgamma, 2.0),
    ("digamma", digamma, vdigamma, slow_digamma, 2.3),
    (
        "log1p_exp",
        |x| log1p_exp(x.abs()),
        |x, out| vlog1p_exp(&x.iter().map(|x| x.abs()).collect::<Vec<_>>(), out),
        |x| (-x.abs()).exp().ln_1p(),
        2.5,
    ),
    (
        "trigamma",
        trigamma,
        |x, out| vpolygamma(1.0, x, out),
        slow_trigamma,
        4.0,
    ),
];

/// From the result itself, where that is not far off: what [`libm`]'s error functions say is wrong with it.
fn newton_erfinv(x: f64) -> f64 {
    let y = erfinv(x).abs();
    let (a, slope) = (x.abs(), 2.0 * (-y * y).exp() / std::f64::consts::PI.sqrt());
    let error = if a < 0.5 {
        libm::erf(y) - a
    } else {
        (1.0 - a) - libm::erfc(y)
    };
    let y = if error == 0.0 || a >= 1.0 {
        y
    } else {
        y - error / slope
    };
    if a > 1.0 {
        f64::NAN
    } else if a == 1.0 {
        f64::INFINITY.copysign(x)
    } else {
        y.copysign(x)
    }
}

/// By recurrence from far above, and by reflection.
fn slow_digamma(x: f64) -> f64 {
    if x == 0.0 || x == f64::NEG_INFINITY {
        return if x == 0.0 {
            f64::INFINITY.copysign(-x)
        } else {
            f64::NAN
        };
    }
    if x < 0.0 {
        let r = x - x.round();
        return match r == 0.0 {
            true => f64::NAN,
            false => {
                slow_digamma(1.0 - x) - std::f64::consts::PI / (r * std::f64::consts::PI).tan()
            }
        };
    }
    // The small ones first.
    let sum = (0..30)
        .rev()
        .fold(0.0, |sum, k| sum - 1.0 / (x + f64::from(k)));
    let z = x + 30.0;
    let y = 1.0 / (z * z);
    sum + (z.ln() - 0.5 / z - y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y / 240.0))))
}

type Pair = fn(f64, f64) -> f64;
type Pairs = fn(&[f64], &[f64], &mut [f64]);

/// The same of two arguments.
const PAIRS: &[(&str, Pair, Pairs, Pair, f64)] = &[
    ("atan2", atan2, vatan2, f64::atan2, 2.0),
    ("hypot", hypot, vhypot, f64::hypot, 1.5),
    ("pow", pow, vpow, f64::powf, 1.1),
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
    let names = || (FUNCTIONS.iter().map(|f| (f.0, f.4))).chain(PAIRS.iter().map(|f| (f.0, f.4)));
    let mut worst = vec![(0.0, vec![]); names().count()];
    for line in text.lines() {
        let (name, rest) = line.split_once(' ').unwrap();
        let numbers: Vec<f64> = rest
            .split(' ')
            .map(|s| f64::from_bits(u64::from_str_radix(s, 16).unwrap()))
            .collect();
        let (x, want) = numbers.split_at(numbers.len() - 2);
        let i = names().position(|f| f.0 == name).unwrap();
        let got = match *x {
            [x] => FUNCTIONS[i].1(x),
            _ => PAIRS[i - FUNCTIONS.len()].1(x[0], x[1]),
        };
        // Beside the zeros that it has below 0 the reflection formula loses digits.
        let reflected = matches!(name, "lgamma" | "digamma") && x[0] < 0.0;
        let size = if reflected {
            want[0].abs().max(8.0)
        } else {
            want[0]
        };
        let error = ((got - want[0]) - want[1]).abs() / ulp(size);
        // Beyond the largest number there is none nearer.
        if error > worst[i].0 || error.is_nan() {
            worst[i] = (error, x.to_vec());
        }
    }
    for ((name, _), (error, x)) in names().zip(&worst) {
        println!("{name}: {error:.3} ulp at {x:?}");
    }
    for ((name, limit), (error, x)) in names().zip(worst) {
        assert!(error <= limit, "{name}: {error} ulp at {x:?}");
        assert!(!x.is_empty(), "{name} has no goldens");
    }
}

/// As [`slow_digamma`].
fn slow_trigamma(x: f64) -> f64 {
    if x == f64::NEG_INFINITY {
        return f64::NAN;
    }
    if x <= 0.0 {
        let t = std::f64::consts::PI / ((x - x.round()) * std::f64::consts::PI).sin();
        return t * t - slow_trigamma(1.0 - x);
    }
    let sum: f64 = (0..30).rev().map(|k| (x + f64::from(k)).powi(-2)).sum();
    let y = 1.0 / (x + 30.0);
    let (z, c) = (y * y, [1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0]);
    let series = c.iter().rev().fold(0.0, |s, c| s * z + c);
    sum + (y + z * (0.5 + y * series))
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
            // The plain formulas round what they square, and sums of some size.
            let limit = limit
                + match *name {
                    "gelu" => 4.0 * x * x,
                    "digamma" | "trigamma" => 4.0,
                    _ => 1.0,
                };
            // Sums that cancel.
            let sum = *name == "digamma" || *name == "lgamma" && x < 0.0;
            let size = if sum { want.abs().max(8.0) } else { want };
            let near = (got - want).abs() <= limit * ulp(size) || formula && got.abs() < 1e-250;
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
fn pairs_of_edges_are_those_of_the_standard_functions() {
    let numbers: Vec<f64> = EDGES
        .into_iter()
        .flat_map(|x| [x, -x])
        .chain([f64::NAN])
        .collect();
    for (name, one, slice, standard, limit) in PAIRS {
        for &x in &numbers {
            let left = vec![x; numbers.len()];
            let mut out = left.clone();
            slice(&left, &numbers, &mut out);
            for (&y, &got) in numbers.iter().zip(&out) {
                let want = standard(x, y);
                let near = (got - want).abs() <= (limit + 1.0) * ulp(want) || got == want;
                assert!(
                    near || got.is_nan() && want.is_nan(),
                    "{name}({x:e}, {y:e}): {got:e}, not {want:e}"
                );
                let same = one(x, y).to_bits() == got.to_bits() || got.is_nan();
                assert!(
                    same && (got != 0.0 || got.is_sign_negative() == want.is_sign_negative()),
                    "{name}({x:e}, {y:e}): {got:e}"
                );
            }
        }
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
        vpow_number(&x, 1.7, &mut out);
        for (&x, &y) in x.iter().zip(&out) {
            let want = pow(x, 1.7);
            assert!(want.to_bits() == y.to_bits() || want.is_nan() && y.is_nan());
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
