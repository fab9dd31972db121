//! Conversions between `f32` and the 16-bit floating types, and to integers, slice by slice.
//!
//! `f32` is rounded to the nearest, ties to even; a NaN stays one.

use half::{bf16, f16};

/// A type that loops over `f32` read and write as they go, without a buffer between.
pub trait Near: Copy {
    /// This value, exactly.
    fn wide(self) -> f32;
    /// The nearest value, ties to even; a NaN stays one.
    fn near(x: f32) -> Self;
}

impl Near for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
    #[inline(always)]
    fn near(x: f32) -> f32 {
        x
    }
}

impl Near for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn near(x: f32) -> bf16 {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
        // A NaN's upper bits alone could be an infinity's: its quiet bit is set.
        let kept = if is_nan { bits | 0x40_0000 } else { rounded };
        bf16::from_bits((kept >> 16) as u16)
    }
}

crate::simd_fn! {
    /// Each element of `x`, exactly, in `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn bf16_to_f32(x: &[bf16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "slices of different lengths");
        for (o, x) in out.iter_mut().zip(x) {
            *o = x.wide();
        }
    }
}

crate::simd_fn! {
    fn round_to_bf16(x: &[f32], out: &mut [bf16]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = Near::near(*x);
        }
    }
}

/// Each element of `x`, rounded, in `out`.
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_bf16(x: &[f32], out: &mut [bf16]) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    #[cfg(target_arch = "x86_64")]
    let done = match crate::simd::level() {
        // SAFETY: the CPU has been asked for each feature that is enabled there.
        crate::simd::Level::Avx512 if is_x86_feature_detected!("avx512bf16") => unsafe {
            x86::narrow32(x, out)
        },
        _ => 0,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    round_to_bf16(&x[done..], &mut out[done..]);
}

