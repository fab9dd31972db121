//! Some of the elements.

use crate::ops::strided::{AsStrided, Geometry};
use crate::ops::view::{Kind, View};
use crate::shape::{Dims, check_numel, numel, sizes};
use crate::tensor::Tensor;
use crate::{Result, bail, dispatch, is_grad_enabled};

impl Tensor {
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
        let shape = sizes("as_strided", size)?;
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
}
