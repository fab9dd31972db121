//! Which algorithm computes a convolution: the table, from measured shapes.

use super::{ConvShape, winograd};

/// The part of a convolution that is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The output.
    Forward,
    /// The gradient of the input.
    Data,
    /// The gradient of the weight.
    Weight,
}

/// The algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Sums of products in registers, straight from padded planes: `correlate`, `weight`.
    Direct,
    /// Fewer multiplications: `winograd`.
    Winograd,
}

/// The path of an f32 convolution.
pub(super) fn choose(s: &ConvShape, _part: Part) -> Path {
    // Registers hold channels in `winograd`: with few of them, or few products to save, the
    // transforms cost more than they spare.
    let channels = s.in_channels.min(s.out_channels);
    if winograd::possible(s) && channels >= 16 && s.pixels() >= 4 {
        return Path::Winograd;
    }
    Path::Direct
}
