//! Finite numbers for NaN and infinities.

use super::{Unary, keep, unary, unary_row};
use crate::dispatch::Saves;
use crate::ops::elementwise::{Kind, original};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{DType, Result};

/// p = [for NaN, for +inf, for -inf].
static NAN_TO_NUM: Unary = unary_row!("nan_to_num", Same,
    float: |x, p| if x.is_nan() { p[0] } else if x.is_infinite() { if x > 0.0 { p[1] } else { p[2] } } else { x },
    int: |x, p| x,
    cuda: "x != x ? p0 : x - x != 0 ? (x > 0 ? p1 : p2) : x",
    cuda_int: "x",
    saves: Saves::INPUTS,
    grad: |c, g, _| keep(g, &c.input(0)?.isfinite()?),
    domain: (-2.0, 2.0),
    torch: "",
);

impl Tensor {
    /// With 0 for NaN and the type's largest and smallest numbers for infinities
    /// ([`torch.nan_to_num`](https://pytorch.org/docs/stable/generated/torch.nan_to_num.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([f32::NAN, f32::INFINITY, -2.0])?;
    /// assert_eq!(x.nan_to_num()?.to_vec::<f32>()?, [0.0, f32::MAX, -2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn nan_to_num(&self) -> Result<Tensor> {
        self.nan_to_num_with(0.0, None, None)
    }
    /// With these numbers for NaN, +inf and -inf (`None`: the type's largest and smallest)
    /// ([`torch.nan_to_num`](https://pytorch.org/docs/stable/generated/torch.nan_to_num.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([f32::NAN, f32::INFINITY, f32::NEG_INFINITY])?;
    /// assert_eq!(
    ///     x.nan_to_num_with(1.0, Some(9.0), Some(-9.0))?.to_vec::<f32>()?,
    ///     [1.0, 9.0, -9.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`nan_to_num`](Tensor::nan_to_num).
    #[track_caller]
    pub fn nan_to_num_with(
        &self,
        nan: f64,
        posinf: Option<f64>,
        neginf: Option<f64>,
    ) -> Result<Tensor> {
        let largest = match self.dtype() {
            DType::F16 => half::f16::MAX.to_f64(),
            DType::BF16 => half::bf16::MAX.to_f64(),
            DType::F64 => f64::MAX,
            _ => f32::MAX as f64,
        };
        let params = [nan, posinf.unwrap_or(largest), neginf.unwrap_or(-largest)];
        unary(&NAN_TO_NUM, self, params)
    }
    /// [`nan_to_num`](Tensor::nan_to_num) in place.
    ///
    /// # Errors
    /// As [`nan_to_num`](Tensor::nan_to_num), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn nan_to_num_(&self) -> Result<Tensor> {
        self.check_inplace("nan_to_num")?;
        self.assign("nan_to_num", original(self, &[])?.nan_to_num()?)
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    let values = |v: &[f64]| Arg::values([v.len()], v);
    vec![
        OpSpec::new(
            "nan_to_num",
            "lambda x, *p: torch.nan_to_num(x, *p)",
            |args| {
                let x = args[0].tensor()?;
                Ok(vec![if args.len() == 1 {
                    x.nan_to_num()?
                } else {
                    x.nan_to_num_with(args[1].float()?, args[2].float_opt()?, args[3].float_opt()?)?
                }])
            },
        )
        .elementwise()
        .samples({
            let x = values(&[f64::NAN, 1.5, f64::INFINITY, f64::NEG_INFINITY, 0.0]);
            vec![
                Sample::new(vec![x.clone()]).kinked(),
                Sample::new(vec![x.clone()]).dtypes(&[DType::F16, DType::BF16]),
                Sample::new(vec![x.clone(), Arg::F(2.0), Arg::Nil, Arg::F(-7.0)]).kinked(),
                Sample::new(vec![Arg::uniform([3], (-5.0, 5.0))])
                    .dtypes(&[DType::I64, DType::Bool]),
            ]
        }),
    ]
}
