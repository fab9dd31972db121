//! Operations on each element of one tensor: one row each in a table, [`UNARY`] here and
//! `ACTIVATIONS` in `activation`.

use super::hot::{self, HotUnary};
use super::special::{self, Special as S};
use super::{Kind, Lane, lane_of, map, original};
use crate::cuda::{self, Formula};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail};
use flambeau_cpu::arith::Arith;
use flambeau_cpu::math::{self, Real as R};
use flambeau_cuda::kernels::Expr;
use smallvec::smallvec;
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10, PI};

/// Up to three numbers that go with an operation (a slope, bounds).
pub(crate) type Params = [f64; 3];
pub(crate) type Loop<T> = fn(&[T], &mut [T], Params);
type Rule = fn(&Ctx<'_>, &Tensor, Params) -> Result<Tensor>;

/// A row of the table.
pub(crate) struct Unary {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) f32: Loop<f32>,
    pub(crate) f64: Loop<f64>,
    pub(crate) i32: Option<Loop<i32>>,
    pub(crate) i64: Option<Loop<i64>>,
    pub(crate) hot: Option<&'static HotUnary>,
    /// The same on the bits of a 16-bit floating type.
    pub(crate) bits16: Option<(Arith, i16)>,
    /// The same for CUDA: an expression of `x` and `p0` to `p2` for floats, and one for integers.
    pub(crate) cuda: [&'static str; 2],
    /// What is wrong with the numbers.
    pub(crate) check: fn(Params) -> Option<&'static str>,
    pub(crate) saves: Saves,
    pub(crate) rule: Rule,
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
        let (x, dtype) = (inputs[0], self.result_type(inputs[0])?);
        if dtype == x.dtype()
            && let Some(out) = hot::unary(def, x, params)
        {
            return Ok(out?.into());
        }
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

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let UnaryOp(def, params) = *self;
        let (x, dtype) = (inputs[0], self.result_type(inputs[0])?);
        match def.formula(dtype, params) {
            Some(f) => Ok(cuda::map(def.name, &f, x.shape(), dtype, &[x])?.into()),
            None => refuse(def, dtype).map(Output::from),
        }
    }

    fn saves(&self, _: &[bool]) -> Saves {
        self.0.saves
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some((self.0.rule)(ctx, grad, self.1)?)])
    }
}

impl UnaryOp {
    /// The type of the result.
    fn result_type(&self, x: &Tensor) -> Result<DType> {
        let UnaryOp(def, params) = *self;
        if let Some(wrong) = (def.check)(params) {
            bail!(def.name, "{wrong}");
        }
        match def.kind {
            Kind::Float => Ok(x.dtype().to_float()),
            Kind::Number if x.dtype() == DType::Bool => {
                refuse(def, DType::Bool).map(|_| DType::Bool)
            }
            _ => Ok(x.dtype()),
        }
    }
}

