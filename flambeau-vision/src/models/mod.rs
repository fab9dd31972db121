//! Models for pictures, with torchvision's names, initial weights and state dicts.
//!
//! - [`LeNet`]: the tutorial's network, for 32 x 32 pixels.
//! - [`resnet18`], [`resnet34`], [`resnet50`], [`resnet101`], [`resnet152`], ResNeXt and Wide ResNet:
//!   [`ResNet`] with [`ResNetOptions`].
//! - [`densenet121`] and its kin: [`DenseNet`] with [`DenseNetOptions`].

mod densenet;
mod lenet;
mod resnet;

pub use densenet::*;
pub use lenet::LeNet;
pub use resnet::*;
