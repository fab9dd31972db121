//! Pictures: PNG and JPEG read as RGB, PNG written.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use png::{ColorType, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::write_atomically;
use crate::{Error, ErrorKind, Result};

/// No file larger than this is read, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// No picture with more pixels than this is decoded: 768 MiB of RGB.
const MAX_PIXELS: usize = 1 << 28;

/// A picture of 8-bit RGB pixels.
///
/// ```
/// use flambeau_vision::files::RgbImage;
/// let path = std::env::temp_dir().join(format!("{}-rgb.png", std::process::id()));
/// let red = RgbImage::new(2, 1, vec![255, 0, 0, 255, 0, 0])?;
/// red.write_png(&path)?;
/// assert_eq!(RgbImage::read(&path)?.pixels, red.pixels);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// H x W x 3 bytes: row after row from the top, red, green and blue of each pixel.
    pub pixels: Vec<u8>,
}

impl RgbImage {
    /// A picture of the given pixels.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] unless there are `height * width * 3` bytes and at least one pixel.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let bytes = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if bytes == Some(pixels.len()) && !pixels.is_empty() {
            return Ok(Self {
                width,
                height,
                pixels,
            });
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            format_args!("picture of {width}x{height} pixels"),
            format_args!("{} bytes given", pixels.len()),
            "give height x width x 3 bytes, and at least one pixel",
        ))
    }

    /// Reads a PNG or JPEG file; its first bytes tell which, not its name.
    ///
    /// Grey pictures become RGB, transparency is dropped (as Pillow's `convert("RGB")` does),
    /// 16-bit samples keep their upper half. The rotation that cameras note is not applied.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged or cut off, is of another format, or is larger
    /// than 256 MiB or 2^28 pixels.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || -> std::io::Result<(u64, Vec<u8>)> {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            let mut bytes = Vec::new();
            if length <= MAX_FILE {
                file.take(MAX_FILE).read_to_end(&mut bytes)?;
            }
            Ok((length, bytes))
        };
        let (length, bytes) = read().map_err(|e| Error::io(path, "read", &e))?;
        if length > MAX_FILE {
            return Err(too_large(
                &path.display().to_string(),
                format_args!("{length} bytes"),
            ));
        }
        Self::decode(&bytes, &path.display().to_string())
    }

    /// As [`RgbImage::read`], of a file's content; `name` stands in the messages.
    ///
    /// # Errors
    /// As [`RgbImage::read`].
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self> {
        if bytes.starts_with(b"\x89PNG") {
            decode_png(bytes, name)
        } else if bytes.starts_with(&[0xff, 0xd8]) {
            decode_jpeg(bytes, name)
        } else {
            let problem = if bytes.is_empty() {
                "the file is empty"
            } else {
                "neither PNG nor JPEG"
            };
            Err(Error::new(
                ErrorKind::Unsupported,
                name,
                problem,
                "convert it to PNG or JPEG",
            ))
        }
    }

    /// Writes the picture as a PNG file, through a temporary file that is renamed in the end.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        let side = |n| u32::try_from(n).map_err(std::io::Error::other);
        write_atomically(path, |file| {
            let mut encoder = png::Encoder::new(file, side(self.width)?, side(self.height)?);
            encoder.set_color(ColorType::Rgb);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&self.pixels)?;
            Ok(writer.finish()?)
        })
    }
}

fn decode_png(bytes: &[u8], name: &str) -> Result<RgbImage> {
    let damaged = |e: png::DecodingError| damaged("PNG", name, &e);
    let mut decoder = png::Decoder::new(BufReader::new(Cursor::new(bytes)));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let (width, height) = decoder.read_header_info().map_err(damaged)?.size();
    let pixels = count_pixels(width as usize, height as usize, name)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let channels = reader.output_color_type().0.samples();
    let mut samples = vec![0; pixels * channels];
    reader.next_frame(&mut samples).map_err(damaged)?;
    let rgb = match channels {
        1 | 2 => samples
            .chunks_exact(channels)
            .flat_map(|p| [p[0]; 3])
            .collect(),
        3 => samples,
        _ => samples
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
    };
    Ok(RgbImage {
        width: width as usize,
        height: height as usize,
        pixels: rgb,
    })
}

