//! The loader: what the user sets, and the iterator over an epoch.

use crate::sampler::{BatchSampler, Indices, RandomSampler, Sampler, SequentialSampler};
use crate::workers::{Fetch, Job, Pinning, Source, Workers};
use crate::{Collate, Dataset, SharedGenerator, ToDevice, random};
use flambeau_core::{Error, Result, Tensor, bail};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// Batches of a dataset
/// ([`torch.utils.data.DataLoader`](https://pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader)).
///
/// The type's parameter is what a batch is. An epoch is `for batch in &loader`; each batch is a
/// `Result`. After an error (a sample that cannot be read, a panic in the dataset) the loop may go
/// on with the next batch.
///
/// Options and defaults: `batch_size` 1, `shuffle` false, `drop_last` false, `num_workers` 0,
/// `prefetch_factor` 2, no `timeout`, `pin_memory` false. Contradictory ones are
/// reported by [`check`](DataLoader::check), and by the first batch.
///
/// For the same [`manual_seed`](flambeau_core::manual_seed), or a `generator` of the same seed,
/// the order is that of PyTorch's loader, epoch after epoch. A seed fixes order and augmentation
/// whatever the number of workers.
///
/// ```standalone_crate
/// use flambeau_data::{DataLoader, ListDataset};
/// let loader = DataLoader::new(ListDataset::from_iter(0..10i64)).batch_size(4).shuffle(true).generator(0);
/// let first = loader.iter().next().unwrap()?;
/// // g = torch.Generator().manual_seed(0)
/// // next(iter(DataLoader(range(10), 4, shuffle=True, generator=g)))
/// assert_eq!(first.to_vec::<i64>()?, [3, 7, 5, 2]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub struct DataLoader<B = (Tensor, Tensor)> {
    fetch: Arc<dyn Fetch<B>>,
    sampler: Option<Arc<dyn Sampler<Index = usize>>>,
    batch_sampler: Option<Arc<dyn Sampler<Index = Vec<usize>>>>,
    batch_size: usize,
    shuffle: bool,
    drop_last: bool,
    num_workers: usize,
    prefetch_factor: Option<usize>,
    timeout: Option<Duration>,
    generator: Option<SharedGenerator>,
    /// What pins a batch, where batches are to be.
    pinned: Option<fn(B) -> Result<B>>,
}

