//! Taps, points, edges and their pictures.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use crossloom_recipe::topology::EdgeWeights;
use crossloom_recipe::{
    Adapter, Fusion, FusionOrder, Gate, LoadOptions, Mask, Phase, PointAddress, Recipe, Tap, TapNorm,
    Topology, TopologyError, VisionAddress, Wiring, load_text,
};
use support::good;

fn recipe(sets: &[&str]) -> Recipe {
    good("inject.toml", sets).unwrap_or_else(|diagnostics| panic!("{diagnostics}")).base
}

fn topology(sets: &[&str]) -> Topology {
    Topology::new(&recipe(sets)).unwrap()
}

fn check(sets: &[&str], edges: &[&str]) {
    let names: Vec<String> = topology(sets).edges().iter().map(crossloom_recipe::Edge::name).collect();
    assert_eq!(names, edges, "{sets:?}");
}

const THREE: &str = "topology.taps={ range = ['block.1', 'block.3'] }";
const POINTS: &str = "topology.points={ every = 1 }";

#[test]
fn every_wiring_joins_what_it_says_in_a_stable_order() {
    check(&["topology.taps=[]", "topology.points=[]"], &["block.4->input"]);
    check(
        &[],
        &[
            "block.4->input",
            "block.1->layer.0",
            "block.3->layer.0",
            "block.1->layer.2.after",
            "block.3->layer.2.after",
        ],
    );
    check(
        &[THREE, POINTS, "topology.wiring=diagonal"],
        &["block.4->input", "block.1->layer.0", "block.2->layer.1", "block.3->layer.2"],
    );
    check(
        &["topology.taps=['block.last']", POINTS, "topology.wiring=broadcast", "topology.input=embed"],
        &["embed->input", "block.4->layer.0", "block.4->layer.1", "block.4->layer.2"],
    );
    let pairs = "topology.wiring=[['block.3','after layer.2'],['block.1','after layer.2'],['block.1','before layer.0']]";
    check(
        &[pairs],
        &["block.4->input", "block.1->layer.0", "block.3->layer.2.after", "block.1->layer.2.after"],
    );
}

#[test]
fn explicit_pairs_bring_their_own_taps_and_points() {
    let text = "name = 'main'\nextends = ['base.toml']\n[topology]\n\
                wiring = [['block.last', 'after layer.1'], ['embed', 'before layer.last']]\n";
    let files = support::Files::new(&[("main.toml", text)]);
    let spec = files.load("main.toml", &[]).unwrap().base.topology.main;
    assert_eq!(spec.taps, [VisionAddress::Block(4), VisionAddress::Embed]);
    assert_eq!(spec.points, [PointAddress::After(1), PointAddress::Before(2)]);
}

#[test]
fn before_and_after_the_same_layer_are_two_edges() {
    let topology =
        topology(&["topology.points=['before layer.1', 'after layer.1']", "topology.wiring=diagonal"]);
    let names: BTreeSet<String> = topology.edges().iter().map(crossloom_recipe::Edge::name).collect();
    assert_eq!(names.len(), topology.edges().len());
    assert_eq!(topology.edge("block.3->layer.1.after").unwrap().point, PointAddress::After(1));
    assert_eq!(topology.edge("block.3->layer.1"), None);
}

/// What a second injection of `inject.toml` says.
const DEEP: &str = "topology.injections.deep={ taps = ['block.3', 'block.2'], points = ['inside layer.1'], adapter = 'linear' }";

