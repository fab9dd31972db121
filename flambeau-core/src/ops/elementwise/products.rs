//! Sums with a scaled operand or a product, in one pass: `add` with a factor, `addcmul`, `addcdiv`,
//! `lerp` with a number. Operands of several types, and integers, go through the operations that
//! these are made of.

use super::binary::want;
use super::{KernelResult, Lane, in_place_rows, lane_of, map, map_in_place};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::shape::broadcast;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result};
use flambeau_cpu::float::Float;
use smallvec::{SmallVec, smallvec};

/// What is computed from the operands x, y and z and the factor p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Product {
    /// x + p y
    Add,
    /// x + p y z
    Addcmul,
    /// x + p y / z
    Addcdiv,
    /// x + p (y - x), or x + z (y - x) where there is a z
    Lerp,
}

/// Runs a loop over a function of x and y.
macro_rules! two {
    ($fused:ident, $t:ident, |$f:ident| $run:expr) => {{
        let p = $t::from_f64($fused.1);
        // From the nearer end, so that factors 0 and 1 give the ends themselves.
        let rest = $t::from_f64(1.0 - $fused.1);
        let (lerp, near) = ($fused.0 == Product::Lerp, $fused.1.abs() < 0.5);
        flambeau_cpu::simd::dispatch(
            #[inline(always)]
            move || match (lerp, near) {
                (false, _) => {
                    let $f = |x: $t, y: $t| x + p * y;
                    $run
                }
                (true, true) => {
                    let $f = |x: $t, y: $t| x + (y - x) * p;
                    $run
                }
                (true, false) => {
                    let $f = |x: $t, y: $t| y - (y - x) * rest;
                    $run
                }
            },
        )
    }};
}

/// The same of x, y and z.
macro_rules! three {
    ($fused:ident, $t:ident, |$f:ident| $run:expr) => {{
        let (p, one, half) = ($t::from_f64($fused.1), $t::from_f64(1.0), $t::from_f64(0.5));
        let product = $fused.0;
        flambeau_cpu::simd::dispatch(
            #[inline(always)]
            move || match product {
                Product::Addcdiv => {
                    let $f = |x: $t, y: $t, z: $t| x + p * y / z;
                    $run
                }
                Product::Lerp => {
                    let $f = |x: $t, y: $t, z: $t| {
                        let (near, far) = (x + (y - x) * z, y - (y - x) * (one - z));
                        if z < half && -half < z { near } else { far }
                    };
                    $run
                }
                _ => {
                    let $f = |x: $t, y: $t, z: $t| x + p * y * z;
                    $run
                }
            },
        )
    }};
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
        if let Some(done) = self.update::<T>(inputs) {
            return Ok(done);
        }
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

    /// [`write`](Fused::write) where every operand lies as the target does; whether nobody else was
    /// using its memory.
    fn update<T: Lane + KernelResult + Float>(self, inputs: &[&Tensor]) -> Option<bool> {
        let (target, others) = (inputs[0], &inputs[1..]);
        let plain = |t: &&Tensor| t.is_contiguous() && t.shape() == target.shape();
        let apart = |t: &&Tensor| !t.shares_storage(target);
        if !T::stores(target.dtype()) || !inputs.iter().all(plain) || !others.iter().all(apart) {
            return None;
        }
        let reads: SmallVec<[_; 2]> = others.iter().map(|t| t.read()).collect();
        let others: SmallVec<[&[T]; 2]> = reads.iter().map(|r| r.slice::<T>()).collect();
        Some(in_place_rows(target, |start, out: &mut [T]| {
            let part = start..start + out.len();
            match others[..] {
                [y, z, ..] => self.update_three(out, &y[part.clone()], &z[part]),
                [y] => self.update_two(out, &y[part]),
                [] => {}
            }
        }))
    }

    fn two<T: Float>(self, x: &[T], y: &[T], out: &mut [T]) {
        two!(self, T, |f| out
            .iter_mut()
            .zip(x)
            .zip(y)
            .for_each(|((o, &x), &y)| *o = f(x, y)))
    }

    fn update_two<T: Float>(self, out: &mut [T], y: &[T]) {
        two!(self, T, |f| out
            .iter_mut()
            .zip(y)
            .for_each(|(o, &y)| *o = f(*o, y)))
    }

    fn three<T: Float>(self, x: &[T], y: &[T], z: &[T], out: &mut [T]) {
        three!(self, T, |f| {
            let all = out.iter_mut().zip(x).zip(y).zip(z);
            all.for_each(|(((o, &x), &y), &z)| *o = f(x, y, z))
        })
    }

    fn update_three<T: Float>(self, out: &mut [T], y: &[T], z: &[T]) {
        three!(self, T, |f| {
            let all = out.iter_mut().zip(y).zip(z);
            all.for_each(|((o, &y), &z)| *o = f(*o, y, z))
        })
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
            // A weight that is a tensor is the third operand.
            Product::Lerp if needs.len() > 2 => {
                let ends = needs[0] || needs[1];
                none.input_if(2, ends)
                    .input_if(0, needs[2])
                    .input_if(1, needs[2])
            }
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
            Product::Lerp if ctx.input_count() > 2 => smallvec![
                want(ctx, 0, || grad.mul(ctx.input(2)?.neg()?.add(1.0)?))?,
                want(ctx, 1, || grad.mul(ctx.input(2)?))?,
                want(ctx, 2, || grad.mul(ctx.input(1)?.sub(ctx.input(0)?)?))?,
            ],
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
