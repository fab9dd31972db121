//! The gradient of the weight. A task has some channels, takes the samples one by one and sums
//! products in registers of positions, which it folds after the last.

use std::collections::BTreeMap;
use std::ops::Range;

use super::fill::{Fill, copy_row};
use super::{Band, CACHE_LINE, ROWS, TALLEST, TASK, TILE, Way, bands};
use crate::conv::operand::{DotKernel, Dots, Held, Operand};
use crate::conv::planes::{Planes, scratch};
use crate::conv::{ConvShape, places};
use crate::float::Float;
use crate::lanes::{Lanes, register_shape};
use crate::threads::{SyncPtr, parallel_for};

/// Columns of a tile, by their height.
const fn columns(height: usize) -> usize {
    if height == 5 { 5 } else { 3 }
}

/// A gradient ready to run.
struct Plan {
    groups: usize,
    /// Output channels of a group.
    channels: usize,
    batch: usize,
    fill: Fill,
    /// Cells of a plane, with what is read past its last row.
    padded: usize,
    bands: Vec<Band>,
    /// Kernel element of each sum: of a band's columns in whole tiles, `None` past the last.
    elements: Vec<Option<usize>>,
    volume: usize,
    /// Size of the output plane.
    out: [usize; 3],
    /// Slices and rows as they are summed, the latter a multiple of [`ROWS`]; cells of a row, a
    /// whole number of registers; and the distance of rows and slices in the input's planes.
    size: [usize; 3],
    pitch: usize,
    slice: usize,
}

impl Plan {
    /// `cells` is the number of cells in a register.
    fn new(s: &ConvShape, cells: usize) -> Self {
        let planes = Planes::of_input(s).aligned(CACHE_LINE);
        let [depth, height, width] = s.valid_output();
        // A single row is summed as [`ROWS`] of them.
        let cut = depth * height == 1;
        let width = if cut { width.div_ceil(ROWS) } else { width }.next_multiple_of(cells);
        let size = [depth, height.next_multiple_of(ROWS), width];
        let pitch = if cut { width } else { planes.pitch() };
        let mut taps = BTreeMap::new();
        for (source, k) in places(s.kernel).enumerate() {
            let place = planes.offset([0, 1, 2].map(|d| k[d] * s.dilation[d]));
            Way::Values.note(&mut taps, (place, 0), 0, source);
        }
        let (mut bands, sources) = bands(taps, pitch, TALLEST);
        let mut sources = sources.iter().map(|s| s[0][0]);
        let mut elements = Vec::new();
        for band in &mut bands {
            let count = band.columns.len();
            let whole = count.next_multiple_of(columns(band.height));
            elements.extend(sources.by_ref().take(count * band.height));
            // A last tile with fewer columns repeats one; those sums are not used.
            band.columns.resize(whole, band.columns[0]);
            elements.extend(vec![None; (whole - count) * band.height]);
        }
        Self {
            groups: s.groups,
            channels: s.out_channels / s.groups,
            batch: s.batch,
            slice: planes.slice(),
            fill: Fill::new(&planes),
            padded: planes.len(1) + ROWS * (pitch + size[2]),
            bands,
            elements,
            volume: s.kernel.iter().product(),
            out: s.valid_output(),
            size,
            pitch,
        }
    }
}