#[test]
fn injections_with_names_have_edges_of_their_own() {
    let recipe =
        recipe(&[DEEP, "topology.injections.deep.gate=static", "topology.injections.deep.gate.init=0.5"]);
    let spec = &recipe.topology;
    let names: Vec<Option<&str>> = spec.injections().map(|injection| injection.name).collect();
    assert_eq!(names, [None, Some("deep")]);
    assert_eq!(spec.injection_at(PointAddress::Inside(1)).unwrap().prefix(), "injection.deep");
    assert_eq!(spec.injection_at(PointAddress::Before(0)).unwrap().prefix(), "injection");
    assert!(
        spec.injection_at(PointAddress::Before(1)).is_none()
            && spec.injection_at(PointAddress::Input).is_none()
    );
    // What it does not say is as where nothing is said at all, and not as in the other injection.
    let deep = &spec.named["deep"];
    assert_eq!((deep.mask, deep.phase), (Mask::Visual, Phase::Prefill));
    assert_eq!(deep.gate, Gate::Static { init: 0.5 });
    assert_eq!(deep.fusion, Fusion::GatedAdd { order: FusionOrder::Parallel });
    assert_eq!(spec.taps(), [1, 3, 2].map(|block| Tap::State(VisionAddress::Block(block))));

    let topology = Topology::new(&recipe).unwrap();
    let edges: Vec<String> = topology.injections().map(crossloom_recipe::Edge::name).collect();
    assert_eq!(edges[4..], ["block.3->layer.1.inside", "block.2->layer.1.inside"]);
    let text = topology.to_text();
    assert!(
        text.contains("  injection deep\n  wiring   dense\n  adapter  linear\n  gate     static, from 0.5\n"),
        "{text}"
    );
    assert!(topology.picture(None).to_svg().contains("deep: gate static"));

    // It is a part of what is trained, and a recipe without one has the hash that it had.
    let hash = |sets: &[&str]| self::recipe(sets).training_hash();
    assert_ne!(hash(&[DEEP]), hash(&[]));
    assert!(!serde_json::to_string(&self::recipe(&[])).unwrap().contains("injections"));
    // A resolved recipe is itself a recipe.
    let loaded = good("inject.toml", &[DEEP]).unwrap();
    let text = loaded.variants[0].resolved_toml_with_provenance();
    assert!(text.contains("[topology.injections.deep.adapter]"), "{text}");
    let again = load_text(std::path::Path::new("again.toml"), &text, &LoadOptions::default());
    assert_eq!(again.unwrap_or_else(|e| panic!("{e}\n{text}")).base, loaded.base);
    let json = serde_json::to_value(&loaded.base).unwrap();
    assert_eq!(serde_json::from_value::<Recipe>(json).unwrap(), loaded.base);
}

#[test]
fn a_variant_changes_one_injection_and_leaves_the_others() {
    let text = format!(
        "name = 'main'\nextends = ['inject.toml']\n{}\n[variants.as_it_is]\n[variants.other]\n\
         topology.injections.deep.points = {{ count = 1 }}\ntopology.injections.deep.adapter = 'per_tap'\n\
         [variants.third]\ntopology.injections.more = {{ taps = ['block.1'], points = ['after layer.1'] }}\n",
        DEEP.replacen('=', " = ", 1)
    );
    let inject = std::fs::read_to_string(support::folder("good").join("inject.toml")).unwrap();
    let base = std::fs::read_to_string(support::folder("good").join("base.toml")).unwrap();
    let files = support::Files::new(&[("main.toml", &text), ("inject.toml", &inject), ("base.toml", &base)]);
    let sets = ["topology.injections.deep.adapter.bias=false"];
    let loaded = files.load("main.toml", &sets).unwrap_or_else(|e| panic!("{e}"));
    let of = |variant: &str| &loaded.variant(variant).unwrap().recipe.topology;
    let without_bias = Adapter::Linear { tap_norm: TapNorm::None, bias: false };
    assert_eq!(of("as_it_is").named["deep"].adapter, without_bias);
    assert_eq!(of("other").named["deep"].points, [PointAddress::Before(2)]);
    assert_eq!(of("other").named["deep"].adapter, Adapter::PerTap { tap_norm: TapNorm::None });
    assert_eq!(of("third").named.keys().collect::<Vec<_>>(), ["deep", "more"]);
    assert_eq!(of("third").named["deep"], of("as_it_is").named["deep"]);
    assert!(loaded.variants.iter().all(|variant| variant.recipe.topology.main == of("as_it_is").main));
}

#[test]
fn edges_are_found_from_both_ends() {
    let topology = topology(&["topology.input='block.3'"]);
    let names = |edges: Vec<crossloom_recipe::Edge>| {
        edges.iter().map(crossloom_recipe::Edge::name).collect::<Vec<_>>()
    };
    assert_eq!(
        names(topology.edges_into(PointAddress::After(2))),
        ["block.1->layer.2.after", "block.3->layer.2.after"]
    );
    assert_eq!(
        names(topology.edges_from(&VisionAddress::Block(3).into())),
        ["block.3->input", "block.3->layer.0", "block.3->layer.2.after"]
    );
    assert!(topology.edges_from(&VisionAddress::Block(2).into()).is_empty());
    assert_eq!(topology.inputs().count(), 1);
    assert_eq!(topology.injections().count(), 4);
    assert_eq!(topology.taps(), [VisionAddress::Block(1), VisionAddress::Block(3)]);
    assert_eq!(topology.states(), [VisionAddress::Block(1), VisionAddress::Block(3)]);
    assert_eq!(topology.places(), [PointAddress::Input, PointAddress::Before(0), PointAddress::After(2)]);
    assert_eq!(topology.graph().edge_count(), 5);
    assert_eq!(topology.graph().node_count(), 5);
}

