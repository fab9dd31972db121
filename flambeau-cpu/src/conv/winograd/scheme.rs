//! The bilinear schemes, one axis at a time: which sums of inputs are multiplied with which sums of
//! weights, and which sums of the products are the outputs.
//!
//! Every function reads and writes registers, `fs` and `ts` values apart. For a scheme
//! `y = A (G w . B x)` on one axis, `input` is `B`, `weight` is `G` and `output` is `A`; the
//! gradient of the weight, `G' (A' g . B x)`, takes `grad`, which is `A'`, and `kernel`, `G'`.
//!
//! Source: S. Winograd, "Arithmetic Complexity of Computations" (1980); A. Lavin and S. Gray, "Fast
//! Algorithms for Convolutional Neural Networks" (2015).

use crate::lanes::Lanes;

/// A scheme for the kernel elements of an axis.
///
/// # Safety
/// All functions: inside a kernel, and the memory named must be there.
#[allow(clippy::missing_safety_doc)]
pub(super) trait Scheme: Sync + 'static {
    /// Kernel elements.
    const TAPS: usize;
    /// Inputs of a tile.
    const IN: usize;
    /// Distance of the first inputs of neighbouring tiles.
    const STEP: usize;
    /// Outputs of a tile, and the distance of the first outputs of neighbouring tiles.
    const OUT: usize;
    /// Products.
    const N: usize;
    /// Different sums of weights; product `i` uses that of index `min(i, WEIGHTS - 1)`.
    const WEIGHTS: usize;

    /// `IN` values to `N`.
    unsafe fn input<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize);
    /// `N` values to `OUT`.
    unsafe fn output<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize);
    /// `TAPS` values to `WEIGHTS`.
    unsafe fn weight<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize);
}

/// What the gradient of the weight needs of a scheme of the forward convolution.
///
/// # Safety
/// As [`Scheme`].
#[allow(clippy::missing_safety_doc)]
pub(super) trait WeightScheme: Scheme {
    /// `OUT` values to `N`.
    unsafe fn grad<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize);
    /// `WEIGHTS` values to `TAPS`.
    unsafe fn kernel<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize);
}

/// # Safety
/// Inside a kernel, `K` registers can be read.
#[inline(always)]
unsafe fn get<L: Lanes<f32>, const K: usize>(from: *const f32, step: usize) -> [L::V; K] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut v = [L::zero(); K];
        for (i, v) in v.iter_mut().enumerate() {
            *v = L::load(from.add(i * step));
        }
        v
    }
}

/// # Safety
/// Inside a kernel, `K` registers can be written.
#[inline(always)]
unsafe fn put<L: Lanes<f32>, const K: usize>(to: *mut f32, step: usize, v: [L::V; K]) {
    for (i, v) in v.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { L::store(to.add(i * step), v) }
    }
}

/// `k * a + b`.
///
/// # Safety
/// Inside a kernel.
#[inline(always)]
unsafe fn fma<L: Lanes<f32>>(k: f32, a: L::V, b: L::V) -> L::V {
    // SAFETY: the caller's promise.
    unsafe { L::fma(L::splat(k), a, b) }
}

/// `k * a`.
///
/// # Safety
/// Inside a kernel.
#[inline(always)]
unsafe fn mul<L: Lanes<f32>>(k: f32, a: L::V) -> L::V {
    // SAFETY: the caller's promise.
    unsafe { fma::<L>(k, a, L::zero()) }
}

/// Four outputs of a stride-1 axis by six products instead of twelve: polynomials multiplied at the
/// points 0, P, -P, Q, -Q and infinity. Two axes need a quarter of the multiplications.
///
/// The points decide the error. 5/8 and 3/2 give less than half of that of the usual 1 and 2: over
/// 256 channels of normal values 1.5e-6 instead of 3.2e-6 (root mean square, relative to the
/// outputs'; the greatest of 6,400 errors is 1.1e-5 instead of 3.4e-5), and their squares are exact.
pub(super) struct Dense;

