//! In which order samples are drawn.
//!
//! Each sampler draws from its generator just when and what PyTorch's does, so that the same seed
//! gives the same order, in the epochs after the first too.

use crate::{SharedGenerator, random};
use flambeau_core::{Error, Result, bail};
use flambeau_cpu::random::Generator;
use std::collections::VecDeque;

/// The indices of one epoch, or its batches of indices.
pub type Indices<I = usize> = Box<dyn Iterator<Item = I> + Send>;

/// An order of samples (`Index` is `usize`) or of batches (`Vec<usize>`).
///
/// A list of indices is a sampler that gives them in order, and a list of lists one of batches.
///
/// ```
/// use flambeau_data::Sampler;
/// let order = vec![3, 1, 2];
/// assert_eq!((Sampler::len(&order), order.epoch()?.collect::<Vec<usize>>()), (3, vec![3, 1, 2]));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait Sampler: Send + Sync {
    /// What is drawn.
    type Index;

    /// Begins an epoch.
    ///
    /// # Errors
    /// Where the sampler's options admit no draw.
    fn epoch(&self) -> Result<Indices<Self::Index>>;

    /// How many draws an epoch has.
    fn len(&self) -> usize;

    /// Whether an epoch has no draw.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<I: Clone + Send + Sync + 'static> Sampler for Vec<I> {
    type Index = I;
    fn epoch(&self) -> Result<Indices<I>> {
        Ok(Box::new(self.clone().into_iter()))
    }
    fn len(&self) -> usize {
        Vec::len(self)
    }
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    type Index = S::Index;
    fn epoch(&self) -> Result<Indices<S::Index>> {
        (**self).epoch()
    }
    fn len(&self) -> usize {
        (**self).len()
    }
}

/// All indices below a length, in order.
///
/// ```
/// use flambeau_data::{Sampler, SequentialSampler};
/// assert_eq!(SequentialSampler::new(3).epoch()?.collect::<Vec<_>>(), [0, 1, 2]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequentialSampler(usize);

impl SequentialSampler {
    /// The indices below `len`.
    pub fn new(len: usize) -> Self {
        SequentialSampler(len)
    }
}

impl Sampler for SequentialSampler {
    type Index = usize;
    fn epoch(&self) -> Result<Indices> {
        Ok(Box::new(0..self.0))
    }
    fn len(&self) -> usize {
        self.0
    }
}

/// Indices below a length in random order: each once, or, with replacement, each draw for itself.
///
/// ```standalone_crate
/// use flambeau_data::{RandomSampler, Sampler};
/// let sampler = RandomSampler::new(5).generator(0);
/// let order: Vec<usize> = sampler.epoch()?.collect();
/// // g = torch.Generator().manual_seed(0); list(RandomSampler(range(5), generator=g))
/// assert_eq!(order, [4, 0, 1, 3, 2]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomSampler {
    len: usize,
    replacement: bool,
    num_samples: Option<usize>,
    generator: Option<SharedGenerator>,
}

impl RandomSampler {
    /// The indices below `len`, each once. Seeds a generator for each epoch from the default one.
    pub fn new(len: usize) -> Self {
        RandomSampler {
            len,
            replacement: false,
            num_samples: None,
            generator: None,
        }
    }

    /// Whether an index may come again; false by default.
    ///
    /// ```
    /// use flambeau_data::{RandomSampler, Sampler};
    /// let sampler = RandomSampler::new(5).replacement(true).num_samples(8).generator(0);
    /// assert_eq!(sampler.epoch()?.collect::<Vec<_>>(), [4, 4, 3, 0, 3, 4, 2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn replacement(mut self, on: bool) -> Self {
        self.replacement = on;
        self
    }

    /// How many to draw instead of all. Beyond the length without replacement: one permutation
    /// after the other.
    pub fn num_samples(mut self, count: usize) -> Self {
        self.num_samples = Some(count);
        self
    }

    /// Draws from `generator` (or a seed for a new one) instead.
    pub fn generator(mut self, generator: impl Into<SharedGenerator>) -> Self {
        self.generator = Some(generator.into());
        self
    }
}

impl Sampler for RandomSampler {
    type Index = usize;

