//! Parts of pictures, and frames around them.

use super::Transform;
use crate::Image;
use crate::image::count;
use crate::layout::Axis;
use flambeau_core::{Result, bail};
use flambeau_data::SampleRng;

/// Height and width: one number for a square, or `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub [usize; 2]);

impl From<usize> for Size {
    fn from(side: usize) -> Self {
        Size([side, side])
    }
}
impl From<[usize; 2]> for Size {
    fn from(size: [usize; 2]) -> Self {
        Size(size)
    }
}

/// Pixels to add around: one number for all sides, `[sideways, up and down]` or
/// `[left, top, right, bottom]`.
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![9], [1, 1, 1])?;
/// // Left, top, right, bottom.
/// let y = Pad::new([1, 0, 2, 3]).apply(x, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.shape(), [1, 4, 4]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl From<usize> for Padding {
    fn from(all: usize) -> Self {
        [all; 4].into()
    }
}
impl From<[usize; 2]> for Padding {
    fn from([x, y]: [usize; 2]) -> Self {
        [x, y, x, y].into()
    }
}
impl From<[usize; 4]> for Padding {
    fn from([left, top, right, bottom]: [usize; 4]) -> Self {
        Padding {
            left,
            top,
            right,
            bottom,
        }
    }
}

/// What a frame around a picture shows.
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![1, 2, 3], [1, 1, 3])?;
/// let y = Pad::new([1, 0]).padding_mode(PaddingMode::Reflect).apply(x, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.to_tensor()?.to_vec::<u8>()?, [2, 1, 2, 3, 2]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingMode {
    /// The fill value.
    #[default]
    Constant,
    /// The nearest pixel of the picture.
    Edge,
    /// The picture mirrored about its last pixel: `[1, 2, 3]` goes on with `2, 1, 2`.
    Reflect,
    /// The picture mirrored about its edge: `[1, 2, 3]` goes on with `3, 2, 1`.
    Symmetric,
}

/// A frame: the numbers and how they are filled.
#[derive(Clone, Debug)]
struct Frame {
    mode: PaddingMode,
    fill: Vec<f64>,
}

impl Frame {
    fn new() -> Self {
        Frame {
            mode: PaddingMode::Constant,
            fill: vec![0.0],
        }
    }

    /// The `height` rows from `top` on and the `width` columns from `left` on of the picture that
    /// goes on beyond its edges.
    fn window(
        &self,
        image: Image,
        [top, left]: [isize; 2],
        [height, width]: [usize; 2],
    ) -> Result<Image> {
        let [channels, h, w] = image.shape();
        // Before the axes are written down, which takes memory too.
        count([channels, height, width].map(|n| n.max(1)))?;
        let rows = self.axis(top, height, h)?;
        let columns = self.axis(left, width, w)?;
        image.gathered(&rows, &columns, &self.fill)
    }

    fn axis(&self, first: isize, len: usize, size: usize) -> Result<Axis> {
        const MAX: usize = 1 << 31;
        if len > MAX || size > MAX || first.unsigned_abs() > MAX {
            bail!(
                "Pad",
                "a picture of {len} rows or columns is too large; 2^31 is the most"
            );
        }
        let within = first >= 0 && first as usize + len <= size;
        if self.mode == PaddingMode::Constant || within {
            return Ok(Axis::window(first, len, size));
        }
        if size == 0 {
            bail!("Pad", "an empty picture has no pixels to repeat");
        }
        let (n, last) = (size as isize, size as isize - 1);
        let source = |i: isize| match self.mode {
            PaddingMode::Symmetric => {
                let i = i.rem_euclid(2 * n);
                if i < n { i } else { 2 * n - 1 - i }
            }
            PaddingMode::Reflect if last > 0 => {
                let i = i.rem_euclid(2 * last);
                if i <= last { i } else { 2 * last - i }
            }
            _ => i.clamp(0, last),
        };
        Ok(Axis::Map(
            (first..first + len as isize)
                .map(|i| source(i) as usize)
                .collect(),
        ))
    }

    fn pad(&self, image: Image, by: Padding) -> Result<Image> {
        let [_, h, w] = image.shape();
        let height = h.saturating_add(by.top).saturating_add(by.bottom);
        let width = w.saturating_add(by.left).saturating_add(by.right);
        self.window(
            image,
            [negative(by.top), negative(by.left)],
            [height, width],
        )
    }
}

/// `-n`; so large an `n` that it does not fit is refused later, as too large.
fn negative(n: usize) -> isize {
    -isize::try_from(n).unwrap_or(isize::MAX)
}

/// The two builder methods that choose what a frame shows.
macro_rules! frame_methods {
    () => {
        /// The value of the frame (default 0): a number, or a list with one for each channel.
        /// Pictures of bytes take whole numbers of 0 to 255.
        pub fn fill(mut self, fill: impl Into<Fill>) -> Self {
            self.frame.fill = fill.into().0;
            self
        }

        /// What the frame shows (default: the fill value).
        pub fn padding_mode(mut self, mode: PaddingMode) -> Self {
            self.frame.mode = mode;
            self
        }
    };
}

/// A fill value for all channels or one for each.
pub struct Fill(Vec<f64>);

impl From<f64> for Fill {
    fn from(all: f64) -> Self {
        Fill(vec![all])
    }
}
impl<const N: usize> From<[f64; N]> for Fill {
    fn from(each: [f64; N]) -> Self {
        Fill(each.to_vec())
    }
}

