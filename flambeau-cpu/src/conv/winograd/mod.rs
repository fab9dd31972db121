//! Two-dimensional 3x3 convolutions of f32 by fewer multiplications, after Winograd: stride 1 by a
//! quarter (4x4 outputs by 36 products for 144), stride 2 by 25 for 36. Kernels of one element go the
//! same way with nothing to spare: as matrix products between changes of layout.
//!
//! Forward and the gradient of the input: tiles of the input become sums, kernels become sums, each
//! pair of sums is a product of small matrices over the channels, and sums of these products are the
//! outputs. What is larger of tiles and kernels passes through the second-level cache in blocks and
//! never is in memory as a whole. The gradient of the weight sums over tiles instead.
//!
//! Scratch memory is bounded by some 8 MB for each stored operand, whatever the shape (one block of
//! tiles or of kernels at the least), and cut by size alone, so that results are the same for any
//! number of threads.
//!
//! Error: relative to the root mean square of the results 3e-6 at stride 1 (root mean square; the
//! direct sums reach 2e-7), at stride 2 as the direct sums; see `scheme` for the choice that this
//! depends on and `tests` for the check.
//!
//! Products are of f32 for maps of bf16 too. Sums rounded to bf16 could be multiplied twice as fast, but
//! the results, rounded, have 6.5 times the error of exact ones rounded (64 channels, rectified normal
//! values, stride 1); by tiles of 2x2 outputs, which spare half as much, 2.3 times.

mod maps;
mod product;
pub(super) mod rows;
mod scheme;
#[cfg(test)]
mod tests;
mod tiles;
mod weights;

use std::marker::PhantomData;

use super::ConvShape;
use super::planes::scratch;
use crate::lanes::{register_shape, with_lanes};
use crate::threads::{SyncPtr, parallel_for};
pub(super) use maps::Element;
use maps::Maps;
use product::{Outer, Products};
use scheme::{Dense, Point, PointGradient, Scheme, Strided, StridedGradient, WeightScheme};
use tiles::{Expand, Gather, Grid, OfGrad, OfInput, Panel, Scatter, Source, Target};
use weights::{Finish, Prepare, Weights};

/// Values of an operand that is stored as a whole: 8 MB.
const STORED: usize = 2 << 20;
/// Values of a block of tiles: most of a second-level cache.
const BLOCK: usize = 160 << 10;
/// Input channels of a block of kernels, a multiple of every register's lanes.
const CHANNELS: usize = 64;

/// The schemes that fit a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 3x3, stride 1.
    Dense,
    /// 3x3, stride 2, padding 1.
    Strided,
    /// 1x1, stride 1: the plane is one long row.
    Point,
    /// 1x1, stride 2.
    PointStrided,
}

/// The scheme for a shape, if there is one.
pub(super) fn kind(s: &ConvShape) -> Option<Kind> {
    let planes = s.input[0] == 1 && s.kernel[0] == 1 && s.padding[0] == 0 && s.stride[0] == 1;
    if !planes || s.groups != 1 || s.dilation != [1; 3] {
        return None;
    }
    let (padding, stride) = (plane(s.padding), plane(s.stride));
    match (plane(s.kernel), stride) {
        ([3, 3], [1, 1]) if padding.iter().all(|&p| p <= 2) => Some(Kind::Dense),
        ([3, 3], [2, 2]) if padding == [1, 1] => Some(Kind::Strided),
        ([1, 1], [1, 1]) if padding == [0, 0] => Some(Kind::Point),
        ([1, 1], [2, 2]) if padding == [0, 0] => Some(Kind::PointStrided),
        _ => None,
    }
}

/// The two axes of the plane.
fn plane(of: [usize; 3]) -> [usize; 2] {
    [of[1], of[2]]
}

