//! Models for pictures.

mod lenet;

pub use lenet::LeNet;
