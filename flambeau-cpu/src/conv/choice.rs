//! Which algorithm computes a convolution: the table, from measured shapes.

use super::{ConvShape, depthwise, phases, product, winograd};

/// The part of a convolution that is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
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
    /// The same along one axis, for few channels: `winograd::rows`.
    Rows,
    /// Dilation as a batch of smaller pictures that go by `winograd`: `phases`.
    Phases,
    /// Groups of one input channel: `depthwise`.
    Depthwise,
    /// One output position, a matrix product: `product`.
    Product,
}

/// The element type of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maps {
    F32,
    F64,
    /// Of bf16, on a CPU that multiplies pairs of them twice as fast as values of f32.
    Pairs,
    /// Of bf16, where a tile unit multiplies them many times as fast.
    Tiles,
    /// Of bf16, elsewhere.
    Bf16,
}

/// The path of a part of a convolution.
pub(super) fn choose(s: &ConvShape, part: Part, maps: Maps) -> Path {
    // Registers hold channels in `winograd`: with few of them, or few products to save, the
    // transforms cost more than they spare.
    let worth = s.in_channels.min(s.out_channels) >= 16 && s.pixels() >= 4;
    match (winograd::kind(s), maps) {
        (_, Maps::Tiles) => Path::Direct,
        (_, Maps::F32 | Maps::F64 | Maps::Bf16) if product::is_for(s) => Path::Product,
        _ if depthwise::is_for(s, part, maps == Maps::Pairs) => Path::Depthwise,
        (_, Maps::F64) => Path::Direct,
        (Some(winograd::Kind::Dense | winograd::Kind::PointStrided), _) if worth => Path::Winograd,
        // A quarter less multiplications, or none, do not make up for half the speed.
        (Some(_), Maps::F32 | Maps::Bf16) if worth => Path::Winograd,
        _ if phases::dense(s).is_some_and(|s| choose(&s, part, maps) == Path::Winograd) => {
            Path::Phases
        }
        _ if maps == Maps::F32 && rows_pay(s, part) => Path::Rows,
        _ => Path::Direct,
    }
}

/// Whether what `rows` spares is more than what is lost to the rest of a row's last two registers
/// (one, where a row fits it), of the last band of rows, and to the transforms.
fn rows_pay(s: &ConvShape, part: Part) -> bool {
    let [_, height, width] = match part {
        Part::Forward => s.valid_output(),
        Part::Data => s.input,
        // Sums of both operands would have to be stored: slower than `weight` by a quarter for LeNet.
        Part::Weight => return false,
    };
    let (saving, band, transforms) = match (s.kernel[1], winograd::rows::fine(s, part)) {
        (5, true) => (5.0 / 3.0, 2, 1.2),
        (5, false) => (2.5, 4, 1.5),
        _ => (2.0, 4, 1.5),
    };
    let filled = if width <= 16 {
        16
    } else {
        width.next_multiple_of(32)
    };
    winograd::rows::possible(s)
        && (height * width) as f64 * saving
            > transforms * (height.next_multiple_of(band) * filled) as f64
}
