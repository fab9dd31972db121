//! Direct access to elements, for the crates that make and read tensors in bulk.

use super::Tensor;
use crate::dtype::Element;
use crate::shape::{Dims, sizes};
use crate::{DType, Result, bail};

impl Tensor {
    /// A tensor of shape `size` whose elements `fill` writes, in row-major order and in their
    /// stored form (`u8` for `bool`). They are arbitrary before, so `fill` must write them all.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let t = Tensor::from_fill::<f32>([2, 2], |out| {
    ///     out.iter_mut().zip(1u8..).for_each(|(o, i)| *o = i.into());
    ///     Ok(())
    /// })?;
    /// assert_eq!(t.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `fill` fails, or memory does not suffice.
    #[track_caller]
    pub fn from_fill<T: Element>(
        size: impl Dims,
        fill: impl FnOnce(&mut [T::Stored]) -> Result<()>,
    ) -> Result<Tensor> {
        let shape = sizes("from_fill", size)?;
        let mut filled = Ok(());
        let tensor = Tensor::build::<T::Stored>("from_fill", &shape, T::DTYPE, |out| {
            filled = fill(out);
        })?;
        filled.map(|()| tensor)
    }

    /// [`from_fill`](Tensor::from_fill) for any type: `fill` writes the elements' bytes in the
    /// machine's order.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// let x = Tensor::from_fill_bytes([3], DType::U8, |bytes| {
    ///     bytes.copy_from_slice(&[1, 2, 3]);
    ///     Ok(())
    /// })?;
    /// assert_eq!(x.to_vec::<u8>()?, [1, 2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `from_fill`.
    #[track_caller]
    pub fn from_fill_bytes(
        size: impl Dims,
        dtype: DType,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Tensor> {
        let shape = sizes("from_fill_bytes", size)?;
        let n = crate::shape::numel(&shape);
        let mut buffer = crate::storage::allocate("from_fill_bytes", n * dtype.size())?;
        let bytes = buffer.as_bytes_mut();
        fill(bytes)?;
        if dtype == DType::Bool {
            bytes.iter_mut().for_each(|b| *b = (*b != 0) as u8);
        }
        Ok(Tensor::from_buffer(buffer, &shape, dtype))
    }

    /// What `read` makes of the elements in row-major order and in their stored form. They are
    /// not copied where the tensor is contiguous.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([1.0f32, 2.0, 3.0])?;
    /// assert_eq!(x.with_slice::<f32, _>(|v| v.iter().sum::<f32>())?, 6.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `T` is not the tensor's type.
    #[track_caller]
    pub fn with_slice<T: Element, R>(&self, read: impl FnOnce(&[T::Stored]) -> R) -> Result<R> {
        if T::DTYPE != self.dtype() {
            bail!(
                "with_slice",
                "the tensor holds {}, not {}; convert with to_dtype(DType::{:?}) first",
                self.dtype(),
                T::DTYPE,
                T::DTYPE
            );
        }
        let t = self.packed()?;
        let guard = t.read();
        Ok(read(&guard.slice::<T::Stored>()[..t.numel()]))
    }

    /// What `read` makes of the elements' bytes in row-major order. They are not copied where the
    /// tensor is contiguous.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([3])?.with_bytes(|bytes| bytes.len())?, 12);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice for the copy.
    pub fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let t = self.packed()?;
        let (start, len) = (t.0.offset * t.dtype().size(), t.numel() * t.dtype().size());
        let guard = t.read();
        Ok(read(&guard.bytes()[start..start + len]))
    }

    /// This tensor where it is contiguous and on the CPU, else a copy that is, without history.
    fn packed(&self) -> Result<Tensor> {
        if self.on_cuda() {
            return self.detach().cpu()?.contiguous();
        }
        if self.is_contiguous() {
            Ok(self.clone())
        } else {
            self.detach().contiguous()
        }
    }
}
