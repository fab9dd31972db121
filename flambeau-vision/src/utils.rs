//! Tensors as pictures: grids and files, after `torchvision.utils`.
//!
//! [`make_grid`] and [`save_image`] with the defaults, [`Grid`] with options.

use crate::files::RgbImage;
use flambeau_core::{Create, DType, Error, Result, Tensor, bail, no_grad};
use std::path::Path;
use std::sync::Once;

/// Pictures side by side, by torchvision's defaults; [`Grid`] has the options
/// ([`torchvision.utils.make_grid`](https://pytorch.org/vision/stable/generated/torchvision.utils.make_grid.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// let grid = flambeau_vision::utils::make_grid(&Tensor::zeros([10, 3, 4, 5])?)?;
/// assert_eq!(grid.shape(), [3, 2 * (4 + 2) + 2, 8 * (5 + 2) + 2]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// As [`Grid::make`].
#[track_caller]
pub fn make_grid(images: &Tensor) -> Result<Tensor> {
    Grid::new().make(images)
}

/// A picture, or several as a grid, as a PNG file; [`Grid`] has the options
/// ([`torchvision.utils.save_image`](https://pytorch.org/vision/stable/generated/torchvision.utils.save_image.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_vision::Image;
/// use flambeau_vision::utils::save_image;
/// let path = std::env::temp_dir().join(format!("{}-image.png", std::process::id()));
/// save_image(&Tensor::ones([2, 3, 4, 4])?, &path)?;
/// // Two pictures of 4 x 4 with 2 black pixels around and between.
/// assert_eq!(Image::open(&path)?.shape(), [3, 8, 14]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// As [`Grid::save`].
#[track_caller]
pub fn save_image(images: &Tensor, path: impl AsRef<Path>) -> Result<()> {
    Grid::new().save(images, path)
}

/// How pictures are laid side by side: the options of torchvision's `make_grid` and `save_image`.
///
/// Pictures that `Normalize` went over are shown right with the same numbers:
/// `Grid::new().unnormalize([0.5; 3], [0.5; 3]).save(&images, "grid.png")`.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_vision::utils::Grid;
/// let images = Tensor::zeros([5, 1, 4, 4])?;
/// assert_eq!(Grid::new().nrow(3).padding(1).make(&images)?.shape(), [3, 11, 16]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Grid {
    nrow: usize,
    padding: usize,
    normalize: bool,
    value_range: Option<(f64, f64)>,
    scale_each: bool,
    pad_value: f64,
    unnormalize: Option<(Vec<f64>, Vec<f64>)>,
}

impl Default for Grid {
    fn default() -> Self {
        Grid {
            nrow: 8,
            padding: 2,
            normalize: false,
            value_range: None,
            scale_each: false,
            pad_value: 0.0,
            unnormalize: None,
        }
    }
}

impl Grid {
    /// Eight pictures a row with 2 pixels between them, values as they are.
    pub fn new() -> Self {
        Grid::default()
    }

    /// Pictures in a row (default 8).
    pub fn nrow(mut self, count: usize) -> Self {
        self.nrow = count;
        self
    }

    /// Pixels between and around the pictures (default 2).
    pub fn padding(mut self, pixels: usize) -> Self {
        self.padding = pixels;
        self
    }

    /// Whether values are stretched to 0..1, from the least and the greatest one (default: no).
    pub fn normalize(mut self, on: bool) -> Self {
        self.normalize = on;
        self
    }

