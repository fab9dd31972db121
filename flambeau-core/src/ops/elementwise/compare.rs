//! Comparisons and choices: results without a gradient of their own, and `where`.

use super::binary::result_type;
use super::{Lane, lane_of, map};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::shape::broadcast;
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, DType, Result, bail};
use smallvec::smallvec;

type Loop<T> = fn(&[T], &[T], &mut [u8]);

/// A comparison of two tensors; the result is bool.
pub(crate) struct Compare {
    pub(crate) name: &'static str,
    f32: Loop<f32>,
    f64: Loop<f64>,
    i32: Loop<i32>,
    i64: Loop<i64>,
}

#[track_caller]
fn compare(def: &'static Compare, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    fn each<T: Lane>(
        def: &Compare,
        shape: &[usize],
        a: &Tensor,
        b: &Tensor,
        kernel: Loop<T>,
    ) -> Result<Tensor> {
        map::<T, u8, 2>(def.name, shape, DType::Bool, [a, b], &|[a, b], out| {
            kernel(a, b, out)
        })
    }
    let shape = broadcast(def.name, a.shape(), b.shape())?;
    match lane_of(result_type(&[a, b])) {
        DType::F32 => each(def, &shape, a, b, def.f32),
        DType::F64 => each(def, &shape, a, b, def.f64),
        DType::I64 => each(def, &shape, a, b, def.i64),
        _ => each(def, &shape, a, b, def.i32),
    }
}

macro_rules! each {
    ($t:ty, |$x:ident, $y:ident| $e:expr) => {{
        flambeau_cpu::simd_fn! {
            fn kernel(a: &[$t], b: &[$t], out: &mut [u8]) {
                for ((o, &$x), &$y) in out.iter_mut().zip(a).zip(b) {
                    *o = ($e) as u8;
                }
            }
        }
        kernel as Loop<$t>
    }};
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $id:ident = $name:ident |$x:ident, $y:ident| $e:expr;)*) => {
        $(static $id: Compare = Compare {
            name: stringify!($name),
            f32: each!(f32, |$x, $y| $e),
            f64: each!(f64, |$x, $y| $e),
            i32: each!(i32, |$x, $y| $e),
            i64: each!(i64, |$x, $y| $e),
        };)*

        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, other: impl Operand) -> Result<Tensor> {
                    compare(&$id, self, &*other.operand()?)
                }
            )*
        }
    };
}

comparisons! {
    /// Where the elements are equal, as bool (`torch.eq`).
    EQ = eq |x, y| x == y;
    /// Where they differ.
    NE = ne |x, y| x != y;
    /// Where this one is smaller.
    LT = lt |x, y| x < y;
    /// Where this one is smaller or equal.
    LE = le |x, y| x <= y;
    /// Where this one is greater.
    GT = gt |x, y| x > y;
    /// Where this one is greater or equal.
    GE = ge |x, y| x >= y;
}

/// `condition ? a : b`.
#[derive(Debug)]
struct Where;

impl Op for Where {
    fn name(&self) -> &'static str {
        "where"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (condition, a, b) = (inputs[0], inputs[1], inputs[2]);
        if condition.dtype() != DType::Bool {
            bail!(
                "where",
                "the condition must be bool, not {}; compare first (x.ne(0))",
                condition.dtype()
            );
        }
        let dtype = result_type(&[a, b]);
        let shape = broadcast(
            "where",
            &broadcast("where", condition.shape(), a.shape())?,
            b.shape(),
        )?;
        fn each<T: Lane + super::KernelResult>(
            shape: &[usize],
            dtype: DType,
            inputs: [&Tensor; 3],
        ) -> Result<Tensor> {
            map::<T, T, 3>("where", shape, dtype, inputs, &|[c, a, b], out| {
                for (((o, c), a), b) in out.iter_mut().zip(c).zip(a).zip(b) {
                    *o = if c.to_bool() { *a } else { *b };
                }
            })
        }
        let inputs = [condition, a, b];
        let out = match lane_of(dtype) {
            DType::F32 => each::<f32>(&shape, dtype, inputs),
            DType::F64 => each::<f64>(&shape, dtype, inputs),
            DType::I64 => each::<i64>(&shape, dtype, inputs),
            _ => each::<i32>(&shape, dtype, inputs),
        }?;
        Ok(out.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE.input(0)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let condition = ctx.input(0)?;
        let zero = Tensor::zeros_with((), grad.dtype())?;
        let a = ctx
            .needs(1)
            .then(|| condition.where_(grad, &zero))
            .transpose()?;
        let b = ctx
            .needs(2)
            .then(|| condition.where_(&zero, grad))
            .transpose()?;
        Ok(smallvec![None, a, b])
    }
}

impl Tensor {
    /// Elements of `a` where this bool tensor is true, of `b` elsewhere (`torch.where`); all three
    /// broadcast, the types of `a` and `b` promote.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert_eq!(x.gt(0.0)?.where_(&x, 0.0)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the condition is not bool or shapes do not broadcast.
    #[track_caller]
    pub fn where_(&self, a: impl Operand, b: impl Operand) -> Result<Tensor> {
        dispatch::call(Where, &[self, &*a.operand()?, &*b.operand()?])
    }
}
