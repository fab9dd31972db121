//! Pooling in one, two and three dimensions: maximum, average, and their adaptive forms.

use crate::autocast::Cast;
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::elementwise::to_contiguous;
use crate::ops::format::dense;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Shape, check_numel, numel, sizes};
use crate::storage::allocate;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Error, MemoryFormat, Result, bail, cuda};
use flambeau_cpu::pool::{self as kernels, AdaptiveShape, AvgOptions, PoolShape};
use smallvec::smallvec;

/// Options of max and average pooling over `N` spatial dimensions. Defaults: windows side by
/// side (`stride` = kernel size), no padding, dilation 1 (max pooling alone), floor.
///
/// ```
/// use flambeau_core::{PoolOptions, Tensor};
/// let options = PoolOptions { stride: Some([1]), ..PoolOptions::new([2]) };
/// assert_eq!(
///     Tensor::new([[1.0f32, 3.0, 2.0]])?.max_pool1d(options)?.to_vec2::<f32>()?,
///     [[3.0, 3.0]]
/// );
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions<const N: usize> {
    /// Window size.
    pub kernel_size: [usize; N],
    /// Step of the window; `None` means the kernel size.
    pub stride: Option<[usize; N]>,
    /// Positions added on both sides, at most half the window.
    pub padding: [usize; N],
    /// Distance between the window's elements (max pooling).
    pub dilation: [usize; N],
    /// Whether a last window may hang over the edge.
    pub ceil_mode: bool,
    /// Whether padding counts in an average. Default true.
    pub count_include_pad: bool,
    /// What an average divides by instead of the window's size.
    pub divisor_override: Option<i64>,
}

impl<const N: usize> PoolOptions<N> {
    /// Windows of this size, all else at its default.
    pub fn new(kernel_size: [usize; N]) -> Self {
        PoolOptions {
            kernel_size,
            stride: None,
            padding: [0; N],
            dilation: [1; N],
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }
}

impl<const N: usize> From<[usize; N]> for PoolOptions<N> {
    fn from(kernel_size: [usize; N]) -> Self {
        PoolOptions::new(kernel_size)
    }
}

macro_rules! from_one_size {
    ($($n:literal),*) => {$(
        impl From<usize> for PoolOptions<$n> {
            fn from(kernel_size: usize) -> Self {
                PoolOptions::new([kernel_size; $n])
            }
        }
    )*};
}
from_one_size!(1, 2, 3);

/// `x`, contiguous, in the type it is computed in, without history.
fn operand(op: &'static str, x: &Tensor) -> Result<Tensor> {
    let lane = if x.dtype() == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    if x.dtype() == lane && x.is_contiguous() {
        Ok(x.detach())
    } else {
        to_contiguous(op, x, lane)
    }
}

/// Applies `f32` or `f64` code to a floating-point tensor and gives the result its type.
macro_rules! in_lane {
    ($op:expr, $x:expr, $T:ident => $body:expr) => {{
        let out: Tensor = if $x.dtype() == DType::F64 {
            type $T = f64;
            $body
        } else {
            type $T = f32;
            $body
        };
        if out.dtype() == $x.dtype() {
            out
        } else {
            to_contiguous($op, &out, $x.dtype())?
        }
    }};
}

/// The windows of a pooling.
#[derive(Clone, Copy, Debug)]
enum Windows {
    Fixed(PoolShape, AvgOptions),
    Adaptive(AdaptiveShape),
}

impl Windows {
    /// The same for a CUDA device, for maps of this format; `shape` is input's or output's.
    fn cuda(
        &self,
        op: &'static str,
        shape: &[usize],
        format: MemoryFormat,
    ) -> Result<flambeau_cuda::tensor::Windows> {
        use flambeau_cuda::tensor::Windows as Of;
        let inner = if format.is_channels_last() {
            shape[1]
        } else {
            1
        };
        Ok(match self {
            Windows::Fixed(s, options) => Of {
                planes: s.planes,
                inner,
                input: s.input,
                output: s.output().map_err(|e| Error::new(op, e.to_string()))?,
                fixed: Some([s.kernel, s.stride, s.padding, s.dilation]),
                include_pad: options.count_include_pad,
                divisor: options.divisor_override,
            },
            Windows::Adaptive(s) => Of {
                planes: s.planes,
                inner,
                input: s.input,
                output: s.output,
                fixed: None,
                include_pad: false,
                divisor: None,
            },
        })
    }
}

/// The memory format of a pooling over `dims` dimensions of `x`.
fn map_format(x: &Tensor, dims: usize) -> MemoryFormat {
    match x.dim() == dims + 2 {
        true => x.suggest_memory_format(),
        false => MemoryFormat::Contiguous,
    }
}

/// The maximum of each window; the extra result holds its place in the plane.
#[derive(Debug)]
struct MaxPool {
    name: &'static str,
    windows: Windows,
    shape: Shape,
    dims: usize,
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = operand(self.name, inputs[0])?;
        let n = numel(&self.shape);
        let mut indices = allocate(self.name, n * DType::I64.size())?;
        let values = in_lane!(self.name, inputs[0], T => {
            let guard = x.read();
            let src = &guard.slice::<T>()[..x.numel()];
            Tensor::build::<T>(self.name, &self.shape, x.dtype(), |out| match &self.windows {
                // The sizes of what has no planes may be beyond counting.
                _ if out.is_empty() => {}
                Windows::Fixed(s, _) => kernels::max_pool_forward(s, src, out, indices.as_mut_slice()),
                Windows::Adaptive(s) => kernels::adaptive_max_pool_forward(s, src, out, indices.as_mut_slice()),
            })?
        });
        let (format, places) = (
            map_format(inputs[0], self.dims),
            Tensor::from_buffer(indices, &self.shape, DType::I64),
        );
        Ok(Output {
            tensor: dense(self.name, &values, values.dtype(), format)?,
            extras: smallvec![dense(self.name, &places, DType::I64, format)?],
        })
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let format = map_format(inputs[0], self.dims);
        let windows = self.windows.cuda(self.name, &self.shape, format)?;
        let of = (&self.shape[..], format);
        let (tensor, places) = cuda::max_pool(self.name, &windows, inputs[0], of)?;
        Ok(Output {
            tensor,
            extras: smallvec![places],
        })
    }

