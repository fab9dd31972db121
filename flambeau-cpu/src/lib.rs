//! flambeau's CPU runtime. It knows no operation by name: it offers memory, threads, SIMD
//! levels, vectorised mathematics, matrix products, folds, orders, copies and picks by position, loops
//! of convolution, pooling, attention and recurrence, and PyTorch's random numbers over plain slices;
//! `flambeau-core` builds the operations on top.

pub mod alloc;
pub mod arith;
pub mod attention;
pub mod conv;
pub mod convert;
pub mod copy;
pub mod extreme;
pub mod float;
pub mod fold;
pub mod gemm;
pub mod index;
pub mod lanes;
pub mod math;
pub mod norm;
mod pieces;
pub mod pool;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod simd;
pub mod softmax;
pub mod sort;
pub mod threads;
