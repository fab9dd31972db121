//! Distances and lengths of vectors.

use flambeau_core::{Result, Tensor};

/// Vectors along `dim` scaled to a `p`-norm of 1 (of at least `eps`)
/// ([`F.normalize`](https://pytorch.org/docs/stable/generated/torch.nn.functional.normalize.html)).
///
/// PyTorch's defaults: `p` 2, `dim` 1, `eps` 1e-12.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::normalize;
/// let expected = Tensor::new([0.6f32, 0.8])?;
/// let y = normalize(&Tensor::new([3.0f32, 4.0])?, 2.0, 0, 1e-12)?;
/// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For integer tensors.
#[track_caller]
pub fn normalize(input: &Tensor, p: f64, dim: i64, eps: f64) -> Result<Tensor> {
    let norm = if p == 2.0 {
        input.square()?.sum_dim(dim, true)?.sqrt()?
    } else {
        input.abs()?.pow(p)?.sum_dim(dim, true)?.pow(1.0 / p)?
    };
    input.div(&norm.clamp_min(eps)?)
}

/// The cosine between vectors along `dim`; norms count as at least `eps` (default 1e-8)
/// ([`F.cosine_similarity`](https://pytorch.org/docs/stable/generated/torch.nn.functional.cosine_similarity.html)).
///
/// PyTorch's defaults: `dim` 1, `eps` 1e-8.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::cosine_similarity;
/// let (a, b) = (Tensor::new([1.0f32, 0.0])?, Tensor::new([3.0f32, 4.0])?);
/// assert!((cosine_similarity(&a, &b, 0, 1e-8)?.item::<f32>()? - 0.6).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not broadcast.
#[track_caller]
pub fn cosine_similarity(x1: &Tensor, x2: &Tensor, dim: i64, eps: f64) -> Result<Tensor> {
    let dot = x1.mul(x2)?.sum_dim(dim, false)?;
    let norm =
        |x: &Tensor| -> Result<Tensor> { x.square()?.sum_dim(dim, false)?.sqrt()?.clamp_min(eps) };
    dot.div(&norm(x1)?.mul(&norm(x2)?)?)
}

/// The `p`-norm of the difference of vectors along the last dimension, `eps` added to it first
/// ([`F.pairwise_distance`](https://pytorch.org/docs/stable/generated/torch.nn.functional.pairwise_distance.html)).
///
/// PyTorch's defaults: `p` 2, `eps` 1e-6.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::pairwise_distance;
/// let (a, b) = (Tensor::new([[1.0f32, 2.0]])?, Tensor::new([[4.0f32, 6.0]])?);
/// let expected = Tensor::new([5.0f32])?;
/// assert!(pairwise_distance(&a, &b, 2.0, 1e-6)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not broadcast.
#[track_caller]
pub fn pairwise_distance(x1: &Tensor, x2: &Tensor, p: f64, eps: f64) -> Result<Tensor> {
    let d = x1.sub(x2)?.add(eps)?;
    if p == 2.0 {
        d.square()?.sum_dim(-1, false)?.sqrt()
    } else {
        d.abs()?.pow(p)?.sum_dim(-1, false)?.pow(1.0 / p)
    }
}
