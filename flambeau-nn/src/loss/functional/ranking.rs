//! Losses of pairs and margins; counts.

use super::{Reduction, operands, reduce};
use flambeau_core::{DType, Result, Tensor, bail};

/// 1 - cos(x1, x2) where `target` is 1, max(0, cos - margin) where it is -1: inputs `[batch, size]`
/// or `[size]`.
///
/// # Errors
/// Where the inputs' shapes differ or the target is not one for each sample.
#[track_caller]
pub fn cosine_embedding_loss(
    input1: &Tensor,
    input2: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let op = "cosine_embedding_loss";
    let region = operands(op, [input1, input2])?;
    let [input1, input2] = region.inputs();
    if input1.dim() == 0 || target.shape() != &input1.shape()[..input1.dim() - 1] {
        bail!(
            op,
            "inputs of shape {:?} need one target for each sample; got shape {:?}",
            input1.shape(),
            target.shape()
        );
    }
    // PyTorch adds its eps to the squares here.
    let eps = 1e-12;
    let square = |a: &Tensor, b: &Tensor| a.mul(b)?.sum_dim(-1, false);
    let norms = square(input1, input1)?
        .add(eps)?
        .mul(&square(input2, input2)?.add(eps)?)?
        .sqrt()?;
    let cos = square(input1, input2)?.div(&norms)?;
    let alike = cos.neg()?.add(1.0)?;
    let apart = cos.sub(margin)?.relu()?;
    let losses = target
        .eq(1)?
        .where_(&alike, &target.eq(-1)?.where_(&apart, 0.0)?)?;
    reduce(losses, reduction)
}

/// max(0, -target (input1 - input2) + margin): which of two should rank higher.
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn margin_ranking_loss(
    input1: &Tensor,
    input2: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let region = operands("margin_ranking_loss", [input1, input2, target])?;
    let [input1, input2, target] = region.inputs();
    let d = input1.sub(input2)?;
    reduce(d.mul(&target.neg()?)?.add(margin)?.relu()?, reduction)
}

/// input where `target` is 1, max(0, margin - input) where it is -1.
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn hinge_embedding_loss(
    input: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let region = operands("hinge_embedding_loss", [input, target])?;
    let [input, target] = region.inputs();
    let apart = input.neg()?.add(margin)?.relu()?;
    let far = target.eq(1)?.where_(0.0, &apart)?;
    let near = target.eq(-1)?.where_(0.0, input)?;
    reduce(far.add(&near)?, reduction)
}

/// max(0, d(anchor, positive) - d(anchor, negative) + margin) with distances along the last
/// dimension.
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn triplet_margin_loss(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    margin: f64,
    p: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let region = operands("triplet_margin_loss", [anchor, positive, negative])?;
    let [anchor, positive, negative] = region.inputs();
    let distance = |other| crate::functional::pairwise_distance(anchor, other, p, 1e-6);
    let losses = distance(positive)?.sub(&distance(negative)?)?.add(margin)?;
    reduce(losses.relu()?, reduction)
}

/// log(1 + e^(-target input)).
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn soft_margin_loss(input: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let region = operands("soft_margin_loss", [input, target])?;
    let [input, target] = region.inputs();
    let target = target.to_dtype(DType::promote(target.dtype(), input.dtype()))?;
    reduce(target.mul(input)?.log_sigmoid()?.neg()?, reduction)
}

/// e^input - target input: input is the logarithm of an expected count.
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn poisson_nll_loss(
    input: &Tensor,
    target: &Tensor,
    log_input: bool,
    eps: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let region = operands("poisson_nll_loss", [input, target])?;
    let [input, target] = region.inputs();
    let losses = if log_input {
        input.exp()?.sub(&target.mul(input)?)?
    } else {
        input.sub(&target.mul(&input.add(eps)?.log()?)?)?
    };
    reduce(losses, reduction)
}