    fn epoch(&self) -> Result<Indices> {
        if self.len == 0 {
            bail!(
                "RandomSampler",
                "there is nothing to draw from: the dataset is empty"
            );
        }
        if self.len() == 0 {
            bail!("RandomSampler", "num_samples is 0; it must be above 0");
        }
        if !self.replacement && Vec::<i64>::new().try_reserve_exact(self.len).is_err() {
            bail!(
                "RandomSampler",
                "the order of {} samples does not fit into memory; draw with replacement",
                self.len
            );
        }
        let generator = self.generator.clone().unwrap_or_else(|| {
            let seed = flambeau_core::random::with_default(random::draw_seed);
            Generator::from_seed(seed).into()
        });
        Ok(Box::new(RandomIndices {
            sampler: self.clone(),
            generator,
            left: self.len(),
            drawn: VecDeque::new(),
            ended: false,
        }))
    }

    fn len(&self) -> usize {
        self.num_samples.unwrap_or(self.len)
    }
}

struct RandomIndices {
    sampler: RandomSampler,
    generator: SharedGenerator,
    /// What is still to be drawn after `drawn`.
    left: usize,
    drawn: VecDeque<i64>,
    ended: bool,
}

impl RandomIndices {
    /// Draws the next piece: PyTorch's 32 with replacement, a whole permutation without.
    fn refill(&mut self) {
        let n = self.sampler.len;
        let piece = if self.sampler.replacement { 32 } else { n };
        let count = self.left.min(piece);
        // PyTorch cuts the last piece out of one more permutation, even where nothing is left.
        self.ended = self.left < piece;
        self.left -= count;
        let drawn = self.generator.with(|g| {
            if self.sampler.replacement {
                let mut drawn = vec![0; count];
                // The bounds are in order (`epoch` refuses a length of 0), so this does not fail.
                let _ = g.random_from_to(&mut drawn, 0, Some(n as i64));
                drawn
            } else {
                // `epoch` has seen that it fits into memory.
                let mut drawn = g.randperm(n).unwrap_or_default();
                drawn.truncate(count);
                drawn
            }
        });
        self.drawn = drawn.into();
    }
}

impl Iterator for RandomIndices {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        while self.drawn.is_empty() && !self.ended {
            self.refill();
        }
        self.drawn.pop_front().map(|i| i as usize)
    }
}

/// The given indices in random order. Draws from the default generator unless given another.
///
/// ```
/// use flambeau_data::{Sampler, SubsetRandomSampler};
/// let sampler = SubsetRandomSampler::new([10, 20, 30, 40]).generator(0);
/// assert_eq!(sampler.epoch()?.collect::<Vec<_>>(), [10, 20, 40, 30]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SubsetRandomSampler {
    indices: Vec<usize>,
    generator: Option<SharedGenerator>,
}

impl SubsetRandomSampler {
    /// `indices` in random order.
    pub fn new(indices: impl Into<Vec<usize>>) -> Self {
        SubsetRandomSampler {
            indices: indices.into(),
            generator: None,
        }
    }

    /// Draws from `generator` (or a seed for a new one).
    pub fn generator(mut self, generator: impl Into<SharedGenerator>) -> Self {
        self.generator = Some(generator.into());
        self
    }
}

impl Sampler for SubsetRandomSampler {
    type Index = usize;
    fn epoch(&self) -> Result<Indices> {
        let order = random::with(self.generator.as_ref(), |g| g.randperm(self.indices.len()));
        let order = order.map_err(|e| Error::new("SubsetRandomSampler", e.to_string()))?;
        let indices = self.indices.clone();
        Ok(Box::new(
            order.into_iter().map(move |i| indices[i as usize]),
        ))
    }
    fn len(&self) -> usize {
        self.indices.len()
    }
}

/// Indices drawn by weight, with replacement by default. Draws from the default generator unless
/// given another.
///
/// ```
/// use flambeau_data::{Sampler, WeightedRandomSampler};
/// let sampler = WeightedRandomSampler::new([0.1, 0.0, 0.9], 6)?.generator(0);
/// assert_eq!(sampler.epoch()?.collect::<Vec<_>>(), [2, 2, 2, 2, 2, 2]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightedRandomSampler {
    weights: Vec<f64>,
    num_samples: usize,
    replacement: bool,
    generator: Option<SharedGenerator>,
}

