//! To and from Rust's own containers.

use super::Tensor;
use crate::dtype::Element;
use crate::shape::{Dims, Shape, numel, sizes};
use crate::{DType, Error, Result, bail};

/// A number or nested arrays, slices and vectors of numbers, of one shape.
pub trait Nested {
    /// The number's type.
    type Item: Element;
    /// Appends the sizes below here; `None` where inner lists differ in length.
    fn sizes(&self, out: &mut Vec<usize>) -> Option<()>;
    /// Appends the numbers in order.
    fn collect(&self, out: &mut Vec<Self::Item>);
}

macro_rules! nested_number {
    ($($t:ty),*) => {$(
        impl Nested for $t {
            type Item = $t;
            fn sizes(&self, _: &mut Vec<usize>) -> Option<()> { Some(()) }
            fn collect(&self, out: &mut Vec<$t>) { out.push(*self) }
        }
    )*};
}
nested_number!(f32, f64, half::f16, half::bf16, i64, i32, i16, i8, u8, bool);

impl<N: Nested> Nested for [N] {
    type Item = N::Item;
    fn sizes(&self, out: &mut Vec<usize>) -> Option<()> {
        out.push(self.len());
        let at = out.len();
        if let Some((first, rest)) = self.split_first() {
            first.sizes(out)?;
            for other in rest {
                let mut theirs = Vec::new();
                other.sizes(&mut theirs)?;
                if theirs[..] != out[at..] {
                    return None;
                }
            }
        }
        Some(())
    }
    fn collect(&self, out: &mut Vec<N::Item>) {
        self.iter().for_each(|n| n.collect(out));
    }
}
macro_rules! nested_list {
    ($($t:ty, [$($g:tt)*]);*) => {$(
        impl<$($g)*> Nested for $t {
            type Item = N::Item;
            fn sizes(&self, out: &mut Vec<usize>) -> Option<()> { <[N]>::sizes(self, out) }
            fn collect(&self, out: &mut Vec<N::Item>) { <[N]>::collect(self, out) }
        }
    )*};
}
nested_list!([N; K], [N: Nested, const K: usize]; Vec<N>, [N: Nested]; &[N], [N: Nested]);

impl Tensor {
    /// A tensor from a number or nested arrays (`torch.tensor`); copies. The type is that of the
    /// numbers: `1.0` alone is `f64` in Rust, so write `1.0f32` or give the tensor a type after.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// let t = Tensor::new([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]])?;
    /// assert_eq!((t.shape(), t.dtype()), (&[3, 2][..], DType::F32));
    /// assert!(Tensor::new(vec![vec![1, 2], vec![3]]).is_err());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where inner lists differ in length.
    #[track_caller]
    pub fn new(data: impl Nested) -> Result<Tensor> {
        let mut shape = Vec::new();
        if data.sizes(&mut shape).is_none() {
            bail!(
                "tensor",
                "the nested lists differ in length, so they have no shape"
            );
        }
        let mut flat = Vec::new();
        data.collect(&mut flat);
        Tensor::from_slice(&flat, shape)
    }

    /// A tensor of shape `size` from numbers in row-major order; copies.
    ///
    /// # Errors
    /// Where the count is not that of the shape.
    #[track_caller]
    pub fn from_slice<T: Element>(data: &[T], size: impl Dims) -> Result<Tensor> {
        let shape = sizes("from_slice", size)?;
        if numel(&shape) != data.len() {
            bail!(
                "from_slice",
                "{} numbers do not fill shape {:?}, which takes {}",
                data.len(),
                &shape[..],
                numel(&shape)
            );
        }
        Tensor::build::<T::Stored>("from_slice", &shape, T::DTYPE, |out| {
            out.iter_mut().zip(data).for_each(|(o, v)| *o = v.store());
        })
    }

    /// A tensor of shape `size` from a vector in row-major order.
    ///
    /// # Errors
    /// As [`from_slice`](Tensor::from_slice).
    #[track_caller]
    pub fn from_vec<T: Element>(data: Vec<T>, size: impl Dims) -> Result<Tensor> {
        Tensor::from_slice(&data, size)
    }

    /// A tensor over raw little-endian bytes in row-major order; copies.
    ///
    /// # Errors
    /// Where the length is not that of shape and type.
    #[track_caller]
    pub fn from_bytes(bytes: &[u8], size: impl Dims, dtype: DType) -> Result<Tensor> {
        let shape: Shape = sizes("from_bytes", size)?;
        let need = numel(&shape).checked_mul(dtype.size());
        if need != Some(bytes.len()) {
            bail!(
                "from_bytes",
                "{} bytes do not fill shape {:?} of {dtype}",
                bytes.len(),
                &shape[..]
            );
        }
        let mut buffer = crate::storage::allocate("from_bytes", bytes.len())?;
        buffer.as_bytes_mut().copy_from_slice(bytes);
        if dtype == DType::Bool {
            buffer
                .as_bytes_mut()
                .iter_mut()
                .for_each(|b| *b = (*b != 0) as u8);
        }
        Ok(Tensor::from_buffer(buffer, &shape, dtype))
    }

    /// The elements as raw little-endian bytes in row-major order.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let t = self.detach().contiguous()?;
        let guard = t.0.storage.read(0);
        let (from, len) = (
            t.0.offset * self.dtype().size(),
            t.numel() * self.dtype().size(),
        );
        Ok(guard.bytes()[from..from + len].to_vec())
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// Where `T` is not the tensor's type; convert with [`to_dtype`](Tensor::to_dtype) first.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype() {
            bail!(
                "to_vec",
                "the tensor holds {}, not {}; convert with to_dtype(DType::{:?}) first",
                self.dtype(),
                T::DTYPE,
                T::DTYPE
            );
        }
        let t = self.detach().contiguous()?;
        let guard = t.read();
        Ok(guard.slice::<T::Stored>()[..t.numel()]
            .iter()
            .map(|&v| T::restore(v))
            .collect())
    }
}

impl<T: Element> TryFrom<&Tensor> for Vec<T> {
    type Error = Error;
    fn try_from(t: &Tensor) -> Result<Vec<T>> {
        t.to_vec()
    }
}
