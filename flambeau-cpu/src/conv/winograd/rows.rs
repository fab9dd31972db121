//! Convolutions with few channels: a scheme along the columns' direction only, so that every row of
//! products is a row of direct sums over channels and the kernel's columns. Registers hold positions
//! of a row, or of two rows where one fills no more than a register. 3 rows of a kernel take half of
//! the multiplications, 5 take two fifths, or three fifths where error counts more.

use std::marker::PhantomData;
use std::ops::Range;

use super::scheme::{Dense, FineFive, Five, Scheme};
use super::weights::Weights;
use super::{plane, scratch};
use crate::conv::ConvShape;
use crate::conv::choice::Part;
use crate::lanes::{Kernel, Lanes, register_shape, with_lanes};
use crate::threads::{SyncPtr, parallel_for};

/// Multiplications of the plain sums below which a further thread does not pay.
const GRAIN: usize = 60_000;

/// Output channels of a tile.
const TILE: usize = 6;

/// Whether a shape is computed here.
pub(in crate::conv) fn possible(s: &ConvShape) -> bool {
    let [height, width] = plane(s.kernel);
    s.input[0] == 1
        && [s.kernel[0], s.padding[0] + 1, s.groups] == [1; 3]
        && (s.stride, s.dilation) == ([1; 3], [1; 3])
        && (height == 3 || height == 5)
        && s.padding[1] < height
        && s.padding[2] < width
}

/// Samples of which each has little to say in a step of training.
const MANY: usize = 64;

/// Whether five rows of a kernel go by the scheme with less error. Maxima are taken of outputs, and
/// with few channels, of which direct sums are short and exact, an error of more than twice theirs
/// decides more near ties otherwise: of a few samples one of them changes the step that is taken, of
/// many it is lost among the others, and the scheme takes half as long again. Gradients are only added
/// up.
pub(in crate::conv) fn fine(s: &ConvShape, part: Part) -> bool {
    s.kernel[1] == 5 && part == Part::Forward && s.in_channels < 16 && s.batch < MANY
}

/// See [`super::super::conv_forward`]; for a [`possible`] shape.
pub(in crate::conv) fn forward(
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    if out.is_empty() {
        return;
    }
    Rows {
        batch: s.batch,
        channels: [s.in_channels, s.out_channels],
        source: plane(s.input),
        target: plane(s.valid_output()),
        before: plane(s.padding),
        columns: s.kernel[2],
        weights: Weights {
            w,
            outputs: s.out_channels,
            output_step: s.patch(),
            input_step: s.kernel[1] * s.kernel[2],
            turned: false,
        },
        bias,
    }
    .run(s.kernel[1], fine(s, Part::Forward), x, out);
}

/// See [`super::super::conv_backward_data`]; for a [`possible`] shape.
pub(in crate::conv) fn backward_data(
    s: &ConvShape,
    grad_out: &[f32],
    w: &[f32],
    grad_in: &mut [f32],
) {
    if grad_in.is_empty() {
        return;
    }
    let (kernel, padding) = (plane(s.kernel), plane(s.padding));
    Rows {
        batch: s.batch,
        channels: [s.out_channels, s.in_channels],
        source: plane(s.valid_output()),
        target: plane(s.input),
        before: [0, 1].map(|d| kernel[d] - 1 - padding[d]),
        columns: s.kernel[2],
        weights: Weights {
            w,
            outputs: s.in_channels,
            output_step: s.kernel[1] * s.kernel[2],
            input_step: s.patch(),
            turned: true,
        },
        bias: None,
    }
    .run(s.kernel[1], fine(s, Part::Data), grad_out, grad_in);
}

/// Maps from maps.
struct Rows<'a> {
    batch: usize,
    /// Of the source and the target, and the sizes of their planes.
    channels: [usize; 2],
    source: [usize; 2],
    target: [usize; 2],
    /// Zeros before the first row and column.
    before: [usize; 2],
    /// Of the kernel.
    columns: usize,
    weights: Weights<'a>,
    bias: Option<&'a [f32]>,
}

