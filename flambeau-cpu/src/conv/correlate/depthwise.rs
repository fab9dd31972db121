//! Groups of one input channel: each output plane is a sum of shifted copies of one input plane,
//! which stays in the first-level cache. Registers hold positions of a row. Maps of bf16 are widened
//! and narrowed a plane at a time.

use std::any::TypeId;

use super::{Part, Plan, scratch};
use crate::conv::ConvShape;
use crate::conv::operand::{Held, Stored};
use crate::float::Float;
use crate::lanes::{Kernel, Lanes, register_shape, with_lanes};
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_for};

/// Multiplications that are worth a task of their own.
const TASK: usize = 1 << 16;

/// Most values that a tile holds: four of the widest registers.
const TILE: usize = 64;

/// Whether a forward convolution is one of these.
pub(super) fn is_for(s: &ConvShape) -> bool {
    s.groups > 1 && s.in_channels == s.groups
}

/// The same of the gradient of the input.
pub(super) fn is_for_data(s: &ConvShape) -> bool {
    s.groups > 1 && s.out_channels == s.groups
}

impl Plan {
    /// As [`Plan::run`], where each group has one input channel.
    pub(super) fn run_depthwise<T: Float + Held<E>, E: Stored<T>>(
        &self,
        batch: usize,
        x: &[E],
        w: &[T],
        bias: Option<&[T]>,
        out: &mut [E],
    ) {
        let planes_of_x = batch * self.groups;
        let (source, plane) = (
            x.len() / planes_of_x,
            out.len() / (planes_of_x * self.channels[1]),
        );
        let taps: usize = self.parts.iter().map(|p| p.taps.len()).max().unwrap_or(0);
        let grain = TASK / (plane * self.channels[1] * taps + 1) + 1;
        let (lanes, _) = register_shape::<T>();
        // Where outputs of a part are apart, parts are summed beside each other and then merged.
        let apart = self.out_step != [1; 3];
        let starts = self.places_of_parts(lanes);
        let parts_len = if apart {
            starts[self.parts.len()] + TILE
        } else {
            0
        };
        let narrow = TypeId::of::<E>() != TypeId::of::<T>();
        let [wide_len, sums_len] = [source, plane].map(|len| if narrow { len } else { 0 });
        let out = SyncPtr(out.as_mut_ptr());
        parallel_for(planes_of_x, grain, |range| {
            let mut padded = scratch::<T>(self.planes.len(1), true);
            let mut wide = scratch::<T>(wide_len, false);
            let mut sums = scratch::<T>(sums_len, false);
            let mut parts = scratch::<T>(parts_len, false);
            let padded = padded.as_mut_slice::<T>();
            let mut weights = Vec::with_capacity(taps);
            for index in range {
                let x = &x[index * source..][..source];
                let x = match <T as Held<E>>::same(x) {
                    Some(x) => x,
                    None => {
                        let wide = wide.as_mut_slice::<T>();
                        dispatch(|| widen(x, wide));
                        wide
                    }
                };
                self.planes.fill::<T, T, T>(x, padded);
                let group = index % self.groups;
                for channel in 0..self.channels[1] {
                    let w = &w[group * self.weight_step[0] + channel * self.weight_step[1]..];
                    let at = index * self.channels[1] + channel;
                    // SAFETY: output plane `at` is written by this task alone.
                    let out =
                        unsafe { std::slice::from_raw_parts_mut(out.get().add(at * plane), plane) };
                    let sums = match narrow {
                        true => sums.as_mut_slice::<T>(),
                        // SAFETY: the types are the same.
                        false => unsafe {
                            std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<T>(), plane)
                        },
                    };
                    for (part, start) in self.parts.iter().zip(&starts) {
                        weights.clear();
                        weights.extend(part.taps.iter().map(|tap| w[tap.source]));
                        let width = part.extent[2];
                        let (to, pitch) = match apart {
                            true => {
                                let parts = parts.as_mut_slice::<T>();
                                (&mut parts[*start..], width.next_multiple_of(lanes))
                            }
                            false => (&mut sums[..], width),
                        };
                        with_lanes(Rows {
                            plan: self,
                            part,
                            x: padded,
                            weights: &weights,
                            bias: bias.map_or(T::ZERO, |b| b[group * self.channels[1] + channel]),
                            to,
                            pitch,
                        });
                    }
                    if apart {
                        with_lanes(Merge {
                            plan: self,
                            parts: parts.as_slice(),
                            starts: &starts,
                            out: sums,
                        });
                    }
                    if narrow {
                        dispatch(|| narrowed(sums, out));
                    }
                }
            }
        });
    }

    /// Where the rows of each part begin, whole registers each, and where the last ends.
    fn places_of_parts(&self, lanes: usize) -> Vec<usize> {
        let mut starts = vec![0];
        for part in &self.parts {
            let [d, h, w] = part.extent;
            starts.push(starts[starts.len() - 1] + d * h * w.next_multiple_of(lanes));
        }
        starts
    }
}

#[inline(always)]
fn widen<T, E: Stored<T>>(from: &[E], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.widen();
    }
}

#[inline(always)]
fn narrowed<T: Copy, E: Stored<T>>(from: &[T], to: &mut [E]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = E::narrow(*from);
    }
}

