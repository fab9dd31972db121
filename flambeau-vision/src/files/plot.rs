//! Line charts as pictures: the curves of a training run.

use std::ops::Range;
use std::path::Path;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{BoldPoints, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::RgbImage;
use crate::{Error, ErrorKind, Result};

/// Extent of a chart in pixels.
const WIDTH: u32 = 800;
const HEIGHT: u32 = 500;
/// Sizes of letters.
const TITLE: u32 = 28;
const TEXT: u32 = 18;
/// Charts are drawn this many times larger and averaged down, because plotters draws thick
/// lines with hard edges.
const SCALE: u32 = 3;
/// The thickness of lines: 2 1/3 pixels in the end.
const STROKE: u32 = 7;
/// Numbers beyond this on either side are left out: the library's search for ticks may not end.
const LIMIT: f64 = 1e15;
/// A line of at most this many points shows each of them as a dot.
const DOTS: usize = 40;
/// About how many numbers stand along the axes.
const X_TICKS: usize = 7;
const Y_TICKS: usize = 6;

const INK: RGBColor = RGBColor(0x1f, 0x29, 0x37);
const QUIET: RGBColor = RGBColor(0x6b, 0x72, 0x80);
const GRID: RGBColor = RGBColor(0xe5, 0xe7, 0xeb);
/// Told apart by people who see colours differently, too (after Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
];

const FONT: &str = "Open Sans";
static REGULAR: &[u8] = include_bytes!("../../data/OpenSans-Regular-subset.ttf");
static SEMIBOLD: &[u8] = include_bytes!("../../data/OpenSans-Semibold-subset.ttf");

/// A line chart, 800 x 500 pixels.
///
/// Letters are those of printable ASCII (and a few signs more); others show as a box.
///
/// ```
/// use flambeau_vision::files::plot::Chart;
///
/// let loss = [(2000.0, 2.2), (4000.0, 1.9), (6000.0, 1.7)];
/// let picture = Chart::new("Training loss", "step").line("loss", loss).draw().unwrap();
/// assert_eq!((picture.width, picture.height), (800, 500));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Chart {
    title: String,
    x_label: String,
    percent: bool,
    lines: Vec<Line>,
}

