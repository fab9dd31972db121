//! A tile unit's registers hold 16 channels of 16 positions: for pairs of bf16 in blocks of 16, of
//! which a position is one row of a tile, as the packed weights of a kernel element are another.

use std::marker::PhantomData;

use super::by_channel::{STAGE, write};
use super::{Piece, Pieces, Plan, Tap, Tiling};
use crate::conv::operand::{DotKernel, Dots, Operand, Stored};
use crate::conv::planes::Planes;
use crate::conv::{ConvShape, choice::Part};
use crate::float::Float;
use crate::gemm::unit::{ROW, TileUnit};
use crate::lanes::Lanes;

/// Rows and columns of a tile of sums, operands in a row of the others.
const SIDE: usize = 16;

/// How the positions of a piece fill tiles: each row for itself, or through the gaps between them.
#[derive(Clone, Copy)]
struct Filling {
    /// Rows that are staged together.
    rows: usize,
    /// Distance of rows, in the planes and in the stage.
    from: usize,
    to: usize,
}

impl Filling {
    /// Of rows of `width` positions that lie `pitch` apart.
    fn new(rows: usize, width: usize, pitch: usize) -> Filling {
        let alone = width.next_multiple_of(SIDE);
        let apart = Filling {
            rows: (STAGE / alone).clamp(1, rows.max(1)),
            from: pitch,
            to: alone,
        };
        let through = Filling {
            rows: ((STAGE - width) / pitch + 1).clamp(1, rows.max(1)),
            from: pitch,
            to: pitch,
        };
        // Positions of tiles for a row.
        let cost = |f: Filling| f.tiles(f.rows, width) as f64 / f.rows as f64;
        if cost(through) < cost(apart) {
            through
        } else {
            apart
        }
    }

    /// Tiles of so many rows.
    fn tiles(self, rows: usize, width: usize) -> usize {
        ((rows - 1) * self.to + width).div_ceil(SIDE)
    }

    /// Where a tile begins in the planes.
    fn start(self, tile: usize) -> usize {
        match self.from == self.to {
            true => tile * SIDE,
            false => tile * SIDE / self.to * self.from + tile * SIDE % self.to,
        }
    }
}

/// Whether tiles are full enough, in both directions, to be faster than fewer multiplications by
/// other means.
pub(in crate::conv) fn is_for(s: &ConvShape, part: Part) -> bool {
    let [from, to] = [s.in_channels, s.out_channels].map(|c| c / s.groups);
    let ([from, to], [_, h, w], planes) = match part {
        Part::Forward => ([from, to], s.valid_output(), Planes::of_input(s)),
        Part::Data => {
            let extent = [0, 1, 2].map(|d| s.input[d] / s.stride[d]);
            ([to, from], extent, Planes::of_output(s))
        }
        Part::Weight => return false,
    };
    let width = w.min(STAGE);
    if !from.is_multiple_of(2 * SIDE) || !to.is_multiple_of(SIDE) || h * w == 0 {
        return false;
    }
    let filling = Filling::new(h, width, planes.pitch());
    let tiles = filling.tiles(filling.rows, width) * SIDE;
    3 * filling.rows * width >= 2 * tiles
}

/// Whether a plan's operands lie as tiles take them.
pub(super) fn takes(plan: &Plan, tiling: &Tiling) -> bool {
    tiling.by_channel && tiling.interleaved == SIDE && plan.units().is_multiple_of(SIDE)
}

/// Runs pieces on a unit.
pub(super) fn run<T: Float, E: Stored<T>, X: Operand<T, E>, U: TileUnit>(pieces: Pieces<T, E, X>) {
    X::run(ByTile::<T, E, X, U>(pieces, PhantomData));
}

struct ByTile<'a, T, E, X, U>(Pieces<'a, T, E, X>, PhantomData<U>);

impl<T: Float, E: Stored<T>, X: Operand<T, E>, U: TileUnit> DotKernel<T, X>
    for ByTile<'_, T, E, X, U>
{
    #[inline(always)]
    fn run<L: Lanes<T>, D: Dots<T, L, X>>(self) {
        assert!(L::N == SIDE && size_of::<T>() == 4 && size_of::<X>() == 4);
        let mut pieces = self.0;
        let mut unit = U::enter();
        for index in pieces.range.clone() {
            let piece = pieces.piece(index);
            // SAFETY: inside `run`; the unit is configured, and the sizes are those of pairs.
            unsafe {
                if piece.width > SIDE {
                    all::<T, E, X, L, U, 2>(&mut pieces, &piece, &mut unit);
                } else {
                    all::<T, E, X, L, U, 1>(&mut pieces, &piece, &mut unit);
                }
            }
        }
        unit.leave();
    }
}

