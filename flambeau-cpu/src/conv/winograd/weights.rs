//! From kernels to sums of weights, and back.

use std::marker::PhantomData;
use std::ops::Range;

use super::scheme::{Scheme, WeightScheme};
use crate::lanes::{Kernel, Lanes};

/// Room for the stages of one kernel in any scheme and register: 9 + 6 * 3 registers.
const STAGE: usize = 27 * 16;

/// The kernels of a product, square.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub w: &'a [f32],
    /// Output channels.
    pub outputs: usize,
    /// Distance of the kernels of neighbouring output channels, and of neighbouring input channels.
    pub output_step: usize,
    pub input_step: usize,
    /// Whether each kernel is turned around.
    pub turned: bool,
}

/// The sums of weights for up to two registers of output channels.
pub(super) struct Prepare<'a, S> {
    pub weights: Weights<'a>,
    /// First output channel, and registers.
    pub channel: usize,
    pub registers: usize,
    /// Input channels.
    pub inputs: Range<usize>,
    /// `[sum, input channel, register, lane]`, the sums `step` apart.
    pub to: *mut f32,
    pub step: usize,
    pub scheme: PhantomData<fn() -> S>,
}

impl<S: Scheme> Kernel<f32> for Prepare<'_, S> {
    #[inline(always)]
    fn run<L: Lanes<f32>>(self) {
        let Weights {
            w,
            outputs,
            output_step,
            input_step,
            turned,
        } = self.weights;
        let taps_len = S::TAPS * S::TAPS;
        let mut room = [0.0f32; STAGE];
        let taps = room.as_mut_ptr();
        let stage = taps.wrapping_add(taps_len * L::N);
        for v in 0..self.registers {
            let first = self.channel + v * L::N;
            let rows = (outputs - first).min(L::N);
            if taps_len == 1 {
                // SAFETY: handed on.
                unsafe { self.points::<L>(v, first, rows) };
                continue;
            }
            for (i, c) in self.inputs.clone().enumerate() {
                let at = first * output_step + c * input_step;
                assert!(at + (rows - 1) * output_step + taps_len <= w.len());
                // SAFETY: inside a kernel; the kernels lie in `w`, the stages in `room`, and the
                // caller vouches for the sums.
                unsafe {
                    for t in (0..taps_len).step_by(L::N) {
                        let size = (rows, (taps_len - t).min(L::N));
                        let from = w.as_ptr().add(at + t);
                        let to = taps.add(t * L::N);
                        L::transpose(from, output_step, size, None, to, L::N, L::N);
                    }
                    if turned {
                        for t in 0..taps_len / 2 {
                            let (a, b) = (taps.add(t * L::N), taps.add((taps_len - 1 - t) * L::N));
                            let (x, y) = (L::load(a), L::load(b));
                            L::store(a, y);
                            L::store(b, x);
                        }
                    }
                    let pitch = S::TAPS * L::N;
                    for x in 0..S::TAPS {
                        let (from, to) = (taps.add(x * L::N), stage.add(x * L::N));
                        S::weight::<L>(from, pitch, to, pitch);
                    }
                    let to = self.to.add((i * self.registers + v) * L::N);
                    for j in 0..S::WEIGHTS {
                        S::weight::<L>(
                            stage.add(j * pitch),
                            L::N,
                            to.add(j * S::WEIGHTS * self.step),
                            self.step,
                        );
                    }
                }
            }
        }
    }
}

impl<S: Scheme> Prepare<'_, S> {
    /// Kernels of one element for register `v`, from output channel `first` on: a matrix, to be turned
    /// where its rows run along the input channels.
    ///
    /// # Safety
    /// Inside a kernel, and `to` has room.
    #[inline(always)]
    unsafe fn points<L: Lanes<f32>>(&self, v: usize, first: usize, rows: usize) {
        let Weights {
            w,
            output_step,
            input_step,
            ..
        } = self.weights;
        let at = first * output_step + self.inputs.start * input_step;
        let last = at + (rows - 1) * output_step + (self.inputs.len() - 1) * input_step;
        assert!(last < w.len());
        let step = self.registers * L::N;
        // SAFETY: inside a kernel; the assertion found the last element.
        unsafe {
            let (from, to) = (w.as_ptr().add(at), self.to.add(v * L::N));
            let mut c = 0;
            while c < self.inputs.len() {
                let (from, to) = (from.add(c * input_step), to.add(c * step));
                if input_step == 1 {
                    let size = (rows, (self.inputs.len() - c).min(L::N));
                    L::transpose(from, output_step, size, None, to, step, L::N);
                    c += L::N;
                } else {
                    L::store(to, L::load_first(from, rows));
                    c += 1;
                }
            }
        }
    }
}

/// Gradients of the sums of weights to those of the kernels, for some output channels and all input
/// channels.
pub(super) struct Finish<'a, S> {
    /// `[sum, output channel, input channel]`, the sums `step` apart and input channels padded to
    /// whole registers.
    pub sums: &'a [f32],
    pub step: usize,
    pub outputs: usize,
    pub inputs: usize,
    /// `[output channel, input channel, kernel]`.
    pub to: *mut f32,
    pub scheme: PhantomData<fn() -> S>,
}

impl<S: WeightScheme> Kernel<f32> for Finish<'_, S> {
    #[inline(always)]
    fn run<L: Lanes<f32>>(self) {
        let row = self.inputs.next_multiple_of(L::N);
        assert!(self.sums.len() >= (S::WEIGHTS * S::WEIGHTS - 1) * self.step + self.outputs * row);
        let taps_len = S::TAPS * S::TAPS;
        let mut room = [0.0f32; STAGE];
        let taps = room.as_mut_ptr();
        let stage = taps.wrapping_add(taps_len * L::N);
        for k in 0..self.outputs {
            for c in (0..self.inputs).step_by(L::N) {
                let channels = (self.inputs - c).min(L::N);
                // SAFETY: inside a kernel; the sums were found above, the stages lie in `room`, the
                // caller vouches for the kernels.
                unsafe {
                    let from = self.sums.as_ptr().add(k * row + c);
                    for j in 0..S::WEIGHTS {
                        S::kernel::<L>(
                            from.add(j * self.step),
                            S::WEIGHTS * self.step,
                            stage.add(j * L::N),
                            S::WEIGHTS * L::N,
                        );
                    }
                    for y in 0..S::TAPS {
                        let from = stage.add(y * S::WEIGHTS * L::N);
                        S::kernel::<L>(from, L::N, taps.add(y * S::TAPS * L::N), L::N);
                    }
                    let to = self.to.add((k * self.inputs + c) * taps_len);
                    if taps_len == 1 {
                        L::store_first(to, L::load(taps), channels);
                        continue;
                    }
                    for t in (0..taps_len).step_by(L::N) {
                        let rows = (taps_len - t).min(L::N);
                        let from = taps.add(t * L::N);
                        let size = (rows, channels);
                        L::transpose(from, L::N, size, None, to.add(t), taps_len, rows);
                    }
                }
            }
        }
    }
}
