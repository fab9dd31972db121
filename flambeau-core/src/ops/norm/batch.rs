//! Normalisation of each channel over the batch.

use super::{
    Norm, Normalise, OfAffine, channel_shape, check, inverse_root, list, per_channel, sample_of,
    sample_param, standardised, to_lane,
};
use crate::autograd::no_grad;
use crate::dispatch::Output;
use crate::dtype::Stored;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda};
use flambeau_cpu::float::Float;
use flambeau_cpu::norm as kernels;
use half::bf16;
use smallvec::smallvec;

/// `x` is `[batch, channels, …]`; extra results are mean and biased variance of each channel.
#[derive(Debug)]
struct BatchNorm {
    eps: f64,
    /// Mean and variance to use; `None` takes the batch's own.
    running: Option<(Tensor, Tensor)>,
}

/// `1 / sqrt(var + eps)` in the lane's precision.
fn inverse<T: Float>(var: &[T], eps: f64) -> Vec<T> {
    var.iter()
        .map(|&v| T::from_f64(1.0) / (v + T::from_f64(eps)).sqrt())
        .collect()
}

impl BatchNorm {
    /// What each channel is multiplied by, and what is added.
    fn coefficients<T: Float + Stored>(
        &self,
        mean: &Tensor,
        var: &Tensor,
        [weight, bias]: [Option<&[T]>; 2],
    ) -> (Vec<T>, Vec<T>) {
        let n = mean.numel();
        let mut scale = inverse(&var.read().slice::<T>()[..n], self.eps);
        if let Some(w) = weight {
            scale.iter_mut().zip(w).for_each(|(s, &w)| *s *= w);
        }
        let mut shift: Vec<T> = (mean.read().slice::<T>()[..n].iter().zip(&scale))
            .map(|(&m, &s)| -(m * s))
            .collect();
        if let Some(b) = bias {
            shift.iter_mut().zip(b).for_each(|(s, &b)| *s += b);
        }
        (scale, shift)
    }

    fn forward_bf16(&self, x: &Tensor, affine: [Option<&[f32]>; 2]) -> Result<Output> {
        let (s, op) = (channel_shape(x.shape()), Self::NAME);
        let guard = x.read();
        let src = &guard.slice::<bf16>()[..x.numel()];
        let (tensor, mean, var) = match &self.running {
            Some((mean, var)) => {
                let lane = |t: &Tensor| to_lane(op, t, DType::F32);
                let (mean, var) = (lane(mean)?, lane(var)?);
                let (scale, shift) = self.coefficients(&mean, &var, affine);
                let tensor = Tensor::build::<bf16>(op, x.shape(), x.dtype(), |out| {
                    kernels::scale_shift_bf16(&s, src, [&scale, &shift], out)
                })?;
                (tensor, mean, var)
            }
            None => {
                let (mut mean, mut var) = (vec![0.0; s.channels], vec![0.0; s.channels]);
                let tensor = Tensor::build::<bf16>(op, x.shape(), x.dtype(), |out| {
                    let stats = [&mut mean[..], &mut var];
                    kernels::batch_norm_forward_bf16(&s, src, affine, self.eps, out, stats);
                })?;
                let stats = |v: Vec<f32>| list(op, DType::F32, &v, &[s.channels]);
                (tensor, stats(mean)?, stats(var)?)
            }
        };
        Ok(Output {
            tensor,
            extras: smallvec![mean, var],
        })
    }

    fn backward_bf16(
        &self,
        ctx: &Ctx<'_>,
        [x, grad]: [&Tensor; 2],
        weight: Option<&[f32]>,
    ) -> Result<OfAffine<f32>> {
        let (s, (xr, gr)) = (channel_shape(x.shape()), (x.read(), grad.read()));
        let (mean, var) = (ctx.extra(0).read(), ctx.extra(1).read());
        let inverse = inverse(&var.slice::<f32>()[..s.channels], self.eps);
        let mut scale = inverse.clone();
        if let Some(w) = weight {
            scale.iter_mut().zip(w).for_each(|(s, &w)| *s *= w);
        }
        let inputs = [&xr, &gr].map(|t| &t.slice::<bf16>()[..x.numel()]);
        let statistics = [&mean.slice::<f32>()[..s.channels], &inverse, &scale];
        let training = self.running.is_none();
        let run = |out: Option<&mut [bf16]>| {
            kernels::batch_norm_backward_bf16(&s, inputs, statistics, training, out)
        };
        let mut sums = Vec::new();
        let of_x = match ctx.needs(0) {
            true => Some(Tensor::build::<bf16>(
                Self::NAME,
                x.shape(),
                x.dtype(),
                |out| {
                    sums = run(Some(out));
                },
            )?),
            false => {
                sums = run(None);
                None
            }
        };
        let of_weight = sums.iter().zip(&inverse).map(|(s, &i)| s[1] as f32 * i);
        let of_bias = sums.iter().map(|s| s[0] as f32);
        Ok((of_x, [of_weight.collect(), of_bias.collect()]))
    }
}