/// The rows of one part of an output plane, one after the other.
struct Rows<'a, T> {
    plan: &'a Plan,
    part: &'a Part,
    x: &'a [T],
    weights: &'a [T],
    bias: T,
    to: &'a mut [T],
    /// Distance of rows in `to`.
    pitch: usize,
}

impl<T: Float> Kernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(mut self) {
        let (planes, part) = (&self.plan.planes, self.part);
        let [depth, height, width] = part.extent;
        if depth * height * width == 0 {
            return;
        }
        let last = (depth - 1) * planes.slice() + (height - 1) * planes.pitch();
        assert!(last + part.reach() + width + TILE <= self.x.len());
        assert!((depth * height - 1) * self.pitch + width <= self.to.len());
        assert_eq!(self.weights.len(), part.taps.len());
        for d in 0..depth {
            for h in 0..height {
                let from = d * planes.slice() + h * planes.pitch();
                let to = (d * height + h) * self.pitch;
                let mut w = 0;
                while w < width {
                    let left = width - w;
                    // SAFETY: inside `run`; the assertions found the last row's last tile at the
                    // largest offset inside `x`, and the last row in `to`.
                    w += unsafe {
                        match left.div_ceil(L::N) {
                            1 => self.sum::<L, 1>(from + w, to + w, left),
                            2 => self.sum::<L, 2>(from + w, to + w, left),
                            3 => self.sum::<L, 3>(from + w, to + w, left),
                            _ => self.sum::<L, 4>(from + w, to + w, left),
                        }
                    };
                }
            }
        }
    }
}

impl<T: Float> Rows<'_, T> {
    /// `V` registers of positions, or the `left` ones of them; returns how many they are.
    ///
    /// # Safety
    /// Inside a kernel; `x` must hold `V` registers at every offset from `from`, and `to` have room
    /// for the positions.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>, const V: usize>(
        &mut self,
        from: usize,
        to: usize,
        left: usize,
    ) -> usize {
        let count = left.min(V * L::N);
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [L::splat(self.bias); V];
            let x = self.x.as_ptr().add(from);
            for (tap, weight) in self.part.taps.iter().zip(self.weights) {
                let weight = L::splat(*weight);
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::fma(L::load(x.add(tap.offset + v * L::N)), weight, *sum);
                }
            }
            // Whole registers may run into the next row, which is written after this one.
            let whole = to + V * L::N <= self.to.len();
            let to = self.to.as_mut_ptr().add(to);
            for (v, sum) in sums.iter().enumerate() {
                match whole {
                    true => L::store(to.add(v * L::N), *sum),
                    false => {
                        let rest = count.saturating_sub(v * L::N).min(L::N);
                        L::store_first(to.wrapping_add(v * L::N), *sum, rest);
                    }
                }
            }
        }
        count
    }
}

/// Parts to the plane whose places they share out.
struct Merge<'a, T> {
    plan: &'a Plan,
    parts: &'a [T],
    starts: &'a [usize],
    out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Merge<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let plan = self.plan;
        let ([depth, height, width], step) = (plan.out, plan.out_step);
        assert_eq!(self.out.len(), depth * height * width);
        // The first place of the row of each part that has outputs in row (d, h), and its column.
        let row = |part: &Part, start: usize, d: usize, h: usize| {
            let place =
                (d - part.start[0]) / step[0] * part.extent[1] + (h - part.start[1]) / step[1];
            start + place * part.extent[2].next_multiple_of(L::N)
        };
        for d in 0..depth {
            for h in 0..height {
                let there = |part: &&(&Part, &usize)| {
                    let start = part.0.start;
                    start[0] == d % step[0] && start[1] == h % step[1]
                };
                let parts = plan.parts.iter().zip(self.starts);
                let to = (d * height + h) * width;
                if step[2] == 2 {
                    let mut pair = [0; 2];
                    for part in parts.filter(|part| there(&part)) {
                        pair[part.0.start[2]] = row(part.0, *part.1, d, h);
                    }
                    for w in (0..width).step_by(2 * L::N) {
                        let left = width - w;
                        // SAFETY: inside a kernel; rows of parts are whole registers, an odd one
                        // that ends before its even one is followed by room for another; of the
                        // plane the row's rest is written.
                        unsafe {
                            let at = |place: usize| {
                                let from = place + w / 2;
                                assert!(from + L::N <= self.parts.len());
                                self.parts.as_ptr().add(from)
                            };
                            let (even, odd) = (at(pair[0]), at(pair[1]));
                            let (low, high) = L::merge(L::load(even), L::load(odd));
                            // Whole registers may run into the next row, which comes after.
                            let whole = to + w + 2 * L::N <= self.out.len();
                            let to = self.out.as_mut_ptr().add(to + w);
                            if whole {
                                L::store(to, low);
                                L::store(to.add(L::N), high);
                                continue;
                            }
                            L::store_first(to, low, left.min(L::N));
                            let rest = left.saturating_sub(L::N).min(L::N);
                            L::store_first(to.wrapping_add(L::N), high, rest);
                        }
                    }
                    continue;
                }
                for part in parts.filter(|part| there(&part)) {
                    let from = row(part.0, *part.1, d, h);
                    let from = &self.parts[from..][..part.0.extent[2]];
                    let to = self.out[to + part.0.start[2]..][..].iter_mut();
                    for (to, from) in to.step_by(step[2]).zip(from) {
                        *to = *from;
                    }
                }
            }
        }
    }
}
