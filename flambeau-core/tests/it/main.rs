//! The core's integration tests, in one binary.
#![allow(missing_docs)]

mod autograd;
mod create;
mod display;
mod inplace;
mod npy;
mod ops;
mod random;
mod views;