impl Norm for BatchNorm {
    const NAME: &'static str = "batch_norm";

    fn run<T: Float + Stored>(
        &self,
        x: &Tensor,
        [weight, bias]: [Option<&[T]>; 2],
    ) -> Result<Output> {
        let (s, op, lane) = (channel_shape(x.shape()), Self::NAME, x.dtype());
        let guard = x.read();
        let src = &guard.slice::<T>()[..x.numel()];
        let (tensor, mean, var) = match &self.running {
            Some((mean, var)) => {
                let (mean, var) = (to_lane(op, mean, lane)?, to_lane(op, var, lane)?);
                let (scale, shift) = self.coefficients(&mean, &var, [weight, bias]);
                let tensor = Tensor::build::<T>(op, x.shape(), lane, |out| {
                    kernels::scale_shift(&s, src, [&scale, &shift], out)
                })?;
                (tensor, mean, var)
            }
            None => {
                let (mut mean, mut var) = (vec![T::ZERO; s.channels], vec![T::ZERO; s.channels]);
                let tensor = Tensor::build::<T>(op, x.shape(), lane, |out| {
                    let stats = [&mut mean[..], &mut var];
                    kernels::batch_norm_forward(&s, src, [weight, bias], self.eps, out, stats);
                })?;
                let stats = |v: Vec<T>| list(op, lane, &v, &[s.channels]);
                (tensor, stats(mean)?, stats(var)?)
            }
        };
        Ok(Output {
            tensor,
            extras: smallvec![mean, var],
        })
    }

    fn gradient<T: Float + Stored>(
        &self,
        ctx: &Ctx<'_>,
        [x, grad]: [&Tensor; 2],
        weight: Option<&[T]>,
        _: bool,
    ) -> Result<(Option<Tensor>, [Vec<T>; 2])> {
        let s = channel_shape(x.shape());
        let (xr, gr, mean, var) = (
            x.read(),
            grad.read(),
            ctx.extra(0).read(),
            ctx.extra(1).read(),
        );
        let inverse = inverse(&var.slice::<T>()[..s.channels], self.eps);
        let mut scale = inverse.clone();
        if let Some(w) = weight {
            scale.iter_mut().zip(w).for_each(|(s, &w)| *s *= w);
        }
        let of = kernels::BatchNormGradient {
            x: &xr.slice::<T>()[..x.numel()],
            grad: &gr.slice::<T>()[..x.numel()],
            statistics: [&mean.slice::<T>()[..s.channels], &inverse, &scale],
            training: self.running.is_none(),
        };
        let mut sums = Vec::new();
        let of_x = if ctx.needs(0) {
            Some(Tensor::build::<T>(
                Self::NAME,
                x.shape(),
                x.dtype(),
                |out| {
                    sums = kernels::batch_norm_backward(&s, &of, Some(out));
                },
            )?)
        } else {
            sums = kernels::batch_norm_backward(&s, &of, None);
            None
        };
        let sum = |s: f64| <T as Float>::from_f64(s);
        let of_weight = sums.iter().zip(&inverse).map(|(s, &i)| sum(s[1]) * i);
        let of_bias = sums.iter().map(|s| sum(s[0]));
        Ok((of_x, [of_weight.collect(), of_bias.collect()]))
    }

    fn run_bf16(&self, x: &Tensor, affine: [Option<&[f32]>; 2]) -> Option<Result<Output>> {
        Some(self.forward_bf16(x, affine))
    }

