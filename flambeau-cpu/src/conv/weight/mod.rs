//! The gradient of the weight: for each kernel element, the products of the gradient of the output
//! with the [`Planes`] shifted by that element, summed over samples and positions.
//!
//! Samples are taken in batches that fit the cache, whose size depends on the shape alone; a tile of
//! the gradient is summed in registers over a batch and then added to what the earlier batches gave.
//! Threads share out the tiles, never a sum, so the bits do not depend on their number.

mod by_channel;
mod by_position;

use by_channel::ByChannel;

use super::planes::{Planes, scratch};
use super::{ConvShape, places};
use crate::float::Float;
use crate::threads::{SyncPtr, parallel_for};

/// Values of input planes and output gradients that a batch of samples may hold.
const CACHED: usize = 1 << 18;

/// Output channels (of a group) from which on they fill the vector registers; below that,
/// positions do.
const CHANNELS: usize = 8;

/// See [`super::conv_backward_weight`].
pub(super) fn backward_weight<T: Float>(s: &ConvShape, x: &[T], grad_out: &[T], grad_w: &mut [T]) {
    grad_w.fill(T::ZERO);
    if grad_out.is_empty() || grad_w.is_empty() {
        return;
    }
    let work = Work::new(s);
    let (inputs, outputs) = (x.len() / s.batch, grad_out.len() / s.batch);
    let copies = !work.planes.is_source();
    let sample = if copies {
        work.planes.len(s.in_channels)
    } else {
        inputs
    };
    let batch = (CACHED / (sample + outputs)).clamp(1, s.batch);
    let by_channel = (work.out_group >= CHANNELS).then(|| ByChannel::new::<T>(&work));
    let turned = by_channel.as_ref().map_or(0, ByChannel::sample);

    let mut planes = scratch::<T>(if copies { batch * sample } else { 0 }, true);
    let mut grads = scratch::<T>(batch * turned, true);
    let mut sums = scratch::<T>(by_channel.as_ref().map_or(0, ByChannel::sums), true);
    for first in (0..s.batch).step_by(batch) {
        let samples = batch.min(s.batch - first);
        let x = &x[first * inputs..][..samples * inputs];
        let grad_out = &grad_out[first * outputs..][..samples * outputs];
        if copies || by_channel.is_some() {
            let planes = SyncPtr(planes.as_mut_slice::<T>().as_mut_ptr());
            let grads = SyncPtr(grads.as_mut_slice::<T>().as_mut_ptr());
            parallel_for(samples, (1 << 14) / (inputs + outputs) + 1, |range| {
                for n in range {
                    // SAFETY: sample `n` has its own part of each scratch, which holds `batch`.
                    let part = |p: &SyncPtr<T>, len: usize| unsafe {
                        std::slice::from_raw_parts_mut(p.get().add(n * len), len)
                    };
                    if copies {
                        work.planes
                            .fill(&x[n * inputs..][..inputs], part(&planes, sample));
                    }
                    if let Some(by_channel) = &by_channel {
                        by_channel.turn(
                            &work,
                            &grad_out[n * outputs..][..outputs],
                            part(&grads, turned),
                        );
                    }
                }
            });
        }
        let x = if copies {
            &planes.as_slice()[..samples * sample]
        } else {
            x
        };
        match &by_channel {
            Some(way) => way.add(&work, samples, x, grads.as_slice(), sums.as_mut_slice()),
            None => by_position::add(&work, samples, x, grad_out, grad_w),
        }
    }
    if let Some(by_channel) = &by_channel {
        by_channel.finish(&work, sums.as_slice(), grad_w);
    }
}

/// What both ways need to know.
struct Work<'a> {
    s: &'a ConvShape,
    planes: Planes,
    /// Size of the output plane, and its product.
    output: [usize; 3],
    pixels: usize,
    /// Where in the planes each row of outputs begins.
    rows: Vec<usize>,
    /// Input and output channels of a group.
    in_group: usize,
    out_group: usize,
}

impl<'a> Work<'a> {
    fn new(s: &'a ConvShape) -> Self {
        let (planes, output) = (Planes::of_input(s), s.valid_output());
        let rows = places([output[0], output[1], 1])
            .map(|[d, h, _]| d * planes.slice() + h * planes.pitch())
            .collect();
        Self {
            s,
            planes,
            output,
            rows,
            pixels: s.pixels(),
            in_group: s.in_channels / s.groups,
            out_group: s.out_channels / s.groups,
        }
    }

    /// Where in the planes the elements of `kernel` are read for output position 0, for each input
    /// channel of a group.
    fn offsets(&self, kernel: [usize; 3]) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(self.in_group * kernel.iter().product::<usize>());
        for c in 0..self.in_group {
            offsets.extend(places(kernel).map(|k| {
                let at = [0, 1, 2].map(|d| k[d] * self.s.dilation[d]);
                c * self.planes.channel() + self.planes.offset(at)
            }));
        }
        offsets
    }

    /// The largest of the rows' offsets.
    fn last_row(&self) -> usize {
        self.rows.last().copied().unwrap_or(0)
    }
}
