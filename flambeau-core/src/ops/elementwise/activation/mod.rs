//! Activation functions (`torch.nn.functional`), by family. A function whose gradient is no cheap
//! expression of tensors has its derivative as a row of its own, so that the backward pass is two
//! passes over memory; that row's own gradient is written in tensors.

mod elu;
mod gated;
mod relu;
mod shrink;
mod sigmoid;
mod softplus;

use super::unary::{Params, Unary, count, joined, row_spec};
use crate::autograd::is_grad_enabled;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{DType, Result};

const PLAIN: Params = [0.0; 3];

/// The tables of the families.
const TABLES: &[&[&Unary]] = &[
    relu::ROWS,
    sigmoid::ROWS,
    softplus::ROWS,
    gated::ROWS,
    shrink::ROWS,
];

/// Every row.
pub(crate) static ACTIVATIONS: &[&Unary] = &joined::<{ count(TABLES) }>(TABLES);

/// A method and its in-place twin over a row.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident, $inplace:ident($($arg:ident),*) = $row:ident, $params:expr;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self $(, $arg: f64)*) -> Result<Tensor> {
                unary(&$row, self, $params)
            }
            #[doc = concat!("[`", stringify!($name), "`](Tensor::", stringify!($name), ") in place.\n\n# Errors\nAs it, and as every [operation in place](Tensor#in-place).")]
            #[track_caller]
            pub fn $inplace(&self $(, $arg: f64)*) -> Result<Tensor> {
                unary_(&$row, self, $params)
            }
        )*}
    };
}
use methods;

/// `grad` times a slope that is nobody else's: in its memory, where no derivative of this is wanted.
fn along(grad: &Tensor, slope: Tensor) -> Result<Tensor> {
    let alike = slope.strides() == grad.strides() && slope.dtype() == grad.dtype();
    if alike && !is_grad_enabled() {
        slope.mul_(grad)
    } else {
        grad.mul(&slope)
    }
}

/// What tests and goldens know of the activations.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let mut specs: Vec<OpSpec> = ACTIVATIONS.iter().map(|&def| row_spec(def)).collect();
    relu::adjust(&mut specs);
    sigmoid::adjust(&mut specs);
    gated::adjust(&mut specs);
    shrink::adjust(&mut specs);
    specs.extend(relu::specs());
    specs.extend(sigmoid::specs());
    specs.extend(softplus::specs());
    specs.extend(shrink::specs());
    specs.extend(elu::specs());
    specs
}

type Method = fn(&Tensor) -> Result<Tensor>;

/// A method without numbers, and its in-place twin.
#[inline]
fn plain(name: &'static str, torch: &str, call: Method, inplace: Method) -> OpSpec {
    OpSpec::new(name, torch, move |a| Ok(vec![call(a[0].tensor()?)?]))
        .inplace(move |a| Ok(vec![inplace(a[0].tensor()?)?]))
        .elementwise()
        .samples(vec![
            Sample::new(vec![Arg::uniform([3, 4], (0.3, 0.7))]),
            Sample::new(vec![kinks()]).kinked(),
        ])
}

/// A method made of others.
#[inline]
fn composite(name: &'static str, torch: &str, call: Method) -> OpSpec {
    OpSpec::new(name, torch, move |a| Ok(vec![call(a[0].tensor()?)?]))
        .elementwise()
        .samples(vec![
            Sample::new(vec![Arg::uniform([3, 4], (0.1, 0.9))]),
            Sample::new(vec![kinks()]).kinked(),
            Sample::new(vec![Arg::uniform([4], (-4.0, 4.0))]).dtypes(&[DType::I64]),
        ])
}

#[inline]
fn kinks() -> Arg {
    Arg::values([7], &[-1.0, -0.0, 0.0, 0.2, 1.0, 7.0, f64::NAN])
}

/// A row's call with numbers that it refuses, and words of the error.
#[inline]
fn refused(params: Params, words: &'static str) -> (Vec<Arg>, &'static str) {
    let [p, q, r] = params.map(Arg::F);
    (vec![Arg::uniform([3, 4], (0.1, 0.9)), p, q, r], words)
}
