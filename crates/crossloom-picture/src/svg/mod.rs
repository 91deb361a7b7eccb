//! A picture as SVG. It has no style sheet, no ids and no background, so several can stand in one page, light or dark: what
//! is written on the page is a grey that reads on both, everything else brings its own ground.

mod columns;
mod edge;
mod layers;
mod place;

use crate::{Arrangement, Picture};

/// Space around the picture.
const MARGIN: f64 = 24.0;
/// Grey that reads on white and on near-black.
const INK: &str = "#7d8590";
const MONO: &str = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace";
const SANS: &str = "system-ui, -apple-system, 'Segoe UI', sans-serif";

impl Picture {
    /// A self-contained SVG.
    pub fn to_svg(&self) -> String {
        match self.arrangement {
            Arrangement::Layers => self.layers(),
            Arrangement::Columns => self.columns(),
        }
    }
}

/// A whole document; `what` is what the picture shows, for those who cannot see it.
fn document(width: f64, height: f64, what: &str, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"{}\">\n{content}</svg>\n",
        escape(what)
    )
}

/// Words on the page, from their left end.
fn words(x: f64, y: f64, size: u32, weight: u32, text: &str) -> String {
    format!(
        "  <text x=\"{x:.1}\" y=\"{y:.1}\" font-family=\"{SANS}\" font-size=\"{size}\" font-weight=\"{weight}\" \
         fill=\"{INK}\">{}</text>\n",
        escape(text)
    )
}

/// Text as XML has it: no markup, and none of the control characters that XML lacks.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}
