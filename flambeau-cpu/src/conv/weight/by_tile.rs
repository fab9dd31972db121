//! A tile unit's registers hold 16 input channels of one kernel element times 16 output channels, and
//! sum up 32 positions at a time: as many neighbours of the planes, for which the gradient of the
//! output has zeros where the planes have gaps between rows.

use std::marker::PhantomData;

use super::Work;
use super::by_channel::ByChannel;
use crate::conv::ConvShape;
use crate::conv::operand::{DotKernel, Dots, Operand, Stored};
use crate::conv::planes::scratch;
use crate::float::Float;
use crate::gemm::unit::{ROW, TileUnit};
use crate::lanes::Lanes;
use crate::threads::{SyncPtr, parallel_for};

/// Rows and columns of a tile of sums.
const SIDE: usize = 16;
/// Positions of a step.
const STEP: usize = 2 * SIDE;

/// Places of a sample, gaps included, in whole steps.
fn span(work: &Work) -> usize {
    (work.last_row() + work.output[2]).next_multiple_of(STEP)
}

/// Whether tiles are full enough, in all directions, to be faster than fewer multiplications by
/// other means.
pub(in crate::conv) fn is_for(s: &ConvShape) -> bool {
    let [from, to] = [s.in_channels, s.out_channels].map(|c| c / s.groups);
    if !from.is_multiple_of(SIDE) || !to.is_multiple_of(SIDE) || s.pixels() == 0 {
        return false;
    }
    let work = Work::new(s);
    let span = span(&work);
    // With more padding than the kernel reaches, rows lie across each other in the planes.
    if work.planes.pitch() < work.output[2] {
        return false;
    }
    // Nothing may be read past the end of maps that are read as they are.
    let inside = !work.planes.is_source() || work.pixels == span;
    inside && 3 * work.pixels >= 2 * span
}

/// How a convolution is cut into tiles.
pub(super) struct ByTile<U> {
    /// Its blocks, and the sums: `[group, block, kernel element, output channel]`.
    way: ByChannel,
    /// Places of a sample.
    span: usize,
    /// Kernel elements of a channel.
    taps: usize,
    unit: PhantomData<fn() -> U>,
}

impl<U: TileUnit> ByTile<U> {
    pub fn new<T: Float>(work: &Work) -> Self {
        let span = span(work);
        assert!(work.planes.pitch() >= work.output[2], "rows lie apart");
        ByTile {
            way: ByChannel::of_elements::<T>(work, span / 2),
            span,
            taps: work.s.kernel.iter().product(),
            unit: PhantomData,
        }
    }

    /// The blocks and the order of the sums.
    pub fn way(&self) -> &ByChannel {
        &self.way
    }

    /// Turns one sample's gradient of the output.
    pub fn turn<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        work: &Work,
        grad_out: &[E],
        turned: &mut [X],
    ) {
        let size = (1, self.span);
        if work.pixels == self.span {
            return self.way.turn_rows::<T, E, X>(work, grad_out, size, turned);
        }
        let channels = work.s.out_channels;
        let mut spread = scratch::<E>(channels * self.span, true);
        let spread = spread.as_mut_slice::<E>();
        let width = work.output[2];
        for (to, from) in spread
            .chunks_exact_mut(self.span)
            .zip(grad_out.chunks_exact(work.pixels))
        {
            for (row, from) in work.rows.iter().zip(from.chunks_exact(width)) {
                to[*row..][..width].copy_from_slice(from);
            }
        }
        self.way.turn_rows::<T, E, X>(work, spread, size, turned);
    }

    /// Adds a batch of samples to the sums.
    pub fn add<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        work: &Work,
        samples: usize,
        x: &[X::Cell],
        grads: &[X],
        sums: &mut [T],
    ) {
        let sides = work.in_group.div_ceil(2 * SIDE);
        let count = self.way.all_blocks() * sides * self.taps;
        let cost = samples * self.span * 4 * SIDE * SIDE;
        // A multiplication takes a sixteenth of what it takes elsewhere.
        let grain = (1 << 21) / cost + 1;
        assert!(sums.len() >= self.way.sums() && grads.len() >= samples * self.way.sample());
        let sums = SyncPtr(sums.as_mut_ptr());
        parallel_for(count, grain, |range| {
            X::run(Tiles::<T, E, X, U> {
                of: self,
                work,
                range: (range.start, range.end),
                sides,
                samples,
                x,
                grads,
                sums: sums.get(),
            });
        });
    }
}

/// Some tiles of one batch.
struct Tiles<'a, T, E, X: Operand<T, E>, U> {
    of: &'a ByTile<U>,
    work: &'a Work<'a>,
    range: (usize, usize),
    /// Pairs of tiles of input channels.
    sides: usize,
    samples: usize,
    x: &'a [X::Cell],
    grads: &'a [X],
    sums: *mut T,
}

impl<T: Float, E: Stored<T>, X: Operand<T, E>, U: TileUnit> DotKernel<T, X>
    for Tiles<'_, T, E, X, U>
{
    #[inline(always)]
    fn run<L: Lanes<T>, D: Dots<T, L, X>>(self) {
        assert!(L::N == SIDE && size_of::<T>() == 4 && size_of::<X>() == 4);
        assert!(size_of::<X::Cell>() == 2);
        let mut unit = U::enter();
        for index in self.range.0..self.range.1 {
            let (index, tap) = (index / self.of.taps, index % self.of.taps);
            let (block, side) = (index / self.sides, index % self.sides);
            let first = side * 2 * SIDE;
            let two = self.work.in_group - first > SIDE;
            // SAFETY: inside `run`, with a configured unit and the sizes of pairs.
            unsafe {
                match (self.of.way.lanes() > SIDE, two) {
                    (true, true) => self.sum::<2, 2>(&mut unit, block, first, tap),
                    (true, false) => self.sum::<2, 1>(&mut unit, block, first, tap),
                    (false, true) => self.sum::<1, 2>(&mut unit, block, first, tap),
                    (false, false) => self.sum::<1, 1>(&mut unit, block, first, tap),
                }
            }
        }
        unit.leave();
    }
}

