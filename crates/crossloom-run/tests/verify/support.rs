//! Recipes, and what is said of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crossloom_recipe::{Edge, LoadOptions, Recipe, Topology, load, load_text};
use crossloom_run::verify::{Functions, Verified, verify};

pub(crate) fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

/// A variant of a shipped recipe, with settings overridden.
pub(crate) fn variant(file: &str, name: &str, sets: &[&str]) -> Recipe {
    let options = LoadOptions { sets: sets.iter().map(|&set| set.to_owned()).collect() };
    let loaded = load(&recipes().join(file), &options).unwrap_or_else(|error| panic!("{error}"));
    loaded.variant(name).unwrap().recipe.clone()
}

/// A shipped method between an encoder and a language model.
pub(crate) fn of_method(file: &str, [vision, language]: [&str; 2]) -> Recipe {
    let text = format!(
        "name = \"method\"\nextends = [\"{file}\"]\n[model]\nvision.preset = \"{vision}\"\n\
         language.preset = \"{language}\"\n[data]\nsource = {{ kind = \"synthetic\", train_images = 8, \
         test_images = 8 }}\nquestions_per_sequence = 1\n[train]\nsteps = 1\nbatch_size = 1\nlr = 1e-3\n"
    );
    let path = recipes().join("methods/of-method.toml");
    load_text(&path, &text, &LoadOptions::default()).unwrap_or_else(|error| panic!("{file}: {error}")).base
}

/// All that is wrong, in lines.
pub(crate) fn said(verified: &Verified) -> String {
    let lines: Vec<String> = verified.problems().map(|(of, problem)| format!("{of}: {problem}\n")).collect();
    lines.concat()
}

/// Four taps into three layers, by AMP and AGF; questions share a picture.
pub(crate) fn cli() -> Recipe {
    variant("synthetic.toml", "cli", &[])
}

/// Names of all edges of a recipe that inject and satisfy something.
pub(crate) fn edges(recipe: &Recipe, of: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let topology = Topology::new(recipe).unwrap();
    topology.injections().map(Edge::name).filter(|name| of(name)).collect()
}

pub(crate) fn into(point: &'static str) -> impl Fn(&str) -> bool {
    move |edge| edge.split_once("->").unwrap().1 == point
}

pub(crate) fn from(taps: &'static [&'static str]) -> impl Fn(&str) -> bool {
    move |edge| taps.contains(&edge.split_once("->").unwrap().0)
}

/// Verifies functions with a bug: the edges that are named are these alone, and something like that is said of each.
pub(crate) fn names(
    recipe: &Recipe,
    functions: &dyn Functions,
    expected: &BTreeSet<String>,
    like: &str,
) -> Verified {
    let verified = verify(recipe, functions).unwrap_or_else(|error| panic!("{error}"));
    let found: BTreeSet<String> = verified.failed().map(str::to_owned).collect();
    assert_eq!(&found, expected, "{}", said(&verified));
    for edge in expected {
        let told = |(of, problem): (&str, &str)| of == edge && problem.contains(like);
        assert!(verified.problems().any(told), "{edge}: nothing like `{like}` in\n{}", said(&verified));
    }
    assert!(!verified.holds());
    verified
}

/// Three injections in the variant `cli`: AMP and AGF; AMP with a constant gate, of a tap that the first has too; and one that text
/// reads in every pass.
pub(crate) const SEVERAL: &[&str] = &[
    "variants.cli.topology.taps=['block.2', 'block.3']",
    "variants.cli.topology.points=['before layer.0']",
    "variants.cli.topology.injections.deep={ taps = ['block.2', 'block.1'], points = ['inside layer.1'], adapter = 'amp', \
     gate = { kind = 'constant', value = 0.5 }, fusion = 'convex' }",
    "variants.cli.topology.injections.read={ taps = ['block.1', 'block.2'], points = ['before layer.2'], adapter = 'per_tap', \
     fusion = 'cross_attention', mask = 'text' }",
];
