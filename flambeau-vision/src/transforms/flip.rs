//! Mirrored pictures.

use super::{Transform, probability};
use crate::Image;
use flambeau_core::Result;
use flambeau_data::SampleRng;

/// The picture mirrored left to right with a probability; torchvision's default is 0.5
/// ([`torchvision.transforms.RandomHorizontalFlip`](https://pytorch.org/vision/stable/generated/torchvision.transforms.RandomHorizontalFlip.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![1, 2, 3, 4], [1, 2, 2])?;
/// let y = RandomHorizontalFlip::new(1.0).apply(x, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.to_tensor()?.to_vec::<u8>()?, [2, 1, 4, 3]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RandomHorizontalFlip(f64);

impl RandomHorizontalFlip {
    /// Mirrors with probability `p`.
    pub fn new(p: f64) -> Self {
        RandomHorizontalFlip(p)
    }
}

impl Transform for RandomHorizontalFlip {
    fn apply(&self, image: Image, rng: &mut SampleRng) -> Result<Image> {
        flip("RandomHorizontalFlip", self.0, 2, image, rng)
    }
}

/// The picture mirrored top to bottom with a probability; torchvision's default is 0.5
/// ([`torchvision.transforms.RandomVerticalFlip`](https://pytorch.org/vision/stable/generated/torchvision.transforms.RandomVerticalFlip.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![1, 2, 3, 4], [1, 2, 2])?;
/// let y = RandomVerticalFlip::new(1.0).apply(x, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.to_tensor()?.to_vec::<u8>()?, [3, 4, 1, 2]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RandomVerticalFlip(f64);

impl RandomVerticalFlip {
    /// Mirrors with probability `p`.
    pub fn new(p: f64) -> Self {
        RandomVerticalFlip(p)
    }
}

impl Transform for RandomVerticalFlip {
    fn apply(&self, image: Image, rng: &mut SampleRng) -> Result<Image> {
        flip("RandomVerticalFlip", self.0, 1, image, rng)
    }
}

fn flip(op: &'static str, p: f64, axis: usize, image: Image, rng: &mut SampleRng) -> Result<Image> {
    let p = probability(op, p)?;
    if rng.chance(p) {
        image.flipped(axis)
    } else {
        Ok(image)
    }
}
