//! A merged tree to a [`Recipe`], with every error on the way.

mod adapter;
mod conversations;
mod data;
mod eval;
mod fields;
mod fusion;
mod gate;
mod injection;
mod input;
mod known;
mod limits;
mod model;
mod scalars;
mod sets;
mod stream;
mod taps;
mod topology;
mod train;
mod weights;

pub(crate) use data::SYNTHETIC_SIDES;
pub(crate) use fields::{Cx, Kinds};
pub(crate) use injection::{KEYS as INJECTION_KEYS, seen_by};
pub(crate) use known::{in_injection, in_source, in_stage, is_setting, paths as known_paths};
pub(crate) use model::{is_merged, merged_width};
pub(crate) use scalars::Decode;
pub(crate) use taps::SOURCE;

use crate::check::{Sections, check, check_stages};
use crate::diagnostic::{Finding, Span};
use crate::schema::{Model, Recipe, Stage};
use crate::tree::Node;
use fields::Fields;

/// Tables that may be written as a bare string, which is then the value of this key.
pub(crate) const SHORT: [(&str, &str); 15] = [
    ("model.projector", "kind"),
    ("topology.adapter", "kind"),
    ("topology.fusion", "kind"),
    ("topology.gate", "kind"),
    ("topology.conditioning", "kind"),
    ("topology.input.weights", "kind"),
    ("topology.conditioning.weights", "path"),
    ("topology.conditioning.vectors", "path"),
    ("data.source", "kind"),
    ("model.weights", "path"),
    ("model.vision.weights", "path"),
    ("model.language.weights", "path"),
    ("train.parts.vision.lora.weights", "path"),
    ("train.parts.projector.lora.weights", "path"),
    ("train.parts.language.lora.weights", "path"),
];

/// Tables whose keys depend on their kind.
pub(crate) const KINDS: [Kinds; 7] = [
    adapter::ADAPTER,
    gate::GATE,
    fusion::FUSION,
    input::INPUT,
    input::WEIGHTS,
    input::CONDITIONING,
    data::SOURCE,
];

/// Sets of addresses; every visual source has one more.
pub(crate) const SETS: [&str; 3] = ["topology.taps", "topology.points", "topology.input.of"];

/// The rules of a set; each excludes the others.
pub(crate) const RULES: [&str; 4] = ["every", "range", "count", "part"];

/// Reads a whole recipe; if it will be run, it is also `checked` as a whole. `None` after the reasons have been reported.
pub(crate) fn recipe(root: &Node, checked: bool, cx: &mut Cx) -> Option<Recipe> {
    let mut fields = Fields::open(root, "", cx)?;
    // Of stages, each has a tree of its own.
    for section in ["model", "topology", "data", "train", "eval", "stage"] {
        fields.ask(section);
    }
    let name = fields.required::<String>("name");
    let description = fields.or("description", String::new());
    fields.finish();
    check_name(root, name.as_deref(), cx);

    let mut fields = Fields::open(root, "model", cx);
    if let Some(fields) = &mut fields {
        for part in ["vision", "language", "projector", "weights"] {
            fields.ask(part);
        }
    }
    if let Some(fields) = fields {
        fields.finish();
    }
    let vision = model::vision(root, cx);
    let language = model::language(root, cx);
    let projector = model::projector(root, language.as_ref(), cx);
    let weights = weights::weights(root, "model.weights", cx);
    let topology = topology::topology(root, cx);
    let data = data::data(root, vision.as_ref(), cx);
    let train = train::train(root, cx);
    let eval = eval::eval(root, cx);

    if checked {
        let sections = Sections {
            vision: vision.as_ref(),
            language: language.as_ref(),
            projector: projector.as_ref(),
            weights: weights.as_ref().and_then(Option::as_ref),
            topology: topology.as_ref(),
            data: data.as_ref(),
            train: train.as_ref(),
            eval: eval.as_ref(),
        };
        check(root, &sections, cx);
    }
    Some(Recipe {
        name: name?,
        description: description?,
        model: Model { vision: vision?, language: language?, projector: projector?, weights: weights? },
        topology: topology?,
        data: data?,
        train: train?,
        eval: eval?,
        stages: Vec::new(),
    })
}

/// Reads the tree of every stage, as a recipe of its own: what comes out is the last one, with all of them. `None` after the reasons
/// have been reported.
pub(crate) fn stages(trees: &[(String, Node)], checked: bool, cx: &mut Cx) -> Option<Recipe> {
    let read: Vec<Option<Recipe>> = trees.iter().map(|(_, tree)| recipe(tree, checked, cx)).collect();
    let read: Vec<Recipe> = read.into_iter().collect::<Option<_>>()?;
    if checked {
        check_stages(trees, &read, cx);
    }
    let stage = |((name, _), recipe): (&(String, Node), &Recipe)| Stage {
        name: name.clone(),
        train: recipe.train.clone(),
        data: recipe.data.clone(),
    };
    let stages = trees.iter().zip(&read).map(stage).collect();
    read.into_iter().next_back().map(|last| Recipe { stages, ..last })
}

/// Most variants that a recipe may expand into.
pub(crate) const MAX_VARIANTS: usize = 256;

/// Most letters of a name, with what a sweep adds: names become folders.
pub(crate) const MAX_NAME: usize = 64;

/// Whether a name may be written for a recipe or a variant.
pub(crate) fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && name.len() <= MAX_NAME
}

/// Most stages of a recipe.
pub(crate) const MAX_STAGES: usize = 32;

/// Whether a name may be written for a stage: a name without dots, which addresses have between keys.
pub(crate) fn is_stage_name(name: &str) -> bool {
    is_name(name) && !name.contains('.')
}

/// Whether a variant that a sweep made may be called so, as in `cli,rank=4,lr=0.001`.
pub(crate) fn is_swept_name(name: &str) -> bool {
    let own = name.split(',').next().unwrap_or_default();
    is_name(own)
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-,=+~".contains(c))
        && name.len() <= MAX_NAME
}

/// Why a name cannot be that of a stage.
pub(crate) fn bad_stage_name(span: Span, name: &str) -> Finding {
    Finding::error(span, format!("`{name}` cannot name a stage"))
        .help("a name is up to 64 letters, digits, `_` and `-`, and starts with a letter, a digit or `_`; it becomes a folder")
}

/// Why a name cannot be used.
pub(crate) fn bad_name(span: Span, what: &str, name: &str) -> Finding {
    Finding::error(span, format!("`{name}` cannot name a {what}"))
        .help("a name is up to 64 letters, digits, `_`, `-` and `.`, and starts with a letter, a digit or `_`; it becomes a folder")
}

fn check_name(root: &Node, name: Option<&str>, cx: &mut Cx) {
    if let Some(name) = name
        && !is_name(name)
    {
        cx.report(bad_name(root.place("name"), "recipe", name));
    }
}