impl Unary {
    /// What a CUDA device computes for results of `dtype`, where there is such an operation.
    fn formula(&self, dtype: DType, params: Params) -> Option<Formula> {
        let lane = lane_of(dtype);
        let text = self.cuda[!lane.is_floating_point() as usize];
        let expr = Expr::unary(text);
        (!text.is_empty()).then_some(Formula { expr, lane, params })
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

/// [`each`] in the memory of `x` itself, where there is such a kernel and that can be.
fn each_<T: Lane + super::KernelResult>(
    op: &'static str,
    x: &Tensor,
    kernel: Option<Loop<T>>,
    params: Params,
) -> Result<bool> {
    let Some(kernel) = kernel else {
        return Ok(false);
    };
    if T::stores(x.dtype()) {
        // What it computes from goes through a buffer: slices that alias are not safe Rust.
        return Ok(super::in_place_rows(x, |out: &mut [T]| {
            let mut before = [T::default(); 512];
            for out in out.chunks_mut(before.len()) {
                let before = &mut before[..out.len()];
                before.copy_from_slice(out);
                kernel(before, out, params);
            }
        }));
    }
    super::map_in_place::<T, T, 1>(op, x, [x], &|[x], out| kernel(x, out, params))
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
    let direct = (def.check)(params).is_none() && def.kind.keeps(x.dtype());
    if direct && x.changes_unrecorded(&[]) && x.on_cuda() {
        if let Some(f) = def.formula(x.dtype(), params)
            && cuda::map_in_place(def.name, &f, x, &[x])?
        {
            return Ok(x.written(def.name));
        }
    } else if direct && x.changes_unrecorded(&[]) {
        let run = |op| match lane_of(x.dtype()) {
            DType::F32 => each_(op, x, Some(def.f32), params),
            DType::F64 => each_(op, x, Some(def.f64), params),
            DType::I64 => each_(op, x, def.i64, params),
            _ => each_(op, x, def.i32, params),
        };
        if hot::unary_in_place(def, x, params) || run(def.name)? {
            return Ok(x.written(def.name));
        }
    }
    let result = if def.saves.has(0) {
        unary(def, &original(x, &[])?, params)
    } else {
        unary(def, x, params)
    };
    x.assign(def.name, result?)
}

/// A vectorised loop over one expression; `$p` are the numbers in the loop's own type.
macro_rules! unary_loop {
    ($t:ty, |$x:ident, $p:ident| $e:expr) => {{
        flambeau_cpu::simd_fn! {
            fn kernel(x: &[$t], out: &mut [$t], params: $crate::ops::elementwise::unary::Params) {
                // Most rows take no numbers.
                #[allow(unused_variables)]
                let $p = params.map(|v| v as $t);
                for (o, &$x) in out.iter_mut().zip(x) {
                    *o = $e;
                }
            }
        }
        kernel as $crate::ops::elementwise::unary::Loop<$t>
    }};
}
pub(crate) use unary_loop;

/// One row; `float` is compiled for f32 and f64, `int` for i32 and i64. A row that is `hot: true` has
/// [further loops](super::hot); one with a `vector` function over slices takes that for f32.
macro_rules! unary_row {
    ($name:expr, $kind:ident,
        $(hot: $hot:ident,)?
        $(bits16: $bits16:expr,)?
        $(vector: $vector:path,)?
        float: |$x:ident, $p:ident| $float:expr,
        $(int: |$z:ident, $r:ident| $int:expr,)?
        cuda: $cuda:literal,
        $(cuda_int: $cuda_int:literal,)?
        saves: $saves:expr,
        grad: $rule:expr,
        domain: $domain:expr,
        torch: $torch:literal
        $(, params: $params:expr)?
        $(, check: $check:expr)? $(,)?
    ) => {{
        Unary {
            name: $name,
            kind: Kind::$kind,
            f32: unary_row!(@f32 [$($vector)?] |$x, $p| $float),
            f64: $crate::ops::elementwise::unary::unary_loop!(f64, |$x, $p| $float),
            i32: unary_row!(@int i32 $(|$z, $r| $int)?),
            i64: unary_row!(@int i64 $(|$z, $r| $int)?),
            cuda: [$cuda, concat!($($cuda_int)?)],
            hot: unary_row!(@hot [$($hot)?] |$x, $p| $float),
            bits16: unary_row!(@bits16 $($bits16)?),
            check: unary_row!(@check $($check)?),
            saves: $saves,
            rule: $rule,
            domain: $domain,
            torch: $torch,
            params: unary_row!(@params $($params)?),
        }
    }};
    (@f32 [] |$x:ident, $p:ident| $e:expr) => { $crate::ops::elementwise::unary::unary_loop!(f32, |$x, $p| $e) };
    (@f32 [$vector:path] $($rest:tt)*) => { |x, out, _| $vector(x, out) };
    (@int $t:ty) => { None };
    (@int $t:ty |$z:ident, $r:ident| $int:expr) => { Some($crate::ops::elementwise::unary::unary_loop!($t, |$z, $r| $int)) };
    (@hot [] $($rest:tt)*) => { None };
    (@hot [true] |$x:ident, $p:ident| $e:expr) => { $crate::ops::elementwise::hot::hot_unary!(|$x, $p| $e) };
    (@bits16) => { None };
    (@bits16 $bits16:expr) => { Some($bits16) };
    (@check) => { |_| None };
    (@check $check:expr) => { $check };
    (@params) => { &[[0.0; 3]] };
    (@params $params:expr) => { &$params };
}
pub(crate) use unary_row;

/// A table, and the methods that it gives the tensor.
macro_rules! unary_ops {
    ($table:ident: $(
        $(#[$doc:meta])*
        $id:ident = $name:ident, $inplace:ident($($arg:ident),*) $kind:ident { $($row:tt)* }
    )*) => {
        $(pub(crate) static $id: Unary = unary_row!(stringify!($name), $kind, $($row)*);)*

        /// Every row.
        pub(crate) static $table: &[&Unary] = &[$(&$id),*];

        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self $(, $arg: f64)*) -> Result<Tensor> {
                    unary(&$id, self, unary_ops!(@args $($arg),*))
                }
                #[doc = concat!("[`", stringify!($name), "`](Tensor::", stringify!($name), ") in place.\n\n# Errors\nAs it, and as every [operation in place](Tensor#in-place).")]
                #[track_caller]
                pub fn $inplace(&self $(, $arg: f64)*) -> Result<Tensor> {
                    unary_(&$id, self, unary_ops!(@args $($arg),*))
                }
            )*
        }
    };
    (@args) => { [0.0; 3] };
    (@args $a:ident) => { [$a, 0.0, 0.0] };
    (@args $a:ident, $b:ident) => { [$a, $b, 0.0] };
}
pub(crate) use unary_ops;

/// `grad` where `mask` holds, else 0.
pub(crate) fn keep(grad: &Tensor, mask: &Tensor) -> Result<Tensor> {
    mask.where_(grad, 0.0)
}

fn zero(_: &Ctx<'_>, grad: &Tensor, _: Params) -> Result<Tensor> {
    grad.zeros_like()
}

