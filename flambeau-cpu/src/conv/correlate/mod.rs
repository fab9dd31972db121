//! The forward convolution and the gradient of the input, as one loop: outputs whose every kernel
//! element is a contiguous run of the [`Planes`], so that a tile of output channels times positions
//! is summed in registers, in the order of the kernel, with no im2col in memory. Registers hold
//! either positions or channels, whichever leaves fewer lanes empty.
//!
//! Each output is one chain of fused multiply-adds from the bias on, whatever the tile it falls
//! into and the number of threads.

mod by_channel;
mod by_position;
mod depthwise;

use std::ops::Range;

use super::planes::{Planes, scratch};
use super::{ConvShape, places};
use crate::float::Float;
use crate::lanes::{register_shape, with_lanes};
use crate::threads::{SyncPtr, parallel_for};
use by_channel::ByChannel;
use by_position::ByPosition;

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
    /// Kernel elements (of all input channels) of the parts before this one.
    before: usize,
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
                before: 0,
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
        let mut before = 0;
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
            let len = offsets.len();
            parts.push(Part {
                reach: offsets.iter().copied().max().unwrap_or(0),
                offsets,
                sources,
                extent,
                start,
                before,
            });
            before += len;
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

    /// How output channels are cut up. Registers hold channels where positions would leave a good
    /// part of them empty (rows are short, and the planes small), and channels would not.
    fn tiling<T: Float>(&self) -> Tiling {
        let (n, sums) = register_shape::<T>();
        let channels = self.channels[1];
        let [_, h, w] = self.parts[0].extent;
        let flat = (h.max(1) - 1) * self.planes.pitch() + w;
        let vectors = flat.div_ceil(n).min(h * w.div_ceil(n)).max(1);
        let by_position = (h * w) as f64 / (vectors * n) as f64;
        let by_channel = channels as f64 / (channels.div_ceil(n) * n) as f64;
        // With few registers for sums, broadcasting positions is bound by loads.
        let worth = if sums >= 24 { 1.0 } else { 0.6 };
        if by_channel * worth > 1.2 * by_position {
            let full = channels.div_ceil(n);
            let two = sums >= 24 && (full.is_multiple_of(2) || full > 4);
            let width = if two { 2 * n } else { n };
            let starts = (0..channels).step_by(width);
            return Tiling {
                by_channel: true,
                blocks: starts
                    .map(|start| Block {
                        channels: start..(start + width).min(channels),
                        width,
                    })
                    .collect(),
            };
        }
        let widest = if sums >= 24 && channels.is_multiple_of(8) {
            8
        } else {
            6
        };
        let mut blocks = Vec::new();
        let mut start = 0;
        while start < channels {
            let width = match channels - start {
                5 => 3,
                7 => 4,
                8 if widest == 6 => 4,
                left => left.min(widest),
            };
            blocks.push(Block {
                channels: start..start + width,
                width,
            });
            start += width;
        }
        Tiling {
            by_channel: false,
            blocks,
        }
    }

    /// The weights in the order in which tiles read them: part, group, block of output channels,
    /// kernel element, channel of the block (0 past the last).
    fn pack<T: Float>(&self, tiling: &Tiling, w: &[T], packed: &mut [T]) {
        let jobs: Vec<_> = self
            .parts
            .iter()
            .flat_map(|part| (0..self.groups).map(move |group| (part, group)))
            .flat_map(|(part, group)| (0..tiling.blocks.len()).map(move |b| (part, group, b)))
            .collect();
        let len = packed.len();
        let packed = SyncPtr(packed.as_mut_ptr());
        let grain = (1 << 15) / (w.len() / jobs.len() + 1) + 1;
        parallel_for(jobs.len(), grain, |range| {
            for (part, group, b) in &jobs[range] {
                let block = &tiling.blocks[*b];
                let at = self.packed(tiling, part, *group, *b);
                assert!(at.end <= len);
                // SAFETY: the jobs' pieces lie in `packed` and do not overlap.
                let to =
                    unsafe { std::slice::from_raw_parts_mut(packed.get().add(at.start), at.len()) };
                let w = &w[group * self.weight_step[0]..];
                for (to, source) in to.chunks_exact_mut(block.width).zip(&part.sources) {
                    let (to, past) = to.split_at_mut(block.channels.len());
                    for (to, channel) in to.iter_mut().zip(block.channels.start..) {
                        *to = w[channel * self.weight_step[1] + source];
                    }
                    past.fill(T::ZERO);
                }
            }
        });
    }

    /// Where the packed weights of a block lie.
    fn packed(&self, tiling: &Tiling, part: &Part, group: usize, block: usize) -> Range<usize> {
        let k = part.sources.len();
        let widths = tiling.widths();
        // All blocks but the last of a channel tiling are as wide as their channels are many.
        let first = tiling.blocks[block].channels.start;
        let start = part.before * self.groups * widths + (group * widths + first) * k;
        start..start + tiling.blocks[block].width * k
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
        if self.channels[0] == 1 && self.groups > 1 {
            return self.run_depthwise(batch, x, w, bias, out);
        }
        let in_channels = self.groups * self.channels[0];
        let taps: usize = self.parts.iter().map(|p| p.sources.len()).sum();
        let tiling = self.tiling::<T>();
        let mut packed = scratch::<T>(taps * self.groups * tiling.widths(), false);
        self.pack(&tiling, w, packed.as_mut_slice());
        let (packed, items) = (packed.as_slice::<T>(), self.items());

        let (in_sample, out_sample) = (x.len() / batch, out.len() / batch);
        let work = self.channels[1]
            * self
                .parts
                .iter()
                .map(|p| p.sources.len() * p.extent.iter().product::<usize>() * self.groups)
                .sum::<usize>();
        // A sample is one piece of work unless there are few and large ones; each piece makes its
        // own copy of the sample's planes.
        let pieces = items.len() * tiling.blocks.len();
        let share = if batch >= 8 {
            1
        } else {
            (work / (8 * GRAIN)).clamp(1, pieces.min(8))
        };
        let out = SyncPtr(out.as_mut_ptr());
        parallel_for(batch * share, GRAIN / (work / share + 1) + 1, |range| {
            let mut planes = scratch::<T>(self.planes.len(in_channels), true);
            let planes = planes.as_mut_slice::<T>();
            let widest = tiling.blocks.iter().map(|b| b.width).max().unwrap_or(0);
            let mut stage = scratch::<T>(widest * (SPAN + 64), false);
            let mut filled = usize::MAX;
            for task in range {
                let (n, piece) = (task / share, task % share);
                if filled != n {
                    self.planes.fill(&x[n * in_sample..][..in_sample], planes);
                    filled = n;
                }
                let pieces = Pieces {
                    plan: self,
                    items: &items,
                    tiling: &tiling,
                    range: piece * pieces / share..(piece + 1) * pieces / share,
                    planes,
                    packed,
                    bias,
                    stage: stage.as_mut_slice(),
                    // SAFETY: sample `n` lies in `out`.
                    out: unsafe { out.get().add(n * out_sample) },
                };
                if tiling.by_channel {
                    with_lanes(ByChannel(pieces));
                } else {
                    with_lanes(ByPosition(pieces));
                }
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

/// How the output channels of a group are cut into blocks.
struct Tiling {
    by_channel: bool,
    blocks: Vec<Block>,
}

impl Tiling {
    /// Channels of all blocks, those past the last included.
    fn widths(&self) -> usize {
        self.blocks.iter().map(|b| b.width).sum()
    }
}

/// Output channels of a tile.
struct Block {
    channels: Range<usize>,
    /// Their number, or that of the registers' lanes.
    width: usize,
}

/// Some of one sample's items times blocks.
struct Pieces<'a, T> {
    plan: &'a Plan,
    items: &'a [Item],
    tiling: &'a Tiling,
    range: Range<usize>,
    planes: &'a [T],
    packed: &'a [T],
    bias: Option<&'a [T]>,
    stage: &'a mut [T],
    out: *mut T,
}

/// One item of one block.
struct Piece<'a, T> {
    item: &'a Item,
    part: &'a Part,
    /// Output channels within the block, and the first of them.
    channels: usize,
    first: usize,
    /// Channels that the packed weights hold for each kernel element.
    width: usize,
    weights: &'a [T],
    /// Where in the planes its first position lies.
    base: usize,
}

impl<'a, T: Float> Pieces<'a, T> {
    #[inline(always)]
    fn piece(&self, index: usize) -> Piece<'a, T> {
        let (plan, tiling) = (self.plan, self.tiling);
        let (item, b) = (
            &self.items[index / tiling.blocks.len()],
            index % tiling.blocks.len(),
        );
        let (part, block) = (&plan.parts[item.part], &tiling.blocks[b]);
        Piece {
            item,
            part,
            channels: block.channels.len(),
            width: block.width,
            first: item.group * plan.channels[1] + block.channels.start,
            weights: &self.packed[plan.packed(tiling, part, item.group, b)],
            base: item.group * plan.channels[0] * plan.planes.channel()
                + item.d * plan.planes.slice()
                + item.h.start * plan.planes.pitch()
                + item.w.start,
        }
    }

    /// Output place of the first position of row `row` of a piece, in its channel `channel`.
    #[inline(always)]
    fn place(&self, piece: &Piece<T>, channel: usize, row: usize) -> usize {
        let (item, part) = (piece.item, piece.part);
        let ([od, oh, ow], step) = (self.plan.out, self.plan.out_step);
        let d = part.start[0] + item.d * step[0];
        let h = part.start[1] + (item.h.start + row) * step[1];
        let w = part.start[2] + item.w.start * step[2];
        (((piece.first + channel) * od + d) * oh + h) * ow + w
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
