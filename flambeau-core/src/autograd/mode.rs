//! Whether operations record a graph.

use std::cell::Cell;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Mode {
    grad: bool,
    inference: bool,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode { grad: true, inference: false }) };
}

/// Restores the mode that stood before it when dropped. Of the thread that made it.
#[must_use = "the mode ends when the guard is dropped"]
pub struct ModeGuard {
    before: Mode,
    // Not Send: the mode belongs to a thread.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Drop for ModeGuard {
    fn drop(&mut self) {
        MODE.set(self.before);
    }
}

fn enter(mode: Mode) -> ModeGuard {
    ModeGuard {
        before: MODE.replace(mode),
        _thread: std::marker::PhantomData,
    }
}

/// Whether operations on this thread record a graph
/// ([`torch.is_grad_enabled`](https://pytorch.org/docs/stable/generated/torch.is_grad_enabled.html)).
///
/// ```
/// use flambeau_core::{is_grad_enabled, no_grad};
/// assert!(is_grad_enabled() && !no_grad(is_grad_enabled));
/// ```
pub fn is_grad_enabled() -> bool {
    MODE.get().grad
}

/// Whether [`inference_mode`] is in force on this thread.
///
/// ```
/// use flambeau_core::inference_mode;
/// use flambeau_core::autograd::is_inference_mode;
/// assert!(!is_inference_mode() && inference_mode(is_inference_mode));
/// ```
pub fn is_inference_mode() -> bool {
    MODE.get().inference
}

/// Runs `f` without recording a graph
/// ([`torch.no_grad`](https://pytorch.org/docs/stable/generated/torch.no_grad.html)).
///
/// ```
/// use flambeau_core::{no_grad, Tensor};
/// let x = Tensor::ones([2])?.requires_grad_(true)?;
/// assert!(!no_grad(|| x.mul(2.0))?.requires_grad());
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    let _guard = set_grad_enabled(false);
    f()
}

/// Runs `f` with recording on, inside a [`no_grad`] too
/// ([`torch.enable_grad`](https://pytorch.org/docs/stable/generated/torch.enable_grad.html)).
///
/// ```
/// use flambeau_core::{enable_grad, is_grad_enabled, no_grad};
/// assert!(no_grad(|| enable_grad(is_grad_enabled)));
/// ```
pub fn enable_grad<R>(f: impl FnOnce() -> R) -> R {
    let _guard = set_grad_enabled(true);
    f()
}

/// Runs `f` without recording; what it makes can never take part in a graph
/// ([`torch.inference_mode`](https://pytorch.org/docs/stable/generated/torch.inference_mode.html))
/// ([`torch.autograd.grad_mode.inference_mode`](https://pytorch.org/docs/stable/generated/torch.autograd.grad_mode.inference_mode.html)).
///
/// ```
/// use flambeau_core::{Tensor, inference_mode};
/// let x = inference_mode(|| Tensor::ones([2]))?;
/// assert!(x.is_inference() && x.requires_grad_(true).is_err());
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub fn inference_mode<R>(f: impl FnOnce() -> R) -> R {
    let _guard = enter(Mode {
        grad: false,
        inference: true,
    });
    f()
}

/// Switches recording on this thread until the guard is dropped
/// ([`torch.set_grad_enabled`](https://pytorch.org/docs/stable/generated/torch.set_grad_enabled.html)).
/// Has no effect inside [`inference_mode`]
/// ([`torch.autograd.grad_mode.set_grad_enabled`](https://pytorch.org/docs/stable/generated/torch.autograd.grad_mode.set_grad_enabled.html)).
///
/// ```
/// use flambeau_core::{is_grad_enabled, set_grad_enabled};
/// let guard = set_grad_enabled(false);
/// assert!(!is_grad_enabled());
/// drop(guard);
/// assert!(is_grad_enabled());
/// ```
pub fn set_grad_enabled(enabled: bool) -> ModeGuard {
    let inference = MODE.get().inference;
    enter(Mode {
        grad: enabled && !inference,
        inference,
    })
}
