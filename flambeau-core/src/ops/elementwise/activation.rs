//! Activation functions (`torch.nn.functional`). A function whose gradient is no cheap expression
//! of tensors has its derivative as a row of its own, so that the backward pass is two passes over
//! memory; that row's own gradient is written in tensors.

use super::binary::{Binary, binary, binary_row, relu_backward};
use super::gate::Gate;
use super::unary::{Params, Unary, keep, row_spec, unary, unary_, unary_ops, unary_row};
use super::{Kind, original};
use crate::autocast::{Cast, Composite};
use crate::dispatch::Saves;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{DType, Result, bail};
use flambeau_cpu::math::{self, Real as R};
use smallvec::smallvec;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

const PLAIN: Params = [0.0; 3];
/// sqrt(2 / pi), and the cubic coefficient, of GELU's tanh form.
const GELU_K: f64 = SQRT_2 * FRAC_2_SQRT_PI / 2.0;
const GELU_A: f64 = 0.044715;
/// 1 / sqrt(2 pi).
const NORMAL: f64 = FRAC_1_SQRT_2 * FRAC_2_SQRT_PI / 2.0;
/// Klambauer et al. 2017, "Self-Normalizing Neural Networks": [alpha, scale, 1].
const SELU_PARAMS: Params = [1.673_263_242_354_377_2, 1.050_700_987_355_480_5, 1.0];

