//! Every stage of every shipped recipe in every form.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::shipped::{recipe, recipes};
use crossloom_run::backends::Backend;
use crossloom_run::stages::{Depth, Format, Mode, Shapes, Stage, Subject, render};

/// The first variant of every recipe, and its `cli` variant if it has one, for prediction and for training.
fn subjects(mut visit: impl FnMut(&str, &Subject<'_>)) {
    for name in recipes() {
        let loaded = recipe(&name);
        for (index, variant) in loaded.variants.iter().enumerate() {
            if index > 0 && variant.name != "cli" {
                continue;
            }
            let shapes = Shapes::of(&variant.recipe).unwrap();
            for mode in [Mode::Forward, Mode::Train] {
                let (label, recipe) = (format!("{name} {}", variant.name), &variant.recipe);
                visit(
                    &label,
                    &Subject {
                        name: &variant.name,
                        recipe,
                        shapes,
                        mode,
                        backend: Backend::default(),
                        verify: false,
                    },
                );
            }
        }
    }
}

#[test]
fn every_stage_has_every_form() {
    subjects(|label, subject| {
        for stage in Stage::ALL {
            for format in Format::ALL {
                let what = format!("{label}, {} as {}", stage.name(), format.name());
                let shown = render(subject, stage, format, Depth::Scopes(3)).unwrap();
                match format {
                    Format::Text => assert!(shown.lines().count() > 3, "{what}"),
                    Format::Json => drop(serde_json::from_str::<serde_json::Value>(&shown).expect(&what)),
                    Format::Svg => {
                        assert_eq!(crate::xml::root(&shown).unwrap_or_else(|e| panic!("{what}: {e}")), "svg");
                    }
                    Format::Dot => {
                        assert!(shown.starts_with("digraph \"") && shown.ends_with("}\n"), "{what}");
                        assert!(shown.contains(" -> "), "{what}");
                    }
                    Format::Mermaid => {
                        assert!(shown.starts_with("flowchart "), "{what}");
                        let (opened, closed) =
                            (shown.matches("subgraph ").count(), shown.matches(" end\n").count());
                        assert_eq!(opened, closed, "{what}");
                    }
                }
            }
        }
    });
}

/// The attributes of every box of a picture.
fn boxes(svg: &str) -> Vec<[f64; 4]> {
    let number = |tag: &str, name: &str| -> f64 {
        let at = tag.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
        tag[at..].split('"').next().unwrap().parse().unwrap()
    };
    let plates = svg.split("<rect").skip(1).map(|tail| tail.split('>').next().unwrap());
    plates
        .filter(|tag| !tag.contains("fill=\"none\""))
        .map(|tag| ["x", "y", "width", "height"].map(|name| number(tag, name)))
        .collect()
}

#[test]
fn no_box_of_a_picture_covers_another_and_none_is_outside() {
    subjects(|label, subject| {
        for (stage, depth) in [
            (Stage::Luminal, Depth::Nodes),
            (Stage::Fused, Depth::Scopes(3)),
            (Stage::Plan, Depth::Scopes(2)),
        ] {
            let svg = render(subject, stage, Format::Svg, depth).unwrap();
            let size: Vec<f64> = svg
                .split("viewBox=\"0 0 ")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .split(' ')
                .map(|number| number.parse().unwrap())
                .collect();
            let boxes = boxes(&svg);
            assert!(boxes.len() > 5, "{label}");
            for (index, [x, y, width, height]) in boxes.iter().enumerate() {
                assert!(*x >= 0.0 && *y >= 0.0 && x + width <= size[0] && y + height <= size[1], "{label}");
                for [other_x, other_y, other_width, other_height] in &boxes[..index] {
                    let beside = x + width <= *other_x || other_x + other_width <= *x;
                    let above = y + height <= *other_y || other_y + other_height <= *y;
                    assert!(beside || above, "{label}, {}", stage.name());
                }
            }
        }
    });
}

#[test]
fn the_picture_of_the_quickstart_stays_legible() {
    let loaded = recipe("quickstart");
    let variant = loaded.variant("cli").unwrap();
    let shapes = Shapes::of(&variant.recipe).unwrap();
    let (name, recipe) = (&variant.name, &variant.recipe);
    for (mode, most) in [(Mode::Forward, 24), (Mode::Train, 48)] {
        let subject = Subject { name, recipe, shapes, mode, backend: Backend::default(), verify: false };
        let svg = render(&subject, Stage::Fused, Format::Svg, Depth::Scopes(3)).unwrap();
        let count = boxes(&svg).len();
        assert!((12..=most).contains(&count), "{} boxes, {}", count, mode.name());
    }
}

#[test]
fn names_are_escaped() {
    let mut recipe = recipe("synthetic").variants[0].recipe.clone();
    recipe.name = "a<b>&\"c\"".to_owned();
    let shapes = Shapes::of(&recipe).unwrap();
    let subject = Subject {
        name: "</svg>",
        recipe: &recipe,
        shapes,
        mode: Mode::Forward,
        backend: Backend::default(),
        verify: false,
    };
    for stage in Stage::ALL {
        let svg = render(&subject, stage, Format::Svg, Depth::Scopes(3)).unwrap();
        assert_eq!(crate::xml::root(&svg).unwrap_or_else(|error| panic!("{}: {error}", stage.name())), "svg");
        assert!(svg.contains("a&lt;b&gt;&amp;&quot;c&quot; · &lt;/svg&gt;"), "{svg}");
    }
}
