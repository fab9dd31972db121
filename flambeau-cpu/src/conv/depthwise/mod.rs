//! Groups of one input channel: each output plane is a sum of shifted copies of one input plane,
//! which stays in the first-level cache. Registers hold positions of a row.
//!
//! Kernel elements that lie below each other form columns, and a tile of outputs is a few rows high:
//! what is read of an input row serves every output row that needs it.
//!
//! Maps of bf16 are multiplied as they are, in pairs of neighbouring columns. With a stride of 1 the
//! same pairs give even outputs, with weights `(k0, k1), (k2, 0)`, and odd ones, with `(0, k0),
//! (k1, k2)`; with a stride of 2 they give all. A weight of 0 is multiplied like any other, so that
//! infinity in a map can make its neighbour's results NaN.

mod fill;
mod outputs;
mod weight;

use std::collections::BTreeMap;

use super::operand::{Held, Operand};
use super::planes::{Planes, scratch};
use super::{ConvShape, choice, places};
use crate::float::Float;
use crate::threads::{SyncPtr, parallel_for};
use fill::Fill;

pub(super) use weight::backward_weight;

/// Multiplications that are worth a task of their own.
const TASK: usize = 1 << 16;

/// Most cells that a tile reads in a row: four registers of the widest values.
const TILE: usize = 64;

/// Values of f32 in a line of the cache.
const CACHE_LINE: usize = 16;

/// Rows of a tile.
const ROWS: usize = 4;

/// Most kernel elements of a column.
const TALLEST: usize = 5;

/// Whether a part of a convolution is computed here, from maps of bf16 in pairs or from values.
pub(super) fn is_for(s: &ConvShape, part: choice::Part, pairs: bool) -> bool {
    let single = s.groups > 1 && s.in_channels == s.groups;
    let step = s.stride[2];
    single
        && match part {
            choice::Part::Forward => step <= 2 || !pairs,
            choice::Part::Data => s.out_channels == s.groups && step <= if pairs { 1 } else { 2 },
            choice::Part::Weight => true,
        }
}

/// Where the weights of an operand come from: of each of the two results that a register of
/// operands gives, both halves. What has none is 0.
type Sources = [[Option<usize>; 2]; 2];

/// How operands of a row give results.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Values, one result for each.
    Values,
    /// Values, two results for each: of a gradient with a stride of 2.
    Phases,
    /// Pairs, one result for each: with a stride of 2.
    Pairs,
    /// Pairs, two results for each.
    Turns,
}

impl Way {
    /// Results of an operand.
    fn results(self) -> usize {
        match self {
            Way::Values | Way::Pairs => 1,
            Way::Phases | Way::Turns => 2,
        }
    }

    /// Notes kernel element `source`, which is read `t` cells from place `row` for position 0;
    /// `phase` is that of the result.
    fn note(
        self,
        taps: &mut BTreeMap<usize, Sources>,
        (row, t): (usize, usize),
        phase: usize,
        source: usize,
    ) {
        let mut set = |t: usize, result: usize, half: usize| {
            taps.entry(row + t).or_default()[result][half] = Some(source);
        };
        match self {
            Way::Values | Way::Phases => set(t, phase, 0),
            Way::Pairs => set(t & !1, 0, t & 1),
            Way::Turns => {
                set(t & !1, 0, t & 1);
                set((t + 1) & !1, 1, (t + 1) & 1);
            }
        }
    }
}

/// Columns of kernel elements of one height.
struct Band {
    height: usize,
    /// Where in the planes each column begins, for position 0.
    columns: Vec<usize>,
}