/// The scheme of a shape, and the sizes of input and output as it sees them.
fn layout(s: &ConvShape) -> (Kind, [usize; 2], [usize; 2]) {
    let kind = kind(s).unwrap_or_else(|| panic!("convolution: no scheme for {s:?}"));
    let sizes = [plane(s.input), plane(s.valid_output())];
    let [input, output] = match kind {
        Kind::Point => sizes.map(|[h, w]| [1, h * w]),
        _ => sizes,
    };
    (kind, input, output)
}

/// See [`super::conv_forward`]; for a shape with a scheme.
pub(super) fn forward<E: Element>(
    s: &ConvShape,
    x: &[E],
    w: &[f32],
    bias: Option<&[f32]>,
    out: &mut [E],
) {
    if out.is_empty() {
        return;
    }
    let (kind, input, output) = layout(s);
    let correlation = Correlation {
        batch: s.batch,
        source: Source {
            x: E::maps(x),
            channels: s.in_channels,
            size: input,
            before: plane(s.padding),
        },
        target: Target {
            out: E::maps_mut(out),
            channels: s.out_channels,
            size: output,
            bias,
        },
        weights: Weights {
            w,
            outputs: s.out_channels,
            output_step: s.patch(),
            input_step: s.kernel[2] * s.kernel[1],
            turned: false,
        },
    };
    match kind {
        Kind::Dense => correlation.run::<Dense>(),
        Kind::Strided => correlation.run::<Strided>(),
        Kind::Point => correlation.run::<Point<1>>(),
        Kind::PointStrided => correlation.run::<Point<2>>(),
    }
}

/// See [`super::conv_backward_data`]; for a shape with a scheme.
pub(super) fn backward_data<E: Element>(
    s: &ConvShape,
    grad_out: &[E],
    w: &[f32],
    grad_in: &mut [E],
) {
    if grad_in.is_empty() {
        return;
    }
    let (kind, input, output) = layout(s);
    let before = match kind {
        Kind::Dense => plane(s.padding).map(|p| 2 - p),
        _ => [0, 0],
    };
    let correlation = Correlation {
        batch: s.batch,
        source: Source {
            x: E::maps(grad_out),
            channels: s.out_channels,
            size: output,
            before,
        },
        target: Target {
            out: E::maps_mut(grad_in),
            channels: s.in_channels,
            size: input,
            bias: None,
        },
        weights: Weights {
            w,
            outputs: s.in_channels,
            output_step: s.kernel[2] * s.kernel[1],
            input_step: s.patch(),
            turned: kind == Kind::Dense,
        },
    };
    match kind {
        Kind::Dense => correlation.run::<Dense>(),
        Kind::Strided => correlation.run::<StridedGradient>(),
        Kind::Point => correlation.run::<Point<1>>(),
        Kind::PointStrided => correlation.run::<PointGradient>(),
    }
}

/// See [`super::conv_backward_weight`]; for a shape with a scheme.
pub(super) fn backward_weight<E: Element>(
    s: &ConvShape,
    x: &[E],
    grad_out: &[E],
    grad_w: &mut [f32],
) {
    if s.batch == 0 || grad_w.is_empty() {
        return grad_w.fill(0.0);
    }
    let (x, grad_out) = (E::maps(x), E::maps(grad_out));
    match layout(s).0 {
        Kind::Dense => weight_gradient::<Dense>(s, x, grad_out, grad_w),
        Kind::Strided => weight_gradient::<Strided>(s, x, grad_out, grad_w),
        Kind::Point => weight_gradient::<Point<1>>(s, x, grad_out, grad_w),
        Kind::PointStrided => weight_gradient::<Point<2>>(s, x, grad_out, grad_w),
    }
}

/// Maps from maps.
#[derive(Clone, Copy)]
struct Correlation<'a> {
    batch: usize,
    source: Source<'a>,
    target: Target<'a>,
    weights: Weights<'a>,
}

// SAFETY: `target.out` is used in `unsafe` code only, which gives each output to one task.
unsafe impl Sync for Correlation<'_> {}

