//! Registers hold output channels: the gradient of the output is turned to `[sample, group, block,
//! row, position, lanes]`, where a block is the output channels of one tile and a position of two
//! columns where operands are pairs; what the planes hold is broadcast. Every lane works whatever
//! the size of the planes.

use std::marker::PhantomData;

use super::Work;
use crate::conv::operand::{DotKernel, Dots, Operand, Stored};
use crate::float::Float;
use crate::lanes::{Kernel, Lanes, register_shape, with_lanes};
use crate::threads::{SyncPtr, parallel_for};

/// How a convolution is cut into tiles of `rows` runs of kernel elements times one block.
pub(super) struct ByChannel {
    /// Registers of a block: 1 or 2.
    registers: usize,
    /// Output channels of a block.
    lanes: usize,
    /// Blocks of a group.
    blocks: usize,
    /// Kernel elements of a run, next to each other in the planes.
    run: usize,
    /// First element of each run of a group.
    offsets: Vec<usize>,
    /// Runs of a tile.
    rows: usize,
    groups: usize,
    /// Operands of a plane.
    positions: usize,
}

/// Runs of a tile, by the registers there are for sums.
const fn rows(sums: usize, registers: usize, run: usize) -> usize {
    match (sums >= 24, registers, run) {
        (true, 2, 1) | (true, 1, 1) | (true, 1, 3) | (false, 1, 1) => 8,
        (true, 1, 5) => 5,
        (true, 2, 3) | (false, 2, 1) | (false, 1, 3) => 4,
        (true, 2, 5) | (false, 2, 3) | (false, 1, 5) => 2,
        _ => 1,
    }
}

impl ByChannel {
    /// `operand` is the number of columns in one.
    pub fn new<T: Float>(work: &Work, operand: usize) -> Self {
        let (n, sums) = register_shape::<T>();
        let s = work.s;
        // Two registers halve the broadcasts, unless the second would be empty in a sizeable part
        // of the blocks.
        let full = work.out_group.div_ceil(n);
        let registers = if full.is_multiple_of(2) || full > 4 {
            2
        } else {
            1
        };
        let [d, h, w] = s.kernel;
        let next = s.stride[2] == 1 && s.dilation[2] == 1;
        let (run, offsets) = if next && (w == 3 || w == 5) {
            (w, work.offsets([d, h, 1]))
        } else {
            (1, work.offsets([d, h, w]))
        };
        Self {
            registers,
            lanes: registers * n,
            blocks: work.out_group.div_ceil(registers * n),
            run,
            offsets,
            rows: rows(sums, registers, run),
            groups: s.groups,
            positions: work.rows.len() * work.output[2].div_ceil(operand),
        }
    }

    /// Of single kernel elements, each of one input channel, for so many operands of a sample.
    pub fn of_elements<T: Float>(work: &Work, positions: usize) -> Self {
        Self {
            run: 1,
            rows: 1,
            offsets: work.offsets(work.s.kernel),
            positions,
            ..Self::new::<T>(work, 1)
        }
    }

    /// Output channels of a block.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Blocks of a group.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Blocks of all groups.
    pub fn all_blocks(&self) -> usize {
        self.groups * self.blocks
    }

    /// First element of each run of a group.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Turned values of a sample.
    pub fn sample(&self) -> usize {
        self.groups * self.blocks * self.positions * self.lanes
    }

    /// Tiles of a block.
    fn tiles(&self) -> usize {
        self.offsets.len().div_ceil(self.rows)
    }

    /// Sums of a tile.
    fn tile(&self) -> usize {
        self.rows * self.run * self.lanes
    }

    /// Sums of all tiles: `[group, block, tile, row, element of the run, lane]`.
    pub fn sums(&self) -> usize {
        self.groups * self.blocks * self.tiles() * self.tile()
    }