/// One piece, of `V` tiles of channels.
///
/// # Safety
/// Inside a kernel, with a configured unit; operands and sums have four bytes.
#[inline(always)]
unsafe fn all<
    T: Float,
    E: Stored<T>,
    X: Operand<T, E>,
    L: Lanes<T>,
    U: TileUnit,
    const V: usize,
>(
    pieces: &mut Pieces<T, E, X>,
    piece: &Piece<X>,
    unit: &mut U,
) {
    let plan = pieces.plan;
    let (rows, width) = (piece.item.h.len(), piece.item.w.len());
    let (units, lanes) = (plan.units(), V * SIDE);
    let pitch = plan.planes.pitch();
    let (blocks, block) = (units / SIDE, plan.planes.channel() * SIDE);
    assert!(piece.width == lanes && piece.weights.len() == piece.part.taps.len() * units * lanes);
    assert!(pieces.stage.len() >= STAGE * lanes);
    // A tile of sums begins with the bias in each row.
    let mut first = [[T::ZERO; 2 * SIDE]; SIDE];
    if let Some(bias) = pieces.bias {
        for row in &mut first {
            row[..piece.channels].copy_from_slice(&bias[piece.first..][..piece.channels]);
        }
    }
    let tile = Tile {
        blocks,
        block,
        taps: &piece.part.taps,
        weights: piece.weights.as_ptr(),
        first: first.as_ptr().cast::<u8>(),
    };
    for w0 in (0..width).step_by(STAGE) {
        let wide = STAGE.min(width - w0);
        let filling = Filling::new(rows, wide, pitch);
        for r0 in (0..rows).step_by(filling.rows) {
            let high = filling.rows.min(rows - r0);
            let tiles = filling.tiles(high, wide);
            let base = piece.base + (r0 * pitch + w0) * SIDE;
            let last = filling.start(tiles - 1) + piece.part.reach() + SIDE;
            assert!(base + blocks.max(1) * block - block + last * SIDE <= pieces.planes.len());
            let stage = pieces.stage.as_mut_ptr();
            // SAFETY: the assertions found the last position at the largest offset inside
            // `planes`, and the weights complete; no more than `STAGE` positions are staged.
            unsafe {
                let x = |t: usize| pieces.planes.as_ptr().add(base + filling.start(t) * SIDE);
                let to = |t: usize| stage.add(t * SIDE * lanes).cast::<u8>();
                for t in (0..tiles).step_by(2) {
                    match t + 1 < tiles {
                        true => tile.sum::<U, V, 2>(unit, [x(t), x(t + 1)], to(t)),
                        false => tile.sum::<U, V, 1>(unit, [x(t)], to(t)),
                    }
                }
                // Rows that lie without a gap, there and in the output, are one run.
                let whole = plan.out_step[1..] == [1, 1] && wide == plan.out[2];
                let (runs, len) = match whole && filling.to == wide {
                    true => (1, high * wide),
                    false => (high, wide),
                };
                for run in 0..runs {
                    let from = stage.add(run * filling.to * lanes);
                    write::<T, E, X, L, V>(pieces, piece, from, len, (r0 + run, w0));
                }
            }
        }
    }
}

/// The sums of `V` tiles of channels over positions.
struct Tile<'a, X> {
    blocks: usize,
    /// Distance of blocks of channels.
    block: usize,
    taps: &'a [Tap],
    weights: *const X,
    /// What sums begin with: 16 rows of 32.
    first: *const u8,
}

