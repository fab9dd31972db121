//! Datasets of labelled pictures, after `torchvision.datasets`.
//!
//! | | pictures | classes |
//! | --- | --- | --- |
//! | [`Cifar10`], [`Cifar100`] | 60,000 of 3 x 32 x 32 | 10, 100 |
//! | [`FashionMnist`] | 70,000 of 1 x 28 x 28 | 10 |
//! | [`FashionSample`] | 7,000 of those, in the program, as 3 x 32 x 32 | 10 |
//! | [`ImageFolder`] | files in a folder for each class | its folders |
//!
//! The first four give [`Pictures`], in memory; labels are `i64`.
//!
//! ```
//! use flambeau_data::{DataLoader, Dataset};
//! use flambeau_vision::{datasets::FashionSample, transforms::*};
//! let transform = Compose::new().then(ToTensor).then(Normalize::new([0.5; 3], [0.5; 3]));
//! let testset = FashionSample::test()?.transform(transform);
//! assert_eq!((testset.len(), testset.classes()[9].as_str()), (1000, "Ankle boot"));
//! let loader = DataLoader::new(testset).batch_size(4);
//! let (inputs, labels) = loader.iter().next().unwrap()?;
//! assert_eq!((inputs.shape(), labels.shape()), (&[4, 3, 32, 32][..], &[4][..]));
//! # Ok::<(), flambeau_core::Error>(())
//! ```

mod folder;

pub use folder::ImageFolder;

use crate::files::{ImageSet, Labels, Split, cifar, fashion};
use crate::transforms::Transform;
use crate::{Image, Result};
use flambeau_data::{Dataset, SampleRng};
use std::path::Path;
use std::sync::Arc;

/// A function of labels.
type TargetTransform = Arc<dyn Fn(i64) -> i64 + Send + Sync>;

/// Labelled pictures of one size in memory: what [`Cifar10`] and the others load.
///
/// A sample is the picture and its label. Copying copies a handle.
///
/// ```
/// use flambeau_data::{Dataset, SampleRng};
/// use flambeau_vision::datasets::FashionSample;
/// let set = FashionSample::test()?;
/// assert_eq!((set.len(), set.shape(), &set.classes()[9][..]), (1000, [3, 32, 32], "Ankle boot"));
/// let (picture, label) = set.get(0, &mut SampleRng::new(0, 0))?;
/// assert_eq!((picture.shape(), label), ([3, 32, 32], set.labels()[0] as i64));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Pictures {
    name: &'static str,
    bytes: Arc<Vec<u8>>,
    shape: [usize; 3],
    labels: Labels,
    coarse: Option<Labels>,
    after: After,
}

/// What is done to a sample once it is read.
#[derive(Clone, Default)]
struct After {
    picture: Option<Arc<dyn Transform>>,
    label: Option<TargetTransform>,
}

impl After {
    fn apply(
        &self,
        image: Image,
        label: i64,
        rng: &mut SampleRng,
    ) -> flambeau_core::Result<(Image, i64)> {
        let image = match &self.picture {
            Some(transform) => transform.apply(image, rng)?,
            None => image,
        };
        Ok((image, self.label.as_ref().map_or(label, |f| f(label))))
    }
}

