//! Automatic differentiation: a graph recorded as the program runs, walked backwards on demand.

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