impl<T: Float, E: Stored<T>, X: Operand<T, E>, U: TileUnit> Tiles<'_, T, E, X, U> {
    /// `P` tiles of input channels times `V` of output channels.
    ///
    /// # Safety
    /// Inside a kernel, with a configured unit; operands and sums have four bytes, cells two. The
    /// tiles are no other thread's.
    #[inline(always)]
    unsafe fn sum<const V: usize, const P: usize>(
        &self,
        unit: &mut U,
        block: usize,
        first: usize,
        tap: usize,
    ) {
        let (of, work) = (self.of, self.work);
        let way = &of.way;
        let (lanes, steps) = (V * SIDE, of.span / STEP);
        let channel = work.planes.channel();
        let place = |c: usize| {
            let group = block / way.blocks() * work.in_group;
            (group + c) * channel + way.offsets()[tap]
        };
        let x_sample = self.x.len() / self.samples;
        assert!(lanes == way.lanes() && first + P * SIDE <= work.in_group);
        assert!(place(first + P * SIDE - 1) + of.span <= x_sample);
        let grads = block * of.span / 2 * lanes;
        let element = block * way.offsets().len() + first * of.taps + tap;
        // SAFETY: the caller's promise. The assertions, here and in `add`, found the last positions of
        // `x` and `grads` and the last sums; a tile's rows of sums are `taps` elements apart.
        unsafe {
            let sums = self.sums.add(element * lanes).cast::<u8>();
            let (row, below) = (of.taps * V * ROW, SIDE * of.taps * V * ROW);
            unit.load_sums::<P, V>(sums, row, below);
            for n in 0..self.samples {
                let first = self
                    .x
                    .as_ptr()
                    .add(n * x_sample + place(first))
                    .cast::<u8>();
                let mut x: [*const u8; P] =
                    std::array::from_fn(|p| first.wrapping_add(p * 2 * SIDE * channel));
                let mut g = (self.grads.as_ptr())
                    .add(n * way.sample() + grads)
                    .cast::<u8>();
                for _ in 0..steps {
                    unit.step::<P, V>(x, 2 * channel, g, V * ROW);
                    x = x.map(|x| x.wrapping_add(2 * STEP));
                    g = g.add(SIDE * V * ROW);
                }
            }
            unit.store_sums::<P, V>(sums, row, below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::backward_weight_by_tiles;
    use super::*;
    use crate::conv::operand::has_pairs;
    use crate::conv::reference;
    use crate::conv::tests::{narrow, noise, wide};
    use crate::gemm::unit::emulated::Emulated;

    /// On the emulated unit: rows with and without gaps, of odd pitch, strides, dilation, groups, one
    /// and two tiles on either side, several batches of samples, maps that are read as they are.
    #[test]
    fn equals_the_reference() {
        if !has_pairs() {
            eprintln!("skipped: this CPU does not multiply pairs of bf16");
            return;
        }
        let padded = ConvShape {
            padding: [0, 1, 1],
            ..ConvShape::conv2d(3, 32, [16, 16], 64, [3, 3])
        };
        let plain = ConvShape {
            kernel: [1; 3],
            padding: [0; 3],
            ..padded
        };
        let shapes = [
            padded,
            ConvShape {
                in_channels: 48,
                out_channels: 16,
                input: [1, 9, 7],
                ..padded
            },
            ConvShape {
                in_channels: 64,
                out_channels: 96,
                groups: 2,
                stride: [1, 2, 2],
                ..padded
            },
            ConvShape {
                dilation: [1, 2, 2],
                batch: 20,
                input: [1, 32, 32],
                ..padded
            },
            plain,
            ConvShape {
                stride: [1, 2, 2],
                ..plain
            },
        ];
        for s in shapes {
            let x = narrow(noise(s.input_len(), 5));
            let g = narrow(noise(s.output_len(), 8));
            let (mut got, mut want) = (
                vec![f32::NAN; s.weight_len()],
                vec![f32::NAN; s.weight_len()],
            );
            backward_weight_by_tiles::<Emulated>(&s, &x, &g, &mut got);
            reference::backward_weight(&s, &wide(&x), &wide(&g), &mut want);
            let terms = (s.batch * s.pixels()) as f32;
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let right = (got - want).abs() <= 1e-5 * (1.0 + terms.sqrt() + want.abs());
                assert!(right, "[{i}]: {got} for {want} in {s:?}");
            }
        }
    }

    #[test]
    fn full_tiles_are_asked_for() {
        let s = ConvShape {
            padding: [0, 1, 1],
            ..ConvShape::conv2d(1, 64, [32, 32], 64, [3, 3])
        };
        assert!(is_for(&s));
        assert!(is_for(&ConvShape {
            input: [1, 16, 16],
            ..s
        }));
        assert!(!is_for(&ConvShape {
            input: [1, 4, 4],
            ..s
        }));
        assert!(!is_for(&ConvShape {
            in_channels: 24,
            ..s
        }));
        let plain = ConvShape {
            kernel: [1; 3],
            padding: [0; 3],
            ..s
        };
        assert!(is_for(&plain));
        // Rows across each other.
        assert!(!is_for(&ConvShape {
            kernel: [1; 3],
            ..s
        }));
        // The last 28 positions of a step would be another map's, or nobody's.
        assert!(!is_for(&ConvShape {
            input: [1, 14, 14],
            ..plain
        }));
    }
}
