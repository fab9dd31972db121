//! Output planes, a tile of rows times registers of positions at a time.

use std::ops::Range;

use super::{Part, Plan, ROWS, TILE, Way};
use crate::alloc::Pod;
use crate::conv::operand::{DotKernel, Dots, Operand};
use crate::float::Float;
use crate::lanes::Lanes;

/// The output planes of some planes of a batch.
pub(super) struct Outputs<'a, T, E, X> {
    pub plan: &'a Plan,
    pub range: Range<usize>,
    /// All maps, of `source` values each.
    pub x: &'a [E],
    pub source: usize,
    /// Room for two planes: one is filled while what was written of the other settles.
    pub padded: &'a mut [E],
    /// Weights of all channels.
    pub packed: &'a [X],
    pub bias: Option<&'a [T]>,
    /// The planes of the range.
    pub out: &'a mut [E],
}

impl<T: Float, E: Pod, X: Operand<T, E, Cell = E>> DotKernel<T, X> for Outputs<'_, T, E, X> {
    #[inline(always)]
    fn run<L: Lanes<T>, D: Dots<T, L, X>>(self) {
        assert_eq!(size_of::<D::Out>(), size_of::<E>());
        let plan = self.plan;
        let plane: usize = plan.out.iter().product();
        let (all, each) = (plan.groups * plan.channels, plan.sources.len());
        let mut rest = self.out;
        let (mut filled, mut ready) = self.padded.split_at_mut(plan.planes.len(1));
        for next in self.range.start..self.range.end + 1 {
            (filled, ready) = (ready, filled);
            if next < self.range.end {
                // SAFETY: inside `run`.
                unsafe {
                    plan.fill
                        .plane::<T, L, E>(self.x, next * self.source, filled)
                };
            }
            if next == self.range.start {
                continue;
            }
            let index = next - 1;
            for channel in 0..plan.channels {
                let channel = (index * plan.channels + channel) % all;
                for part in &plan.parts {
                    let mut rows = Rows::<T, E, X> {
                        plan,
                        part,
                        x: ready,
                        weights: &self.packed[channel * each..][..each],
                        bias: self.bias.map_or(T::ZERO, |bias| bias[channel]),
                        plane,
                        to: rest,
                    };
                    // SAFETY: inside `run`.
                    unsafe {
                        match plan.way {
                            Way::Values | Way::Pairs => rows.all::<L, D, 1>(),
                            Way::Phases | Way::Turns => rows.all::<L, D, 2>(),
                        }
                    }
                }
                rest = &mut rest[plane..];
            }
        }
    }
}

/// The rows of one part of one output plane.
struct Rows<'a, T, E, X> {
    plan: &'a Plan,
    part: &'a Part,
    x: &'a [E],
    /// Of the channel.
    weights: &'a [X],
    bias: T,
    plane: usize,
    /// The plane, and those that are written after it.
    to: &'a mut [E],
}