    fn autocast(&self) -> Cast {
        match self.name {
            "max_pool3d" => Cast::Full,
            _ => Cast::Keep,
        }
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let scatter = PlaneScatter {
            windows: self.windows,
            input: Shape::from_slice(ctx.shape(0)),
            // The places lie as the maxima, and so as the input, do.
            format: map_format(ctx.extra(0), self.dims),
            dims: self.dims,
            back: true,
        };
        Ok(smallvec![Some(dispatch::call(
            scatter,
            &[grad, ctx.extra(0)]
        )?)])
    }
}

/// Elements sent to their places in zero planes of shape `input` (`back`), or fetched from there.
#[derive(Clone, Debug)]
struct PlaneScatter {
    windows: Windows,
    input: Shape,
    /// That of the input.
    format: MemoryFormat,
    dims: usize,
    back: bool,
}

impl Op for PlaneScatter {
    fn name(&self) -> &'static str {
        "max_pool_backward"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, indices) = (operand(self.name(), inputs[0])?, inputs[1].contiguous()?);
        let (lead, plane) = self.input.split_at(self.input.len() - self.dims);
        let (planes, plane) = (numel(lead), numel(plane));
        let guard = indices.read();
        let places = &guard.slice::<i64>()[..indices.numel()];
        let out = in_lane!(self.name(), inputs[0], T => {
            let guard = x.read();
            let src = &guard.slice::<T>()[..x.numel()];
            if self.back {
                Tensor::build::<T>(self.name(), &self.input, x.dtype(), |out| kernels::max_pool_backward(planes, src, places, out))?
            } else {
                let per_plane = (places.len() / planes.max(1)).max(1);
                Tensor::build::<T>(self.name(), indices.shape(), x.dtype(), |out| {
                    for (i, (o, &at)) in out.iter_mut().zip(places).enumerate() {
                        *o = src[i / per_plane * plane + at as usize];
                    }
                })?
            }
        });
        Ok(dense(self.name(), &out, out.dtype(), self.format)?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, places) = (inputs[0], inputs[1]);
        let windows = self.windows.cuda(self.name(), &self.input, self.format)?;
        if self.back {
            let of = (&self.input[..], self.format);
            let out = cuda::max_pool_backward(self.name(), &windows, (x, places), of)?;
            return Ok(out.into());
        }
        let lead = x.dim() - self.dims;
        let flat = |t: &Tensor| t.flatten(lead as i64, -1);
        let taken = flat(x)?.gather(-1, &flat(places)?)?;
        Ok(taken.reshape(places.shape())?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE.input(1)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let adjoint = PlaneScatter {
            back: !self.back,
            ..self.clone()
        };
        Ok(smallvec![
            Some(dispatch::call(adjoint, &[grad, &ctx.input(1)?])?),
            None
        ])
    }
}

