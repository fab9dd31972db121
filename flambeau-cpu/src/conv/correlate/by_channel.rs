//! Registers hold output channels, values of the planes are broadcast: for planes too small for
//! registers of positions (the late layers of a network) and with channels enough.

use super::{Piece, Pieces};
use crate::float::Float;
use crate::lanes::{Kernel, Lanes};

pub(super) struct ByChannel<'a, T>(pub Pieces<'a, T>);

impl<T: Float> Kernel<T> for ByChannel<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let mut pieces = self.0;
        for index in pieces.range.clone() {
            let piece = pieces.piece(index);
            // SAFETY: inside `run`.
            unsafe {
                if piece.width > L::N {
                    all::<T, L, 2>(&mut pieces, &piece);
                } else {
                    all::<T, L, 1>(&mut pieces, &piece);
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
unsafe fn all<T: Float, L: Lanes<T>, const V: usize>(pieces: &mut Pieces<T>, piece: &Piece<T>) {
    let (rows, width) = (piece.item.h.len(), piece.item.w.len());
    let pitch = pieces.plan.planes.pitch();
    let lanes = V * L::N;
    let end = piece.base + piece.part.reach + (rows - 1) * pitch + width;
    assert!(end <= pieces.planes.len() && rows * width * lanes <= pieces.stage.len());
    assert!(piece.width == lanes && piece.weights.len() == piece.part.offsets.len() * lanes);
    let tile = Tile {
        x: pieces.planes[piece.base..].as_ptr(),
        pitch,
        offsets: &piece.part.offsets,
        weights: piece.weights,
        bias: pieces.bias.map(|b| &b[piece.first..][..piece.channels]),
        stage: pieces.stage.as_mut_ptr(),
        width,
    };
    // SAFETY: inside a kernel; the assertions found the last position at the largest offset inside
    // `planes`, all staged values inside the stage, and the weights complete.
    unsafe {
        let mut r = 0;
        while r < rows {
            let two = r + 2 <= rows && (width == 4 || width == 2);
            let mut w = 0;
            while w < width {
                let left = width - w;
                w += match left {
                    4 if two => tile.sum::<L, V, 2, 4>(r, w),
                    2 if two => tile.sum::<L, V, 2, 2>(r, w),
                    14 => tile.sum::<L, V, 1, 7>(r, w),
                    10.. => tile.sum::<L, V, 1, 10>(r, w),
                    8.. => tile.sum::<L, V, 1, 8>(r, w),
                    7 => tile.sum::<L, V, 1, 7>(r, w),
                    4.. => tile.sum::<L, V, 1, 4>(r, w),
                    2.. => tile.sum::<L, V, 1, 2>(r, w),
                    _ => tile.sum::<L, V, 1, 1>(r, w),
                };
            }
            r += if two { 2 } else { 1 };
        }
    }

    let step = pieces.plan.out_step[2];
    let stage = &pieces.stage[..rows * width * lanes];
    for channel in 0..piece.channels {
        for (r, stage) in stage.chunks_exact(width * lanes).enumerate() {
            let to = pieces.place(piece, channel, r);
            for (i, values) in stage.chunks_exact(lanes).enumerate() {
                // SAFETY: positions of a part lie in the output plane, and each output is written
                // by one task.
                unsafe { *pieces.out.add(to + i * step) = values[channel] };
            }
        }
    }
}

/// The sums of one block of channels over positions.
struct Tile<'a, T> {
    x: *const T,
    /// Distance of rows.
    pitch: usize,
    offsets: &'a [usize],
    weights: &'a [T],
    bias: Option<&'a [T]>,
    /// `[row, position, lane]`.
    stage: *mut T,
    width: usize,
}

impl<T: Float> Tile<'_, T> {
    /// `V` registers of channels for positions `w..w + W` of rows `r..r + R`; returns `W`.
    ///
    /// # Safety
    /// Inside a kernel; the positions must be good to read at every offset and to stage, and the
    /// weights hold `V` registers for each offset.
    #[inline(always)]
    unsafe fn sum<L: Lanes<T>, const V: usize, const R: usize, const W: usize>(
        &self,
        r: usize,
        w: usize,
    ) -> usize {
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
            let at = self.x.add(r * self.pitch + w);
            let mut weights = self.weights.as_ptr();
            for offset in self.offsets {
                let x = at.add(*offset);
                let mut weight = [L::zero(); V];
                for (v, weight) in weight.iter_mut().enumerate() {
                    *weight = L::load(weights.add(v * L::N));
                }
                weights = weights.add(V * L::N);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = x.add(r * self.pitch);
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = L::splat(*x.add(i));
                        for (sum, weight) in sums.iter_mut().zip(weight) {
                            *sum = L::fma(x, weight, *sum);
                        }
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                let first = (r + row) * self.width + w;
                let stage = self.stage.add(first * V * L::N);
                for (i, sum) in sums.as_flattened().iter().enumerate() {
                    L::store(stage.add(i * L::N), *sum);
                }
            }
        }
        W
    }
}
