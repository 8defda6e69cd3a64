//! A page in points over plotters' SVG backend.
//!
//! The backend knows integer pixels only, so a page has [`UNITS`] of them per point: lines and texts land where they
//! belong, and the size in inches is set when the SVG is finished. Dashes, hatching and markers are drawn as plain
//! shapes, which every SVG and PDF viewer shows alike.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Backend pixels per point.
const UNITS: f64 = 20.0;
/// Plotters divides a font size by this before it writes it.
const FONT_SCALE: f64 = 1.24;
/// Advance widths are measured relative to the line height of the font, not to its em.
const LINE_HEIGHT: f64 = 1.164;
/// First choice is the committed font; the others have similar widths where an SVG is opened without it.
const FONT_FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

pub(super) static REGULAR: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans.ttf");
pub(super) static BOLD: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-Bold.ttf");

/// A position in points, origin at the top left.
pub(super) type Point = (f64, f64);

/// Why drawing stopped.
pub(super) type DrawError = String;

/// An opaque or translucent colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink(pub(super) u8, pub(super) u8, pub(super) u8, pub(super) f64);

impl Ink {
    pub(super) const BLACK: Self = Self(20, 20, 20, 1.0);
    pub(super) const GREY: Self = Self(110, 110, 110, 1.0);
    pub(super) const FAINT: Self = Self(225, 225, 225, 1.0);

    /// The same colour, translucent.
    pub(super) fn alpha(self, alpha: f64) -> Self {
        Self(self.0, self.1, self.2, alpha)
    }

    /// Mixed with `other`; 0 leaves it, 1 replaces it.
    pub(super) fn mix(self, other: Self, share: f64) -> Self {
        let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
        Self(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2), self.3)
    }

    fn rgba(self) -> RGBAColor {
        RGBAColor(self.0, self.1, self.2, self.3)
    }
}

/// Stroke of a line: colour, width in points and dash pattern in points (empty for a solid line).
#[derive(Clone, Copy, Debug)]
pub(super) struct Stroke {
    pub(super) ink: Ink,
    pub(super) width: f64,
    pub(super) dash: &'static [f64],
}

impl Stroke {
    pub(super) fn solid(ink: Ink, width: f64) -> Self {
        Self { ink, width, dash: &[] }
    }
}

/// Shape that marks a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Diamond,
    Up,
    Down,
    Cross,
    Plus,
    Ring,
}

/// Where a text stands relative to its position, horizontally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

/// A text: size in points, weight, colour, and whether it reads upwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) ink: Ink,
    pub(super) align: Align,
    pub(super) upwards: bool,
}

impl Text {
    pub(super) fn new(size: f64) -> Self {
        Self { size, bold: false, ink: Ink::BLACK, align: Align::Start, upwards: false }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) fn align(self, align: Align) -> Self {
        Self { align, ..self }
    }

    pub(super) fn ink(self, ink: Ink) -> Self {
        Self { ink, ..self }
    }

    pub(super) fn upwards(self) -> Self {
        Self { upwards: true, ..self }
    }
}

/// The page a figure is drawn on.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Draws a page of `width` by `height` points and returns it as SVG.
pub(super) fn draw(
    width: f64,
    height: f64,
    paint: impl FnOnce(&Canvas) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    for (style, bytes) in [(FontStyle::Normal, REGULAR), (FontStyle::Bold, BOLD)] {
        register_font(FONT_FAMILY, style, bytes).map_err(|_| "the embedded font is unreadable".to_owned())?;
    }
    let size = ((width * UNITS).round() as u32, (height * UNITS).round() as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(text_of)?;
        let canvas = Canvas { area };
        paint(&canvas)?;
        canvas.area.present().map_err(text_of)?;
    }
    let pixels = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    let inches = format!("width=\"{:.4}in\" height=\"{:.4}in\"", width / 72.0, height / 72.0);
    // A path without joins shows spikes at sharp turns of a band's edge.
    let round = "stroke-linejoin=\"round\" stroke-linecap=\"butt\"";
    Ok(svg.replacen(&pixels, &format!("{inches} {round}"), 1))
}

