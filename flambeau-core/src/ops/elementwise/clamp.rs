//! Bounds for elements: `clamp`.

use super::Kind;
use super::binary::{result_type, want};
use super::gate::Gate;
use super::unary::{Params, Unary, keep, unary, unary_, unary_row};
use super::{map, original};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::broadcast;
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, DType, Result, bail};
use smallvec::smallvec;

/// In p[2] of [`CLAMP`].
const BOTH: f64 = 0.0;
const MIN_ONLY: f64 = 1.0;
const MAX_ONLY: f64 = 2.0;

/// p = [min, max, which of them there are]; infinite where there is none.
static CLAMP: Unary = unary_row!("clamp", Number,
    hot: true,
    float: |x, p| {
        // Compared so that an element that is NaN stays; a bound that is, is added.
        let y = if p[0] > x { p[0] } else { x };
        let y = if p[1] < y { p[1] } else { y };
        y + if p[0].is_nan() { p[0] } else if p[1].is_nan() { p[1] } else { -0.0 }
    },
    int: |x, p| x.max(p[0]).min(p[1]),
    cuda: "minimum(maximum(x, p0), p1)",
    saves: Saves::INPUTS,
    grad: |c, g, p| {
        let gate = match p[2] {
            MIN_ONLY => Gate::open(p[0], f64::INFINITY),
            MAX_ONLY => Gate::open(f64::NEG_INFINITY, p[1]),
            _ => Gate::open(p[0], p[1]),
        };
        gate.pass(g, &c.input(0)?)
    },
    domain: (-1.0, 1.0),
    torch: "",
);

/// Clamping between tensors: inputs x, min, max.
#[derive(Debug)]
struct Clamp;

impl Op for Clamp {
    fn name(&self) -> &'static str {
        "clamp"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let inputs = [inputs[0], inputs[1], inputs[2]];
        let dtype = inputs[0].dtype();
        if dtype != DType::F32 || inputs.iter().any(|t| t.dtype() != dtype) {
            return self.cuda(&inputs);
        }
        flambeau_cpu::simd_fn! {
            fn clamp(x: &[f32], min: &[f32], max: &[f32], out: &mut [f32]) {
                for (((o, &x), &min), &max) in out.iter_mut().zip(x).zip(min).zip(max) {
                    let y = if x > min || x.is_nan() { x } else { min };
                    *o = if y < max || y.is_nan() { y } else { max };
                }
            }
        }
        let shape = broadcast("clamp", inputs[0].shape(), inputs[1].shape())?;
        let shape = broadcast("clamp", &shape, inputs[2].shape())?;
        let kernel = |[x, min, max]: [&[f32]; 3], out: &mut [f32]| clamp(x, min, max, out);
        Ok(map::<f32, f32, 3>("clamp", &shape, dtype, inputs, &kernel)?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        Ok(inputs[0].maximum(inputs[1])?.minimum(inputs[2])?.into())
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let (x, min, max) = (ctx.input(0)?, ctx.input(1)?, ctx.input(2)?);
        // At a bound, element and bound share; where the bounds meet, the element has it all.
        let open = min.lt(&max)?;
        let at_min = x.eq(&min)?.logical_and(&open)?;
        let at_max = x.eq(&max)?.logical_and(&open)?;
        let half = grad.mul(0.5)?;
        Ok(smallvec![
            want(ctx, 0, || {
                let shared = at_min.logical_or(&at_max)?.where_(&half, grad)?;
                keep(
                    &shared,
                    &x.lt(&min)?.logical_or(x.gt(&max)?)?.logical_not()?,
                )
            })?,
            want(ctx, 1, || {
                let below = x.lt(&min)?.logical_and(min.le(&max)?)?;
                at_min.where_(&half, keep(grad, &below)?)
            })?,
            want(ctx, 2, || {
                let above = x.gt(&max)?.logical_or(max.lt(&min)?)?;
                at_max.where_(&half, keep(grad, &above)?)
            })?,
        ])
    }
}

