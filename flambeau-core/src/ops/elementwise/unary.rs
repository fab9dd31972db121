//! Operations on each element of one tensor: one row each in [`UNARY`].

use super::{Lane, lane_of, map};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail};
use flambeau_cpu::math as m;
use smallvec::smallvec;

/// Up to two numbers that go with an operation (a slope, bounds).
pub(crate) type Params = [f64; 2];
type Loop<T> = fn(&[T], &mut [T], Params);
type Rule = fn(&Ctx<'_>, &Tensor, Params) -> Result<Tensor>;

/// A row of the table.
pub(crate) struct Unary {
    pub(crate) name: &'static str,
    /// Integers become `f32` first; otherwise the type is kept.
    pub(crate) float: bool,
    f32: Loop<f32>,
    f64: Loop<f64>,
    i32: Option<Loop<i32>>,
    i64: Option<Loop<i64>>,
    saves: Saves,
    rule: Rule,
    /// Where samples for the tests are drawn from: away from kinks and poles.
    pub(crate) domain: (f64, f64),
    /// The same in Python, with `x` and the numbers `p` in scope.
    pub(crate) torch: &'static str,
    /// Numbers to test with.
    pub(crate) params: &'static [Params],
}

/// A [`Unary`] with its numbers.
#[derive(Clone, Copy)]
pub(crate) struct UnaryOp(pub(crate) &'static Unary, pub(crate) Params);

impl std::fmt::Debug for UnaryOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.0.name, self.1)
    }
}

impl Op for UnaryOp {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let UnaryOp(def, params) = *self;
        let x = inputs[0];
        let dtype = if def.float {
            x.dtype().to_float()
        } else {
            x.dtype()
        };
        let run = |x| match lane_of(dtype) {
            DType::F32 => each(def.name, x, dtype, def.f32, params),
            DType::F64 => each(def.name, x, dtype, def.f64, params),
            DType::I64 => def.i64.map_or_else(
                || refuse(def, dtype),
                |k| each(def.name, x, dtype, k, params),
            ),
            _ => def.i32.map_or_else(
                || refuse(def, dtype),
                |k| each(def.name, x, dtype, k, params),
            ),
        };
        Ok(run(x)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        self.0.saves
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some((self.0.rule)(ctx, grad, self.1)?)])
    }
}

fn refuse(def: &Unary, dtype: DType) -> Result<Tensor> {
    bail!(
        def.name,
        "there is no {} of {dtype} tensors; convert with to_dtype(DType::F32) first",
        def.name
    )
}

fn each<T: Lane + super::KernelResult>(
    op: &'static str,
    x: &Tensor,
    dtype: DType,
    kernel: Loop<T>,
    params: Params,
) -> Result<Tensor> {
    map::<T, T, 1>(op, x.shape(), dtype, [x], &|[x], out| {
        kernel(x, out, params)
    })
}

/// Runs a row.
#[track_caller]
pub(crate) fn unary(def: &'static Unary, x: &Tensor, params: Params) -> Result<Tensor> {
    dispatch::call(UnaryOp(def, params), &[x])
}

/// Runs a row in place.
#[track_caller]
pub(crate) fn unary_(def: &'static Unary, x: &Tensor, params: Params) -> Result<Tensor> {
    x.check_inplace(def.name)?;
    x.assign(def.name, unary(def, x, params)?)
}

/// A vectorised loop over one expression; `$p` are the numbers in the loop's own type.
macro_rules! each {
    ($t:ty, |$x:ident, $p:ident| $e:expr) => {{
        flambeau_cpu::simd_fn! {
            fn kernel(x: &[$t], out: &mut [$t], params: Params) {
                #[allow(unused_variables)]
                let $p = params.map(|v| v as $t);
                for (o, &$x) in out.iter_mut().zip(x) {
                    *o = $e;
                }
            }
        }
        kernel as fn(&[$t], &mut [$t], Params)
    }};
}