unary_ops! { ACTIVATIONS:
    /// max(0, x); NaN stays NaN. The gradient at 0 is 0
    /// ([`F.relu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.relu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.0f32, 2.0])?.relu()?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    RELU = relu, relu_() Number {
        hot: true,
        float: |x, p| if x < 0.0 { 0.0 } else { x },
        int: |x, p| if x < 0 { 0 } else { x },
        cuda: "x < 0 ? 0 : x",
        cuda_int: "x < 0 ? 0 : x",
        saves: Saves::OUTPUT,
        grad: |c, g, _| relu_backward(g, &c.output()?),
        domain: (0.2, 2.0),
        torch: "torch.relu(x)",
    }
    /// x where x > 0, else `negative_slope` times x
    /// ([`F.leaky_relu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.leaky_relu.html),
    /// where it defaults to 0.01).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.01f32, 2.0])?;
    /// let y = Tensor::new([-1.0f32, 2.0])?.leaky_relu(0.01)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    LEAKY_RELU = leaky_relu, leaky_relu_(negative_slope) Number {
        hot: true,
        float: |x, p| if x > 0.0 { x } else { x * p[0] },
        cuda: "x > 0 ? x : x * p0",
        saves: Saves::INPUTS,
        grad: |c, g, p| {
            let gate = Gate { outside: p[0], nan: p[0], ..Gate::open(0.0, f64::INFINITY) };
            gate.pass(g, &c.input(0)?)
        },
        domain: (0.2, 2.0),
        torch: "F.leaky_relu(x, p[0])",
        params: [[0.01, 0.0, 0.0], [0.3, 0.0, 0.0]],
    }
    /// 1 / (1 + exp(-x))
    /// ([`torch.sigmoid`](https://pytorch.org/docs/stable/generated/torch.sigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.5f32, 0.8808])?;
    /// assert!(Tensor::new([0.0f32, 2.0])?.sigmoid()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SIGMOID = sigmoid, sigmoid_() Float {
        float: |x, p| R::sigmoid(x),
        cuda: "sigmoid(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| binary(&SIGMOID_BACKWARD, g, &c.output()?),
        domain: (-2.0, 2.0),
        torch: "torch.sigmoid(x)",
    }
    /// The logarithm of the sigmoid, without overflow
    /// ([`F.logsigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.functional.logsigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.69315f32, -100.0])?;
    /// let y = Tensor::new([0.0f32, -100.0])?.log_sigmoid()?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    LOG_SIGMOID = log_sigmoid, log_sigmoid_() Number {
        float: |x, p| (if x < 0.0 { x } else { 0.0 }) - R::log1p(R::exp(-x.abs())),
        cuda: "(x < 0 ? x : 0) - log1p(exp(-fabs(x)))",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.neg()?.sigmoid()?),
        domain: (-2.0, 2.0),
        torch: "F.logsigmoid(x)",
    }
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
        float: |x, p| R::gelu_tanh(x),
        cuda: "0.5f * x * (1 + tanh(COMPUTE(0.7978845608028654) * (x + COMPUTE(0.044715) * x * x * x)))",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(unary(&GELU_TANH_SLOPE, &c.input(0)?, [GELU_K, GELU_A, 0.0])?),
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
        float: |x, p| x * R::tanh(if x > 20.0 { x } else { R::log1p(R::exp(x)) }),
        cuda: "x * tanh(x > 20 ? x : log1p(exp(x)))",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(unary(&MISH_SLOPE, &c.input(0)?, PLAIN)?),
        domain: (-2.0, 2.0),
        torch: "F.mish(x)",
    }
    /// x clipped to `min`..`max`
    /// ([`F.hardtanh`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardtanh.html),
    /// where they default to -1 and 1); no gradient at the
    /// ends.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-3.0f32, 0.5, 3.0])?.hardtanh(-1.0, 1.0)?.to_vec::<f32>()?,
    ///     [-1.0, 0.5, 1.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors, and where `min` is greater than `max`.
    HARDTANH = hardtanh, hardtanh_(min, max) Number {
        float: |x, p| if x < p[0] { p[0] } else if x > p[1] { p[1] } else { x },
        int: |x, p| if x < p[0] { p[0] } else if x > p[1] { p[1] } else { x },
        cuda: "x < p0 ? p0 : x > p1 ? p1 : x",
        cuda_int: "x < p0 ? p0 : x > p1 ? p1 : x",
        saves: Saves::INPUTS,
        grad: |c, g, p| Gate { nan: 1.0, ..Gate::open(p[0], p[1]) }.pass(g, &c.input(0)?),
        domain: (-0.9, 0.9),
        torch: "F.hardtanh(x, p[0], p[1])",
        params: [[-1.0, 1.0, 0.0], [-0.5, 2.0, 0.0]],
        check: |p| (p[0] > p[1]).then_some("min is greater than max"),
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
        grad: |c, g, _| g.mul(unary(&HARDSWISH_SLOPE, &c.input(0)?, PLAIN)?),
        domain: (-2.0, 2.0),
        torch: "F.hardswish(x)",
    }
    /// relu6(x + 3) / 6
    /// ([`F.hardsigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardsigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.75, 1.0])?;
    /// let y = Tensor::new([-4.0f32, 1.5, 4.0])?.hardsigmoid()?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    HARDSIGMOID = hardsigmoid, hardsigmoid_() Number {
        float: |x, p| (x + 3.0).clamp(0.0, 6.0) / 6.0,
        cuda: "minimum(maximum(x + 3, COMPUTE(0)), COMPUTE(6)) / 6",
        saves: Saves::INPUTS,
        grad: |c, g, _| Gate { inside: 1.0 / 6.0, ..Gate::open(-3.0, 3.0) }.pass(g, &c.input(0)?),
        domain: (-2.0, 2.0),
        torch: "F.hardsigmoid(x)",
    }
    /// x, but 0 from -`lambd` to `lambd`
    /// ([`F.hardshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardshrink.html),
    /// where it defaults to 0.5).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-1.0f32, 0.25, 2.0])?.hardshrink(0.5)?.to_vec::<f32>()?,
    ///     [-1.0, 0.0, 2.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    HARDSHRINK = hardshrink, hardshrink_(lambd) Number {
        float: |x, p| if x >= -p[0] && x <= p[0] { 0.0 } else { x },
        cuda: "x >= -p0 && x <= p0 ? 0 : x",
        saves: Saves::INPUTS,
        grad: |c, g, p| Gate::shut(-p[0], p[0]).pass(g, &c.input(0)?),
        domain: (0.6, 2.0),
        torch: "F.hardshrink(x, p[0])",
        params: [[0.5, 0.0, 0.0]],
    }
    /// x moved towards 0 by `lambd`, which is not negative
    /// ([`F.softshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softshrink.html),
    /// where it defaults to 0.5).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-1.0f32, 0.25, 2.0])?.softshrink(0.5)?.to_vec::<f32>()?,
    ///     [-0.5, 0.0, 1.5]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, and a negative `lambd`.
    SOFTSHRINK = softshrink, softshrink_(lambd) Number {
        float: |x, p| if x > p[0] { x - p[0] } else if x < -p[0] { x + p[0] } else { x * 0.0 },
        cuda: "x > p0 ? x - p0 : x < -p0 ? x + p0 : x * 0",
        saves: Saves::INPUTS,
        grad: |c, g, p| Gate::shut(-p[0], p[0]).pass(g, &c.input(0)?),
        domain: (0.6, 2.0),
        torch: "F.softshrink(x, p[0])",
        params: [[0.5, 0.0, 0.0]],
        check: |p| (p[0].is_nan() || p[0] < 0.0).then_some("lambd must not be negative"),
    }
    /// x where it exceeds `threshold`, else `value`
    /// ([`F.threshold`](https://pytorch.org/docs/stable/generated/torch.nn.functional.threshold.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-1.0f32, 0.5, 2.0])?.threshold(0.5, -9.0)?.to_vec::<f32>()?,
    ///     [-9.0, -9.0, 2.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    THRESHOLD = threshold, threshold_(threshold, value) Number {
        float: |x, p| if x <= p[0] { p[1] } else { x },
        int: |x, p| if x <= p[0] { p[1] } else { x },
        cuda: "x <= p0 ? p1 : x",
        cuda_int: "x <= p0 ? p1 : x",
        saves: Saves::INPUTS,
        grad: |c, g, p| Gate::shut(f64::NEG_INFINITY, p[0]).pass(g, &c.input(0)?),
        domain: (0.6, 2.0),
        torch: "F.threshold(x, p[0], p[1])",
        params: [[0.5, 7.0, 0.0]],
    }
}