    /// Turns one sample's gradient of the output.
    pub fn turn<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        work: &Work,
        grad_out: &[E],
        turned: &mut [X],
    ) {
        // Rows whose operands do not straddle their ends are one long row.
        let size = match work.output[2].is_multiple_of(X::LEN) {
            true => (1, work.pixels),
            false => (work.rows.len(), work.output[2]),
        };
        self.turn_rows::<T, E, X>(work, grad_out, size, turned);
    }

    /// The same of channels of `rows` rows of `width`.
    pub fn turn_rows<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        work: &Work,
        grad_out: &[E],
        (rows, width): (usize, usize),
        turned: &mut [X],
    ) {
        let block_len = self.positions * self.lanes;
        for (block, turned) in turned.chunks_exact_mut(block_len).enumerate() {
            let (group, block) = (block / self.blocks, block % self.blocks);
            let channels = self.lanes.min(work.out_group - block * self.lanes);
            let first = (group * work.out_group + block * self.lanes) * rows * width;
            with_lanes(Turn {
                grad_out: &grad_out[first..][..channels * rows * width],
                channels,
                rows,
                width,
                lanes: self.lanes,
                turned,
                sums: PhantomData,
            });
        }
    }

    /// Adds a batch of samples to the sums.
    pub fn add<T: Float, E: Stored<T>, X: Operand<T, E>>(
        &self,
        work: &Work,
        samples: usize,
        x: &[X::Cell],
        grads: &[X],
        sums: &mut [T],
    ) {
        let (tiles, tile) = (self.tiles(), self.tile());
        let count = self.groups * self.blocks * tiles;
        assert!(sums.len() >= count * tile && grads.len() >= samples * self.sample());
        let cost = samples * self.positions * tile;
        let sums = SyncPtr(sums.as_mut_ptr());
        parallel_for(count, (1 << 17) / cost + 1, |range| {
            for index in range {
                let (block, first) = (index / tiles, index % tiles * self.rows);
                let runs = &self.offsets[first..(first + self.rows).min(self.offsets.len())];
                X::run(Tile::<T, E, X> {
                    way: self,
                    work,
                    runs,
                    group: block / self.blocks,
                    samples,
                    x,
                    grads: &grads[block * self.positions * self.lanes..],
                    // SAFETY: tile `index` has its own part of the sums, inside by the assertion.
                    sums: unsafe {
                        std::slice::from_raw_parts_mut(sums.get().add(index * tile), tile)
                    },
                });
            }
        });
    }

    /// Brings the sums into the weight's order.
    pub fn finish<T: Float>(&self, work: &Work, sums: &[T], grad_w: &mut [T]) {
        let patch = self.offsets.len() * self.run;
        let block_len = self.tiles() * self.tile();
        crate::threads::parallel_chunks_mut(grad_w, patch, |channel, grad_w| {
            let (group, channel) = (channel / work.out_group, channel % work.out_group);
            let (block, lane) = (channel / self.lanes, channel % self.lanes);
            let sums = &sums[(group * self.blocks + block) * block_len..][..block_len];
            for (grad, sums) in grad_w.iter_mut().zip(sums.chunks_exact(self.lanes)) {
                *grad = sums[lane];
            }
        });
    }
}

/// One tile of one batch.
struct Tile<'a, T, E, X: Operand<T, E>> {
    way: &'a ByChannel,
    work: &'a Work<'a>,
    /// At most `rows` runs.
    runs: &'a [usize],
    group: usize,
    samples: usize,
    x: &'a [X::Cell],
    /// From the tile's block in the first sample on.
    grads: &'a [X],
    sums: &'a mut [T],
}

