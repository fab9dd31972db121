//! What samples come from.

use crate::SampleRng;
use flambeau_core::{Result, Tensor, bail};
use std::sync::Arc;

/// Samples by index, as
/// [`torch.utils.data.Dataset`](https://pytorch.org/docs/stable/data.html#torch.utils.data.Dataset).
///
/// `get` is called from several threads at once. Random decisions are drawn from `rng`, which
/// belongs to this one sample; then a seed fixes them whatever the number of workers.
///
/// ```
/// use flambeau_core::Result;
/// use flambeau_data::{DataLoader, Dataset, SampleRng};
/// struct Squares;
/// impl Dataset for Squares {
///     type Item = (f32, i64);
///     fn len(&self) -> usize { 5 }
///     fn get(&self, index: usize, _: &mut SampleRng) -> Result<(f32, i64)> {
///         Ok(((index * index) as f32, index as i64))
///     }
/// }
/// let (squares, _) = DataLoader::new(Squares).batch_size(5).iter().next().unwrap()?;
/// assert_eq!(squares.to_vec::<f32>()?, [0.0, 1.0, 4.0, 9.0, 16.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// A sample.
    type Item: Send + 'static;

    /// The number of samples.
    fn len(&self) -> usize;

    /// Sample `index`.
    ///
    /// # Errors
    /// Where the sample cannot be had, or `index` is not below [`len`](Dataset::len).
    fn get(&self, index: usize, rng: &mut SampleRng) -> Result<Self::Item>;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What errors call this dataset; the type's name unless overridden.
    fn name(&self) -> String {
        let name = std::any::type_name::<Self>();
        let end = name.find('<').unwrap_or(name.len());
        let start = name[..end].rfind("::").map_or(0, |at| at + 2);
        name[start..end].to_string()
    }

    /// The same samples, each passed through `f`.
    ///
    /// ```
    /// use flambeau_data::{Dataset, ListDataset, SampleRng};
    /// let doubled = ListDataset::from(vec![1i64, 2, 3]).map(|x, _rng| Ok(2 * x));
    /// assert_eq!(doubled.get(2, &mut SampleRng::new(0, 0))?, 6);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    fn map<U, F>(self, f: F) -> Map<Self, F>
    where
        Self: Sized,
        U: Send + 'static,
        F: Fn(Self::Item, &mut SampleRng) -> Result<U> + Send + Sync,
    {
        Map { dataset: self, f }
    }
}

/// The error of an index that a dataset does not have.
#[track_caller]
fn check_index(dataset: &(impl Dataset + ?Sized), index: usize) -> Result<()> {
    if index >= dataset.len() {
        bail!(
            "Dataset",
            "index {index} is out of range: {} has {} samples",
            dataset.name(),
            dataset.len()
        );
    }
    Ok(())
}

macro_rules! pointers {
    ($($t:ty),*) => {$(
        impl<D: Dataset + ?Sized> Dataset for $t {
            type Item = D::Item;
            fn len(&self) -> usize { (**self).len() }
            fn get(&self, index: usize, rng: &mut SampleRng) -> Result<D::Item> {
                (**self).get(index, rng)
            }
            fn name(&self) -> String { (**self).name() }
        }
    )*};
}
pointers!(Arc<D>, Box<D>, &D);

/// A list in memory as a dataset. (`Vec` itself is none, for `vec.get(i)` would then be ours.)
///
/// Made with `from_iter` or `from(vec)`.
///
/// ```
/// use flambeau_data::{Dataset, ListDataset};
/// assert_eq!(ListDataset::from(vec!["a", "b"]).len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct ListDataset<T>(Vec<T>);

impl<T> From<Vec<T>> for ListDataset<T> {
    fn from(samples: Vec<T>) -> Self {
        ListDataset(samples)
    }
}

impl<T> FromIterator<T> for ListDataset<T> {
    fn from_iter<I: IntoIterator<Item = T>>(samples: I) -> Self {
        ListDataset(samples.into_iter().collect())
    }
}

