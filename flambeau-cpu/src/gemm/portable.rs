//! Vectors as arrays, for whatever the compiler makes of them: SSE2, NEON or scalars.

// Indices over registers: what varies together is plainer with them than with zipped iterators.
#![allow(clippy::needless_range_loop)]

use super::Real;
use super::kernel::{self, Dots, Kernels, Piece, Rows, Tile, TileFn, Vector, kernels};

#[derive(Clone, Copy)]
pub(super) struct Lanes<T, const N: usize>([T; N]);

impl<T: Real, const N: usize> Vector for Lanes<T, N> {
    type Scalar = T;
    const LANES: usize = N;
    const BLOCK: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Lanes([x; N])
    }

    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller vouches for LANES elements; arrays are as aligned as elements.
        unsafe { *p.cast() }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const T, n: usize) -> Self {
        if n == N {
            // SAFETY: the caller vouches for n elements.
            return unsafe { Self::load(p) };
        }
        let mut v = [T::ZERO; N];
        for (i, x) in v.iter_mut().enumerate().take(n) {
            // SAFETY: as above.
            *x = unsafe { *p.add(i) };
        }
        Lanes(v)
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: the caller vouches for LANES elements.
        unsafe { *p.cast() = self }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut T, n: usize) {
        if n == N {
            // SAFETY: the caller vouches for n elements.
            return unsafe { self.store(p) };
        }
        for (i, x) in self.0.into_iter().enumerate().take(n) {
            // SAFETY: as above.
            unsafe { *p.add(i) = x }
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, x: Self, y: Self) -> Self {
        let mut out = y.0;
        for i in 0..N {
            out[i] = self.0[i].mul_add_if_fast(x.0[i], out[i]);
        }
        Lanes(out)
    }

    #[inline(always)]
    unsafe fn mul(self, x: Self) -> Self {
        let mut out = self.0;
        for i in 0..N {
            out[i] = out[i] * x.0[i];
        }
        Lanes(out)
    }

    #[inline(always)]
    unsafe fn sum4(v: [Self; 4]) -> [T; 4] {
        v.map(|v| v.0.into_iter().fold(T::ZERO, |a, b| a + b))
    }

    #[inline(always)]
    unsafe fn transpose(
        src: *const T,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut T,
        dst_stride: usize,
    ) {
        for c in 0..cols {
            for r in 0..rows {
                // SAFETY: the caller vouches for rows x cols elements on both sides.
                unsafe { *dst.add(c * dst_stride + r) = *src.byte_add(r * stride).add(c) }
            }
        }
    }
}

#[cfg(not(target_arch = "aarch64"))]
kernels!(F32: Lanes<f32, 4>, tall [1 2 3 4], wide [1 2], dots [1 2]);
#[cfg(not(target_arch = "aarch64"))]
kernels!(F64: Lanes<f64, 2>, tall [1 2 3 4], wide [1 2], dots [1 2]);
// NEON has 32 registers.
#[cfg(target_arch = "aarch64")]
kernels!(F32: Lanes<f32, 4>, tall [1 2 3 4 5 6 7 8 9 10 11 12], wide [1 2 3 4 5 6], dots [1 2 3 4]);
#[cfg(target_arch = "aarch64")]
kernels!(F64: Lanes<f64, 2>, tall [1 2 3 4 5 6 7 8 9 10 11 12], wide [1 2 3 4 5 6], dots [1 2 3 4]);