/// p = [alpha, scale, input scale]: scale x above 0, scale alpha (exp(x input scale) - 1) below.
static ELU: Unary = unary_row!("elu", Number,
    float: |x, p| if x < 0.0 { R::expm1(x * p[2]) * (p[0] * p[1]) } else { x * p[1] },
    cuda: "x < 0 ? expm1(x * p2) * (p0 * p1) : x * p1",
    saves: Saves::INPUTS,
    grad: |c, g, p| g.mul(unary(&ELU_SLOPE, &c.input(0)?, p)?),
    domain: (-2.0, -0.2),
    torch: "torch.ops.aten.elu(x, *p)",
    params: [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0], [0.5, 1.0, 2.0], SELU_PARAMS],
    check: |p| p[2].is_infinite().then_some("alpha must not be 0"),
);

static ELU_SLOPE: Unary = unary_row!("elu_backward", Number,
    float: |x, p| if x <= 0.0 { R::exp(x * p[2]) * (p[0] * p[1] * p[2]) } else { p[1] },
    cuda: "x <= 0 ? exp(x * p2) * (p0 * p1 * p2) : p1",
    saves: Saves::INPUTS,
    grad: |c, g, p| {
        let x = c.input(0)?;
        keep(&g.mul(unary(&ELU_SLOPE, &x, p)?)?.mul(p[2])?, &x.le(0.0)?)
    },
    domain: (-2.0, -0.2),
    torch: "",
);

/// p = [beta, threshold].
static SOFTPLUS: Unary = unary_row!("softplus", Number,
    float: |x, p| if x * p[0] > p[1] { x } else { R::log1p(R::exp(x * p[0])) / p[0] },
    cuda: "x * p0 > p1 ? x : log1p(exp(x * p0)) / p0",
    saves: Saves::INPUTS,
    grad: |c, g, p| g.mul(unary(&SOFTPLUS_SLOPE, &c.input(0)?, p)?),
    domain: (-2.0, 2.0),
    torch: "F.softplus(x, p[0], p[1])",
    params: [[1.0, 20.0, 0.0], [2.0, 5.0, 0.0]],
);