impl<T: Clone + Send + Sync + 'static> Dataset for ListDataset<T> {
    type Item = T;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, index: usize, _: &mut SampleRng) -> Result<T> {
        check_index(self, index)?;
        Ok(self.0[index].clone())
    }
}

/// A dataset of which a function makes another; see [`Dataset::map`].
///
/// ```
/// use flambeau_data::{Dataset, ListDataset, SampleRng};
/// let noisy = ListDataset::from(vec![1.0, 2.0]).map(|x, rng| Ok(x + rng.uniform()));
/// let x = noisy.get(1, &mut SampleRng::new(0, 0))?;
/// assert!((2.0..3.0).contains(&x));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    dataset: D,
    f: F,
}

impl<D, U, F> Dataset for Map<D, F>
where
    D: Dataset,
    U: Send + 'static,
    F: Fn(D::Item, &mut SampleRng) -> Result<U> + Send + Sync,
{
    type Item = U;
    fn len(&self) -> usize {
        self.dataset.len()
    }
    fn get(&self, index: usize, rng: &mut SampleRng) -> Result<U> {
        (self.f)(self.dataset.get(index, rng)?, rng)
    }
    fn name(&self) -> String {
        self.dataset.name()
    }
}

/// Tensors side by side: sample `i` is row `i` of each.
///
/// Its samples are views, without history.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_data::{Dataset, SampleRng, TensorDataset};
/// let data = TensorDataset::new((Tensor::new([[1.0f32], [2.0]])?, Tensor::new([7i64, 8])?))?;
/// let (x, y) = data.get(1, &mut SampleRng::new(0, 0))?;
/// assert_eq!((x.to_vec::<f32>()?, y.item::<i64>()?), (vec![2.0], 8));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone)]
pub struct TensorDataset<T = (Tensor, Tensor)> {
    tensors: T,
    len: usize,
}

/// One tensor, a tuple of up to five, or a list of tensors.
pub trait TensorTuple: Send + Sync + 'static {
    /// The same with a row in each place.
    type Row: Send + 'static;
    /// The tensors in order.
    fn tensors(&self) -> Vec<&Tensor>;
    /// Row `index` of each.
    ///
    /// # Errors
    /// Where a tensor has no such row.
    fn row(&self, index: usize) -> Result<Self::Row>;
}

impl TensorTuple for Tensor {
    type Row = Tensor;
    fn tensors(&self) -> Vec<&Tensor> {
        vec![self]
    }
    fn row(&self, index: usize) -> Result<Tensor> {
        self.select(0, index as i64)
    }
}

impl TensorTuple for Vec<Tensor> {
    type Row = Vec<Tensor>;
    fn tensors(&self) -> Vec<&Tensor> {
        self.iter().collect()
    }
    fn row(&self, index: usize) -> Result<Vec<Tensor>> {
        self.iter().map(|t| t.row(index)).collect()
    }
}

macro_rules! tensor_tuples {
    ($(($($T:ident $i:tt),+))*) => {$(
        impl TensorTuple for ($($T,)+) {
            type Row = ($($T,)+);
            fn tensors(&self) -> Vec<&Tensor> { vec![$(&self.$i),+] }
            fn row(&self, index: usize) -> Result<Self::Row> { Ok(($(self.$i.row(index)?,)+)) }
        }
    )*};
}
tensor_tuples! {
    (Tensor 0)
    (Tensor 0, Tensor 1)
    (Tensor 0, Tensor 1, Tensor 2)
    (Tensor 0, Tensor 1, Tensor 2, Tensor 3)
    (Tensor 0, Tensor 1, Tensor 2, Tensor 3, Tensor 4)
}

