//! The forward convolution and the gradient of the input, as one loop: outputs whose every kernel
//! element is a contiguous run of the [`Planes`], so that a tile of output channels times vectors
//! of positions is summed in registers, in the order of the kernel, with no im2col in memory.
//!
//! Each output is one chain of fused multiply-adds from the bias on, whatever the tile it falls
//! into and the number of threads.

use std::ops::Range;

use super::planes::{Planes, scratch};
use super::{ConvShape, places};
use crate::float::Float;
use crate::lanes::{Kernel, Lanes, with_lanes};
use crate::simd::{Level, level};
use crate::threads::{SyncPtr, parallel_for};

/// Positions of an output plane that are summed as one block: the staging area for the widest tile
/// stays in the first-level cache's reach.
const SPAN: usize = 2048;

/// Multiplications below which a further thread does not pay.
const GRAIN: usize = 200_000;

/// The outputs that share one set of kernel elements: all of a forward convolution, or the inputs
/// of one residue modulo the stride of a gradient.
struct Part {
    /// Where in the planes each kernel element is read, for position 0 of the part and the group's
    /// first channel.
    offsets: Vec<usize>,
    /// Its index in the weights of output channel 0 of the group.
    sources: Vec<usize>,
    /// Positions along each axis.
    extent: [usize; 3],
    /// Output place of position 0.
    start: [usize; 3],
    /// The largest of them.
    reach: usize,
    /// First packed weight.
    packed: usize,
}

/// A convolution ready to run on samples.
struct Plan {
    groups: usize,
    /// Input and output channels of a group.
    channels: [usize; 2],
    planes: Planes,
    parts: Vec<Part>,
    /// Distance of a group's and of an output channel's weights.
    weight_step: [usize; 2],
    /// Size of the output plane, and the distance of a part's positions in it.
    out: [usize; 3],
    out_step: [usize; 3],
}

impl Plan {
    fn forward(s: &ConvShape) -> Self {
        let planes = Planes::of_input(s);
        let in_group = s.in_channels / s.groups;
        let taps: Vec<usize> = places(s.kernel)
            .map(|k| planes.offset([0, 1, 2].map(|d| k[d] * s.dilation[d])))
            .collect();
        let offsets: Vec<usize> = (0..in_group)
            .flat_map(|c| taps.iter().map(move |t| (c, t)))
            .map(|(c, t)| c * planes.channel() + t)
            .collect();
        let out = s.valid_output();
        let out_group = s.out_channels / s.groups;
        Self {
            groups: s.groups,
            channels: [in_group, out_group],
            weight_step: [out_group * s.patch(), s.patch()],
            parts: vec![Part {
                sources: (0..offsets.len()).collect(),
                reach: offsets.iter().copied().max().unwrap_or(0),
                offsets,
                extent: out,
                start: [0; 3],
                packed: 0,
            }],
            planes,
            out,
            out_step: [1; 3],
        }
    }

    fn backward_data(s: &ConvShape) -> Self {
        let planes = Planes::of_output(s);
        let [in_group, out_group] = [s.in_channels / s.groups, s.out_channels / s.groups];
        let volume: usize = s.kernel.iter().product();
        let mut parts = Vec::new();
        let mut packed = 0;
        // Input i reads kernel element k where (i + padding - k * dilation) is a multiple of the
        // stride: a residue of i + padding sees the elements of that residue.
        for residue in places(s.stride) {
            let start = [0, 1, 2]
                .map(|d| (residue[d] + s.stride[d] - s.padding[d] % s.stride[d]) % s.stride[d]);
            let extent =
                [0, 1, 2].map(|d| s.input[d].saturating_sub(start[d]).div_ceil(s.stride[d]));
            let first = [0, 1, 2].map(|d| (start[d] + s.padding[d]) / s.stride[d]);
            let (mut offsets, mut sources) = (Vec::new(), Vec::new());
            for c in 0..out_group {
                for (tap, k) in places(s.kernel).enumerate() {
                    let at = [0, 1, 2].map(|d| k[d] * s.dilation[d]);
                    if (0..3).any(|d| at[d] % s.stride[d] != residue[d]) {
                        continue;
                    }
                    let place = [0, 1, 2].map(|d| {
                        (first[d] as isize + planes.before()[d] - (at[d] / s.stride[d]) as isize)
                            as usize
                    });
                    offsets.push(c * planes.channel() + planes.offset(place));
                    sources.push(c * in_group * volume + tap);
                }
            }
            let len = offsets.len() * s.in_channels;
            parts.push(Part {
                reach: offsets.iter().copied().max().unwrap_or(0),
                offsets,
                sources,
                extent,
                start,
                packed,
            });
            packed += len;
        }
        Self {
            groups: s.groups,
            channels: [out_group, in_group],
            planes,
            parts,
            weight_step: [out_group * s.patch(), volume],
            out: s.input,
            out_step: s.stride,
        }
    }

