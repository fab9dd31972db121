use super::*;

/// Distance from the exact value in units of the result's last place.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if got == rounded {
        return 0.0;
    }
    if got.is_infinite() || rounded.is_infinite() {
        // Just beyond the largest number either answer is one step from the other.
        return if got.abs() == f32::MAX || rounded.abs() == f32::MAX {
            1.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = (rounded.abs().max(f32::MIN_POSITIVE).to_bits() >> 23) as i32;
    (f64::from(got) - want).abs() / 2f64.powi(exponent - 150)
}

/// Every `step`-th f32, and what deserves attention.
fn arguments() -> impl Iterator<Item = f32> {
    // FLAMBEAU_MATH_STEP=1 tests every f32 (some minutes in all).
    let step = std::env::var("FLAMBEAU_MATH_STEP")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4999);
    let all = (0..=u32::MAX).step_by(step).map(f32::from_bits);
    let edges = [
        0.0,
        1.0,
        2.0,
        0.5,
        3.0,
        10.0,
        100.0,
        1e-45,
        1e-40,
        1e-30,
        1e-6,
        1e30,
        88.72284,
        88.72,
        88.73,
        103.9,
        104.0,
        127.9,
        128.0,
        149.0,
        150.0,
        9.0,
        4.0,
        10.05,
        0.625,
        16.0,
        20.0,
        50.0,
        16777216.0,
        1e10,
        f32::MAX,
        f32::MIN_POSITIVE,
        f32::EPSILON,
        f32::INFINITY,
        f32::NAN,
    ];
    let near = edges.into_iter().flat_map(|x: f32| {
        let b = x.to_bits();
        [b, b.wrapping_sub(1), b + 1, b + 0x10].map(f32::from_bits)
    });
    all.chain(near.flat_map(|x| [x, -x]))
}

fn check(name: &str, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, limit: f64) {
    let mut worst = (0.0, 0.0);
    for x in arguments() {
        let e = ulps(f(x), exact(f64::from(x)));
        if e > worst.0 {
            worst = (e, x);
        }
        // Signed zeros.
        if x == 0.0 {
            assert_eq!(
                f(x).is_sign_negative(),
                exact(f64::from(x)).is_sign_negative(),
                "{name}({x})"
            );
        }
    }
    println!("{name}: {:.3} ulp at {:e}", worst.0, worst.1);
    assert!(worst.0 <= limit, "{name}: {} ulp at {:e}", worst.0, worst.1);
}

#[test]
fn exponentials() {
    check("exp", exp, f64::exp, 1.0);
    check("exp2", exp2, f64::exp2, 1.3);
    check("expm1", expm1, f64::exp_m1, 2.0);
    check("tanh", tanh, f64::tanh, 1.5);
    check("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 2.0);
}

#[test]
fn logarithms() {
    check("log", log, f64::ln, 1.5);
    check("log1p", log1p, f64::ln_1p, 2.0);
    check("log2", log2, f64::log2, 0.51);
    check("log10", log10, f64::log10, 0.51);
}

#[test]
fn circular() {
    check("sin", sin, f64::sin, 0.51);
    check("cos", cos, f64::cos, 0.51);
    check("tan", tan, f64::tan, 0.51);
    // The short and the long way in one slice, and a slice with the short one alone.
    let x: Vec<f32> = arguments().step_by(13).collect();
    let (mut all, mut small) = (vec![0.0; x.len()], Vec::new());
    vsin(&x, &mut all);
    let kept: Vec<f32> = x.iter().copied().filter(|x| x.abs() < 3e7).collect();
    small.resize(kept.len(), 0.0);
    vsin(&kept, &mut small);
    let mut of_small = small.iter();
    for (x, y) in x.iter().zip(&all) {
        assert!(
            sin(*x).to_bits() == y.to_bits() || x.is_nan() || x.is_infinite(),
            "{x}"
        );
        if x.abs() < 3e7 {
            assert_eq!(
                of_small.next().map(|y| y.to_bits()),
                Some(y.to_bits()),
                "{x}"
            );
        }
    }
}

#[test]
fn error_functions() {
    check("erf", erf, libm::erf, 1.7);
    check("erfc", erfc, libm::erfc, 6.0);
    check(
        "gelu",
        gelu,
        |x| if x < -14.4 { x * 0.0 } else { Real::gelu(x) },
        2.0,
    );
    for x in arguments() {
        let (got, want) = (gelu_slope(x), Real::gelu_slope(f64::from(x)));
        let near = (f64::from(got) - want).abs() < 3e-7;
        assert!(
            near || got.is_nan() && want.is_nan(),
            "gelu_slope({x}): {got}, not {want}"
        );
    }
    // Where the sigmoid is subnormal, what remains of it is right.
    let above = |low: f32, f: fn(f32) -> f32| move |x: f32| if x < low { x * 0.0 } else { f(x) };
    let exact = |low: f64, f: fn(f64) -> f64| move |x: f64| if x < low { x * 0.0 } else { f(x) };
    check("silu", above(-87.0, silu), exact(-87.0, Real::silu), 3.3);
    check(
        "gelu_tanh",
        above(-0.01, gelu_tanh),
        exact(-0.01, Real::gelu_tanh),
        3.0,
    );
    check(
        "gelu_tanh",
        above(-10.0, gelu_tanh),
        exact(-10.0, Real::gelu_tanh),
        250.0,
    );
}

#[test]
fn powers() {
    let bases: Vec<f32> = arguments()
        .step_by(601)
        .chain(arguments().skip(4_294_967_296 / 4999))
        .collect();
    let mut worst = (0.0, 0.0, 0.0);
    for &x in &bases {
        for e in [
            0.0,
            -0.0,
            1.0,
            -1.0,
            2.0,
            3.0,
            0.5,
            -0.5,
            1.5,
            -3.0,
            7.25,
            10.0,
            1e-3,
            100.0,
            -37.0,
            16777215.0,
            1e10,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ] {
            let want = f64::from(x).powf(f64::from(e));
            let d = ulps(pow(x, e), want);
            if d > worst.0 {
                worst = (d, x, e);
            }
            let zero = want as f32 == 0.0 && !want.is_nan();
            assert!(
                !zero || pow(x, e).is_sign_negative() == want.is_sign_negative(),
                "pow({x}, {e})"
            );
        }
    }
    println!("pow: {:.3} ulp at {:e}, {:e}", worst.0, worst.1, worst.2);
    assert!(worst.0 <= 0.51, "{worst:?}");
}

#[test]
fn slices_equal_single_calls() {
    let x: Vec<f32> = (0..1003).map(|i| (i as f32 - 500.0) * 0.037).collect();
    let mut out = vec![0.0; x.len()];
    macro_rules! same {
        ($($v:ident $f:ident),*) => { $(
            $v(&x, &mut out);
            for (x, o) in x.iter().zip(&out) {
                assert_eq!($f(*x).to_bits(), o.to_bits(), "{} {x}", stringify!($f));
            }
        )* };
    }
    same!(vexp exp, vtanh tanh, verf erf, vsin sin, vgelu gelu, vexpm1 expm1);
}
