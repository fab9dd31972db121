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
    all.chain(edges())
}

/// What deserves attention, with neighbours and both signs.
fn edges() -> impl Iterator<Item = f32> {
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
    near.flat_map(|x| [x, -x])
}

fn check(name: &str, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, limit: f64) {
    let mut worst = (0.0, 0.0);
    for x in arguments() {
        let e = ulps(f(x), exact(f64::from(x)));
        if e > worst.0 {
            worst = (e, x);
        }
        // Signed zeros.
        if x == 0.0 && !f(x).is_nan() {
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
    let exact = |x: f64| (-x.abs()).exp().ln_1p();
    check("log1p_exp", |x| log1p_exp(x.abs()), exact, 2.5);
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
    check("sin", sin, f64::sin, 1.7);
    check("cos", cos, f64::cos, 1.7);
    check("tan", tan, f64::tan, 0.51);
    // The short and the long way in one slice, and a slice with the short one alone.
    let all: Vec<f32> = arguments().step_by(13).collect();
    let small: Vec<f32> = all.iter().copied().filter(|x| x.abs() < 3e7).collect();
    type Slice = fn(&[f32], &mut [f32]);
    type One = fn(f32) -> f32;
    for x in [all, small] {
        let mut out = vec![0.0; x.len()];
        for (slice, one) in [(vsin as Slice, sin as One), (vcos, cos), (vtan, tan)] {
            slice(&x, &mut out);
            for (x, y) in x.iter().zip(&out) {
                let same = one(*x).to_bits() == y.to_bits();
                assert!(same || y.is_nan() && !x.is_finite(), "{x}");
            }
        }
    }
}

#[test]
fn angles() {
    check("asin", asin, f64::asin, 1.7);
    check("acos", acos, f64::acos, 1.7);
    check("atan", atan, f64::atan, 2.0);
    let mut worst = [(0.0, 0.0, 0.0); 2];
    let numbers: Vec<f32> = arguments().step_by(997).chain(edges()).collect();
    for (i, &y) in numbers.iter().enumerate() {
        // Every angle: quotients near 1 too, which numbers drawn evenly over the exponents have not.
        let near = [0.3, 0.9, 1.0, 1.1, 7.0].map(|f| y * f);
        for &x in numbers[i % 7..].iter().step_by(7).chain(&near) {
            let (a, b) = (f64::from(y), f64::from(x));
            let found = [(atan2(y, x), a.atan2(b)), (hypot(y, x), a.hypot(b))];
            for (worst, (got, want)) in worst.iter_mut().zip(found) {
                let d = ulps(got, want);
                if d > worst.0 {
                    *worst = (d, y, x);
                }
                let zero = want as f32 == 0.0;
                assert!(
                    !zero || got.is_sign_negative() == want.is_sign_negative(),
                    "{y} {x}"
                );
            }
        }
    }
    println!("atan2, hypot: {worst:?}");
    assert!(worst[0].0 <= 2.0 && worst[1].0 <= 0.51, "{worst:?}");
}

#[test]
fn hyperbolic_functions() {
    check("sinh", sinh, f64::sinh, 0.51);
    check("cosh", cosh, f64::cosh, 0.51);
    check("asinh", asinh, libm::asinh, 0.51);
    check(
        "acosh",
        acosh,
        |x| if x < 1.0 { f64::NAN } else { libm::acosh(x) },
        0.51,
    );
    check("atanh", atanh, libm::atanh, 0.51);
}

#[test]
fn remainders_are_those_of_long_division() {
    let numbers: Vec<f32> = arguments().step_by(1501).chain(edges()).collect();
    fn floored<T: PartialOrd + Copy + std::ops::Add<Output = T> + Default>(rest: T, y: T) -> T {
        let zero = T::default();
        let turn = rest != zero && (y < zero) != (rest < zero);
        if turn { rest + y } else { rest }
    }
    macro_rules! check {
        ($t:ident, $fmod:ident, $remainder:ident, $divide:ident, $integer:expr) => {
            let numbers: Vec<$t> = numbers.iter().map(|&x| x as $t).collect();
            let mut out = vec![0.0; numbers.len()];
            let same = |a: $t, b: $t| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            for &x in numbers.iter().step_by(3) {
                // Whole multiples, and their neighbours, are where a quotient may be one too large.
                let near = [1.0, 3.0, 1000.0, $integer].map(|n: $t| x / n);
                let mut all: Vec<$t> = numbers.clone();
                all.extend(
                    near.iter().flat_map(|v| {
                        [*v, $t::from_bits(v.to_bits() ^ 1), -*v, v + v * $t::EPSILON]
                    }),
                );
                out.resize(all.len(), 0.0);
                let left = vec![x; all.len()];
                $fmod(&left, &all, &mut out);
                for (y, r) in all.iter().zip(&out) {
                    assert!(same(*r, x % y), "{x} % {y}: {r}, not {}", x % y);
                }
                $remainder(&left, &all, &mut out);
                for (y, r) in all.iter().zip(&out) {
                    assert!(same(*r, floored(x % y, *y)), "{x} mod {y}: {r}");
                }
                $divide(&left, &all, &mut out);
                for (y, q) in all.iter().zip(&out) {
                    let exact = (x - floored(x % y, *y)) / y;
                    let close = (q - exact).abs() <= 0.5 + exact.abs() * $t::EPSILON;
                    assert!(close || *y == 0.0 || !exact.is_finite(), "{x} // {y}: {q}");
                    assert!(*y != 0.0 || same(*q, x / y), "{x} // {y}: {q}");
                }
            }
        };
    }
    check!(f32, fmod_f32, remainder_f32, floor_divide_f32, 4_194_303.0);
    check!(
        f64,
        fmod_f64,
        remainder_f64,
        floor_divide_f64,
        2_251_799_813_685_247.0
    );
}

#[test]
fn error_functions() {
    check("erf", erf, libm::erf, 1.7);
    check("erfc", erfc, libm::erfc, 6.0);
    // There is no erfinv in libm: its error is what erf gives back, over the slope there.
    check(
        "erfinv",
        erfinv,
        |x| {
            let mut y = f64::from(erfinv(x as f32));
            for _ in 0..2 {
                let error = match x.abs() < 0.5 {
                    true => libm::erf(y) - x,
                    false => (1.0 - x.abs() - libm::erfc(y.abs())) * x.signum(),
                };
                let step = error * (y * y).exp() * std::f64::consts::PI.sqrt() / 2.0;
                y -= if step.is_finite() { step } else { 0.0 };
            }
            y
        },
        1.4,
    );
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
fn gamma_function() {
    check("lgamma", lgamma, libm::lgamma, 0.51);
    // Beside its zeros, those at 1 and 2 exact.
    for zero in [
        1.0f32,
        2.0,
        -2.457_024_8,
        -2.747_682_6,
        -3.143_581,
        -3.955_294_4,
    ] {
        for i in -2000i32..2000 {
            let x = f32::from_bits(zero.to_bits().wrapping_add_signed(i * i * i.signum()));
            let error = ulps(lgamma(x), libm::lgamma(x.into()));
            assert!(error <= 0.6, "lgamma({x}): {error} ulp");
        }
    }
    // Numbers above 0 go a shorter way where there are no others.
    let all: Vec<f32> = arguments().step_by(7).collect();
    let positive: Vec<f32> = all.iter().copied().filter(|x| *x > 0.0).collect();
    for x in [all, positive] {
        let mut out = vec![0.0; x.len()];
        vlgamma(&x, &mut out);
        for (x, y) in x.iter().zip(&out) {
            let one = lgamma(*x);
            assert!(
                one.to_bits() == y.to_bits() || one.is_nan() && y.is_nan(),
                "{x}"
            );
        }
    }
    assert_eq!((lgamma(1.0), lgamma(2.0)), (0.0, 0.0));
}

#[test]
fn slope_of_the_gamma_function() {
    check(
        "digamma",
        digamma,
        |x| {
            if x > 0.0 {
                double::digamma(x)
            } else {
                f64::from(digamma(x as f32))
            }
        },
        1.0,
    );
    // Beside its zero.
    for i in -2000i32..2000 {
        let x = f32::from_bits(
            1.461_632_1f32
                .to_bits()
                .wrapping_add_signed(i * i * i.signum()),
        );
        let error = ulps(digamma(x), double::digamma(x.into()));
        assert!(error <= 1.1, "digamma({x}): {error} ulp");
    }
    // Below 0 digits cancel near zeros.
    for i in 1..40_000 {
        let x = -0.000_7 * i as f32;
        let (got, want) = (digamma(x), double::digamma(x.into()));
        let near = (f64::from(got) - want).abs() <= 1e-7 * want.abs() + 1e-9;
        assert!(
            near || got.is_nan() && want.is_nan(),
            "digamma({x}): {got}, not {want}"
        );
    }
    assert!(digamma(-3.0).is_nan() && digamma(f32::NEG_INFINITY).is_nan());
    assert_eq!(
        [digamma(0.0), digamma(-0.0)],
        [f32::NEG_INFINITY, f32::INFINITY]
    );
    let all: Vec<f32> = arguments().step_by(7).collect();
    let positive: Vec<f32> = all.iter().copied().filter(|x| *x > 0.0).collect();
    for x in [all, positive] {
        let mut out = vec![0.0; x.len()];
        vdigamma(&x, &mut out);
        for (x, y) in x.iter().zip(&out) {
            let one = digamma(*x);
            assert!(
                one.to_bits() == y.to_bits() || one.is_nan() && y.is_nan(),
                "{x}"
            );
        }
    }
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
fn gelu_of_slices_is_that_of_elements() {
    let x: Vec<f32> = arguments().collect();
    let mut out = vec![0.0; x.len()];
    vgelu(&x, &mut out);
    for (x, y) in x.iter().zip(&out) {
        let one = gelu(*x);
        assert!(
            one.to_bits() == y.to_bits() || one.is_nan() && y.is_nan(),
            "{x}: {y}, not {one}"
        );
    }
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
    same!(vexp exp, vtanh tanh, verf erf, vsin sin, vgelu gelu, vexpm1 expm1, verfinv erfinv);
    same!(vasin asin, vacos acos, vatan atan, vsinh sinh, vcosh cosh, vasinh asinh, vatanh atanh);
}
