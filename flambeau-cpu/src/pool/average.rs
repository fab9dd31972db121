//! Average pooling.

use super::PoolShape;
use super::canvas::{Canvas, blocks, with_block};
use crate::float::{Float, compiled_here};
use crate::pieces::for_planes;
use crate::simd::dispatch;

/// What the sum over a window is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvgOptions {
    /// Whether padding counts as elements; PyTorch's default is true. What hangs over the padding
    /// with `ceil_mode` never counts.
    pub count_include_pad: bool,
    /// Divides by this instead; not 0.
    pub divisor_override: Option<i64>,
}

impl Default for AvgOptions {
    fn default() -> Self {
        Self {
            count_include_pad: true,
            divisor_override: None,
        }
    }
}

/// Positions of window `o` along `axis`: within input and padding, and within the input alone.
fn counts(s: &PoolShape, axis: usize, o: usize) -> (usize, usize) {
    let (pad, input) = (s.padding[axis], s.input[axis]);
    let start = o * s.stride[axis];
    let end = (start + s.kernel[axis]).min(input + 2 * pad);
    (
        end - start,
        end.min(input + pad).saturating_sub(start.max(pad)),
    )
}

/// The divisor of each window of a plane.
fn divisors<T: Float>(s: &PoolShape, options: AvgOptions, o: [usize; 3]) -> Vec<T> {
    let mut divisors = Vec::with_capacity(o.iter().product());
    for d in (0..o[0]).map(|od| counts(s, 0, od)) {
        for h in (0..o[1]).map(|oh| counts(s, 1, oh)) {
            divisors.extend((0..o[2]).map(|ow| {
                let w = counts(s, 2, ow);
                T::from_f64(match options.divisor_override {
                    Some(divisor) => divisor as f64,
                    None if options.count_include_pad => (d.0 * h.0 * w.0) as f64,
                    None => (d.1 * h.1 * w.1) as f64,
                })
            }));
        }
    }
    divisors
}

fn check(s: &PoolShape, options: AvgOptions, x: usize, out: usize) -> [usize; 3] {
    assert_eq!(s.dilation, [1; 3], "average pooling has no dilation");
    assert_ne!(
        options.divisor_override,
        Some(0),
        "average pooling: divisor 0"
    );
    assert_eq!(x, s.input_len(), "average pooling: length of the input");
    assert_eq!(out, s.output_len(), "average pooling: length of the output");
    s.valid_output()
}

compiled_here! {
    AvgPoolKernels<T>;

    /// The average of each window.
    ///
    /// # Panics
    /// When a slice's length is not that of the shape, the shape has no output or a dilation, or the
    /// divisor is 0.
    pub fn avg_pool_forward(s: &PoolShape, options: AvgOptions, x: &[T], out: &mut [T]) = forward;

    /// The gradient of the input of [`avg_pool_forward`]: `grad_in` is overwritten.
    ///
    /// # Panics
    /// As [`avg_pool_forward`].
    pub fn avg_pool_backward(
        s: &PoolShape,
        options: AvgOptions,
        grad_out: &[T],
        grad_in: &mut [T],
    ) = backward;
}

/// [`avg_pool_forward`].
fn forward<T: Float>(s: &PoolShape, options: AvgOptions, x: &[T], out: &mut [T]) {
    let o = check(s, options, x.len(), out.len());
    let plane: usize = s.input.iter().product();
    let divisors = divisors::<T>(s, options, o);
    let canvas = Canvas::new(s);
    for_planes(s.planes, plane, out, |i, out| {
        let x = &x[i * plane..][..plane];
        dispatch(
            #[inline(always)]
            || {
                let mut buffer = Vec::new();
                let x = canvas.paint(x, T::ZERO, &mut buffer);
                let rows = out.chunks_exact_mut(o[2]).zip(divisors.chunks_exact(o[2]));
                for (row, (out, divisors)) in rows.enumerate() {
                    with_block!(o[2], s.stride[2], |B, S| {
                        means::<T, B, S>(&canvas, (x, canvas.row(row)), divisors, out);
                    });
                }
            },
        );
    });
}

/// The averages of a row of windows, the first of which begins at `at` of the canvas `x`.
#[inline(always)]
fn means<T: Float, const B: usize, const S: usize>(
    canvas: &Canvas,
    (x, at): (&[T], usize),
    divisors: &[T],
    out: &mut [T],
) {
    let stride = if S == 0 { canvas.stride[2] } else { S };
    for o in blocks(out.len(), B) {
        let mut sum = [T::ZERO; B];
        for &(tap, _) in &canvas.taps {
            let x = &x[at + tap + o * stride..][..(B - 1) * stride + 1];
            for i in 0..B {
                sum[i] += x[i * stride];
            }
        }
        let (out, divisors) = (&mut out[o..][..B], &divisors[o..][..B]);
        for i in 0..B {
            // A window with nothing in it is 0, not 0 / 0.
            let mean = sum[i] / divisors[i];
            out[i] = if sum[i] == T::ZERO { sum[i] } else { mean };
        }
    }
}

/// [`avg_pool_backward`].
fn backward<T: Float>(s: &PoolShape, options: AvgOptions, grad_out: &[T], grad_in: &mut [T]) {
    let o = check(s, options, grad_in.len(), grad_out.len());
    let plane: usize = s.input.iter().product();
    let outputs: usize = o.iter().product();
    let divisors = divisors::<T>(s, options, o);
    let canvas = Canvas::new(s);
    for_planes(s.planes, plane, grad_in, |i, grad_in| {
        let grads = &grad_out[i * outputs..][..outputs];
        dispatch(
            #[inline(always)]
            || {
                canvas.paint_back(
                    grad_in,
                    #[inline(always)]
                    |grad_in| {
                        let rows = grads.chunks_exact(o[2]).zip(divisors.chunks_exact(o[2]));
                        for (row, (grads, divisors)) in rows.enumerate() {
                            with_block!(o[2], s.stride[2], |B, S| {
                                let _ = B;
                                let at = canvas.row(row);
                                shares::<T, S>(&canvas, (grads, divisors), &mut grad_in[at..]);
                            });
                        }
                    },
                );
            },
        );
    });
}

/// Adds to each element of a row of windows, the first of which begins where `grad_in` does, its share
/// of the window's gradient.
#[inline(always)]
fn shares<T: Float, const S: usize>(
    canvas: &Canvas,
    (grads, divisors): (&[T], &[T]),
    grad_in: &mut [T],
) {
    const PIECE: usize = 64;
    let stride = if S == 0 { canvas.stride[2] } else { S };
    let pieces = grads.chunks(PIECE).zip(divisors.chunks(PIECE));
    for (piece, (grads, divisors)) in pieces.enumerate() {
        let mut shares = [T::ZERO; PIECE];
        let shares = &mut shares[..grads.len()];
        for ((share, &g), &by) in shares.iter_mut().zip(grads).zip(divisors) {
            *share = g / by;
        }
        for &(tap, _) in &canvas.taps {
            let grad_in = &mut grad_in[tap + piece * PIECE * stride..];
            let grad_in = &mut grad_in[..(shares.len() - 1) * stride + 1];
            for (i, &share) in shares.iter().enumerate() {
                grad_in[i * stride] += share;
            }
        }
    }
}
