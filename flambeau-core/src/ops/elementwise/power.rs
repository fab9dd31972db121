//! Powers.

use super::binary::{Binary, binary, binary_row, result_type, row_spec, want};
use super::unary::{SQUARE, Unary, keep, unary, unary_row};
use super::{Kind, original};
use crate::autocast::{Cast, Composite};
use crate::dispatch::Saves;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::{Operand, Tensor};
use crate::{DType, Result, bail};
use flambeau_cpu::math;
use smallvec::smallvec;

static POW: Binary = binary_row!("pow", Number,
    vector64: math::double::vpow,
    float: |x, y| math::pow(x, y),
    int: |x, y| match u32::try_from(y) {
        Ok(y) => x.wrapping_pow(y),
        // A fraction rounds to 0, unless it is none; 0 to a negative power is 0 too, as in PyTorch.
        Err(_) if y > 0 => wide_pow(x as i64, y as i64) as _,
        Err(_) if x == 1 => 1,
        Err(_) if x == -1 => if y % 2 == 0 { 1 } else { -1 },
        Err(_) => 0,
    },
    cuda: "pow(a, b)",
    cuda_int: "power(a, b)",
    saves: |_| Saves::OUTPUT.input(0).input(1),
    grad: |c, g| {
        let (base, exponent) = (c.input(0)?, c.input(1)?);
        Ok(smallvec![
            want(c, 0, || {
                let slope = exponent.mul(base.pow(exponent.sub(1.0)?)?)?;
                keep(&g.mul(slope)?, &exponent.ne(0.0)?)
            })?,
            want(c, 1, || {
                // The logarithm of 0 does not matter where the power stays 0.
                let flat = base.eq(0.0)?.logical_and(exponent.ge(0.0)?)?;
                keep(&g.mul(c.output()?.mul(base.log()?)?)?, &flat.logical_not()?)
            })?,
        ])
    },
    domain: ((0.3, 2.0), (-2.0, 2.0)),
    torch: "torch.pow",
);

