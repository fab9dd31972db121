//! Division with rounding, and remainders. Integers divided by zero are an error.

use super::Kind;
use super::binary::{Binary, binary, binary_, binary_ops, binary_row, row_spec, want, zeros};
use crate::dispatch::Saves;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::{Operand, Tensor};
use crate::{DType, Result, bail};
use flambeau_cpu::math;
use smallvec::smallvec;

/// How [`Tensor::div_rounded`] rounds.
///
/// ```
/// use flambeau_core::{Rounding, Tensor};
/// assert_eq!(Tensor::new([-7i64])?.div_rounded(2, Rounding::Floor)?.to_vec::<i64>()?, [-4]);
/// assert_eq!(Tensor::new([-7i64])?.div_rounded(2, Rounding::Trunc)?.to_vec::<i64>()?, [-3]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Downwards, as Python's `//` does.
    Floor,
    /// Towards 0, as Rust's integer division does.
    Trunc,
}

/// Refuses zeros among integer divisors.
fn no_zero(dtype: DType, _: &Tensor, b: &Tensor) -> Result<()> {
    if dtype.is_integer() {
        let b = super::to_contiguous("div", b, dtype)?;
        let read = b.read();
        let zero =
            crate::with_stored!(dtype, S => read.slice::<S>()[..b.numel()].contains(&S::default()));
        if zero {
            bail!(
                "div",
                "ZeroDivisionError: an integer is divided by 0; convert with to_dtype(DType::F32) for inf and NaN"
            );
        }
    }
    Ok(())
}

const DIVISORS: ((f64, f64), (f64, f64)) = ((2.1, 2.9), (1.1, 1.9));

binary_ops! { DIVIDE:
    /// The quotient rounded downwards
    /// ([`torch.floor_divide`](https://pytorch.org/docs/stable/generated/torch.floor_divide.html),
    /// Python's `//`); has no gradient but 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([7i64, -7])?.floor_divide(2)?.to_vec::<i64>()?, [3, -4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where an integer is divided by 0, for bool tensors, and where shapes do not broadcast.
    FLOOR_DIVIDE = floor_divide, floor_divide_ Number {
        vector: math::floor_divide_f32,
        vector64: math::floor_divide_f64,
        int: |x, y| {
            let quotient = x.checked_div(y).unwrap_or(if y == 0 { 0 } else { x });
            let rest = x.wrapping_sub(quotient.wrapping_mul(y));
            if rest != 0 && (rest < 0) != (y < 0) { quotient - 1 } else { quotient }
        },
        cuda: "divide_floor(a, b)",
        cuda_int: "divide_floor(a, b)",
        saves: |_| Saves::NONE,
        grad: zeros,
        domain: DIVISORS,
        torch: "torch.floor_divide",
        check: no_zero,
    }
    /// x - y floor(x / y): of the divisor's sign
    /// ([`torch.remainder`](https://pytorch.org/docs/stable/generated/torch.remainder.html),
    /// Python's `%`).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([7i64, -7])?.remainder(4)?.to_vec::<i64>()?, [3, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`floor_divide`](Tensor::floor_divide).
    REMAINDER = remainder, remainder_ Number {
        vector: math::remainder_f32,
        vector64: math::remainder_f64,
        int: |x, y| {
            let rest = x.checked_rem(y).unwrap_or(0);
            if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest }
        },
        cuda: "remainder_floor(a, b)",
        cuda_int: "remainder_floor(a, b)",
        saves: |needs| Saves::NONE.input_if(0, needs[1]).input_if(1, needs[1]),
        grad: |c, g| Ok(smallvec![
            Some(g.clone()),
            want(c, 1, || g.neg()?.mul(c.input(0)?.floor_divide(c.input(1)?)?))?,
        ]),
        domain: DIVISORS,
        torch: "torch.remainder",
        check: no_zero,
    }
    /// x - y trunc(x / y): of the dividend's sign
    /// ([`torch.fmod`](https://pytorch.org/docs/stable/generated/torch.fmod.html), Rust's `%`).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([7i64, -7])?.fmod(4)?.to_vec::<i64>()?, [3, -3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`floor_divide`](Tensor::floor_divide).
    FMOD = fmod, fmod_ Number {
        vector: math::fmod_f32,
        vector64: math::fmod_f64,
        int: |x, y| x.checked_rem(y).unwrap_or(0),
        cuda: "fmod(a, b)",
        cuda_int: "b == 0 || b == -1 ? 0 : a % b",
        saves: |needs| Saves::NONE.input_if(0, needs[1]).input_if(1, needs[1]),
        grad: |c, g| Ok(smallvec![
            Some(g.clone()),
            want(c, 1, || g.neg()?.mul(c.input(0)?.div_rounded(c.input(1)?, Rounding::Trunc)?))?,
        ]),
        domain: DIVISORS,
        torch: "torch.fmod",
        check: no_zero,
    }
}

