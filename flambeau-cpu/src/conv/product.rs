//! Convolutions with one output position, whose kernel covers the input: products of matrices, of
//! `[batch, patch]` maps and the `[out_channels, patch]` weight.

use super::ConvShape;
use crate::gemm::{Add, GemmScalar, Layout, Sizes, gemm_add};

/// Whether this convolution is one.
pub(super) fn is_for(s: &ConvShape) -> bool {
    let apart = (0..3).any(|d| s.dilation[d] > 1 && s.kernel[d] > 1);
    s.groups == 1 && s.kernel == s.input && s.padding == [0; 3] && !apart
}

/// `a * b + add` for `[m, k]` and `[k, n]`, each as rows of so many elements or turned.
fn product<T: GemmScalar>(
    [m, n, k]: [usize; 3],
    (a, a_turned): (&[T], bool),
    (b, b_turned): (&[T], bool),
    add: Add<'_, T>,
    c: &mut [T],
) {
    let layout = |rows: usize, cols: usize, turned: bool| Layout {
        batch: 0,
        row: if turned { 1 } else { cols },
        col: if turned { rows } else { 1 },
    };
    let sizes = Sizes { batch: 1, m, n, k };
    let (a, b) = ((a, layout(m, k, a_turned)), (b, layout(k, n, b_turned)));
    gemm_add(sizes, 1.0, a, b, add, (c, layout(m, n, false)));
}

pub(super) fn forward<T: GemmScalar>(
    s: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) {
    let along = Layout {
        batch: 0,
        row: 0,
        col: 1,
    };
    let add = bias.map_or(Add::Nothing, |bias| Add::Other(1.0, bias, along));
    let sizes = [s.batch, s.out_channels, s.patch()];
    product(sizes, (x, false), (w, true), add, out);
}

pub(super) fn backward_data<T: GemmScalar>(
    s: &ConvShape,
    grad_out: &[T],
    w: &[T],
    grad_in: &mut [T],
) {
    let sizes = [s.batch, s.patch(), s.out_channels];
    product(sizes, (grad_out, false), (w, false), Add::Nothing, grad_in);
}

pub(super) fn backward_weight<T: GemmScalar>(
    s: &ConvShape,
    x: &[T],
    grad_out: &[T],
    grad_w: &mut [T],
) {
    let sizes = [s.out_channels, s.patch(), s.batch];
    product(sizes, (grad_out, true), (x, false), Add::Nothing, grad_w);
}