    /// The values that `normalize` stretches to 0 and 1, in place of the least and the greatest;
    /// those outside are cut.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_vision::utils::Grid;
    /// let x = Tensor::new([[[0.0f32, 5.0, 10.0]]])?;
    /// let picture = Grid::new().normalize(true).value_range(0.0, 10.0).picture(&x)?;
    /// assert_eq!(picture.pixels[6..], [255; 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn value_range(mut self, min: f64, max: f64) -> Self {
        self.value_range = Some((min, max));
        self
    }

    /// Whether `normalize` looks at each picture alone (default: at all together).
    pub fn scale_each(mut self, on: bool) -> Self {
        self.scale_each = on;
        self
    }

    /// The value between the pictures (default 0).
    pub fn pad_value(mut self, value: f64) -> Self {
        self.pad_value = value;
        self
    }

    /// Undoes `Normalize` with these numbers, one a channel or one for all: `x * std + mean`.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_vision::utils::Grid;
    /// // What Normalize::new([0.5], [0.5]) made -1 and 1 of is black and white again.
    /// let x = Tensor::new([[[-1.0f32, 1.0]]])?;
    /// let picture = Grid::new().unnormalize([0.5], [0.5]).picture(&x)?;
    /// assert_eq!(picture.pixels, [0, 0, 0, 255, 255, 255]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn unnormalize(mut self, mean: impl Into<Vec<f64>>, std: impl Into<Vec<f64>>) -> Self {
        self.unnormalize = Some((mean.into(), std.into()));
        self
    }

    /// The grid, `C x H x W`, of pictures `N x C x H x W` (or of one picture `C x H x W` or
    /// `H x W`, which gets no frame). One channel becomes three.
    ///
    /// # Errors
    /// Where the shape is another, there is no picture, `nrow` is 0, or integers are to be
    /// normalised.
    #[track_caller]
    pub fn make(&self, images: &Tensor) -> Result<Tensor> {
        no_grad(|| self.grid(&images.detach()))
    }

    #[track_caller]
    fn grid(&self, images: &Tensor) -> Result<Tensor> {
        const OP: &str = "make_grid";
        let x = match images.dim() {
            2 => images.unsqueeze(0)?.unsqueeze(0)?,
            3 => images.unsqueeze(0)?,
            4 => images.clone(),
            _ => bail!(
                OP,
                "pictures are N x C x H x W, C x H x W or H x W, not of shape {:?}",
                images.shape()
            ),
        };
        if self.nrow == 0 || x.is_empty() {
            bail!(
                OP,
                "needs at least one picture with pixels, and nrow above 0; there are {} of shape {:?}",
                x.size(0)?,
                &x.shape()[1..]
            );
        }
        let x = if x.size(1)? == 1 {
            x.expand([-1, 3, -1, -1])?
        } else {
            x
        };
        let x = self.values(x)?;
        let (n, c) = (x.size(0)?, x.size(1)?);
        if n == 1 {
            return x.select(0, 0)?.contiguous();
        }
        let columns = self.nrow.min(n);
        let rows = n.div_ceil(columns);
        let [h, w] = [x.size(2)?, x.size(3)?];
        let side = |size: usize, count: usize| {
            let step = size.checked_add(self.padding)?;
            step.checked_mul(count)?.checked_add(self.padding)
        };
        let (Some(height), Some(width)) = (side(h, rows), side(w, columns)) else {
            bail!(OP, "a padding of {} makes the grid too large", self.padding);
        };
        let options: Create = x.dtype().into();
        let grid = Tensor::full_with([c, height, width], self.pad_value, options)?;
        for k in 0..n {
            let start = |size: usize, at: usize| (at * (size + self.padding) + self.padding) as i64;
            let (top, left) = (start(h, k / columns), start(w, k % columns));
            grid.narrow(1, top, h)?
                .narrow(2, left, w)?
                .copy_(&x.select(0, k as i64)?)?;
        }
        Ok(grid)
    }

    /// The pictures with the values that the options ask for.
    #[track_caller]
    fn values(&self, x: Tensor) -> Result<Tensor> {
        if !self.normalize && self.unnormalize.is_none() {
            return Ok(x);
        }
        const OP: &str = "make_grid";
        if !x.dtype().is_floating_point() {
            bail!(
                OP,
                "normalising needs floating-point pictures, not {}; divide by 255 first",
                x.dtype()
            );
        }
        let mut y = x.clone();
        if let Some((mean, std)) = &self.unnormalize {
            let channels = x.size(1)?;
            for list in [mean, std] {
                if list.len() != 1 && list.len() != channels {
                    bail!(
                        OP,
                        "the pictures have {channels} channels, but unnormalize was given {} numbers",
                        list.len()
                    );
                }
            }
            let of = |l: &[f64]| Tensor::from_slice(l, [l.len(), 1, 1])?.to_dtype(x.dtype());
            y = y.mul(of(std)?)?.add(of(mean)?)?;
        }
        if !self.normalize {
            return Ok(y);
        }
        let dtype = y.dtype();
        let y = y.to_dtype(DType::F32)?;
        let mut values = y.to_vec::<f32>()?;
        let each = if self.scale_each {
            values.len() / y.size(0)?
        } else {
            values.len()
        };
        for part in values.chunks_mut(each.max(1)) {
            let fold = |start: f32, f: fn(f32, f32) -> f32| part.iter().copied().fold(start, f);
            let (low, high) = self.value_range.unwrap_or_else(|| {
                (
                    fold(f32::INFINITY, f32::min).into(),
                    fold(f32::NEG_INFINITY, f32::max).into(),
                )
            });
            // As in torchvision: the range is a Python float, the arithmetic is in f32.
            let (low32, range) = (low as f32, (high - low).max(1e-5) as f32);
            for v in part {
                *v = (v.max(low32).min(high as f32) - low32) / range;
            }
        }
        Tensor::from_vec(values, y.shape())?.to_dtype(dtype)
    }

    /// The grid as bytes: 0 is black, 1 is white, what lies outside is cut, as torchvision does,
    /// with a warning (once) that says how normalised pictures are shown. Bytes (`u8`) stay as
    /// they are. One picture alone gets no frame.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_vision::utils::Grid;
    /// let picture = Grid::new().picture(&Tensor::ones([3, 2, 2])?)?;
    /// assert_eq!((picture.width, picture.height, picture.pixels[0]), (2, 2, 255));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`make`](Grid::make); where there are not 1 or 3 channels.
    #[track_caller]
    pub fn picture(&self, images: &Tensor) -> Result<RgbImage> {
        const OP: &str = "save_image";
        let grid = self.make(images)?;
        let &[3, height, width] = grid.shape() else {
            bail!(
                OP,
                "pictures have 1 or 3 channels; the grid's shape is {:?}",
                grid.shape()
            );
        };
        let plane = height * width;
        let bytes: Vec<u8> = if grid.dtype() == DType::U8 {
            grid.to_vec::<u8>()?
        } else {
            let values = grid.to_dtype(DType::F32)?.to_vec::<f32>()?;
            if let Some(hint) = range_hint(&values) {
                static SAID: Once = Once::new();
                SAID.call_once(|| eprintln!("warning: {hint}"));
            }
            // Half is added so that the cut to bytes rounds to the nearest.
            values
                .iter()
                .map(|v| (v * 255.0 + 0.5).clamp(0.0, 255.0) as u8)
                .collect()
        };
        let pixels = (0..3 * plane)
            .map(|i| bytes[i % 3 * plane + i / 3])
            .collect();
        RgbImage::new(width, height, pixels).map_err(|e| Error::new(OP, e.to_string()))
    }

    /// The grid as a PNG file; see [`picture`](Grid::picture).
    ///
    /// # Errors
    /// As [`picture`](Grid::picture); where the file's name does not end in `.png`, or it cannot be
    /// written.
    #[track_caller]
    pub fn save(&self, images: &Tensor, path: impl AsRef<Path>) -> Result<()> {
        const OP: &str = "save_image";
        let path = path.as_ref();
        if !path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("png"))
        {
            bail!(
                OP,
                "{} does not end in .png; only PNG files are written",
                path.display()
            );
        }
        let written = self.picture(images)?.write_png(path);
        written.map_err(|e| Error::new(OP, e.to_string()))
    }
}

/// What to tell about values that no picture has.
fn range_hint(values: &[f32]) -> Option<String> {
    // Arithmetic on pictures may leave 0..1 by rounding.
    const SLACK: f32 = 1e-3;
    let (min, max) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &v| {
            (min.min(v), max.max(v))
        });
    (min < -SLACK || max > 1.0 + SLACK).then(|| {
        format!(
            "save_image: values from {min} to {max} lie outside 0..1 and are cut; pictures that \
             Normalize went over are shown right by Grid::new().unnormalize(mean, std), any others \
             by .normalize(true)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_of_pictures_are_told_with_the_remedy() {
        assert_eq!(range_hint(&[0.0, 1.0, 0.5]), None);
        assert_eq!(range_hint(&[-0.0001, 1.0001]), None);
        assert_eq!(range_hint(&[]), None);
        let hint = range_hint(&[-1.0, 0.2]).unwrap();
        assert!(
            hint.contains("from -1 to 0.2") && hint.contains("unnormalize(mean, std)"),
            "{hint}"
        );
    }
}
