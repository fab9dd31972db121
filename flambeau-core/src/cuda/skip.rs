//! Updates that the device itself decides to skip.

use crate::tensor::Tensor;
use crate::{DType, Result, bail};
use std::cell::RefCell;

thread_local! {
    static FOUND: RefCell<Option<Tensor>> = const { RefCell::new(None) };
}

/// Gives the region's end back what was before.
struct Restore(Option<Tensor>);

impl Drop for Restore {
    fn drop(&mut self) {
        FOUND.set(self.0.take());
    }
}

/// Runs `step`, in which the updates of [`fused`](crate::fused) on `found`'s device change nothing where
/// `found` (0-d, `f32`, on a CUDA device) is not 0 when they run: what the `found_inf` of PyTorch's fused
/// optimizers does. Nobody waits to see whether it is.
///
/// # Errors
/// Those of `step`, and where it updates what is not on a device, or cannot be updated where it lies.
#[track_caller]
pub fn skip_where<R>(found: &Tensor, step: impl FnOnce() -> Result<R>) -> Result<R> {
    if !found.on_cuda() || found.dtype() != DType::F32 || found.numel() != 1 {
        bail!(
            "skip_where",
            "what decides is one f32 on a CUDA device, not {} of shape {:?} on {}",
            found.dtype(),
            found.shape(),
            found.device()
        );
    }
    let _restore = Restore(FOUND.replace(Some(found.detach())));
    step()
}

/// Whether this thread is in [`skip_where`].
pub fn is_skipping() -> bool {
    FOUND.with_borrow(Option::is_some)
}

/// Calls `f` with what decides here, if anything does.
pub(super) fn with<R>(f: impl FnOnce(Option<&Tensor>) -> R) -> R {
    let found = FOUND.with_borrow(Clone::clone);
    f(found.as_ref())
}

/// Refuses an update that no device could skip.
#[track_caller]
pub(crate) fn refuse(op: &'static str) -> Result<()> {
    if is_skipping() {
        bail!(
            op,
            "the device decides whether this step is taken, but a parameter is not on it, or its gradient and state do not lie in memory as it does; bring them there, or let the host decide"
        );
    }
    Ok(())
}
