//! Normalisation: batch, layer, group and instance norm.
//!
//! The fused passes of `flambeau_cpu::norm` compute values and first gradients; gradients of
//! higher order go through the composite twins below, and so are differentiable again.

use crate::autograd::{by_twin, is_grad_enabled, no_grad};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::to_contiguous;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::numel;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail};
use flambeau_cpu::float::Float;
use flambeau_cpu::norm::{self as kernels, ChannelShape};
use smallvec::smallvec;

/// The type a norm of `dtype` is computed in.
fn lane(dtype: DType) -> DType {
    if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    }
}

fn to_lane(op: &'static str, x: &Tensor, lane: DType) -> Result<Tensor> {
    if x.dtype() == lane && x.is_contiguous() {
        Ok(x.detach())
    } else {
        to_contiguous(op, x, lane)
    }
}

/// Runs `$body` with `$T` as the lane of `$dtype`.
macro_rules! in_lane {
    ($dtype:expr, $T:ident => $body:expr) => {
        if $dtype == DType::F64 {
            type $T = f64;
            $body
        } else {
            type $T = f32;
            $body
        }
    };
}

/// `1 / sqrt(var + eps)` in the lane's precision.
fn inverse<T: Float>(var: &[T], eps: f64) -> Vec<T> {
    var.iter()
        .map(|&v| T::from_f64(1.0) / (v + T::from_f64(eps)).sqrt())
        .collect()
}

/// Inputs `(x, weight?, bias?)`, `x` as `[batch, channels, …]`; extra results mean and biased
/// variance of each channel, in the lane.
#[derive(Debug)]
struct BatchNorm {
    eps: f64,
    weighted: bool,
    biased: bool,
    /// Mean and variance to use; `None` takes the batch's own.
    running: Option<(Tensor, Tensor)>,
}

fn channel_shape(x: &[usize]) -> ChannelShape {
    ChannelShape {
        batch: x[0],
        channels: x[1],
        inner: x[2..].iter().product(),
    }
}