impl<T: TensorTuple> TensorDataset<T> {
    /// The rows of `tensors`, which agree in their first size.
    ///
    /// # Errors
    /// Where they do not, one has no dimension, or there is none.
    #[track_caller]
    pub fn new(tensors: T) -> Result<Self> {
        let list = tensors.tensors();
        let rows: Vec<Option<usize>> = list.iter().map(|t| t.shape().first().copied()).collect();
        let Some(&Some(len)) = rows.first() else {
            bail!(
                "TensorDataset",
                "needs at least one tensor, each with a first dimension to index"
            );
        };
        if rows.iter().any(|&r| r != Some(len)) {
            let shapes: Vec<&[usize]> = list.iter().map(|t| t.shape()).collect();
            bail!(
                "TensorDataset",
                "the tensors must agree in their first size, but the shapes are {shapes:?}"
            );
        }
        Ok(TensorDataset { tensors, len })
    }
}

impl<T: TensorTuple> Dataset for TensorDataset<T> {
    type Item = T::Row;
    fn len(&self) -> usize {
        self.len
    }
    fn get(&self, index: usize, _: &mut SampleRng) -> Result<T::Row> {
        check_index(self, index)?;
        flambeau_core::no_grad(|| self.tensors.row(index))
    }
}

/// The samples of another dataset at the given indices, in that order.
///
/// ```
/// use flambeau_data::{Dataset, ListDataset, SampleRng, Subset};
/// let part = Subset::new(ListDataset::from(vec!["a", "b", "c"]), [2, 0])?;
/// assert_eq!((part.len(), part.get(0, &mut SampleRng::new(0, 0))?), (2, "c"));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The samples of `dataset` at `indices`.
    ///
    /// # Errors
    /// Where an index is out of range.
    #[track_caller]
    pub fn new(dataset: D, indices: impl Into<Vec<usize>>) -> Result<Self> {
        let indices = indices.into();
        if let Some(&index) = indices.iter().find(|&&i| i >= dataset.len()) {
            bail!(
                "Subset",
                "index {index} is out of range: {} has {} samples",
                dataset.name(),
                dataset.len()
            );
        }
        Ok(Subset { dataset, indices })
    }

    /// The indices in the whole dataset.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The whole dataset.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;
    fn len(&self) -> usize {
        self.indices.len()
    }
    fn get(&self, index: usize, rng: &mut SampleRng) -> Result<D::Item> {
        check_index(self, index)?;
        self.dataset.get(self.indices[index], rng)
    }
    fn name(&self) -> String {
        format!("Subset of {}", self.dataset.name())
    }
}

/// Datasets with the same kind of samples, one behind the other.
///
/// ```
/// use flambeau_data::{ConcatDataset, Dataset, ListDataset, SampleRng};
/// let list = |v: Vec<i64>| Box::new(ListDataset::from(v)) as Box<dyn Dataset<Item = i64>>;
/// let all = ConcatDataset::new(vec![list(vec![1, 2]), list(vec![3])]);
/// assert_eq!((all.len(), all.get(2, &mut SampleRng::new(0, 0))?), (3, 3));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub struct ConcatDataset<T> {
    datasets: Vec<Box<dyn Dataset<Item = T>>>,
    /// How many samples there are up to the end of each.
    ends: Vec<usize>,
}

impl<T: Send + 'static> ConcatDataset<T> {
    /// The samples of `datasets` in order.
    pub fn new(datasets: Vec<Box<dyn Dataset<Item = T>>>) -> Self {
        let mut end = 0;
        let ends = datasets
            .iter()
            .map(|d| {
                end += d.len();
                end
            })
            .collect();
        ConcatDataset { datasets, ends }
    }
}

impl<T: Send + 'static> Dataset for ConcatDataset<T> {
    type Item = T;
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
    fn get(&self, index: usize, rng: &mut SampleRng) -> Result<T> {
        check_index(self, index)?;
        let which = self.ends.partition_point(|&end| end <= index);
        let start = which.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.datasets[which].get(index - start, rng)
    }
}
