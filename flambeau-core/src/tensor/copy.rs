//! Copies of a tensor, and what is written over its elements.

use super::Tensor;
use crate::ops::elementwise::fill_in_place;
use crate::ops::view::Identity;
use crate::{MemoryFormat, Result, Scalar, dispatch};

impl Tensor {
    /// This tensor where it is contiguous, else a contiguous copy
    /// ([`torch.Tensor.contiguous`](https://pytorch.org/docs/stable/generated/torch.Tensor.contiguous.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3])?.t()?.contiguous()?.strides(), [2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() {
            Ok(self.clone())
        } else {
            self.contiguous_copy()
        }
    }

    /// A contiguous copy; gradients flow through
    /// ([`torch.clone`](https://pytorch.org/docs/stable/generated/torch.clone.html)).
    #[track_caller]
    pub(crate) fn contiguous_copy(&self) -> Result<Tensor> {
        self.format_copy(MemoryFormat::Contiguous)
    }

    /// A copy with memory of its own, through which gradients flow
    /// ([`torch.clone`](https://pytorch.org/docs/stable/generated/torch.clone.html)): named `copy`
    /// because Rust's `clone` copies the handle.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([2])?;
    /// x.copy()?.fill_(1)?;
    /// assert_eq!(x.to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn copy(&self) -> Result<Tensor> {
        dispatch::call(Identity("clone"), &[self])
    }

    /// Overwritten with the elements of `src`, which broadcasts and is converted
    /// ([`torch.Tensor.copy_`](https://pytorch.org/docs/stable/generated/torch.Tensor.copy_.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([2, 2])?;
    /// x.copy_(&Tensor::new([1i64, 2])?)?;
    /// assert_eq!(x.to_vec2::<f32>()?, [[1.0, 2.0], [1.0, 2.0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `src` does not broadcast, and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn copy_(&self, src: &Tensor) -> Result<Tensor> {
        self.check_inplace("copy_")?;
        let src = src.to_dtype(self.dtype())?;
        let src = if src.shape() == self.shape() {
            src
        } else {
            src.expand(self.shape())?
        };
        self.overwrite("copy_", src)
    }

    /// Every element set to `value`
    /// ([`torch.Tensor.fill_`](https://pytorch.org/docs/stable/generated/torch.Tensor.fill_.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([3])?.fill_(0.5)?.to_vec::<f32>()?, [0.5, 0.5, 0.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn fill_(&self, value: impl Into<Scalar>) -> Result<Tensor> {
        self.check_inplace("fill_")?;
        let value = value.into();
        if self.changes_unrecorded(&[]) && fill_in_place(self, value) {
            return Ok(self.written("fill_"));
        }
        self.overwrite("fill_", self.full_like(value)?)
    }

    /// Every element set to 0
    /// ([`torch.Tensor.zero_`](https://pytorch.org/docs/stable/generated/torch.Tensor.zero_.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::ones([3])?.zero_()?.to_vec::<f32>()?, [0.0, 0.0, 0.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn zero_(&self) -> Result<Tensor> {
        self.check_inplace("zero_")?;
        if self.changes_unrecorded(&[]) && fill_in_place(self, Scalar::Int(0)) {
            return Ok(self.written("zero_"));
        }
        self.overwrite("zero_", self.zeros_like()?)
    }
}