impl<T: Float, E: Stored<T>, X: Operand<T, E>> DotKernel<T, X> for Tile<'_, T, E, X> {
    #[inline(always)]
    fn run<L: Lanes<T>, D: Dots<T, L, X>>(self) {
        // SAFETY: inside `run`.
        unsafe {
            if L::SUMS >= 24 {
                match (self.way.registers, self.way.run) {
                    (2, 1) => self.sum::<L, D, 2, 1, { rows(24, 2, 1) }>(),
                    (2, 3) => self.sum::<L, D, 2, 3, { rows(24, 2, 3) }>(),
                    (2, _) => self.sum::<L, D, 2, 5, { rows(24, 2, 5) }>(),
                    (_, 1) => self.sum::<L, D, 1, 1, { rows(24, 1, 1) }>(),
                    (_, 3) => self.sum::<L, D, 1, 3, { rows(24, 1, 3) }>(),
                    (_, _) => self.sum::<L, D, 1, 5, { rows(24, 1, 5) }>(),
                }
            } else {
                match (self.way.registers, self.way.run) {
                    (2, 1) => self.sum::<L, D, 2, 1, { rows(12, 2, 1) }>(),
                    (2, 3) => self.sum::<L, D, 2, 3, { rows(12, 2, 3) }>(),
                    (2, _) => self.sum::<L, D, 2, 5, { rows(12, 2, 5) }>(),
                    (_, 1) => self.sum::<L, D, 1, 1, { rows(12, 1, 1) }>(),
                    (_, 3) => self.sum::<L, D, 1, 3, { rows(12, 1, 3) }>(),
                    (_, _) => self.sum::<L, D, 1, 5, { rows(12, 1, 5) }>(),
                }
            }
        }
    }
}

impl<T: Float, E: Stored<T>, X: Operand<T, E>> Tile<'_, T, E, X> {
    /// `V` registers of channels times `R` runs of `K` elements.
    ///
    /// # Safety
    /// Inside a kernel.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>, D: Dots<T, L, X>, const V: usize, const K: usize, const R: usize>(
        self,
    ) {
        let Work {
            planes,
            output,
            in_group,
            ..
        } = self.work;
        // A last tile with fewer runs repeats its first; those sums are not used.
        let mut offsets = [self.runs[0]; R];
        offsets[..self.runs.len()].copy_from_slice(self.runs);
        let x_sample = self.x.len() / self.samples;
        let width = output[2];
        let lanes = V * L::N;
        let reach = offsets.iter().max().map_or(0, |o| *o) + K + width - 1;
        let group = self.group * in_group * planes.channel();
        assert!(lanes == self.way.lanes && self.sums.len() == R * K * lanes);
        assert!(group + self.work.last_row() + reach <= x_sample);
        let grads_end = (self.samples - 1) * self.way.sample() + self.way.positions * lanes;
        assert!(grads_end <= self.grads.len());
        // SAFETY: inside a kernel. The assertions found the last position of the last sample
        // inside `x` and `grads`, and the tile's size that of `sums`.
        unsafe {
            let mut sums = [[[L::zero(); V]; K]; R];
            for n in 0..self.samples {
                let mut g = self.grads.as_ptr().add(n * self.way.sample());
                let x = self.x.as_ptr().add(n * x_sample + group);
                for row in &self.work.rows {
                    let x = x.add(*row);
                    let x = offsets.map(|o| x.add(o));
                    let whole = width / X::LEN;
                    for i in 0..whole {
                        let x = x.map(|x| x.add(i * X::LEN));
                        step::<T, E, X, L, D, V, K, R>(&mut sums, x, true, g);
                        g = g.add(lanes);
                    }
                    if whole * X::LEN < width {
                        let x = x.map(|x| x.add(whole * X::LEN));
                        step::<T, E, X, L, D, V, K, R>(&mut sums, x, false, g);
                        g = g.add(lanes);
                    }
                }
            }
            let one = L::splat(T::ONE);
            let mut to = self.sums.as_mut_ptr();
            for sum in sums.as_flattened().as_flattened() {
                L::store(to, L::fma(*sum, one, L::load(to)));
                to = to.add(L::N);
            }
        }
    }
}

