//! Which kernel the compiler chose where.

use super::{empty, head_row, scroll, text_or_dash};
use crate::data::KernelChoice;
use crate::markup::Markup;

/// Tables longer than this are folded.
const FOLD_FROM: usize = 12;

/// Writes the table.
pub(crate) fn write(out: &mut Markup, kernels: &[KernelChoice]) {
    if kernels.is_empty() {
        empty(out, "No kernel choices are shown, because the run did not record any.");
    } else if kernels.len() >= FOLD_FROM {
        out.element("details", &[], |out| {
            out.leaf("summary", &[], &format!("Show all {} choices", kernels.len()));
            table(out, kernels);
        });
    } else {
        table(out, kernels);
    }
}

fn table(out: &mut Markup, kernels: &[KernelChoice]) {
    scroll(out, "Kernel choices", |out| {
        out.element("table", &[], |out| {
            out.leaf("caption", &[("class", "spoken")], "Kernel choices of the compiler");
            head_row(out, &[("Where", false), ("Shape", false), ("Kernel", false), ("Why", false)]);
            out.element("tbody", &[], |out| {
                for choice in kernels {
                    out.element("tr", &[], |out| {
                        out.leaf("th", &[("scope", "row"), ("class", "code")], &choice.site);
                        out.element("td", &[("class", "code")], |out| {
                            text_or_dash(out, &choice.shape, "any shape");
                        });
                        out.leaf("td", &[("class", "code")], &choice.kernel);
                        out.element("td", &[], |out| text_or_dash(out, &choice.note, "no remark"));
                    });
                }
            });
        });
    });
}
