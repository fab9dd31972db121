//! Pictures in another size.

use super::Transform;
use crate::Image;
use flambeau_core::{DType, Result, Tensor, bail};
use flambeau_data::SampleRng;

/// How pixels in between are made up.
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![0, 100], [1, 1, 2])?;
/// let nearest = Resize::new([1, 4]).interpolation(Interpolation::Nearest);
/// assert_eq!(nearest.apply(x, &mut SampleRng::new(0, 0))?.to_tensor()?.to_vec::<u8>()?, [0, 0, 100, 100]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel. (For tensors torchvision's, which looks to the upper left.)
    Nearest,
    /// Linear, with antialiasing where the picture shrinks.
    #[default]
    Bilinear,
    /// Cubic (a = -0.5), with antialiasing where the picture shrinks.
    Bicubic,
}

/// The size to resize to: one number for the shorter side, the other side following, or
/// `[height, width]`.
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![0; 8], [1, 2, 4])?;
/// assert_eq!(Resize::new(4).apply(x.clone(), &mut SampleRng::new(0, 0))?.shape(), [1, 4, 8]);
/// assert_eq!(Resize::new([4, 4]).apply(x, &mut SampleRng::new(0, 0))?.shape(), [1, 4, 4]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeSize {
    /// The shorter side.
    Short(usize),
    /// Height and width.
    Exact([usize; 2]),
}

impl From<usize> for ResizeSize {
    fn from(short: usize) -> Self {
        ResizeSize::Short(short)
    }
}
impl From<[usize; 2]> for ResizeSize {
    fn from(size: [usize; 2]) -> Self {
        ResizeSize::Exact(size)
    }
}

/// The picture in another size, bilinear with antialiasing unless told
/// ([`torchvision.transforms.Resize`](https://pytorch.org/vision/stable/generated/torchvision.transforms.Resize.html)).
///
/// Bytes get Pillow's results to the bit (version 13's, where both sides change), tensors those of
/// [`torch.nn.functional.interpolate`](https://pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html)
/// with `antialias=True`.
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![0, 100, 200, 255], [1, 1, 4])?;
/// let y = Resize::new([1, 2]).apply(x, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.to_tensor()?.to_vec::<u8>()?, [71, 209]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Resize {
    size: ResizeSize,
    max_size: Option<usize>,
    interpolation: Interpolation,
}

impl Resize {
    /// Resizes to `size`.
    pub fn new(size: impl Into<ResizeSize>) -> Self {
        Resize {
            size: size.into(),
            max_size: None,
            interpolation: Interpolation::Bilinear,
        }
    }

    /// The most that the longer side may become; for a size given by the shorter side.
    ///
    /// ```
    /// use flambeau_data::SampleRng;
    /// use flambeau_vision::Image;
    /// use flambeau_vision::transforms::*;
    /// let x = Image::from_chw(vec![0; 8], [1, 2, 4])?;
    /// let y = Resize::new(4).max_size(6).apply(x, &mut SampleRng::new(0, 0))?;
    /// assert_eq!(y.shape(), [1, 3, 6]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn max_size(mut self, max: usize) -> Self {
        self.max_size = Some(max);
        self
    }

    /// How pixels in between are made up.
    pub fn interpolation(mut self, how: Interpolation) -> Self {
        self.interpolation = how;
        self
    }

    /// Height and width of the result for a picture of `[h, w]`, by torchvision's rule.
    fn output(&self, image: &Image) -> Result<[usize; 2]> {
        const OP: &str = "Resize";
        let [channels, h, w] = image.shape();
        let size = match (self.size, self.max_size) {
            (ResizeSize::Exact(size), None) => size,
            (ResizeSize::Exact(_), Some(_)) => {
                bail!(OP, "max_size goes with a size given by the shorter side")
            }
            (ResizeSize::Short(requested), max) => {
                let (short, long) = (h.min(w) as f64, h.max(w) as f64);
                // Cut, not rounded; the product is exact.
                let mut new = [requested, (requested as f64 * long / short) as usize];
                if let Some(max) = max {
                    if max <= requested {
                        bail!(
                            OP,
                            "max_size {max} must be above the shorter side's size {requested}"
                        );
                    }
                    if new[1] > max {
                        new = [(max as f64 * new[0] as f64 / new[1] as f64) as usize, max];
                    }
                }
                if w <= h { [new[1], new[0]] } else { new }
            }
        };
        let elements = size.iter().try_fold(channels, |n, &s| n.checked_mul(s));
        let possible = !size.contains(&0) && elements.is_some_and(|n| n <= 1 << 31);
        if !possible || image.is_empty() {
            bail!(
                OP,
                "a picture of {h} x {w} cannot become {} x {}: empty, or more than 2^31 numbers",
                size[0],
                size[1]
            );
        }
        Ok(size)
    }
}

