//! `+ - * /` and unary `-` on tensors and numbers. They panic where the method of the same name
//! returns an error, with the same text.

use super::Tensor;
use crate::{Result, Scalar};
use std::borrow::Cow;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The other operand: a tensor, or a number that promotes weakly.
pub trait Operand {
    /// As a tensor; numbers become 0-d.
    ///
    /// # Errors
    /// Where memory does not suffice.
    fn operand(&self) -> Result<Cow<'_, Tensor>>;
}

impl Operand for Tensor {
    fn operand(&self) -> Result<Cow<'_, Tensor>> {
        Ok(Cow::Borrowed(self))
    }
}

impl<T: Operand + ?Sized> Operand for &T {
    fn operand(&self) -> Result<Cow<'_, Tensor>> {
        (**self).operand()
    }
}

impl Operand for Scalar {
    fn operand(&self) -> Result<Cow<'_, Tensor>> {
        // A float is held in f64 so that it loses nothing before it meets its operand.
        let number = match *self {
            Scalar::Bool(v) => Tensor::scalar(v),
            Scalar::Int(v) => Tensor::scalar(v),
            Scalar::Float(v) => Tensor::scalar(v),
        };
        Ok(Cow::Owned(number?.into_number()))
    }
}

macro_rules! operand {
    ($($t:ty),*) => {$(
        impl Operand for $t {
            fn operand(&self) -> Result<Cow<'_, Tensor>> {
                // Borrows nothing: the tensor is made from the value.
                match Scalar::from(*self).operand()? {
                    Cow::Owned(t) => Ok(Cow::Owned(t)),
                    Cow::Borrowed(t) => Ok(Cow::Owned(t.clone())),
                }
            }
        }
    )*};
}
operand!(bool, i64, i32, i16, i8, u8, u32, usize, f32, f64);

macro_rules! operators {
    ($($trait:ident $method:ident;)*) => {$(
        impl<T: Operand> $trait<T> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: T) -> Tensor {
                Tensor::$method(self, other).unwrap_or_else(|e| panic!("{e}"))
            }
        }
        impl<T: Operand> $trait<T> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: T) -> Tensor {
                Tensor::$method(&self, other).unwrap_or_else(|e| panic!("{e}"))
            }
        }
        operators!(@numbers $trait $method f32 f64 i32 i64);
    )*};
    (@numbers $trait:ident $method:ident $($t:ty)*) => {$(
        impl $trait<&Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                self.operand().and_then(|a| Tensor::$method(&a, other)).unwrap_or_else(|e| panic!("{e}"))
            }
        }
        impl $trait<Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                $trait::$method(self, &other)
            }
        }
    )*};
}
operators! { Add add; Sub sub; Mul mul; Div div; }

impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(self).unwrap_or_else(|e| panic!("{e}"))
    }
}

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Neg::neg(&self)
    }
}
