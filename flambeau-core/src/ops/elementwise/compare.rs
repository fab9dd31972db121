//! Questions about elements, answered in bool; they have no gradient.

use super::binary::result_type;
use super::{GRAIN, Lane, UNIT, lane_of, map};
use crate::cuda::{self, Formula};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::broadcast;
use crate::tensor::{Operand, Tensor};
use crate::{DType, Result, bail};
use flambeau_cpu::threads::parallel_slices_mut;
use flambeau_cuda::kernels::Expr;

type Loop<T> = fn(&[T], &[T], &mut [u8]);
type Ask<T> = fn(&[T], &mut [u8]);

/// A comparison of two tensors; the result is bool.
pub(crate) struct Compare {
    pub(crate) name: &'static str,
    f32: Loop<f32>,
    f64: Loop<f64>,
    i32: Loop<i32>,
    i64: Loop<i64>,
    u8: Loop<u8>,
    /// The same for CUDA, of `a` and `b`.
    cuda: &'static str,
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
    let dtype = result_type(&[a, b]);
    let bytes = |t: &Tensor| {
        let plain = t.is_contiguous() && *t.shape() == shape[..] && !t.on_cuda();
        plain && matches!(t.dtype(), DType::Bool | DType::U8)
    };
    if a.dtype() == b.dtype() && bytes(a) && bytes(b) {
        let (x, y) = (a.read(), b.read());
        return Tensor::build::<u8>(def.name, &shape, DType::Bool, |out| {
            let (x, y) = (x.slice::<u8>(), y.slice::<u8>());
            parallel_slices_mut(out, UNIT, GRAIN, |start, out| {
                let part = start..start + out.len();
                (def.u8)(&x[part.clone()], &y[part], out);
            });
        });
    }
    // Integers are compared by value: PyTorch's scalars wrap into the tensor's type first, so that
    // a uint8 of 44 equals 300 there.
    let wide = |t: &Tensor| t.dtype() == DType::I64;
    let lane = match lane_of(dtype) {
        DType::I32 if wide(a) || wide(b) => DType::I64,
        lane => lane,
    };
    if a.on_cuda() || b.on_cuda() {
        let (expr, params) = (Expr::binary(def.cuda), [0.0; 3]);
        let formula = Formula { expr, lane, params };
        return cuda::map(def.name, &formula, &shape, DType::Bool, &[a, b]);
    }
    match lane {
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
    ($($(#[$doc:meta])* $id:ident = $name:ident, $inplace:ident |$x:ident, $y:ident| $e:expr, $cuda:literal;)*) => {
        $(static $id: Compare = Compare {
            name: stringify!($name),
            f32: each!(f32, |$x, $y| $e),
            f64: each!(f64, |$x, $y| $e),
            i32: each!(i32, |$x, $y| $e),
            i64: each!(i64, |$x, $y| $e),
            u8: each!(u8, |$x, $y| $e),
            cuda: $cuda,
        };)*

        static COMPARISONS: &[&Compare] = &[$(&$id),*];

        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, other: impl Operand) -> Result<Tensor> {
                    compare(&$id, self, &*other.operand()?)
                }
                #[doc = concat!("[`", stringify!($name), "`](Tensor::", stringify!($name), ") in place: 0 or 1 in this tensor's type.\n\n# Errors\nAs it, and as every [operation in place](Tensor#in-place).")]
                #[track_caller]
                pub fn $inplace(&self, other: impl Operand) -> Result<Tensor> {
                    self.check_inplace(stringify!($name))?;
                    self.assign(stringify!($name), compare(&$id, self, &*other.operand()?)?)
                }
            )*
        }
    };
}

