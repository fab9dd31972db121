//! Operations on each element of one tensor. Each is a row of a table: those here, by family, and
//! the activation functions in `activation`.

mod exponential;
mod hyperbolic;
mod nan_to_num;
mod root;
mod round;
mod sign;
mod special;
mod trigonometric;

use super::hot::{self, HotUnary};
use super::{Kind, Lane, lane_of, map, original};
use crate::cuda::{self, Formula};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail};
use flambeau_cpu::arith::Arith;
use flambeau_cuda::kernels::Expr;
use smallvec::smallvec;

pub(crate) use root::SQUARE;

/// The tables of the families.
const TABLES: &[&[&Unary]] = &[
    sign::ROWS,
    exponential::ROWS,
    root::ROWS,
    trigonometric::ROWS,
    hyperbolic::ROWS,
    special::ROWS,
    round::ROWS,
];

/// Every row.
pub(crate) static UNARY: &[&Unary] = &joined::<{ count(TABLES) }>(TABLES);

/// How many rows the tables have.
pub(crate) const fn count(tables: &[&[&Unary]]) -> usize {
    let (mut n, mut t) = (0, 0);
    while t < tables.len() {
        n += tables[t].len();
        t += 1;
    }
    n
}

/// The rows of the tables, of which there are `N`, as one.
pub(crate) const fn joined<const N: usize>(tables: &[&[&'static Unary]]) -> [&'static Unary; N] {
    let mut all = [tables[0][0]; N];
    let (mut n, mut t) = (0, 0);
    while t < tables.len() {
        let mut i = 0;
        while i < tables[t].len() {
            all[n] = tables[t][i];
            (n, i) = (n + 1, i + 1);
        }
        t += 1;
    }
    all
}

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
        return Ok(super::in_place_rows(x, |_, out: &mut [T]| {
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
/// [further loops](super::hot); one with a `vector` function over slices takes that for f32, and one of
/// `vector64` for f64; `with` and `with64` are loops that take the numbers too.
macro_rules! unary_row {
    ($name:expr, $kind:ident,
        $(hot: $hot:ident,)?
        $(bits16: $bits16:expr,)?
        $(vector: $vector:path,)?
        $(vector64: $vector64:path,)?
        $(with: $with:expr,)?
        $(with64: $with64:expr,)?
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
            f32: unary_row!(@float f32 [$($vector)? $(with $with)?] |$x, $p| $float),
            f64: unary_row!(@float f64 [$($vector64)? $(with $with64)?] |$x, $p| $float),
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
    (@float $t:ty [] |$x:ident, $p:ident| $e:expr) => { $crate::ops::elementwise::unary::unary_loop!($t, |$x, $p| $e) };
    (@float $t:ty [with $loop:expr] $($rest:tt)*) => { $loop };
    (@float $t:ty [$vector:path] $($rest:tt)*) => { |x, out, _| $vector(x, out) };
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
        pub(super) const $table: &[&Unary] = &[$(&$id),*];

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

/// What tests and goldens know of this family.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let mut specs: Vec<OpSpec> = UNARY.iter().map(|&def| row_spec(def)).collect();
    special::adjust(&mut specs);
    specs.extend(root::specs());
    specs.extend(trigonometric::specs());
    specs.extend(round::specs());
    specs.extend(nan_to_num::specs());
    specs
}
