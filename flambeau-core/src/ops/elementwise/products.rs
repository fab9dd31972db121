//! Sums with a scaled operand or a product, in one pass: `add` with a factor, `addcmul`, `addcdiv`,
//! `lerp` with a number. Operands of several types, and integers, go through the operations that
//! these are made of.

use super::binary::want;
use super::{KernelResult, Lane, lane_of, map, map_in_place};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::shape::broadcast;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result};
use flambeau_cpu::float::Float;
use smallvec::smallvec;

/// What is computed from the operands x, y and z and the factor p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Product {
    /// x + p y
    Add,
    /// x + p y z
    Addcmul,
    /// x + p y / z
    Addcdiv,
    /// x + p (y - x)
    Lerp,
}

/// One of them with its factor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fused(pub(super) Product, pub(super) f64);

/// Whether the operands are of one floating-point type, and in this machine's memory.
fn alike(inputs: &[&Tensor]) -> bool {
    let dtype = inputs[0].dtype();
    let alike = |t: &&Tensor| t.dtype() == dtype && !t.is_number() && !t.on_cuda();
    dtype.is_floating_point() && inputs.iter().all(alike)
}

impl Fused {
    /// The result in one pass, or of `composite` where that cannot be.
    #[track_caller]
    pub(super) fn run(
        self,
        inputs: &[&Tensor],
        composite: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        if alike(inputs) {
            dispatch::call(self, inputs)
        } else {
            composite()
        }
    }

    /// The same in the memory of the first operand; false, with nothing done, where that cannot be.
    pub(super) fn run_in_place(self, inputs: &[&Tensor]) -> Result<bool> {
        let x = inputs[0];
        let fits =
            |t: &Tensor| broadcast("", x.shape(), t.shape()).is_ok_and(|s| s[..] == *x.shape());
        if !alike(inputs) || !x.changes_unrecorded(&inputs[1..]) || !inputs.iter().all(|t| fits(t))
        {
            return Ok(false);
        }
        match lane_of(x.dtype()) {
            DType::F64 => self.write::<f64>(inputs),
            _ => self.write::<f32>(inputs),
        }
    }

    fn compute<T: Lane + KernelResult + Float>(
        self,
        inputs: &[&Tensor],
        shape: &[usize],
    ) -> Result<Tensor> {
        let (op, dtype) = (self.name(), inputs[0].dtype());
        match *inputs {
            [x, y] => map::<T, T, 2>(op, shape, dtype, [x, y], &|[x, y], out| self.two(x, y, out)),
            [x, y, z, ..] => map::<T, T, 3>(op, shape, dtype, [x, y, z], &|[x, y, z], out| {
                self.three(x, y, z, out);
            }),
            _ => crate::bail!(op, "takes two or three operands, not {}", inputs.len()),
        }
    }

    fn write<T: Lane + KernelResult + Float>(self, inputs: &[&Tensor]) -> Result<bool> {
        let (op, target) = (self.name(), inputs[0]);
        match *inputs {
            [x, y] => map_in_place::<T, T, 2>(op, target, [x, y], &|[x, y], out| {
                self.two(x, y, out);
            }),
            [x, y, z, ..] => map_in_place::<T, T, 3>(op, target, [x, y, z], &|[x, y, z], out| {
                self.three(x, y, z, out);
            }),
            _ => Ok(false),
        }
    }

    fn two<T: Float>(self, x: &[T], y: &[T], out: &mut [T]) {
        let p = T::from_f64(self.1);
        // From the nearer end, so that factors 0 and 1 give the ends themselves.
        let rest = T::from_f64(1.0 - self.1);
        let (lerp, near) = (self.0 == Product::Lerp, self.1.abs() < 0.5);
        flambeau_cpu::simd::dispatch(
            #[inline(always)]
            || {
                let all = out.iter_mut().zip(x).zip(y);
                match (lerp, near) {
                    (false, _) => all.for_each(|((o, &x), &y)| *o = x + p * y),
                    (true, true) => all.for_each(|((o, &x), &y)| *o = x + (y - x) * p),
                    (true, false) => all.for_each(|((o, &x), &y)| *o = y - (y - x) * rest),
                }
            },
        );
    }

    fn three<T: Float>(self, x: &[T], y: &[T], z: &[T], out: &mut [T]) {
        let p = T::from_f64(self.1);
        let divides = self.0 == Product::Addcdiv;
        flambeau_cpu::simd::dispatch(
            #[inline(always)]
            || {
                let all = out.iter_mut().zip(x).zip(y).zip(z);
                if divides {
                    all.for_each(|(((o, &x), &y), &z)| *o = x + p * y / z);
                } else {
                    all.for_each(|(((o, &x), &y), &z)| *o = x + p * y * z);
                }
            },
        );
    }
}

impl Op for Fused {
    fn name(&self) -> &'static str {
        match self.0 {
            Product::Add => "add",
            Product::Addcmul => "addcmul",
            Product::Addcdiv => "addcdiv",
            Product::Lerp => "lerp",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let mut shape = broadcast(self.name(), inputs[0].shape(), inputs[1].shape())?;
        if let Some(z) = inputs.get(2) {
            shape = broadcast(self.name(), &shape, z.shape())?;
        }
        Ok(match lane_of(inputs[0].dtype()) {
            DType::F64 => self.compute::<f64>(inputs, &shape),
            _ => self.compute::<f32>(inputs, &shape),
        }?
        .into())
    }

    fn saves(&self, needs: &[bool]) -> Saves {
        let none = Saves::NONE;
        match self.0 {
            Product::Add | Product::Lerp => none,
            Product::Addcmul => none.input_if(2, needs[1]).input_if(1, needs[2]),
            Product::Addcdiv => none.input_if(2, needs[1] || needs[2]).input_if(1, needs[2]),
        }
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let p = self.1;
        let scaled = || grad.mul(p);
        Ok(match self.0 {
            Product::Add => smallvec![want(ctx, 0, || Ok(grad.clone()))?, want(ctx, 1, scaled)?],
            Product::Lerp => smallvec![want(ctx, 0, || grad.mul(1.0 - p))?, want(ctx, 1, scaled)?],
            Product::Addcmul => smallvec![
                want(ctx, 0, || Ok(grad.clone()))?,
                want(ctx, 1, || scaled()?.mul(ctx.input(2)?))?,
                want(ctx, 2, || scaled()?.mul(ctx.input(1)?))?,
            ],
            Product::Addcdiv => smallvec![
                want(ctx, 0, || Ok(grad.clone()))?,
                want(ctx, 1, || scaled()?.div(ctx.input(2)?))?,
                want(ctx, 2, || {
                    let z = ctx.input(2)?;
                    scaled()?.neg()?.mul(ctx.input(1)?.div(&z)?.div(&z)?)
                })?,
            ],
        })
    }
}
