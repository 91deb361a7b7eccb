use crate::support::{crossloom, crossloom_in};

#[test]
fn a_resolved_recipe_says_where_values_come_from_and_reads_back_to_itself() {
    let arguments =
        ["resolve", "recipes/synthetic.toml", "--variant", "cli", "--set", "train.steps=7", "--json"];
    let document = crossloom(&arguments).exits(0).json();
    let cli = &document["variants"]["cli"];
    assert_eq!(cli["recipe"]["train"]["steps"], 7);
    assert_eq!(cli["origins"]["train.steps"]["place"], "--set");
    let rank = cli["origins"]["topology.adapter.rank"].clone();
    assert!(rank["place"].as_str().unwrap().starts_with("synthetic.toml:"), "{rank}");
    assert!(rank["overrode"][0].as_str().unwrap().starts_with("methods/cli.toml:"), "{rank}");

    let text = crossloom(&arguments[..arguments.len() - 1]).exits(0).out;
    let line = text.lines().find(|line| line.starts_with("steps = ")).unwrap();
    assert!(line.starts_with("steps = 7 ") && line.contains("# --set, over synthetic.toml:"), "{line}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("resolved.toml"), text).unwrap();
    let again = crossloom_in(folder.path(), &["resolve", "resolved.toml", "--json"]).exits(0).json();
    assert_eq!(again["variants"]["synthetic"]["hash"], cli["hash"]);
    assert_eq!(again["variants"]["synthetic"]["recipe"]["topology"], cli["recipe"]["topology"]);
}

#[test]
fn several_variants_ask_for_a_choice() {
    crossloom(&["resolve", "recipes/synthetic.toml"]).exits(2).complains(&[
        "error: `recipes/synthetic.toml` has 3 variants",
        "help: choose one with --variant: `projector`",
    ]);
}
