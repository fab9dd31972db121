//! Methods that look at the same memory in another way.

use super::Tensor;
use crate::dispatch;
use crate::ops::elementwise::fill_in_place;
use crate::ops::strided::{AsStrided, Geometry};
use crate::ops::view::{Identity, Kind, PinMemory, ToDevice, ToDtype, View, view_strides};
use crate::shape::{
    Dims, Shape, Strides, broadcast_strides, check_numel, contiguous_strides, numel, wrap_dim,
    wrap_dims,
};
use crate::{DType, Device, Result, bail, is_grad_enabled};

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

    #[track_caller]
    fn relabel(
        &self,
        name: &'static str,
        kind: Kind,
        shape: Shape,
        strides: Strides,
    ) -> Result<Tensor> {
        View {
            name,
            kind,
            shape,
            strides,
            offset: self.0.offset,
        }
        .of(self)
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
        dispatch::call(ToDtype(self.dtype()), &[self])
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

    /// Converted to `dtype`; the same tensor where it already is
    /// ([`torch.Tensor.to`](https://pytorch.org/docs/stable/generated/torch.Tensor.to.html)).
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(
    ///     Tensor::new([-1.7f32, 300.0])?.to_dtype(DType::I64)?.to_vec::<i64>()?,
    ///     [-1, 300]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            Ok(self.clone())
        } else {
            dispatch::call(ToDtype(dtype), &[self])
        }
    }

    /// On `device`; the same tensor where it already is
    /// ([`torch.Tensor.to`](https://pytorch.org/docs/stable/generated/torch.Tensor.to.html)).
    ///
    /// ```
    /// use flambeau_core::{Device, Tensor};
    /// assert!(Tensor::zeros([2])?.to_device(Device::Cpu)?.device() == Device::Cpu);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not available.
    #[track_caller]
    pub fn to_device(&self, device: Device) -> Result<Tensor> {
        self.moved(device, false)
    }

    /// [`to_device`](Tensor::to_device) without waiting for the copy
    /// ([`torch.Tensor.to`](https://pytorch.org/docs/stable/generated/torch.Tensor.to.html) with
    /// `non_blocking=True`).
    ///
    /// To a device only memory that is [pinned](Tensor::pin_memory) is copied without waiting, which
    /// `to_device` does too: whoever changes the tensor meanwhile waits for the copy. From a device
    /// the result is a pinned tensor, and whoever looks at its elements first waits for them.
    ///
    /// ```
    /// use flambeau_core::{Device, Tensor};
    /// let x = Tensor::ones([2])?.to_non_blocking(Device::cuda_if_available(0))?;
    /// assert_eq!(x.to_non_blocking(Device::Cpu)?.to_vec::<f32>()?, [1.0, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not available.
    #[track_caller]
    pub fn to_non_blocking(&self, device: Device) -> Result<Tensor> {
        self.moved(device, true)
    }

    #[track_caller]
    fn moved(&self, to: Device, non_blocking: bool) -> Result<Tensor> {
        let from = self.device();
        if to == from {
            return Ok(self.clone());
        }
        to.check()?;
        let op = ToDevice {
            from,
            to,
            non_blocking,
        };
        dispatch::call(op, &[self])
    }

    /// A copy in pinned memory, from which copies to a device need not be waited for; the same
    /// tensor where it is pinned
    /// ([`torch.Tensor.pin_memory`](https://pytorch.org/docs/stable/generated/torch.Tensor.pin_memory.html)).
    ///
    /// The memory is of a caching allocator, and given out again once the copies that read it have
    /// run.
    ///
    /// ```
    /// use flambeau_core::{Tensor, cuda};
    /// let x = Tensor::ones([2])?;
    /// assert!(!x.is_pinned());
    /// assert_eq!(x.pin_memory().is_ok_and(|p| p.is_pinned()), cuda::is_available());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no CUDA device, the tensor is on one, or memory does not suffice.
    #[track_caller]
    pub fn pin_memory(&self) -> Result<Tensor> {
        if self.is_pinned() {
            return Ok(self.clone());
        }
        if self.on_cuda() {
            crate::bail!(
                "pin_memory",
                "the tensor is on {}; only memory of the CPU can be pinned",
                self.device()
            );
        }
        dispatch::call(PinMemory, &[self])
    }

    /// Whether the elements lie in pinned memory
    /// ([`torch.Tensor.is_pinned`](https://pytorch.org/docs/stable/generated/torch.Tensor.is_pinned.html)).
    ///
    /// ```
    /// assert!(!flambeau_core::Tensor::ones([2])?.is_pinned());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn is_pinned(&self) -> bool {
        self.read().pinned().is_some()
    }

    /// Whether the elements lie on a CUDA device
    /// ([`torch.Tensor.is_cuda`](https://pytorch.org/docs/stable/generated/torch.Tensor.is_cuda.html)).
    ///
    /// ```
    /// assert!(!flambeau_core::Tensor::ones([2])?.is_cuda());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[inline]
    pub fn is_cuda(&self) -> bool {
        self.on_cuda()
    }

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

    /// Every `step`-th index from `start` to before `end` of dimension `dim` (`x[start:end:step]`);
    /// bounds beyond the size are cut.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::arange(0, 10, 1)?.slice(0, 1, 8, 3)?.to_vec::<i64>()?, [1, 4, 7]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `step` is zero or there is no such dimension.
    #[track_caller]
    pub fn slice(&self, dim: i64, start: usize, end: usize, step: usize) -> Result<Tensor> {
        let d = self.dim_index("slice", dim)?;
        if step == 0 || self.dim() == 0 {
            bail!(
                "slice",
                "a slice needs a step above zero and a tensor with dimensions"
            );
        }
        let (end, start) = (end.min(self.shape()[d]), start.min(self.shape()[d]));
        self.part("slice", |g| {
            g.shape[d] = end.saturating_sub(start).div_ceil(step);
            g.offset += if numel(&g.shape) == 0 {
                0
            } else {
                start * g.strides[d]
            };
            // The stride of a single index matters to nobody, and might overflow; so do the strides of
            // a tensor without elements, here and below.
            if g.shape[d] > 1 {
                g.strides[d] = g.strides[d].saturating_mul(step);
            }
        })
    }

    /// `length` indices from `start` on of dimension `dim`
    /// ([`torch.narrow`](https://pytorch.org/docs/stable/generated/torch.narrow.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::arange(0, 10, 1)?.narrow(0, 2, 3)?.to_vec::<i64>()?, [2, 3, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where they reach beyond the size.
    #[track_caller]
    pub fn narrow(&self, dim: i64, start: i64, length: usize) -> Result<Tensor> {
        let size = self.size(dim)?;
        let from = if start < 0 {
            start.checked_add(size as i64)
        } else {
            Some(start)
        };
        match from.and_then(|f| usize::try_from(f).ok()) {
            Some(from) if from <= size && length <= size - from => {
                self.slice(dim, from, from + length, 1)
            }
            _ => bail!(
                "narrow",
                "{length} indices from {start} on reach beyond dimension {dim} of size {size}"
            ),
        }
    }

    /// Index `index` of dimension `dim`, which vanishes
    /// ([`torch.select`](https://pytorch.org/docs/stable/generated/torch.select.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.select(1, -1)?.to_vec::<i64>()?, [2, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the index is out of range.
    #[track_caller]
    pub fn select(&self, dim: i64, index: i64) -> Result<Tensor> {
        if self.dim() == 0 {
            bail!(
                "select",
                "a 0-d tensor has no dimension to select from; use item()"
            );
        }
        let d = self.dim_index("select", dim)?;
        let size = self.shape()[d] as i64;
        if index < -size || index >= size {
            bail!(
                "select",
                "index {index} is out of range for dimension {dim} of size {size}"
            );
        }
        let index = if index < 0 { index + size } else { index } as usize;
        self.part("select", |g| {
            g.shape.remove(d);
            let stride = g.strides.remove(d);
            if numel(&g.shape) > 0 {
                g.offset += index * stride;
            }
        })
    }

    /// The elements at `(i, i + offset)` of dimensions `dim1` and `dim2`, as a new last dimension
    /// ([`torch.diagonal`](https://pytorch.org/docs/stable/generated/torch.diagonal.html), whose
    /// defaults are 0, 0, 1).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::arange(0, 6, 1)?.view([2, 3])?;
    /// assert_eq!(x.diagonal(1, 0, 1)?.to_vec::<i64>()?, [1, 5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the dimensions are the same or do not exist.
    #[track_caller]
    pub fn diagonal(&self, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
        let (a, b) = (
            self.dim_index("diagonal", dim1)?,
            self.dim_index("diagonal", dim2)?,
        );
        if a == b {
            bail!(
                "diagonal",
                "dimensions {dim1} and {dim2} of shape {:?} are the same; a diagonal runs over two",
                self.shape()
            );
        }
        let (rows, columns) = (self.shape()[a], self.shape()[b]);
        let skip = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        let (first, length) = if offset >= 0 {
            (b, rows.min(columns.saturating_sub(skip)))
        } else {
            (a, columns.min(rows.saturating_sub(skip)))
        };
        self.part("diagonal", |g| {
            let (s1, s2, skipped) = (g.strides[a], g.strides[b], g.strides[first]);
            for d in [a.max(b), a.min(b)] {
                g.shape.remove(d);
                g.strides.remove(d);
            }
            g.shape.push(length);
            g.strides.push(s1.saturating_add(s2));
            if numel(&g.shape) > 0 {
                g.offset += skip * skipped;
            }
        })
    }

    /// Windows of `size` along dimension `dim`, `step` apart, as a new last dimension
    /// ([`torch.Tensor.unfold`](https://pytorch.org/docs/stable/generated/torch.Tensor.unfold.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::arange(0, 5, 1)?.unfold(0, 3, 2)?.to_vec2::<i64>()?,
    ///     [[0, 1, 2], [2, 3, 4]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a window is longer than the dimension or `step` is zero.
    #[track_caller]
    pub fn unfold(&self, dim: i64, size: usize, step: usize) -> Result<Tensor> {
        let d = self.dim_index("unfold", dim)?;
        let length = if self.dim() == 0 { 1 } else { self.shape()[d] };
        if step == 0 || size > length {
            bail!(
                "unfold",
                "windows of {size} with step {step} do not fit dimension {dim} of size {length}"
            );
        }
        self.part("unfold", |g| {
            let stride = if g.shape.is_empty() { 1 } else { g.strides[d] };
            if let Some(count) = g.shape.get_mut(d) {
                *count = (length - size) / step + 1;
                if *count > 1 {
                    g.strides[d] = g.strides[d].saturating_mul(step);
                }
            }
            g.shape.push(size);
            g.strides.push(stride);
        })
    }

    /// A view of some elements: `cut` says where they lie in memory and, once more, where they
    /// would lie if this tensor were contiguous, which is what the gradient needs.
    #[track_caller]
    fn part(&self, name: &'static str, cut: impl Fn(&mut Geometry)) -> Result<Tensor> {
        let (mut memory, mut part) = (Geometry::of(self), Geometry::contiguous(self.shape()));
        cut(&mut memory);
        cut(&mut part);
        check_numel(name, &memory.shape)?;
        View {
            name,
            kind: Kind::Part(part),
            shape: memory.shape,
            strides: memory.strides,
            offset: memory.offset,
        }
        .of(self)
    }

    /// The memory behind this tensor seen with other sizes and strides, from element `offset` of
    /// the storage on, or from this tensor's own first element
    /// ([`torch.as_strided`](https://pytorch.org/docs/stable/generated/torch.as_strided.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::arange(0, 9, 1)?;
    /// assert_eq!(x.as_strided([2, 2], [1, 2], 3)?.to_vec::<i64>()?, [3, 5, 4, 6]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where sizes and strides differ in number, one is negative, or they reach beyond the memory.
    #[track_caller]
    pub fn as_strided(
        &self,
        size: impl Dims,
        strides: impl Dims,
        offset: impl Into<Option<usize>>,
    ) -> Result<Tensor> {
        let shape = crate::shape::sizes("as_strided", size)?;
        let strides = strides.dims();
        if strides.len() != shape.len() || strides.iter().any(|&s| s < 0) {
            bail!(
                "as_strided",
                "strides {strides:?} do not fit sizes {:?}; there must be as many, none negative",
                &shape[..]
            );
        }
        let op = AsStrided {
            input: Geometry::of(self),
            view: Geometry {
                shape,
                strides: strides.iter().map(|&s| s as usize).collect(),
                offset: offset.into().unwrap_or(self.storage_offset()),
            },
        };
        let view = dispatch::call(op, &[self])?;
        if !is_grad_enabled() {
            view.mark_no_grad_view();
        }
        Ok(view)
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
    pub fn fill_(&self, value: impl Into<crate::Scalar>) -> Result<Tensor> {
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
        if self.changes_unrecorded(&[]) && fill_in_place(self, crate::Scalar::Int(0)) {
            return Ok(self.written("zero_"));
        }
        self.overwrite("zero_", self.zeros_like()?)
    }
}