static SOFTPLUS_SLOPE: Unary = unary_row!("softplus_backward", Number,
    float: |x, p| if x * p[0] > p[1] { 1.0 } else { R::sigmoid(x * p[0]) },
    cuda: "x * p0 > p1 ? 1 : sigmoid(x * p0)",
    saves: Saves::INPUTS,
    grad: |c, g, p| {
        let scaled = c.input(0)?.mul(p[0])?;
        let s = scaled.sigmoid()?;
        keep(&g.mul(s.mul(s.neg()?.add(1.0)?)?)?.mul(p[0])?, &scaled.le(p[1])?)
    },
    domain: (-2.0, 2.0),
    torch: "",
);

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
    domain: super::binary::SIGNED,
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
    domain: super::binary::SIGNED,
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
        let s = R::sigmoid(x);
        let t = R::tanh(if x > 20.0 { x } else { R::log1p(R::exp(x)) });
        t + x * s * (1.0 - t * t)
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

/// g (1 - y^2).
static TANH_BACKWARD: Binary = binary_row!("tanh_backward", Same,
    float: |g, y| g * (1.0 - y * y),
    cuda: "a * (1 - b * b)",
    saves: |_| Saves::INPUTS,
    grad: |c, g| {
        let y = c.input(1)?;
        Ok(smallvec![Some(tanh_backward(g, &y)?), Some(g.mul(c.input(0)?)?.mul(y.mul(-2.0)?)?)])
    },
    domain: super::binary::SIGNED,
    torch: "",
);

/// The gradient of tanh from that of its result and the result.
pub(crate) fn tanh_backward(grad: &Tensor, output: &Tensor) -> Result<Tensor> {
    binary(&TANH_BACKWARD, grad, output)
}

/// g y (1 - y).
static SIGMOID_BACKWARD: Binary = binary_row!("sigmoid_backward", Same,
    float: |g, y| g * (1.0 - y) * y,
    cuda: "a * (1 - b) * b",
    saves: |_| Saves::INPUTS,
    grad: |c, g| {
        let y = c.input(1)?;
        let slope = y.mul(-2.0)?.add(1.0)?;
        Ok(smallvec![
            Some(binary(&SIGMOID_BACKWARD, g, &y)?),
            Some(g.mul(c.input(0)?)?.mul(slope)?),
        ])
    },
    domain: super::binary::SIGNED,
    torch: "",
);

/// p = [low, high, 1 where x is clipped to them].
static LOGIT: Unary = unary_row!("logit", Float,
    float: |x, p| {
        let x = if x < p[0] { p[0] } else if x > p[1] { p[1] } else { x };
        R::log(x / (1.0 - x))
    },
    cuda: "log((x < p0 ? p0 : x > p1 ? p1 : x) / (1 - (x < p0 ? p0 : x > p1 ? p1 : x)))",
    saves: Saves::INPUTS,
    grad: |c, g, p| {
        let x = c.input(0)?;
        let slope = g.div(x.mul(x.neg()?.add(1.0)?)?.abs()?)?;
        let (low, high, outside) = if p[2] == 0.0 { (0.0, 1.0, f64::NAN) } else { (p[0], p[1], 0.0) };
        x.lt(low)?.logical_or(x.gt(high)?)?.where_(outside, slope)
    },
    domain: (0.3, 0.7),
    torch: "",
);

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