impl BatchNorm {
    fn run<T: Float + Stored>(&self, x: &Tensor, affine: &[Tensor], lane: DType) -> Result<Output> {
        let s = channel_shape(x.shape());
        let guard = x.read();
        let src = &guard.slice::<T>()[..x.numel()];
        let affine: Vec<_> = affine.iter().map(Tensor::read).collect();
        let mut affine = affine.iter().map(|a| &a.slice::<T>()[..s.channels]);
        let weight = if self.weighted { affine.next() } else { None };
        let bias = affine.next();
        let (tensor, mean, var) = match &self.running {
            Some((mean, var)) => {
                let (mean, var) = (
                    to_lane("batch_norm", mean, lane)?,
                    to_lane("batch_norm", var, lane)?,
                );
                let mut scale = inverse(&var.read().slice::<T>()[..s.channels], self.eps);
                if let Some(w) = weight {
                    scale.iter_mut().zip(w).for_each(|(s, &w)| *s *= w);
                }
                let mut shift: Vec<T> = (mean.read().slice::<T>().iter().zip(&scale))
                    .map(|(&m, &s)| -(m * s))
                    .collect();
                if let Some(b) = bias {
                    shift.iter_mut().zip(b).for_each(|(s, &b)| *s += b);
                }
                let tensor = Tensor::build::<T>("batch_norm", x.shape(), lane, |out| {
                    kernels::scale_shift(&s, src, [&scale, &shift], out)
                })?;
                (tensor, mean, var)
            }
            None => {
                let (mut mean, mut var) = (vec![T::ZERO; s.channels], vec![T::ZERO; s.channels]);
                let tensor = Tensor::build::<T>("batch_norm", x.shape(), lane, |out| {
                    let stats = [&mut mean[..], &mut var];
                    kernels::batch_norm_forward(&s, src, [weight, bias], self.eps, out, stats);
                })?;
                let stats = |v: Vec<T>| {
                    Tensor::build::<T>("batch_norm", &[s.channels], lane, |out| {
                        out.copy_from_slice(&v)
                    })
                };
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
        grad: &Tensor,
        lane: DType,
    ) -> Result<Grads> {
        let (x, g) = (
            to_lane("batch_norm", &ctx.input(0)?, lane)?,
            to_lane("batch_norm", grad, lane)?,
        );
        let s = channel_shape(x.shape());
        let (xr, gr, mean, var) = (x.read(), g.read(), ctx.extra(0).read(), ctx.extra(1).read());
        let mean = &mean.slice::<T>()[..s.channels];
        let inverse = inverse(&var.slice::<T>()[..s.channels], self.eps);
        let mut scale = inverse.clone();
        if self.weighted {
            let w = to_lane("batch_norm", &ctx.input(1)?, lane)?;
            scale
                .iter_mut()
                .zip(&w.read().slice::<T>()[..s.channels])
                .for_each(|(s, &w)| *s *= w);
        }
        let of = kernels::BatchNormGradient {
            x: &xr.slice::<T>()[..x.numel()],
            grad: &gr.slice::<T>()[..x.numel()],
            statistics: [mean, &inverse, &scale],
            training: self.running.is_none(),
        };
        let build = |shape: &[usize], fill: &mut dyn FnMut(&mut [T])| {
            Tensor::build::<T>("batch_norm", shape, lane, |out| fill(out))
        };
        let (mut sums, mut grads): (_, Grads) = (Vec::new(), smallvec![None]);
        if ctx.needs(0) {
            grads[0] = Some(build(x.shape(), &mut |out| {
                sums = kernels::batch_norm_backward(&s, &of, Some(out));
            })?);
        } else {
            sums = kernels::batch_norm_backward(&s, &of, None);
        }
        if self.weighted {
            grads.push(Some(build(&[s.channels], &mut |out| {
                for ((o, sums), &i) in out.iter_mut().zip(&sums).zip(&inverse) {
                    *o = <T as Float>::from_f64(sums[1]) * i;
                }
            })?));
        }
        if self.biased {
            grads.push(Some(build(&[s.channels], &mut |out| {
                out.iter_mut()
                    .zip(&sums)
                    .for_each(|(o, sums)| *o = <T as Float>::from_f64(sums[0]));
            })?));
        }
        Ok(grads)
    }

    /// The same from plain operations.
    fn composite(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = &inputs[0];
        let mut per_channel = vec![1; x.dim()];
        per_channel[1] = x.shape()[1];
        let others: Vec<usize> = (0..x.dim()).filter(|&d| d != 1).collect();
        let (mean, var) = match &self.running {
            Some((mean, var)) => (
                mean.to_dtype(x.dtype())?.reshape(&per_channel)?,
                var.to_dtype(x.dtype())?.reshape(&per_channel)?,
            ),
            None => {
                let mean = x.mean_dim(&others, true)?;
                let var = x.sub(&mean)?.square()?.mean_dim(&others, true)?;
                (mean, var)
            }
        };
        affine(
            x.sub(&mean)?
                .mul(var.add(self.eps)?.log()?.mul(-0.5)?.exp()?)?,
            &inputs[1..],
            self.weighted,
            &per_channel,
        )
    }
}

/// `x * weight + bias` for whichever of the two stand in `params`.
fn affine(mut x: Tensor, params: &[Tensor], weighted: bool, shape: &[usize]) -> Result<Tensor> {
    let mut params = params.iter();
    if weighted && let Some(w) = params.next() {
        x = x.mul(w.reshape(shape)?)?;
    }
    match params.next() {
        Some(b) => x.add(b.reshape(shape)?),
        None => Ok(x),
    }
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = inputs[0].dtype();
        let lane = lane(dtype);
        let x = to_lane("batch_norm", inputs[0], lane)?;
        let affine = inputs[1..]
            .iter()
            .map(|p| to_lane("batch_norm", p, lane))
            .collect::<Result<Vec<_>>>()?;
        let mut out = in_lane!(lane, T => self.run::<T>(&x, &affine, lane))?;
        if dtype != lane {
            out.tensor = to_contiguous("batch_norm", &out.tensor, dtype)?;
        }
        Ok(out)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        if is_grad_enabled() {
            return by_twin(ctx, grad, |inputs| self.composite(inputs));
        }
        let lane = ctx.extra(0).dtype();
        in_lane!(lane, T => self.gradient::<T>(ctx, grad, lane))
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::INPUTS
    }
}

/// Inputs `(x, weight?, bias?)`, normalised over the last `width` elements; the extra result holds
/// mean and inverse deviation of each row, in the lane.
#[derive(Debug)]
struct LayerNorm {
    width: usize,
    eps: f64,
    weighted: bool,
    biased: bool,
}

impl LayerNorm {
    fn run<T: Float + Stored>(&self, x: &Tensor, affine: &[Tensor], lane: DType) -> Result<Output> {
        let rows = x.numel() / self.width;
        let guard = x.read();
        let affine: Vec<_> = affine.iter().map(Tensor::read).collect();
        let mut affine = affine.iter().map(|a| &a.slice::<T>()[..self.width]);
        let weight = if self.weighted { affine.next() } else { None };
        let bias = affine.next();
        let mut stats = vec![[T::ZERO; 2]; rows];
        let tensor = Tensor::build::<T>("layer_norm", x.shape(), lane, |out| {
            kernels::layer_norm_forward(
                self.width,
                &guard.slice::<T>()[..x.numel()],
                [weight, bias],
                self.eps,
                out,
                &mut stats,
            );
        })?;
        let stats = Tensor::build::<T>("layer_norm", &[rows, 2], lane, |out| {
            out.copy_from_slice(stats.as_flattened())
        })?;
        Ok(Output {
            tensor,
            extras: smallvec![stats],
        })
    }

