//! Gradients of functions made of straight lines: what comes in, times one slope between two points
//! and another beyond them. One pass, where comparing and choosing would take four.

use super::{lane_of, map};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result};
use smallvec::smallvec;

/// The slopes of such a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// The points; an infinite one is none.
    pub(super) between: (f64, f64),
    /// Whether they count as between themselves.
    pub(super) closed: bool,
    pub(super) inside: f64,
    pub(super) outside: f64,
    /// The slope at NaN.
    pub(super) nan: f64,
}

impl Gate {
    /// 1 between `low` and `high`, else 0.
    pub(super) fn open(low: f64, high: f64) -> Gate {
        Gate {
            between: (low, high),
            closed: false,
            inside: 1.0,
            outside: 0.0,
            nan: 0.0,
        }
    }

    /// 0 from `low` to `high`, else 1.
    pub(super) fn shut(low: f64, high: f64) -> Gate {
        Gate {
            between: (low, high),
            closed: true,
            inside: 0.0,
            outside: 1.0,
            nan: 1.0,
        }
    }

    /// `grad` times the slope at `x`; where that is 0, so is the result, be `grad` infinite.
    #[track_caller]
    pub(super) fn pass(self, grad: &Tensor, x: &Tensor) -> Result<Tensor> {
        dispatch::call(self, &[grad, x])
    }
}

macro_rules! kernel {
    ($gate:expr, $t:ident) => {{
        flambeau_cpu::simd_fn! {
            fn pass(g: &[$t], x: &[$t], out: &mut [$t], between: [$t; 2], slopes: [$t; 3]) {
                let ([low, high], [inside, outside, nan]) = (between, slopes);
                for ((o, &g), &x) in out.iter_mut().zip(g).zip(x) {
                    let beyond = if x.is_nan() { nan } else { outside };
                    let slope = if (x >= low) & (x <= high) { inside } else { beyond };
                    let y = g * slope;
                    *o = if slope == 0.0 { 0.0 } else { y };
                }
            }
        }
        let gate = $gate;
        let (low, high) = (gate.between.0 as $t, gate.between.1 as $t);
        // The first and the last number between them.
        let closed = |v: $t| gate.closed || v.is_infinite();
        let between = [
            if closed(low) { low } else { low.next_up() },
            if closed(high) { high } else { high.next_down() },
        ];
        let slopes = [gate.inside, gate.outside, gate.nan].map(|v| v as $t);
        move |[g, x]: [&[$t]; 2], out: &mut [$t]| pass(g, x, out, between, slopes)
    }};
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (shape, dtype) = (inputs[0].shape(), inputs[0].dtype());
        let inputs = [inputs[0], inputs[1]];
        Ok(match lane_of(dtype) {
            DType::F64 => {
                map::<f64, f64, 2>(self.name(), shape, dtype, inputs, &kernel!(*self, f64))
            }
            _ => map::<f32, f32, 2>(self.name(), shape, dtype, inputs, &kernel!(*self, f32)),
        }?
        .into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (grad, x) = (inputs[0], inputs[1]);
        let (low, high) = self.between;
        let above = match self.closed || low.is_infinite() {
            true => x.ge(low)?,
            false => x.gt(low)?,
        };
        let below = match self.closed || high.is_infinite() {
            true => x.le(high)?,
            false => x.lt(high)?,
        };
        let between = above.logical_and(below)?;
        let part = |slope: f64| match slope {
            0.0 => grad.zeros_like(),
            _ => grad.mul(slope),
        };
        let beyond = x.isnan()?.where_(part(self.nan)?, part(self.outside)?)?;
        Ok(between.where_(part(self.inside)?, beyond)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE.input(1)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(self.pass(grad, &ctx.input(1)?)?), None])
    }
}