impl<B: Send + 'static> DataLoader<B> {
    /// Batches of `dataset`, collated as [`Collate`] says.
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let loader = DataLoader::new(ListDataset::from(vec![1i64, 2, 3])).batch_size(2);
    /// let batches = (&loader).into_iter().collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(batches[0].to_vec::<i64>()?, [1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn new<D>(dataset: D) -> Self
    where
        D: Dataset + 'static,
        D::Item: Collate<Batch = B>,
    {
        DataLoader::with_collate(dataset, D::Item::collate)
    }

    /// Batches of `dataset`, each made of its samples by `collate` (PyTorch's `collate_fn`).
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let letters = ListDataset::from_iter(["a", "b"]);
    /// let loader = DataLoader::with_collate(letters, |samples| Ok(samples.concat())).batch_size(2);
    /// assert_eq!(loader.iter().next().unwrap()?, "ab");
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `collate` does, with each batch.
    pub fn with_collate<D, F>(dataset: D, collate: F) -> Self
    where
        D: Dataset + 'static,
        F: Fn(Vec<D::Item>) -> Result<B> + Send + Sync + 'static,
    {
        DataLoader {
            fetch: Arc::new(Source { dataset, collate }),
            sampler: None,
            batch_sampler: None,
            batch_size: 1,
            shuffle: false,
            drop_last: false,
            num_workers: 0,
            prefetch_factor: None,
            timeout: None,
            generator: None,
            pinned: None,
        }
    }

    /// Samples in a batch.
    pub fn batch_size(mut self, size: usize) -> Self {
        self.batch_size = size;
        self
    }

    /// Whether each epoch comes in a new random order.
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let data = ListDataset::from_iter(0..6i64);
    /// let loader = DataLoader::new(data).batch_size(6).shuffle(true).generator(0);
    /// let order = loader.iter().next().unwrap()?;
    /// assert_eq!(order.to_vec::<i64>()?, [5, 1, 0, 3, 2, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn shuffle(mut self, on: bool) -> Self {
        self.shuffle = on;
        self
    }

    /// Whether a last batch that is not full is left out.
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let loader = DataLoader::new(ListDataset::from_iter(0..5i64)).batch_size(2);
    /// assert_eq!((loader.len(), loader.drop_last(true).len()), (3, 2));
    /// ```
    pub fn drop_last(mut self, on: bool) -> Self {
        self.drop_last = on;
        self
    }

    /// Takes samples in the order of `sampler`, instead of `shuffle`.
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let loader = DataLoader::new(ListDataset::from_iter(0..5i64)).sampler(vec![4, 0]).batch_size(2);
    /// assert_eq!(loader.iter().next().unwrap()?.to_vec::<i64>()?, [4, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn sampler(mut self, sampler: impl Sampler<Index = usize> + 'static) -> Self {
        self.sampler = Some(Arc::new(sampler));
        self
    }

    /// Takes batches as `sampler` gives them, instead of `batch_size`, `shuffle`, `sampler` and
    /// `drop_last`.
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let batches = vec![vec![4], vec![0, 1]];
    /// let loader = DataLoader::new(ListDataset::from_iter(0..5i64)).batch_sampler(batches);
    /// assert_eq!(loader.iter().nth(1).unwrap()?.to_vec::<i64>()?, [0, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn batch_sampler(mut self, sampler: impl Sampler<Index = Vec<usize>> + 'static) -> Self {
        self.batch_sampler = Some(Arc::new(sampler));
        self
    }

    /// Threads that load batches ahead of the loop; 0 loads them in the loop.
    ///
    /// They live as long as the iterator. What costs less than waking a thread is still done by
    /// the loop: batches that load within about 20 microseconds, and a batch that it would wait for
    /// and that no worker has begun.
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let loader = DataLoader::new(ListDataset::from_iter(0..99i64)).batch_size(9).num_workers(2);
    /// assert_eq!(loader.iter().filter(|batch| batch.is_ok()).count(), 11);
    /// ```
    pub fn num_workers(mut self, count: usize) -> Self {
        self.num_workers = count;
        self
    }

    /// Batches loaded ahead for each worker (default 2).
    pub fn prefetch_factor(mut self, batches: usize) -> Self {
        self.prefetch_factor = Some(batches);
        self
    }

    /// How long a batch may keep the loop waiting before that is an error; needs workers. Zero
    /// means without limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = (!limit.is_zero()).then_some(limit);
        self
    }

    /// Draws from this generator (or a new one of this seed) instead of the default one.
    pub fn generator(mut self, generator: impl Into<SharedGenerator>) -> Self {
        self.generator = Some(generator.into());
        self
    }

    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        self.batches().map_or(0, |b| b.len())
    }

    /// Whether an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of samples in the dataset.
    pub fn dataset_len(&self) -> usize {
        self.fetch.len()
    }

    /// Whether the options agree with each other.
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let loader = DataLoader::new(ListDataset::from_iter(0..5i64)).shuffle(true).sampler(vec![0]);
    /// assert!(loader.check().is_err());
    /// ```
    ///
    /// # Errors
    /// Names the two that do not, or the one that cannot be.
    #[track_caller]
    pub fn check(&self) -> Result<()> {
        const OP: &str = "DataLoader";
        if self.batch_size == 0 {
            bail!(OP, "batch_size is 0; it must be above 0");
        }
        if self.sampler.is_some() && self.shuffle {
            bail!(
                OP,
                "shuffle(true) and a sampler exclude each other; the sampler decides the order"
            );
        }
        let plain = self.batch_size == 1 && !self.shuffle && !self.drop_last;
        if self.batch_sampler.is_some() && !(plain && self.sampler.is_none()) {
            bail!(
                OP,
                "a batch_sampler decides the batches; leave out batch_size, shuffle, sampler and drop_last"
            );
        }
        if self.num_workers == 0 && (self.prefetch_factor.is_some() || self.timeout.is_some()) {
            bail!(OP, "prefetch_factor and timeout need num_workers above 0");
        }
        if self.prefetch_factor == Some(0) {
            bail!(OP, "prefetch_factor is 0; it must be above 0");
        }
        // Each worker is a thread, each batch ahead is memory.
        const WORKERS: usize = 1024;
        const AHEAD: usize = 1 << 16;
        if self.num_workers > WORKERS {
            bail!(
                OP,
                "num_workers is {}; more than {WORKERS} threads only stand in each other's way",
                self.num_workers
            );
        }
        if self.ahead() > AHEAD {
            bail!(
                OP,
                "{} workers with a prefetch_factor of {} load {} batches ahead, of which {AHEAD} are the most",
                self.num_workers,
                self.prefetch_factor.unwrap_or(2),
                self.ahead()
            );
        }
        Ok(())
    }

    /// The sampler of batches that the options amount to.
    /// How many batches the workers may be ahead of the loop.
    fn ahead(&self) -> usize {
        let factor = self.prefetch_factor.unwrap_or(2);
        self.num_workers.saturating_mul(factor)
    }

    #[track_caller]
    fn batches(&self) -> Result<Arc<dyn Sampler<Index = Vec<usize>>>> {
        self.check()?;
        if let Some(batches) = &self.batch_sampler {
            return Ok(batches.clone());
        }
        let len = self.fetch.len();
        let sampler: Box<dyn Sampler<Index = usize>> = match (&self.sampler, self.shuffle) {
            (Some(sampler), _) => Box::new(Given(sampler.clone())),
            (None, false) => Box::new(SequentialSampler::new(len)),
            (None, true) => {
                let sampler = RandomSampler::new(len);
                Box::new(match &self.generator {
                    Some(generator) => sampler.generator(generator.clone()),
                    None => sampler,
                })
            }
        };
        Ok(Arc::new(
            BatchSampler::new(sampler, self.batch_size)?.drop_last(self.drop_last),
        ))
    }

    /// The batches of a new epoch. Draws from the generator what PyTorch's loader does.
    #[track_caller]
    pub fn iter(&self) -> Iter<B> {
        self.iter_from(0)
    }

    /// A new epoch without its first `skip` batches, which are drawn but not loaded: with the
    /// generator as it was, what follows is what would have followed in the whole epoch.
    ///
    /// ```
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let loader = DataLoader::new(ListDataset::from_iter(0..5i64)).batch_size(2);
    /// assert_eq!(loader.iter_from(1).next().unwrap()?.to_vec::<i64>()?, [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[track_caller]
    pub fn iter_from(&self, skip: usize) -> Iter<B> {
        let location = Location::caller();
        let started = self.start(skip, location).map_err(|error| {
            Error::at("DataLoader", "the epoch cannot begin", location).with_source(error)
        });
        match started {
            Ok(iter) => iter,
            Err(error) => Iter {
                plan: Plan {
                    batches: Box::new(std::iter::empty()),
                    place: 0,
                },
                failed: Some(error),
                engine: Engine::Inline(self.fetch.clone(), 0),
                location,
            },
        }
    }

    fn start(&self, skip: usize, location: &'static Location<'static>) -> Result<Iter<B>> {
        let batches = self.batches()?;
        // PyTorch draws its workers' seed before the sampler begins, and without workers too.
        let seed = random::with(self.generator.as_ref(), random::draw_seed);
        let mut plan = Plan {
            batches: batches.epoch()?,
            place: 0,
        };
        plan.by_ref().take(skip).for_each(drop);
        let fetch: Arc<dyn Fetch<B>> = match self.pinned {
            Some(pin) => Arc::new(Pinning {
                fetch: self.fetch.clone(),
                pin,
            }),
            None => self.fetch.clone(),
        };
        let engine = if self.num_workers == 0 {
            Engine::Inline(fetch, seed)
        } else {
            let ahead = self.ahead();
            Engine::Workers(Workers::start(
                fetch,
                seed,
                self.num_workers,
                ahead,
                self.timeout,
            )?)
        };
        Ok(Iter {
            plan,
            failed: None,
            engine,
            location,
        })
    }
}