impl Transform for Resize {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        let [c, h, w] = image.shape();
        let [height, width] = self.output(&image)?;
        if [height, width] == [h, w] {
            return Ok(image);
        }
        let bytes = image.is_bytes();
        let kernel = |old, new| Kernel::new(old, new, self.interpolation, bytes);
        let kernels = [kernel(h, height), kernel(w, width)];
        let x = image.to_tensor()?;
        if bytes {
            let new = resample(&x.to_vec::<u8>()?, [h, w], [height, width], &kernels);
            return Image::from_chw(new, [c, height, width]);
        }
        let mut shape = x.shape().to_vec();
        let lead = shape.len() - 2;
        shape[lead..].copy_from_slice(&[height, width]);
        if x.dtype() == DType::F64 {
            let new = resample(&x.to_vec::<f64>()?, [h, w], [height, width], &kernels);
            return Tensor::from_vec(new, shape)?.try_into();
        }
        let data = x.to_dtype(DType::F32)?.to_vec::<f32>()?;
        let mut new = resample(&data, [h, w], [height, width], &kernels);
        if x.dtype() == DType::U8 && self.interpolation == Interpolation::Bicubic {
            // Cubic weights overshoot.
            new.iter_mut().for_each(|v| *v = v.clamp(0.0, 255.0));
        }
        if !x.dtype().is_floating_point() {
            new.iter_mut().for_each(|v| *v = v.round_ties_even());
        }
        Tensor::from_vec(new, shape)?
            .to_dtype(x.dtype())?
            .try_into()
    }
}

/// Of which old pixels each new one is made, along one axis.
struct Kernel {
    /// For each new pixel the first old one, and how many weights it has.
    spans: Vec<(usize, usize)>,
    /// The weights of all new pixels, one after the other.
    weights: Vec<f64>,
}

impl Kernel {
    /// Pillow's and PyTorch's rule (`precompute_coeffs`, `_compute_indices_min_size_weights_aa`):
    /// the filter is stretched where the picture shrinks, cut at the edges and normalised.
    fn new(old: usize, new: usize, how: Interpolation, bytes: bool) -> Kernel {
        let scale = old as f64 / new as f64;
        let (support, filter): (f64, fn(f64) -> f64) = match how {
            Interpolation::Nearest => {
                let nearest = |i: usize| match bytes {
                    true => ((i as f64 + 0.5) * scale) as usize,
                    false => (i as f32 * (old as f32 / new as f32)) as usize,
                };
                let spans = (0..new).map(|i| (nearest(i).min(old - 1), 1)).collect();
                return Kernel {
                    spans,
                    weights: vec![1.0; new],
                };
            }
            Interpolation::Bilinear => (1.0, triangle),
            Interpolation::Bicubic => (2.0, cubic),
        };
        let stretch = scale.max(1.0);
        let reach = support * stretch;
        let (mut spans, mut weights) = (Vec::with_capacity(new), Vec::new());
        for i in 0..new {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(old);
            let from = weights.len();
            let weight = |x: usize| filter((x as f64 - centre + 0.5) / stretch);
            weights.extend((first..end).map(weight));
            let sum: f64 = weights[from..].iter().sum();
            weights[from..].iter_mut().for_each(|w| *w /= sum);
            spans.push((first, end - first));
        }
        Kernel { spans, weights }
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// An element with its way of summing.
trait Pixel: Copy {
    type Weight: Copy;
    fn weight(w: f64) -> Self::Weight;
    fn sum(terms: impl Iterator<Item = (Self, Self::Weight)>) -> Self;
}

/// Fixed point with 22 bits, as in Pillow.
impl Pixel for u8 {
    type Weight = i32;
    fn weight(w: f64) -> i32 {
        (w * (1 << 22) as f64 + 0.5f64.copysign(w)) as i32
    }
    fn sum(terms: impl Iterator<Item = (u8, i32)>) -> u8 {
        let sum = terms.fold(1 << 21, |sum, (p, w)| sum + p as i32 * w);
        (sum >> 22).clamp(0, 255) as u8
    }
}

macro_rules! float_pixel {
    ($($t:ty),*) => {$(
        impl Pixel for $t {
            type Weight = $t;
            fn weight(w: f64) -> $t { w as $t }
            fn sum(terms: impl Iterator<Item = ($t, $t)>) -> $t {
                terms.map(|(p, w)| p * w).sum()
            }
        }
    )*};
}
float_pixel!(f32, f64);

/// Planes of `[h, w]` as planes of `[height, width]`, one axis after the other, each only where its
/// size changes. The order matters to bytes, which are rounded in between: it is the one that
/// Pillow 13 was seen to take in all of a thousand sizes, width first unless height loses more
/// than twice as much.
fn resample<P: Pixel>(
    data: &[P],
    [h, w]: [usize; 2],
    [height, width]: [usize; 2],
    [down, across]: &[Kernel; 2],
) -> Vec<P> {
    let height_first = height < h && h - height > 2 * w.saturating_sub(width);
    if height == h {
        along(data, w, 1, across)
    } else if width == w {
        along(data, h, w, down)
    } else if height_first {
        along(&along(data, h, w, down), w, 1, across)
    } else {
        along(&along(data, w, 1, across), h, width, down)
    }
}

/// Resizes an axis of size `old` whose elements lie `step` apart.
fn along<P: Pixel>(data: &[P], old: usize, step: usize, kernel: &Kernel) -> Vec<P> {
    let weights: Vec<P::Weight> = kernel.weights.iter().map(|&w| P::weight(w)).collect();
    let mut out = Vec::with_capacity(data.len() / old * kernel.spans.len());
    for block in data.chunks_exact(old * step) {
        let mut from = 0;
        for &(first, count) in &kernel.spans {
            let weights = &weights[from..from + count];
            from += count;
            out.extend((0..step).map(|x| {
                let at = |i: usize| block[(first + i) * step + x];
                P::sum(weights.iter().enumerate().map(|(i, &w)| (at(i), w)))
            }));
        }
    }
    out
}