comparisons! {
    /// Where the elements are equal, as bool
    /// ([`torch.eq`](https://pytorch.org/docs/stable/generated/torch.eq.html)). NaN equals nothing;
    /// integers of
    /// different types are compared by value.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2, 3])?.eq(2)?.to_vec::<bool>()?, [false, true, false]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast; so for all comparisons.
    EQ = eq, eq_ |x, y| x == y, "a == b";
    /// Where they differ ([`torch.ne`](https://pytorch.org/docs/stable/generated/torch.ne.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.0f32, f32::NAN])?.ne(1)?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`eq`](Tensor::eq).
    NE = ne, ne_ |x, y| x != y, "a != b";
    /// Where this one is smaller
    /// ([`torch.lt`](https://pytorch.org/docs/stable/generated/torch.lt.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2, 3])?.lt(2)?.to_vec::<bool>()?, [true, false, false]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`eq`](Tensor::eq).
    LT = lt, lt_ |x, y| x < y, "a < b";
    /// Where this one is smaller or equal
    /// ([`torch.le`](https://pytorch.org/docs/stable/generated/torch.le.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2, 3])?.le(2)?.to_vec::<bool>()?, [true, true, false]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`eq`](Tensor::eq).
    LE = le, le_ |x, y| x <= y, "a <= b";
    /// Where this one is greater
    /// ([`torch.gt`](https://pytorch.org/docs/stable/generated/torch.gt.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2, 3])?.gt(2)?.to_vec::<bool>()?, [false, false, true]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`eq`](Tensor::eq).
    GT = gt, gt_ |x, y| x > y, "a > b";
    /// Where this one is greater or equal
    /// ([`torch.ge`](https://pytorch.org/docs/stable/generated/torch.ge.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2, 3])?.ge(2)?.to_vec::<bool>()?, [false, true, true]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`eq`](Tensor::eq).
    GE = ge, ge_ |x, y| x >= y, "a >= b";
    /// Where neither is 0 (NaN is not)
    /// ([`torch.logical_and`](https://pytorch.org/docs/stable/generated/torch.logical_and.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([0i64, 1, 1])?, Tensor::new([0i64, 0, 5])?);
    /// assert_eq!(a.logical_and(&b)?.to_vec::<bool>()?, [false, false, true]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`eq`](Tensor::eq).
    LOGICAL_AND = logical_and, logical_and_ |x, y| (x != Default::default()) & (y != Default::default()), "a != 0 && b != 0";
    /// Where one or both are not 0
    /// ([`torch.logical_or`](https://pytorch.org/docs/stable/generated/torch.logical_or.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([0i64, 1, 1])?, Tensor::new([0i64, 0, 5])?);
    /// assert_eq!(a.logical_or(&b)?.to_vec::<bool>()?, [false, true, true]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`eq`](Tensor::eq).
    LOGICAL_OR = logical_or, logical_or_ |x, y| (x != Default::default()) | (y != Default::default()), "a != 0 || b != 0";
    /// Where one of both is not 0
    /// ([`torch.logical_xor`](https://pytorch.org/docs/stable/generated/torch.logical_xor.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([0i64, 1, 1])?, Tensor::new([0i64, 0, 5])?);
    /// assert_eq!(a.logical_xor(&b)?.to_vec::<bool>()?, [false, true, false]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`eq`](Tensor::eq).
    LOGICAL_XOR = logical_xor, logical_xor_ |x, y| (x != Default::default()) ^ (y != Default::default()), "(a != 0) != (b != 0)";
}