/// The row's numbers for clamping `x` of type `dtype`; nothing where a bound is a tensor, or an
/// integer that the row does not hold exactly.
fn bounds(
    x: &Tensor,
    dtype: DType,
    min: Option<&Tensor>,
    max: Option<&Tensor>,
) -> Result<Option<Params>> {
    // Integers only where f64 holds the bounds, and their type does.
    let limit = if dtype == DType::I32 { 31 } else { 53 };
    let small = |t: &Tensor| {
        t.item::<f64>()
            .is_ok_and(|v| v.abs() < f64::exp2(limit.into()))
    };
    let exact = |t: &Tensor| match dtype {
        DType::I64 | DType::I32 => t.is_number() && !x.on_cuda() && small(t),
        _ => t.is_number() && dtype.is_floating_point(),
    };
    if !min.is_none_or(exact) || !max.is_none_or(exact) {
        return Ok(None);
    }
    let which = match (min, max) {
        (_, None) => MIN_ONLY,
        (None, _) => MAX_ONLY,
        _ => BOTH,
    };
    let min = min.map_or(Ok(f64::NEG_INFINITY), Tensor::item)?;
    let max = max.map_or(Ok(f64::INFINITY), Tensor::item)?;
    Ok(Some([min, max, which]))
}

#[track_caller]
fn clamp(x: &Tensor, min: Option<&Tensor>, max: Option<&Tensor>) -> Result<Tensor> {
    let mut all = vec![x];
    all.extend(min);
    all.extend(max);
    let dtype = result_type(&all);
    if dtype == DType::Bool {
        bail!(
            "clamp",
            "there is no clamp of bool tensors; convert with to_dtype first"
        );
    }
    let x = x.to_dtype(dtype)?;
    if let Some(bounds) = bounds(&x, dtype, min, max)? {
        return unary(&CLAMP, &x, bounds);
    }
    match (min, max) {
        (Some(min), Some(max)) => dispatch::call(Clamp, &[&x, min, max]),
        (Some(min), None) => x.maximum(min),
        (None, Some(max)) => x.minimum(max),
        (None, None) => Ok(x),
    }
}

#[track_caller]
fn clamp_(
    op: &'static str,
    x: &Tensor,
    min: Option<&Tensor>,
    max: Option<&Tensor>,
) -> Result<Tensor> {
    let mut all = vec![x];
    all.extend(min);
    all.extend(max);
    if result_type(&all) == x.dtype()
        && let Some(bounds) = bounds(x, x.dtype(), min, max)?
    {
        return unary_(&CLAMP, x, bounds);
    }
    x.check_inplace(op)?;
    x.assign(op, clamp(&original(x, &all[1..])?, min, max)?)
}