/// A pair of registers of output channels.
#[derive(Clone, Copy)]
struct Pair {
    channel: usize,
    registers: usize,
}

impl Correlation<'_> {
    fn run<S: Scheme>(&self) {
        let lanes = register_shape::<f32>().0;
        let grid = Grid::new(self.batch, self.target.size, S::OUT);
        match self.target.channels > grid.before(grid.units()) {
            true => self.over_stored_tiles::<S>(grid, lanes),
            false => self.over_stored_weights::<S>(grid, lanes),
        }
    }

    fn pair(&self, index: usize, lanes: usize) -> Pair {
        let channel = index * 2 * lanes;
        let registers = (self.target.channels - channel).div_ceil(lanes).min(2);
        Pair { channel, registers }
    }

    /// Many tiles: the sums of weights are stored, blocks of tiles pass by.
    fn over_stored_weights<S: Scheme>(&self, grid: Grid, lanes: usize) {
        let depth = self.source.channels;
        let blocks = depth.div_ceil(lanes);
        let pairs = self.target.channels.div_ceil(2 * lanes);
        let each = depth * 2 * lanes;
        let size = S::WEIGHTS * S::WEIGHTS * each;
        let at_once = (STORED / size).clamp(1, pairs);

        let units = grid.units();
        let wanted = BLOCK / (S::N * S::N * depth) / grid.widest();
        let per_block = wanted.clamp(1, units.div_ceil(8));
        let panel = Panel::new(per_block * grid.widest(), blocks, lanes);
        let products = Panel::new(panel.tiles, 2, lanes);
        let room = Gather::<OfInput<S>>::room(&grid, lanes).max(Scatter::<S>::room(&grid, lanes));

        let mut stored = scratch::<f32>(at_once * size, false);
        for first in (0..pairs).step_by(at_once) {
            let range = first..(first + at_once).min(pairs);
            let to = SyncPtr(stored.as_mut_slice::<f32>().as_mut_ptr());
            let parts = depth.div_ceil(CHANNELS);
            parallel_for(range.len() * parts, 1, |tasks| {
                for (p, part) in tasks.map(|t| (t / parts, t % parts)) {
                    let Pair { channel, registers } = self.pair(range.start + p, lanes);
                    let start = part * CHANNELS;
                    with_lanes(Prepare::<S> {
                        weights: self.weights,
                        channel,
                        registers,
                        inputs: start..(start + CHANNELS).min(depth),
                        to: to.get().wrapping_add(p * size + start * registers * lanes),
                        step: each,
                        scheme: PhantomData,
                    });
                }
            });
            let weights = SyncPtr(to.get());
            parallel_for(units.div_ceil(per_block), 1, |tasks| {
                let total = panel.step + products.step;
                let mut buffer = scratch::<f32>(S::N * S::N * total + room, false);
                let (inputs, rest) = buffer
                    .as_mut_slice::<f32>()
                    .split_at_mut(S::N * S::N * panel.step);
                let (sums, work) = rest.split_at_mut(S::N * S::N * products.step);
                for task in tasks {
                    let units = task * per_block..((task + 1) * per_block).min(units);
                    let before = grid.before(units.start);
                    with_lanes(Gather::<OfInput<S>> {
                        source: self.source,
                        grid,
                        units: units.clone(),
                        blocks: 0..blocks,
                        first: before,
                        panel,
                        to: inputs.as_mut_ptr(),
                        work,
                        expand: PhantomData,
                    });
                    for index in range.clone() {
                        let Pair { channel, registers } = self.pair(index, lanes);
                        let at = (index - range.start) * size;
                        with_lanes(Products {
                            axis: (S::N, S::WEIGHTS),
                            depth,
                            inputs: inputs.as_ptr(),
                            panel,
                            tiles: grid.before(units.end) - before,
                            weights: weights.get().wrapping_add(at),
                            weight_step: each,
                            registers,
                            to: sums.as_mut_ptr(),
                            step: products.step,
                            add: false,
                        });
                        with_lanes(Scatter::<S> {
                            target: self.target,
                            grid,
                            units: units.clone(),
                            channel,
                            registers,
                            products: sums.as_ptr(),
                            step: products.step,
                            first: before,
                            work,
                            scheme: PhantomData,
                        });
                    }
                }
            });
        }
    }

    /// Few tiles: they are stored, blocks of kernels pass by.
    fn over_stored_tiles<S: Scheme>(&self, grid: Grid, lanes: usize) {
        let depth = self.source.channels;
        let blocks = depth.div_ceil(lanes);
        let pairs = self.target.channels.div_ceil(2 * lanes);
        let units = grid.units();
        let wanted = STORED / (S::N * S::N * depth) / grid.widest();
        let at_once = wanted.clamp(1, units);
        let panel = Panel::new(at_once * grid.widest(), blocks, lanes);
        let products = Panel::new(panel.tiles, 2, lanes);
        let room = Scatter::<S>::room(&grid, lanes);
        let each = CHANNELS * 2 * lanes + lanes;
        let size = S::WEIGHTS * S::WEIGHTS * each;

        let mut stored = scratch::<f32>(S::N * S::N * panel.step, false);
        for first in (0..units).step_by(at_once) {
            let units = first..(first + at_once).min(units);
            let before = grid.before(first);
            let stored = stored.as_mut_slice::<f32>();
            gather::<OfInput<S>>(self.source, grid, units.clone(), panel, stored);
            let stored = &*stored;
            parallel_for(pairs, 1, |tasks| {
                let total = size + S::N * S::N * products.step + room;
                let mut buffer = scratch::<f32>(total, false);
                let (weights, rest) = buffer.as_mut_slice::<f32>().split_at_mut(size);
                let (sums, work) = rest.split_at_mut(S::N * S::N * products.step);
                for index in tasks {
                    let Pair { channel, registers } = self.pair(index, lanes);
                    for start in (0..depth).step_by(CHANNELS) {
                        let inputs = start..(start + CHANNELS).min(depth);
                        with_lanes(Prepare::<S> {
                            weights: self.weights,
                            channel,
                            registers,
                            inputs: inputs.clone(),
                            to: weights.as_mut_ptr(),
                            step: each,
                            scheme: PhantomData,
                        });
                        with_lanes(Products {
                            axis: (S::N, S::WEIGHTS),
                            depth: inputs.len(),
                            inputs: stored[start * panel.tiles..].as_ptr(),
                            panel,
                            tiles: grid.before(units.end) - before,
                            weights: weights.as_ptr(),
                            weight_step: each,
                            registers,
                            to: sums.as_mut_ptr(),
                            step: products.step,
                            add: start > 0,
                        });
                    }
                    with_lanes(Scatter::<S> {
                        target: self.target,
                        grid,
                        units: units.clone(),
                        channel,
                        registers,
                        products: sums.as_ptr(),
                        step: products.step,
                        first: before,
                        work,
                        scheme: PhantomData,
                    });
                }
            });
        }
    }
}

