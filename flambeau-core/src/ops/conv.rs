//! Convolution and its transpose in one, two and three dimensions.
//!
//! Forward, data gradient and weight gradient are one bilinear family: each one's gradients are the
//! other two, so derivatives of any order come from the same three kernels.

use crate::autocast::{Cast, Composite};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::to_contiguous;
use crate::ops::format::dense;
use crate::ops::pad::PadMode;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::check_numel;
use crate::storage::allocate;
use crate::tensor::Tensor;
use crate::{Ctx, DType, MemoryFormat, Result, bail, cuda};
use flambeau_cpu::conv::{self as kernels, ConvShape, Convolve};
use half::bf16;
use smallvec::smallvec;

/// Options of a convolution over `N` spatial dimensions. Defaults: stride 1, padding 0,
/// dilation 1, groups 1.
///
/// ```
/// use flambeau_core::{ConvOptions, Tensor};
/// let (x, w) = (Tensor::new([[[1.0f32, 2.0, 3.0]]])?, Tensor::new([[[1.0f32, 1.0]]])?);
/// let options = ConvOptions { padding: [1], ..ConvOptions::default() };
/// assert_eq!(x.conv1d(&w, None, &options)?.to_vec3::<f32>()?, [[[1.0, 3.0, 5.0, 3.0]]]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions<const N: usize> {
    /// Step of the window.
    pub stride: [usize; N],
    /// Zeros on both sides.
    pub padding: [usize; N],
    /// Distance between kernel elements.
    pub dilation: [usize; N],
    /// Blocks of channels that do not mix.
    pub groups: usize,
}

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> Self {
        ConvOptions {
            stride: [1; N],
            padding: [0; N],
            dilation: [1; N],
            groups: 1,
        }
    }
}

/// Which member of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `(x, w, bias?)` to the output.
    Forward,
    /// `(grad_out, w)` to the input's gradient; the forward of a transposed convolution.
    Data,
    /// `(x, grad_out)` to the weight's gradient.
    Weight,
}

#[derive(Clone, Copy, Debug)]
struct Conv {
    name: &'static str,
    kind: Kind,
    shape: ConvShape,
    /// Spatial dimensions, 1 to 3.
    dims: usize,
}

impl Conv {
    fn of(self, kind: Kind, inputs: &[&Tensor]) -> Result<Tensor> {
        dispatch::call(Conv { kind, ..self }, inputs)
    }

    /// The memory format of the result: channels-last where one of the operands is, as in PyTorch.
    fn format(&self, inputs: &[&Tensor]) -> MemoryFormat {
        let formats = inputs[..2].iter().map(|t| t.suggest_memory_format());
        let mut last = formats.filter(|f| f.is_channels_last());
        last.next().unwrap_or(MemoryFormat::Contiguous)
    }

    fn result_shape(&self) -> Result<Vec<usize>> {
        let s = &self.shape;
        let spatial = |all: [usize; 3]| all[3 - self.dims..].to_vec();
        let output = s
            .output()
            .map_err(|e| crate::Error::new(self.name, e.to_string()))?;
        // A batch of 0 does not make planes beyond memory computable.
        check_numel(self.name, &s.input)?;
        check_numel(self.name, &output)?;
        Ok(match self.kind {
            Kind::Forward => [vec![s.batch, s.out_channels], spatial(output)].concat(),
            Kind::Data => [vec![s.batch, s.in_channels], spatial(s.input)].concat(),
            Kind::Weight => [
                vec![s.out_channels, s.in_channels / s.groups],
                spatial(s.kernel),
            ]
            .concat(),
        })
    }

    /// As [`run`](Self::run) on maps of bf16, which is how the inputs are but for weight and bias.
    fn run_bf16(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let guards: Vec<_> = inputs.iter().map(Tensor::read).collect();
        let maps = |i: usize| &guards[i].slice::<bf16>()[..inputs[i].numel()];
        let weights = |i: usize| &guards[i].slice::<f32>()[..inputs[i].numel()];
        let (shape, s) = (self.result_shape()?, &self.shape);
        match self.kind {
            Kind::Forward => Tensor::build::<bf16>(self.name, &shape, DType::BF16, |out| {
                let bias = inputs.get(2).map(|_| weights(2));
                kernels::conv_forward_bf16(s, maps(0), weights(1), bias, out);
            }),
            Kind::Data => Tensor::build::<bf16>(self.name, &shape, DType::BF16, |out| {
                kernels::conv_backward_data_bf16(s, maps(0), weights(1), out);
            }),
            Kind::Weight => Tensor::build::<f32>(self.name, &shape, DType::F32, |out| {
                kernels::conv_backward_weight_bf16(s, maps(0), maps(1), out);
            }),
        }
    }

