//! Modules, losses, optimizers and checkpoints (`torch.nn`, `torch.optim`).
//!
//! [`Module`] is the tree and everything that is done to all of it; derive it on a plain struct.
//! The layers are the structs below; the same without state is in [`functional`], their initial
//! values in [`init`], what trains them in [`optim`] and [`lr_scheduler`]. A [`Checkpoint`] keeps
//! all that training goes on from.
#![forbid(unsafe_code)]

// The derive's paths begin with the crate's name.
extern crate self as flambeau_nn;

pub mod amp;
mod checkpoint;
pub mod functional;
mod graphed;
pub mod init;
mod layers;
mod loss;
pub mod lr_scheduler;
mod module;
pub mod optim;
mod parameter;
mod warnings;

pub use checkpoint::Checkpoint;
pub use flambeau_macros::Module;
pub use functional::PaddingMode;
pub use graphed::GraphedStep;
pub use layers::*;
pub use loss::{
    BCELoss, BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, HingeEmbeddingLoss,
    HuberLoss, KLDivLoss, L1Loss, MSELoss, MarginRankingLoss, NLLLoss, PoissonNLLLoss, Reduction,
    SmoothL1Loss, SoftMarginLoss, TripletMarginLoss,
};
pub use module::container::{Layers, ModuleList, Sequential, checkpoint_sequential};
pub use module::derive;
pub use module::{Forward, Item, ItemMut, LoadReport, Module, StateDict, Target, Visit, VisitMut};
pub use parameter::{Buffer, Mode, Parameter};
pub use warnings::warnings;