#[test]
fn a_recipe_changed_by_hand_cannot_become_a_wrong_graph() {
    let changed = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe(&[]);
        change(&mut recipe);
        Topology::new(&recipe).unwrap_err()
    };
    let one = || Tap::State(VisionAddress::Block(1));
    assert_eq!(
        changed(&|recipe| {
            recipe.topology.main.wiring = Wiring::Diagonal;
            recipe.topology.main.points.pop();
        }),
        TopologyError::Diagonal { taps: 2, points: 1 }
    );
    assert_eq!(
        changed(&|recipe| recipe.topology.main.wiring = Wiring::Broadcast),
        TopologyError::Broadcast { taps: 2 }
    );
    assert_eq!(
        changed(&|recipe| recipe.topology.main.wiring = Wiring::Pairs(vec![(one(), PointAddress::Before(1))])),
        TopologyError::Pair { edge: "block.1->layer.1".to_owned() }
    );
    assert_eq!(
        changed(&|recipe| recipe.topology.main.taps.push(one())),
        TopologyError::Duplicate { address: "block.1".to_owned() }
    );
}

#[test]
fn addresses_are_read_as_they_are_written() {
    for text in ["embed", "block.1", "block.26", "post_norm"] {
        assert_eq!(text.parse::<VisionAddress>().unwrap().to_string(), text);
    }
    for text in ["input", "before layer.0", "after layer.31"] {
        assert_eq!(text.parse::<PointAddress>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "block",
        "block.",
        "block.0",
        "block.+1",
        "block.01",
        "block.last",
        "layer.1",
        "block.99999999999999999999",
    ] {
        assert!(text.parse::<VisionAddress>().is_err(), "{text}");
    }
    for text in ["", "before", "before  layer.1", "before layer.-1", "before layer.last", "between layer.1"] {
        assert!(text.parse::<PointAddress>().is_err(), "{text}");
    }
    assert_eq!(VisionAddress::parse("block.last", 26).unwrap(), VisionAddress::Block(26));
    assert_eq!(PointAddress::parse("after layer.last", 24).unwrap(), PointAddress::After(23));
    assert!(VisionAddress::parse("block.27", 26).unwrap_err().beyond);
    assert!(PointAddress::parse("before layer.24", 24).unwrap_err().beyond);
}

#[test]
fn pictures() {
    let topology = topology(&["topology.input=embed"]).with_title("pictures <&>");
    insta::assert_snapshot!("text", topology.to_text());
    insta::assert_snapshot!("mermaid", topology.picture(None).to_mermaid());
    insta::assert_snapshot!("dot", topology.picture(None).to_dot());
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&topology.to_json()).unwrap());
    insta::assert_snapshot!("svg", topology.picture(None).to_svg());
    let nothing = recipe(&["topology.taps=[]", "topology.points=[]"]);
    insta::assert_snapshot!("text_of_nothing", Topology::new(&nothing).unwrap().to_text());
}

#[test]
fn what_is_injected_alone_has_no_input_edge() {
    let topology = topology(&["topology.input=none"]);
    assert!(topology.to_text().contains("  0 input edges, "), "{}", topology.to_text());
    assert_eq!(topology.inputs().count(), 0);
}

#[test]
fn a_heavier_edge_is_drawn_wider_on_top_and_with_its_weight() {
    let topology = topology(&[]);
    let names: Vec<String> = topology.injections().map(crossloom_recipe::Edge::name).collect();
    let weights: EdgeWeights = names.iter().cloned().zip([0.0, 1.0, f64::NAN, 7.0]).collect();
    let svg = topology.picture(Some(&weights)).to_svg();
    let width = |name: &str| -> f64 {
        let end = svg.find(&format!("data-edge=\"{}\"", name.replace('>', "&gt;"))).unwrap();
        let start = svg[..end].rfind("stroke-width=\"").unwrap() + 14;
        svg[start..].split('"').next().unwrap().parse().unwrap()
    };
    let widths: Vec<f64> = names.iter().map(|name| width(name)).collect();
    assert!(widths[0] < widths[2] && widths[2] < widths[1] && widths[1] == widths[3], "{widths:?}");
    assert!(svg.contains("block.3-&gt;layer.0  W = 1.000"));
    let place = |name: &str| svg.find(&format!("data-edge=\"{}\"", name.replace('>', "&gt;"))).unwrap();
    assert!(place(&names[0]) < place(&names[1]) && place(&names[1]) < place(&names[3]));
}
