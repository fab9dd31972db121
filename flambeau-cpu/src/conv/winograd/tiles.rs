//! From maps to tiles of sums of inputs, and from products to maps. Registers hold channels: a few
//! rows of a block of channels are turned to `[row, column, lane]`, transformed along one axis for all
//! columns, and along the other tile by tile.

use std::marker::PhantomData;
use std::ops::Range;

use super::maps::{Maps, MapsMut};
use super::scheme::{Scheme, WeightScheme};
use crate::lanes::{Kernel, Lanes};

/// How the tiles of a batch of maps are cut into units: runs within a row of tiles.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub batch: usize,
    /// Rows and columns of tiles.
    pub tiles: [usize; 2],
    /// Runs of a row.
    pub runs: usize,
}

/// Most outputs of a unit.
const RUN: usize = 64;

/// A run of tiles.
pub(super) struct Unit {
    sample: usize,
    y: usize,
    x: Range<usize>,
}

impl Grid {
    pub fn new(batch: usize, output: [usize; 2], tile: usize) -> Self {
        let tiles = output.map(|o| o.div_ceil(tile));
        let runs = (tiles[1] * tile).div_ceil(RUN);
        Self { batch, tiles, runs }
    }

    pub fn units(&self) -> usize {
        self.batch * self.tiles[0] * self.runs
    }

    /// Tiles before a unit.
    pub fn before(&self, unit: usize) -> usize {
        unit / self.runs * self.tiles[1] + self.tiles[1] * (unit % self.runs) / self.runs
    }

    fn unit(&self, index: usize) -> Unit {
        let (row, run) = (index / self.runs, index % self.runs);
        let start = |run| self.tiles[1] * run / self.runs;
        Unit {
            sample: row / self.tiles[0],
            y: row % self.tiles[0],
            x: start(run)..start(run + 1),
        }
    }

    /// Most tiles of a unit.
    pub fn widest(&self) -> usize {
        self.tiles[1].div_ceil(self.runs)
    }
}

/// One of the transforms that lead to products.
pub(super) trait Expand: Sync + 'static {
    /// Values of a tile, and the distance of neighbouring tiles' first ones.
    const IN: usize;
    const STEP: usize;
    const N: usize;
    /// `IN` values to `N`.
    ///
    /// # Safety
    /// As [`Scheme`].
    unsafe fn apply<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize);
}

/// The transform of the input.
pub(super) struct OfInput<S>(PhantomData<fn() -> S>);
/// The transform of the output's gradient.
pub(super) struct OfGrad<S>(PhantomData<fn() -> S>);

impl<S: Scheme> Expand for OfInput<S> {
    const IN: usize = S::IN;
    const STEP: usize = S::STEP;
    const N: usize = S::N;
    #[inline(always)]
    unsafe fn apply<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        // SAFETY: handed on.
        unsafe { S::input::<L>(from, fs, to, ts) }
    }
}

impl<S: WeightScheme> Expand for OfGrad<S> {
    const IN: usize = S::OUT;
    const STEP: usize = S::OUT;
    const N: usize = S::N;
    #[inline(always)]
    unsafe fn apply<L: Lanes<f32>>(from: *const f32, fs: usize, to: *mut f32, ts: usize) {
        // SAFETY: handed on.
        unsafe { S::grad::<L>(from, fs, to, ts) }
    }
}

/// Maps that are cut into tiles.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// `[sample, channel, row, column]`.
    pub x: Maps<'a>,
    pub channels: usize,
    pub size: [usize; 2],
    /// Zeros before the first row and column.
    pub before: [usize; 2],
}

/// Where the transformed tiles of a block lie: `[product, channel block, tile, lane]`.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// Room for so many tiles.
    pub tiles: usize,
    /// Distance of the products.
    pub step: usize,
}

impl Panel {
    /// For `tiles` tiles of `blocks` blocks of `lanes` channels. Distances that are multiples of a
    /// page would all fall into one set of the cache.
    pub fn new(tiles: usize, blocks: usize, lanes: usize) -> Self {
        let tiles = tiles.next_multiple_of(4);
        let step = blocks * tiles * lanes + lanes;
        Self { tiles, step }
    }
}

