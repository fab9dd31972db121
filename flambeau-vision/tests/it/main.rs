//! Datasets, transforms and grids from the outside.
mod datasets;
mod goldens;
mod random;
mod transforms;
mod utils;
