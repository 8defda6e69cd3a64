//! A page in points over plotters' SVG backend.
//!
//! The backend knows integer pixels only, so a page has [`UNITS`] of them per point: lines and texts land where they
//! belong, and the size in inches is set when the SVG is finished. Dashes, hatching and markers are drawn as plain
//! shapes, which every SVG and PDF viewer shows alike.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::paper::Sheet;
use crate::text;

/// Backend pixels per point.
const UNITS: f64 = 20.0;
/// Plotters divides a font size by this before it writes it.
const FONT_SCALE: f64 = 1.24;

/// A committed typeface.
#[derive(Debug)]
pub(super) struct Face {
    /// First choice is the committed font; the others have similar widths where an SVG is opened without it.
    family: &'static str,
    /// Advance widths are measured relative to the line height of the font, not to its em.
    line_height: f64,
    regular: &'static [u8],
    bold: &'static [u8],
}

impl Face {
    pub(super) const DEJAVU: Self = Self {
        family: "DejaVu Sans, Verdana, sans-serif",
        line_height: 1.164,
        regular: include_bytes!("../assets/fonts/DejaVuSans.ttf"),
        bold: include_bytes!("../assets/fonts/DejaVuSans-Bold.ttf"),
    };
    /// Of the same widths as Arial and Helvetica, which journals ask for and which are narrow enough for a column.
    pub(super) const LIBERATION: Self = Self {
        family: "Liberation Sans, Arial, Helvetica, sans-serif",
        line_height: 1.117,
        regular: include_bytes!("../assets/fonts/LiberationSans-Regular.ttf"),
        bold: include_bytes!("../assets/fonts/LiberationSans-Bold.ttf"),
    };
    const ALL: [&'static Self; 2] = [&Self::DEJAVU, &Self::LIBERATION];

    /// The files of all typefaces.
    pub(super) fn files() -> impl Iterator<Item = &'static [u8]> {
        Self::ALL.into_iter().flat_map(|face| [face.regular, face.bold])
    }
}

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
    OpenSquare,
    OpenDiamond,
    OpenUp,
    OpenDown,
    /// A line without points.
    Nothing,
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

/// The page a figure is drawn on. It trusts no coordinate: what is not finite is not drawn, and what leaves the page is cut off.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    size: Point,
    sheet: Sheet,
}

/// Longest side of a page in points: that of a PDF.
const LONGEST: f64 = 14_400.0;

