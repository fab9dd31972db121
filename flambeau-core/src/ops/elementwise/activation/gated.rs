//! The element times a gate between 0 and 1 that depends on it.

use super::{PLAIN, along};
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::elementwise::binary::{Binary, SIGNED, binary, binary_row};
use crate::ops::elementwise::unary::{Unary, keep, unary, unary_, unary_ops, unary_row};
use crate::ops::spec::OpSpec;
use crate::tensor::Tensor;
use crate::{DType, Result};
use flambeau_cpu::math::{self, Real as R};
use smallvec::smallvec;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

/// sqrt(2 / pi), and the cubic coefficient, of GELU's tanh form.
const GELU_K: f64 = SQRT_2 * FRAC_2_SQRT_PI / 2.0;
const GELU_A: f64 = 0.044715;
/// 1 / sqrt(2 pi).
const NORMAL: f64 = FRAC_1_SQRT_2 * FRAC_2_SQRT_PI / 2.0;

unary_ops! { ROWS:
    /// x sigmoid(x), also known as swish
    /// ([`F.silu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.silu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.26894f32, 1.76159])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.silu()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    SILU = silu, silu_() Number {
        vector: math::vsilu,
        vector64: math::double::vsilu,
        float: |x, p| R::silu(x),
        cuda: "x * sigmoid(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| binary(&SILU_BACKWARD, g, &c.input(0)?),
        domain: (-2.0, 2.0),
        torch: "F.silu(x)",
    }
    /// x times the normal distribution function at x
    /// ([`F.gelu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.gelu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.15866f32, 1.9545])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.gelu()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    GELU = gelu, gelu_() Number {
        vector: math::vgelu,
        vector64: math::double::vgelu,
        float: |x, p| R::gelu(x),
        cuda: "x * (0.5f * (1 + erf(x * COMPUTE(0.7071067811865476))))",
        saves: Saves::INPUTS,
        grad: |c, g, _| binary(&GELU_BACKWARD, g, &c.input(0)?),
        domain: (-2.0, 2.0),
        torch: "F.gelu(x)",
    }
    /// [`gelu`](Tensor::gelu) in the approximation by tanh (`F.gelu(x, approximate="tanh")`)
    /// ([`F.gelu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.gelu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.15881f32, 1.9546])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.gelu_tanh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    GELU_TANH = gelu_tanh, gelu_tanh_() Number {
        vector64: math::double::vgelu_tanh,
        float: |x, p| R::gelu_tanh(x),
        cuda: "0.5f * x * (1 + tanh(COMPUTE(0.7978845608028654) * (x + COMPUTE(0.044715) * x * x * x)))",
        saves: Saves::INPUTS,
        grad: |c, g, _| along(g, unary(&GELU_TANH_SLOPE, &c.input(0)?, [GELU_K, GELU_A, 0.0])?),
        domain: (-2.0, 2.0),
        torch: "F.gelu(x, approximate='tanh')",
    }
    /// x tanh(softplus(x))
    /// ([`F.mish`](https://pytorch.org/docs/stable/generated/torch.nn.functional.mish.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.3034f32, 1.94396])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.mish()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    MISH = mish, mish_() Number {
        float: |x, p| {
            // tanh(log(1 + e)) is ((1 + e)^2 - 1) / ((1 + e)^2 + 1).
            let e = R::exp(if x > 20.0 { 20.0 } else { x });
            let n = e * (e + 2.0);
            x * (n / (n + 2.0))
        },
        cuda: "x * tanh(x > 20 ? x : log1p(exp(x)))",
        saves: Saves::INPUTS,
        grad: |c, g, _| along(g, unary(&MISH_SLOPE, &c.input(0)?, PLAIN)?),
        domain: (-2.0, 2.0),
        torch: "F.mish(x)",
    }
    /// x relu6(x + 3) / 6
    /// ([`F.hardswish`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardswish.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.125, 4.0])?;
    /// let y = Tensor::new([-4.0f32, 1.5, 4.0])?.hardswish()?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    HARDSWISH = hardswish, hardswish_() Number {
        float: |x, p| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        cuda: "x * minimum(maximum(x + 3, COMPUTE(0)), COMPUTE(6)) / 6",
        saves: Saves::INPUTS,
        grad: |c, g, _| along(g, unary(&HARDSWISH_SLOPE, &c.input(0)?, PLAIN)?),
        domain: (-2.0, 2.0),
        torch: "F.hardswish(x)",
    }
}

/// The gradient of silu from that of its result, and the input.
static SILU_BACKWARD: Binary = binary_row!("silu_backward", Same,
    float: |g, x| {
        let s = R::sigmoid(x);
        g * (s * (1.0 + x * (1.0 - s)))
    },
    cuda: "a * (sigmoid(b) * (1 + b * (1 - sigmoid(b))))",
    saves: |_| Saves::INPUTS,
    grad: |c, u| {
        // The derivative of the slope: s (1 - s) (2 + x (1 - 2 s)).
        let (g, x) = (c.input(0)?, c.input(1)?);
        let s = x.sigmoid()?;
        let bend = s.mul(-2.0)?.add(1.0)?.mul(&x)?.add(2.0)?;
        let bend = s.mul(s.neg()?.add(1.0)?)?.mul(bend)?;
        Ok(smallvec![Some(binary(&SILU_BACKWARD, u, &x)?), Some(u.mul(g)?.mul(bend)?)])
    },
    domain: SIGNED,
    torch: "",
);

