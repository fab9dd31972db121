//! Maximum pooling. NaN wins over every number; of equal values the first wins.

use super::PoolShape;
use super::canvas::{Canvas, blocks, with_block};
use crate::float::{Float, compiled_here};
use crate::pieces::{for_pieces, for_planes};
use crate::simd::dispatch;

compiled_here! {
    MaxPoolKernels<T>;

    /// The maximum of each window, and where it lies: a flat index into the plane's `[D, H, W]`.
    ///
    /// As in PyTorch, of several NaN the last is pointed at. A window that holds no element at all
    /// (possible with dilation) gives minus infinity and index -1.
    ///
    /// ```
    /// # use flambeau_cpu::pool::{PoolShape, max_pool_forward};
    /// let (mut out, mut at) = ([0.0], [0]);
    /// max_pool_forward(&PoolShape::pool2d(1, [2, 2], 2), &[1.0, 3.0, 3.0, 2.0], &mut out, &mut at);
    /// assert_eq!((out, at), ([3.0], [1]));
    /// ```
    ///
    /// # Panics
    /// When a slice's length is not that of the shape, or the shape has no output.
    pub fn max_pool_forward(s: &PoolShape, x: &[T], out: &mut [T], indices: &mut [i64]) = forward;

    /// [`max_pool_forward`] without the indices.
    ///
    /// # Panics
    /// As [`max_pool_forward`].
    pub fn max_pool_values(s: &PoolShape, x: &[T], out: &mut [T]) = values;

    /// The gradient of the input of [`max_pool_forward`] (or of adaptive maximum pooling): each plane's
    /// `grad_out` is added up at `indices`; `grad_in` is overwritten.
    ///
    /// # Panics
    /// When lengths are not multiples of `planes`, or an index lies outside the plane (-1 is skipped).
    pub fn max_pool_backward(
        planes: usize,
        grad_out: &[T],
        indices: &[i64],
        grad_in: &mut [T],
    ) = backward;
}

/// [`max_pool_forward`].
fn forward<T: Float>(s: &PoolShape, x: &[T], out: &mut [T], indices: &mut [i64]) {
    assert_eq!(x.len(), s.input_len(), "max pooling: length of the input");
    assert_eq!(
        out.len(),
        s.output_len(),
        "max pooling: length of the output"
    );
    assert_eq!(
        indices.len(),
        out.len(),
        "max pooling: length of the indices"
    );
    let plane: usize = s.input.iter().product();
    let canvas = Canvas::new(s);
    for_pieces(s.planes, plane, out, indices, |i, out, indices| {
        let x = &x[i * plane..][..plane];
        if is_two_by_two(s) && plane <= i32::MAX as usize {
            dispatch(
                #[inline(always)]
                || two_by_two::<T, true>(s, x, out, indices),
            );
        } else {
            dispatch(
                #[inline(always)]
                || windows::<T, true>(&canvas, (s, x), out, indices),
            );
        }
    });
}

/// [`max_pool_values`].
fn values<T: Float>(s: &PoolShape, x: &[T], out: &mut [T]) {
    assert_eq!(x.len(), s.input_len(), "max pooling: length of the input");
    assert_eq!(
        out.len(),
        s.output_len(),
        "max pooling: length of the output"
    );
    let plane: usize = s.input.iter().product();
    let canvas = Canvas::new(s);
    for_planes(s.planes, plane, out, |i, out| {
        let x = &x[i * plane..][..plane];
        if is_two_by_two(s) {
            dispatch(
                #[inline(always)]
                || two_by_two::<T, false>(s, x, out, &mut []),
            );
        } else {
            dispatch(
                #[inline(always)]
                || windows::<T, false>(&canvas, (s, x), out, &mut []),
            );
        }
    });
}

fn is_two_by_two(s: &PoolShape) -> bool {
    s.kernel == [1, 2, 2]
        && s.stride == [1, 2, 2]
        && s.padding == [0; 3]
        && s.dilation == [1; 3]
        && !s.ceil_mode
}

/// The usual case: 2x2 windows side by side. Writes `indices` only where `PLACES`.
#[inline(always)]
fn two_by_two<T: Float, const PLACES: bool>(
    s: &PoolShape,
    x: &[T],
    out: &mut [T],
    indices: &mut [i64],
) {
    let width = s.input[2];
    let half = width / 2;
    for d in 0..s.input[0] {
        for h in 0..s.input[1] / 2 {
            let start = (d * s.input[1] + 2 * h) * width;
            let first = (d * (s.input[1] / 2) + h) * half;
            // A short row is one block where the rows after it have room for what is too much: that is
            // written again, by the next row.
            let block = half.next_power_of_two().clamp(4, 16);
            let room = first + block <= out.len() && start + width + 2 * block <= x.len();
            let count = if half < block && room { block } else { half };
            let out = &mut out[first..][..count];
            let indices = if PLACES {
                &mut indices[first..][..count]
            } else {
                &mut indices[..0]
            };
            match count {
                16.. => row_of_two::<T, 16, PLACES>(x, start, width, out, indices),
                8.. => row_of_two::<T, 8, PLACES>(x, start, width, out, indices),
                4.. => row_of_two::<T, 4, PLACES>(x, start, width, out, indices),
                _ => row_of_two::<T, 1, PLACES>(x, start, width, out, indices),
            }
        }
    }
}

