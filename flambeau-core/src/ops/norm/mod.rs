//! Normalisation: batch, layer and group norm, a file each, and what they share. Instance norm is
//! batch norm of every sample's channels.
//!
//! The fused passes of `flambeau_cpu::norm` compute values and first gradients; gradients of
//! higher order go through the composite twins, and so are differentiable again.

mod batch;
mod group;
mod layer;

pub use batch::BatchNormOptions;

use crate::autograd::{by_twin, is_grad_enabled};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::to_contiguous;
use crate::ops::format::dense;
use crate::ops::spec::{Arg, OpSpec};
use crate::shape::numel;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda};
use flambeau_cpu::float::Float;
use flambeau_cpu::norm::ChannelShape;
use smallvec::smallvec;

/// The gradients of the input, where it needs one, and of scale and shift.
type OfAffine<T> = (Option<Tensor>, [Vec<T>; 2]);

/// What one kind of norm adds to [`Normalise`].
trait Norm: std::fmt::Debug + Send + Sync + 'static {
    /// PyTorch's name.
    const NAME: &'static str;

    /// The result for `x`, which is contiguous, with scale and shift; the extra results are the
    /// statistics. All in the lane of `T`.
    fn run<T: Float + Stored>(&self, x: &Tensor, affine: [Option<&[T]>; 2]) -> Result<Output>;

    /// The gradients of `x` (where it needs one) and, where `affine`, of scale and shift, from the
    /// statistics in `ctx`.
    fn gradient<T: Float + Stored>(
        &self,
        ctx: &Ctx<'_>,
        x_and_grad: [&Tensor; 2],
        weight: Option<&[T]>,
        affine: bool,
    ) -> Result<OfAffine<T>>;

    /// As `run` where `x` is of `bf16`, with statistics, scale and shift in `f32`; `None` where there
    /// is no such kernel.
    fn run_bf16(&self, _x: &Tensor, _affine: [Option<&[f32]>; 2]) -> Option<Result<Output>> {
        None
    }

    /// As `gradient`, of such tensors.
    fn gradient_bf16(
        &self,
        _ctx: &Ctx<'_>,
        _x_and_grad: [&Tensor; 2],
        _weight: Option<&[f32]>,
    ) -> Option<Result<OfAffine<f32>>> {
        None
    }

    /// As `run` on a CUDA device, of `x` with elements.
    fn cuda(&self, x: &Tensor, affine: cuda::Affine<'_>) -> Result<Output>;

    /// As `gradient` on a CUDA device: the gradients that `needs` says of `x`, scale and shift,
    /// which are of type `param`.
    fn cuda_gradient(
        &self,
        ctx: &Ctx<'_>,
        x_and_grad: [&Tensor; 2],
        weight: Option<&Tensor>,
        param: DType,
        needs: [bool; 3],
    ) -> Result<cuda::Gradients>;

    /// `x` without scale and shift from plain operations, and the shape in which those broadcast
    /// to the result.
    fn composite(&self, x: &Tensor) -> Result<(Tensor, Vec<usize>)>;
}

/// Inputs `(x, weight?, bias?)`.
#[derive(Debug)]
struct Normalise<N> {
    norm: N,
    weighted: bool,
    biased: bool,
}