methods! {
    /// x above 0, `alpha` (exp(x) - 1) below
    /// ([`F.elu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.elu.html), where it
    /// defaults to 1).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.63212f32, 2.0])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.elu(1.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    elu, elu_(alpha) = ELU, [alpha, 1.0, 1.0];
    /// x above 0, `alpha` (exp(x / alpha) - 1) below
    /// ([`F.celu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.celu.html), where
    /// it defaults to 1).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.78694f32, 2.0])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.celu(2.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, and where `alpha` is 0.
    celu, celu_(alpha) = ELU, [alpha, 1.0, 1.0 / alpha];
    /// The self-normalising ELU
    /// ([`F.selu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.selu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-1.11133f32, 2.1014])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.selu()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    selu, selu_() = ELU, SELU_PARAMS;
    /// log(1 + exp(x)), without overflow
    /// ([`F.softplus`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softplus.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.31326f32, 30.0])?;
    /// assert!(Tensor::new([-1.0f32, 30.0])?.softplus()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    softplus, softplus_() = SOFTPLUS, [1.0, 20.0, 0.0];
    /// log(1 + exp(beta x)) / beta; x itself where beta x exceeds `threshold`
    /// ([`F.softplus`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softplus.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.06346f32, 3.0])?;
    /// let y = Tensor::new([-1.0f32, 3.0])?.softplus_with(2.0, 4.0)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    softplus_with, softplus_with_(beta, threshold) = SOFTPLUS, [beta, threshold, 0.0];
    /// x clipped to 0..6
    /// ([`F.relu6`](https://pytorch.org/docs/stable/generated/torch.nn.functional.relu6.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.0f32, 2.0, 9.0])?.relu6()?.to_vec::<f32>()?, [0.0, 2.0, 6.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    relu6, relu6_() = HARDTANH, [0.0, 6.0, 0.0];
}

impl Tensor {
    /// x / (1 + |x|)
    /// ([`F.softsign`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softsign.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.0f32, 3.0])?.softsign()?.to_vec::<f32>()?, [-0.5, 0.75]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    #[track_caller]
    pub fn softsign(&self) -> Result<Tensor> {
        self.div(self.abs()?.add(1.0)?)
    }

    /// x - tanh(x)
    /// ([`F.tanhshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.tanhshrink.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.03597])?;
    /// assert!(Tensor::new([0.0f32, 2.0])?.tanhshrink()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn tanhshrink(&self) -> Result<Tensor> {
        self.sub(self.tanh()?)
    }

    /// log(x / (1 - x)), of x clipped to eps..1 - eps where `eps` is given
    /// ([`torch.logit`](https://pytorch.org/docs/stable/generated/torch.logit.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 2.19722])?;
    /// let y = Tensor::new([0.5f32, 1.0])?.logit(Some(0.1))?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn logit(&self, eps: Option<f64>) -> Result<Tensor> {
        let (low, high) = eps.map_or((f64::NEG_INFINITY, f64::INFINITY), |e| (e, 1.0 - e));
        unary(&LOGIT, self, [low, high, eps.is_some() as u8 as f64])
    }
    /// [`logit`](Tensor::logit) in place.
    ///
    /// # Errors
    /// As [`logit`](Tensor::logit), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn logit_(&self, eps: Option<f64>) -> Result<Tensor> {
        self.check_inplace("logit")?;
        self.assign("logit", original(self, &[])?.logit(eps)?)
    }

    /// x where x > 0, else x times `weight`: one number, or one for each channel (dimension 1)
    /// ([`F.prelu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.prelu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([[-1.0f32, -2.0], [3.0, -4.0]])?.prelu(&Tensor::new([0.5f32, 0.25])?)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[-0.5, -0.5], [3.0, -1.0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `weight` has neither one element nor as many as there are channels, or another type.
    #[track_caller]
    pub fn prelu(&self, weight: &Tensor) -> Result<Tensor> {
        let channels = if self.dim() > 1 { self.shape()[1] } else { 1 };
        if weight.dim() > 1 || (weight.numel() != 1 && weight.numel() != channels) {
            bail!(
                "prelu",
                "weight of shape {:?} for an input of {channels} channels; expected [1] or [{channels}]",
                weight.shape()
            );
        }
        let region = Composite::new(Cast::Low, [self, weight])?;
        let [x, weight] = region.inputs();
        if weight.dtype() != x.dtype() {
            bail!(
                "prelu",
                "the input is {}, the weight {}; convert one with to_dtype",
                x.dtype(),
                weight.dtype()
            );
        }
        let weight = if weight.numel() == 1 {
            weight.reshape(())?
        } else {
            let mut shape = vec![1; self.dim()];
            shape[1] = channels;
            weight.reshape(shape)?
        };
        x.gt(0.0)?.where_(x, x.mul(weight)?)
    }
}

