//! Rounding.

use super::{Unary, unary, unary_, unary_ops, unary_row, zero};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;

unary_ops! { ROWS:
    /// The next whole number downwards
    /// ([`torch.floor`](https://pytorch.org/docs/stable/generated/torch.floor.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.5f32, 2.5])?.floor()?.to_vec::<f32>()?, [-2.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    FLOOR = floor, floor_() Number {
        float: |x, p| x.floor(),
        int: |x, p| x,
        cuda: "floor(x)",
        cuda_int: "x",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 0.8),
        torch: "torch.floor(x)",
    }
    /// The next whole number upwards
    /// ([`torch.ceil`](https://pytorch.org/docs/stable/generated/torch.ceil.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.5f32, 2.5])?.ceil()?.to_vec::<f32>()?, [-1.0, 3.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    CEIL = ceil, ceil_() Number {
        float: |x, p| x.ceil(),
        int: |x, p| x,
        cuda: "ceil(x)",
        cuda_int: "x",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 0.8),
        torch: "torch.ceil(x)",
    }
    /// The nearest whole number; of two as near, the even one
    /// ([`torch.round`](https://pytorch.org/docs/stable/generated/torch.round.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.5f32, 2.5, 3.5])?.round()?.to_vec::<f32>()?, [-2.0, 2.0, 4.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    ROUND = round, round_() Number {
        float: |x, p| x.round_ties_even(),
        int: |x, p| x,
        cuda: "rint(x)",
        cuda_int: "x",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.6, 0.9),
        torch: "torch.round(x)",
    }
    /// The whole number next towards 0
    /// ([`torch.trunc`](https://pytorch.org/docs/stable/generated/torch.trunc.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.5f32, 2.5])?.trunc()?.to_vec::<f32>()?, [-1.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    TRUNC = trunc, trunc_() Number {
        float: |x, p| x.trunc(),
        int: |x, p| x,
        cuda: "trunc(x)",
        cuda_int: "x",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 0.8),
        torch: "torch.trunc(x)",
    }
    /// The element less its [`trunc`](Tensor::trunc); floating point alone
    /// ([`torch.frac`](https://pytorch.org/docs/stable/generated/torch.frac.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.25f32, 2.5])?.frac()?.to_vec::<f32>()?, [-0.25, 0.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    FRAC = frac, frac_() Number {
        float: |x, p| x - x.trunc(),
        cuda: "x - trunc(x)",
        saves: Saves::NONE,
        grad: |_, g, _| Ok(g.clone()),
        domain: (0.2, 0.8),
        torch: "torch.frac(x)",
    }
}

/// Rounding to a power of ten: p = [that power, 1 where it divides first].
static ROUND_DECIMALS: Unary = unary_row!("round", Number,
    float: |x, p| if p[1] == 0.0 { (x * p[0]).round_ties_even() / p[0] } else { (x / p[0]).round_ties_even() * p[0] },
    cuda: "p1 == 0 ? rint(x * p0) / p0 : rint(x / p0) * p0",
    saves: Saves::NONE,
    grad: zero,
    domain: (-2.0, 2.0),
    torch: "",
);

impl Tensor {
    /// Rounded to `decimals` places after the point, or before it where negative; ties go to the
    /// even digit. Floating point alone (`torch.round(x, decimals=..)`)
    /// ([`torch.round`](https://pytorch.org/docs/stable/generated/torch.round.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.25f32, 2.375])?.round_decimals(1)?.to_vec::<f32>()?, [1.2, 2.4]);
    /// assert_eq!(
    ///     Tensor::new([1250.0f32, 149.0])?.round_decimals(-2)?.to_vec::<f32>()?,
    ///     [1200.0, 100.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors, and for integers unless `decimals` is 0.
    #[track_caller]
    pub fn round_decimals(&self, decimals: i32) -> Result<Tensor> {
        if decimals == 0 {
            return self.round();
        }
        let params = [
            10f64.powi(decimals.saturating_abs()),
            (decimals < 0) as u8 as f64,
            0.0,
        ];
        unary(&ROUND_DECIMALS, self, params)
    }
    /// [`round_decimals`](Tensor::round_decimals) in place.
    ///
    /// # Errors
    /// As [`round_decimals`](Tensor::round_decimals), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn round_decimals_(&self, decimals: i32) -> Result<Tensor> {
        self.check_inplace("round")?;
        self.assign("round", self.round_decimals(decimals)?)
    }
}

/// What tests and goldens know of this file beside the table.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    let values = |v: &[f64]| Arg::values([v.len()], v);
    vec![
        OpSpec::new(
            "round_decimals",
            "lambda x, d: torch.round(x, decimals=d)",
            |args| {
                Ok(vec![
                    args[0].tensor()?.round_decimals(args[1].int()? as i32)?,
                ])
            },
        )
        .inplace(|args| {
            Ok(vec![
                args[0].tensor()?.round_decimals_(args[1].int()? as i32)?,
            ])
        })
        .elementwise()
        .samples(
            [2, 0, -2]
                .map(|d| {
                    let x = values(&[-2.5, -0.125, 0.376, 1234.5, 150.0, f64::NAN, f64::INFINITY]);
                    Sample::new(vec![x, Arg::I(d)]).kinked()
                })
                .to_vec(),
        ),
    ]
}
