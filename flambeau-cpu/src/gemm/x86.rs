//! AVX2 and AVX-512 vectors.

// Indices over registers: what varies together is plainer with them than with zipped iterators.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::kernel::{self, Dots, Kernels, Piece, Rows, Tile, TileFn, Vector, kernels};

/// Lanes below `n` have their top bit set.
#[inline(always)]
unsafe fn mask8(n: usize) -> __m256i {
    static MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: n <= 8, so the eight elements read lie in the table.
    unsafe { _mm256_loadu_si256(MASK.as_ptr().add(8 - n).cast()) }
}

/// As [`mask8`], for four lanes of 64 bits.
#[inline(always)]
unsafe fn mask4(n: usize) -> __m256i {
    static MASK: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];
    // SAFETY: n <= 4, so the four elements read lie in the table.
    unsafe { _mm256_loadu_si256(MASK.as_ptr().add(4 - n).cast()) }
}

// No closures below: they are functions of their own, without the features of the one around them
// unless the compiler happens to inline them.

/// The sum of both halves.
#[inline(always)]
unsafe fn halves_ps(v: __m512) -> __m256 {
    // SAFETY: the caller vouches for the features.
    unsafe { _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)) }
}

/// The sum of both halves.
#[inline(always)]
unsafe fn halves_pd(v: __m512d) -> __m256d {
    // SAFETY: the caller vouches for the features.
    unsafe { _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd::<1>(v)) }
}

/// Columns 0 to 7 of four rows, two columns a vector: c in the lower half, c + 4 in the upper.
#[inline(always)]
unsafe fn quad(r: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let (l0, h0) = (
            _mm256_unpacklo_ps(r[0], r[1]),
            _mm256_unpackhi_ps(r[0], r[1]),
        );
        let (l1, h1) = (
            _mm256_unpacklo_ps(r[2], r[3]),
            _mm256_unpackhi_ps(r[2], r[3]),
        );
        [
            _mm256_shuffle_ps::<0x44>(l0, l1),
            _mm256_shuffle_ps::<0xee>(l0, l1),
            _mm256_shuffle_ps::<0x44>(h0, h1),
            _mm256_shuffle_ps::<0xee>(h0, h1),
        ]
    }
}