/// The average of each window, or the adjoint of that (`back`), which spreads gradients.
#[derive(Clone, Debug)]
struct AvgPool {
    name: &'static str,
    windows: Windows,
    input: Shape,
    output: Shape,
    /// That of the input.
    format: MemoryFormat,
    back: bool,
}

impl Op for AvgPool {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = operand(self.name, inputs[0])?;
        let shape = if self.back { &self.input } else { &self.output };
        let out = in_lane!(self.name, inputs[0], T => {
            let guard = x.read();
            let src = &guard.slice::<T>()[..x.numel()];
            Tensor::build::<T>(self.name, shape, x.dtype(), |out| match (&self.windows, self.back) {
                _ if out.is_empty() || src.is_empty() => out.fill(0.0),
                (Windows::Fixed(s, o), false) => kernels::avg_pool_forward(s, *o, src, out),
                (Windows::Fixed(s, o), true) => kernels::avg_pool_backward(s, *o, src, out),
                (Windows::Adaptive(s), false) => kernels::adaptive_avg_pool_forward(s, src, out),
                (Windows::Adaptive(s), true) => kernels::adaptive_avg_pool_backward(s, src, out),
            })?
        });
        Ok(dense(self.name, &out, out.dtype(), self.format)?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let windows = self.windows.cuda(self.name, &self.input, self.format)?;
        let shape = if self.back { &self.input } else { &self.output };
        let of = (&shape[..], self.format);
        let out = cuda::average_pool(self.name, &windows, self.back, inputs[0], of)?;
        Ok(out.into())
    }

    fn autocast(&self) -> Cast {
        match self.name {
            "avg_pool3d" | "adaptive_avg_pool3d" => Cast::Full,
            _ => Cast::Keep,
        }
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(dispatch::call(
            AvgPool {
                back: !self.back,
                ..self.clone()
            },
            &[grad]
        )?)])
    }
}

/// Three spatial entries from the last `N` of them.
fn spatial<const N: usize>(values: [usize; N], fill: usize) -> [usize; 3] {
    let mut out = [fill; 3];
    out[3 - N..].copy_from_slice(&values);
    out
}

/// The planes and spatial sizes of a pooling's input `[batch?, channels, spatial…]`.
#[track_caller]
fn planes<const N: usize>(op: &'static str, x: &Tensor) -> Result<(usize, [usize; 3])> {
    if !x.dtype().is_floating_point() {
        bail!(
            op,
            "the input is {}; pooling needs a floating-point type, convert with to_dtype(DType::F32)",
            x.dtype()
        );
    }
    if x.dim() != N + 1 && x.dim() != N + 2 {
        bail!(
            op,
            "the input has shape {:?}; expected {} dimensions (batch, channels, {N} spatial), or {} without a batch",
            x.shape(),
            N + 2,
            N + 1
        );
    }
    let lead = x.dim() - N;
    // A batch of 0 does not make planes beyond memory computable.
    check_numel(op, &x.shape()[lead..])?;
    Ok((
        numel(&x.shape()[..lead]),
        spatial::<N>(std::array::from_fn(|i| x.shape()[lead + i]), 1),
    ))
}

