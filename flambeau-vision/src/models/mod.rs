//! Models for pictures.

mod densenet;
mod lenet;
mod resnet;

pub use densenet::*;
pub use lenet::LeNet;
pub use resnet::*;
