//! Registers hold output channels, operands of interleaved planes are broadcast: every lane works
//! whatever the size of the planes.

use super::{Piece, Pieces, Tap};
use crate::conv::operand::{DotKernel, Dots, Operand, Stored};
use crate::float::Float;
use crate::lanes::Lanes;

/// Positions that are staged before they are brought into the output's order.
pub(super) const STAGE: usize = 128;

/// The most values of a square of registers.
const SQUARE: usize = 16 * 16;

pub(super) struct ByChannel<'a, T, E, X>(pub Pieces<'a, T, E, X>);

impl<T: Float, E: Stored<T>, X: Operand<T, E>> DotKernel<T, X> for ByChannel<'_, T, E, X> {
    #[inline(always)]
    fn run<L: Lanes<T>, D: Dots<T, L, X>>(self) {
        let mut pieces = self.0;
        for index in pieces.range.clone() {
            let piece = pieces.piece(index);
            // SAFETY: inside `run`.
            unsafe {
                if piece.width > L::N {
                    all::<T, E, X, L, D, 2>(&mut pieces, &piece);
                } else {
                    all::<T, E, X, L, D, 1>(&mut pieces, &piece);
                }
            }
        }
    }
}

/// One piece, cut into tiles of positions.
///
/// # Safety
/// Inside a kernel.
#[inline(always)]
unsafe fn all<
    T: Float,
    E: Stored<T>,
    X: Operand<T, E>,
    L: Lanes<T>,
    D: Dots<T, L, X>,
    const V: usize,
>(
    pieces: &mut Pieces<T, E, X>,
    piece: &Piece<X>,
) {
    let plan = pieces.plan;
    let (rows, width) = (piece.item.h.len(), piece.item.w.len());
    let (units, lanes) = (plan.units(), V * L::N);
    let pitch = plan.planes.pitch();
    let blocks = units.div_ceil(L::N);
    let block = plan.planes.channel() * L::N;
    let last = piece.part.reach() + (rows - 1) * pitch + width;
    assert!(piece.base + blocks.max(1) * block - block + last * L::N <= pieces.planes.len());
    assert!(piece.width == lanes && piece.weights.len() == piece.part.taps.len() * units * lanes);
    assert!(pieces.stage.len() >= STAGE * lanes);
    let tile = Tile {
        x: pieces.planes[piece.base..].as_ptr(),
        row: pitch * L::N,
        block,
        units,
        taps: &piece.part.taps,
        weights: piece.weights,
        bias: pieces.bias.map(|b| &b[piece.first..][..piece.channels]),
    };
    for w0 in (0..width).step_by(STAGE) {
        let wide = STAGE.min(width - w0);
        let at_once = STAGE / wide;
        for r0 in (0..rows).step_by(at_once) {
            let high = at_once.min(rows - r0);
            let stage = pieces.stage.as_mut_ptr();
            // SAFETY: inside a kernel; the assertions found the last position at the largest
            // offset inside `planes`, and the weights complete; no more than `STAGE` positions are
            // staged.
            unsafe {
                let mut r = 0;
                while r < high {
                    let few = matches!(wide, 1..=4 | 7) && 2 * wide <= most::<T, L>();
                    let two = r + 2 <= high && few;
                    let tiles = wide.div_ceil(most::<T, L>());
                    for t in 0..tiles {
                        let (start, end) = (wide * t / tiles, wide * (t + 1) / tiles);
                        let to = stage.add((r * wide + start) * lanes);
                        let from = (r0 + r, w0 + start);
                        match two {
                            true => tile.two::<L, D, V>(from, end - start, to),
                            false => tile.one::<L, D, V>(from, end - start, to),
                        }
                    }
                    r += if two { 2 } else { 1 };
                }
                // Whole rows of the output follow each other.
                let whole = plan.out_step[2] == 1 && plan.out_step[1] == 1 && wide == plan.out[2];
                let (runs, len) = match whole {
                    true => (1, high * wide),
                    false => (high, wide),
                };
                for run in 0..runs {
                    let from = stage.add(run * len * lanes);
                    write::<T, E, X, L, V>(pieces, piece, from, len, (r0 + run, w0));
                }
            }
        }
    }
}

/// Most positions of a tile.
#[inline(always)]
fn most<T, L: Lanes<T>>() -> usize {
    if L::SUMS >= 24 { 14 } else { 6 }
}

/// Brings `len` staged positions into the output's order, the first at position `at` (row, column).
///
/// # Safety
/// Inside a kernel; the positions are there and in the output.
#[inline(always)]
pub(super) unsafe fn write<
    T: Float,
    E: Stored<T>,
    X: Operand<T, E>,
    L: Lanes<T>,
    const V: usize,
>(
    pieces: &Pieces<T, E, X>,
    piece: &Piece<X>,
    from: *const T,
    len: usize,
    at: (usize, usize),
) {
    let plan = pieces.plan;
    let plane: usize = plan.out.iter().product();
    let step = plan.out_step[2];
    let direct = step == 1 && size_of::<E>() == size_of::<T>();
    let mut square = [T::ZERO; SQUARE];
    for first in (0..piece.channels).step_by(L::N) {
        let channels = L::N.min(piece.channels - first);
        let to = pieces.place(piece, first, at.0, at.1);
        for c in (0..len).step_by(L::N) {
            let count = L::N.min(len - c);
            // SAFETY: the caller's promise; where E is as large as T it is T.
            unsafe {
                let from = from.add(c * V * L::N + first);
                let size = (count, channels);
                if direct {
                    let to = pieces.out.add(to + c).cast();
                    L::transpose(from, V * L::N, size, None, to, plane, count);
                    continue;
                }
                L::transpose(from, V * L::N, size, None, square.as_mut_ptr(), L::N, L::N);
                for (channel, values) in square.chunks_exact(L::N).take(channels).enumerate() {
                    let to = pieces.out.add(to + channel * plane + c * step);
                    // As many as a register holds, where the compiler knows it, need no loop.
                    if step == 1 && count == L::N {
                        for (i, value) in values[..L::N].iter().enumerate() {
                            *to.add(i) = E::narrow(*value);
                        }
                    } else {
                        for (i, value) in values.iter().enumerate().take(count) {
                            *to.add(i * step) = E::narrow(*value);
                        }
                    }
                }
            }
        }
    }
}

