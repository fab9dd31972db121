//! The core's integration tests, in one binary.
#![allow(missing_docs)]

mod autograd;
mod ops;
mod random;