    fn gradient<T: Float + Stored>(
        &self,
        ctx: &Ctx<'_>,
        grad: &Tensor,
        lane: DType,
    ) -> Result<Grads> {
        let (x, g) = (
            to_lane("layer_norm", &ctx.input(0)?, lane)?,
            to_lane("layer_norm", grad, lane)?,
        );
        let (xr, gr, sr) = (x.read(), g.read(), ctx.extra(0).read());
        let (xs, gs) = (&xr.slice::<T>()[..x.numel()], &gr.slice::<T>()[..x.numel()]);
        let (stats, _) = sr.slice::<T>()[..2 * (x.numel() / self.width)].as_chunks::<2>();
        let weight = if self.weighted {
            Some(to_lane("layer_norm", &ctx.input(1)?, lane)?)
        } else {
            None
        };
        let wr = weight.as_ref().map(Tensor::read);
        let w = wr.as_ref().map(|w| &w.slice::<T>()[..self.width]);
        let affine = self.weighted || self.biased;
        let width = if affine { self.width } else { 0 };
        let (mut gw, mut gb) = (vec![T::ZERO; width], vec![T::ZERO; width]);
        let mut run = |out: Option<&mut [T]>| {
            let affine = affine.then_some([&mut gw[..], &mut gb[..]]);
            kernels::layer_norm_backward(self.width, [xs, gs], w, stats, out, affine);
        };
        let mut grads: Grads = smallvec![None];
        if ctx.needs(0) {
            grads[0] = Some(Tensor::build::<T>("layer_norm", x.shape(), lane, |out| {
                run(Some(out));
            })?);
        } else {
            run(None);
        }
        let tensor = |v: Vec<T>| {
            Tensor::build::<T>("layer_norm", &[self.width], lane, |out| {
                out.copy_from_slice(&v)
            })
            .map(Some)
        };
        if self.weighted {
            grads.push(tensor(gw)?);
        }
        if self.biased {
            grads.push(tensor(gb)?);
        }
        Ok(grads)
    }