    /// Whether there is memory for padded planes, where padding makes more of them than the data:
    /// the kernels copy a sample's planes, and have no way to say that they cannot.
    fn check_padded(&self, element: usize) -> Result<()> {
        let s = &self.shape;
        let output = s
            .output()
            .map_err(|e| crate::Error::new(self.name, e.to_string()))?;
        let positions = |sizes: [usize; 3]| sizes.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        let padded = positions(std::array::from_fn(|d| {
            s.padding[d].saturating_mul(2).saturating_add(s.input[d])
        }));
        let data = positions(s.input).saturating_add(positions(output));
        let all = padded.saturating_mul(s.in_channels.max(s.out_channels) / s.groups.max(1));
        if all > 1 << 24 && padded / 64 > data {
            drop(allocate(self.name, all.saturating_mul(element))?);
        }
        Ok(())
    }

    /// The result where it, or what is summed up, has no elements: the other sizes may then be so
    /// large that nobody can count to them.
    fn of_nothing(&self, inputs: &[&Tensor]) -> Result<Option<Tensor>> {
        let shape = self.result_shape()?;
        if !shape.contains(&0) && !inputs[..2].iter().any(|t| t.is_empty()) {
            return Ok(None);
        }
        let out = Tensor::zeros_with(shape, inputs[0].dtype())?;
        if let Some(bias) = inputs.get(2) {
            let each = [&[bias.numel()], &vec![1; self.dims][..]].concat();
            out.copy_(&bias.detach().reshape(each)?)?;
        }
        Ok(Some(out))
    }

    /// Whether input `i` is a batch of maps.
    fn is_map(&self, i: usize) -> bool {
        i == 0 || (i == 1 && self.kind == Kind::Weight)
    }