/// The gradient of gelu from that of its result, and the input.
static GELU_BACKWARD: Binary = binary_row!("gelu_backward", Same,
    float: |g, x| g * R::gelu_slope(x),
    cuda: "a * (0.5f * (1 + erf(b * COMPUTE(0.7071067811865476))) + b * (exp(-0.5f * b * b) * COMPUTE(0.3989422804014327)))",
    saves: |_| Saves::INPUTS,
    grad: |c, u| {
        let (g, x) = (c.input(0)?, c.input(1)?);
        // The derivative of the slope: the density at x, times 2 - x^2.
        let square = x.square()?;
        let density = square.mul(-0.5)?.exp()?.mul(NORMAL)?;
        let bend = density.mul(square.neg()?.add(2.0)?)?;
        Ok(smallvec![Some(binary(&GELU_BACKWARD, u, &x)?), Some(u.mul(g)?.mul(bend)?)])
    },
    domain: SIGNED,
    torch: "",
);

/// p = [`GELU_K`, `GELU_A`].
static GELU_TANH_SLOPE: Unary = unary_row!("gelu_tanh_backward", Number,
    float: |x, p| {
        let (k, a) = (p[0], p[1]);
        let t = R::tanh(k * (x + a * x * x * x));
        0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (k * (1.0 + 3.0 * a * x * x))
    },
    cuda: "0.5f * (1 + tanh(p0 * (x + p1 * x * x * x))) + 0.5f * x * (1 - square(tanh(p0 * (x + p1 * x * x * x)))) * (p0 * (1 + 3 * p1 * x * x))",
    saves: Saves::INPUTS,
    grad: |c, g, _| {
        // With u = k (x + a x^3), t = tanh(u), s = 1 - t^2: s (u' + x / 2 (u'' - 2 t u'^2)).
        let x = c.input(0)?;
        let square = x.square()?;
        let t = square.mul(GELU_A)?.add(1.0)?.mul(&x)?.mul(GELU_K)?.tanh()?;
        let slope = square.mul(3.0 * GELU_A * GELU_K)?.add(GELU_K)?;
        let bend = x.mul(6.0 * GELU_A * GELU_K)?.sub(t.mul(2.0)?.mul(slope.square()?)?)?;
        let s = t.square()?.neg()?.add(1.0)?;
        g.mul(s.mul(slope.add(x.mul(0.5)?.mul(bend)?)?)?)
    },
    domain: (-2.0, 2.0),
    torch: "",
);

static MISH_SLOPE: Unary = unary_row!("mish_backward", Number,
    float: |x, p| {
        let e = R::exp(if x > 20.0 { 20.0 } else { x });
        let n = e * (e + 2.0);
        let over = 1.0 / (n + 2.0);
        let slope = (n + 4.0 * x * (e * (e + 1.0) * over)) * over;
        // Infinity times a slope of 0 is none.
        if x > 20.0 { 1.0 + x * 0.0 } else { slope }
    },
    cuda: "tanh(x > 20 ? x : log1p(exp(x))) + x * sigmoid(x) * (1 - square(tanh(x > 20 ? x : log1p(exp(x)))))",
    saves: Saves::INPUTS,
    grad: |c, g, _| {
        // With t = tanh(softplus(x)) and t' = s (1 - t^2): 2 t' + x t' (1 - s - 2 t s).
        let x = c.input(0)?;
        let (s, t) = (x.sigmoid()?, x.softplus()?.tanh()?);
        let slope = s.mul(t.square()?.neg()?.add(1.0)?)?;
        let bend = s.neg()?.add(1.0)?.sub(t.mul(&s)?.mul(2.0)?)?;
        g.mul(slope.mul(bend.mul(&x)?.add(2.0)?)?)
    },
    domain: (-2.0, 2.0),
    torch: "",
);

static HARDSWISH_SLOPE: Unary = unary_row!("hardswish_backward", Number,
    float: |x, p| if x <= -3.0 { 0.0 } else if x < 3.0 { x / 3.0 + 0.5 } else { 1.0 },
    cuda: "x <= -3 ? 0 : x < 3 ? x / 3 + 0.5f : 1",
    saves: Saves::INPUTS,
    grad: |c, g, _| {
        let x = c.input(0)?;
        keep(&g.div(3.0)?, &x.gt(-3.0)?.logical_and(x.lt(3.0)?)?)
    },
    domain: (-2.0, 2.0),
    torch: "",
);

/// What the table does not tell of this file's operations.
#[inline]
pub(super) fn adjust(specs: &mut [OpSpec]) {
    for spec in specs.iter_mut().filter(|s| s.name == "gelu") {
        // PyTorch's vector loop gives NaN for f32's infinity, its f64 loop infinity.
        spec.samples[1].dtypes = Some(vec![DType::F64]);
    }
}