unary_ops! { UNARY:
    /// The negative of each element. Not for bool: [`logical_not`](Tensor::logical_not)
    /// ([`torch.neg`](https://pytorch.org/docs/stable/generated/torch.neg.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.5f32, -2.0])?.neg()?.to_vec::<f32>()?, [-1.5, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    NEG = neg, neg_() Number {
        hot: true,
        bits16: (Arith::Xor, i16::MIN),
        float: |x, p| -x,
        int: |x, p| x.wrapping_neg(),
        cuda: "-x",
        cuda_int: "(COMPUTE)(0 - (u64)x)",
        saves: Saves::NONE,
        grad: |_, g, _| g.neg(),
        domain: (-2.0, 2.0),
        torch: "torch.neg(x)",
    }
    /// The absolute value; its gradient at 0 is 0
    /// ([`torch.abs`](https://pytorch.org/docs/stable/generated/torch.abs.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.5f32, -2.0])?.abs()?.to_vec::<f32>()?, [1.5, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    ABS = abs, abs_() Number {
        hot: true,
        bits16: (Arith::And, i16::MAX),
        float: |x, p| x.abs(),
        int: |x, p| x.wrapping_abs(),
        cuda: "fabs(x)",
        cuda_int: "x < 0 ? (COMPUTE)(0 - (u64)x) : x",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.sgn()?),
        domain: (0.2, 2.0),
        torch: "torch.abs(x)",
    }
    /// -1, 0 or 1 as the element is negative, zero (or NaN) or positive
    /// ([`torch.sign`](https://pytorch.org/docs/stable/generated/torch.sign.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-3.0f32, 0.0, 2.5])?.sign()?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SIGN = sign, sign_() Same {
        float: |x, p| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 },
        int: |x, p| x.signum(),
        cuda: "sign(x)",
        cuda_int: "sign(x)",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 2.0),
        torch: "torch.sign(x)",
    }
    /// As [`sign`](Tensor::sign):
    /// [`torch.sgn`](https://pytorch.org/docs/stable/generated/torch.sgn.html) of real numbers.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-3.0f32, 0.0, 2.5])?.sgn()?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SGN = sgn, sgn_() Same {
        float: |x, p| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 },
        int: |x, p| x.signum(),
        cuda: "sign(x)",
        cuda_int: "sign(x)",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 2.0),
        torch: "torch.sgn(x)",
    }
    /// e to the power of each element
    /// ([`torch.exp`](https://pytorch.org/docs/stable/generated/torch.exp.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 2.71828])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.exp()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    EXP = exp, exp_() Float {
        float: |x, p| R::exp(x),
        cuda: "exp(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?),
        domain: (-2.0, 2.0),
        torch: "torch.exp(x)",
    }
    /// 2 to the power of each element
    /// ([`torch.exp2`](https://pytorch.org/docs/stable/generated/torch.exp2.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 8.0])?;
    /// assert!(Tensor::new([0.0f32, 3.0])?.exp2()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    EXP2 = exp2, exp2_() Float {
        float: |x, p| R::exp2(x),
        cuda: "exp2(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?)?.mul(LN_2),
        domain: (-2.0, 2.0),
        torch: "torch.exp2(x)",
    }
    /// e to the power of each element, less 1; precise near 0
    /// ([`torch.expm1`](https://pytorch.org/docs/stable/generated/torch.expm1.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.71828])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.expm1()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    EXPM1 = expm1, expm1_() Float {
        float: |x, p| R::expm1(x),
        cuda: "expm1(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?.add(1.0)?),
        domain: (-2.0, 2.0),
        torch: "torch.expm1(x)",
    }
    /// The natural logarithm: -inf of 0, NaN of negative numbers
    /// ([`torch.log`](https://pytorch.org/docs/stable/generated/torch.log.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.69315])?;
    /// assert!(Tensor::new([1.0f32, 2.0])?.log()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOG = log, log_() Float {
        float: |x, p| R::log(x),
        cuda: "log(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?),
        domain: (0.2, 3.0),
        torch: "torch.log(x)",
    }
    /// The logarithm to base 2
    /// ([`torch.log2`](https://pytorch.org/docs/stable/generated/torch.log2.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 3.0])?;
    /// assert!(Tensor::new([1.0f32, 8.0])?.log2()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOG2 = log2, log2_() Float {
        float: |x, p| R::log2(x),
        cuda: "log2(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.mul(LN_2)?),
        domain: (0.2, 3.0),
        torch: "torch.log2(x)",
    }
    /// The logarithm to base 10
    /// ([`torch.log10`](https://pytorch.org/docs/stable/generated/torch.log10.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 3.0])?;
    /// assert!(Tensor::new([1.0f32, 1000.0])?.log10()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOG10 = log10, log10_() Float {
        float: |x, p| R::log10(x),
        cuda: "log10(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.mul(LN_10)?),
        domain: (0.2, 3.0),
        torch: "torch.log10(x)",
    }
    /// The natural logarithm of 1 plus the element; precise near 0
    /// ([`torch.log1p`](https://pytorch.org/docs/stable/generated/torch.log1p.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.69315])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.log1p()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOG1P = log1p, log1p_() Float {
        float: |x, p| R::log1p(x),
        cuda: "log1p(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.add(1.0)?),
        domain: (-0.7, 3.0),
        torch: "torch.log1p(x)",
    }
    /// The square root; NaN of negative numbers
    /// ([`torch.sqrt`](https://pytorch.org/docs/stable/generated/torch.sqrt.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([2.0f32, 1.41421])?;
    /// assert!(Tensor::new([4.0f32, 2.0])?.sqrt()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SQRT = sqrt, sqrt_() Float {
        float: |x, p| x.sqrt(),
        cuda: "sqrt(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.div(c.output()?.mul(2.0)?),
        domain: (0.2, 3.0),
        torch: "torch.sqrt(x)",
    }
    /// 1 over the square root
    /// ([`torch.rsqrt`](https://pytorch.org/docs/stable/generated/torch.rsqrt.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.5f32, 2.0])?;
    /// assert!(Tensor::new([4.0f32, 0.25])?.rsqrt()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    RSQRT = rsqrt, rsqrt_() Float {
        float: |x, p| 1.0 / x.sqrt(),
        cuda: "1 / sqrt(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| {
            let y = c.output()?;
            g.mul(-0.5)?.mul(y.square()?.mul(&y)?)
        },
        domain: (0.2, 3.0),
        torch: "torch.rsqrt(x)",
    }
    /// 1 over the element
    /// ([`torch.reciprocal`](https://pytorch.org/docs/stable/generated/torch.reciprocal.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([4.0f32, -0.5])?.reciprocal()?.to_vec::<f32>()?, [0.25, -2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    RECIPROCAL = reciprocal, reciprocal_() Float {
        float: |x, p| 1.0 / x,
        cuda: "1 / x",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.neg()?.mul(c.output()?.square()?),
        domain: (0.4, 3.0),
        torch: "torch.reciprocal(x)",
    }
    /// The sine of the element in radians
    /// ([`torch.sin`](https://pytorch.org/docs/stable/generated/torch.sin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.84147])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.sin()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SIN = sin, sin_() Float {
        vector: math::vsin,
        float: |x, p| R::sin(x),
        cuda: "sin(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.cos()?),
        domain: (-2.0, 2.0),
        torch: "torch.sin(x)",
    }
    /// The cosine of the element in radians
    /// ([`torch.cos`](https://pytorch.org/docs/stable/generated/torch.cos.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 0.5403])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.cos()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    COS = cos, cos_() Float {
        vector: math::vcos,
        float: |x, p| R::cos(x),
        cuda: "cos(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.sin()?)?.neg(),
        domain: (-2.0, 2.0),
        torch: "torch.cos(x)",
    }
    /// The tangent of the element in radians
    /// ([`torch.tan`](https://pytorch.org/docs/stable/generated/torch.tan.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.55741])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.tan()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    TAN = tan, tan_() Float {
        vector: math::vtan,
        float: |x, p| R::tan(x),
        cuda: "tan(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?.square()?.add(1.0)?),
        domain: (-1.2, 1.2),
        torch: "torch.tan(x)",
    }
    /// The arc sine, in radians; NaN outside of -1 to 1
    /// ([`torch.asin`](https://pytorch.org/docs/stable/generated/torch.asin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.5708])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.asin()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ASIN = asin, asin_() Float {
        vector: math::vasin,
        float: |x, p| x.asin(),
        cuda: "asin(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.neg()?.add(1.0)?.rsqrt()?),
        domain: (-0.8, 0.8),
        torch: "torch.asin(x)",
    }
    /// The arc cosine, in radians; NaN outside of -1 to 1
    /// ([`torch.acos`](https://pytorch.org/docs/stable/generated/torch.acos.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.5708f32, 0.0])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.acos()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ACOS = acos, acos_() Float {
        vector: math::vacos,
        float: |x, p| x.acos(),
        cuda: "acos(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.neg()?.mul(c.input(0)?.square()?.neg()?.add(1.0)?.rsqrt()?),
        domain: (-0.8, 0.8),
        torch: "torch.acos(x)",
    }
    /// The arc tangent, in radians
    /// ([`torch.atan`](https://pytorch.org/docs/stable/generated/torch.atan.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.7854])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.atan()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ATAN = atan, atan_() Float {
        vector: math::vatan,
        float: |x, p| x.atan(),
        cuda: "atan(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.square()?.add(1.0)?),
        domain: (-2.0, 2.0),
        torch: "torch.atan(x)",
    }
    /// The hyperbolic sine
    /// ([`torch.sinh`](https://pytorch.org/docs/stable/generated/torch.sinh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.1752])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.sinh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SINH = sinh, sinh_() Float {
        vector: math::vsinh,
        float: |x, p| x.sinh(),
        cuda: "sinh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.cosh()?),
        domain: (-2.0, 2.0),
        torch: "torch.sinh(x)",
    }
    /// The hyperbolic cosine
    /// ([`torch.cosh`](https://pytorch.org/docs/stable/generated/torch.cosh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 1.54308])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.cosh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    COSH = cosh, cosh_() Float {
        vector: math::vcosh,
        float: |x, p| x.cosh(),
        cuda: "cosh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.sinh()?),
        domain: (-2.0, 2.0),
        torch: "torch.cosh(x)",
    }
    /// The hyperbolic tangent
    /// ([`torch.tanh`](https://pytorch.org/docs/stable/generated/torch.tanh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.76159])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.tanh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    TANH = tanh, tanh_() Float {
        float: |x, p| R::tanh(x),
        cuda: "tanh(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| super::activation::tanh_backward(g, &c.output()?),
        domain: (-2.0, 2.0),
        torch: "torch.tanh(x)",
    }
    /// The inverse hyperbolic sine
    /// ([`torch.asinh`](https://pytorch.org/docs/stable/generated/torch.asinh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.88137])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.asinh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ASINH = asinh, asinh_() Float {
        vector: math::vasinh,
        float: |x, p| libm::asinh(x),
        cuda: "asinh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.add(1.0)?.rsqrt()?),
        domain: (-2.0, 2.0),
        torch: "torch.asinh(x)",
    }
    /// The inverse hyperbolic cosine; NaN below 1
    /// ([`torch.acosh`](https://pytorch.org/docs/stable/generated/torch.acosh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.31696])?;
    /// assert!(Tensor::new([1.0f32, 2.0])?.acosh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ACOSH = acosh, acosh_() Float {
        vector: math::vacosh,
        float: |x, p| if x < 1.0 { f64::NAN } else { libm::acosh(x) },
        cuda: "acosh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.sub(1.0)?.rsqrt()?),
        domain: (1.3, 3.0),
        torch: "torch.acosh(x)",
    }
    /// The inverse hyperbolic tangent; NaN outside of -1 to 1
    /// ([`torch.atanh`](https://pytorch.org/docs/stable/generated/torch.atanh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.54931])?;
    /// assert!(Tensor::new([0.0f32, 0.5])?.atanh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ATANH = atanh, atanh_() Float {
        vector: math::vatanh,
        float: |x, p| libm::atanh(x),
        cuda: "atanh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.square()?.neg()?.add(1.0)?),
        domain: (-0.8, 0.8),
        torch: "torch.atanh(x)",
    }
    /// The error function
    /// ([`torch.erf`](https://pytorch.org/docs/stable/generated/torch.erf.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.5205])?;
    /// assert!(Tensor::new([0.0f32, 0.5])?.erf()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ERF = erf, erf_() Float {
        float: |x, p| R::erf(x),
        cuda: "erf(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.neg()?.exp()?.mul(FRAC_2_SQRT_PI)?),
        domain: (-2.0, 2.0),
        torch: "torch.erf(x)",
    }
    /// 1 less the error function; precise for large elements
    /// ([`torch.erfc`](https://pytorch.org/docs/stable/generated/torch.erfc.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 0.4795])?;
    /// assert!(Tensor::new([0.0f32, 0.5])?.erfc()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ERFC = erfc, erfc_() Float {
        float: |x, p| R::erfc(x),
        cuda: "erfc(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.neg()?.exp()?.mul(-FRAC_2_SQRT_PI)?),
        domain: (-2.0, 2.0),
        torch: "torch.erfc(x)",
    }
    /// The inverse of the error function: infinite at -1 and 1, NaN outside
    /// ([`torch.erfinv`](https://pytorch.org/docs/stable/generated/torch.erfinv.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.47694])?;
    /// assert!(Tensor::new([0.0f32, 0.5])?.erfinv()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ERFINV = erfinv, erfinv_() Float {
        vector: math::verfinv,
        float: |x, p| special::erfinv(x),
        cuda: "erfinv(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?.square()?.exp()?.mul(1.0 / FRAC_2_SQRT_PI)?),
        domain: (-0.8, 0.8),
        torch: "torch.erfinv(x)",
    }
    /// The natural logarithm of the gamma function's magnitude
    /// ([`torch.lgamma`](https://pytorch.org/docs/stable/generated/torch.lgamma.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.57236f32, 1.79176])?;
    /// assert!(Tensor::new([0.5f32, 4.0])?.lgamma()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LGAMMA = lgamma, lgamma_() Float {
        float: |x, p| S::lgamma(x),
        cuda: "lgamma(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.digamma()?),
        domain: (0.3, 4.0),
        torch: "torch.lgamma(x)",
    }
    /// The derivative of [`lgamma`](Tensor::lgamma): NaN at negative integers
    /// ([`torch.digamma`](https://pytorch.org/docs/stable/generated/torch.digamma.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.57722f32, 1.25612])?;
    /// assert!(Tensor::new([1.0f32, 4.0])?.digamma()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    DIGAMMA = digamma, digamma_() Float {
        float: |x, p| S::digamma(x),
        cuda: "digamma(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.polygamma(1.0)?),
        domain: (0.3, 4.0),
        torch: "torch.digamma(x)",
    }
    /// The derivative of order `n` (a whole number, not negative) of [`digamma`](Tensor::digamma)
    /// ([`torch.polygamma`](https://pytorch.org/docs/stable/generated/torch.polygamma.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.64493f32, 0.28382])?;
    /// let y = Tensor::new([1.0f32, 4.0])?.polygamma(1.0)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `n` is negative or a fraction.
    POLYGAMMA = polygamma, polygamma_(n) Float {
        float: |x, p| S::polygamma(x, p[0]),
        cuda: "p0 == 0 ? digamma(x) : (COMPUTE)polygamma((int)p0, (double)x)",
        saves: Saves::INPUTS,
        grad: |c, g, p| g.mul(c.input(0)?.polygamma(p[0] + 1.0)?),
        domain: (0.6, 4.0),
        torch: "torch.polygamma(int(p[0]), x)",
        params: [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]],
        check: |p| (p[0] < 0.0 || p[0].fract() != 0.0).then_some("the order n must be a whole number that is not negative"),
    }
    /// The next whole number downwards
    /// ([`torch.floor`](https://pytorch.org/docs/stable/generated/torch.floor.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.5f32, 2.5])?.floor()?.to_vec::<f32>()?, [-2.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    FLOOR = floor, floor_() Number {
        float: |x, p| x.floor(),
        int: |x, p| x,
        cuda: "floor(x)",
        cuda_int: "x",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 0.8),
        torch: "torch.floor(x)",
    }
    /// The next whole number upwards
    /// ([`torch.ceil`](https://pytorch.org/docs/stable/generated/torch.ceil.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.5f32, 2.5])?.ceil()?.to_vec::<f32>()?, [-1.0, 3.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    CEIL = ceil, ceil_() Number {
        float: |x, p| x.ceil(),
        int: |x, p| x,
        cuda: "ceil(x)",
        cuda_int: "x",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 0.8),
        torch: "torch.ceil(x)",
    }
    /// The nearest whole number; of two as near, the even one
    /// ([`torch.round`](https://pytorch.org/docs/stable/generated/torch.round.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.5f32, 2.5, 3.5])?.round()?.to_vec::<f32>()?, [-2.0, 2.0, 4.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    ROUND = round, round_() Number {
        float: |x, p| x.round_ties_even(),
        int: |x, p| x,
        cuda: "rint(x)",
        cuda_int: "x",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.6, 0.9),
        torch: "torch.round(x)",
    }
    /// The whole number next towards 0
    /// ([`torch.trunc`](https://pytorch.org/docs/stable/generated/torch.trunc.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.5f32, 2.5])?.trunc()?.to_vec::<f32>()?, [-1.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    TRUNC = trunc, trunc_() Number {
        float: |x, p| x.trunc(),
        int: |x, p| x,
        cuda: "trunc(x)",
        cuda_int: "x",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 0.8),
        torch: "torch.trunc(x)",
    }
    /// The element less its [`trunc`](Tensor::trunc); floating point alone
    /// ([`torch.frac`](https://pytorch.org/docs/stable/generated/torch.frac.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.25f32, 2.5])?.frac()?.to_vec::<f32>()?, [-0.25, 0.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    FRAC = frac, frac_() Number {
        float: |x, p| x - x.trunc(),
        cuda: "x - trunc(x)",
        saves: Saves::NONE,
        grad: |_, g, _| Ok(g.clone()),
        domain: (0.2, 0.8),
        torch: "torch.frac(x)",
    }
}