impl<T: Float, E: Pod, X: Operand<T, E, Cell = E>> Rows<'_, T, E, X> {
    /// `S` results of each operand.
    ///
    /// # Safety
    /// Inside a kernel.
    #[inline(always)]
    unsafe fn all<L: Lanes<T>, D: Dots<T, L, X>, const S: usize>(&mut self) {
        let part = self.part;
        let [depth, height, width] = part.extent;
        if depth * height * width == 0 {
            return;
        }
        let registers = width.div_ceil(L::N * S);
        let end = part.last + part.reach + (registers - 1) * L::N * X::LEN + TILE;
        assert!(end <= self.x.len());
        let [_, h, w] = self.plan.out;
        let end = (part.start[0] + (depth - 1) * part.step[0]) * h
            + part.start[1]
            + (height - 1) * part.step[1];
        assert!(self.plane <= self.to.len() && end * w + width <= self.plane);
        for d in 0..depth {
            let mut row = 0;
            while row < height {
                let tall = height >= ROWS;
                // The last tile of rows may do some again.
                let first = if tall { row.min(height - ROWS) } else { row };
                // What a register holds beyond a row's end is overwritten by what is written later:
                // the row's tiles go from right to left, rows downwards.
                let mut end = registers;
                while end > 0 {
                    let count = match (tall, S) {
                        (true, 1) if end.is_multiple_of(2) => 2,
                        (false, 1) if end.is_multiple_of(4) => 4,
                        _ => 1,
                    };
                    end -= count;
                    // SAFETY: the assertions found the last tile at the largest offset in `x`, and
                    // the last row in `to`; the weights are complete.
                    unsafe {
                        match (tall, count) {
                            (true, 1) => self.tile::<L, D, S, ROWS, 1>(d, first, end),
                            (true, _) => self.tile::<L, D, S, ROWS, 2>(d, first, end),
                            (false, 1) => self.tile::<L, D, S, 1, 1>(d, first, end),
                            (false, _) => self.tile::<L, D, S, 1, 4>(d, first, end),
                        }
                    }
                }
                row += if tall { ROWS } else { 1 };
            }
        }
    }

    /// `R` rows times `V` registers of operands, from row `h` of slice `d` and register `first` on.
    ///
    /// # Safety
    /// Inside a kernel; as `all` has found.
    #[inline(always)]
    unsafe fn tile<
        L: Lanes<T>,
        D: Dots<T, L, X>,
        const S: usize,
        const R: usize,
        const V: usize,
    >(
        &mut self,
        d: usize,
        h: usize,
        first: usize,
    ) {
        let (planes, part) = (&self.plan.planes, self.part);
        let pitch = planes.pitch();
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[[L::splat(self.bias); S]; V]; R];
            let from = d * planes.slice() + h * pitch + first * L::N * X::LEN;
            let x = self.x.as_ptr().add(from);
            let mut weights = self.weights.as_ptr().add(part.weights);
            for band in &part.bands {
                let columns = &band.columns;
                weights = match band.height {
                    1 => columns_of::<T, E, X, L, D, S, R, V, 1>(
                        &mut sums, x, pitch, columns, weights,
                    ),
                    2 if R > 1 => columns_of::<T, E, X, L, D, S, R, V, 2>(
                        &mut sums, x, pitch, columns, weights,
                    ),
                    3 if R > 1 => columns_of::<T, E, X, L, D, S, R, V, 3>(
                        &mut sums, x, pitch, columns, weights,
                    ),
                    4 if R > 1 => columns_of::<T, E, X, L, D, S, R, V, 4>(
                        &mut sums, x, pitch, columns, weights,
                    ),
                    _ if R > 1 => columns_of::<T, E, X, L, D, S, R, V, 5>(
                        &mut sums, x, pitch, columns, weights,
                    ),
                    _ => unreachable!("columns of one element where rows are few"),
                };
            }
            let [_, height, width] = self.plan.out;
            let row =
                (part.start[0] + d * part.step[0]) * height + part.start[1] + h * part.step[1];
            let column = first * L::N * S;
            let (to, next) = (row * width + column, part.step[1] * width);
            let whole = column + V * L::N * S <= width;
            let spill = part.step == [1; 2] && to + (R - 1) * next + V * L::N * S <= self.to.len();
            let to = self.to.as_mut_ptr().add(to).cast::<D::Out>();
            for (r, sums) in sums.iter().enumerate() {
                for (v, sums) in sums.iter().enumerate() {
                    let to = to.add(r * next).wrapping_add(v * L::N * S);
                    if whole || spill {
                        put::<T, X, L, D, S>(sums, to);
                        continue;
                    }
                    let left = (width - column).saturating_sub(v * L::N * S).min(L::N * S);
                    // As many as two of the widest registers.
                    let mut all = [D::NONE; 32];
                    put::<T, X, L, D, S>(sums, all.as_mut_ptr());
                    for (i, value) in all.iter().enumerate().take(left) {
                        *to.add(i) = *value;
                    }
                }
            }
        }
    }
}

/// The results of one register of operands.
///
/// # Safety
/// Inside a kernel; there is room for them.
#[inline(always)]
unsafe fn put<T: Float, X: Pod, L: Lanes<T>, D: Dots<T, L, X>, const S: usize>(
    sums: &[L::V; S],
    to: *mut D::Out,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match S {
            1 => D::put(sums[0], to),
            _ => D::put_turns(sums[0], sums[S - 1], to),
        }
    }
}

/// Adds the products of columns of `H` elements; returns the next weights.
///
/// # Safety
/// Inside a kernel; operands and weights are there.
#[inline(always)]
unsafe fn columns_of<
    T: Float,
    E: Pod,
    X: Operand<T, E, Cell = E>,
    L: Lanes<T>,
    D: Dots<T, L, X>,
    const S: usize,
    const R: usize,
    const V: usize,
    const H: usize,
>(
    sums: &mut [[[L::V; S]; V]; R],
    x: *const E,
    pitch: usize,
    columns: &[usize],
    mut from: *const X,
) -> *const X {
    const { assert!(R + H <= 9) };
    // SAFETY: the caller's promise.
    unsafe {
        for column in columns {
            let x = x.add(*column);
            let mut weights = [[D::splat(*from); S]; H];
            for (h, weights) in weights.iter_mut().enumerate() {
                for (s, weight) in weights.iter_mut().enumerate() {
                    *weight = D::splat(*from.add(h * S + s));
                }
            }
            from = from.add(H * S);
            // Row `i` of the input, written out: the compiler would not unroll so much.
            macro_rules! rows {
                ($($i:literal)*) => { $(
                    if $i < R + H - 1 {
                        for v in 0..V {
                            let x = D::load(x.add($i * pitch + v * L::N * X::LEN).cast());
                            for h in 0..H {
                                if $i >= h && $i - h < R {
                                    for s in 0..S {
                                        let sum = &mut sums[$i - h][v][s];
                                        *sum = D::dot(x, weights[h][s], *sum);
                                    }
                                }
                            }
                        }
                    }
                )* };
            }
            rows!(0 1 2 3 4 5 6 7);
        }
    }
    from
}