/// Transforms blocks of channels of some units.
pub(super) struct Gather<'a, E> {
    pub source: Source<'a>,
    pub grid: Grid,
    pub units: Range<usize>,
    /// Blocks of channels, as many as a register has lanes each.
    pub blocks: Range<usize>,
    /// Tiles before the panel's first.
    pub first: usize,
    pub panel: Panel,
    pub to: *mut f32,
    /// Room for [`Gather::room`] values.
    pub work: &'a mut [f32],
    pub expand: PhantomData<fn() -> E>,
}

impl<E: Expand> Gather<'_, E> {
    /// Values of `work`.
    pub fn room(grid: &Grid, lanes: usize) -> usize {
        (E::IN + E::N) * ((grid.widest() - 1) * E::STEP + E::IN) * lanes
    }
}

impl<E: Expand> Kernel<f32> for Gather<'_, E> {
    #[inline(always)]
    fn run<L: Lanes<f32>>(self) {
        assert!(self.work.len() >= Self::room(&self.grid, L::N));
        let strip = self.work.as_mut_ptr();
        for block in self.blocks.clone() {
            let mut fresh = true;
            for index in self.units.clone() {
                let unit = self.grid.unit(index);
                let columns = (unit.x.len() - 1) * E::STEP + E::IN;
                let pitch = columns * L::N;
                let tile = block * self.panel.tiles + self.grid.before(index) - self.first;
                // SAFETY: inside a kernel; `work` has room for the strip and, after it, the stage;
                // the panel was made for these units and blocks.
                unsafe {
                    let to = self.to.add(tile * L::N);
                    if E::IN == 1 && E::STEP == 1 {
                        self.row::<L>(&unit, block, 0, columns, to);
                        continue;
                    }
                    // Rows that the tiles above have read too are there already.
                    let keep = match fresh || unit.y == 0 || self.grid.runs > 1 {
                        true => 0,
                        false => E::IN.saturating_sub(E::STEP),
                    };
                    fresh = false;
                    std::ptr::copy(strip.add(E::STEP * pitch), strip, keep * pitch);
                    for r in keep..E::IN {
                        self.row::<L>(&unit, block, r, columns, strip.add(r * pitch));
                    }
                    let stage = strip.add(E::IN * pitch);
                    for c in 0..columns {
                        let at = c * L::N;
                        E::apply::<L>(strip.add(at), pitch, stage.add(at), pitch);
                    }
                    for t in 0..unit.x.len() {
                        let to = to.add(t * L::N);
                        for j in 0..E::N {
                            E::apply::<L>(
                                stage.add(j * pitch + t * E::STEP * L::N),
                                L::N,
                                to.add(j * E::N * self.panel.step),
                                self.panel.step,
                            );
                        }
                    }
                }
            }
        }
    }
}

impl<E: Expand> Gather<'_, E> {
    /// Row `r` of a unit's tiles: `columns` registers of channels.
    ///
    /// # Safety
    /// Inside a kernel; `to` has room for them.
    #[inline(always)]
    unsafe fn row<L: Lanes<f32>>(
        &self,
        unit: &Unit,
        block: usize,
        r: usize,
        columns: usize,
        to: *mut f32,
    ) {
        let Source {
            x,
            channels,
            size: [height, width],
            before,
        } = self.source;
        let y = (unit.y * E::STEP + r).wrapping_sub(before[0]);
        let left = unit.x.start * E::STEP;
        // Columns of the strip that lie in the map.
        let (from, end) = match y < height {
            true => (
                before[1].saturating_sub(left).min(columns),
                (width + before[1]).saturating_sub(left).min(columns),
            ),
            false => (columns, columns),
        };
        let first = block * L::N;
        let rows = (channels - first).min(L::N);
        let plane = height * width;
        // SAFETY: inside a kernel; columns `from..end` are those of the map, row `y` of it.
        unsafe {
            for c in (0..from).chain(end..columns) {
                L::store(to.add(c * L::N), L::zero());
            }
            let mut c = from;
            while c < end {
                let count = (end - c).min(L::N);
                let at =
                    (unit.sample * channels + first) * plane + y * width + left + c - before[1];
                x.turn::<L>(at, plane, (rows, count), to.add(c * L::N));
                c += count;
            }
        }
    }
}