fn text_of(error: impl std::fmt::Display) -> DrawError {
    error.to_string()
}

fn pixel((x, y): Point) -> (i32, i32) {
    ((x * UNITS).round() as i32, (y * UNITS).round() as i32)
}

impl Canvas<'_> {
    /// A line through `points`.
    pub(super) fn line(&self, points: &[Point], stroke: Stroke) -> Result<(), DrawError> {
        let style = stroke.ink.rgba().stroke_width((stroke.width * UNITS).round().max(1.0) as u32);
        for piece in dashes(points, stroke.dash) {
            let piece: Vec<(i32, i32)> = piece.into_iter().map(pixel).collect();
            self.area.draw(&PathElement::new(piece, style)).map_err(text_of)?;
        }
        Ok(())
    }

    /// A filled polygon.
    pub(super) fn polygon(&self, points: &[Point], ink: Ink) -> Result<(), DrawError> {
        let points: Vec<(i32, i32)> = points.iter().copied().map(pixel).collect();
        self.area.draw(&Polygon::new(points, ink.rgba().filled())).map_err(text_of)
    }

    /// A filled rectangle.
    pub(super) fn rect(&self, from: Point, to: Point, ink: Ink) -> Result<(), DrawError> {
        self.area.draw(&Rectangle::new([pixel(from), pixel(to)], ink.rgba().filled())).map_err(text_of)
    }

    /// The outline of a rectangle.
    pub(super) fn frame(&self, (x0, y0): Point, (x1, y1): Point, stroke: Stroke) -> Result<(), DrawError> {
        // Half a stroke further closes the corner.
        let start = x0 - stroke.width / 2.0;
        self.line(&[(start, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], stroke)
    }

    /// Diagonal hatching inside a rectangle.
    pub(super) fn hatch(&self, (x0, y0): Point, (x1, y1): Point, gap: f64, stroke: Stroke) -> Result<(), DrawError> {
        let (width, height) = (x1 - x0, y1 - y0);
        let mut offset = gap / 2.0;
        while offset < width + height {
            // The line x + y = offset, cut at the borders.
            let from = if offset <= height { (x0, y0 + offset) } else { (x0 + offset - height, y1) };
            let to = if offset <= width { (x0 + offset, y0) } else { (x1, y0 + offset - width) };
            self.line(&[from, to], stroke)?;
            offset += gap;
        }
        Ok(())
    }

    /// A marker of `radius` points.
    pub(super) fn marker(&self, (x, y): Point, marker: Marker, radius: f64, ink: Ink) -> Result<(), DrawError> {
        let r = radius;
        let stroke = Stroke::solid(ink, r * 0.55);
        match marker {
            Marker::Circle => {
                let radius = (r * UNITS).round() as i32;
                self.area.draw(&Circle::new(pixel((x, y)), radius, ink.rgba().filled())).map_err(text_of)
            }
            Marker::Ring => {
                self.marker((x, y), Marker::Circle, r, ink)?;
                self.marker((x, y), Marker::Circle, r * 0.5, Ink(255, 255, 255, 1.0))
            }
            Marker::Square => {
                let r = r * 0.88;
                self.rect((x - r, y - r), (x + r, y + r), ink)
            }
            Marker::Diamond => {
                let r = r * 1.25;
                self.polygon(&[(x, y - r), (x + r, y), (x, y + r), (x - r, y)], ink)
            }
            Marker::Up => {
                self.polygon(&[(x, y - r * 1.15), (x + r * 1.1, y + r * 0.8), (x - r * 1.1, y + r * 0.8)], ink)
            }
            Marker::Down => {
                self.polygon(&[(x, y + r * 1.15), (x + r * 1.1, y - r * 0.8), (x - r * 1.1, y - r * 0.8)], ink)
            }
            Marker::Cross => {
                self.line(&[(x - r, y - r), (x + r, y + r)], stroke)?;
                self.line(&[(x - r, y + r), (x + r, y - r)], stroke)
            }
            Marker::Plus => {
                self.line(&[(x - r * 1.2, y), (x + r * 1.2, y)], stroke)?;
                self.line(&[(x, y - r * 1.2), (x, y + r * 1.2)], stroke)
            }
        }
    }

    /// A text, vertically centred on its position.
    pub(super) fn text(&self, position: Point, text: &str, style: Text) -> Result<(), DrawError> {
        let weight = if style.bold { FontStyle::Bold } else { FontStyle::Normal };
        let mut font = FontDesc::new(FontFamily::Name(FONT_FAMILY), style.size * UNITS * FONT_SCALE, weight);
        if style.upwards {
            font = font.transform(FontTransform::Rotate270);
        }
        let horizontal = match style.align {
            Align::Start => HPos::Left,
            Align::Middle => HPos::Center,
            Align::End => HPos::Right,
        };
        // The backend centres at half an ex, which is a hair above the optical middle of capitals and figures.
        let nudge = style.size * 0.09;
        let (x, y) = position;
        let position = if style.upwards { (x + nudge, y) } else { (x, y + nudge) };
        let ink = style.ink.rgba();
        let style = TextStyle::from(font).color(&ink).pos(Pos::new(horizontal, VPos::Center));
        self.area.draw(&plotters::element::Text::new(text.to_owned(), pixel(position), style)).map_err(text_of)
    }
}

