//! What should hold, without waiting for it.

use super::{failed, with_slice};
use crate::tensor::Tensor;
use crate::{DType, Result, bail};

/// Says that the truth value `holds` has to be true (`torch._assert_async`). On the CPU it is looked at;
/// on a CUDA device nobody waits: where it is false, `message` is the error of the next copy to the host
/// or [`synchronize`](super::synchronize), or, with `FLAMBEAU_CUDA_SYNC=1`, of this call. It may be
/// captured into a [`Graph`](super::Graph), whose replays then look anew.
///
/// ```
/// use flambeau_core::{Tensor, cuda};
/// let p = Tensor::new([0.5f32, 1.5])?;
/// let error = cuda::assert_async("loss", &p.le(1.0)?.all()?, "no probabilities").unwrap_err();
/// assert!(error.to_string().contains("no probabilities"));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where it is false, as far as that is known; and where it is not a single truth value.
#[track_caller]
pub fn assert_async(op: &'static str, holds: &Tensor, message: &'static str) -> Result<()> {
    if holds.dtype() != DType::Bool || holds.numel() != 1 {
        bail!(
            op,
            "what has to hold is a bool tensor of one element, not {} of shape {:?}; take all() of it",
            holds.dtype(),
            holds.shape()
        );
    }
    if !holds.on_cuda() {
        if !holds.item::<bool>()? {
            bail!(op, "{message}");
        }
        return Ok(());
    }
    with_slice(op, holds, |holds| {
        flambeau_cuda::tensor::check(holds, message).map_err(|e| failed(op, e))
    })
}