/// A named line through its points.
#[derive(Debug, Clone)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Chart {
    /// An empty chart. The title says what is counted upwards, `x_label` what rightwards.
    pub fn new(title: impl Into<String>, x_label: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            ..Self::default()
        }
    }

    /// Writes the values as percentages: 0.5 is 50 %.
    pub fn percent(mut self) -> Self {
        self.percent = true;
        self
    }

    /// Adds a line through the points, which are `(x, y)` in the order to join them. The line
    /// has a gap where a number is not finite or beyond 10^15. From two lines on, a legend shows the names.
    pub fn line(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.lines.push(Line {
            name: name.into(),
            points: points.into_iter().collect(),
        });
        self
    }

    /// Draws the chart. One without a point says so in its middle.
    ///
    /// # Errors
    /// Only if the drawing library fails, which no data should bring about.
    pub fn draw(&self) -> Result<RgbImage> {
        let mut pixels = vec![0xff; (WIDTH * HEIGHT * SCALE * SCALE * 3) as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, (WIDTH * SCALE, HEIGHT * SCALE));
        self.draw_on(&area.into_drawing_area()).map_err(|problem| {
            let subject = format!("chart {:?}", self.title);
            Error::new(ErrorKind::Unsupported, subject, problem, "check its points")
        })?;
        RgbImage::new(WIDTH as usize, HEIGHT as usize, shrink(&pixels))
    }

    /// Draws the chart into a PNG file; see [`Chart::draw`].
    ///
    /// # Errors
    /// As [`draw`](Chart::draw), and where the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        self.draw()?.write_png(path)
    }

    fn draw_on(&self, area: &Area) -> std::result::Result<(), Failure> {
        let points = || {
            self.lines
                .iter()
                .flat_map(|line| &line.points)
                .filter(|p| can_be_drawn(p))
        };
        // Steps and epochs count from 0 even where the first point is a little later.
        let x_range = range_of(points().map(|p| p.0), 0.0, 0.2);
        let y_range = range_of(points().map(|p| p.1), 0.06, 0.06);
        let legend = self.lines.len() > 1;
        let mut chart = ChartBuilder::on(area)
            .margin(24 * SCALE)
            .margin_top(if legend { 100 } else { 76 } * SCALE)
            .x_label_area_size(48 * SCALE)
            .y_label_area_size(48 * SCALE)
            .build_cartesian_2d(x_range.clone(), y_range.clone())?;

        let unit = if self.percent { 100.0 } else { 1.0 };
        let (x_digits, y_digits) = (decimals(&x_range, 1.0), decimals(&y_range, unit));
        let sign = if self.percent { "%" } else { "" };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID.stroke_width(SCALE))
            .axis_style(GRID.stroke_width(SCALE))
            .x_labels(X_TICKS)
            .y_labels(Y_TICKS)
            .x_label_formatter(&|x| grouped(&format!("{x:.x_digits$}")))
            .y_label_formatter(&|y| format!("{:.y_digits$}{sign}", y * unit))
            .label_style(font(TEXT, FontStyle::Normal, QUIET))
            .set_all_tick_mark_size(6 * SCALE)
            .draw()?;

        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            for run in line.points.split(|p| !can_be_drawn(p)) {
                // Piece by piece with round joints: a path's corners would end in long spikes.
                let stroke = colour.stroke_width(STROKE);
                let piece = |pair: &[(f64, f64)]| PathElement::new([pair[0], pair[1]], stroke);
                chart.draw_series(run.windows(2).map(piece))?;
                let few = line.points.len() <= DOTS || run.len() == 1;
                let radius = if few { 4 * SCALE } else { STROKE / 2 };
                chart.draw_series(run.iter().map(|&p| Circle::new(p, radius, colour.filled())))?;
            }
        }
        let at = |x: u32, y: u32| ((x * SCALE) as i32, (y * SCALE) as i32);
        let title = font(TITLE, FontStyle::Bold, INK);
        area.draw(&Text::new(self.title.as_str(), at(24, 18), title))?;
        let quiet = font(TEXT, FontStyle::Normal, QUIET);
        let corner = quiet.pos(Pos::new(HPos::Right, VPos::Bottom));
        area.draw(&Text::new(
            self.x_label.as_str(),
            at(WIDTH - 24, HEIGHT - 14),
            corner,
        ))?;
        if points().next().is_none() {
            let middle = quiet.pos(Pos::new(HPos::Center, VPos::Center));
            area.draw(&Text::new("no data", at(WIDTH / 2, HEIGHT / 2), middle))?;
        }
        if legend {
            self.draw_legend(area)?;
        }
        Ok(())
    }

    /// The lines' names under the title, each after a piece of its line.
    fn draw_legend(&self, area: &Area) -> std::result::Result<(), Failure> {
        let (mut x, y) = ((24 * SCALE) as i32, (74 * SCALE) as i32);
        let scale = SCALE as i32;
        let style = font(TEXT, FontStyle::Normal, INK);
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let stroke = colour.stroke_width(STROKE);
            area.draw(&PathElement::new([(x, y), (x + 18 * scale, y)], stroke))?;
            let text = (x + 24 * scale, y);
            let middle = style.pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(line.name.as_str(), text, middle))?;
            x = text.0 + area.estimate_text_size(&line.name, &style)?.0 as i32 + 22 * scale;
        }
        Ok(())
    }
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Failure = DrawingAreaErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>;

fn font(size: u32, style: FontStyle, colour: RGBColor) -> TextStyle<'static> {
    letters(f64::from(size * SCALE), style, colour)
}

/// Letters of that many pixels.
pub(super) fn letters(size: f64, style: FontStyle, colour: RGBColor) -> TextStyle<'static> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // The tests draw text, so neither fails.
        let _ = register_font(FONT, FontStyle::Normal, REGULAR);
        let _ = register_font(FONT, FontStyle::Bold, SEMIBOLD);
    });
    // FontDesc::style would keep the letters of the old style.
    let font = FontDesc::new(FontFamily::Name(FONT), size, style);
    font.color(&colour)
}

fn can_be_drawn(point: &(f64, f64)) -> bool {
    // Not so of NaN either.
    point.0.abs() <= LIMIT && point.1.abs() <= LIMIT
}

/// From the least to the greatest value and `margin` of their distance beyond on both sides. A
/// range that would pass 0 so, or comes within `reach` of its width of it, begins at 0.
fn range_of(values: impl Iterator<Item = f64>, margin: f64, reach: f64) -> Range<f64> {
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
        (a.min(v), b.max(v))
    });
    if least > most {
        return 0.0..1.0;
    }
    let width = most - least;
    // One value, or so little between them that the ticks would read the same.
    if width <= least.abs().max(most.abs()) * 1e-5 || width < 1e-8 {
        let half = (least.abs() / 10.0).max(1.0);
        return (least - half)..(most + half);
    }
    let from_zero = (0.0..=width * reach).contains(&least);
    let low = if from_zero {
        0.0
    } else {
        least - width * margin
    };
    low..(most + width * margin)
}

/// How many decimals tell an axis's ticks apart.
fn decimals(range: &Range<f64>, unit: f64) -> usize {
    let axis = RangedCoordf64::from(range.clone());
    let ticks = axis.key_points(BoldPoints(X_TICKS.max(Y_TICKS)));
    let whole = |digits: &usize| {
        let power = unit * 10f64.powi(*digits as i32);
        ticks
            .iter()
            .all(|tick| (tick * power - (tick * power).round()).abs() < 1e-6)
    };
    (0..9).find(whole).unwrap_or(9)
}