/// See [`super::super::conv_backward_weight`]; operands are of `X`.
pub(in crate::conv) fn backward_weight<T: Float, E: Held<E>, X: Operand<T, E, Cell = E>>(
    s: &ConvShape,
    x: &[E],
    grad_out: &[E],
    grad_w: &mut [T],
) {
    grad_w.fill(T::ZERO);
    if grad_out.is_empty() || grad_w.is_empty() {
        return;
    }
    let (lanes, _) = register_shape::<T>();
    let plan = Plan::new(s, lanes * X::LEN);
    let grads: usize = plan.size.iter().product();
    let each = s.batch * plan.channels * plan.volume * s.pixels();
    let grad_w = SyncPtr(grad_w.as_mut_ptr());
    parallel_for(s.groups, TASK / (each + 1) + 1, |range| {
        let mut padded = scratch::<E>(plan.padded, true);
        let mut rows = scratch::<E>(grads + TILE, true);
        let mut sums = scratch::<T>(
            range.len() * plan.channels * plan.elements.len() * lanes,
            true,
        );
        let len = plan.channels * plan.volume;
        X::run(Gradient::<T, E, X> {
            plan: &plan,
            x,
            grad_out,
            padded: padded.as_mut_slice(),
            rows: rows.as_mut_slice(),
            sums: sums.as_mut_slice(),
            // SAFETY: the channels of `range` are this task's alone.
            grad_w: unsafe {
                let at = grad_w.get().add(range.start * len);
                std::slice::from_raw_parts_mut(at, range.len() * len)
            },
            range,
            operands: std::marker::PhantomData,
        });
    });
}

/// The gradients of some groups.
struct Gradient<'a, T, E, X> {
    plan: &'a Plan,
    range: Range<usize>,
    x: &'a [E],
    grad_out: &'a [E],
    /// A plane of the input.
    padded: &'a mut [E],
    /// A plane of the gradient of the output: rows of whole registers.
    rows: &'a mut [E],
    /// Of each element of each channel, a register.
    sums: &'a mut [T],
    /// Of the groups in `range`.
    grad_w: &'a mut [T],
    operands: std::marker::PhantomData<X>,
}

impl<T: Float, E: Held<E>, X: Operand<T, E, Cell = E>> DotKernel<T, X> for Gradient<'_, T, E, X> {
    #[inline(always)]
    fn run<L: Lanes<T>, D: Dots<T, L, X>>(self) {
        let plan = self.plan;
        let source = self.x.len() / (plan.batch * plan.groups);
        let plane: usize = plan.out.iter().product();
        let all = plan.groups * plan.channels;
        let each = plan.elements.len() * L::N;
        assert_eq!(self.sums.len(), self.range.len() * plan.channels * each);
        assert_eq!(
            plan.elements.len(),
            plan.bands.iter().map(|b| b.height * b.columns.len()).sum()
        );
        let tallest = plan.bands.iter().map(|b| b.height).max().unwrap_or(0);
        let reach = plan
            .bands
            .iter()
            .flat_map(|b| &b.columns)
            .max()
            .unwrap_or(&0);
        let [depth, height, width] = plan.size;
        let last = (depth - 1) * plan.slice + (height + tallest - 2) * plan.pitch + width + reach;
        assert!(width.is_multiple_of(L::N * X::LEN) && last <= self.padded.len());
        assert!(depth * height * width <= self.rows.len());
        for n in 0..plan.batch {
            let sums = self.sums.chunks_exact_mut(plan.channels * each);
            for (group, sums) in self.range.clone().zip(sums) {
                // SAFETY: inside `run`; `spread` finds room for the rows; the assertions found
                // the last operands at the largest offset, and the sums complete.
                unsafe {
                    let at = (n * plan.groups + group) * source;
                    plan.fill.plane::<T, L, E>(self.x, at, self.padded);
                    for (channel, sums) in sums.chunks_exact_mut(each).enumerate() {
                        let at = (n * all + group * plan.channels + channel) * plane;
                        spread::<T, L, E>(plan, &self.grad_out[at..], self.rows);
                        let x = self.padded.as_ptr().cast();
                        let grads = self.rows.as_ptr().cast();
                        let mut sums = sums.as_mut_ptr();
                        for band in &plan.bands {
                            let at = &band.columns;
                            let len = band.height * at.len() * L::N;
                            match band.height {
                                1 => add::<T, E, X, L, D, 1, { columns(1) }>(
                                    plan, at, x, grads, sums,
                                ),
                                2 => add::<T, E, X, L, D, 2, { columns(2) }>(
                                    plan, at, x, grads, sums,
                                ),
                                3 => add::<T, E, X, L, D, 3, { columns(3) }>(
                                    plan, at, x, grads, sums,
                                ),
                                4 => add::<T, E, X, L, D, 4, { columns(4) }>(
                                    plan, at, x, grads, sums,
                                ),
                                _ => add::<T, E, X, L, D, 5, { columns(5) }>(
                                    plan, at, x, grads, sums,
                                ),
                            }
                            sums = sums.add(len);
                        }
                    }
                }
            }
        }
        let channels = self.sums.chunks_exact(each);
        for (grad_w, sums) in self.grad_w.chunks_exact_mut(plan.volume).zip(channels) {
            for (element, sum) in plan.elements.iter().zip(sums.chunks_exact(L::N)) {
                if let Some(element) = element {
                    // SAFETY: inside `run`; a register lies in `sum`.
                    grad_w[*element] = unsafe { L::sum(L::load(sum.as_ptr())) };
                }
            }
        }
    }
}

