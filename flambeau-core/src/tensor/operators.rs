//! The operators on tensors and numbers: `+ - * / %`, `& | ^ !` and unary `-`. They panic where the
//! method of the same name returns an error, with the same text.
//!
//! `+=` and its kin are left out on purpose. They would be in place, as in Python, and clippy asks
//! for `x += y` wherever it reads `x = x + y`: who follows it would change every other handle of
//! the tensor too. `add_` says what it does.

use super::Tensor;
use crate::{Result, Scalar};
use std::borrow::Cow;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Sub};

/// The other operand: a tensor, or a number that promotes weakly.
///
/// ```
/// use flambeau_core::Tensor;
/// let x = Tensor::new([1i64, 2])?;
/// assert_eq!(x.add(&x)?.to_vec::<i64>()?, [2, 4]);
/// assert_eq!(x.add(0.5)?.to_vec::<f32>()?, [1.5, 2.5]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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
    ($($trait:ident $operator:ident = $method:ident;)*) => {$(
        impl<T: Operand> $trait<T> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $operator(self, other: T) -> Tensor {
                Tensor::$method(self, other).unwrap_or_else(|e| panic!("{e}"))
            }
        }
        impl<T: Operand> $trait<T> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $operator(self, other: T) -> Tensor {
                Tensor::$method(&self, other).unwrap_or_else(|e| panic!("{e}"))
            }
        }
        operators!(@numbers $trait $operator $method f32 f64 i32 i64 usize);
    )*};
    (@numbers $trait:ident $operator:ident $method:ident $($t:ty)*) => {$(
        impl $trait<&Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $operator(self, other: &Tensor) -> Tensor {
                self.operand().and_then(|a| Tensor::$method(&a, other)).unwrap_or_else(|e| panic!("{e}"))
            }
        }
        impl $trait<Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $operator(self, other: Tensor) -> Tensor {
                $trait::$operator(self, &other)
            }
        }
    )*};
}
operators! {
    Add add = add;
    Sub sub = sub;
    Mul mul = mul;
    Div div = div;
    Rem rem = remainder;
    BitAnd bitand = bitwise_and;
    BitOr bitor = bitwise_or;
    BitXor bitxor = bitwise_xor;
}

macro_rules! unary_operators {
    ($($trait:ident $operator:ident = $method:ident;)*) => {$(
        impl $trait for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $operator(self) -> Tensor {
                Tensor::$method(self).unwrap_or_else(|e| panic!("{e}"))
            }
        }
        impl $trait for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $operator(self) -> Tensor {
                $trait::$operator(&self)
            }
        }
    )*};
}
unary_operators! { Neg neg = neg; Not not = bitwise_not; }