    /// The same from plain operations.
    fn composite(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = inputs[0].reshape([-1, self.width as i64])?;
        let mean = x.mean_dim(1, true)?;
        let centred = x.sub(&mean)?;
        let var = centred.square()?.mean_dim(1, true)?;
        let y = centred.mul(var.add(self.eps)?.log()?.mul(-0.5)?.exp()?)?;
        affine(y, &inputs[1..], self.weighted, &[self.width])?.reshape(inputs[0].shape())
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = inputs[0].dtype();
        let lane = lane(dtype);
        let x = to_lane("layer_norm", inputs[0], lane)?;
        let affine = inputs[1..]
            .iter()
            .map(|p| to_lane("layer_norm", p, lane))
            .collect::<Result<Vec<_>>>()?;
        let mut out = in_lane!(lane, T => self.run::<T>(&x, &affine, lane))?;
        if dtype != lane {
            out.tensor = to_contiguous("layer_norm", &out.tensor, dtype)?;
        }
        Ok(out)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        if is_grad_enabled() {
            return by_twin(ctx, grad, |inputs| self.composite(inputs));
        }
        let lane = ctx.extra(0).dtype();
        in_lane!(lane, T => self.gradient::<T>(ctx, grad, lane))
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::INPUTS
    }
}

/// Inputs `(x, weight?, bias?)`, `x` as `[batch, channels, …]`, normalised over each of `groups` blocks
/// of a sample's channels; the extra result holds mean and inverse deviation of each block.
#[derive(Debug)]
struct GroupNorm {
    groups: usize,
    eps: f64,
    weighted: bool,
    biased: bool,
}

impl GroupNorm {
    /// The channels of all samples, each on its own.
    fn shape(x: &Tensor) -> ChannelShape {
        let s = channel_shape(x.shape());
        ChannelShape {
            batch: 1,
            channels: s.batch * s.channels,
            ..s
        }
    }

