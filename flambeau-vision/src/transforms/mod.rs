//! What happens to a picture between file and batch, after `torchvision.transforms`.
//!
//! A transform takes an [`Image`] and returns one; random ones draw from the sample's own
//! [`SampleRng`], so that a seed fixes them whatever the number of workers. Each works on pictures
//! of bytes and on tensors where torchvision's does, and gives torchvision's numbers.
//!
//! | | |
//! | --- | --- |
//! | types | [`ToTensor`], [`PilToTensor`], [`ConvertImageDtype`], [`Normalize`] |
//! | parts, sizes | [`RandomCrop`], [`CenterCrop`], [`Pad`], [`Resize`] |
//! | mirrors, colours | [`RandomHorizontalFlip`], [`RandomVerticalFlip`], [`Grayscale`] |
//! | composing | [`Compose`], [`RandomApply`], [`Lambda`], one's own [`Transform`] |
//!
//! ```
//! use flambeau_data::SampleRng;
//! use flambeau_vision::{Image, transforms::*};
//! let transform = Compose::new()
//!     .then(RandomCrop::new(2).padding(1))
//!     .then(RandomHorizontalFlip::new(0.5))
//!     .then(ToTensor)
//!     .then(Normalize::new([0.5; 3], [0.5; 3]));
//! let grey = Image::from_chw(vec![102; 12], [3, 2, 2])?;
//! let x = transform.apply(grey, &mut SampleRng::new(0, 0))?.to_tensor()?;
//! assert_eq!(x.shape(), [3, 2, 2]);
//! // (102 / 255 - 0.5) / 0.5, and black where the crop reached into the padding.
//! assert!(x.to_vec::<f32>()?.iter().all(|&v| (v + 0.2).abs() < 1e-6 || v == -1.0));
//! # Ok::<(), flambeau_core::Error>(())
//! ```

mod convert;
mod crop;
mod flip;
mod gray;
mod resize;

pub use convert::{ConvertImageDtype, Normalize, PilToTensor, ToTensor};
pub use crop::{CenterCrop, Pad, Padding, PaddingMode, RandomCrop, Size};
pub use flip::{RandomHorizontalFlip, RandomVerticalFlip};
pub use gray::Grayscale;
pub use resize::{Interpolation, Resize, ResizeSize};

use crate::Image;
use flambeau_core::{Result, Tensor};
use flambeau_data::SampleRng;
use std::sync::Arc;

/// A step from file to batch.
///
/// One's own is a type with this method:
///
/// ```
/// use flambeau_core::DType;
/// use flambeau_core::Result;
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::Transform;
/// struct Noise(f64);
/// impl Transform for Noise {
///     fn apply(&self, image: Image, rng: &mut SampleRng) -> Result<Image> {
///         let noise = rng.normal() * self.0;
///         image.to_tensor()?.to_dtype(DType::F32)?.add(noise)?.try_into()
///     }
/// }
/// let x = Image::from_chw(vec![0; 4], [1, 2, 2])?;
/// assert!(!Noise(0.1).apply(x, &mut SampleRng::new(0, 0))?.is_bytes());
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait Transform: Send + Sync {
    /// The picture transformed, with random decisions drawn from `rng`.
    ///
    /// # Errors
    /// Where the picture is not of a kind, size or type that the transform works on.
    fn apply(&self, image: Image, rng: &mut SampleRng) -> Result<Image>;
}

macro_rules! pointers {
    ($($t:ty),*) => {$(
        impl<T: Transform + ?Sized> Transform for $t {
            fn apply(&self, image: Image, rng: &mut SampleRng) -> Result<Image> {
                (**self).apply(image, rng)
            }
        }
    )*};
}
pointers!(Box<T>, Arc<T>, &T);

/// Transforms one after the other
/// ([`torchvision.transforms.Compose`](https://pytorch.org/vision/stable/generated/torchvision.transforms.Compose.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let both = Compose::new().then(RandomHorizontalFlip::new(1.0)).then(ToTensor);
/// let x = Image::from_chw(vec![0, 255], [1, 1, 2])?;
/// assert_eq!(both.apply(x, &mut SampleRng::new(0, 0))?.to_tensor()?.to_vec::<f32>()?, [1.0, 0.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Default)]
pub struct Compose(Vec<Box<dyn Transform>>);

impl Compose {
    /// No transform yet.
    pub fn new() -> Self {
        Compose::default()
    }

    /// With `transform` as the last step.
    #[must_use]
    pub fn then(mut self, transform: impl Transform + 'static) -> Self {
        self.0.push(Box::new(transform));
        self
    }
}

impl Transform for Compose {
    fn apply(&self, image: Image, rng: &mut SampleRng) -> Result<Image> {
        self.0
            .iter()
            .try_fold(image, |image, step| step.apply(image, rng))
    }
}

/// A transform applied with a probability, else the picture as it is
/// ([`torchvision.transforms.RandomApply`](https://pytorch.org/vision/stable/generated/torchvision.transforms.RandomApply.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let never = RandomApply::new(RandomHorizontalFlip::new(1.0), 0.0);
/// let x = Image::from_chw(vec![0, 255], [1, 1, 2])?;
/// assert_eq!(never.apply(x, &mut SampleRng::new(0, 0))?.to_tensor()?.to_vec::<u8>()?, [0, 255]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub struct RandomApply<T> {
    transform: T,
    p: f64,
}

impl<T: Transform> RandomApply<T> {
    /// `transform` with probability `p`; torchvision's default is 0.5.
    pub fn new(transform: T, p: f64) -> Self {
        RandomApply { transform, p }
    }
}

impl<T: Transform> Transform for RandomApply<T> {
    fn apply(&self, image: Image, rng: &mut SampleRng) -> Result<Image> {
        let p = probability("RandomApply", self.p)?;
        if rng.chance(p) {
            self.transform.apply(image, rng)
        } else {
            Ok(image)
        }
    }
}

/// A function of the picture's tensor
/// ([`torchvision.transforms.Lambda`](https://pytorch.org/vision/stable/generated/torchvision.transforms.Lambda.html)).
///
/// ```
/// use flambeau_vision::transforms::{Compose, Lambda, ToTensor};
/// let inverted = Compose::new().then(ToTensor).then(Lambda::new(|x| (-&x).add(1.0)));
/// ```
pub struct Lambda<F>(F);

impl<F: Fn(Tensor) -> Result<Tensor> + Send + Sync> Lambda<F> {
    /// The transform that calls `f`, which is given bytes (`u8`) where `ToTensor` does not stand
    /// before.
    pub fn new(f: F) -> Self {
        Lambda(f)
    }
}

impl<F: Fn(Tensor) -> Result<Tensor> + Send + Sync> Transform for Lambda<F> {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        (self.0)(image.to_tensor()?)?.try_into()
    }
}

/// `p` where it is a probability.
fn probability(op: &'static str, p: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&p) {
        return Ok(p);
    }
    flambeau_core::bail!(op, "the probability lies between 0 and 1; {p} does not")
}
