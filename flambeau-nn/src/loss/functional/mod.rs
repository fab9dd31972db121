//! Losses as functions.
//!
//! A loss of an input and a target of other shapes is an error, never a broadcast: `[32, 1]` against
//! `[32]` would compare each with each.

mod probability;
mod ranking;
mod regression;

pub use probability::*;
pub use ranking::*;
pub use regression::*;

use flambeau_core::autocast::{Cast, Composite};
use flambeau_core::{ClassLoss, Result, Tensor, bail};

pub use flambeau_core::Reduction;

/// Combines the losses of the elements.
#[track_caller]
fn reduce(losses: Tensor, reduction: Reduction) -> Result<Tensor> {
    match reduction {
        Reduction::None => Ok(losses),
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
    }
}

/// Input and target must have one shape.
#[track_caller]
fn same_shape(op: &'static str, input: &Tensor, target: &Tensor) -> Result<()> {
    if input.shape() == target.shape() {
        return Ok(());
    }
    let fix = if input.numel() == target.numel() {
        format!(
            "reshape one to the other: target.view({:?}), or input.squeeze()",
            input.shape()
        )
    } else {
        "each element of the input needs a target of its own".to_owned()
    };
    bail!(
        op,
        "the input has shape {:?}, the target {:?}; a loss does not broadcast. {fix}",
        input.shape(),
        target.shape()
    );
}

/// The operands of a loss, all of one shape; under mixed precision losses are computed in `f32`.
#[track_caller]
fn operands<'a, const N: usize>(
    op: &'static str,
    inputs: [&'a Tensor; N],
) -> Result<Composite<'a, N>> {
    for other in &inputs[1..] {
        same_shape(op, inputs[0], other)?;
    }
    Composite::new(Cast::Full, inputs)
}

/// Cross-entropy between logits `[batch, classes, …]` and targets: class indices `[batch, …]` of any
/// integer type, or probabilities of the logits' shape. PyTorch's defaults: no weight, -100, mean, 0
/// ([`F.cross_entropy`](https://pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::cross_entropy;
/// let (logits, target) = (Tensor::new([[2.0f32, 0.0], [0.0, 1.0]])?, Tensor::new([0i64, 1])?);
/// let y = cross_entropy(&logits, &target, None, -100, Reduction::Mean, 0.0)?;
/// assert!((y.item::<f32>()? - 0.22009).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where shapes do not fit, a target is no class, or floating-point targets do not have the logits'
/// shape.
#[track_caller]
pub fn cross_entropy(
    input: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    ignore_index: i64,
    reduction: Reduction,
    label_smoothing: f64,
) -> Result<Tensor> {
    if target.dtype().is_floating_point() && target.shape() != input.shape() {
        bail!(
            "cross_entropy",
            "the targets are {} of shape {:?}: class indices must be integers, convert them with to_dtype(DType::I64); probabilities must have the input's shape {:?}",
            target.dtype(),
            target.shape(),
            input.shape()
        );
    }
    input.cross_entropy(
        target,
        ClassLoss {
            weight,
            ignore_index,
            reduction,
            label_smoothing,
        },
    )
}

/// Negative log-likelihood of log-probabilities `[batch, classes, …]` under class indices
/// `[batch, …]` of any integer type
/// ([`F.nll_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.nll_loss.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::nll_loss;
/// let (logp, target) = (Tensor::new([[-0.5f32, -1.0], [-2.0, -0.25]])?, Tensor::new([1i64, 0])?);
/// assert_eq!(nll_loss(&logp, &target, None, -100, Reduction::Sum)?.item::<f32>()?, 3.0);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where shapes do not fit or a target is no class.
#[track_caller]
pub fn nll_loss(
    input: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    ignore_index: i64,
    reduction: Reduction,
) -> Result<Tensor> {
    if target.dtype().is_floating_point() {
        bail!(
            "nll_loss",
            "the targets are {}; class indices must be integers: convert them with to_dtype(DType::I64)",
            target.dtype()
        );
    }
    input.nll_loss(
        target,
        ClassLoss {
            weight,
            ignore_index,
            reduction,
            label_smoothing: 0.0,
        },
    )
}

/// (input - target)²
/// ([`F.mse_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.mse_loss.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::mse_loss;
/// let (x, y) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.5f32, 4.0])?);
/// assert_eq!(mse_loss(&x, &y, Reduction::Mean)?.item::<f32>()?, 2.125);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn mse_loss(input: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let region = operands("mse_loss", [input, target])?;
    let [input, target] = region.inputs();
    reduce(input.sub(target)?.square()?, reduction)
}