    /// For each channel of each sample, of `channels` each: its number, and its block's statistics.
    fn blocks<'a, T: Copy>(
        &self,
        channels: usize,
        stats: &'a [[T; 2]],
    ) -> impl Iterator<Item = (usize, [T; 2])> + 'a {
        let of_block = channels / self.groups;
        (0..stats.len() * of_block).map(move |i| (i % channels, stats[i / of_block]))
    }

    fn run<T: Float + Stored>(&self, x: &Tensor, affine: &[Tensor], lane: DType) -> Result<Output> {
        let (channels, blocks) = (x.shape()[1], x.shape()[0] * self.groups);
        let guard = x.read();
        let src = &guard.slice::<T>()[..x.numel()];
        let affine: Vec<_> = affine.iter().map(Tensor::read).collect();
        let mut affine = affine.iter().map(|a| &a.slice::<T>()[..channels]);
        let weight = if self.weighted { affine.next() } else { None };
        let bias = affine.next();
        let mut stats = vec![[T::ZERO; 2]; blocks];
        kernels::row_statistics(x.numel() / blocks, src, self.eps, &mut stats);
        let coefficients = self.blocks(channels, &stats).map(|(c, [mean, inverse])| {
            let scale = weight.map_or(inverse, |w| inverse * w[c]);
            (scale, bias.map_or(T::ZERO, |b| b[c]) - mean * scale)
        });
        let (scale, shift): (Vec<T>, Vec<T>) = coefficients.unzip();
        let tensor = Tensor::build::<T>("group_norm", x.shape(), lane, |out| {
            kernels::scale_shift(&Self::shape(x), src, [&scale, &shift], out)
        })?;
        let stats = Tensor::build::<T>("group_norm", &[blocks, 2], lane, |out| {
            out.copy_from_slice(stats.as_flattened())
        })?;
        Ok(Output {
            tensor,
            extras: smallvec![stats],
        })
    }

    fn gradient<T: Float + Stored>(
        &self,
        ctx: &Ctx<'_>,
        grad: &Tensor,
        lane: DType,
    ) -> Result<Grads> {
        let (x, g) = (
            to_lane("group_norm", &ctx.input(0)?, lane)?,
            to_lane("group_norm", grad, lane)?,
        );
        let (s, channels) = (Self::shape(&x), x.shape()[1]);
        let (xr, gr, sr) = (x.read(), g.read(), ctx.extra(0).read());
        let (xs, gs) = (&xr.slice::<T>()[..x.numel()], &gr.slice::<T>()[..x.numel()]);
        let (stats, _) = sr.slice::<T>()[..2 * x.shape()[0] * self.groups].as_chunks::<2>();
        let mut grads: Grads = smallvec![None];
        if ctx.needs(0) {
            let width = x.numel() / stats.len();
            let input = |g: &[T]| {
                Tensor::build::<T>("group_norm", x.shape(), lane, |out| {
                    kernels::layer_norm_backward(width, [xs, g], None, stats, Some(out), None)
                })
            };
            grads[0] = Some(if self.weighted {
                let w = to_lane("group_norm", &ctx.input(1)?, lane)?;
                let w = w.read().slice::<T>()[..channels].repeat(x.shape()[0]);
                let zeros = vec![T::ZERO; w.len()];
                let weighted = Tensor::build::<T>("group_norm", x.shape(), lane, |out| {
                    kernels::scale_shift(&s, gs, [&w, &zeros], out)
                })?;
                input(&weighted.read().slice::<T>()[..x.numel()])?
            } else {
                input(gs)?
            });
        }
        if !self.weighted && !self.biased {
            return Ok(grads);
        }
        let statistics = self.blocks(channels, stats).map(|(_, [m, i])| (m, i));
        let (mean, inverse): (Vec<T>, Vec<T>) = statistics.unzip();
        let of = kernels::BatchNormGradient {
            x: xs,
            grad: gs,
            statistics: [&mean, &inverse, &inverse],
            training: false,
        };
        let sums = kernels::batch_norm_backward(&s, &of, None);
        let per_channel = |term: &dyn Fn(usize) -> f64| {
            Tensor::build::<T>("group_norm", &[channels], lane, |out| {
                for (c, o) in out.iter_mut().enumerate() {
                    let sum = (c..sums.len()).step_by(channels).map(term).sum();
                    *o = <T as Float>::from_f64(sum);
                }
            })
            .map(Some)
        };
        if self.weighted {
            grads.push(per_channel(&|i| sums[i][1] * Float::to_f64(inverse[i]))?);
        }
        if self.biased {
            grads.push(per_channel(&|i| sums[i][0])?);
        }
        Ok(grads)
    }

    /// The same from plain operations.
    fn composite(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = &inputs[0];
        let width = x.numel() / (x.shape()[0] * self.groups);
        let rows = LayerNorm {
            width,
            eps: self.eps,
            weighted: false,
            biased: false,
        };
        let y = rows.composite(&[x.reshape([-1, width as i64])?])?;
        let mut per_channel = vec![1; x.dim()];
        per_channel[1] = x.shape()[1];
        affine(
            y.reshape(x.shape())?,
            &inputs[1..],
            self.weighted,
            &per_channel,
        )
    }
}

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = inputs[0].dtype();
        let lane = lane(dtype);
        let x = to_lane("group_norm", inputs[0], lane)?;
        let affine = inputs[1..]
            .iter()
            .map(|p| to_lane("group_norm", p, lane))
            .collect::<Result<Vec<_>>>()?;
        let mut out = in_lane!(lane, T => self.run::<T>(&x, &affine, lane))?;
        if dtype != lane {
            out.tensor = to_contiguous("group_norm", &out.tensor, dtype)?;
        }
        Ok(out)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        if is_grad_enabled() {
            return by_twin(ctx, grad, |inputs| self.composite(inputs));
        }
        let lane = ctx.extra(0).dtype();
        in_lane!(lane, T => self.gradient::<T>(ctx, grad, lane))
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::INPUTS
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
    #[track_caller]
    fn check_norm(
        &self,
        op: &'static str,
        params: &[(&str, Option<&Tensor>)],
        shape: &[usize],
    ) -> Result<()> {
        if !self.dtype().is_floating_point() {
            bail!(
                op,
                "the input is {}; it must be of a floating-point type, convert with to_dtype(DType::F32)",
                self.dtype()
            );
        }
        for (what, t) in params {
            if let Some(t) = t
                && t.shape() != shape
            {
                bail!(
                    op,
                    "{what} has shape {:?}; input {:?} needs {shape:?}",
                    t.shape(),
                    self.shape()
                );
            }
        }
        Ok(())
    }

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
        self.check_norm(op, &params, &[channels])?;
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
        let norm = BatchNorm {
            eps: options.eps,
            weighted: weight.is_some(),
            biased: bias.is_some(),
            running: statistics,
        };
        let mut inputs = vec![self];
        inputs.extend(weight);
        inputs.extend(bias);
        let out = dispatch::call_with_extras(norm, &inputs)?;
        if options.training
            && let Some((running_mean, running_var)) = running
        {
            no_grad(|| {
                let update = |running: &Tensor, new: &Tensor, scale: f64| {
                    let new = new
                        .to_dtype(running.dtype())?
                        .mul(options.momentum * scale)?;
                    running
                        .detach()
                        .copy_(&running.detach().mul(1.0 - options.momentum)?.add(&new)?)
                };
                update(running_mean, &out.extras[0], 1.0)?;
                update(
                    running_var,
                    &out.extras[1],
                    count as f64 / (count as f64 - 1.0),
                )
            })?;
        }
        Ok(out.tensor)
    }

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
        self.check_norm(op, &[("weight", weight), ("bias", bias)], normalized_shape)?;
        let width = numel(normalized_shape);
        if self.numel() == 0 {
            return self.copy();
        }
        let flat = |t: Option<&Tensor>| t.map(|t| t.reshape([width])).transpose();
        let (weight, bias) = (flat(weight)?, flat(bias)?);
        let norm = LayerNorm {
            width,
            eps,
            weighted: weight.is_some(),
            biased: bias.is_some(),
        };
        let mut inputs = vec![self];
        inputs.extend(&weight);
        inputs.extend(&bias);
        dispatch::call(norm, &inputs)
    }

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
        self.check_norm(op, &[("weight", weight), ("bias", bias)], &[channels])?;
        if self.numel() == 0 {
            return self.copy();
        }
        let op = GroupNorm {
            groups,
            eps,
            weighted: weight.is_some(),
            biased: bias.is_some(),
        };
        let mut inputs = vec![self];
        inputs.extend(weight);
        inputs.extend(bias);
        dispatch::call(op, &inputs)
    }
}

