//! Matrix products, after BLIS: tiles of `c` held in registers, operands packed where that pays.
//!
//! Each element of `c` is summed up in an order that depends on the shapes and strides alone, so
//! results do not depend on the number of threads.
//!
//! `f32` and `f64` are summed up in their own type. `bf16` and `f16` are summed up in `f32` and
//! rounded once, at the end: `bf16` by the CPU's instructions for it (AMX tiles, AVX-512-BF16), and
//! both by kernels for `f32` elsewhere, for which they are widened while they are packed.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod driver;
mod half;
mod kernel;
mod portable;
pub(crate) mod unit;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::alloc::Pod;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::threads::{num_threads, parallel_for};
use driver::{Problem, Small};
use kernel::{Kernels, Mat};
use std::ops::Range;

/// Row and column stride of a matrix, in elements; not negative.
pub type Strides = (isize, isize);

/// The element types of [`gemm`]: f32, f64, bf16 and f16.
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
    fn kernels() -> &'static Kernels;
    #[doc(hidden)]
    fn wide(self) -> f64;
}

/// What sums are made in.
trait Real:
    Copy + PartialEq + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> + 'static
{
    const ZERO: Self;
    fn of(x: f64) -> Self;
    fn mul_add_if_fast(self, x: Self, y: Self) -> Self;
}

macro_rules! scalar {
    ($t:ty, $zero:expr, $one:expr, $portable:expr, $avx2:expr, $avx512:expr, $best:ident) => {
        impl GemmScalar for $t {
            const ZERO: $t = $zero;
            const ONE: $t = $one;
        }

        impl Sealed for $t {
            // Inlined, it would have the crates that call it compile all kernels once more.
            #[inline(never)]
            fn kernels() -> &'static Kernels {
                #[cfg(target_arch = "x86_64")]
                match level() {
                    Level::Avx512 => return $best().unwrap_or(&const { $avx512 }),
                    Level::Avx2 => return &const { $avx2 },
                    Level::Portable => {}
                }
                &const { $portable }
            }

            #[inline(always)]
            fn wide(self) -> f64 {
                self.into()
            }
        }
    };
}
macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            const ZERO: $t = 0.0;

            #[inline(always)]
            fn of(x: f64) -> $t {
                x as $t
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
macro_rules! half {
    ($t:ty, $half:expr, $best:ident) => {
        scalar!(
            $t,
            <$t>::ZERO,
            <$t>::ONE,
            half::widened(portable::F32, $half),
            half::widened(x86::AVX2_F32, $half),
            half::widened(x86::AVX512_F32, $half),
            $best
        );
    };
}
real!(f32);
real!(f64);
scalar!(
    f32,
    0.0,
    1.0,
    portable::F32,
    x86::AVX2_F32,
    x86::AVX512_F32,
    no_better
);
scalar!(
    f64,
    0.0,
    1.0,
    portable::F64,
    x86::AVX2_F64,
    x86::AVX512_F64,
    no_better
);
half!(::half::bf16, &half::BF16, pairs);
half!(::half::f16, &half::F16, no_better);

#[cfg(target_arch = "x86_64")]
fn no_better() -> Option<&'static Kernels> {
    None
}

/// The kernels of the CPU's instructions for `bf16`, if it has them.
#[cfg(target_arch = "x86_64")]
fn pairs() -> Option<&'static Kernels> {
    match (bf16::available(), amx::available()) {
        (true, true) => Some(&amx::KERNELS),
        (true, false) => Some(&const { bf16::KERNELS }),
        _ => None,
    }
}

/// Multiplications that are worth a task of their own: a few microseconds.
const TASK: usize = 1 << 17;

/// The sizes of a batch of products of `m` x `k` and `k` x `n` matrices.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Number of products.
    pub batch: usize,
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
}

/// Where the matrices of a batch lie in a slice: the distance of one from the next, and of a
/// matrix's rows and columns, in elements. A distance of 0 repeats what is there.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// From a matrix to the next.
    pub batch: usize,
    /// From a row to the next.
    pub row: usize,
    /// From a column to the next.
    pub col: usize,
}

/// The matrix added to a product.
#[derive(Clone, Copy, Debug)]
pub enum Add<'a, T> {
    /// None.
    Nothing,
    /// What `c` held, times a factor. With factor 0 it is not read.
    Own(f64),
    /// A factor times another matrix of `m` x `n`, which a bias can be by strides of 0. With factor
    /// 0 it is not read.
    Other(f64, &'a [T], Layout),
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
    let layout = |name: &str, batch: usize, s: Strides| {
        assert!(s.0 >= 0 && s.1 >= 0, "gemm: negative stride of {name}");
        let (row, col) = (s.0 as usize, s.1 as usize);
        Layout { batch, row, col }
    };
    gemm_add(
        Sizes { batch, m, n, k },
        alpha.wide(),
        (a, layout("a", a_batch, a_strides)),
        (b, layout("b", b_batch, b_strides)),
        Add::Own(beta.wide()),
        (c, layout("c", c_batch, c_strides)),
    );
}