const P: f32 = 0.625;
const Q: f32 = 1.5;
const PP: f32 = P * P;
const QQ: f32 = Q * Q;
const PPQQ: f32 = PP * QQ;
/// One by the products of the distances between the points.
const W0: f32 = 1.0 / PPQQ;
const WP: f32 = 1.0 / (2.0 * PP * (PP - QQ));
const WQ: f32 = 1.0 / (2.0 * QQ * (QQ - PP));

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Scheme for Dense {
    const TAPS: usize = 3;
    const IN: usize = 6;
    const STEP: usize = 4;
    const OUT: usize = 4;
    const N: usize = 6;
    const WEIGHTS: usize = 6;

    #[inline(always)]
    unsafe fn input<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let d = get::<L, 6>(from, fs);
            let (p0, p1) = (fma::<L>(-QQ, d[2], d[4]), fma::<L>(-QQ, d[1], d[3]));
            let (q0, q1) = (fma::<L>(-PP, d[2], d[4]), fma::<L>(-PP, d[1], d[3]));
            let v = [
                fma::<L>(PPQQ, d[0], fma::<L>(-PP - QQ, d[2], d[4])),
                fma::<L>(P, p1, p0),
                fma::<L>(-P, p1, p0),
                fma::<L>(Q, q1, q0),
                fma::<L>(-Q, q1, q0),
                fma::<L>(PPQQ, d[1], fma::<L>(-PP - QQ, d[3], d[5])),
            ];
            put::<L, 6>(to, ts, v);
        }
    }

    #[inline(always)]
    unsafe fn output<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let m = get::<L, 6>(from, fs);
            let (p0, p1) = (L::add(m[1], m[2]), L::sub(m[1], m[2]));
            let (q0, q1) = (L::add(m[3], m[4]), L::sub(m[3], m[4]));
            let y = [
                L::add(m[0], L::add(p0, q0)),
                fma::<L>(P, p1, mul::<L>(Q, q1)),
                fma::<L>(PP, p0, mul::<L>(QQ, q0)),
                fma::<L>(P * PP, p1, fma::<L>(Q * QQ, q1, m[5])),
            ];
            put::<L, 4>(to, ts, y);
        }
    }

    #[inline(always)]
    unsafe fn weight<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let w = get::<L, 3>(from, fs);
            let (p, q) = (fma::<L>(PP, w[2], w[0]), fma::<L>(QQ, w[2], w[0]));
            let u = [
                mul::<L>(W0, w[0]),
                mul::<L>(WP, fma::<L>(P, w[1], p)),
                mul::<L>(WP, fma::<L>(-P, w[1], p)),
                mul::<L>(WQ, fma::<L>(Q, w[1], q)),
                mul::<L>(WQ, fma::<L>(-Q, w[1], q)),
                w[2],
            ];
            put::<L, 6>(to, ts, u);
        }
    }
}

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl WeightScheme for Dense {
    #[inline(always)]
    unsafe fn grad<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let g = get::<L, 4>(from, fs);
            let (p0, p1) = (fma::<L>(PP, g[2], g[0]), fma::<L>(PP, g[3], g[1]));
            let (q0, q1) = (fma::<L>(QQ, g[2], g[0]), fma::<L>(QQ, g[3], g[1]));
            let z = [
                g[0],
                fma::<L>(P, p1, p0),
                fma::<L>(-P, p1, p0),
                fma::<L>(Q, q1, q0),
                fma::<L>(-Q, q1, q0),
                g[3],
            ];
            put::<L, 6>(to, ts, z);
        }
    }

    #[inline(always)]
    unsafe fn kernel<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let u = get::<L, 6>(from, fs);
            let (p0, p1) = (L::add(u[1], u[2]), L::sub(u[1], u[2]));
            let (q0, q1) = (L::add(u[3], u[4]), L::sub(u[3], u[4]));
            let w = [
                fma::<L>(W0, u[0], fma::<L>(WP, p0, mul::<L>(WQ, q0))),
                fma::<L>(P * WP, p1, mul::<L>(Q * WQ, q1)),
                fma::<L>(PP * WP, p0, fma::<L>(QQ * WQ, q0, u[5])),
            ];
            put::<L, 3>(to, ts, w);
        }
    }
}

