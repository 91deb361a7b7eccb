//! What it takes to do the run again: command, recipe, data, environment, kernel choices and times.

use super::{assets, empty, head_row, kernels, scroll, section, timings};
use crate::context::Context;
use crate::markup::Markup;

/// Writes the section.
pub(crate) fn write(out: &mut Markup, context: &Context<'_>) {
    section(out, "reproduce", "Reproduce", |out| {
        let reproduction = &context.data.reproduction;
        out.leaf("h3", &[], "Command");
        if reproduction.command.is_empty() {
            empty(out, "No command is shown, because the run did not record how it was started.");
        } else {
            out.element("div", &[("class", "command")], |out| {
                out.element("pre", &[("tabindex", "0"), ("aria-label", "command")], |out| {
                    out.leaf("code", &[("id", "command")], &reproduction.command);
                });
                let copy = &[("type", "button"), ("class", "copy"), ("data-copy", "command"), ("hidden", "")];
                out.leaf("button", copy, "Copy");
            });
        }
        out.leaf("h3", &[], "Time per phase");
        timings::write(out, reproduction);
        out.leaf("h3", &[], "Data and weights");
        assets::write(out, &reproduction.assets);
        out.leaf("h3", &[], "Environment");
        environment(out, &reproduction.environment);
        out.leaf("h3", &[], "Kernel choices");
        kernels::write(out, &reproduction.kernels);
        out.leaf("h3", &[], "Resolved recipe");
        recipe(out, &reproduction.recipe);
    });
}

fn environment(out: &mut Markup, entries: &[(String, String)]) {
    if entries.is_empty() {
        empty(out, "No environment is shown, because the run did not record it.");
        return;
    }
    scroll(out, "Environment table", |out| {
        out.element("table", &[], |out| {
            out.leaf("caption", &[("class", "spoken")], "Versions, seeds and machine");
            head_row(out, &[("Name", false), ("Value", false)]);
            out.element("tbody", &[], |out| {
                for (name, value) in entries {
                    out.element("tr", &[], |out| {
                        out.leaf("th", &[("scope", "row")], name);
                        out.leaf("td", &[("class", "code")], value);
                    });
                }
            });
        });
    });
}

fn recipe(out: &mut Markup, text: &str) {
    if text.is_empty() {
        empty(out, "No recipe is shown, because the run did not keep its resolved form.");
        return;
    }
    out.element("details", &[], |out| {
        out.leaf("summary", &[], &format!("Show the recipe ({} lines of TOML)", text.lines().count()));
        out.element("pre", &[("tabindex", "0"), ("aria-label", "resolved recipe")], |out| {
            out.leaf("code", &[("id", "recipe")], text);
        });
        let copy = &[("type", "button"), ("class", "copy"), ("data-copy", "recipe"), ("hidden", "")];
        out.leaf("button", copy, "Copy");
    });
}