/// A question about one element.
pub(crate) struct Predicate {
    pub(crate) name: &'static str,
    f32: Ask<f32>,
    f64: Ask<f64>,
    i32: Ask<i32>,
    i64: Ask<i64>,
    /// The same for CUDA, of a float `x` and of an integer one.
    cuda: [&'static str; 2],
}

#[track_caller]
fn predicate(def: &'static Predicate, x: &Tensor) -> Result<Tensor> {
    fn each<T: Lane>(def: &Predicate, x: &Tensor, kernel: Ask<T>) -> Result<Tensor> {
        map::<T, u8, 1>(def.name, x.shape(), DType::Bool, [x], &|[x], out| {
            kernel(x, out)
        })
    }
    if x.on_cuda() {
        let lane = lane_of(x.dtype());
        let expr = Expr::unary(def.cuda[!lane.is_floating_point() as usize]);
        let params = [0.0; 3];
        let formula = Formula { expr, lane, params };
        return cuda::map(def.name, &formula, x.shape(), DType::Bool, &[x]);
    }
    match lane_of(x.dtype()) {
        DType::F32 => each(def, x, def.f32),
        DType::F64 => each(def, x, def.f64),
        DType::I64 => each(def, x, def.i64),
        _ => each(def, x, def.i32),
    }
}

macro_rules! ask {
    ($t:ty, |$x:ident| $e:expr) => {{
        flambeau_cpu::simd_fn! {
            fn kernel(x: &[$t], out: &mut [u8]) {
                for (o, &$x) in out.iter_mut().zip(x) {
                    *o = ($e) as u8;
                }
            }
        }
        kernel as Ask<$t>
    }};
}

macro_rules! predicates {
    ($($(#[$doc:meta])* $id:ident = $name:ident |$x:ident| $float:expr, |$z:ident| $int:expr, $cuda:expr;)*) => {
        $(static $id: Predicate = Predicate {
            name: stringify!($name),
            f32: ask!(f32, |$x| $float),
            f64: ask!(f64, |$x| $float),
            i32: ask!(i32, |$z| $int),
            i64: ask!(i64, |$z| $int),
            cuda: $cuda,
        };)*

        static PREDICATES: &[&Predicate] = &[$(&$id),*];

        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self) -> Result<Tensor> {
                    predicate(&$id, self)
                }
            )*
        }
    };
}

predicates! {
    /// Where the element is NaN
    /// ([`torch.isnan`](https://pytorch.org/docs/stable/generated/torch.isnan.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.0f32, f32::NAN])?.isnan()?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ISNAN = isnan |x| x.is_nan(), |_x| false, ["x != x", "false"];
    /// Where it is infinite
    /// ([`torch.isinf`](https://pytorch.org/docs/stable/generated/torch.isinf.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([1.0f32, f32::NEG_INFINITY])?.isinf()?.to_vec::<bool>()?,
    ///     [false, true]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ISINF = isinf |x| x.is_infinite(), |_x| false, ["x == x && x - x != 0", "false"];
    /// Where it is neither infinite nor NaN
    /// ([`torch.isfinite`](https://pytorch.org/docs/stable/generated/torch.isfinite.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([1.0f32, f32::INFINITY, f32::NAN])?.isfinite()?.to_vec::<bool>()?,
    ///     [true, false, false]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ISFINITE = isfinite |x| x.is_finite(), |_x| true, ["x - x == 0", "true"];
    /// Where it is positive infinity
    /// ([`torch.isposinf`](https://pytorch.org/docs/stable/generated/torch.isposinf.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([f32::INFINITY, f32::NEG_INFINITY])?.isposinf()?.to_vec::<bool>()?,
    ///     [true, false]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ISPOSINF = isposinf |x| x.is_infinite() & (x > 0.0), |_x| false, ["x > 0 && x - x != 0", "false"];
    /// Where it is negative infinity
    /// ([`torch.isneginf`](https://pytorch.org/docs/stable/generated/torch.isneginf.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([f32::INFINITY, f32::NEG_INFINITY])?.isneginf()?.to_vec::<bool>()?,
    ///     [false, true]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ISNEGINF = isneginf |x| x.is_infinite() & (x < 0.0), |_x| false, ["x < 0 && x - x != 0", "false"];
    /// Where its sign is negative, -0 included
    /// ([`torch.signbit`](https://pytorch.org/docs/stable/generated/torch.signbit.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([2.0f32, -0.0])?.signbit()?.to_vec::<bool>()?, [false, true]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SIGNBIT = signbit |x| x.is_sign_negative(), |x| x < 0, ["copysign(COMPUTE(1), x) < 0", "x < 0"];
    /// Where it is 0
    /// ([`torch.logical_not`](https://pytorch.org/docs/stable/generated/torch.logical_not.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([0i64, 3])?.logical_not()?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOGICAL_NOT = logical_not |x| x == 0.0, |x| x == 0, ["x == 0", "x == 0"];
}