impl Rows<'_> {
    fn run(&self, rows: usize, fine: bool, x: &[f32], out: &mut [f32]) {
        match rows {
            3 => self.run_by::<Dense>(x, out),
            _ if fine => self.run_by::<FineFive>(x, out),
            _ => self.run_by::<Five>(x, out),
        }
    }

    /// Sums of weights: `[tile, sum, channel, column, channel of the tile]`.
    fn packed<S: Scheme>(&self) -> Vec<f32> {
        let [inputs, outputs] = self.channels;
        let tiles = outputs.div_ceil(TILE);
        let mut packed = vec![0.0; tiles * S::N * inputs * self.columns * TILE];
        with_lanes(Prepare::<S> {
            rows: self,
            to: &mut packed,
            scheme: PhantomData,
        });
        packed
    }

    fn run_by<S: Scheme>(&self, x: &[f32], out: &mut [f32]) {
        let packed = self.packed::<S>();
        let lanes = register_shape::<f32>().0;
        let [inputs, outputs] = self.channels;
        let [height, width] = self.target;
        let bands = self.batch * height.div_ceil(S::OUT);
        // Two registers at a time: of one band's rows, or of two bands' whose rows fit one.
        let together = if width <= lanes { 2 } else { 1 };
        let wide = width.next_multiple_of(2 * lanes / together);
        // Beyond a row's end the kernel's columns are read.
        let pitch = wide + (self.columns - 1).next_multiple_of(lanes);
        let work = inputs * outputs * self.columns * S::TAPS * S::OUT * width * together;
        let out = SyncPtr(out.as_mut_ptr());
        // Few chunks are small, so that threads end together; more than 64 gain nothing.
        let grain = (GRAIN / (work + 1) + 1).max(bands / (64 * together));
        parallel_for(bands.div_ceil(together), grain, |tasks| {
            let sums = together * S::N * inputs * pitch;
            let room = sums + S::IN * pitch + (S::N * TILE * 2 + S::OUT * 2) * lanes;
            let mut buffer = scratch::<f32>(room, false);
            // Zeros before and after the rows of inputs; the rest is written before it is read.
            buffer.as_mut_slice::<f32>()[sums..][..S::IN * pitch].fill(0.0);
            for task in tasks {
                with_lanes(Block::<S> {
                    rows: self,
                    x,
                    packed: &packed,
                    bands: task * together..bands.min((task + 1) * together),
                    together,
                    pitch,
                    buffer: buffer.as_mut_slice(),
                    out: out.get(),
                    scheme: PhantomData,
                });
            }
        });
    }
}

/// [`Rows::packed`].
struct Prepare<'a, S> {
    rows: &'a Rows<'a>,
    to: &'a mut [f32],
    scheme: PhantomData<fn() -> S>,
}

impl<S: Scheme> Kernel<f32> for Prepare<'_, S> {
    #[inline(always)]
    fn run<L: Lanes<f32>>(self) {
        let Weights {
            w,
            outputs,
            output_step,
            input_step,
            turned,
        } = self.rows.weights;
        let (inputs, columns) = (self.rows.channels[0], self.rows.columns);
        // A register of a kernel's columns: its rows, and their sums.
        let (mut taps, mut sums) = ([0.0f32; 8 * 16], [0.0f32; 8 * 16]);
        const { assert!(S::TAPS <= 8 && S::N <= 8 && S::WEIGHTS == S::N && L::N <= 16) };
        for (o, c) in (0..outputs).flat_map(|o| (0..inputs).map(move |c| (o, c))) {
            let kernel = &w[o * output_step + c * input_step..][..S::TAPS * columns];
            for first in (0..columns).step_by(L::N) {
                let lanes = L::N.min(columns - first);
                for t in 0..S::TAPS {
                    let row = if turned { S::TAPS - 1 - t } else { t };
                    // SAFETY: inside a kernel; `lanes` elements of the row are left.
                    unsafe {
                        let from = kernel.as_ptr().add(row * columns + first);
                        L::store(taps[t * L::N..].as_mut_ptr(), L::load_first(from, lanes));
                    }
                }
                // SAFETY: inside a kernel; both arrays hold 8 of the widest registers.
                unsafe { S::weight::<L>(taps.as_ptr(), L::N, sums.as_mut_ptr(), L::N) };
                for (i, sums) in sums.chunks_exact(L::N).take(S::N).enumerate() {
                    let at = ((o / TILE * S::N + i) * inputs + c) * columns * TILE + o % TILE;
                    let to = &mut self.to[at..][..(columns - 1) * TILE + 1];
                    for (x, sum) in (first..).zip(&sums[..lanes]) {
                        let column = if turned { columns - 1 - x } else { x };
                        to[column * TILE] = *sum;
                    }
                }
            }
        }
    }
}

