//! Gradients kept within bounds (`torch.nn.utils.clip_grad_norm_`, `clip_grad_value_`).

use crate::parameter::Parameter;
use flambeau_core::{Result, Tensor, bail, no_grad};

/// Scales all gradients together so that their norm, as if they were one vector, is at most
/// `max_norm`; returns the norm before. `norm_type` is 2 in most uses, infinity for the largest
/// element
/// ([`torch.nn.utils.clip_grad_norm_`](https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::optim::clip_grad_norm_;
/// let w = Tensor::new([3.0f32, 4.0])?.requires_grad_(true)?;
/// w.square()?.sum()?.mul(0.5)?.backward()?;
/// let norm = clip_grad_norm_([&w], 1.0, 2.0)?;
/// assert_eq!(norm.item::<f32>()?, 5.0);
/// assert!((w.grad().unwrap().to_vec::<f32>()?[0] - 0.6).abs() < 1e-6);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where `norm_type` is not above zero or `max_norm` is negative.
#[track_caller]
pub fn clip_grad_norm_<P: Into<Parameter>>(
    parameters: impl IntoIterator<Item = P>,
    max_norm: f64,
    norm_type: f64,
) -> Result<Tensor> {
    if norm_type.is_nan() || norm_type <= 0.0 || max_norm < 0.0 {
        bail!(
            "clip_grad_norm_",
            "max_norm must not be negative and norm_type must be above zero; got {max_norm} and {norm_type}"
        );
    }
    let grads: Vec<Tensor> = parameters
        .into_iter()
        .filter_map(|p| p.into().grad())
        .collect();
    no_grad(|| {
        let norms = grads
            .iter()
            .map(|g| norm(g, norm_type))
            .collect::<Result<Vec<_>>>()?;
        let Some(first) = norms.first() else {
            return Tensor::zeros(());
        };
        let mut total = first.clone();
        if norms.len() > 1 {
            total = norm(&Tensor::stack(&norms, 0)?, norm_type)?;
        }
        let scale = total
            .add(1e-6)?
            .reciprocal()?
            .mul(max_norm)?
            .clamp_max(1.0)?;
        for g in &grads {
            g.mul_(&scale)?;
        }
        Ok(total)
    })
}

fn norm(g: &Tensor, kind: f64) -> Result<Tensor> {
    let g = g.detach();
    if kind == f64::INFINITY {
        g.abs()?.max()
    } else if kind == 2.0 {
        g.square()?.sum()?.sqrt()
    } else {
        g.abs()?.pow(kind)?.sum()?.pow(1.0 / kind)
    }
}

/// Cuts every element of every gradient to at most `clip_value` in size
/// ([`torch.nn.utils.clip_grad_value_`](https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_value_.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::optim::clip_grad_value_;
/// let w = Tensor::new([3.0f32, -0.5])?.requires_grad_(true)?;
/// w.square()?.sum()?.backward()?;
/// clip_grad_value_([&w], 2.0)?;
/// assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [2.0, -1.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where `clip_value` is negative.
#[track_caller]
pub fn clip_grad_value_<P: Into<Parameter>>(
    parameters: impl IntoIterator<Item = P>,
    clip_value: f64,
) -> Result<()> {
    if clip_value.is_nan() || clip_value < 0.0 {
        bail!(
            "clip_grad_value_",
            "clip_value must not be negative; got {clip_value}"
        );
    }
    no_grad(|| {
        for p in parameters {
            if let Some(g) = p.into().grad() {
                g.clamp_(-clip_value, clip_value)?;
            }
        }
        Ok(())
    })
}