/// What tests and goldens know of the activations.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let mut specs: Vec<OpSpec> = ACTIVATIONS.iter().map(|&def| row_spec(def)).collect();
    let x = || Arg::uniform([3, 4], (0.1, 0.9));
    let three = |p: [f64; 3]| p.map(Arg::F);
    for spec in &mut specs {
        let wrong: &[(Params, &'static str)] = match spec.name {
            // PyTorch's vector loop gives NaN for f32's infinity, its f64 loop infinity.
            "gelu" => {
                spec.samples[1].dtypes = Some(vec![DType::F64]);
                continue;
            }
            // PyTorch's f64 gradient has 1/6 in f32.
            "hardsigmoid" => {
                spec.tolerance = 100.0;
                continue;
            }
            "hardtanh" => &[([1.0, -1.0, 0.0], "min is greater than max")],
            "softshrink" => &[([-1.0, 0.0, 0.0], "must not be negative")],
            _ => continue,
        };
        spec.errors = (wrong.iter())
            .map(|&(p, words)| ([vec![x()], three(p).to_vec()].concat(), words))
            .collect();
    }
    specs.push(row_spec(&ELU).errors(vec![(
        [vec![x()], three([0.0, 1.0, f64::INFINITY]).to_vec()].concat(),
        "alpha must not be 0",
    )]));
    specs.push(row_spec(&SOFTPLUS));
    type Method = fn(&Tensor) -> Result<Tensor>;
    let plain: [(&str, &str, Method, Method); 5] = [
        ("relu6", "F.relu6", Tensor::relu6, Tensor::relu6_),
        ("selu", "F.selu", Tensor::selu, Tensor::selu_),
        (
            "celu",
            "lambda x: F.celu(x, 2.0)",
            |x| x.celu(2.0),
            |x| x.celu_(2.0),
        ),
        (
            "logit",
            "torch.logit",
            |x| x.logit(None),
            |x| x.logit_(None),
        ),
        (
            "logit_eps",
            "lambda x: torch.logit(x, 0.2)",
            |x| x.logit(Some(0.2)),
            |x| x.logit_(Some(0.2)),
        ),
    ];
    let kinks = || Arg::values([7], &[-1.0, -0.0, 0.0, 0.2, 1.0, 7.0, f64::NAN]);
    specs.extend(plain.map(|(name, torch, call, inplace)| {
        OpSpec::new(name, torch, move |a| Ok(vec![call(a[0].tensor()?)?]))
            .inplace(move |a| Ok(vec![inplace(a[0].tensor()?)?]))
            .elementwise()
            .samples(vec![
                Sample::new(vec![Arg::uniform([3, 4], (0.3, 0.7))]),
                Sample::new(vec![kinks()]).kinked(),
            ])
    }));
    let composite: [(&str, &str, Method); 2] = [
        ("softsign", "F.softsign", Tensor::softsign),
        ("tanhshrink", "F.tanhshrink", Tensor::tanhshrink),
    ];
    specs.extend(composite.map(|(name, torch, call)| {
        OpSpec::new(name, torch, move |a| Ok(vec![call(a[0].tensor()?)?]))
            .elementwise()
            .samples(vec![
                Sample::new(vec![x()]),
                Sample::new(vec![kinks()]).kinked(),
                Sample::new(vec![Arg::uniform([4], (-4.0, 4.0))]).dtypes(&[DType::I64]),
            ])
    }));
    specs.push(
        OpSpec::new("prelu", "F.prelu", |a| {
            Ok(vec![a[0].tensor()?.prelu(a[1].tensor()?)?])
        })
        .samples(vec![
            Sample::new(vec![
                Arg::uniform([2, 3, 2], (-2.0, 2.0)),
                Arg::uniform([3], (0.1, 0.5)),
            ]),
            Sample::new(vec![
                Arg::uniform([5], (-2.0, 2.0)),
                Arg::uniform([1], (0.1, 0.5)),
            ]),
            Sample::new(vec![kinks(), Arg::uniform([1], (0.1, 0.5))]).kinked(),
        ])
        .errors(vec![(
            vec![
                Arg::uniform([2, 3], (0.0, 1.0)),
                Arg::uniform([2], (0.0, 1.0)),
            ],
            "expected [1] or [3]",
        )]),
    );
    specs
}
