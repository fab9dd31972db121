//! `normal_`: values of a Gaussian by Box and Muller's transform.
//!
//! PyTorch has two ways. 16 elements or more are made in blocks of 16: eight radii, eight angles,
//! cosines to the first half, sines to the second. Fewer are made one by one in `f64`, the second
//! value of each pair being kept for the next call.

use std::f64::consts::PI;

use super::{Generator, RandomError, Real, ensure, unit_f32, unit_f64};
use crate::simd::{self, Task};

/// Elements of a block.
const BLOCK: usize = 16;

/// Elements that are drawn and transformed while they are in the first-level cache.
const CHUNK: usize = 128 * BLOCK;

impl Generator {
    /// Fills `out` with values of mean `mean` and standard deviation `std`:
    /// `Tensor.normal_(mean, std)` on a contiguous tensor; `torch.randn` is 0 and 1.
    ///
    /// Elements of a tensor that is not contiguous are drawn by
    /// [`normal_scalar`](Self::normal_scalar), in the order of its indices.
    ///
    /// # Errors
    /// Where `std` is negative or NaN.
    pub fn normal<T: Real>(
        &mut self,
        out: &mut [T],
        mean: f64,
        std: f64,
    ) -> Result<(), RandomError> {
        ensure(std >= 0.0, || {
            format!("normal_ needs std >= 0, but std = {std}")
        })?;
        if out.len() < BLOCK {
            for x in out {
                *x = T::from_f64(self.next_normal_value(mean, std));
            }
        } else if T::MANTISSA_DIGITS == f64::MANTISSA_DIGITS {
            self.blocks_f64(out, mean, std);
        } else {
            self.blocks_f32(out, mean as f32, std as f32);
        }
        Ok(())
    }

    /// One value of mean `mean` and standard deviation `std`, as fills of fewer than 16 elements
    /// draw it: in `f64`, from the kept value where there is one.
    ///
    /// # Errors
    /// Where `std` is negative or NaN.
    pub fn normal_scalar(&mut self, mean: f64, std: f64) -> Result<f64, RandomError> {
        ensure(std >= 0.0, || {
            format!("normal_ needs std >= 0, but std = {std}")
        })?;
        Ok(self.next_normal_value(mean, std))
    }

    pub(super) fn next_normal_value(&mut self, mean: f64, std: f64) -> f64 {
        let value = self.next_normal.take().unwrap_or_else(|| {
            let angle = 2.0 * PI * self.unit();
            let radius = (-2.0 * (-self.unit()).ln_1p()).sqrt();
            let (sin, cos) = angle.sin_cos();
            self.next_normal = Some(radius * sin);
            radius * cos
        });
        value.mul_add(std, mean)
    }

    fn blocks_f64<T: Real>(&mut self, out: &mut [T], mean: f64, std: f64) {
        let mut buffer = [0.0; BLOCK];
        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
        for block in blocks {
            self.block_f64(&mut buffer, mean, std);
            *block = buffer.map(T::from_f64);
        }
        if !rest.is_empty() {
            // The rest's own draws are made and dropped: PyTorch makes the last 16 anew.
            for _ in 0..rest.len() {
                self.random64();
            }
            self.block_f64(&mut buffer, mean, std);
            store_last(out, buffer.map(T::from_f64));
        }
    }

    fn block_f64(&mut self, block: &mut [f64; BLOCK], mean: f64, std: f64) {
        self.fill64(block, unit_f64);
        for j in 0..BLOCK / 2 {
            let radius = (-2.0 * (1.0 - block[j]).ln()).sqrt();
            let (sin, cos) = (2.0 * PI * block[j + BLOCK / 2]).sin_cos();
            block[j] = (radius * cos).mul_add(std, mean);
            block[j + BLOCK / 2] = (radius * sin).mul_add(std, mean);
        }
    }