/// Four outputs of a stride-1 axis and five kernel elements by eight products instead of twenty: the
/// points 0, 1/2, -1/2, 1, -1, 2, -2 and infinity. No other pairs of halves, thirds, quarters, fifths
/// and eighths that were tried (one well below 1, one about 1, one above) have a smaller error; over
/// three channels and five columns it is 2.6 times that of direct sums.
pub(super) struct Five;

/// The points, their squares, and for each the elementary symmetric sums of the others' squares.
const POINTS: [f32; 3] = [0.5, 1.0, 2.0];
const SQUARES: [f32; 3] = [0.25, 1.0, 4.0];
const OTHERS: [[f32; 2]; 3] = [[5.0, 4.0], [4.25, 1.0], [1.25, 0.25]];
/// The sums, sums of products of two, and product of all squares.
const ALL: [f32; 3] = [5.25, 5.25, 1.0];
/// One by the products of the distances between the points; the same for a point and its negative.
const DISTANCES: [f32; 3] = {
    let mut distances = [0.0; 3];
    let mut i = 0;
    while i < 3 {
        let (p, [sum, product]) = (SQUARES[i], OTHERS[i]);
        distances[i] = 1.0 / (2.0 * p * (p * p - sum * p + product));
        i += 1;
    }
    distances
};

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Scheme for Five {
    const TAPS: usize = 5;
    const IN: usize = 8;
    const STEP: usize = 4;
    const OUT: usize = 4;
    const N: usize = 8;
    const WEIGHTS: usize = 8;

    #[inline(always)]
    unsafe fn input<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let d = get::<L, 8>(from, fs);
            let mut v = [L::zero(); 8];
            for i in 0..2 {
                let end = fma::<L>(-ALL[0], d[i + 4], d[i + 6]);
                v[7 * i] = fma::<L>(-ALL[2], d[i], fma::<L>(ALL[1], d[i + 2], end));
            }
            for i in 0..3 {
                let [sum, product] = OTHERS[i];
                let odd = fma::<L>(product, d[1], fma::<L>(-sum, d[3], d[5]));
                let even = fma::<L>(product, d[2], fma::<L>(-sum, d[4], d[6]));
                v[1 + 2 * i] = fma::<L>(POINTS[i], odd, even);
                v[2 + 2 * i] = fma::<L>(-POINTS[i], odd, even);
            }
            put::<L, 8>(to, ts, v);
        }
    }

    #[inline(always)]
    unsafe fn output<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let m = get::<L, 8>(from, fs);
            let mut y = [m[0], L::zero(), L::zero(), m[7]];
            for i in 0..3 {
                let (plus, minus) = (m[1 + 2 * i], m[2 + 2 * i]);
                let (even, odd) = (L::add(plus, minus), L::sub(plus, minus));
                y[0] = L::add(y[0], even);
                y[1] = fma::<L>(POINTS[i], odd, y[1]);
                y[2] = fma::<L>(SQUARES[i], even, y[2]);
                y[3] = fma::<L>(POINTS[i] * SQUARES[i], odd, y[3]);
            }
            put::<L, 4>(to, ts, y);
        }
    }

    #[inline(always)]
    unsafe fn weight<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let w = get::<L, 5>(from, fs);
            let mut u = [mul::<L>(-1.0 / ALL[2], w[0]); 8];
            u[7] = w[4];
            for i in 0..3 {
                let (p, scale) = (SQUARES[i], DISTANCES[i]);
                let even = fma::<L>(p, fma::<L>(p, w[4], w[2]), w[0]);
                let odd = mul::<L>(POINTS[i], fma::<L>(p, w[3], w[1]));
                u[1 + 2 * i] = mul::<L>(scale, L::add(even, odd));
                u[2 + 2 * i] = mul::<L>(scale, L::sub(even, odd));
            }
            put::<L, 8>(to, ts, u);
        }
    }
}

