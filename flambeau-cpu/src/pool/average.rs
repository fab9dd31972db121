//! Average pooling.

use super::PoolShape;
use crate::float::Float;
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

/// The average of each window.
///
/// # Panics
/// When a slice's length is not that of the shape, the shape has no output or a dilation, or the
/// divisor is 0.
pub fn avg_pool_forward<T: Float>(s: &PoolShape, options: AvgOptions, x: &[T], out: &mut [T]) {
    let o = check(s, options, x.len(), out.len());
    let plane: usize = s.input.iter().product();
    let stride = s.stride[2];
    let divisors = divisors::<T>(s, options, o);
    for_planes(s.planes, plane, out, |i, out| {
        let x = &x[i * plane..][..plane];
        dispatch(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(o[2]).zip(divisors.chunks_exact(o[2]));
                for (row, (out, divisors)) in rows.enumerate() {
                    out.fill(T::ZERO);
                    s.row_parts(row / o[1], row % o[1], o[2], |first, windows| {
                        for (i, sum) in out[windows].iter_mut().enumerate() {
                            *sum += x[first + i * stride];
                        }
                    });
                    for (out, divisor) in out.iter_mut().zip(divisors) {
                        // A window with nothing in it is 0, not 0 / 0.
                        *out = if *out == T::ZERO {
                            *out
                        } else {
                            *out / *divisor
                        };
                    }
                }
            },
        );
    });
}

/// The gradient of the input of [`avg_pool_forward`]: `grad_in` is overwritten.
///
/// # Panics
/// As [`avg_pool_forward`].
pub fn avg_pool_backward<T: Float>(
    s: &PoolShape,
    options: AvgOptions,
    grad_out: &[T],
    grad_in: &mut [T],
) {
    let o = check(s, options, grad_in.len(), grad_out.len());
    let plane: usize = s.input.iter().product();
    let outputs: usize = o.iter().product();
    let stride = s.stride[2];
    let divisors = divisors::<T>(s, options, o);
    for_planes(s.planes, plane, grad_in, |i, grad_in| {
        grad_in.fill(T::ZERO);
        let grads = grad_out[i * outputs..][..outputs].chunks_exact(o[2]);
        dispatch(
            #[inline(always)]
            || {
                for (row, (grads, divisors)) in
                    grads.clone().zip(divisors.chunks_exact(o[2])).enumerate()
                {
                    s.row_parts(row / o[1], row % o[1], o[2], |first, windows| {
                        let shares = grads[windows.clone()].iter().zip(&divisors[windows]);
                        for (i, (grad, divisor)) in shares.enumerate() {
                            grad_in[first + i * stride] += *grad / *divisor;
                        }
                    });
                }
            },
        );
    });
}
