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

/// A matrix's slice length and strides for one of four layouts.
fn layout(rows: usize, cols: usize, kind: usize) -> (usize, Strides) {
    let (r, c) = (rows as isize, cols as isize);
    let strides = match kind {
        0 => (c, 1),
        1 => (1, r),
        2 => (c + 3, 1),
        _ => (2 * c + 1, 2),
    };
    let last = (r - 1).max(0) * strides.0 + (c - 1).max(0) * strides.1;
    (last as usize + 1, strides)
}

trait Test: GemmScalar {
    const EPS: f64;
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
}
impl Test for f32 {
    const EPS: f64 = 6e-8;
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn wide(self) -> f64 {
        self.into()
    }
}
impl Test for f64 {
    const EPS: f64 = 1.2e-16;
    fn of(x: f64) -> f64 {
        x
    }
    fn wide(self) -> f64 {
        self
    }
}

fn check_one<T: Test>(batch: usize, m: usize, n: usize, k: usize, kinds: [usize; 3], beta: f64) {
    let ((la, sa), (lb, sb), (lc, sc)) = (
        layout(m, k, kinds[0]),
        layout(k, n, kinds[1]),
        layout(m, n, kinds[2]),
    );
    let make = |len: usize, seed| {
        noise(len * batch, seed)
            .into_iter()
            .map(T::of)
            .collect::<Vec<T>>()
    };
    let (a, b) = (make(la, 1), make(lb, 2));
    // What beta 0 must not read, and what lies between the elements and must stay.
    let before: Vec<T> = match beta == 0.0 {
        true => vec![T::of(f64::NAN); lc * batch],
        false => make(lc, 3),
    };
    let mut results: Vec<Vec<T>> = Vec::new();
    for threads in [1, 3] {
        set_num_threads(threads);
        let mut c = before.clone();
        gemm_batch(
            batch,
            m,
            n,
            k,
            T::of(1.5),
            &a,
            la,
            sa,
            &b,
            lb,
            sb,
            T::of(beta),
            &mut c,
            lc,
            sc,
        );
        results.push(c);
    }
    let what = format!("{batch} x ({m}, {n}, {k}), layouts {kinds:?}, beta {beta}");
    let mut touched = vec![false; lc * batch];
    for t in 0..batch {
        for i in 0..m {
            for j in 0..n {
                let (mut sum, mut size) = (0.0, 0.0);
                for p in 0..k {
                    let x = a[t * la + i * sa.0 as usize + p * sa.1 as usize].wide();
                    let y = b[t * lb + p * sb.0 as usize + j * sb.1 as usize].wide();
                    sum += x * y;
                    size += (x * y).abs();
                }
                let at = t * lc + i * sc.0 as usize + j * sc.1 as usize;
                touched[at] = true;
                let (mut want, mut slack) = (1.5 * sum, 1.5 * size);
                if beta != 0.0 {
                    want += beta * before[at].wide();
                    slack += (beta * before[at].wide()).abs();
                }
                let got = results[0][at].wide();
                let limit = T::EPS * (k as f64 + 4.0).sqrt() * 4.0 * slack + 1e-300;
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

#[test]
fn products_of_every_layout() {
    let sizes = [
        (1, 1, 1),
        (1, 7, 5),
        (7, 1, 5),
        (1, 300, 70),
        (300, 1, 70),
        (2, 3, 0),
        (4, 120, 400),
        (4, 10, 84),
        (120, 400, 4),
        (4, 400, 120),
        (13, 33, 17),
        (15, 31, 65),
        (29, 70, 37),
        (64, 64, 64),
        (6, 784, 75),
        (100, 130, 20),
        (43, 200, 400),
        (150, 170, 90),
    ];
    for (m, n, k) in sizes {
        for ka in 0..4 {
            for kb in 0..4 {
                let kc = (ka + kb) % 4;
                check_one::<f32>(1, m, n, k, [ka, kb, kc], [0.0, 0.5][(ka + kb / 2) % 2]);
                check_one::<f64>(1, m, n, k, [ka, kb, kc], [0.0, 0.5][(ka + kb / 2) % 2]);
            }
        }
    }
}

#[test]
fn large_products_and_batches() {
    for kinds in [[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 2]] {
        check_one::<f32>(1, 260, 300, 800, kinds, 0.5);
        check_one::<f32>(17, 40, 50, 60, kinds, 0.0);
        check_one::<f64>(3, 120, 150, 140, kinds, 1.0);
    }
    // A strip of packed `b` and more.
    check_one::<f32>(1, 50, 2500, 400, [0, 0, 0], 1.0);
}

#[test]
fn every_level_agrees() {
    let (m, n, k) = if cfg!(miri) {
        (7, 13, 11)
    } else {
        (70, 50, 90)
    };
    let (a, b) = (noise(m * k, 1), noise(k * n, 2));
    let mut want = vec![0.0; m * n];
    for (at, sum) in want.iter_mut().enumerate() {
        *sum = (0..k).map(|p| a[at / n * k + p] * b[p * n + at % n]).sum();
    }
    let mut levels = vec![&portable::F64];
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx2 {
        levels.push(&x86::AVX2_F64);
    }
    for kernels in levels {
        for (tb, pack) in [(false, false), (true, false), (true, true)] {
            let mut bt = b.clone();
            let mut strides = (n, 1);
            if tb {
                strides = (1, k);
                for p in 0..k {
                    for j in 0..n {
                        bt[j * k + p] = b[p * n + j];
                    }
                }
            }
            let mut c = vec![f64::NAN; m * n];
            let problem = Problem {
                m,
                n,
                k,
                alpha: 1.0,
                a: a.as_ptr(),
                a_strides: (k, 1),
                b: bt.as_ptr(),
                b_strides: strides,
                beta: 0.0,
                c: c.as_mut_ptr(),
                c_strides: (n, 1),
            };
            // SAFETY: the matrices are as large as the problem says.
            unsafe { driver::run_with(&problem, kernels, tb && !pack, pack) };
            for (x, y) in c.iter().zip(&want) {
                assert!((x - y).abs() < 1e-13);
            }
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