/// A row of 2x2 windows, `B` at a time and so in vectors: rows are short, and what a compiler's
/// loop leaves over would be most of one. The last `B` may overlap those before. There are at least
/// `B` windows; the first one starts at `start`.
#[inline(always)]
fn row_of_two<T: Float, const B: usize, const PLACES: bool>(
    x: &[T],
    start: usize,
    width: usize,
    out: &mut [T],
    indices: &mut [i64],
) {
    let mut next = 0;
    while next < out.len() {
        let o = next.min(out.len() - B);
        next += B;
        let at = start + 2 * o;
        let (top, bottom) = (&x[at..][..2 * B], &x[at + width..][..2 * B]);
        let mut max = [T::ZERO; B];
        let mut places = [0i32; B];
        for k in 0..B {
            let mut best = (top[2 * k], 0);
            let mut meet = |v: T, i: i32| {
                let wins = (v > best.0) | v.is_nan();
                best = (if wins { v } else { best.0 }, if wins { i } else { best.1 });
            };
            meet(top[2 * k + 1], 1);
            meet(bottom[2 * k], width as i32);
            meet(bottom[2 * k + 1], width as i32 + 1);
            max[k] = best.0;
            places[k] = 2 * k as i32 + best.1;
        }
        out[o..][..B].copy_from_slice(&max);
        if PLACES {
            for (index, place) in indices[o..][..B].iter_mut().zip(places) {
                *index = at as i64 + i64::from(place);
            }
        }
    }
}

/// The maxima of the windows of a plane, and where `PLACES` their places.
#[inline(always)]
fn windows<T: Float, const PLACES: bool>(
    canvas: &Canvas,
    (shape, x): (&PoolShape, &[T]),
    out: &mut [T],
    indices: &mut [i64],
) {
    let width = canvas.output[2];
    let mut buffer = Vec::new();
    let x = canvas.paint(x, T::NEG_INFINITY, &mut buffer);
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let indices = if PLACES {
            &mut indices[row * width..][..width]
        } else {
            &mut indices[..0]
        };
        with_block!(width, canvas.stride[2], |B, S| {
            let at = canvas.row(row);
            row_of_windows::<T, B, S, PLACES>((canvas, shape), (x, at), row, out, indices);
        });
    }
}

/// [`windows`] of row `row`, whose first window begins at `at` of the canvas `x`.
#[inline(always)]
fn row_of_windows<T: Float, const B: usize, const S: usize, const PLACES: bool>(
    (canvas, shape): (&Canvas, &PoolShape),
    (x, at): (&[T], usize),
    row: usize,
    out: &mut [T],
    indices: &mut [i64],
) {
    let stride = if S == 0 { canvas.stride[2] } else { S };
    let in_input = canvas.row_of_input(row);
    for o in blocks(out.len(), B) {
        let mut max = [T::NEG_INFINITY; B];
        // Which element of the window it is.
        let mut taps = [-1i32; B];
        for (k, &(tap, _)) in canvas.taps.iter().enumerate() {
            let x = &x[at + tap + o * stride..][..(B - 1) * stride + 1];
            for i in 0..B {
                let v = x[i * stride];
                let wins = (v > max[i]) | v.is_nan();
                max[i] = if wins { v } else { max[i] };
                taps[i] = if PLACES && wins { k as i32 } else { taps[i] };
            }
        }
        out[o..][..B].copy_from_slice(&max);
        if !PLACES {
            continue;
        }
        for (i, (index, tap)) in indices[o..][..B].iter_mut().zip(taps).enumerate() {
            *index = match canvas.taps.get(tap as usize) {
                Some(&(_, tap)) => (in_input + tap as isize + ((o + i) * stride) as isize) as i64,
                // Nothing is greater than the padding: the first element that is not in it.
                None => first_of_window(shape, canvas, row, o + i),
            };
        }
    }
}

/// The place of the first element of a window that lies in the input; -1 where none does.
#[cold]
fn first_of_window(s: &PoolShape, canvas: &Canvas, row: usize, column: usize) -> i64 {
    let o = [row / canvas.output[1], row % canvas.output[1], column];
    let mut at = 0;
    for (a, o) in o.into_iter().enumerate() {
        let start = o * s.stride[a];
        let before = s.padding[a].saturating_sub(start).div_ceil(s.dilation[a]);
        let place = start + before * s.dilation[a] - s.padding[a];
        if before >= s.kernel[a] || place >= s.input[a] {
            return -1;
        }
        at = at * s.input[a] + place;
    }
    at as i64
}

/// [`max_pool_backward`].
fn backward<T: Float>(planes: usize, grad_out: &[T], indices: &[i64], grad_in: &mut [T]) {
    assert_eq!(
        grad_out.len(),
        indices.len(),
        "max pooling: length of the indices"
    );
    if planes == 0 {
        assert!(
            grad_in.is_empty() && grad_out.is_empty(),
            "max pooling: no planes"
        );
        return;
    }
    assert!(
        grad_in.len().is_multiple_of(planes) && grad_out.len().is_multiple_of(planes),
        "max pooling: lengths are not multiples of {planes} planes"
    );
    let outputs = grad_out.len() / planes;
    for_planes(planes, grad_in.len() / planes, grad_in, |i, grad_in| {
        grad_in.fill(T::ZERO);
        let part = i * outputs..(i + 1) * outputs;
        for (grad, &at) in grad_out[part.clone()].iter().zip(&indices[part]) {
            if at >= 0 {
                grad_in[at as usize] += *grad;
            }
        }
    });
}