/// The input's leading sizes followed by the last `dims` of `spatial`.
fn with_spatial(x: &Tensor, dims: usize, spatial: [usize; 3]) -> Shape {
    let mut shape = Shape::from_slice(&x.shape()[..x.dim() - dims]);
    shape.extend_from_slice(&spatial[3 - dims..]);
    shape
}

#[track_caller]
fn fixed<const N: usize>(
    op: &'static str,
    x: &Tensor,
    options: &PoolOptions<N>,
) -> Result<(Windows, Shape)> {
    let (planes, input) = planes::<N>(op, x)?;
    let s = PoolShape {
        planes,
        input,
        kernel: spatial(options.kernel_size, 1),
        stride: spatial(options.stride.unwrap_or(options.kernel_size), 1),
        padding: spatial(options.padding, 0),
        dilation: spatial(options.dilation, 1),
        ceil_mode: options.ceil_mode,
    };
    let output = s.output().map_err(|e| Error::new(op, e.to_string()))?;
    // Each element of a window is looked at.
    let window = (s.kernel.iter()).fold(1usize, |n, &k| n.saturating_mul(k));
    if window > 1 << 24 && window / 64 > numel(&input) {
        bail!(
            op,
            "a window of {:?} on planes of {:?} is mostly padding; choose a smaller one",
            options.kernel_size,
            &x.shape()[x.dim() - N..]
        );
    }
    if options.divisor_override == Some(0) {
        bail!(
            op,
            "divisor_override is 0; leave it out to divide by the window's size"
        );
    }
    let average = AvgOptions {
        count_include_pad: options.count_include_pad,
        divisor_override: options.divisor_override,
    };
    Ok((Windows::Fixed(s, average), with_spatial(x, N, output)))
}

#[track_caller]
fn adaptive<const N: usize>(
    op: &'static str,
    x: &Tensor,
    output_size: [usize; N],
) -> Result<(Windows, Shape)> {
    let (planes, input) = planes::<N>(op, x)?;
    let s = AdaptiveShape {
        planes,
        input,
        output: spatial(output_size, 1),
    };
    s.check().map_err(|e| Error::new(op, e.to_string()))?;
    // Of what would be beyond memory not even the product can be formed.
    sizes(op, s.output)?;
    Ok((Windows::Adaptive(s), with_spatial(x, N, s.output)))
}

#[track_caller]
fn max_pool(
    name: &'static str,
    x: &Tensor,
    dims: usize,
    (windows, shape): (Windows, Shape),
) -> Result<(Tensor, Tensor)> {
    let mut out = dispatch::call_with_extras(
        MaxPool {
            name,
            windows,
            shape,
            dims,
        },
        &[x],
    )?;
    Ok((out.tensor, out.extras.remove(0)))
}

#[track_caller]
fn avg_pool(
    name: &'static str,
    x: &Tensor,
    dims: usize,
    (windows, output): (Windows, Shape),
) -> Result<Tensor> {
    dispatch::call(
        AvgPool {
            name,
            windows,
            input: Shape::from_slice(x.shape()),
            output,
            format: map_format(x, dims),
            back: false,
        },
        &[x],
    )
}

