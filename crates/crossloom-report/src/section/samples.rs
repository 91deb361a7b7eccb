//! Test questions with their pictures and the answers of every variant, filtered by the script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{empty, folding, section};
use crate::context::{Context, look};
use crate::data::{Answer, Sample};
use crate::markup::Markup;
use crate::number::count;

/// Writes the section.
pub(crate) fn write(out: &mut Markup, context: &Context<'_>) {
    section(out, "samples", "Samples", |out| {
        let set = &context.data.samples;
        if set.items.is_empty() {
            empty(out, "No samples are shown, because this run kept no answers.");
            return;
        }
        if !set.selection.is_empty() {
            out.leaf("p", &[("class", "lead")], &set.selection);
        }
        let kinds = kinds(&set.items);
        filters(out, &kinds, set.items.len());
        out.element("ol", &[("class", "samples")], |out| {
            for sample in &set.items {
                card(out, context, sample, &kinds);
            }
        });
        out.leaf(
            "p",
            &[("class", "empty"), ("id", "no-sample"), ("hidden", "")],
            "No sample passes both filters.",
        );
    });
}

/// The question types in order of appearance.
fn kinds(samples: &[Sample]) -> Vec<&str> {
    let mut kinds: Vec<&str> = Vec::new();
    for sample in samples {
        if !sample.kind.is_empty() && !kinds.contains(&sample.kind.as_str()) {
            kinds.push(&sample.kind);
        }
    }
    kinds
}

/// The filter buttons; the script shows them, as they do nothing without it.
fn filters(out: &mut Markup, kinds: &[&str], total: usize) {
    out.element("div", &[("class", "filters"), ("hidden", "")], |out| {
        out.element("div", &[("role", "group"), ("aria-label", "Filter by outcome")], |out| {
            for (outcome, text) in [
                ("all", "All"),
                ("disagree", "Models disagree"),
                ("wrong", "All wrong"),
                ("right", "All right"),
            ] {
                button(out, "data-outcome", outcome, text, outcome == "all");
            }
        });
        if kinds.len() > 1 {
            out.element("div", &[("role", "group"), ("aria-label", "Filter by question type")], |out| {
                button(out, "data-kind", "all", "All types", true);
                for (index, kind) in kinds.iter().enumerate() {
                    button(out, "data-kind", &index.to_string(), kind, false);
                }
            });
        }
        out.element("p", &[("role", "status"), ("class", "quiet")], |out| {
            out.leaf("span", &[("id", "shown")], &count(total as u64));
            out.text(&format!(" of {} shown", count(total as u64)));
        });
    });
}

fn button(out: &mut Markup, kind: &'static str, value: &str, text: &str, pressed: bool) {
    let pressed = if pressed { "true" } else { "false" };
    out.leaf("button", &[("type", "button"), (kind, value), ("aria-pressed", pressed)], text);
}

fn card(out: &mut Markup, context: &Context<'_>, sample: &Sample, kinds: &[&str]) {
    let outcome = outcome(context, sample);
    let kind =
        kinds.iter().position(|kind| *kind == sample.kind).map_or(String::new(), |index| index.to_string());
    out.element("li", &[("class", "sample"), ("data-outcome", outcome), ("data-kind", &kind)], |out| {
        picture(out, sample);
        out.element("div", &[("class", "talk")], |out| {
            out.element("p", &[("class", "sample-name")], |out| {
                out.leaf("span", &[], &sample.kind);
                out.leaf("span", &[], &sample.id);
            });
            out.leaf("p", &[("class", "question"), ("dir", "auto")], &sample.question);
            out.element("dl", &[("class", "answers")], |out| {
                out.element("div", &[("class", "truth")], |out| {
                    out.leaf("dt", &[], "truth");
                    out.leaf("dd", &[("dir", "auto")], &sample.truth);
                });
            });
            folding(out, &sample.answers, |out, answers| {
                out.element("dl", &[("class", "answers")], |out| {
                    for answer in answers {
                        one_answer(out, context, answer);
                    }
                });
            });
            if sample.answers.is_empty() {
                empty(out, "No variant's answer was kept.");
            }
        });
    });
}

fn one_answer(out: &mut Markup, context: &Context<'_>, answer: &Answer) {
    let class = if answer.correct { "right" } else { "wrong" };
    let name = if context.is_blind(&answer.variant) { "prior" } else { look(context.slot(&answer.variant)) };
    out.element("div", &[("class", class)], |out| {
        out.leaf("dt", &[("class", name)], &answer.variant);
        out.element("dd", &[("dir", "auto")], |out| {
            let frame = &[("class", "verdict-mark"), ("viewBox", "0 0 12 12"), ("aria-hidden", "true")];
            let shape =
                if answer.correct { "M2 6.5L5 9.5L10.2 2.8" } else { "M2.5 2.5L9.5 9.5M9.5 2.5L2.5 9.5" };
            out.element("svg", frame, |out| out.void("path", &[("d", shape)]));
            out.leaf("span", &[("class", "spoken")], if answer.correct { "right: " } else { "wrong: " });
            if answer.text.is_empty() {
                out.leaf("i", &[("class", "none")], "empty answer");
            } else {
                out.text(&answer.text);
            }
        });
    });
}

/// Compares the models that see the picture: the priors answer without it, so they do not count.
fn outcome(context: &Context<'_>, sample: &Sample) -> &'static str {
    let answers: Vec<&Answer> =
        sample.answers.iter().filter(|answer| !context.is_blind(&answer.variant)).collect();
    let Some(first) = answers.first() else { return "none" };
    let agree = answers.iter().all(|answer| answer.text == first.text);
    match (answers.iter().any(|answer| answer.correct), answers.iter().all(|answer| answer.correct)) {
        (_, true) => "right",
        (false, _) if agree => "wrong",
        (false, _) => "wrong disagree",
        _ => "disagree",
    }
}

fn picture(out: &mut Markup, sample: &Sample) {
    let name = if sample.id.is_empty() { "unnamed sample" } else { &sample.id };
    let alt = if sample.alt.is_empty() { format!("picture of {name}") } else { sample.alt.clone() };
    let reason = match &sample.picture {
        None => "The picture was not kept.",
        Some(bytes) => match media_type(bytes) {
            None => "The picture is neither PNG nor JPEG.",
            Some(media) => {
                let url = format!("data:{media};base64,{}", STANDARD.encode(bytes));
                let class =
                    if png_width(bytes).is_some_and(|width| width <= 96) { "small-pixels" } else { "" };
                out.void(
                    "img",
                    &[("src", &url), ("alt", &alt), ("class", class), ("width", "132"), ("height", "132")],
                );
                return;
            }
        },
    };
    out.leaf("p", &[("class", "no-picture")], reason);
}

fn media_type(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        Some("image/jpeg")
    } else {
        None
    }
}

/// Width in the header of a PNG file.
fn png_width(bytes: &[u8]) -> Option<u32> {
    let width = bytes.get(16..20)?.try_into().ok()?;
    (media_type(bytes) == Some("image/png")).then(|| u32::from_be_bytes(width))
}