/// The sums of one block of channels over positions.
struct Tile<'a, T, X> {
    x: *const X,
    /// Distance of rows, and of blocks of channels.
    row: usize,
    block: usize,
    units: usize,
    taps: &'a [Tap],
    weights: &'a [X],
    bias: Option<&'a [T]>,
}

impl<T: Float, X: Copy> Tile<'_, T, X> {
    /// `count` positions of one row.
    ///
    /// # Safety
    /// As [`sum`](Self::sum).
    #[inline(always)]
    unsafe fn one<L: Lanes<T>, D: Dots<T, L, X>, const V: usize>(
        &self,
        at: (usize, usize),
        count: usize,
        to: *mut T,
    ) {
        // SAFETY: handed on.
        unsafe {
            match count {
                1 => self.sum::<L, D, V, 1, 1>(at, to),
                2 => self.sum::<L, D, V, 1, 2>(at, to),
                3 => self.sum::<L, D, V, 1, 3>(at, to),
                4 => self.sum::<L, D, V, 1, 4>(at, to),
                5 => self.sum::<L, D, V, 1, 5>(at, to),
                6 => self.sum::<L, D, V, 1, 6>(at, to),
                _ if L::SUMS < 24 => unreachable!("six positions at most"),
                7 => self.sum::<L, D, V, 1, 7>(at, to),
                8 => self.sum::<L, D, V, 1, 8>(at, to),
                9 => self.sum::<L, D, V, 1, 9>(at, to),
                10 => self.sum::<L, D, V, 1, 10>(at, to),
                11 => self.sum::<L, D, V, 1, 11>(at, to),
                12 => self.sum::<L, D, V, 1, 12>(at, to),
                13 => self.sum::<L, D, V, 1, 13>(at, to),
                _ => self.sum::<L, D, V, 1, 14>(at, to),
            }
        }
    }

    /// `count` positions of two rows.
    ///
    /// # Safety
    /// As [`sum`](Self::sum).
    #[inline(always)]
    unsafe fn two<L: Lanes<T>, D: Dots<T, L, X>, const V: usize>(
        &self,
        at: (usize, usize),
        count: usize,
        to: *mut T,
    ) {
        // SAFETY: handed on.
        unsafe {
            match count {
                1 => self.sum::<L, D, V, 2, 1>(at, to),
                2 => self.sum::<L, D, V, 2, 2>(at, to),
                3 => self.sum::<L, D, V, 2, 3>(at, to),
                _ if L::SUMS < 24 => unreachable!("three positions at most"),
                4 => self.sum::<L, D, V, 2, 4>(at, to),
                _ => self.sum::<L, D, V, 2, 7>(at, to),
            }
        }
    }

    /// `V` registers of channels for `W` positions of `R` rows from `at` (row, column) on, to
    /// `[row, position, channel]`.
    ///
    /// # Safety
    /// Inside a kernel; the positions must be good to read at every offset and to write, and the
    /// weights hold `V` registers for each element.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>, D: Dots<T, L, X>, const V: usize, const R: usize, const W: usize>(
        &self,
        at: (usize, usize),
        to: *mut T,
    ) {
        // SAFETY: the caller's promise; of the bias no more is read than there is.
        unsafe {
            let mut sums = [[[L::zero(); V]; W]; R];
            if let Some(bias) = self.bias {
                let mut first = [L::zero(); V];
                for (v, first) in first.iter_mut().enumerate() {
                    let left = bias.len().saturating_sub(v * L::N).min(L::N);
                    *first = L::load_first(bias.as_ptr().wrapping_add(v * L::N), left);
                }
                sums = [[first; W]; R];
            }
            let at = self.x.add(at.0 * self.row + at.1 * L::N);
            let mut weights = self.weights.as_ptr();
            let mut left = self.units;
            let mut block = at;
            while left > 0 {
                let units = left.min(L::N);
                for tap in self.taps {
                    let x = block.add(tap.offset * L::N);
                    for c in 0..units {
                        let mut weight = [D::splat(*weights); V];
                        for (v, weight) in weight.iter_mut().enumerate() {
                            *weight = D::load(weights.add(v * L::N));
                        }
                        weights = weights.add(V * L::N);
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let x = x.add(r * self.row + c);
                            for (i, sums) in sums.iter_mut().enumerate() {
                                let x = D::splat(*x.add(i * L::N));
                                for (sum, weight) in sums.iter_mut().zip(weight) {
                                    *sum = D::dot(x, weight, *sum);
                                }
                            }
                        }
                    }
                }
                block = block.wrapping_add(self.block);
                left -= units;
            }
            for (i, sum) in sums.as_flattened().as_flattened().iter().enumerate() {
                L::store(to.add(i * L::N), *sum);
            }
        }
    }
}
