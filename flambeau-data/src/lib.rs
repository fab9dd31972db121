//! Datasets, samplers and the [`DataLoader`], after `torch.utils.data`.
//!
//! A batch comes about this way:
//! 1. A [`Sampler`] gives the indices of an epoch, in PyTorch's order for the same seed.
//! 2. The [`DataLoader`] cuts them into batches and asks the [`Dataset`] for each sample, in the
//!    loop's own thread or in workers. A sample's random decisions come from a [`SampleRng`] of
//!    its own, so that they do not depend on who fetches it.
//! 3. [`Collate`] makes one batch of the samples: tensors are stacked, tuples collated field by
//!    field.
//!
//! ```
//! use flambeau_core::Tensor;
//! use flambeau_data::{DataLoader, TensorDataset};
//! let x = Tensor::zeros([10, 3])?;
//! let y = Tensor::arange(0, 10, 1)?;
//! let loader = DataLoader::new(TensorDataset::new((x, y))?).batch_size(4).num_workers(2);
//! let mut seen = 0;
//! for batch in &loader {
//!     let (inputs, labels) = batch?;
//!     assert_eq!(inputs.shape(), [labels.numel(), 3]);
//!     seen += labels.numel();
//! }
//! assert_eq!((loader.len(), seen), (3, 10));
//! # Ok::<(), flambeau_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod collate;
mod dataset;
mod device;
mod loader;
mod random;
mod sampler;
mod split;
mod workers;

pub use collate::{Collate, stack};
pub use dataset::{ConcatDataset, Dataset, ListDataset, Map, Subset, TensorDataset, TensorTuple};
pub use device::ToDevice;
pub use loader::{DataLoader, Iter};
pub use random::{SampleRng, SharedGenerator};
pub use sampler::{
    BatchSampler, Indices, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler,
    WeightedRandomSampler,
};
pub use split::{Lengths, random_split};