    fn gradient_bf16(
        &self,
        ctx: &Ctx<'_>,
        x_and_grad: [&Tensor; 2],
        weight: Option<&[f32]>,
    ) -> Option<Result<OfAffine<f32>>> {
        Some(self.backward_bf16(ctx, x_and_grad, weight))
    }

    fn cuda(&self, x: &Tensor, affine: cuda::Affine<'_>) -> Result<Output> {
        let lane = match x.dtype() {
            DType::F64 => DType::F64,
            _ => DType::F32,
        };
        let (mean, var) = match &self.running {
            Some((mean, var)) => (
                to_lane(Self::NAME, mean, lane)?,
                to_lane(Self::NAME, var, lane)?,
            ),
            None => {
                let others: Vec<usize> = (0..x.dim()).filter(|&d| d != 1).collect();
                let (mean, var) = cuda::moments(Self::NAME, x, &others, lane)?;
                (mean.flatten(0, -1)?, var.flatten(0, -1)?)
            }
        };
        let norm = cuda::channels(x, affine);
        let tensor = cuda::channel_norm(Self::NAME, &norm, x, [&mean, &var], affine, self.eps)?;
        Ok(Output {
            tensor,
            extras: smallvec![mean, var],
        })
    }

    fn cuda_gradient(
        &self,
        ctx: &Ctx<'_>,
        [x, grad]: [&Tensor; 2],
        weight: Option<&Tensor>,
        param: DType,
        needs: [bool; 3],
    ) -> Result<cuda::Gradients> {
        let mut norm = cuda::channels(x, [weight, None]);
        norm.param = cuda::type_of(param);
        let moments = ([ctx.extra(0), ctx.extra(1)], self.running.is_some());
        let scale = (weight, self.eps);
        cuda::channel_norm_backward(Self::NAME, &norm, (x, grad), moments, scale, param, needs)
    }

    fn composite(&self, x: &Tensor) -> Result<(Tensor, Vec<usize>)> {
        let shape = per_channel(x);
        let y = match &self.running {
            Some((mean, var)) => {
                let each = |t: &Tensor| t.to_dtype(x.dtype())?.reshape(&shape);
                x.sub(each(mean)?)?
                    .mul(inverse_root(&each(var)?, self.eps)?)?
            }
            None => {
                let others: Vec<usize> = (0..x.dim()).filter(|&d| d != 1).collect();
                standardised(x, &others, self.eps)?
            }
        };
        Ok((y, shape))
    }
}

/// Options of [`Tensor::batch_norm`].
///
/// ```
/// use flambeau_core::{BatchNormOptions, Tensor};
/// let x = Tensor::new([[1.0f32], [3.0]])?;
/// let (mean, var) = (Tensor::zeros([1])?, Tensor::ones([1])?);
/// let running = Some((&mean, &var));
/// x.batch_norm(BatchNormOptions { running, training: true, ..Default::default() })?;
/// assert!(mean.allclose(&Tensor::new([0.2f32])?, 1e-4, 1e-5, false)?);
/// assert!(var.allclose(&Tensor::new([1.1f32])?, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchNormOptions<'a> {
    /// Running mean and variance, `[channels]` each: read where not `training`, updated in place
    /// where it is.
    pub running: Option<(&'a Tensor, &'a Tensor)>,
    /// Scale of each channel.
    pub weight: Option<&'a Tensor>,
    /// Shift of each channel.
    pub bias: Option<&'a Tensor>,
    /// Whether to normalise by the batch's own statistics. Default false.
    pub training: bool,
    /// Weight of the new statistics in the running ones. Default 0.1.
    pub momentum: f64,
    /// Added to the variance. Default 1e-5.
    pub eps: f64,
}

impl Default for BatchNormOptions<'_> {
    fn default() -> Self {
        BatchNormOptions {
            running: None,
            weight: None,
            bias: None,
            training: false,
            momentum: 0.1,
            eps: 1e-5,
        }
    }
}

