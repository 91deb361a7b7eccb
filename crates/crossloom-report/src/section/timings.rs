//! Wall time per phase and variant, with its part of the whole as a bar.

use super::{empty, scroll, text_or_dash};
use crate::data::Reproduction;
use crate::markup::Markup;
use crate::number::{duration, non_finite, percent};

/// Writes the table.
pub(crate) fn write(out: &mut Markup, reproduction: &Reproduction) {
    let timings = &reproduction.timings;
    if timings.is_empty() {
        empty(out, "No times are shown, because the run did not record any.");
        return;
    }
    let usable = |seconds: f64| seconds.is_finite() && seconds > 0.0;
    let total: f64 = timings.iter().map(|timing| timing.seconds).filter(|seconds| usable(*seconds)).sum();
    scroll(out, "Time per phase", |out| {
        out.element("table", &[("class", "times")], |out| {
            out.leaf("caption", &[("class", "spoken")], "Wall time per phase and variant");
            super::head_row(
                out,
                &[("Phase", false), ("Variant", false), ("Time", true), ("Part of the sum", false)],
            );
            out.element("tbody", &[], |out| {
                for timing in timings {
                    let part =
                        if usable(timing.seconds) && total > 0.0 { timing.seconds / total } else { 0.0 };
                    out.element("tr", &[], |out| {
                        out.leaf("th", &[("scope", "row")], &timing.phase);
                        out.element("td", &[], |out| {
                            text_or_dash(out, timing.variant.as_deref().unwrap_or_default(), "shared by all");
                        });
                        let broken = non_finite(timing.seconds).is_some();
                        let class = if broken { "number non-finite" } else { "number" };
                        out.leaf("td", &[("class", class)], &duration(timing.seconds));
                        out.element("td", &[("class", "part")], |out| {
                            let width = format!("width:{:.1}%", part * 100.0);
                            out.leaf("span", &[("class", "part-bar"), ("style", &width)], "");
                            out.leaf("span", &[("class", "part-text")], &format!("{}%", percent(part)));
                        });
                    });
                }
            });
            out.element("tfoot", &[], |out| {
                out.element("tr", &[], |out| {
                    out.leaf("th", &[("scope", "row"), ("colspan", "2")], "Sum of the phases");
                    out.leaf("td", &[("class", "number")], &duration(total));
                    out.leaf("td", &[], "");
                });
            });
        });
    });
}
