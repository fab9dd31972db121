//! From bytes to numbers.

use super::Transform;
use crate::Image;
use crate::image::{Bytes, Pixels};
use crate::levels::Levels;
use flambeau_core::{DType, Result, Tensor, bail};
use flambeau_data::SampleRng;
use std::sync::{Arc, OnceLock};

/// The picture of bytes as a tensor C x H x W of `f32` from 0 to 1: each byte divided by 255
/// ([`torchvision.transforms.ToTensor`](https://pytorch.org/vision/stable/generated/torchvision.transforms.ToTensor.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_hwc(vec![0, 51, 255], [1, 1, 3])?;
/// let x = ToTensor.apply(x, &mut SampleRng::new(0, 0))?.to_tensor()?;
/// assert_eq!((x.shape(), x.to_vec::<f32>()?), (&[3, 1, 1][..], vec![0.0, 0.2, 1.0]));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ToTensor;

impl Transform for ToTensor {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        match image.0 {
            Pixels::Bytes(bytes @ Bytes { levels: None, .. }) => Ok(unit(bytes)),
            _ => bail!(
                "ToTensor",
                "the picture is a tensor already; leave ToTensor out, or ConvertImageDtype(DType::F32) scales bytes to 0..1"
            ),
        }
    }
}

/// The bytes standing for themselves divided by 255.
fn unit(mut bytes: Bytes) -> Image {
    static UNIT: OnceLock<Arc<Levels>> = OnceLock::new();
    let levels = UNIT.get_or_init(|| Arc::new(Levels::unit()));
    bytes.levels = Some(levels.clone());
    Image(Pixels::Bytes(bytes))
}

/// The picture of bytes as a tensor C x H x W of `u8` (torchvision's `PILToTensor`)
/// ([`torchvision.transforms.PILToTensor`](https://pytorch.org/vision/stable/generated/torchvision.transforms.PILToTensor.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_hwc(vec![0, 51, 255], [1, 1, 3])?;
/// let x = PilToTensor.apply(x, &mut SampleRng::new(0, 0))?.to_tensor()?;
/// assert_eq!(x.to_vec::<u8>()?, [0, 51, 255]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PilToTensor;

impl Transform for PilToTensor {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        if !image.is_bytes() {
            bail!(
                "PilToTensor",
                "the picture is a tensor already; leave PilToTensor out"
            );
        }
        image.to_tensor()?.try_into()
    }
}

/// The picture in another type, scaled from one range to the other: 0 to the greatest number for
/// integers, 0 to 1 for floats
/// ([`torchvision.transforms.ConvertImageDtype`](https://pytorch.org/vision/stable/generated/torchvision.transforms.ConvertImageDtype.html)).
///
/// Float to integer multiplies by the greatest number plus 0.999 and cuts, so that each integer
/// has an equal share of 0..1.
///
/// ```
/// use flambeau_core::{DType, Tensor};
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::try_from(Tensor::new([[[0.0f32, 0.5, 1.0]]])?)?;
/// let x = ConvertImageDtype(DType::U8).apply(x, &mut SampleRng::new(0, 0))?.to_tensor()?;
/// assert_eq!(x.to_vec::<u8>()?, [0, 127, 255]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ConvertImageDtype(pub DType);

impl Transform for ConvertImageDtype {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        let to = self.0;
        if let (Pixels::Bytes(Bytes { levels: None, .. }), DType::F32) = (&image.0, to)
            && let Pixels::Bytes(bytes) = image.0
        {
            return Ok(unit(bytes));
        }
        convert(image.to_tensor()?, to)?.try_into()
    }
}

fn convert(x: Tensor, to: DType) -> Result<Tensor> {
    let from = x.dtype();
    let greatest = |d: DType| match d {
        DType::Bool => 1,
        DType::U8 => u8::MAX as i64,
        DType::I8 => i8::MAX as i64,
        DType::I16 => i16::MAX as i64,
        DType::I32 => i32::MAX as i64,
        _ => i64::MAX,
    };
    if from == to {
        return Ok(x);
    }
    match (from.is_floating_point(), to.is_floating_point()) {
        (true, true) => x.to_dtype(to),
        (false, true) => x.to_dtype(to)?.div(greatest(from) as f64),
        (true, false) => {
            let unsafe_cast = match from {
                DType::F64 => to == DType::I64,
                _ => matches!(to, DType::I32 | DType::I64),
            };
            if unsafe_cast {
                bail!(
                    "ConvertImageDtype",
                    "{from} does not count through the range of {to}; convert to a smaller integer type"
                );
            }
            x.mul(greatest(to) as f64 + 1.0 - 1e-3)?.to_dtype(to)
        }
        (false, false) => {
            let (greatest_from, greatest_to) = (greatest(from) as i128, greatest(to) as i128);
            if greatest_from > greatest_to {
                let factor = (greatest_from + 1) / (greatest_to + 1);
                floor_div(&x, factor as i64)?.to_dtype(to)
            } else {
                let factor = (greatest_to + 1) / (greatest_from + 1);
                x.to_dtype(to)?.mul(factor as i64)
            }
        }
    }
}