impl Tensor {
    /// Elements brought into `min`..`max`, numbers or tensors that broadcast: min(max(x, min), max),
    /// so `max` where the bounds cross. NaN, in the element or a bound, gives NaN. The gradient passes
    /// inside of the bounds; at a number it is 0, at a tensor element and bound share it. Types
    /// promote: integers clamped to a fraction are `f32`
    /// ([`torch.clamp`](https://pytorch.org/docs/stable/generated/torch.clamp.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-2.0f32, 0.5, 3.0])?.clamp(-1, 1.5)?.to_vec::<f32>()?,
    ///     [-1.0, 0.5, 1.5]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors, and where shapes do not broadcast.
    #[track_caller]
    pub fn clamp(&self, min: impl Operand, max: impl Operand) -> Result<Tensor> {
        clamp(self, Some(&*min.operand()?), Some(&*max.operand()?))
    }
    /// [`clamp`](Tensor::clamp) in place.
    ///
    /// # Errors
    /// As [`clamp`](Tensor::clamp), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn clamp_(&self, min: impl Operand, max: impl Operand) -> Result<Tensor> {
        clamp_(
            "clamp",
            self,
            Some(&*min.operand()?),
            Some(&*max.operand()?),
        )
    }
    /// Elements brought up to `min` (`x.clamp(min=..)`)
    /// ([`torch.clamp`](https://pytorch.org/docs/stable/generated/torch.clamp.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-2.0f32, 0.5])?.clamp_min(0)?.to_vec::<f32>()?, [0.0, 0.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`clamp`](Tensor::clamp).
    #[track_caller]
    pub fn clamp_min(&self, min: impl Operand) -> Result<Tensor> {
        clamp(self, Some(&*min.operand()?), None)
    }
    /// [`clamp_min`](Tensor::clamp_min) in place.
    ///
    /// # Errors
    /// As [`clamp`](Tensor::clamp), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn clamp_min_(&self, min: impl Operand) -> Result<Tensor> {
        clamp_("clamp_min", self, Some(&*min.operand()?), None)
    }
    /// Elements brought down to `max` (`x.clamp(max=..)`)
    /// ([`torch.clamp`](https://pytorch.org/docs/stable/generated/torch.clamp.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([0.5f32, 3.0])?.clamp_max(1)?.to_vec::<f32>()?, [0.5, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`clamp`](Tensor::clamp).
    #[track_caller]
    pub fn clamp_max(&self, max: impl Operand) -> Result<Tensor> {
        clamp(self, None, Some(&*max.operand()?))
    }
    /// [`clamp_max`](Tensor::clamp_max) in place.
    ///
    /// # Errors
    /// As [`clamp`](Tensor::clamp), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn clamp_max_(&self, max: impl Operand) -> Result<Tensor> {
        clamp_("clamp_max", self, None, Some(&*max.operand()?))
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let x = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let number = |a: &Arg| -> Result<Tensor> {
        match a {
            Arg::T(t) => Ok(t.clone()),
            Arg::I(v) => Ok(v.operand()?.into_owned()),
            other => Ok(other.float()?.operand()?.into_owned()),
        }
    };
    let special = || {
        let v = [
            f64::NEG_INFINITY,
            -0.5,
            0.0,
            0.5,
            2.0,
            f64::INFINITY,
            f64::NAN,
        ];
        Arg::values([7], &v)
    };
    let mut specs = Vec::new();
    let bounds = [
        ("clamp", "torch.clamp"),
        ("clamp_min", "torch.clamp_min"),
        ("clamp_max", "torch.clamp_max"),
    ];
    for (name, torch) in bounds {
        let run = move |a: &[Arg], inplace: bool| -> Result<Vec<Tensor>> {
            let x = a[0].tensor()?;
            let (first, last) = (number(&a[1])?, number(&a[a.len() - 1])?);
            Ok(vec![match (name, inplace) {
                ("clamp", false) => x.clamp(first, last),
                ("clamp", true) => x.clamp_(first, last),
                ("clamp_min", false) => x.clamp_min(first),
                ("clamp_min", true) => x.clamp_min_(first),
                (_, false) => x.clamp_max(first),
                (_, true) => x.clamp_max_(first),
            }?])
        };
        let call = |x: Arg, low: Arg, high: Arg| {
            Sample::new(if name == "clamp" {
                vec![x, low, high]
            } else {
                vec![x, low]
            })
        };
        let none = f64::NAN;
        specs.push(
            OpSpec::new(name, torch, move |a| run(a, false))
                .inplace(move |a| run(a, true))
                .samples(vec![
                    call(x(&[3, 4]), Arg::F(-0.77), Arg::F(0.81)),
                    call(special(), Arg::F(-0.5), Arg::F(0.5)).kinked(),
                    call(special(), Arg::F(0.5), Arg::F(-0.5)).kinked(),
                    call(special(), Arg::F(none), Arg::F(0.5)).kinked(),
                    call(
                        x(&[3, 4]),
                        Arg::uniform([4], (-1.0, -0.5)),
                        Arg::uniform([3, 1], (0.2, 1.0)),
                    ),
                    call(
                        x(&[12]),
                        Arg::uniform([12], (-1.0, 1.0)),
                        Arg::uniform([12], (-1.0, 1.0)),
                    ),
                    call(special(), special(), Arg::values([7], &[0.5; 7])).kinked(),
                    call(Arg::uniform([6], (-9.0, 9.0)), Arg::I(-2), Arg::I(3)).dtypes(&[
                        DType::I64,
                        DType::I8,
                        DType::Bool,
                    ]),
                    call(Arg::uniform([6], (-9.0, 9.0)), Arg::F(-1.5), Arg::F(2.5)).dtypes(&[
                        DType::I64,
                        DType::F16,
                        DType::BF16,
                    ]),
                ]),
        );
    }
    specs
}
