//! The gradient of the weight: for each kernel element, the products of the gradient of the output
//! with the [`Planes`] shifted by that element, summed over samples and positions.
//!
//! Samples are taken in batches that fit the cache, whose size depends on the shape alone; a tile of
//! the gradient is summed in registers over a batch and then added to what the earlier batches gave.
//! Threads share out the tiles, never a sum, so the bits do not depend on their number.

mod by_channel;
mod by_position;
pub(super) mod by_tile;

use by_channel::ByChannel;
use by_tile::ByTile;
use half::bf16;

use super::operand::{Held, Operand, Pair, Stored};
use super::planes::{Planes, flat, scratch};
use super::{ConvShape, places};
use crate::alloc::Pod;
use crate::float::Float;
use crate::gemm::unit::TileUnit;
use crate::threads::{SyncPtr, parallel_for};

/// Values of input planes and output gradients that a batch of samples may hold.
const CACHED: usize = 1 << 18;

/// Output channels (of a group) from which on they fill the vector registers; below that,
/// positions do.
const CHANNELS: usize = 8;

/// See [`super::conv_backward_weight`]; operands are of `X`.
pub(super) fn backward_weight<T: Float + Held<E>, E: Stored<T>, X: Operand<T, E>>(
    s: &ConvShape,
    x: &[E],
    grad_out: &[E],
    grad_w: &mut [T],
) {
    grad_w.fill(T::ZERO);
    if grad_out.is_empty() || grad_w.is_empty() {
        return;
    }
    let s = &flat(s);
    let work = Work::new(s);
    if work.out_group >= CHANNELS {
        let way = ByChannel::new::<T>(&work, X::LEN);
        let mut sums = scratch::<T>(way.sums(), true);
        work.batches::<T, E, X::Cell, X>(
            (x, grad_out),
            way.sample(),
            |grad_out, turned| way.turn::<T, E, X>(&work, grad_out, turned),
            |samples, x, grads| {
                way.add::<T, E, X>(&work, samples, x, grads, sums.as_mut_slice());
            },
        );
        way.finish(&work, sums.as_slice(), grad_w);
        return;
    }
    // Where maps are what sums are, the gradient of the output is read as it is.
    let outputs = grad_out.len() / s.batch;
    let direct = <T as Held<E>>::same(grad_out);
    let mut first = 0;
    work.batches::<T, E, T, T>(
        (x, grad_out),
        if direct.is_some() { 0 } else { outputs },
        |grad_out, wide| {
            for (to, from) in wide.iter_mut().zip(grad_out) {
                *to = from.widen();
            }
        },
        |samples, x, wide| {
            let grads = match direct {
                Some(direct) => &direct[first * outputs..][..samples * outputs],
                None => wide,
            };
            first += samples;
            by_position::add(&work, samples, x, grads, grad_w);
        },
    );
}

/// [`backward_weight`] of maps of bf16 on a tile unit, where shapes are for it.
pub(super) fn backward_weight_by_tiles<U: TileUnit>(
    s: &ConvShape,
    x: &[bf16],
    grad_out: &[bf16],
    grad_w: &mut [f32],
) {
    grad_w.fill(0.0);
    if grad_out.is_empty() || grad_w.is_empty() {
        return;
    }
    let work = Work::new(s);
    let tiles = ByTile::<U>::new::<f32>(&work);
    let mut sums = scratch::<f32>(tiles.way().sums(), true);
    work.batches::<f32, bf16, bf16, Pair>(
        (x, grad_out),
        tiles.way().sample(),
        |grad_out, turned| tiles.turn::<f32, bf16, Pair>(&work, grad_out, turned),
        |samples, x, grads| {
            tiles.add::<f32, bf16, Pair>(&work, samples, x, grads, sums.as_mut_slice());
        },
    );
    tiles.way().finish(&work, sums.as_slice(), grad_w);
}

/// What all ways need to know.
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

    /// Takes samples in batches: planes of cells `C` are filled, `prepare` brings a sample's gradient
    /// of the output into `each` values of `G`, and `add` is called with the number of samples,
    /// their planes and those values.
    fn batches<T: Float, E: Pod, C: Held<E>, G: Pod>(
        &self,
        (x, grad_out): (&[E], &[E]),
        each: usize,
        prepare: impl Fn(&[E], &mut [G]) + Sync,
        mut add: impl FnMut(usize, &[C], &[G]),
    ) {
        let s = self.s;
        let (inputs, outputs) = (x.len() / s.batch, grad_out.len() / s.batch);
        let source = C::same(x).filter(|_| self.planes.is_source());
        let sample = match source {
            Some(_) => inputs,
            None => self.planes.len(s.in_channels),
        };
        let batch = (CACHED / (sample + outputs)).clamp(1, s.batch);
        let copied = if source.is_some() { 0 } else { batch * sample };
        let mut planes = scratch::<C>(copied, true);
        let mut grads = scratch::<G>(batch * each, false);
        for first in (0..s.batch).step_by(batch) {
            let samples = batch.min(s.batch - first);
            let x = &x[first * inputs..][..samples * inputs];
            let grad_out = &grad_out[first * outputs..][..samples * outputs];
            if copied > 0 || each > 0 {
                let planes = SyncPtr(planes.as_mut_slice::<C>().as_mut_ptr());
                let grads = SyncPtr(grads.as_mut_slice::<G>().as_mut_ptr());
                parallel_for(samples, (1 << 14) / (inputs + outputs) + 1, |range| {
                    for n in range {
                        if copied > 0 {
                            // SAFETY: sample `n` has its own part of the planes of `batch`.
                            let to = unsafe {
                                let at = planes.get().add(n * sample);
                                std::slice::from_raw_parts_mut(at, sample)
                            };
                            self.planes.fill::<T, E, C>(&x[n * inputs..][..inputs], to);
                        }
                        if each > 0 {
                            // SAFETY: as above.
                            let to = unsafe {
                                let at = grads.get().add(n * each);
                                std::slice::from_raw_parts_mut(at, each)
                            };
                            prepare(&grad_out[n * outputs..][..outputs], to);
                        }
                    }
                });
            }
            let x = match source {
                Some(source) => &source[first * inputs..][..samples * inputs],
                None => &planes.as_slice()[..samples * sample],
            };
            add(samples, x, &grads.as_slice()[..samples * each]);
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
