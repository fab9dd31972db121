//! Operations on the elements of two tensors, with broadcasting and type promotion: one row each
//! in [`BINARY`].

use super::{Lane, lane_of, map};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::broadcast;
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, DType, Result, bail};
use smallvec::smallvec;

type Loop<T> = fn(&[T], &[T], &mut [T]);
type Rule = fn(&Ctx<'_>, &Tensor) -> Result<Grads>;

/// A row of the table.
pub(crate) struct Binary {
    pub(crate) name: &'static str,
    /// Integers become `f32` first; otherwise the promoted type is kept.
    pub(crate) float: bool,
    f32: Loop<f32>,
    f64: Loop<f64>,
    i32: Option<Loop<i32>>,
    i64: Option<Loop<i64>>,
    saves: fn(&[bool]) -> Saves,
    rule: Rule,
    /// Where samples for the tests are drawn from.
    pub(crate) domain: ((f64, f64), (f64, f64)),
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

impl Op for BinaryOp {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let def = self.0;
        let (a, b) = (inputs[0], inputs[1]);
        if a.device() != b.device() {
            bail!(
                def.name,
                "the operands are on {} and {}; move one with to_device",
                a.device(),
                b.device()
            );
        }
        let shape = broadcast(def.name, a.shape(), b.shape())?;
        let promoted = result_type(&[a, b]);
        let dtype = if def.float {
            promoted.to_float()
        } else {
            promoted
        };
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
        let refuse = || {
            bail!(
                def.name,
                "there is no {} of {} and {} tensors",
                def.name,
                a.dtype(),
                b.dtype()
            )
        };
        let out = match lane_of(dtype) {
            DType::F32 => each(def, &shape, dtype, a, b, def.f32),
            DType::F64 => each(def, &shape, dtype, a, b, def.f64),
            DType::I64 => def
                .i64
                .map_or_else(refuse, |k| each(def, &shape, dtype, a, b, k)),
            _ => def
                .i32
                .map_or_else(refuse, |k| each(def, &shape, dtype, a, b, k)),
        }?;
        Ok(out.into())
    }

    fn saves(&self, needs: &[bool]) -> Saves {
        (self.0.saves)(needs)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        (self.0.rule)(ctx, grad)
    }
}

/// Runs a row.
#[track_caller]
pub(crate) fn binary(def: &'static Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    dispatch::call(BinaryOp(def), &[a, b])
}

/// Runs a row in place on `a`.
#[track_caller]
pub(crate) fn binary_(def: &'static Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.check_inplace(def.name)?;
    a.assign(def.name, binary(def, a, b)?)
}

/// A vectorised loop over one expression.
macro_rules! each {
    ($t:ty, |$x:ident, $y:ident| $e:expr) => {{
        flambeau_cpu::simd_fn! {
            fn kernel(a: &[$t], b: &[$t], out: &mut [$t]) {
                for ((o, &$x), &$y) in out.iter_mut().zip(a).zip(b) {
                    *o = $e;
                }
            }
        }
        kernel as Loop<$t>
    }};
}

/// A row of the table, and the methods that it gives the tensor.
macro_rules! binary_ops {
    ($(
        $(#[$doc:meta])*
        $id:ident = $name:ident, $inplace:ident $kind:ident {
            f32: |$x:ident, $y:ident| $f32:expr,
            f64: |$u:ident, $v:ident| $f64:expr,
            $(i32: |$i:ident, $j:ident| $i32:expr,
            i64: |$k:ident, $l:ident| $i64:expr,)?
            saves: $saves:expr,
            grad: $rule:expr,
            domain: $domain:expr $(,)?
        }
    )*) => {
        $(pub(crate) static $id: Binary = Binary {
            name: stringify!($name),
            float: binary_ops!(@float $kind),
            f32: each!(f32, |$x, $y| $f32),
            f64: each!(f64, |$u, $v| $f64),
            i32: binary_ops!(@int i32 $(|$i, $j| $i32)?),
            i64: binary_ops!(@int i64 $(|$k, $l| $i64)?),
            saves: $saves,
            rule: $rule,
            domain: $domain,
        };)*

        /// Every row.
        pub(crate) static BINARY: &[&Binary] = &[$(&$id),*];

        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, other: impl Operand) -> Result<Tensor> {
                    binary(&$id, self, &*other.operand()?)
                }
                #[doc = concat!("[`", stringify!($name), "`](Tensor::", stringify!($name), ") in place.")]
                #[track_caller]
                pub fn $inplace(&self, other: impl Operand) -> Result<Tensor> {
                    binary_(&$id, self, &*other.operand()?)
                }
            )*
        }
    };
    (@float Float) => { true };
    (@float Same) => { false };
    (@int $t:ty) => { None };
    (@int $t:ty |$x:ident, $y:ident| $e:expr) => { Some(each!($t, |$x, $y| $e)) };
}

