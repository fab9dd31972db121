//! Automatic differentiation: a graph recorded as the program runs, walked backwards on demand.
//!
//! | | |
//! | --- | --- |
//! | [`Tensor::backward`](crate::Tensor::backward), [`Backward`] | gradients added into the leaves' `grad`, with options |
//! | [`grad`] | gradients returned, for derivatives of higher order too |
//! | [`no_grad`], [`enable_grad`], [`inference_mode`], [`set_grad_enabled`] | whether operations are recorded |
//! | [`GradFn`] | the graph to look at |
//! | [`Tensor::register_hook`](crate::Tensor::register_hook), [`Tensor::retain_grad`](crate::Tensor::retain_grad) | gradients on their way |
//! | [`checkpoint`](checkpoint()) | functions that run again in the backward pass instead of keeping their results |
//! | [`Ctx`] | what a gradient rule sees |
//!
//! ```
//! use flambeau_core::{Tensor, no_grad};
//! let x = Tensor::new([3.0f32])?.requires_grad_(true)?;
//! x.square()?.sum()?.backward()?;
//! assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [6.0]);
//! assert!(!no_grad(|| x.square())?.requires_grad());
//! # Ok::<(), flambeau_core::Error>(())
//! ```

mod checkpoint;
mod engine;
mod grad_fn;
mod mode;
mod node;
mod twin;

pub use checkpoint::{CheckpointOptions, checkpoint, checkpoint_with};
pub(crate) use checkpoint::{Later, checkpointed, note};
pub use engine::{Backward, Grad, grad};
pub use grad_fn::GradFn;
pub use mode::{
    ModeGuard, enable_grad, inference_mode, is_grad_enabled, is_inference_mode, no_grad,
    set_grad_enabled,
};
pub use node::Ctx;
pub(crate) use node::{Edge, Hook, Input, Node, Saved, SavedSet, current_sequence, note_writer};
pub(crate) use twin::by_twin;

/// PyTorch's name of an operation's node: `<MulBackward0>`, as a printed tensor shows it.
pub(crate) fn node_name(op: &str) -> String {
    let op = match op {
        "copy_slices" => return "CopySlices".into(),
        "copy_" => return "CopyBackwards".into(),
        "to" => "_to_copy",
        "conv1d" | "conv2d" | "conv3d" => "convolution",
        "max_pool2d" => "max_pool2d_with_indices",
        "reshape" | "flatten" => "view",
        other => other.strip_suffix('_').unwrap_or(other),
    };
    let mut name = String::new();
    for part in op.split('_') {
        let mut chars = part.chars();
        name.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        // PyTorch writes the letter after a digit large: MaxPool2DWithIndices.
        let mut after_digit = false;
        name.extend(chars.map(|c| {
            let c = if after_digit {
                c.to_ascii_uppercase()
            } else {
                c
            };
            after_digit = c.is_ascii_digit();
            c
        }));
    }
    name + "Backward0"
}
