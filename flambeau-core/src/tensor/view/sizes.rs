//! The same elements under other sizes.

use crate::ops::view::{Kind, view_strides};
use crate::shape::{
    Dims, Shape, broadcast_strides, check_numel, contiguous_strides, numel, wrap_dim, wrap_dims,
};
use crate::tensor::Tensor;
use crate::{Result, bail};

impl Tensor {
    /// The sizes `dims` asks for, with one -1 worked out.
    #[track_caller]
    fn infer_size(&self, op: &'static str, dims: impl Dims) -> Result<Shape> {
        let dims = dims.dims();
        let n = self.numel();
        let known = dims
            .iter()
            .filter(|&&d| d != -1)
            .fold(1i128, |n, &d| n.saturating_mul(d as i128));
        if let Some(d) = dims.iter().find(|&&d| d < -1) {
            bail!(
                op,
                "size {d} in {dims:?} is negative; only -1, to be worked out, may be"
            );
        }
        match dims.iter().filter(|&&d| d == -1).count() {
            0 if known == n as i128 => {}
            1 if known != 0 && n as i128 % known == 0 => {}
            0 => bail!(
                op,
                "shape {dims:?} holds {known} elements, but the tensor of shape {:?} has {n}",
                self.shape()
            ),
            1 if known == 0 => bail!(
                op,
                "-1 in {dims:?} cannot be worked out: the other sizes multiply to 0"
            ),
            1 => bail!(
                op,
                "shape {dims:?} does not fit a tensor of shape {:?}: its {n} elements do not divide by {known}, the product of the other sizes",
                self.shape()
            ),
            _ => bail!(
                op,
                "{dims:?} has more than one -1; only one size can be worked out"
            ),
        }
        Ok(dims
            .iter()
            .map(|&d| {
                if d == -1 {
                    (n as i128 / known) as usize
                } else {
                    d as usize
                }
            })
            .collect())
    }

    /// The same elements under other sizes, sharing memory; one size may be -1
    /// ([`torch.Tensor.view`](https://pytorch.org/docs/stable/generated/torch.Tensor.view.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::arange(0, 15, 1)?;
    /// assert_eq!(x.view([-1, 5])?.shape(), [3, 5]);
    /// let error = x.view([-1, 8]).unwrap_err().to_string();
    /// assert!(error.contains("15 elements do not divide by 8"), "{error}");
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the element counts differ, or the memory's layout would need a copy
    /// ([`reshape`](Tensor::reshape) makes one).
    #[track_caller]
    pub fn view(&self, size: impl Dims) -> Result<Tensor> {
        let shape = self.infer_size("view", size)?;
        let Some(strides) = view_strides(self.shape(), self.strides(), &shape) else {
            bail!(
                "view",
                "shape {:?} cannot be seen in the layout of shape {:?}, strides {:?}; use reshape, which copies",
                &shape[..],
                self.shape(),
                self.strides()
            );
        };
        self.relabel("view", Kind::Reshape, shape, strides)
    }

    /// [`view`](Tensor::view) where the layout allows it, else a copy
    /// ([`torch.reshape`](https://pytorch.org/docs/stable/generated/torch.reshape.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1i64, 2], [3, 4]])?.t()?;
    /// assert!(x.view([4]).is_err());
    /// assert_eq!(x.reshape([4])?.to_vec::<i64>()?, [1, 3, 2, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the element counts differ, or more than one size is -1.
    #[track_caller]
    pub fn reshape(&self, size: impl Dims) -> Result<Tensor> {
        let shape = self.infer_size("reshape", size)?;
        match view_strides(self.shape(), self.strides(), &shape) {
            Some(strides) => self.relabel("reshape", Kind::Reshape, shape, strides),
            None => {
                let strides = contiguous_strides(&shape);
                self.contiguous_copy()?
                    .relabel("reshape", Kind::Reshape, shape, strides)
            }
        }
    }

    /// [`view`](Tensor::view) with the sizes of `other`
    /// ([`torch.Tensor.view_as`](https://pytorch.org/docs/stable/generated/torch.Tensor.view_as.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([6])?.view_as(&Tensor::zeros([2, 3])?)?.shape(), [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`view`](Tensor::view).
    #[track_caller]
    pub fn view_as(&self, other: &Tensor) -> Result<Tensor> {
        self.view(other.shape())
    }

