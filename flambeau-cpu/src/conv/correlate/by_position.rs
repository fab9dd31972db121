//! Registers hold positions, weights are broadcast: for planes whose rows, or whose rows with the gap
//! between them, fill the registers.

use super::{Pieces, Tap};
use crate::conv::operand::{DotKernel, Dots, Operand, Stored};
use crate::float::Float;
use crate::lanes::Lanes;

pub(super) struct ByPosition<'a, T, E, X>(pub Pieces<'a, T, E, X>);

impl<T: Float, E: Stored<T>, X: Operand<T, E>> DotKernel<T, X> for ByPosition<'_, T, E, X> {
    #[inline(always)]
    fn run<L: Lanes<T>, D: Dots<T, L, X>>(self) {
        let pieces = self.0;
        let plan = pieces.plan;
        let last = (plan.units().max(1) - 1) * plan.planes.channel();
        let pitch = pieces.plan.planes.pitch();
        for index in pieces.range.clone() {
            let piece = pieces.piece(index);
            let (rows, width) = (piece.item.h.len(), piece.item.w.len());

            // Vectors either start anew in each row or run on through the gap between rows,
            // whichever are fewer.
            let per_row = width.div_ceil(L::N);
            let flat = ((rows - 1) * pitch + width).div_ceil(L::N);
            let whole = width == piece.part.extent[2];
            let (vectors, row, starts) = if whole && flat < rows * per_row {
                (flat, pitch, None)
            } else {
                (rows * per_row, per_row * L::N, Some(per_row))
            };
            let start = |v: usize| match starts {
                None => v * L::N,
                Some(per_row) => v / per_row * pitch + v % per_row * L::N,
            };
            let mut tile = Tile {
                x: pieces.planes[piece.base..].as_ptr(),
                taps: &piece.part.taps,
                units: plan.units(),
                channel: plan.planes.channel(),
                weights: piece.weights,
                bias: pieces.bias.map(|b| &b[piece.first..][..piece.channels]),
                stage: pieces.stage.as_mut_ptr(),
                distance: vectors * L::N,
            };
            let end = piece.base + last + piece.part.reach() + start(vectors - 1) + L::N;
            let staged = piece.channels * vectors * L::N;
            assert!(end <= pieces.planes.len() && staged <= pieces.stage.len());
            // SAFETY: inside `run`. The assertion found the last vector at the largest offset
            // inside `planes`, and the tile's values inside the stage.
            unsafe {
                match piece.channels {
                    8 => tile.all::<L, D, 8>(vectors, start),
                    6 => tile.all::<L, D, 6>(vectors, start),
                    4 => tile.all::<L, D, 4>(vectors, start),
                    3 => tile.all::<L, D, 3>(vectors, start),
                    2 => tile.all::<L, D, 2>(vectors, start),
                    _ => tile.all::<L, D, 1>(vectors, start),
                }
            }

            let step = pieces.plan.out_step[2];
            let stages = pieces.stage.chunks_exact(vectors * L::N);
            for (channel, stage) in stages.take(piece.channels).enumerate() {
                for r in 0..rows {
                    let to = pieces.place(&piece, channel, r, 0);
                    let from = &stage[r * row..][..width];
                    // SAFETY: positions of a part lie in the output plane, and each output is
                    // written by one task.
                    unsafe {
                        if step == 1 {
                            let to = std::slice::from_raw_parts_mut(pieces.out.add(to), width);
                            for (to, value) in to.iter_mut().zip(from) {
                                *to = E::narrow(*value);
                            }
                        } else {
                            for (i, value) in from.iter().enumerate() {
                                *pieces.out.add(to + i * step) = E::narrow(*value);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The sums of one block of output channels over vectors of positions.
struct Tile<'a, T, X> {
    x: *const X,
    taps: &'a [Tap],
    /// Planes, and their distance.
    units: usize,
    channel: usize,
    weights: &'a [X],
    bias: Option<&'a [T]>,
    stage: *mut T,
    /// Distance of the channels in the stage.
    distance: usize,
}

impl<T: Float, X: Copy> Tile<'_, T, X> {
    /// # Safety
    /// Inside a kernel; `start(v)` for `v < vectors` plus every offset must be good for a vector
    /// from `x` in each plane, the stage for `O * distance` values, and `weights` hold `O` for each
    /// element.
    #[inline(always)]
    unsafe fn all<L: Lanes<T>, D: Dots<T, L, X>, const O: usize>(
        &mut self,
        vectors: usize,
        start: impl Fn(usize) -> usize,
    ) {
        let mut v = 0;
        // SAFETY: the caller's promise.
        unsafe {
            if O == 8 {
                while v + 3 <= vectors {
                    self.one::<L, D, O, 3>(v, [start(v), start(v + 1), start(v + 2)]);
                    v += 3;
                }
            } else if 4 * O <= L::SUMS {
                while v + 4 <= vectors {
                    self.one::<L, D, O, 4>(v, [start(v), start(v + 1), start(v + 2), start(v + 3)]);
                    v += 4;
                }
            }
            while v + 2 <= vectors {
                self.one::<L, D, O, 2>(v, [start(v), start(v + 1)]);
                v += 2;
            }
            if v < vectors {
                self.one::<L, D, O, 1>(v, [start(v)]);
            }
        }
    }

    /// # Safety
    /// As [`all`](Self::all).
    #[inline(always)]
    unsafe fn one<L: Lanes<T>, D: Dots<T, L, X>, const O: usize, const P: usize>(
        &mut self,
        v: usize,
        starts: [usize; P],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[L::zero(); P]; O];
            if let Some(bias) = self.bias {
                for (sums, bias) in sums.iter_mut().zip(bias) {
                    *sums = [L::splat(*bias); P];
                }
            }
            let mut w = self.weights.as_ptr();
            for unit in 0..self.units {
                let plane = self.x.add(unit * self.channel);
                for tap in self.taps {
                    let at = plane.add(tap.offset);
                    let x = starts.map(|start| D::load(at.add(start)));
                    for (o, sums) in sums.iter_mut().enumerate() {
                        let weight = D::splat(*w.add(o));
                        for (sum, x) in sums.iter_mut().zip(x) {
                            *sum = D::dot(weight, x, *sum);
                        }
                    }
                    w = w.add(O);
                }
            }
            for (o, sums) in sums.iter().enumerate() {
                for (p, sum) in sums.iter().enumerate() {
                    L::store(self.stage.add(o * self.distance + (v + p) * L::N), *sum);
                }
            }
        }
    }
}