/// The square: bool squares as `i64`, as in PyTorch.
pub(crate) static SQUARE: Unary = unary_row!("square", Number,
    hot: true,
    float: |x, p| x * x,
    int: |x, p| x.wrapping_mul(x),
    cuda: "x * x",
    cuda_int: "(COMPUTE)((u64)x * (u64)x)",
    saves: Saves::INPUTS,
    grad: |c, g, _| g.mul(c.input(0)?.mul(2.0)?),
    domain: (-2.0, 2.0),
    torch: "torch.square(x)",
);

/// Rounding to a power of ten: p = [that power, 1 where it divides first].
static ROUND_DECIMALS: Unary = unary_row!("round", Number,
    float: |x, p| if p[1] == 0.0 { (x * p[0]).round_ties_even() / p[0] } else { (x / p[0]).round_ties_even() * p[0] },
    cuda: "p1 == 0 ? rint(x * p0) / p0 : rint(x / p0) * p0",
    saves: Saves::NONE,
    grad: zero,
    domain: (-2.0, 2.0),
    torch: "",
);

/// p = [for NaN, for +inf, for -inf].
static NAN_TO_NUM: Unary = unary_row!("nan_to_num", Same,
    float: |x, p| if x.is_nan() { p[0] } else if x.is_infinite() { if x > 0.0 { p[1] } else { p[2] } } else { x },
    int: |x, p| x,
    cuda: "x != x ? p0 : x - x != 0 ? (x > 0 ? p1 : p2) : x",
    cuda_int: "x",
    saves: Saves::INPUTS,
    grad: |c, g, _| keep(g, &c.input(0)?.isfinite()?),
    domain: (-2.0, 2.0),
    torch: "",
);

