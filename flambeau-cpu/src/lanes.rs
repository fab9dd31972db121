//! Vector registers behind one trait, for loops whose register use decides their speed: where the
//! compiler's own vectorisation of a [`dispatch`](crate::simd::dispatch)ed loop is good enough,
//! that is simpler.

use crate::float::Float;
use crate::simd::{Level, level};

/// One kind of vector register holding `N` values of `T`.
///
/// # Safety
/// The methods may be called only inside [`Kernel::run`], where the CPU has been checked for the
/// instructions; pointers must be good for what is read or written, at any alignment.
#[allow(clippy::missing_safety_doc)]
pub trait Lanes<T>: 'static {
    /// Values in a register.
    const N: usize;
    /// Registers that a loop may use for its sums, the rest being left to operands.
    const SUMS: usize;
    /// The register.
    type V: Copy;

    /// All lanes 0.
    unsafe fn zero() -> Self::V;
    /// All lanes `x`.
    unsafe fn splat(x: T) -> Self::V;
    /// `N` values from `p`.
    unsafe fn load(p: *const T) -> Self::V;
    /// The first `n <= N` values from `p`, the other lanes 0; nothing else is read.
    unsafe fn load_first(p: *const T, n: usize) -> Self::V;
    /// `N` values to `p`.
    unsafe fn store(p: *mut T, v: Self::V);
    /// `a * b + c`, fused where the CPU can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The sum of the lanes, in a fixed order.
    unsafe fn sum(v: Self::V) -> T;
}

/// The registers of each [`Level`] for an element type.
pub trait Vectors: Sized {
    /// Those of [`Level::Avx512`].
    type Avx512: Lanes<Self>;
    /// Those of [`Level::Avx2`].
    type Avx2: Lanes<Self>;
}

/// `N` and `SUMS` of the registers that [`with_lanes`] will take.
pub(crate) fn register_shape<T: Float>() -> (usize, usize) {
    fn of<T, L: Lanes<T>>() -> (usize, usize) {
        (L::N, L::SUMS)
    }
    match level() {
        Level::Avx512 => of::<T, T::Avx512>(),
        Level::Avx2 => of::<T, T::Avx2>(),
        Level::Portable => of::<T, Portable>(),
    }
}

/// A computation written over [`Lanes`].
pub(crate) trait Kernel<T> {
    /// Does it. Must be `#[inline(always)]`, and so must all it calls with `L`.
    fn run<L: Lanes<T>>(self);
}

/// Runs `kernel` with the widest registers that the CPU has.
pub(crate) fn with_lanes<T: Float, K: Kernel<T>>(kernel: K) {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: `level` returns Avx512 only where the CPU has what is enabled there.
        Level::Avx512 => return unsafe { x86::avx512(kernel) },
        // SAFETY: as above, for Avx2.
        Level::Avx2 => return unsafe { x86::avx2(kernel) },
        Level::Portable => {}
    }
    kernel.run::<Portable>();
}

/// Arrays of four, which every target can vectorise.
pub struct Portable;

impl<T: Float> Lanes<T> for Portable {
    const N: usize = 4;
    const SUMS: usize = 12;
    type V = [T; 4];

