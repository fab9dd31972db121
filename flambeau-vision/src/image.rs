//! A picture on its way through the transforms.

use crate::layout::{Axis, Layout};
use crate::levels::Levels;
use flambeau_core::{Error, Result, Tensor, bail};
use flambeau_data::{Collate, ToDevice, stack};
use std::sync::Arc;

/// A picture, as transforms take and return it: bytes as a file has them (what torchvision calls a
/// PIL image), or, from [`ToTensor`](crate::transforms::ToTensor) on, a tensor `C x H x W`.
///
/// Copying a picture copies a handle. Crops and flips of bytes move nothing, and `ToTensor` and
/// `Normalize` of bytes only note which number each byte stands for: the numbers are written once,
/// by [`to_tensor`](Image::to_tensor) or straight into the batch.
///
/// ```
/// use flambeau_core::DType;
/// use flambeau_vision::Image;
/// // One row of two pixels, red and white.
/// let image = Image::from_hwc(vec![255, 0, 0, 255, 255, 255], [1, 2, 3])?;
/// assert_eq!(image.shape(), [3, 1, 2]);
/// let tensor = image.to_tensor()?;
/// assert_eq!((tensor.dtype(), tensor.to_vec::<u8>()?), (DType::U8, vec![255, 255, 0, 255, 0, 255]));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Image(pub(crate) Pixels);

#[derive(Clone)]
pub(crate) enum Pixels {
    Bytes(Bytes),
    /// At least three dimensions, the last ones channels, height and width.
    Tensor(Tensor),
}

/// Bytes, and the numbers that they stand for where they are to be a tensor.
#[derive(Clone)]
pub(crate) struct Bytes {
    data: Arc<Vec<u8>>,
    pub layout: Layout,
    pub levels: Option<Arc<Levels>>,
}

impl Bytes {
    fn new(data: Arc<Vec<u8>>, layout: Layout) -> Bytes {
        Bytes {
            data,
            layout,
            levels: None,
        }
    }

    /// Writes the numbers, C x H x W.
    fn write(&self, levels: &Levels, mut out: &mut [f32]) {
        self.layout.rows(&self.data, |c, len, row| {
            let (now, later) = std::mem::take(&mut out).split_at_mut(len);
            levels.write(c, row, now);
            out = later;
        });
    }

    /// The bytes, C x H x W.
    pub fn packed(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.layout.shape.iter().product()];
        let mut out = &mut bytes[..];
        self.layout.rows(&self.data, |_, len, row| {
            let (now, later) = std::mem::take(&mut out).split_at_mut(len);
            row.map(now, |byte| byte);
            out = later;
        });
        bytes
    }
}

impl Image {
    /// A picture of H x W x C bytes: row after row, the channels of each pixel side by side.
    ///
    /// ```
    /// use flambeau_vision::Image;
    /// let red = Image::from_hwc(vec![255, 0, 0, 255, 0, 0], [1, 2, 3])?;
    /// assert_eq!(red.shape(), [3, 1, 2]);
    /// assert_eq!(red.to_tensor()?.to_vec::<u8>()?, [255, 255, 0, 0, 0, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the count is not that of the shape.
    #[track_caller]
    pub fn from_hwc(bytes: Vec<u8>, [height, width, channels]: [usize; 3]) -> Result<Image> {
        let shape = [channels, height, width];
        check_size(bytes.len(), shape)?;
        Ok(Image(Pixels::Bytes(Bytes::new(
            Arc::new(bytes),
            Layout::interleaved(shape),
        ))))
    }

    /// A picture of C x H x W bytes: plane after plane.
    ///
    /// ```
    /// use flambeau_vision::Image;
    /// assert_eq!(Image::from_chw(vec![0; 6], [3, 1, 2])?.shape(), [3, 1, 2]);
    /// assert!(Image::from_chw(vec![0; 5], [3, 1, 2]).is_err());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the count is not that of the shape.
    #[track_caller]
    pub fn from_chw(bytes: Vec<u8>, shape: [usize; 3]) -> Result<Image> {
        check_size(bytes.len(), shape)?;
        Ok(Image::planar(Arc::new(bytes), 0, shape))
    }

    /// Reads a PNG or JPEG file as RGB.
    ///
    /// ```
    /// use flambeau_vision::Image;
    /// use flambeau_vision::files::RgbImage;
    /// let path = std::env::temp_dir().join(format!("{}-open.png", std::process::id()));
    /// RgbImage::new(2, 1, vec![0, 1, 2, 3, 4, 5])?.write_png(&path)?;
    /// assert_eq!(Image::open(&path)?.to_tensor()?.to_vec::<u8>()?, [0, 3, 1, 4, 2, 5]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`RgbImage::read`](crate::files::RgbImage::read).
    #[track_caller]
    pub fn open(path: impl AsRef<std::path::Path>) -> crate::Result<Image> {
        let read = crate::files::RgbImage::read(path.as_ref())?;
        let shape = [3, read.height, read.width];
        Ok(Image(Pixels::Bytes(Bytes::new(
            Arc::new(read.pixels),
            Layout::interleaved(shape),
        ))))
    }

