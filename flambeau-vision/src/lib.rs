//! flambeau's vision datasets, transforms, models and pictures.
//!
//! Bytes come from [`files`]; [`datasets`] offers them as samples, [`transforms`] turn these
//! into tensors, and [`utils`] lays tensors out as pictures again.

#![forbid(unsafe_code)]

pub mod datasets;
mod error;
pub mod files;
mod image;
mod layout;
mod levels;
pub mod models;
pub mod transforms;
pub mod utils;

pub use error::{Error, ErrorKind, Result};
pub use image::Image;
