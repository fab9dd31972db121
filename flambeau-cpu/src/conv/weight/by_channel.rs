//! Registers hold output channels: the gradient of the output is turned to `[sample, group, block,
//! position, lanes]`, where a block is the output channels of one tile; values of the planes are
//! broadcast. Every lane works whatever the size of the planes.

use super::Work;
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
    pixels: usize,
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
    pub fn new<T: Float>(work: &Work) -> Self {
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
            pixels: work.pixels,
        }
    }

    /// Turned values of a sample.
    pub fn sample(&self) -> usize {
        self.groups * self.blocks * self.pixels * self.lanes
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

    /// Turns one sample's gradient of the output; lanes past the last channel keep their zeros.
    pub fn turn<T: Float>(&self, work: &Work, grad_out: &[T], turned: &mut [T]) {
        let block_len = self.pixels * self.lanes;
        for (block, turned) in turned.chunks_exact_mut(block_len).enumerate() {
            let (group, block) = (block / self.blocks, block % self.blocks);
            let channels = self.lanes.min(work.out_group - block * self.lanes);
            let first = (group * work.out_group + block * self.lanes) * self.pixels;
            let grad_out = &grad_out[first..][..channels * self.pixels];
            for start in (0..self.pixels).step_by(16) {
                let len = 16.min(self.pixels - start);
                for (lane, grads) in grad_out.chunks_exact(self.pixels).enumerate() {
                    for (i, grad) in grads[start..][..len].iter().enumerate() {
                        turned[(start + i) * self.lanes + lane] = *grad;
                    }
                }
            }
        }
    }

    /// Adds a batch of samples to the sums.
    pub fn add<T: Float>(&self, work: &Work, samples: usize, x: &[T], grads: &[T], sums: &mut [T]) {
        let (tiles, tile) = (self.tiles(), self.tile());
        let count = self.groups * self.blocks * tiles;
        assert!(sums.len() >= count * tile && grads.len() >= samples * self.sample());
        let cost = samples * self.pixels * tile;
        let sums = SyncPtr(sums.as_mut_ptr());
        parallel_for(count, (1 << 17) / cost + 1, |range| {
            for index in range {
                let (block, first) = (index / tiles, index % tiles * self.rows);
                let runs = &self.offsets[first..(first + self.rows).min(self.offsets.len())];
                with_lanes(Tile {
                    way: self,
                    work,
                    runs,
                    group: block / self.blocks,
                    samples,
                    x,
                    grads: &grads[block * self.pixels * self.lanes..],
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
struct Tile<'a, T> {
    way: &'a ByChannel,
    work: &'a Work<'a>,
    /// At most `rows` runs.
    runs: &'a [usize],
    group: usize,
    samples: usize,
    x: &'a [T],
    /// From the tile's block in the first sample on.
    grads: &'a [T],
    sums: &'a mut [T],
}

impl<T: Float> Kernel<T> for Tile<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        // SAFETY: inside `run`.
        unsafe {
            if L::SUMS >= 24 {
                match (self.way.registers, self.way.run) {
                    (2, 1) => self.sum::<L, 2, 1, { rows(24, 2, 1) }>(),
                    (2, 3) => self.sum::<L, 2, 3, { rows(24, 2, 3) }>(),
                    (2, _) => self.sum::<L, 2, 5, { rows(24, 2, 5) }>(),
                    (_, 1) => self.sum::<L, 1, 1, { rows(24, 1, 1) }>(),
                    (_, 3) => self.sum::<L, 1, 3, { rows(24, 1, 3) }>(),
                    (_, _) => self.sum::<L, 1, 5, { rows(24, 1, 5) }>(),
                }
            } else {
                match (self.way.registers, self.way.run) {
                    (2, 1) => self.sum::<L, 2, 1, { rows(12, 2, 1) }>(),
                    (2, 3) => self.sum::<L, 2, 3, { rows(12, 2, 3) }>(),
                    (2, _) => self.sum::<L, 2, 5, { rows(12, 2, 5) }>(),
                    (_, 1) => self.sum::<L, 1, 1, { rows(12, 1, 1) }>(),
                    (_, 3) => self.sum::<L, 1, 3, { rows(12, 1, 3) }>(),
                    (_, _) => self.sum::<L, 1, 5, { rows(12, 1, 5) }>(),
                }
            }
        }
    }
}

impl<T: Float> Tile<'_, T> {
    /// `V` registers of channels times `R` runs of `K` elements.
    ///
    /// # Safety
    /// Inside a kernel.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>, const V: usize, const K: usize, const R: usize>(self) {
        let Work {
            planes,
            output,
            pixels,
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
        let grads_end = (self.samples - 1) * self.way.sample() + pixels * lanes;
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
                    for i in 0..width {
                        let mut grads = [L::zero(); V];
                        for (v, grads) in grads.iter_mut().enumerate() {
                            *grads = L::load(g.add(v * L::N));
                        }
                        g = g.add(lanes);
                        for (x, sums) in x.iter().zip(&mut sums) {
                            for (k, sums) in sums.iter_mut().enumerate() {
                                let x = L::splat(*x.add(i + k));
                                for (sum, grad) in sums.iter_mut().zip(grads) {
                                    *sum = L::fma(x, grad, *sum);
                                }
                            }
                        }
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