/// Taps by their places, as columns whose elements are `row` apart, no higher than `tallest`; and
/// the sources in the order of the columns.
fn bands(
    mut taps: BTreeMap<usize, Sources>,
    row: usize,
    tallest: usize,
) -> (Vec<Band>, Vec<Sources>) {
    let mut columns = Vec::new();
    while let Some((&first, _)) = taps.first_key_value() {
        let mut column = Vec::new();
        while let Some(sources) = taps.remove(&(first + column.len() * row)) {
            column.push(sources);
            if row == 0 {
                break;
            }
        }
        let (len, pieces) = (column.len(), column.len().div_ceil(tallest));
        for piece in 0..pieces {
            let range = len * piece / pieces..len * (piece + 1) / pieces;
            columns.push((first + range.start * row, column[range].to_vec()));
        }
    }
    let (mut bands, mut sources) = (Vec::new(), Vec::new());
    for height in 1..=tallest {
        let mut band = Band {
            height,
            columns: Vec::new(),
        };
        for (first, column) in columns.iter().filter(|c| c.1.len() == height) {
            band.columns.push(*first);
            sources.extend_from_slice(column);
        }
        if !band.columns.is_empty() {
            bands.push(band);
        }
    }
    (bands, sources)
}

/// The outputs that share one set of kernel elements: all of a forward convolution, or the rows of
/// one residue modulo the stride of a gradient.
struct Part {
    bands: Vec<Band>,
    /// Slices, rows, and outputs of a row.
    extent: [usize; 3],
    /// Output slice and row of the first, and the distance to the next.
    start: [usize; 2],
    step: [usize; 2],
    /// Its weights among those of a channel.
    weights: usize,
    /// The largest offset at which a position is read, and how much further the last position is.
    reach: usize,
    last: usize,
}

/// A convolution ready to run on samples.
struct Plan {
    groups: usize,
    /// Output channels of a group.
    channels: usize,
    way: Way,
    planes: Planes,
    fill: Fill,
    parts: Vec<Part>,
    /// Of the operands of a channel's weights, in the order of the parts.
    sources: Vec<[Option<usize>; 2]>,
    /// Weights of a channel.
    volume: usize,
    /// Size of the output plane.
    out: [usize; 3],
}

impl Plan {
    fn forward(s: &ConvShape, pairs: bool) -> Self {
        let way = match (pairs, s.stride[2]) {
            (false, _) => Way::Values,
            (true, 1) => Way::Turns,
            (true, _) => Way::Pairs,
        };
        let planes = match way {
            Way::Pairs => Planes::of_input_in_rows(s),
            _ => Planes::of_input(s),
        }
        .aligned(CACHE_LINE);
        let mut taps = BTreeMap::new();
        for (source, k) in places(s.kernel).enumerate() {
            let [d, h, w] = [0, 1, 2].map(|i| k[i] * s.dilation[i]);
            let at = match way {
                Way::Values => (planes.offset([d, h, w]), 0),
                _ => (planes.offset([d, h, 0]), w),
            };
            way.note(&mut taps, at, 0, source);
        }
        let out = s.valid_output();
        let mut plan = Self {
            groups: s.groups,
            channels: s.out_channels / s.groups,
            way,
            fill: Fill::new(&planes),
            planes,
            parts: Vec::new(),
            sources: Vec::new(),
            volume: s.kernel.iter().product(),
            out,
        };
        plan.push(taps, out, [0; 2], [1; 2]);
        plan
    }

    fn backward_data(s: &ConvShape, pairs: bool) -> Self {
        let way = match (pairs, s.stride[2]) {
            (true, _) => Way::Turns,
            (false, 1) => Way::Values,
            (false, _) => Way::Phases,
        };
        let planes = Planes::of_output(s).aligned(CACHE_LINE);
        let mut plan = Self {
            groups: s.groups,
            channels: 1,
            way,
            fill: Fill::new(&planes),
            planes,
            parts: Vec::new(),
            sources: Vec::new(),
            volume: s.kernel.iter().product(),
            out: s.input,
        };
        // Input i reads kernel element k where (i + padding - k * dilation) is a multiple of the
        // stride, at place (i + padding - k * dilation) / stride.
        let place = |d: usize, i: usize, k: usize| {
            let (at, i) = (k * s.dilation[d], i + s.padding[d]);
            let same = at % s.stride[d] == i % s.stride[d];
            let place = (i / s.stride[d]) as isize + plan.planes.before()[d];
            same.then(|| (place - (at / s.stride[d]) as isize) as usize)
        };
        let mut parts = Vec::new();
        for [d0, h0, _] in places([s.stride[0], s.stride[1], 1]) {
            let extent = |d: usize, start: usize| {
                let left = s.input[d].saturating_sub(start);
                left.div_ceil(s.stride[d])
            };
            let mut taps = BTreeMap::new();
            for (source, k) in places(s.kernel).enumerate() {
                let (Some(d), Some(h)) = (place(0, d0, k[0]), place(1, h0, k[1])) else {
                    continue;
                };
                for phase in 0..s.stride[2] {
                    if let Some(w) = place(2, phase, k[2]) {
                        let row = plan.planes.offset([d, h, 0]);
                        way.note(&mut taps, (row, w), phase, source);
                    }
                }
            }
            parts.push((taps, [extent(0, d0), extent(1, h0), s.input[2]], [d0, h0]));
        }
        for (taps, extent, start) in parts {
            plan.push(taps, extent, start, [s.stride[0], s.stride[1]]);
        }
        plan
    }

