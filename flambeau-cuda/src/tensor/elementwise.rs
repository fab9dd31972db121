//! Elementwise computations.

use super::{Slice, SliceMut, run, same};
use crate::Type;
use crate::error::{Result, fail};
use crate::kernels::{self, Expr, Input, Params, STRIDED};
use smallvec::SmallVec;

/// An operand of an elementwise computation.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// Elements; their shape is the result's, with strides of 0 where they are broadcast.
    Elements(Slice<'a>),
    /// What the target holds.
    Target,
    /// The number of that place in the parameters.
    Number(usize),
}

/// `target = expr(operands)`, element by element, computed in type `compute`.
///
/// # Errors
/// Where shapes differ, operands are on two devices, or there are too many dimensions.
pub fn elementwise(
    expr: Expr,
    compute: Type,
    target: &mut SliceMut<'_>,
    operands: &[Operand<'_>],
    params: Params,
) -> Result<()> {
    let (device, shape) = (target.device(), target.place.shape);
    let mut inputs: SmallVec<[Input<'_>; 3]> = SmallVec::new();
    for operand in operands {
        inputs.push(match operand {
            Operand::Elements(slice) if slice.place.shape == shape => {
                same(device, &[slice])?;
                Input::View(slice.view())
            }
            Operand::Elements(slice) => {
                fail!(
                    "an operand of shape {:?} for a result of {shape:?}",
                    slice.place.shape
                )
            }
            Operand::Target => Input::View(target.view()),
            Operand::Number(i) => Input::Number(*i),
        });
    }
    let launch = kernels::elementwise_of(expr, compute, shape, target.view(), &inputs, params);
    let launch = launch?;
    if expr == Expr::COPY && launch.as_ref().is_some_and(|l| l.entry == STRIDED) {
        device.note_layout_copy();
    }
    // SAFETY: every view was checked to lie within its buffer; the target's is borrowed exclusively,
    // and an operand that is the target is read and written by the same thread, element by element.
    unsafe { run(device, launch) }
}