    fn blocks_f32<T: Real>(&mut self, out: &mut [T], mean: f32, std: f32) {
        let mut buffer = [0.0; CHUNK];
        let whole = out.len() - out.len() % BLOCK;
        for chunk in out[..whole].chunks_mut(CHUNK) {
            let values = &mut buffer[..chunk.len()];
            self.fill32(values, unit_f32);
            simd::dispatch(BoxMuller {
                blocks: values.as_chunks_mut().0,
                mean,
                std,
            });
            for (x, &value) in chunk.iter_mut().zip(&*values) {
                *x = T::from_f32(value);
            }
        }
        if whole < out.len() {
            // As in `blocks_f64`; for the 16-bit types, which PyTorch makes block by block, the
            // rest is never drawn.
            if T::MANTISSA_DIGITS == f32::MANTISSA_DIGITS {
                for _ in whole..out.len() {
                    self.random32();
                }
            }
            let mut block = [0.0; BLOCK];
            self.fill32(&mut block, unit_f32);
            simd::dispatch(BoxMuller {
                blocks: std::slice::from_mut(&mut block),
                mean,
                std,
            });
            store_last(out, block.map(T::from_f32));
        }
    }
}

fn store_last<T: Copy>(out: &mut [T], block: [T; BLOCK]) {
    let start = out.len() - BLOCK;
    out[start..].copy_from_slice(&block);
}

/// Turns blocks of uniform values into normal ones, in `f32`.
struct BoxMuller<'a> {
    blocks: &'a mut [[f32; BLOCK]],
    mean: f32,
    std: f32,
}

impl Task for BoxMuller<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for block in self.blocks {
            let (first, second) = block.split_at_mut(BLOCK / 2);
            for (a, b) in first.iter_mut().zip(second) {
                let radius = (-2.0 * log(1.0 - *a)).sqrt();
                let (sin, cos) = sin_cos(2.0 * std::f32::consts::PI * *b);
                *a = (radius * cos).mul_add(self.std, self.mean);
                *b = (radius * sin).mul_add(self.std, self.mean);
            }
        }
    }
}

// The two functions below are Moshier's Cephes approximations (logf.c, sinf.c), which PyTorch's
// vectorised fill uses too. crate::math has more accurate ones; these, with the products and sums
// fused as they are here, make the normals equal to PyTorch's bit for bit.

/// The natural logarithm of a normal, positive `x`.
#[inline(always)]
#[allow(clippy::excessive_precision)] // as published
fn log(x: f32) -> f32 {
    const POLYNOMIAL: [f32; 9] = [
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ];
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)), and t = m - 1.
    let bits = x.to_bits();
    let half_one = f32::from_bits(bits & 0x007f_ffff | 0x3f00_0000);
    let exponent = (bits >> 23) as i32 - 126;
    let small = half_one < std::f32::consts::FRAC_1_SQRT_2;
    let e = (exponent - i32::from(small)) as f32;
    let t = if small {
        half_one - 1.0 + half_one
    } else {
        half_one - 1.0
    };
    // log x = t - t²/2 + t³ P(t) + e log 2, log 2 in two parts.
    let square = t * t;
    let mut p = POLYNOMIAL[0];
    for &c in &POLYNOMIAL[1..] {
        p = p.mul_add(t, c);
    }
    let y = (p * t).mul_add(square, e * -2.12194440e-4);
    let y = (-0.5f32).mul_add(square, y);
    e.mul_add(0.693359375, t + y)
}

/// The sine and cosine of `x` in [0, 8192].
#[inline(always)]
#[allow(clippy::excessive_precision)] // as published
fn sin_cos(x: f32) -> (f32, f32) {
    // x = octants π/4 + r with an even number of octants and |r| <= π/4, π/4 in three parts.
    let octants = ((x * (4.0 / std::f32::consts::PI)) as i32 + 1) & !1;
    let y = octants as f32;
    let r = y.mul_add(-0.78515625, x);
    let r = y.mul_add(-2.4187564849853515625e-4, r);
    let r = y.mul_add(-3.77489497744594108e-8, r);
    let square = r * r;
    let c = 2.443315711809948e-5f32
        .mul_add(square, -1.388731625493765e-3)
        .mul_add(square, 4.166664568298827e-2);
    let cos = (c * square).mul_add(square, -0.5 * square) + 1.0;
    let s = (-1.9515295891e-4f32)
        .mul_add(square, 8.3321608736e-3)
        .mul_add(square, -1.6666654611e-1);
    let sin = (s * square).mul_add(r, r);
    // Odd quarters swap the two; the quarter gives the signs.
    let (a, b) = if octants & 2 == 0 {
        (sin, cos)
    } else {
        (cos, sin)
    };
    let negate = |v: f32, when: i32| f32::from_bits(v.to_bits() ^ ((when as u32 & 4) << 29));
    (negate(a, octants), negate(b, octants + 2))
}