impl<N: Norm> Normalise<N> {
    #[track_caller]
    fn call(norm: N, x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Output> {
        let op = Normalise {
            norm,
            weighted: weight.is_some(),
            biased: bias.is_some(),
        };
        let mut inputs = vec![x];
        inputs.extend(weight);
        inputs.extend(bias);
        dispatch::call_with_extras(op, &inputs)
    }

    fn run<T: Float + Stored>(&self, inputs: &[&Tensor], lane: DType) -> Result<Output> {
        let x = to_lane(N::NAME, inputs[0], lane)?;
        self.with_affine(inputs, lane, |affine| self.norm.run::<T>(&x, affine))?
    }

    /// Calls `f` with scale and shift in a lane.
    fn with_affine<T: Stored, R>(
        &self,
        inputs: &[&Tensor],
        lane: DType,
        f: impl FnOnce([Option<&[T]>; 2]) -> R,
    ) -> Result<R> {
        let inputs = inputs[1..].iter().map(|t| to_lane(N::NAME, t, lane));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let reads: Vec<_> = inputs.iter().map(|t| (t.read(), t.numel())).collect();
        let mut affine = reads.iter().map(|(read, n)| &read.slice::<T>()[..*n]);
        let weight = if self.weighted { affine.next() } else { None };
        Ok(f([weight, affine.next()]))
    }

    fn gradient<T: Float + Stored>(
        &self,
        ctx: &Ctx<'_>,
        grad: &Tensor,
        lane: DType,
    ) -> Result<Grads> {
        let x = ctx.input(0)?;
        let weight = match self.weighted {
            true => Some(to_lane(N::NAME, &ctx.input(1)?, lane)?),
            false => None,
        };
        let read = weight.as_ref().map(|w| (w.read(), w.numel()));
        let slice = read.as_ref().map(|(read, n)| &read.slice::<T>()[..*n]);
        let affine = self.weighted || self.biased;
        let (x, grad) = (to_lane(N::NAME, &x, lane)?, to_lane(N::NAME, grad, lane)?);
        self.listed(lane, self.norm.gradient(ctx, [&x, &grad], slice, affine)?)
    }

    /// [`gradient`](Normalise::gradient) where `x` is of `bf16`.
    fn gradient_bf16(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Option<Grads>> {
        let x = ctx.input(0)?;
        if [x.dtype(), grad.dtype()] != [DType::BF16; 2] {
            return Ok(None);
        }
        let weight = match self.weighted {
            true => Some(to_lane(N::NAME, &ctx.input(1)?, DType::F32)?),
            false => None,
        };
        let (x, grad) = (x.contiguous()?, grad.contiguous()?);
        let read = weight.as_ref().map(|w| (w.read(), w.numel()));
        let slice = read.as_ref().map(|(read, n)| &read.slice::<f32>()[..*n]);
        let found = self
            .norm
            .gradient_bf16(ctx, [&x, &grad], slice)
            .transpose()?;
        found
            .map(|found| self.listed(DType::F32, found))
            .transpose()
    }

    /// The gradients of the inputs that there are.
    fn listed<T: Stored>(
        &self,
        lane: DType,
        (of_x, [of_weight, of_bias]): OfAffine<T>,
    ) -> Result<Grads> {
        let mut grads: Grads = smallvec![of_x];
        for (there, of) in [(self.weighted, of_weight), (self.biased, of_bias)] {
            if there {
                grads.push(Some(list(N::NAME, lane, &of, &[of.len()])?));
            }
        }
        Ok(grads)
    }

    fn cuda_gradient(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let x = ctx.input(0)?;
        let weight = self.weighted.then(|| ctx.input(1)).transpose()?;
        let param = match self.weighted || self.biased {
            true => ctx.dtype(1),
            false => x.dtype(),
        };
        let bias = 1 + usize::from(self.weighted);
        let needs = [
            ctx.needs(0),
            self.weighted && ctx.needs(1),
            self.biased && ctx.needs(bias),
        ];
        let [of_x, of_weight, of_bias] =
            self.norm
                .cuda_gradient(ctx, [&x, grad], weight.as_ref(), param, needs)?;
        let mut grads: Grads = smallvec![of_x];
        for (there, of) in [(self.weighted, of_weight), (self.biased, of_bias)] {
            if there {
                grads.push(of);
            }
        }
        Ok(grads)
    }

    fn composite(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let (mut y, shape) = self.norm.composite(&inputs[0])?;
        let mut affine = inputs[1..].iter();
        if self.weighted
            && let Some(w) = affine.next()
        {
            y = y.mul(w.reshape(&shape)?)?;
        }
        if let Some(b) = affine.next() {
            y = y.add(b.reshape(&shape)?)?;
        }
        y.reshape(inputs[0].shape())
    }
}

impl<N: Norm> Op for Normalise<N> {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = inputs[0].dtype();
        if dtype == DType::BF16 && !inputs[0].is_empty() {
            let x = inputs[0].contiguous()?.detach();
            let run = |affine: [Option<&[f32]>; 2]| self.norm.run_bf16(&x, affine);
            if let Some(out) = self.with_affine(inputs, DType::F32, run)? {
                return lying_like(out?, inputs[0]);
            }
        }
        let (mut out, lane) = match dtype {
            DType::F64 => (self.run::<f64>(inputs, dtype)?, dtype),
            _ => (self.run::<f32>(inputs, DType::F32)?, DType::F32),
        };
        if dtype != lane {
            out.tensor = to_contiguous(N::NAME, &out.tensor, dtype)?;
        }
        lying_like(out, inputs[0])
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        if inputs[0].is_empty() {
            let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
            return Ok(self.composite(&inputs)?.into());
        }
        let affine = match self.weighted {
            true => [inputs.get(1).copied(), inputs.get(2).copied()],
            false => [None, inputs.get(1).copied()],
        };
        self.norm.cuda(inputs[0], affine)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        if is_grad_enabled() || (grad.on_cuda() && grad.is_empty()) {
            return by_twin(ctx, grad, &|inputs| self.composite(inputs));
        }
        if grad.on_cuda() {
            return self.cuda_gradient(ctx, grad);
        }
        if let Some(grads) = self.gradient_bf16(ctx, grad)? {
            return Ok(grads);
        }
        match ctx.extra(0).dtype() {
            DType::F64 => self.gradient::<f64>(ctx, grad, DType::F64),
            lane => self.gradient::<f32>(ctx, grad, lane),
        }
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::INPUTS
    }
}

/// `out` in the memory format of `x`.
fn lying_like(mut out: Output, x: &Tensor) -> Result<Output> {
    let format = x.suggest_memory_format();
    if format.is_channels_last() {
        out.tensor = dense("batch_norm", &out.tensor, out.tensor.dtype(), format)?;
    }
    Ok(out)
}

/// [`Norm::cuda`] of rows of `width` neighbours, `inner` of them for each of `channels`.
fn rows_on_cuda(
    op: &'static str,
    x: &Tensor,
    affine: cuda::Affine<'_>,
    sizes: [usize; 3],
    eps: f64,
) -> Result<Output> {
    let rows = cuda::rows(x, affine, sizes);
    let (tensor, stats) = cuda::row_norm(op, &rows, x, affine, eps)?;
    Ok(Output {
        tensor,
        extras: smallvec![stats],
    })
}

/// [`Norm::cuda_gradient`] of the same.
fn row_gradient_on_cuda(
    op: &'static str,
    ctx: &Ctx<'_>,
    [x, grad]: [&Tensor; 2],
    weight: Option<&Tensor>,
    (param, needs): (DType, [bool; 3]),
    sizes: [usize; 3],
) -> Result<cuda::Gradients> {
    let mut rows = cuda::rows(x, [weight, None], sizes);
    rows.param = cuda::type_of(param);
    let of = (x, grad, ctx.extra(0));
    cuda::row_norm_backward(op, &rows, of, weight, param, needs)
}

fn to_lane(op: &'static str, x: &Tensor, lane: DType) -> Result<Tensor> {
    if x.dtype() == lane && x.is_contiguous() {
        Ok(x.detach())
    } else {
        to_contiguous(op, x, lane)
    }
}

/// A tensor of a list's elements.
fn list<T: Stored>(
    op: &'static str,
    dtype: DType,
    elements: &[T],
    shape: &[usize],
) -> Result<Tensor> {
    Tensor::build::<T>(op, shape, dtype, |out| out.copy_from_slice(elements))
}

fn channel_shape(x: &[usize]) -> ChannelShape {
    ChannelShape {
        batch: x[0],
        channels: x[1],
        inner: numel(&x[2..]),
    }
}

/// `[1, channels, 1, …]`: what broadcasts to `[batch, channels, …]`.
fn per_channel(x: &Tensor) -> Vec<usize> {
    let mut shape = vec![1; x.dim()];
    shape[1] = x.shape()[1];
    shape
}

/// `x` less its mean, over its deviation, along dimensions `dims`.
fn standardised(x: &Tensor, dims: &[usize], eps: f64) -> Result<Tensor> {
    let centred = x.sub(x.mean_dim(dims, true)?)?;
    let var = centred.square()?.mean_dim(dims, true)?;
    centred.mul(inverse_root(&var, eps)?)
}

/// `1 / sqrt(var + eps)`.
fn inverse_root(var: &Tensor, eps: f64) -> Result<Tensor> {
    var.add(eps)?.log()?.mul(-0.5)?.exp()
}

/// Whether the input is of a floating-point type, and parameters have `shape`.
#[track_caller]
fn check(
    op: &'static str,
    x: &Tensor,
    params: &[(&str, Option<&Tensor>)],
    shape: &[usize],
) -> Result<()> {
    if !x.dtype().is_floating_point() {
        bail!(
            op,
            "the input is {}; it must be of a floating-point type, convert with to_dtype(DType::F32)",
            x.dtype()
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
                x.shape()
            );
        }
    }
    Ok(())
}

/// Samples of an input, and of a scale or shift.
fn sample_of(shape: &[usize]) -> Arg {
    Arg::uniform(shape, (-2.0, 2.0))
}

fn sample_param(shape: &[usize]) -> Arg {
    Arg::uniform(shape, (0.5, 1.5))
}

/// What tests and goldens know of the norms.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    vec![batch::spec(), layer::spec(), group::spec()]
}
