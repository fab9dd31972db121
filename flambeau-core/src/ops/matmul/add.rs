//! Products added to a tensor.

use super::run::product_shape;
use super::{Product, expect_dims, plain};
use crate::autocast::{Cast, Composite};
use crate::dispatch;
use crate::dtype::Scalar;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::broadcast;
use crate::tensor::Tensor;
use crate::{Result, bail};

impl Tensor {
    /// `beta * self + alpha * mat1 @ mat2`; this tensor broadcasts to the product
    /// ([`torch.addmm`](https://pytorch.org/docs/stable/generated/torch.addmm.html)). With `beta` 0
    /// it is not read.
    ///
    /// PyTorch's defaults: `beta` 1, `alpha` 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([[1.0f32, 2.0]])?, Tensor::new([[3.0f32], [4.0]])?);
    /// assert_eq!(Tensor::new([[100.0f32]])?.addmm(&a, &b, 0.5, 2)?.to_vec2::<f32>()?, [[72.0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`mm`](Tensor::mm), and where types differ or this tensor does not broadcast.
    #[track_caller]
    pub fn addmm(
        &self,
        mat1: &Tensor,
        mat2: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Result<Tensor> {
        expect_dims("addmm", [2, 2], mat1, mat2)?;
        self.add_product("addmm", mat1, mat2, beta.into(), alpha.into())
    }

    /// `beta * self + alpha * batch1 @ batch2`, for batches of matrices
    /// ([`torch.baddbmm`](https://pytorch.org/docs/stable/generated/torch.baddbmm.html)).
    ///
    /// PyTorch's defaults: `beta` 1, `alpha` 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([[[1.0f32, 2.0]]])?, Tensor::new([[[3.0f32], [4.0]]])?);
    /// assert_eq!(
    ///     Tensor::new([[[100.0f32]]])?.baddbmm(&a, &b, 1, 1)?.to_vec3::<f32>()?,
    ///     [[[111.0]]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`bmm`](Tensor::bmm), and where types differ or this tensor does not broadcast.
    #[track_caller]
    pub fn baddbmm(
        &self,
        batch1: &Tensor,
        batch2: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Result<Tensor> {
        expect_dims("baddbmm", [3, 3], batch1, batch2)?;
        self.add_product("baddbmm", batch1, batch2, beta.into(), alpha.into())
    }

    #[track_caller]
    fn add_product(
        &self,
        name: &'static str,
        a: &Tensor,
        b: &Tensor,
        beta: Scalar,
        alpha: Scalar,
    ) -> Result<Tensor> {
        let region = Composite::new(Cast::Low, [self, a, b])?;
        let [c, a, b] = region.inputs();
        let shape = product_shape(name, a, b)?;
        if c.dtype() != a.dtype() || broadcast(name, c.shape(), &shape)? != shape {
            bail!(
                name,
                "the tensor to add is {} {:?}; it must be {} and broadcast to the product's shape {:?}",
                c.dtype(),
                c.shape(),
                a.dtype(),
                &shape[..]
            );
        }
        if !a.dtype().is_floating_point() {
            if [alpha, beta].iter().any(|s| matches!(s, Scalar::Float(_))) {
                bail!(
                    name,
                    "beta and alpha must be integers for {} tensors",
                    a.dtype()
                );
            }
            let product = plain(name, a, b)?.mul(alpha.to_i64())?;
            return product.add(c.mul(beta.to_i64())?);
        }
        let (alpha, beta) = (alpha.to_f64(), beta.to_f64());
        dispatch::call(Product { name, alpha, beta }, &[a, b, c])
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    let t = |shape: &[usize]| Arg::uniform(shape, (-1.0, 1.0));
    let scaled = |c: &[usize], a: &[usize], b: &[usize], beta: f64, alpha: f64| {
        Sample::new(vec![t(c), t(a), t(b), Arg::F(beta), Arg::F(alpha)])
    };
    vec![
        OpSpec::new(
            "addmm",
            "lambda c, a, b, beta, alpha: torch.addmm(c, a, b, beta=beta, alpha=alpha)",
            |a| {
                let (c, x, y) = (a[0].tensor()?, a[1].tensor()?, a[2].tensor()?);
                Ok(vec![c.addmm(x, y, a[3].float()?, a[4].float()?)?])
            },
        )
        .samples(vec![
            scaled(&[3, 5], &[3, 4], &[4, 5], 1.0, 1.0),
            scaled(&[5], &[3, 4], &[4, 5], 0.5, -2.0),
            scaled(&[3, 1], &[3, 4], &[4, 5], 0.0, 2.0),
        ]),
        OpSpec::new(
            "baddbmm",
            "lambda c, a, b, beta, alpha: torch.baddbmm(c, a, b, beta=beta, alpha=alpha)",
            |a| {
                let (c, x, y) = (a[0].tensor()?, a[1].tensor()?, a[2].tensor()?);
                Ok(vec![c.baddbmm(x, y, a[3].float()?, a[4].float()?)?])
            },
        )
        .samples(vec![
            scaled(&[2, 3, 5], &[2, 3, 4], &[2, 4, 5], 1.0, 1.0),
            scaled(&[1, 1, 5], &[2, 3, 4], &[2, 4, 5], -0.5, 2.0),
        ]),
    ]
}
