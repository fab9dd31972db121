//! flambeau's vision datasets, transforms, models and pictures

#![forbid(unsafe_code)]

mod error;
pub mod files;

pub use error::{Error, ErrorKind, Result};
