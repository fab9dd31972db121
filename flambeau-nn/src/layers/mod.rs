//! The layers, a file for each family.

mod activation;
mod attention;
mod conv;
mod dropout;
mod embedding;
mod instance_norm;
mod linear;
mod norm;
mod padding;
mod pooling;
mod recurrent;
mod shape;
mod transformer;

pub use activation::*;
pub use attention::*;
pub use conv::*;
pub use dropout::*;
pub use embedding::*;
pub use instance_norm::*;
pub use linear::*;
pub use norm::*;
pub use padding::*;
pub use pooling::*;
pub use recurrent::*;
pub use shape::*;
pub use transformer::*;

use crate::init::{Draw, affine};
use crate::parameter::{Mode, Parameter};
use flambeau_core::{Result, Tensor};

/// One number for all `N` dimensions, or one for each: `5`, `[3, 5]` or `(3, 5)`.
///
/// ```
/// use flambeau_nn::Conv2d;
/// assert!(Conv2d::new(3, 6, 5).to_string().contains("kernel_size=(5, 5)"));
/// assert!(Conv2d::new(3, 6, (3, 5)).to_string().contains("kernel_size=(3, 5)"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const N: usize> {
    pub(crate) each: [usize; N],
    /// Whether it was written as one number; it is printed as it was written.
    one: bool,
}

impl<const N: usize> From<usize> for Size<N> {
    fn from(n: usize) -> Size<N> {
        Size {
            each: [n; N],
            one: true,
        }
    }
}

impl<const N: usize> From<[usize; N]> for Size<N> {
    fn from(each: [usize; N]) -> Size<N> {
        Size { each, one: false }
    }
}

impl From<(usize, usize)> for Size<2> {
    fn from((a, b): (usize, usize)) -> Size<2> {
        [a, b].into()
    }
}

impl From<(usize, usize, usize)> for Size<3> {
    fn from((a, b, c): (usize, usize, usize)) -> Size<3> {
        [a, b, c].into()
    }
}

impl<const N: usize> std::fmt::Display for Size<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.one {
            write!(f, "{}", self.each.first().unwrap_or(&0))
        } else {
            f.write_str(&tuple(&self.each))
        }
    }
}

/// Python's tuple: `(5,)`, `(3, 5)`.
pub(crate) fn tuple<T: ToString>(values: &[T]) -> String {
    match values {
        [one] => format!("({},)", one.to_string()),
        many => {
            let parts: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("({})", parts.join(", "))
        }
    }
}

/// Python's `repr` of a float: `0.1`, `1e-05`, `20.0`.
pub(crate) fn py(v: f64) -> String {
    if v.is_nan() {
        return "nan".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{v:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if v != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else if v.fract() == 0.0 {
        format!("{v:.1}")
    } else {
        v.to_string()
    }
}

/// Python's `True` and `False`.
pub(crate) fn py_bool(b: bool) -> &'static str {
    if b { "True" } else { "False" }
}

/// A tensor for a place that options have made impossible to fill; the layer's fault is set.
fn nothing() -> Tensor {
    Tensor::empty([0]).expect("a tensor without elements takes no memory")
}

/// Weight and bias of a layer being built, and the draw they came from.
#[derive(Debug)]
struct Affine {
    weight: Parameter,
    bias: Option<Parameter>,
    draw: Draw,
}

impl Affine {
    /// Draws for the first time, or once more where `draw` says how it was drawn before. A shape that
    /// cannot be made becomes the layer's fault.
    #[track_caller]
    fn draw(
        mode: &mut Mode,
        draw: Option<Draw>,
        shape: std::result::Result<Vec<usize>, String>,
        bias: Option<usize>,
    ) -> Affine {
        let f = || shape.and_then(|s| affine(&s, bias).map_err(|e| e.message().to_owned()));
        let (drawn, draw) = match draw {
            None => Draw::first(f),
            Some(mut draw) => (draw.again(f), draw),
        };
        let parameter = |t: Tensor| match t.requires_grad_(true) {
            Ok(t) => Parameter::from(t),
            Err(_) => Parameter::from(t),
        };
        match drawn {
            Ok((weight, bias)) => {
                mode.set_fault(None);
                Affine {
                    weight: parameter(weight),
                    bias: bias.map(parameter),
                    draw,
                }
            }
            Err(text) => {
                mode.set_fault(Some(text));
                Affine {
                    weight: parameter(nothing()),
                    bias: bias.map(|_| parameter(nothing())),
                    draw,
                }
            }
        }
    }
}

/// A constant parameter or buffer.
fn filled(shape: &[usize], value: f64) -> Result<Tensor> {
    Tensor::full_with(shape, value, flambeau_core::DType::F32)
}

/// Setters for options that take part in no draw.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $t:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $t) -> Self {
            self.$name = $name;
            self
        }
    )*};
    (into $($(#[$doc:meta])* $name:ident: $t:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: impl Into<$t>) -> Self {
            self.$name = $name.into();
            self
        }
    )*};
}
pub(crate) use setters;

/// `Forward` around an expression: the options' error comes first, and what fails says where.
macro_rules! forward {
    ($t:ident, |$self:ident, $x:ident| $body:expr) => {
        forward!($t, |$self, $x| $body, at $crate::Module::repr($self));
    };
    ($t:ident, |$self:ident, $x:ident| $body:expr, at $brief:expr) => {
        impl $crate::Forward for $t {
            #[track_caller]
            fn forward(&self, input: &flambeau_core::Tensor) -> flambeau_core::Result<flambeau_core::Tensor> {
                let ($self, $x) = (self, input);
                self.mode.check(stringify!($t))?;
                let _memory = self.mode.scope(stringify!($t), input);
                match $body {
                    Ok(y) => Ok(y),
                    Err(e) => Err(self.mode.locate(e, $brief)),
                }
            }
        }
    };
}
use forward;
