//! Adaptive pooling: the output size is given, window `o` covers
//! `floor(o * input / output) .. ceil((o + 1) * input / output)` of each axis.

use std::ops::Range;

use crate::extreme::extreme;
use crate::float::{Float, ShapeError};
use crate::pieces::{for_pieces, for_planes};

/// The geometry of an adaptive pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdaptiveShape {
    /// Batch times channels; may be 0.
    pub planes: usize,
    /// Input `[D, H, W]`, none 0.
    pub input: [usize; 3],
    /// Output `[oD, oH, oW]`; may hold 0.
    pub output: [usize; 3],
}

impl AdaptiveShape {
    /// Errors when an axis of the input is empty.
    pub fn check(&self) -> Result<(), ShapeError> {
        if self.input.contains(&0) {
            return Err(ShapeError(format!(
                "adaptive pooling: every axis but the batch must be non-empty, got input {:?}",
                self.input
            )));
        }
        Ok(())
    }

    /// Elements of `x` and `grad_in`.
    pub fn input_len(&self) -> usize {
        self.planes * self.input.iter().product::<usize>()
    }

    /// Elements of `out` and `grad_out`.
    pub fn output_len(&self) -> usize {
        self.planes * self.outputs()
    }

    /// Windows of a plane.
    fn outputs(&self) -> usize {
        if self.output.contains(&0) {
            // The other axes may be as long as a number can say.
            return 0;
        }
        self.output.iter().product()
    }

    fn window(&self, axis: usize, o: usize) -> Range<usize> {
        let (input, output) = (self.input[axis], self.output[axis]);
        o * input / output..((o + 1) * input).div_ceil(output)
    }

    /// The windows of each axis.
    fn axes(&self) -> [Vec<Range<usize>>; 3] {
        if self.outputs() == 0 {
            // The other axes may be as long as a number can say.
            return Default::default();
        }
        std::array::from_fn(|a| (0..self.output[a]).map(|o| self.window(a, o)).collect())
    }

    /// Calls `visit(output, window)` for each output of a plane whose windows `axes` has.
    #[inline(always)]
    fn windows(&self, axes: &[Vec<Range<usize>>; 3], mut visit: impl FnMut(usize, Window<'_>)) {
        let [ds, hs, ws] = axes;
        let mut output = 0;
        for d in ds {
            for h in hs {
                for w in ws {
                    let input = self.input;
                    visit(output, Window { d, h, w, input });
                    output += 1;
                }
            }
        }
    }

    fn assert(&self, x: usize, out: usize) -> (usize, usize) {
        if let Err(e) = self.check() {
            panic!("{e}");
        }
        assert_eq!(x, self.input_len(), "adaptive pooling: length of the input");
        assert_eq!(
            out,
            self.output_len(),
            "adaptive pooling: length of the output"
        );
        (self.input.iter().product(), self.outputs())
    }
}

/// The elements that an output is made of.
#[derive(Clone, Copy)]
struct Window<'a> {
    d: &'a Range<usize>,
    h: &'a Range<usize>,
    w: &'a Range<usize>,
    input: [usize; 3],
}

impl Window<'_> {
    /// How many.
    #[inline(always)]
    fn size(&self) -> usize {
        self.d.len() * self.h.len() * self.w.len()
    }

    /// Calls `f` for the places of each row of them.
    #[inline(always)]
    fn rows(&self, mut f: impl FnMut(Range<usize>)) {
        for d in self.d.clone() {
            for h in self.h.clone() {
                let row = (d * self.input[1] + h) * self.input[2];
                f(row + self.w.start..row + self.w.end);
            }
        }
    }
}