/// A row of the table, and the methods that it gives the tensor.
macro_rules! unary_ops {
    ($(
        $(#[$doc:meta])*
        $id:ident = $name:ident, $inplace:ident($($arg:ident),*) $kind:ident {
            f32: |$x:ident, $p:ident| $f32:expr,
            f64: |$y:ident, $q:ident| $f64:expr,
            $(int: |$z:ident, $r:ident| $int:expr,)?
            saves: $saves:expr,
            grad: $rule:expr,
            domain: $domain:expr,
            torch: $torch:literal $(, params: $params:expr)? $(,)?
        }
    )*) => {
        $(static $id: Unary = Unary {
            name: stringify!($name),
            float: unary_ops!(@float $kind),
            f32: each!(f32, |$x, $p| $f32),
            f64: each!(f64, |$y, $q| $f64),
            i32: unary_ops!(@int i32 $(|$z, $r| $int)?),
            i64: unary_ops!(@int i64 $(|$z, $r| $int)?),
            saves: $saves,
            rule: $rule,
            domain: $domain,
            torch: $torch,
            params: unary_ops!(@params $($params)?),
        };)*

        /// Every row.
        pub(crate) static UNARY: &[&Unary] = &[$(&$id),*];

        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self $(, $arg: f64)*) -> Result<Tensor> {
                    unary(&$id, self, unary_ops!(@args $($arg),*))
                }
                #[doc = concat!("[`", stringify!($name), "`](Tensor::", stringify!($name), ") in place.")]
                #[track_caller]
                pub fn $inplace(&self $(, $arg: f64)*) -> Result<Tensor> {
                    unary_(&$id, self, unary_ops!(@args $($arg),*))
                }
            )*
        }
    };
    (@float Float) => { true };
    (@float Same) => { false };
    (@int $t:ty) => { None };
    (@int $t:ty |$z:ident, $r:ident| $int:expr) => { Some(each!($t, |$z, $r| $int)) };
    (@params) => { &[[0.0; 2]] };
    (@params $params:expr) => { &$params };
    (@args) => { [0.0; 2] };
    (@args $a:ident) => { [$a, 0.0] };
    (@args $a:ident, $b:ident) => { [$a, $b] };
}

unary_ops! {
    /// The negative of each element.
    NEG = neg, neg_() Same {
        f32: |x, p| -x,
        f64: |x, p| -x,
        int: |x, p| x.wrapping_neg(),
        saves: Saves::NONE,
        grad: |_, g, _| g.neg(),
        domain: (-2.0, 2.0),
        torch: "torch.neg(x)",
    }
    /// e to the power of each element.
    EXP = exp, exp_() Float {
        f32: |x, p| m::exp(x),
        f64: |x, p| x.exp(),
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?),
        domain: (-2.0, 2.0),
        torch: "torch.exp(x)",
    }
    /// The natural logarithm.
    LOG = log, log_() Float {
        f32: |x, p| m::log(x),
        f64: |x, p| x.ln(),
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?),
        domain: (0.2, 3.0),
        torch: "torch.log(x)",
    }
    /// The square.
    SQUARE = square, square_() Same {
        f32: |x, p| x * x,
        f64: |x, p| x * x,
        int: |x, p| x.wrapping_mul(x),
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.mul(2.0)?),
        domain: (-2.0, 2.0),
        torch: "torch.square(x)",
    }
    /// The hyperbolic tangent.
    TANH = tanh, tanh_() Float {
        f32: |x, p| m::tanh(x),
        f64: |x, p| x.tanh(),
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?.square()?.neg()?.add(1.0)?),
        domain: (-2.0, 2.0),
        torch: "torch.tanh(x)",
    }
    /// max(0, x); NaN stays NaN.
    RELU = relu, relu_() Same {
        f32: |x, p| if x < 0.0 { 0.0 } else { x },
        f64: |x, p| if x < 0.0 { 0.0 } else { x },
        int: |x, p| if x < 0 { 0 } else { x },
        saves: Saves::OUTPUT,
        grad: |c, g, _| crate::ops::elementwise::binary::relu_backward(g, &c.output()?),
        domain: (0.2, 2.0),
        torch: "torch.relu(x)",
    }
    /// x where x > 0, else `negative_slope` times x (`F.leaky_relu`).
    LEAKY_RELU = leaky_relu, leaky_relu_(negative_slope) Same {
        f32: |x, p| if x > 0.0 { x } else { x * p[0] },
        f64: |x, p| if x > 0.0 { x } else { x * p[0] },
        saves: Saves::INPUTS,
        grad: |c, g, p| c.input(0)?.gt(0.0)?.where_(g, g.mul(p[0])?),
        domain: (0.2, 2.0),
        torch: "F.leaky_relu(x, p[0])",
        params: [[0.01, 0.0], [0.3, 0.0]],
    }
}

/// What tests and goldens know of the table.
pub(crate) fn specs() -> Vec<OpSpec> {
    UNARY
        .iter()
        .map(|&def| {
            OpSpec::new(
                def.name,
                format!("lambda x, *p: {}", def.torch),
                move |args| {
                    Ok(vec![unary(
                        def,
                        args[0].tensor()?,
                        [args[1].float()?, args[2].float()?],
                    )?])
                },
            )
            .samples(
                def.params
                    .iter()
                    .map(|p| {
                        Sample::new(vec![
                            Arg::uniform([3, 4], def.domain),
                            Arg::F(p[0]),
                            Arg::F(p[1]),
                        ])
                    })
                    .collect(),
            )
        })
        .collect()
}