/// Digits in groups of three: 12000 becomes 12,000.
fn grouped(number: &str) -> String {
    let digits = number
        .split('.')
        .next()
        .unwrap_or(number)
        .trim_start_matches('-')
        .len();
    let start = number.len() - number.trim_start_matches('-').len();
    let mut text = String::new();
    for (i, c) in number.char_indices() {
        let place = i.wrapping_sub(start);
        if (1..digits).contains(&place) && (digits - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// Averages squares of SCALE x SCALE pixels.
fn shrink(pixels: &[u8]) -> Vec<u8> {
    let (scale, row) = (SCALE as usize, (WIDTH * SCALE * 3) as usize);
    let mut small = Vec::with_capacity(pixels.len() / (scale * scale));
    for rows in pixels.chunks_exact(row * scale) {
        for x in (0..row).step_by(3 * scale) {
            for channel in 0..3 {
                let square = (0..scale * scale)
                    .map(|i| rows[i / scale * row + x + i % scale * 3 + channel] as usize);
                small.push((square.sum::<usize>() / (scale * scale)) as u8);
            }
        }
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::folder;

    /// How many pixels have the colour of line `number`, about.
    fn count(picture: &RgbImage, number: usize) -> usize {
        let RGBColor(r, g, b) = COLOURS[number];
        let near = |p: &&[u8]| p.iter().zip([r, g, b]).all(|(&a, b)| a.abs_diff(b) < 8);
        picture.pixels.chunks_exact(3).filter(near).count()
    }

    fn ink(picture: &RgbImage) -> usize {
        picture.pixels.iter().filter(|&&byte| byte < 0x60).count()
    }

    #[test]
    fn lines_are_drawn_in_their_colours() {
        let flat = |y| (0..100).map(move |x| (f64::from(x), y));
        let one = Chart::new("t", "x").line("a", flat(1.0)).draw().unwrap();
        // 2.5 pixels thick, about 680 long.
        assert!((1000..2500).contains(&count(&one, 0)), "{}", count(&one, 0));
        assert_eq!(count(&one, 1), 0);
        let chart = Chart::new("t", "x")
            .line("a", flat(1.0))
            .line("b", flat(2.0));
        let two = chart.draw().unwrap();
        assert!(count(&two, 0) > 1000 && count(&two, 1) > 1000);
        // Half the points missing in the middle is half the line missing.
        let gap = flat(1.0).map(|(x, y)| (x, if x > 25.0 && x < 75.0 { f64::NAN } else { y }));
        let broken = Chart::new("t", "x").line("a", gap).draw().unwrap();
        assert!(count(&broken, 0) < count(&one, 0) * 6 / 10);
    }

    #[test]
    fn letters_are_drawn() {
        let bare = ink(&Chart::new("", "").draw().unwrap());
        let titled = ink(&Chart::new("Training loss", "").draw().unwrap());
        assert!(titled > bare + 500, "{bare} {titled}");
    }

    #[test]
    fn odd_data_draws() {
        let all: [&[f64]; 9] = [
            &[],
            &[f64::NAN, f64::INFINITY],
            &[3.0],
            &[0.0, 0.0],
            &[f64::MIN, f64::MAX],
            &[1e-300, 2e-300],
            &[1e300, 1e300],
            &[-5.0, -4.0],
            &[1.0, 1.0 + f64::EPSILON],
        ];
        for ys in all {
            for swap in [false, true] {
                let point = |(i, &y): (usize, &f64)| {
                    if swap { (y, i as f64) } else { (i as f64, y) }
                };
                let chart = Chart::new("Odd", "x").line("a", ys.iter().enumerate().map(point));
                chart
                    .percent()
                    .draw()
                    .unwrap_or_else(|e| panic!("{ys:?}: {e}"));
            }
        }
    }

    #[test]
    fn numbers_read_well() {
        let texts = ["7", "123", "1234", "-123", "-1234567", "0.5", "12345.25"].map(grouped);
        assert_eq!(
            texts,
            [
                "7",
                "123",
                "1,234",
                "-123",
                "-1,234,567",
                "0.5",
                "12,345.25"
            ]
        );
        assert_eq!(decimals(&(0.0..12000.0), 1.0), 0);
        assert_eq!(decimals(&(1.1..2.4), 1.0), 1);
        assert_eq!(decimals(&(0.0..0.8), 100.0), 0);
    }

    #[test]
    fn written_charts_are_pictures() {
        let dir = folder("plot");
        let chart = Chart::new("Loss", "step").line("a", [(0.0, 1.0), (1.0, 2.0)]);
        chart.write_png(&dir.join("loss.png")).unwrap();
        assert_eq!(
            RgbImage::read(&dir.join("loss.png")).unwrap(),
            chart.draw().unwrap()
        );
    }
}