/// `x / factor` rounded down, of integers.
fn floor_div(x: &Tensor, factor: i64) -> Result<Tensor> {
    let values = x.to_dtype(DType::I64)?.to_vec::<i64>()?;
    Tensor::from_vec(
        values.into_iter().map(|v| v.div_euclid(factor)).collect(),
        x.shape(),
    )
}

/// Each channel less its mean, divided by its standard deviation: `(x - mean) / std`
/// ([`torchvision.transforms.Normalize`](https://pytorch.org/vision/stable/generated/torchvision.transforms.Normalize.html)).
///
/// The lists have one number a channel, or one for all.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::try_from(Tensor::new([[[0.0f32, 1.0]]])?)?;
/// let x = Normalize::new([0.5], [0.25]).apply(x, &mut SampleRng::new(0, 0))?.to_tensor()?;
/// assert_eq!(x.to_vec::<f32>()?, [-2.0, 2.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Normalize {
    mean: Vec<f64>,
    std: Vec<f64>,
    /// The tables last made, with those they were made of: in a pipeline always the same.
    cache: Arc<OnceLock<(Arc<Levels>, Arc<Levels>)>>,
}

impl std::fmt::Debug for Normalize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Normalize(mean={:?}, std={:?})", self.mean, self.std)
    }
}

impl Normalize {
    /// Normalises by `mean` and `std`. What is wrong with them (a standard deviation of 0, another
    /// number of channels) is the error of the first picture.
    pub fn new(mean: impl Into<Vec<f64>>, std: impl Into<Vec<f64>>) -> Self {
        Normalize {
            mean: mean.into(),
            std: std.into(),
            cache: Arc::default(),
        }
    }

    fn check(&self, channels: usize, dtype: DType) -> Result<()> {
        const OP: &str = "Normalize";
        for (name, list) in [("mean", &self.mean), ("std", &self.std)] {
            if list.len() != 1 && list.len() != channels {
                bail!(
                    OP,
                    "the picture has {channels} channels, but {name} has {} numbers; give one a channel",
                    list.len()
                );
            }
        }
        let zero = |&s: &f64| {
            if dtype == DType::F64 {
                s == 0.0
            } else {
                s as f32 == 0.0
            }
        };
        if let Some(c) = self.std.iter().position(zero) {
            bail!(OP, "std of channel {c} is 0, by which nothing divides");
        }
        Ok(())
    }

    fn levels(&self, old: &Arc<Levels>, channels: usize) -> Arc<Levels> {
        let make = || Arc::new(old.normalized(&self.mean, &self.std, channels));
        let (of, new) = self.cache.get_or_init(|| (old.clone(), make()));
        if Arc::ptr_eq(of, old) {
            new.clone()
        } else {
            make()
        }
    }
}

impl Transform for Normalize {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        let channels = image.shape()[0];
        match image.0 {
            Pixels::Bytes(Bytes { levels: None, .. }) => bail!(
                "Normalize",
                "the picture is still bytes of 0 to 255; put ToTensor before Normalize"
            ),
            Pixels::Bytes(mut bytes) => {
                self.check(channels, DType::F32)?;
                bytes.levels = bytes.levels.map(|old| self.levels(&old, channels));
                Ok(Image(Pixels::Bytes(bytes)))
            }
            Pixels::Tensor(x) => {
                if !x.dtype().is_floating_point() {
                    bail!(
                        "Normalize",
                        "the tensor is {}, not floating-point; put ConvertImageDtype(DType::F32) before",
                        x.dtype()
                    );
                }
                self.check(channels, x.dtype())?;
                let of = |list: &[f64]| {
                    Tensor::from_slice(list, [list.len(), 1, 1])?.to_dtype(x.dtype())
                };
                x.sub(of(&self.mean)?)?.div(of(&self.std)?)?.try_into()
            }
        }
    }
}