    /// The weights in the order in which tiles read them: part, group, block of output channels,
    /// kernel element, channel of the block.
    fn pack<T: Float>(&self, w: &[T], packed: &mut [T]) {
        let blocks = blocks(self.channels[1]);
        let jobs: Vec<_> = self
            .parts
            .iter()
            .flat_map(|part| (0..self.groups).map(move |group| (part, group)))
            .flat_map(|(part, group)| blocks.iter().map(move |block| (part, group, block)))
            .collect();
        let len = packed.len();
        let packed = SyncPtr(packed.as_mut_ptr());
        parallel_for(
            jobs.len(),
            (1 << 15) / (w.len() / jobs.len() + 1) + 1,
            |range| {
                for (part, group, block) in &jobs[range] {
                    let k = part.sources.len();
                    let start = part.packed + (group * self.channels[1] + block.start) * k;
                    assert!(start + block.len() * k <= len);
                    // SAFETY: the jobs' pieces lie in `packed` and do not overlap.
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(packed.get().add(start), block.len() * k)
                    };
                    let w = &w[group * self.weight_step[0]..];
                    for (to, source) in to.chunks_exact_mut(block.len()).zip(&part.sources) {
                        for (to, channel) in to.iter_mut().zip(block.start..) {
                            *to = w[channel * self.weight_step[1] + source];
                        }
                    }
                }
            },
        );
    }

    /// All pieces of one sample's work.
    fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let [_, h, w] = part.extent;
            let rows = (SPAN / self.planes.pitch().max(1)).clamp(1, h.max(1));
            let width = if rows == 1 { SPAN } else { w };
            for d in 0..part.extent[0] {
                for h0 in (0..h).step_by(rows) {
                    for w0 in (0..w).step_by(width.max(1)) {
                        for group in 0..self.groups {
                            items.push(Item {
                                part: index,
                                group,
                                d,
                                h: h0..(h0 + rows).min(h),
                                w: w0..(w0 + width).min(w),
                            });
                        }
                    }
                }
            }
        }
        items
    }

    fn run<T: Float>(&self, batch: usize, x: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
        if out.is_empty() {
            return;
        }
        let (in_channels, out_channels) = (
            self.groups * self.channels[0],
            self.groups * self.channels[1],
        );
        let taps: usize = self.parts.iter().map(|p| p.sources.len()).sum();
        let mut packed = scratch::<T>(taps * out_channels, false);
        self.pack(w, packed.as_mut_slice());
        let (packed, items) = (packed.as_slice::<T>(), self.items());
        let blocks = blocks(self.channels[1]);

        let (in_sample, out_sample) = (x.len() / batch, out.len() / batch);
        let work = self.channels[1]
            * self
                .parts
                .iter()
                .map(|p| p.sources.len() * p.extent.iter().product::<usize>() * self.groups)
                .sum::<usize>();
        // A sample is one piece of work unless there are few and large ones; each piece makes its
        // own copy of the sample's planes.
        let pieces = items.len() * blocks.len();
        let share = if batch >= 8 {
            1
        } else {
            (work / (8 * GRAIN)).clamp(1, pieces.min(8))
        };
        let out = SyncPtr(out.as_mut_ptr());
        parallel_for(batch * share, GRAIN / (work / share + 1) + 1, |range| {
            let mut planes = scratch::<T>(self.planes.len(in_channels), true);
            let planes = planes.as_mut_slice::<T>();
            let mut stage = scratch::<T>(8 * (SPAN + 64), false);
            let mut filled = usize::MAX;
            for task in range {
                let (n, piece) = (task / share, task % share);
                if filled != n {
                    self.planes.fill(&x[n * in_sample..][..in_sample], planes);
                    filled = n;
                }
                with_lanes(Pieces {
                    plan: self,
                    items: &items,
                    blocks: &blocks,
                    range: piece * pieces / share..(piece + 1) * pieces / share,
                    planes,
                    packed,
                    bias,
                    stage: stage.as_mut_slice(),
                    // SAFETY: sample `n` lies in `out`.
                    out: unsafe { out.get().add(n * out_sample) },
                });
            }
        });
    }
}

