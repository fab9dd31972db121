//! Groups of one input channel: each output plane is a sum of shifted copies of one input plane,
//! which stays in the first-level cache. Registers hold positions of a row.

use super::{Part, Plan, scratch};
use crate::float::Float;
use crate::lanes::{Kernel, Lanes, with_lanes};
use crate::threads::{SyncPtr, parallel_for};

/// Multiplications that are worth a task of their own.
const TASK: usize = 1 << 16;

/// Most values that a tile holds: four of the widest registers.
const TILE: usize = 64;

impl Plan {
    /// As [`Plan::run`], where each group has one input channel.
    pub(super) fn run_depthwise<T: Float>(
        &self,
        batch: usize,
        x: &[T],
        w: &[T],
        bias: Option<&[T]>,
        out: &mut [T],
    ) {
        let planes_of_x = batch * self.groups;
        let (source, plane) = (
            x.len() / planes_of_x,
            out.len() / (planes_of_x * self.channels[1]),
        );
        let taps: usize = self
            .parts
            .iter()
            .map(|p| p.sources.len())
            .max()
            .unwrap_or(0);
        let grain = TASK / (plane * self.channels[1] * taps + 1) + 1;
        let out = SyncPtr(out.as_mut_ptr());
        parallel_for(planes_of_x, grain, |range| {
            let mut padded = scratch::<T>(self.planes.len(1), true);
            let padded = padded.as_mut_slice::<T>();
            let mut weights = Vec::with_capacity(taps);
            for index in range {
                self.planes.fill(&x[index * source..][..source], padded);
                let group = index % self.groups;
                for channel in 0..self.channels[1] {
                    let w = &w[group * self.weight_step[0] + channel * self.weight_step[1]..];
                    let at = index * self.channels[1] + channel;
                    // SAFETY: output plane `at` is written by this task alone.
                    let out =
                        unsafe { std::slice::from_raw_parts_mut(out.get().add(at * plane), plane) };
                    for part in &self.parts {
                        weights.clear();
                        weights.extend(part.sources.iter().map(|&source| w[source]));
                        with_lanes(Rows {
                            plan: self,
                            part,
                            x: padded,
                            weights: &weights,
                            bias: bias.map_or(T::ZERO, |b| b[group * self.channels[1] + channel]),
                            out,
                        });
                    }
                }
            }
        });
    }
}

/// The rows of one part of an output plane.
struct Rows<'a, T> {
    plan: &'a Plan,
    part: &'a Part,
    x: &'a [T],
    weights: &'a [T],
    bias: T,
    out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(mut self) {
        let (plan, part) = (self.plan, self.part);
        let [depth, height, width] = part.extent;
        if depth * height * width == 0 {
            return;
        }
        let last = (depth - 1) * plan.planes.slice() + (height - 1) * plan.planes.pitch();
        assert!(last + part.reach + width + TILE <= self.x.len());
        assert_eq!(self.weights.len(), part.offsets.len());
        for d in 0..depth {
            for h in 0..height {
                let from = d * plan.planes.slice() + h * plan.planes.pitch();
                let row = (part.start[0] + d * plan.out_step[0]) * plan.out[1]
                    + part.start[1]
                    + h * plan.out_step[1];
                let to = row * plan.out[2] + part.start[2];
                let mut w = 0;
                while w < width {
                    let left = width - w;
                    // SAFETY: inside `run`; the assertions found the last row's last tile at the
                    // largest offset inside `x`.
                    w += unsafe {
                        match left.div_ceil(L::N) {
                            1 => self.sum::<L, 1>(from + w, to, w),
                            2 => self.sum::<L, 2>(from + w, to, w),
                            _ => self.sum::<L, 4>(from + w, to, w),
                        }
                    };
                }
            }
        }
    }
}

impl<T: Float> Rows<'_, T> {
    /// `V` registers of positions from `w` on of the row that starts at `to`; returns how many
    /// positions they are.
    ///
    /// # Safety
    /// Inside a kernel; `x` must hold `V` registers at every offset from `from`.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>, const V: usize>(
        &mut self,
        from: usize,
        to: usize,
        w: usize,
    ) -> usize {
        let step = self.plan.out_step[2];
        let count = (self.part.extent[2] - w).min(V * L::N);
        let mut tile = [T::ZERO; TILE];
        // SAFETY: the caller's promise; a tile is at most four registers.
        unsafe {
            let mut sums = [L::splat(self.bias); V];
            let x = self.x.as_ptr().add(from);
            for (offset, weight) in self.part.offsets.iter().zip(self.weights) {
                let weight = L::splat(*weight);
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::fma(L::load(x.add(offset + v * L::N)), weight, *sum);
                }
            }
            // Whole registers may run into the next row, which is written after this one.
            if step == 1 && to + w + V * L::N <= self.out.len() {
                let out = self.out.as_mut_ptr().add(to + w);
                for (v, sum) in sums.iter().enumerate() {
                    L::store(out.add(v * L::N), *sum);
                }
                return count;
            }
            for (v, sum) in sums.iter().enumerate() {
                L::store(tile.as_mut_ptr().add(v * L::N), *sum);
            }
        }
        let out = self.out[to + w * step..].iter_mut().step_by(step);
        out.zip(&tile[..count]).for_each(|(o, v)| *o = *v);
        count
    }
}