/// The two methods that say what is done to a sample.
macro_rules! transform_methods {
    () => {
        /// Passes every picture through `transform`, in place of an earlier one.
        ///
        /// ```
        /// use flambeau_data::DataLoader;
        /// use flambeau_vision::datasets::FashionSample;
        /// use flambeau_vision::transforms::*;
        /// let set = FashionSample::test()?.transform(ToTensor);
        /// let loader = DataLoader::new(set).batch_size(4);
        /// let (images, labels) = loader.iter().next().unwrap()?;
        /// assert_eq!((images.shape(), labels.shape()), (&[4, 3, 32, 32][..], &[4][..]));
        /// # Ok::<(), flambeau_core::Error>(())
        /// ```
        #[must_use]
        pub fn transform(mut self, transform: impl Transform + 'static) -> Self {
            self.after.picture = Some(Arc::new(transform));
            self
        }

        /// Passes every label through `f`, in place of an earlier function.
        ///
        /// ```
        /// use flambeau_data::{Dataset, SampleRng};
        /// use flambeau_vision::datasets::FashionSample;
        /// let is_boot = FashionSample::test()?.target_transform(|label| (label == 9) as i64);
        /// assert!(is_boot.get(0, &mut SampleRng::new(0, 0))?.1 < 2);
        /// # Ok::<(), flambeau_core::Error>(())
        /// ```
        #[must_use]
        pub fn target_transform(mut self, f: impl Fn(i64) -> i64 + Send + Sync + 'static) -> Self {
            self.after.label = Some(Arc::new(f));
            self
        }
    };
}
use transform_methods;

impl Pictures {
    /// The pictures of `set`, called `name` in messages.
    ///
    /// # Errors
    /// Where the set's parts do not fit together.
    pub fn new(name: &'static str, set: ImageSet) -> Result<Pictures> {
        let ImageSet {
            images,
            shape,
            labels,
            coarse,
        } = set;
        let size = shape
            .iter()
            .try_fold(labels.values.len(), |n, &d| n.checked_mul(d));
        let counted = |l: &Labels| {
            l.values.len() == labels.values.len()
                && l.values.iter().all(|&v| (v as usize) < l.classes.len())
        };
        if size != Some(images.len()) || !counted(&labels) || !coarse.iter().all(counted) {
            return Err(crate::Error::new(
                crate::ErrorKind::Corrupt,
                name,
                format_args!(
                    "{} bytes, {} labels and pictures of {shape:?} do not fit together",
                    images.len(),
                    labels.values.len()
                ),
                "give a label below the number of classes, and channels x height x width bytes, for each picture",
            ));
        }
        let after = After::default();
        Ok(Pictures {
            name,
            bytes: Arc::new(images),
            shape,
            labels,
            coarse,
            after,
        })
    }

    transform_methods!();

    /// The names of the classes, by label.
    pub fn classes(&self) -> &[String] {
        &self.labels.classes
    }

    /// The labels in order, before any `target_transform`.
    pub fn labels(&self) -> &[u8] {
        &self.labels.values
    }

    /// Channels, height and width of every picture, before any `transform`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The same pictures labelled by CIFAR-100's twenty superclasses; `None` for other sets.
    pub fn coarse(mut self) -> Option<Pictures> {
        self.labels = self.coarse.take()?;
        Some(self)
    }

    /// Picture `index` as it was read, without the transform; `None` past the end.
    ///
    /// ```
    /// use flambeau_vision::datasets::FashionSample;
    /// let set = FashionSample::test()?;
    /// assert!(set.picture(0).unwrap().is_bytes() && set.picture(1000).is_none());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn picture(&self, index: usize) -> Option<Image> {
        let size: usize = self.shape.iter().product();
        (index < self.labels.values.len())
            .then(|| Image::planar(self.bytes.clone(), index * size, self.shape))
    }
}

impl Dataset for Pictures {
    type Item = (Image, i64);

    fn len(&self) -> usize {
        self.labels.values.len()
    }

    fn get(&self, index: usize, rng: &mut SampleRng) -> flambeau_core::Result<(Image, i64)> {
        let Some(image) = self.picture(index) else {
            flambeau_core::bail!(
                "Dataset",
                "index {index} is out of range: {} has {} pictures",
                self.name,
                self.len()
            );
        };
        self.after
            .apply(image, self.labels.values[index].into(), rng)
    }

    fn name(&self) -> String {
        self.name.into()
    }
}

/// CIFAR-10: 3 x 32 x 32 pictures of ten classes, 50,000 to train and 10,000 to test
/// ([`torchvision.datasets.CIFAR10`](https://pytorch.org/vision/stable/generated/torchvision.datasets.CIFAR10.html)).
pub struct Cifar10;

