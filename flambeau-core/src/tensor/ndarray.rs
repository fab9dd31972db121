//! To and from the crate `ndarray` (feature `ndarray`).

use super::Tensor;
use crate::dtype::Element;
use crate::{Error, Result, bail};
use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn};

impl Tensor {
    /// A tensor from an `ndarray` array or view of any layout; copies.
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn from_ndarray<S: Data<Elem: Element>, D: Dimension>(
        array: &ArrayBase<S, D>,
    ) -> Result<Tensor> {
        match array.as_slice() {
            Some(data) => Tensor::from_slice(data, array.shape()),
            None => {
                let data: Vec<S::Elem> = array.iter().copied().collect();
                Tensor::from_slice(&data, array.shape())
            }
        }
    }

    /// The elements as an `ndarray` array in row-major order; copies.
    ///
    /// # Errors
    /// Where `T` is not the tensor's type; convert with [`to_dtype`](Tensor::to_dtype) first.
    #[track_caller]
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayD<T>> {
        match ArrayD::from_shape_vec(IxDyn(self.shape()), self.to_vec()?) {
            Ok(array) => Ok(array),
            Err(e) => bail!("to_ndarray", "shape {:?}: {e}", self.shape()),
        }
    }
}

impl<S: Data<Elem: Element>, D: Dimension> TryFrom<&ArrayBase<S, D>> for Tensor {
    type Error = Error;
    fn try_from(array: &ArrayBase<S, D>) -> Result<Tensor> {
        Tensor::from_ndarray(array)
    }
}

impl<T: Element> TryFrom<&Tensor> for ArrayD<T> {
    type Error = Error;
    fn try_from(t: &Tensor) -> Result<ArrayD<T>> {
        t.to_ndarray()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Axis, Slice, arr2};

    #[test]
    fn arrays_of_any_layout_go_both_ways() -> Result<()> {
        let a = arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        assert_eq!(
            Tensor::from_ndarray(&a)?.to_vec2::<f32>()?,
            [[1., 2., 3.], [4., 5., 6.]]
        );
        let t = Tensor::try_from(&a.t())?;
        assert_eq!(t.to_vec2::<f32>()?, [[1., 4.], [2., 5.], [3., 6.]]);
        // Rows backwards, every second column; the macro for this holds unsafe code.
        let mut stepped = a.view();
        stepped.slice_axis_inplace(Axis(0), Slice::new(0, None, -1));
        stepped.slice_axis_inplace(Axis(1), Slice::new(0, None, 2));
        let reversed = Tensor::from_ndarray(&stepped)?;
        assert_eq!(reversed.to_vec2::<f32>()?, [[4., 6.], [1., 3.]]);
        let back = t.t()?.to_ndarray::<f32>()?;
        assert_eq!(back.into_dimensionality::<ndarray::Ix2>().unwrap(), a);
        assert!(t.to_ndarray::<i64>().is_err());
        let empty = Tensor::from_ndarray(&Array2::<i64>::zeros((0, 3)))?;
        assert_eq!(
            (empty.shape(), empty.to_ndarray::<i64>()?.shape()),
            (&[0, 3][..], &[0, 3][..])
        );
        let zero_d = Tensor::from(2.5f64).to_ndarray::<f64>()?;
        assert_eq!((zero_d.ndim(), zero_d.sum()), (0, 2.5));
        Ok(())
    }
}
