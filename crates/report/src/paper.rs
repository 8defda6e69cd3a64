//! What figures are printed in: width, zoom, font and weight of the lines. Texts are 7 or 8 points on every sheet, at final size.

use super::canvas::{Face, text_width};
use crate::text;

/// Size of tick labels and notes, in points: the smallest text of a figure.
pub(crate) const TICK_TEXT: f64 = 7.0;
/// Size of axis labels, rows and legends.
pub(crate) const LABEL_TEXT: f64 = 8.0;
/// Size of panel titles.
pub(crate) const TITLE_TEXT: f64 = 8.0;

/// Where the figures of a report are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paper {
    /// A column of the ACL style: 3.03 inches.
    Acl,
    /// The text of the `NeurIPS` style: 5.5 inches.
    Neurips,
    /// A column of the ICML style: 3.25 inches.
    Icml,
    /// A column of Nature: 3.5 inches.
    Nature,
    /// A slide: 10 inches, everything in 14 points.
    Slides,
}

impl Paper {
    /// Every paper with the name that a user gives it.
    pub const ALL: [(&str, Self); 5] = [
        ("acl", Self::Acl),
        ("neurips", Self::Neurips),
        ("icml", Self::Icml),
        ("nature", Self::Nature),
        ("slides", Self::Slides),
    ];

    /// The paper of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, paper)| paper)
    }
}

/// How wide a table may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wide {
    pub(crate) points: f64,
    /// What follows the name of its file.
    pub(crate) suffix: &'static str,
}

impl Wide {
    /// The widths of tables of a paper: that of a column, and where there are two, that of both.
    pub(crate) fn of(paper: Option<Paper>) -> Vec<Self> {
        let (column, both) = match paper {
            None | Some(Paper::Neurips) => (5.5, None),
            Some(Paper::Acl) => (3.03, Some(6.3)),
            Some(Paper::Icml) => (3.25, Some(6.75)),
            Some(Paper::Nature) => (3.5, Some(7.2)),
            Some(Paper::Slides) => (10.0, None),
        };
        // A point of TeX is a little less than that of PostScript.
        let wide = |inches: f64, suffix| Self { points: inches * 72.27, suffix };
        [Some(wide(column, "")), both.map(|inches| wide(inches, "-wide"))].into_iter().flatten().collect()
    }

    /// In inches.
    pub(crate) fn words(self) -> String {
        format!("{:.2} in", self.points / 72.27)
    }
}

/// The page that figures are laid out on. Lengths are points of the layout, `zoom` of which make one on paper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sheet {
    /// Width of every figure.
    pub(crate) width: f64,
    /// Height of the text of a page. A figure that would be higher is drawn in parts.
    pub(crate) tallest: f64,
    /// Points on paper per point of the layout.
    pub(crate) zoom: f64,
    /// Factor on the width of lines.
    pub(crate) weight: f64,
    pub(crate) face: &'static Face,
}

impl Sheet {
    /// The sheet of a paper; without one, a full text column of 5.5 inches.
    pub(crate) fn of(paper: Option<Paper>) -> Self {
        let inches = |width: f64, height: f64| Self {
            width: width * 72.0,
            tallest: height * 72.0,
            zoom: 1.0,
            weight: 1.0,
            face: &Face::LIBERATION,
        };
        match paper {
            None => Self { face: &Face::DEJAVU, ..inches(5.5, 9.0) },
            Some(Paper::Acl) => inches(3.03, 9.2),
            Some(Paper::Neurips) => inches(5.5, 8.6),
            Some(Paper::Icml) => inches(3.25, 8.6),
            // Lines of 0.25 to 1 point.
            Some(Paper::Nature) => Self { weight: 0.85, ..inches(3.5, 9.0) },
            Some(Paper::Slides) => {
                let zoom = 14.0 / LABEL_TEXT;
                Self { zoom, weight: 1.2, ..inches(10.0 / zoom, 9.0) }
            }
        }
    }

    /// Width of a text in points.
    pub(crate) fn text_width(&self, text: &str, size: f64, bold: bool) -> f64 {
        text_width(self.face, text, size, bold)
    }

    /// A text that is at most so wide: what does not fit loses its middle.
    pub(crate) fn fitted(&self, text: &str, size: f64, bold: bool, width: f64) -> String {
        let mut shown = text::svg(text);
        let mut most = shown.chars().count();
        while most > 1 && self.text_width(&shown, size, bold) > width {
            // In one step near to what fits, then a character at a time.
            let share = (width.max(0.0) / self.text_width(&shown, size, bold)).clamp(0.0, 1.0);
            most = ((most as f64 * share).ceil() as usize).clamp(1, most - 1);
            shown = text::shortened(&text::svg(text), most);
        }
        shown
    }

    /// A text in lines of at most `width`, broken at blanks. A word that is wider loses its middle.
    pub(crate) fn broken(&self, text: &str, size: f64, bold: bool, width: f64) -> Vec<String> {
        let fits = |line: &str| self.text_width(line, size, bold) <= width;
        let mut lines: Vec<String> = Vec::new();
        for word in text.split(' ') {
            match lines.last_mut() {
                Some(line) if fits(&format!("{line} {word}")) => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(self.fitted(word, size, bold, width)),
            }
        }
        lines
    }

    /// The first of the texts that fits, or the last one cut.
    pub(crate) fn that_fits(&self, texts: &[&str], size: f64, width: f64) -> String {
        let fitting = texts.iter().find(|text| self.text_width(text, size, false) <= width);
        fitting.map_or_else(
            || texts.last().map_or_else(String::new, |text| self.fitted(text, size, false, width)),
            |text| (*text).to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::register_fonts;

    #[test]
    fn every_paper_has_its_width_and_no_text_below_seven_points() {
        let widths = [3.03, 5.5, 3.25, 3.5, 10.0];
        for ((name, paper), width) in Paper::ALL.into_iter().zip(widths) {
            let sheet = Sheet::of(Some(paper));
            assert!((sheet.width * sheet.zoom / 72.0 - width).abs() < 1e-9, "{name}");
            assert!(TICK_TEXT * sheet.zoom >= 7.0, "{name}");
            assert_eq!(Paper::named(name), Some(paper));
        }
        assert_eq!(Paper::named("a4"), None);
    }

    #[test]
    fn a_text_is_cut_to_its_room() {
        register_fonts();
        for sheet in [Sheet::of(None), Sheet::of(Some(Paper::Acl))] {
            let long = "x".repeat(200);
            let shown = sheet.fitted(&long, 8.0, false, 60.0);
            assert!(sheet.text_width(&shown, 8.0, false) <= 60.0 && shown.contains('\u{2026}') && shown.len() > 5);
            assert_eq!(sheet.fitted("short", 8.0, false, 60.0), "short");
            assert!(!sheet.fitted("a", 8.0, false, -1.0).is_empty());
            let lines = sheet.broken("hidden from attention, against nothing hidden", 8.0, false, 80.0);
            assert!(
                lines.len() > 1 && lines.iter().all(|line| sheet.text_width(line, 8.0, false) <= 80.0),
                "{lines:?}"
            );
            assert_eq!(sheet.that_fits(&["much too long for it", "short"], 8.0, 30.0), "short");
        }
    }
}
