use ::half::{bf16, f16};

use super::*;
use crate::threads::set_num_threads;

fn noise(n: usize, seed: u32) -> Vec<f64> {
    let mut s = seed;
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f64 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// A matrix's slice length and layout, for one of four kinds.
fn layout(rows: usize, cols: usize, kind: usize) -> (usize, Layout) {
    let (row, col) = match kind {
        0 => (cols, 1),
        1 => (1, rows),
        2 => (cols + 3, 1),
        _ => (2 * cols + 1, 2),
    };
    let batch = rows.saturating_sub(1) * row + cols.saturating_sub(1) * col + 1;
    (batch, Layout { batch, row, col })
}

trait Test: GemmScalar {
    /// Error of a sum's rounding, and of a half type's, relative and absolute.
    const EPS: f64;
    const ROUND: (f64, f64);
    fn of(x: f64) -> Self;
    /// The kernels of each level this CPU has, and the unit in plain Rust.
    fn levels() -> Vec<&'static Kernels>;
}

macro_rules! test_type {
    ($t:ty, $eps:expr, $round:expr, $of:expr, $portable:expr, $avx2:expr, $avx512:expr $(, $more:expr)?) => {
        impl Test for $t {
            const EPS: f64 = $eps;
            const ROUND: (f64, f64) = $round;
            fn of(x: f64) -> $t {
                $of(x)
            }
            fn levels() -> Vec<&'static Kernels> {
                let mut found = vec![&const { $portable }, Self::kernels()];
                #[cfg(target_arch = "x86_64")]
                {
                    if level() >= Level::Avx2 {
                        found.push(&const { $avx2 });
                    }
                    if level() >= Level::Avx512 {
                        found.push(&const { $avx512 });
                        $(found.push(&$more);)?
                    }
                }
                found
            }
        }
    };
}
test_type!(
    f32,
    6e-8,
    (0.0, 0.0),
    |x| x as f32,
    portable::F32,
    x86::AVX2_F32,
    x86::AVX512_F32
);
test_type!(
    f64,
    1.2e-16,
    (0.0, 0.0),
    |x| x,
    portable::F64,
    x86::AVX2_F64,
    x86::AVX512_F64
);
test_type!(
    bf16,
    6e-8,
    (1.0 / 256.0, 1e-38),
    bf16::from_f64,
    half::widened(portable::F32, &half::BF16),
    half::widened(x86::AVX2_F32, &half::BF16),
    half::widened(x86::AVX512_F32, &half::BF16),
    unit::EMULATED
);
test_type!(
    f16,
    6e-8,
    (1.0 / 2048.0, 3e-8),
    f16::from_f64,
    half::widened(portable::F32, &half::F16),
    half::widened(x86::AVX2_F32, &half::F16),
    half::widened(x86::AVX512_F32, &half::F16)
);

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
enum Extra {
    None,
    Own,
    Matrix,
    Transposed,
    Bias,
    Number,
}

