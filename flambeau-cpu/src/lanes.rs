//! Vector registers behind one trait, for loops whose register use decides their speed: where the
//! compiler's own vectorisation of a [`dispatch`](crate::simd::dispatch)ed loop is good enough,
//! that is simpler.

use crate::float::Float;
use crate::simd::{Level, level};

/// One kind of vector register holding `N` values of `T`.
///
/// # Safety
/// The methods may be called only inside a kernel's `run`, where the CPU has been checked for the
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
    /// The first `n <= N` lanes to `p`; nothing else is written.
    unsafe fn store_first(p: *mut T, v: Self::V, n: usize);
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, fused where the CPU can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Turns a block of `size = (rows, cols)`, each at most `N`: `to[c * to_stride + r] =
    /// from[r * stride + c]`, plus `plus[c]` if any, for `r < rows` and `c < cols`. Of each row of
    /// `to`, `width` lanes are written, those from `rows` on with zeros. Without `plus` the values
    /// may be any 32 or 64 bits.
    unsafe fn transpose(
        from: *const T,
        stride: usize,
        size: (usize, usize),
        plus: Option<Self::V>,
        to: *mut T,
        to_stride: usize,
        width: usize,
    );
    /// The sum of the lanes, in a fixed order.
    unsafe fn sum(v: Self::V) -> T;
    /// The even and the odd lanes of `a` and `b` as one row.
    unsafe fn split(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// The reverse: lanes of `a` and `b` in turns, as two registers.
    unsafe fn merge(a: Self::V, b: Self::V) -> (Self::V, Self::V);
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

/// `std::array::from_fn` as a loop, which is inlined however the crate is cut for compilation.
#[inline(always)]
fn each<T: Float>(f: impl Fn(usize) -> T) -> [T; 4] {
    let mut out = [T::ZERO; 4];
    for (i, x) in out.iter_mut().enumerate() {
        *x = f(i);
    }
    out
}

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
        each(|i| if i < n { unsafe { *p.add(i) } } else { T::ZERO })
    }
    #[inline(always)]
    unsafe fn store(p: *mut T, v: [T; 4]) {
        // SAFETY: the caller vouches for four places at `p`.
        unsafe { p.cast::<[T; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut T, v: [T; 4], n: usize) {
        for (i, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: the caller vouches for `n` places at `p`.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    unsafe fn add(a: [T; 4], b: [T; 4]) -> [T; 4] {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [T; 4], b: [T; 4]) -> [T; 4] {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: [T; 4], b: [T; 4], c: [T; 4]) -> [T; 4] {
        each(|i| a[i].multiply_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn transpose(
        from: *const T,
        stride: usize,
        size: (usize, usize),
        plus: Option<[T; 4]>,
        to: *mut T,
        to_stride: usize,
        width: usize,
    ) {
        // SAFETY: handed on.
        unsafe { turn_block(from, stride, size, plus, to, to_stride, width) }
    }
    #[inline(always)]
    unsafe fn sum(v: [T; 4]) -> T {
        (v[0] + v[1]) + (v[2] + v[3])
    }
    #[inline(always)]
    unsafe fn split(a: [T; 4], b: [T; 4]) -> ([T; 4], [T; 4]) {
        ([a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]])
    }
    #[inline(always)]
    unsafe fn merge(a: [T; 4], b: [T; 4]) -> ([T; 4], [T; 4]) {
        ([a[0], b[0], a[1], b[1]], [a[2], b[2], a[3], b[3]])
    }
}

/// [`Lanes::transpose`], one value at a time.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn turn_block<T: Float, const N: usize>(
    from: *const T,
    stride: usize,
    (rows, cols): (usize, usize),
    plus: Option<[T; N]>,
    to: *mut T,
    to_stride: usize,
    width: usize,
) {
    for c in 0..cols {
        for r in 0..width {
            // SAFETY: the caller vouches for the block on both sides.
            unsafe {
                let from = from.wrapping_add(r * stride + c);
                *to.add(c * to_stride + r) = match (r < rows, plus) {
                    (true, Some(plus)) => *from + plus[c],
                    (true, None) => *from,
                    (false, _) => T::ZERO,
                };
            }
        }
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

    /// The top bits of the first `n` of eight lanes.
    #[inline(always)]
    unsafe fn first8(n: usize) -> __m256i {
        // SAFETY: the instructions are there.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane)
        }
    }

    /// The top bits of the first `n` of four lanes.
    #[inline(always)]
    unsafe fn first4(n: usize) -> __m256i {
        // SAFETY: the instructions are there.
        unsafe {
            let lane = _mm256_setr_epi64x(0, 1, 2, 3);
            _mm256_cmpgt_epi64(_mm256_set1_epi64x(n as i64), lane)
        }
    }

    /// [`Lanes::transpose`] of 16 by 16.
    #[inline(always)]
    unsafe fn turn16(
        from: *const f32,
        stride: usize,
        (rows, cols): (usize, usize),
        plus: Option<__m512>,
        to: *mut f32,
        to_stride: usize,
        width: usize,
    ) {
        // SAFETY: the caller vouches for the instructions and for the block; of its rows and
        // columns none but those named are touched.
        unsafe {
            let (of, into) = (((1u32 << cols) - 1) as u16, ((1u32 << width) - 1) as u16);
            let mut r = [_mm512_setzero_ps(); 16];
            for (i, r) in r.iter_mut().enumerate() {
                if i < rows {
                    *r = _mm512_maskz_loadu_ps(of, from.add(i * stride));
                    if let Some(plus) = plus {
                        *r = _mm512_add_ps(plus, *r);
                    }
                }
            }
            let mut pairs = [_mm512_setzero_ps(); 16];
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            // quads[4 j + q] holds, in its quarter l, rows 4 j to 4 j + 3 of column 4 l + q.
            let mut quads = [_mm512_setzero_ps(); 16];
            for j in 0..4 {
                // No closures here: one that is not inlined is compiled for the baseline.
                let p = [
                    _mm512_castps_pd(pairs[4 * j]),
                    _mm512_castps_pd(pairs[4 * j + 1]),
                    _mm512_castps_pd(pairs[4 * j + 2]),
                    _mm512_castps_pd(pairs[4 * j + 3]),
                ];
                quads[4 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(p[0], p[2]));
                quads[4 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p[0], p[2]));
                quads[4 * j + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(p[1], p[3]));
                quads[4 * j + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(p[1], p[3]));
            }
            let mut out = [_mm512_setzero_ps(); 16];
            for q in 0..4 {
                let even = [
                    _mm512_shuffle_f32x4::<0x88>(quads[q], quads[4 + q]),
                    _mm512_shuffle_f32x4::<0x88>(quads[8 + q], quads[12 + q]),
                ];
                let odd = [
                    _mm512_shuffle_f32x4::<0xdd>(quads[q], quads[4 + q]),
                    _mm512_shuffle_f32x4::<0xdd>(quads[8 + q], quads[12 + q]),
                ];
                out[q] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
                out[4 + q] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
                out[8 + q] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
                out[12 + q] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
            }
            for (c, out) in out.into_iter().enumerate() {
                if c < cols {
                    // A store with a mask takes longer, be the mask full or not.
                    match width {
                        16 => _mm512_storeu_ps(to.add(c * to_stride), out),
                        _ => _mm512_mask_storeu_ps(to.add(c * to_stride), into, out),
                    }
                }
            }
        }
    }

    /// [`Lanes::transpose`] of 8 by 8.
    #[inline(always)]
    unsafe fn turn8(
        from: *const f32,
        stride: usize,
        (rows, cols): (usize, usize),
        plus: Option<__m256>,
        to: *mut f32,
        to_stride: usize,
        width: usize,
    ) {
        // SAFETY: as for `turn16`.
        unsafe {
            let of = first8(cols);
            let mut r = [_mm256_setzero_ps(); 8];
            for (i, r) in r.iter_mut().enumerate() {
                if i < rows {
                    *r = _mm256_maskload_ps(from.add(i * stride), of);
                    if let Some(plus) = plus {
                        *r = _mm256_add_ps(plus, *r);
                    }
                }
            }
            // quads[4 j + q] holds, in its half l, rows 4 j to 4 j + 3 of column 4 l + q.
            let mut quads = [_mm256_setzero_ps(); 8];
            for j in 0..2 {
                let low = [
                    _mm256_unpacklo_ps(r[4 * j], r[4 * j + 1]),
                    _mm256_unpacklo_ps(r[4 * j + 2], r[4 * j + 3]),
                ];
                let high = [
                    _mm256_unpackhi_ps(r[4 * j], r[4 * j + 1]),
                    _mm256_unpackhi_ps(r[4 * j + 2], r[4 * j + 3]),
                ];
                quads[4 * j] = _mm256_shuffle_ps::<0x44>(low[0], low[1]);
                quads[4 * j + 1] = _mm256_shuffle_ps::<0xee>(low[0], low[1]);
                quads[4 * j + 2] = _mm256_shuffle_ps::<0x44>(high[0], high[1]);
                quads[4 * j + 3] = _mm256_shuffle_ps::<0xee>(high[0], high[1]);
            }
            for c in 0..8 {
                if c < cols {
                    let (a, b) = (quads[c % 4], quads[4 + c % 4]);
                    let out = match c < 4 {
                        true => _mm256_permute2f128_ps::<0x20>(a, b),
                        false => _mm256_permute2f128_ps::<0x31>(a, b),
                    };
                    let to = to.add(c * to_stride);
                    match width {
                        8 => _mm256_storeu_ps(to, out),
                        _ => _mm256_maskstore_ps(to, first8(width), out),
                    }
                }
            }
        }
    }

    /// [`Lanes::transpose`] of f64, which no fast path uses so far.
    macro_rules! turn_f64 {
        ($name:ident, $v:ty, $n:literal) => {
            #[inline(always)]
            unsafe fn $name(
                from: *const f64,
                stride: usize,
                size: (usize, usize),
                plus: Option<$v>,
                to: *mut f64,
                to_stride: usize,
                width: usize,
            ) {
                // SAFETY: handed on; a register is as many values as it has lanes.
                unsafe {
                    let plus = match plus {
                        Some(plus) => Some(std::mem::transmute::<$v, [f64; $n]>(plus)),
                        None => None,
                    };
                    turn_block(from, stride, size, plus, to, to_stride, width);
                }
            }
        };
    }
    turn_f64!(turn_f64x8, __m512d, 8);
    turn_f64!(turn_f64x4, __m256d, 4);

    /// Lanes in turns and back. All: the CPU must have the instructions.
    #[inline(always)]
    unsafe fn split16(a: __m512, b: __m512) -> (__m512, __m512) {
        // SAFETY: the instructions are there.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
            (
                _mm512_permutex2var_ps(a, even, b),
                _mm512_permutex2var_ps(a, odd, b),
            )
        }
    }
    #[inline(always)]
    unsafe fn merge16(a: __m512, b: __m512) -> (__m512, __m512) {
        // SAFETY: the instructions are there.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            (
                _mm512_permutex2var_ps(a, low, b),
                _mm512_permutex2var_ps(a, high, b),
            )
        }
    }
    #[inline(always)]
    unsafe fn split8d(a: __m512d, b: __m512d) -> (__m512d, __m512d) {
        // SAFETY: the instructions are there.
        unsafe {
            let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
            let odd = _mm512_or_si512(even, _mm512_set1_epi64(1));
            (
                _mm512_permutex2var_pd(a, even, b),
                _mm512_permutex2var_pd(a, odd, b),
            )
        }
    }
    #[inline(always)]
    unsafe fn merge8d(a: __m512d, b: __m512d) -> (__m512d, __m512d) {
        // SAFETY: the instructions are there.
        unsafe {
            let low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            let high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
            (
                _mm512_permutex2var_pd(a, low, b),
                _mm512_permutex2var_pd(a, high, b),
            )
        }
    }
    #[inline(always)]
    unsafe fn split8(a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: the instructions are there.
        unsafe {
            let even = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(a, b));
            let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0xdd>(a, b));
            (
                _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(even)),
                _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(odd)),
            )
        }
    }
    #[inline(always)]
    unsafe fn merge8(a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: the instructions are there.
        unsafe {
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            (
                _mm256_permute2f128_ps::<0x20>(low, high),
                _mm256_permute2f128_ps::<0x31>(low, high),
            )
        }
    }
    #[inline(always)]
    unsafe fn split4d(a: __m256d, b: __m256d) -> (__m256d, __m256d) {
        // SAFETY: the instructions are there.
        unsafe {
            (
                _mm256_permute4x64_pd::<0xd8>(_mm256_unpacklo_pd(a, b)),
                _mm256_permute4x64_pd::<0xd8>(_mm256_unpackhi_pd(a, b)),
            )
        }
    }
    #[inline(always)]
    unsafe fn merge4d(a: __m256d, b: __m256d) -> (__m256d, __m256d) {
        // SAFETY: the instructions are there.
        unsafe {
            let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            (
                _mm256_permute2f128_pd::<0x20>(low, high),
                _mm256_permute2f128_pd::<0x31>(low, high),
            )
        }
    }

    macro_rules! lanes {
        ($name:ident, $t:ty, $v:ty, $n:expr, $sums:expr, $zero:ident, $splat:ident, $load:ident,
         $store:ident, $add:ident, $sub:ident, $fma:ident, |$p:ident, $count:ident| $first:expr,
         |$to:ident, $value:ident, $places:ident| $store_first:expr, |$s:ident| $sum:expr,
         $transpose:ident, $split:ident, $merge:ident) => {
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
                unsafe fn store_first($to: *mut $t, $value: $v, $places: usize) {
                    unsafe { $store_first }
                }
                #[inline(always)]
                unsafe fn add(a: $v, b: $v) -> $v {
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                unsafe fn sub(a: $v, b: $v) -> $v {
                    unsafe { $sub(a, b) }
                }
                #[inline(always)]
                unsafe fn fma(a: $v, b: $v, c: $v) -> $v {
                    unsafe { $fma(a, b, c) }
                }
                #[inline(always)]
                unsafe fn transpose(
                    from: *const $t,
                    stride: usize,
                    size: (usize, usize),
                    plus: Option<$v>,
                    to: *mut $t,
                    to_stride: usize,
                    width: usize,
                ) {
                    unsafe { $transpose(from, stride, size, plus, to, to_stride, width) }
                }
                #[inline(always)]
                unsafe fn sum($s: $v) -> $t {
                    unsafe { $sum }
                }
                #[inline(always)]
                unsafe fn split(a: $v, b: $v) -> ($v, $v) {
                    unsafe { $split(a, b) }
                }
                #[inline(always)]
                unsafe fn merge(a: $v, b: $v) -> ($v, $v) {
                    unsafe { $merge(a, b) }
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
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_fmadd_ps,
        |p, n| _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, p),
        |p, v, n| _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as u16, v),
        |v| _mm512_reduce_add_ps(v),
        turn16,
        split16,
        merge16
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
        _mm512_add_pd,
        _mm512_sub_pd,
        _mm512_fmadd_pd,
        |p, n| _mm512_maskz_loadu_pd(((1u32 << n) - 1) as u8, p),
        |p, v, n| _mm512_mask_storeu_pd(p, ((1u32 << n) - 1) as u8, v),
        |v| _mm512_reduce_add_pd(v),
        turn_f64x8,
        split8d,
        merge8d
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
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_fmadd_ps,
        |p, n| _mm256_maskload_ps(p, first8(n)),
        |p, v, n| match n {
            8 => _mm256_storeu_ps(p, v),
            _ => _mm256_maskstore_ps(p, first8(n), v),
        },
        |v| {
            let half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)))
        },
        turn8,
        split8,
        merge8
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
        _mm256_add_pd,
        _mm256_sub_pd,
        _mm256_fmadd_pd,
        |p, n| _mm256_maskload_pd(p, first4(n)),
        |p, v, n| match n {
            4 => _mm256_storeu_pd(p, v),
            _ => _mm256_maskstore_pd(p, first4(n), v),
        },
        |v| {
            let half = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
            _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)))
        },
        turn_f64x4,
        split4d,
        merge4d
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
                    out.fill(T::ZERO);
                    let two = L::sub(L::add(L::load(x.as_ptr()), L::load(x.as_ptr())), L::zero());
                    L::store_first(out.as_mut_ptr(), two, n);
                    for (i, out) in out.iter().enumerate() {
                        assert_eq!(out.to_f64(), if i < n { 2.0 * x[i].to_f64() } else { 0.0 });
                    }
                }
            }
            let mut rows = vec![T::ZERO; 4 * L::N];
            let row: Vec<T> = (0..2 * L::N).map(|i| T::from_f64(i as f64)).collect();
            // SAFETY: inside `run`; `row` holds two registers, `rows` four.
            unsafe {
                let (a, b) = (L::load(row.as_ptr()), L::load(row[L::N..].as_ptr()));
                let (even, odd) = L::split(a, b);
                let (first, second) = L::merge(even, odd);
                for (i, v) in [even, odd, first, second].into_iter().enumerate() {
                    L::store(rows[i * L::N..].as_mut_ptr(), v);
                }
            }
            for i in 0..L::N {
                assert_eq!(rows[i], row[2 * i]);
                assert_eq!(rows[L::N + i], row[2 * i + 1]);
            }
            assert_eq!(rows[2 * L::N..], row);
            let stride = L::N + 3;
            let from: Vec<T> = (0..stride * L::N).map(|i| T::from_f64(i as f64)).collect();
            for (rows, cols, width) in
                (0..=L::N).flat_map(|r| (0..=L::N).flat_map(move |c| [(r, c, r), (r, c, L::N)]))
            {
                let mut to = vec![T::from_f64(-1.0); stride * L::N];
                // SAFETY: inside `run`; both sides hold `N` rows of `stride`.
                unsafe {
                    let plus = Some(L::load(x.as_ptr()));
                    let size = (rows, cols);
                    L::transpose(
                        from.as_ptr(),
                        stride,
                        size,
                        plus,
                        to.as_mut_ptr(),
                        stride,
                        width,
                    );
                }
                for (i, to) in to.iter().enumerate() {
                    let (c, r) = (i / stride, i % stride);
                    let want = match (c < cols && r < width, r < rows) {
                        (true, true) => from[r * stride + c].to_f64() + x[c].to_f64(),
                        (true, false) => 0.0,
                        _ => -1.0,
                    };
                    assert_eq!(to.to_f64(), want, "{rows} x {cols}, {width} wide, at {i}");
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