impl Tensor {
    /// Batch normalisation of `[batch, channels, …]` (Ioffe and Szegedy 2015;
    /// [`F.batch_norm`](https://pytorch.org/docs/stable/generated/torch.nn.functional.batch_norm.html)):
    /// `(x - mean) / sqrt(var + eps) * weight + bias` for each channel.
    ///
    /// ```
    /// use flambeau_core::{BatchNormOptions, Tensor};
    /// let x = Tensor::new([[1.0f32, 10.0], [3.0, 30.0]])?;
    /// let y = x.batch_norm(BatchNormOptions { training: true, ..Default::default() })?;
    /// assert!(y.allclose(&Tensor::new([[-0.99999f32, -1.0], [0.99999, 1.0]])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where parameters do not match the channels, statistics are missing outside of training, or
    /// a channel has one value alone in training.
    #[track_caller]
    pub fn batch_norm(&self, options: BatchNormOptions<'_>) -> Result<Tensor> {
        let op = "batch_norm";
        if self.dim() < 2 {
            bail!(
                op,
                "the input has shape {:?}; expected [batch, channels, …]",
                self.shape()
            );
        }
        let channels = self.shape()[1];
        let BatchNormOptions {
            running,
            weight,
            bias,
            ..
        } = options;
        let params = [
            ("weight", weight),
            ("bias", bias),
            ("running_mean", running.map(|r| r.0)),
            ("running_var", running.map(|r| r.1)),
        ];
        check(op, self, &params, &[channels])?;
        let count = self.numel() / channels.max(1);
        if options.training && count <= 1 {
            bail!(
                op,
                "in training each channel needs more than one value; the input has shape {:?}",
                self.shape()
            );
        }
        let statistics = match (options.training, running) {
            (true, _) => None,
            (false, Some((mean, var))) => Some((mean.detach(), var.detach())),
            (false, None) => bail!(
                op,
                "outside of training the running mean and variance are needed"
            ),
        };
        if self.is_empty() {
            return self.copy();
        }
        let norm = BatchNorm {
            eps: options.eps,
            running: statistics,
        };
        let out = Normalise::call(norm, self, weight, bias)?;
        if options.training
            && let Some((running_mean, running_var)) = running
        {
            no_grad(|| {
                let [mean, var] = [0, 1].map(|i| &out.extras[i]);
                let var = var.mul(count as f64 / (count as f64 - 1.0))?;
                for (running, new) in [(running_mean, mean), (running_var, &var)] {
                    let new = new.to_dtype(running.dtype())?;
                    running.detach().lerp_(&new, options.momentum)?;
                }
                Ok(())
            })?;
        }
        Ok(out.tensor)
    }
}

#[inline]
pub(super) fn spec() -> OpSpec {
    let (x, p) = (sample_of, sample_param);
    let fixed =
        |n: usize| Arg::T(Tensor::new([0.9f64, 1.2, 0.7][..n].to_vec()).expect("a few numbers"));
    OpSpec::new("batch_norm", "lambda x, w, b, m, v, t, e: F.batch_norm(x, m.to(x.dtype), v.to(x.dtype), w, b, t, 0.1, e)", |a| {
            // Constants: batch norm has no gradient for its statistics.
            let statistic = |arg: &Arg| arg.tensor()?.to_dtype(a[0].tensor()?.dtype())?.copy();
            let (mean, var) = (statistic(&a[3])?, statistic(&a[4])?);
            let options = BatchNormOptions {
                running: Some((&mean, &var)),
                weight: a[1].tensor_opt()?,
                bias: a[2].tensor_opt()?,
                training: a[5].bool()?,
                momentum: 0.1,
                eps: a[6].float()?,
            };
            Ok(vec![a[0].tensor()?.batch_norm(options)?])
        })
        .samples(vec![
            Sample::new(vec![x(&[3, 2, 4, 3]), p(&[2]), p(&[2]), fixed(2), fixed(2), Arg::B(true), Arg::F(1e-5)]),
            Sample::new(vec![x(&[5, 3]), p(&[3]), p(&[3]), fixed(3), fixed(3), Arg::B(true), Arg::F(1e-3)]),
            Sample::new(vec![x(&[4, 2, 3]), Arg::Nil, Arg::Nil, fixed(2), fixed(2), Arg::B(true), Arg::F(1e-5)]),
            Sample::new(vec![x(&[3, 2, 4]), p(&[2]), p(&[2]), fixed(2), fixed(2), Arg::B(false), Arg::F(1e-5)]),
        ])
}
