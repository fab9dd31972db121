//! Elementwise computations on a device.

use super::{failed, make, make_as, one_device, slice, type_of};
use crate::format::result_strides;
use crate::ops::elementwise::lane_of;
use crate::shape::{broadcast_strides, contiguous_strides};
use crate::tensor::Tensor;
use crate::{DType, Device, Result, Scalar};
use flambeau_cuda::kernels::{Expr, Params};
use flambeau_cuda::tensor::{Operand, Place, SliceMut, elementwise};
use smallvec::SmallVec;

/// What to compute of each element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Formula {
    /// The expression.
    pub(crate) expr: Expr,
    /// The type that its parameters have.
    pub(crate) lane: DType,
    /// Its numbers `p0` to `p2`.
    pub(crate) params: [f64; 3],
}

/// A new tensor whose elements are `formula` of the inputs', broadcast to `shape`, as `dtype`; it lies in
/// memory as they do ([`result_strides`]).
#[track_caller]
pub(crate) fn map(
    op: &'static str,
    formula: &Formula,
    shape: &[usize],
    dtype: DType,
    inputs: &[&Tensor],
) -> Result<Tensor> {
    let strides = result_strides(shape, inputs).unwrap_or_else(|| contiguous_strides(shape));
    map_as(op, formula, (shape, &strides), dtype, inputs)
}

/// [`map`] to given strides.
#[track_caller]
fn map_as(
    op: &'static str,
    formula: &Formula,
    (shape, strides): (&[usize], &[usize]),
    dtype: DType,
    inputs: &[&Tensor],
) -> Result<Tensor> {
    let device = one_device(op, inputs)?;
    let mut result = Ok(true);
    let out = make_as(op, shape, strides, (dtype, device), |target| {
        result = compute(op, formula, target, shape, inputs, &[]);
        Ok(())
    })?;
    result.map(|_| out)
}

/// [`map`] into the memory of `target`, which may be among the inputs. False, with nothing done,
/// where another operand shares the memory or a thread is using it.
#[track_caller]
pub(crate) fn map_in_place(
    op: &'static str,
    formula: &Formula,
    target: &Tensor,
    inputs: &[&Tensor],
) -> Result<bool> {
    one_device(op, inputs)?;
    let geometry = |t: &Tensor| (t.shape().to_vec(), t.strides().to_vec(), t.storage_offset());
    let itself: SmallVec<[bool; 3]> = inputs
        .iter()
        .map(|t| t.shares_storage(target) && geometry(t) == geometry(target))
        .collect();
    if (inputs.iter().zip(&itself)).any(|(t, same)| !same && t.shares_storage(target)) {
        return Ok(false);
    }
    let Some(mut write) = target.try_write() else {
        return Ok(false);
    };
    let Some(buffer) = write.cuda() else {
        return Ok(false);
    };
    let place = Place {
        ty: type_of(target.dtype()),
        offset: target.storage_offset(),
        shape: target.shape(),
        strides: target.strides(),
    };
    let mut slice = SliceMut::new(buffer, place).map_err(|e| failed(op, e))?;
    compute(op, formula, &mut slice, target.shape(), inputs, &itself)
}

/// Computes into `target`; inputs marked `itself` are what it holds. False, with nothing done, where
/// a thread is writing to an input.
fn compute(
    op: &'static str,
    formula: &Formula,
    target: &mut SliceMut<'_>,
    shape: &[usize],
    inputs: &[&Tensor],
    itself: &[bool],
) -> Result<bool> {
    let mut params = Params::from(&formula.params[..]);
    // Numbers take the last places; no expression of several inputs has numbers of its own there.
    let mut free = 4;
    let is_itself = |i: usize| itself.get(i) == Some(&true);
    let mut reads: SmallVec<[_; 3]> = SmallVec::new();
    let mut strides: SmallVec<[_; 3]> = SmallVec::new();
    for (i, x) in inputs.iter().enumerate() {
        strides.push(broadcast_strides(x.shape(), x.strides(), shape));
        reads.push(if is_itself(i) || !x.on_cuda() {
            None
        } else if itself.is_empty() {
            Some(x.read())
        } else {
            // Never waited for while the target is locked.
            match x.try_read() {
                Some(read) => Some(read),
                None => return Ok(false),
            }
        });
    }
    let mut operands: SmallVec<[Operand<'_>; 3]> = SmallVec::new();
    for (i, x) in inputs.iter().enumerate() {
        operands.push(match &reads[i] {
            Some(read) => Operand::Elements(slice(op, x, read, shape, &strides[i])?),
            None if is_itself(i) => Operand::Target,
            None => {
                free -= 1;
                (params.real[free], params.whole[free]) = (x.item()?, x.item()?);
                Operand::Number(free)
            }
        });
    }
    let lane = type_of(formula.lane);
    elementwise(formula.expr, lane, target, &operands, params).map_err(|e| failed(op, e))?;
    Ok(true)
}

/// The elements of `x` as `dtype`, as a new contiguous tensor.
#[track_caller]
pub(crate) fn convert(op: &'static str, x: &Tensor, dtype: DType) -> Result<Tensor> {
    // Truth is decided in the source's lane, other values are converted to the result's.
    let (expr, lane) = match dtype {
        DType::Bool => (Expr::unary("x != 0"), lane_of(x.dtype())),
        _ => (Expr::COPY, lane_of(dtype)),
    };
    let formula = Formula {
        expr,
        lane,
        params: [0.0; 3],
    };
    let strides = contiguous_strides(x.shape());
    map_as(op, &formula, (x.shape(), &strides), dtype, &[x])
}

/// Writes the elements of `x` into `target`, of the same shape and type but any layout; both on one
/// device. False where they share memory.
#[track_caller]
pub(crate) fn copy_into(x: &Tensor, target: &Tensor) -> Result<bool> {
    let formula = Formula {
        expr: Expr::COPY,
        lane: lane_of(x.dtype()),
        params: [0.0; 3],
    };
    map_in_place("copy_", &formula, target, &[x])
}

/// A new tensor of copies of `value`.
#[track_caller]
pub(crate) fn fill(
    op: &'static str,
    shape: &[usize],
    dtype: DType,
    device: Device,
    value: Scalar,
) -> Result<Tensor> {
    let mut params = Params::default();
    (params.real[0], params.whole[0]) = (value.to_f64(), value.to_i64());
    if dtype == DType::Bool {
        params.whole[0] = (value.to_f64() != 0.0) as i64;
    }
    make(op, shape, dtype, device, |target| {
        elementwise(Expr::FILL, type_of(lane_of(dtype)), target, &[], params)
    })
}
