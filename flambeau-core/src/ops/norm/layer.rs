//! Normalisation of each sample over its last dimensions.

use super::{
    Norm, Normalise, check, list, row_gradient_on_cuda, rows_on_cuda, sample_of, sample_param,
    standardised,
};
use crate::dispatch::Output;
use crate::dtype::Stored;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::numel;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda};
use flambeau_cpu::float::Float;
use flambeau_cpu::norm as kernels;
use smallvec::smallvec;

/// Rows of `width` elements; the extra result holds mean and inverse deviation of each.
#[derive(Debug)]
struct LayerNorm {
    width: usize,
    eps: f64,
}

impl LayerNorm {
    /// Width of a row, channels, and neighbours of each.
    fn sizes(&self) -> [usize; 3] {
        [self.width, self.width, 1]
    }
}

impl Norm for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn run<T: Float + Stored>(&self, x: &Tensor, affine: [Option<&[T]>; 2]) -> Result<Output> {
        let rows = x.numel() / self.width;
        let guard = x.read();
        let src = &guard.slice::<T>()[..x.numel()];
        let mut stats = vec![[T::ZERO; 2]; rows];
        let tensor = Tensor::build::<T>(Self::NAME, x.shape(), x.dtype(), |out| {
            kernels::layer_norm_forward(self.width, src, affine, self.eps, out, &mut stats);
        })?;
        let stats = list(Self::NAME, x.dtype(), stats.as_flattened(), &[rows, 2])?;
        Ok(Output {
            tensor,
            extras: smallvec![stats],
        })
    }

    fn gradient<T: Float + Stored>(
        &self,
        ctx: &Ctx<'_>,
        [x, grad]: [&Tensor; 2],
        weight: Option<&[T]>,
        affine: bool,
    ) -> Result<(Option<Tensor>, [Vec<T>; 2])> {
        let (xr, gr, sr) = (x.read(), grad.read(), ctx.extra(0).read());
        let (xs, gs) = (&xr.slice::<T>()[..x.numel()], &gr.slice::<T>()[..x.numel()]);
        let (stats, _) = sr.slice::<T>()[..2 * (x.numel() / self.width)].as_chunks::<2>();
        let width = if affine { self.width } else { 0 };
        let (mut of_weight, mut of_bias) = (vec![T::ZERO; width], vec![T::ZERO; width]);
        let mut run = |out: Option<&mut [T]>| {
            let affine = affine.then_some([&mut of_weight[..], &mut of_bias[..]]);
            kernels::layer_norm_backward(self.width, [xs, gs], weight, stats, out, affine);
        };
        let of_x = if ctx.needs(0) {
            Some(Tensor::build::<T>(
                Self::NAME,
                x.shape(),
                x.dtype(),
                |out| run(Some(out)),
            )?)
        } else {
            run(None);
            None
        };
        Ok((of_x, [of_weight, of_bias]))
    }

    fn cuda(&self, x: &Tensor, affine: cuda::Affine<'_>) -> Result<Output> {
        rows_on_cuda(Self::NAME, x, affine, self.sizes(), self.eps)
    }

    fn cuda_gradient(
        &self,
        ctx: &Ctx<'_>,
        [x, grad]: [&Tensor; 2],
        weight: Option<&Tensor>,
        param: DType,
        needs: [bool; 3],
    ) -> Result<cuda::Gradients> {
        let (wanted, sizes) = ((param, needs), self.sizes());
        row_gradient_on_cuda(Self::NAME, ctx, [x, grad], weight, wanted, sizes)
    }

    fn composite(&self, x: &Tensor) -> Result<(Tensor, Vec<usize>)> {
        let rows = x.reshape([-1, self.width as i64])?;
        Ok((standardised(&rows, &[1], self.eps)?, vec![self.width]))
    }
}

impl Tensor {
    /// Layer normalisation over the last dimensions, of sizes `normalized_shape` (Ba, Kiros and
    /// Hinton 2016;
    /// [`F.layer_norm`](https://pytorch.org/docs/stable/generated/torch.nn.functional.layer_norm.html)).
    /// PyTorch's `eps` is 1e-5.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1.0f32, 3.0], [0.0, 40.0]])?;
    /// let expected = Tensor::new([[-0.99999f32, 0.99999], [-1.0, 1.0]])?;
    /// assert!(x.layer_norm(&[2], None, None, 1e-5)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the input does not end in `normalized_shape`, or parameters do not have it.
    #[track_caller]
    pub fn layer_norm(
        &self,
        normalized_shape: &[usize],
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        let op = "layer_norm";
        if normalized_shape.is_empty() || !self.shape().ends_with(normalized_shape) {
            bail!(
                op,
                "the input has shape {:?}, which does not end in the normalized shape {normalized_shape:?}",
                self.shape()
            );
        }
        let params = [("weight", weight), ("bias", bias)];
        check(op, self, &params, normalized_shape)?;
        let width = numel(normalized_shape);
        if self.numel() == 0 {
            return self.copy();
        }
        let flat = |t: Option<&Tensor>| t.map(|t| t.reshape([width])).transpose();
        let (weight, bias) = (flat(weight)?, flat(bias)?);
        let norm = LayerNorm { width, eps };
        Normalise::call(norm, self, weight.as_ref(), bias.as_ref()).map(|out| out.tensor)
    }
}

#[inline]
pub(super) fn spec() -> OpSpec {
    let (x, p) = (sample_of, sample_param);
    OpSpec::new(
        "layer_norm",
        "lambda x, n, w, b, e: F.layer_norm(x, n, w, b, e)",
        |a| {
            let shape: Vec<usize> = a[1].list()?.iter().map(|&d| d as usize).collect();
            Ok(vec![a[0].tensor()?.layer_norm(
                &shape,
                a[2].tensor_opt()?,
                a[3].tensor_opt()?,
                a[4].float()?,
            )?])
        },
    )
    .samples(vec![
        Sample::new(vec![
            x(&[3, 5]),
            Arg::L(vec![5]),
            p(&[5]),
            p(&[5]),
            Arg::F(1e-5),
        ]),
        Sample::new(vec![
            x(&[2, 3, 4]),
            Arg::L(vec![3, 4]),
            p(&[3, 4]),
            Arg::Nil,
            Arg::F(1e-3),
        ]),
        Sample::new(vec![
            x(&[2, 40]),
            Arg::L(vec![40]),
            Arg::Nil,
            Arg::Nil,
            Arg::F(1e-5),
        ]),
    ])
}
