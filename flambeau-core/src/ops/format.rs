//! Changes of the memory format.

use super::elementwise::to_contiguous;
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::format::{MemoryFormat, same_places};
use crate::shape::{Shape, Strides, memory_order};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail};
use smallvec::smallvec;

/// The elements of `x`, converted, as a new tensor of this format without history.
pub(crate) fn laid_out(
    op: &'static str,
    x: &Tensor,
    dtype: DType,
    format: MemoryFormat,
) -> Result<Tensor> {
    match format.order() {
        None => to_contiguous(op, x, dtype),
        Some(order) => in_order(x, order, |x| to_contiguous(op, x, dtype)),
    }
}

/// `x`, which lies in this format, in `dtype` and without history: as it is, or copied.
pub(crate) fn dense(
    op: &'static str,
    x: &Tensor,
    dtype: DType,
    format: MemoryFormat,
) -> Result<Tensor> {
    match x.dtype() == dtype && x.is_contiguous_format(format) {
        true => Ok(x.detach()),
        false => laid_out(op, x, dtype, format),
    }
}

/// The elements of `x`, converted, in the format that it speaks for: PyTorch's `preserve_format`, but that
/// other orders are not kept, for what is copied is then mostly wanted row-major.
pub(crate) fn preserved(op: &'static str, x: &Tensor, dtype: DType) -> Result<Tensor> {
    laid_out(op, x, dtype, x.suggest_memory_format())
}

/// `f` of the view of `x` that has its dimensions in `order`, a new contiguous tensor, seen in the order
/// of `x` again.
pub(crate) fn in_order(
    x: &Tensor,
    order: &[usize],
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    Ok(turned_back(&f(&x.detach().permute(order)?)?, order))
}

/// A new contiguous tensor whose dimensions are others in `order`, seen in the order of those.
pub(crate) fn turned_back(out: &Tensor, order: &[usize]) -> Tensor {
    let (mut shape, mut strides) = (
        Shape::from_elem(0, order.len()),
        Strides::from_elem(0, order.len()),
    );
    for (i, &d) in order.iter().enumerate() {
        (shape[d], strides[d]) = (out.shape()[i], out.strides()[i]);
    }
    out.restrided(shape, strides)
}

/// `f` of `x`, which makes a contiguous tensor of its elements, in the order that `x` has in memory where
/// that is without gaps.
pub(crate) fn in_memory_order(
    x: &Tensor,
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    match memory_order(x.shape(), x.strides()) {
        Some(order) => in_order(x, &order, f),
        None => f(&x.detach()),
    }
}

/// A copy of `x` that lies as `like` does, of the same shape, where that is without gaps; else row-major.
pub(crate) fn copy_like(x: &Tensor, like: &Tensor) -> Result<Tensor> {
    let x = x.detach();
    match memory_order(like.shape(), like.strides()) {
        Some(order) => in_order(&x, &order, |x| to_contiguous("copy", x, x.dtype())),
        None => to_contiguous("copy", &x, x.dtype()),
    }
}

/// Whether `x` lies as a gradient of `of` has to: as that does where it is without gaps, else row-major.
pub(crate) fn lies_like(x: &Tensor, of: &Tensor) -> bool {
    match of.is_contiguous() || memory_order(of.shape(), of.strides()).is_none() {
        true => x.is_contiguous(),
        false => same_places(of.shape(), x.strides(), of.strides()),
    }
}

/// A copy in another format.
#[derive(Debug)]
struct ToFormat(MemoryFormat);

impl Op for ToFormat {
    fn name(&self) -> &'static str {
        "contiguous"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        Ok(laid_out(self.name(), inputs[0], inputs[0].dtype(), self.0)?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(grad.clone())])
    }
}

impl Tensor {
    /// These elements, of one storage's beginning, under another shape and strides, without history.
    pub(crate) fn restrided(&self, shape: Shape, strides: Strides) -> Tensor {
        let storage = self.0.storage.clone();
        let out = Tensor::make(storage, shape, strides, self.0.offset, self.dtype(), None);
        if self.is_inference() {
            out.mark_inference();
        }
        out
    }

    /// This new tensor, whose elements are alike or arbitrary, with the strides of `like`, of its shape,
    /// where those are without gaps (`preserve_format`).
    pub(crate) fn in_layout_of(self, like: &Tensor) -> Tensor {
        match memory_order(like.shape(), like.strides()) {
            Some(_) if !self.is_empty() => self.restrided(
                Shape::from_slice(like.shape()),
                Strides::from_slice(like.strides()),
            ),
            _ => self,
        }
    }