/// The picture with a frame around it
/// ([`torchvision.transforms.Pad`](https://pytorch.org/vision/stable/generated/torchvision.transforms.Pad.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![1, 2], [1, 1, 2])?;
/// let y = Pad::new([1, 0]).fill(9.0).apply(x, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.to_tensor()?.to_vec::<u8>()?, [9, 1, 2, 9]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pad {
    padding: Padding,
    frame: Frame,
}

impl Pad {
    /// Adds `padding` pixels.
    pub fn new(padding: impl Into<Padding>) -> Self {
        Pad {
            padding: padding.into(),
            frame: Frame::new(),
        }
    }

    frame_methods!();
}

impl Transform for Pad {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        self.frame.pad(image, self.padding)
    }
}

/// The middle of the picture; a smaller picture gets a black frame
/// ([`torchvision.transforms.CenterCrop`](https://pytorch.org/vision/stable/generated/torchvision.transforms.CenterCrop.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw((0..9).collect(), [1, 3, 3])?;
/// let y = CenterCrop::new(1).apply(x, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.to_tensor()?.to_vec::<u8>()?, [4]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CenterCrop(Size);

impl CenterCrop {
    /// The middle `size`.
    pub fn new(size: impl Into<Size>) -> Self {
        CenterCrop(size.into())
    }
}

impl Transform for CenterCrop {
    fn apply(&self, image: Image, _: &mut SampleRng) -> Result<Image> {
        let [_, h, w] = image.shape();
        let Size([height, width]) = self.0;
        Frame::new().window(
            image,
            [centre(h, height), centre(w, width)],
            [height, width],
        )
    }
}

/// Where the middle `part` of `whole` begins: half of the difference, rounded to even as Python
/// rounds; before the start, rounded towards it, where the part is the larger one.
fn centre(whole: usize, part: usize) -> isize {
    if part > whole {
        return negative((part - whole) / 2);
    }
    let (half, odd) = ((whole - part) / 2, (whole - part) % 2);
    (half + (odd & half)) as isize
}

/// A part of the picture at a random place
/// ([`torchvision.transforms.RandomCrop`](https://pytorch.org/vision/stable/generated/torchvision.transforms.RandomCrop.html)).
///
/// ```
/// use flambeau_data::SampleRng;
/// use flambeau_vision::Image;
/// use flambeau_vision::transforms::*;
/// let x = Image::from_chw(vec![0; 3 * 32 * 32], [3, 32, 32])?;
/// let y = RandomCrop::new([24, 28]).padding(4).apply(x, &mut SampleRng::new(0, 0))?;
/// assert_eq!(y.shape(), [3, 24, 28]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomCrop {
    size: Size,
    padding: Option<Padding>,
    pad_if_needed: bool,
    frame: Frame,
}

impl RandomCrop {
    /// A part of that size, without padding.
    pub fn new(size: impl Into<Size>) -> Self {
        RandomCrop {
            size: size.into(),
            padding: None,
            pad_if_needed: false,
            frame: Frame::new(),
        }
    }

    /// Adds a frame before cropping.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = Some(padding.into());
        self
    }

    /// Whether a picture that is still too small gets a frame on both sides as wide as what it
    /// lacks (default: no, it is an error).
    ///
    /// ```
    /// use flambeau_data::SampleRng;
    /// use flambeau_vision::Image;
    /// use flambeau_vision::transforms::*;
    /// let x = Image::from_chw(vec![0; 4], [1, 2, 2])?;
    /// let y = RandomCrop::new(4).pad_if_needed(true).apply(x, &mut SampleRng::new(0, 0))?;
    /// assert_eq!(y.shape(), [1, 4, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn pad_if_needed(mut self, on: bool) -> Self {
        self.pad_if_needed = on;
        self
    }

    frame_methods!();
}

impl Transform for RandomCrop {
    fn apply(&self, mut image: Image, rng: &mut SampleRng) -> Result<Image> {
        let Size(size) = self.size;
        let mut frame = self.padding.unwrap_or(0.into());
        let padded = |image: &Image, f: Padding| {
            let [_, h, w] = image.shape();
            [
                h.saturating_add(f.top).saturating_add(f.bottom),
                w.saturating_add(f.left).saturating_add(f.right),
            ]
        };
        let [h, w] = padded(&image, frame);
        if self.pad_if_needed && (h < size[0] || w < size[1]) {
            // The second frame goes around the first one, whose pixels it may repeat.
            image = self.frame.pad(image, frame)?;
            frame = [size[1].saturating_sub(w), size[0].saturating_sub(h)].into();
        }
        let [h, w] = padded(&image, frame);
        if h < size[0] || w < size[1] {
            bail!(
                "RandomCrop",
                "a part of {size:?} is larger than the picture of {:?} with its padding; use pad_if_needed(true) or a smaller size",
                [h, w]
            );
        }
        let (mut top, mut left) = (0, 0);
        if [h, w] != size {
            top = rng.range(0..h - size[0] + 1);
            left = rng.range(0..w - size[1] + 1);
        }
        // Both frame and crop at once: the padded picture is never made.
        let start = [
            negative(frame.top).saturating_add_unsigned(top),
            negative(frame.left).saturating_add_unsigned(left),
        ];
        self.frame.window(image, start, size)
    }
}
