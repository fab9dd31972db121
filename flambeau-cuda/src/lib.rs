//! flambeau's CUDA runtime. It knows no operation by name: it offers kernels, each described as a
//! [`Launch`] that needs no device to be made, and what runs them.
//!
//! - `kernels/*.cu` hold the kernels in CUDA C++, compiled at run time. A [`Unit`] is one such file
//!   with the preprocessor definitions that choose its types.
//! - [`kernels`] has a function for each computation that returns its launches, so that launch
//!   shapes and arguments are the same on a GPU and in the tests.
//! - [`tensor`] runs them on buffers, checked: the safe way in for the crates above.
//! - [`device()`] finds NVIDIA's driver and compiler at run time and opens a [`Device`]: one stream
//!   that all work goes through in order, and a caching allocator that gives out [`Buffer`]s.
//! - `vendor` has cuBLASLt compute products and cuDNN convolutions where they are found;
//!   [`settings`] switches them.
//! - `emulate` (feature `emulate`, for tests) compiles a unit with the system's C++ compiler and
//!   runs a launch on the CPU, so that indexing and numerics are checked without a GPU; stand-ins
//!   take the libraries' place.

mod capture;
mod device;
mod driver;
#[cfg(feature = "emulate")]
pub mod emulate;
mod error;
mod host;
pub mod kernels;
mod launch;
mod nccl;
mod pool;
mod report;
pub mod scope;
pub mod tensor;
mod types;
mod unit;
mod vendor;

pub use capture::{Capture, Graph, Numbers};
pub use device::{Buffer, Device, available, count, device};
pub use driver::{compiler_version, cublas_version, cudnn_version, driver_version, nccl_version};
pub use error::{Error, Result};
pub use host::{Pinned, PinnedStats};
pub use launch::{Args, Launch, Pod};
pub use nccl::{Communicator, Group, ReduceOp, UniqueId};
pub use pool::Stats;
pub use types::{Layout, MAX_DIMS, Ptr, Type, View, row_major};
pub use unit::{HEADERS, Unit};
pub use vendor::settings;
