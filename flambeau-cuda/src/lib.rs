//! flambeau's CUDA runtime. It knows no operation by name: it offers kernels, each described as a
//! [`Launch`] that needs no device to be made, and what runs them.
//!
//! - `kernels/*.cu` hold the kernels in CUDA C++, compiled at run time. A [`Unit`] is one such file
//!   with the preprocessor definitions that choose its types.
//! - [`kernels`] has a function for each computation that returns its launches, so that launch
//!   shapes and arguments are the same on a GPU and in the tests.
//! - `emulate` (feature `emulate`, for tests) compiles a unit with the system's C++ compiler and
//!   runs a launch on the CPU, so that indexing and numerics are checked without a GPU.

#[cfg(feature = "emulate")]
pub mod emulate;
pub mod kernels;
mod launch;
mod types;
mod unit;

pub use launch::{Args, Launch, Pod};
pub use types::{Layout, MAX_DIMS, Ptr, Type, View, row_major};
pub use unit::{HEADERS, Unit};