fn check_by<T: Test>(
    kernels: &'static Kernels,
    (batch, m, n, k): (usize, usize, usize, usize),
    kinds: [usize; 3],
    extra: Extra,
) {
    let ((la, sa), (lb, sb), (lc, sc)) = (
        layout(m, k, kinds[0]),
        layout(k, n, kinds[1]),
        layout(m, n, kinds[2]),
    );
    let make = |len: usize, seed| noise(len, seed).into_iter().map(T::of).collect::<Vec<T>>();
    let (a, b) = (make(la * batch, 1), make(lb * batch, 2));
    let alpha = match extra {
        Extra::None | Extra::Bias => 1.0,
        _ => 1.5,
    };
    let (beta, bias) = (0.5, make(m * n * batch, 4));
    let dense = Layout {
        batch: m * n,
        row: n,
        col: 1,
    };
    let (add, d) = match extra {
        Extra::None => (Add::Nothing, dense),
        Extra::Own => (Add::Own(beta), sc),
        Extra::Matrix => (Add::Other(beta, &bias[..], dense), dense),
        Extra::Transposed => {
            let d = Layout {
                row: 1,
                col: m,
                ..dense
            };
            (Add::Other(beta, &bias[..], d), d)
        }
        Extra::Bias => {
            let d = Layout {
                batch: 0,
                row: 0,
                col: 1,
            };
            (Add::Other(beta, &bias[..], d), d)
        }
        Extra::Number => {
            let d = Layout {
                batch: 0,
                row: 0,
                col: 0,
            };
            (Add::Other(beta, &bias[..], d), d)
        }
    };
    // What must not be read, and what lies between the elements and must stay.
    let before: Vec<T> = match extra {
        Extra::Own => make(lc * batch, 3),
        _ => vec![T::of(f64::NAN); lc * batch],
    };
    let mut results: Vec<Vec<T>> = Vec::new();
    for threads in [1, 3] {
        set_num_threads(threads);
        let mut c = before.clone();
        let sizes = Sizes { batch, m, n, k };
        // SAFETY: `levels` has kernels for this CPU only.
        unsafe { gemm_by(kernels, sizes, alpha, (&a, sa), (&b, sb), add, (&mut c, sc)) };
        results.push(c);
    }
    let what = format!("{batch} x ({m}, {n}, {k}), layouts {kinds:?}, {extra:?}");
    let mut touched = vec![false; lc * batch];
    let place = |l: Layout, t: usize, i: usize, j: usize| t * l.batch + i * l.row + j * l.col;
    for t in 0..batch {
        for i in 0..m {
            for j in 0..n {
                let (mut sum, mut size) = (0.0, 0.0);
                for p in 0..k {
                    let product = a[place(sa, t, i, p)].wide() * b[place(sb, t, p, j)].wide();
                    sum += product;
                    size += product.abs();
                }
                let at = place(sc, t, i, j);
                touched[at] = true;
                let (mut want, mut slack) = (alpha * sum, alpha * size);
                let added = match extra {
                    Extra::None => 0.0,
                    Extra::Own => before[at].wide(),
                    _ => bias[place(d, t, i, j)].wide(),
                };
                want += beta * added;
                slack += (beta * added).abs();
                let got = results[0][at].wide();
                let limit = T::EPS * (k as f64 + 4.0).sqrt() * 4.0 * slack
                    + T::ROUND.0 * want.abs()
                    + T::ROUND.1
                    + 1e-300;
                assert!(
                    (got - want).abs() <= limit,
                    "{what} at {t} {i} {j}: {got} != {want}"
                );
                assert!(
                    got == results[1][at].wide(),
                    "{what}: threads change the result"
                );
            }
        }
    }
    for (at, touched) in touched.into_iter().enumerate() {
        let (x, y) = (results[0][at].wide(), before[at].wide());
        assert!(
            touched || x == y || (x.is_nan() && y.is_nan()),
            "{what}: wrote at {at}"
        );
    }
}

/// Sizes for tiles of every height, their edges, odd `k`, and both ways to read `b`.
const SIZES: [(usize, usize, usize); 19] = [
    (1, 1, 1),
    (1, 7, 5),
    (7, 1, 5),
    (1, 300, 70),
    (300, 1, 71),
    (2, 3, 0),
    (4, 120, 400),
    (4, 10, 84),
    (120, 401, 4),
    (4, 400, 121),
    (13, 33, 17),
    (15, 31, 65),
    (29, 70, 37),
    (64, 64, 64),
    (6, 784, 75),
    (100, 130, 20),
    (60, 40, 1),
    (43, 200, 401),
    (150, 170, 90),
];

fn every_layout<T: Test>() {
    const EXTRAS: [Extra; 6] = [
        Extra::None,
        Extra::Own,
        Extra::Bias,
        Extra::Matrix,
        Extra::Number,
        Extra::Transposed,
    ];
    let mut i = 0;
    for kernels in T::levels() {
        for (m, n, k) in SIZES {
            for kinds in 0..16 {
                let kinds = [kinds / 4, kinds % 4, (kinds / 4 + kinds) % 4];
                check_by::<T>(kernels, (1, m, n, k), kinds, EXTRAS[i % EXTRAS.len()]);
                i += 1;
            }
        }
    }
}

