//! Elementary functions of f32 for loops (branch-free, so that they vectorise inside
//! [`dispatch`](crate::simd::dispatch)), and [`Real`], which has them for f32 and f64 alike.

/// The functions of this module, for code that is generic over f32 and f64.
///
/// f32 takes the functions of this module, f64 those of the standard library and `libm`.
pub trait Real: Copy + Send + Sync + 'static {
    /// e to the power of x.
    fn exp(self) -> Self;
    /// 2 to the power of x.
    fn exp2(self) -> Self;
    /// exp(x) - 1, precise near 0.
    fn expm1(self) -> Self;
    /// Natural logarithm.
    fn log(self) -> Self;
    /// log(1 + x), precise near 0.
    fn log1p(self) -> Self;
    /// Logarithm to base 2.
    fn log2(self) -> Self;
    /// Logarithm to base 10.
    fn log10(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 1 / (1 + exp(-x)).
    fn sigmoid(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// 1 - erf(x), precise for large x.
    fn erfc(self) -> Self;
    /// Sine (radians).
    fn sin(self) -> Self;
    /// Cosine (radians).
    fn cos(self) -> Self;
    /// Tangent (radians).
    fn tan(self) -> Self;
    /// x times the normal distribution function at x (GELU, exact form).
    fn gelu(self) -> Self;
    /// GELU's tanh approximation.
    fn gelu_tanh(self) -> Self;
    /// x * sigmoid(x).
    fn silu(self) -> Self;
    /// `self` to the power of `e`.
    fn pow(self, e: Self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn exp(self) -> f32 {
        exp(self)
    }
    #[inline(always)]
    fn exp2(self) -> f32 {
        exp2(self)
    }
    #[inline(always)]
    fn expm1(self) -> f32 {
        expm1(self)
    }
    #[inline(always)]
    fn log(self) -> f32 {
        log(self)
    }
    #[inline(always)]
    fn log1p(self) -> f32 {
        log1p(self)
    }
    #[inline(always)]
    fn log2(self) -> f32 {
        log2(self)
    }
    #[inline(always)]
    fn log10(self) -> f32 {
        log10(self)
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> f32 {
        sigmoid(self)
    }
    #[inline(always)]
    fn erf(self) -> f32 {
        erf(self)
    }
    #[inline(always)]
    fn erfc(self) -> f32 {
        erfc(self)
    }
    #[inline(always)]
    fn sin(self) -> f32 {
        sin(self)
    }
    #[inline(always)]
    fn cos(self) -> f32 {
        cos(self)
    }
    #[inline(always)]
    fn tan(self) -> f32 {
        tan(self)
    }
    #[inline(always)]
    fn gelu(self) -> f32 {
        gelu(self)
    }
    #[inline(always)]
    fn gelu_tanh(self) -> f32 {
        gelu_tanh(self)
    }
    #[inline(always)]
    fn silu(self) -> f32 {
        silu(self)
    }
    #[inline(always)]
    fn pow(self, e: f32) -> f32 {
        pow(self, e)
    }
}

impl Real for f64 {
    #[inline]
    fn exp(self) -> f64 {
        self.exp()
    }
    #[inline]
    fn exp2(self) -> f64 {
        self.exp2()
    }
    #[inline]
    fn expm1(self) -> f64 {
        self.exp_m1()
    }
    #[inline]
    fn log(self) -> f64 {
        self.ln()
    }
    #[inline]
    fn log1p(self) -> f64 {
        self.ln_1p()
    }
    #[inline]
    fn log2(self) -> f64 {
        self.log2()
    }
    #[inline]
    fn log10(self) -> f64 {
        self.log10()
    }
    #[inline]
    fn tanh(self) -> f64 {
        self.tanh()
    }
    #[inline]
    fn sigmoid(self) -> f64 {
        1.0 / (1.0 + (-self).exp())
    }
    #[inline]
    fn erf(self) -> f64 {
        libm::erf(self)
    }
    #[inline]
    fn erfc(self) -> f64 {
        libm::erfc(self)
    }
    #[inline]
    fn sin(self) -> f64 {
        self.sin()
    }
    #[inline]
    fn cos(self) -> f64 {
        self.cos()
    }
    #[inline]
    fn tan(self) -> f64 {
        self.tan()
    }
    #[inline]
    fn gelu(self) -> f64 {
        0.5 * self * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
    #[inline]
    fn gelu_tanh(self) -> f64 {
        let u = 0.797_884_560_802_865_4 * (self + 0.044715 * self * self * self);
        0.5 * self * (1.0 + u.tanh())
    }
    #[inline]
    fn silu(self) -> f64 {
        self / (1.0 + (-self).exp())
    }
    #[inline]
    fn pow(self, e: f64) -> f64 {
        self.powf(e)
    }
}

/// e to the power of x.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    Real::exp(f64::from(x)) as f32
}

/// 2 to the power of x.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    Real::exp2(f64::from(x)) as f32
}

/// exp(x) - 1, precise near 0.
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    Real::expm1(f64::from(x)) as f32
}

/// Natural logarithm.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    Real::log(f64::from(x)) as f32
}

