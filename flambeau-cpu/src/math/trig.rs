//! Trigonometry, for every finite f32.
//!
//! Arguments are reduced to a quarter turn in one of two ways, by their size: with a two-part pi / 2
//! in f64, or with the bits of 2 / pi in integers (Payne and Hanek). A loop that holds small
//! arguments only need not compute the second, which is what [`vsin`], [`vcos`] and [`vtan`] do.
//! What is left is an f32, but for the tangent, whose quotient would double what that rounds off.

use std::f64::consts::FRAC_PI_2;

use super::poly;
use crate::simd_fn;

/// The largest argument for the first way, 2^25.
const SMALL: f32 = 33_554_432.0;

/// 1.5 * 2^52: adding it rounds to a whole number, in the lowest bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// `|x| = n * pi / 2 + r`: the lowest bits of n, and r, which is at most pi / 4; for `|x| <= SMALL`.
#[inline(always)]
fn reduce_small(x: f32) -> (u64, f64) {
    // The first 28 bits of pi / 2, so that n times it is exact, and the rest.
    const HIGH: f64 = 1.570796325802803;
    const LOW: f64 = 9.920935796805404e-10;
    let x = f64::from(x.abs());
    let t = x * std::f64::consts::FRAC_2_PI + MAGIC;
    let n = t - MAGIC;
    (t.to_bits(), (x - n * HIGH) - n * LOW)
}

/// As [`reduce_small`], for every `x`; r is NaN for infinity and NaN.
#[inline(always)]
fn reduce(x: f32) -> (u64, f64) {
    // The bits of 2 / pi after the binary point.
    const WORDS: [u64; 4] = [
        0xa2f9_836e_4e44_1529,
        0xfc27_57d1_f534_ddc0,
        0xdb62_9599_3c43_9041,
        0xfe51_63ab_debb_c561,
    ];
    let bits = x.to_bits();
    let mantissa = u64::from(bits & 0x7f_ffff | 0x80_0000);
    // |x| is the mantissa times 2^scale. Bits of 2 / pi that weigh 4 and more make whole turns:
    // leave them out. (A scale below 2 belongs to a small argument.)
    let scale = (bits >> 23 & 0xff) as i32 - 150;
    let skip = (scale - 2).max(0) as u64;
    let near = skip < 64;
    let pick = |i: usize| if near { WORDS[i] } else { WORDS[i + 1] };
    let (shift, rest) = (skip & 63, 63 - (skip & 63));
    let first = pick(0) << shift | pick(1) >> 1 >> rest;
    let second = pick(1) << shift | pick(2) >> 1 >> rest;
    // The product in quarter turns, modulo 4, with 62 bits after the point.
    let product = ((mantissa * (first >> 32)) << 32)
        .wrapping_add(mantissa * (first & 0xffff_ffff))
        .wrapping_add((mantissa * (second >> 32)) >> 32);
    let n = product.wrapping_add(1 << 61) >> 62;
    let fraction = product.wrapping_sub(n << 62) as i64;
    // 2^-62 of a quarter turn.
    let r = fraction as f64 * (FRAC_PI_2 / 4_611_686_018_427_387_904.0);
    let r = if x.abs() < f32::INFINITY { r } else { f64::NAN };
    let (n_small, r_small) = reduce_small(x);
    match x.abs() <= SMALL {
        true => (n_small, r_small),
        false => (n, r),
    }
}

/// A reduced argument as f32: a polynomial takes twice as many of them at a time.
#[inline(always)]
fn short((n, r): (u64, f64)) -> (u32, f32) {
    (n as u32, r as f32)
}

/// `-y` where bit 1 of `n` is set.
#[inline(always)]
fn turned(y: f32, n: u32) -> f32 {
    f32::from_bits(y.to_bits() ^ (n & 2) << 30)
}

