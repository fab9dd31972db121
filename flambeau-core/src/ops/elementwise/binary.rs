//! Operations on the elements of two tensors, with broadcasting and type promotion: one row each
//! in [`BINARY`].

use super::hot::{self, HotBinary};
use super::{Kind, Lane, lane_of, map, original, to_contiguous};
use crate::cuda::{self, Formula};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Shape, broadcast};
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, DType, Result, bail};
use flambeau_cpu::arith::Arith;
use flambeau_cuda::kernels::Expr;
use smallvec::smallvec;

pub(crate) type Loop<T> = fn(&[T], &[T], &mut [T]);
pub(crate) type Rule = fn(&Ctx<'_>, &Tensor) -> Result<Grads>;

/// A row of the table.
pub(crate) struct Binary {
    pub(crate) name: &'static str,
    /// What becomes of the promoted type.
    pub(crate) kind: Kind,
    pub(crate) f32: Option<Loop<f32>>,
    pub(crate) f64: Option<Loop<f64>>,
    pub(crate) i32: Option<Loop<i32>>,
    pub(crate) i64: Option<Loop<i64>>,
    pub(crate) hot: Option<&'static HotBinary>,
    /// The same as one of the runtime's loops, which there are for f64 and integers of every width.
    pub(crate) arith: Option<Arith>,
    /// The same for CUDA: an expression of `a` and `b` for floats, and one for integers.
    pub(crate) cuda: [&'static str; 2],
    /// Refuses operands of the type computed in.
    pub(crate) check: fn(DType, &Tensor, &Tensor) -> Result<()>,
    pub(crate) saves: fn(&[bool]) -> Saves,
    pub(crate) rule: Rule,
    /// Where samples for the tests are drawn from.
    pub(crate) domain: ((f64, f64), (f64, f64)),
    /// The same in Python.
    pub(crate) torch: &'static str,
}

/// Two operands under a row of the table.
#[derive(Clone, Copy)]
pub(crate) struct BinaryOp(pub(crate) &'static Binary);

impl std::fmt::Debug for BinaryOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

/// The type two operands are brought to (`torch.result_type`): tensors with dimensions, 0-d
/// tensors and numbers of the program are promoted among themselves; a lower rank changes the
/// type only where its category is higher.
pub(crate) fn result_type(tensors: &[&Tensor]) -> DType {
    if let [a, b] = tensors
        && a.dtype() == b.dtype()
        && a.dim() > 0
        && b.dim() > 0
    {
        return a.dtype();
    }
    let mut ranks: [Option<DType>; 3] = [None; 3];
    for t in tensors {
        let rank = if t.dim() > 0 {
            0
        } else {
            1 + t.is_number() as usize
        };
        // A floating-point number counts as the default type, though it is held in f64.
        let dtype = if rank == 2 && t.dtype().is_floating_point() {
            DType::F32
        } else {
            t.dtype()
        };
        ranks[rank] = Some(ranks[rank].map_or(dtype, |d| d.promote(dtype)));
    }
    ranks
        .into_iter()
        .flatten()
        .reduce(|high, low| {
            if low.category() > high.category() {
                low
            } else {
                high
            }
        })
        .unwrap_or(DType::F32)
}

impl Tensor {
    /// The type that arithmetic on `a` and `b` gives
    /// ([`torch.result_type`](https://pytorch.org/docs/stable/generated/torch.result_type.html)).
    /// Among tensors with
    /// dimensions the types promote ([`DType::promote`]); a 0-d tensor beside them, and a number
    /// beside any tensor, count only where their category (bool, integer, floating point) is
    /// higher. A floating-point number then counts as `f32`.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// let labels = Tensor::new([1i64, 2])?;
    /// assert_eq!(Tensor::result_type(&labels, Tensor::ones([2])?)?, DType::F32);
    /// assert_eq!(Tensor::result_type(&labels, 0.5)?, DType::F32);
    /// assert_eq!(Tensor::result_type(Tensor::ones_with([2], DType::F16)?, 0.5)?, DType::F16);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// None of its own: the operands' (see [`Operand`]).
    #[track_caller]
    pub fn result_type(a: impl Operand, b: impl Operand) -> Result<DType> {
        Ok(result_type(&[&*a.operand()?, &*b.operand()?]))
    }
}

impl Op for BinaryOp {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let def = self.0;
        let (a, b) = (inputs[0], inputs[1]);
        let (shape, dtype) = self.result(a, b)?;
        if wraps(a, dtype) || wraps(b, dtype) {
            let (a, b) = (
                to_contiguous(def.name, a, dtype)?,
                to_contiguous(def.name, b, dtype)?,
            );
            return self.forward(&[&a, &b]);
        }
        if let Some(out) = hot::binary(def, &shape, dtype, [a, b]) {
            return Ok(out?.into());
        }
        fn each<T: Lane + super::KernelResult>(
            def: &Binary,
            shape: &[usize],
            dtype: DType,
            a: &Tensor,
            b: &Tensor,
            kernel: Loop<T>,
        ) -> Result<Tensor> {
            map::<T, T, 2>(def.name, shape, dtype, [a, b], &|[a, b], out| {
                kernel(a, b, out)
            })
        }
        let refuse = || self.refuse(a, b);
        let out = match lane_of(dtype) {
            DType::F32 => def
                .f32
                .map_or_else(refuse, |k| each(def, &shape, dtype, a, b, k)),
            DType::F64 => def
                .f64
                .map_or_else(refuse, |k| each(def, &shape, dtype, a, b, k)),
            DType::I64 => def
                .i64
                .map_or_else(refuse, |k| each(def, &shape, dtype, a, b, k)),
            _ => def
                .i32
                .map_or_else(refuse, |k| each(def, &shape, dtype, a, b, k)),
        }?;
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (def, a, b) = (self.0, inputs[0], inputs[1]);
        let (shape, dtype) = self.result(a, b)?;
        if wraps(a, dtype) || wraps(b, dtype) {
            return self.cuda(&[
                &to_contiguous(def.name, a, dtype)?,
                &to_contiguous(def.name, b, dtype)?,
            ]);
        }
        match def.formula(dtype) {
            Some(f) => Ok(cuda::map(def.name, &f, &shape, dtype, &[a, b])?.into()),
            None => self.refuse(a, b).map(Output::from),
        }
    }

    fn saves(&self, needs: &[bool]) -> Saves {
        (self.0.saves)(needs)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        (self.0.rule)(ctx, grad)
    }
}

impl BinaryOp {
    /// Shape and type of the result.
    fn result(&self, a: &Tensor, b: &Tensor) -> Result<(Shape, DType)> {
        let def = self.0;
        let shape = broadcast(def.name, a.shape(), b.shape())?;
        let promoted = result_type(&[a, b]);
        let dtype = match def.kind {
            Kind::Float => promoted.to_float(),
            _ => promoted,
        };
        if def.kind == Kind::Number && dtype == DType::Bool {
            bail!(
                def.name,
                "there is no {} of bool tensors; convert one with to_dtype first",
                def.name
            );
        }
        (def.check)(dtype, a, b)?;
        Ok((shape, dtype))
    }

    fn refuse(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let name = self.0.name;
        let (a, b) = (a.dtype(), b.dtype());
        bail!(name, "there is no {name} of {a} and {b} tensors")
    }
}

/// Whether `t` is an integer wider than the result: it wraps before the operation, not only after.
fn wraps(t: &Tensor, dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8 | DType::I16) && t.dtype().size() > dtype.size()
}

impl Binary {
    /// What a CUDA device computes for results of `dtype`, where there is such an operation.
    fn formula(&self, dtype: DType) -> Option<Formula> {
        let lane = lane_of(dtype);
        let text = self.cuda[!lane.is_floating_point() as usize];
        let (expr, params) = (Expr::binary(text), [0.0; 3]);
        (!text.is_empty()).then_some(Formula { expr, lane, params })
    }
}

/// Runs a row.
#[track_caller]
pub(crate) fn binary(def: &'static Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    dispatch::call(BinaryOp(def), &[a, b])
}

/// Runs a row in the memory of `a`; false, with nothing done, where that cannot be, be it for an
/// error's sake.
#[track_caller]
fn write_in_place(def: &'static Binary, a: &Tensor, b: &Tensor) -> Result<bool> {
    fn each<T: Lane + super::KernelResult>(
        def: &Binary,
        a: &Tensor,
        b: &Tensor,
        kernel: Option<Loop<T>>,
    ) -> Result<bool> {
        let Some(kernel) = kernel else {
            return Ok(false);
        };
        super::map_in_place::<T, T, 2>(def.name, a, [a, b], &|[a, b], out| kernel(a, b, out))
    }
    let dtype = a.dtype();
    let fits = broadcast(def.name, a.shape(), b.shape()).is_ok_and(|s| s[..] == *a.shape());
    if !fits
        || !def.kind.keeps(dtype)
        || result_type(&[a, b]) != dtype
        || (def.check)(dtype, a, b).is_err()
    {
        return Ok(false);
    }
    if a.on_cuda() || b.on_cuda() {
        let formula = def.formula(dtype).filter(|_| a.on_cuda());
        return formula.map_or(Ok(false), |f| cuda::map_in_place(def.name, &f, a, &[a, b]));
    }
    if hot::binary_in_place(def, a, b) {
        return Ok(true);
    }
    // Narrow integers wrap before the operation.
    if matches!(dtype, DType::U8 | DType::I8 | DType::I16) {
        return Ok(false);
    }
    match lane_of(dtype) {
        DType::F32 => each(def, a, b, def.f32),
        DType::F64 => each(def, a, b, def.f64),
        DType::I64 => each(def, a, b, def.i64),
        _ => each(def, a, b, def.i32),
    }
}

/// Runs a row in place on `a`.
#[track_caller]
pub(crate) fn binary_(def: &'static Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.check_inplace(def.name)?;
    if a.changes_unrecorded(&[b]) && write_in_place(def, a, b)? {
        return Ok(a.written(def.name));
    }
    let result = if (def.saves)(&[a.tracked(), b.tracked()]).has(0) {
        // `b` may be `a`, which is then the original too.
        let x = original(a, &[b])?;
        binary(def, &x, if b.is(a) { &x } else { b })
    } else {
        binary(def, a, b)
    };
    a.assign(def.name, result?)
}

/// A vectorised loop over one expression.
macro_rules! binary_loop {
    ($t:ty, |$x:ident, $y:ident| $e:expr) => {{
        flambeau_cpu::simd_fn! {
            fn kernel(a: &[$t], b: &[$t], out: &mut [$t]) {
                for ((o, &$x), &$y) in out.iter_mut().zip(a).zip(b) {
                    *o = $e;
                }
            }
        }
        Some(kernel as $crate::ops::elementwise::binary::Loop<$t>)
    }};
}
pub(crate) use binary_loop;

/// One row; `float` is compiled for f32 and f64, `int` for i32 and i64. `hot` says whether the
/// operands of a row with [further loops](super::hot) may be exchanged, `arith` which of the runtime's
/// it has; `vector` and `vector64` are
/// functions over slices that are taken for f32 and f64.
macro_rules! binary_row {
    ($name:expr, $kind:ident,
        $(hot: $hot:expr,)?
        $(arith: $arith:ident,)?
        $(vector: $vector:path,)?
        $(vector64: $vector64:path,)?
        $(float: |$x:ident, $y:ident| $float:expr,)?
        $(int: |$i:ident, $j:ident| $int:expr,)?
        $(cuda: $cuda:literal,)?
        $(cuda_int: $cuda_int:literal,)?
        saves: $saves:expr,
        grad: $rule:expr,
        domain: $domain:expr,
        torch: $torch:expr
        $(, check: $check:expr)? $(,)?
    ) => {{
        Binary {
            name: $name,
            kind: Kind::$kind,
            f32: binary_row!(@float f32, [$($vector)?] $(|$x, $y| $float)?),
            f64: binary_row!(@float f64, [$($vector64)?] $(|$x, $y| $float)?),
            i32: binary_row!(@each i32 $(|$i, $j| $int)?),
            i64: binary_row!(@each i64 $(|$i, $j| $int)?),
            cuda: [concat!($($cuda)?), concat!($($cuda_int)?)],
            hot: binary_row!(@hot [$($hot)?] $(|$x, $y| $float)?),
            arith: binary_row!(@arith $($arith)?),
            check: binary_row!(@check $($check)?),
            saves: $saves,
            rule: $rule,
            domain: $domain,
            torch: $torch,
        }
    }};
    (@float $t:ty, [$vector:path] $($rest:tt)*) => { Some($vector) };
    (@float $t:ty, [] $($rest:tt)*) => { binary_row!(@each $t $($rest)*) };
    (@each $t:ty) => { None };
    (@each $t:ty |$x:ident, $y:ident| $e:expr) => { $crate::ops::elementwise::binary::binary_loop!($t, |$x, $y| $e) };
    (@hot [] $($rest:tt)*) => { None };
    (@hot [$hot:expr] |$x:ident, $y:ident| $e:expr) => { $crate::ops::elementwise::hot::hot_binary!($hot, |$x, $y| $e) };
    (@arith) => { None };
    (@arith $arith:ident) => { Some(flambeau_cpu::arith::Arith::$arith) };
    (@check) => { |_, _, _| Ok(()) };
    (@check $check:expr) => { $check };
}
pub(crate) use binary_row;

/// A table, and the methods that it gives the tensor.
macro_rules! binary_ops {
    ($table:ident: $(
        $(#[$doc:meta])*
        $id:ident = $name:ident, $inplace:ident $kind:ident { $($row:tt)* }
    )*) => {
        $(pub(crate) static $id: Binary = binary_row!(stringify!($name), $kind, $($row)*);)*

        /// Every row.
        pub(crate) static $table: &[&Binary] = &[$(&$id),*];

        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, other: impl Operand) -> Result<Tensor> {
                    binary(&$id, self, &*other.operand()?)
                }
                #[doc = concat!("[`", stringify!($name), "`](Tensor::", stringify!($name), ") in place.\n\n# Errors\nAs it, and as every [operation in place](Tensor#in-place).")]
                #[track_caller]
                pub fn $inplace(&self, other: impl Operand) -> Result<Tensor> {
                    binary_(&$id, self, &*other.operand()?)
                }
            )*
        }
    };
}
pub(crate) use binary_ops;