/// log(1 + x), precise near 0.
#[inline(always)]
pub fn log1p(x: f32) -> f32 {
    Real::log1p(f64::from(x)) as f32
}

/// Logarithm to base 2.
#[inline(always)]
pub fn log2(x: f32) -> f32 {
    Real::log2(f64::from(x)) as f32
}

/// Logarithm to base 10.
#[inline(always)]
pub fn log10(x: f32) -> f32 {
    Real::log10(f64::from(x)) as f32
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    Real::tanh(f64::from(x)) as f32
}

/// 1 / (1 + exp(-x)).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    Real::sigmoid(f64::from(x)) as f32
}

/// Error function.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    Real::erf(f64::from(x)) as f32
}

/// 1 - erf(x), precise for large x.
#[inline(always)]
pub fn erfc(x: f32) -> f32 {
    Real::erfc(f64::from(x)) as f32
}

/// Sine (radians).
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    Real::sin(f64::from(x)) as f32
}

/// Cosine (radians).
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    Real::cos(f64::from(x)) as f32
}

/// Tangent (radians).
#[inline(always)]
pub fn tan(x: f32) -> f32 {
    Real::tan(f64::from(x)) as f32
}

/// x times the normal distribution function at x (GELU, exact form).
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    Real::gelu(f64::from(x)) as f32
}

/// GELU's tanh approximation.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    Real::gelu_tanh(f64::from(x)) as f32
}

/// x * sigmoid(x).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    Real::silu(f64::from(x)) as f32
}

/// `x` to the power of `e`.
#[inline(always)]
pub fn pow(x: f32, e: f32) -> f32 {
    x.powf(e)
}

macro_rules! slices {
    ($($(#[$meta:meta])* $name:ident = $f:path;)*) => { $(
        crate::simd_fn! {
            $(#[$meta])*
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name(x: &[f32], out: &mut [f32]) {
                assert_eq!(x.len(), out.len(), "slices of different lengths");
                for (o, x) in out.iter_mut().zip(x) {
                    *o = $f(*x);
                }
            }
        }
    )* };
}

slices! {
    /// [`exp`] of each element of `x`, into `out`.
    vexp = exp;
    /// [`exp2`] of each element of `x`, into `out`.
    vexp2 = exp2;
    /// [`expm1`] of each element of `x`, into `out`.
    vexpm1 = expm1;
    /// [`log`] of each element of `x`, into `out`.
    vlog = log;
    /// [`log1p`] of each element of `x`, into `out`.
    vlog1p = log1p;
    /// [`log2`] of each element of `x`, into `out`.
    vlog2 = log2;
    /// [`log10`] of each element of `x`, into `out`.
    vlog10 = log10;
    /// [`tanh`] of each element of `x`, into `out`.
    vtanh = tanh;
    /// [`sigmoid`] of each element of `x`, into `out`.
    vsigmoid = sigmoid;
    /// [`erf`] of each element of `x`, into `out`.
    verf = erf;
    /// [`erfc`] of each element of `x`, into `out`.
    verfc = erfc;
    /// [`sin`] of each element of `x`, into `out`.
    vsin = sin;
    /// [`cos`] of each element of `x`, into `out`.
    vcos = cos;
    /// [`tan`] of each element of `x`, into `out`.
    vtan = tan;
    /// [`gelu`] of each element of `x`, into `out`.
    vgelu = gelu;
    /// [`gelu_tanh`] of each element of `x`, into `out`.
    vgelu_tanh = gelu_tanh;
    /// [`silu`] of each element of `x`, into `out`.
    vsilu = silu;
}