/// One or two bands of outputs, each `S::OUT` rows of a sample.
struct Block<'a, S> {
    rows: &'a Rows<'a>,
    x: &'a [f32],
    packed: &'a [f32],
    /// The bands, counted over all samples.
    bands: Range<usize>,
    /// How many there is room for.
    together: usize,
    /// Distance of rows in the buffer.
    pitch: usize,
    /// Sums of inputs of each band, rows of inputs, products, outputs.
    buffer: &'a mut [f32],
    out: *mut f32,
    scheme: PhantomData<fn() -> S>,
}

impl<S: Scheme> Kernel<f32> for Block<'_, S> {
    #[inline(always)]
    fn run<L: Lanes<f32>>(mut self) {
        let Rows {
            channels: [inputs, outputs],
            target: [_, width],
            ..
        } = *self.rows;
        let room = self.products_at() + (S::N * TILE * 2 + S::OUT * 2) * L::N;
        assert!(self.buffer.len() >= room);
        assert!(self.together == 1 || width <= L::N);
        for band in 0..self.bands.len() {
            for c in 0..inputs {
                self.gather::<L>(band, c);
            }
        }
        for (tile, first) in (0..outputs).step_by(TILE).enumerate() {
            let count = TILE.min(outputs - first);
            for column in (0..width).step_by(2 * L::N) {
                // SAFETY: inside a kernel; the assertion above found room for all that follows.
                unsafe {
                    match count {
                        1 => self.products::<L, 1>(tile, column),
                        2 => self.products::<L, 2>(tile, column),
                        3 => self.products::<L, 3>(tile, column),
                        4 => self.products::<L, 4>(tile, column),
                        _ => self.products::<L, 6>(tile, column),
                    }
                    for o in 0..count {
                        self.scatter::<L>(first + o, o, column);
                    }
                }
            }
        }
    }
}

