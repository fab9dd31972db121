//! The forward convolution and the gradient of the input, as one loop: outputs whose every kernel
//! element is a contiguous run of the [`Planes`], so that a tile of output channels times positions
//! is summed in registers, in a fixed order of the kernel, with no im2col in memory. Registers hold
//! either positions or channels, whichever leaves fewer lanes empty.
//!
//! Each output is one chain of fused multiply-adds from the bias on, whatever the number of threads.

mod by_channel;
mod by_position;
pub(super) mod by_tile;
mod pack;

use std::marker::PhantomData;
use std::ops::Range;

use half::bf16;

use super::operand::{Held, Operand, Pair, Stored};
use super::planes::{Planes, flat, scratch};
use super::{ConvShape, places};
use crate::float::Float;
use crate::gemm::unit::TileUnit;
use crate::lanes::register_shape;
use crate::threads::{SyncPtr, parallel_for};
use by_channel::ByChannel;
use by_position::ByPosition;

/// Positions of an output plane that are summed as one block: the staging area for the widest tile
/// stays in the first-level cache's reach.
const SPAN: usize = 2048;

/// Operands of all channels that such positions may have, so that they stay in a second-level cache.
const CACHED: usize = 128 << 10;

/// Multiplications below which a further thread does not pay.
const GRAIN: usize = 200_000;

/// Samples from which on each is a piece of work of its own.
const SAMPLES: usize = 8;

/// One kernel element.
#[derive(Clone, Copy)]
struct Tap {
    /// Where in a plane it is read, for position 0 of the part.
    offset: usize,
    /// Its index in the weights of the group's first input and first output channel.
    source: usize,
}

/// The outputs that share one set of kernel elements: all of a forward convolution, or the inputs
/// of one residue modulo the stride of a gradient.
struct Part {
    taps: Vec<Tap>,
    /// Positions along each axis.
    extent: [usize; 3],
    /// Output place of position 0.
    start: [usize; 3],
    /// Kernel elements of the parts before this one.
    before: usize,
}

impl Part {
    /// The largest offset.
    fn reach(&self) -> usize {
        self.taps.iter().map(|t| t.offset).max().unwrap_or(0)
    }
}

/// A convolution ready to run on samples.
struct Plan {
    groups: usize,
    /// Input and output channels of a group.
    channels: [usize; 2],
    /// Input channels of an operand: 1 or 2.
    operand: usize,
    planes: Planes,
    parts: Vec<Part>,
    /// Kernel elements of a channel, and the distance of input channels in the weights.
    volume: usize,
    source_step: usize,
    /// Distance of a group's and of an output channel's weights.
    weight_step: [usize; 2],
    /// Size of the output plane, and the distance of a part's positions in it.
    out: [usize; 3],
    out_step: [usize; 3],
}

impl Plan {
    fn forward(s: &ConvShape, operand: usize) -> Self {
        let planes = Planes::of_input(s);
        let in_group = s.in_channels / s.groups;
        let taps = places(s.kernel)
            .map(|k| planes.offset([0, 1, 2].map(|d| k[d] * s.dilation[d])))
            .enumerate()
            .map(|(source, offset)| Tap { offset, source })
            .collect();
        let out = s.valid_output();
        let out_group = s.out_channels / s.groups;
        let volume = s.kernel.iter().product();
        Self {
            groups: s.groups,
            channels: [in_group, out_group],
            operand,
            volume,
            source_step: volume,
            weight_step: [out_group * s.patch(), s.patch()],
            parts: vec![Part {
                taps,
                extent: out,
                start: [0; 3],
                before: 0,
            }],
            planes,
            out,
            out_step: [1; 3],
        }
    }