/// Maps that are put together from products.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// `[sample, channel, row, column]`.
    pub out: MapsMut,
    pub channels: usize,
    pub size: [usize; 2],
    pub bias: Option<&'a [f32]>,
}

/// Products to outputs, for some units and up to two registers of channels.
pub(super) struct Scatter<'a, S> {
    pub target: Target<'a>,
    pub grid: Grid,
    pub units: Range<usize>,
    /// First channel, and registers of channels.
    pub channel: usize,
    pub registers: usize,
    /// `[product, tile, register, lane]`, the products `step` apart, from tile `first` on.
    pub products: *const f32,
    pub step: usize,
    pub first: usize,
    /// Room for [`Scatter::room`] values.
    pub work: &'a mut [f32],
    pub scheme: PhantomData<fn() -> S>,
}

impl<S: Scheme> Scatter<'_, S> {
    /// Values of `work`.
    pub fn room(grid: &Grid, lanes: usize) -> usize {
        S::OUT * (grid.widest() * S::OUT + S::N) * lanes
    }
}

impl<S: Scheme> Kernel<f32> for Scatter<'_, S> {
    #[inline(always)]
    fn run<L: Lanes<f32>>(self) {
        assert!(self.work.len() >= Self::room(&self.grid, L::N));
        let [height, width] = self.target.size;
        let stage = self.work.as_mut_ptr();
        for index in self.units.clone() {
            let unit = self.grid.unit(index);
            let tile = self.grid.before(index) - self.first;
            let columns = unit.x.len() * S::OUT;
            let (y, x) = (unit.y * S::OUT, unit.x.start * S::OUT);
            let (rows, wide) = ((height - y).min(S::OUT), (width - x).min(columns));
            // Whole rows follow each other in the map as they do in the strip.
            let (rows, wide) = match wide == width && wide == columns {
                true => (1, rows * wide),
                false => (rows, wide),
            };
            for v in 0..self.registers {
                let first = self.channel + v * L::N;
                let channels = (self.target.channels - first).min(L::N);
                // SAFETY: inside a kernel; `work` has room for a tile's stage and the strip after
                // it; the products are those of these units; the rows and channels lie in the map.
                unsafe {
                    let from = self.products.add((tile * self.registers + v) * L::N);
                    // With one product a tile the strip is there already.
                    let (strip, pitch, tiles) = match S::N * S::OUT {
                        1 => (from, self.registers * L::N, 0),
                        _ => {
                            let strip = stage.add(S::OUT * S::N * L::N);
                            (strip.cast_const(), L::N, unit.x.len())
                        }
                    };
                    for t in 0..tiles {
                        let from = from.add(t * self.registers * L::N);
                        for j in 0..S::N {
                            S::output::<L>(
                                from.add(j * self.step),
                                S::N * self.step,
                                stage.add(j * L::N),
                                S::N * L::N,
                            );
                        }
                        for r in 0..S::OUT {
                            S::output::<L>(
                                stage.add(r * S::N * L::N),
                                L::N,
                                strip.add((r * columns + t * S::OUT) * L::N).cast_mut(),
                                L::N,
                            );
                        }
                    }
                    let bias = match self.target.bias {
                        Some(bias) => L::load_first(bias[first..].as_ptr(), channels),
                        None => L::zero(),
                    };
                    let map = unit.sample * self.target.channels + first;
                    for r in 0..rows {
                        let at = (map * height + y + r) * width + x;
                        for c in (0..wide).step_by(L::N) {
                            self.target.out.turn::<L>(
                                strip.add((r * columns + c) * pitch),
                                pitch,
                                (channels, (wide - c).min(L::N)),
                                bias,
                                at + c,
                                height * width,
                            );
                        }
                    }
                }
            }
        }
    }
}