/// CIFAR-100: 3 x 32 x 32 pictures of a hundred classes, 50,000 to train and 10,000 to test;
/// [`Pictures::coarse`] gives the twenty superclasses
/// ([`torchvision.datasets.CIFAR100`](https://pytorch.org/vision/stable/generated/torchvision.datasets.CIFAR100.html)).
pub struct Cifar100;

macro_rules! cifar {
    ($set:ident, $name:literal) => {
        impl $set {
            /// The training pictures in `root`, which holds the official archive or its unpacked
            /// folder, python or binary.
            ///
            /// # Errors
            /// As [`cifar::load`].
            pub fn train(root: impl AsRef<Path>) -> Result<Pictures> {
                Pictures::new(
                    $name,
                    cifar::load(root.as_ref(), cifar::Variant::$set, Split::Train)?,
                )
            }

            /// The test pictures; else as `train`.
            ///
            /// # Errors
            /// As [`cifar::load`].
            pub fn test(root: impl AsRef<Path>) -> Result<Pictures> {
                Pictures::new(
                    $name,
                    cifar::load(root.as_ref(), cifar::Variant::$set, Split::Test)?,
                )
            }

            /// Fetches the official archive into `root` unless the set is there, for `train` and
            /// `test`; `progress` is told the bytes so far and those of the whole.
            ///
            /// # Errors
            /// As [`cifar::download`]; without a network within about 5 seconds.
            pub fn download(
                root: impl AsRef<Path>,
                progress: impl FnMut(u64, Option<u64>),
            ) -> Result<()> {
                let root = root.as_ref();
                match cifar::load(root, cifar::Variant::$set, Split::Test) {
                    Ok(_) => Ok(()),
                    Err(_) => cifar::download(root, cifar::Variant::$set, progress),
                }
            }
        }
    };
}
cifar!(Cifar10, "Cifar10");
cifar!(Cifar100, "Cifar100");

/// Fashion-MNIST: 1 x 28 x 28 pictures of ten classes, 60,000 to train and 10,000 to test
/// ([`torchvision.datasets.FashionMNIST`](https://pytorch.org/vision/stable/generated/torchvision.datasets.FashionMNIST.html)).
pub struct FashionMnist;

impl FashionMnist {
    /// The training pictures from the set's idx files in `root`.
    ///
    /// # Errors
    /// As [`fashion::load`].
    pub fn train(root: impl AsRef<Path>) -> Result<Pictures> {
        Pictures::new("FashionMnist", fashion::load(root.as_ref(), Split::Train)?)
    }

    /// The test pictures; else as `train`.
    ///
    /// # Errors
    /// As [`fashion::load`].
    pub fn test(root: impl AsRef<Path>) -> Result<Pictures> {
        Pictures::new("FashionMnist", fashion::load(root.as_ref(), Split::Test)?)
    }
}

/// The sample of Fashion-MNIST in the program itself, fitted to 3 x 32 x 32 for networks made for
/// CIFAR-10: 6,000 pictures to train and 1,000 to test.
///
/// ```
/// use flambeau_data::Dataset;
/// use flambeau_vision::datasets::FashionSample;
/// assert_eq!((FashionSample::train()?.len(), FashionSample::test()?.len()), (6000, 1000));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub struct FashionSample;

impl FashionSample {
    /// The training pictures.
    ///
    /// # Errors
    /// Never, unless the program itself is damaged.
    pub fn train() -> Result<Pictures> {
        Pictures::new(
            "FashionSample",
            fashion::sample(Split::Train)?.framed_rgb32(),
        )
    }

    /// The test pictures.
    ///
    /// # Errors
    /// Never, unless the program itself is damaged.
    pub fn test() -> Result<Pictures> {
        Pictures::new(
            "FashionSample",
            fashion::sample(Split::Test)?.framed_rgb32(),
        )
    }
}