    /// A copy in `format`, which is not `Preserve`; gradients flow through.
    #[track_caller]
    pub(crate) fn format_copy(&self, format: MemoryFormat) -> Result<Tensor> {
        dispatch::call(ToFormat(format), &[self])
    }

    #[track_caller]
    fn check_format(&self, op: &'static str, format: MemoryFormat) -> Result<()> {
        match format.rank() {
            Some(rank) if rank != self.dim() => bail!(
                op,
                "{format:?} is for tensors of {rank} dimensions, [batch, channels, …]; this one has shape {:?}",
                self.shape()
            ),
            _ => Ok(()),
        }
    }

    /// This tensor where its elements follow each other in `format`, else a copy
    /// ([`Tensor.contiguous(memory_format=…)`](https://pytorch.org/docs/stable/generated/torch.Tensor.contiguous.html)).
    ///
    /// ```
    /// use flambeau_core::{MemoryFormat, Tensor};
    /// let x = Tensor::zeros([2, 3, 4, 5])?.contiguous_format(MemoryFormat::ChannelsLast)?;
    /// assert_eq!(x.strides(), [60, 1, 15, 3]);
    /// assert_eq!(x.contiguous()?.strides(), [60, 20, 5, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the format is for another number of dimensions, or `Preserve`.
    #[track_caller]
    pub fn contiguous_format(&self, format: MemoryFormat) -> Result<Tensor> {
        if format == MemoryFormat::Preserve {
            bail!(
                "contiguous_format",
                "Preserve names no order to bring the elements to; choose Contiguous, ChannelsLast or ChannelsLast3d"
            );
        }
        self.check_format("contiguous_format", format)?;
        match self.is_contiguous_format(format) {
            true => Ok(self.clone()),
            false => self.format_copy(format),
        }
    }

    /// Whether elements follow each other in `format`
    /// ([`Tensor.is_contiguous(memory_format=…)`](https://pytorch.org/docs/stable/generated/torch.Tensor.is_contiguous.html));
    /// of `Preserve`, whether they do in some order of the dimensions. False where the format is for
    /// another number of dimensions.
    ///
    /// ```
    /// use flambeau_core::{MemoryFormat, Tensor};
    /// let x = Tensor::zeros([2, 3, 4, 5])?;
    /// assert!(!x.is_contiguous_format(MemoryFormat::ChannelsLast));
    /// // One channel lies both ways.
    /// assert!(x.narrow(1, 0, 1)?.contiguous()?.is_contiguous_format(MemoryFormat::ChannelsLast));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn is_contiguous_format(&self, format: MemoryFormat) -> bool {
        match format {
            MemoryFormat::Contiguous => self.is_contiguous(),
            _ => format.holds(self.shape(), self.strides()),
        }
    }

    /// In `format` ([`Tensor.to(memory_format=…)`](https://pytorch.org/docs/stable/generated/torch.Tensor.to.html)):
    /// the same tensor where its [strides speak for that](Tensor::suggest_memory_format), or it is to be
    /// preserved. Where sizes of 1 leave the format open, this gives it other strides, which
    /// [`contiguous_format`](Tensor::contiguous_format) does not.
    ///
    /// ```
    /// use flambeau_core::{MemoryFormat, Tensor};
    /// let x = Tensor::zeros([2, 3, 1, 1])?;
    /// assert_eq!(x.to_memory_format(MemoryFormat::ChannelsLast)?.strides(), [3, 1, 3, 3]);
    /// assert_eq!(x.contiguous_format(MemoryFormat::ChannelsLast)?.strides(), [3, 1, 1, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the format is for another number of dimensions.
    #[track_caller]
    pub fn to_memory_format(&self, format: MemoryFormat) -> Result<Tensor> {
        self.check_format("to_memory_format", format)?;
        if format == MemoryFormat::Preserve || self.suggest_memory_format() == format {
            return Ok(self.clone());
        }
        self.format_copy(format)
    }

    /// The format that the strides speak for, with or without gaps (PyTorch's C++
    /// `suggest_memory_format`): what operations on maps choose the format of their results by.
    ///
    /// ```
    /// use flambeau_core::{MemoryFormat, Tensor};
    /// let pictures = Tensor::zeros([2, 8, 8, 3])?.permute([0, 3, 1, 2])?;
    /// assert_eq!(pictures.suggest_memory_format(), MemoryFormat::ChannelsLast);
    /// assert_eq!(pictures.contiguous()?.suggest_memory_format(), MemoryFormat::Contiguous);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn suggest_memory_format(&self) -> MemoryFormat {
        MemoryFormat::of(self.shape(), self.strides())
    }
}
