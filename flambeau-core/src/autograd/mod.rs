//! Automatic differentiation: a graph recorded as the program runs, walked backwards on demand.

mod engine;
mod mode;
mod node;
mod twin;

pub use engine::{Backward, Grad, grad};
pub use mode::{
    ModeGuard, enable_grad, inference_mode, is_grad_enabled, is_inference_mode, no_grad,
    set_grad_enabled,
};
pub use node::Ctx;
pub(crate) use node::{Edge, Hook, Input, Node, Saved, SavedSet, next_sequence, note_writer};
pub(crate) use twin::by_twin;

/// `max_pool2d` as `MaxPool2D`, for printing a tensor's `grad_fn`.
pub(crate) fn camel(name: &str) -> String {
    name.split('_')
        .map(|part| {
            let mut chars = part.chars();
            chars.next().map_or(String::new(), |c| {
                c.to_uppercase().chain(chars).collect::<String>()
            })
        })
        .collect()
}
