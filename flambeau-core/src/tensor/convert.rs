//! To and from Rust's own containers.

use super::Tensor;
use crate::dtype::Element;
use crate::shape::{Dims, Shape, check_count, numel, sizes};
use crate::{DType, Error, Result, bail};

/// A number or nested arrays, slices and vectors of numbers, of one shape.
///
/// ```
/// use flambeau_core::{DType, Tensor};
/// assert_eq!(Tensor::new(2.5f32)?.dim(), 0);
/// assert_eq!(Tensor::new(vec![[1u8, 2], [3, 4]])?.shape(), [2, 2]);
/// assert_eq!(Tensor::new(&[true, false][..])?.dtype(), DType::Bool);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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
    /// A tensor from a number or nested arrays
    /// ([`torch.tensor`](https://pytorch.org/docs/stable/generated/torch.tensor.html)); copies. The
    /// type is that of the
    /// numbers, not PyTorch's default one: `1.0` alone is `f64` in Rust, so write `1.0f32` or give
    /// the tensor a type after. `1` alone is `i32`; indices and class targets may be of any integer
    /// type, so `Tensor::new([1, 2, 3])` will do for them, and `1i64` makes PyTorch's `long`.
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
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2])?.to_vec2::<f32>()?,
    ///     [[1.0, 2.0], [3.0, 4.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::from_vec(vec![1i64, 2, 3, 4], [2, 2])?.to_vec2::<i64>()?,
    ///     [[1, 2], [3, 4]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_slice`](Tensor::from_slice).
    #[track_caller]
    pub fn from_vec<T: Element>(data: Vec<T>, size: impl Dims) -> Result<Tensor> {
        Tensor::from_slice(&data, size)
    }

    /// A tensor over raw little-endian bytes in row-major order; copies.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// let y = Tensor::from_bytes(&[1, 0, 2, 0], [2], DType::I16)?.to_dtype(DType::I64)?;
    /// assert_eq!(y.to_vec::<i64>()?, [1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i16, 2])?.to_bytes()?, [1, 0, 2, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let t = self.detach().cpu()?.contiguous()?;
        let guard = t.0.storage.read(0);
        let (from, len) = (
            t.0.offset * self.dtype().size(),
            t.numel() * self.dtype().size(),
        );
        Ok(guard.bytes()[from..from + len].to_vec())
    }

    /// The elements in row-major order.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1i64, 2], [3, 4]])?;
    /// assert_eq!(x.to_vec::<i64>()?, [1, 2, 3, 4]);
    /// assert!(x.to_vec::<f32>().is_err());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
        let t = self.detach().cpu()?.contiguous()?;
        let guard = t.read();
        Ok(guard.slice::<T::Stored>()[..t.numel()]
            .iter()
            .map(|&v| T::restore(v))
            .collect())
    }

    /// The rows of a matrix.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let t = Tensor::new([[1i64, 2], [3, 4]])?;
    /// assert_eq!(t.to_vec2::<i64>()?, [[1, 2], [3, 4]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are not two dimensions, or `T` is not the tensor's type.
    #[track_caller]
    pub fn to_vec2<T: Element>(&self) -> Result<Vec<Vec<T>>> {
        let &[_, columns] = self.shape() else {
            bail!(
                "to_vec2",
                "the tensor has {} dimensions, shape {:?}; a matrix has 2",
                self.dim(),
                self.shape()
            );
        };
        rows("to_vec2", self.to_vec()?, self.shape()[0], columns)
    }

    /// The matrices of a three-dimensional tensor.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[[1i64, 2]], [[3, 4]]])?.to_vec3::<i64>()?, [[[1, 2]], [[3, 4]]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are not three dimensions, or `T` is not the tensor's type.
    #[track_caller]
    pub fn to_vec3<T: Element>(&self) -> Result<Vec<Vec<Vec<T>>>> {
        let &[n, height, width] = self.shape() else {
            bail!(
                "to_vec3",
                "the tensor has {} dimensions, shape {:?}; 3 are needed",
                self.dim(),
                self.shape()
            );
        };
        if self.is_empty() {
            check_count("to_vec3", n.saturating_mul(height))?;
        }
        rows("to_vec3", self.to_vec()?, n, numel(&[height, width]))?
            .into_iter()
            .map(|m| rows("to_vec3", m, height, width))
            .collect()
    }

    /// The sub-tensors along the first dimension, as Python iterates over a tensor: views.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let sums: Vec<i64> = Tensor::arange(0, 6, 1)?.view([3, 2])?.iter()?
    ///     .map(|row| row.sum()?.item()).collect::<Result<_, _>>()?;
    /// assert_eq!(sums, [1, 5, 9]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For a 0-d tensor, and where the views would be more than 2^24.
    #[track_caller]
    pub fn iter(&self) -> Result<std::vec::IntoIter<Tensor>> {
        if self.dim() == 0 {
            bail!(
                "iter",
                "a 0-d tensor has nothing to iterate over; use item()"
            );
        }
        Ok(self.unbind(0)?.into_iter())
    }
}

#[track_caller]
fn rows<T: Copy>(
    op: &'static str,
    flat: Vec<T>,
    count: usize,
    length: usize,
) -> Result<Vec<Vec<T>>> {
    if flat.is_empty() {
        // Memory bounds only the rows that have elements.
        check_count(op, count)?;
        return Ok(vec![Vec::new(); count]);
    }
    Ok(flat.chunks_exact(length).map(<[T]>::to_vec).collect())
}

macro_rules! numbers {
    ($($t:ty),*) => {$(
        /// A 0-d tensor.
        impl From<$t> for Tensor {
            fn from(value: $t) -> Tensor {
                Tensor::scalar(value).unwrap_or_else(|e| panic!("{e}"))
            }
        }
        /// The only element, converted as [`Tensor::item`] does.
        impl TryFrom<&Tensor> for $t {
            type Error = Error;
            fn try_from(t: &Tensor) -> Result<$t> {
                t.item()
            }
        }
    )*};
}
numbers!(f32, f64, half::f16, half::bf16, i64, i32, i16, i8, u8, bool);

/// One dimension.
impl<T: Element> TryFrom<Vec<T>> for Tensor {
    type Error = Error;
    fn try_from(data: Vec<T>) -> Result<Tensor> {
        let n = data.len();
        Tensor::from_vec(data, n)
    }
}

/// One dimension.
impl<T: Element> TryFrom<&[T]> for Tensor {
    type Error = Error;
    fn try_from(data: &[T]) -> Result<Tensor> {
        Tensor::from_slice(data, data.len())
    }
}

impl<T: Element> TryFrom<&Tensor> for Vec<T> {
    type Error = Error;
    fn try_from(t: &Tensor) -> Result<Vec<T>> {
        t.to_vec()
    }
}
