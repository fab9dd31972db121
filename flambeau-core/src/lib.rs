//! Tensors, operations and automatic differentiation.
//!
//! A call such as `let y = x.exp()?` goes this way:
//! 1. The method `Tensor::exp` is made by a row of a table in `ops/elementwise/unary/`; it
//!    wraps the row as an operation ([`dispatch::Op`]) and hands it to `dispatch::call`.
//! 2. `dispatch::call` runs `Op::forward` with recording off. Here that is `elementwise::map`,
//!    which cuts the elements into chunks and gives them to the row's loop; loops are compiled for
//!    each SIMD level by `flambeau_cpu::simd_fn!`. The memory comes from `flambeau_cpu::alloc`.
//! 3. Where an input requires gradients, `dispatch` makes an `autograd::Node`: the operation, edges
//!    to the inputs' nodes, and what the gradient rule will read.
//! 4. `y.backward()?` (in `tensor/autograd.rs`) starts the walk in `autograd/engine.rs`, which calls
//!    `Op::backward` on each node in order and accumulates into the leaves.
#![forbid(unsafe_code)]

pub mod cuda;
mod device;
mod dtype;
mod error;
mod format;
mod shape;
mod storage;

pub mod autocast;
pub mod autograd;
pub mod backends;
pub mod dispatch;
pub mod fused;
pub mod ops;
pub mod random;
mod tensor;

/// What the allocator holds and has done (`torch.cuda.memory_stats`): bytes allocated, reserved and
/// their peak, buffers handed out, and how many of them were reused.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, memory};
/// let before = memory::stats();
/// let x = Tensor::zeros([1 << 20])?;
/// let now = memory::stats();
/// assert!(now.allocated_bytes >= before.allocated_bytes + x.nbytes() as u64);
/// assert!(now.peak >= now.allocated_bytes && now.reserved() >= now.allocated_bytes);
/// drop(x);
/// memory::empty_cache();
/// assert_eq!(memory::stats().cached, 0);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub mod memory {
    pub use flambeau_cpu::alloc::{AllocStats, empty_cache, reset_peak, stats};
}

pub use autocast::{Autocast, autocast, autocast_dtype, autocast_dtype_on};
pub use autograd::{Ctx, enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled};
pub use backends::{float32_matmul_precision, set_float32_matmul_precision};
pub use device::{Device, default_device, set_default_device};
pub use dtype::{DType, Element, Scalar, Stored};
pub use error::{Error, Result};
pub use flambeau_cpu::threads::{num_threads, set_num_threads};
pub use format::MemoryFormat;
pub use ops::{
    AttentionOptions, BatchNormOptions, ClassLoss, ConvOptions, PadMode, PoolOptions,
    RecurrentCell, RecurrentOptions, Reduction, Rounding,
};
pub use random::manual_seed;
pub use shape::{Dims, Shape, Strides};
pub use tensor::{
    Create, Ellipsis, HookHandle, IndexItem, IntoIndexItem, Nested, NewAxis, Operand, PrintOptions,
    Tensor, TensorIndex, To, printoptions, s, set_printoptions,
};