/// Integer powers with exponents beyond 32 bits, wrapping.
fn wide_pow(x: i64, y: i64) -> i64 {
    let (mut base, mut exponent, mut out) = (x, y, 1i64);
    while exponent > 0 {
        if exponent & 1 == 1 {
            out = out.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    out
}

static CUBE: Unary = unary_row!("pow", Number,
    hot: true,
    float: |x, p| x * x * x,
    cuda: "x * x * x",
    saves: Saves::INPUTS,
    grad: |c, g, _| g.mul(c.input(0)?.square()?.mul(3.0)?),
    domain: (-2.0, 2.0),
    torch: "",
);

static INVERSE_SQUARE: Unary = unary_row!("pow", Number,
    hot: true,
    float: |x, p| 1.0 / (x * x),
    cuda: "1 / (x * x)",
    saves: Saves::INPUTS,
    grad: |c, g, _| g.mul(c.input(0)?.pow(-3.0)?.mul(-2.0)?),
    domain: (0.3, 2.0),
    torch: "",
);

static INVERSE_ROOT: Unary = unary_row!("pow", Number,
    float: |x, p| 1.0 / x.sqrt(),
    cuda: "1 / sqrt(x)",
    saves: Saves::INPUTS,
    grad: |c, g, _| g.mul(c.input(0)?.pow(-1.5)?.mul(-0.5)?),
    domain: (0.3, 2.0),
    torch: "",
);

/// p = [exponent].
static POW_NUMBER: Unary = unary_row!("pow", Number,
    with64: |x, out, p| math::double::vpow_number(x, p[0], out),
    float: |x, p| math::pow(x, p[0]),
    cuda: "pow(x, p0)",
    saves: Saves::INPUTS,
    grad: |c, g, p| {
        if p[0] == 0.0 {
            return g.zeros_like();
        }
        g.mul(c.input(0)?.pow(p[0] - 1.0)?.mul(p[0])?)
    },
    domain: (0.3, 2.0),
    torch: "",
);

impl Tensor {
    /// Each element to the power of `exponent`, a number or a tensor that broadcasts; types promote.
    /// 0 to the power of 0 is 1. Integers to a negative power given as a tensor round to 0
    /// ([`torch.pow`](https://pytorch.org/docs/stable/generated/torch.pow.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([2.0f32, 3.0])?.pow(2)?.to_vec::<f32>()?, [4.0, 9.0]);
    /// assert_eq!(Tensor::new([2i64, 3])?.pow(&Tensor::new([3i64, 2])?)?.to_vec::<i64>()?, [8, 9]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integers to the power of a negative number of the program, and for bool tensors.
    #[track_caller]
    pub fn pow(&self, exponent: impl Operand) -> Result<Tensor> {
        let exponent = &*exponent.operand()?;
        let region = Composite::of([Cast::Keep, Cast::Full], [self, exponent])?;
        let [base, exponent] = region.inputs();
        base.power(exponent)
    }

    #[track_caller]
    fn power(&self, exponent: &Tensor) -> Result<Tensor> {
        let dtype = result_type(&[self, exponent]);
        if exponent.is_number() {
            let e: f64 = exponent.item()?;
            if dtype.is_integer() && e < 0.0 {
                bail!(
                    "pow",
                    "integers to a negative power ({e}) are no integers; convert with to_dtype(DType::F32) first"
                );
            }
            if e == 2.0 && dtype != DType::Bool {
                return unary(&SQUARE, &self.to_dtype(dtype)?, [0.0; 3]);
            }
            if dtype.is_floating_point() {
                let x = self.to_dtype(dtype)?;
                return if e == 0.5 {
                    x.sqrt()
                } else if e == -1.0 {
                    x.reciprocal()
                } else if e == -0.5 {
                    unary(&INVERSE_ROOT, &x, [0.0; 3])
                } else if e == -2.0 {
                    unary(&INVERSE_SQUARE, &x, [0.0; 3])
                } else if e == 3.0 {
                    unary(&CUBE, &x, [0.0; 3])
                } else {
                    unary(&POW_NUMBER, &x, [e, 0.0, 0.0])
                };
            }
        }
        binary(&POW, self, exponent)
    }
    /// [`pow`](Tensor::pow) in place.
    ///
    /// # Errors
    /// As [`pow`](Tensor::pow), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn pow_(&self, exponent: impl Operand) -> Result<Tensor> {
        self.check_inplace("pow")?;
        let exponent = exponent.operand()?;
        self.assign("pow", original(self, &[&*exponent])?.pow(&*exponent)?)
    }
    /// `base` to the power of each element (`torch.pow(2, x)`, Python's `2 ** x`).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2, 3])?.rpow(2)?.to_vec::<i64>()?, [2, 4, 8]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`pow`](Tensor::pow).
    #[track_caller]
    pub fn rpow(&self, base: impl Operand) -> Result<Tensor> {
        binary(&POW, &*base.operand()?, self)
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let number = |a: &Arg| -> Result<Tensor> {
        Ok(match a {
            Arg::I(v) => v.operand()?.into_owned(),
            other => other.float()?.operand()?.into_owned(),
        })
    };
    let special = || {
        let v = [
            f64::NEG_INFINITY,
            -1.5,
            -0.0,
            0.0,
            0.5,
            2.0,
            f64::INFINITY,
            f64::NAN,
        ];
        Arg::values([8], &v)
    };
    let exponents = [
        Arg::F(2.0),
        Arg::F(0.5),
        Arg::F(3.0),
        Arg::F(-1.0),
        Arg::F(-2.0),
        Arg::F(-0.5),
        Arg::F(0.0),
        Arg::F(1.7),
        Arg::I(2),
        Arg::I(1),
    ];
    let samples = exponents.iter().flat_map(|e| {
        [
            Sample::new(vec![Arg::uniform([3, 2], (0.4, 2.0)), e.clone()]),
            Sample::new(vec![special(), e.clone()]).kinked(),
        ]
    });
    let integers = [DType::I64, DType::I32, DType::I8, DType::U8];
    let small = || Arg::uniform([6], (-4.0, 4.0));
    let mut samples: Vec<Sample> = samples.collect();
    samples.extend([
        Sample::new(vec![small(), Arg::I(3)]).dtypes(&integers),
        Sample::new(vec![small(), Arg::F(1.5)]).dtypes(&integers),
        Sample::new(vec![small(), Arg::I(2)]).dtypes(&[DType::Bool, DType::F16, DType::BF16]),
    ]);
    vec![
        row_spec(&POW),
        OpSpec::new("pow_number", "torch.pow", move |a| {
            Ok(vec![a[0].tensor()?.pow(number(&a[1])?)?])
        })
        .inplace(move |a| Ok(vec![a[0].tensor()?.pow_(number(&a[1])?)?]))
        .elementwise()
        .samples(samples)
        .errors(vec![(
            vec![Arg::ints([2], (1, 5)), Arg::I(-1)],
            "negative power",
        )]),
        OpSpec::new("rpow", "lambda x, b: torch.pow(b, x)", move |a| {
            Ok(vec![a[0].tensor()?.rpow(number(&a[1])?)?])
        })
        .samples(vec![
            Sample::new(vec![Arg::uniform([3, 2], (-2.0, 2.0)), Arg::F(1.5)]),
            Sample::new(vec![special(), Arg::F(0.0)]).kinked(),
            Sample::new(vec![small(), Arg::I(2)]).dtypes(&integers),
            Sample::new(vec![small(), Arg::F(2.5)]).dtypes(&[DType::I64, DType::Bool]),
        ]),
    ]
}