    fn run<T: Convolve + Stored>(&self, inputs: &[Tensor], dtype: DType) -> Result<Tensor> {
        let guards: Vec<_> = inputs.iter().map(Tensor::read).collect();
        let slice = |i: usize| &guards[i].slice::<T>()[..inputs[i].numel()];
        Tensor::build::<T>(self.name, &self.result_shape()?, dtype, |out| {
            match self.kind {
                Kind::Forward => kernels::conv_forward(
                    &self.shape,
                    slice(0),
                    slice(1),
                    inputs.get(2).map(|_| slice(2)),
                    out,
                ),
                Kind::Data => kernels::conv_backward_data(&self.shape, slice(0), slice(1), out),
                Kind::Weight => kernels::conv_backward_weight(&self.shape, slice(0), slice(1), out),
            }
        })
    }
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        check_types(self.name, inputs)?;
        let dtype = inputs[0].dtype();
        let lane = if dtype == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        if let Some(out) = self.of_nothing(inputs)? {
            return Ok(out.into());
        }
        self.check_padded(lane.size())?;
        let low = dtype == DType::BF16;
        let operands = inputs
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let to = if low && self.is_map(i) { dtype } else { lane };
                if x.dtype() == to && x.is_contiguous() {
                    Ok(x.detach())
                } else {
                    to_contiguous(self.name, x, to)
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let out = match lane {
            DType::F64 => self.run::<f64>(&operands, lane),
            _ if low => self.run_bf16(&operands),
            _ => self.run::<f32>(&operands, lane),
        }?;
        Ok(dense(self.name, &out, dtype, self.format(inputs))?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        check_types(self.name, inputs)?;
        let kind = match self.kind {
            Kind::Forward => cuda::Convolve::Forward,
            Kind::Data => cuda::Convolve::Data,
            Kind::Weight => cuda::Convolve::Weight,
        };
        let of = (&self.result_shape()?[..], self.format(inputs));
        Ok(cuda::convolve(self.name, kind, &self.shape, inputs, of)?.into())
    }

    fn autocast(&self) -> Cast {
        Cast::Low
    }

    fn saves(&self, needs: &[bool]) -> Saves {
        Saves::NONE.input_if(1, needs[0]).input_if(0, needs[1])
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let mut grads: Grads = smallvec![None, None];
        let want = |i: usize,
                    kind: Kind,
                    from_input: usize,
                    input_first: bool|
         -> Result<Option<Tensor>> {
            if !ctx.needs(i) {
                return Ok(None);
            }
            let other = ctx.input(from_input)?;
            if input_first {
                self.of(kind, &[&other, grad])
            } else {
                self.of(kind, &[grad, &other])
            }
            .map(Some)
        };
        match self.kind {
            Kind::Forward => {
                grads[0] = want(0, Kind::Data, 1, false)?;
                grads[1] = want(1, Kind::Weight, 0, true)?;
                if ctx.node.inputs.len() > 2 {
                    grads.push(if ctx.needs(2) {
                        Some(channel_sum(grad)?)
                    } else {
                        None
                    });
                }
            }
            // Inputs (grad_out, w), `grad` is like x.
            Kind::Data => {
                grads[0] = want(0, Kind::Forward, 1, false)?;
                grads[1] = want(1, Kind::Weight, 0, false)?;
            }
            // Inputs (x, grad_out), `grad` is like w.
            Kind::Weight => {
                grads[0] = want(0, Kind::Data, 1, true)?;
                grads[1] = want(1, Kind::Forward, 0, true)?;
            }
        }
        Ok(grads)
    }
}

/// The sum over all dimensions but the second: the gradient of a bias.
fn channel_sum(x: &Tensor) -> Result<Tensor> {
    let dims: Vec<usize> = (0..x.dim()).filter(|&d| d != 1).collect();
    x.sum_dim(dims, false)
}

/// Three spatial entries from the last `N` of them.
fn spatial<const N: usize>(values: [usize; N], fill: usize) -> [usize; 3] {
    let mut out = [fill; 3];
    out[3 - N..].copy_from_slice(&values);
    out
}

/// The geometry with strides and dilations that matter to nobody cut short, so that no arithmetic
/// on them overflows: a stride beyond the padded input leads to no second window, a dilation of a
/// kernel of one element to no second tap.
fn tamed(mut s: ConvShape) -> ConvShape {
    for d in 0..3 {
        let padded = s.padding[d].saturating_mul(2).saturating_add(s.input[d]);
        s.stride[d] = s.stride[d].min(padded.max(1));
        if s.kernel[d] == 1 {
            s.dilation[d] = s.dilation[d].min(1);
        }
    }
    s
}

/// `x` with a batch dimension, and whether it was missing.
#[track_caller]
fn batched<const N: usize>(op: &'static str, x: &Tensor) -> Result<(Tensor, bool)> {
    match x.dim() {
        n if n == N + 2 => Ok((x.clone(), false)),
        n if n == N + 1 => Ok((x.unsqueeze(0)?, true)),
        n => bail!(
            op,
            "the input has {n} dimensions, shape {:?}; expected {} (batch, channels, {N} spatial) or {} without a batch",
            x.shape(),
            N + 2,
            N + 1
        ),
    }
}

/// Input, weight and, where there is one, bias are of one type.
fn check_types(op: &'static str, operands: &[&Tensor]) -> Result<()> {
    let x = operands[0];
    for (t, what) in operands[1..].iter().zip(["weight", "bias"]) {
        if t.dtype() != x.dtype() {
            bail!(
                op,
                "input is {}, {what} is {}; they must have the same type, convert one with to_dtype",
                x.dtype(),
                t.dtype()
            );
        }
    }
    Ok(())
}

#[track_caller]
fn check_operands(
    op: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    ndim: usize,
    out_channels: usize,
) -> Result<()> {
    if !x.dtype().is_floating_point() {
        bail!(
            op,
            "the input is {}; convolutions need a floating-point type, convert with to_dtype(DType::F32)",
            x.dtype()
        );
    }
    if weight.dim() != ndim {
        bail!(
            op,
            "the weight has shape {:?}; expected {ndim} dimensions",
            weight.shape()
        );
    }
    if let Some(b) = bias
        && b.shape() != [out_channels]
    {
        bail!(
            op,
            "the bias has shape {:?}; expected [{out_channels}], one number for each output channel",
            b.shape()
        );
    }
    Ok(())
}

#[track_caller]
fn conv<const N: usize>(
    op: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<N>,
) -> Result<Tensor> {
    let (x, unbatched) = batched::<N>(op, x)?;
    check_operands(
        op,
        &x,
        weight,
        bias,
        N + 2,
        weight.shape().first().copied().unwrap_or(0),
    )?;
    let (xs, ws) = (x.shape(), weight.shape());
    let groups = options.groups;
    let channels = ws[1].saturating_mul(groups);
    if xs[1] != channels {
        bail!(
            op,
            "the input has {} channels, the weight of shape {ws:?} with groups {groups} takes {channels}; input shape {xs:?}",
            xs[1]
        );
    }
    let size = |s: &[usize]| -> [usize; N] { std::array::from_fn(|i| s[i + 2]) };
    let shape = ConvShape {
        batch: xs[0],
        in_channels: xs[1],
        out_channels: ws[0],
        groups,
        input: spatial(size(xs), 1),
        kernel: spatial(size(ws), 1),
        stride: spatial(options.stride, 1),
        padding: spatial(options.padding, 0),
        dilation: spatial(options.dilation, 1),
    };
    let op = Conv {
        name: op,
        kind: Kind::Forward,
        shape: tamed(shape),
        dims: N,
    };
    op.result_shape()?;
    let y = match bias {
        Some(bias) => dispatch::call(op, &[&x, weight, bias]),
        None => dispatch::call(op, &[&x, weight]),
    }?;
    if unbatched { y.squeeze_dim(0) } else { Ok(y) }
}

#[track_caller]
fn conv_transpose<const N: usize>(
    op: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<N>,
    output_padding: [usize; N],
) -> Result<Tensor> {
    let region = Composite::new(Cast::Low, [x, weight])?;
    let ([x, weight], bias) = (region.inputs(), region.optional(bias)?);
    let (x, unbatched) = batched::<N>(op, x)?;
    let groups = options.groups;
    let channels = weight.shape().get(1).copied().unwrap_or(0);
    let channels = channels.saturating_mul(groups);
    check_operands(op, &x, weight, bias.as_ref(), N + 2, channels)?;
    let (xs, ws) = (x.shape(), weight.shape());
    if xs[1] != ws[0] || groups == 0 || ws[0] % groups != 0 {
        bail!(
            op,
            "the input has {} channels, the weight of shape {ws:?} takes {} in {groups} groups",
            xs[1],
            ws[0]
        );
    }
    // Padding of the output by a stride or more is what another input element, a zero, leads to.
    let mut output_padding = output_padding;
    let mut zeros = Vec::new();
    let (mut input, given) = ([0; N], output_padding);
    for i in (0..N).rev() {
        let (stride, dilation) = (options.stride[i], options.dilation[i]);
        if output_padding[i] >= stride.max(dilation) {
            bail!(
                op,
                "output_padding {given:?} must be smaller than stride {:?} or dilation {:?}",
                options.stride,
                options.dilation
            );
        }
        zeros.extend([0, output_padding[i].checked_div(stride).unwrap_or(0) as i64]);
        let full = (xs[i + 2].max(1) - 1)
            .saturating_mul(stride)
            .saturating_add(dilation.saturating_mul(ws[i + 2].max(1) - 1))
            .saturating_add(output_padding[i])
            .saturating_add(1);
        match full.checked_sub(options.padding[i].saturating_mul(2)) {
            Some(n) if n > 0 && xs[i + 2] > 0 => input[i] = n,
            _ => bail!(
                op,
                "the output would have no elements: input {xs:?}, kernel {ws:?}, padding {:?}",
                options.padding
            ),
        }
        output_padding[i] %= stride.max(1);
    }
    let x = if zeros.iter().any(|&n| n > 0) {
        x.pad(&zeros, PadMode::Zeros)?
    } else {
        x.clone()
    };
    let shape = ConvShape {
        batch: xs[0],
        in_channels: channels,
        out_channels: ws[0],
        groups,
        input: spatial(input, 1),
        kernel: spatial(std::array::from_fn::<_, N, _>(|i| ws[i + 2]), 1),
        stride: spatial(options.stride, 1),
        padding: spatial(options.padding, 0),
        dilation: spatial(options.dilation, 1),
    };
    let conv = Conv {
        name: op,
        kind: Kind::Data,
        shape: tamed(shape),
        dims: N,
    };
    conv.result_shape()?;
    let mut y = dispatch::call(conv, &[&x, weight])?;
    if let Some(bias) = bias {
        check_types(op, &[&y, weight, &bias])?;
        let mut size = vec![1; N + 1];
        size[0] = bias.numel();
        y = y.add(&bias.view(size)?)?;
    }
    if unbatched { y.squeeze_dim(0) } else { Ok(y) }
}

macro_rules! methods {
    ($($conv:ident, $transpose:ident, $n:literal, $shape:literal;)*) => {
        impl Tensor {
            $(
                #[doc = concat!("Cross-correlation over ", $n, " spatial dimension(s) (`F.", stringify!($conv), "`): input ", $shape,
                    ", with or without the batch; weight `[out, in / groups, kernel…]`; bias `[out]`.\n\n# Errors\n",
                    "Where channels, kernel and input do not fit, or types differ.")]
                #[track_caller]
                pub fn $conv(&self, weight: &Tensor, bias: Option<&Tensor>, options: &ConvOptions<$n>) -> Result<Tensor> {
                    conv::<$n>(stringify!($conv), self, weight, bias, options)
                }
                #[doc = concat!("Transposed convolution over ", $n, " spatial dimension(s) (`F.", stringify!($transpose), "`): input ", $shape,
                    ", weight `[in, out / groups, kernel…]`. `output_padding` adds to one side of the output's size.\n\n# Errors\n",
                    "As the convolution's; `output_padding` must be below stride or dilation.")]
                #[track_caller]
                pub fn $transpose(
                    &self,
                    weight: &Tensor,
                    bias: Option<&Tensor>,
                    options: &ConvOptions<$n>,
                    output_padding: [usize; $n],
                ) -> Result<Tensor> {
                    conv_transpose::<$n>(stringify!($transpose), self, weight, bias, options, output_padding)
                }
            )*
        }
    };
}
methods! {
    conv1d, conv_transpose1d, 1, "`[batch, channels, length]`";
    conv2d, conv_transpose2d, 2, "`[batch, channels, height, width]`";
    conv3d, conv_transpose3d, 3, "`[batch, channels, depth, height, width]`";
}