/// The average of each window.
///
/// ```
/// # use flambeau_cpu::pool::{AdaptiveShape, adaptive_avg_pool_forward};
/// let s = AdaptiveShape { planes: 1, input: [1, 1, 3], output: [1, 1, 2] };
/// let mut out = [0.0; 2];
/// adaptive_avg_pool_forward(&s, &[1.0, 2.0, 4.0], &mut out);
/// assert_eq!(out, [1.5, 3.0]);
/// ```
///
/// # Panics
/// When a slice's length is not that of the shape, or the shape fails its check.
pub fn adaptive_avg_pool_forward<T: Float>(s: &AdaptiveShape, x: &[T], out: &mut [T]) {
    let (plane, _) = s.assert(x.len(), out.len());
    let axes = s.axes();
    if s.output == [1; 3] {
        T::SUM.run(x, plane, 1, out);
        let count = T::from_f64(plane as f64);
        return out.iter_mut().for_each(|o| *o = *o / count);
    }
    for_planes(s.planes, plane, out, |i, out| {
        let x = &x[i * plane..][..plane];
        s.windows(&axes, |o, window| {
            let mut sum = T::ZERO;
            window.rows(|row| sum += lanes_sum(&x[row]));
            out[o] = sum / T::from_f64(window.size() as f64);
        });
    });
}

/// A sum in eight interleaved parts: vectorises, and rounds less than one running sum.
fn lanes_sum<T: Float>(x: &[T]) -> T {
    if x.len() < 8 {
        return x.iter().fold(T::ZERO, |sum, &v| sum + v);
    }
    let mut parts = [T::ZERO; 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (part, x) in parts.iter_mut().zip(chunk) {
            *part += *x;
        }
    }
    for (part, x) in parts.iter_mut().zip(rest) {
        *part += *x;
    }
    let [a, b, c, d, e, f, g, h] = parts;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// The gradient of the input of [`adaptive_avg_pool_forward`]: `grad_in` is overwritten.
///
/// # Panics
/// As [`adaptive_avg_pool_forward`].
pub fn adaptive_avg_pool_backward<T: Float>(s: &AdaptiveShape, grad_out: &[T], grad_in: &mut [T]) {
    let (plane, outputs) = s.assert(grad_in.len(), grad_out.len());
    let axes = s.axes();
    for_planes(s.planes, plane, grad_in, |i, grad_in| {
        if s.output == [1; 3] {
            return grad_in.fill(grad_out[i] / T::from_f64(plane as f64));
        }
        grad_in.fill(T::ZERO);
        s.windows(&axes, |o, window| {
            let share = grad_out[i * outputs + o] / T::from_f64(window.size() as f64);
            window.rows(|row| grad_in[row].iter_mut().for_each(|grad| *grad += share));
        });
    });
}

/// The maximum of each window and its flat index in the plane; NaN and ties as in
/// [`max_pool_forward`](super::max_pool_forward), whose backward serves this too.
///
/// # Panics
/// As [`adaptive_avg_pool_forward`].
pub fn adaptive_max_pool_forward<T: Float>(
    s: &AdaptiveShape,
    x: &[T],
    out: &mut [T],
    indices: &mut [i64],
) {
    let (plane, _) = s.assert(x.len(), out.len());
    let axes = s.axes();
    assert_eq!(
        indices.len(),
        out.len(),
        "adaptive pooling: length of the indices"
    );
    for_pieces(s.planes, plane, out, indices, |i, out, indices| {
        let x = &x[i * plane..][..plane];
        if s.output == [1; 3] {
            extreme(x, [1, plane, 1], true, out, indices);
            // Of several NaNs the last one wins here.
            if !out[0].is_nan() {
                return;
            }
        }
        s.windows(&axes, |o, window| {
            let (mut max, mut at) = (T::NEG_INFINITY, None);
            window.rows(|row| {
                for at_x in row {
                    if x[at_x] > max || x[at_x].is_nan() || at.is_none() {
                        (max, at) = (x[at_x], Some(at_x));
                    }
                }
            });
            out[o] = max;
            indices[o] = at.map_or(-1, |at| at as i64);
        });
    });
}