/// `c = alpha * a * b + add` for each of a batch of products: [`gemm`] with its matrices in any
/// layout, and a matrix or a bias added in the same pass. Sums and what is added to them are
/// rounded to a half type once.
///
/// # Panics
/// If a matrix does not lie within its slice, or if elements of `c` overlap.
///
/// ```
/// use flambeau_cpu::gemm::{Add, Layout, Sizes, gemm_add};
/// let sizes = Sizes { batch: 1, m: 2, n: 2, k: 2 };
/// let layout = Layout { batch: 0, row: 2, col: 1 };
/// let (a, b, bias) = ([1.0f32, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [0.5, -0.5]);
/// let add = Add::Other(1.0, &bias[..], Layout { row: 0, ..layout });
/// let mut c = [f32::NAN; 4];
/// gemm_add(sizes, 1.0, (&a, layout), (&b, layout), add, (&mut c, layout));
/// assert_eq!(c, [19.5, 21.5, 43.5, 49.5]);
/// ```
pub fn gemm_add<T: GemmScalar>(
    sizes: Sizes,
    alpha: f64,
    a: (&[T], Layout),
    b: (&[T], Layout),
    add: Add<'_, T>,
    c: (&mut [T], Layout),
) {
    // SAFETY: the kernels are chosen for the CPU.
    unsafe { gemm_by(T::kernels(), sizes, alpha, a, b, add, c) }
}

/// [`gemm_add`] by given kernels.
///
/// # Safety
/// The kernels must be for `T`, and the CPU must have their features.
unsafe fn gemm_by<T: GemmScalar>(
    kernels: &'static Kernels,
    sizes: Sizes,
    alpha: f64,
    a: (&[T], Layout),
    b: (&[T], Layout),
    add: Add<'_, T>,
    c: (&mut [T], Layout),
) {
    let Sizes { batch, m, n, k } = sizes;
    if batch == 0 || m == 0 || n == 0 {
        return;
    }
    check("a", a.0.len(), batch, (m, k), a.1);
    check("b", b.0.len(), batch, (k, n), b.1);
    check("c", c.0.len(), batch, (m, n), c.1);
    check_disjoint(&mut [(m, c.1.row), (n, c.1.col), (batch, c.1.batch)]);
    // Where k is 0 a and b may be empty; nothing is read from them then.
    let to = (c.0.as_mut_ptr(), c.1);
    let (beta, d) = match add {
        Add::Nothing => (0.0, (to.0.cast_const(), c.1)),
        Add::Own(beta) => (beta, (to.0.cast_const(), c.1)),
        Add::Other(beta, d, layout) => {
            check("the matrix to add", d.len(), batch, (m, n), layout);
            (beta, (d.as_ptr(), layout))
        }
    };
    let size = size_of::<T>();
    let mat = |(at, layout): (*const T, Layout)| Batch {
        step: layout.batch * size,
        first: Mat {
            at: at.cast_mut().cast(),
            row: layout.row * size,
            col: layout.col * size,
        },
    };
    let (a, b) = (mat((a.0.as_ptr(), a.1)), mat((b.0.as_ptr(), b.1)));
    let (c, d) = (mat((to.0, to.1)), mat(d));
    // SAFETY: `check` found every element of the matrices within its slice, `check_disjoint` that
    // no two elements of `c` share a place; `c` is borrowed mutably, so it overlaps no other. The
    // caller vouches for the kernels.
    unsafe { run(kernels, sizes, alpha, a, b, beta, d, c) }
}

/// Matrices at equal distances, in bytes.
#[derive(Clone, Copy)]
struct Batch {
    step: usize,
    first: Mat,
}

// SAFETY: the pointer is used in `unsafe` code only, which keeps tasks apart.
unsafe impl Sync for Batch {}

/// The products of a batch, each on a thread of its own or on all of them.
///
/// # Safety
/// As [`driver::run`], for each product; those of different products must not share elements of
/// `c`.
#[allow(clippy::too_many_arguments)]
unsafe fn run(
    kernels: &'static Kernels,
    Sizes { batch, m, n, k }: Sizes,
    alpha: f64,
    a: Batch,
    b: Batch,
    beta: f64,
    d: Batch,
    c: Batch,
) {
    let problem = |i: usize| {
        let at = |x: &Batch| Mat {
            at: x.first.at.wrapping_add(i * x.step),
            ..x.first
        };
        let wide = false;
        let (a, b, c, d) = (at(&a), at(&b), at(&c), at(&d));
        Problem {
            m,
            n,
            k,
            alpha,
            a,
            b,
            beta,
            d,
            c,
            wide,
        }
    };
    // SAFETY: the caller vouches for the matrices; each `i` is run once.
    let one = |i: usize, threads: usize| unsafe { driver::run(&problem(i), kernels, threads) };
    let small = (batch > 1)
        .then(|| Small::new(&problem(0), kernels))
        .flatten();
    let some = |range: Range<usize>| match &small {
        // SAFETY: as above.
        Some(small) => unsafe { small.run(range, [a.step, b.step, c.step, d.step]) },
        None => range.for_each(|i| one(i, 1)),
    };
    let work = m.saturating_mul(n).saturating_mul(k.max(1));
    let (threads, task) = (num_threads(), kernels.task());
    if threads == 1 || work.saturating_mul(batch) < 2 * task {
        some(0..batch);
    } else if batch >= 4 * threads || (batch > 1 && work < 16 * task) {
        parallel_for(batch, (task / work).clamp(1, batch.div_ceil(2)), some);
    } else {
        (0..batch).for_each(|i| one(i, threads));
    }
}

/// Panics unless the matrices lie within `len` elements.
fn check(name: &str, len: usize, batch: usize, dims: (usize, usize), layout: Layout) {
    if dims.0 == 0 || dims.1 == 0 {
        return;
    }
    let far = |n: usize, stride: usize| (n - 1).checked_mul(stride);
    let last = far(dims.0, layout.row)
        .zip(far(dims.1, layout.col))
        .zip(far(batch, layout.batch))
        .and_then(|((r, c), b)| r.checked_add(c)?.checked_add(b));
    assert!(
        last.is_some_and(|l| l < len),
        "gemm: {name} ({batch} x {} x {}, {layout:?}) exceeds {len} elements",
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