impl<S: Scheme> Block<'_, S> {
    /// Length of a band's sums of inputs.
    #[inline(always)]
    fn sums(&self) -> usize {
        S::N * self.rows.channels[0] * self.pitch
    }

    /// Where the products begin in the buffer.
    #[inline(always)]
    fn products_at(&self) -> usize {
        self.together * self.sums() + S::IN * self.pitch
    }

    /// The sample of a band of the block, and its first row.
    #[inline(always)]
    fn place(&self, band: usize) -> (usize, usize) {
        let bands = self.rows.target[0].div_ceil(S::OUT);
        let index = self.bands.start + band;
        (index / bands, index % bands * S::OUT)
    }

    /// Sums of a band's rows of input channel `c`: `[band, sum, channel, column]`.
    #[inline(always)]
    fn gather<L: Lanes<f32>>(&mut self, band: usize, c: usize) {
        let Rows {
            channels: [inputs, _],
            source: [height, width],
            before,
            ..
        } = *self.rows;
        let pitch = self.pitch;
        let (sample, first) = self.place(band);
        let each = self.sums();
        let (sums, rest) = self.buffer.split_at_mut(self.together * each);
        let sums = &mut sums[band * each..][..each];
        let strip = &mut rest[..S::IN * pitch + L::N];
        let inside = width.min(pitch - before[1]);
        for r in 0..S::IN {
            let y = (first + r).wrapping_sub(before[0]);
            if y >= height {
                strip[r * pitch..][..pitch].fill(0.0);
                continue;
            }
            let at = ((sample * inputs + c) * height + y) * width;
            let from = &self.x[at..][..inside];
            for i in (0..from.len()).step_by(L::N) {
                let count = L::N.min(from.len() - i);
                // SAFETY: inside a kernel; `count` values are left. The zeros after them fall on
                // zeros, on rows to come or, after the last, on room for products.
                unsafe {
                    let v = L::load_first(from.as_ptr().add(i), count);
                    L::store(strip.as_mut_ptr().add(r * pitch + before[1] + i), v);
                }
            }
        }
        for column in (0..pitch).step_by(L::N) {
            // SAFETY: inside a kernel; rows are whole registers.
            unsafe {
                S::input::<L>(
                    strip.as_ptr().add(column),
                    pitch,
                    sums.as_mut_ptr().add(c * pitch + column),
                    inputs * pitch,
                );
            }
        }
    }

    /// The products of `O` output channels for two registers of columns: `[product, channel of the
    /// tile, register, lane]`.
    ///
    /// # Safety
    /// Inside a kernel; the buffer is there.
    #[inline(always)]
    unsafe fn products<L: Lanes<f32>, const O: usize>(&mut self, tile: usize, column: usize) {
        let (inputs, columns) = (self.rows.channels[0], self.rows.columns);
        let each = inputs * columns * TILE;
        let weights = &self.packed[tile * S::N * each..][..S::N * each];
        // From the first register to the second; a band that is alone is computed twice.
        let second = match (self.together, self.bands.len()) {
            (1, _) => L::N,
            (_, 2) => self.sums(),
            _ => 0,
        };
        let products = self.products_at();
        let from = self.buffer.as_ptr();
        let to = self.buffer[products..].as_mut_ptr();
        for i in 0..S::N {
            // SAFETY: the caller's promise; the weights were sliced above.
            unsafe {
                let mut sums = [[L::zero(); 2]; O];
                let mut w = weights.as_ptr().add(i * each);
                for c in 0..inputs {
                    let x = from.add((i * inputs + c) * self.pitch + column);
                    for k in 0..columns {
                        let x = [L::load(x.add(k)), L::load(x.add(k + second))];
                        for (o, sums) in sums.iter_mut().enumerate() {
                            let w = L::splat(*w.add(o));
                            sums[0] = L::fma(w, x[0], sums[0]);
                            sums[1] = L::fma(w, x[1], sums[1]);
                        }
                        w = w.add(TILE);
                    }
                }
                for (o, sum) in sums.as_flattened().iter().enumerate() {
                    L::store(to.add((i * TILE * 2 + o) * L::N), *sum);
                }
            }
        }
    }

    /// From products of channel `o` of the tile to rows of output channel `channel`.
    ///
    /// # Safety
    /// As [`products`](Self::products).
    #[inline(always)]
    unsafe fn scatter<L: Lanes<f32>>(&mut self, channel: usize, o: usize, column: usize) {
        let Rows {
            channels: [_, outputs],
            target: [height, width],
            bias,
            ..
        } = *self.rows;
        let products = self.products_at();
        let registers = match self.together {
            1 => (width - column).div_ceil(L::N).min(2),
            _ => self.bands.len(),
        };
        // SAFETY: the caller's promise; the rows lie in the output, and each is written by one task.
        unsafe {
            let stage = self
                .buffer
                .as_mut_ptr()
                .add(products + S::N * TILE * 2 * L::N);
            for v in 0..registers {
                let from = self.buffer.as_ptr().add(products + (o * 2 + v) * L::N);
                S::output::<L>(from, TILE * 2 * L::N, stage.add(v * L::N), 2 * L::N);
            }
            let bias = L::splat(bias.map_or(0.0, |b| b[channel]));
            let bands = self.bands.len();
            for band in 0..bands {
                let (sample, y) = self.place(band);
                let rows = S::OUT.min(height - y);
                let plane = (sample * outputs + channel) * height;
                for r in 0..rows {
                    // Whole registers may run into a next row that is written after this one.
                    let whole = r + 1 < rows && width <= 2 * L::N;
                    // Registers of a row: those of its columns, or the band's own.
                    for v in 0..registers / bands {
                        let x = column + v * L::N;
                        let from = stage.add((r * 2 + v + band) * L::N);
                        let value = L::add(L::load(from), bias);
                        let to = self.out.add((plane + y + r) * width + x);
                        match width - x {
                            left if left >= L::N || (whole && left + width >= L::N) => {
                                L::store(to, value);
                            }
                            left => L::store_first(to, value, left),
                        }
                    }
                }
            }
        }
    }
}
