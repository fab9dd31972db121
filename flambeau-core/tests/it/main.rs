//! The core's integration tests, in one binary.
#![allow(missing_docs)]

mod autograd;
mod random;
mod ops;