/// What tests and goldens know of the family.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    fn array<const N: usize>(a: &Arg) -> Result<[usize; N]> {
        let list = a.list()?;
        Ok(std::array::from_fn(|i| list[i] as usize))
    }
    fn options<const N: usize>(args: &[Arg]) -> Result<ConvOptions<N>> {
        Ok(ConvOptions {
            stride: array(&args[3])?,
            padding: array(&args[4])?,
            dilation: array(&args[5])?,
            groups: args[6].int()? as usize,
        })
    }
    let unit = (-1.0, 1.0);
    let call = |x: &[usize], w: &[usize], bias: usize, numbers: [&[i64]; 3], groups: i64| {
        let bias = if bias > 0 {
            Arg::uniform([bias], unit)
        } else {
            Arg::Nil
        };
        let [s, p, d] = numbers.map(|n| Arg::L(n.to_vec()));
        Sample::new(vec![
            Arg::uniform(x, unit),
            Arg::uniform(w, unit),
            bias,
            s,
            p,
            d,
            Arg::I(groups),
        ])
    };
    let transposed = |mut sample: Sample, output_padding: &[i64]| {
        sample.args.push(Arg::L(output_padding.to_vec()));
        sample
    };
    vec![
        OpSpec::new("conv1d", "F.conv1d", |a| {
            Ok(vec![a[0].tensor()?.conv1d(
                a[1].tensor()?,
                a[2].tensor_opt()?,
                &options(a)?,
            )?])
        })
        .samples(vec![
            call(&[2, 3, 9], &[4, 3, 3], 4, [&[1], &[0], &[1]], 1),
            call(&[4, 10], &[4, 2, 3], 0, [&[2], &[2], &[2]], 2),
        ]),
        OpSpec::new("conv2d", "F.conv2d", |a| {
            Ok(vec![a[0].tensor()?.conv2d(
                a[1].tensor()?,
                a[2].tensor_opt()?,
                &options(a)?,
            )?])
        })
        .samples(vec![
            call(
                &[2, 3, 7, 7],
                &[4, 3, 3, 3],
                4,
                [&[1, 1], &[0, 0], &[1, 1]],
                1,
            ),
            call(
                &[2, 3, 7, 6],
                &[4, 3, 3, 2],
                4,
                [&[2, 1], &[1, 1], &[1, 1]],
                1,
            ),
            call(
                &[1, 4, 7, 7],
                &[6, 2, 3, 3],
                6,
                [&[1, 2], &[2, 1], &[2, 1]],
                2,
            ),
            call(
                &[2, 3, 5, 5],
                &[3, 1, 3, 3],
                0,
                [&[1, 1], &[1, 1], &[1, 1]],
                3,
            ),
            call(
                &[2, 4, 5, 5],
                &[3, 4, 1, 1],
                3,
                [&[1, 1], &[0, 0], &[1, 1]],
                1,
            ),
            call(&[3, 6, 6], &[2, 3, 5, 5], 2, [&[1, 1], &[2, 2], &[1, 1]], 1),
        ]),
        OpSpec::new("conv3d", "F.conv3d", |a| {
            Ok(vec![a[0].tensor()?.conv3d(
                a[1].tensor()?,
                a[2].tensor_opt()?,
                &options(a)?,
            )?])
        })
        .samples(vec![
            call(
                &[1, 2, 4, 4, 4],
                &[2, 2, 2, 3, 2],
                2,
                [&[1, 1, 1], &[0, 1, 0], &[1, 1, 1]],
                1,
            ),
            call(
                &[1, 2, 5, 4, 5],
                &[2, 1, 2, 2, 2],
                0,
                [&[2, 1, 2], &[1, 0, 1], &[1, 2, 1]],
                2,
            ),
        ]),
        OpSpec::new(
            "conv_transpose1d",
            "lambda x, w, b, s, p, d, g, o: F.conv_transpose1d(x, w, b, s, p, o, g, d)",
            |a| {
                Ok(vec![a[0].tensor()?.conv_transpose1d(
                    a[1].tensor()?,
                    a[2].tensor_opt()?,
                    &options(a)?,
                    array(&a[7])?,
                )?])
            },
        )
        .samples(vec![transposed(
            call(&[2, 3, 5], &[3, 2, 3], 2, [&[2], &[1], &[1]], 1),
            &[1],
        )]),
        OpSpec::new(
            "conv_transpose2d",
            "lambda x, w, b, s, p, d, g, o: F.conv_transpose2d(x, w, b, s, p, o, g, d)",
            |a| {
                Ok(vec![a[0].tensor()?.conv_transpose2d(
                    a[1].tensor()?,
                    a[2].tensor_opt()?,
                    &options(a)?,
                    array(&a[7])?,
                )?])
            },
        )
        .samples(vec![
            transposed(
                call(
                    &[2, 3, 4, 4],
                    &[3, 2, 3, 3],
                    2,
                    [&[2, 2], &[1, 1], &[1, 1]],
                    1,
                ),
                &[1, 0],
            ),
            transposed(
                call(
                    &[1, 4, 3, 4],
                    &[4, 3, 2, 3],
                    6,
                    [&[1, 3], &[0, 1], &[2, 1]],
                    2,
                ),
                &[0, 2],
            ),
            transposed(
                call(&[4, 3, 3], &[4, 2, 3, 3], 0, [&[1, 1], &[0, 0], &[1, 1]], 1),
                &[0, 0],
            ),
            // Output padding beyond the stride, below the dilation.
            transposed(
                call(
                    &[1, 2, 3, 2],
                    &[2, 2, 2, 3],
                    2,
                    [&[1, 2], &[2, 1], &[3, 6]],
                    1,
                ),
                &[2, 5],
            ),
        ]),
        OpSpec::new(
            "conv_transpose3d",
            "lambda x, w, b, s, p, d, g, o: F.conv_transpose3d(x, w, b, s, p, o, g, d)",
            |a| {
                Ok(vec![a[0].tensor()?.conv_transpose3d(
                    a[1].tensor()?,
                    a[2].tensor_opt()?,
                    &options(a)?,
                    array(&a[7])?,
                )?])
            },
        )
        .samples(vec![transposed(
            call(
                &[1, 2, 3, 2, 3],
                &[2, 2, 2, 2, 2],
                2,
                [&[2, 1, 2], &[1, 0, 0], &[1, 1, 1]],
                1,
            ),
            &[1, 0, 1],
        )]),
    ]
}
