use crate::support::{crossloom, crossloom_in, folder_with};

const BAD: &str = r#"name = "bad"

[model.vision]
family = "vit"
image_size = 32
patch_size = 8
hidden = 32
layers = 4
heads = 5
mlp = 64

[model.language]
family = "lama"
hidden = 32
layers = 3
heads = 4
mlp = 64

[topology]
taps = ["block.9"]
points = ["before layer.1"]
wirring = "dense"

[data]
source = "synthetic"

[train]
steps = "many"
batch_size = 4
lr = 1e-3
"#;

#[test]
fn shipped_recipes_are_good_and_their_variants_and_edges_are_told() {
    let said =
        crossloom(&["check", "recipes/quickstart.toml", "recipes/synthetic.toml", "recipes/ablations.toml"]);
    let said = said.exits(0);
    assert_eq!(said.err, "");
    insta::assert_snapshot!(said.out);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line_and_a_hint() {
    let folder = folder_with(&[("bad.toml", BAD)]);
    let said = crossloom_in(folder.path(), &["check", "bad.toml"]).exits(2);
    assert_eq!(said.out, "");
    insta::assert_snapshot!(said.err);
}

#[test]
fn json_has_the_diagnostics_of_the_bad_and_the_edges_of_the_good() {
    let folder = folder_with(&[("bad.toml", BAD)]);
    let bad = folder.path().join("bad.toml");
    let said = crossloom(&["check", bad.to_str().unwrap(), "recipes/synthetic.toml", "--json"]).exits(2);
    assert_eq!(said.err, "");
    let document = said.json();
    assert_eq!(document["ok"], false);
    let [bad, good] = &document["recipes"].as_array().unwrap()[..] else { panic!("{document}") };
    assert_eq!((&bad["ok"], &good["ok"]), (&false.into(), &true.into()));
    let lines: Vec<u64> = (bad["diagnostics"].as_array().unwrap().iter())
        .filter_map(|diagnostic| diagnostic["location"]["line"].as_u64())
        .collect();
    assert!(lines.contains(&22), "the misspelt key is at line 22: {lines:?}");
    let edges = good["variants"][1]["edges"].as_array().unwrap();
    assert_eq!(
        (edges.len(), &edges[0], &edges[1]),
        (13, &"post_norm->input".into(), &"block.1->layer.0".into())
    );
    assert_eq!(good["hash"].as_str().unwrap().len(), 64);
}

#[test]
fn pictures_that_the_encoder_cannot_read_are_refused() {
    let check = |set: &str| crossloom(&["check", "recipes/synthetic.toml", "--set", set]).exits(2);
    check("model.vision.channels=1").complains(&["pictures have 3 channels", "help: write `channels = 3`"]);
    check("data.source.image_size=64")
        .complains(&["pictures of 64 pixels", "leave `data.source.image_size` out"]);
}

#[test]
fn an_injection_that_no_answer_reads_is_warned_of() {
    let set = "variants.cli.topology.points=[\"after layer.1\", \"after layer.last\"]";
    let said = crossloom(&["check", "recipes/synthetic.toml", "--set", set]).exits(0);
    assert_eq!(said.err.matches("warning: ").count(), 1, "{}", said.err);
    let said =
        said.complains(&["nothing reads what is injected `after layer.2`", "earlier point", "variant `cli`"]);
    assert!(said.out.starts_with("ok recipes/synthetic.toml"), "{}", said.out);
    // Other verbs say it too, and go on.
    crossloom(&["graph", "recipes/synthetic.toml", "--set", set]).exits(0).complains(&["nothing reads"]);
}

#[test]
fn a_vocabulary_smaller_than_that_of_the_data_is_refused() {
    for recipe in ["recipes/synthetic.toml", "recipes/quickstart.toml"] {
        let set = ["--set", "model.language.vocab_size=5", "--variant", "projector"];
        let said = crossloom(&[&["graph", recipe, "--stage", "ir"][..], &set].concat()).exits(2);
        said.complains(&["different tokens", "rows for 5", "set model.language.vocab_size to at least"]);
    }
}

#[test]
fn a_tap_beyond_the_encoder_is_an_error_with_the_last_block() {
    crossloom(&["check", "recipes/synthetic.toml", "--set", "variants.cli.topology.taps=['block.5']"])
        .exits(2)
        .complains(&[
            "error: ",
            "`block.5` is beyond the vision encoder, which has 4 blocks",
            "= help: ",
            "`block.4`",
        ]);
}

#[test]
fn a_cycle_in_extends_is_an_error() {
    let files =
        [("a.toml", "name = 'a'\nextends = ['b.toml']\n"), ("b.toml", "name = 'b'\nextends = ['a.toml']\n")];
    let folder = folder_with(&files);
    crossloom_in(folder.path(), &["check", "a.toml"]).exits(2).complains(&["error: ", "a.toml", "b.toml"]);
}

#[test]
fn an_unknown_setting_is_an_error_that_names_the_nearest() {
    crossloom(&["check", "recipes/synthetic.toml", "--set", "train.stepz=3"]).exits(2).complains(&[
        "--set",
        "stepz",
        "did you mean `train.steps`?",
    ]);
}

#[test]
fn a_missing_file_and_a_file_that_is_no_toml_are_errors() {
    let folder = folder_with(&[("picture.toml", "\u{0}\u{1}PNG [[[")]);
    crossloom_in(folder.path(), &["check", "none.toml"]).exits(2).complains(&["none.toml"]);
    crossloom_in(folder.path(), &["check", "picture.toml"]).exits(2).complains(&["picture.toml"]);
    crossloom_in(folder.path(), &["explain", "quickstart"])
        .exits(2)
        .complains(&["there is no file `quickstart`", "crossloom recipe copy quickstart"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_recipe_and_is_not_waited_for() {
    let folder = folder_with(&[("extends.toml", "extends = ['pipe.toml']\n")]);
    let pipe = folder.path().join("pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for recipe in ["pipe.toml", "extends.toml"] {
        let said = crossloom_in(folder.path(), &["check", recipe]).exits(2);
        said.complains(&["pipe.toml", "it is not a regular file"]);
    }
}