/// Products of one tile, and some that are just more.
fn small_batches<T: Test>() {
    const SIZES: [(usize, usize, usize); 9] = [
        (1, 1, 1),
        (4, 4, 4),
        (3, 20, 17),
        (14, 32, 64),
        (2, 3, 0),
        (1, 40, 9),
        (30, 3, 8),
        (4, 64, 65),
        (15, 31, 5),
    ];
    const EXTRAS: [Extra; 4] = [Extra::None, Extra::Own, Extra::Bias, Extra::Matrix];
    for kernels in T::levels() {
        for (i, (m, n, k)) in SIZES.into_iter().enumerate() {
            for kinds in 0..16 {
                let extra = EXTRAS[(i + kinds) % EXTRAS.len()];
                let kinds = [kinds / 4, kinds % 4, (kinds / 4 + kinds) % 4];
                check_by::<T>(kernels, (5, m, n, k), kinds, extra);
            }
        }
    }
}

#[test]
fn batches_of_small_products() {
    small_batches::<f32>();
    small_batches::<f64>();
    small_batches::<bf16>();
    small_batches::<f16>();
}

#[test]
fn f32_in_every_layout() {
    every_layout::<f32>();
}

#[test]
fn f64_in_every_layout() {
    every_layout::<f64>();
}

#[test]
fn bf16_in_every_layout() {
    every_layout::<bf16>();
}

#[test]
fn f16_in_every_layout() {
    every_layout::<f16>();
}

fn large<T: Test>() {
    for kernels in T::levels() {
        for kinds in [[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 2]] {
            check_by::<T>(kernels, (17, 40, 50, 60), kinds, Extra::None);
            check_by::<T>(kernels, (3, 120, 150, 141), kinds, Extra::Own);
        }
        // Several passes along `k`, several strips of `b`.
        check_by::<T>(kernels, (1, 33, 70, 2500), [0, 0, 0], Extra::Own);
        check_by::<T>(kernels, (1, 33, 70, 5001), [1, 1, 0], Extra::Bias);
        check_by::<T>(kernels, (1, 15, 40, 33_001), [1, 0, 0], Extra::Bias);
        check_by::<T>(kernels, (1, 20, 2500, 400), [0, 0, 0], Extra::Matrix);
        check_by::<T>(kernels, (1, 260, 300, 300), [0, 1, 0], Extra::None);
        // Few rows and a large `b`.
        check_by::<T>(kernels, (1, 1, 1101, 403), [0, 0, 0], Extra::None);
        check_by::<T>(kernels, (2, 5, 2070, 401), [1, 2, 0], Extra::Bias);
        check_by::<T>(kernels, (1, 1101, 1, 405), [1, 0, 1], Extra::None);
    }
}

#[test]
fn large_products_and_batches() {
    large::<f32>();
    large::<f64>();
}

#[test]
fn large_products_of_halves() {
    large::<bf16>();
    large::<f16>();
}

/// A NaN or an infinity reaches the elements of its row or column and no others.
fn special<T: Test>() {
    let number = |x: f64| (x, T::of(x));
    for kernels in T::levels() {
        for (m, n, k) in [(3, 5, 7), (30, 40, 33), (9, 70, 130)] {
            for (value, special) in [number(f64::NAN), number(f64::INFINITY)] {
                let dense = |cols| Layout {
                    batch: 0,
                    row: cols,
                    col: 1,
                };
                let (mut a, mut b) = (vec![T::ONE; m * k], vec![T::ONE; k * n]);
                a[k + k / 2] = special;
                b[(k - 1) * n + 2] = special;
                let mut c = vec![T::ZERO; m * n];
                let (a, b, c) = (
                    (&a[..], dense(k)),
                    (&b[..], dense(n)),
                    (&mut c[..], dense(n)),
                );
                let sizes = Sizes { batch: 1, m, n, k };
                // SAFETY: `levels` has kernels for this CPU only.
                unsafe { gemm_by(kernels, sizes, 1.0, a, b, Add::Nothing, (&mut *c.0, c.1)) };
                for (at, x) in c.0.iter().enumerate() {
                    let x = x.wide();
                    match at / n == 1 || at % n == 2 {
                        true if value.is_nan() => assert!(x.is_nan(), "{m} {n} {k} at {at}: {x}"),
                        true => assert_eq!(x, value, "{m} {n} {k} at {at}"),
                        false => assert_eq!(x, k as f64, "{m} {n} {k} at {at}"),
                    }
                }
            }
        }
    }
}

