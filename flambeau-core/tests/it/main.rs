//! The core's integration tests, in one binary.
// PyTorch prints more digits than f32 holds.
#![allow(missing_docs, clippy::excessive_precision)]

mod autograd;
mod checkpoint;
mod create;
mod display;
mod extremes;
mod formats;
mod index;
mod inplace;
mod npy;
mod operators;
mod ops;
mod promotion;
mod random;
mod views;
