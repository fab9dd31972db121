//! Maps in memory as f32 or bf16; the sums are f32 either way.

use half::bf16;

use super::super::operand::Stored;
use crate::alloc::Pod;
use crate::lanes::Lanes;

/// An element type of maps.
pub(crate) trait Element: Pod + Default {
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
                    L::transpose(x.as_ptr(), step, (rows, count), None, to, L::N, L::N);
                }
                Maps::Bf16(x) => {
                    let mut block = [0.0f32; BLOCK];
                    for r in 0..rows {
                        let x = &x[at + r * step..][..count];
                        let to = &mut block[r * L::N..][..L::N];
                        // A loop over as many as a register holds needs none.
                        if count == L::N {
                            for i in 0..L::N {
                                to[i] = x[i].widen();
                            }
                            continue;
                        }
                        for (to, x) in to.iter_mut().zip(x) {
                            *to = x.widen();
                        }
                    }
                    L::transpose(block.as_ptr(), L::N, (rows, count), None, to, L::N, L::N);
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
                    L::transpose(from, pitch, size, Some(bias), out.add(at), step, count);
                }
                MapsMut::Bf16(out) => {
                    let mut block = [0.0f32; BLOCK];
                    let size = (count, rows);
                    L::transpose(
                        from,
                        pitch,
                        size,
                        Some(bias),
                        block.as_mut_ptr(),
                        L::N,
                        L::N,
                    );
                    for r in 0..rows {
                        let out = std::slice::from_raw_parts_mut(out.add(at + r * step), count);
                        let from = &block[r * L::N..][..L::N];
                        if count == L::N {
                            for i in 0..L::N {
                                out[i] = <bf16 as Stored<f32>>::narrow(from[i]);
                            }
                            continue;
                        }
                        for (out, x) in out.iter_mut().zip(from) {
                            *out = <bf16 as Stored<f32>>::narrow(*x);
                        }
                    }
                }
            }
        }
    }
}
