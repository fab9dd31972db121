//! Matrix products.

use crate::alloc::Pod;
use crate::threads::{SyncPtr, parallel_for};

/// Row and column stride of a matrix, in elements; not negative.
pub type Strides = (isize, isize);

/// The element types of [`gemm`]: f32 and f64.
pub trait GemmScalar:
    Pod + PartialEq + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
}

impl GemmScalar for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
}

impl GemmScalar for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
}

/// `c = alpha * a * b + beta * c` for `a` of `m` x `k`, `b` of `k` x `n` and `c` of `m` x `n`.
///
/// Each matrix is a slice with a row and a column stride, so transposed, broadcast (stride 0, not
/// for `c`) and padded operands need no copy. With `beta` 0 the contents of `c` are not read, NaN
/// or not; `k` may be 0. The bits of the result do not depend on the number of threads.
///
/// # Panics
/// If a stride is negative, if a matrix does not lie within its slice, or if elements of `c`
/// overlap.
///
/// ```
/// use flambeau_cpu::gemm::gemm;
/// let (a, b) = ([1.0f32, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
/// let mut c = [f32::NAN; 4];
/// gemm(2, 2, 2, 1.0, &a, (2, 1), &b, (2, 1), 0.0, &mut c, (2, 1));
/// assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
/// ```
#[allow(clippy::too_many_arguments)]
pub fn gemm<T: GemmScalar>(
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: &[T],
    a_strides: Strides,
    b: &[T],
    b_strides: Strides,
    beta: T,
    c: &mut [T],
    c_strides: Strides,
) {
    gemm_batch(
        1, m, n, k, alpha, a, 0, a_strides, b, 0, b_strides, beta, c, 0, c_strides,
    );
}

/// [`gemm`] on `batch` triples of matrices, the i-th of which start `i` times their batch stride
/// into the slices. A batch stride of 0 shares `a` or `b`.
///
/// # Panics
/// As [`gemm`], and if the matrices of `c` overlap.
#[allow(clippy::too_many_arguments)]
pub fn gemm_batch<T: GemmScalar>(
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: &[T],
    a_batch: usize,
    a_strides: Strides,
    b: &[T],
    b_batch: usize,
    b_strides: Strides,
    beta: T,
    c: &mut [T],
    c_batch: usize,
    c_strides: Strides,
) {
    if batch == 0 || m == 0 || n == 0 {
        return;
    }
    check("a", a.len(), batch, a_batch, (m, k), a_strides);
    check("b", b.len(), batch, b_batch, (k, n), b_strides);
    check("c", c.len(), batch, c_batch, (m, n), c_strides);
    check_disjoint(&mut [
        (m, c_strides.0 as usize),
        (n, c_strides.1 as usize),
        (batch, c_batch),
    ]);
    let c = SyncPtr(c.as_mut_ptr());
    let (rsa, csa) = (a_strides.0 as usize, a_strides.1 as usize);
    let (rsb, csb) = (b_strides.0 as usize, b_strides.1 as usize);
    let (rsc, csc) = (c_strides.0 as usize, c_strides.1 as usize);
    let grain = (1 << 16) / (n * k.max(1)) + 1;
    parallel_for(batch * m, grain, |rows| {
        for row in rows {
            let (t, i) = (row / m, row % m);
            for j in 0..n {
                let mut sum = T::ZERO;
                for p in 0..k {
                    sum = sum
                        + a[t * a_batch + i * rsa + p * csa] * b[t * b_batch + p * rsb + j * csb];
                }
                // SAFETY: `check` found every element inside the slice, `check_disjoint` that no
                // two share a place, and each (t, i, j) is visited once.
                unsafe {
                    let c = c.get().add(t * c_batch + i * rsc + j * csc);
                    let old = if beta == T::ZERO { T::ZERO } else { beta * *c };
                    *c = alpha * sum + old;
                }
            }
        }
    });
}

/// Panics unless the matrices lie within `len` elements.
fn check(name: &str, len: usize, batch: usize, step: usize, dims: (usize, usize), s: Strides) {
    assert!(s.0 >= 0 && s.1 >= 0, "gemm: negative stride of {name}");
    if dims.0 == 0 || dims.1 == 0 {
        return;
    }
    let far = |n: usize, stride: usize| (n - 1).checked_mul(stride);
    let last = far(dims.0, s.0 as usize)
        .zip(far(dims.1, s.1 as usize))
        .zip(far(batch, step))
        .and_then(|((r, c), b)| r.checked_add(c)?.checked_add(b));
    assert!(
        last.is_some_and(|l| l < len),
        "gemm: {name} ({batch} x {} x {}, strides {s:?}, batch stride {step}) exceeds {len} elements",
        dims.0,
        dims.1
    );
}

/// Panics unless all index combinations of (count, stride) axes give different places, as far as
/// nesting shows: sorted by stride, each must step over the whole extent of those before it.
fn check_disjoint(axes: &mut [(usize, usize)]) {
    axes.sort_by_key(|a| a.1);
    let mut extent = 1;
    for &(count, stride) in axes.iter().filter(|a| a.0 > 1) {
        assert!(stride >= extent, "gemm: elements of c overlap");
        extent += (count - 1) * stride;
    }
}
