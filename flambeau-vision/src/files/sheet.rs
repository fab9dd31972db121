//! Sheets of captioned pictures: what a network took test pictures for.

use super::RgbImage;
use super::plot::letters;
use crate::{Error, ErrorKind, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// Pictures side by side, each with a caption below: in the ordinary colour where it is right, in
/// red where it is wrong.
///
/// ```
/// use flambeau_vision::files::{RgbImage, Sheet};
/// let cat = RgbImage::new(32, 32, vec![90; 32 * 32 * 3])?;
/// let sheet = Sheet::new(4).right(cat.clone(), "cat").wrong(cat, "dog, not cat");
/// let drawn = sheet.draw()?;
/// assert!(drawn.width > 4 * 32 && drawn.height > 32);
/// # Ok::<(), flambeau_vision::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    columns: usize,
    entries: Vec<(RgbImage, String, bool)>,
}

/// A picture's side on the sheet, its distance to the next one, and a caption's height, in pixels.
const SIDE: usize = 128;
const GAP: usize = 16;
const CAPTION: usize = 28;
/// The size of letters in pixels.
const LETTERS: f64 = 15.0;

const RIGHT: RGBColor = RGBColor(0x1f, 0x29, 0x37);
const WRONG: RGBColor = RGBColor(0xc0, 0x39, 0x2b);

impl Sheet {
    /// An empty sheet with that many pictures in a row (0 counts as 1).
    pub fn new(columns: usize) -> Self {
        Sheet {
            columns: columns.max(1),
            entries: Vec::new(),
        }
    }

    /// With a picture whose caption is right.
    #[must_use]
    pub fn right(mut self, picture: RgbImage, caption: impl Into<String>) -> Self {
        self.entries.push((picture, caption.into(), true));
        self
    }

    /// With a picture whose caption is wrong.
    #[must_use]
    pub fn wrong(mut self, picture: RgbImage, caption: impl Into<String>) -> Self {
        self.entries.push((picture, caption.into(), false));
        self
    }

    /// The sheet as a picture.
    ///
    /// # Errors
    /// Where there is no picture on it.
    pub fn draw(&self) -> Result<RgbImage> {
        let rows = self.entries.len().div_ceil(self.columns);
        let columns = self.columns.min(self.entries.len());
        let (width, height) = (
            GAP + columns * (SIDE + GAP),
            GAP + rows * (SIDE + CAPTION + GAP),
        );
        let mut pixels = vec![0xff; width * height * 3];
        let place = |i: usize| {
            (
                GAP + i % self.columns * (SIDE + GAP),
                GAP + i / self.columns * (SIDE + CAPTION + GAP),
            )
        };
        for (i, (picture, ..)) in self.entries.iter().enumerate() {
            let (left, top) = place(i);
            for y in 0..SIDE {
                for x in 0..SIDE {
                    // The nearest pixel: small pictures stay sharp when they are enlarged.
                    let from =
                        (y * picture.height / SIDE * picture.width + x * picture.width / SIDE) * 3;
                    let to = ((top + y) * width + left + x) * 3;
                    pixels[to..to + 3].copy_from_slice(&picture.pixels[from..from + 3]);
                }
            }
        }
        {
            let area = BitMapBackend::with_buffer(&mut pixels, (width as u32, height as u32))
                .into_drawing_area();
            for (i, (_, caption, right)) in self.entries.iter().enumerate() {
                let (left, top) = place(i);
                let colour = if *right { RIGHT } else { WRONG };
                let style = letters(LETTERS, FontStyle::Normal, colour)
                    .pos(Pos::new(HPos::Center, VPos::Center));
                let at = ((left + SIDE / 2) as i32, (top + SIDE + CAPTION / 2) as i32);
                area.draw(&Text::new(caption.as_str(), at, style))
                    .map_err(|problem| {
                        Error::new(
                            ErrorKind::Unsupported,
                            "sheet of pictures",
                            problem,
                            "check its captions",
                        )
                    })?;
            }
        }
        RgbImage::new(width, height, pixels)
    }

    /// Draws the sheet into a PNG file.
    ///
    /// # Errors
    /// As [`draw`](Sheet::draw), and where the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        self.draw()?.write_png(path)
    }
}
