//! The greatest and the least element; which they are is in `extreme`.

use super::op::Kind;
use super::{expect_elements, over, plain};
use crate::Result;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, wrap_dims};
use crate::tensor::Tensor;

impl Tensor {
    /// The greatest element over dimensions `dim` (all where empty); NaN where there is one. Ties
    /// share the gradient evenly
    /// ([`torch.amax`](https://pytorch.org/docs/stable/generated/torch.amax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 4], [3, 2]])?.amax(1, false)?.to_vec::<i64>()?, [4, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are no elements to choose from.
    #[track_caller]
    pub fn amax(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        let dims = wrap_dims("amax", &dim.dims(), self.dim())?;
        expect_elements("amax", self, &dims)?;
        self.reduce(Kind::Amax, dims, keepdim)
    }

    /// The least element over dimensions `dim`, as [`amax`](Tensor::amax)
    /// ([`torch.amin`](https://pytorch.org/docs/stable/generated/torch.amin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 4], [3, 2]])?.amin(0, true)?.to_vec2::<i64>()?, [[1, 2]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`amax`](Tensor::amax).
    #[track_caller]
    pub fn amin(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        let dims = wrap_dims("amin", &dim.dims(), self.dim())?;
        expect_elements("amin", self, &dims)?;
        self.reduce(Kind::Amin, dims, keepdim)
    }

    /// Least and greatest elements
    /// ([`torch.aminmax`](https://pytorch.org/docs/stable/generated/torch.aminmax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (min, max) = Tensor::new([3i64, 1, 2])?.aminmax((), false)?;
    /// assert_eq!((min.item::<i64>()?, max.item::<i64>()?), (1, 3));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`amax`](Tensor::amax).
    #[track_caller]
    pub fn aminmax(&self, dim: impl Dims, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let dim = dim.dims().to_vec();
        Ok((self.amin(&dim, keepdim)?, self.amax(&dim, keepdim)?))
    }

    /// The greatest of all elements; see [`max_dim`](Tensor::max_dim) for a dimension's
    /// ([`torch.max`](https://pytorch.org/docs/stable/generated/torch.max.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([3i64, 1, 2])?.max()?.item::<i64>()?, 3);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`amax`](Tensor::amax).
    #[track_caller]
    pub fn max(&self) -> Result<Tensor> {
        self.amax((), false)
    }

    /// The least of all elements
    /// ([`torch.min`](https://pytorch.org/docs/stable/generated/torch.min.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([3i64, 1, 2])?.min()?.item::<i64>()?, 1);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`amax`](Tensor::amax).
    #[track_caller]
    pub fn min(&self) -> Result<Tensor> {
        self.amin((), false)
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    vec![
        over("amax", |x, d, k| x.amax(d, k)).samples(plain()),
        over("amin", |x, d, k| x.amin(d, k)).samples(plain()),
        OpSpec::new("max", "torch.max", |a| Ok(vec![a[0].tensor()?.max()?]))
            .samples(vec![Sample::new(vec![Arg::uniform([3, 4], (-2.0, 2.0))])]),
        OpSpec::new("min", "torch.min", |a| Ok(vec![a[0].tensor()?.min()?]))
            .samples(vec![Sample::new(vec![Arg::uniform([3, 4], (-2.0, 2.0))])]),
    ]
}
