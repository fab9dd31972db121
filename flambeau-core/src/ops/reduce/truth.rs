//! Which elements differ from zero.

use super::op::Kind;
use super::{all_samples, over};
use crate::Result;
use crate::ops::spec::OpSpec;
use crate::shape::{Dims, wrap_dims};
use crate::tensor::Tensor;

impl Tensor {
    /// Whether any element differs from zero; of nothing, false
    /// ([`torch.any`](https://pytorch.org/docs/stable/generated/torch.any.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert!(Tensor::new([0i64, 2])?.any()?.item::<bool>()?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn any(&self) -> Result<Tensor> {
        self.any_dim((), false)
    }

    /// Whether any element over dimensions `dim` (all where empty) differs from zero
    /// ([`torch.any`](https://pytorch.org/docs/stable/generated/torch.any.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[0i64, 2], [0, 0]])?.any_dim(1, false)?.to_vec::<bool>()?,
    ///     [true, false]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn any_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.reduce(
            Kind::Any,
            wrap_dims("any", &dim.dims(), self.dim())?,
            keepdim,
        )
    }

    /// Whether all elements differ from zero; of nothing, true
    /// ([`torch.all`](https://pytorch.org/docs/stable/generated/torch.all.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert!(!Tensor::new([0i64, 2])?.all()?.item::<bool>()?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn all(&self) -> Result<Tensor> {
        self.all_dim((), false)
    }

    /// Whether all elements over dimensions `dim` (all where empty) differ from zero
    /// ([`torch.all`](https://pytorch.org/docs/stable/generated/torch.all.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64, 2], [0, 0]])?.all_dim(1, false)?.to_vec::<bool>()?,
    ///     [true, false]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn all_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.reduce(
            Kind::All,
            wrap_dims("all", &dim.dims(), self.dim())?,
            keepdim,
        )
    }

    /// How many elements over dimensions `dim` (all where empty) differ from zero, as `i64`
    /// ([`torch.count_nonzero`](https://pytorch.org/docs/stable/generated/torch.count_nonzero.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [0, 3]])?.count_nonzero(0)?.to_vec::<i64>()?, [1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn count_nonzero(&self, dim: impl Dims) -> Result<Tensor> {
        self.ne(0)?.sum_dim(dim.dims().to_vec(), false)
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    vec![
        over("any", |x, d, k| x.any_dim(d, k))
            .samples(all_samples())
            .no_grad(),
        over("all", |x, d, k| x.all_dim(d, k))
            .samples(all_samples())
            .no_grad(),
    ]
}
