//! Activations.

use super::methods;
use flambeau_core::{Result, Tensor, bail};

methods! {
    /// x, or α (eˣ - 1) below zero (default 1).
    elu(alpha: f64) = elu;
    /// The self-normalising ELU.
    selu() = selu;
    /// ELU with a continuous slope (default 1).
    celu(alpha: f64) = celu;
    /// x σ(x).
    silu() = silu;
    /// x tanh(softplus(x)).
    mish() = mish;
    /// log(1 + e^βx) / β; x itself where βx > `threshold` (defaults 1 and 20).
    softplus(beta: f64, threshold: f64) = softplus_with;
    /// x / (1 + |x|).
    softsign() = softsign;
    /// 1 / (1 + e⁻ˣ).
    sigmoid() = sigmoid;
    /// x cut to an interval (defaults -1 and 1).
    hardtanh(min_val: f64, max_val: f64) = hardtanh;
    /// x relu6(x + 3) / 6.
    hardswish() = hardswish;
    /// relu6(x + 3) / 6.
    hardsigmoid() = hardsigmoid;
    /// log σ(x).
    logsigmoid() = log_sigmoid;
    /// x - tanh(x).
    tanhshrink() = tanhshrink;
    /// x, or zero within λ of zero (default 0.5).
    hardshrink(lambd: f64) = hardshrink;
    /// x, drawn to zero by λ (default 0.5).
    softshrink(lambd: f64) = softshrink;
    /// `value` wherever x is not above `threshold`.
    threshold(threshold: f64, value: f64) = threshold;
}

/// min(max(0, x), 6).
///
/// # Errors
/// For bool tensors.
#[track_caller]
pub fn relu6(input: &Tensor) -> Result<Tensor> {
    input.hardtanh(0.0, 6.0)
}

/// x Φ(x), by tanh where `tanh` (`approximate="tanh"`).
///
/// # Errors
/// For integer tensors.
#[track_caller]
pub fn gelu(input: &Tensor, tanh: bool) -> Result<Tensor> {
    if tanh {
        input.gelu_tanh()
    } else {
        input.gelu()
    }
}

/// The first half along `dim` times σ of the second.
///
/// # Errors
/// Where the size is odd.
#[track_caller]
pub fn glu(input: &Tensor, dim: i64) -> Result<Tensor> {
    let size = input.size(dim)?;
    if size % 2 != 0 {
        bail!(
            "glu",
            "dimension {dim} of shape {:?} must have an even size to be halved",
            input.shape()
        );
    }
    let half = size / 2;
    input
        .narrow(dim, 0, half)?
        .mul(&input.narrow(dim, half as i64, half)?.sigmoid()?)
}

/// x, times a learned slope below zero: `weight` has one element, or one for each channel of
/// dimension 1.
///
/// # Errors
/// Where the weight fits neither.
#[track_caller]
pub fn prelu(input: &Tensor, weight: &Tensor) -> Result<Tensor> {
    input.prelu(weight)
}