macro_rules! methods {
    ($($n:literal, $spatial:literal: $max:ident $max_indices:ident $avg:ident $adaptive_avg:ident $adaptive_max:ident $adaptive_max_indices:ident;)*) => {
        impl Tensor {
            $(
                #[doc = concat!("The maximum of each window over `", $spatial, "` (`F.", stringify!($max),
                    "`), with or without a batch. `options` is a window size or [`PoolOptions`]; NaN wins.\n\n# Errors\n",
                    "Where the window does not fit or padding exceeds half of it.")]
                #[track_caller]
                pub fn $max(&self, options: impl Into<PoolOptions<$n>>) -> Result<Tensor> {
                    Ok(self.$max_indices(options)?.0)
                }
                #[doc = concat!("[`", stringify!($max), "`](Tensor::", stringify!($max), ") and the place of each maximum in its plane (`return_indices=True`).")]
                #[track_caller]
                pub fn $max_indices(&self, options: impl Into<PoolOptions<$n>>) -> Result<(Tensor, Tensor)> {
                    max_pool(stringify!($max), self, $n, fixed::<$n>(stringify!($max), self, &options.into())?)
                }
                #[doc = concat!("The average of each window over `", $spatial, "` (`F.", stringify!($avg), "`).\n\n# Errors\n",
                    "As the maximum's; dilation must be 1.")]
                #[track_caller]
                pub fn $avg(&self, options: impl Into<PoolOptions<$n>>) -> Result<Tensor> {
                    let options = options.into();
                    if options.dilation != [1; $n] {
                        bail!(stringify!($avg), "average pooling has no dilation; got {:?}", options.dilation);
                    }
                    avg_pool(stringify!($avg), self, $n, fixed::<$n>(stringify!($avg), self, &options)?)
                }
                #[doc = concat!("Averages over `", $spatial, "` such that the result has `output_size` (`F.", stringify!($adaptive_avg), "`).")]
                #[track_caller]
                pub fn $adaptive_avg(&self, output_size: [usize; $n]) -> Result<Tensor> {
                    avg_pool(stringify!($adaptive_avg), self, $n, adaptive::<$n>(stringify!($adaptive_avg), self, output_size)?)
                }
                #[doc = concat!("Maxima over `", $spatial, "` such that the result has `output_size` (`F.", stringify!($adaptive_max), "`).")]
                #[track_caller]
                pub fn $adaptive_max(&self, output_size: [usize; $n]) -> Result<Tensor> {
                    Ok(self.$adaptive_max_indices(output_size)?.0)
                }
                #[doc = concat!("[`", stringify!($adaptive_max), "`](Tensor::", stringify!($adaptive_max), ") and the place of each maximum in its plane.")]
                #[track_caller]
                pub fn $adaptive_max_indices(&self, output_size: [usize; $n]) -> Result<(Tensor, Tensor)> {
                    max_pool(stringify!($adaptive_max), self, $n, adaptive::<$n>(stringify!($adaptive_max), self, output_size)?)
                }
            )*
        }
    };
}
methods! {
    1, "[channels, length]": max_pool1d max_pool1d_with_indices avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d adaptive_max_pool1d_with_indices;
    2, "[channels, height, width]": max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices;
    3, "[channels, depth, height, width]": max_pool3d max_pool3d_with_indices avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d adaptive_max_pool3d_with_indices;
}