/// What tests and goldens know of the norms.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let x = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let p = |n: &[usize]| Arg::uniform(n, (0.5, 1.5));
    let fixed =
        |n: usize| Arg::T(Tensor::new([0.9f64, 1.2, 0.7][..n].to_vec()).expect("a few numbers"));
    vec![
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
        ]),
        OpSpec::new("layer_norm", "lambda x, n, w, b, e: F.layer_norm(x, n, w, b, e)", |a| {
            let shape: Vec<usize> = a[1].list()?.iter().map(|&d| d as usize).collect();
            Ok(vec![a[0].tensor()?.layer_norm(&shape, a[2].tensor_opt()?, a[3].tensor_opt()?, a[4].float()?)?])
        })
        .samples(vec![
            Sample::new(vec![x(&[3, 5]), Arg::L(vec![5]), p(&[5]), p(&[5]), Arg::F(1e-5)]),
            Sample::new(vec![x(&[2, 3, 4]), Arg::L(vec![3, 4]), p(&[3, 4]), Arg::Nil, Arg::F(1e-3)]),
            Sample::new(vec![x(&[2, 40]), Arg::L(vec![40]), Arg::Nil, Arg::Nil, Arg::F(1e-5)]),
        ]),
        OpSpec::new("group_norm", "lambda x, g, w, b, e: F.group_norm(x, g, w, b, e)", |a| {
            Ok(vec![a[0].tensor()?.group_norm(a[1].int()? as usize, a[2].tensor_opt()?, a[3].tensor_opt()?, a[4].float()?)?])
        })
        .samples(vec![
            Sample::new(vec![x(&[2, 4, 3]), Arg::I(2), p(&[4]), p(&[4]), Arg::F(1e-5)]),
            Sample::new(vec![x(&[2, 6]), Arg::I(3), Arg::Nil, Arg::Nil, Arg::F(1e-5)]),
        ]),
    ]
}
