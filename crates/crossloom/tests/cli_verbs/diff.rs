use crate::support::{crossloom, folder_with};

const PAIR: [&str; 3] = ["diff", "recipes/ablations.toml/sli", "qwen3vl"];

#[test]
fn two_variants_differ_by_edges_settings_figures_and_scopes() {
    let document =
        crossloom(&["diff", "recipes/synthetic.toml/projector", "cli", "--format", "json"]).exits(0).json();
    assert_eq!(document["edges"]["added"].as_array().unwrap().len(), 12);
    assert_eq!(document["edges"]["kept"], serde_json::json!(["post_norm->input"]));
    let keys: Vec<&str> = (document["settings"].as_array().unwrap().iter())
        .map(|change| change["key"].as_str().unwrap())
        .collect();
    assert!(keys.contains(&"topology.gate.kind") && !keys.contains(&"train.lr"), "{keys:?}");
    let scopes: Vec<&str> =
        document["scopes"].as_array().unwrap().iter().map(|scope| scope["scope"].as_str().unwrap()).collect();
    assert_eq!(
        scopes,
        ["(no scope)", "inject.adapter", "inject.layer.0", "inject.layer.1", "inject.layer.2"]
    );
    let figures = document["figures"].as_array().unwrap();
    let decode = figures.iter().find(|figure| figure["name"] == "FLOPs, decode step").unwrap();
    assert_eq!(decode["first"], decode["second"], "nothing of an injection is left for a token");
}

#[test]
fn a_variant_does_not_differ_from_itself() {
    let text = crossloom(&["diff", "recipes/synthetic.toml/cli", "cli"]).exits(0).out;
    assert!(text.contains("13 in both, 0 added, 0 removed, 0 moved"), "{text}");
    assert!(!text.contains("setting ") && !text.contains("scope "), "{text}");
}

#[test]
fn an_edge_that_leads_elsewhere_has_moved_in_text_and_in_pictures() {
    let text = std::fs::read_to_string(crate::support::workspace().join("recipes/synthetic.toml")).unwrap();
    let text = text.replace("#:schema ./schema.json", "");
    let head = text.split("[variants.").next().unwrap();
    let variant = |name: &str, last: &str| {
        format!(
            "[variants.{name}]\ntopology.taps = ['block.1', 'block.2']\ntopology.wiring = 'diagonal'\n\
             topology.points = ['before layer.0', '{last}']\n"
        )
    };
    let recipe = format!("{head}{}{}", variant("old", "before layer.1"), variant("new", "after layer.1"));
    let folder = folder_with(&[("moved.toml", &recipe)]);
    let run = |format: &str| {
        let arguments = ["diff", "moved.toml/old", "new", "--format", format];
        crate::support::crossloom_in(folder.path(), &arguments).exits(0).out
    };
    assert!(run("text").contains("~ block.2->layer.1 → block.2->layer.1.after"), "{}", run("text"));
    let mermaid = run("mermaid");
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("stroke-dasharray"), "{mermaid}");
    let svg = run("svg");
    assert!(svg.contains("1 moved") && svg.contains("data-edge=\"block.2-&gt;layer.1.after\""), "{svg}");
    assert!(run("dot").contains("style=dashed"));
}

#[test]
fn what_is_no_variant_is_an_error_with_a_way_out() {
    crossloom(&PAIR).exits(0);
    crossloom(&["diff", "recipes/synthetic.toml", "cli"])
        .exits(2)
        .complains(&["has 3 variants", "recipes/synthetic.toml/projector"]);
    crossloom(&["diff", "recipes/synthetic.toml/cli", "clip"]).exits(2).complains(&["`clip`"]);
    crossloom(&["diff", "recipes/synthetic.toml/clip", "cli"]).exits(2).complains(&["no variant `clip`"]);
}