/// The gradient where it is wanted.
fn want(ctx: &Ctx<'_>, i: usize, f: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
    ctx.needs(i).then(f).transpose()
}

const SIGNED: ((f64, f64), (f64, f64)) = ((-2.0, 2.0), (-2.0, 2.0));

binary_ops! {
    /// The sum. `other` is a tensor or a number; shapes broadcast, types promote.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// let sum = Tensor::new([[1.5f32], [2.5]])?.add(&Tensor::new([1i64, 2])?)?;
    /// assert_eq!((sum.shape(), sum.dtype()), (&[2, 2][..], DType::F32));
    /// assert_eq!(sum.to_vec::<f32>()?, [2.5, 3.5, 3.5, 4.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ADD = add, add_ Same {
        f32: |x, y| x + y,
        f64: |x, y| x + y,
        i32: |x, y| x.wrapping_add(y),
        i64: |x, y| x.wrapping_add(y),
        saves: |_| Saves::NONE,
        grad: |_, g| Ok(smallvec![Some(g.clone()), Some(g.clone())]),
        domain: SIGNED,
    }
    /// The difference.
    SUB = sub, sub_ Same {
        f32: |x, y| x - y,
        f64: |x, y| x - y,
        i32: |x, y| x.wrapping_sub(y),
        i64: |x, y| x.wrapping_sub(y),
        saves: |_| Saves::NONE,
        grad: |c, g| Ok(smallvec![Some(g.clone()), want(c, 1, || g.neg())?]),
        domain: SIGNED,
    }
    /// The product.
    MUL = mul, mul_ Same {
        f32: |x, y| x * y,
        f64: |x, y| x * y,
        i32: |x, y| x.wrapping_mul(y),
        i64: |x, y| x.wrapping_mul(y),
        saves: |needs| Saves::NONE.input_if(1, needs[0]).input_if(0, needs[1]),
        grad: |c, g| Ok(smallvec![want(c, 0, || g.mul(c.input(1)?))?, want(c, 1, || g.mul(c.input(0)?))?]),
        domain: SIGNED,
    }
    /// The quotient, always of a floating-point type (`torch.div`).
    DIV = div, div_ Float {
        f32: |x, y| x / y,
        f64: |x, y| x / y,
        saves: |needs| Saves::NONE.input_if(0, needs[1]).input(1),
        grad: |c, g| {
            let b = c.input(1)?;
            Ok(smallvec![
                want(c, 0, || g.div(&b))?,
                want(c, 1, || g.mul(c.input(0)?)?.div(b.square()?)?.neg())?,
            ])
        },
        domain: ((-2.0, 2.0), (0.5, 2.0)),
    }
}

/// The gradient of relu from that of its result: a row of its own, one pass instead of two.
static RELU_BACKWARD: Binary = Binary {
    name: "relu_backward",
    float: false,
    f32: each!(f32, |g, y| if y > 0.0 { g } else { 0.0 }),
    f64: each!(f64, |g, y| if y > 0.0 { g } else { 0.0 }),
    i32: None,
    i64: None,
    saves: |_| Saves::NONE.input(1),
    rule: |c, g| Ok(smallvec![Some(relu_backward(g, &c.input(1)?)?), None]),
    domain: SIGNED,
};

/// `grad` where `output` is positive, else 0.
pub(crate) fn relu_backward(grad: &Tensor, output: &Tensor) -> Result<Tensor> {
    binary(&RELU_BACKWARD, grad, output)
}

/// What tests and goldens know of the table.
pub(crate) fn specs() -> Vec<OpSpec> {
    BINARY
        .iter()
        .map(|&def| {
            let pair = |a: &[usize], b: &[usize]| {
                Sample::new(vec![
                    Arg::uniform(a, def.domain.0),
                    Arg::uniform(b, def.domain.1),
                ])
            };
            OpSpec::new(def.name, format!("torch.{}", def.name), move |args| {
                Ok(vec![binary(def, args[0].tensor()?, args[1].tensor()?)?])
            })
            .samples(vec![
                pair(&[3, 4], &[3, 4]),
                pair(&[3, 1], &[4]),
                pair(&[2, 3], &[]),
            ])
        })
        .collect()
}
