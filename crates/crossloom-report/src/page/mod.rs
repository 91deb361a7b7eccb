//! The page around the sections: head, security policy, navigation, style and script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::context::Context;
use crate::markup::Markup;
use crate::section;

const STYLE: &str = concat!(
    include_str!("theme.css"),
    include_str!("layout.css"),
    include_str!("charts.css"),
    include_str!("parts.css"),
    include_str!("print.css")
);
const SCRIPT: &str = include_str!("script.js");

/// The whole page.
pub(crate) fn page(context: &Context<'_>) -> String {
    let mut out = Markup::default();
    out.fixed("<!DOCTYPE html>\n");
    out.element("html", &[("lang", "en")], |out| {
        out.element("head", &[], |out| head(out, context));
        out.fixed("\n");
        out.element("body", &[], |out| body(out, context));
    });
    out.fixed("\n");
    out.finish()
}

fn head(out: &mut Markup, context: &Context<'_>) {
    out.void("meta", &[("charset", "utf-8")]);
    out.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    out.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    out.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy())]);
    out.void("meta", &[("name", "generator"), ("content", "crossloom")]);
    out.leaf("title", &[], &format!("{} · crossloom report", context.data.name));
    out.void("link", &[("rel", "icon"), ("href", "data:,")]);
    out.element("style", &[], |out| out.fixed(STYLE));
}

/// Allows this page's own style, script and embedded pictures, and nothing else.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'"
    )
}

fn body(out: &mut Markup, context: &Context<'_>) {
    out.leaf("a", &[("class", "skip"), ("href", "#main")], "Skip to the results");
    section::header::write(out, context);
    out.element("nav", &[("aria-label", "Sections")], |out| {
        let cost = section::cost::is_shown(context).then_some(("#cost", "Cost"));
        let before = [("#accuracy", "Accuracy")].into_iter().chain(cost);
        for (target, title) in before.chain([
            ("#topology", "Topology"),
            ("#gates", "Gates"),
            ("#training", "Training"),
            ("#samples", "Samples"),
            ("#reproduce", "Reproduce"),
        ]) {
            out.leaf("a", &[("href", target)], title);
        }
    });
    out.element("main", &[("id", "main")], |out| {
        section::accuracy::write(out, context);
        section::cost::write(out, context);
        section::topology::write(out, context);
        section::gates::write(out, context);
        section::training::write(out, context);
        section::samples::write(out, context);
        section::reproduce::write(out, context);
    });
    out.leaf("footer", &[], "Made by crossloom. This file is complete: it loads nothing and sends nothing.");
    out.leaf("div", &[("id", "tip"), ("hidden", ""), ("aria-hidden", "true")], "");
    out.element("script", &[], |out| out.fixed(SCRIPT));
}
