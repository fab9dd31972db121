//! Weights in the order in which tiles read them.

use super::{Block, Part, Plan, Tiling};
use crate::conv::operand::{Operand, Stored};
use crate::conv::planes::scratch;
use crate::float::Float;
use crate::lanes::{Kernel, Lanes, with_lanes};
use crate::threads::{SyncPtr, parallel_for};

impl Plan {
    /// The weights in the order part, group, block of output channels, kernel element (see
    /// [`Plan::order`]), channel of the block (0 past the last).
    pub(super) fn pack<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        tiling: &Tiling,
        w: &[T],
        packed: &mut [X],
    ) {
        let jobs: Vec<_> = (0..self.groups)
            .flat_map(|group| (0..tiling.blocks.len()).map(move |b| (group, b)))
            .collect();
        let orders: Vec<_> = self
            .parts
            .iter()
            .map(|part| self.order(part, tiling))
            .collect();
        let len = packed.len();
        let packed = SyncPtr(packed.as_mut_ptr());
        let grain = (1 << 15) / (w.len() / jobs.len() + 1) + 1;
        parallel_for(jobs.len(), grain, |range| {
            let (_, rows, row) = self.rows();
            let width = tiling.blocks.iter().map(|b| b.width).max().unwrap_or(0);
            let mut turned = scratch::<T>(
                if tiling.by_channel {
                    rows * row * width
                } else {
                    0
                },
                false,
            );
            for (group, b) in &jobs[range] {
                let block = &tiling.blocks[*b];
                let first =
                    group * self.weight_step[0] + block.channels.start * self.weight_step[1];
                let w = &w[first..];
                if tiling.by_channel {
                    with_lanes(Turn {
                        plan: self,
                        block,
                        w,
                        to: turned.as_mut_slice(),
                    });
                }
                for (part, order) in self.parts.iter().zip(&orders) {
                    let at = self.packed(tiling, part, *group, *b);
                    assert!(at.end <= len);
                    // SAFETY: the jobs' pieces lie in `packed` and do not overlap.
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(packed.get().add(at.start), at.len())
                    };
                    match tiling.by_channel {
                        true => self.pick::<T, E, X>(order, turned.as_slice(), block, to),
                        false => self.collect::<T, E, X>(order, w, block, to),
                    }
                }
            }
        });
    }

    /// Each kernel element's first source, and whether it has a second, a channel further.
    fn order(&self, part: &Part, tiling: &Tiling) -> Vec<(usize, bool)> {
        let (lanes, pair) = (tiling.interleaved, self.operand);
        let units = self.units();
        let mut order = Vec::with_capacity(units * part.taps.len());
        for first in (0..units).step_by(lanes) {
            for tap in &part.taps {
                for unit in first..(first + lanes).min(units) {
                    let two = pair == 2 && 2 * unit + 1 < self.channels[0];
                    order.push((tap.source + unit * pair * self.source_step, two));
                }
            }
        }
        order
    }

    /// The sources of an output channel: their rows' distance, number and length.
    fn rows(&self) -> (usize, usize, usize) {
        match self.source_step == self.volume {
            true => (0, 1, self.channels[0] * self.volume),
            false => (self.source_step, self.channels[0], self.volume),
        }
    }

    /// Elements one by one.
    fn collect<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        order: &[(usize, bool)],
        w: &[T],
        block: &Block,
        to: &mut [X],
    ) {
        for (to, &(source, two)) in to.chunks_exact_mut(block.width).zip(order) {
            let (to, past) = to.split_at_mut(block.channels.len());
            for (channel, to) in to.iter_mut().enumerate() {
                let at = channel * self.weight_step[1] + source;
                let second = if two {
                    w[at + self.source_step]
                } else {
                    T::ZERO
                };
                *to = X::of_weights([w[at], second]);
            }
            past.fill(X::NONE);
        }
    }

    /// Elements from the rows that [`Turn`] made.
    fn pick<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        order: &[(usize, bool)],
        turned: &[T],
        block: &Block,
        to: &mut [X],
    ) {
        let (step, _, len) = self.rows();
        let row = |source: usize| match step {
            0 => source,
            _ => source / step * len + source % step,
        };
        for (to, &(source, two)) in to.chunks_exact_mut(block.width).zip(order) {
            let first = &turned[row(source) * block.width..][..block.width];
            if two {
                let second = &turned[row(source + self.source_step) * block.width..][..block.width];
                for (to, (a, b)) in to.iter_mut().zip(first.iter().zip(second)) {
                    *to = X::of_weights([*a, *b]);
                }
            } else {
                for (to, a) in to.iter_mut().zip(first) {
                    *to = X::of_weights([*a, T::ZERO]);
                }
            }
        }
    }
}

/// The weights of a block of output channels, turned to `[source, channel]`.
struct Turn<'a, T> {
    plan: &'a Plan,
    block: &'a Block,
    /// From the block's first channel on.
    w: &'a [T],
    to: &'a mut [T],
}

impl<T: Float> Kernel<T> for Turn<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let (step, rows, len) = self.plan.rows();
        let (width, channels) = (self.block.width, self.block.channels.len());
        let distance = self.plan.weight_step[1];
        if rows * len == 0 {
            return;
        }
        assert!((channels - 1) * distance + (rows - 1) * step + len <= self.w.len());
        assert!(rows * len * width <= self.to.len());
        for v in (0..width).step_by(L::N) {
            let lanes = channels.saturating_sub(v).min(L::N);
            for row in 0..rows {
                for s in (0..len).step_by(L::N) {
                    let size = (lanes, (len - s).min(L::N));
                    // SAFETY: inside a kernel; the assertions found the last of both sides.
                    unsafe {
                        let from = self.w.as_ptr().wrapping_add(v * distance + row * step + s);
                        let to = self.to.as_mut_ptr().add((row * len + s) * width + v);
                        L::transpose(from, distance, size, None, to, width, L::N);
                    }
                }
            }
        }
    }
}
