//! The marks of variants: a shape and a dash pattern besides the colour, so that colour alone never tells.

use crate::context::look;
use crate::markup::Markup;
use crate::number::coordinate as at;

/// Dash pattern of a variant's lines.
pub(crate) fn dash(slot: usize) -> &'static str {
    const DASHES: [&str; 4] = ["none", "7 3", "2 3", "9 3 2 3"];
    DASHES.get(slot % DASHES.len()).copied().unwrap_or("none")
}

/// Draws the mark of a variant centred at (`x`, `y`); hollow marks are question-only priors.
pub(crate) fn mark(out: &mut Markup, slot: usize, hollow: bool, x: f64, y: f64) {
    let class = format!("mark {}", if hollow { "prior hollow" } else { look(slot) });
    let class = ("class", class.as_str());
    match slot % 4 {
        0 => out.void("circle", &[class, ("cx", &at(x)), ("cy", &at(y)), ("r", "4.6")]),
        1 => path(out, class, x, y, &[(-4.2, -4.2), (4.2, -4.2), (4.2, 4.2), (-4.2, 4.2)]),
        2 => path(out, class, x, y, &[(0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)]),
        _ => path(out, class, x, y, &[(0.0, -5.6), (5.6, 4.4), (-5.6, 4.4)]),
    }
}

fn path(out: &mut Markup, class: (&'static str, &str), x: f64, y: f64, corners: &[(f64, f64)]) {
    let mut shape = String::new();
    for (index, (right, down)) in corners.iter().enumerate() {
        shape.push_str(if index == 0 { "M" } else { "L" });
        shape.push_str(&format!("{} {}", at(x + right), at(y + down)));
    }
    shape.push('Z');
    out.void("path", &[class, ("d", &shape)]);
}

/// How a legend shows an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swatch {
    /// A filled mark.
    Mark,
    /// A hollow mark.
    Hollow,
    /// A piece of line.
    Line,
}

/// Writes a legend: one entry per name with its look.
pub(crate) fn legend<'a>(out: &mut Markup, entries: impl Iterator<Item = (&'a str, usize, Swatch)>) {
    out.element("ul", &[("class", "legend")], |out| {
        for (name, slot, swatch) in entries {
            out.element("li", &[], |out| {
                let frame =
                    &[("viewBox", "0 0 30 14"), ("width", "30"), ("height", "14"), ("aria-hidden", "true")];
                out.element("svg", frame, |out| match swatch {
                    Swatch::Line => {
                        let class = format!("line {}", look(slot));
                        out.void(
                            "path",
                            &[("class", &class), ("d", "M1 7H29"), ("stroke-dasharray", dash(slot))],
                        );
                    }
                    mark_kind => mark(out, slot, mark_kind == Swatch::Hollow, 15.0, 7.0),
                });
                out.text(name);
            });
        }
    });
}
