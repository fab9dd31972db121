//! Registers hold positions of a row: both operands are read in place, a row's rest with a mask (so
//! that nothing outside it is multiplied: 0 times infinity would be NaN), and each sum is folded
//! once a batch. For few output channels, depthwise convolution among them.

use super::Work;
use crate::float::Float;
use crate::lanes::{Kernel, Lanes, register_shape, with_lanes};
use crate::threads::{SyncPtr, parallel_for};

/// Output channels and kernel elements of a tile, by the output channels left and the registers
/// there are for sums.
const fn tile(sums: usize, left: usize) -> (usize, usize) {
    match (sums >= 24, left) {
        (_, 1) => (1, 9),
        (_, 2) => (2, 4),
        (true, 6..) => (6, 4),
        (true, _) => (3, 4),
        (false, 6..) => (6, 2),
        (false, _) => (3, 3),
    }
}

/// Adds a batch of samples to the gradient of the weight.
pub(super) fn add<T: Float>(
    work: &Work,
    samples: usize,
    x: &[T],
    grad_out: &[T],
    grad_w: &mut [T],
) {
    let offsets = work.offsets(work.s.kernel);
    let (_, sums) = register_shape::<T>();
    let mut tiles = Vec::new();
    for group in 0..work.s.groups {
        let mut channel = 0;
        while channel < work.out_group {
            let (channels, elements) = tile(sums, work.out_group - channel);
            for first in (0..offsets.len()).step_by(elements) {
                let len = elements.min(offsets.len() - first);
                tiles.push((group, group * work.out_group + channel, first..first + len));
            }
            channel += channels;
        }
    }
    let cost = samples * work.pixels * 16;
    let grad_w = SyncPtr(grad_w.as_mut_ptr());
    parallel_for(tiles.len(), (1 << 17) / cost + 1, |range| {
        for (group, channel, elements) in &tiles[range] {
            with_lanes(Tile {
                work,
                samples,
                x,
                grad_out,
                offsets: &offsets[elements.clone()],
                group: *group,
                channel: *channel,
                left: (group + 1) * work.out_group - channel,
                // SAFETY: channel and element lie in the weight; tiles do not overlap.
                grad_w: unsafe { grad_w.get().add(channel * offsets.len() + elements.start) },
                patch: offsets.len(),
            });
        }
    });
}

/// One tile of one batch.
struct Tile<'a, T> {
    work: &'a Work<'a>,
    samples: usize,
    x: &'a [T],
    grad_out: &'a [T],
    offsets: &'a [usize],
    group: usize,
    /// First output channel, and how many the group has from it on.
    channel: usize,
    left: usize,
    grad_w: *mut T,
    /// Distance of output channels in `grad_w`.
    patch: usize,
}

impl<T: Float> Kernel<T> for Tile<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        // SAFETY: inside `run`; `tile` gives no more channels than are left, and the caller of the
        // kernel made `grad_w` point to the tile.
        unsafe {
            match tile(L::SUMS, self.left) {
                (1, _) => self.sum::<L, 1, 9>(),
                (2, _) => self.sum::<L, 2, 4>(),
                (3, 4) => self.sum::<L, 3, 4>(),
                (3, _) => self.sum::<L, 3, 3>(),
                (6, 4) => self.sum::<L, 6, 4>(),
                (_, _) => self.sum::<L, 6, 2>(),
            }
        }
    }
}

impl<T: Float> Tile<'_, T> {
    /// # Safety
    /// Inside a kernel; `O` channels and `self.offsets` elements may be added to from `grad_w`.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>, const O: usize, const K: usize>(self) {
        let Work {
            planes,
            output,
            pixels,
            in_group,
            ..
        } = self.work;
        // A last tile with fewer elements repeats its first; those sums are not used.
        let mut offsets = [self.offsets[0]; K];
        offsets[..self.offsets.len()].copy_from_slice(self.offsets);
        let width = output[2];
        let (x_sample, g_sample) = (
            self.x.len() / self.samples,
            self.grad_out.len() / self.samples,
        );
        let group = self.group * in_group * planes.channel();
        let reach = offsets.iter().max().map_or(0, |o| *o) + width;
        assert!(group + self.work.last_row() + reach <= x_sample);
        assert!((self.channel + O) * pixels <= g_sample);
        // SAFETY: inside a kernel; the assertions found the last row of every channel and element
        // inside `x` and `grad_out`.
        unsafe {
            let mut sums = [[L::zero(); K]; O];
            for n in 0..self.samples {
                let x = self.x.as_ptr().add(n * x_sample + group);
                let g = self
                    .grad_out
                    .as_ptr()
                    .add(n * g_sample + self.channel * pixels);
                for (row, at) in self.work.rows.iter().enumerate() {
                    let mut x = x.add(*at);
                    let mut g = g.add(row * width);
                    let mut left = width;
                    // One body for whole and partial vectors: with two, the sums do not stay in
                    // registers.
                    while left > 0 {
                        let count = left.min(L::N);
                        let shifted = offsets.map(|o| L::load_first(x.add(o), count));
                        for (o, sums) in sums.iter_mut().enumerate() {
                            let grad = L::load_first(g.add(o * pixels), count);
                            for (sum, x) in sums.iter_mut().zip(shifted) {
                                *sum = L::fma(grad, x, *sum);
                            }
                        }
                        (x, g) = (x.add(count), g.add(count));
                        left -= count;
                    }
                }
            }
            for (o, sums) in sums.iter().enumerate() {
                for (k, sum) in sums.iter().enumerate().take(self.offsets.len()) {
                    *self.grad_w.add(o * self.patch + k) += L::sum(*sum);
                }
            }
        }
    }
}