fn decode_jpeg(bytes: &[u8], name: &str) -> Result<RgbImage> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder
        .decode_headers()
        .map_err(|e| damaged("JPEG", name, &e))?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    count_pixels(width, height, name)?;
    let pixels = decoder.decode().map_err(|e| damaged("JPEG", name, &e))?;
    RgbImage::new(width, height, pixels)
}

fn count_pixels(width: usize, height: usize, name: &str) -> Result<usize> {
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(pixels),
        _ => Err(too_large(name, format_args!("{width}x{height} pixels"))),
    }
}

fn too_large(name: &str, size: std::fmt::Arguments) -> Error {
    let problem = format_args!("{size} are more than is read here").to_string();
    Error::new(
        ErrorKind::Unsupported,
        name,
        problem,
        "make the picture smaller",
    )
}

fn damaged(format: &str, name: &str, error: &dyn std::fmt::Display) -> Error {
    let problem = format!("unreadable {format} file: {error}");
    Error::new(ErrorKind::Corrupt, name, problem, "save the picture again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::{fixture, folder};

    /// What Pillow read from the file, written by make_images.py as a PPM.
    fn pillow(name: &str) -> RgbImage {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let body = bytes.strip_prefix(b"P6\n13 9\n255\n").unwrap();
        RgbImage::new(13, 9, body.to_vec()).unwrap()
    }

    #[test]
    fn reads_what_pillow_reads() {
        let kinds = [
            "rgb.png",
            "grey.png",
            "palette.png",
            "alpha.png",
            "bit.png",
            "deep.png",
        ];
        for name in kinds {
            let read = RgbImage::read(&fixture(name)).unwrap();
            assert_eq!(read, pillow(&name.replace("png", "png.ppm")), "{name}");
        }
        for name in ["full.jpg", "half.jpg", "grey.jpg", "progressive.jpg"] {
            let read = RgbImage::read(&fixture(name)).unwrap();
            let expected = pillow(&name.replace("jpg", "jpg.ppm"));
            assert_eq!((read.width, read.height), (13, 9));
            let apart = read
                .pixels
                .iter()
                .zip(&expected.pixels)
                .map(|(a, b)| a.abs_diff(*b));
            assert!(apart.max().unwrap() <= 4, "{name}");
        }
    }

    #[test]
    fn written_pictures_read_back() {
        let dir = folder("png");
        let picture = pillow("rgb.png.ppm");
        picture.write_png(&dir.join("a.png")).unwrap();
        assert_eq!(RgbImage::read(&dir.join("a.png")).unwrap(), picture);
        let error = picture
            .write_png(&fixture("rgb.png").join("a.png"))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
    }

    #[test]
    fn bad_pictures_are_errors() {
        for name in [
            "rgb.png",
            "palette.png",
            "full.jpg",
            "half.jpg",
            "progressive.jpg",
        ] {
            let bytes = std::fs::read(fixture(name)).unwrap();
            for length in 0..bytes.len() / 2 {
                RgbImage::decode(&bytes[..length], name).unwrap_err();
            }
            // Whatever a flipped byte gives, it is no panic.
            for i in 0..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[i] ^= 0x55;
                let _ = RgbImage::decode(&bytes, name);
            }
        }
        let kind = |bytes: &[u8]| RgbImage::decode(bytes, "x").unwrap_err().kind();
        assert_eq!(kind(b"GIF89a"), ErrorKind::Unsupported);
        assert_eq!(kind(b""), ErrorKind::Unsupported);
        let missing = RgbImage::read(Path::new("no/such.png")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().starts_with("no/such.png: cannot read"));
        RgbImage::new(2, 2, vec![0; 11]).unwrap_err();
        RgbImage::new(usize::MAX, 2, vec![]).unwrap_err();
    }

    #[test]
    fn a_huge_picture_is_refused_before_memory_is_asked_for() {
        let mut bytes = std::fs::read(fixture("rgb.png")).unwrap();
        bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]); // 65536 x 65536
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let error = RgbImage::decode(&bytes, "huge.png").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("65536x65536 pixels"), "{error}");
    }
}
