//! Matrix products, after BLIS: tiles of `c` held in registers, operands packed where that pays.
//!
//! Each element of `c` is summed up in an order that depends on the shapes and strides alone, so
//! results do not depend on the number of threads.

mod driver;
mod kernel;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::alloc::Pod;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::threads::{SyncPtr, num_threads, parallel_for};
use driver::Problem;
use kernel::Kernels;

/// Row and column stride of a matrix, in elements; not negative.
pub type Strides = (isize, isize);

/// The element types of [`gemm`]: f32 and f64.
pub trait GemmScalar:
    Pod + PartialEq + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> + Sealed
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
}

/// What only this module may implement and use.
pub trait Sealed: Sized + 'static {
    #[doc(hidden)]
    fn kernels() -> &'static Kernels<Self>;
    #[doc(hidden)]
    fn mul_add_if_fast(self, x: Self, y: Self) -> Self;
}

macro_rules! scalar {
    ($t:ty, $portable:path, $avx2:path, $avx512:path) => {
        impl GemmScalar for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
        }

        impl Sealed for $t {
            #[inline]
            fn kernels() -> &'static Kernels<$t> {
                #[cfg(target_arch = "x86_64")]
                match level() {
                    Level::Avx512 => return &$avx512,
                    Level::Avx2 => return &$avx2,
                    Level::Portable => {}
                }
                &$portable
            }

            #[inline(always)]
            fn mul_add_if_fast(self, x: $t, y: $t) -> $t {
                match cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                    true => self.mul_add(x, y),
                    false => self * x + y,
                }
            }
        }
    };
}
scalar!(f32, portable::F32, x86::AVX2_F32, x86::AVX512_F32);
scalar!(f64, portable::F64, x86::AVX2_F64, x86::AVX512_F64);

/// Multiplications that are worth a task of their own: some tens of microseconds.
const TASK: usize = 1 << 20;

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
    let one = |i: usize, threads: usize| {
        // Where k is 0 a and b may be empty; nothing is read from them then.
        let at = |x: &[T], step: usize| x.as_ptr().wrapping_add(i * step);
        let problem = Problem {
            m,
            n,
            k,
            alpha,
            a: at(a, a_batch),
            a_strides: (a_strides.0 as usize, a_strides.1 as usize),
            b: at(b, b_batch),
            b_strides: (b_strides.0 as usize, b_strides.1 as usize),
            beta,
            c: c.get().wrapping_add(i * c_batch),
            c_strides: (c_strides.0 as usize, c_strides.1 as usize),
        };
        // SAFETY: `check` found every element of the matrices within its slice,
        // `check_disjoint` that no two elements of `c` share a place; `c` is borrowed mutably, so
        // neither `a` nor `b` overlaps it, and each `i` is run once.
        unsafe { driver::run(problem, threads) }
    };
    let work = m.saturating_mul(n).saturating_mul(k.max(1));
    let threads = num_threads();
    if threads == 1 || work.saturating_mul(batch) < 2 * TASK {
        (0..batch).for_each(|i| one(i, 1));
    } else if batch >= 4 * threads || (batch > 1 && work < 2 * TASK) {
        parallel_for(batch, (TASK / work).clamp(1, batch.div_ceil(2)), |r| {
            r.for_each(|i| one(i, 1))
        });
    } else {
        (0..batch).for_each(|i| one(i, threads));
    }
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

#[cfg(test)]
mod tests;
