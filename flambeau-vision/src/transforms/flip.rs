//! Mirrored pictures.

use super::{Transform, probability};
use crate::Image;
use flambeau_core::Result;
use flambeau_data::SampleRng;

/// The picture mirrored left to right with a probability; torchvision's default is 0.5.
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

/// The picture mirrored top to bottom with a probability; torchvision's default is 0.5.
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