#[test]
fn special_values_stay_where_they_belong() {
    special::<f32>();
    special::<f64>();
    special::<bf16>();
    special::<f16>();
}

/// Every half, and `f32`s around and between them, against the conversions of the `half` crate.
#[test]
fn conversions() {
    type Case = (&'static kernel::Half, fn(u16) -> f32, fn(f32) -> u16);
    let cases: [Case; 2] = [
        (
            &half::BF16,
            |x| bf16::from_bits(x).to_f32(),
            |x| bf16::from_f32(x).to_bits(),
        ),
        (
            &half::F16,
            |x| f16::from_bits(x).to_f32(),
            |x| f16::from_f32(x).to_bits(),
        ),
    ];
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for (half, widen, narrow) in cases {
        let mut wide = vec![0.0; all.len()];
        (half.widen)(&all, &mut wide);
        for (&x, &got) in all.iter().zip(&wide) {
            assert!(got.to_bits() == widen(x).to_bits() || got.is_nan() && widen(x).is_nan());
        }
        let mut inputs = wide.clone();
        for pair in wide.windows(2) {
            let middle = pair[0] + (pair[1] - pair[0]) / 2.0;
            inputs.extend([middle.next_down(), middle, middle.next_up()]);
        }
        inputs.extend(noise(1000, 9).iter().map(|&x| (x * 1e5) as f32));
        inputs.extend([
            f32::MAX,
            f32::MIN,
            65519.9,
            65520.0,
            1e-40,
            1e-45,
            3e-8,
            -3e-8,
        ]);
        let mut out = vec![0; inputs.len()];
        (half.narrow)(&inputs, &mut out);
        for (&x, &got) in inputs.iter().zip(&out) {
            let right = match x.is_nan() {
                true => widen(got).is_nan(),
                false => got == narrow(x),
            };
            assert!(right, "{x:e} became {got:x}");
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod unit {
    use super::super::amx;
    use super::super::kernel::{Kernels, Tile};
    use super::super::unit::TileUnit;
    use super::super::unit::emulated::Emulated;

    unsafe fn tile(t: &Tile) {
        // SAFETY: handed on; this unit needs no configuration.
        unsafe { amx::tile(&mut Emulated::enter(), t) }
    }

    fn nothing() {}

    pub(super) static EMULATED: Kernels = amx::kernels(&[tile; 32], [nothing, nothing]);

    /// A unit that leaves out one of the products.
    unsafe fn broken(t: &Tile) {
        // SAFETY: handed on; fewer steps than were packed.
        unsafe { tile(&Tile { k: t.k - 32, ..*t }) }
    }

    static BROKEN: Kernels = amx::kernels(&[broken; 32], [nothing, nothing]);

    #[test]
    fn first_use_tells_a_right_unit_from_a_wrong_one() {
        if crate::simd::level() < crate::simd::Level::Avx512 {
            return;
        }
        // SAFETY: the packing needs AVX-512, the units nothing.
        unsafe {
            assert!(amx::agree(&EMULATED));
            assert!(!amx::agree(&BROKEN));
        }
    }
}
#[test]
#[should_panic(expected = "exceeds 5 elements")]
fn operands_outside_their_slice() {
    gemm(
        2,
        2,
        3,
        1.0f32,
        &[0.0; 5],
        (3, 1),
        &[0.0; 6],
        (2, 1),
        0.0,
        &mut [0.0; 4],
        (2, 1),
    );
}

#[test]
#[should_panic(expected = "overlap")]
fn overlapping_results() {
    gemm(
        2,
        2,
        3,
        1.0f32,
        &[0.0; 6],
        (3, 1),
        &[0.0; 6],
        (2, 1),
        0.0,
        &mut [0.0; 4],
        (1, 1),
    );
}

#[test]
#[should_panic(expected = "exceeds")]
fn strides_that_overflow() {
    let huge = isize::MAX;
    gemm(
        3,
        2,
        3,
        1.0f32,
        &[0.0; 9],
        (huge, 1),
        &[0.0; 6],
        (2, 1),
        0.0,
        &mut [0.0; 6],
        (2, 1),
    );
}