impl Tensor {
    /// Degrees to radians
    /// ([`torch.deg2rad`](https://pytorch.org/docs/stable/generated/torch.deg2rad.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([3.14159f32, 0.7854])?;
    /// assert!(Tensor::new([180.0f32, 45.0])?.deg2rad()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn deg2rad(&self) -> Result<Tensor> {
        self.mul(PI / 180.0)
    }
    /// [`deg2rad`](Tensor::deg2rad) in place.
    ///
    /// # Errors
    /// As [`deg2rad`](Tensor::deg2rad), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn deg2rad_(&self) -> Result<Tensor> {
        self.mul_(PI / 180.0)
    }
    /// Radians to degrees
    /// ([`torch.rad2deg`](https://pytorch.org/docs/stable/generated/torch.rad2deg.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([57.29578f32, -28.64789])?;
    /// assert!(Tensor::new([1.0f32, -0.5])?.rad2deg()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn rad2deg(&self) -> Result<Tensor> {
        self.mul(180.0 / PI)
    }
    /// [`rad2deg`](Tensor::rad2deg) in place.
    ///
    /// # Errors
    /// As [`rad2deg`](Tensor::rad2deg), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn rad2deg_(&self) -> Result<Tensor> {
        self.mul_(180.0 / PI)
    }

    /// The square of each element; bool squares as `i64`
    /// ([`torch.square`](https://pytorch.org/docs/stable/generated/torch.square.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.5f32, -2.0])?.square()?.to_vec::<f32>()?, [2.25, 4.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn square(&self) -> Result<Tensor> {
        if self.dtype() == DType::Bool {
            return self.to_dtype(DType::I64);
        }
        unary(&SQUARE, self, [0.0; 3])
    }
    /// [`square`](Tensor::square) in place.
    ///
    /// # Errors
    /// As [`square`](Tensor::square), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn square_(&self) -> Result<Tensor> {
        self.check_inplace("square")?;
        self.assign("square", original(self, &[])?.square()?)
    }

    /// Rounded to `decimals` places after the point, or before it where negative; ties go to the
    /// even digit. Floating point alone (`torch.round(x, decimals=..)`)
    /// ([`torch.round`](https://pytorch.org/docs/stable/generated/torch.round.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.25f32, 2.375])?.round_decimals(1)?.to_vec::<f32>()?, [1.2, 2.4]);
    /// assert_eq!(
    ///     Tensor::new([1250.0f32, 149.0])?.round_decimals(-2)?.to_vec::<f32>()?,
    ///     [1200.0, 100.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors, and for integers unless `decimals` is 0.
    #[track_caller]
    pub fn round_decimals(&self, decimals: i32) -> Result<Tensor> {
        if decimals == 0 {
            return self.round();
        }
        let params = [
            10f64.powi(decimals.saturating_abs()),
            (decimals < 0) as u8 as f64,
            0.0,
        ];
        unary(&ROUND_DECIMALS, self, params)
    }
    /// [`round_decimals`](Tensor::round_decimals) in place.
    ///
    /// # Errors
    /// As [`round_decimals`](Tensor::round_decimals), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn round_decimals_(&self, decimals: i32) -> Result<Tensor> {
        self.check_inplace("round")?;
        self.assign("round", self.round_decimals(decimals)?)
    }

    /// With 0 for NaN and the type's largest and smallest numbers for infinities
    /// ([`torch.nan_to_num`](https://pytorch.org/docs/stable/generated/torch.nan_to_num.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([f32::NAN, f32::INFINITY, -2.0])?;
    /// assert_eq!(x.nan_to_num()?.to_vec::<f32>()?, [0.0, f32::MAX, -2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn nan_to_num(&self) -> Result<Tensor> {
        self.nan_to_num_with(0.0, None, None)
    }
    /// With these numbers for NaN, +inf and -inf (`None`: the type's largest and smallest)
    /// ([`torch.nan_to_num`](https://pytorch.org/docs/stable/generated/torch.nan_to_num.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([f32::NAN, f32::INFINITY, f32::NEG_INFINITY])?;
    /// assert_eq!(
    ///     x.nan_to_num_with(1.0, Some(9.0), Some(-9.0))?.to_vec::<f32>()?,
    ///     [1.0, 9.0, -9.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`nan_to_num`](Tensor::nan_to_num).
    #[track_caller]
    pub fn nan_to_num_with(
        &self,
        nan: f64,
        posinf: Option<f64>,
        neginf: Option<f64>,
    ) -> Result<Tensor> {
        let largest = match self.dtype() {
            DType::F16 => half::f16::MAX.to_f64(),
            DType::BF16 => half::bf16::MAX.to_f64(),
            DType::F64 => f64::MAX,
            _ => f32::MAX as f64,
        };
        let params = [nan, posinf.unwrap_or(largest), neginf.unwrap_or(-largest)];
        unary(&NAN_TO_NUM, self, params)
    }
    /// [`nan_to_num`](Tensor::nan_to_num) in place.
    ///
    /// # Errors
    /// As [`nan_to_num`](Tensor::nan_to_num), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn nan_to_num_(&self) -> Result<Tensor> {
        self.check_inplace("nan_to_num")?;
        self.assign("nan_to_num", original(self, &[])?.nan_to_num()?)
    }
}