    fn push(
        &mut self,
        taps: BTreeMap<usize, Sources>,
        extent: [usize; 3],
        start: [usize; 2],
        step: [usize; 2],
    ) {
        let tallest = if extent[1] >= ROWS { TALLEST } else { 1 };
        let reach = taps.keys().max().copied().unwrap_or(0);
        let last = extent[0].saturating_sub(1) * self.planes.slice()
            + extent[1].saturating_sub(1) * self.planes.pitch();
        let (bands, sources) = bands(taps, self.planes.pitch(), tallest);
        self.parts.push(Part {
            reach,
            last,
            bands,
            extent,
            start,
            step,
            weights: self.sources.len(),
        });
        let results = self.way.results();
        self.sources
            .extend(sources.iter().flat_map(|s| &s[..results]));
    }

    fn run<T: Float, E: Held<E>, X: Operand<T, E, Cell = E>>(
        &self,
        batch: usize,
        x: &[E],
        w: &[T],
        bias: Option<&[T]>,
        out: &mut [E],
    ) {
        let count = batch * self.groups;
        let plane: usize = self.out.iter().product();
        let all = self.groups * self.channels;
        let mut packed = scratch::<X>(all * self.sources.len(), false);
        let weights = packed.as_mut_slice::<X>();
        for (weights, w) in weights
            .chunks_exact_mut(self.sources.len().max(1))
            .zip(w.chunks_exact(self.volume))
        {
            for (weight, source) in weights.iter_mut().zip(&self.sources) {
                *weight = X::of_weights(source.map(|s| s.map_or(T::ZERO, |s| w[s])));
            }
        }
        let packed = packed.as_slice::<X>();
        let grain = TASK / (plane * self.channels * self.volume + 1) + 1;
        let out = SyncPtr(out.as_mut_ptr());
        parallel_for(count, grain, |range| {
            let mut padded = scratch::<E>(2 * self.planes.len(1), true);
            let each = self.channels * plane;
            // SAFETY: the planes of `range` are written by this task alone.
            let out = unsafe {
                let at = out.get().add(range.start * each);
                std::slice::from_raw_parts_mut(at, range.len() * each)
            };
            X::run(outputs::Outputs {
                plan: self,
                range,
                x,
                source: x.len() / count,
                padded: padded.as_mut_slice::<E>(),
                packed,
                bias,
                out,
            });
        });
    }
}

/// See [`super::conv_forward`]; operands are of `X`.
pub(super) fn forward<T: Float, E: Held<E>, X: Operand<T, E, Cell = E>>(
    s: &ConvShape,
    x: &[E],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [E],
) {
    if !out.is_empty() {
        Plan::forward(s, X::LEN == 2).run::<T, E, X>(s.batch, x, w, bias, out);
    }
}

/// See [`super::conv_backward_data`]; operands are of `X`.
pub(super) fn backward_data<T: Float, E: Held<E>, X: Operand<T, E, Cell = E>>(
    s: &ConvShape,
    grad_out: &[E],
    w: &[T],
    grad_in: &mut [E],
) {
    if !grad_in.is_empty() {
        Plan::backward_data(s, X::LEN == 2).run::<T, E, X>(s.batch, grad_out, w, None, grad_in);
    }
}