/// Adds the products of one position; `all` unless only the first column of an operand is there.
///
/// # Safety
/// Inside a kernel; `K` operands lie from each of `x` on, and `V` registers at `g`.
#[inline(always)]
unsafe fn step<
    T: Float,
    E: Stored<T>,
    X: Operand<T, E>,
    L: Lanes<T>,
    D: Dots<T, L, X>,
    const V: usize,
    const K: usize,
    const R: usize,
>(
    sums: &mut [[[L::V; V]; K]; R],
    x: [*const X::Cell; R],
    all: bool,
    g: *const X,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut grads = [D::load(g); V];
        for (v, grads) in grads.iter_mut().enumerate().skip(1) {
            *grads = D::load(g.add(v * L::N));
        }
        for (x, sums) in x.iter().zip(sums) {
            for (k, sums) in sums.iter_mut().enumerate() {
                let x = D::splat(X::read(x.add(k), all));
                for (sum, grad) in sums.iter_mut().zip(grads) {
                    *sum = D::dot(x, grad, *sum);
                }
            }
        }
    }
}

/// Brings rows of some channels to `[row, position, lane]`; lanes past the last channel are 0.
struct Turn<'a, T, E, X> {
    grad_out: &'a [E],
    channels: usize,
    rows: usize,
    width: usize,
    lanes: usize,
    turned: &'a mut [X],
    sums: PhantomData<T>,
}

/// The most operands of a square of registers.
const SQUARE: usize = 16 * 16;

impl<T: Float, E: Stored<T>, X: Operand<T, E>> Kernel<T> for Turn<'_, T, E, X> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        const { assert!(size_of::<X>() == size_of::<T>() && L::N * L::N <= SQUARE) };
        let (rows, width, lanes) = (self.rows, self.width, self.lanes);
        let positions = width.div_ceil(X::LEN);
        let plane = rows * width;
        assert!(self.turned.len() >= rows * positions * lanes);
        let mut square = [X::NONE; SQUARE];
        for v in (0..lanes).step_by(L::N) {
            let channels = self.channels.saturating_sub(v).min(L::N);
            for row in 0..rows {
                for first in (0..positions).step_by(L::N) {
                    let count = L::N.min(positions - first);
                    let columns = (width - first * X::LEN).min(L::N * X::LEN);
                    let at = v * plane + row * width + first * X::LEN;
                    let (from, distance) = match X::same(self.grad_out) {
                        Some(maps) => {
                            let last = at + channels.max(1) * plane - plane + count;
                            assert!(last <= maps.len() || channels == 0);
                            (maps.as_ptr().wrapping_add(at), plane)
                        }
                        None => {
                            for (lane, to) in
                                square.chunks_exact_mut(L::N).take(channels).enumerate()
                            {
                                let from = &self.grad_out[at + lane * plane..][..columns];
                                match columns == L::N * X::LEN {
                                    true => {
                                        gather::<T, E, X>(&from[..L::N * X::LEN], &mut to[..L::N])
                                    }
                                    false => gather::<T, E, X>(from, &mut to[..count]),
                                }
                            }
                            (square.as_ptr(), L::N)
                        }
                    };
                    // SAFETY: inside a kernel; operands are as large as values and any bits may be
                    // turned; the assertion found the last register.
                    unsafe {
                        let to = (row * positions + first) * lanes + v;
                        let to = self.turned.as_mut_ptr().add(to).cast();
                        let size = (channels, count);
                        L::transpose(from.cast(), distance, size, None, to, lanes, L::N);
                    }
                }
            }
        }
    }
}

/// Operands of neighbouring columns.
#[inline(always)]
fn gather<T: Float, E: Stored<T>, X: Operand<T, E>>(from: &[E], to: &mut [X]) {
    let whole = from.len() / X::LEN;
    for (to, from) in to.iter_mut().zip(from.chunks_exact(X::LEN)) {
        *to = X::of([from[0], from[X::LEN - 1]]);
    }
    if whole < to.len() {
        to[whole] = X::of_first(from[whole * X::LEN]);
    }
}