    /// The picture of C x H x W bytes that begins at `offset` of `data`, which holds it.
    pub(crate) fn planar(data: Arc<Vec<u8>>, offset: usize, shape: [usize; 3]) -> Image {
        Image(Pixels::Bytes(Bytes::new(
            data,
            Layout::planar(offset, shape),
        )))
    }

    /// Channels, height and width.
    pub fn shape(&self) -> [usize; 3] {
        match &self.0 {
            Pixels::Bytes(bytes) => bytes.layout.shape,
            Pixels::Tensor(t) => match *t.shape() {
                [.., c, h, w] => [c, h, w],
                // `From<Tensor>` admits no fewer dimensions.
                _ => [1, 1, 1],
            },
        }
    }

    /// Whether there is no element.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.0 {
            Pixels::Bytes(bytes) => bytes.layout.shape.contains(&0),
            Pixels::Tensor(t) => t.is_empty(),
        }
    }

    /// Whether the picture is bytes that no transform has made numbers of yet.
    pub fn is_bytes(&self) -> bool {
        matches!(&self.0, Pixels::Bytes(Bytes { levels: None, .. }))
    }

    /// The tensor, C x H x W: `f32` numbers after `ToTensor`, the bytes as `u8` before.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Pixels::Tensor(t) => Ok(t.clone()),
            Pixels::Bytes(bytes) => match &bytes.levels {
                Some(levels) => Tensor::from_fill::<f32>(bytes.layout.shape, |out| {
                    bytes.write(levels, out);
                    Ok(())
                }),
                None => Tensor::from_vec(bytes.packed(), bytes.layout.shape),
            },
        }
    }

    /// The picture with its rows (axis 1) or columns (axis 2) in reverse order.
    pub(crate) fn flipped(self, axis: usize) -> Result<Image> {
        match self.0 {
            Pixels::Bytes(mut bytes) => {
                bytes.layout = bytes.layout.flipped(axis);
                Ok(Image(Pixels::Bytes(bytes)))
            }
            Pixels::Tensor(t) => {
                let shape = planes(&t);
                let whole = |axis: usize| Axis::window(0, shape[axis], shape[axis]);
                let layout = Layout::planar(0, shape).flipped(axis);
                gather_tensor(&t, &layout, &whole(1), &whole(2), &[0.0])
            }
        }
    }

    /// Rows and columns through `rows` and `columns`; what lies outside becomes `fill`, a number
    /// for all channels or one for each.
    pub(crate) fn gathered(self, rows: &Axis, columns: &Axis, fill: &[f64]) -> Result<Image> {
        let [channels, height, width] = self.shape();
        if fill.len() != 1 && fill.len() != channels {
            bail!(
                "Pad",
                "the picture has {channels} channels, but {} fill values are given; give one, or one a channel",
                fill.len()
            );
        }
        let bytes = match self.0 {
            Pixels::Bytes(bytes) => bytes,
            Pixels::Tensor(t) => {
                return gather_tensor(&t, &Layout::planar(0, planes(&t)), rows, columns, fill);
            }
        };
        use Axis::Window;
        if let (
            &Window {
                before: 0,
                start: top,
                inside: h,
                after: 0,
            },
            &Window {
                before: 0,
                start: left,
                inside: w,
                after: 0,
            },
        ) = (rows, columns)
            && top + h <= height
            && left + w <= width
        {
            let layout = bytes.layout.cropped(top, left, h, w);
            return Ok(Image(Pixels::Bytes(Bytes { layout, ..bytes })));
        }
        if bytes.levels.is_some() {
            // The fill is a number, for which there may be no byte.
            return Image::from_tensor(Image(Pixels::Bytes(bytes)).to_tensor()?)
                .gathered(rows, columns, fill);
        }
        let fill: Vec<u8> = fill.iter().map(|&f| byte(f)).collect::<Result<_>>()?;
        let shape = [channels, rows.len(), columns.len()];
        let mut out = vec![0; count(shape)?];
        bytes
            .layout
            .gather(&bytes.data, rows, columns, &fill, &mut out);
        Ok(Image::planar(Arc::new(out), 0, shape))
    }

    fn from_tensor(t: Tensor) -> Image {
        Image(Pixels::Tensor(t))
    }
}

impl TryFrom<Tensor> for Image {
    type Error = Error;

    /// A tensor `C x H x W` (or with more dimensions before) as a picture that went through
    /// `ToTensor`.
    fn try_from(t: Tensor) -> Result<Image> {
        if t.dim() < 3 {
            bail!(
                "Image",
                "a picture's tensor is C x H x W; the shape {:?} has {} dimensions (unsqueeze(0) adds the channel)",
                t.shape(),
                t.dim()
            );
        }
        Ok(Image::from_tensor(t.detach()))
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [c, h, w] = self.shape();
        let kind = match &self.0 {
            Pixels::Bytes(Bytes { levels: None, .. }) => "bytes",
            Pixels::Bytes(_) => "float32",
            Pixels::Tensor(t) => t.dtype().name(),
        };
        write!(f, "Image({kind}, {c} x {h} x {w})")
    }
}

