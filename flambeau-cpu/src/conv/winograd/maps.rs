//! Maps in memory as f32 or bf16; the sums are f32 either way.

use half::bf16;

use crate::lanes::Lanes;

/// An element type of maps.
pub(crate) trait Element: Copy + 'static {
    fn maps(values: &[Self]) -> Maps<'_>;
    fn maps_mut(values: &mut [Self]) -> MapsMut;
}

/// Maps to be read.
#[derive(Clone, Copy)]
pub(crate) enum Maps<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// Maps to be written, each value by one task.
#[derive(Clone, Copy)]
pub(crate) enum MapsMut {
    F32(*mut f32),
    Bf16(*mut bf16),
}

impl Element for f32 {
    fn maps(values: &[f32]) -> Maps<'_> {
        Maps::F32(values)
    }
    fn maps_mut(values: &mut [f32]) -> MapsMut {
        MapsMut::F32(values.as_mut_ptr())
    }
}

impl Element for bf16 {
    fn maps(values: &[bf16]) -> Maps<'_> {
        Maps::Bf16(values)
    }
    fn maps_mut(values: &mut [bf16]) -> MapsMut {
        MapsMut::Bf16(values.as_mut_ptr())
    }
}

/// The most values of a block: a square of the widest registers.
const BLOCK: usize = 16 * 16;

impl Maps<'_> {
    /// Turns `rows` runs of `count` values, the first at `at` and each `step` after the one before, to
    /// `count` registers of `rows` lanes, the other lanes 0.
    ///
    /// # Safety
    /// Inside a kernel; neither number is above its lanes, and `to` has room.
    #[inline(always)]
    pub unsafe fn turn<L: Lanes<f32>>(
        self,
        at: usize,
        step: usize,
        (rows, count): (usize, usize),
        to: *mut f32,
    ) {
        // SAFETY: the caller's promise; the slices below are checked.
        unsafe {
            match self {
                Maps::F32(x) => {
                    let x = &x[at..][..(rows - 1) * step + count];
                    L::transpose(x.as_ptr(), step, (rows, count), L::zero(), to, L::N, L::N);
                }
                Maps::Bf16(x) => {
                    let mut block = [0.0f32; BLOCK];
                    for r in 0..rows {
                        let x = &x[at + r * step..][..count];
                        for (to, x) in block[r * L::N..].iter_mut().zip(x) {
                            *to = f32::from_bits(u32::from(x.to_bits()) << 16);
                        }
                    }
                    L::transpose(
                        block.as_ptr(),
                        L::N,
                        (rows, count),
                        L::zero(),
                        to,
                        L::N,
                        L::N,
                    );
                }
            }
        }
    }
}

impl MapsMut {
    /// The reverse: `count` registers, `pitch` apart, plus `bias`, to `rows` runs of `count` values.
    ///
    /// # Safety
    /// Inside a kernel; neither number is above its lanes, the registers are there, and the runs lie
    /// in the maps.
    #[inline(always)]
    pub unsafe fn turn<L: Lanes<f32>>(
        self,
        from: *const f32,
        pitch: usize,
        (rows, count): (usize, usize),
        bias: L::V,
        at: usize,
        step: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                MapsMut::F32(out) => {
                    let size = (count, rows);
                    L::transpose(from, pitch, size, bias, out.add(at), step, count);
                }
                MapsMut::Bf16(out) => {
                    let mut block = [0.0f32; BLOCK];
                    let size = (count, rows);
                    L::transpose(from, pitch, size, bias, block.as_mut_ptr(), L::N, L::N);
                    for r in 0..rows {
                        let out = std::slice::from_raw_parts_mut(out.add(at + r * step), count);
                        for (out, x) in out.iter_mut().zip(&block[r * L::N..]) {
                            *out = bf16::from_bits(narrowed(*x));
                        }
                    }
                }
            }
        }
    }
}

/// The bits of the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
fn narrowed(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet = bits >> 16 | 0x40;
    (if x.is_nan() { quiet } else { nearest }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_is_that_of_half() {
        for i in 0..1u32 << 20 {
            let x = f32::from_bits(i.wrapping_mul(0x9e37_79b9));
            assert_eq!(narrowed(x), bf16::from_f32(x).to_bits(), "{x:e}");
        }
    }
}