/// Copies a plane of the gradient of the output to rows of whole registers, zeros after each.
///
/// # Safety
/// Inside a kernel.
#[inline(always)]
unsafe fn spread<T: Float, L: Lanes<T>, E: Held<E>>(plan: &Plan, from: &[E], to: &mut [E]) {
    let [depth, height, width] = plan.out;
    let [_, rows, cells] = plan.size;
    let chunk = 64 / size_of::<E>();
    assert!(((depth - 1) * rows + height - 1) * cells + width + chunk <= to.len());
    for d in 0..depth {
        for h in 0..height {
            let from = &from[(d * height + h) * width..];
            // SAFETY: inside a kernel; the assertion found the last row and a chunk behind it.
            unsafe {
                let to = to.as_mut_ptr().add((d * rows + h) * cells);
                copy_row::<T, L, E>(from, to, width, 1);
            }
        }
    }
}

/// Adds a plane's products to the sums of a band, `C` columns of `H` elements at a time.
///
/// # Safety
/// Inside a kernel; operands and sums are there.
#[inline(always)]
unsafe fn add<
    T: Float,
    E: Held<E>,
    X: Operand<T, E, Cell = E>,
    L: Lanes<T>,
    D: Dots<T, L, X>,
    const H: usize,
    const C: usize,
>(
    plan: &Plan,
    columns: &[usize],
    x: *const E,
    grads: *const E,
    mut to: *mut T,
) {
    const { assert!(ROWS + H <= 9) };
    let [depth, height, width] = plan.size;
    let (pitch, cells) = (plan.pitch, L::N * X::LEN);
    for columns in columns.chunks_exact(C) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[L::zero(); H]; C];
            for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                *sum = L::load(to.add(i * L::N));
            }
            let mut g = grads;
            for d in 0..depth {
                for h in (0..height).step_by(ROWS) {
                    let row = x.add(d * plan.slice + h * pitch);
                    for w in (0..width).step_by(cells) {
                        let mut grads = [D::load(g.add(w).cast()); ROWS];
                        for (r, grad) in grads.iter_mut().enumerate().skip(1) {
                            *grad = D::load(g.add(r * width + w).cast());
                        }
                        // Row `i` of the input, written out: the compiler would not unroll so much.
                        macro_rules! rows {
                            ($($i:literal)*) => { $(
                                if $i < ROWS + H - 1 {
                                    for (column, sums) in columns.iter().zip(&mut sums) {
                                        let x = row.add(*column + $i * pitch + w);
                                        let x = D::load(x.cast());
                                        for (h, sum) in sums.iter_mut().enumerate() {
                                            if $i >= h && $i - h < ROWS {
                                                *sum = D::dot(x, grads[$i - h], *sum);
                                            }
                                        }
                                    }
                                }
                            )* };
                        }
                        rows!(0 1 2 3 4 5 6 7);
                    }
                    g = g.add(ROWS * width);
                }
            }
            for sum in sums.as_flattened() {
                L::store(to, *sum);
                to = to.add(L::N);
            }
        }
    }
}
