//! The data manifest: what the run read, from where, with hash and licence.

use super::{empty, head_row, scroll, text_or_dash};
use crate::data::Asset;
use crate::markup::Markup;
use crate::number::bytes;

/// Writes the table.
pub(crate) fn write(out: &mut Markup, assets: &[Asset]) {
    if assets.is_empty() {
        empty(out, "No manifest is shown, because the run read no packaged data (or did not record it).");
        return;
    }
    scroll(out, "Data manifest", |out| {
        out.element("table", &[], |out| {
            out.leaf("caption", &[("class", "spoken")], "Data and weights with hashes and licences");
            head_row(
                out,
                &[("Name", false), ("Source", false), ("Size", true), ("Licence", false), ("SHA-256", false)],
            );
            out.element("tbody", &[], |out| {
                for asset in assets {
                    out.element("tr", &[], |out| {
                        out.leaf("th", &[("scope", "row")], &asset.name);
                        out.element("td", &[], |out| text_or_dash(out, &asset.source, "not recorded"));
                        out.element("td", &[("class", "number")], |out| {
                            text_or_dash(out, &asset.bytes.map(bytes).unwrap_or_default(), "not recorded");
                        });
                        out.element("td", &[], |out| text_or_dash(out, &asset.licence, "not known"));
                        out.element("td", &[("class", "code hash")], |out| {
                            text_or_dash(out, &asset.sha256, "not computed");
                        });
                    });
                }
            });
        });
    });
}
