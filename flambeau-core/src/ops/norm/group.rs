//! Normalisation of groups of a sample's channels.

use super::{
    Norm, Normalise, check, list, per_channel, row_gradient_on_cuda, rows_on_cuda, sample_of,
    sample_param, standardised,
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

/// `x` is `[batch, channels, …]`, normalised over each of `groups` blocks of a sample's channels; the
/// extra result holds mean and inverse deviation of each block.
#[derive(Debug)]
struct GroupNorm {
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Width of a block, channels, and neighbours of each.
    fn sizes(&self, x: &Tensor) -> [usize; 3] {
        let (channels, inner) = (x.shape()[1], numel(&x.shape()[2..]));
        [channels / self.groups * inner, channels, inner]
    }
}

impl Norm for GroupNorm {
    const NAME: &'static str = "group_norm";

    fn run<T: Float + Stored>(
        &self,
        x: &Tensor,
        [weight, bias]: [Option<&[T]>; 2],
    ) -> Result<Output> {
        let (channels, blocks) = (x.shape()[1], x.shape()[0] * self.groups);
        let guard = x.read();
        let src = &guard.slice::<T>()[..x.numel()];
        let mut stats = vec![[T::ZERO; 2]; blocks];
        kernels::row_statistics(x.numel() / blocks, src, self.eps, &mut stats);
        let [_, _, inner] = self.sizes(x);
        let sizes = [channels / self.groups, inner];
        let tensor = Tensor::build::<T>(Self::NAME, x.shape(), x.dtype(), |out| {
            kernels::normalise_rows(sizes, src, &stats, [weight, bias], out);
        })?;
        let stats = list(Self::NAME, x.dtype(), stats.as_flattened(), &[blocks, 2])?;
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
        let [_, channels, inner] = self.sizes(x);
        let (xr, gr, sr) = (x.read(), grad.read(), ctx.extra(0).read());
        let of = [&xr, &gr].map(|r| &r.slice::<T>()[..x.numel()]);
        let (stats, _) = sr.slice::<T>()[..2 * x.shape()[0] * self.groups].as_chunks::<2>();
        let sizes = [self.groups, channels / self.groups, inner];
        let run =
            |out: Option<&mut [T]>| kernels::group_norm_backward(sizes, of, weight, stats, out);
        let (mut of_x, mut sums) = (None, vec![]);
        if ctx.needs(0) {
            of_x = Some(Tensor::build::<T>(
                Self::NAME,
                x.shape(),
                x.dtype(),
                |out| {
                    sums = run(Some(out));
                },
            )?);
        } else {
            sums = run(None);
        }
        if !affine {
            return Ok((of_x, [vec![], vec![]]));
        }
        let each = |i: usize| sums.iter().map(|s| <T as Float>::from_f64(s[i])).collect();
        Ok((of_x, [each(1), each(0)]))
    }

    fn cuda(&self, x: &Tensor, affine: cuda::Affine<'_>) -> Result<Output> {
        rows_on_cuda(Self::NAME, x, affine, self.sizes(x), self.eps)
    }

    fn cuda_gradient(
        &self,
        ctx: &Ctx<'_>,
        [x, grad]: [&Tensor; 2],
        weight: Option<&Tensor>,
        param: DType,
        needs: [bool; 3],
    ) -> Result<cuda::Gradients> {
        let (wanted, sizes) = ((param, needs), self.sizes(x));
        row_gradient_on_cuda(Self::NAME, ctx, [x, grad], weight, wanted, sizes)
    }

    fn composite(&self, x: &Tensor) -> Result<(Tensor, Vec<usize>)> {
        let blocks = x.shape()[0] * self.groups;
        let rows = x.reshape([blocks, x.numel() / blocks])?;
        let y = standardised(&rows, &[1], self.eps)?.reshape(x.shape())?;
        Ok((y, per_channel(x)))
    }
}

impl Tensor {
    /// Group normalisation of `[batch, channels, …]`: the channels in `groups` blocks, each
    /// normalised on its own (Wu and He 2018;
    /// [`F.group_norm`](https://pytorch.org/docs/stable/generated/torch.nn.functional.group_norm.html));
    /// weight and bias `[channels]`.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1.0f32, 3.0, 0.0, 40.0]])?;
    /// let expected = Tensor::new([[-0.99999f32, 0.99999, -1.0, 1.0]])?;
    /// assert!(x.group_norm(2, None, None, 1e-5)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the channels do not divide into the groups, or parameters do not match them.
    #[track_caller]
    pub fn group_norm(
        &self,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        let op = "group_norm";
        if self.dim() < 2 || groups == 0 || !self.shape()[1].is_multiple_of(groups) {
            bail!(
                op,
                "the channels of shape {:?} do not divide into {groups} groups",
                self.shape()
            );
        }
        let channels = self.shape()[1];
        let params = [("weight", weight), ("bias", bias)];
        check(op, self, &params, &[channels])?;
        if self.numel() == 0 {
            return self.copy();
        }
        let norm = GroupNorm { groups, eps };
        Normalise::call(norm, self, weight, bias).map(|out| out.tensor)
    }
}

#[inline]
pub(super) fn spec() -> OpSpec {
    let (x, p) = (sample_of, sample_param);
    OpSpec::new(
        "group_norm",
        "lambda x, g, w, b, e: F.group_norm(x, g, w, b, e)",
        |a| {
            Ok(vec![a[0].tensor()?.group_norm(
                a[1].int()? as usize,
                a[2].tensor_opt()?,
                a[3].tensor_opt()?,
                a[4].float()?,
            )?])
        },
    )
    .samples(vec![
        Sample::new(vec![
            x(&[2, 4, 3]),
            Arg::I(2),
            p(&[4]),
            p(&[4]),
            Arg::F(1e-5),
        ]),
        Sample::new(vec![
            x(&[2, 6]),
            Arg::I(3),
            Arg::Nil,
            Arg::Nil,
            Arg::F(1e-5),
        ]),
    ])
}