    /// [`reshape`](Tensor::reshape) to the sizes of `other`
    /// ([`torch.Tensor.reshape_as`](https://pytorch.org/docs/stable/generated/torch.Tensor.reshape_as.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([6])?.reshape_as(&Tensor::zeros([2, 3])?)?.shape(), [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`reshape`](Tensor::reshape).
    #[track_caller]
    pub fn reshape_as(&self, other: &Tensor) -> Result<Tensor> {
        self.reshape(other.shape())
    }

    /// One dimension with all elements; copies only where the layout needs it
    /// ([`torch.ravel`](https://pytorch.org/docs/stable/generated/torch.ravel.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.t()?.ravel()?.to_vec::<i64>()?, [1, 3, 2, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn ravel(&self) -> Result<Tensor> {
        self.reshape([-1i64])
    }

    /// Dimensions `start` to `end`, both included, as one; copies only where the layout needs it
    /// ([`torch.flatten`](https://pytorch.org/docs/stable/generated/torch.flatten.html)).
    ///
    /// PyTorch's defaults: `start` 0, `end` -1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 5])?.flatten(1, -1)?.shape(), [2, 15]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension, or `start` comes after `end`.
    #[track_caller]
    pub fn flatten(&self, start: i64, end: i64) -> Result<Tensor> {
        if self.dim() == 0 {
            return self.reshape([1]);
        }
        let (a, b) = (
            self.dim_index("flatten", start)?,
            self.dim_index("flatten", end)?,
        );
        if a > b {
            bail!("flatten", "dimension {start} comes after dimension {end}");
        }
        if a == b {
            return Ok(self.clone());
        }
        let mut shape: Shape = Shape::from_slice(&self.shape()[..a]);
        shape.push(numel(&self.shape()[a..=b]));
        shape.extend_from_slice(&self.shape()[b + 1..]);
        self.reshape(shape)
    }

    /// Dimension `dim` cut into `sizes`, of which one may be -1
    /// ([`torch.unflatten`](https://pytorch.org/docs/stable/generated/torch.unflatten.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 15])?.unflatten(1, [3, -1])?.shape(), [2, 3, 5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the sizes do not multiply to the dimension's.
    #[track_caller]
    pub fn unflatten(&self, dim: i64, sizes: impl Dims) -> Result<Tensor> {
        if self.dim() == 0 {
            bail!("unflatten", "a 0-d tensor has no dimension to cut");
        }
        let d = self.dim_index("unflatten", dim)?;
        let (size, parts) = (self.shape()[d], sizes.dims());
        let known = parts
            .iter()
            .filter(|&&p| p != -1)
            .fold(1i128, |n, &p| n.saturating_mul(p as i128));
        let open = parts.iter().filter(|&&p| p == -1).count();
        let fits = match open {
            0 => known == size as i128,
            _ => open == 1 && known > 0 && size as i128 % known == 0,
        };
        if parts.is_empty() || parts.iter().any(|&p| p < -1) || !fits {
            bail!(
                "unflatten",
                "sizes {parts:?} do not multiply to {size}, the size of dimension {dim}"
            );
        }
        let mut shape: Vec<i64> = self.shape().iter().map(|&d| d as i64).collect();
        let parts = parts.iter().map(|&p| match p {
            -1 => (size as i128 / known) as i64,
            p => p,
        });
        shape.splice(d..=d, parts);
        self.view(shape)
    }

    /// Without the dimensions of size 1
    /// ([`torch.squeeze`](https://pytorch.org/docs/stable/generated/torch.squeeze.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([1, 2, 1])?.squeeze()?.shape(), [2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// None.
    #[track_caller]
    pub fn squeeze(&self) -> Result<Tensor> {
        let all: Vec<usize> = (0..self.dim()).collect();
        self.squeeze_those(&all)
    }

    /// Without dimension `dim`, where its size is 1
    /// ([`torch.squeeze`](https://pytorch.org/docs/stable/generated/torch.squeeze.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([1, 2, 1])?.squeeze_dim(0)?.shape(), [2, 1]);
    /// assert_eq!(Tensor::zeros([1, 2, 1])?.squeeze_dim(1)?.shape(), [1, 2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension.
    #[track_caller]
    pub fn squeeze_dim(&self, dim: i64) -> Result<Tensor> {
        let d = self.dim_index("squeeze", dim)?;
        self.squeeze_those(&[d])
    }

    /// Without those of the dimensions `dims` whose size is 1
    /// ([`torch.squeeze`](https://pytorch.org/docs/stable/generated/torch.squeeze.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([1, 2, 1, 1])?.squeeze_dims([0, 1, -1])?.shape(), [2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a dimension does not exist or appears twice.
    #[track_caller]
    pub fn squeeze_dims(&self, dims: impl Dims) -> Result<Tensor> {
        let dims = dims.dims();
        if dims.is_empty() {
            return self.squeeze_those(&[]);
        }
        self.squeeze_those(&wrap_dims("squeeze", &dims, self.dim())?)
    }

    #[track_caller]
    fn squeeze_those(&self, dims: &[usize]) -> Result<Tensor> {
        let keep = |i: &usize| !(dims.contains(i) && self.shape()[*i] == 1);
        let kept: Vec<usize> = (0..self.dim()).filter(keep).collect();
        let shape = kept.iter().map(|&d| self.shape()[d]).collect();
        let strides = kept.iter().map(|&d| self.strides()[d]).collect();
        self.relabel("squeeze", Kind::Reshape, shape, strides)
    }

    /// With a dimension of size 1 before `dim`
    /// ([`torch.unsqueeze`](https://pytorch.org/docs/stable/generated/torch.unsqueeze.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3])?.unsqueeze(1)?.shape(), [2, 1, 3]);
    /// assert_eq!(Tensor::zeros([2, 3])?.unsqueeze(-1)?.shape(), [2, 3, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `dim` is not from -(n + 1) to n, for n dimensions.
    #[track_caller]
    pub fn unsqueeze(&self, dim: i64) -> Result<Tensor> {
        let d = wrap_dim("unsqueeze", dim, self.dim() + 1)?;
        let (mut shape, mut strides) = (self.0.shape.clone(), self.0.strides.clone());
        let stride = if d < self.dim() {
            shape[d].saturating_mul(strides[d])
        } else {
            1
        };
        shape.insert(d, 1);
        strides.insert(d, stride);
        self.relabel("unsqueeze", Kind::Reshape, shape, strides)
    }

    /// Sizes of 1 stretched to `size` without copying; -1 keeps a size
    /// ([`torch.Tensor.expand`](https://pytorch.org/docs/stable/generated/torch.Tensor.expand.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64], [2]])?.expand([-1, 3])?.to_vec2::<i64>()?,
    ///     [[1, 1, 1], [2, 2, 2]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a size other than 1 would change.
    #[track_caller]
    pub fn expand(&self, size: impl Dims) -> Result<Tensor> {
        let dims = size.dims();
        let lead = dims.len().checked_sub(self.dim());
        let Some(lead) = lead else {
            bail!(
                "expand",
                "{dims:?} has fewer dimensions than the tensor's shape {:?}",
                self.shape()
            );
        };
        let mut shape = Shape::new();
        for (i, &d) in dims.iter().enumerate() {
            let old = (i >= lead).then(|| self.shape()[i - lead]);
            shape.push(match (d, old) {
                (-1, Some(old)) => old,
                (d, Some(old)) if d >= 0 && (old == 1 || old == d as usize) => d as usize,
                (d, None) if d >= 0 => d as usize,
                _ => bail!("expand", "shape {:?} does not expand to {dims:?}: dimension {i} is {old:?}, and only 1 stretches", self.shape()),
            });
        }
        check_numel("expand", &shape)?;
        let strides = broadcast_strides(self.shape(), self.strides(), &shape);
        self.relabel("expand", Kind::Expand, shape, strides)
    }

    /// [`expand`](Tensor::expand) to the shape of `other`
    /// ([`torch.Tensor.expand_as`](https://pytorch.org/docs/stable/generated/torch.Tensor.expand_as.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([3])?.expand_as(&Tensor::zeros([2, 3])?)?.shape(), [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`expand`](Tensor::expand).
    #[track_caller]
    pub fn expand_as(&self, other: &Tensor) -> Result<Tensor> {
        self.expand(other.shape())
    }
}
