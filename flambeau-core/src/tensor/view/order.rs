//! Dimensions in another order.

use crate::ops::view::Kind;
use crate::shape::{Dims, wrap_dims};
use crate::tensor::Tensor;
use crate::{Result, bail};

impl Tensor {
    /// The dimensions in the order `dims`
    /// ([`torch.permute`](https://pytorch.org/docs/stable/generated/torch.permute.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 5])?.permute([2, 0, 1])?.shape(), [5, 2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `dims` does not name every dimension once.
    #[track_caller]
    pub fn permute(&self, dims: impl Dims) -> Result<Tensor> {
        self.reorder("permute", dims)
    }

    #[track_caller]
    fn reorder(&self, name: &'static str, dims: impl Dims) -> Result<Tensor> {
        let dims = dims.dims();
        if dims.len() != self.dim() {
            bail!(
                name,
                "{dims:?} names {} dimensions, the tensor of shape {:?} has {}",
                dims.len(),
                self.shape(),
                self.dim()
            );
        }
        let order = wrap_dims(name, &dims, self.dim())?;
        let shape = order.iter().map(|&d| self.shape()[d]).collect();
        let strides = order.iter().map(|&d| self.strides()[d]).collect();
        self.relabel(name, Kind::Permute(order), shape, strides)
    }

    /// Two dimensions exchanged
    /// ([`torch.transpose`](https://pytorch.org/docs/stable/generated/torch.transpose.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 5])?.transpose(0, -1)?.shape(), [5, 3, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension.
    #[track_caller]
    pub fn transpose(&self, dim0: i64, dim1: i64) -> Result<Tensor> {
        self.exchange("transpose", dim0, dim1)
    }

    #[track_caller]
    fn exchange(&self, name: &'static str, dim0: i64, dim1: i64) -> Result<Tensor> {
        let (a, b) = (self.dim_index(name, dim0)?, self.dim_index(name, dim1)?);
        let mut order: Vec<usize> = (0..self.dim()).collect();
        if !order.is_empty() {
            order.swap(a, b);
        }
        self.reorder(name, order)
    }

    /// [`transpose`](Tensor::transpose) under NumPy's name
    /// ([`torch.swapaxes`](https://pytorch.org/docs/stable/generated/torch.swapaxes.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3])?.swapaxes(0, 1)?.shape(), [3, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`transpose`](Tensor::transpose).
    #[track_caller]
    pub fn swapaxes(&self, axis0: i64, axis1: i64) -> Result<Tensor> {
        self.transpose(axis0, axis1)
    }

    /// Dimensions `source` moved to the positions `destination`; the others keep their order.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([2, 3, 4])?;
    /// assert_eq!(x.movedim(0, 2)?.shape(), [3, 4, 2]);
    /// assert_eq!(x.movedim([0, 1], [-1, 0])?.shape(), [3, 4, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the lists differ in length or name a dimension twice or one that does not exist.
    #[track_caller]
    pub fn movedim(&self, source: impl Dims, destination: impl Dims) -> Result<Tensor> {
        let (from, to) = (source.dims(), destination.dims());
        if from.len() != to.len() {
            bail!(
                "movedim",
                "source {from:?} and destination {to:?} differ in length"
            );
        }
        if from.is_empty() || self.dim() == 0 {
            return self.permute(
                self.shape()
                    .iter()
                    .enumerate()
                    .map(|d| d.0)
                    .collect::<Vec<_>>(),
            );
        }
        let from = wrap_dims("movedim", &from, self.dim())?;
        let to = wrap_dims("movedim", &to, self.dim())?;
        let mut rest = (0..self.dim()).filter(|d| !from.contains(d));
        let order: Vec<usize> = (0..self.dim())
            .filter_map(|d| match to.iter().position(|&t| t == d) {
                Some(i) => Some(from[i]),
                None => rest.next(),
            })
            .collect();
        self.permute(order)
    }

    /// The transpose of a matrix; vectors and 0-d tensors unchanged
    /// ([`torch.t`](https://pytorch.org/docs/stable/generated/torch.t.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.t()?.to_vec2::<i64>()?, [[1, 3], [2, 4]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For more than two dimensions.
    #[track_caller]
    pub fn t(&self) -> Result<Tensor> {
        match self.dim() {
            0 | 1 => Ok(self.clone()),
            2 => self.exchange("t", 0, 1),
            n => bail!(
                "t",
                "the tensor has {n} dimensions; t() takes at most 2, use transpose or permute"
            ),
        }
    }
}