/// Each element of `x`, exactly, in `out`.
///
/// # Panics
/// If the lengths differ.
pub fn f16_to_f32(x: &[f16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    #[cfg(target_arch = "x86_64")]
    let done = match crate::simd::level() {
        // SAFETY: `level` returns these only where the CPU has what is enabled there.
        crate::simd::Level::Avx512 => unsafe { x86::widen16(x, out) },
        // SAFETY: as above.
        crate::simd::Level::Avx2 => unsafe { x86::widen8(x, out) },
        crate::simd::Level::Portable => 0,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    for (o, x) in out[done..].iter_mut().zip(&x[done..]) {
        *o = x.to_f32();
    }
}

/// Each element of `x`, rounded, in `out`.
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_f16(x: &[f32], out: &mut [f16]) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    #[cfg(target_arch = "x86_64")]
    let done = match crate::simd::level() {
        // SAFETY: `level` returns these only where the CPU has what is enabled there.
        crate::simd::Level::Avx512 => unsafe { x86::narrow16(x, out) },
        // SAFETY: as above.
        crate::simd::Level::Avx2 => unsafe { x86::narrow8(x, out) },
        crate::simd::Level::Portable => 0,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    for (o, x) in out[done..].iter_mut().zip(&x[done..]) {
        *o = f16::from_f32(*x);
    }
}

/// A floating type whose elements become the integers `I`.
pub trait Truncate<I>: Copy {
    /// Each element of `x`, truncated, in `out`: through `i64`, so that what is too large for `I` wraps;
    /// what is too large for `i64` gives its end, and NaN 0.
    ///
    /// ```
    /// use flambeau_cpu::convert::Truncate;
    /// let mut out = [0i8; 4];
    /// Truncate::truncate(&[-1.5f32, 130.0, 1e30, f32::NAN], &mut out);
    /// assert_eq!(out, [-1, -126, -1, 0]);
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    fn truncate(x: &[Self], out: &mut [I]);
}

/// Elements that are looked over before they are converted the short way.
const BLOCK: usize = 256;

macro_rules! truncate {
    ($($from:ty: $bits:ident, |$x:ident| $wide:expr, |$limit:ident| $near:expr => $($to:ty: $by:ty)*;)*) => {$($(
        impl Truncate<$to> for $from {
            fn truncate(x: &[$from], out: &mut [$to]) {
                crate::simd_fn! {
                    fn all(x: &[$from], out: &mut [$to]) {
                        assert_eq!(x.len(), out.len(), "slices of different lengths");
                        let $limit = -(<$by>::MIN as f32);
                        let limit: $from = $near;
                        for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                            // Bits without the sign are in the numbers' order, those of NaN the largest.
                            let most = x.iter().fold(0, |most: $bits, $x| {
                                most.max($x.to_bits() & $bits::MAX >> 1)
                            });
                            if most < limit.to_bits() {
                                for (o, &$x) in out.iter_mut().zip(x) {
                                    // SAFETY: the type holds what is below the limit.
                                    *o = unsafe { $wide.to_int_unchecked::<$by>() } as $to;
                                }
                            } else {
                                for (o, &$x) in out.iter_mut().zip(x) {
                                    *o = $wide as i64 as $to;
                                }
                            }
                        }
                    }
                }
                all(x, out);
            }
        }
    )*)*};
}
// For each type its bits, a number of it in the type that is truncated, and the reverse of that; beside
// each integer the one that the short way goes by.
truncate! {
    f32: u32, |x| x, |limit| limit => i8: i32 i16: i32 i32: i32 i64: i64;
    f64: u64, |x| x, |limit| limit.into() => i8: i32 i16: i32 i32: i32 i64: i64;
    bf16: u16, |x| x.wide(), |limit| Near::near(limit) => i8: i32 i16: i32 i32: i32 i64: i64;
}

impl<I> Truncate<I> for f16
where
    f32: Truncate<I>,
{
    fn truncate(x: &[f16], out: &mut [I]) {
        assert_eq!(x.len(), out.len(), "slices of different lengths");
        let mut wide = [0.0; 256];
        for (x, out) in x.chunks(wide.len()).zip(out.chunks_mut(256)) {
            f16_to_f32(x, &mut wide[..x.len()]);
            Truncate::truncate(&wide[..x.len()], out);
        }
    }
}

/// Whole vectors; each function returns how many elements it has converted.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Near;
    use half::{bf16, f16};
    use std::arch::x86_64::*;

    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;

    macro_rules! whole {
        ($name:ident, $features:literal, $n:literal, $from:ty, $to:ty, |$x:ident, $out:ident| $e:expr) => {
            /// # Safety
            /// The CPU must have the enabled features.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(x: &[$from], out: &mut [$to]) -> usize {
                let ((xs, _), (outs, _)) = (x.as_chunks::<$n>(), out.as_chunks_mut::<$n>());
                for (x, out) in xs.iter().zip(outs) {
                    let ($x, $out) = (x.as_ptr(), out.as_mut_ptr());
                    // SAFETY: both have room for the vector; no alignment is needed.
                    unsafe { $e }
                }
                x.len() / $n * $n
            }
        };
    }
    /// To bf16; the instruction takes subnormal numbers for 0, so blocks that have some are rounded the
    /// plain way.
    ///
    /// # Safety
    /// The CPU must have the enabled features.
    #[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
    pub(super) unsafe fn narrow32(x: &[f32], out: &mut [bf16]) -> usize {
        const SUBNORMAL: i32 = 0x20;
        let ((xs, _), (outs, _)) = (x.as_chunks::<32>(), out.as_chunks_mut::<32>());
        for (x, out) in xs.iter().zip(outs) {
            // SAFETY: there are two vectors in `x`; no alignment is needed.
            let (low, high) = unsafe {
                (
                    _mm512_loadu_ps(x.as_ptr()),
                    _mm512_loadu_ps(x.as_ptr().add(16)),
                )
            };
            let subnormal = _mm512_fpclass_ps_mask::<SUBNORMAL>(low)
                | _mm512_fpclass_ps_mask::<SUBNORMAL>(high);
            if subnormal == 0 {
                let rounded = _mm512_cvtne2ps_pbh(high, low);
                // SAFETY: there is a vector of room; both are 512 bits.
                unsafe { out.as_mut_ptr().cast::<__m512bh>().write_unaligned(rounded) };
            } else {
                (out.iter_mut().zip(x)).for_each(|(o, x)| *o = Near::near(*x));
            }
        }
        x.len() / 32 * 32
    }

    whole!(widen16, "avx512f", 16, f16, f32, |x, out| _mm512_storeu_ps(
        out,
        _mm512_cvtph_ps(_mm256_loadu_si256(x.cast()))
    ));
    whole!(widen8, "avx,f16c", 8, f16, f32, |x, out| _mm256_storeu_ps(
        out,
        _mm256_cvtph_ps(_mm_loadu_si128(x.cast()))
    ));
    whole!(narrow16, "avx512f", 16, f32, f16, |x, out| {
        _mm256_storeu_si256(out.cast(), _mm512_cvtps_ph::<NEAREST>(_mm512_loadu_ps(x)))
    });
    whole!(narrow8, "avx,f16c", 8, f32, f16, |x, out| {
        _mm_storeu_si128(out.cast(), _mm256_cvtps_ph::<NEAREST>(_mm256_loadu_ps(x)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_truncated_and_wrap() {
        let edges = [
            0.0,
            -0.0,
            0.99,
            -1.5,
            127.5,
            -128.5,
            255.9,
            -32769.0,
            2147483520.0,
            2147483648.0,
            -2147483648.0,
            -2147483904.0,
            4294967296.0,
            5e9,
            9.2233715e18,
            9.223372e18,
            -9.223372e18,
            1e19,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        fn check<T: Truncate<i8> + Truncate<i16> + Truncate<i32> + Truncate<i64>>(
            x: &[T],
            wide: impl Fn(T) -> f64,
        ) {
            macro_rules! same {
                ($($t:ty)*) => {$(
                    let mut out = vec![0 as $t; x.len()];
                    Truncate::truncate(x, &mut out);
                    for (&x, &got) in x.iter().zip(&out) {
                        assert_eq!(got, wide(x) as i64 as $t, "{}", wide(x));
                    }
                )*};
            }
            same!(i8 i16 i32 i64);
        }
        let small = (0..150).map(|i| (i * i) as f32 * 0.7 - 999.0);
        for x in [
            small.clone().collect(),
            small.chain(edges).collect::<Vec<f32>>(),
        ] {
            check(&x, f64::from);
            let wide: Vec<f64> = x.iter().map(|&v| f64::from(v) * 1.000_000_01).collect();
            check(&wide, |v| v);
            let low: Vec<bf16> = x.iter().map(|&v| bf16::from_f32(v)).collect();
            check(&low, bf16::to_f64);
            let half: Vec<f16> = x.iter().map(|&v| f16::from_f32(v)).collect();
            check(&half, f16::to_f64);
        }
    }

    #[test]
    fn every_16_bit_number_and_the_ties_between_them() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let b: Vec<bf16> = all.iter().map(|&v| bf16::from_bits(v)).collect();
        let h: Vec<f16> = all.iter().map(|&v| f16::from_bits(v)).collect();
        let mut wide = vec![0.0; b.len()];
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        bf16_to_f32(&b, &mut wide);
        assert!(b.iter().zip(&wide).all(|(b, &w)| same(b.to_f32(), w)));
        // Between each number and the next: just below, at, and just above the middle.
        let mut x: Vec<f32> = (wide.iter())
            .flat_map(|w| [0, 0x7fff, 0x8000, 0x8001, 0xffff].map(|d| w.to_bits() | d))
            .map(f32::from_bits)
            .collect();
        f16_to_f32(&h, &mut wide);
        assert!(h.iter().zip(&wide).all(|(h, &w)| same(h.to_f32(), w)));
        x.extend(
            (wide.iter())
                .flat_map(|w| [0, 0xfff, 0x1000, 0x1001, 0x1fff].map(|d| w.to_bits() | d))
                .map(f32::from_bits),
        );
        let (mut b, mut h) = (vec![bf16::ZERO; x.len()], vec![f16::ZERO; x.len()]);
        f32_to_bf16(&x, &mut b);
        f32_to_f16(&x, &mut h);
        for ((x, b), h) in x.iter().zip(&b).zip(&h) {
            assert!(same(b.to_f32(), bf16::from_f32(*x).to_f32()), "{x}");
            assert!(same(h.to_f32(), f16::from_f32(*x).to_f32()), "{x}");
        }
    }
}