/// The gradient where it is wanted.
pub(crate) fn want(
    ctx: &Ctx<'_>,
    i: usize,
    f: impl FnOnce() -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    ctx.needs(i).then(f).transpose()
}

/// The rule of operations without one: their results are steps, or integers.
pub(crate) fn zeros(ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
    Ok(smallvec![
        want(ctx, 0, || grad.zeros_like())?,
        want(ctx, 1, || grad.zeros_like())?
    ])
}

pub(crate) const SIGNED: ((f64, f64), (f64, f64)) = ((-2.0, 2.0), (-2.0, 2.0));

fn no_bool(_: DType, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dtype() == DType::Bool || b.dtype() == DType::Bool {
        bail!(
            "sub",
            "bool tensors have no difference; use logical_xor, or logical_not to invert a mask"
        );
    }
    Ok(())
}

binary_ops! { BINARY:
    /// The sum. `other` is a tensor or a number; shapes broadcast, types promote. Of bool tensors,
    /// where either is true
    /// ([`torch.add`](https://pytorch.org/docs/stable/generated/torch.add.html)).
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// let sum = Tensor::new([[1.5f32], [2.5]])?.add(&Tensor::new([1i64, 2])?)?;
    /// assert_eq!((sum.shape(), sum.dtype()), (&[2, 2][..], DType::F32));
    /// assert_eq!(sum.to_vec::<f32>()?, [2.5, 3.5, 3.5, 4.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    ADD = add, add_ Same {
        hot: true,
        arith: Add,
        float: |x, y| x + y,
        int: |x, y| x.wrapping_add(y),
        cuda: "a + b",
        cuda_int: "(COMPUTE)((u64)a + (u64)b)",
        saves: |_| Saves::NONE,
        grad: |c, g| Ok(smallvec![want(c, 0, || Ok(g.clone()))?, want(c, 1, || Ok(g.clone()))?]),
        domain: SIGNED,
        torch: "torch.add",
    }
    /// The difference; not of bool tensors
    /// ([`torch.sub`](https://pytorch.org/docs/stable/generated/torch.sub.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([5.0f32, 1.0])?.sub(2)?.to_vec::<f32>()?, [3.0, -1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors, and where shapes do not broadcast.
    SUB = sub, sub_ Same {
        hot: false,
        arith: Sub,
        float: |x, y| x - y,
        int: |x, y| x.wrapping_sub(y),
        cuda: "a - b",
        cuda_int: "(COMPUTE)((u64)a - (u64)b)",
        saves: |_| Saves::NONE,
        grad: |c, g| Ok(smallvec![Some(g.clone()), want(c, 1, || g.neg())?]),
        domain: SIGNED,
        torch: "torch.sub",
        check: no_bool,
    }
    /// The product. Of bool tensors, where both are true
    /// ([`torch.mul`](https://pytorch.org/docs/stable/generated/torch.mul.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64], [2]])?.mul(&Tensor::new([3i64, 4])?)?.to_vec2::<i64>()?,
    ///     [[3, 4], [6, 8]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    MUL = mul, mul_ Same {
        hot: true,
        arith: Mul,
        float: |x, y| x * y,
        int: |x, y| x.wrapping_mul(y),
        cuda: "a * b",
        cuda_int: "(COMPUTE)((u64)a * (u64)b)",
        saves: |needs| Saves::NONE.input_if(1, needs[0]).input_if(0, needs[1]),
        grad: |c, g| Ok(smallvec![want(c, 0, || g.mul(c.input(1)?))?, want(c, 1, || g.mul(c.input(0)?))?]),
        domain: SIGNED,
        torch: "torch.mul",
    }
    /// The quotient, always of a floating-point type; x / 0 is infinite or NaN
    /// ([`torch.div`](https://pytorch.org/docs/stable/generated/torch.div.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([3i64, -1])?.div(2)?.to_vec::<f32>()?, [1.5, -0.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    DIV = div, div_ Float {
        hot: false,
        float: |x, y| x / y,
        cuda: "a / b",
        saves: |needs| Saves::NONE.input_if(0, needs[1]).input(1),
        grad: |c, g| {
            let b = c.input(1)?;
            Ok(smallvec![
                want(c, 0, || g.div(&b))?,
                want(c, 1, || g.neg()?.mul(c.input(0)?.div(&b)?.div(&b)?))?,
            ])
        },
        domain: ((-2.0, 2.0), (0.5, 2.0)),
        torch: "torch.div",
    }
}

