//! Datasets, samplers and the loader from the outside.
mod collate;
mod dataset;
mod loader;
mod order;
mod pinned;
