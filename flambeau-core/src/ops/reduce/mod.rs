//! Reductions over dimensions.

mod bounds;
pub(crate) mod extreme;
mod fold;
pub(crate) mod moments;
mod op;
pub(crate) mod scan;
pub(crate) mod softmax;
mod sum;
mod truth;

use crate::ops::elementwise::to_contiguous;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Shape, numel};
use crate::tensor::Tensor;
use crate::{DType, Result, bail};

/// How many elements the last dimensions have, as many as `dims` names.
fn row_len(x: &Tensor, dims: &[usize]) -> usize {
    numel(&x.shape()[x.dim() - dims.len()..])
}

/// Whether `dims` are the last dimensions of the contiguous `x`, and its rows along them not short.
fn whole_rows(x: &Tensor, dims: &[usize]) -> bool {
    let last = dims.iter().all(|&d| d >= x.dim() - dims.len());
    last && x.is_contiguous() && row_len(x, dims) >= 64
}

/// `x`, contiguous and of type `lane`; converted only where it is not.
fn in_lane(op: &'static str, x: &Tensor, lane: DType) -> Result<Tensor> {
    if x.is_contiguous() && x.dtype() == lane {
        Ok(x.clone())
    } else {
        to_contiguous(op, x, lane)
    }
}

/// The shape after a reduction over `dims`.
fn kept_shape(shape: &[usize], dims: &[usize], keepdim: bool) -> Shape {
    let all = shape.iter().enumerate();
    if keepdim {
        all.map(|(d, &n)| if dims.contains(&d) { 1 } else { n })
            .collect()
    } else {
        all.filter(|(d, _)| !dims.contains(d))
            .map(|(_, &n)| n)
            .collect()
    }
}

/// The elements of each slice that `dims` runs over.
fn count(shape: &[usize], dims: &[usize]) -> usize {
    numel(&dims.iter().map(|&d| shape[d]).collect::<Shape>())
}

/// The shape of `x` as `[outer, n, inner]` around dimension `dim`.
fn around(x: &Tensor, dim: usize) -> (usize, usize, usize) {
    match x.shape() {
        [] => (1, 1, 1),
        s => (numel(&s[..dim]), s[dim], numel(&s[dim + 1..])),
    }
}

/// `x` as `outer` contiguous rows of `inner` elements each, those that `dims` runs over.
fn reduced_last(
    op: &'static str,
    x: &Tensor,
    dims: &[usize],
    lane: DType,
) -> Result<(Tensor, usize)> {
    let kept = (0..x.dim()).filter(|d| !dims.contains(d));
    let order: Shape = kept.chain(dims.iter().copied()).collect();
    let rows = in_lane(op, &x.detach().permute(order)?, lane)?;
    Ok((rows, count(x.shape(), dims)))
}

/// Whether there is an extreme or the like of every slice: none of `dims` is empty.
#[track_caller]
fn expect_elements(op: &'static str, x: &Tensor, dims: &[usize]) -> Result<()> {
    match dims.iter().find(|&&d| x.shape()[d] == 0) {
        Some(d) => bail!(
            op,
            "the tensor of shape {:?} has no elements along dimension {d}, and {op} of nothing is not defined",
            x.shape()
        ),
        None => Ok(()),
    }
}

#[track_caller]
fn expect_float(op: &'static str, x: &Tensor) -> Result<()> {
    if x.dtype().is_floating_point() {
        return Ok(());
    }
    bail!(
        op,
        "the {op} of a {} tensor is not defined; convert with to_dtype(DType::F32) first",
        x.dtype()
    )
}

impl Tensor {
    /// The same fresh contiguous memory under another shape of as many elements, without history.
    fn reshaped_whole(self, shape: Shape) -> Tensor {
        if self.shape() == &shape[..] {
            return self;
        }
        let strides = crate::shape::contiguous_strides(&shape);
        let (offset, dtype) = (self.0.offset, self.dtype());
        Tensor::make(self.0.storage.clone(), shape, strides, offset, dtype, None)
    }

    /// Without the dimensions `dims`, all of size 1.
    #[track_caller]
    pub(crate) fn drop_dims(&self, dims: &[usize]) -> Result<Tensor> {
        self.view(kept_shape(self.shape(), dims, false))
    }
}

/// A reduction of this name over a list of dimensions, kept or not.
#[inline]
fn over(name: &'static str, f: fn(&Tensor, &[i64], bool) -> Result<Tensor>) -> OpSpec {
    let torch = format!(
        "lambda x, d, k: torch.{name}(x) if not d and not k else torch.{name}(x, tuple(d) if d else None, keepdim=k)"
    );
    OpSpec::new(name, torch, move |a| {
        Ok(vec![f(a[0].tensor()?, a[1].list()?, a[2].bool()?)?])
    })
}

#[inline]
fn sample(shape: &[usize], dims: &[i64], keep: bool) -> Sample {
    Sample::new(vec![
        Arg::uniform(shape, (0.3, 2.0)),
        Arg::L(dims.to_vec()),
        Arg::B(keep),
    ])
}

/// Samples whose slices have elements.
#[inline]
fn plain() -> Vec<Sample> {
    vec![
        sample(&[3, 4], &[], false),
        sample(&[], &[], false),
        sample(&[3, 4], &[0], false),
        sample(&[3, 4], &[-1], true),
        sample(&[2, 3, 4], &[0, 2], false),
        sample(&[2, 3, 4], &[1], false),
        sample(&[3, 0], &[0], false),
    ]
}

/// Samples without.
#[inline]
fn nothing() -> [Sample; 2] {
    [sample(&[0, 3], &[0], false), sample(&[0], &[], false)]
}

/// Samples with elements and without.
#[inline]
fn all_samples() -> Vec<Sample> {
    [plain(), nothing().to_vec()].concat()
}

/// What tests and goldens know of this family.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    [
        sum::specs(),
        bounds::specs(),
        truth::specs(),
        extreme::specs(),
        moments::specs(),
        scan::specs(),
        softmax::specs(),
    ]
    .concat()
}

#[cfg(test)]
mod tests;
