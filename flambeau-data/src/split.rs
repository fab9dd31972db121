//! Cutting a dataset at random.

use crate::{Dataset, SharedGenerator, Subset, random};
use flambeau_core::{Error, Result, bail};
use std::sync::Arc;

/// How [`random_split`] is to cut: counts (`[40, 10]`) or fractions (`[0.8, 0.2]`).
///
/// ```
/// use flambeau_data::{Dataset, ListDataset, random_split};
/// let parts = random_split(ListDataset::from_iter(0..10i64), [0.8, 0.2], None)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Lengths {
    /// The number of samples in each part; they sum to the dataset's.
    Counts(Vec<usize>),
    /// The share of each part; they sum to 1. Counts are rounded down and what is left is dealt
    /// out one by one from the first part on.
    Fractions(Vec<f64>),
}

impl<const N: usize> From<[usize; N]> for Lengths {
    fn from(counts: [usize; N]) -> Self {
        Lengths::Counts(counts.to_vec())
    }
}
impl From<Vec<usize>> for Lengths {
    fn from(counts: Vec<usize>) -> Self {
        Lengths::Counts(counts)
    }
}
impl<const N: usize> From<[f64; N]> for Lengths {
    fn from(fractions: [f64; N]) -> Self {
        Lengths::Fractions(fractions.to_vec())
    }
}
impl From<Vec<f64>> for Lengths {
    fn from(fractions: Vec<f64>) -> Self {
        Lengths::Fractions(fractions)
    }
}

/// Parts of a dataset with its samples in random order
/// ([`torch.utils.data.random_split`](https://pytorch.org/docs/stable/data.html#torch.utils.data.random_split)),
/// drawn
/// from `generator` or, where it is `None`, from the default one.
///
/// ```
/// use flambeau_data::{Dataset, ListDataset, random_split};
/// let parts = random_split(ListDataset::from_iter(0..10), [0.75, 0.25], Some(1.into()))?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the counts do not sum to the dataset's length, or the fractions to 1.
#[track_caller]
pub fn random_split<D: Dataset>(
    dataset: D,
    lengths: impl Into<Lengths>,
    generator: Option<SharedGenerator>,
) -> Result<Vec<Subset<Arc<D>>>> {
    let len = dataset.len();
    let counts = match lengths.into() {
        Lengths::Counts(counts) => counts,
        Lengths::Fractions(fractions) => counts_of(&fractions, len)?,
    };
    let sum = total(&counts);
    if sum != len {
        bail!(
            "random_split",
            "the lengths {counts:?} sum to {sum}, but {} has {len} samples",
            dataset.name()
        );
    }
    let order = random::with(generator.as_ref(), |g| g.randperm(len))
        .map_err(|e| Error::new("random_split", e.to_string()))?;
    let mut order = order.into_iter().map(|i| i as usize);
    let dataset = Arc::new(dataset);
    counts
        .iter()
        .map(|&count| {
            Subset::new(
                dataset.clone(),
                order.by_ref().take(count).collect::<Vec<_>>(),
            )
        })
        .collect()
}

/// The sum; no counts that fit overflow it, and those that do not fit must not.
fn total(counts: &[usize]) -> usize {
    counts.iter().fold(0, |sum, &c| sum.saturating_add(c))
}

#[track_caller]
fn counts_of(fractions: &[f64], len: usize) -> Result<Vec<usize>> {
    let sum: f64 = fractions.iter().sum();
    let valid = fractions.iter().all(|f| (0.0..=1.0).contains(f));
    if !valid || (sum - 1.0).abs() > 1e-9 {
        bail!(
            "random_split",
            "fractions lie between 0 and 1 and sum to 1; {fractions:?} sum to {sum}"
        );
    }
    let mut counts: Vec<usize> = fractions
        .iter()
        .map(|f| (len as f64 * f) as usize)
        .collect();
    let left = len.saturating_sub(total(&counts));
    let parts = counts.len();
    (0..left).for_each(|i| counts[i % parts] += 1);
    Ok(counts)
}