    fn backward_data(s: &ConvShape, operand: usize) -> Self {
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
            let mut taps = Vec::new();
            for (source, k) in places(s.kernel).enumerate() {
                let at = [0, 1, 2].map(|d| k[d] * s.dilation[d]);
                if (0..3).any(|d| at[d] % s.stride[d] != residue[d]) {
                    continue;
                }
                let place = [0, 1, 2].map(|d| {
                    (first[d] as isize + planes.before()[d] - (at[d] / s.stride[d]) as isize)
                        as usize
                });
                let offset = planes.offset(place);
                taps.push(Tap { offset, source });
            }
            let len = taps.len();
            parts.push(Part {
                taps,
                extent,
                start,
                before,
            });
            before += len;
        }
        Self {
            groups: s.groups,
            channels: [out_group, in_group],
            operand,
            planes,
            parts,
            volume,
            source_step: in_group * volume,
            weight_step: [out_group * s.patch(), volume],
            out: s.input,
            out_step: s.stride,
        }
    }

    /// Operands of a group's input channels at one place.
    fn units(&self) -> usize {
        self.channels[0].div_ceil(self.operand)
    }

    /// How output channels are cut up. Registers hold channels where positions would leave a good
    /// part of them empty (rows are short, and the planes small), or where there are channels enough
    /// on both sides, for which planes are interleaved.
    fn tiling<T: Float>(&self) -> Tiling {
        let (n, sums) = register_shape::<T>();
        let channels = self.channels[1];
        let [_, h, w] = self.parts[0].extent;
        let flat = (h.max(1) - 1) * self.planes.pitch() + w;
        let vectors = flat.div_ceil(n).min(h * w.div_ceil(n)).max(1);
        let by_position = (h * w) as f64 / (vectors * n) as f64;
        let by_channel = channels as f64 / (channels.div_ceil(n) * n) as f64;
        // Interleaving is worth its while where a lane in two is filled at least.
        let interleave = if 2 * self.units() >= n { 1.1 } else { 0.8 };
        if by_channel * interleave > by_position {
            // Two registers of channels share what is broadcast; the last may be one.
            let starts = (0..channels).step_by(2 * n);
            return Tiling {
                by_channel: true,
                interleaved: n,
                blocks: starts
                    .map(|start| Block {
                        channels: start..(start + 2 * n).min(channels),
                        width: if channels - start > n { 2 * n } else { n },
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
            interleaved: 1,
            blocks,
        }
    }

    /// Where the packed weights of a block lie.
    fn packed(&self, tiling: &Tiling, part: &Part, group: usize, block: usize) -> Range<usize> {
        let units = self.units();
        let k = part.taps.len() * units;
        let widths = tiling.widths();
        // All blocks but the last of a channel tiling are as wide as their channels are many.
        let first = tiling.blocks[block].channels.start;
        let start = part.before * units * self.groups * widths + (group * widths + first) * k;
        start..start + tiling.blocks[block].width * k
    }

    /// All pieces of one sample's work.
    fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let span = (CACHED / self.units().max(1)).clamp(64, SPAN);
        for (index, part) in self.parts.iter().enumerate() {
            let [_, h, w] = part.extent;
            let rows = (span / self.planes.pitch().max(1)).clamp(1, h.max(1));
            let width = if rows == 1 { span } else { w };
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

    fn run<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        batch: usize,
        x: &[E],
        w: &[T],
        bias: Option<&[T]>,
        out: &mut [E],
        tiles: Option<ByTiles<T, E, X>>,
    ) {
        let units = self.units();
        let taps: usize = self.parts.iter().map(|p| p.taps.len() * units).sum();
        let tiling = self.tiling::<T>();
        let tiles = tiles.filter(|_| by_tile::takes(self, &tiling));
        let mut packed = scratch::<X>(taps * self.groups * tiling.widths(), false);
        self.pack::<T, E, X>(&tiling, w, packed.as_mut_slice());
        let (packed, items) = (packed.as_slice::<X>(), self.items());

        let (in_sample, out_sample) = (x.len() / batch, out.len() / batch);
        let work = self.channels[1]
            * units
            * self
                .parts
                .iter()
                .map(|p| p.taps.len() * p.extent.iter().product::<usize>() * self.groups)
                .sum::<usize>();
        // A sample is one piece of work unless there are few and large ones, which share planes.
        let pieces = items.len() * tiling.blocks.len();
        let share = if batch >= SAMPLES {
            1
        } else {
            (work / (8 * GRAIN)).clamp(1, pieces.min(8))
        };
        let lanes = tiling.interleaved;
        let blocks = units.div_ceil(lanes);
        let group_len = blocks * lanes * self.planes.channel();
        let sample_len = self.planes.len(self.groups * blocks * lanes);
        // Planes of one block of channels of a sample, number `index` of all.
        let fill = |x: &[E], index: usize, planes: &mut [X]| {
            let (group, block) = (index / blocks, index % blocks);
            let first = block * lanes * self.operand;
            let channels = (self.channels[0] - first).min(lanes * self.operand);
            let plane = x.len() / (self.groups * self.channels[0]);
            let from = &x[(group * self.channels[0] + first) * plane..][..channels * plane];
            match tiling.by_channel {
                true => self.planes.fill_block::<T, E, X>(from, planes),
                false => self.planes.fill::<T, E, X>(from, planes),
            }
        };
        let block_len = lanes * self.planes.channel();
        let start = |index: usize| index / blocks * group_len + index % blocks * block_len;
        let shared_len = if share > 1 { batch * sample_len } else { 0 };
        let mut shared = scratch::<X>(shared_len, true);
        if share > 1 {
            let shared = SyncPtr(shared.as_mut_slice::<X>().as_mut_ptr());
            let each = self.groups * blocks;
            let grain = (1 << 14) / block_len + 1;
            parallel_for(batch * each, grain, |range| {
                for (n, index) in range.map(|i| (i / each, i % each)) {
                    // SAFETY: each block of channels has planes of its own.
                    let planes = unsafe {
                        let at = n * sample_len + start(index);
                        std::slice::from_raw_parts_mut(shared.get().add(at), block_len)
                    };
                    fill(&x[n * in_sample..][..in_sample], index, planes);
                }
            });
        }
        let shared = shared.as_slice::<X>();
        let out = SyncPtr(out.as_mut_ptr());
        parallel_for(batch * share, GRAIN / (work / share + 1) + 1, |range| {
            let own_len = if share > 1 { 0 } else { sample_len };
            let mut own = scratch::<X>(own_len, true);
            let mut stage = scratch::<T>(tiling.stage(), false);
            for task in range {
                let (n, piece) = (task / share, task % share);
                if share == 1 {
                    let own = own.as_mut_slice::<X>();
                    for index in 0..self.groups * blocks {
                        let at = start(index);
                        fill(
                            &x[n * in_sample..][..in_sample],
                            index,
                            &mut own[at..at + block_len],
                        );
                    }
                }
                let pieces = Pieces {
                    plan: self,
                    items: &items,
                    tiling: &tiling,
                    range: piece * pieces / share..(piece + 1) * pieces / share,
                    planes: match share {
                        1 => own.as_slice(),
                        _ => &shared[n * sample_len..][..sample_len],
                    },
                    group_len,
                    packed,
                    bias,
                    stage: stage.as_mut_slice(),
                    // SAFETY: sample `n` lies in `out`.
                    out: unsafe { out.get().add(n * out_sample) },
                    sums: PhantomData,
                };
                if let Some(run) = tiles {
                    run(pieces);
                } else if tiling.by_channel {
                    X::run(ByChannel(pieces));
                } else {
                    X::run(ByPosition(pieces));
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
    /// Planes of operands that are interleaved.
    interleaved: usize,
    blocks: Vec<Block>,
}

impl Tiling {
    /// Channels of all blocks, those past the last included.
    fn widths(&self) -> usize {
        self.blocks.iter().map(|b| b.width).sum()
    }

    /// Sums that are staged.
    fn stage(&self) -> usize {
        let widest = self.blocks.iter().map(|b| b.width).max().unwrap_or(0);
        let positions = if self.by_channel {
            by_channel::STAGE
        } else {
            SPAN + 64
        };
        widest * positions
    }
}

/// Output channels of a tile.
struct Block {
    channels: Range<usize>,
    /// Their number, or that of the registers' lanes.
    width: usize,
}

/// Some of one sample's items times blocks.
struct Pieces<'a, T, E, X> {
    plan: &'a Plan,
    items: &'a [Item],
    tiling: &'a Tiling,
    range: Range<usize>,
    planes: &'a [X],
    /// Distance of the groups in the planes.
    group_len: usize,
    packed: &'a [X],
    bias: Option<&'a [T]>,
    stage: &'a mut [T],
    out: *mut E,
    sums: PhantomData<T>,
}

/// How a tile unit runs them.
type ByTiles<T, E, X> = fn(Pieces<T, E, X>);

/// One item of one block.
struct Piece<'a, X> {
    item: &'a Item,
    part: &'a Part,
    /// Output channels within the block, and the first of them.
    channels: usize,
    first: usize,
    /// Channels that the packed weights hold for each kernel element.
    width: usize,
    weights: &'a [X],
    /// Where in the planes its first position lies.
    base: usize,
}

impl<'a, T: Float, E: Stored<T>, X: Operand<T, E>> Pieces<'a, T, E, X> {
    #[inline(always)]
    fn piece(&self, index: usize) -> Piece<'a, X> {
        let (plan, tiling) = (self.plan, self.tiling);
        let (item, b) = (
            &self.items[index / tiling.blocks.len()],
            index % tiling.blocks.len(),
        );
        let (part, block) = (&plan.parts[item.part], &tiling.blocks[b]);
        let place =
            item.d * plan.planes.slice() + item.h.start * plan.planes.pitch() + item.w.start;
        Piece {
            item,
            part,
            channels: block.channels.len(),
            width: block.width,
            first: item.group * plan.channels[1] + block.channels.start,
            weights: &self.packed[plan.packed(tiling, part, item.group, b)],
            base: item.group * self.group_len + place * tiling.interleaved,
        }
    }

    /// Output place of position `w` of row `row` of a piece, in its channel `channel`.
    #[inline(always)]
    fn place(&self, piece: &Piece<X>, channel: usize, row: usize, w: usize) -> usize {
        let (item, part) = (piece.item, piece.part);
        let ([od, oh, ow], step) = (self.plan.out, self.plan.out_step);
        let d = part.start[0] + item.d * step[0];
        let h = part.start[1] + (item.h.start + row) * step[1];
        let w = part.start[2] + (item.w.start + w) * step[2];
        (((piece.first + channel) * od + d) * oh + h) * ow + w
    }
}

/// See [`super::conv_forward`]; operands are of `X`.
pub(super) fn forward<T: Float + Held<E>, E: Stored<T>, X: Operand<T, E>>(
    s: &ConvShape,
    x: &[E],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [E],
) {
    if out.is_empty() {
        return;
    }
    let plan = Plan::forward(&flat(s), X::LEN);
    plan.run::<T, E, X>(s.batch, x, w, bias, out, None);
}

/// [`forward`] of maps of bf16 on a tile unit, where shapes are for it.
pub(super) fn forward_by_tiles<U: TileUnit>(
    s: &ConvShape,
    x: &[bf16],
    w: &[f32],
    bias: Option<&[f32]>,
    out: &mut [bf16],
) {
    if out.is_empty() {
        return;
    }
    let tiles: ByTiles<f32, bf16, Pair> = by_tile::run::<f32, bf16, Pair, U>;
    Plan::forward(&flat(s), Pair::LEN).run(s.batch, x, w, bias, out, Some(tiles));
}

/// [`backward_data`], likewise.
pub(super) fn backward_data_by_tiles<U: TileUnit>(
    s: &ConvShape,
    grad_out: &[bf16],
    w: &[f32],
    grad_in: &mut [bf16],
) {
    if grad_in.is_empty() {
        return;
    }
    let tiles: ByTiles<f32, bf16, Pair> = by_tile::run::<f32, bf16, Pair, U>;
    Plan::backward_data(&flat(s), Pair::LEN).run(s.batch, grad_out, w, None, grad_in, Some(tiles));
}

/// See [`super::conv_backward_data`]; operands are of `X`.
pub(super) fn backward_data<T: Float + Held<E>, E: Stored<T>, X: Operand<T, E>>(
    s: &ConvShape,
    grad_out: &[E],
    w: &[T],
    grad_in: &mut [E],
) {
    if grad_in.is_empty() {
        return;
    }
    let plan = Plan::backward_data(&flat(s), X::LEN);
    plan.run::<T, E, X>(s.batch, grad_out, w, None, grad_in, None);
}
