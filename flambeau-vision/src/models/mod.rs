//! Models for pictures.

mod lenet;
mod resnet;

pub use lenet::LeNet;
pub use resnet::*;
