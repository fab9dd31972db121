//! Losses by the distance of single numbers.

use super::{Reduction, operands, reduce};
use flambeau_core::{Result, Tensor, bail};

/// |input - target|
/// ([`F.l1_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.l1_loss.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::l1_loss;
/// let (x, y) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.5f32, 4.0])?);
/// assert_eq!(l1_loss(&x, &y, Reduction::Mean)?.item::<f32>()?, 1.25);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn l1_loss(input: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let region = operands("l1_loss", [input, target])?;
    let [input, target] = region.inputs();
    reduce(input.sub(target)?.abs()?, reduction)
}

/// d² / 2β where d = |input - target| is below β, else d - β/2 (PyTorch's default β is 1)
/// ([`F.smooth_l1_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.smooth_l1_loss.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::smooth_l1_loss;
/// let (x, y) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.5f32, 4.0])?);
/// assert_eq!(smooth_l1_loss(&x, &y, Reduction::None, 1.0)?.to_vec::<f32>()?, [0.125, 1.5]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ or `beta` is negative.
#[track_caller]
pub fn smooth_l1_loss(
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    beta: f64,
) -> Result<Tensor> {
    if beta == 0.0 {
        return l1_loss(input, target, reduction);
    }
    let region = operands("smooth_l1_loss", [input, target])?;
    let [input, target] = region.inputs();
    if beta.is_nan() || beta < 0.0 {
        bail!("smooth_l1_loss", "beta must not be negative; got {beta}");
    }
    let loss = near_and_far(&input.sub(target)?, beta)?;
    reduce(if beta == 1.0 { loss } else { loss.div(beta)? }, reduction)
}

/// d² / 2 where d, the absolute value, is at most δ, else δ (d - δ/2): with m = min(d, δ) both are
/// m (d - m / 2).
fn near_and_far(difference: &Tensor, delta: f64) -> Result<Tensor> {
    let d = difference.abs()?;
    let m = d.clamp_max(delta)?;
    d.sub_scaled(&m, 0.5)?.mul(m)
}

/// d² / 2 where d = |input - target| is at most δ, else δ (d - δ/2) (PyTorch's default δ is 1)
/// ([`F.huber_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.huber_loss.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::huber_loss;
/// let (x, y) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.5f32, 4.0])?);
/// assert_eq!(huber_loss(&x, &y, Reduction::None, 0.5)?.to_vec::<f32>()?, [0.125, 0.875]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ or `delta` is not above zero.
#[track_caller]
pub fn huber_loss(
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    delta: f64,
) -> Result<Tensor> {
    let region = operands("huber_loss", [input, target])?;
    let [input, target] = region.inputs();
    if delta.is_nan() || delta <= 0.0 {
        bail!("huber_loss", "delta must be above zero; got {delta}");
    }
    reduce(near_and_far(&input.sub(target)?, delta)?, reduction)
}