/// Pictures of one shape become a tensor `N x C x H x W`.
impl Collate for Image {
    type Batch = Tensor;

    fn collate(samples: Vec<Image>) -> Result<Tensor> {
        let mut lazy = Vec::with_capacity(samples.len());
        for (i, sample) in samples.iter().enumerate() {
            match &sample.0 {
                Pixels::Bytes(Bytes { levels: None, .. }) => bail!(
                    "collate",
                    "sample {i} of this batch is a picture of bytes, of which no batch is made; end the dataset's transform with ToTensor"
                ),
                Pixels::Bytes(bytes) => lazy.push(bytes),
                Pixels::Tensor(_) => {}
            }
        }
        let same = |b: &&Bytes| b.layout.shape == lazy[0].layout.shape;
        if lazy.len() < samples.len() || lazy.is_empty() || !lazy.iter().all(same) {
            // `stack` also words the error of shapes that differ.
            let tensors: Vec<Tensor> = samples
                .iter()
                .map(Image::to_tensor)
                .collect::<Result<_>>()?;
            return stack(&tensors);
        }
        let [c, h, w] = lazy[0].layout.shape;
        Tensor::from_fill::<f32>([lazy.len(), c, h, w], |out| {
            for (bytes, out) in lazy.iter().zip(out.chunks_exact_mut((c * h * w).max(1))) {
                if let Some(levels) = &bytes.levels {
                    bytes.write(levels, out);
                }
            }
            Ok(())
        })
    }
}

impl ToDevice for Image {
    fn to(&self, device: flambeau_core::Device) -> Result<Image> {
        match &self.0 {
            Pixels::Tensor(t) => Ok(Image::from_tensor(t.to_device(device)?)),
            _ => Ok(self.clone()),
        }
    }

    fn pin_memory(&self) -> Result<Image> {
        match &self.0 {
            Pixels::Tensor(t) => Ok(Image::from_tensor(t.pin_memory()?)),
            _ => Ok(self.clone()),
        }
    }
}

#[track_caller]
fn check_size(bytes: usize, shape: [usize; 3]) -> Result<()> {
    if count(shape)? != bytes || bytes == 0 {
        bail!(
            "Image",
            "{bytes} bytes do not fill a picture of {} channels, {} rows and {} columns",
            shape[0],
            shape[1],
            shape[2]
        );
    }
    Ok(())
}

/// The number of elements, refused beyond 2^31.
#[track_caller]
pub(crate) fn count(shape: [usize; 3]) -> Result<usize> {
    let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    match n {
        Some(n) if n <= 1 << 31 => Ok(n),
        _ => bail!(
            "Image",
            "a picture of {shape:?} elements is too large; 2^31 is the most"
        ),
    }
}

fn byte(fill: f64) -> Result<u8> {
    if (0.0..=255.0).contains(&fill) && fill.fract() == 0.0 {
        return Ok(fill as u8);
    }
    bail!(
        "Pad",
        "pictures of bytes are filled with whole numbers of 0 to 255, not {fill}; for other numbers put ToTensor before"
    )
}

/// The tensor's planes with all leading dimensions as one.
fn planes(t: &Tensor) -> [usize; 3] {
    let (lead, last) = t.shape().split_at(t.dim() - 2);
    let planes = lead.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    [planes, last[0], last[1]]
}

fn gather_tensor(
    t: &Tensor,
    layout: &Layout,
    rows: &Axis,
    columns: &Axis,
    fill: &[f64],
) -> Result<Image> {
    let mut size = t.shape().to_vec();
    let channels = size[size.len() - 3].max(1);
    let end = size.len();
    (size[end - 2], size[end - 1]) = (rows.len(), columns.len());
    count([planes(t)[0], rows.len(), columns.len()])?;
    // One fill a plane; `gather` repeats the last.
    let per_plane = if fill.len() == 1 { 1 } else { planes(t)[0] };
    let fill: Vec<f64> = (0..per_plane.max(1))
        .map(|p| fill[p % channels.min(fill.len())])
        .collect();
    let fill = Tensor::from_vec(fill, per_plane.max(1))?.to_dtype(t.dtype())?;
    let out = Tensor::from_fill_bytes(size, t.dtype(), |out| {
        t.with_bytes(|data| {
            fill.with_bytes(|fill| match t.dtype().size() {
                1 => gather_bytes::<1>(data, layout, rows, columns, fill, out),
                2 => gather_bytes::<2>(data, layout, rows, columns, fill, out),
                4 => gather_bytes::<4>(data, layout, rows, columns, fill, out),
                _ => gather_bytes::<8>(data, layout, rows, columns, fill, out),
            })
        })?
    })?;
    Ok(Image::from_tensor(out))
}

fn gather_bytes<const K: usize>(
    data: &[u8],
    layout: &Layout,
    rows: &Axis,
    columns: &Axis,
    fill: &[u8],
    out: &mut [u8],
) {
    let (data, fill) = (data.as_chunks::<K>().0, fill.as_chunks::<K>().0);
    layout.gather(data, rows, columns, fill, out.as_chunks_mut::<K>().0);
}