/// What tests and goldens know of pooling.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    fn array<const N: usize>(a: &Arg) -> Result<[usize; N]> {
        let list = a.list()?;
        Ok(std::array::from_fn(|i| list[i] as usize))
    }
    fn max<const N: usize>(a: &[Arg]) -> Result<PoolOptions<N>> {
        Ok(PoolOptions {
            stride: Some(array(&a[2])?),
            padding: array(&a[3])?,
            dilation: array(&a[4])?,
            ceil_mode: a[5].bool()?,
            ..PoolOptions::new(array(&a[1])?)
        })
    }
    fn avg<const N: usize>(a: &[Arg]) -> Result<PoolOptions<N>> {
        Ok(PoolOptions {
            stride: Some(array(&a[2])?),
            padding: array(&a[3])?,
            ceil_mode: a[4].bool()?,
            count_include_pad: a[5].bool()?,
            divisor_override: a[6].int_opt()?,
            ..PoolOptions::new(array(&a[1])?)
        })
    }
    let list = |n: &[i64]| Arg::L(n.to_vec());
    let x = |shape: &[usize]| Arg::uniform(shape, (-1.0, 1.0));
    let max_call = |s: &[usize], n: [&[i64]; 4], ceil: bool| {
        Sample::new(vec![
            x(s),
            list(n[0]),
            list(n[1]),
            list(n[2]),
            list(n[3]),
            Arg::B(ceil),
        ])
    };
    let avg_call = |s: &[usize], n: [&[i64]; 3], ceil: bool, pad: bool, divisor: Option<i64>| {
        Sample::new(vec![
            x(s),
            list(n[0]),
            list(n[1]),
            list(n[2]),
            Arg::B(ceil),
            Arg::B(pad),
            divisor.map_or(Arg::Nil, Arg::I),
        ])
    };
    macro_rules! family {
        ($n:literal, $max:ident, $avg:ident, $aavg:ident, $amax:ident, $max_samples:expr, $avg_samples:expr, $adaptive:expr) => {
            [
                OpSpec::new(stringify!($max), concat!("F.", stringify!($max)), |a| {
                    Ok(vec![a[0].tensor()?.$max(max::<$n>(a)?)?])
                })
                .samples($max_samples),
                OpSpec::new(
                    stringify!($avg),
                    if $n == 1 {
                        "lambda x, k, s, p, c, i, d: F.avg_pool1d(x, k, s, p, c, i)".into()
                    } else {
                        format!("F.{}", stringify!($avg))
                    },
                    |a| Ok(vec![a[0].tensor()?.$avg(avg::<$n>(a)?)?]),
                )
                .samples($avg_samples),
                OpSpec::new(stringify!($aavg), concat!("F.", stringify!($aavg)), |a| {
                    Ok(vec![a[0].tensor()?.$aavg(array(&a[1])?)?])
                })
                .samples($adaptive),
                OpSpec::new(stringify!($amax), concat!("F.", stringify!($amax)), |a| {
                    Ok(vec![a[0].tensor()?.$amax(array(&a[1])?)?])
                })
                .samples($adaptive),
            ]
        };
    }
    let one = family!(
        1,
        max_pool1d,
        avg_pool1d,
        adaptive_avg_pool1d,
        adaptive_max_pool1d,
        vec![max_call(&[2, 2, 7], [&[3], &[2], &[1], &[1]], false)],
        vec![avg_call(&[2, 2, 7], [&[3], &[2], &[1]], false, false, None)],
        vec![Sample::new(vec![x(&[2, 2, 7]), list(&[3])])]
    );
    let two = family!(
        2,
        max_pool2d,
        avg_pool2d,
        adaptive_avg_pool2d,
        adaptive_max_pool2d,
        vec![
            max_call(&[2, 3, 6, 6], [&[2, 2], &[2, 2], &[0, 0], &[1, 1]], false),
            max_call(&[1, 2, 7, 6], [&[3, 3], &[2, 1], &[1, 1], &[1, 1]], true),
            max_call(&[2, 7, 7], [&[2, 2], &[2, 2], &[0, 1], &[2, 2]], false),
        ],
        vec![
            avg_call(
                &[2, 3, 6, 6],
                [&[2, 2], &[2, 2], &[0, 0]],
                false,
                true,
                None
            ),
            avg_call(
                &[1, 2, 7, 5],
                [&[3, 2], &[2, 2], &[1, 1]],
                true,
                false,
                None
            ),
            avg_call(&[2, 7, 5], [&[3, 2], &[2, 2], &[1, 1]], true, true, Some(5)),
        ],
        vec![
            Sample::new(vec![x(&[2, 2, 7, 5]), list(&[3, 2])]),
            Sample::new(vec![x(&[2, 3, 4]), list(&[1, 1])])
        ]
    );
    let three = family!(
        3,
        max_pool3d,
        avg_pool3d,
        adaptive_avg_pool3d,
        adaptive_max_pool3d,
        vec![max_call(
            &[1, 2, 4, 5, 4],
            [&[2, 2, 2], &[2, 1, 2], &[1, 0, 0], &[1, 1, 1]],
            false
        )],
        vec![avg_call(
            &[1, 2, 4, 5, 4],
            [&[2, 2, 2], &[2, 1, 2], &[1, 0, 0]],
            false,
            true,
            None
        )],
        vec![Sample::new(vec![x(&[1, 2, 4, 5, 3]), list(&[2, 2, 2])])]
    );
    one.into_iter().chain(two).chain(three).collect()
}