impl<B: ToDevice + Send + 'static> DataLoader<B> {
    /// Whether batches come in pinned memory, of which `to(device)` copies while the program goes on
    /// (PyTorch's `pin_memory`, default false). Whoever loads a batch pins it: a worker, where there
    /// are some. Does nothing on a machine without a CUDA device.
    ///
    /// ```
    /// use flambeau_core::cuda;
    /// use flambeau_data::{DataLoader, ListDataset};
    /// let loader = DataLoader::new(ListDataset::from_iter(0..4i64)).pin_memory(true);
    /// let batch = loader.iter().next().unwrap()?;
    /// assert_eq!(batch.is_pinned(), cuda::is_available());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn pin_memory(mut self, on: bool) -> Self {
        self.pinned = on.then_some(|batch: B| match flambeau_core::cuda::is_available() {
            true => batch.pin_memory(),
            false => Ok(batch),
        });
        self
    }
}

impl<B: Send + 'static> IntoIterator for &DataLoader<B> {
    type Item = Result<B>;
    type IntoIter = Iter<B>;
    #[track_caller]
    fn into_iter(self) -> Iter<B> {
        self.iter()
    }
}

/// A sampler that the loader keeps too.
struct Given(Arc<dyn Sampler<Index = usize>>);

impl Sampler for Given {
    type Index = usize;
    fn epoch(&self) -> Result<Indices> {
        self.0.epoch()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The batches still to be loaded.
struct Plan {
    batches: Indices<Vec<usize>>,
    /// The place in the epoch of the next batch's first sample.
    place: u64,
}

impl Iterator for Plan {
    type Item = Job;
    fn next(&mut self) -> Option<Job> {
        let indices = self.batches.next()?;
        let place = self.place;
        self.place += indices.len() as u64;
        Some(Job { indices, place })
    }
}

enum Engine<B> {
    Inline(Arc<dyn Fetch<B>>, u64),
    Workers(Workers<B>),
}

/// The batches of one epoch. Dropping it stops the workers at their next sample.
pub struct Iter<B> {
    plan: Plan,
    /// Why the epoch could not begin.
    failed: Option<Error>,
    engine: Engine<B>,
    location: &'static Location<'static>,
}

impl<B: Send + 'static> Iterator for Iter<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let result = match &mut self.engine {
            Engine::Inline(fetch, seed) => self
                .plan
                .next()
                .map(|job| fetch.fetch(&job, *seed, &|| false)),
            Engine::Workers(workers) => workers.next(&mut self.plan),
        }?;
        Some(result.map_err(|failure| failure.at(self.location)))
    }
}