static TRUNC_DIVIDE: Binary = binary_row!("trunc_divide", Number,
    float: |x, y| (x / y).trunc(),
    int: |x, y| x.checked_div(y).unwrap_or(if y == 0 { 0 } else { x }),
    cuda: "trunc(a / b)",
    cuda_int: "b == 0 ? 0 : b == -1 ? (COMPUTE)(0 - (u64)a) : a / b",
    saves: |_| Saves::NONE,
    grad: zeros,
    domain: DIVISORS,
    torch: "lambda x, y: torch.div(x, y, rounding_mode='trunc')",
    check: no_zero,
);

fn row(rounding: Rounding) -> &'static Binary {
    match rounding {
        Rounding::Floor => &FLOOR_DIVIDE,
        Rounding::Trunc => &TRUNC_DIVIDE,
    }
}

impl Tensor {
    /// The quotient, rounded (`torch.div(.., rounding_mode=..)`); integers stay integers
    /// ([`torch.div`](https://pytorch.org/docs/stable/generated/torch.div.html)).
    ///
    /// ```
    /// use flambeau_core::{Rounding, Tensor};
    /// assert_eq!(
    ///     Tensor::new([7.0f32, -7.0])?.div_rounded(2, Rounding::Trunc)?.to_vec::<f32>()?,
    ///     [3.0, -3.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where an integer is divided by 0, and for bool tensors.
    #[track_caller]
    pub fn div_rounded(&self, other: impl Operand, rounding: Rounding) -> Result<Tensor> {
        binary(row(rounding), self, &*other.operand()?)
    }
    /// [`div_rounded`](Tensor::div_rounded) in place.
    ///
    /// # Errors
    /// As [`div_rounded`](Tensor::div_rounded), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn div_rounded_(&self, other: impl Operand, rounding: Rounding) -> Result<Tensor> {
        binary_(row(rounding), self, &*other.operand()?)
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let signed = |n: &[f64]| Arg::values([n.len()], n);
    (DIVIDE.iter().copied().chain([&TRUNC_DIVIDE]))
        .map(|def| {
            let mut spec = row_spec(def);
            // Drawn integers may divide by 0; these have every pair of signs.
            spec.samples
                .retain(|s| s.dtypes.as_ref().is_none_or(|d| d[0] != DType::I64));
            let (a, b) = (
                signed(&[7.0, -7.0, 7.0, -7.0, 6.0, 0.0]),
                signed(&[2.0, 2.0, -2.0, -2.0, 3.0, -5.0]),
            );
            spec.samples.push(Sample::new(vec![a, b]).kinked().dtypes(&[
                DType::I64,
                DType::I32,
                DType::I16,
                DType::I8,
                DType::U8,
                DType::F32,
                DType::F64,
            ]));
            spec.samples.push(
                Sample::new(vec![
                    signed(&[44.0, 200.0]),
                    Arg::T(Tensor::full((), -3).expect("small")),
                ])
                .dtypes(&[DType::U8, DType::I64, DType::I8]),
            );
            if def.name == "floor_divide" {
                // PyTorch tests its gradient under the name of div with rounding alone.
                spec.torch = "lambda x, y: torch.div(x, y, rounding_mode='floor')".into();
            }
            let ints = |low, high| Arg::ints([3], (low, high));
            spec.errors
                .push((vec![ints(1, 5), ints(0, 1)], "ZeroDivisionError"));
            spec
        })
        .collect()
}
