//! One drawing, three files: the SVG as drawn, and PDF and PNG converted from that very SVG.

use std::sync::{Arc, OnceLock};

use krilla::configure::{ConfigurationBuilder, PdfVersion};
use krilla::page::PageSettings;
use krilla::{Document, SerializeSettings};
use krilla_svg::{SurfaceExt, SvgSettings};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::canvas::Face;

/// Pixels per inch of the preview.
const PIXELS_PER_INCH: f32 = 240.0;
/// Pixels per inch of CSS, in which the size of an SVG is given.
const CSS_PIXELS_PER_INCH: f32 = 96.0;
const POINTS_PER_INCH: f32 = 72.0;

/// A figure in every format.
pub(super) struct Rendered {
    pub(super) svg: String,
    pub(super) pdf: Vec<u8>,
    pub(super) png: Vec<u8>,
}

/// Converts a drawing; only the committed fonts are known, so that the machine's fonts change nothing.
pub(super) fn convert(svg: String) -> Result<Rendered, String> {
    let options = Options { fontdb: fonts(), font_family: "DejaVu Sans".to_owned(), ..Options::default() };
    let tree = Tree::from_str(&svg, &options).map_err(|error| error.to_string())?;
    let pdf = pdf(&tree)?;
    let png = png(&tree)?;
    Ok(Rendered { svg, pdf, png })
}

fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut database = fontdb::Database::new();
        Face::files().for_each(|file| database.load_font_data(file.to_vec()));
        Arc::new(database)
    });
    Arc::clone(fonts)
}

fn pdf(tree: &Tree) -> Result<Vec<u8>, String> {
    let scale = POINTS_PER_INCH / CSS_PIXELS_PER_INCH;
    let (width, height) = (tree.size().width() * scale, tree.size().height() * scale);
    let page_size = PageSettings::from_wh(width, height).ok_or("a page without area")?;
    let size = krilla::geom::Size::from_wh(width, height).ok_or("a page without area")?;
    // The version that LaTeX includes without a warning.
    let version = ConfigurationBuilder::new().with_version(PdfVersion::Pdf15).finish();
    let configuration = version.map_err(|error| format!("{error:?}"))?;
    let mut document = Document::new_with(SerializeSettings { configuration, ..SerializeSettings::default() });
    let mut page = document.start_page_with(page_size);
    let mut surface = page.surface();
    surface.draw_svg(tree, size, SvgSettings::default()).ok_or("the drawing cannot be converted to PDF")?;
    surface.finish();
    page.finish();
    document.finish().map_err(|error| format!("{error:?}"))
}

fn png(tree: &Tree) -> Result<Vec<u8>, String> {
    let scale = PIXELS_PER_INCH / CSS_PIXELS_PER_INCH;
    let width = (tree.size().width() * scale).round() as u32;
    let height = (tree.size().height() * scale).round() as u32;
    let mut pixels = Pixmap::new(width, height).ok_or("a picture without area")?;
    resvg::render(tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}
