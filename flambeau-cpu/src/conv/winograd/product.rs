//! The products: for each of them a small matrix product over channels, or over tiles.

use crate::lanes::{Kernel, Lanes};

use super::tiles::Panel;

/// Index of the sum of weights that product `i` of `n * n` uses.
pub(super) fn weight_of(i: usize, n: usize, weights: usize) -> usize {
    (i / n).min(weights - 1) * weights + (i % n).min(weights - 1)
}

/// All products of some tiles for up to two registers of output channels.
pub(super) struct Products {
    /// Products and sums of weights of an axis.
    pub axis: (usize, usize),
    /// Channels that are summed over.
    pub depth: usize,
    /// Sums of inputs, from the block of the first of these channels on.
    pub inputs: *const f32,
    pub panel: Panel,
    /// Tiles.
    pub tiles: usize,
    /// `[sum, channel, register, lane]`, the sums `weight_step` apart.
    pub weights: *const f32,
    pub weight_step: usize,
    pub registers: usize,
    /// `[product, tile, register, lane]`, the products `step` apart.
    pub to: *mut f32,
    pub step: usize,
    /// Whether to add to what is there.
    pub add: bool,
}

impl Kernel<f32> for Products {
    #[inline(always)]
    fn run<L: Lanes<f32>>(self) {
        let (n, weights) = self.axis;
        for i in 0..n * n {
            let weight = weight_of(i, n, weights) * self.weight_step;
            let mut t = 0;
            while t < self.tiles {
                let left = (self.tiles - t).div_ceil(4) * 4;
                // SAFETY: inside a kernel; panels have room for a multiple of four tiles, and so
                // have the products; the caller vouches for the rest.
                unsafe {
                    let tile = Tile {
                        depth: self.depth,
                        inputs: self.inputs.add(i * self.panel.step + t * L::N),
                        block: self.panel.tiles * L::N,
                        weights: self.weights.add(weight),
                        to: self.to.add(i * self.step + t * self.registers * L::N),
                        add: self.add,
                    };
                    t += match (self.registers, L::SUMS >= 24) {
                        (2, true) if left >= 12 => tile.sum::<L, 12, 2>(),
                        (2, true) if left == 8 => tile.sum::<L, 8, 2>(),
                        (2, false) if left >= 12 => tile.sum::<L, 6, 2>() + tile.after::<L, 6, 2>(),
                        (2, _) => tile.sum::<L, 4, 2>(),
                        (_, true) if left >= 12 => tile.sum::<L, 12, 1>(),
                        _ => tile.sum::<L, 4, 1>(),
                    };
                }
            }
        }
    }
}

/// `M` tiles of one product.
struct Tile {
    depth: usize,
    inputs: *const f32,
    /// Distance of the blocks of channels.
    block: usize,
    weights: *const f32,
    to: *mut f32,
    add: bool,
}

impl Tile {
    /// The `M` tiles after the first `M`.
    ///
    /// # Safety
    /// As [`sum`](Self::sum).
    #[inline(always)]
    unsafe fn after<L: Lanes<f32>, const M: usize, const V: usize>(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe {
            Tile {
                inputs: self.inputs.add(M * L::N),
                to: self.to.add(M * V * L::N),
                ..*self
            }
            .sum::<L, M, V>()
        }
    }

    /// Sums over the channels for `M` tiles and `V` registers of output channels; returns `M`.
    ///
    /// # Safety
    /// Inside a kernel; the memory is there.
    #[inline(always)]
    unsafe fn sum<L: Lanes<f32>, const M: usize, const V: usize>(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[L::zero(); V]; M];
            if self.add {
                for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                    *sum = L::load(self.to.add(i * L::N));
                }
            }
            let mut weights = self.weights;
            let mut inputs = self.inputs;
            let mut left = self.depth;
            while left > 0 {
                let channels = left.min(L::N);
                for c in 0..channels {
                    let mut w = [L::zero(); V];
                    for (v, w) in w.iter_mut().enumerate() {
                        *w = L::load(weights.add(v * L::N));
                    }
                    weights = weights.add(V * L::N);
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = L::splat(*inputs.add(i * L::N + c));
                        for (sum, w) in sums.iter_mut().zip(w) {
                            *sum = L::fma(x, w, *sum);
                        }
                    }
                }
                inputs = inputs.wrapping_add(self.block);
                left -= channels;
            }
            for (i, sum) in sums.as_flattened().iter().enumerate() {
                L::store(self.to.add(i * L::N), *sum);
            }
        }
        M
    }
}

/// For the gradient of the weight: sums over tiles of products of the output's gradient with inputs,
/// for some sums of weights and a block of output channels, and all input channels.
pub(super) struct Outer {
    /// Products and sums of weights of an axis.
    pub axis: (usize, usize),
    /// The sum of weights.
    pub weight: usize,
    /// Tiles.
    pub tiles: usize,
    /// The block of output channels.
    pub grads: *const f32,
    pub grad_panel: Panel,
    pub inputs: *const f32,
    pub input_panel: Panel,
    /// Blocks of input channels.
    pub blocks: usize,
    /// `[output channel of the block, block, lane]`.
    pub to: *mut f32,
    /// Whether to add to what is there.
    pub add: bool,
}

impl Kernel<f32> for Outer {
    #[inline(always)]
    fn run<L: Lanes<f32>>(self) {
        let (n, weights) = self.axis;
        let mut add = self.add;
        for i in (0..n * n).filter(|&i| weight_of(i, n, weights) == self.weight) {
            for block in (0..self.blocks).step_by(2) {
                let two = block + 2 <= self.blocks;
                // SAFETY: inside a kernel; the caller vouches for panels and sums.
                unsafe {
                    let mut k = 0;
                    while k < L::N {
                        let grads = self.grads.add(i * self.grad_panel.step + k);
                        let distance = self.input_panel.tiles * L::N;
                        let inputs = self
                            .inputs
                            .add(i * self.input_panel.step + block * distance);
                        let to = self.to.add((k * self.blocks + block) * L::N);
                        let row = self.blocks * L::N;
                        let (t, d) = (self.tiles, distance);
                        k += match (two, L::SUMS >= 24) {
                            (true, true) => outer::<L, 8, 2>(t, grads, inputs, d, to, row, add),
                            (false, true) => outer::<L, 8, 1>(t, grads, inputs, d, to, row, add),
                            (true, false) => outer::<L, 4, 2>(t, grads, inputs, d, to, row, add),
                            (false, false) => outer::<L, 4, 1>(t, grads, inputs, d, to, row, add),
                        };
                    }
                }
            }
            add = true;
        }
    }
}

/// `M` output channels times `V` blocks of input channels, `distance` apart; returns `M`.
///
/// # Safety
/// Inside a kernel; the memory is there.
#[inline(always)]
unsafe fn outer<L: Lanes<f32>, const M: usize, const V: usize>(
    tiles: usize,
    grads: *const f32,
    inputs: *const f32,
    distance: usize,
    to: *mut f32,
    row: usize,
    add: bool,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[L::zero(); V]; M];
        if add {
            for (m, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(to.add(m * row + v * L::N));
                }
            }
        }
        for t in 0..tiles {
            let mut x = [L::zero(); V];
            for (v, x) in x.iter_mut().enumerate() {
                *x = L::load(inputs.add(v * distance + t * L::N));
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let g = L::splat(*grads.add(t * L::N + m));
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = L::fma(g, x, *sum);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                L::store(to.add(m * row + v * L::N), *sum);
            }
        }
    }
    M
}