impl WeightedRandomSampler {
    /// `num_samples` of the indices of `weights`, each as likely as its weight (they need not sum
    /// to 1).
    ///
    /// # Errors
    /// Where there are no weights or more than 2^24, one is negative or not finite, all are 0, or
    /// `num_samples` is 0.
    #[track_caller]
    pub fn new(weights: impl Into<Vec<f64>>, num_samples: usize) -> Result<Self> {
        let weights = weights.into();
        const OP: &str = "WeightedRandomSampler";
        if let Some(at) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            bail!(
                OP,
                "weights are finite and not negative, but weight {at} is {}",
                weights[at]
            );
        }
        if !weights.iter().any(|&w| w > 0.0) || weights.len() > 1 << 24 {
            bail!(
                OP,
                "needs 1 to 2^24 weights of which one is above 0; there are {}",
                weights.len()
            );
        }
        if num_samples == 0 {
            bail!(OP, "num_samples is 0; it must be above 0");
        }
        Ok(WeightedRandomSampler {
            weights,
            num_samples,
            replacement: true,
            generator: None,
        })
    }

    /// Whether an index may come again; true by default.
    pub fn replacement(mut self, on: bool) -> Self {
        self.replacement = on;
        self
    }

    /// Draws from `generator` (or a seed for a new one).
    pub fn generator(mut self, generator: impl Into<SharedGenerator>) -> Self {
        self.generator = Some(generator.into());
        self
    }
}

impl Sampler for WeightedRandomSampler {
    type Index = usize;
    fn epoch(&self) -> Result<Indices> {
        let drawn = random::with(self.generator.as_ref(), |g| {
            g.multinomial(
                &self.weights,
                self.weights.len(),
                self.num_samples,
                self.replacement,
            )
        });
        let drawn = drawn.map_err(|e| Error::new("WeightedRandomSampler", e.to_string()))?;
        Ok(Box::new(drawn.into_iter().map(|i| i as usize)))
    }
    fn len(&self) -> usize {
        self.num_samples
    }
}

/// Another sampler's indices in batches.
///
/// ```
/// use flambeau_data::{BatchSampler, Sampler, SequentialSampler};
/// let batches = BatchSampler::new(SequentialSampler::new(5), 2)?;
/// let all: Vec<Vec<usize>> = batches.epoch()?.collect();
/// assert_eq!(all, [vec![0, 1], vec![2, 3], vec![4]]);
/// assert_eq!(batches.drop_last(true).len(), 2);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchSampler<S> {
    sampler: S,
    batch_size: usize,
    drop_last: bool,
}

impl<S: Sampler<Index = usize>> BatchSampler<S> {
    /// Batches of `batch_size`; the last may be smaller.
    ///
    /// # Errors
    /// Where `batch_size` is 0.
    #[track_caller]
    pub fn new(sampler: S, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            bail!("BatchSampler", "batch_size is 0; it must be above 0");
        }
        Ok(BatchSampler {
            sampler,
            batch_size,
            drop_last: false,
        })
    }

    /// Whether a last batch that is not full is left out; false by default.
    pub fn drop_last(mut self, on: bool) -> Self {
        self.drop_last = on;
        self
    }
}

impl<S: Sampler<Index = usize>> Sampler for BatchSampler<S> {
    type Index = Vec<usize>;
    fn epoch(&self) -> Result<Indices<Vec<usize>>> {
        const LARGEST: usize = 1 << 28;
        let largest = self.batch_size.min(self.sampler.len());
        if largest > LARGEST {
            bail!(
                "BatchSampler",
                "a batch would hold {largest} samples, of which {LARGEST} are the most; choose a smaller batch_size"
            );
        }
        let mut indices = self.sampler.epoch()?.fuse();
        let (size, drop_last) = (self.batch_size, self.drop_last);
        // Asking beyond the end, as PyTorch does, is what makes RandomSampler draw its last piece.
        Ok(Box::new(std::iter::from_fn(move || {
            let mut batch = Vec::with_capacity(size.min(1024));
            batch.extend(indices.by_ref().take(size));
            let whole = batch.len() == size;
            (whole || !(batch.is_empty() || drop_last)).then_some(batch)
        })))
    }
    fn len(&self) -> usize {
        let n = self.sampler.len();
        if self.drop_last {
            n / self.batch_size
        } else {
            n.div_ceil(self.batch_size)
        }
    }
}
