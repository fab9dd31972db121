//! Sums, means and products.

use super::op::Kind;
use super::{all_samples, expect_float, nothing, over, plain, sample};
use crate::ops::spec::{OpSpec, Sample};
use crate::shape::{Dims, Shape, wrap_dims};
use crate::tensor::Tensor;
use crate::{DType, Result, bail};

impl Tensor {
    /// The sum of all elements; integers and bool sum as `i64`, nothing sums to 0
    /// ([`torch.sum`](https://pytorch.org/docs/stable/generated/torch.sum.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.sum()?.item::<i64>()?, 10);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn sum(&self) -> Result<Tensor> {
        self.sum_dim((), false)
    }

    /// The sum over dimensions `dim` (all where empty), kept as size 1 with `keepdim`
    /// ([`torch.sum`](https://pytorch.org/docs/stable/generated/torch.sum.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::arange(0, 6, 1)?.view([2, 3])?;
    /// assert_eq!(x.sum_dim(0, false)?.to_vec::<i64>()?, [3, 5, 7]);
    /// assert_eq!(x.sum_dim(-1, true)?.shape(), [2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a dimension is out of range or named twice.
    #[track_caller]
    pub fn sum_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.reduce(
            Kind::Sum,
            wrap_dims("sum", &dim.dims(), self.dim())?,
            keepdim,
        )
    }

    /// The mean of all elements; floating point alone. Of nothing it is NaN
    /// ([`torch.mean`](https://pytorch.org/docs/stable/generated/torch.mean.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.0f32, 2.0])?.mean()?.item::<f32>()?, 1.5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, as in PyTorch.
    #[track_caller]
    pub fn mean(&self) -> Result<Tensor> {
        self.mean_dim((), false)
    }

    /// The mean over dimensions `dim` (all where empty), kept as size 1 with `keepdim`
    /// ([`torch.mean`](https://pytorch.org/docs/stable/generated/torch.mean.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1.0f32, 3.0], [5.0, 9.0]])?.mean_dim(1, true)?.to_vec2::<f32>()?,
    ///     [[2.0], [7.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, as in PyTorch.
    #[track_caller]
    pub fn mean_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        expect_float("mean", self)?;
        self.reduce(
            Kind::Mean,
            wrap_dims("mean", &dim.dims(), self.dim())?,
            keepdim,
        )
    }

    /// The product of all elements; integers and bool multiply as `i64`, nothing gives 1
    /// ([`torch.prod`](https://pytorch.org/docs/stable/generated/torch.prod.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([2i64, 3, 4])?.prod()?.item::<i64>()?, 24);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn prod(&self) -> Result<Tensor> {
        self.prod_dim((), false)
    }

    /// The product over dimensions `dim` (all where empty)
    /// ([`torch.prod`](https://pytorch.org/docs/stable/generated/torch.prod.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.prod_dim(0, false)?.to_vec::<i64>()?, [3, 8]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn prod_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.reduce(
            Kind::Prod,
            wrap_dims("prod", &dim.dims(), self.dim())?,
            keepdim,
        )
    }

    /// The sum over dimensions `dim` (all where empty), NaN counting as 0
    /// ([`torch.nansum`](https://pytorch.org/docs/stable/generated/torch.nansum.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.0f32, f32::NAN, 2.0])?.nansum((), false)?.item::<f32>()?, 3.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn nansum(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        let nan = self.ne(self)?;
        nan.where_(0, self)?.sum_dim(dim.dims().to_vec(), keepdim)
    }

    /// Summed to `size`, to which this tensor's shape is a broadcast: the gradient of broadcasting
    /// ([`torch.Tensor.sum_to_size`](https://pytorch.org/docs/stable/generated/torch.Tensor.sum_to_size.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::ones([2, 3])?.sum_to_size(&[1, 3])?.to_vec2::<f32>()?,
    ///     [[2.0, 2.0, 2.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `size` does not broadcast to this shape.
    #[track_caller]
    pub fn sum_to_size(&self, size: &[usize]) -> Result<Tensor> {
        let lead = self.dim().checked_sub(size.len());
        let fits = lead.is_some_and(|lead| {
            size.iter()
                .zip(&self.shape()[lead..])
                .all(|(&s, &d)| s == d || s == 1)
        });
        let Some(lead) = lead.filter(|_| fits) else {
            bail!(
                "sum_to_size",
                "shape {:?} is not a broadcast of {size:?}",
                self.shape()
            );
        };
        let dims: Vec<usize> = (0..self.dim())
            .filter(|&d| d < lead || (size[d - lead] == 1 && self.shape()[d] != 1))
            .collect();
        if dims.is_empty() {
            return Ok(self.clone());
        }
        self.sum_dim(dims, true)?.view(Shape::from_slice(size))
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    let single = vec![
        sample(&[3, 4], &[], false),
        sample(&[3, 4], &[0], false),
        sample(&[2, 3, 4], &[1], true),
        sample(&[0, 3], &[0], false),
    ];
    let halves = &[DType::F32, DType::F64, DType::F16, DType::BF16];
    vec![
        over("sum", |x, d, k| x.sum_dim(d, k))
            .samples(all_samples())
            .dtypes(halves),
        // Of nothing it is NaN, which has no finite differences.
        over("mean", |x, d, k| x.mean_dim(d, k))
            .samples([plain(), nothing().map(Sample::kinked).to_vec()].concat()),
        OpSpec::new(
            "prod",
            "lambda x, d, k: torch.prod(x) if not d else torch.prod(x, d[0], keepdim=k)",
            |a| Ok(vec![a[0].tensor()?.prod_dim(a[1].list()?, a[2].bool()?)?]),
        )
        .samples(single),
        over("nansum", |x, d, k| x.nansum(d, k)).samples(all_samples()),
    ]
}