/// A block of positions of one part and group.
struct Item {
    part: usize,
    group: usize,
    d: usize,
    h: Range<usize>,
    w: Range<usize>,
}

/// Output channels cut into blocks that the tiles are made for.
fn blocks(channels: usize) -> Vec<Range<usize>> {
    let widest = match level() {
        Level::Avx512 if channels.is_multiple_of(8) => 8,
        _ => 6,
    };
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < channels {
        let left = channels - start;
        let len = match left {
            5 => 3,
            7 => 4,
            8 if widest == 6 => 4,
            _ => left.min(widest),
        };
        blocks.push(start..start + len);
        start += len;
    }
    blocks
}

/// Some of one sample's `items x blocks`.
struct Pieces<'a, T> {
    plan: &'a Plan,
    items: &'a [Item],
    blocks: &'a [Range<usize>],
    range: Range<usize>,
    planes: &'a [T],
    packed: &'a [T],
    bias: Option<&'a [T]>,
    stage: &'a mut [T],
    out: *mut T,
}

impl<T: Float> Kernel<T> for Pieces<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let plan = self.plan;
        let pitch = plan.planes.pitch();
        for index in self.range.clone() {
            let item = &self.items[index / self.blocks.len()];
            let block = &self.blocks[index % self.blocks.len()];
            let part = &plan.parts[item.part];
            let k = part.offsets.len();
            let first_channel = item.group * plan.channels[1] + block.start;
            let (rows, width) = (item.h.len(), item.w.len());

            // Vectors either start anew in each row or run on through the gap between rows,
            // whichever are fewer.
            let per_row = width.div_ceil(L::N);
            let flat = ((rows - 1) * pitch + width).div_ceil(L::N);
            let whole = width == part.extent[2];
            let (vectors, row, starts) = if whole && flat < rows * per_row {
                (flat, pitch, None)
            } else {
                (rows * per_row, per_row * L::N, Some(per_row))
            };
            let base = item.group * plan.channels[0] * plan.planes.channel()
                + item.d * plan.planes.slice()
                + item.h.start * pitch
                + item.w.start;
            let weights = part.packed + (item.group * plan.channels[1] + block.start) * k;
            let weights = &self.packed[weights..][..block.len() * k];
            let start = |v: usize| match starts {
                None => v * L::N,
                Some(per_row) => v / per_row * pitch + v % per_row * L::N,
            };
            let mut tile = Tile::<T> {
                x: self.planes[base..].as_ptr(),
                offsets: &part.offsets,
                weights,
                bias: self.bias.map(|b| &b[first_channel..][..block.len()]),
                stage: self.stage.as_mut_ptr(),
                distance: vectors * L::N,
            };
            let end = base + part.reach + start(vectors - 1) + L::N;
            assert!(end <= self.planes.len() && block.len() * vectors * L::N <= self.stage.len());
            // SAFETY: inside `run`. The assertion found the last vector at the largest offset
            // inside `planes`, and the tile's values inside the stage.
            unsafe {
                match block.len() {
                    8 => tile.all::<L, 8>(vectors, start),
                    6 => tile.all::<L, 6>(vectors, start),
                    4 => tile.all::<L, 4>(vectors, start),
                    3 => tile.all::<L, 3>(vectors, start),
                    2 => tile.all::<L, 2>(vectors, start),
                    _ => tile.all::<L, 1>(vectors, start),
                }
            }

            let [_, oh, ow] = plan.out;
            let step = plan.out_step;
            let out_plane: usize = plan.out.iter().product();
            for (o, stage) in self
                .stage
                .chunks_exact(vectors * L::N)
                .take(block.len())
                .enumerate()
            {
                for r in 0..rows {
                    let d = part.start[0] + item.d * step[0];
                    let h = part.start[1] + (item.h.start + r) * step[1];
                    let w = part.start[2] + item.w.start * step[2];
                    let to = (first_channel + o) * out_plane + (d * oh + h) * ow + w;
                    let from = &stage[r * row..][..width];
                    // SAFETY: positions of a part lie in the output plane, and each output is
                    // written by one task.
                    unsafe {
                        if step[2] == 1 {
                            std::ptr::copy_nonoverlapping(from.as_ptr(), self.out.add(to), width);
                        } else {
                            for (i, value) in from.iter().enumerate() {
                                *self.out.add(to + i * step[2]) = *value;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The sums of one block of output channels over vectors of positions.
struct Tile<'a, T> {
    x: *const T,
    offsets: &'a [usize],
    weights: &'a [T],
    bias: Option<&'a [T]>,
    stage: *mut T,
    /// Distance of the channels in the stage.
    distance: usize,
}

impl<T: Float> Tile<'_, T> {
    /// # Safety
    /// Inside a kernel; `start(v)` for `v < vectors` plus every offset must be good for a vector
    /// from `x`, the stage for `O * distance` values, and `weights` hold `O` for each offset.
    #[inline(always)]
    unsafe fn all<L: Lanes<T>, const O: usize>(
        &mut self,
        vectors: usize,
        start: impl Fn(usize) -> usize,
    ) {
        let mut v = 0;
        // SAFETY: the caller's promise.
        unsafe {
            if O == 8 {
                while v + 3 <= vectors {
                    self.one::<L, O, 3>(v, [start(v), start(v + 1), start(v + 2)]);
                    v += 3;
                }
            } else if 4 * O <= L::SUMS {
                while v + 4 <= vectors {
                    self.one::<L, O, 4>(v, [start(v), start(v + 1), start(v + 2), start(v + 3)]);
                    v += 4;
                }
            }
            while v + 2 <= vectors {
                self.one::<L, O, 2>(v, [start(v), start(v + 1)]);
                v += 2;
            }
            if v < vectors {
                self.one::<L, O, 1>(v, [start(v)]);
            }
        }
    }

    /// # Safety
    /// As [`all`](Self::all).
    #[inline(always)]
    unsafe fn one<L: Lanes<T>, const O: usize, const P: usize>(
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
            for offset in self.offsets {
                let at = self.x.add(*offset);
                let x = starts.map(|start| L::load(at.add(start)));
                for (o, sums) in sums.iter_mut().enumerate() {
                    let weight = L::splat(*w.add(o));
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = L::fma(weight, x, *sum);
                    }
                }
                w = w.add(O);
            }
            for (o, sums) in sums.iter().enumerate() {
                for (p, sum) in sums.iter().enumerate() {
                    L::store(self.stage.add(o * self.distance + (v + p) * L::N), *sum);
                }
            }
        }
    }
}

/// See [`super::conv_forward`].
pub(super) fn forward<T: Float>(
    s: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) {
    if !out.is_empty() {
        Plan::forward(s).run(s.batch, x, w, bias, out);
    }
}

/// See [`super::conv_backward_data`].
pub(super) fn backward_data<T: Float>(s: &ConvShape, grad_out: &[T], w: &[T], grad_in: &mut [T]) {
    if !grad_in.is_empty() {
        Plan::backward_data(s).run(s.batch, grad_out, w, None, grad_in);
    }
}