impl<X> Tile<'_, X> {
    /// `P` tiles of positions, to rows of `V` tiles of channels.
    ///
    /// # Safety
    /// The unit is configured; positions, weights and the place for sums are there.
    #[inline(always)]
    unsafe fn sum<U: TileUnit, const V: usize, const P: usize>(
        &self,
        unit: &mut U,
        x: [*const X; P],
        to: *mut u8,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            unit.load_sums::<P, V>(self.first, 2 * ROW, 0);
            let mut weights = self.weights.cast::<u8>();
            for block in 0..self.blocks {
                for tap in self.taps {
                    let at = block * self.block + tap.offset * SIDE;
                    let x = x.map(|x| x.add(at).cast());
                    unit.step::<P, V>(x, ROW, weights, V * ROW);
                    weights = weights.add(SIDE * V * ROW);
                }
            }
            unit.store_sums::<P, V>(to, V * ROW, SIDE * V * ROW);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{backward_data_by_tiles, forward_by_tiles};
    use super::*;
    use crate::conv::operand::{Held, Pair, has_pairs};
    use crate::conv::planes::flat;
    use crate::conv::reference;
    use crate::conv::tests::{narrow, noise, wide};
    use crate::gemm::unit::emulated::Emulated;
    use half::bf16;

    /// Both directions of the shapes, on the emulated unit: rows as long as a tile, longer, shorter
    /// with and without a gap, strides, dilation, groups, one and two tiles of channels, and the
    /// channels of three blocks, padding.
    #[test]
    fn equals_the_reference_rounded() {
        if !has_pairs() {
            eprintln!("skipped: this CPU does not multiply pairs of bf16");
            return;
        }
        let padded = ConvShape {
            padding: [0, 1, 1],
            ..ConvShape::conv2d(2, 32, [16, 16], 32, [3, 3])
        };
        let shapes = [
            padded,
            ConvShape {
                input: [1, 5, 33],
                ..padded
            },
            ConvShape {
                input: [1, 8, 8],
                in_channels: 96,
                out_channels: 64,
                ..padded
            },
            ConvShape {
                input: [1, 3, 4],
                ..padded
            },
            ConvShape {
                input: [1, 3, 200],
                ..padded
            },
            ConvShape {
                stride: [1, 2, 2],
                ..padded
            },
            ConvShape {
                dilation: [1, 2, 2],
                ..padded
            },
            ConvShape {
                in_channels: 64,
                out_channels: 128,
                groups: 2,
                ..padded
            },
            ConvShape {
                batch: 9,
                input: [1, 14, 14],
                out_channels: 96,
                kernel: [1; 3],
                padding: [0; 3],
                ..padded
            },
            // More padding than the kernel reaches.
            ConvShape {
                kernel: [1; 3],
                ..padded
            },
            ConvShape {
                padding: [0, 4, 3],
                ..padded
            },
        ];
        for s in shapes {
            let plan = Plan::forward(&flat(&s), Pair::LEN);
            assert!(takes(&plan, &plan.tiling::<f32>()), "{s:?}");
            let plan = Plan::backward_data(&flat(&s), Pair::LEN);
            assert!(takes(&plan, &plan.tiling::<f32>()), "{s:?}");
            let x = narrow(noise(s.input_len(), 5));
            let g = narrow(noise(s.output_len(), 8));
            let w = wide(&narrow(noise(s.weight_len(), 6)));
            let bias = noise::<f32>(s.out_channels, 7);
            let mut got = [&g, &x].map(|v| vec![bf16::NAN; v.len()]);
            forward_by_tiles::<Emulated>(&s, &x, &w, Some(&bias), &mut got[0]);
            backward_data_by_tiles::<Emulated>(&s, &g, &w, &mut got[1]);
            let mut want = [&g, &x].map(|v| vec![f32::NAN; v.len()]);
            reference::forward(&s, &wide(&x), &w, Some(&bias), &mut want[0]);
            reference::backward_data(&s, &wide(&g), &w, &mut want[1]);
            for (got, want) in got.iter().zip(&want) {
                for (i, (got, want)) in got.iter().zip(want).enumerate() {
                    let allowed = 4e-3 * want.abs() + 1e-4;
                    let right = (got.to_f32() - want).abs() <= allowed;
                    assert!(right, "[{i}]: {got} for {want} in {s:?}");
                }
            }
        }
    }

    #[test]
    fn full_tiles_are_asked_for() {
        let s = |channels: [usize; 2], size| ConvShape {
            padding: [0, 1, 1],
            ..ConvShape::conv2d(1, channels[0], [size, size], channels[1], [3, 3])
        };
        for (channels, size, forward, data) in [
            ([64, 64], 32, true, true),
            ([64, 80], 8, true, false),
            ([48, 64], 16, false, true),
            ([64, 64], 4, false, false),
        ] {
            let s = s(channels, size);
            assert_eq!(is_for(&s, Part::Forward), forward, "{channels:?} {size}");
            assert_eq!(is_for(&s, Part::Data), data, "{channels:?} {size}");
        }
    }
}
