//! The operations: an operation is one row of a table or one file, with its computation, its
//! gradient and its test samples. Users call them as [`Tensor`](crate::Tensor)'s methods.
//!
//! Here are the options that methods take: [`ConvOptions`], [`PoolOptions`], [`PadMode`],
//! [`BatchNormOptions`], [`AttentionOptions`], [`RecurrentOptions`] with [`RecurrentCell`],
//! [`ClassLoss`] with [`Reduction`], [`Rounding`]; and in [`spec`] what the tests know of each
//! operation.

pub(crate) mod attention;
pub(crate) mod conv;
mod dropout;
pub(crate) mod einsum;
pub(crate) mod elementwise;
pub(crate) mod format;
pub(crate) mod index;
pub(crate) mod join;
pub(crate) mod loss;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod pad;
pub(crate) mod pool;
pub(crate) mod rearrange;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod repeat;
pub mod spec;
pub(crate) mod split;
pub(crate) mod strided;
pub(crate) mod triangle;
pub(crate) mod view;

pub use attention::AttentionOptions;
pub use conv::ConvOptions;
pub use elementwise::divide::Rounding;
pub use loss::{ClassLoss, Reduction};
pub use norm::BatchNormOptions;
pub use pad::PadMode;
pub use pool::PoolOptions;
pub use recurrent::{RecurrentCell, RecurrentOptions};