/// Samples of a row: in its domain; at 0, NaN, infinities and around usual kinks, where gradients
/// must be PyTorch's too; in the half types; and in what integer types the row takes.
pub(crate) fn row_spec(def: &'static Unary) -> OpSpec {
    const SPECIAL: [f64; 18] = [
        f64::NEG_INFINITY,
        -100.0,
        -2.5,
        -1.5,
        -1.0,
        -0.5,
        -1e-3,
        -0.0,
        0.0,
        1e-3,
        0.5,
        1.0,
        1.5,
        2.5,
        3.0,
        100.0,
        f64::INFINITY,
        f64::NAN,
    ];
    let numbers = |args: &[Arg]| -> Result<Params> {
        Ok([args[1].float()?, args[2].float()?, args[3].float()?])
    };
    let mut samples = Vec::new();
    for p in def.params {
        let call = |x| Sample::new(vec![x, Arg::F(p[0]), Arg::F(p[1]), Arg::F(p[2])]);
        samples.push(call(Arg::uniform([3, 4], def.domain)));
        samples.push(call(Arg::values([2, 9], &SPECIAL)).kinked());
        samples.push(call(Arg::uniform([6], def.domain)).dtypes(&[DType::F16, DType::BF16]));
        let wide = (def.domain.0 * 4.0, def.domain.1 * 4.0);
        let mut integers = vec![DType::I64, DType::I32, DType::I16, DType::I8, DType::U8];
        if !matches!(def.kind, Kind::Number) {
            integers.push(DType::Bool);
        }
        if matches!(def.kind, Kind::Float) || def.i32.is_some() {
            samples.push(call(Arg::uniform([2, 3], wide)).dtypes(&integers));
        }
    }
    OpSpec::new(
        def.name,
        format!("lambda x, *p: {}", def.torch),
        move |args| Ok(vec![unary(def, args[0].tensor()?, numbers(args)?)?]),
    )
    .inplace(move |args| Ok(vec![unary_(def, args[0].tensor()?, numbers(args)?)?]))
    .elementwise()
    .samples(samples)
}

