//! Losses of probabilities and their logarithms.

use super::{Reduction, operands, reduce};
use flambeau_core::{Result, Tensor, autocast_dtype_on, bail, cuda};

/// `log x`, at least -100; its slope is at most 1e12, as PyTorch's kernel has it.
#[track_caller]
fn log_of_probability(x: &Tensor) -> Result<Tensor> {
    let tiny = x.lt(1e-12)?;
    let line = x.mul(1e12)?;
    let value = x.detach().log()?.clamp_min(-100.0)?;
    let line = line.sub(line.detach())?.add(&value)?;
    tiny.where_(&line, &tiny.where_(1.0, x)?.log()?)
}

/// Binary cross-entropy of probabilities: -(t log x + (1 - t) log(1 - x)), logarithms at least -100,
/// times `weight`, which broadcasts
/// ([`F.binary_cross_entropy`](https://pytorch.org/docs/stable/generated/torch.nn.functional.binary_cross_entropy.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::binary_cross_entropy;
/// let (p, target) = (Tensor::new([0.9f32, 0.2])?, Tensor::new([1.0f32, 0.0])?);
/// let y = binary_cross_entropy(&p, &target, None, Reduction::Mean)?;
/// assert!((y.item::<f32>()? - 0.16425).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ or an input lies outside 0 to 1; on a CUDA device that is an error of the next
/// copy to the host, for nothing waits here ([`cuda::assert_async`]).
#[track_caller]
pub fn binary_cross_entropy(
    input: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    if input.is_cuda() && autocast_dtype_on(input.device()).is_some() {
        bail!(
            "binary_cross_entropy",
            "it is unsafe under autocast on a CUDA device, where its input may be of a half type: use binary_cross_entropy_with_logits without a sigmoid before, or compute it in a region that is not enabled"
        );
    }
    let region = operands("binary_cross_entropy", [input, target])?;
    let [input, target] = region.inputs();
    let inside = input.ge(0.0)?.mul(&input.le(1.0)?)?.all()?;
    cuda::assert_async(
        "binary_cross_entropy",
        &inside,
        "the input of binary_cross_entropy must be probabilities between 0 and 1; for logits use binary_cross_entropy_with_logits, or apply sigmoid first",
    )?;
    let rest = input.neg()?.add(1.0)?;
    let losses = target
        .mul(&log_of_probability(input)?)?
        .add(&target.neg()?.add(1.0)?.mul(&log_of_probability(&rest)?)?)?
        .neg()?;
    weighted(losses, region.optional(weight)?, reduction)
}

#[track_caller]
fn weighted(losses: Tensor, weight: Option<Tensor>, reduction: Reduction) -> Result<Tensor> {
    match weight {
        Some(w) => reduce(losses.mul(w)?, reduction),
        None => reduce(losses, reduction),
    }
}

/// Binary cross-entropy of logits, computed without overflow; positive targets count `pos_weight`
/// times; `weight` and `pos_weight` broadcast
/// ([`F.binary_cross_entropy_with_logits`](https://pytorch.org/docs/stable/generated/torch.nn.functional.binary_cross_entropy_with_logits.html)).
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::binary_cross_entropy_with_logits;
/// let (x, target) = (Tensor::new([2.0f32, -1.0])?, Tensor::new([1.0f32, 0.0])?);
/// let loss = binary_cross_entropy_with_logits(&x, &target, None, Reduction::Mean, None)?;
/// assert!((loss.item::<f32>()? - 0.22009).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn binary_cross_entropy_with_logits(
    input: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
    pos_weight: Option<&Tensor>,
) -> Result<Tensor> {
    let region = operands("binary_cross_entropy_with_logits", [input, target])?;
    let [input, target] = region.inputs();
    let log = input.log_sigmoid()?;
    let log = match region.optional(pos_weight)? {
        Some(w) => w.sub(1.0)?.mul(target)?.add(1.0)?.mul(&log)?,
        None => log,
    };
    let losses = input.addcmul(input, target, -1.0)?.sub(&log)?;
    weighted(losses, region.optional(weight)?, reduction)
}

/// Kullback-Leibler divergence of log-probabilities from `target`, which is probabilities, or their
/// logarithms where `log_target`: t (log t - input). PyTorch's `batchmean` is the sum divided by the
/// batch's size
/// ([`F.kl_div`](https://pytorch.org/docs/stable/generated/torch.nn.functional.kl_div.html)).
///
/// PyTorch's defaults: mean, `log_target` false.
///
/// ```
/// use flambeau_core::{Reduction, Tensor};
/// use flambeau_nn::functional::kl_div;
/// let (logp, target) = (Tensor::new([0.5f32, 0.5])?.log()?, Tensor::new([0.25f32, 0.75])?);
/// assert!((kl_div(&logp, &target, Reduction::Sum, false)?.item::<f32>()? - 0.13081).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ.
#[track_caller]
pub fn kl_div(
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    log_target: bool,
) -> Result<Tensor> {
    let region = operands("kl_div", [input, target])?;
    let [input, target] = region.inputs();
    let losses = if log_target {
        target.exp()?.mul(&target.sub(input)?)?
    } else {
        let some = target.gt(0.0)?;
        let log = some.where_(target, 1.0)?.log()?;
        target.mul(&log)?.sub(&target.mul(input)?)?
    };
    reduce(losses, reduction)
}
