//! Losses of pairs and margins; counts.

use super::{Reduction, operands, reduce};
use flambeau_core::{DType, Result, Tensor, bail};

/// 1 - cos(x1, x2) where `target` is 1, max(0, cos - margin) where it is -1: inputs `[batch, size]`
/// or `[size]`
/// ([`F.cosine_embedding_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.cosine_embedding_loss.html)).
///
/// PyTorch's defaults: `margin` 0, mean.
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::cosine_embedding_loss;
/// let (a, b) = (Tensor::new([[1.0f32, 0.0]])?, Tensor::new([[3.0f32, 4.0]])?);
/// let y = cosine_embedding_loss(&a, &b, &Tensor::new([1i64])?, 0.0, Reduction::Mean)?;
/// assert!((y.item::<f32>()? - 0.4).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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

/// max(0, -target (input1 - input2) + margin): which of two should rank higher
/// ([`F.margin_ranking_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.margin_ranking_loss.html)).
///
/// PyTorch's defaults: `margin` 0, mean.
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::margin_ranking_loss;
/// let (a, b) = (Tensor::new([1.0f32, 3.0])?, Tensor::new([2.0f32, 1.0])?);
/// assert_eq!(
///     margin_ranking_loss(&a, &b, &Tensor::ones([2])?, 0.5, Reduction::Sum)?.item::<f32>()?,
///     1.5
/// );
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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

/// input where `target` is 1, max(0, margin - input) where it is -1
/// ([`F.hinge_embedding_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hinge_embedding_loss.html)).
///
/// PyTorch's defaults: `margin` 1, mean.
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::hinge_embedding_loss;
/// let (x, target) = (Tensor::new([0.25f32, 0.25])?, Tensor::new([1.0f32, -1.0])?);
/// assert_eq!(
///     hinge_embedding_loss(&x, &target, 1.0, Reduction::None)?.to_vec::<f32>()?,
///     [0.25, 0.75]
/// );
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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
/// dimension
/// ([`F.triplet_margin_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.triplet_margin_loss.html)).
///
/// PyTorch's defaults: `margin` 1, `p` 2, mean.
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::triplet_margin_loss;
/// let at = |x: f32| Tensor::new([[x, 0.0]]);
/// let y = triplet_margin_loss(&at(0.0)?, &at(1.0)?, &at(1.5)?, 1.0, 2.0, Reduction::Mean)?;
/// assert!((y.item::<f32>()? - 0.5).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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

/// log(1 + e^(-target input))
/// ([`F.soft_margin_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.soft_margin_loss.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::soft_margin_loss;
/// let (x, target) = (Tensor::new([2.0f32, -1.0])?, Tensor::new([1.0f32, 1.0])?);
/// let expected = Tensor::new([0.12693f32, 1.31326])?;
/// let y = soft_margin_loss(&x, &target, Reduction::None)?;
/// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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

/// e^input - target input: input is the logarithm of an expected count
/// ([`F.poisson_nll_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.poisson_nll_loss.html)).
///
/// PyTorch's defaults: `log_input` true, `eps` 1e-8, mean.
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::poisson_nll_loss;
/// let (x, target) = (Tensor::new([0.0f32, 1.0])?, Tensor::new([1.0f32, 2.0])?);
/// let y = poisson_nll_loss(&x, &target, true, 1e-8, Reduction::Mean)?;
/// assert!((y.item::<f32>()? - 0.85914).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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