/// Width of a text in points.
pub(super) fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::Name(FONT_FAMILY), size * UNITS * LINE_HEIGHT, weight);
    // Unregistered only before the first page; a rough average is good enough for a layout that nobody draws.
    font.layout_box(text).map_or(text.chars().count() as f64 * size * 0.6, |(_, (width, _))| f64::from(width) / UNITS)
}

/// Makes the fonts known, so that texts can be measured before a page is opened.
pub(super) fn register_fonts() {
    for (style, bytes) in [(FontStyle::Normal, REGULAR), (FontStyle::Bold, BOLD)] {
        // Failure is reported when a page is drawn.
        let _ = register_font(FONT_FAMILY, style, bytes);
    }
}

/// Cuts a line into the visible pieces of a dash pattern that runs on through its corners.
fn dashes(points: &[Point], pattern: &[f64]) -> Vec<Vec<Point>> {
    if pattern.is_empty() || pattern.iter().any(|&length| length <= 0.0) {
        return vec![points.to_vec()];
    }
    let (mut pieces, mut current) = (Vec::new(), Vec::new());
    let (mut step, mut left) = (0, pattern[0]);
    current.extend(points.first().copied());
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            if length <= left {
                left -= length;
                if step % 2 == 0 {
                    current.push(to);
                }
                break;
            }
            let share = left / length;
            from = (from.0 + dx * share, from.1 + dy * share);
            if step % 2 == 0 {
                current.push(from);
                pieces.push(std::mem::take(&mut current));
            } else {
                current = vec![from];
            }
            step += 1;
            left = pattern[step % pattern.len()];
        }
    }
    if current.len() > 1 {
        pieces.push(current);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_run_through_corners() {
        let pieces = dashes(&[(0.0, 0.0), (3.0, 0.0), (3.0, 3.0)], &[2.0, 2.0]);
        assert_eq!(pieces, vec![vec![(0.0, 0.0), (2.0, 0.0)], vec![(3.0, 1.0), (3.0, 3.0)]]);
        assert_eq!(dashes(&[(0.0, 0.0), (1.0, 0.0)], &[]).len(), 1);
    }

    #[test]
    fn a_page_has_its_size_in_inches() {
        let svg = draw(396.0, 72.0, |page| page.text((10.0, 10.0), "a & b", Text::new(8.0))).expect("a page");
        assert!(svg.contains("width=\"5.5000in\" height=\"1.0000in\""));
        assert!(svg.contains("a &amp; b"));
        assert!(text_width("wide text", 8.0, false) > text_width("text", 8.0, false));
    }
}