/// What tests and goldens know of the table.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let values = |v: &[f64]| Arg::values([v.len()], v);
    let mut specs: Vec<OpSpec> = UNARY.iter().map(|&def| row_spec(def)).collect();
    for spec in &mut specs {
        // PyTorch's trigamma stops its series at an error of 1e-9.
        if ["digamma", "polygamma"].contains(&spec.name) {
            spec.tolerance = 20.0;
            // At poles it gives rounding noise.
            let x = values(&[-2.5, -1.5, -0.5, -1e-3, 0.5, 100.0, f64::NAN]);
            for sample in spec.samples.iter_mut().filter(|s| !s.smooth) {
                sample.args[0] = x.clone();
            }
        }
    }
    specs.push(row_spec(&SQUARE));
    let degrees = Sample::new(vec![Arg::uniform([5], (-200.0, 200.0))]);
    let integers = degrees.clone().dtypes(&[DType::I64, DType::Bool]);
    specs.push(
        OpSpec::new("deg2rad", "torch.deg2rad", |a| {
            Ok(vec![a[0].tensor()?.deg2rad()?])
        })
        .inplace(|a| Ok(vec![a[0].tensor()?.deg2rad_()?]))
        .elementwise()
        .samples(vec![degrees.clone(), integers.clone()]),
    );
    specs.push(
        OpSpec::new("rad2deg", "torch.rad2deg", |a| {
            Ok(vec![a[0].tensor()?.rad2deg()?])
        })
        .inplace(|a| Ok(vec![a[0].tensor()?.rad2deg_()?]))
        .elementwise()
        .samples(vec![degrees, integers]),
    );
    specs.push(
        OpSpec::new(
            "round_decimals",
            "lambda x, d: torch.round(x, decimals=d)",
            |args| {
                Ok(vec![
                    args[0].tensor()?.round_decimals(args[1].int()? as i32)?,
                ])
            },
        )
        .inplace(|args| {
            Ok(vec![
                args[0].tensor()?.round_decimals_(args[1].int()? as i32)?,
            ])
        })
        .elementwise()
        .samples(
            [2, 0, -2]
                .map(|d| {
                    let x = values(&[-2.5, -0.125, 0.376, 1234.5, 150.0, f64::NAN, f64::INFINITY]);
                    Sample::new(vec![x, Arg::I(d)]).kinked()
                })
                .to_vec(),
        ),
    );
    specs.push(
        OpSpec::new(
            "nan_to_num",
            "lambda x, *p: torch.nan_to_num(x, *p)",
            |args| {
                let x = args[0].tensor()?;
                Ok(vec![if args.len() == 1 {
                    x.nan_to_num()?
                } else {
                    x.nan_to_num_with(args[1].float()?, args[2].float_opt()?, args[3].float_opt()?)?
                }])
            },
        )
        .elementwise()
        .samples({
            let x = values(&[f64::NAN, 1.5, f64::INFINITY, f64::NEG_INFINITY, 0.0]);
            vec![
                Sample::new(vec![x.clone()]).kinked(),
                Sample::new(vec![x.clone()]).dtypes(&[DType::F16, DType::BF16]),
                Sample::new(vec![x.clone(), Arg::F(2.0), Arg::Nil, Arg::F(-7.0)]).kinked(),
                Sample::new(vec![Arg::uniform([3], (-5.0, 5.0))])
                    .dtypes(&[DType::I64, DType::Bool]),
            ]
        }),
    );
    specs
}