/// Transforms all channels of some units, on several threads.
fn gather<E: Expand>(
    source: Source,
    grid: Grid,
    units: std::ops::Range<usize>,
    panel: Panel,
    to: &mut [f32],
) {
    let lanes = register_shape::<f32>().0;
    let blocks = source.channels.div_ceil(lanes);
    assert!(to.len() >= E::N * E::N * panel.step && blocks * panel.tiles * lanes <= panel.step);
    let parts = units.len().min(4);
    let to = SyncPtr(to.as_mut_ptr());
    parallel_for(blocks * parts, 1, |tasks| {
        let mut work = scratch::<f32>(Gather::<E>::room(&grid, lanes), false);
        for (block, part) in tasks.map(|t| (t / parts, t % parts)) {
            let start = |part| units.start + units.len() * part / parts;
            with_lanes(Gather::<E> {
                source,
                grid,
                units: start(part)..start(part + 1),
                blocks: block..block + 1,
                first: grid.before(units.start),
                panel,
                to: to.get(),
                work: work.as_mut_slice(),
                expand: PhantomData,
            });
        }
    });
}

/// The gradient of the weight: tiles of inputs and of the output's gradient are stored in slices, each
/// of which adds to the sums of weights.
fn weight_gradient<S: WeightScheme>(s: &ConvShape, x: Maps, grad_out: Maps, grad_w: &mut [f32]) {
    let lanes = register_shape::<f32>().0;
    let (_, input, output) = layout(s);
    let grid = Grid::new(s.batch, output, S::OUT);
    let inputs = Source {
        x,
        channels: s.in_channels,
        size: input,
        before: plane(s.padding),
    };
    let grads = Source {
        x: grad_out,
        channels: s.out_channels,
        size: output,
        before: [0; 2],
    };
    let blocks = [s.in_channels, s.out_channels].map(|c| c.div_ceil(lanes));
    let units = grid.units();
    let wanted = STORED / (S::N * S::N * (blocks[0] + blocks[1]) * lanes) / grid.widest();
    let at_once = wanted.clamp(1, units);
    let panels = blocks.map(|b| Panel::new(at_once * grid.widest(), b, lanes));
    let mut stored = panels.map(|p| scratch::<f32>(S::N * S::N * p.step, false));

    // Sums of weights of a block of output channels.
    let row = blocks[0] * lanes;
    let each = lanes * row;
    let weights = S::WEIGHTS * S::WEIGHTS;
    let blocks_at_once = (STORED / (weights * each)).clamp(1, blocks[1]);
    let mut sums = scratch::<f32>(blocks_at_once * weights * each, false);
    let grad_w = SyncPtr(grad_w.as_mut_ptr());
    let mut there = None;
    for first in (0..blocks[1]).step_by(blocks_at_once) {
        let range = first..(first + blocks_at_once).min(blocks[1]);
        let sums = sums.as_mut_slice::<f32>();
        for start in (0..units).step_by(at_once) {
            let units = start..(start + at_once).min(units);
            let [stored_inputs, stored_grads] = &mut stored;
            if there != Some(start) {
                let to = stored_inputs.as_mut_slice();
                gather::<OfInput<S>>(inputs, grid, units.clone(), panels[0], to);
                let to = stored_grads.as_mut_slice();
                gather::<OfGrad<S>>(grads, grid, units.clone(), panels[1], to);
                there = Some(start);
            }
            let tiles = grid.before(units.end) - grid.before(start);
            let (from, by) = (
                stored_inputs.as_slice::<f32>(),
                stored_grads.as_slice::<f32>(),
            );
            let to = SyncPtr(sums.as_mut_ptr());
            let grain = (1 << 16) / (tiles * row + 1) + 1;
            parallel_for(range.len() * weights, grain, |tasks| {
                for task in tasks {
                    let (block, weight) = (task / weights, task % weights);
                    let at = (range.start + block) * panels[1].tiles * lanes;
                    with_lanes(Outer {
                        axis: (S::N, S::WEIGHTS),
                        weight,
                        tiles,
                        grads: by[at..].as_ptr(),
                        grad_panel: panels[1],
                        inputs: from.as_ptr(),
                        input_panel: panels[0],
                        blocks: blocks[0],
                        to: to.get().wrapping_add(task * each),
                        add: start > 0,
                    });
                }
            });
        }
        let sums = &*sums;
        parallel_for(range.len(), 1, |tasks| {
            for block in tasks {
                let channel = (range.start + block) * lanes;
                with_lanes(Finish::<S> {
                    sums: &sums[block * weights * each..],
                    step: each,
                    outputs: (s.out_channels - channel).min(lanes),
                    inputs: s.in_channels,
                    to: grad_w.get().wrapping_add(channel * s.patch()),
                    scheme: PhantomData,
                });
            }
        });
    }
}
