//! Triangles and diagonals of matrices.

use crate::autocast::{Cast, Composite};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::elementwise::to_contiguous;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Ctx, Result, bail, with_stored};
use smallvec::smallvec;

/// The lower or upper triangle of the matrices in the last two dimensions, zeros elsewhere.
#[derive(Clone, Copy, Debug)]
struct Triangle {
    upper: bool,
    diagonal: i64,
}

impl Op for Triangle {
    fn name(&self) -> &'static str {
        if self.upper { "triu" } else { "tril" }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let out = to_contiguous(self.name(), inputs[0], inputs[0].dtype())?;
        let (n, m) = (out.shape()[out.dim() - 2], out.shape()[out.dim() - 1]);
        if out.numel() == 0 {
            return Ok(out.into());
        }
        with_stored!(out.dtype(), S => {
            for (i, row) in out.write().slice::<S>().chunks_exact_mut(m).enumerate() {
                // The first column on or right of the diagonal.
                let at = self.diagonal.saturating_add((i % n) as i64);
                if self.upper {
                    row[..at.clamp(0, m as i64) as usize].fill(S::default());
                } else {
                    row[at.saturating_add(1).clamp(0, m as i64) as usize..].fill(S::default());
                }
            }
        });
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let (n, m) = (x.shape()[x.dim() - 2], x.shape()[x.dim() - 1]);
        let count = |n: usize| Tensor::arange_with(0, n, 1, x.device());
        let distance = count(m)?.sub(count(n)?.unsqueeze(1)?)?;
        let kept = match self.upper {
            true => distance.ge(self.diagonal)?,
            false => distance.le(self.diagonal)?,
        };
        Ok(kept.where_(x, x.zeros_like()?)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(dispatch::call(*self, &[grad])?)])
    }
}

impl Tensor {
    #[track_caller]
    fn triangle(&self, upper: bool, diagonal: i64) -> Result<Tensor> {
        let op = Triangle { upper, diagonal };
        if self.dim() < 2 {
            bail!(
                op.name(),
                "the tensor of shape {:?} must have 2 dimensions at least",
                self.shape()
            );
        }
        dispatch::call(op, &[self])
    }

    /// The lower triangle of the matrices in the last two dimensions, up to and with the
    /// `diagonal`-th diagonal (0 the main one, positive above it); zeros elsewhere
    /// ([`torch.tril`](https://pytorch.org/docs/stable/generated/torch.tril.html)).
    ///
    /// PyTorch's default: `diagonal` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.tril(0)?.to_vec2::<i64>()?, [[1, 0], [3, 4]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For fewer than two dimensions.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle(false, diagonal)
    }

    /// The upper triangle, from the `diagonal`-th diagonal on, as [`tril`](Tensor::tril)
    /// ([`torch.triu`](https://pytorch.org/docs/stable/generated/torch.triu.html)).
    ///
    /// PyTorch's default: `diagonal` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.triu(1)?.to_vec2::<i64>()?, [[0, 2], [0, 0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`tril`](Tensor::tril).
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle(true, diagonal)
    }

    /// Of a vector the matrix with it on the `diagonal`-th diagonal, of a matrix that diagonal
    /// ([`torch.diag`](https://pytorch.org/docs/stable/generated/torch.diag.html)).
    ///
    /// PyTorch's default: `diagonal` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2])?.diag(0)?.to_vec2::<i64>()?, [[1, 0], [0, 2]]);
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.diag(1)?.to_vec::<i64>()?, [2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than one or two dimensions.
    #[track_caller]
    pub fn diag(&self, diagonal: i64) -> Result<Tensor> {
        match self.dim() {
            1 => {
                let skip = usize::try_from(diagonal.unsigned_abs()).unwrap_or(usize::MAX);
                let n = self.shape()[0].saturating_add(skip);
                let out = Tensor::zeros_with([n, n], (self.dtype(), self.device()))?;
                out.diagonal(diagonal, 0, 1)?.copy_(self)?;
                Ok(out)
            }
            2 => self.diagonal(diagonal, 0, 1)?.copy(),
            n => bail!(
                "diag",
                "takes a vector or a matrix, not a tensor of {n} dimensions"
            ),
        }
    }

    /// The sum of a matrix's main diagonal
    /// ([`torch.trace`](https://pytorch.org/docs/stable/generated/torch.trace.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.trace()?.item::<i64>()?, 5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than two dimensions.
    #[track_caller]
    pub fn trace(&self) -> Result<Tensor> {
        if self.dim() != 2 {
            bail!("trace", "takes a matrix, not shape {:?}", self.shape());
        }
        let region = Composite::of([Cast::Full, Cast::Keep], [self])?;
        let [x] = region.inputs();
        x.diagonal(0, 0, 1)?.sum()
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    vec![
        OpSpec::new("tril", "torch.tril", |a| {
            Ok(vec![a[0].tensor()?.tril(a[1].int()?)?])
        })
        .samples(
            [0, -1, 2]
                .map(|k| Sample::with(&[2, 3, 4], &[Arg::I(k)]))
                .to_vec(),
        ),
        OpSpec::new("triu", "torch.triu", |a| {
            Ok(vec![a[0].tensor()?.triu(a[1].int()?)?])
        })
        .samples(
            [0, -1, 2]
                .map(|k| Sample::with(&[4, 3], &[Arg::I(k)]))
                .to_vec(),
        ),
        OpSpec::new("diagonal", "torch.diagonal", |a| {
            let x = a[0].tensor()?;
            Ok(vec![x.diagonal(a[1].int()?, a[2].int()?, a[3].int()?)?])
        })
        .samples(vec![
            Sample::with(&[3, 4], &[Arg::I(1), Arg::I(0), Arg::I(1)]),
            Sample::with(&[2, 3, 4], &[Arg::I(-1), Arg::I(2), Arg::I(0)]),
        ]),
        OpSpec::new("diag", "torch.diag", |a| {
            Ok(vec![a[0].tensor()?.diag(a[1].int()?)?])
        })
        .samples(vec![
            Sample::with(&[3], &[Arg::I(0)]),
            Sample::with(&[3], &[Arg::I(-2)]),
            Sample::with(&[3, 4], &[Arg::I(1)]),
        ]),
        OpSpec::new("trace", "torch.trace", |a| {
            Ok(vec![a[0].tensor()?.trace()?])
        })
        .samples(vec![Sample::with(&[3, 4], &[])]),
    ]
}