/// The gradient of relu from that of its result: a row of its own, one pass instead of two.
static RELU_BACKWARD: Binary = binary_row!("relu_backward", Same,
    hot: false,
    float: |g, y| if y <= 0.0 { 0.0 } else { g },
    cuda: "b <= 0 ? 0 : a",
    saves: |_| Saves::NONE.input(1),
    grad: |c, g| Ok(smallvec![Some(relu_backward(g, &c.input(1)?)?), None]),
    domain: SIGNED,
    torch: "",
);

/// `grad` where `output` is not 0 (a NaN passes it on, as in PyTorch), else 0.
pub(crate) fn relu_backward(grad: &Tensor, output: &Tensor) -> Result<Tensor> {
    binary(&RELU_BACKWARD, grad, output)
}

const INTEGERS: [DType; 5] = [DType::I64, DType::I32, DType::I16, DType::I8, DType::U8];

/// Samples of a row: in its domain, with broadcasting and 0-d operands; every pair of special
/// numbers, where gradients must be PyTorch's too; half types and the integer types it takes.
pub(crate) fn row_spec(def: &'static Binary) -> OpSpec {
    const SPECIAL: [f64; 8] = [
        f64::NEG_INFINITY,
        -1.5,
        -1.0,
        -0.0,
        0.0,
        2.0,
        f64::INFINITY,
        f64::NAN,
    ];
    let (left, right) = def.domain;
    let pair =
        |a: &[usize], b: &[usize]| Sample::new(vec![Arg::uniform(a, left), Arg::uniform(b, right)]);
    let wide = |(low, high): (f64, f64)| (low * 8.0, high * 8.0);
    let integers = Sample::new(vec![
        Arg::uniform([8], wide(left)),
        Arg::uniform([8], wide(right)),
    ]);
    let mut samples = Vec::new();
    if def.f32.is_some() {
        samples.extend([
            pair(&[3, 4], &[3, 4]),
            pair(&[3, 1], &[4]),
            pair(&[2, 3], &[]),
        ]);
        let rows = SPECIAL.iter().flat_map(|&v| [v; 8]).collect::<Vec<_>>();
        let columns = SPECIAL.repeat(8);
        samples.push(
            Sample::new(vec![Arg::values([64], &rows), Arg::values([64], &columns)]).kinked(),
        );
        samples.push(pair(&[6], &[6]).dtypes(&[DType::F16, DType::BF16]));
    }
    if def.kind == Kind::Float || def.i32.is_some() {
        samples.push(integers.clone().dtypes(&INTEGERS));
    }
    if def.kind != Kind::Number
        && !std::ptr::eq(def, &SUB)
        && (def.kind == Kind::Float || def.i32.is_some())
    {
        samples.push(integers.dtypes(&[DType::Bool]));
    }
    let spec = OpSpec::new(def.name, def.torch, move |args| {
        Ok(vec![binary(def, args[0].tensor()?, args[1].tensor()?)?])
    })
    .inplace(move |args| Ok(vec![binary_(def, args[0].tensor()?, args[1].tensor()?)?]))
    .elementwise()
    .samples(samples);
    if def.f32.is_some() {
        let message = "do not broadcast";
        spec.errors(vec![(
            vec![Arg::uniform([2], left), Arg::uniform([3], right)],
            message,
        )])
    } else {
        spec.no_grad()
    }
}

/// What tests and goldens know of the table.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    BINARY.iter().map(|&def| row_spec(def)).collect()
}