/// Two outputs of a stride-1 axis and five kernel elements by six products instead of ten, at the
/// points of [`Dense`], whose sums of inputs are the same: half the error of [`Five`].
pub(super) struct FineFive;

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Scheme for FineFive {
    const TAPS: usize = 5;
    const IN: usize = 6;
    const STEP: usize = 2;
    const OUT: usize = 2;
    const N: usize = 6;
    const WEIGHTS: usize = 6;

    #[inline(always)]
    unsafe fn input<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe { Dense::input::<L>(from, fs, to, ts) }
    }

    #[inline(always)]
    unsafe fn output<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let m = get::<L, 6>(from, fs);
            let (p0, p1) = (L::add(m[1], m[2]), L::sub(m[1], m[2]));
            let (q0, q1) = (L::add(m[3], m[4]), L::sub(m[3], m[4]));
            let y = [
                L::add(m[0], L::add(p0, q0)),
                fma::<L>(P, p1, fma::<L>(Q, q1, m[5])),
            ];
            put::<L, 2>(to, ts, y);
        }
    }

    #[inline(always)]
    unsafe fn weight<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let w = get::<L, 5>(from, fs);
            let even = |s: f32| fma::<L>(s, fma::<L>(s, w[4], w[2]), w[0]);
            let odd = |s: f32| fma::<L>(s, w[3], w[1]);
            let (p, q) = ((even(PP), odd(PP)), (even(QQ), odd(QQ)));
            let u = [
                mul::<L>(W0, w[0]),
                mul::<L>(WP, fma::<L>(P, p.1, p.0)),
                mul::<L>(WP, fma::<L>(-P, p.1, p.0)),
                mul::<L>(WQ, fma::<L>(Q, q.1, q.0)),
                mul::<L>(WQ, fma::<L>(-Q, q.1, q.0)),
                w[4],
            ];
            put::<L, 6>(to, ts, u);
        }
    }
}

/// Two outputs of a stride-2 axis by five products instead of six: the even inputs meet the first
/// and the last weight (three products by the points 0, 1 and infinity), the odd ones the middle one.
/// Two axes need 25 products for 36. (Four outputs by nine for twelve would save more where the
/// output is a multiple of four, and less at 14.)
pub(super) struct Strided;

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Scheme for Strided {
    const TAPS: usize = 3;
    const IN: usize = 5;
    const STEP: usize = 4;
    const OUT: usize = 2;
    const N: usize = 5;
    const WEIGHTS: usize = 4;

    #[inline(always)]
    unsafe fn input<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let d = get::<L, 5>(from, fs);
            let v = [L::sub(d[0], d[2]), d[2], L::sub(d[4], d[2]), d[1], d[3]];
            put::<L, 5>(to, ts, v);
        }
    }

    #[inline(always)]
    unsafe fn output<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let m = get::<L, 5>(from, fs);
            let y = [
                L::add(L::add(m[0], m[1]), m[3]),
                L::add(L::add(m[1], m[2]), m[4]),
            ];
            put::<L, 2>(to, ts, y);
        }
    }

    #[inline(always)]
    unsafe fn weight<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let w = get::<L, 3>(from, fs);
            put::<L, 4>(to, ts, [w[0], L::add(w[0], w[2]), w[2], w[1]]);
        }
    }
}

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl WeightScheme for Strided {
    #[inline(always)]
    unsafe fn grad<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let g = get::<L, 2>(from, fs);
            put::<L, 5>(to, ts, [g[0], L::add(g[0], g[1]), g[1], g[0], g[1]]);
        }
    }

    #[inline(always)]
    unsafe fn kernel<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let u = get::<L, 4>(from, fs);
            put::<L, 3>(to, ts, [L::add(u[0], u[1]), u[3], L::add(u[1], u[2])]);
        }
    }
}