    #[inline(always)]
    unsafe fn zero() -> [T; 4] {
        [T::ZERO; 4]
    }
    #[inline(always)]
    unsafe fn splat(x: T) -> [T; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> [T; 4] {
        // SAFETY: the caller vouches for four values at `p`.
        unsafe { p.cast::<[T; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const T, n: usize) -> [T; 4] {
        if n >= 4 {
            // SAFETY: the caller vouches for `n` values at `p`.
            return unsafe { <Self as Lanes<T>>::load(p) };
        }
        // SAFETY: the caller vouches for `n` values at `p`.
        std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { T::ZERO })
    }
    #[inline(always)]
    unsafe fn store(p: *mut T, v: [T; 4]) {
        // SAFETY: the caller vouches for four places at `p`.
        unsafe { p.cast::<[T; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn fma(a: [T; 4], b: [T; 4], c: [T; 4]) -> [T; 4] {
        std::array::from_fn(|i| a[i].multiply_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn sum(v: [T; 4]) -> T {
        (v[0] + v[1]) + (v[2] + v[3])
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl<T: Float> Vectors for T {
    type Avx512 = Portable;
    type Avx2 = Portable;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    /// # Safety
    /// The CPU must have the enabled features.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2")]
    pub(super) unsafe fn avx512<T: Float, K: Kernel<T>>(kernel: K) {
        kernel.run::<T::Avx512>();
    }

    /// # Safety
    /// The CPU must have the enabled features.
    #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
    pub(super) unsafe fn avx2<T: Float, K: Kernel<T>>(kernel: K) {
        kernel.run::<T::Avx2>();
    }

    /// 512-bit registers.
    pub struct Avx512;
    /// 256-bit registers.
    pub struct Avx2;

    macro_rules! lanes {
        ($name:ident, $t:ty, $v:ty, $n:expr, $sums:expr, $zero:ident, $splat:ident, $load:ident,
         $store:ident, $fma:ident, |$p:ident, $count:ident| $first:expr, |$s:ident| $sum:expr) => {
            // SAFETY (all methods): the trait's contract says that the instructions are there and
            // the pointers good.
            #[allow(clippy::undocumented_unsafe_blocks)]
            impl Lanes<$t> for $name {
                const N: usize = $n;
                const SUMS: usize = $sums;
                type V = $v;

                #[inline(always)]
                unsafe fn zero() -> $v {
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn splat(x: $t) -> $v {
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(p: *const $t) -> $v {
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn load_first($p: *const $t, $count: usize) -> $v {
                    unsafe { $first }
                }
                #[inline(always)]
                unsafe fn store(p: *mut $t, v: $v) {
                    unsafe { $store(p, v) }
                }
                #[inline(always)]
                unsafe fn fma(a: $v, b: $v, c: $v) -> $v {
                    unsafe { $fma(a, b, c) }
                }
                #[inline(always)]
                unsafe fn sum($s: $v) -> $t {
                    unsafe { $sum }
                }
            }
        };
    }

    lanes!(
        Avx512,
        f32,
        __m512,
        16,
        24,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        |p, n| _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, p),
        |v| _mm512_reduce_add_ps(v)
    );
    lanes!(
        Avx512,
        f64,
        __m512d,
        8,
        24,
        _mm512_setzero_pd,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_fmadd_pd,
        |p, n| _mm512_maskz_loadu_pd(((1u32 << n) - 1) as u8, p),
        |v| _mm512_reduce_add_pd(v)
    );
    lanes!(
        Avx2,
        f32,
        __m256,
        8,
        12,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        |p, n| {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane))
        },
        |v| {
            let half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)))
        }
    );
    lanes!(
        Avx2,
        f64,
        __m256d,
        4,
        12,
        _mm256_setzero_pd,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_fmadd_pd,
        |p, n| {
            let lane = _mm256_setr_epi64x(0, 1, 2, 3);
            _mm256_maskload_pd(p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(n as i64), lane))
        },
        |v| {
            let half = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
            _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)))
        }
    );

    impl Vectors for f32 {
        type Avx512 = Avx512;
        type Avx2 = Avx2;
    }
    impl Vectors for f64 {
        type Avx512 = Avx512;
        type Avx2 = Avx2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Check;
    impl<T: Float> Kernel<T> for Check {
        #[inline(always)]
        fn run<L: Lanes<T>>(self) {
            let x: Vec<T> = (1..=L::N).map(|i| T::from_f64(i as f64)).collect();
            let mut out = vec![T::ZERO; L::N];
            for n in 0..=L::N {
                // SAFETY: inside `run`; `x` and `out` hold `N` values, of which `n` are read.
                unsafe {
                    let first = L::load_first(x[L::N - n..].as_ptr(), n);
                    L::store(out.as_mut_ptr(), first);
                    assert_eq!(out[..n], x[L::N - n..]);
                    assert!(out[n..].iter().all(|&v| v == T::ZERO));
                    let v = L::fma(L::load(x.as_ptr()), L::splat(T::from_f64(2.0)), L::zero());
                    assert_eq!(L::sum(v).to_f64(), (L::N * (L::N + 1)) as f64);
                }
            }
        }
    }

    #[test]
    fn lanes_load_add_and_sum() {
        with_lanes::<f32, _>(Check);
        with_lanes::<f64, _>(Check);
    }
}
