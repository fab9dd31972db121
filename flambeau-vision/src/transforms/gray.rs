//! Colour to grey.

use super::Transform;
use crate::Image;
use flambeau_core::{Result, bail};
use flambeau_data::SampleRng;

/// The picture in grey, with one channel or three equal ones
/// ([`torchvision.transforms.Grayscale`](https://pytorch.org/vision/stable/generated/torchvision.transforms.Grayscale.html)).
///
/// Bytes are weighed as Pillow does (19595, 38470 and 7471 of 65536, rounded), tensors as
/// torchvision does (0.2989, 0.587 and 0.114).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let red = Image::from_chw(vec![255, 0, 0], [3, 1, 1])?;
/// let y = Grayscale::new().apply(red, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.to_tensor()?.to_vec::<u8>()?, [76]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Grayscale {
    three: bool,
}

impl Grayscale {
    /// One channel.
    pub fn new() -> Self {
        Grayscale::default()
    }

    /// Three equal channels instead of one.
    pub fn three_channels(mut self) -> Self {
        self.three = true;
        self
    }
}

impl Transform for Grayscale {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        let [channels, h, w] = image.shape();
        if channels != 1 && channels != 3 {
            bail!(
                "Grayscale",
                "takes pictures of 1 or 3 channels; this one has {channels}"
            );
        }
        let copies = if self.three { 3 } else { 1 };
        if image.is_bytes() {
            let bytes = image.to_tensor()?.to_vec::<u8>()?;
            let grey: Vec<u8> = match channels {
                1 => bytes,
                _ => (0..h * w)
                    .map(|i| {
                        let of = |c: usize, weight: u32| bytes[c * h * w + i] as u32 * weight;
                        ((of(0, 19595) + of(1, 38470) + of(2, 7471) + 0x8000) >> 16) as u8
                    })
                    .collect(),
            };
            return Image::from_chw(grey.repeat(copies), [copies, h, w]);
        }
        let x = image.to_tensor()?;
        let grey = match channels {
            1 => x,
            _ => {
                let of = |c: i64, weight: f64| x.select(-3, c)?.mul(weight);
                let sum = of(0, 0.2989)?.add(of(1, 0.587)?)?.add(of(2, 0.114)?)?;
                sum.to_dtype(x.dtype())?.unsqueeze(-3)?
            }
        };
        let mut size = grey.shape().to_vec();
        let channel = size.len() - 3;
        size[channel] = copies;
        grey.expand(size)?.try_into()
    }
}