/// The gradient of the input of a stride-2 axis with padding 1: four outputs by five products
/// instead of six. Three places `g` give `g0 w1, g1 w0 + g0 w2, g1 w1, g2 w0 + g1 w2`.
pub(super) struct StridedGradient;

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Scheme for StridedGradient {
    const TAPS: usize = 3;
    const IN: usize = 3;
    const STEP: usize = 2;
    const OUT: usize = 4;
    const N: usize = 5;
    const WEIGHTS: usize = 4;

    #[inline(always)]
    unsafe fn input<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let g = get::<L, 3>(from, fs);
            let v = [L::sub(g[0], g[1]), g[1], L::sub(g[2], g[1]), g[0], g[1]];
            put::<L, 5>(to, ts, v);
        }
    }

    #[inline(always)]
    unsafe fn output<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let m = get::<L, 5>(from, fs);
            put::<L, 4>(to, ts, [m[3], L::add(m[0], m[1]), m[4], L::add(m[1], m[2])]);
        }
    }

    #[inline(always)]
    unsafe fn weight<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        unsafe {
            let w = get::<L, 3>(from, fs);
            put::<L, 4>(to, ts, [w[2], L::add(w[0], w[2]), w[0], w[1]]);
        }
    }
}

/// A kernel of one element, `STEP` inputs apart: nothing but a change of layout around the products.
pub(super) struct Point<const STEP: usize>;

/// # Safety
/// Inside a kernel; a register can be read and written.
#[inline(always)]
unsafe fn copy<L: Lanes<f32>>(from: *const f32, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { L::store(to, L::load(from)) }
}

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const STEP: usize> Scheme for Point<STEP> {
    const TAPS: usize = 1;
    const IN: usize = 1;
    const STEP: usize = STEP;
    const OUT: usize = 1;
    const N: usize = 1;
    const WEIGHTS: usize = 1;

    #[inline(always)]
    unsafe fn input<L: Lanes<f32>>(from: *const f32, _: usize, to: *mut f32, _: usize) {
        unsafe { copy::<L>(from, to) }
    }
    #[inline(always)]
    unsafe fn output<L: Lanes<f32>>(from: *const f32, _: usize, to: *mut f32, _: usize) {
        unsafe { copy::<L>(from, to) }
    }
    #[inline(always)]
    unsafe fn weight<L: Lanes<f32>>(from: *const f32, _: usize, to: *mut f32, _: usize) {
        unsafe { copy::<L>(from, to) }
    }
}

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const STEP: usize> WeightScheme for Point<STEP> {
    #[inline(always)]
    unsafe fn grad<L: Lanes<f32>>(from: *const f32, _: usize, to: *mut f32, _: usize) {
        unsafe { copy::<L>(from, to) }
    }
    #[inline(always)]
    unsafe fn kernel<L: Lanes<f32>>(from: *const f32, _: usize, to: *mut f32, _: usize) {
        unsafe { copy::<L>(from, to) }
    }
}

/// The gradient of the input of a [`Point<2>`]: between the products lie zeros.
pub(super) struct PointGradient;

// SAFETY (all blocks): the trait's contract is handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Scheme for PointGradient {
    const TAPS: usize = 1;
    const IN: usize = 1;
    const STEP: usize = 1;
    const OUT: usize = 2;
    const N: usize = 1;
    const WEIGHTS: usize = 1;

    #[inline(always)]
    unsafe fn input<L: Lanes<f32>>(from: *const f32, _: usize, to: *mut f32, _: usize) {
        unsafe { copy::<L>(from, to) }
    }
    #[inline(always)]
    unsafe fn output<L: Lanes<f32>>(from: *const f32, _: usize, to: *mut f32, ts: usize) {
        unsafe { put::<L, 2>(to, ts, [L::load(from), L::zero()]) }
    }
    #[inline(always)]
    unsafe fn weight<L: Lanes<f32>>(from: *const f32, _: usize, to: *mut f32, _: usize) {
        unsafe { copy::<L>(from, to) }
    }
}