/// Implements the methods that differ in names only.
macro_rules! common {
    ($splat:ident $load:ident $store:ident $fma:ident $mul:ident) => {
        #[inline(always)]
        unsafe fn prefetch(p: *const Self::Scalar) {
            // SAFETY: a hint, which never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn splat(x: Self::Scalar) -> Self {
            // SAFETY: the caller vouches for the CPU's features, here and below.
            unsafe { $splat(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const Self::Scalar) -> Self {
            // SAFETY: and for LANES elements.
            unsafe { $load(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut Self::Scalar) {
            // SAFETY: and for LANES elements.
            unsafe { $store(p, self) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, x: Self, y: Self) -> Self {
            // SAFETY: as for `splat`.
            unsafe { $fma(self, x, y) }
        }
        #[inline(always)]
        unsafe fn mul(self, x: Self) -> Self {
            // SAFETY: as for `splat`.
            unsafe { $mul(self, x) }
        }
    };
}

impl Vector for __m256 {
    type Scalar = f32;
    const LANES: usize = 8;
    const BLOCK: usize = 8;
    common!(_mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_fmadd_ps _mm256_mul_ps);

    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: masked lanes are not touched; the caller vouches for the first n.
        unsafe { _mm256_maskload_ps(p, mask8(n)) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: as for `load_first`. Masked stores are slow on AMD, so whole ones go past it.
        unsafe {
            match n {
                8 => _mm256_storeu_ps(p, self),
                _ => _mm256_maskstore_ps(p, mask8(n), self),
            }
        }
    }

    #[inline(always)]
    unsafe fn sum4([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        let mut out = [0.0; 4];
        // SAFETY: the caller vouches for the features; `out` has four elements.
        unsafe {
            let abcd = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let high = _mm256_extractf128_ps::<1>(abcd);
            _mm_storeu_ps(
                out.as_mut_ptr(),
                _mm_add_ps(_mm256_castps256_ps128(abcd), high),
            );
        }
        out
    }

    #[inline(always)]
    unsafe fn transpose(
        src: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
        dst_stride: usize,
    ) {
        // SAFETY: rows past the last are read as the last, columns past the last not at all;
        // the caller vouches for the rest, and for a block's width at each row of `dst`.
        unsafe {
            let mask = mask8(cols);
            let mut r = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                let p = src.byte_add(i.min(rows - 1) * stride);
                r[i] = match cols {
                    8 => _mm256_loadu_ps(p),
                    _ => _mm256_maskload_ps(p, mask),
                };
            }
            let q = [
                quad([r[0], r[1], r[2], r[3]]),
                quad([r[4], r[5], r[6], r[7]]),
            ];
            let mut out = [_mm256_setzero_ps(); 8];
            for c in 0..4 {
                out[c] = _mm256_permute2f128_ps::<0x20>(q[0][c], q[1][c]);
                out[c + 4] = _mm256_permute2f128_ps::<0x31>(q[0][c], q[1][c]);
            }
            for c in 0..8 {
                if c < cols {
                    _mm256_storeu_ps(dst.add(c * dst_stride), out[c]);
                }
            }
        }
    }
}

impl Vector for __m256d {
    type Scalar = f64;
    const LANES: usize = 4;
    const BLOCK: usize = 4;
    common!(_mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_fmadd_pd _mm256_mul_pd);

    #[inline(always)]
    unsafe fn load_first(p: *const f64, n: usize) -> Self {
        // SAFETY: masked lanes are not touched; the caller vouches for the first n.
        unsafe { _mm256_maskload_pd(p, mask4(n)) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, n: usize) {
        // SAFETY: as for `load_first`.
        unsafe {
            match n {
                4 => _mm256_storeu_pd(p, self),
                _ => _mm256_maskstore_pd(p, mask4(n), self),
            }
        }
    }

    #[inline(always)]
    unsafe fn sum4([a, b, c, d]: [Self; 4]) -> [f64; 4] {
        let mut out = [0.0; 4];
        // SAFETY: the caller vouches for the features; `out` has four elements.
        unsafe {
            let (ab, cd) = (_mm256_hadd_pd(a, b), _mm256_hadd_pd(c, d));
            let low = _mm256_permute2f128_pd::<0x20>(ab, cd);
            let high = _mm256_permute2f128_pd::<0x31>(ab, cd);
            _mm256_storeu_pd(out.as_mut_ptr(), _mm256_add_pd(low, high));
        }
        out
    }

    #[inline(always)]
    unsafe fn transpose(
        src: *const f64,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut f64,
        dst_stride: usize,
    ) {
        // SAFETY: as in the f32 form.
        unsafe {
            let mask = mask4(cols);
            let mut r = [_mm256_setzero_pd(); 4];
            for i in 0..4 {
                r[i] = _mm256_maskload_pd(src.byte_add(i.min(rows - 1) * stride), mask);
            }
            let (l0, h0) = (
                _mm256_unpacklo_pd(r[0], r[1]),
                _mm256_unpackhi_pd(r[0], r[1]),
            );
            let (l1, h1) = (
                _mm256_unpacklo_pd(r[2], r[3]),
                _mm256_unpackhi_pd(r[2], r[3]),
            );
            let out = [
                _mm256_permute2f128_pd::<0x20>(l0, l1),
                _mm256_permute2f128_pd::<0x20>(h0, h1),
                _mm256_permute2f128_pd::<0x31>(l0, l1),
                _mm256_permute2f128_pd::<0x31>(h0, h1),
            ];
            for c in 0..4 {
                if c < cols {
                    _mm256_storeu_pd(dst.add(c * dst_stride), out[c]);
                }
            }
        }
    }
}

impl Vector for __m512 {
    type Scalar = f32;
    const LANES: usize = 16;
    const BLOCK: usize = 8;
    common!(_mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_fmadd_ps _mm512_mul_ps);

    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: masked lanes are not touched; the caller vouches for the first n.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as __mmask16, p) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: as for `load_first`.
        unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as __mmask16, self) }
    }

    #[inline(always)]
    unsafe fn sum4([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller vouches for the features.
        unsafe { __m256::sum4([halves_ps(a), halves_ps(b), halves_ps(c), halves_ps(d)]) }
    }

    #[inline(always)]
    unsafe fn transpose(
        src: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
        dst_stride: usize,
    ) {
        // SAFETY: the caller's promises are the same. A block of 8 needs fewer shuffles for its
        // elements than one of 16, and packing is a small part of the work.
        unsafe { __m256::transpose(src, stride, rows, cols, dst, dst_stride) }
    }
}

impl Vector for __m512d {
    type Scalar = f64;
    const LANES: usize = 8;
    const BLOCK: usize = 4;
    common!(_mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_fmadd_pd _mm512_mul_pd);

    #[inline(always)]
    unsafe fn load_first(p: *const f64, n: usize) -> Self {
        // SAFETY: masked lanes are not touched; the caller vouches for the first n.
        unsafe { _mm512_maskz_loadu_pd(((1u32 << n) - 1) as __mmask8, p) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, n: usize) {
        // SAFETY: as for `load_first`.
        unsafe { _mm512_mask_storeu_pd(p, ((1u32 << n) - 1) as __mmask8, self) }
    }

    #[inline(always)]
    unsafe fn sum4([a, b, c, d]: [Self; 4]) -> [f64; 4] {
        // SAFETY: the caller vouches for the features.
        unsafe { __m256d::sum4([halves_pd(a), halves_pd(b), halves_pd(c), halves_pd(d)]) }
    }

    #[inline(always)]
    unsafe fn transpose(
        src: *const f64,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut f64,
        dst_stride: usize,
    ) {
        // SAFETY: the caller's promises are the same.
        unsafe { __m256d::transpose(src, stride, rows, cols, dst, dst_stride) }
    }
}

// Two vectors wide: 2 * MR sums, two vectors of b and one of a fill the 16 or 32 registers.
kernels!(
    #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
    AVX2_F32: __m256, tall [1 2 3 4 5 6], wide [1 2], dots [1 2 3]
);
kernels!(
    #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
    AVX2_F64: __m256d, tall [1 2 3 4 5 6], wide [1 2], dots [1 2 3]
);
kernels!(
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2")]
    AVX512_F32: __m512, tall [1 2 3 4 5 6 7 8 9 10 11 12 13 14], wide [1 2 3 4 5 6], dots [1 2 3 4]
);
kernels!(
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2")]
    AVX512_F64: __m512d, tall [1 2 3 4 5 6 7 8 9 10 11 12 13 14], wide [1 2 3 4 5 6], dots [1 2 3 4]
);
