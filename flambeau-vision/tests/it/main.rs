//! Datasets, transforms and grids from the outside.
mod datasets;
mod goldens;
mod models;
mod random;
mod transforms;
mod utils;