impl Tensor {
    /// [`logical_not`](Tensor::logical_not) in place: 0 or 1 in this tensor's type.
    ///
    /// # Errors
    /// As every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn logical_not_(&self) -> Result<Tensor> {
        self.check_inplace("logical_not")?;
        self.assign("logical_not", self.logical_not()?)
    }

    /// Every bit inverted; of bool tensors, the opposite. Integers and bool alone
    /// ([`torch.bitwise_not`](https://pytorch.org/docs/stable/generated/torch.bitwise_not.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([0i64, 5])?.bitwise_not()?.to_vec::<i64>()?, [-1, -6]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For floating-point tensors.
    #[track_caller]
    pub fn bitwise_not(&self) -> Result<Tensor> {
        match self.dtype() {
            DType::Bool => self.logical_not(),
            // -1 has every bit set.
            _ => self.bitwise_xor(-1i64),
        }
    }
    /// [`bitwise_not`](Tensor::bitwise_not) in place.
    ///
    /// # Errors
    /// As [`bitwise_not`](Tensor::bitwise_not), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn bitwise_not_(&self) -> Result<Tensor> {
        self.check_inplace("bitwise_not")?;
        self.assign("bitwise_not", self.bitwise_not()?)
    }

    /// Where |this - other| <= atol + rtol |other|, or both are equal; two NaNs where `equal_nan`.
    /// PyTorch's defaults: `rtol` 1e-5, `atol` 1e-8, `equal_nan` false
    /// ([`torch.isclose`](https://pytorch.org/docs/stable/generated/torch.isclose.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.000001f32, 2.1])?);
    /// assert_eq!(a.isclose(&b, 1e-5, 1e-8, false)?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the types differ or a tolerance is negative.
    #[track_caller]
    pub fn isclose(&self, other: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<Tensor> {
        if self.dtype() != other.dtype() {
            bail!(
                "isclose",
                "{} and {} tensors; convert one with to_dtype",
                self.dtype(),
                other.dtype()
            );
        }
        if !(rtol >= 0.0 && atol >= 0.0) {
            bail!(
                "isclose",
                "tolerances must not be negative; got rtol {rtol}, atol {atol}"
            );
        }
        let float = self.dtype().to_float();
        let (a, b) = (self.detach(), other.detach());
        let mut close = a.eq(&b)?;
        if equal_nan {
            close = close.logical_or(a.isnan()?.logical_and(b.isnan()?)?)?;
        }
        let (a, b) = (a.to_dtype(float)?, b.to_dtype(float)?);
        let distance = a.sub(&b)?.abs()?;
        let near = distance.le(b.mul(rtol)?.abs()?.add(atol)?)?;
        close.logical_or(near.logical_and(distance.isfinite()?)?)
    }

    /// Whether all elements are [close](Tensor::isclose)
    /// ([`torch.allclose`](https://pytorch.org/docs/stable/generated/torch.allclose.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.000001f32, 2.0])?);
    /// assert!(a.allclose(&b, 1e-5, 1e-8, false)? && !a.allclose(&b, 0.0, 0.0, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`isclose`](Tensor::isclose).
    #[track_caller]
    pub fn allclose(&self, other: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<bool> {
        let close = self.isclose(other, rtol, atol, equal_nan)?;
        Ok(close.to_vec::<bool>()?.into_iter().all(|c| c))
    }

    /// Whether both have the same shape and equal elements
    /// ([`torch.equal`](https://pytorch.org/docs/stable/generated/torch.equal.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([1i64, 2])?;
    /// assert!(x.equal(&x.copy()?)? && !x.equal(&Tensor::new([1i64])?)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where they are on different devices.
    #[track_caller]
    pub fn equal(&self, other: &Tensor) -> Result<bool> {
        Ok(self.shape() == other.shape()
            && self.eq(other)?.to_vec::<bool>()?.into_iter().all(|e| e))
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
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
    let rows = SPECIAL.iter().flat_map(|&v| [v; 8]).collect::<Vec<_>>();
    let columns = SPECIAL.repeat(8);
    let pair = |a: &[usize], b: &[usize]| {
        Sample::new(vec![
            Arg::uniform(a, (-3.0, 3.0)),
            Arg::uniform(b, (-3.0, 3.0)),
        ])
    };
    let integers = [
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::Bool,
    ];
    let halves = [DType::F16, DType::BF16];
    let pairs = vec![
        Sample::new(vec![Arg::values([64], &rows), Arg::values([64], &columns)]),
        pair(&[3, 1], &[4]),
        pair(&[9], &[9]).dtypes(&integers),
        pair(&[9], &[9]).dtypes(&halves),
    ];
    let mut specs: Vec<OpSpec> = COMPARISONS
        .iter()
        .map(|&def| {
            OpSpec::new(def.name, format!("torch.{}", def.name), move |a| {
                Ok(vec![compare(def, a[0].tensor()?, a[1].tensor()?)?])
            })
            .no_grad()
            .elementwise()
            .samples(pairs.clone())
        })
        .collect();
    specs.extend(PREDICATES.iter().map(|&def| {
        OpSpec::new(def.name, format!("torch.{}", def.name), move |a| {
            Ok(vec![predicate(def, a[0].tensor()?)?])
        })
        .no_grad()
        .elementwise()
        .samples(vec![
            Sample::new(vec![Arg::values([8], &SPECIAL)]),
            Sample::new(vec![Arg::values([8], &SPECIAL)]).dtypes(&halves),
            Sample::new(vec![Arg::uniform([9], (-3.0, 3.0))]).dtypes(&integers),
        ])
    }));
    specs.push(
        OpSpec::new("bitwise_not", "torch.bitwise_not", |a| {
            Ok(vec![a[0].tensor()?.bitwise_not()?])
        })
        .inplace(|a| Ok(vec![a[0].tensor()?.bitwise_not_()?]))
        .no_grad()
        .elementwise()
        .samples(vec![
            Sample::new(vec![Arg::uniform([9], (-9.0, 9.0))]).dtypes(&integers),
        ])
        .errors(vec![(
            vec![Arg::uniform([2], (0.0, 1.0))],
            "there is no bitwise_xor of float32",
        )]),
    );
    specs.push(
        OpSpec::new("isclose", "torch.isclose", |a| {
            let (x, y) = (a[0].tensor()?, a[1].tensor()?);
            Ok(vec![x.isclose(
                y,
                a[2].float()?,
                a[3].float()?,
                a[4].bool()?,
            )?])
        })
        .no_grad()
        .elementwise()
        .samples({
            let call = |a: Arg, b: Arg, rtol: f64, atol: f64, nan: bool| {
                Sample::new(vec![a, b, Arg::F(rtol), Arg::F(atol), Arg::B(nan)])
            };
            let near = |by: f64| SPECIAL.map(|v| v + by);
            vec![
                call(
                    Arg::values([64], &rows),
                    Arg::values([64], &columns),
                    1e-5,
                    1e-8,
                    false,
                ),
                call(
                    Arg::values([8], &SPECIAL),
                    Arg::values([8], &near(0.01)),
                    0.006,
                    0.0,
                    true,
                ),
                call(
                    Arg::values([8], &SPECIAL),
                    Arg::values([8], &near(0.01)),
                    0.0,
                    0.02,
                    false,
                ),
                call(
                    Arg::uniform([6], (-3.0, 3.0)),
                    Arg::uniform([6], (-3.0, 3.0)),
                    0.5,
                    0.0,
                    false,
                )
                .dtypes(&integers),
            ]
        })
        .errors(vec![
            (
                vec![
                    Arg::uniform([1], (0.0, 1.0)),
                    Arg::uniform([1], (0.0, 1.0)),
                    Arg::F(-1.0),
                    Arg::F(0.0),
                    Arg::B(false),
                ],
                "must not be negative",
            ),
            (
                vec![
                    Arg::uniform([1], (0.0, 1.0)),
                    Arg::ints([1], (0, 2)),
                    Arg::F(0.0),
                    Arg::F(0.0),
                    Arg::B(false),
                ],
                "convert one with to_dtype",
            ),
        ]),
    );
    specs
}