/// Sine of `r`, at most pi / 4.
#[inline(always)]
fn sin_near(r: f32) -> f32 {
    let rr = r * r;
    r + r * (rr * poly!(rr, -1.951_726_6e-4, 0.008_332_178, -0.166_666_55))
}

/// Cosine of `r`, at most pi / 4.
#[inline(always)]
fn cos_near(r: f32) -> f32 {
    let rr = r * r;
    let p = poly!(rr, 2.446_380_3e-5, -0.001_388_765_4, 0.041_666_653);
    1.0 - (0.5 * rr - rr * rr * p)
}

#[inline(always)]
fn finish_sin(x: f32, (n, r): (u32, f32)) -> f32 {
    let y = if n & 1 == 0 { sin_near(r) } else { cos_near(r) };
    f32::from_bits(turned(y, n).to_bits() ^ x.to_bits() & 0x8000_0000)
}

#[inline(always)]
fn finish_cos(_: f32, (n, r): (u32, f32)) -> f32 {
    let y = if n & 1 == 0 { cos_near(r) } else { sin_near(r) };
    turned(y, n.wrapping_add(n & 1))
}

#[inline(always)]
fn finish_tan(x: f32, (n, r): (u64, f64)) -> f32 {
    let rr = r * r;
    let p = poly!(
        rr,
        2.7183083360381394e-06,
        -0.00019839334517796284,
        0.008333329384958055,
        -0.16666666641619315
    );
    let q = poly!(
        rr,
        2.439041414510215e-05,
        -0.0013886763425384548,
        0.04166662331352194,
        -0.49999999725024064
    );
    // To 1e-10 of their value.
    let (sin, cos) = (r + r * rr * p, 1.0 + rr * q);
    let y = if n & 1 == 0 { sin / cos } else { -cos / sin };
    let y = y as f32;
    if x.is_sign_negative() { -y } else { y }
}

/// Sine of `x` radians; NaN for infinity. At most 1.7 ulp off.
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    finish_sin(x, short(reduce(x)))
}

/// Cosine of `x` radians; NaN for infinity. At most 1.7 ulp off.
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    finish_cos(x, short(reduce(x)))
}

/// Tangent of `x` radians; NaN for infinity. Correctly rounded but for rare cases.
#[inline(always)]
pub fn tan(x: f32) -> f32 {
    finish_tan(x, reduce(x))
}

/// Elements reduced before they are finished.
const BLOCK: usize = 256;

/// Blocks of small arguments the short way, others the long one; `keep` says what of a reduced
/// argument is worked on.
#[inline(always)]
fn by_blocks<R: Copy + Default>(
    x: &[f32],
    out: &mut [f32],
    keep: impl Fn((u64, f64)) -> R,
    finish: impl Fn(f32, R) -> f32,
) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    // In two loops, each over numbers of one size, which is what they are vectorised for.
    let mut reduced = [R::default(); BLOCK];
    for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let large = x
            .iter()
            .fold(0, |n, x| n + u32::from(x.abs() > SMALL || x.is_nan()));
        if large == 0 {
            for (r, x) in reduced.iter_mut().zip(x) {
                *r = keep(reduce_small(*x));
            }
        } else {
            for (r, x) in reduced.iter_mut().zip(x) {
                *r = keep(reduce(*x));
            }
        }
        for ((o, x), r) in out.iter_mut().zip(x).zip(&reduced) {
            *o = finish(*x, *r);
        }
    }
}

simd_fn! {
    /// [`sin`] of each element of `x`, into `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn vsin(x: &[f32], out: &mut [f32]) {
        by_blocks(x, out, short, finish_sin)
    }

    /// [`cos`] of each element of `x`, into `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn vcos(x: &[f32], out: &mut [f32]) {
        by_blocks(x, out, short, finish_cos)
    }

    /// [`tan`] of each element of `x`, into `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn vtan(x: &[f32], out: &mut [f32]) {
        by_blocks(x, out, |r| r, finish_tan)
    }
}