/// Draws a page of `height` points on a sheet and returns it as SVG.
pub(super) fn draw(
    sheet: Sheet,
    height: f64,
    paint: impl FnOnce(&Canvas) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    let width = sheet.width;
    register(sheet.face)?;
    if [width, height].into_iter().any(|side| !(1.0..=LONGEST).contains(&side)) {
        return Err(format!("a page of {width} by {height} points"));
    }
    let size = ((width * UNITS).round() as u32, (height * UNITS).round() as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(text_of)?;
        let canvas = Canvas { area, size: (width, height), sheet };
        paint(&canvas)?;
        canvas.area.present().map_err(text_of)?;
    }
    let pixels = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    let inches = format!("width=\"{:.4}in\" height=\"{:.4}in\"", width * sheet.zoom / 72.0, height * sheet.zoom / 72.0);
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
        let width = stroke.width * self.sheet.weight;
        let style = stroke.ink.rgba().stroke_width((width * UNITS).round().max(1.0) as u32);
        let runs = clipped(points, self.size);
        for piece in runs.iter().flat_map(|run| dashes(run, stroke.dash)) {
            let piece: Vec<(i32, i32)> = piece.into_iter().map(pixel).collect();
            self.area.draw(&PathElement::new(piece, style)).map_err(text_of)?;
        }
        Ok(())
    }

    /// A filled polygon.
    pub(super) fn polygon(&self, points: &[Point], ink: Ink) -> Result<(), DrawError> {
        let points: Vec<(i32, i32)> =
            points.iter().copied().filter(is_finite).map(|point| pixel(self.near(point))).collect();
        self.area.draw(&Polygon::new(points, ink.rgba().filled())).map_err(text_of)
    }

    /// A filled rectangle.
    pub(super) fn rect(&self, from: Point, to: Point, ink: Ink) -> Result<(), DrawError> {
        if !(is_finite(&from) && is_finite(&to)) {
            return Ok(());
        }
        let corners = [pixel(self.near(from)), pixel(self.near(to))];
        self.area.draw(&Rectangle::new(corners, ink.rgba().filled())).map_err(text_of)
    }

    /// The point, or the nearest one on the page or beside it.
    fn near(&self, (x, y): Point) -> Point {
        let (width, height) = self.size;
        (x.clamp(-width, 2.0 * width), y.clamp(-height, 2.0 * height))
    }

    /// The outline of a rectangle.
    pub(super) fn frame(&self, (x0, y0): Point, (x1, y1): Point, stroke: Stroke) -> Result<(), DrawError> {
        // Half a stroke further closes the corner.
        let start = x0 - stroke.width / 2.0;
        self.line(&[(start, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], stroke)
    }

    /// Diagonal hatching inside a rectangle.
    pub(super) fn hatch(&self, from: Point, to: Point, gap: f64, stroke: Stroke) -> Result<(), DrawError> {
        if !(is_finite(&from) && is_finite(&to) && gap > 0.0) {
            return Ok(());
        }
        let ((x0, y0), (x1, y1)) = (self.near(from), self.near(to));
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
        if !is_finite(&(x, y)) {
            return Ok(());
        }
        let r = radius;
        let stroke = Stroke::solid(ink, r * 0.55);
        match marker {
            Marker::Circle => {
                let radius = (r * UNITS).round() as i32;
                self.area.draw(&Circle::new(pixel((x, y)), radius, ink.rgba().filled())).map_err(text_of)
            }
            Marker::Ring => self.hollow((x, y), Marker::Circle, r, ink),
            Marker::Nothing => Ok(()),
            Marker::OpenSquare => self.hollow((x, y), Marker::Square, r, ink),
            Marker::OpenDiamond => self.hollow((x, y), Marker::Diamond, r, ink),
            Marker::OpenUp => self.hollow((x, y), Marker::Up, r, ink),
            Marker::OpenDown => self.hollow((x, y), Marker::Down, r, ink),
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

    /// The outline of a filled marker.
    fn hollow(&self, place: Point, marker: Marker, radius: f64, ink: Ink) -> Result<(), DrawError> {
        self.marker(place, marker, radius * 1.1, ink)?;
        self.marker(place, marker, radius * 0.55, Ink(255, 255, 255, 1.0))
    }

    /// The sheet that it is drawn on.
    pub(super) fn sheet(&self) -> Sheet {
        self.sheet
    }

    /// A text, vertically centred on its position.
    pub(super) fn text(&self, position: Point, text: &str, style: Text) -> Result<(), DrawError> {
        let weight = if style.bold { FontStyle::Bold } else { FontStyle::Normal };
        let mut font = FontDesc::new(FontFamily::Name(self.sheet.face.family), style.size * UNITS * FONT_SCALE, weight);
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
        if !is_finite(&position) {
            return Ok(());
        }
        self.area.draw(&plotters::element::Text::new(text::svg(text), pixel(position), style)).map_err(text_of)
    }
}

/// Width of a text in points.
pub(super) fn text_width(face: &Face, text: &str, size: f64, bold: bool) -> f64 {
    let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::Name(face.family), size * UNITS * face.line_height, weight);
    // Unregistered only before the first page; a rough average is good enough for a layout that nobody draws.
    font.layout_box(text).map_or(text.chars().count() as f64 * size * 0.6, |(_, (width, _))| f64::from(width) / UNITS)
}

fn register(face: &Face) -> Result<(), DrawError> {
    for (style, bytes) in [(FontStyle::Normal, face.regular), (FontStyle::Bold, face.bold)] {
        register_font(face.family, style, bytes).map_err(|_| "the embedded font is unreadable".to_owned())?;
    }
    Ok(())
}

/// Makes the fonts known, so that texts can be measured before a page is opened.
pub(super) fn register_fonts() {
    for face in Face::ALL {
        // Failure is reported when a page is drawn.
        let _ = register(face);
    }
}

fn is_finite(point: &Point) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

/// The parts of a line that are on a page of that size or close beside it. A point that is not finite interrupts the line.
fn clipped(points: &[Point], (width, height): Point) -> Vec<Vec<Point>> {
    let mut runs: Vec<Vec<Point>> = Vec::new();
    let mut end: Option<Point> = None;
    for pair in points.windows(2) {
        let Some((from, to)) = clipped_segment(pair[0], pair[1], (width, height)) else {
            end = None;
            continue;
        };
        match runs.last_mut().filter(|_| end == Some(from)) {
            Some(run) => run.push(to),
            None => runs.push(vec![from, to]),
        }
        // Where it was cut it does not go on.
        end = Some(to).filter(|to| *to == pair[1]);
    }
    runs
}

/// Liang and Barsky's clipping, to a page with a margin.
fn clipped_segment(from: Point, to: Point, (width, height): Point) -> Option<(Point, Point)> {
    const MARGIN: f64 = 4.0;
    if !(is_finite(&from) && is_finite(&to)) {
        return None;
    }
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enters, mut leaves) = (0.0_f64, 1.0_f64);
    let sides =
        [(-dx, from.0 + MARGIN), (dx, width + MARGIN - from.0), (-dy, from.1 + MARGIN), (dy, height + MARGIN - from.1)];
    for (step, room) in sides {
        if step == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if step < 0.0 {
            enters = enters.max(room / step);
        } else {
            leaves = leaves.min(room / step);
        }
    }
    let at = |share: f64| (from.0 + dx * share, from.1 + dy * share);
    // The ends as they are where nothing is cut off: no bit of a line inside changes.
    let ends = (if enters > 0.0 { at(enters) } else { from }, if leaves < 1.0 { at(leaves) } else { to });
    (enters <= leaves && is_finite(&ends.0) && is_finite(&ends.1)).then_some(ends)
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
    fn a_line_without_end_is_cut_at_the_page() {
        let page = (100.0, 50.0);
        let inside = [(0.0, 0.0), (3.0, 0.1), (3.0, 3.0)];
        assert_eq!(clipped(&inside, page), [inside.to_vec()]);
        let runs = clipped(
            &[(10.0, 10.0), (10.0, 1e300), (20.0, 10.0), (f64::NAN, 3.0), (30.0, 10.0), (40.0, f64::INFINITY)],
            page,
        );
        assert!(runs.iter().flatten().all(|point| point.1 <= 54.0 + 1e-9 && is_finite(point)), "{runs:?}");
        assert_eq!(runs.len(), 2, "{runs:?}");
        assert!(clipped(&[(-1e308, 10.0), (1e308, 10.0)], page).len() <= 1);
        assert!(clipped(&[(200.0, 10.0), (300.0, 10.0)], page).is_empty());
        // Millions of dashes would be drawn without it.
        let pieces: usize =
            clipped(&[(0.0, 10.0), (1e12, 10.0)], page).iter().map(|run| dashes(run, &[1.0, 1.0]).len()).sum();
        assert!(pieces < 60, "{pieces}");
    }

    #[test]
    fn nothing_that_is_not_finite_is_drawn() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300];
        let dashed = Stroke { ink: Ink::BLACK, width: 1.0, dash: &[3.0, 2.0] };
        let svg = draw(Sheet::of(None), 72.0, |page| {
            for x in odd {
                page.line(&[(10.0, 10.0), (x, 20.0), (20.0, x)], dashed)?;
                page.polygon(&[(10.0, 10.0), (x, 20.0), (20.0, x)], Ink::BLACK)?;
                page.rect((10.0, 10.0), (x, x), Ink::BLACK)?;
                page.hatch((10.0, 10.0), (x, x), 3.0, dashed)?;
                page.hatch((10.0, 10.0), (20.0, 20.0), x.min(0.0), dashed)?;
                page.frame((10.0, 10.0), (x, x), dashed)?;
                page.marker((x, 10.0), Marker::Cross, 2.0, Ink::BLACK)?;
                page.text((x, 10.0), "here", Text::new(8.0))?;
            }
            Ok(())
        });
        let svg = svg.expect("a page");
        assert!(svg.len() < 1_000_000 && !svg.contains("NaN"), "{} bytes", svg.len());
        for height in odd {
            draw(Sheet::of(None), height, |_| Ok(())).expect_err("no page is that high");
        }
    }

    #[test]
    fn a_text_has_no_control_character() {
        let svg = draw(Sheet::of(None), 72.0, |page| page.text((10.0, 10.0), "a\u{1b}[2J\n\u{0}", Text::new(8.0)))
            .expect("a page");
        assert!(svg.contains("a\u{fffd}[2J\u{fffd}\u{fffd}"), "{svg}");
    }

    #[test]
    fn dashes_run_through_corners() {
        let pieces = dashes(&[(0.0, 0.0), (3.0, 0.0), (3.0, 3.0)], &[2.0, 2.0]);
        assert_eq!(pieces, vec![vec![(0.0, 0.0), (2.0, 0.0)], vec![(3.0, 1.0), (3.0, 3.0)]]);
        assert_eq!(dashes(&[(0.0, 0.0), (1.0, 0.0)], &[]).len(), 1);
    }

    #[test]
    fn a_page_has_its_size_in_inches() {
        let svg = draw(Sheet::of(None), 72.0, |page| page.text((10.0, 10.0), "a & b", Text::new(8.0))).expect("a page");
        assert!(svg.contains("width=\"5.5000in\" height=\"1.0000in\""));
        assert!(svg.contains("a &amp; b"));
        let sheet = Sheet::of(None);
        assert!(sheet.text_width("wide text", 8.0, false) > sheet.text_width("text", 8.0, false));
    }
}
